import { IpProto } from "../../packet/ip.ts";
import { Gso } from "../../packet/packet.ts";
import { K } from "../key.ts";
import { extensionBits } from "./extension-headers.ts";
import { Bits, Frag, Len } from "./numbers.ts";

/**
 * RFC 8200 (spec/keys K-163 to K-184).
 * @returns where the transport header is, 0 = not known
 */
export function extractIpv6(view: DataView, key: Int32Array, at: number, end: number, gsoType: number): number {
  if (end - at < Len.IPV6) return 0;
  const first = view.getInt32(at);
  const nextHeader = view.getUint8(at + 6);
  key[K.IPV6_SRC] = view.getInt32(at + 8);
  key[K.IPV6_SRC + 1] = view.getInt32(at + 12);
  key[K.IPV6_SRC + 2] = view.getInt32(at + 16);
  key[K.IPV6_SRC + 3] = view.getInt32(at + 20);
  key[K.IPV6_DST] = view.getInt32(at + 24);
  key[K.IPV6_DST + 1] = view.getInt32(at + 28);
  key[K.IPV6_DST + 2] = view.getInt32(at + 32);
  key[K.IPV6_DST + 3] = view.getInt32(at + 36);
  key[K.IPV6_LABEL] = first & 0xfffff;
  const tclassAndHops = ((first >>> 4) & 0xff0000) | (view.getUint8(at + 7) << 8);

  let proto = nextHeader;
  let frag: number = Frag.NONE;
  let l4 = at + Len.IPV6;
  if (isExtension(nextHeader)) {
    key[K.IPV6_EXTHDRS] = extensionBits(view, nextHeader, l4, end);
    l4 = walkExtensions(view, nextHeader, l4, end);
    proto = walkedProto;
    frag = walkedFrag;
    if (frag === Frag.LATER) {
      key[K.IP] = (IpProto.FRAGMENT << 24) | tclassAndHops | Frag.LATER;
      return l4;
    }
    if (l4 < 0) {
      key[K.IP] = (IpProto.NONE << 24) | tclassAndHops | frag;
      return 0;
    }
  }
  if ((gsoType & ~Gso.ECN) === Gso.UDP) frag = Frag.FIRST;
  key[K.IP] = (proto << 24) | tclassAndHops | frag;
  return l4;
}

/**
 * The next header values that ipv6_ext_hdr() of the kernel counts as extension headers; ESP is none of them
 * (spec/keys K-171).
 */
const isExtension = (proto: number): boolean =>
  proto === IpProto.HOPOPTS ||
  proto === IpProto.ROUTING ||
  proto === IpProto.FRAGMENT ||
  proto === IpProto.AH ||
  proto === IpProto.NONE ||
  proto === IpProto.DSTOPTS;

// What walkExtensions() found besides the offset; plain numbers, so that nothing is allocated.
let walkedProto = 0;
let walkedFrag = 0;

/**
 * Finds the upper-layer header behind the extension headers; sets walkedProto and walkedFrag.
 * @returns its absolute offset (`end` if nothing follows), or -1 when the chain breaks off (spec/keys K-165)
 */
function walkExtensions(view: DataView, nextHeader: number, start: number, end: number): number {
  let proto = nextHeader;
  let at = start;
  walkedFrag = Frag.NONE;
  while (isExtension(proto) && proto !== IpProto.NONE) {
    if (end - at < 2) return -1;
    const next = view.getUint8(at);
    if (proto === IpProto.FRAGMENT) {
      // From here on a chain that breaks off is still that of a fragment.
      walkedFrag = Frag.FIRST;
      if (end - at < 4) return -1;
      if ((view.getUint16(at + 2) & Bits.IPV6_OFFSET) !== 0) {
        // Behind a later fragment's header stands no header; one that promises an extension there is an error.
        if (isExtension(next) && next !== IpProto.NONE) return -1;
        walkedFrag = Frag.LATER;
        walkedProto = next;
        return at + 8;
      }
      at += 8;
    } else if (proto === IpProto.AH) {
      at += (view.getUint8(at + 1) + 2) << 2;
    } else {
      at += (view.getUint8(at + 1) + 1) << 3;
    }
    // A header that reaches beyond the packet breaks the chain, even if nothing in it is read.
    if (at > end) return -1;
    proto = next;
  }
  walkedProto = proto;
  return at;
}
