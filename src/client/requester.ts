import { Errno } from "../core/errors.ts";
import { AttributeReader } from "../netlink/reader.ts";
import type { NetlinkSocket } from "../netlink/socket.ts";
import { MessageWriter } from "../netlink/writer.ts";
import { EPROTO } from "../uapi/errno.ts";
import {
  NETLINK_CAP_ACK,
  NETLINK_EXT_ACK,
  NLM_F_ACK,
  NLM_F_ACK_TLVS,
  NLM_F_CAPPED,
  NLM_F_DUMP,
  NLM_F_REQUEST,
  NLMSG_DONE,
  NLMSG_ERROR,
  NLMSG_HDRLEN,
  NLMSGERR_ATTR_MISS_NEST,
  NLMSGERR_ATTR_MISS_TYPE,
  NLMSGERR_ATTR_MSG,
  NLMSGERR_ATTR_OFFS,
} from "../uapi/netlink.ts";

/** Where sockets come from: a server in another process (connect()), or the emulated kernel in this one. */
export interface SocketOpener {
  /**
   * Opens a netlink socket and binds it to a free port id.
   * @throws Errno EPROTONOSUPPORT for a protocol that is not emulated
   */
  open(protocol: number): NetlinkSocket;
}

/**
 * One message of a datagram (struct nlmsghdr, linux/netlink.h): views the datagram, copies nothing. Valid as long as the
 * datagram is.
 */
export class NetlinkMessage {
  constructor(
    readonly view: DataView,
    /** Position of the nlmsghdr in `view`, and end of the message without padding. */
    readonly start: number,
    readonly end: number,
  ) {}

  get type(): number {
    return this.view.getUint16(this.start + 4, true);
  }
  get flags(): number {
    return this.view.getUint16(this.start + 6, true);
  }
  get seq(): number {
    return this.view.getUint32(this.start + 8, true);
  }
  get pid(): number {
    return this.view.getUint32(this.start + 12, true);
  }
  /** Where the payload starts: after the nlmsghdr. */
  get payload(): number {
    return this.start + NLMSG_HDRLEN;
  }
  /** The attributes after a family header of `skip` bytes. */
  attributes(skip: number): AttributeReader {
    return new AttributeReader(this.view, Math.min(this.payload + skip, this.end), this.end);
  }
}

/** The messages of one datagram, in order. A message whose length is impossible ends the walk (NLMSG_OK). */
export function* messagesOf(datagram: Uint8Array): IterableIterator<NetlinkMessage> {
  const view = new DataView(datagram.buffer, datagram.byteOffset, datagram.byteLength);
  let at = 0;
  while (datagram.length - at >= NLMSG_HDRLEN) {
    const size = view.getUint32(at, true);
    if (size < NLMSG_HDRLEN || size > datagram.length - at) return;
    yield new NetlinkMessage(view, at, at + size);
    at += (size + 3) & ~3;
  }
}

/**
 * The outcome that an NLMSG_ERROR carries: null for an acknowledgement, else an Errno with whatever the extended ack
 * tells (NLMSGERR_ATTR_*). Payload: `s32 error, nlmsghdr of the request[, the request], attributes if NLM_F_ACK_TLVS`.
 */
export function errorOf(message: NetlinkMessage): Errno | null {
  const { view, payload, end } = message;
  if (end - payload < 4) return new Errno(EPROTO, "truncated NLMSG_ERROR");
  const error = -view.getInt32(payload, true);
  if (error === 0) return null;
  if (!(message.flags & NLM_F_ACK_TLVS) || end - payload < 4 + NLMSG_HDRLEN) return errno(error);
  const echoed = message.flags & NLM_F_CAPPED ? NLMSG_HDRLEN : view.getUint32(payload + 4, true);
  let text: string | undefined;
  let offset: number | undefined;
  let missingType: number | undefined;
  let missingNest: number | undefined;
  const attributes = new AttributeReader(view, Math.min(payload + 4 + ((echoed + 3) & ~3), end), end);
  while (attributes.next()) {
    if (attributes.type === NLMSGERR_ATTR_MSG) text = attributes.string();
    else if (attributes.length < 4) continue;
    else if (attributes.type === NLMSGERR_ATTR_OFFS) offset = attributes.u32();
    else if (attributes.type === NLMSGERR_ATTR_MISS_TYPE) missingType = attributes.u32();
    else if (attributes.type === NLMSGERR_ATTR_MISS_NEST) missingNest = attributes.u32();
  }
  return errno(error, text, offset, missingType, missingNest);
}

function errno(error: number, text?: string, offset?: number, missingType?: number, missingNest?: number): Errno {
  return new Errno(error, text, offset, missingType, missingNest);
}

/** What an nlmsghdr and its payload need: writes the family header and the attributes after the nlmsghdr. */
export type Build = (writer: MessageWriter) => void;

