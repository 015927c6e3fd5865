import { multimediaSystemControlMessage, openLogicalChannel } from "./h245-syntax.ts";
import {
  anyOctets,
  BOOLEAN,
  bitString,
  bmpString,
  choice,
  digits,
  each,
  integer,
  NULL,
  OBJECT_ID,
  octets,
  optional,
  REST,
  sequence,
  sequenceOf,
  UNREAD,
  wanted,
} from "./per.ts";

/**
 * ASN.1 of ITU-T H.225.0 (H323-MESSAGES), as far as the way to addresses of signalling goes: registration, admission and
 * status (RAS), and the user information of Q.931. Names and constraints are the recommendation's.
 */

const word = integer(0, 65535);
const long = integer(0, 4294967295);
const requestSeqNum = integer(1, 65535);
const identifier = bmpString(1, 128);
const timeToLive = integer(1, 4294967295);
/** Addresses of one list that are kept. */
const MAX_ADDRESSES = 10;
const MAX_FAST_START = 30;
const MAX_CONTROL = 4;

const rest = (...names: readonly string[]) => each(REST, ...names);
const unread = (...names: readonly string[]) => each(UNREAD, ...names);
const nulls = (...names: readonly string[]) => each(NULL, ...names);

// Parts that many messages share

const h221NonStandard = sequence(
  { t35CountryCode: integer(0, 255), t35Extension: integer(0, 255), manufacturerCode: word },
  {},
);

const nonStandardParameter = sequence({
  nonStandardIdentifier: choice({ object: OBJECT_ID, h221NonStandard }, {}),
  data: anyOctets(),
});

const transportAddress = choice(
  {
    ipAddress: sequence({ ip: wanted(octets(4)), port: word }),
    ipSourceRoute: sequence(
      { ip: octets(4), port: word, route: sequenceOf(octets(4)), routing: choice(nulls("strict", "loose"), {}) },
      {},
    ),
    ipxAddress: sequence({ node: octets(6), netnum: octets(4), port: octets(2) }),
    ip6Address: sequence({ ip: wanted(octets(16)), port: word }, {}),
    netBios: octets(16),
    nsap: octets(1, 20),
    nonStandardAddress: nonStandardParameter,
  },
  {},
);
const transportAddresses = sequenceOf(transportAddress, MAX_ADDRESSES);

const aliasAddress = choice(
  { dialedDigits: digits(1, 128), "h323-ID": bmpString(1, 256) },
  unread("url-ID", "transportID", "email-ID", "partyNumber", "mobileUIM"),
);
const aliases = sequenceOf(aliasAddress);

const vendorIdentifier = sequence(
  { vendor: h221NonStandard, productId: optional(octets(1, 256)), versionId: optional(octets(1, 256)) },
  {},
);

const nonStandardData = optional(nonStandardParameter);
const gatewayCaps = sequence({ nonStandardData }, unread("dataRatesSupported", "supportedPrefixes"));
const supportedProtocols = choice(
  {
    nonStandardData: nonStandardParameter,
    ...each(gatewayCaps, "h310", "h320", "h321", "h322", "h323", "h324", "voice", "t120-only"),
  },
  unread("nonStandardProtocol", "t38FaxAnnexbOnly"),
);

const endpointType = sequence(
  {
    nonStandardData,
    vendor: optional(vendorIdentifier),
    gatekeeper: optional(sequence({ nonStandardData }, {})),
    gateway: optional(sequence({ protocol: optional(sequenceOf(supportedProtocols)), nonStandardData }, {})),
    mcu: optional(sequence({ nonStandardData }, unread("protocol"))),
    terminal: optional(sequence({ nonStandardData }, {})),
    mc: BOOLEAN,
    undefinedNode: BOOLEAN,
  },
  unread("set", "supportedTunnelledProtocols"),
);

const callType = choice(nulls("pointToPoint", "oneToN", "nToOne", "nToN"), {});
const callModel = choice(nulls("direct", "gatekeeperRouted"), {});
const callIdentifier = sequence({ guid: octets(16) }, {});
const fastStart = sequenceOf(openLogicalChannel, MAX_FAST_START, true);

// Security (H.235), which stands before the addresses of one message

