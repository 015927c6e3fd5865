import { IpProto } from "../packet/ip.ts";

/** What /proc/sys/net/netfilter holds of nf_conntrack, by its names; times in seconds. */
export interface ConntrackOptions {
  /** nf_conntrack_max: entries, unconfirmed ones included; 0 = no limit. */
  max: number;
  /** nf_conntrack_buckets, as reported and as the expectation table's size derives from it. */
  buckets: number;
  /** nf_conntrack_acct: count packets and bytes of entries created from now on (spec/conntrack C-253). */
  acct: boolean;
  /** nf_conntrack_timestamp */
  timestamp: boolean;
  /** nf_conntrack_events: 0 never, 1 always, 2 if somebody listens when the entry is created (spec/ctnetlink N-110). */
  events: 0 | 1 | 2;
  /** nf_conntrack_checksum: packets with a wrong checksum are invalid (spec/conntrack C-058). */
  checksum: boolean;
  /** nf_conntrack_tcp_loose: pick connections up in the middle (spec/conntrack C-292, C-293). */
  tcpLoose: boolean;
  /** nf_conntrack_tcp_be_liberal (spec/conntrack C-299) */
  tcpBeLiberal: boolean;
  /** nf_conntrack_tcp_max_retrans (spec/conntrack C-307) */
  tcpMaxRetrans: number;
  /** nf_conntrack_tcp_ignore_invalid_rst (spec/conntrack C-300) */
  tcpIgnoreInvalidRst: boolean;
  /** Module parameter loose of nf_conntrack_ftp (spec/conntrack C-223). */
  ftpLoose: boolean;
  /** nokmod's own: connections whose two tuples live in different zones (uapi/nokmod.ts). */
  crossZoneNat: boolean;
  /**
   * ct without commit tracks the first packet of an expected connection as any other. Before Linux 6.6 it only said
   * what the packet would be (spec/conntrack C-119, C-120).
   */
  expectationsTracked: boolean;
}

/** The kernel's defaults on a machine with more than 4 GiB (spec/conntrack C-255, C-256, C-310). */
export const defaultOptions: Readonly<ConntrackOptions> = {
  max: 262144,
  buckets: 262144,
  acct: false,
  timestamp: false,
  events: 2,
  checksum: true,
  tcpLoose: true,
  tcpBeLiberal: false,
  tcpMaxRetrans: 3,
  tcpIgnoreInvalidRst: false,
  ftpLoose: false,
  crossZoneNat: false,
  expectationsTracked: true,
};

/** Index into a timeout table for protocols without states: CTA_TIMEOUT_{UDP,GRE}_*, CTA_TIMEOUT_{ICMP,GENERIC}_TIMEOUT. */
export const UNREPLIED = 1;
export const REPLIED = 2;
export const TIMEOUT = 1;

/** Indices into the TCP table beside the states. */
export const TCP_RETRANS = 10;
export const TCP_UNACK = 11;

const seconds = (...values: number[]): Int32Array => Int32Array.of(0, ...values.map((value) => value * 1000));

/**
 * Timeouts of each protocol in milliseconds, indexed by the numbers of the CTA_TIMEOUT_* attributes, which for TCP and
 * SCTP are those of the states (spec/conntrack C-306, C-313 to C-334). One instance holds a namespace's defaults.
 */
export class TimeoutTable {
  readonly tcp = seconds(120, 60, 432000, 120, 60, 30, 120, 10, 120, 300, 300);
  readonly udp = seconds(30, 120);
  /** The same to the kernel: what changes one changes the other. */
  readonly udplite = this.udp;
  readonly icmp = seconds(30);
  readonly icmpv6 = seconds(30);
  readonly sctp = seconds(10, 3, 3, 210, 3, 3, 3, 30, 0);
  readonly dccp = seconds(240, 480, 480, 43200, 64, 64, 240);
  readonly gre = seconds(30, 180);
  readonly generic = seconds(600);

  /** The table of a protocol; the generic one where it has no tracker of its own. */
  of(proto: number): Int32Array {
    switch (proto) {
      case IpProto.TCP:
        return this.tcp;
      case IpProto.UDP:
        return this.udp;
      case IpProto.UDPLITE:
        return this.udplite;
      case IpProto.ICMP:
        return this.icmp;
      case IpProto.ICMPV6:
        return this.icmpv6;
      case IpProto.SCTP:
        return this.sctp;
      case IpProto.GRE:
        return this.gre;
      case IPPROTO_DCCP:
        return this.dccp;
      default:
        return this.generic;
    }
  }
}

export const IPPROTO_DCCP = 33;