/**
 * Requests and their answers over one netlink socket, any protocol. It relies on what NetlinkSocket promises: when
 * send() returns, every answer is in the receive queue; so everything here is synchronous.
 */
export class Requester {
  private sequence = 0;
  private readonly writer = new MessageWriter();
  /** Messages that answer no request of ours: notifications, upcalls. Dropped when null. */
  onUnsolicited: ((message: NetlinkMessage) => void) | null = null;

  constructor(readonly socket: NetlinkSocket) {
    socket.setOption(NETLINK_EXT_ACK, true);
    socket.setOption(NETLINK_CAP_ACK, true);
  }

  /**
   * Sends one request and returns its replies, without the acknowledgement.
   * @throws Errno as the request failed
   */
  request(type: number, flags: number, build: Build): NetlinkMessage[] {
    const sequence = this.send(type, flags | NLM_F_REQUEST | NLM_F_ACK, build);
    const replies: NetlinkMessage[] = [];
    for (;;) {
      const datagram = this.socket.receive();
      if (datagram === null) throw new Errno(EPROTO, "the request was neither answered nor acknowledged");
      for (const message of messagesOf(datagram)) {
        if (message.seq !== sequence) this.onUnsolicited?.(message);
        else if (message.type === NLMSG_ERROR) {
          const error = errorOf(message);
          if (error !== null) throw error;
          return replies;
        } else replies.push(message);
      }
    }
  }

  /**
   * Dumps: the records of NLM_F_DUMP as they come. The socket is busy until the last one has been taken; a caller that
   * stops early must close the socket.
   * @throws Errno as the dump failed
   */
  *dump(type: number, flags: number, build: Build): IterableIterator<NetlinkMessage> {
    const sequence = this.send(type, flags | NLM_F_REQUEST | NLM_F_DUMP, build);
    for (;;) {
      const datagram = this.socket.receive();
      if (datagram === null) throw new Errno(EPROTO, "the dump ended without NLMSG_DONE");
      for (const message of messagesOf(datagram)) {
        if (message.seq !== sequence) this.onUnsolicited?.(message);
        else if (message.type === NLMSG_ERROR) {
          const error = errorOf(message);
          if (error !== null) throw error;
        } else if (message.type === NLMSG_DONE) {
          const status = message.end - message.payload >= 4 ? message.view.getInt32(message.payload, true) : 0;
          if (status < 0) throw new Errno(-status);
          return;
        } else yield message;
      }
    }
  }

  /** A batch of requests that leave in one datagram. */
  batch(): Batch {
    return new Batch(this);
  }

  /** The sequence number of the next request. */
  nextSequence(): number {
    this.sequence = (this.sequence + 1) >>> 0 || 1;
    return this.sequence;
  }

  private send(type: number, flags: number, build: Build): number {
    const writer = this.writer.reset();
    const sequence = this.nextSequence();
    const at = writer.beginMessage(type, flags, sequence, this.socket.portId);
    build(writer);
    writer.endMessage(at);
    this.socket.send(writer.finish());
    return sequence;
  }
}

/**
 * Several requests in one datagram, none acknowledged: what succeeds says nothing, what fails sends its error
 * (spec/families F-052). This is how a flow is put and its packet executed with one crossing.
 */
export class Batch {
  private readonly writer = new MessageWriter();
  private first = 0;
  private size = 0;

  constructor(private readonly requester: Requester) {}

  /** Number of requests added since the last send(). */
  get length(): number {
    return this.size;
  }

  /** Appends a request; its index counts from 0. */
  add(type: number, flags: number, build: Build): number {
    const sequence = this.requester.nextSequence();
    if (this.size === 0) this.first = sequence;
    const { writer } = this;
    writer.reserve(-writer.length & 3);
    const at = writer.beginMessage(type, flags | NLM_F_REQUEST, sequence, this.requester.socket.portId);
    build(writer);
    writer.endMessage(at);
    return this.size++;
  }

  /**
   * Sends what was added and starts anew. Calls `onError` for each request that failed, with its index.
   * @returns the number of failed requests
   */
  send(onError?: (index: number, error: Errno) => void): number {
    if (this.size === 0) return 0;
    const { requester, first, size } = this;
    const datagram = this.writer.finish();
    this.writer.reset();
    this.size = 0;
    requester.socket.send(datagram);
    let failed = 0;
    for (let answer = requester.socket.receive(); answer !== null; answer = requester.socket.receive()) {
      for (const message of messagesOf(answer)) {
        const index = (message.seq - first) >>> 0;
        if (message.seq === 0 || index >= size) requester.onUnsolicited?.(message);
        else if (message.type === NLMSG_ERROR) {
          const error = errorOf(message);
          if (error === null) continue;
          failed++;
          onError?.(index, error);
        }
      }
    }
    return failed;
  }
}
