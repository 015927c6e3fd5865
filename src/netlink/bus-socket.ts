import { Errno } from "../core/errors.ts";
import { EAGAIN, EBUSY, EINVAL, EIO, EMSGSIZE, ENOBUFS, EPERM } from "../uapi/errno.ts";
import {
  NETLINK_ADD_MEMBERSHIP,
  NETLINK_BROADCAST_ERROR,
  NETLINK_CAP_ACK,
  NETLINK_DROP_MEMBERSHIP,
  NETLINK_EXT_ACK,
  NETLINK_NO_ENOBUFS,
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
import { DUMP_ROOM, DUMP_ROOM_MAX, type Dump } from "./dump.ts";
import type { ExtAck } from "./extack.ts";
import type { NetlinkMessage } from "./message.ts";
import { checkFlagOption, type NetlinkSender, type NetlinkSink } from "./socket-options.ts";
import type { MessageWriter } from "./writer.ts";

/**
 * A request whose work would take long: it is done in steps, with packets and other clients' requests in between where the
 * transport allows. The request is acknowledged after the last one.
 */
export interface LongRequest {
  /** Does a part of the work, of less than a millisecond. @returns whether that was the last. @throws Errno */
  step(): boolean;
}

/** The kernel side of a netlink protocol. */
export interface NetlinkProtocol {
  /** Highest multicast group number. */
  readonly groups: number;
  /** True if every datagram needs a privileged socket: the first message is answered with EPERM, the rest dropped. */
  readonly privileged: boolean;
  /**
   * Executes one request; replies go out by `socket.send` before it returns. A returned dump is started, a long request is
   * worked off.
   * @throws Errno answered with NLMSG_ERROR
   */
  handle(message: NetlinkMessage, socket: BusSocket): Dump | LongRequest | undefined;
  /**
   * Asked before a socket joins a group.
   * @throws Errno EPERM, ENOENT
   */
  join?(group: number, socket: BusSocket): void;
  /** All messages of a datagram have been executed. */
  endDatagram?(): void;
}

/** What a socket and the handlers of its protocol use of the bus. */
export interface SocketBus {
  /** Scratch for answers, overwritten by the next one. */
  readonly writer: MessageWriter;
  /** Scratch for a dump's datagram. */
  readonly dumpWriter: MessageWriter;
  readonly dumpExtack: ExtAck;
  /** Called with anything thrown by a handler that is not an Errno: a fault in nokmod itself. */
  readonly onFault: ((error: unknown) => void) | undefined;
  /** A view of the bytes; the last view is reused, since a transport writes every datagram into the same memory. */
  viewOf(bytes: Uint8Array): DataView;
  /** Takes a message from the pool: requests nest when a reader sends a request from within the delivery of a message. */
  takeMessage(): NetlinkMessage;
  /** Returns a message to the pool. */
  giveMessage(message: NetlinkMessage): void;
  /** Forgets a closed socket. */
  release(socket: BusSocket): void;
  /** See NetlinkBus.unicast(). */
  unicast(protocol: number, portId: number, datagram: Uint8Array): number;
  /** See NetlinkBus.multicast(). */
  multicast(protocol: number, group: number, datagram: Uint8Array, exclude?: number): number;
}

const always = (): boolean => true;

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
  /** The request that receivePart() stopped in. */
  private unfinished: LongRequest | undefined = undefined;

  /** Made by NetlinkBus.open(). */
  constructor(
    readonly bus: SocketBus,
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
    this.receivePart(bytes, start, end, always);
  }

  /**
   * Like receive(), but stops when `mayContinue` returns false. It is called after each message and each step of a long request.
   * @returns where the rest begins, for the next call, or `end` when all has been executed. Until that is so, no other
   * datagram may be given to the socket but by a handler's own delivery
   */
  receivePart(bytes: Uint8Array, start: number, end: number, mayContinue: () => boolean): number {
    if (this.closed) return end;
    const rest = this.walk(bytes, start, end, mayContinue);
    this.handler.endDatagram?.();
    return rest;
  }

  private walk(bytes: Uint8Array, start: number, end: number, mayContinue: () => boolean): number {
    const view = this.bus.viewOf(bytes);
    let at = start;
    while (end - at >= NLMSG_HDRLEN) {
      const length = view.getUint32(at, true);
      if (length < NLMSG_HDRLEN || length > end - at) return end;
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
        return end;
      }
      const done = this.dispatch(message, mayContinue);
      this.bus.giveMessage(message);
      if (this.closed) return end;
      if (!done) return at;
      at += (length + 3) & ~3;
      if (at < end && !mayContinue()) return at;
    }
    return end;
  }

  /** Runs one request and sends its acknowledgment or error. @returns false: it is a long request, which is not finished */
  private dispatch(message: NetlinkMessage, mayContinue: () => boolean): boolean {
    let errno = 0;
    if ((message.flags & NLM_F_REQUEST) !== 0 && message.type >= NLMSG_MIN_TYPE) {
      try {
        const work = this.unfinished ?? this.handler.handle(message, this);
        this.unfinished = undefined;
        if (work !== undefined && "fill" in work) {
          this.startDump(work, message);
          return true;
        }
        while (work !== undefined && !work.step()) {
          if (mayContinue()) continue;
          this.unfinished = work;
          return false;
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
    return true;
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

  /** Whether a lost broadcast must be reported to its sender (NETLINK_BROADCAST_ERROR). */
  get reportsBroadcastErrors(): boolean {
    return this.broadcastError;
  }

  /** Releases the port id and the memberships, and ends a dump under way. */
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
        // No room for one more record: the record goes into the next datagram.
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

/** Appends bytes, padded with zeros to 4. */
function copyAligned(writer: MessageWriter, source: Uint8Array, start: number, end: number): void {
  const size = end - start;
  const padded = (size + 3) & ~3;
  const at = writer.reserve(padded);
  writer.bytes.set(source.subarray(start, end), at);
  if (padded !== size) writer.bytes.fill(0, at + size, at + padded);
}
