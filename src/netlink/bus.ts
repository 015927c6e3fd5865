import { Errno } from "../core/errors.ts";
import type { Random } from "../core/random.ts";
import {
  EADDRINUSE,
  EAGAIN,
  EBUSY,
  ECONNREFUSED,
  EINVAL,
  EIO,
  EMSGSIZE,
  ENOBUFS,
  ENOENT,
  ENOPROTOOPT,
  EPERM,
  EPROTONOSUPPORT,
} from "../uapi/errno.ts";
import {
  NETLINK_ADD_MEMBERSHIP,
  NETLINK_BROADCAST_ERROR,
  NETLINK_CAP_ACK,
  NETLINK_DROP_MEMBERSHIP,
  NETLINK_EXT_ACK,
  NETLINK_GET_STRICT_CHK,
  NETLINK_LISTEN_ALL_NSID,
  NETLINK_NO_ENOBUFS,
  NETLINK_PKTINFO,
  NLM_F_ACK,
  NLM_F_ACK_TLVS,
  NLM_F_CAPPED,
  NLM_F_MULTI,
  NLM_F_REQUEST,
  NLMSG_DONE,
  NLMSG_ERROR,
  NLMSG_HDRLEN,
  NLMSG_MIN_TYPE,
} from "../uapi/netlink.ts";
import { ExtAck } from "./extack.ts";
import { MessageWriter } from "./writer.ts";

/**
 * Room for records in a dump's datagram until the reader has shown a larger buffer (NLMSG_GOODSIZE,
 * spec/families F-265).
 */
export const DUMP_ROOM = 3776;
/** The largest room a dump's datagram gets, however large the reader's buffer. */
export const DUMP_ROOM_MAX = 32768 - 320;

/** One request at the kernel's border. Instances are reused: valid until the handler returns. */
export class NetlinkMessage {
  /** The datagram that the message is part of; borrowed from the sender. */
  view: DataView = EMPTY_VIEW;
  bytes: Uint8Array = EMPTY_BYTES;
  /** Position of the nlmsghdr, and one past the last byte of the message (nlmsg_len, without padding). */
  start = 0;
  end = 0;
  type = 0;
  flags = 0;
  seq = 0;
  /** Filled in by the handler; sent with the answer. */
  readonly extack = new ExtAck();

  /** nlmsg_len. */
  get length(): number {
    return this.end - this.start;
  }

  /** Position of the payload. */
  get payload(): number {
    return this.start + NLMSG_HDRLEN;
  }
}

/**
 * A dump under way. The bus calls fill() whenever the reader has room, each time with an empty writer.
 */
export interface Dump {
  /**
   * Writes records (NLM_F_MULTI) while `writer.length` stays within `room`; must remember where it stopped.
   * @returns more than 0: call again; 0: complete; a negative errno: ends the dump with that errno in NLMSG_DONE
   */
  fill(writer: MessageWriter, room: number, extack: ExtAck): number;
  /** The dump has ended, or its socket was closed. */
  done?(): void;
}

/** The kernel side of a netlink protocol. */
export interface NetlinkProtocol {
  /** Highest multicast group number. */
  readonly groups: number;
  /** True if every datagram needs a privileged socket: the first message is answered with EPERM, the rest dropped. */
  readonly privileged: boolean;
  /**
   * Executes one request; replies go out by `socket.send` before it returns. A returned dump is started.
   * @throws Errno answered with NLMSG_ERROR
   */
  handle(message: NetlinkMessage, socket: BusSocket): Dump | undefined;
  /**
   * Asked before a socket joins a group.
   * @throws Errno EPERM, ENOENT
   */
  join?(group: number, socket: BusSocket): void;
  /** All messages of a datagram have been executed. */
  endDatagram?(): void;
}

/** Where a socket's datagrams go: a receive queue, or the other end of a transport. */
export interface NetlinkSink {
  /**
   * Takes a datagram. The bytes are only lent.
   * @returns false when the receive buffer is full: the datagram is lost and the bus counts it
   */
  deliver(datagram: Uint8Array): boolean;
  /** Datagrams were lost: the reader's next receive must fail once with this errno (ENOBUFS). */
  overrun(errno: number): void;
}

/** The flags of SOL_NETLINK that a socket keeps. */
const FLAG_OPTIONS: ReadonlySet<number> = new Set([
  NETLINK_EXT_ACK,
  NETLINK_CAP_ACK,
  NETLINK_NO_ENOBUFS,
  NETLINK_BROADCAST_ERROR,
  NETLINK_PKTINFO,
  NETLINK_GET_STRICT_CHK,
  NETLINK_LISTEN_ALL_NSID,
]);

