/** Netlink, as the kernel speaks it: messages, attribute schemas, sockets and the bus behind them. */

export { NetlinkBus } from "./bus.ts";
export { BusSocket, type NetlinkProtocol } from "./bus-socket.ts";
export { DUMP_ROOM, DUMP_ROOM_MAX, type Dump } from "./dump.ts";
export { ExtAck } from "./extack.ts";
export { NetlinkMessage } from "./message.ts";
export { DEFAULT_RECEIVE_BUFFER, type PairOptions, PairSocket } from "./pair.ts";
export { AttributeReader } from "./reader.ts";
export * from "./schema/index.ts";
export type { NetlinkSocket } from "./socket.ts";
export type { BusSocketOptions, NetlinkSink } from "./socket-options.ts";
export { MessageWriter } from "./writer.ts";
