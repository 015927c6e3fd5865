import { ANSWER_BYTES, AnswerAt, REQUEST_MAX } from "../netlink/transport.ts";

/** The listening socket and its connections: native/src/seqpacket_server.h. Connections are named by an id each. */
export interface NativeServer {
  /** Sends the first `length` bytes of the output as one record. @returns 0 or a negative errno; -EAGAIN: no room */
  send(id: number, length: number): number;
  /** @returns bytes that the client has not read, with the kernel's overhead (SIOCOUTQ) */
  queued(id: number): number;
  /** Has drained() called once the client has read everything. */
  watchDrain(id: number): void;
  /** SO_SNDBUF, or with `force` SO_SNDBUFFORCE. @returns the size that the kernel has set */
  setSendBuffer(id: number, bytes: number, force: boolean): number;
  /** @returns descriptor of the network namespace that the connection was made in, for the caller to close, or a negative errno */
  netns(id: number): number;
  /** Whether the peer had CAP_NET_ADMIN when it connected, over its own network namespace or over the server's. */
  privileged(id: number, own: boolean): boolean;
  /** Within packet(), for one with PacketFlag.Trusted: its sender has CAP_NET_ADMIN now (capget(2)). */
  senderPrivileged(): boolean;
  /** Within packet(): id of the connection whose client's end came with the packet (SCM_RIGHTS), or -1. */
  held(): number;
  /** Waits for this connection's packets with a poll handle of its own. `mailbox`: its client may post them (docs/transport.md). */
  prompt(id: number, mailbox: boolean): void;
  /** Takes no packets of a connection that prompt() was not called for, or takes them again. Its end is seen when it does. */
  pause(id: number, paused: boolean): void;
  /** Closes a connection; closed() is not called. */
  disconnect(id: number): void;
  close(): void;
}

/** Callbacks of the native server, on the event loop. */
export interface NativeHandlers {
  accept(id: number, pid: number, uid: number, gid: number, netns: number): void;
  /** Handles the packet in the input; a `length` above the input's means that it was truncated. @returns length of the answer in the output, 0 = none */
  packet(id: number, length: number, flags: number): number;
  drained(id: number): void;
  closed(id: number): void;
}

/** The server of the native addon. */
export interface SeqpacketAddon {
  SeqpacketServer: new (
    path: string,
    mode: number,
    input: Uint8Array,
    output: Uint8Array,
    handlers: NativeHandlers,
  ) => NativeServer;
}

/** Flags of NativeHandlers.packet(): native/src/record.h. */
export const enum PacketFlag {
  Posted = 1,
  /** The sender is the process that sent the hello and was privileged then; senderPrivileged() checks whether it still is. */
  Trusted = 2,
  /** Descriptors that came with it were lost: this process may open no more. */
  Truncated = 4,
}

/** The buffer that NativeServer.send() sends from, and that answers are written to. */
export class Output {
  /** The longest datagram. */
  readonly bytes = new Uint8Array(REQUEST_MAX);
  readonly view = new DataView(this.bytes.buffer);

  /** Writes an answer (docs/transport.md). @returns its length */
  answer(errno: number, flags = 0, a = 0, b = 0, payload?: Uint8Array): number {
    const { bytes, view } = this;
    view.setUint32(AnswerAt.Error, errno, true);
    view.setUint32(AnswerAt.Flags, flags, true);
    view.setUint32(AnswerAt.A, a, true);
    view.setUint32(AnswerAt.B, b, true);
    if (payload === undefined) return ANSWER_BYTES;
    bytes.set(payload, ANSWER_BYTES);
    return ANSWER_BYTES + payload.length;
  }
}