const securityServiceMode = choice({ nonStandard: nonStandardParameter, ...nulls("none", "default") }, {});
const securityCapabilities = sequence(
  {
    nonStandard: nonStandardData,
    encryption: securityServiceMode,
    authenticaton: securityServiceMode,
    integrity: securityServiceMode,
  },
  {},
);
const h245Security = choice(
  { nonStandard: nonStandardParameter, noSecurity: NULL, tls: securityCapabilities, ipsec: securityCapabilities },
  {},
);

const dhKey = bitString(0, 2048);
const clearToken = sequence(
  {
    tokenOID: OBJECT_ID,
    timeStamp: optional(integer(1, 4294967295)),
    password: optional(identifier),
    dhkey: optional(sequence({ halfkey: dhKey, modSize: dhKey, generator: dhKey }, {})),
    challenge: optional(octets(8, 128)),
    random: optional(integer()),
    certificate: optional(sequence({ type: OBJECT_ID, certificate: anyOctets() }, {})),
    generalID: optional(identifier),
    nonStandard: optional(sequence({ nonStandardIdentifier: OBJECT_ID, data: anyOctets() })),
  },
  unread("eckasdhkey", "sendersID"),
);

const params = sequence({ ranInt: optional(integer()), iv8: optional(octets(8)) }, { iv16: octets(16) });
const hashed = sequence({ algorithmOID: OBJECT_ID, paramS: params, hash: bitString() });
const encrypted = sequence({ algorithmOID: OBJECT_ID, paramS: params, encryptedData: anyOctets() });
/** What is signed is an open type: as long as an OCTET STRING of any size. */
const signed = sequence({
  toBeSigned: anyOctets(),
  algorithmOID: OBJECT_ID,
  paramS: params,
  signature: bitString(),
});
const timeStamp = integer(1, 4294967295);

const cryptoH323Token = choice(
  {
    cryptoEPPwdHash: sequence({ alias: aliasAddress, timeStamp, token: hashed }),
    cryptoGKPwdHash: sequence({ gatekeeperId: identifier, timeStamp, token: hashed }),
    cryptoEPPwdEncr: encrypted,
    cryptoGKPwdEncr: encrypted,
    cryptoEPCert: signed,
    cryptoGKCert: signed,
    cryptoFastStart: signed,
    nestedcryptoToken: choice(
      {
        cryptoEncryptedToken: sequence({ tokenOID: OBJECT_ID, token: encrypted }),
        cryptoSignedToken: sequence({ tokenOID: OBJECT_ID, token: signed }),
        cryptoHashedToken: sequence({ tokenOID: OBJECT_ID, hashedVals: clearToken, token: hashed }),
        cryptoPwdEncr: encrypted,
      },
      {},
    ),
  },
  {},
);

// Call signalling

const setup = sequence(
  {
    protocolIdentifier: OBJECT_ID,
    h245Address: optional(transportAddress),
    sourceAddress: optional(aliases),
    sourceInfo: endpointType,
    destinationAddress: optional(aliases),
    destCallSignalAddress: optional(transportAddress),
    destExtraCallInfo: optional(aliases),
    destExtraCRV: optional(sequenceOf(word)),
    activeMC: BOOLEAN,
    conferenceID: octets(16),
    conferenceGoal: choice(
      nulls("create", "join", "invite"),
      nulls("capability-negotiation", "callIndependentSupplementaryService"),
    ),
    callServices: optional(
      sequence(
        {
          ...each(BOOLEAN, "q932Full", "q951Full", "q952Full", "q953Full", "q955Full", "q956Full", "q957Full"),
          q954Info: sequence(each(BOOLEAN, "conferenceCalling", "threePartyService"), {}),
        },
        {},
      ),
    ),
    callType,
  },
  {
    sourceCallSignalAddress: transportAddress,
    ...unread("remoteExtensionAddress", "callIdentifier", "h245SecurityCapability", "tokens", "cryptoTokens"),
    fastStart,
    ...unread("mediaWaitForConnect", "canOverlapSend"),
    endpointIdentifier: REST,
  },
);

const callProceeding = sequence(
  { protocolIdentifier: OBJECT_ID, destinationInfo: endpointType, h245Address: optional(transportAddress) },
  {
    ...unread("callIdentifier", "h245SecurityMode", "tokens", "cryptoTokens"),
    fastStart,
    ...unread("multipleCalls", "maintainConnection", "fastConnectRefused", "featureSet"),
  },
);

