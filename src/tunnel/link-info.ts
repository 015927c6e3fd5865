import { Errno } from "../core/errors.ts";
import { AttributeReader } from "../netlink/reader.ts";
import { MessageWriter } from "../netlink/writer.ts";
import { ETH_P_IP, ETH_P_MPLS_UC } from "../packet/ethernet.ts";
import { EINVAL, ERANGE } from "../uapi/errno.ts";
import * as rt from "../uapi/rtnetlink.ts";
import { kernelVersion } from "../uapi/version.ts";

/** IFLA_LINKINFO of the devices that carry tunnels by metadata (linux/if_link.h): what it asks for, and how it is told. */

/** Attributes of an IFLA_INFO_DATA, by type. */
export type LinkData = ReadonlyMap<number, Uint8Array>;

/** What the payload of an IFLA_LINKINFO tells. */
export interface LinkInfo {
  /** IFLA_INFO_KIND, empty if there is none. */
  readonly kind: string;
  /** undefined: there is no IFLA_INFO_DATA. */
  readonly data: LinkData | undefined;
}

/** Kinds of devices that nokmod can stand in for, and the attribute that asks for metadata; 0 = they know nothing else. */
const COLLECT_METADATA: ReadonlyMap<string, number> = new Map([
  ["vxlan", rt.IFLA_VXLAN_COLLECT_METADATA],
  ["geneve", rt.IFLA_GENEVE_COLLECT_METADATA],
  ["gre", rt.IFLA_GRE_COLLECT_METADATA],
  ["gretap", rt.IFLA_GRE_COLLECT_METADATA],
  ["ip6gretap", rt.IFLA_GRE_COLLECT_METADATA],
  ["erspan", rt.IFLA_GRE_COLLECT_METADATA],
  ["ip6erspan", rt.IFLA_GRE_COLLECT_METADATA],
  ["bareudp", 0],
]);

/** What a VXLAN device without Ethernet inside refuses to be told to do (VXLAN_F_ALLOWED_GPE has the others). */
const NOT_WITH_GPE = [
  rt.IFLA_VXLAN_PROXY,
  rt.IFLA_VXLAN_RSC,
  rt.IFLA_VXLAN_L2MISS,
  rt.IFLA_VXLAN_L3MISS,
  rt.IFLA_VXLAN_REMCSUM_TX,
  rt.IFLA_VXLAN_REMCSUM_RX,
  rt.IFLA_VXLAN_GBP,
  rt.IFLA_VXLAN_REMCSUM_NOPARTIAL,
  rt.IFLA_VXLAN_TTL_INHERIT,
];

/** One attribute that a kernel tells of a device: its default, undefined if it stands there only when it was given. */
interface Told {
  readonly type: number;
  /** Bytes of its payload, 0 = it is a flag. */
  readonly size: number;
  /** Told with a payload, asked for as a flag. */
  readonly askedAsFlag?: boolean;
  readonly otherwise?: Uint8Array | undefined;
  /** A u8 that says yes or no, whatever number was given. */
  readonly bool?: boolean;
  /** kernelVersion() of the first that tells it. */
  readonly since?: number;
}

const number = (type: number, size: number, ...bytes: number[]): Told => ({
  type,
  size,
  otherwise: Uint8Array.from({ length: size }, (_, i) => bytes[i] ?? 0),
});
const bool = (type: number, value = 0): Told => ({ type, size: 1, otherwise: Uint8Array.of(value), bool: true });
/** Only told if it was given. */
const given = (type: number, size: number): Told => ({ type, size });
const since = (version: number, told: Told): Told => ({ ...told, since: version });

