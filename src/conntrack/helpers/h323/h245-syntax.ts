import {
  anyOctets,
  BOOLEAN,
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
 * ASN.1 of ITU-T H.245 (MULTIMEDIA-SYSTEM-CONTROL), as far as the way to the addresses of logical channels goes. Names
 * and constraints are the recommendation's.
 */

const word = integer(0, 65535);
/** LogicalChannelNumber, and other numbers that are never 0. */
const channel = integer(1, 65535);
const long = integer(0, 4294967295);

const nonStandardParameter = sequence({
  nonStandardIdentifier: choice({
    object: OBJECT_ID,
    h221NonStandard: sequence({
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
    iPAddress: sequence({ network: wanted(octets(4)), tsapIdentifier: word }, {}),
    iPXAddress: sequence({ node: octets(6), netnum: octets(4), tsapIdentifier: octets(2) }, {}),
    iP6Address: sequence({ network: wanted(octets(16)), tsapIdentifier: word }, {}),
    netBios: octets(16),
    iPSourceRouteAddress: sequence(
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
    iPAddress: sequence({ network: octets(4), tsapIdentifier: word }, {}),
    iP6Address: sequence({ network: octets(16), tsapIdentifier: word }, {}),
  },
  { nsap, nonStandardAddress: UNREAD },
);

const transportAddress = choice({ unicastAddress, multicastAddress }, {});

// Kinds of data

const flags = (...names: readonly string[]) => each(BOOLEAN, ...names);

const pictureInterval = optional(integer(1, 32));
const slowInterval = optional(integer(1, 3600));

const videoCapability = choice(
  {
    nonStandard: nonStandardParameter,
    h261VideoCapability: sequence(
      {
        qcifMPI: optional(integer(1, 4)),
        cifMPI: optional(integer(1, 4)),
        temporalSpatialTradeOffCapability: BOOLEAN,
        maxBitRate: integer(1, 19200),
        stillImageTransmission: BOOLEAN,
      },
      { videoBadMBsCap: BOOLEAN },
    ),
    h262VideoCapability: sequence(
      {
        ...flags("SPatML", "MPatLL", "MPatML", "MPatH14", "MPatHL", "SNRatLL", "SNRatML", "SpatialatH14"),
        ...flags("HPatML", "HPatH14", "HPatHL"),
        videoBitRate: optional(integer(0, 1073741823)),
        vbvBufferSize: optional(integer(0, 262143)),
        samplesPerLine: optional(integer(0, 16383)),
        linesPerFrame: optional(integer(0, 16383)),
        framesPerSecond: optional(integer(0, 15)),
        luminanceSampleRate: optional(long),
      },
      { videoBadMBsCap: BOOLEAN },
    ),
    h263VideoCapability: sequence(
      {
        sqcifMPI: pictureInterval,
        qcifMPI: pictureInterval,
        cifMPI: pictureInterval,
        cif4MPI: pictureInterval,
        cif16MPI: pictureInterval,
        maxBitRate: integer(1, 192400),
        ...flags("unrestrictedVector", "arithmeticCoding", "advancedPrediction", "pbFrames"),
        temporalSpatialTradeOffCapability: BOOLEAN,
        "hrd-B": optional(integer(0, 524287)),
        bppMaxKb: optional(word),
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
    is11172VideoCapability: sequence(
      {
        constrainedBitstream: BOOLEAN,
        videoBitRate: optional(integer(0, 1073741823)),
        vbvBufferSize: optional(integer(0, 262143)),
        samplesPerLine: optional(integer(0, 16383)),
        linesPerFrame: optional(integer(0, 16383)),
        pictureRate: optional(integer(0, 15)),
        luminanceSampleRate: optional(long),
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
    g7231: sequence({ "maxAl-sduAudioFrames": frames, silenceSuppression: BOOLEAN }),
    g728: frames,
    g729: frames,
    g729AnnexA: frames,
    is11172AudioCapability: sequence(
      {
        ...flags("layer1", "layer2", "layer3", "sampling32k", "sampling44k1", "sampling48k", "single", "two"),
        bitRate: integer(1, 448),
      },
      {},
    ),
    is13818AudioCapability: sequence(
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
  t84Restricted: sequence(
    {
      ...flags("qcif", "cif", "ccir601Seq", "ccir601Prog", "hdtvSeq", "hdtvProg", "g3FacsMH200x100"),
      ...flags("g3FacsMH200x200", "g4FacsMMR200x100", "g4FacsMMR200x200", "jbig200x200Seq", "jbig200x200Prog"),
      ...flags("jbig300x300Seq", "jbig300x300Prog", "digPhotoLow", "digPhotoMedSeq", "digPhotoMedProg"),
      ...flags("digPhotoHighSeq", "digPhotoHighProg"),
    },
    {},
  ),
});

const dataApplicationCapability = sequence(
  {
    application: choice(
      {
        nonStandard: nonStandardParameter,
        t120: wanted(dataProtocolCapability),
        "dsm-cc": dataProtocolCapability,
        userData: dataProtocolCapability,
        t84: sequence({ t84Protocol: dataProtocolCapability, t84Profile }),
        t434: dataProtocolCapability,
        h224: dataProtocolCapability,
        nlpid: sequence({ nlpidProtocol: dataProtocolCapability, nlpidData: anyOctets() }),
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

const h222LogicalChannelParameters = sequence(
  {
    resourceID: word,
    subChannelID: integer(0, 8191),
    "pcr-pid": optional(integer(0, 8191)),
    programDescriptors: optional(anyOctets()),
    streamDescriptors: optional(anyOctets()),
  },
  {},
);

const h223LogicalChannelParameters = sequence(
  {
    adaptationLayerType: choice(
      {
        nonStandard: nonStandardParameter,
        al1Framed: NULL,
        al1NotFramed: NULL,
        al2WithoutSequenceNumbers: NULL,
        al2WithSequenceNumbers: NULL,
        al3: sequence({ controlFieldOctets: integer(0, 2), sendBufferSize: integer(0, 16777215) }),
      },
      { al1M: UNREAD, al2M: UNREAD, al3M: UNREAD },
    ),
    segmentableFlag: BOOLEAN,
  },
  {},
);

const v76LogicalChannelParameters = sequence(
  {
    hdlcParameters: sequence(
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
        eRM: sequence(
          { windowSize: integer(1, 127), recovery: choice({ rej: NULL, sREJ: NULL, mSREJ: NULL }, {}) },
          {},
        ),
        uNERM: NULL,
      },
      {},
    ),
    v75Parameters: sequence({ audioHeaderPresent: BOOLEAN }, {}),
  },
  {},
);

const h2250LogicalChannelParameters = sequence(
  {
    nonStandard: optional(sequenceOf(nonStandardParameter)),
    sessionID: integer(0, 255),
    associatedSessionID: optional(integer(1, 255)),
    mediaChannel: optional(transportAddress),
    mediaGuaranteedDelivery: optional(BOOLEAN),
    mediaControlChannel: optional(transportAddress),
    mediaControlGuaranteedDelivery: optional(REST),
    silenceSuppression: optional(REST),
    destination: optional(REST),
    dynamicRTPPayloadType: optional(REST),
    mediaPacketization: optional(REST),
  },
  {},
);

const networkAccessParameters = sequence(
  {
    distribution: optional(choice({ unicast: NULL, multicast: NULL }, {})),
    networkAddress: choice(
      {
        q2931Address: sequence(
          {
            address: choice({ internationalNumber: digits(1, 16), nsapAddress: nsap }, {}),
            subaddress: optional(octets(1, 20)),
          },
          {},
        ),
        e164Address: digits(1, 128),
        localAreaAddress: transportAddress,
      },
      {},
    ),
    associateConference: BOOLEAN,
    externalReference: optional(octets(1, 255)),
  },
  { t120SetupProcedure: UNREAD },
);

/** H.225.0 carries these in fastStart. */
export const openLogicalChannel = sequence(
  {
    forwardLogicalChannelNumber: channel,
    forwardLogicalChannelParameters: sequence(
      {
        portNumber: optional(word),
        dataType: wanted(dataType),
        multiplexParameters: choice(
          { h222LogicalChannelParameters, h223LogicalChannelParameters, v76LogicalChannelParameters },
          { h2250LogicalChannelParameters, none: NULL },
        ),
      },
      { forwardLogicalChannelDependency: channel, replacementFor: channel },
    ),
    reverseLogicalChannelParameters: optional(
      sequence(
        {
          dataType,
          multiplexParameters: optional(
            choice({ h223LogicalChannelParameters, v76LogicalChannelParameters }, { h2250LogicalChannelParameters }),
          ),
        },
        { reverseLogicalChannelDependency: channel, replacementFor: channel },
      ),
    ),
  },
  { separateStack: networkAccessParameters, encryptionSync: REST },
);

const openLogicalChannelAck = sequence(
  {
    forwardLogicalChannelNumber: channel,
    reverseLogicalChannelParameters: optional(
      sequence(
        {
          reverseLogicalChannelNumber: channel,
          portNumber: optional(word),
          multiplexParameters: optional(choice({ h222LogicalChannelParameters }, { h2250LogicalChannelParameters })),
        },
        { replacementFor: channel },
      ),
    ),
  },
  {
    separateStack: networkAccessParameters,
    forwardMultiplexAckParameters: choice(
      {
        h2250LogicalChannelAckParameters: sequence(
          {
            nonStandard: optional(sequenceOf(nonStandardParameter)),
            sessionID: optional(integer(1, 255)),
            mediaChannel: optional(transportAddress),
            mediaControlChannel: optional(transportAddress),
            dynamicRTPPayloadType: optional(integer(96, 127)),
          },
          { flowControlToZero: BOOLEAN, portNumber: word },
        ),
      },
      {},
    ),
    encryptionSync: REST,
  },
);

/** Alternatives that are not looked into. */
const rest = (...names: readonly string[]) => each(REST, ...names);

/** What stands in the packets of an H.245 connection, and in h245Control of H.225.0. */
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
