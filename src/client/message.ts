/** The messages of datagrams, and what NLMSG_ERROR carries. */
import { Errno } from "../core/errors.ts";
import { AttributeReader } from "../netlink/reader.ts";
import type { MessageWriter } from "../netlink/writer.ts";
import { extendedAck } from "../schema/genetlink.ts";
import { EPROTO } from "../uapi/errno.ts";
import { NLM_F_ACK_TLVS, NLM_F_CAPPED, NLMSG_HDRLEN } from "../uapi/netlink.ts";

/**
 * One message of a datagram (struct nlmsghdr, linux/netlink.h): views the datagram, copies nothing. Valid as long as the
 * datagram is.
 */
export class MessageView {
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
export function* messagesOf(datagram: Uint8Array): IterableIterator<MessageView> {
  const view = new DataView(datagram.buffer, datagram.byteOffset, datagram.byteLength);
  let at = 0;
  while (datagram.length - at >= NLMSG_HDRLEN) {
    const size = view.getUint32(at, true);
    if (size < NLMSG_HDRLEN || size > datagram.length - at) return;
    yield new MessageView(view, at, at + size);
    at += (size + 3) & ~3;
  }
}

/**
 * The outcome that an NLMSG_ERROR carries: null for an acknowledgement, else an Errno with what the extended ack
 * holds (NLMSGERR_ATTR_*). Payload: `s32 error, nlmsghdr of the request[, the request], attributes if NLM_F_ACK_TLVS`.
 */
export function errorOf(message: MessageView): Errno | null {
  const { view, payload, end } = message;
  if (end - payload < 4) return new Errno(EPROTO, "truncated NLMSG_ERROR");
  const error = -view.getInt32(payload, true);
  if (error === 0) return null;
  if (!(message.flags & NLM_F_ACK_TLVS) || end - payload < 4 + NLMSG_HDRLEN) return new Errno(error);
  const echoed = message.flags & NLM_F_CAPPED ? NLMSG_HDRLEN : view.getUint32(payload + 4, true);
  const start = Math.min(payload + 4 + ((echoed + 3) & ~3), end);
  const { MSG, OFFS, MISS_TYPE, MISS_NEST } = extendedAck.decode(view, start, end, true);
  return new Errno(error, MSG, OFFS, MISS_TYPE, MISS_NEST);
}

/** Writes the payload of a message: the family header and the attributes. */
export type Build = (writer: MessageWriter) => void;
