import * as tcp from "../../../packet/tcp.ts";
import { IP_CT_TCP_FLAG_SACK_PERM, IP_CT_TCP_FLAG_WINDOW_SCALE } from "../../../uapi/nfnetlink.ts";
import { segmentFields, seqAfter } from "./segment.ts";

/** Largest window scale (RFC 7323 section 2.3). */
const MAX_SCALE = 14;

/** Options of a SYN, as parseOptions() leaves them: one object for the module, so that no packet allocates one. */
export const synOptions = {
  /** WindowCheck scale. */
  scale: 0,
  /** IP_CT_TCP_FLAG_* */
  flags: 0,
};

/** Reads window scale and SACK-permitted of a SYN. @returns false if the segment has no options: nothing was set */
export function parseOptions(): boolean {
  const { view } = segmentFields;
  const start = segmentFields.l4 + tcp.HEADER_LEN;
  const end = segmentFields.l4 + segmentFields.headerLength;
  synOptions.scale = 0;
  synOptions.flags = 0;
  if (start === end) return false;
  for (let at = tcp.nextOption(view, start, end); at >= 0; ) {
    const kind = view.getUint8(at);
    const size = view.getUint8(at + 1);
    if (kind === tcp.OPT_SACK_PERMITTED && size === 2) synOptions.flags |= IP_CT_TCP_FLAG_SACK_PERM;
    else if (kind === tcp.OPT_WINDOW_SCALE && size === 3) {
      synOptions.scale = Math.min(view.getUint8(at + 2), MAX_SCALE);
      synOptions.flags |= IP_CT_TCP_FLAG_WINDOW_SCALE;
    }
    at = tcp.nextOption(view, at + size, end);
  }
  return true;
}

/** Finds the highest right edge of the SACK blocks (RFC 2018). @returns it, or `sack` if that is higher */
export function highestSack(sack: number): number {
  const { view } = segmentFields;
  const end = segmentFields.l4 + segmentFields.headerLength;
  for (let at = tcp.nextOption(view, segmentFields.l4 + tcp.HEADER_LEN, end); at >= 0; ) {
    const size = view.getUint8(at + 1);
    if (tcp.isSack(view, at)) {
      for (let block = at + 2; block < at + size; block += 8) {
        const edge = view.getInt32(block + 4);
        if (seqAfter(edge, sack)) sack = edge;
      }
      break;
    }
    at = tcp.nextOption(view, at + size, end);
  }
  return sack;
}
