/** Netlink, as the kernel speaks it: messages, attribute schemas, sockets and the bus behind them. */
export {
  BusSocket,
  type BusSocketOptions,
  DUMP_ROOM,
  DUMP_ROOM_MAX,
  type Dump,
  NetlinkBus,
  NetlinkMessage,
  type NetlinkProtocol,
  type NetlinkSink,
} from "./bus.ts";
export { ExtAck } from "./extack.ts";
export { DEFAULT_RECEIVE_BUFFER, type PairOptions, PairSocket } from "./pair.ts";
export { AttributeReader } from "./reader.ts";
export * from "./schema/index.ts";
export type { NetlinkSocket } from "./socket.ts";
export { MessageWriter } from "./writer.ts";
