import { closeSync, mkdirSync } from "node:fs";
import { dirname } from "node:path";
import { Errno, NokmodError } from "../core/errors.ts";
import { type Random, SystemRandom } from "../core/random.ts";
import { native } from "../native/addon.ts";
import { netnsInode } from "../native/netns.ts";
import { type BusSocket, checkFlagOption, type NetlinkSink } from "../netlink/bus.ts";
import type { NetlinkHost } from "../netlink/host.ts";
import {
  ANSWER_BYTES,
  ANSWER_DUMPING,
  ChannelKind,
  defaultSocketPath,
  HELLO_BYTES,
  HELLO_MAILBOX,
  HELLO_OWN_NAMESPACE,
  HELLO_PROOF,
  HELLO_SELF,
  HelloAt,
  MARKER_BYTES,
  REQUEST_BYTES,
  REQUEST_MAX,
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
  ENOBUFS,
  ENODATA,
  ENOENT,
  EOPNOTSUPP,
  EPERM,
  EPROTO,
  EPROTONOSUPPORT,
} from "../uapi/errno.ts";
import { NETLINK_ADD_MEMBERSHIP, NETLINK_DROP_MEMBERSHIP } from "../uapi/netlink.ts";

/** The listening half of native/src/seqpacket.cc. */
interface NativeServer {
  /** Sends the first `length` bytes of the output. */
  send(id: number, length: number): number;
  queued(id: number): number;
  watchDrain(id: number): void;
  setSendBuffer(id: number, bytes: number, force: boolean): number;
  netns(id: number): number;
  /** Whether the peer had CAP_NET_ADMIN when it connected, over its own network namespace or over the server's. */
  privileged(id: number, own: boolean): boolean;
  /** During packet(): id of the connection whose client's end came with it, or -1. */
  held(): number;
  prompt(id: number, mailbox: boolean): void;
  disconnect(id: number): void;
  close(): void;
}

interface NativeHandlers {
  accept(id: number, pid: number, uid: number, gid: number, netns: number): void;
  /** @returns how much of the output it is to be answered with */
  packet(id: number, length: number, flags: number): number;
  drained(id: number): void;
  closed(id: number): void;
}

interface SeqpacketAddon {
  SeqpacketServer: new (
    path: string,
    mode: number,
    input: Uint8Array,
    output: Uint8Array,
    handlers: NativeHandlers,
  ) => NativeServer;
}

/** Flags of NativeHandlers.packet(): native/src/record.h. */
export const enum Packet {
  Posted = 1,
  /** The sender is who sent the hello, was privileged then, and has CAP_NET_ADMIN still. */
  Privileged = 2,
  /** It brought descriptors for which there was no room. */
  Truncated = 4,
}

/** Who is at the other end of a connection (SO_PEERCRED, taken when it was made). */
export interface Peer {
  readonly pid: number;
  readonly uid: number;
  readonly gid: number;
  /** Inode of its network namespace; 0 where the server may not know. */
  readonly netns: number;
}

/** Options of NetlinkServer. */
export interface NetlinkServerOptions {
  /** Socket path; its directory is made. Default: defaultSocketPath(). */
  readonly path?: string;
  /** Mode of the socket file. Default 0666: who may do what is decided by credentials, as with the kernel. */
  readonly mode?: number;
  /**
   * What programs of another network namespace than the server's get, if they ask for what is theirs.
   * @param inode of the namespace
   * @param path of it, valid during the call
   * @throws Errno they are refused with it
   */
  readonly foreign?: (inode: number, path: string) => NetlinkHost;
  readonly random?: Random;
}

/** Counters of a server, for people. */
export interface NetlinkServerStats {
  /** Connections made, requests carried out, those of them that were posted, and packets that made no sense. */
  connections: number;
  requests: number;
  posted: number;
  malformed: number;
}

/** net.core.rmem_default and rmem_max: a netlink socket's receive buffer, and what it may ask for without privilege. */
const DEFAULT_BUFFER = 212_992;
const UNPRIVILEGED_BUFFER_MAX = 212_992;
/** SO_RCVBUF below this is raised to it (SOCK_MIN_RCVBUF). */
const MIN_BUFFER = 2304;
/** Bytes that a dump may run ahead of its reader before other work gets its turn. */
const DUMP_STEP = 65_536;

/**
 * The netlink sockets of a bus, for other processes: docs/transport.md. Whatever a client sends, and whenever it dies,
 * costs the client alone.
 */
export class NetlinkServer {
  readonly path: string;
  readonly stats: NetlinkServerStats = { connections: 0, requests: 0, posted: 0, malformed: 0 };
  private readonly server: NativeServer;
  private readonly input = new Uint8Array(REQUEST_MAX);
  private readonly view = new DataView(this.input.buffer);
  private readonly output = new Output();
  private readonly channels = new Map<number, Channel>();
  /** By the low half of their id. */
  private readonly sockets = new Map<number, ServerSocket>();
  private readonly random: Random;
  private readonly foreign: NetlinkServerOptions["foreign"];
  private readonly inode = netnsInode();

