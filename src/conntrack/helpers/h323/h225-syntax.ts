import { multimediaSystemControlMessage, openLogicalChannel } from "./h245-syntax.ts";
import {
  anyOctets,
  asnOptional,
  asnSequence,
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
  REST,
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

const h221NonStandard = asnSequence(
  { t35CountryCode: integer(0, 255), t35Extension: integer(0, 255), manufacturerCode: word },
  {},
);

const nonStandardParameter = asnSequence({
  nonStandardIdentifier: choice({ object: OBJECT_ID, h221NonStandard }, {}),
  data: anyOctets(),
});

const transportAddress = choice(
  {
    ipAddress: asnSequence({ ip: wanted(octets(4)), port: word }),
    ipSourceRoute: asnSequence(
      { ip: octets(4), port: word, route: sequenceOf(octets(4)), routing: choice(nulls("strict", "loose"), {}) },
      {},
    ),
    ipxAddress: asnSequence({ node: octets(6), netnum: octets(4), port: octets(2) }),
    ip6Address: asnSequence({ ip: wanted(octets(16)), port: word }, {}),
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

const vendorIdentifier = asnSequence(
  { vendor: h221NonStandard, productId: asnOptional(octets(1, 256)), versionId: asnOptional(octets(1, 256)) },
  {},
);

const nonStandardData = asnOptional(nonStandardParameter);
const gatewayCaps = asnSequence({ nonStandardData }, unread("dataRatesSupported", "supportedPrefixes"));
const supportedProtocols = choice(
  {
    nonStandardData: nonStandardParameter,
    ...each(gatewayCaps, "h310", "h320", "h321", "h322", "h323", "h324", "voice", "t120-only"),
  },
  unread("nonStandardProtocol", "t38FaxAnnexbOnly"),
);

const endpointType = asnSequence(
  {
    nonStandardData,
    vendor: asnOptional(vendorIdentifier),
    gatekeeper: asnOptional(asnSequence({ nonStandardData }, {})),
    gateway: asnOptional(asnSequence({ protocol: asnOptional(sequenceOf(supportedProtocols)), nonStandardData }, {})),
    mcu: asnOptional(asnSequence({ nonStandardData }, unread("protocol"))),
    terminal: asnOptional(asnSequence({ nonStandardData }, {})),
    mc: BOOLEAN,
    undefinedNode: BOOLEAN,
  },
  unread("set", "supportedTunnelledProtocols"),
);

const callType = choice(nulls("pointToPoint", "oneToN", "nToOne", "nToN"), {});
const callModel = choice(nulls("direct", "gatekeeperRouted"), {});
const callIdentifier = asnSequence({ guid: octets(16) }, {});
const fastStart = sequenceOf(openLogicalChannel, MAX_FAST_START, true);

// Security (H.235), which precedes the addresses of one message

const securityServiceMode = choice({ nonStandard: nonStandardParameter, ...nulls("none", "default") }, {});
const securityCapabilities = asnSequence(
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
const clearToken = asnSequence(
  {
    tokenOID: OBJECT_ID,
    timeStamp: asnOptional(integer(1, 4294967295)),
    password: asnOptional(identifier),
    dhkey: asnOptional(asnSequence({ halfkey: dhKey, modSize: dhKey, generator: dhKey }, {})),
    challenge: asnOptional(octets(8, 128)),
    random: asnOptional(integer()),
    certificate: asnOptional(asnSequence({ type: OBJECT_ID, certificate: anyOctets() }, {})),
    generalID: asnOptional(identifier),
    nonStandard: asnOptional(asnSequence({ nonStandardIdentifier: OBJECT_ID, data: anyOctets() })),
  },
  unread("eckasdhkey", "sendersID"),
);

const params = asnSequence({ ranInt: asnOptional(integer()), iv8: asnOptional(octets(8)) }, { iv16: octets(16) });
const hashed = asnSequence({ algorithmOID: OBJECT_ID, paramS: params, hash: bitString() });
const encrypted = asnSequence({ algorithmOID: OBJECT_ID, paramS: params, encryptedData: anyOctets() });
/** What is signed is an open type: as long as an OCTET STRING of any size. */
const signed = asnSequence({
  toBeSigned: anyOctets(),
  algorithmOID: OBJECT_ID,
  paramS: params,
  signature: bitString(),
});
const timeStamp = integer(1, 4294967295);

const cryptoH323Token = choice(
  {
    cryptoEPPwdHash: asnSequence({ alias: aliasAddress, timeStamp, token: hashed }),
    cryptoGKPwdHash: asnSequence({ gatekeeperId: identifier, timeStamp, token: hashed }),
    cryptoEPPwdEncr: encrypted,
    cryptoGKPwdEncr: encrypted,
    cryptoEPCert: signed,
    cryptoGKCert: signed,
    cryptoFastStart: signed,
    nestedcryptoToken: choice(
      {
        cryptoEncryptedToken: asnSequence({ tokenOID: OBJECT_ID, token: encrypted }),
        cryptoSignedToken: asnSequence({ tokenOID: OBJECT_ID, token: signed }),
        cryptoHashedToken: asnSequence({ tokenOID: OBJECT_ID, hashedVals: clearToken, token: hashed }),
        cryptoPwdEncr: encrypted,
      },
      {},
    ),
  },
  {},
);

// Call signalling

const setup = asnSequence(
  {
    protocolIdentifier: OBJECT_ID,
    h245Address: asnOptional(transportAddress),
    sourceAddress: asnOptional(aliases),
    sourceInfo: endpointType,
    destinationAddress: asnOptional(aliases),
    destCallSignalAddress: asnOptional(transportAddress),
    destExtraCallInfo: asnOptional(aliases),
    destExtraCRV: asnOptional(sequenceOf(word)),
    activeMC: BOOLEAN,
    conferenceID: octets(16),
    conferenceGoal: choice(
      nulls("create", "join", "invite"),
      nulls("capability-negotiation", "callIndependentSupplementaryService"),
    ),
    callServices: asnOptional(
      asnSequence(
        {
          ...each(BOOLEAN, "q932Full", "q951Full", "q952Full", "q953Full", "q955Full", "q956Full", "q957Full"),
          q954Info: asnSequence(each(BOOLEAN, "conferenceCalling", "threePartyService"), {}),
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

const callProceeding = asnSequence(
  { protocolIdentifier: OBJECT_ID, destinationInfo: endpointType, h245Address: asnOptional(transportAddress) },
  {
    ...unread("callIdentifier", "h245SecurityMode", "tokens", "cryptoTokens"),
    fastStart,
    ...unread("multipleCalls", "maintainConnection", "fastConnectRefused", "featureSet"),
  },
);

const connect = asnSequence(
  {
    protocolIdentifier: OBJECT_ID,
    h245Address: asnOptional(transportAddress),
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

const alerting = asnSequence(
  { protocolIdentifier: OBJECT_ID, destinationInfo: endpointType, h245Address: asnOptional(transportAddress) },
  {
    ...unread("callIdentifier", "h245SecurityMode", "tokens", "cryptoTokens"),
    fastStart,
    ...unread("multipleCalls", "maintainConnection", "alertingAddress", "presentationIndicator"),
    ...unread("screeningIndicator", "fastConnectRefused", "serviceControl", "capacity", "featureSet"),
  },
);

const information = asnSequence(
  { protocolIdentifier: OBJECT_ID },
  unread("callIdentifier", "tokens", "cryptoTokens", "fastStart", "fastConnectRefused", "circuitInfo"),
);

const releaseComplete = asnSequence(
  {
    protocolIdentifier: OBJECT_ID,
    reason: asnOptional(
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

const facility = asnSequence(
  {
    protocolIdentifier: OBJECT_ID,
    alternativeAddress: asnOptional(transportAddress),
    alternativeAliasAddress: asnOptional(aliases),
    conferenceID: asnOptional(octets(16)),
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

const progress = asnSequence(
  {
    protocolIdentifier: OBJECT_ID,
    destinationInfo: endpointType,
    h245Address: asnOptional(transportAddress),
    callIdentifier,
    h245SecurityMode: asnOptional(h245Security),
    tokens: asnOptional(sequenceOf(clearToken)),
    cryptoTokens: asnOptional(sequenceOf(cryptoH323Token)),
    fastStart: asnOptional(fastStart),
  },
  unread("multipleCalls", "maintainConnection", "fastConnectRefused"),
);

/** What the User-user information element of Q.931 holds. */
export const h323UserInformation = asnSequence(
  {
    "h323-uu-pdu": asnSequence(
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
    "user-data": asnOptional(REST),
  },
  {},
);

// Registration, admission, status

const gatekeeperRequest = asnSequence(
  {
    requestSeqNum,
    protocolIdentifier: OBJECT_ID,
    nonStandardData,
    rasAddress: transportAddress,
    endpointType: REST,
    ...each(asnOptional(REST), "gatekeeperIdentifier", "callServices", "endpointAlias"),
  },
  {},
);

const gatekeeperConfirm = asnSequence(
  {
    requestSeqNum,
    protocolIdentifier: OBJECT_ID,
    nonStandardData,
    gatekeeperIdentifier: asnOptional(identifier),
    rasAddress: transportAddress,
  },
  rest("alternateGatekeeper"),
);

const registrationRequest = asnSequence(
  {
    requestSeqNum,
    protocolIdentifier: OBJECT_ID,
    nonStandardData,
    discoveryComplete: BOOLEAN,
    callSignalAddress: transportAddresses,
    rasAddress: transportAddresses,
    terminalType: endpointType,
    terminalAlias: asnOptional(aliases),
    gatekeeperIdentifier: asnOptional(identifier),
    endpointVendor: vendorIdentifier,
  },
  { alternateEndpoints: UNREAD, timeToLive: wanted(timeToLive), tokens: REST },
);

const registrationConfirm = asnSequence(
  {
    requestSeqNum,
    protocolIdentifier: OBJECT_ID,
    nonStandardData,
    callSignalAddress: transportAddresses,
    terminalAlias: asnOptional(aliases),
    gatekeeperIdentifier: asnOptional(identifier),
    endpointIdentifier: identifier,
  },
  { alternateGatekeeper: UNREAD, timeToLive: wanted(timeToLive), tokens: REST },
);

const unregistrationRequest = asnSequence(
  {
    requestSeqNum,
    callSignalAddress: transportAddresses,
    ...each(asnOptional(REST), "endpointAlias", "nonStandardData", "endpointIdentifier"),
  },
  {},
);

const admissionRequest = asnSequence(
  {
    requestSeqNum,
    callType,
    callModel: asnOptional(callModel),
    endpointIdentifier: identifier,
    destinationInfo: asnOptional(aliases),
    destCallSignalAddress: asnOptional(transportAddress),
    destExtraCallInfo: asnOptional(aliases),
    srcInfo: aliases,
    srcCallSignalAddress: asnOptional(transportAddress),
    bandWidth: REST,
    ...each(asnOptional(REST), "nonStandardData", "callServices"),
  },
  {},
);

const admissionConfirm = asnSequence(
  {
    requestSeqNum,
    bandWidth: long,
    callModel,
    destCallSignalAddress: transportAddress,
    ...each(asnOptional(REST), "irrFrequency", "nonStandardData"),
  },
  {},
);

const locationRequest = asnSequence(
  {
    requestSeqNum,
    endpointIdentifier: asnOptional(identifier),
    destinationInfo: aliases,
    nonStandardData,
    replyAddress: transportAddress,
  },
  rest("sourceInfo"),
);

const locationConfirm = asnSequence(
  {
    requestSeqNum,
    callSignalAddress: transportAddress,
    rasAddress: transportAddress,
    nonStandardData: asnOptional(REST),
  },
  {},
);

const infoRequestResponse = asnSequence(
  {
    nonStandardData,
    requestSeqNum,
    endpointType,
    endpointIdentifier: identifier,
    rasAddress: transportAddress,
    callSignalAddress: transportAddresses,
    ...each(asnOptional(REST), "endpointAlias", "perCallInfo"),
  },
  {},
);

/** The content of a RAS datagram. */
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
