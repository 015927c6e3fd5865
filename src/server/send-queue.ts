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
  /** End of the slice that is being executed, by performance.now(); 0: nobody has asked yet whether it is over. */
  private deadline = 0;
  /** Errno that the last execute() ended with. */
  private errno = 0;
  /** A slice begins when it is first asked for: a datagram of one message costs no look at the clock. */
  private readonly inSlice = (): boolean => {
    const now = performance.now();
    if (this.deadline === 0) this.deadline = now + this.slice;
    return now < this.deadline;
  };

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
      this.deadline = 0;
      at = this.execute(socket, input, start, end, receiveLength);
      if (at >= end) return this.errno;
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
    this.goOn(0);
    if (this.waiting.size > 0) this.next = setImmediate(() => this.turn());
  }

  /** Executes a slice for the socket that has waited longest. */
  private goOn(deadline: number): void {
    const [[socket, queue]] = this.waiting;
    const [item] = queue;
    this.deadline = deadline;
    this.sender.resume(item.privileged);
    item.at = this.execute(socket, item.bytes, item.at, item.bytes.length, item.receiveLength);
    const { errno } = this;
    this.sender.end();
    const ended = item.at >= item.bytes.length;
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

  /**
   * Executes messages in the socket's namespace until the slice is over. `errno` is 0 or what one of them threw; EIO for an
   * exception that is no Errno, which onFault gets.
   * @returns where the rest begins; `end` after an exception
   */
  private execute(socket: ServerSocket, bytes: Uint8Array, start: number, end: number, receiveLength: number): number {
    const { host } = socket;
    this.errno = 0;
    try {
      if (host.run === undefined) return socket.send(bytes, start, end, receiveLength, this.inSlice);
      return host.run(() => socket.send(bytes, start, end, receiveLength, this.inSlice));
    } catch (error) {
      // An exception here must not end the server.
      if (!(error instanceof Errno)) this.onFault(error);
      this.errno = error instanceof Errno ? error.errno : EIO;
      return end;
    }
  }
}