  /**
   * Listens at once.
   * @throws NokmodError ERR_ADDRESS_IN_USE when another server serves the path; ERR_SOCKET_PATH when it cannot be made
   */
  constructor(
    private readonly host: NetlinkHost,
    options: NetlinkServerOptions = {},
  ) {
    this.foreign = options.foreign;
    this.path = options.path ?? defaultSocketPath();
    this.random = options.random ?? new SystemRandom();
    const { SeqpacketServer } = native<SeqpacketAddon>();
    const handlers: NativeHandlers = {
      accept: (id, pid, uid, gid, netns) => {
        this.stats.connections++;
        this.channels.set(id, new Channel({ pid, uid, gid, netns }, this.host));
      },
      packet: (id, length, flags) => {
        if ((flags & Packet.Posted) !== 0) this.stats.posted++;
        return this.onPacket(id, length, flags);
      },
      drained: (id) => this.channels.get(id)?.socket?.onDrained(),
      closed: (id) => this.forget(id),
    };
    try {
      mkdirSync(dirname(this.path), { recursive: true, mode: 0o755 });
      this.server = new SeqpacketServer(this.path, options.mode ?? 0o666, this.input, this.output.bytes, handlers);
    } catch (cause) {
      const { code, message } = cause as NodeJS.ErrnoException;
      if (code === "EADDRINUSE") {
        throw new NokmodError("ERR_ADDRESS_IN_USE", `another server is listening on ${this.path}`, { cause });
      }
      throw new NokmodError("ERR_SOCKET_PATH", `cannot listen on ${this.path}: ${message}`, { cause });
    }
  }

  /** Open netlink sockets. */
  get size(): number {
    return this.sockets.size;
  }

  /** Closes all sockets and connections and removes the path. */
  close(): void {
    for (const id of [...this.channels.keys()]) this.forget(id);
    this.server.close();
  }

