import { Errno, NokmodError, systemErrorCode } from "../core/errors.ts";
import { native } from "../native/addon.ts";
import type { NetlinkSocket } from "../netlink/socket.ts";
import {
  ANSWER_BYTES,
  ANSWER_DUMPING,
  AnswerAt,
  ChannelKind,
  defaultSocketPath,
  HELLO_BYTES,
  HelloAt,
  MARKER_BYTES,
  REQUEST_BYTES,
  RequestAt,
  TRANSPORT_MAGIC,
  TRANSPORT_VERSION,
  TransportOp,
} from "../netlink/transport.ts";
import { EAGAIN, EBADF, EMSGSIZE, EPERM, EPROTO, EPROTONOSUPPORT, ETIMEDOUT } from "../uapi/errno.ts";
import type { SocketOpener } from "./requester.ts";

/** The client of native/src/seqpacket.cc. */
interface NativeClient {
  /** request() with proof of what this process may do. */
  hello(record: Uint8Array, answer: Uint8Array, timeoutMs: number): number;
  request(header: Uint8Array, payload: Uint8Array | undefined, answer: Uint8Array, timeoutMs: number): number;
  receive(buffer: Uint8Array): number;
  onReadable(callback: (() => void) | null): void;
  setRef(on: boolean): void;
  close(): void;
}

interface SeqpacketAddon {
  SeqpacketClient: new (path: string) => NativeClient;
}

/** Options of connect(). */
export interface ConnectOptions {
  /** Milliseconds after which an unanswered request ends the connection. Default 30 000. */
  readonly timeout?: number;
}

/** Options of Client.open(). */
export interface OpenOptions {
  /** Wanted nl_pid; 0 or absent: assigned. */
  readonly portId?: number;
}

/** Size of the largest datagram: an upcall is a frame of at most 64 KiB and its attributes. */
const RECEIVE_BYTES = 1 << 18;
/** Bytes of a dump that the server puts into one datagram. */
const DUMP_RECEIVE_LENGTH = 32_768;

/**
 * A connection to a nokmod server, which opens netlink sockets there. Requests block until they are answered, as system
 * calls do: client and server must not share a thread.
 */
export class Client implements SocketOpener {
  private readonly control: NativeClient;
  private readonly header = new Uint8Array(REQUEST_BYTES);
  private readonly fields = new DataView(this.header.buffer);
  private readonly answerBytes = new Uint8Array(ANSWER_BYTES);
  private readonly answer = new DataView(this.answerBytes.buffer);
  private readonly timeout: number;
  private readonly buffer = new Uint8Array(RECEIVE_BYTES);
  private closed = false;

  /**
   * @throws NokmodError ERR_CONNECT without a server, ERR_TRANSPORT with a server of another version; Errno EMFILE: the user
   * has too many connections, ETIMEDOUT, or the errno of entering the client's network namespace
   */
  constructor(
    readonly path: string = defaultSocketPath(),
    options: ConnectOptions = {},
  ) {
    this.timeout = options.timeout ?? 30_000;
    this.control = this.dial();
    try {
      this.hello(this.control, ChannelKind.Control, 0);
    } catch (error) {
      this.control.close();
      throw error;
    }
  }

  /**
   * Opens a netlink socket, bound to a port id.
   * @throws Errno EPROTONOSUPPORT, EADDRINUSE
   */
  open(protocol: number, options: OpenOptions = {}): SeqpacketSocket {
    const channel = this.dial();
    try {
      this.hello(channel, ChannelKind.Data, protocol);
      const low = this.answer.getUint32(AnswerAt.A, true);
      const high = this.answer.getUint32(AnswerAt.B, true);
      return new SeqpacketSocket(this, channel, protocol, low, high, options.portId ?? 0, this.buffer);
    } catch (error) {
      channel.close();
      throw error;
    }
  }

  /** Closes the control channel; sockets that are open can still receive. */
  close(): void {
    this.closed = true;
    this.control.close();
  }

  /** One request on the control channel. @returns the answer, valid until the next request @throws Errno */
  request(op: TransportOp, low: number, high: number, a = 0, b = 0, payload?: Uint8Array): DataView {
    if (this.closed) throw new Errno(EBADF, "the client is closed");
    const { fields } = this;
    fields.setUint32(RequestAt.Op, op, true);
    fields.setUint32(RequestAt.IdLow, low, true);
    fields.setUint32(RequestAt.IdHigh, high, true);
    fields.setUint32(RequestAt.A, a, true);
    fields.setUint32(RequestAt.B, b, true);
    this.exchange(this.control, this.header, payload);
    return this.answer;
  }

  private dial(): NativeClient {
    const { SeqpacketClient } = native<SeqpacketAddon>();
    try {
      return new SeqpacketClient(this.path);
    } catch (cause) {
      // ENOENT, ECONNREFUSED: no server. EACCES, ENAMETOOLONG …: none at this path for this process.
      if (systemErrorCode(cause) === undefined) throw cause;
      throw new NokmodError("ERR_CONNECT", `no nokmod server: ${(cause as Error).message}`, { cause });
    }
  }

