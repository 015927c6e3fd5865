import { Errno } from "../core/errors.ts";
import { EBADF } from "../uapi/errno.ts";
import type { NetlinkBus } from "./bus.ts";
import type { BusSocket } from "./bus-socket.ts";
import type { NetlinkSocket } from "./socket.ts";
import type { NetlinkSink } from "./socket-options.ts";

/** net.core.rmem_default. */
export const DEFAULT_RECEIVE_BUFFER = 212_992;
/** What the in-process reader passes to recv, in effect: it takes datagrams of any size. */
const RECEIVE_LENGTH = 32_768;

/** Options of openPair(). */
export interface PairOptions {
  /** CAP_NET_ADMIN; true by default. */
  readonly privileged?: boolean;
  /** Wanted nl_pid; 0 or absent: assigned. */
  readonly portId?: number;
}

/**
 * A netlink socket within the process that holds the kernel side: synchronous, with a bounded receive queue. The bytes
 * are the same as over the other transport.
 */
export class PairSocket implements NetlinkSocket, NetlinkSink {
  onReadable: (() => void) | null = null;
  private readonly handle: BusSocket;
  private readonly queue: Uint8Array[] = [];
  private head = 0;
  private queued = 0;
  private limit = DEFAULT_RECEIVE_BUFFER;
  private error = 0;
  private waking = false;

  /** @throws Errno EPROTONOSUPPORT, EADDRINUSE */
  constructor(
    bus: NetlinkBus,
    readonly protocol: number,
    options: PairOptions = {},
  ) {
    this.handle = bus.open(protocol, {
      sink: this,
      privileged: options.privileged ?? true,
      portId: options.portId,
      pid: process.pid,
    });
    this.handle.receiveLength = RECEIVE_LENGTH;
  }

  get portId(): number {
    return this.handle.portId;
  }

  /** Datagrams lost because the receive buffer was full. */
  get drops(): number {
    return this.handle.drops;
  }

  send(datagram: Uint8Array): void {
    if (this.handle.closed) throw new Errno(EBADF);
    this.handle.receive(datagram);
  }

  receive(): Uint8Array | null {
    if (this.error !== 0) {
      const errno = this.error;
      this.error = 0;
      throw new Errno(errno);
    }
    if (this.head === this.queue.length) {
      this.drained();
      if (this.head === this.queue.length) return null;
    }
    const datagram = this.queue[this.head];
    this.queue[this.head++] = NOTHING;
    this.queued -= datagram.length;
    if (this.head === this.queue.length) this.drained();
    return datagram;
  }

  join(group: number): void {
    this.handle.join(group);
  }

  leave(group: number): void {
    this.handle.leave(group);
  }

  setOption(option: number, on: boolean): void {
    this.handle.setOption(option, on);
  }

  setReceiveBuffer(bytes: number): void {
    this.limit = bytes;
  }

  close(): void {
    this.handle.close();
    this.queue.length = 0;
    this.head = 0;
    this.queued = 0;
  }

  // NetlinkSink

  deliver(datagram: Uint8Array): boolean {
    // As the kernel: what is queued already is compared, so that one datagram always fits into an empty queue.
    if (this.queued > this.limit) return false;
    this.queue.push(datagram.slice());
    this.queued += datagram.length;
    this.wake();
    return true;
  }

  overrun(errno: number): void {
    this.error = errno;
    this.wake();
  }

  /** Calls onReadable once, when the datapath has finished its turn: the reader may send requests from there. */
  private wake(): void {
    if (this.waking || this.onReadable === null) return;
    this.waking = true;
    queueMicrotask(() => {
      this.waking = false;
      if (this.head < this.queue.length || this.error !== 0) this.onReadable?.();
    });
  }

  private drained(): void {
    this.queue.length = 0;
    this.head = 0;
    this.handle.pull();
  }
}

const NOTHING = new Uint8Array(0);
