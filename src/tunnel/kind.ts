import type { Clock } from "../core/clock.ts";
import type { AnyAttributeSet } from "../netlink/schema/index.ts";
import type { MessageWriter } from "../netlink/writer.ts";
import type { TunnelOptions } from "../port/port.ts";
import type { Encapsulation } from "./encapsulation.ts";
import type { LinkData, ReportedAttribute } from "./link-data.ts";

/** The parameters of one tunnel device, read from its IFLA_INFO_DATA. */
export interface TunnelSettings {
  readonly kind: TunnelKind;
  readonly encapsulation: Encapsulation;
  /** Outer address families that the device sends and receives: AF_INET, AF_INET6. */
  readonly families: readonly number[];
  /** UDP port that the device receives on and sends to; 0: any free one, and with GRE none. */
  readonly dstPort: number;
  /** Accepts UDP over IPv6 without a checksum. */
  readonly zeroChecksum6: boolean;
  /** UDP source ports, from `min` to below `max`; undefined: those of the host (net.ipv4.ip_local_port_range). */
  readonly sourcePorts?: { readonly min: number; readonly max: number } | undefined;
  /** The VXLAN group policy extension is on. */
  readonly gbp: boolean;
}

/** What the settings of a device depend on besides its attributes. */
export interface TunnelContext {
  readonly clock: Clock;
  /** Whether a port of that kind is open in the namespace now. */
  hasPort(kind: TunnelKind): boolean;
}

/** The counters of a device that a packet it cannot send adds to; values are or-ed. */
export const enum Count {
  NONE = 0,
  TX_DROPPED = 1,
  TX_ERROR = 2,
  BOTH = 3,
}

/** Where the kernel's tunnel drivers differ in how they treat and count packets (spec/tables T-096 and after). */
export interface TunnelBehaviour {
  /** Answers OVS_USERSPACE_ATTR_EGRESS_TUN_PORT: the driver has an ndo_fill_metadata_dst. */
  readonly egressKey: boolean;
  /** Counter for a packet without a tunnel key. */
  readonly withoutKey: Count;
  /** Counter for a packet whose tunnel key is of another address family, has unfit options, or no IPv4 destination. */
  readonly unfitKey: Count;
  /** Counter for a packet that is shorter than the IP header its ethertype promises. */
  readonly truncated: Count;
  /** UDP kinds: answers packets longer than the path MTU with ICMP (skb_tunnel_check_pmtu). */
  readonly answersTooBig: boolean;
  /** Counts such an answer as one packet sent and one received, not as a transmit error. */
  readonly countsAnswers: boolean;
  /** UDP kinds: a TTL of 0 in the key means the route's hop limit; otherwise 0 is sent. */
  readonly routeHopLimit: boolean;
  /** The UDP destination port in the key, if it is not 0, precedes that of the device. */
  readonly keyDstPort: boolean;
  /** Counts a received packet without room for an Ethernet header as dropped; others ignore it. */
  readonly countsShortFrames: boolean;
}

/** The vport type that makes a device of a kind by itself (OVS_VPORT_CMD_NEW without a device of that name). */
export interface TunnelVport {
  /** OVS_VPORT_TYPE_* */
  readonly type: number;
  /** The type's name as ovs-dpctl(8) prints it. */
  readonly name: string;
  /** MTU of the device in bytes (spec/tables T-094; seen on Linux 6.12). */
  readonly mtu: number;
  /** OVS_VPORT_ATTR_OPTIONS must have OVS_TUNNEL_ATTR_DST_PORT, and replies have it. */
  readonly hasOptions: boolean;
  /** OVS_VPORT_ATTR_OPTIONS may have OVS_TUNNEL_ATTR_EXTENSION with OVS_VXLAN_EXT_GBP. */
  readonly hasGbp: boolean;
  /** TunnelSettings.zeroChecksum6 of the device, whatever its attributes say. */
  readonly zeroChecksum6: boolean;
  /** Writes the IFLA_INFO_DATA of the device. */
  readonly putLinkData: (data: MessageWriter, options: TunnelOptions) => void;
}

/**
 * A type of tunnel device: everything that nokmod knows of it, in one record (src/tunnel/kinds). Nothing else in src
 * compares the names of kinds or the numbers of their vport types.
 */
export interface TunnelKind {
  /** IFLA_INFO_KIND: the name that rtnetlink knows the device type by. */
  readonly name: string;
  /** The attribute of IFLA_INFO_DATA that asks for tunnels by metadata (`external`); 0: the kind has no other mode. */
  readonly collectMetadata: number;
  /** The attributes of IFLA_INFO_DATA, which RTM_NEWLINK is checked by (src/schema/rtnetlink.ts). */
  readonly attributes: AnyAttributeSet;
  /** What RTM_GETLINK reports of them, in the order in which the kernel's fill_info function writes it. */
  readonly reported: readonly ReportedAttribute[];
  /** Attributes whose values the kernel derives from others, to be reported instead of what was given. */
  readonly derived: (data: LinkData) => LinkData;
  /**
   * Checks what the kernel checks beyond the sizes of attributes.
   * @param data undefined: there is no IFLA_INFO_DATA
   * @throws Errno EINVAL
   */
  readonly validate: (data: LinkData | undefined) => void;
  /** Whether such a device has no Ethernet header (ARPHRD_NONE). */
  readonly isL3: (data: LinkData) => boolean;
  /** What no two devices of the kind in a namespace may have in common, as text. */
  readonly identity: (data: LinkData) => string;
  /** The errno of RTM_NEWLINK where there is such a device: EEXIST or EBUSY. */
  readonly duplicateErrno: number;
  readonly settings: (data: LinkData, context: TunnelContext) => TunnelSettings;
  readonly behaviour: TunnelBehaviour;
  /** undefined: only a netdev vport can be made of such a device. */
  readonly vport: TunnelVport | undefined;
}