  private hello(channel: NativeClient, kind: ChannelKind, protocol: number): void {
    const bytes = new Uint8Array(HELLO_BYTES);
    const view = new DataView(bytes.buffer);
    view.setUint32(HelloAt.Magic, TRANSPORT_MAGIC, true);
    view.setUint16(HelloAt.Version, TRANSPORT_VERSION, true);
    view.setUint16(HelloAt.Kind, kind, true);
    view.setUint32(HelloAt.Protocol, protocol, true);
    view.setUint32(HelloAt.Pid, process.pid, true);
    view.setUint32(HelloAt.ReceiveLength, DUMP_RECEIVE_LENGTH, true);
    try {
      this.conclude(channel, channel.hello(bytes, this.answerBytes, this.timeout));
    } catch (cause) {
      // EPROTO: no hello as the server knows it. EPROTONOSUPPORT: the hello of another version.
      if (!(cause instanceof Errno && (cause.errno === EPROTO || cause.errno === EPROTONOSUPPORT))) throw cause;
      throw new NokmodError("ERR_TRANSPORT", `${this.path} speaks another protocol (errno ${cause.errno})`, { cause });
    }
  }

  private exchange(channel: NativeClient, header: Uint8Array, payload: Uint8Array | undefined): void {
    this.conclude(channel, channel.request(header, payload, this.answerBytes, this.timeout));
  }

  /** Checks the outcome of a request. @param length bytes of the answer, or a negative errno @throws Errno, NokmodError */
  private conclude(channel: NativeClient, length: number): void {
    if (length === ANSWER_BYTES) {
      const errno = this.answer.getUint32(AnswerAt.Error, true);
      if (errno !== 0) throw new Errno(errno);
      return;
    }
    // Too large for the socket: nothing was sent, and the connection stays usable.
    if (length === -EMSGSIZE) throw new Errno(EMSGSIZE);
    // A late answer would be taken for that of the next request.
    channel.close();
    if (channel === this.control) this.closed = true;
    if (length === -EAGAIN) throw new Errno(ETIMEDOUT, `the server on ${this.path} did not answer`);
    throw connectionLost(this.path);
  }
}

/** Connects to a server. @throws NokmodError ERR_CONNECT, ERR_TRANSPORT; Errno as of `new Client()` */
export function connect(path?: string, options?: ConnectOptions): Client {
  return new Client(path, options);
}

/** A netlink socket of a nokmod in another process. */
export class SeqpacketSocket implements NetlinkSocket {
  readonly portId: number;
  private callback: (() => void) | null = null;
  private dumping = false;
  private waiting = false;
  private closed = false;

  /** Made by Client.open(). */
  constructor(
    private readonly client: Client,
    private readonly channel: NativeClient,
    readonly protocol: number,
    private readonly idLow: number,
    private readonly idHigh: number,
    portId: number,
    private readonly buffer: Uint8Array,
  ) {
    this.portId = this.request(TransportOp.Bind, portId, 0).getUint32(AnswerAt.A, true);
  }

  send(datagram: Uint8Array): void {
    this.request(TransportOp.Send, 0, 0, datagram);
  }

  /** @throws NokmodError ERR_CONNECTION_LOST when the server has ended; Errno ENOBUFS, EBADF */
  receive(): Uint8Array | null {
    // Reading asks for the next call of onReadable, even where datagrams are left.
    if (this.callback !== null) this.wait(true);
    for (;;) {
      const length = this.channel.receive(this.buffer);
      if (length > 0) return this.take(length);
      if (length === 0) {
        this.wait(false);
        throw connectionLost(this.client.path);
      }
      if (length !== -EAGAIN) throw new Errno(-length);
      if (!this.dumping) return null;
      this.request(TransportOp.More);
    }
  }

  get onReadable(): (() => void) | null {
    return this.callback;
  }

  /** While it is set, the event loop stays alive. */
  set onReadable(callback: (() => void) | null) {
    this.callback = callback;
    this.wait(callback !== null);
  }

  join(group: number): void {
    this.request(TransportOp.Join, group);
  }

  leave(group: number): void {
    this.request(TransportOp.Leave, group);
  }

  setOption(option: number, on: boolean): void {
    this.request(TransportOp.Option, option, on ? 1 : 0);
  }

  /** SO_RCVBUFFORCE, or SO_RCVBUF when we lack the privilege. */
  setReceiveBuffer(bytes: number): void {
    try {
      this.request(TransportOp.ReceiveBuffer, bytes, 1);
    } catch (error) {
      // EPERM: without CAP_NET_ADMIN the limit of net.core.rmem_max holds.
      if (!(error instanceof Errno && error.errno === EPERM)) throw error;
      this.request(TransportOp.ReceiveBuffer, bytes, 0);
    }
  }

  close(): void {
    if (this.closed) return;
    this.closed = true;
    this.callback = null;
    this.channel.close();
  }

  private take(length: number): Uint8Array {
    if (length === MARKER_BYTES) {
      throw new Errno(new DataView(this.buffer.buffer, 0, MARKER_BYTES).getUint32(0, true));
    }
    if (length > this.buffer.length)
      throw new Errno(EMSGSIZE, "a datagram larger than any netlink message was cut off");
    return this.buffer.slice(0, length);
  }

  /** Polls for one call until the next receive(): polling is level-triggered and would call again and again. */
  private wait(on: boolean): void {
    if (on === this.waiting || this.closed) return;
    this.waiting = on;
    this.channel.onReadable(
      on
        ? () => {
            this.wait(false);
            this.callback?.();
          }
        : null,
    );
  }

  private request(op: TransportOp, a = 0, b = 0, payload?: Uint8Array): DataView {
    if (this.closed) throw new Errno(EBADF);
    const answer = this.client.request(op, this.idLow, this.idHigh, a, b, payload);
    this.dumping = (answer.getUint32(AnswerAt.Flags, true) & ANSWER_DUMPING) !== 0;
    return answer;
  }
}

function connectionLost(path: string): NokmodError {
  return new NokmodError("ERR_CONNECTION_LOST", `the server on ${path} has gone`);
}