const GRE_HEAD: readonly Told[] = [
  number(rt.IFLA_GRE_LINK, 4),
  number(rt.IFLA_GRE_IFLAGS, 2),
  number(rt.IFLA_GRE_OFLAGS, 2),
  number(rt.IFLA_GRE_IKEY, 4),
  number(rt.IFLA_GRE_OKEY, 4),
];
const GRE_TAIL: readonly Told[] = [
  number(rt.IFLA_GRE_FWMARK, 4),
  number(rt.IFLA_GRE_ENCAP_TYPE, 2),
  number(rt.IFLA_GRE_ENCAP_SPORT, 2),
  number(rt.IFLA_GRE_ENCAP_DPORT, 2),
  number(rt.IFLA_GRE_ENCAP_FLAGS, 2),
];
const GRE: readonly Told[] = [
  ...GRE_HEAD,
  number(rt.IFLA_GRE_LOCAL, 4),
  number(rt.IFLA_GRE_REMOTE, 4),
  number(rt.IFLA_GRE_TTL, 1),
  number(rt.IFLA_GRE_TOS, 1),
  bool(rt.IFLA_GRE_PMTUDISC, 1),
  ...GRE_TAIL,
  number(rt.IFLA_GRE_IGNORE_DF, 1),
  given(rt.IFLA_GRE_COLLECT_METADATA, 0),
];
const IP6GRE: readonly Told[] = [
  ...GRE_HEAD,
  number(rt.IFLA_GRE_LOCAL, 16),
  number(rt.IFLA_GRE_REMOTE, 16),
  number(rt.IFLA_GRE_TTL, 1),
  number(rt.IFLA_GRE_ENCAP_LIMIT, 1),
  number(rt.IFLA_GRE_FLOWINFO, 4),
  // IP6_TNL_F_CAP_PER_PACKET: which address it is depends on the packet.
  number(rt.IFLA_GRE_FLAGS, 4, 0, 0, 4),
  ...GRE_TAIL,
  given(rt.IFLA_GRE_COLLECT_METADATA, 0),
];
const ERSPAN: readonly Told[] = [number(rt.IFLA_GRE_ERSPAN_VER, 1, 1), number(rt.IFLA_GRE_ERSPAN_INDEX, 4)];

/** What the kernel tells of a device, in its order: the fill_info functions of drivers/net, ip_gre.c and ip6_gre.c. */
const TOLD: ReadonlyMap<string, readonly Told[]> = new Map([
  [
    "vxlan",
    [
      number(rt.IFLA_VXLAN_ID, 4),
      given(rt.IFLA_VXLAN_GROUP, 4),
      given(rt.IFLA_VXLAN_GROUP6, 16),
      given(rt.IFLA_VXLAN_LINK, 4),
      given(rt.IFLA_VXLAN_LOCAL, 4),
      given(rt.IFLA_VXLAN_LOCAL6, 16),
      number(rt.IFLA_VXLAN_TTL, 1),
      { ...bool(rt.IFLA_VXLAN_TTL_INHERIT), askedAsFlag: true },
      number(rt.IFLA_VXLAN_TOS, 1),
      number(rt.IFLA_VXLAN_DF, 1),
      number(rt.IFLA_VXLAN_LABEL, 4),
      since(kernelVersion(6, 7), number(rt.IFLA_VXLAN_LABEL_POLICY, 4)),
      bool(rt.IFLA_VXLAN_LEARNING, 1),
      bool(rt.IFLA_VXLAN_PROXY),
      bool(rt.IFLA_VXLAN_RSC),
      bool(rt.IFLA_VXLAN_L2MISS),
      bool(rt.IFLA_VXLAN_L3MISS),
      bool(rt.IFLA_VXLAN_COLLECT_METADATA),
      number(rt.IFLA_VXLAN_AGEING, 4, 300 & 0xff, 300 >> 8),
      number(rt.IFLA_VXLAN_LIMIT, 4),
      given(rt.IFLA_VXLAN_PORT, 2),
      bool(rt.IFLA_VXLAN_UDP_CSUM, 1),
      bool(rt.IFLA_VXLAN_UDP_ZERO_CSUM6_TX),
      bool(rt.IFLA_VXLAN_UDP_ZERO_CSUM6_RX),
      bool(rt.IFLA_VXLAN_REMCSUM_TX),
      bool(rt.IFLA_VXLAN_REMCSUM_RX),
      since(kernelVersion(6, 5), bool(rt.IFLA_VXLAN_LOCALBYPASS, 1)),
      number(rt.IFLA_VXLAN_PORT_RANGE, 4),
      given(rt.IFLA_VXLAN_GBP, 0),
      given(rt.IFLA_VXLAN_GPE, 0),
      given(rt.IFLA_VXLAN_REMCSUM_NOPARTIAL, 0),
      given(rt.IFLA_VXLAN_VNIFILTER, 1),
      since(kernelVersion(6, 14), given(rt.IFLA_VXLAN_RESERVED_BITS, 8)),
    ],
  ],
  [
    "geneve",
    [
      number(rt.IFLA_GENEVE_ID, 4),
      number(rt.IFLA_GENEVE_TTL, 1),
      number(rt.IFLA_GENEVE_TOS, 1),
      number(rt.IFLA_GENEVE_LABEL, 4),
      number(rt.IFLA_GENEVE_DF, 1),
      given(rt.IFLA_GENEVE_PORT, 2),
      given(rt.IFLA_GENEVE_COLLECT_METADATA, 0),
      bool(rt.IFLA_GENEVE_UDP_ZERO_CSUM6_RX, 1),
      bool(rt.IFLA_GENEVE_TTL_INHERIT),
      given(rt.IFLA_GENEVE_INNER_PROTO_INHERIT, 0),
    ],
  ],
  ["gre", GRE],
  ["gretap", GRE],
  ["erspan", [...ERSPAN, ...GRE]],
  ["ip6gretap", IP6GRE],
  ["ip6erspan", [...ERSPAN, ...IP6GRE]],
  [
    "bareudp",
    [
      given(rt.IFLA_BAREUDP_PORT, 2),
      given(rt.IFLA_BAREUDP_ETHERTYPE, 2),
      number(rt.IFLA_BAREUDP_SRCPORT_MIN, 2),
      given(rt.IFLA_BAREUDP_MULTIPROTO_MODE, 0),
    ],
  ],
]);