/**
 * Refuses what setsockopt(SOL_NETLINK) refuses whatever the socket's state: so an option can be checked before the socket is
 * bound.
 * @param privileged the caller has CAP_NET_ADMIN
 * @throws Errno ENOPROTOOPT for an option that is no flag; EPERM
 */
export function checkFlagOption(option: number, privileged: boolean): void {
  if (!FLAG_OPTIONS.has(option)) throw new Errno(ENOPROTOOPT);
  if (option === NETLINK_LISTEN_ALL_NSID && !privileged) throw new Errno(EPERM);
}

/** Who sends the datagram, or calls the function, that a socket is handling. */
export interface NetlinkSender {
  /** CAP_NET_ADMIN, now. Asked only where the kernel asks, since finding out may take a system call. */
  readonly privileged: boolean;
}

/** The sender of a socket whose owner is this process. */
const OWN_PROCESS: NetlinkSender = { privileged: true };

/** How a socket is opened. */
export interface BusSocketOptions {
  readonly sink: NetlinkSink;
  /** CAP_NET_ADMIN in the user namespace that owns the network namespace (spec/families F-027 to F-029). */
  readonly privileged: boolean;
  /** Default: this process, privileged. */
  readonly sender?: NetlinkSender;
  /** Wanted nl_pid; 0 or absent: assigned. */
  readonly portId?: number;
  /** Process id of the owner: the port id that automatic assignment tries first. */
  readonly pid?: number;
}

/** The kernel's side of one open socket. */
export class BusSocket {
  /** Datagrams that were lost because the receive buffer was full (the Drops column of /proc/net/netlink). */
  drops = 0;
  /** Largest buffer that the reader has passed to recv; sizes dump datagrams. */
  receiveLength = 0;
  readonly groups = new Set<number>();
  closed = false;
  private extAck = false;
  private capAck = false;
  /** NETLINK_NO_ENOBUFS */
  noEnobufs = false;
  private broadcastError = false;
  private congested = false;
  private dump: Dump | undefined = undefined;
  private dumpSeq = 0;
  private dumpLength = 0;
  /** Result of the last fill(), kept while NLMSG_DONE waits for room. */
  private dumpResult = 1;

  /** Made by NetlinkBus.open(). */
  constructor(
    readonly bus: NetlinkBus,
    readonly protocol: number,
    readonly portId: number,
    private readonly openerPrivileged: boolean,
    private readonly sender: NetlinkSender,
    private readonly sink: NetlinkSink,
    private readonly handler: NetlinkProtocol,
  ) {}

  /** CAP_NET_ADMIN: the opener had it, and the sender has it (netlink_capable(); spec/families F-027 to F-029). */
  get privileged(): boolean {
    return this.openerPrivileged && this.sender.privileged;
  }

  /**
   * A datagram from user space: executes its messages one after the other. When it returns, all answers have been
   * delivered. Never throws, whatever the bytes (netlink_rcv_skb; spec/families F-051 to F-056, F-291).
   * @param bytes hold it between `start` and `end`; only lent
   */
  receive(bytes: Uint8Array, start = 0, end = bytes.length): void {
    if (this.closed) return;
    this.walk(bytes, start, end);
    this.handler.endDatagram?.();
  }

  private walk(bytes: Uint8Array, start: number, end: number): void {
    const view = this.bus.viewOf(bytes);
    let at = start;
    while (end - at >= NLMSG_HDRLEN) {
      const length = view.getUint32(at, true);
      if (length < NLMSG_HDRLEN || length > end - at) return;
      const message = this.bus.takeMessage();
      message.bytes = bytes;
      message.view = view;
      message.start = at;
      message.end = at + length;
      message.type = view.getUint16(at + 4, true);
      message.flags = view.getUint16(at + 6, true);
      message.seq = view.getUint32(at + 8, true);
      message.extack.reset();
      if (this.handler.privileged && !this.privileged) {
        this.acknowledge(message, EPERM);
        this.bus.giveMessage(message);
        return;
      }
      this.dispatch(message);
      this.bus.giveMessage(message);
      if (this.closed) return;
      at += (length + 3) & ~3;
    }
  }

