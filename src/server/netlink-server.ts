import { mkdirSync } from "node:fs";
import { dirname } from "node:path";
import { NokmodError, systemErrorCode } from "../core/errors.ts";
import { type Random, SystemRandom } from "../core/random.ts";
import { native } from "../native/addon.ts";
import { netnsInode } from "../native/netns.ts";
import type { NetlinkHost } from "../netlink/host.ts";
import { ChannelKind, defaultSocketPath, REQUEST_MAX } from "../netlink/transport.ts";
import type { Channel } from "./channel.ts";
import { type ConnectionLimitOptions, defaultLimits } from "./connection-limits.ts";
import { ServerConnections } from "./connections.ts";
import { type NativeHandlers, type NativeServer, Output, PacketFlag, type SeqpacketAddon } from "./native-server.ts";
import { RecordSender } from "./record-sender.ts";
import { Requests } from "./requests.ts";
import { SendQueue } from "./send-queue.ts";
import type { NetlinkServerStats } from "./server-context.ts";
import type { ServerSocket } from "./server-socket.ts";

/** Options of NetlinkServer. */
export interface NetlinkServerOptions {
  /** Socket path; its directory is made. Default: defaultSocketPath(). */
  readonly path?: string;
  /** Mode of the socket file. Default 0666: credentials decide what a client may do, as with the kernel. */
  readonly mode?: number;
  /**
   * Opens the host of another network namespace, for clients there with HELLO_OWN_NAMESPACE. Without it they get the server's
   * host.
   * @param inode of the namespace
   * @param path of the namespace, valid during the call
   * @throws Errno the hello is answered with
   */
  readonly foreign?: (inode: number, path: string) => NetlinkHost;
  readonly random?: Random;
  /** Most connections of clients without CAP_NET_ADMIN. Default: by this process's RLIMIT_NOFILE. */
  readonly limits?: ConnectionLimitOptions;
  /** Milliseconds in which a connection has to send its hello. Default 30 000. */
  readonly helloTimeout?: number;
  /** Called when a connection is refused because of `limits`, or closed because of `helloTimeout`. */
  readonly onRefused?: (message: string) => void;
}

/** The default of NetlinkServerOptions.helloTimeout. */
const HELLO_TIMEOUT = 30_000;

/**
 * Serves the netlink sockets of a bus to other processes (docs/transport.md). A malformed request, a fault or the death of a
 * client ends that client's channel at most.
 */
export class NetlinkServer {
  readonly path: string;
  readonly stats: NetlinkServerStats = { connections: 0, requests: 0, posted: 0, malformed: 0, refused: 0 };
  private readonly server: NativeServer;
  private readonly connections: ServerConnections;
  private readonly requests: Requests;
  private readonly sender = new RecordSender(() => this.server);
  private readonly queue = new SendQueue(this.sender, (error) => this.host.bus.onFault?.(error));

  /**
   * Listens on the path.
   * @throws NokmodError ERR_ADDRESS_IN_USE when another server serves the path; ERR_SOCKET_PATH when it cannot be made
   */
  constructor(
    private readonly host: NetlinkHost,
    options: NetlinkServerOptions = {},
  ) {
    this.path = options.path ?? defaultSocketPath();
    const limits = options.limits ?? defaultLimits();
    const inode = netnsInode();
    const input = new Uint8Array(REQUEST_MAX);
    const output = new Output();
    const { SeqpacketServer } = native<SeqpacketAddon>();
    const handlers: NativeHandlers = {
      accept: (id, pid, uid, gid, netns) => this.connections.accept(id, { pid, uid, gid, netns }),
      packet: (id, length, flags) => {
        if ((flags & PacketFlag.Posted) !== 0) this.stats.posted++;
        this.sender.begin((flags & PacketFlag.Trusted) !== 0);
        try {
          return this.onPacket(id, length, flags);
        } finally {
          this.sender.end();
        }
      },
      drained: (id) => this.connections.get(id)?.socket?.onDrained(),
      closed: (id) => this.connections.forget(id),
    };
    try {
      mkdirSync(dirname(this.path), { recursive: true, mode: 0o755 });
      this.server = new SeqpacketServer(this.path, options.mode ?? 0o666, input, output.bytes, handlers);
    } catch (cause) {
      // EACCES, EROFS, ENOTSOCK (another file is there), ENAMETOOLONG …: the path is of no use.
      const code = systemErrorCode(cause);
      if (code === undefined) throw cause;
      if (code === "EADDRINUSE") {
        throw new NokmodError("ERR_ADDRESS_IN_USE", `another server is listening on ${this.path}`, { cause });
      }
      throw new NokmodError("ERR_SOCKET_PATH", `cannot listen on ${this.path}: ${(cause as Error).message}`, { cause });
    }
    const { server, sender, queue, stats } = this;
    const context = { host, server, input, view: new DataView(input.buffer), output, sender, queue, stats };
    const { foreign, onRefused, helloTimeout = HELLO_TIMEOUT, random = new SystemRandom() } = options;
    this.connections = new ServerConnections(context, { random, limits, helloTimeout, inode, foreign, onRefused });
    this.requests = new Requests(context, this.connections);
  }

  /** Open netlink sockets. */
  get size(): number {
    return this.connections.size;
  }

  /** Closes all sockets and connections and removes the path. */
  close(): void {
    this.queue.finish();
    this.connections.close();
    this.server.close();
  }

  /** Handles a packet. @returns length of the answer in the output; 0: there is none */
  private onPacket(id: number, length: number, flags: number): number {
    const channel = this.connections.get(id) as Channel;
    if (channel.kind === undefined) return this.connections.hello(id, channel, length, flags);
    if (channel.kind === ChannelKind.Data) {
      this.requests.datagram(id, channel.socket as ServerSocket, length);
      return 0;
    }
    if (!channel.asking) return this.requests.request(id, channel, length);
    // Its client breaks the protocol: it has not waited for its answer.
    this.stats.malformed++;
    this.connections.drop(id);
    return 0;
  }
}
