import { closeSync, mkdirSync } from "node:fs";
import { dirname } from "node:path";
import { Errno, NokmodError, systemErrorCode } from "../core/errors.ts";
import { type Random, SystemRandom } from "../core/random.ts";
import { native } from "../native/addon.ts";
import { netnsInode } from "../native/netns.ts";
import type { NetlinkHost } from "../netlink/host.ts";
import {
  ANSWER_BYTES,
  AnswerAt,
  ChannelKind,
  defaultSocketPath,
  HELLO_BYTES,
  HELLO_MAILBOX,
  HELLO_OWN_NAMESPACE,
  HELLO_PROOF,
  HELLO_SELF,
  HelloAt,
  REQUEST_BYTES,
  REQUEST_MAX,
  RequestAt,
  SEND_UNPRIVILEGED,
  TRANSPORT_MAGIC,
  TRANSPORT_VERSION,
  TransportOp,
} from "../netlink/transport.ts";
import {
  EBADF,
  EINVAL,
  EIO,
  EMFILE,
  EMSGSIZE,
  ENOENT,
  EOPNOTSUPP,
  EPERM,
  EPROTO,
  EPROTONOSUPPORT,
} from "../uapi/errno.ts";
import { Channel, type Peer } from "./channel.ts";
import { type ConnectionLimitOptions, ConnectionLimits, defaultLimits, NAMESPACE_COST } from "./connection-limits.ts";
import { type NativeHandlers, type NativeServer, Output, PacketFlag, type SeqpacketAddon } from "./native-server.ts";
import { RecordSender } from "./record-sender.ts";
import { SendQueue } from "./send-queue.ts";
import { ServerSocket } from "./server-socket.ts";

/** Options of NetlinkServer. */
export interface NetlinkServerOptions {
  /** Socket path; its directory is made. Default: defaultSocketPath(). */
  readonly path?: string;
  /** Mode of the socket file. Default 0666: who may do what is decided by credentials, as with the kernel. */
  readonly mode?: number;
  /**
   * Opens the host for clients of another network namespace that ask for their own (HELLO_OWN_NAMESPACE). Without it they get
   * the server's.
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
  /** Called when a connection is refused or closed because of those two. */
  readonly onRefused?: (message: string) => void;
}

/** The default of NetlinkServerOptions.helloTimeout. */
const HELLO_TIMEOUT = 30_000;

/** Counters of a server. */
interface NetlinkServerStats {
  /** Connections accepted; requests executed; those of them that came by a mailbox; malformed packets. */
  connections: number;
  requests: number;
  posted: number;
  malformed: number;
  /** Connections refused because their user had too many, or closed because no hello came. */
  refused: number;
}

/**
 * Serves the netlink sockets of a bus to other processes (docs/transport.md). A malformed request, a fault or the death of a
 * client ends that client's channel at most.
 */