  /** Runs one request and sends its acknowledgment or error. */
  private dispatch(message: NetlinkMessage): void {
    let errno = 0;
    if ((message.flags & NLM_F_REQUEST) !== 0 && message.type >= NLMSG_MIN_TYPE) {
      try {
        const dump = this.handler.handle(message, this);
        if (dump !== undefined) {
          this.startDump(dump, message);
          return;
        }
      } catch (error) {
        if (error instanceof Errno) {
          errno = error.errno;
          message.extack.merge(error);
        } else {
          // A fault of ours: the client gets an errno, the process lives on.
          errno = EIO;
          this.bus.onFault?.(error);
        }
      }
    }
    if ((message.flags & NLM_F_ACK) !== 0 || errno !== 0) this.acknowledge(message, errno);
  }

  /** Delivers one datagram to user space. @returns 0 or -EAGAIN: lost (spec/upcalls U-033) */
  send(datagram: Uint8Array): number {
    if (!this.congested && this.sink.deliver(datagram)) return 0;
    this.overrun();
    return -EAGAIN;
  }

  /** Notes that something meant for this socket was lost: ENOBUFS at the next receive, once until it has drained. */
  overrun(): void {
    this.drops++;
    if (this.noEnobufs || this.congested) return;
    this.congested = true;
    this.sink.overrun(ENOBUFS);
  }

  /** The reader has emptied its queue: ends congestion and continues a dump by one datagram. */
  pull(): void {
    this.congested = false;
    if (this.dump !== undefined) this.continueDump();
  }

  /** True while a dump is under way. */
  get dumping(): boolean {
    return this.dump !== undefined;
  }

  /** @throws Errno EINVAL, EPERM, ENOENT */
  join(group: number): void {
    if (!Number.isInteger(group) || group < 1 || group > this.handler.groups) throw new Errno(EINVAL);
    this.handler.join?.(group, this);
    this.groups.add(group);
  }

  /** @throws Errno EINVAL */
  leave(group: number): void {
    if (!Number.isInteger(group) || group < 1 || group > this.handler.groups) throw new Errno(EINVAL);
    this.groups.delete(group);
  }

  /**
   * setsockopt(SOL_NETLINK).
   * @throws Errno ENOPROTOOPT for an unknown option, and what join() and leave() throw
   */
  setOption(option: number, value: boolean | number): void {
    const on = Boolean(value);
    switch (option) {
      case NETLINK_EXT_ACK:
        this.extAck = on;
        break;
      case NETLINK_CAP_ACK:
        this.capAck = on;
        break;
      case NETLINK_NO_ENOBUFS:
        this.noEnobufs = on;
        if (on) this.congested = false;
        break;
      case NETLINK_BROADCAST_ERROR:
        this.broadcastError = on;
        break;
      case NETLINK_ADD_MEMBERSHIP:
        this.join(Number(value));
        break;
      case NETLINK_DROP_MEMBERSHIP:
        this.leave(Number(value));
        break;
      default:
        // PKTINFO, GET_STRICT_CHK and LISTEN_ALL_NSID change nothing here.
        checkFlagOption(option, this.privileged);
    }
  }

  /** True if a lost broadcast must be reported to the one who sent it (NETLINK_BROADCAST_ERROR). */
  get reportsBroadcastErrors(): boolean {
    return this.broadcastError;
  }

  /** Gives the port id, the memberships and a dump under way back. */
  close(): void {
    if (this.closed) return;
    this.closed = true;
    this.endDump();
    this.groups.clear();
    this.bus.release(this);
  }

  /** NLMSG_ERROR (spec/families F-051 to F-053). */
  private acknowledge(message: NetlinkMessage, errno: number): void {
    const { writer } = this.bus;
    const { extack } = message;
    let flags = 0;
    const capped = errno === 0 || this.capAck;
    if (capped) flags |= NLM_F_CAPPED;
    const tlvs = this.extAck && extack.has(errno);
    if (tlvs) flags |= NLM_F_ACK_TLVS;
    writer.reset();
    const at = writer.beginMessage(NLMSG_ERROR, flags, message.seq, this.portId);
    writer.rawU32(-errno);
    copyAligned(writer, message.bytes, message.start, capped ? message.start + NLMSG_HDRLEN : message.end);
    if (tlvs) extack.put(writer, errno, message.length);
    writer.endMessage(at);
    this.send(writer.bytes.subarray(0, writer.length));
  }

