import type { NetlinkHost } from "../netlink/host.ts";
import type { NativeServer, Output } from "./native-server.ts";
import type { RecordSender } from "./record-sender.ts";
import type { SendQueue } from "./send-queue.ts";

/** Counters of a server. */
export interface NetlinkServerStats {
  /** Connections accepted; requests executed; those of them that came by a mailbox; malformed packets. */
  connections: number;
  requests: number;
  posted: number;
  malformed: number;
  /** Connections refused because their user had too many, or closed because no hello came. */
  refused: number;
}

/** What the parts of one server share. */
export interface ServerContext {
  /** Netlink bus and links of the server's own network namespace. */
  readonly host: NetlinkHost;
  readonly server: NativeServer;
  /** Holds the packet that is being handled, REQUEST_MAX bytes; and a view of it. */
  readonly input: Uint8Array;
  readonly view: DataView;
  readonly output: Output;
  /** Privilege of the sender of that packet. */
  readonly sender: RecordSender;
  readonly queue: SendQueue;
  readonly stats: NetlinkServerStats;
}
