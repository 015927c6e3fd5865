export { ipv4Text, ipv6Text, macText } from "../net/address.ts";
export { Batch } from "./batch.ts";
export { type Connection, type ConnectionCounters, type ConnectionTuple, decodeConnection } from "./connection.ts";
export { type ConnectionEvent, ConntrackClient } from "./conntrack.ts";
export { type ConnectionFormat, formatConnection } from "./format/connection.ts";
export { formatConntrackLine } from "./format/conntrack-line.ts";
export { type FormatOptions, formatActions, formatFlow, formatKey, formatUfid } from "./format/index.ts";
export {
  GenlBatch,
  GenlClient,
  type GenlFamilyInfo,
  GenlMessage,
  type Subscription,
} from "./genl.ts";
export { errorOf, MessageView, messagesOf } from "./message.ts";
export {
  type DatapathChanges,
  type DatapathInfo,
  type DatapathOptions,
  type ExecuteSpec,
  type FlowChanges,
  type FlowId,
  type FlowInfo,
  type FlowSpec,
  type MeterBandSpec,
  type MeterFeatures,
  type MeterInfo,
  type MeterOptions,
  type Notification,
  OvsBatch,
  OvsClient,
  type Upcall,
  UpcallSocket,
  type VportInfo,
  type VportOptions,
  type VportStats,
  type ZoneLimit,
} from "./ovs/index.ts";
export { formatProc } from "./proc.ts";
export { Requester, type SocketOpener } from "./requester.ts";
export { Client, type ConnectOptions, connect, type OpenOptions, SeqpacketSocket } from "./seqpacket.ts";