  private startDump(dump: Dump, message: NetlinkMessage): void {
    if (this.dump !== undefined) {
      dump.done?.();
      this.acknowledge(message, EBUSY);
      return;
    }
    this.dump = dump;
    this.dumpSeq = message.seq;
    this.dumpLength = message.length;
    this.dumpResult = 1;
    this.continueDump();
  }

  private continueDump(): void {
    const dump = this.dump as Dump;
    const { dumpWriter: writer, dumpExtack: extack } = this.bus;
    writer.reset();
    extack.reset();
    const room = Math.max(DUMP_ROOM, Math.min(this.receiveLength, DUMP_ROOM_MAX));
    if (this.dumpResult > 0) {
      try {
        this.dumpResult = dump.fill(writer, room, extack);
        // No room for one more record: it goes into the next datagram.
        if (this.dumpResult === -EMSGSIZE && writer.length > 0) this.dumpResult = writer.length;
      } catch (error) {
        writer.reset();
        if (error instanceof Errno) {
          this.dumpResult = -error.errno;
          extack.merge(error);
        } else {
          this.dumpResult = -EIO;
          this.bus.onFault?.(error);
        }
      }
    }
    if (this.dumpResult > 0 || room - writer.length < 20) {
      this.send(writer.bytes.subarray(0, writer.length));
      return;
    }
    const tlvs = this.extAck && extack.has(-this.dumpResult);
    const flags = tlvs ? NLM_F_MULTI | NLM_F_ACK_TLVS : NLM_F_MULTI;
    const at = writer.beginMessage(NLMSG_DONE, flags, this.dumpSeq, this.portId);
    writer.rawU32(this.dumpResult);
    if (tlvs) extack.put(writer, -this.dumpResult, this.dumpLength);
    writer.endMessage(at);
    // The end of the dump must be in place before the reader is woken: it may send the next request at once.
    const datagram = writer.bytes.subarray(0, writer.length);
    this.endDump();
    this.send(datagram);
  }

  private endDump(): void {
    const dump = this.dump;
    this.dump = undefined;
    dump?.done?.();
  }
}

/**
 * All netlink sockets of one network namespace. Delivers unicast by port id and multicast by group; bounded receive
 * buffers are the sinks'. A reader that does not read loses its own datagrams and nobody else's.
 */
export class NetlinkBus {
  /** Called with anything thrown by a handler that is not an Errno: a fault in nokmod itself. */
  onFault: ((error: unknown) => void) | undefined = undefined;
  /** Scratch for answers; nobody keeps what it holds. */
  readonly writer = new MessageWriter(8192);
  readonly dumpWriter = new MessageWriter(DUMP_ROOM_MAX);
  readonly dumpExtack = new ExtAck();
  private readonly protocols = new Map<number, NetlinkProtocol>();
  private readonly sockets = new Map<number, Map<number, BusSocket>>();
  private readonly messages: NetlinkMessage[] = [];
  private lastBytes: Uint8Array = EMPTY_BYTES;
  private lastView: DataView = EMPTY_VIEW;
  private rover = ROVER_START;

  constructor(private readonly random: Random) {}

  /** Puts the kernel side of a protocol in place. */
  register(protocol: number, handler: NetlinkProtocol): void {
    this.protocols.set(protocol, handler);
    this.sockets.set(protocol, new Map());
  }

  /**
   * Opens a socket.
   * @throws Errno EPROTONOSUPPORT, EADDRINUSE (the wanted port id is taken)
   */
  open(protocol: number, options: BusSocketOptions): BusSocket {
    const handler = this.protocols.get(protocol);
    const sockets = this.sockets.get(protocol);
    if (handler === undefined || sockets === undefined) throw new Errno(EPROTONOSUPPORT);
    let portId = (options.portId ?? 0) >>> 0;
    if (portId === 0) portId = this.autobind(sockets, options.pid ?? 0);
    else if (sockets.has(portId)) throw new Errno(EADDRINUSE);
    const { privileged, sender = OWN_PROCESS, sink } = options;
    const socket = new BusSocket(this, protocol, portId, privileged, sender, sink, handler);
    sockets.set(portId, socket);
    return socket;
  }

  /** The open socket with that port id. */
  socket(protocol: number, portId: number): BusSocket | undefined {
    return this.sockets.get(protocol)?.get(portId);
  }

  /** Every open socket of a protocol. */
  *socketsOf(protocol: number): Iterable<BusSocket> {
    yield* this.sockets.get(protocol)?.values() ?? [];
  }

