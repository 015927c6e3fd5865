import { IpProto } from "../../packet/ip.ts";
import { Exthdr } from "./numbers.ts";

/**
 * The bitmap of extension headers seen, repeated (UNREP) or out of the order that RFC 8200 section 4.1 prefers (UNSEQ).
 * The walk takes all headers to be of hop-by-hop form, AH as well, as the module does.
 */
export function extensionBits(view: DataView, nextHeader: number, start: number, end: number): number {
  let bits = 0;
  let dests = 0;
  let proto = nextHeader;
  let at = start;
  for (;;) {
    switch (proto) {
      case IpProto.NONE:
        return bits | Exthdr.NONEXT;
      case IpProto.AH:
        if ((bits & Exthdr.AUTH) !== 0) bits |= Exthdr.UNREP;
        if ((bits & ~BEFORE_AUTH) !== 0 || dests >= 2) bits |= Exthdr.UNSEQ;
        bits |= Exthdr.AUTH;
        break;
      case IpProto.DSTOPTS:
        if (dests === 0) {
          if ((bits & ~BEFORE_DEST) !== 0) bits |= Exthdr.UNSEQ;
          bits |= Exthdr.DEST;
        } else if (dests === 1) {
          if ((bits & ~BEFORE_SECOND_DEST) !== 0) bits |= Exthdr.UNSEQ;
        } else {
          bits |= Exthdr.UNREP;
        }
        dests++;
        break;
      case IpProto.FRAGMENT:
        if ((bits & Exthdr.FRAG) !== 0) bits |= Exthdr.UNREP;
        if ((bits & ~BEFORE_FRAG) !== 0 || dests >= 2) bits |= Exthdr.UNSEQ;
        bits |= Exthdr.FRAG;
        break;
      case IpProto.ROUTING:
        if ((bits & Exthdr.ROUTER) !== 0) bits |= Exthdr.UNREP;
        if ((bits & ~BEFORE_ROUTER) !== 0 || dests >= 2) bits |= Exthdr.UNSEQ;
        bits |= Exthdr.ROUTER;
        break;
      case IpProto.HOPOPTS:
        if ((bits & Exthdr.HOP) !== 0) bits |= Exthdr.UNREP;
        bits |= bits === 0 ? Exthdr.HOP : Exthdr.UNSEQ;
        break;
      default:
        return bits;
    }
    if (end - at < 2) return bits;
    proto = view.getUint8(at);
    at += (view.getUint8(at + 1) + 1) << 3;
  }
}

// What may stand before each header without being out of order.
const BEFORE_DEST = Exthdr.HOP | Exthdr.UNREP;
const BEFORE_ROUTER = Exthdr.HOP | Exthdr.DEST | Exthdr.UNREP;

const BEFORE_FRAG = Exthdr.HOP | Exthdr.DEST | Exthdr.ROUTER | Exthdr.UNREP;
const BEFORE_AUTH = Exthdr.HOP | Exthdr.DEST | Exthdr.ROUTER | Exthdr.FRAG | Exthdr.UNREP;

const BEFORE_SECOND_DEST =
  Exthdr.HOP | Exthdr.DEST | Exthdr.ROUTER | Exthdr.FRAG | Exthdr.AUTH | Exthdr.ESP | Exthdr.UNREP;
