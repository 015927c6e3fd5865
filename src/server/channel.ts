import type { NetlinkHost } from "../netlink/host.ts";
import type { ChannelKind } from "../netlink/transport.ts";
import type { ServerSocket } from "./server-socket.ts";

/** The client of a connection: SO_PEERCRED, taken when it connected. */
export interface Peer {
  readonly pid: number;
  readonly uid: number;
  readonly gid: number;
  /** Inode of its network namespace; 0 where the server may not read it. */
  readonly netns: number;
}

/** One connection, with its kind and privilege as its hello has set them. */
export class Channel {
  /** undefined until its hello has come. */
  kind: ChannelKind | undefined = undefined;
  /** Of a data channel. */
  socket: ServerSocket | undefined = undefined;
  /** Its client had CAP_NET_ADMIN over the network namespace of `host` when it connected. */
  privileged = false;
  /** What it counts for against the bounds of its user (ConnectionLimits). */
  cost = 0;
  /** Of a control channel: a request is under way, whose answer it waits for. */
  asking = false;
  /** Its hello is to be refused: its user has too many connections. */
  refused = false;
  constructor(
    readonly peer: Peer,
    public host: NetlinkHost,
    /** performance.now() when it was accepted. */
    readonly since: number,
  ) {}
}
