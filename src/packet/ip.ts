/** What IPv4 and IPv6 share: protocol numbers (IANA, netinet/in.h) and the ECN field (RFC 3168). */

/** Values of the IPv4 protocol and the IPv6 next header field, as IPPROTO_*. */
export const enum IpProto {
  /** IPv6 hop-by-hop options. */
  HOPOPTS = 0,
  ICMP = 1,
  IPIP = 4,
  TCP = 6,
  UDP = 17,
  ROUTING = 43,
  FRAGMENT = 44,
  IPV6 = 41,
  GRE = 47,
  AH = 51,
  ICMPV6 = 58,
  NONE = 59,
  DSTOPTS = 60,
  SCTP = 132,
  UDPLITE = 136,
}
