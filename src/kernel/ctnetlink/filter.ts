import { E, T } from "../../conntrack/layout.ts";
import { Errno } from "../../core/errors.ts";
import type { KernelProfile } from "../../core/kernel-profile.ts";
import { filterAttributes } from "../../schema/ctnetlink.ts";
import { EINVAL } from "../../uapi/errno.ts";
import * as nf from "../../uapi/nfnetlink.ts";
import { AF_INET } from "../../uapi/socket.ts";
import type { NfRequest } from "./message.ts";
import { FILTER_ALL, FILTER_IP_DST, FILTER_IP_SRC, matchesTuple, parseTuple } from "./tuple.ts";

/** Whether a dump or flush is narrowed down to some connections. */
export function needsFilter(request: NfRequest, kernel: KernelProfile, family = request.family): boolean {
  const { attributes } = request;
  if (kernel.conntrackZoneFilter && attributes.has(nf.CTA_ZONE)) return true;
  return family !== 0 || [nf.CTA_MARK, nf.CTA_FILTER, nf.CTA_STATUS].some((type) => attributes.has(type));
}

/** Narrows a dump or flush down (spec/ctnetlink N-067 to N-074, N-083 to N-085). */
export class ConnectionFilter {
  private readonly zone: number;
  private readonly mark: number = 0;
  private readonly markMask: number = 0;
  private readonly status: number = 0;
  private readonly statusMask: number = 0;
  private readonly origFlags: number = 0;
  private readonly replyFlags: number = 0;
  private readonly original: Int32Array | undefined;
  private readonly reply: Int32Array | undefined;

  /** @throws Errno EINVAL, EOPNOTSUPP */
  constructor(
    request: NfRequest,
    private readonly kernel: KernelProfile,
    private readonly family = request.family,
  ) {
    const { attributes } = request;
    if (attributes.has(nf.CTA_MARK)) {
      this.mark = attributes.be32(nf.CTA_MARK) | 0;
      this.markMask = attributes.has(nf.CTA_MARK_MASK) ? attributes.be32(nf.CTA_MARK_MASK) | 0 : -1;
    } else if (attributes.has(nf.CTA_MARK_MASK)) throw new Errno(EINVAL);
    if (attributes.has(nf.CTA_STATUS)) {
      this.status = attributes.be32(nf.CTA_STATUS) | 0;
      this.statusMask = attributes.has(nf.CTA_STATUS_MASK) ? attributes.be32(nf.CTA_STATUS_MASK) | 0 : this.status;
      if (this.statusMask === 0) throw new Errno(EINVAL);
    } else if (attributes.has(nf.CTA_STATUS_MASK)) throw new Errno(EINVAL);
    this.zone = kernel.conntrackZoneFilter && attributes.has(nf.CTA_ZONE) ? attributes.be16(nf.CTA_ZONE) : -1;
    if (!attributes.has(nf.CTA_FILTER)) return;
    const filter = attributes.strictlyNested(nf.CTA_FILTER, filterAttributes);
    if (filter.has(nf.CTA_FILTER_ORIG_FLAGS)) this.origFlags = filter.u32(nf.CTA_FILTER_ORIG_FLAGS);
    if (filter.has(nf.CTA_FILTER_REPLY_FLAGS)) this.replyFlags = filter.u32(nf.CTA_FILTER_REPLY_FLAGS);
    if (((this.origFlags | this.replyFlags) & ~FILTER_ALL) !== 0) throw new Errno(EINVAL);
    const zone = Math.max(this.zone, 0);
    if (this.origFlags !== 0) {
      if (!attributes.has(nf.CTA_TUPLE_ORIG)) throw new Errno(EINVAL);
      this.original = parseTuple(attributes, nf.CTA_TUPLE_ORIG, family, zone, this.origFlags);
    }
    if (this.replyFlags !== 0) {
      if (!attributes.has(nf.CTA_TUPLE_REPLY)) throw new Errno(EINVAL);
      this.reply = parseTuple(attributes, nf.CTA_TUPLE_REPLY, family, zone, this.replyFlags);
    }
  }

  matches(words: Int32Array, entry: number): boolean {
    const meta = words[entry + T.META];
    if (this.family !== 0 && (meta & 0xff) !== this.family) return false;
    if (this.zone >= 0) {
      // An entry between two zones is of both; one with a zone for one direction only is not of zone 0.
      const [own, answers] = [meta >>> 16, words[entry + E.REPLY + T.META] >>> 16];
      if (this.zone === 0 ? (own | answers) !== 0 : own !== this.zone && answers !== this.zone) return false;
    }
    if (!this.matchesTuple(this.original, words, entry, this.origFlags)) return false;
    if (!this.matchesTuple(this.reply, words, entry + E.REPLY, this.replyFlags)) return false;
    if ((words[entry + E.MARK] & this.markMask) !== this.mark) return false;
    return (words[entry + E.STATUS] & this.statusMask) === this.status;
  }

  private matchesTuple(tuple: Int32Array | undefined, words: Int32Array, at: number, flags: number): boolean {
    if (tuple === undefined) return true;
    if (this.kernel.conntrackFilterIpv6 || this.family === AF_INET) return matchesTuple(tuple, words, at, flags);
    // Older kernels take what compares unequal for a match.
    for (const [flag, side] of [
      [FILTER_IP_SRC, T.SRC],
      [FILTER_IP_DST, T.DST],
    ]) {
      const equal = [0, 1, 2, 3].every((i) => tuple[side + i] === words[at + side + i]);
      if ((flags & flag) !== 0 && equal) return false;
    }
    return matchesTuple(tuple, words, at, flags & ~(FILTER_IP_SRC | FILTER_IP_DST));
  }
}
