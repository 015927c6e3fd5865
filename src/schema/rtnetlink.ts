import {
  attributeSet,
  be16,
  be32,
  binary,
  bytes,
  checkedAs,
  flag,
  ipv4,
  ipv6,
  nested,
  nulString,
  Rule,
  since,
  string,
  u8,
  u16,
  u32,
} from "../netlink/schema/index.ts";
import * as rt from "../uapi/rtnetlink.ts";
import { kernelVersion } from "../uapi/version.ts";

/** Attributes of a link (linux/if_link.h), as far as nokmod reads them. */
export const linkAttributes = attributeSet("link", {
  ADDRESS: binary(rt.IFLA_ADDRESS),
  IFNAME: nulString(rt.IFLA_IFNAME, 15),
  MTU: u32(rt.IFLA_MTU),
  MASTER: u32(rt.IFLA_MASTER),
  LINKINFO: nested(rt.IFLA_LINKINFO, () => linkInfoAttributes),
  NET_NS_PID: u32(rt.IFLA_NET_NS_PID),
  NET_NS_FD: u32(rt.IFLA_NET_NS_FD),
});

/** IFLA_LINKINFO: the kind of a device, and data that its kind gives a meaning to. */
export const linkInfoAttributes = attributeSet("link info", {
  KIND: string(rt.IFLA_INFO_KIND),
  DATA: binary(rt.IFLA_INFO_DATA),
  SLAVE_KIND: string(rt.IFLA_INFO_SLAVE_KIND),
});

/** IFLA_INFO_DATA of VXLAN devices. */
export const vxlanLink = attributeSet("vxlan link", {
  ID: u32(rt.IFLA_VXLAN_ID),
  GROUP: ipv4(rt.IFLA_VXLAN_GROUP),
  LINK: u32(rt.IFLA_VXLAN_LINK),
  LOCAL: ipv4(rt.IFLA_VXLAN_LOCAL),
  TTL: u8(rt.IFLA_VXLAN_TTL),
  TOS: u8(rt.IFLA_VXLAN_TOS),
  LEARNING: u8(rt.IFLA_VXLAN_LEARNING),
  AGEING: u32(rt.IFLA_VXLAN_AGEING),
  LIMIT: u32(rt.IFLA_VXLAN_LIMIT),
  PORT_RANGE: checkedAs(bytes(rt.IFLA_VXLAN_PORT_RANGE, 4), Rule.UNSPEC, 4),
  PROXY: u8(rt.IFLA_VXLAN_PROXY),
  RSC: u8(rt.IFLA_VXLAN_RSC),
  L2MISS: u8(rt.IFLA_VXLAN_L2MISS),
  L3MISS: u8(rt.IFLA_VXLAN_L3MISS),
  PORT: be16(rt.IFLA_VXLAN_PORT),
  GROUP6: ipv6(rt.IFLA_VXLAN_GROUP6),
  LOCAL6: ipv6(rt.IFLA_VXLAN_LOCAL6),
  UDP_CSUM: u8(rt.IFLA_VXLAN_UDP_CSUM),
  UDP_ZERO_CSUM6_TX: u8(rt.IFLA_VXLAN_UDP_ZERO_CSUM6_TX),
  UDP_ZERO_CSUM6_RX: u8(rt.IFLA_VXLAN_UDP_ZERO_CSUM6_RX),
  REMCSUM_TX: u8(rt.IFLA_VXLAN_REMCSUM_TX),
  REMCSUM_RX: u8(rt.IFLA_VXLAN_REMCSUM_RX),
  GBP: flag(rt.IFLA_VXLAN_GBP),
  REMCSUM_NOPARTIAL: flag(rt.IFLA_VXLAN_REMCSUM_NOPARTIAL),
  COLLECT_METADATA: u8(rt.IFLA_VXLAN_COLLECT_METADATA),
  LABEL: be32(rt.IFLA_VXLAN_LABEL),
  GPE: flag(rt.IFLA_VXLAN_GPE),
  /** A flag in a request, reported with a payload. */
  TTL_INHERIT: flag(rt.IFLA_VXLAN_TTL_INHERIT),
  DF: u8(rt.IFLA_VXLAN_DF),
  VNIFILTER: u8(rt.IFLA_VXLAN_VNIFILTER),
  LOCALBYPASS: since(kernelVersion(6, 5), u8(rt.IFLA_VXLAN_LOCALBYPASS)),
  LABEL_POLICY: since(kernelVersion(6, 7), u32(rt.IFLA_VXLAN_LABEL_POLICY)),
  RESERVED_BITS: since(kernelVersion(6, 14), checkedAs(bytes(rt.IFLA_VXLAN_RESERVED_BITS, 8), Rule.UNSPEC, 8)),
});

