export { ipv4Text, ipv6Text, macText } from "../net/address.ts";
export {
  type Connection,
  type ConnectionCounters,
  type ConnectionEvent,
  type ConnectionFormat,
  type ConnectionTuple,
  ConntrackClient,
  decodeConnection,
  formatConnection,
  formatConntrackLine,
} from "./conntrack.ts";
export { type FormatOptions, formatActions, formatFlow, formatKey, formatUfid } from "./format.ts";
export {
  GenlBatch,
  GenlClient,
  type GenlFamily,
  GenlMessage,
  type Subscription,
} from "./genl.ts";
export {
  type DatapathInfo,
  type ExecuteSpec,
  type FlowId,
  type FlowInfo,
  type FlowSpec,
  type MeterBand,
  type MeterInfo,
  type Notification,
  OvsBatch,
  OvsClient,
  type Upcall,
  UpcallSocket,
  type VportInfo,
  type VportStats,
  type ZoneLimit,
} from "./ovs.ts";
export { formatProc } from "./proc.ts";
export { Batch, errorOf, messagesOf, NetlinkMessage, Requester, type SocketOpener } from "./requester.ts";
export { Client, type ConnectOptions, connect, type OpenOptions, SeqpacketSocket } from "./seqpacket.ts";
