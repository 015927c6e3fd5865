import { Errno } from "../core/errors.ts";
import { EIO } from "../uapi/errno.ts";
import type { RecordSender } from "./record-sender.ts";
import type { ServerSocket } from "./server-socket.ts";

/** Default of the milliseconds in a slice: long enough for a batch of ovs-vswitchd, short enough that packets hardly wait. */
const SLICE = 1;

/** A datagram of which messages are still to be executed. */
interface Send {
  readonly socket: ServerSocket;
  /** The queue's own copy. */
  readonly bytes: Uint8Array;
  /** Where the next message begins. */
  at: number;
  readonly receiveLength: number;
  /** The sender had CAP_NET_ADMIN when it sent. */
  readonly privileged: boolean;
  /** Called once, with an errno or 0. */
  readonly done: (errno: number) => void;
}

/**
 * Executes the datagrams of clients in slices: a datagram whose messages take longer than a slice continues in later turns
 * of the event loop, alternating with those of other sockets. Datagrams to one socket keep their order.
 */
export class SendQueue {
  /** Datagrams by socket; the first of each is being executed. */
  private readonly waiting = new Map<ServerSocket, Send[]>();
  private readonly afterwards = new Map<ServerSocket, () => void>();
  private next: NodeJS.Immediate | undefined;
  private deadline = 0;
  private readonly inSlice = (): boolean => performance.now() < this.deadline;

  /**
   * @param onFault gets exceptions that are no Errno
   * @param slice milliseconds of one client's requests before packets and other clients have their turn
   */
  constructor(
    private readonly sender: RecordSender,
    private readonly onFault: (error: unknown) => void,
    private readonly slice = SLICE,
  ) {}

  /** Whether a datagram to the socket has not been executed completely. */
  isBusy(socket: ServerSocket): boolean {
    return this.waiting.has(socket);
  }

  /**
   * Executes a datagram, or its first slice.
   * @param input has it between `start` and `end`, during the call only
   * @param receiveLength size of the client's receive buffer; 0: as before
   * @param done called with an errno or 0, if that is later than this call
   * @returns an errno or 0; undefined: it is not finished, or waits for an earlier datagram
   */
  send(
    socket: ServerSocket,
    input: Uint8Array,
    start: number,
    end: number,
    receiveLength: number,
    done: (errno: number) => void,
  ): number | undefined {
    let at = start;
    if (!this.isBusy(socket)) {
      this.deadline = performance.now() + this.slice;
      const errno = this.run(socket, () => {
        at = socket.send(input, start, end, receiveLength, this.inSlice);
      });
      if (errno !== 0 || at >= end) return errno;
    }
    const bytes = input.slice(at, end);
    const item: Send = { socket, bytes, at: 0, receiveLength, privileged: this.sender.privileged, done };
    const queue = this.waiting.get(socket);
    if (queue === undefined) this.waiting.set(socket, [item]);
    else queue.push(item);
    this.next ??= setImmediate(() => this.turn());
    return undefined;
  }

  /** Calls a function once all datagrams to the socket have been executed. */
  whenIdle(socket: ServerSocket, action: () => void): void {
    if (this.isBusy(socket)) this.afterwards.set(socket, action);
    else action();
  }

  /** Executes all datagrams to their ends. */
  finish(): void {
    clearImmediate(this.next);
    while (this.waiting.size > 0) this.goOn(Number.POSITIVE_INFINITY);
  }

  private turn(): void {
    this.next = undefined;
    this.goOn(performance.now() + this.slice);
    if (this.waiting.size > 0) this.next = setImmediate(() => this.turn());
  }

  /** Executes a slice for the socket that has waited longest. */
  private goOn(deadline: number): void {
    const [[socket, queue]] = this.waiting;
    const [item] = queue;
    this.deadline = deadline;
    this.sender.resume(item.privileged);
    const errno = this.run(socket, () => {
      item.at = socket.send(item.bytes, item.at, item.bytes.length, item.receiveLength, this.inSlice);
    });
    this.sender.end();
    const ended = errno !== 0 || item.at >= item.bytes.length;
    if (ended) queue.shift();
    // The others first.
    this.waiting.delete(socket);
    if (queue.length > 0) this.waiting.set(socket, queue);
    if (!ended) return;
    item.done(errno);
    if (queue.length > 0) return;
    this.afterwards.get(socket)?.();
    this.afterwards.delete(socket);
  }

  /** Runs in the socket's namespace. @returns 0 or an errno; EIO for an exception that is none, which onFault gets */
  private run(socket: ServerSocket, action: () => void): number {
    const { host } = socket;
    try {
      if (host.run === undefined) action();
      else host.run(action);
      return 0;
    } catch (error) {
      // An exception here must not end the server.
      if (!(error instanceof Errno)) this.onFault(error);
      return error instanceof Errno ? error.errno : EIO;
    }
  }
}