  /**
   * Sends one datagram to a port id. The bytes are only lent. Never throws.
   * @returns 0, -ECONNREFUSED (no such socket, spec/upcalls U-032) or -EAGAIN (its buffer is full, U-033)
   */
  unicast(protocol: number, portId: number, datagram: Uint8Array): number {
    const socket = this.sockets.get(protocol)?.get(portId);
    if (socket === undefined) return -ECONNREFUSED;
    return socket.send(datagram);
  }

  /** True if some socket is a member: else no message need be built (spec/families F-061). */
  hasListeners(protocol: number, group: number): boolean {
    const sockets = this.sockets.get(protocol);
    if (sockets === undefined) return false;
    for (const socket of sockets.values()) if (socket.groups.has(group)) return true;
    return false;
  }

  /**
   * Sends one datagram to all members of a group but one. Who cannot take it loses it alone.
   * @param exclude port id that gets its copy otherwise, 0 = nobody
   * @returns 0, or -ENOBUFS if a member that asked for it (NETLINK_BROADCAST_ERROR) lost it
   */
  multicast(protocol: number, group: number, datagram: Uint8Array, exclude = 0): number {
    const sockets = this.sockets.get(protocol);
    if (sockets === undefined) return 0;
    let error = 0;
    for (const socket of sockets.values()) {
      if (!socket.groups.has(group) || socket.portId === exclude) continue;
      if (socket.send(datagram) !== 0 && socket.reportsBroadcastErrors) error = -ENOBUFS;
    }
    return error;
  }

  /**
   * Sends a notification as nlmsg_notify() does: to the group, and with `echo` to the requester, who then gets that one
   * copy only (spec/families F-057 to F-060).
   */
  notify(protocol: number, group: number, datagram: Uint8Array, requester: number, echo: boolean): void {
    this.multicast(protocol, group, datagram, echo ? requester : 0);
    if (echo) this.unicast(protocol, requester, datagram);
  }

  /**
   * netlink_set_err(): a notification could not be built; its readers are told that they missed one
   * (spec/families F-071).
   */
  setError(protocol: number, group: number): void {
    for (const socket of this.socketsOf(protocol)) if (socket.groups.has(group)) socket.overrun();
  }

  /** For BusSocket: forgets a closed socket. */
  release(socket: BusSocket): void {
    const sockets = this.sockets.get(socket.protocol);
    if (sockets?.get(socket.portId) === socket) sockets.delete(socket.portId);
  }

  /** For BusSocket: a transport brings every datagram in the same memory. */
  viewOf(bytes: Uint8Array): DataView {
    if (bytes !== this.lastBytes) {
      this.lastBytes = bytes;
      this.lastView = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
    }
    return this.lastView;
  }

  /** For BusSocket: requests nest when a handler's delivery makes the reader send the next one. */
  takeMessage(): NetlinkMessage {
    return this.messages.pop() ?? new NetlinkMessage();
  }

  /** For BusSocket. */
  giveMessage(message: NetlinkMessage): void {
    message.bytes = EMPTY_BYTES;
    message.view = EMPTY_VIEW;
    this.messages.push(message);
  }

  /** The owner's process id, or a number from the top half when that is taken (netlink_autobind). */
  private autobind(sockets: Map<number, BusSocket>, pid: number): number {
    let portId = pid >>> 0;
    while (portId === 0 || sockets.has(portId)) {
      if (this.rover === ROVER_START) this.rover = -0x8000_0000 + (this.random.u32() % (0x8000_0000 + ROVER_START));
      else if (this.rover < -0x8000_0000) this.rover = ROVER_START - 1;
      portId = this.rover-- >>> 0;
    }
    return portId;
  }
}

/** Port ids from -4096 up are not handed out: they look like error pointers. */
const ROVER_START = -4096;

/** Appends bytes, padded with zeros to 4. */
function copyAligned(writer: MessageWriter, source: Uint8Array, start: number, end: number): void {
  const size = end - start;
  const padded = (size + 3) & ~3;
  const at = writer.reserve(padded);
  writer.bytes.set(source.subarray(start, end), at);
  if (padded !== size) writer.bytes.fill(0, at + size, at + padded);
}

const EMPTY_BYTES = new Uint8Array(0);
const EMPTY_VIEW = new DataView(EMPTY_BYTES.buffer);

/** For NetlinkProtocol.join(): the group does not exist. */
export const noSuchGroup = (): Errno => new Errno(ENOENT);
