/** Writes tunnel keys (OVS_TUNNEL_KEY_ATTR_*). */
import { payloadsByName } from "../../netlink/schema/index.ts";
import { tunnelKeyAttributes, vxlanKeyExtension } from "../../schema/openvswitch.ts";
import {
  asDecimal,
  asHex,
  asIpv4,
  asIpv6,
  bigEndian,
  bigEndian64,
  hex,
  hexBytes,
  isZero,
  littleEndian,
  type Style,
  styled,
} from "./numbers.ts";

const TUNNEL_VALUES: Readonly<Record<string, readonly [name: string, style: Style]>> = {
  ID: ["tun_id", styled((bytes) => `0x${bigEndian64(bytes).toString(16)}`)],
  IPV4_SRC: ["src", asIpv4],
  IPV4_DST: ["dst", asIpv4],
  IPV6_SRC: ["ipv6_src", asIpv6],
  IPV6_DST: ["ipv6_dst", asIpv6],
  TOS: ["tos", asHex],
  TTL: ["ttl", asDecimal],
  TP_SRC: ["tp_src", asDecimal],
  TP_DST: ["tp_dst", asDecimal],
};

/** Attributes that are flags, in the order that they are shown; an id gives the key flag. */
const TUNNEL_FLAGS = [
  ["OAM", "oam"],
  ["DONT_FRAGMENT", "df"],
  ["CSUM", "csum"],
  ["ID", "key"],
] as const;

export function tunnelText(key: Uint8Array, mask: Uint8Array | null, verbose: boolean): string {
  const masks = mask && payloadsByName(tunnelKeyAttributes, mask);
  const values = payloadsByName(tunnelKeyAttributes, key);
  const shown: string[] = [];
  for (const [attribute, value] of values) {
    const part = masks === null ? null : (masks.get(attribute) ?? new Uint8Array(value.length));
    if (!verbose && part !== null && value.length > 0 && isZero(part)) continue;
    const plain = TUNNEL_VALUES[attribute];
    if (plain !== undefined) shown.push(`${plain[0]}=${plain[1](value, part)}`);
    else if (attribute === "GENEVE_OPTS") shown.push(`geneve(${geneveText(value, part)})`);
    else if (attribute === "VXLAN_OPTS") shown.push(`vxlan(${vxlanText(value, part, verbose)})`);
    else if (attribute === "ERSPAN_OPTS") shown.push(`erspan(${erspanText(value)})`);
  }
  const flags =
    masks === null
      ? TUNNEL_FLAGS.filter(([attribute]) => values.has(attribute))
          .map(([, name]) => name)
          .join("|")
      : TUNNEL_FLAGS.filter(([attribute]) => masks.has(attribute))
          .map(([attribute, name]) => (values.has(attribute) ? "+" : "-") + name)
          .join("");
  shown.push(`flags(${flags})`);
  return shown.join(",");
}

/** struct geneve_opt: be16 class, u8 type, u8 length in words (low 5 bits), data. */
function geneveText(value: Uint8Array, mask: Uint8Array | null): string {
  let text = "";
  for (let at = 0; at + 4 <= value.length; ) {
    const length = (value[at + 3] & 0x1f) * 4;
    const part = (offset: number, size: number, style: Style): string =>
      style(value.subarray(at + offset, at + offset + size), mask?.subarray(at + offset, at + offset + size) ?? null);
    const data = styled((bytes) => `0x${hexBytes(bytes)}`);
    text += `{class=${part(0, 2, asHex)},type=${part(2, 1, asHex)},len=${length}`;
    text += length > 0 ? `,${part(4, length, data)}}` : "}";
    at += 4 + length;
  }
  return text;
}

/** OVS_VXLAN_EXT_GBP: u32, policy id in the low half, flags above. */
function vxlanText(value: Uint8Array, mask: Uint8Array | null, verbose: boolean): string {
  const gbp = payloadsByName(vxlanKeyExtension, value).get("GBP");
  if (gbp === undefined || gbp.length < 4) return "";
  const word = littleEndian(gbp);
  const maskBytes = mask && payloadsByName(vxlanKeyExtension, mask).get("GBP");
  const bits = mask === null ? 0xffff_ffff : maskBytes ? littleEndian(maskBytes) : 0;
  const idMask = bits & 0xffff;
  const flagMask = (bits >>> 16) & 0xff;
  const shown: string[] = [];
  if (verbose || idMask) shown.push(`id=${word & 0xffff}${idMask === 0xffff ? "" : `/${hex(idMask)}`}`);
  if (verbose || flagMask) {
    shown.push(`flags=0x${((word >>> 16) & 0xff).toString(16)}${flagMask === 0xff ? "" : `/${hex(flagMask)}`}`);
  }
  return `gbp(${shown.join(",")})`;
}

/** struct erspan_metadata: s32 version, then the index, or direction and hardware id. */
function erspanText(value: Uint8Array): string {
  const version = littleEndian(value.subarray(0, 4));
  if (version === 1) return `ver=1,idx=${hex(bigEndian(value.subarray(4, 8)))}`;
  const dir = (value[7] >>> 3) & 1;
  const hwid = ((value[7] >>> 4) & 0xf) | ((value[6] & 3) << 4);
  return `ver=${version},dir=${dir},hwid=${hex(hwid)}`;
}