const connect = sequence(
  {
    protocolIdentifier: OBJECT_ID,
    h245Address: optional(transportAddress),
    destinationInfo: endpointType,
    conferenceID: octets(16),
  },
  {
    ...unread("callIdentifier", "h245SecurityMode", "tokens", "cryptoTokens"),
    fastStart,
    ...unread("multipleCalls", "maintainConnection", "language", "connectedAddress", "presentationIndicator"),
    ...unread("screeningIndicator", "fastConnectRefused", "serviceControl", "capacity", "featureSet"),
  },
);

const alerting = sequence(
  { protocolIdentifier: OBJECT_ID, destinationInfo: endpointType, h245Address: optional(transportAddress) },
  {
    ...unread("callIdentifier", "h245SecurityMode", "tokens", "cryptoTokens"),
    fastStart,
    ...unread("multipleCalls", "maintainConnection", "alertingAddress", "presentationIndicator"),
    ...unread("screeningIndicator", "fastConnectRefused", "serviceControl", "capacity", "featureSet"),
  },
);

const information = sequence(
  { protocolIdentifier: OBJECT_ID },
  unread("callIdentifier", "tokens", "cryptoTokens", "fastStart", "fastConnectRefused", "circuitInfo"),
);

const releaseComplete = sequence(
  {
    protocolIdentifier: OBJECT_ID,
    reason: optional(
      choice(
        nulls(
          "noBandwidth",
          "gatekeeperResources",
          "unreachableDestination",
          "destinationRejection",
          "invalidRevision",
          "noPermission",
          "unreachableGatekeeper",
          "gatewayResources",
          "badFormatAddress",
          "adaptiveBusy",
          "inConf",
          "undefinedReason",
        ),
        {},
      ),
    ),
  },
  unread(
    "callIdentifier",
    "tokens",
    "cryptoTokens",
    "busyAddress",
    "presentationIndicator",
    "screeningIndicator",
    "capacity",
    "serviceControl",
    "featureSet",
  ),
);

const facility = sequence(
  {
    protocolIdentifier: OBJECT_ID,
    alternativeAddress: optional(transportAddress),
    alternativeAliasAddress: optional(aliases),
    conferenceID: optional(octets(16)),
    reason: wanted(
      choice(
        nulls("routeCallToGatekeeper", "callForwarded", "routeCallToMC", "undefinedReason"),
        nulls(
          "conferenceListChoice",
          "startH245",
          "noH245",
          "newTokens",
          "featureSetUpdate",
          "forwardedElements",
          "transportedInformation",
        ),
      ),
    ),
  },
  {
    ...unread("callIdentifier", "destExtraCallInfo", "remoteExtensionAddress", "tokens", "cryptoTokens", "conferences"),
    h245Address: transportAddress,
    fastStart,
    ...unread("multipleCalls", "maintainConnection", "fastConnectRefused", "serviceControl", "circuitInfo"),
    ...unread("featureSet", "destinationInfo", "h245SecurityMode"),
  },
);

const progress = sequence(
  {
    protocolIdentifier: OBJECT_ID,
    destinationInfo: endpointType,
    h245Address: optional(transportAddress),
    callIdentifier,
    h245SecurityMode: optional(h245Security),
    tokens: optional(sequenceOf(clearToken)),
    cryptoTokens: optional(sequenceOf(cryptoH323Token)),
    fastStart: optional(fastStart),
  },
  unread("multipleCalls", "maintainConnection", "fastConnectRefused"),
);

/** What the User-user information element of Q.931 holds. */
export const h323UserInformation = sequence(
  {
    "h323-uu-pdu": sequence(
      {
        "h323-message-body": choice(
          { setup, callProceeding, connect, alerting, information, releaseComplete, facility },
          { progress, empty: NULL, ...unread("status", "statusInquiry", "setupAcknowledge", "notify") },
        ),
        nonStandardData,
      },
      {
        ...unread("h4501SupplementaryService", "h245Tunneling"),
        h245Control: sequenceOf(multimediaSystemControlMessage, MAX_CONTROL, true),
        nonStandardControl: REST,
      },
    ),
    "user-data": optional(REST),
  },
  {},
);

// Registration, admission, status

