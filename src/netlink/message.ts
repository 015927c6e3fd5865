import { NLMSG_HDRLEN } from "../uapi/netlink.ts";
import { ExtAck } from "./extack.ts";

export const EMPTY_BYTES: Uint8Array = new Uint8Array(0);
export const EMPTY_VIEW: DataView = new DataView(EMPTY_BYTES.buffer);

/** A request that a protocol's handler executes. Instances are reused: valid until the handler returns. */
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
