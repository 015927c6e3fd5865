import { closeSync } from "node:fs";
import { Errno } from "../core/errors.ts";
import type { Random } from "../core/random.ts";
import type { NetlinkHost } from "../netlink/host.ts";
import {
  ChannelKind,
  HELLO_BYTES,
  HELLO_MAILBOX,
  HELLO_OWN_NAMESPACE,
  HELLO_PROOF,
  HELLO_SELF,
  HelloAt,
  TRANSPORT_MAGIC,
  TRANSPORT_VERSION,
} from "../netlink/transport.ts";
import { EIO, EMFILE, EPROTO, EPROTONOSUPPORT } from "../uapi/errno.ts";
import { Channel, type Peer } from "./channel.ts";
import { type ConnectionLimitOptions, ConnectionLimits, NAMESPACE_COST } from "./connection-limits.ts";
import { PacketFlag } from "./native-server.ts";
import type { ServerContext } from "./server-context.ts";
import { ServerSocket } from "./server-socket.ts";

/** Options of ServerConnections; those of NetlinkServerOptions of the same names. */
interface ConnectionOptions {
  readonly random: Random;
  readonly limits: ConnectionLimitOptions;
  readonly helloTimeout: number;
  /** Inode of the server's own network namespace. */
  readonly inode: number;
  readonly foreign?: (inode: number, path: string) => NetlinkHost;
  readonly onRefused?: (message: string) => void;
}

/**
 * The connections of a server by their ids: accepts them within the bounds of their users, handles their hellos, and closes
 * those that send none.
 */
export class ServerConnections {
  private readonly channels = new Map<number, Channel>();
  /** By the low half of their id. */
  private readonly sockets = new Map<number, ServerSocket>();
  private readonly limits: ConnectionLimits;
  private readonly helloTimer: NodeJS.Timeout;

  constructor(
    private readonly context: ServerContext,
    private readonly options: ConnectionOptions,
  ) {
    const { limits, helloTimeout } = options;
    this.limits = new ConnectionLimits(limits);
    this.helloTimer = setInterval(() => this.closeSilent(performance.now() - helloTimeout), helloTimeout / 2).unref();
  }

  /** Open netlink sockets. */
  get size(): number {
    return this.sockets.size;
  }

  /** The connection of an id; undefined where it is closed. */
  get(id: number): Channel | undefined {
    return this.channels.get(id);
  }

  /** The netlink socket of an id, given in halves; undefined where there is none. */
  socket(idLow: number, idHigh: number): ServerSocket | undefined {
    const socket = this.sockets.get(idLow);
    return socket?.idHigh === idHigh ? socket : undefined;
  }

  /** A client has connected. */
  accept(id: number, peer: Peer): void {
    this.context.stats.connections++;
    const channel = new Channel(peer, this.context.host, performance.now());
    this.channels.set(id, channel);
    // The capabilities of a process of uid 0 are known with its hello.
    if (peer.uid === 0) return;
    this.count(channel, 1);
    if (this.limits.isFlooding(peer.uid)) this.drop(id);
  }

  /** Handles the first packet of a connection. @returns length of the answer in the output; 0: there is none */
  hello(id: number, channel: Channel, length: number, arrival: number): number {
    const { view } = this.context;
    const kind = length === HELLO_BYTES ? view.getUint16(HelloAt.Kind, true) : -1;
    if (
      view.getUint32(HelloAt.Magic, true) !== TRANSPORT_MAGIC ||
      (kind !== ChannelKind.Control && kind !== ChannelKind.Data)
    ) {
      this.context.stats.malformed++;
      return this.reject(id, EPROTO);
    }
    if (view.getUint16(HelloAt.Version, true) !== TRANSPORT_VERSION) return this.reject(id, EPROTONOSUPPORT);
    const flags = view.getUint32(HelloAt.Flags, true);
    if (channel.refused && (flags & HELLO_PROOF) === 0) return this.reject(id, EMFILE);
    // Without its proof a privileged client would be taken for an unprivileged one.
    if ((arrival & PacketFlag.Truncated) !== 0 && (flags & (HELLO_PROOF | HELLO_SELF)) !== 0)
      return this.reject(id, EMFILE);
    try {
      channel.host = this.hostFor(id, channel.peer, flags);
    } catch (error) {
      if (!(error instanceof Errno)) this.context.host.bus.onFault?.(error);
      return this.reject(id, error instanceof Errno ? error.errno : EIO);
    }
    channel.kind = kind;
    channel.privileged = this.context.server.privileged(id, channel.host !== this.context.host);
    if (!this.isWithinLimits(channel)) return this.reject(id, EMFILE);
    if (kind === ChannelKind.Control) {
      this.context.server.prompt(id, (flags & HELLO_MAILBOX) !== 0);
      return this.context.output.answer(0, 0, TRANSPORT_VERSION, 0);
    }
    const socket = new ServerSocket(
      channel.host,
      this.context.server,
      this.context.output,
      id,
      channel.privileged,
      this.context.sender,
      this.freeId(),
      this.options.random.u32(),
      {
        protocol: view.getUint32(HelloAt.Protocol, true),
        pid: view.getUint32(HelloAt.Pid, true),
        receiveLength: view.getUint32(HelloAt.ReceiveLength, true),
      },
    );
    channel.socket = socket;
    this.sockets.set(socket.idLow, socket);
    return this.context.output.answer(0, 0, socket.idLow, socket.idHigh);
  }

