import type { Errno } from "../core/errors.ts";
import {
  NLMSGERR_ATTR_MISS_NEST,
  NLMSGERR_ATTR_MISS_TYPE,
  NLMSGERR_ATTR_MSG,
  NLMSGERR_ATTR_OFFS,
} from "../uapi/netlink.ts";
import type { MessageWriter } from "./writer.ts";

/** Writes an NLMSGERR_ATTR_POLICY attribute: the rule that an attribute broke. */
type PolicyWriter = (writer: MessageWriter) => void;

/**
 * What a request's answer says besides the errno (struct netlink_ext_ack). One per message; whoever handles it fills it
 * in. Positions are counted from the start of the nlmsghdr; -1 = none.
 */
export class ExtAck {
  /** NLMSGERR_ATTR_MSG; sent with a success too, as a warning. */
  message: string | undefined = undefined;
  offset = -1;
  policy: PolicyWriter | undefined = undefined;
  missingType = 0;
  missingNest = -1;

  reset(): void {
    this.message = undefined;
    this.offset = -1;
    this.policy = undefined;
    this.missingType = 0;
    this.missingNest = -1;
  }

  /** Takes over the extended ack of an Errno. */
  merge(error: Errno): void {
    if (error.extack !== undefined) this.message = error.extack;
    if (error.offset !== undefined) this.offset = error.offset;
    if (error.missingType !== undefined) this.missingType = error.missingType;
    if (error.missingNest !== undefined) this.missingNest = error.missingNest;
  }

  /** True if put() would write something. @param errno 0 for a success */
  has(errno: number): boolean {
    if (this.message !== undefined) return true;
    return (
      errno !== 0 && (this.offset >= 0 || this.policy !== undefined || this.missingType !== 0 || this.missingNest >= 0)
    );
  }

  /**
   * Writes MSG, and with an error also OFFS, POLICY, MISS_TYPE, MISS_NEST, in this order (spec/families F-050).
   * @param length nlmsg_len of the request: a position outside its payload is left out
   */
  put(writer: MessageWriter, errno: number, length: number): void {
    if (this.message !== undefined) writer.string(NLMSGERR_ATTR_MSG, this.message);
    if (errno === 0) return;
    if (this.offset >= 16 && this.offset < length) writer.u32(NLMSGERR_ATTR_OFFS, this.offset);
    this.policy?.(writer);
    if (this.missingType !== 0) writer.u32(NLMSGERR_ATTR_MISS_TYPE, this.missingType);
    if (this.missingNest >= 16 && this.missingNest < length) writer.u32(NLMSGERR_ATTR_MISS_NEST, this.missingNest);
  }
}