  /** @returns length of the answer, which lies in the output; 0: there is none */
  private onPacket(id: number, length: number, flags: number): number {
    const channel = this.channels.get(id) as Channel;
    if (channel.kind === undefined) return this.onHello(id, channel, length, flags);
    const privileged = (flags & Packet.Privileged) !== 0;
    if (channel.kind === ChannelKind.Control) return this.onRequest(channel, length, privileged);
    this.onDatagram(channel.socket as ServerSocket, length, privileged);
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
    // Proof that was lost on its way here must not make root nobody.
    if ((arrival & Packet.Truncated) !== 0 && (flags & (HELLO_PROOF | HELLO_SELF)) !== 0)
      return this.reject(id, EMFILE);
    try {
      channel.host = this.hostFor(id, channel.peer, flags);
    } catch (error) {
      if (!(error instanceof Errno)) this.host.bus.onFault?.(error);
      return this.reject(id, error instanceof Errno ? error.errno : EIO);
    }
    channel.kind = kind;
    channel.privileged = this.server.privileged(id, channel.host !== this.host);
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
      this.freeId(),
      this.random.u32(),
      {
        protocol: view.getUint32(8, true),
        pid: view.getUint32(12, true),
        receiveLength: view.getUint32(24, true),
      },
    );
    channel.socket = socket;
    this.sockets.set(socket.idLow, socket);
    return this.answer(0, 0, socket.idLow, socket.idHigh);
  }

  /** A data channel itself was written to, by somebody who takes it for a netlink socket: a send that is not waited for. */
  private onDatagram(socket: ServerSocket, length: number, privileged: boolean): void {
    this.stats.requests++;
    const { host } = socket;
    socket.senderPrivileged = privileged;
    const send = (): void => socket.send(this.input, 0, Math.min(length, REQUEST_MAX), 0);
    this.attempt(() => (host.run === undefined ? send() : host.run(send)));
  }

  private onRequest(channel: Channel, length: number, privileged: boolean): number {
    this.stats.requests++;
    if (length < REQUEST_BYTES || length > REQUEST_MAX) {
      this.stats.malformed++;
      return this.answer(length < REQUEST_BYTES ? EINVAL : EMSGSIZE);
    }
    const { view } = this;
    const op = view.getUint32(0, true);
    const a = view.getUint32(12, true);
    const b = view.getUint32(16, true);
    if (op === TransportOp.Find) {
      const found = this.find(channel);
      return found === undefined ? this.answer(ENOENT) : this.answer(0, found.flags, found.idLow, found.idHigh);
    }
    if (op === TransportOp.NewLink || op === TransportOp.Links) {
      return this.onLinks(channel, op, length, privileged);
    }
    const socket = this.sockets.get(view.getUint32(4, true));
    if (socket === undefined || socket.idHigh !== view.getUint32(8, true)) return this.answer(EBADF);
    socket.answerA = 0;
    socket.answerB = 0;
    socket.senderPrivileged = privileged && !(op === TransportOp.Send && b === SEND_UNPRIVILEGED);
    const { host } = socket;
    const errno = this.attempt(() => {
      if (host.run === undefined) this.carryOut(socket, op, a, b, length);
      else host.run(() => this.carryOut(socket, op, a, b, length));
    });
    return this.answer(errno, socket.flags, socket.answerA, socket.answerB);
  }

  private carryOut(socket: ServerSocket, op: number, a: number, b: number, length: number): void {
    switch (op) {
      case TransportOp.Send:
        socket.send(this.input, REQUEST_BYTES, length, a);
        break;
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
        socket.tellLost();
        break;
      default:
        throw new Errno(EOPNOTSUPP);
    }
  }

  private onLinks({ host }: Channel, op: TransportOp, length: number, privileged: boolean): number {
    let payload: Uint8Array | undefined;
    const errno = this.attempt(() => {
      const { links } = host;
      if (links === undefined) throw new Errno(EOPNOTSUPP);
      const bytes = this.input.slice(REQUEST_BYTES, length);
      if (op === TransportOp.Links) {
        payload = links.describe(new Uint32Array(bytes.buffer, 0, bytes.length >> 2));
        return;
      }
      if (!privileged) throw new Errno(EPERM);
      if (host.run === undefined) links.create(bytes);
      else host.run(() => links.create(bytes));
    });
    return this.answer(errno, 0, 0, 0, payload);
  }

  /** Runs what a request asks for. @returns its errno */
  private attempt(action: () => void): number {
    try {
      action();
      return 0;
    } catch (error) {
      // A fault of ours must not take the other clients with it.
      if (!(error instanceof Errno)) this.host.bus.onFault?.(error);
      return error instanceof Errno ? error.errno : EIO;
    }
  }

  /** The host that a connection speaks to. @throws Errno */
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
   * The socket of the data channel whose client's end came with the request: after exec(), or when a descriptor was passed
   * on, who holds it picks it up again. Nobody gets a socket that may more than it may itself, or that others think theirs.
   */
  private find({ peer, privileged }: Channel): ServerSocket | undefined {
    const held = this.channels.get(this.server.held());
    if (held === undefined || held.peer.uid !== peer.uid || held.privileged !== privileged) return undefined;
    return held.socket;
  }

  /** Writes an answer into the output. @returns its length */
  private answer(errno: number, flags = 0, a = 0, b = 0, payload?: Uint8Array): number {
    const { bytes, view } = this.output;
    view.setUint32(0, errno, true);
    view.setUint32(4, flags, true);
    view.setUint32(8, a, true);
    view.setUint32(12, b, true);
    if (payload === undefined) return ANSWER_BYTES;
    bytes.set(payload, ANSWER_BYTES);
    return ANSWER_BYTES + payload.length;
  }

  /** Answers and hangs up. */
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
    const { socket, host } = channel;
    if (socket !== undefined) {
      this.sockets.delete(socket.idLow);
      socket.close();
    }
    if (channel.kind !== undefined) host.release?.();
  }

  private freeId(): number {
    for (;;) {
      const id = this.random.u32();
      if (!this.sockets.has(id)) return id;
    }
  }
}

/** One connection. */
class Channel {
  kind: ChannelKind | undefined = undefined;
  socket: ServerSocket | undefined = undefined;
  /** CAP_NET_ADMIN over the network namespace of its host, when the connection was made. */
  privileged = false;
  constructor(
    readonly peer: Peer,
    public host: NetlinkHost,
  ) {}
}

/** Where the addon finds what it is to send. */
class Output {
  /** As much as a datagram may hold, and more than any queue. */
  readonly bytes = new Uint8Array(REQUEST_MAX);
  readonly view = new DataView(this.bytes.buffer);
}

/** What a data channel's hello tells. */
interface Hello {
  readonly protocol: number;
  readonly pid: number;
  readonly receiveLength: number;
}

/**
 * The server's end of one netlink socket. The reader's queue is the unix socket's own, bounded by its send buffer; the
 * server keeps no datagram.
 */
class ServerSocket implements NetlinkSink {
  answerA = 0;
  answerB = 0;
  private handle: BusSocket | undefined = undefined;
  /** Whether whoever sent the request has CAP_NET_ADMIN. Set before each of the methods that carry one out. */
  senderPrivileged = false;
  /** Flags set before bind(). */
  private readonly flagOptions = new Map<number, boolean>();
  private sendBuffer: number;
  /** Errno that the reader is to be told once its queue is empty. */
  private pendingError = 0;