  /**
   * TransportOp.Find: the socket of the data channel whose client's end came with the request, as after exec() or when the
   * descriptor was passed on. Only for the same user with the same privilege.
   */
  find({ peer, privileged }: Channel): ServerSocket | undefined {
    const held = this.channels.get(this.context.server.held());
    if (held === undefined || held.peer.uid !== peer.uid || held.privileged !== privileged) return undefined;
    return held.socket;
  }

  /** Closes a connection whose client breaks the protocol, or that is refused. */
  drop(id: number): void {
    this.forget(id);
    this.context.server.disconnect(id);
  }

  /** A connection is closed: releases what it holds. */
  forget(id: number): void {
    const channel = this.channels.get(id);
    this.channels.delete(id);
    if (channel === undefined) return;
    const { socket, host, kind } = channel;
    this.uncount(channel);
    const release = (): void => {
      socket?.close();
      if (kind !== undefined) host.release?.();
    };
    if (socket === undefined) {
      release();
      return;
    }
    this.sockets.delete(socket.idLow);
    // What it has sent is executed to the end, as by a process that is killed within sendmsg().
    this.context.queue.whenIdle(socket, release);
  }

  /** Closes all connections. */
  close(): void {
    clearInterval(this.helloTimer);
    for (const id of [...this.channels.keys()]) this.forget(id);
  }

  /** Counts a connection against the bounds of its user. */
  private count(channel: Channel, cost: number): void {
    const { uid } = channel.peer;
    channel.cost += cost;
    if (this.limits.add(uid, cost)) return;
    channel.refused = true;
    this.context.stats.refused++;
    this.options.onRefused?.(`user ${uid} has ${this.limits.countOf(uid)} connections: no more are taken`);
  }

  /**
   * Counts a connection after its hello. A client with CAP_NET_ADMIN in the server's namespace, or root with it in
   * another namespace, has no bound.
   */
  private isWithinLimits(channel: Channel): boolean {
    const { peer, privileged, host } = channel;
    const own = host !== this.context.host;
    if (privileged && (!own || peer.uid === 0)) {
      this.uncount(channel);
      return true;
    }
    const cost = (own ? NAMESPACE_COST : 1) - channel.cost;
    if (cost > 0) this.count(channel, cost);
    return !channel.refused;
  }

  /** Closes connections that were accepted before `deadline` and have sent no hello. */
  private closeSilent(deadline: number): void {
    for (const [id, { kind, since, peer }] of this.channels) {
      if (kind !== undefined || since > deadline) continue;
      this.context.stats.refused++;
      this.options.onRefused?.(`a connection of process ${peer.pid}, user ${peer.uid}, sent no hello and is closed`);
      this.drop(id);
    }
  }

  /** The host of a connection: with HELLO_OWN_NAMESPACE that of the client's network namespace. @throws Errno */
  private hostFor(id: number, peer: Peer, flags: number): NetlinkHost {
    const { foreign } = this.options;
    if (foreign === undefined || (flags & HELLO_OWN_NAMESPACE) === 0) return this.context.host;
    if (peer.netns === 0 || peer.netns === this.options.inode) return this.context.host;
    const fd = this.context.server.netns(id);
    if (fd < 0) throw new Errno(-fd);
    try {
      return foreign(peer.netns, `/proc/self/fd/${fd}`);
    } finally {
      closeSync(fd);
    }
  }

  /** Answers with an errno and closes the connection. @returns 0 */
  private reject(id: number, errno: number): number {
    this.context.server.send(id, this.context.output.answer(errno));
    this.drop(id);
    return 0;
  }

  private uncount(channel: Channel): void {
    if (channel.cost > 0) this.limits.remove(channel.peer.uid, channel.cost);
    channel.cost = 0;
  }

  private freeId(): number {
    for (;;) {
      const id = this.options.random.u32();
      if (!this.sockets.has(id)) return id;
    }
  }
}
