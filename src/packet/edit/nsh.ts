import { EAFNOSUPPORT, EINVAL, ENOMEM } from "../../uapi/errno.ts";
import { ETH_P_IP, ETH_P_IPV6, ETH_P_MPLS_UC, ETH_P_NSH, ETH_P_TEB } from "../ethernet.ts";
import * as nsh from "../nsh.ts";
import { NshNext } from "../nsh.ts";
import type { Packet } from "../packet.ts";
import { ensureWritable, networkOffset } from "./writable.ts";

/**
 * push_nsh (spec/actions A-184): puts `header` before the packet; its next protocol field is written from what the
 * packet is.
 * @param header complete NSH header, length field included
 * @returns -EAFNOSUPPORT if the packet is of no kind that NSH can carry
 */
export function pushNsh(packet: Packet, header: Uint8Array): number {
  const next = networkOffset(packet) !== 0 ? NshNext.ETHERNET : nshNext(packet.protocol);
  if (next === 0) return -EAFNOSUPPORT;
  if (!ensureWritable(packet, header.length)) return -ENOMEM;
  const { view, bytes } = packet.memory;
  packet.off -= header.length;
  packet.len += header.length;
  bytes.set(header, packet.off);
  view.setUint8(packet.off + nsh.NEXT_PROTOCOL, next);
  packet.l3 = packet.off;
  packet.protocol = ETH_P_NSH;
  packet.macNone = true;
  return 0;
}

/**
 * pop_nsh (spec/actions A-185).
 * @returns -EINVAL if the length is below 8, -ENOMEM if the header is cut off, -EAFNOSUPPORT for an unknown payload
 */
export function popNsh(packet: Packet): number {
  if (packet.len < nsh.BASE_LEN) return -ENOMEM;
  const { view } = packet.memory;
  const length = nsh.headerLength(view, packet.off);
  if (length < nsh.BASE_LEN) return -EINVAL;
  const etherType = nshEtherType(nsh.nextProtocol(view, packet.off));
  if (packet.len < length) return -ENOMEM;
  if (etherType === 0) return -EAFNOSUPPORT;
  packet.off += length;
  packet.len -= length;
  packet.l3 = packet.off;
  packet.protocol = etherType;
  packet.macNone = etherType !== ETH_P_TEB;
  return 0;
}

function nshNext(etherType: number): number {
  switch (etherType) {
    case ETH_P_IP:
      return NshNext.IPV4;
    case ETH_P_IPV6:
      return NshNext.IPV6;
    case ETH_P_TEB:
      return NshNext.ETHERNET;
    case ETH_P_NSH:
      return NshNext.NSH;
    case ETH_P_MPLS_UC:
      return NshNext.MPLS;
    default:
      return 0;
  }
}

function nshEtherType(next: number): number {
  switch (next) {
    case NshNext.IPV4:
      return ETH_P_IP;
    case NshNext.IPV6:
      return ETH_P_IPV6;
    case NshNext.ETHERNET:
      return ETH_P_TEB;
    case NshNext.NSH:
      return ETH_P_NSH;
    case NshNext.MPLS:
      return ETH_P_MPLS_UC;
    default:
      return 0;
  }
}