const gatekeeperRequest = sequence(
  {
    requestSeqNum,
    protocolIdentifier: OBJECT_ID,
    nonStandardData,
    rasAddress: transportAddress,
    endpointType: REST,
    ...each(optional(REST), "gatekeeperIdentifier", "callServices", "endpointAlias"),
  },
  {},
);

const gatekeeperConfirm = sequence(
  {
    requestSeqNum,
    protocolIdentifier: OBJECT_ID,
    nonStandardData,
    gatekeeperIdentifier: optional(identifier),
    rasAddress: transportAddress,
  },
  rest("alternateGatekeeper"),
);

const registrationRequest = sequence(
  {
    requestSeqNum,
    protocolIdentifier: OBJECT_ID,
    nonStandardData,
    discoveryComplete: BOOLEAN,
    callSignalAddress: transportAddresses,
    rasAddress: transportAddresses,
    terminalType: endpointType,
    terminalAlias: optional(aliases),
    gatekeeperIdentifier: optional(identifier),
    endpointVendor: vendorIdentifier,
  },
  { alternateEndpoints: UNREAD, timeToLive: wanted(timeToLive), tokens: REST },
);

const registrationConfirm = sequence(
  {
    requestSeqNum,
    protocolIdentifier: OBJECT_ID,
    nonStandardData,
    callSignalAddress: transportAddresses,
    terminalAlias: optional(aliases),
    gatekeeperIdentifier: optional(identifier),
    endpointIdentifier: identifier,
  },
  { alternateGatekeeper: UNREAD, timeToLive: wanted(timeToLive), tokens: REST },
);

const unregistrationRequest = sequence(
  {
    requestSeqNum,
    callSignalAddress: transportAddresses,
    ...each(optional(REST), "endpointAlias", "nonStandardData", "endpointIdentifier"),
  },
  {},
);

const admissionRequest = sequence(
  {
    requestSeqNum,
    callType,
    callModel: optional(callModel),
    endpointIdentifier: identifier,
    destinationInfo: optional(aliases),
    destCallSignalAddress: optional(transportAddress),
    destExtraCallInfo: optional(aliases),
    srcInfo: aliases,
    srcCallSignalAddress: optional(transportAddress),
    bandWidth: REST,
    ...each(optional(REST), "nonStandardData", "callServices"),
  },
  {},
);

const admissionConfirm = sequence(
  {
    requestSeqNum,
    bandWidth: long,
    callModel,
    destCallSignalAddress: transportAddress,
    ...each(optional(REST), "irrFrequency", "nonStandardData"),
  },
  {},
);

const locationRequest = sequence(
  {
    requestSeqNum,
    endpointIdentifier: optional(identifier),
    destinationInfo: aliases,
    nonStandardData,
    replyAddress: transportAddress,
  },
  rest("sourceInfo"),
);

const locationConfirm = sequence(
  {
    requestSeqNum,
    callSignalAddress: transportAddress,
    rasAddress: transportAddress,
    nonStandardData: optional(REST),
  },
  {},
);

const infoRequestResponse = sequence(
  {
    nonStandardData,
    requestSeqNum,
    endpointType,
    endpointIdentifier: identifier,
    rasAddress: transportAddress,
    callSignalAddress: transportAddresses,
    ...each(optional(REST), "endpointAlias", "perCallInfo"),
  },
  {},
);

/** What stands in a datagram of RAS. */
export const rasMessage = choice(
  {
    gatekeeperRequest,
    gatekeeperConfirm,
    gatekeeperReject: REST,
    registrationRequest,
    registrationConfirm,
    registrationReject: REST,
    unregistrationRequest,
    ...rest("unregistrationConfirm", "unregistrationReject"),
    admissionRequest,
    admissionConfirm,
    ...rest("admissionReject", "bandwidthRequest", "bandwidthConfirm", "bandwidthReject"),
    ...rest("disengageRequest", "disengageConfirm", "disengageReject"),
    locationRequest,
    locationConfirm,
    ...rest("locationReject", "infoRequest"),
    infoRequestResponse,
    nonStandardMessage: REST,
  },
  rest(
    "unknownMessageResponse",
    "requestInProgress",
    "resourcesAvailableIndicate",
    "resourcesAvailableConfirm",
    "infoRequestAck",
    "infoRequestNak",
    "serviceControlIndication",
    "serviceControlResponse",
  ),
);
