import { ETH_P_ARP, ETH_P_IP, ETH_P_IPV6, ETH_P_NSH, ETH_P_RARP, isMpls } from "../../packet/ethernet.ts";
import * as icmpv6 from "../../packet/icmpv6.ts";
import { IpProto } from "../../packet/ip.ts";
import {
  OVS_FRAG_TYPE_LATER,
  OVS_KEY_ATTR_ARP,
  OVS_KEY_ATTR_CT_ORIG_TUPLE_IPV4,
  OVS_KEY_ATTR_CT_ORIG_TUPLE_IPV6,
  OVS_KEY_ATTR_ETHERTYPE,
  OVS_KEY_ATTR_ICMP,
  OVS_KEY_ATTR_ICMPV6,
  OVS_KEY_ATTR_IN_PORT,
  OVS_KEY_ATTR_IPV4,
  OVS_KEY_ATTR_IPV6,
  OVS_KEY_ATTR_MPLS,
  OVS_KEY_ATTR_ND,
  OVS_KEY_ATTR_NSH,
  OVS_KEY_ATTR_SCTP,
  OVS_KEY_ATTR_TCP,
  OVS_KEY_ATTR_TCP_FLAGS,
  OVS_KEY_ATTR_TUNNEL,
  OVS_KEY_ATTR_UDP,
} from "../../uapi/openvswitch.ts";
import { K } from "../key.ts";
import { attrBit, invalid } from "./attribute-set.ts";

/** ICMPv6 types of neighbour solicitation and advertisement (RFC 4861). */

const ALWAYS_MASKABLE = attrBit(OVS_KEY_ATTR_TUNNEL) | attrBit(OVS_KEY_ATTR_IN_PORT) | attrBit(OVS_KEY_ATTR_ETHERTYPE);

/** Mask attributes that need their prerequisite matched exactly (spec/keys K-054). */
const CONDITIONAL =
  attrBit(OVS_KEY_ATTR_IPV4) |
  attrBit(OVS_KEY_ATTR_CT_ORIG_TUPLE_IPV4) |
  attrBit(OVS_KEY_ATTR_IPV6) |
  attrBit(OVS_KEY_ATTR_CT_ORIG_TUPLE_IPV6) |
  attrBit(OVS_KEY_ATTR_TCP) |
  attrBit(OVS_KEY_ATTR_TCP_FLAGS) |
  attrBit(OVS_KEY_ATTR_UDP) |
  attrBit(OVS_KEY_ATTR_SCTP) |
  attrBit(OVS_KEY_ATTR_ICMP) |
  attrBit(OVS_KEY_ATTR_ICMPV6) |
  attrBit(OVS_KEY_ATTR_ARP) |
  attrBit(OVS_KEY_ATTR_ND) |
  attrBit(OVS_KEY_ATTR_MPLS) |
  attrBit(OVS_KEY_ATTR_NSH);

/**
 * Whether the key has what its protocols need (section 4) and the mask only what they allow (spec/keys K-053, K-054).
 * @throws Errno EINVAL
 */
export function validateAttrs(
  key: Int32Array,
  keyAttrs: number,
  mask: Int32Array | undefined,
  maskAttrs: number,
): void {
  let expected = 0;
  let allowed = (keyAttrs & ~CONDITIONAL) | ALWAYS_MASKABLE;
  const type = key[K.ETH_TYPE] >>> 16;
  const typeExact = mask !== undefined && mask[K.ETH_TYPE] >>> 16 === 0xffff;
  const ip = type === ETH_P_IP;
  const ipv6 = type === ETH_P_IPV6;
  let network = 0;
  if (type === ETH_P_ARP || type === ETH_P_RARP) network = attrBit(OVS_KEY_ATTR_ARP);
  else if (isMpls(type)) network = attrBit(OVS_KEY_ATTR_MPLS);
  else if (type === ETH_P_NSH) network = attrBit(OVS_KEY_ATTR_NSH);
  else if (ip) network = attrBit(OVS_KEY_ATTR_IPV4);
  else if (ipv6) network = attrBit(OVS_KEY_ATTR_IPV6);
  expected |= network;
  if (typeExact) {
    allowed |= network;
    if (ip) allowed |= attrBit(OVS_KEY_ATTR_CT_ORIG_TUPLE_IPV4);
    if (ipv6) allowed |= attrBit(OVS_KEY_ATTR_CT_ORIG_TUPLE_IPV6);
  }

  if ((ip || ipv6) && (key[K.IP] & 0xff) !== OVS_FRAG_TYPE_LATER) {
    const proto = key[K.IP] >>> 24;
    let transport = 0;
    if (proto === IpProto.UDP) transport = attrBit(OVS_KEY_ATTR_UDP);
    else if (proto === IpProto.TCP) transport = attrBit(OVS_KEY_ATTR_TCP) | attrBit(OVS_KEY_ATTR_TCP_FLAGS);
    else if (proto === IpProto.SCTP) transport = attrBit(OVS_KEY_ATTR_SCTP);
    else if (proto === IpProto.ICMP && ip) transport = attrBit(OVS_KEY_ATTR_ICMP);
    else if (proto === IpProto.ICMPV6 && ipv6) {
      transport = attrBit(OVS_KEY_ATTR_ICMPV6);
      const icmpType = key[K.TP] >>> 16;
      if (
        icmpType === icmpv6.Icmpv6Type.NEIGHBOUR_SOLICITATION ||
        icmpType === icmpv6.Icmpv6Type.NEIGHBOUR_ADVERTISEMENT
      ) {
        expected |= attrBit(OVS_KEY_ATTR_ND);
        // The original tuple lies where the ND fields do.
        allowed &= ~attrBit(OVS_KEY_ATTR_CT_ORIG_TUPLE_IPV6);
        if (mask !== undefined && mask[K.TP] >>> 16 === 0xff) allowed |= attrBit(OVS_KEY_ATTR_ND);
      }
    }
    expected |= transport;
    if (mask !== undefined && mask[K.IP] >>> 24 === 0xff) allowed |= transport;
  }
  if ((keyAttrs & expected) !== expected || (maskAttrs & ~allowed) !== 0) throw invalid();
}