/** IFLA_INFO_DATA of Geneve devices. */
export const geneveLink = attributeSet("geneve link", {
  ID: u32(rt.IFLA_GENEVE_ID),
  TTL: u8(rt.IFLA_GENEVE_TTL),
  TOS: u8(rt.IFLA_GENEVE_TOS),
  PORT: be16(rt.IFLA_GENEVE_PORT),
  COLLECT_METADATA: flag(rt.IFLA_GENEVE_COLLECT_METADATA),
  UDP_ZERO_CSUM6_RX: u8(rt.IFLA_GENEVE_UDP_ZERO_CSUM6_RX),
  LABEL: be32(rt.IFLA_GENEVE_LABEL),
  TTL_INHERIT: u8(rt.IFLA_GENEVE_TTL_INHERIT),
  DF: u8(rt.IFLA_GENEVE_DF),
  INNER_PROTO_INHERIT: flag(rt.IFLA_GENEVE_INNER_PROTO_INHERIT),
});

/** What the IFLA_INFO_DATA of all devices over GRE has in common. */
const GRE_LINK = {
  LINK: u32(rt.IFLA_GRE_LINK),
  IFLAGS: be16(rt.IFLA_GRE_IFLAGS),
  OFLAGS: be16(rt.IFLA_GRE_OFLAGS),
  IKEY: be32(rt.IFLA_GRE_IKEY),
  OKEY: be32(rt.IFLA_GRE_OKEY),
  TTL: u8(rt.IFLA_GRE_TTL),
  ENCAP_TYPE: u16(rt.IFLA_GRE_ENCAP_TYPE),
  ENCAP_FLAGS: u16(rt.IFLA_GRE_ENCAP_FLAGS),
  ENCAP_SPORT: be16(rt.IFLA_GRE_ENCAP_SPORT),
  ENCAP_DPORT: be16(rt.IFLA_GRE_ENCAP_DPORT),
  COLLECT_METADATA: flag(rt.IFLA_GRE_COLLECT_METADATA),
  FWMARK: u32(rt.IFLA_GRE_FWMARK),
  ERSPAN_INDEX: u32(rt.IFLA_GRE_ERSPAN_INDEX),
  ERSPAN_VER: u8(rt.IFLA_GRE_ERSPAN_VER),
};

/** IFLA_INFO_DATA of gre, gretap and erspan devices. */
export const greLink = attributeSet("gre link", {
  ...GRE_LINK,
  LOCAL: ipv4(rt.IFLA_GRE_LOCAL),
  REMOTE: ipv4(rt.IFLA_GRE_REMOTE),
  TOS: u8(rt.IFLA_GRE_TOS),
  PMTUDISC: u8(rt.IFLA_GRE_PMTUDISC),
  IGNORE_DF: u8(rt.IFLA_GRE_IGNORE_DF),
});

/** IFLA_INFO_DATA of ip6gretap and ip6erspan devices. */
export const ip6greLink = attributeSet("ip6gre link", {
  ...GRE_LINK,
  LOCAL: ipv6(rt.IFLA_GRE_LOCAL),
  REMOTE: ipv6(rt.IFLA_GRE_REMOTE),
  ENCAP_LIMIT: u8(rt.IFLA_GRE_ENCAP_LIMIT),
  FLOWINFO: be32(rt.IFLA_GRE_FLOWINFO),
  FLAGS: u32(rt.IFLA_GRE_FLAGS),
});

/** IFLA_INFO_DATA of bareudp devices. */
export const bareudpLink = attributeSet("bareudp link", {
  PORT: be16(rt.IFLA_BAREUDP_PORT),
  ETHERTYPE: be16(rt.IFLA_BAREUDP_ETHERTYPE),
  SRCPORT_MIN: u16(rt.IFLA_BAREUDP_SRCPORT_MIN),
  MULTIPROTO_MODE: flag(rt.IFLA_BAREUDP_MULTIPROTO_MODE),
});