/**
 * The payload of IFLA_LINKINFO as the kernel tells it of a device that was made with `info`.
 * @param version kernelVersion()
 */
export function toldLinkInfo(info: Uint8Array, version: number): Uint8Array {
  const { kind, data } = parseLinkInfo(info);
  const list = TOLD.get(kind);
  if (list === undefined || data === undefined) return info;
  const asked = new Map(data);
  if (kind === "geneve") asked.set(rt.IFLA_GENEVE_PORT, portBytes(genevePort(data)));
  if (kind === "vxlan") {
    asked.set(rt.IFLA_VXLAN_PORT, portBytes(vxlanPort(data)));
    if (!asked.has(rt.IFLA_VXLAN_RESERVED_BITS)) asked.set(rt.IFLA_VXLAN_RESERVED_BITS, reservedBits(data));
  }
  const told = new MessageWriter(256);
  for (const { type, size, otherwise, bool, since } of list) {
    const value = asked.get(type) ?? otherwise;
    if (value === undefined || (since !== undefined && version < since)) continue;
    told.raw(type, bool === true ? Uint8Array.of(isSet(value) ? 1 : 0) : value.subarray(0, size));
  }
  const writer = new MessageWriter(256);
  writer.string(rt.IFLA_INFO_KIND, kind);
  writer.raw(rt.IFLA_INFO_DATA, told.finish());
  return writer.finish();
}

const portBytes = (port: number): Uint8Array => Uint8Array.of(port >> 8, port & 0xff);

/** Bits of a VXLAN header that nothing gives a meaning to (IFLA_VXLAN_RESERVED_BITS). */
function reservedBits(data: LinkData): Uint8Array {
  const bits = Uint8Array.of(0xf7, 0xff, 0xff, 0xff, 0, 0, 0, 0xff);
  const used = data.has(rt.IFLA_VXLAN_GPE)
    ? [0x35, 0, 0, 0xff]
    : data.has(rt.IFLA_VXLAN_GBP)
      ? [0x80, 0xff, 0xff, 0xff]
      : [];
  for (const [i, byte] of used.entries()) bits[i] &= ~byte;
  return bits;
}

/** UDP ports of VXLAN where none is named: from before there was a number for it, and the one with the protocol extension. */
const VXLAN_PORT = 8472;
const VXLAN_GPE_PORT = 4790;

/** The UDP port of a VXLAN device. */
export function vxlanPort(data: LinkData): number {
  return be16(data, rt.IFLA_VXLAN_PORT) || (data.has(rt.IFLA_VXLAN_GPE) ? VXLAN_GPE_PORT : VXLAN_PORT);
}

const GENEVE_PORT = 6081;

/** The UDP port of a Geneve device. */
export function genevePort(data: LinkData): number {
  return data.has(rt.IFLA_GENEVE_PORT) ? be16(data, rt.IFLA_GENEVE_PORT) : GENEVE_PORT;
}

/** Reads the payload of an IFLA_LINKINFO. */
export function parseLinkInfo(info: Uint8Array): LinkInfo {
  const attributes = attributesIn(info);
  const kind = attributes.get(rt.IFLA_INFO_KIND) ?? new Uint8Array(0);
  const nul = kind.indexOf(0);
  const data = attributes.get(rt.IFLA_INFO_DATA);
  return {
    kind: Buffer.from(nul < 0 ? kind : kind.subarray(0, nul)).toString("latin1"),
    data: data === undefined ? undefined : attributesIn(data),
  };
}

