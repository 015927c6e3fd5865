import { Errno } from "../core/errors.ts";
import type { BusSocket } from "../netlink/bus-socket.ts";
import type { NetlinkHost } from "../netlink/host.ts";
import { checkFlagOption, type NetlinkSender, type NetlinkSink } from "../netlink/socket-options.ts";
import { ANSWER_DUMPING, MARKER_BYTES, REQUEST_MAX } from "../netlink/transport.ts";
import { EINVAL, ENOBUFS, ENODATA, EPERM } from "../uapi/errno.ts";
import { NETLINK_ADD_MEMBERSHIP, NETLINK_DROP_MEMBERSHIP } from "../uapi/netlink.ts";
import type { NativeServer, Output } from "./native-server.ts";

/** net.core.rmem_default and rmem_max, bytes: a netlink socket's receive buffer, and the most without CAP_NET_ADMIN. */
const DEFAULT_BUFFER = 212_992;
const UNPRIVILEGED_BUFFER_MAX = 212_992;
/** SO_RCVBUF below this is raised to it (SOCK_MIN_RCVBUF). */
const MIN_BUFFER = 2304;
/** Bytes of a dump that are queued before other work gets its turn. */
const DUMP_STEP = 65_536;

/** Fields of a data channel's hello. */
interface Hello {
  readonly protocol: number;
  readonly pid: number;
  readonly receiveLength: number;
}

/**
 * The server's end of one netlink socket. Its receive queue is that of the unix socket, bounded by the send buffer here; the
 * server keeps no datagram.
 */
export class ServerSocket implements NetlinkSink {
  /** Fields a and b of the answer to the request that is being executed. */
  answerA = 0;
  answerB = 0;
  private handle: BusSocket | undefined = undefined;
  /** Flags set before bind(). */
  private readonly flagOptions = new Map<number, boolean>();
  private sendBuffer: number;
  /** Positive errno that the next receive fails with once the queue is empty; 0 = none. */
  private pendingError = 0;

  constructor(
    readonly host: NetlinkHost,
    private readonly server: NativeServer,
    private readonly output: Output,
    private readonly connection: number,
    private readonly privileged: boolean,
    private readonly sender: NetlinkSender,
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

  /** Binds the socket if it is not bound yet. */
  bound(): BusSocket {
    return this.handle ?? this.open(0);
  }

  bind(portId: number, groups: number): void {
    if (this.handle === undefined) this.open(portId);
    else if (portId !== 0 && portId !== this.handle.portId) throw new Errno(EINVAL);
    const handle = this.bound();
    for (let bit = 0; bit < 32; bit++) if ((groups >>> bit) & 1) handle.join(bit + 1);
    this.answerA = handle.portId;
  }

  /** Executes messages: see BusSocket.receivePart(). @throws Errno ENODATA: there are none */
  send(bytes: Uint8Array, start: number, end: number, receiveLength: number, mayContinue: () => boolean): number {
    if (start === end) throw new Errno(ENODATA);
    const handle = this.bound();
    if (receiveLength !== 0) handle.receiveLength = receiveLength;
    const rest = handle.receivePart(bytes, start, end, mayContinue);
    if (rest >= end) this.prefetchDump();
    return rest;
  }

  /** TransportOp.More: continues a dump. `receiveLength`: 0 = as before. */
  more(receiveLength: number): void {
    const handle = this.bound();
    if (receiveLength !== 0) handle.receiveLength = receiveLength;
    this.sendPendingError();
    if (handle.dumping && this.hasRoom) handle.pull();
    this.prefetchDump();
  }

  setOption(option: number, value: number): void {
    // Joining a group binds.
    if (this.handle !== undefined || option === NETLINK_ADD_MEMBERSHIP || option === NETLINK_DROP_MEMBERSHIP) {
      this.bound().setOption(option, value);
      return;
    }
    checkFlagOption(option, this.privileged && this.sender.privileged);
    this.flagOptions.set(option, value !== 0);
  }

  setReceiveBuffer(bytes: number, force: boolean): void {
    if (force && !(this.privileged && this.sender.privileged)) throw new Errno(EPERM);
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

  /** The client has read everything: continues a dump. */
  onDrained(): void {
    this.sendPendingError();
    this.handle?.pull();
    this.prefetchDump();
  }

  /** TransportOp.Overrun: the socket's last server has died, and messages may have been lost. */
  reportOverrun(): void {
    if (this.bound().noEnobufs) return;
    this.pendingError = ENOBUFS;
    this.sendPendingError();
  }

  private sendPendingError(): void {
    if (this.pendingError === 0) return;
    this.output.view.setUint32(0, this.pendingError, true);
    if (this.server.send(this.connection, MARKER_BYTES) === 0) this.pendingError = 0;
  }

  private get hasRoom(): boolean {
    return this.server.queued(this.connection) < this.sendBuffer / 2;
  }

  /** Fills the queue with a dump's messages, up to half of it and DUMP_STEP bytes at a time. */
  private prefetchDump(): void {
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
    const { privileged, sender } = this;
    const handle = this.host.bus.open(protocol, { sink: this, privileged, sender, portId, pid });
    handle.receiveLength = receiveLength;
    // Options were checked when they were set: nothing throws after open(), which would leak the handle.
    for (const [option, on] of this.flagOptions) handle.setOption(option, on);
    this.flagOptions.clear();
    this.handle = handle;
    return handle;
  }
}