  constructor(
    readonly host: NetlinkHost,
    private readonly server: NativeServer,
    private readonly output: Output,
    private readonly connection: number,
    private readonly privileged: boolean,
    readonly idLow: number,
    readonly idHigh: number,
    readonly hello: Hello,
  ) {
    // The kernel doubles what setsockopt() is given; rmem_default is the value after doubling.
    this.sendBuffer = server.setSendBuffer(connection, DEFAULT_BUFFER / 2, true);
  }

  /** Flags of the next answer. */
  get flags(): number {
    return this.handle?.dumping ? ANSWER_DUMPING : 0;
  }

  /** The socket, bound to a port id by now. */
  bound(): BusSocket {
    const handle = this.handle ?? this.open(0);
    handle.senderPrivileged = this.senderPrivileged;
    return handle;
  }

  bind(portId: number, groups: number): void {
    if (this.handle === undefined) this.open(portId);
    else if (portId !== 0 && portId !== this.handle.portId) throw new Errno(EINVAL);
    const handle = this.bound();
    for (let bit = 0; bit < 32; bit++) if ((groups >>> bit) & 1) handle.join(bit + 1);
    this.answerA = handle.portId;
  }

  send(bytes: Uint8Array, start: number, end: number, receiveLength: number): void {
    if (start === end) throw new Errno(ENODATA);
    const handle = this.bound();
    if (receiveLength !== 0) handle.receiveLength = receiveLength;
    handle.receive(bytes, start, end);
    this.runAhead();
  }

  /** The reader waits in the middle of a dump. */
  more(receiveLength: number): void {
    const handle = this.bound();
    if (receiveLength !== 0) handle.receiveLength = receiveLength;
    this.tellPending();
    if (handle.dumping && this.hasRoom) handle.pull();
    this.runAhead();
  }

  setOption(option: number, value: number): void {
    // A member of a group is bound, as after Join.
    if (this.handle !== undefined || option === NETLINK_ADD_MEMBERSHIP || option === NETLINK_DROP_MEMBERSHIP) {
      this.bound().setOption(option, value);
      return;
    }
    checkFlagOption(option, this.privileged && this.senderPrivileged);
    this.flagOptions.set(option, value !== 0);
  }

  setReceiveBuffer(bytes: number, force: boolean): void {
    if (force && !(this.privileged && this.senderPrivileged)) throw new Errno(EPERM);
    const wanted = Math.max(MIN_BUFFER / 2, Math.min(bytes, force ? 0x3fff_ffff : UNPRIVILEGED_BUFFER_MAX));
    this.sendBuffer = this.server.setSendBuffer(this.connection, wanted, true);
    this.answerA = this.sendBuffer;
  }

  describe(): void {
    this.answerA = this.handle?.portId ?? 0;
    this.answerB = this.hello.protocol;
  }

  close(): void {
    this.handle?.close();
  }

  // NetlinkSink

  deliver(datagram: Uint8Array): boolean {
    if (datagram.length > REQUEST_MAX) return false;
    this.output.bytes.set(datagram);
    return this.server.send(this.connection, datagram.length) === 0;
  }

  overrun(errno: number): void {
    this.pendingError = errno;
    this.server.watchDrain(this.connection);
  }

  /** The reader has taken everything. */
  onDrained(): void {
    this.tellPending();
    this.handle?.pull();
    this.runAhead();
  }

  /** The reader's last server took messages with it. */
  tellLost(): void {
    if (this.bound().noEnobufs) return;
    this.pendingError = ENOBUFS;
    this.tellPending();
  }

  private tellPending(): void {
    if (this.pendingError === 0) return;
    this.output.view.setUint32(0, this.pendingError, true);
    if (this.server.send(this.connection, MARKER_BYTES) === 0) this.pendingError = 0;
  }

  private get hasRoom(): boolean {
    return this.server.queued(this.connection) < this.sendBuffer / 2;
  }

  /** Lets a dump fill the reader's queue, but not more than a step at a time. */
  private runAhead(): void {
    const handle = this.handle;
    if (handle === undefined || !handle.dumping) return;
    const { server, connection } = this;
    const start = server.queued(connection);
    while (handle.dumping) {
      const queued = server.queued(connection);
      if (queued - start >= DUMP_STEP || queued >= this.sendBuffer / 2) {
        server.watchDrain(connection);
        return;
      }
      handle.pull();
    }
  }

  private open(portId: number): BusSocket {
    const { protocol, pid, receiveLength } = this.hello;
    const handle = this.host.bus.open(protocol, { sink: this, privileged: this.privileged, portId, pid });
    handle.receiveLength = receiveLength;
    // They were checked when they were set: nothing can fail between open() and here that would leave the socket behind.
    for (const [option, on] of this.flagOptions) handle.setOption(option, on);
    this.flagOptions.clear();
    this.handle = handle;
    return handle;
  }
}