/** Whether nokmod can be that device: one of its kinds, that takes its tunnels from metadata. */
export function collectsMetadata({ kind, data }: LinkInfo): boolean {
  const attribute = COLLECT_METADATA.get(kind);
  return attribute === 0 || (attribute !== undefined && data !== undefined && flag(data, attribute));
}

/** Attributes of VXLAN devices that share a UDP port and a VNI if they differ in them (VXLAN_F_RCV_FLAGS). */
const VXLAN_APART = [
  rt.IFLA_VXLAN_GBP,
  rt.IFLA_VXLAN_GPE,
  rt.IFLA_VXLAN_UDP_ZERO_CSUM6_RX,
  rt.IFLA_VXLAN_REMCSUM_RX,
  rt.IFLA_VXLAN_REMCSUM_NOPARTIAL,
  rt.IFLA_VXLAN_VNIFILTER,
];

/** What such a device has that no other can have at the same time, as text. */
export function ownedBy(kind: string, data: LinkData): string {
  switch (kind) {
    case "vxlan": {
      const vni = (data.get(rt.IFLA_VXLAN_ID) ?? []).join(" ");
      return `vxlan ${vni} ${vxlanPort(data)} ${VXLAN_APART.map((type) => flag(data, type))}`;
    }
    case "geneve":
      return `geneve ${genevePort(data)}`;
    case "bareudp":
      return `bareudp ${be16(data, rt.IFLA_BAREUDP_PORT)}`;
    default:
      return kind;
  }
}

/** Whether such a device has no Ethernet header (ARPHRD_NONE). */
export function isL3({ kind, data }: LinkInfo): boolean {
  return kind === "gre" || kind === "bareudp" || (kind === "vxlan" && data?.has(rt.IFLA_VXLAN_GPE) === true);
}

/**
 * What the kernel checks before it makes such a device.
 * @throws Errno EINVAL (something is missing, or does not go together), ERANGE (too short)
 */
export function validate({ kind, data }: LinkInfo): void {
  for (const { type, size, askedAsFlag } of TOLD.get(kind) ?? []) {
    const value = data?.get(type);
    if (value === undefined) continue;
    const isFlag = size === 0 || askedAsFlag === true;
    if (isFlag ? value.length > 0 : value.length < size) throw new Errno(ERANGE);
  }
  if (kind === "vxlan" && data !== undefined) {
    const range = data.get(rt.IFLA_VXLAN_PORT_RANGE);
    if (range !== undefined && (range[2] << 8) + range[3] < (range[0] << 8) + range[1]) throw new Errno(EINVAL);
    if (!data.has(rt.IFLA_VXLAN_GPE)) return;
    const learns = !data.has(rt.IFLA_VXLAN_LEARNING) || flag(data, rt.IFLA_VXLAN_LEARNING);
    if (learns || NOT_WITH_GPE.some((attribute) => flag(data, attribute))) throw new Errno(EINVAL);
  } else if (kind === "bareudp") {
    if (data === undefined) throw new Errno(EINVAL);
    if (!data.has(rt.IFLA_BAREUDP_PORT) || !data.has(rt.IFLA_BAREUDP_ETHERTYPE)) throw new Errno(EINVAL);
    const etherType = be16(data, rt.IFLA_BAREUDP_ETHERTYPE);
    if (data.has(rt.IFLA_BAREUDP_MULTIPROTO_MODE) && etherType !== ETH_P_IP && etherType !== ETH_P_MPLS_UC)
      throw new Errno(EINVAL);
  }
}

/** A flag without payload, or a u8 that is not 0. */
export function flag(data: LinkData, type: number): boolean {
  const value = data.get(type);
  return value !== undefined && isSet(value);
}

const isSet = (value: Uint8Array): boolean => value.length === 0 || value[0] !== 0;

/** Two bytes in network byte order, 0 = not given. */
export function be16(data: LinkData, type: number): number {
  const value = data.get(type);
  return value === undefined ? 0 : (value[0] << 8) | value[1];
}

/** Two bytes in the machine's byte order, 0 = not given. */
export function u16(data: LinkData, type: number): number {
  const value = be16(data, type);
  return (value >> 8) | ((value & 0xff) << 8);
}

function attributesIn(bytes: Uint8Array): Map<number, Uint8Array> {
  const found = new Map<number, Uint8Array>();
  const reader = new AttributeReader(new DataView(bytes.buffer, bytes.byteOffset, bytes.length), 0, bytes.length);
  while (reader.next()) found.set(reader.type, reader.bytes());
  return found;
}