export class NetlinkServer {
  readonly path: string;
  readonly stats: NetlinkServerStats = { connections: 0, requests: 0, posted: 0, malformed: 0, refused: 0 };
  private readonly server: NativeServer;
  private readonly input = new Uint8Array(REQUEST_MAX);
  private readonly view = new DataView(this.input.buffer);
  private readonly output = new Output();
  private readonly channels = new Map<number, Channel>();
  /** By the low half of their id. */
  private readonly sockets = new Map<number, ServerSocket>();
  private readonly random: Random;
  private readonly foreign: NetlinkServerOptions["foreign"];
  private readonly onRefused: NetlinkServerOptions["onRefused"];
  private readonly limits: ConnectionLimits;
  private readonly helloTimer: NodeJS.Timeout;
  private readonly inode = netnsInode();
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
    this.foreign = options.foreign;
    this.onRefused = options.onRefused;
    this.limits = new ConnectionLimits(options.limits ?? defaultLimits());
    this.path = options.path ?? defaultSocketPath();
    this.random = options.random ?? new SystemRandom();
    const { SeqpacketServer } = native<SeqpacketAddon>();
    const handlers: NativeHandlers = {
      accept: (id, pid, uid, gid, netns) => this.onAccept(id, { pid, uid, gid, netns }),
      packet: (id, length, flags) => {
        if ((flags & PacketFlag.Posted) !== 0) this.stats.posted++;
        this.sender.begin((flags & PacketFlag.Trusted) !== 0);
        try {
          return this.onPacket(id, length, flags);
        } finally {
          this.sender.end();
        }
      },
      drained: (id) => this.channels.get(id)?.socket?.onDrained(),
      closed: (id) => this.forget(id),
    };
    try {
      mkdirSync(dirname(this.path), { recursive: true, mode: 0o755 });
      this.server = new SeqpacketServer(this.path, options.mode ?? 0o666, this.input, this.output.bytes, handlers);
    } catch (cause) {
      // EACCES, EROFS, ENOTSOCK (another file is there), ENAMETOOLONG …: the path is of no use.
      const code = systemErrorCode(cause);
      if (code === undefined) throw cause;
      if (code === "EADDRINUSE") {
        throw new NokmodError("ERR_ADDRESS_IN_USE", `another server is listening on ${this.path}`, { cause });
      }
      throw new NokmodError("ERR_SOCKET_PATH", `cannot listen on ${this.path}: ${(cause as Error).message}`, { cause });
    }
    const { helloTimeout = HELLO_TIMEOUT } = options;
    this.helloTimer = setInterval(() => this.closeSilent(performance.now() - helloTimeout), helloTimeout / 2).unref();
  }

  /** Open netlink sockets. */
  get size(): number {
    return this.sockets.size;
  }

  /** Closes all sockets and connections and removes the path. */
  close(): void {
    clearInterval(this.helloTimer);
    this.queue.finish();
    for (const id of [...this.channels.keys()]) this.forget(id);
    this.server.close();
  }

  private onAccept(id: number, peer: Peer): void {
    this.stats.connections++;
    const channel = new Channel(peer, this.host, performance.now());
    this.channels.set(id, channel);
    // What uid 0 may do shows with its hello.
    if (peer.uid === 0) return;
    this.count(channel, 1);
    if (!this.limits.isFlooding(peer.uid)) return;
    this.forget(id);
    this.server.disconnect(id);
  }

  /** Counts a connection against the bounds of its user. */
  private count(channel: Channel, cost: number): void {
    const { uid } = channel.peer;
    channel.cost += cost;
    if (this.limits.add(uid, cost)) return;
    channel.refused = true;
    this.stats.refused++;
    this.onRefused?.(`user ${uid} has ${this.limits.countOf(uid)} connections: no more are taken`);
  }

  /**
   * Counts a connection by what its hello has shown. Who may administer the server's namespace, or is root with
   * CAP_NET_ADMIN elsewhere, has no bound.
   */
  private isWithinLimits(channel: Channel): boolean {
    const { peer, privileged, host } = channel;
    const own = host !== this.host;
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
      this.stats.refused++;
      this.onRefused?.(`a connection of process ${peer.pid}, user ${peer.uid}, sent no hello and is closed`);
      this.forget(id);
      this.server.disconnect(id);
    }
  }

  /** @returns length of the answer, which lies in the output; 0: there is none */
  private onPacket(id: number, length: number, flags: number): number {
    const channel = this.channels.get(id) as Channel;
    if (channel.kind === undefined) return this.onHello(id, channel, length, flags);
    if (channel.kind === ChannelKind.Data) {
      this.onDatagram(id, channel.socket as ServerSocket, length);
      return 0;
    }
    if (!channel.asking) return this.onRequest(id, channel, length);
    // Its client breaks the protocol: it has not waited for its answer.
    this.stats.malformed++;
    this.forget(id);
    this.server.disconnect(id);
    return 0;
  }

  private onHello(id: number, channel: Channel, length: number, arrival: number): number {
    const { view } = this;
    const kind = length === HELLO_BYTES ? view.getUint16(HelloAt.Kind, true) : -1;
    if (
      view.getUint32(HelloAt.Magic, true) !== TRANSPORT_MAGIC ||
      (kind !== ChannelKind.Control && kind !== ChannelKind.Data)
    ) {
      this.stats.malformed++;
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
      if (!(error instanceof Errno)) this.host.bus.onFault?.(error);
      return this.reject(id, error instanceof Errno ? error.errno : EIO);
    }
    channel.kind = kind;
    channel.privileged = this.server.privileged(id, channel.host !== this.host);
    if (!this.isWithinLimits(channel)) return this.reject(id, EMFILE);
    if (kind === ChannelKind.Control) {
      this.server.prompt(id, (flags & HELLO_MAILBOX) !== 0);
      return this.answer(0, 0, TRANSPORT_VERSION, 0);
    }
    const socket = new ServerSocket(
      channel.host,
      this.server,
      this.output,
      id,
      channel.privileged,
      this.sender,
      this.freeId(),
      this.random.u32(),
      {
        protocol: view.getUint32(HelloAt.Protocol, true),
        pid: view.getUint32(HelloAt.Pid, true),
        receiveLength: view.getUint32(HelloAt.ReceiveLength, true),
      },
    );
    channel.socket = socket;
    this.sockets.set(socket.idLow, socket);
    return this.answer(0, 0, socket.idLow, socket.idHigh);
  }

  /** A datagram written to a data channel itself: a send without an answer. */
  private onDatagram(id: number, socket: ServerSocket, length: number): void {
    this.stats.requests++;
    const resume = (): void => {
      if (this.channels.get(id)?.socket === socket) this.server.pause(id, false);
    };
    const errno = this.queue.send(socket, this.input, 0, Math.min(length, REQUEST_MAX), 0, resume);
    if (errno === undefined) this.server.pause(id, true);
  }

  /** TransportOp.Send. @returns length of the answer; 0: it comes later */
  private onSend(id: number, channel: Channel, socket: ServerSocket, length: number, receiveLength: number): number {
    const errno = this.queue.send(socket, this.input, REQUEST_BYTES, length, receiveLength, (late) => {
      channel.asking = false;
      if (this.channels.get(id) !== channel) return;
      this.server.send(id, this.answer(late, socket.flags));
    });
    if (errno !== undefined) return this.answer(errno, socket.flags);
    channel.asking = true;
    return 0;
  }

  private onRequest(id: number, channel: Channel, length: number): number {
    this.stats.requests++;
    if (length < REQUEST_BYTES || length > REQUEST_MAX) {
      this.stats.malformed++;
      return this.answer(length < REQUEST_BYTES ? EINVAL : EMSGSIZE);
    }
    const { view } = this;
    const op = view.getUint32(RequestAt.Op, true);
    const a = view.getUint32(RequestAt.A, true);
    const b = view.getUint32(RequestAt.B, true);
    if (op === TransportOp.Find) {
      const found = this.find(channel);
      return found === undefined ? this.answer(ENOENT) : this.answer(0, found.flags, found.idLow, found.idHigh);
    }
    if (op === TransportOp.NewLink || op === TransportOp.Links) {
      return this.onLinks(channel, op, length);
    }
    const socket = this.sockets.get(view.getUint32(RequestAt.IdLow, true));
    if (socket === undefined || socket.idHigh !== view.getUint32(RequestAt.IdHigh, true)) return this.answer(EBADF);
    socket.answerA = 0;
    socket.answerB = 0;
    if (op === TransportOp.Send) {
      if (b === SEND_UNPRIVILEGED) this.sender.waive();
      return this.onSend(id, channel, socket, length, a);
    }
    const { host } = socket;
    const errno = this.errnoOf(() => {
      if (host.run === undefined) this.execute(socket, op, a, b);
      else host.run(() => this.execute(socket, op, a, b));
    });
    return this.answer(errno, socket.flags, socket.answerA, socket.answerB);
  }

  private execute(socket: ServerSocket, op: number, a: number, b: number): void {
    switch (op) {
      case TransportOp.More:
        socket.more(a);
        break;
      case TransportOp.Bind:
        socket.bind(a, b);
        break;
      case TransportOp.Join:
        socket.bound().join(a);
        break;
      case TransportOp.Leave:
        socket.bound().leave(a);
        break;
      case TransportOp.Option:
        socket.setOption(a, b);
        break;
      case TransportOp.ReceiveBuffer:
        socket.setReceiveBuffer(a, b !== 0);
        break;
      case TransportOp.Describe:
        socket.describe();
        break;
      case TransportOp.Lost:
        socket.reportOverrun();
        break;
      default:
        throw new Errno(EOPNOTSUPP);
    }
  }

  private onLinks({ host }: Channel, op: TransportOp, length: number): number {
    let payload: Uint8Array | undefined;
    const errno = this.errnoOf(() => {
      const { links } = host;
      if (links === undefined) throw new Errno(EOPNOTSUPP);
      const bytes = this.input.slice(REQUEST_BYTES, length);
      if (op === TransportOp.Links) {
        payload = links.describe(new Uint32Array(bytes.buffer, 0, bytes.length >> 2));
        return;
      }
      if (!this.sender.privileged) throw new Errno(EPERM);
      if (host.run === undefined) links.create(bytes);
      else host.run(() => links.create(bytes));
    });
    return this.answer(errno, 0, 0, 0, payload);
  }

  /** Runs the action of a request. @returns 0 or the errno that it threw; EIO for any other exception, which onFault gets */
  private errnoOf(action: () => void): number {
    try {
      action();
      return 0;
    } catch (error) {
      // An exception here must not end the server.
      if (!(error instanceof Errno)) this.host.bus.onFault?.(error);
      return error instanceof Errno ? error.errno : EIO;
    }
  }

  /** The host for a hello: that of the client's network namespace if its flags ask for it. @throws Errno */
  private hostFor(id: number, peer: Peer, flags: number): NetlinkHost {
    const { foreign } = this;
    if (foreign === undefined || (flags & HELLO_OWN_NAMESPACE) === 0) return this.host;
    if (peer.netns === 0 || peer.netns === this.inode) return this.host;
    const fd = this.server.netns(id);
    if (fd < 0) throw new Errno(-fd);
    try {
      return foreign(peer.netns, `/proc/self/fd/${fd}`);
    } finally {
      closeSync(fd);
    }
  }

  /**
   * TransportOp.Find: the socket of the data channel whose client's end came with the request, as after exec() or when the
   * descriptor was passed on. Only for the same user with the same privilege.
   */
  private find({ peer, privileged }: Channel): ServerSocket | undefined {
    const held = this.channels.get(this.server.held());
    if (held === undefined || held.peer.uid !== peer.uid || held.privileged !== privileged) return undefined;
    return held.socket;
  }

  /** Writes an answer into the output. @returns its length */
  private answer(errno: number, flags = 0, a = 0, b = 0, payload?: Uint8Array): number {
    const { bytes, view } = this.output;
    view.setUint32(AnswerAt.Error, errno, true);
    view.setUint32(AnswerAt.Flags, flags, true);
    view.setUint32(AnswerAt.A, a, true);
    view.setUint32(AnswerAt.B, b, true);
    if (payload === undefined) return ANSWER_BYTES;
    bytes.set(payload, ANSWER_BYTES);
    return ANSWER_BYTES + payload.length;
  }

  /** Answers with an errno and closes the connection. @returns 0 */
  private reject(id: number, errno: number): number {
    this.server.send(id, this.answer(errno));
    this.forget(id);
    this.server.disconnect(id);
    return 0;
  }

  private forget(id: number): void {
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
    this.queue.whenIdle(socket, release);
  }

  private uncount(channel: Channel): void {
    if (channel.cost > 0) this.limits.remove(channel.peer.uid, channel.cost);
    channel.cost = 0;
  }

  private freeId(): number {
    for (;;) {
      const id = this.random.u32();
      if (!this.sockets.has(id)) return id;
    }
  }
}
