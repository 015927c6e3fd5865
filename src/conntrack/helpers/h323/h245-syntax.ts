import {
  anyOctets,
  asnOptional,
  asnSequence,
  BOOLEAN,
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
 * ASN.1 of ITU-T H.245 (MULTIMEDIA-SYSTEM-CONTROL), as far as the way to the addresses of logical channels goes. Names
 * and constraints are the recommendation's.
 */

const word = integer(0, 65535);
/** LogicalChannelNumber, and other numbers that are never 0. */
const channel = integer(1, 65535);
const long = integer(0, 4294967295);

const nonStandardParameter = asnSequence({
  nonStandardIdentifier: choice({
    object: OBJECT_ID,
    h221NonStandard: asnSequence({
      t35CountryCode: integer(0, 255),
      t35Extension: integer(0, 255),
      manufacturerCode: word,
    }),
  }),
  data: anyOctets(),
});

// Addresses

const nsap = octets(1, 20);

const unicastAddress = choice(
  {
    iPAddress: asnSequence({ network: wanted(octets(4)), tsapIdentifier: word }, {}),
    iPXAddress: asnSequence({ node: octets(6), netnum: octets(4), tsapIdentifier: octets(2) }, {}),
    iP6Address: asnSequence({ network: wanted(octets(16)), tsapIdentifier: word }, {}),
    netBios: octets(16),
    iPSourceRouteAddress: asnSequence(
      {
        routing: choice({ strict: NULL, loose: NULL }),
        network: octets(4),
        tsapIdentifier: word,
        route: sequenceOf(octets(4)),
      },
      {},
    ),
  },
  { nsap, nonStandardAddress: UNREAD },
);

const multicastAddress = choice(
  {
    iPAddress: asnSequence({ network: octets(4), tsapIdentifier: word }, {}),
    iP6Address: asnSequence({ network: octets(16), tsapIdentifier: word }, {}),
  },
  { nsap, nonStandardAddress: UNREAD },
);

const transportAddress = choice({ unicastAddress, multicastAddress }, {});

// Kinds of data

const flags = (...names: readonly string[]) => each(BOOLEAN, ...names);

const pictureInterval = asnOptional(integer(1, 32));
const slowInterval = asnOptional(integer(1, 3600));

const videoCapability = choice(
  {
    nonStandard: nonStandardParameter,
    h261VideoCapability: asnSequence(
      {
        qcifMPI: asnOptional(integer(1, 4)),
        cifMPI: asnOptional(integer(1, 4)),
        temporalSpatialTradeOffCapability: BOOLEAN,
        maxBitRate: integer(1, 19200),
        stillImageTransmission: BOOLEAN,
      },
      { videoBadMBsCap: BOOLEAN },
    ),
    h262VideoCapability: asnSequence(
      {
        ...flags("SPatML", "MPatLL", "MPatML", "MPatH14", "MPatHL", "SNRatLL", "SNRatML", "SpatialatH14"),
        ...flags("HPatML", "HPatH14", "HPatHL"),
        videoBitRate: asnOptional(integer(0, 1073741823)),
        vbvBufferSize: asnOptional(integer(0, 262143)),
        samplesPerLine: asnOptional(integer(0, 16383)),
        linesPerFrame: asnOptional(integer(0, 16383)),
        framesPerSecond: asnOptional(integer(0, 15)),
        luminanceSampleRate: asnOptional(long),
      },
      { videoBadMBsCap: BOOLEAN },
    ),
    h263VideoCapability: asnSequence(
      {
        sqcifMPI: pictureInterval,
        qcifMPI: pictureInterval,
        cifMPI: pictureInterval,
        cif4MPI: pictureInterval,
        cif16MPI: pictureInterval,
        maxBitRate: integer(1, 192400),
        ...flags("unrestrictedVector", "arithmeticCoding", "advancedPrediction", "pbFrames"),
        temporalSpatialTradeOffCapability: BOOLEAN,
        "hrd-B": asnOptional(integer(0, 524287)),
        bppMaxKb: asnOptional(word),
      },
      {
        slowSqcifMPI: slowInterval,
        slowQcifMPI: slowInterval,
        slowCifMPI: slowInterval,
        slowCif4MPI: slowInterval,
        slowCif16MPI: slowInterval,
        errorCompensation: BOOLEAN,
        enhancementLayerInfo: UNREAD,
        h263Options: UNREAD,
      },
    ),
    is11172VideoCapability: asnSequence(
      {
        constrainedBitstream: BOOLEAN,
        videoBitRate: asnOptional(integer(0, 1073741823)),
        vbvBufferSize: asnOptional(integer(0, 262143)),
        samplesPerLine: asnOptional(integer(0, 16383)),
        linesPerFrame: asnOptional(integer(0, 16383)),
        pictureRate: asnOptional(integer(0, 15)),
        luminanceSampleRate: asnOptional(long),
      },
      { videoBadMBsCap: BOOLEAN },
    ),
  },
  { genericVideoCapability: UNREAD },
);

/** Frames or milliseconds in one packet. */
const frames = integer(1, 256);

const audioCapability = choice(
  {
    nonStandard: nonStandardParameter,
    g711Alaw64k: frames,
    g711Alaw56k: frames,
    g711Ulaw64k: frames,
    g711Ulaw56k: frames,
    "g722-64k": frames,
    "g722-56k": frames,
    "g722-48k": frames,
    g7231: asnSequence({ "maxAl-sduAudioFrames": frames, silenceSuppression: BOOLEAN }),
    g728: frames,
    g729: frames,
    g729AnnexA: frames,
    is11172AudioCapability: asnSequence(
      {
        ...flags("layer1", "layer2", "layer3", "sampling32k", "sampling44k1", "sampling48k", "single", "two"),
        bitRate: integer(1, 448),
      },
      {},
    ),
    is13818AudioCapability: asnSequence(
      {
        ...flags("layer1", "layer2", "layer3", "sampling16k", "sampling22k05", "sampling24k", "sampling32k"),
        ...flags("sampling44k1", "sampling48k", "single", "two", "three2-1", "three3-0", "four2-0-2-0", "four2-2"),
        ...flags("four3-1", "five3-0-2-0", "five3-2", "lowFrequencyEnhancement", "multilingual"),
        bitRate: integer(1, 1130),
      },
      {},
    ),
  },
  {
    g729wAnnexB: frames,
    g729AnnexAwAnnexB: frames,
    g7231AnnexCCapability: UNREAD,
    gsmFullRate: UNREAD,
    gsmHalfRate: UNREAD,
    gsmEnhancedFullRate: UNREAD,
    genericAudioCapability: UNREAD,
    g729Extensions: UNREAD,
  },
);

const dataProtocolCapability = choice(
  {
    nonStandard: nonStandardParameter,
    v14buffered: NULL,
    v42lapm: NULL,
    hdlcFrameTunnelling: NULL,
    h310SeparateVCStack: NULL,
    h310SingleVCStack: NULL,
    transparent: NULL,
  },
  {
    segmentationAndReassembly: NULL,
    hdlcFrameTunnelingwSAR: NULL,
    v120: NULL,
    separateLANStack: NULL,
    v76wCompression: UNREAD,
    tcp: NULL,
    udp: NULL,
  },
);

const t84Profile = choice({
  t84Unrestricted: NULL,
  t84Restricted: asnSequence(
    {
      ...flags("qcif", "cif", "ccir601Seq", "ccir601Prog", "hdtvSeq", "hdtvProg", "g3FacsMH200x100"),
      ...flags("g3FacsMH200x200", "g4FacsMMR200x100", "g4FacsMMR200x200", "jbig200x200Seq", "jbig200x200Prog"),
      ...flags("jbig300x300Seq", "jbig300x300Prog", "digPhotoLow", "digPhotoMedSeq", "digPhotoMedProg"),
      ...flags("digPhotoHighSeq", "digPhotoHighProg"),
    },
    {},
  ),
});

const dataApplicationCapability = asnSequence(
  {
    application: choice(
      {
        nonStandard: nonStandardParameter,
        t120: wanted(dataProtocolCapability),
        "dsm-cc": dataProtocolCapability,
        userData: dataProtocolCapability,
        t84: asnSequence({ t84Protocol: dataProtocolCapability, t84Profile }),
        t434: dataProtocolCapability,
        h224: dataProtocolCapability,
        nlpid: asnSequence({ nlpidProtocol: dataProtocolCapability, nlpidData: anyOctets() }),
        dsvdControl: NULL,
        h222DataPartitioning: dataProtocolCapability,
      },
      { t30fax: UNREAD, t140: UNREAD, t38fax: UNREAD, genericDataCapability: UNREAD },
    ),
    maxBitRate: long,
  },
  {},
);

const dataType = choice(
  {
    nonStandard: nonStandardParameter,
    nullData: NULL,
    videoData: videoCapability,
    audioData: audioCapability,
    data: dataApplicationCapability,
    encryptionData: choice({ nonStandard: nonStandardParameter, h233Encryption: NULL }, {}),
  },
  { h235Control: UNREAD, h235Media: UNREAD, multiplexedStream: UNREAD },
);

// Logical channels

const h222LogicalChannelParameters = asnSequence(
  {
    resourceID: word,
    subChannelID: integer(0, 8191),
    "pcr-pid": asnOptional(integer(0, 8191)),
    programDescriptors: asnOptional(anyOctets()),
    streamDescriptors: asnOptional(anyOctets()),
  },
  {},
);

const h223LogicalChannelParameters = asnSequence(
  {
    adaptationLayerType: choice(
      {
        nonStandard: nonStandardParameter,
        al1Framed: NULL,
        al1NotFramed: NULL,
        al2WithoutSequenceNumbers: NULL,
        al2WithSequenceNumbers: NULL,
        al3: asnSequence({ controlFieldOctets: integer(0, 2), sendBufferSize: integer(0, 16777215) }),
      },
      { al1M: UNREAD, al2M: UNREAD, al3M: UNREAD },
    ),
    segmentableFlag: BOOLEAN,
  },
  {},
);

const v76LogicalChannelParameters = asnSequence(
  {
    hdlcParameters: asnSequence(
      {
        crcLength: choice({ crc8bit: NULL, crc16bit: NULL, crc32bit: NULL }, {}),
        n401: integer(1, 4095),
        loopbackTestProcedure: BOOLEAN,
      },
      {},
    ),
    suspendResume: choice({ noSuspendResume: NULL, suspendResumewAddress: NULL, suspendResumewoAddress: NULL }, {}),
    uIH: BOOLEAN,
    mode: choice(
      {
        eRM: asnSequence(
          { windowSize: integer(1, 127), recovery: choice({ rej: NULL, sREJ: NULL, mSREJ: NULL }, {}) },
          {},
        ),
        uNERM: NULL,
      },
      {},
    ),
    v75Parameters: asnSequence({ audioHeaderPresent: BOOLEAN }, {}),
  },
  {},
);

const h2250LogicalChannelParameters = asnSequence(
  {
    nonStandard: asnOptional(sequenceOf(nonStandardParameter)),
    sessionID: integer(0, 255),
    associatedSessionID: asnOptional(integer(1, 255)),
    mediaChannel: asnOptional(transportAddress),
    mediaGuaranteedDelivery: asnOptional(BOOLEAN),
    mediaControlChannel: asnOptional(transportAddress),
    mediaControlGuaranteedDelivery: asnOptional(REST),
    silenceSuppression: asnOptional(REST),
    destination: asnOptional(REST),
    dynamicRTPPayloadType: asnOptional(REST),
    mediaPacketization: asnOptional(REST),
  },
  {},
);

const networkAccessParameters = asnSequence(
  {
    distribution: asnOptional(choice({ unicast: NULL, multicast: NULL }, {})),
    networkAddress: choice(
      {
        q2931Address: asnSequence(
          {
            address: choice({ internationalNumber: digits(1, 16), nsapAddress: nsap }, {}),
            subaddress: asnOptional(octets(1, 20)),
          },
          {},
        ),
        e164Address: digits(1, 128),
        localAreaAddress: transportAddress,
      },
      {},
    ),
    associateConference: BOOLEAN,
    externalReference: asnOptional(octets(1, 255)),
  },
  { t120SetupProcedure: UNREAD },
);

/** H.225.0 carries these in fastStart. */
export const openLogicalChannel = asnSequence(
  {
    forwardLogicalChannelNumber: channel,
    forwardLogicalChannelParameters: asnSequence(
      {
        portNumber: asnOptional(word),
        dataType: wanted(dataType),
        multiplexParameters: choice(
          { h222LogicalChannelParameters, h223LogicalChannelParameters, v76LogicalChannelParameters },
          { h2250LogicalChannelParameters, none: NULL },
        ),
      },
      { forwardLogicalChannelDependency: channel, replacementFor: channel },
    ),
    reverseLogicalChannelParameters: asnOptional(
      asnSequence(
        {
          dataType,
          multiplexParameters: asnOptional(
            choice({ h223LogicalChannelParameters, v76LogicalChannelParameters }, { h2250LogicalChannelParameters }),
          ),
        },
        { reverseLogicalChannelDependency: channel, replacementFor: channel },
      ),
    ),
  },
  { separateStack: networkAccessParameters, encryptionSync: REST },
);

const openLogicalChannelAck = asnSequence(
  {
    forwardLogicalChannelNumber: channel,
    reverseLogicalChannelParameters: asnOptional(
      asnSequence(
        {
          reverseLogicalChannelNumber: channel,
          portNumber: asnOptional(word),
          multiplexParameters: asnOptional(choice({ h222LogicalChannelParameters }, { h2250LogicalChannelParameters })),
        },
        { replacementFor: channel },
      ),
    ),
  },
  {
    separateStack: networkAccessParameters,
    forwardMultiplexAckParameters: choice(
      {
        h2250LogicalChannelAckParameters: asnSequence(
          {
            nonStandard: asnOptional(sequenceOf(nonStandardParameter)),
            sessionID: asnOptional(integer(1, 255)),
            mediaChannel: asnOptional(transportAddress),
            mediaControlChannel: asnOptional(transportAddress),
            dynamicRTPPayloadType: asnOptional(integer(96, 127)),
          },
          { flowControlToZero: BOOLEAN, portNumber: word },
        ),
      },
      {},
    ),
    encryptionSync: REST,
  },
);

/** Alternatives that are not decoded. */
const rest = (...names: readonly string[]) => each(REST, ...names);

/** The content of an H.245 connection's packets, and of h245Control of H.225.0. */
export const multimediaSystemControlMessage = choice(
  {
    request: choice(
      {
        ...rest("nonStandard", "masterSlaveDetermination", "terminalCapabilitySet"),
        openLogicalChannel,
        ...rest("closeLogicalChannel", "requestChannelClose", "multiplexEntrySend", "requestMultiplexEntry"),
        ...rest("requestMode", "roundTripDelayRequest", "maintenanceLoopRequest"),
      },
      rest("communicationModeRequest", "conferenceRequest", "multilinkRequest", "logicalChannelRateRequest"),
    ),
    response: choice(
      {
        ...rest("nonStandard", "masterSlaveDeterminationAck", "masterSlaveDeterminationReject"),
        ...rest("terminalCapabilitySetAck", "terminalCapabilitySetReject"),
        openLogicalChannelAck,
        ...rest("openLogicalChannelReject", "closeLogicalChannelAck", "requestChannelCloseAck"),
        ...rest("requestChannelCloseReject", "multiplexEntrySendAck", "multiplexEntrySendReject"),
        ...rest("requestMultiplexEntryAck", "requestMultiplexEntryReject", "requestModeAck", "requestModeReject"),
        ...rest("roundTripDelayResponse", "maintenanceLoopAck", "maintenanceLoopReject"),
      },
      rest(
        "communicationModeResponse",
        "conferenceResponse",
        "multilinkResponse",
        "logicalChannelRateAcknowledge",
        "logicalChannelRateReject",
      ),
    ),
    ...rest("command", "indication"),
  },
  {},
);
