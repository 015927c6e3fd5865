import { Errno } from "../core/errors.ts";
import { AttributeReader } from "../netlink/reader.ts";
import type { MessageWriter } from "../netlink/writer.ts";
import { payloadLengthOk } from "../schema/lengths.ts";
import { EINVAL } from "../uapi/errno.ts";
import {
  OVS_NSH_KEY_ATTR_BASE,
  OVS_NSH_KEY_ATTR_MD1,
  OVS_NSH_KEY_ATTR_MD2,
  OVS_TUNNEL_KEY_ATTR_CSUM,
  OVS_TUNNEL_KEY_ATTR_DONT_FRAGMENT,
  OVS_TUNNEL_KEY_ATTR_ERSPAN_OPTS,
  OVS_TUNNEL_KEY_ATTR_GENEVE_OPTS,
  OVS_TUNNEL_KEY_ATTR_ID,
  OVS_TUNNEL_KEY_ATTR_IPV4_DST,
  OVS_TUNNEL_KEY_ATTR_IPV4_INFO_BRIDGE,
  OVS_TUNNEL_KEY_ATTR_IPV4_SRC,
  OVS_TUNNEL_KEY_ATTR_IPV6_DST,
  OVS_TUNNEL_KEY_ATTR_IPV6_SRC,
  OVS_TUNNEL_KEY_ATTR_OAM,
  OVS_TUNNEL_KEY_ATTR_TOS,
  OVS_TUNNEL_KEY_ATTR_TP_DST,
  OVS_TUNNEL_KEY_ATTR_TP_SRC,
  OVS_TUNNEL_KEY_ATTR_TTL,
  OVS_TUNNEL_KEY_ATTR_VXLAN_OPTS,
  OVS_VXLAN_EXT_GBP,
} from "../uapi/openvswitch.ts";
import { AF_INET, AF_INET6 } from "../uapi/socket.ts";
import { NSH_KEY_LENGTHS, TUNNEL_KEY_LENGTHS, VXLAN_EXT_LENGTHS } from "./attrs.ts";
import { K, TunnelFlag } from "./key.ts";
import { MaskField, type MaskRange } from "./mask-range.ts";

const MAX_OPTIONS = 255;
/** sizeof(struct erspan_metadata): what a key holds of ERSPAN_OPTS, however long the attribute is. */
const ERSPAN_LEN = 12;
const OPTION_FLAGS = TunnelFlag.GENEVE_OPT | TunnelFlag.VXLAN_OPT | TunnelFlag.ERSPAN_OPT;

/** The four words of an IPv6 address are all zero. */
const isAny = (words: Int32Array, at: number): boolean =>
  (words[at] | words[at + 1] | words[at + 2] | words[at + 3]) === 0;

function address6(reader: AttributeReader, words: Int32Array, at: number): void {
  for (let i = 0; i < 4; i++) words[at + i] = reader.view.getInt32(reader.offset + 4 * i);
}

/**
 * An address of a mask. The module keeps IPv4 source and destination where the first two words of the IPv6 source are,
 * so a mask of the other family than its key's covers what lies there.
 */
function maskAddress(reader: AttributeReader, words: Int32Array, keyIs6: boolean): void {
  const { view, offset } = reader;
  switch (reader.type) {
    case OVS_TUNNEL_KEY_ATTR_IPV4_SRC:
      words[K.TUN_SRC] = reader.be32();
      break;
    case OVS_TUNNEL_KEY_ATTR_IPV4_DST:
      words[keyIs6 ? K.TUN_SRC + 1 : K.TUN_DST] = reader.be32();
      break;
    case OVS_TUNNEL_KEY_ATTR_IPV6_SRC:
      if (keyIs6) {
        address6(reader, words, K.TUN_SRC);
      } else {
        words[K.TUN_SRC] = view.getInt32(offset);
        words[K.TUN_DST] = view.getInt32(offset + 4);
      }
      break;
    default:
      if (keyIs6) address6(reader, words, K.TUN_DST);
      break;
  }
}

/**
 * Parses the content of OVS_KEY_ATTR_TUNNEL into the tunnel words of `words` (spec/keys K-216 to K-243).
 * INFO_BRIDGE leaves an IPv4 tunnel whose destination is 0: nothing else can.
 * @param words a key, or a mask if isMask
 * @param key the flow's key; the same as `words` unless isMask
 * @param range told which fields of a mask were given
 * @returns the OVS_TUNNEL_KEY_ATTR_* of the options given, 0 = none
 * @throws Errno EINVAL
 */
export function parseTunnel(
  view: DataView,
  start: number,
  end: number,
  words: Int32Array,
  isMask = false,
  key: Int32Array = words,
  range?: MaskRange,
): number {
  const reader = new AttributeReader(view, start, end);
  const keyIs6 = ((key[K.TUN_PROTO] >>> 8) & 0xff) === AF_INET6;
  let ipv4 = false;
  let ipv6 = false;
  let ttlSeen = false;
  let bridge = false;
  let optionsType = 0;
  let flags = 0;
  let tos = (words[K.TUN_FLAGS] >>> 8) & 0xff;
  let ttl = words[K.TUN_FLAGS] & 0xff;
  while (reader.next()) {
    const { type } = reader;
    if (!payloadLengthOk(TUNNEL_KEY_LENGTHS, type, reader.length)) throw new Errno(EINVAL);
    switch (type) {
      case OVS_TUNNEL_KEY_ATTR_ID:
        words[K.TUN_ID] = view.getInt32(reader.offset);
        words[K.TUN_ID + 1] = view.getInt32(reader.offset + 4);
        flags |= TunnelFlag.KEY;
        range?.add(MaskField.TUN_ID, 8);
        break;
      case OVS_TUNNEL_KEY_ATTR_IPV4_SRC:
        if (isMask) maskAddress(reader, words, keyIs6);
        else words[K.TUN_SRC] = reader.be32();
        ipv4 = true;
        range?.add(MaskField.TUN_ADDRESSES, 4);
        break;
      case OVS_TUNNEL_KEY_ATTR_IPV4_DST:
        if (isMask) maskAddress(reader, words, keyIs6);
        else words[K.TUN_DST] = reader.be32();
        ipv4 = true;
        range?.add(MaskField.TUN_ADDRESSES + 4, 4);
        break;
      case OVS_TUNNEL_KEY_ATTR_IPV6_SRC:
        if (isMask) maskAddress(reader, words, keyIs6);
        else address6(reader, words, K.TUN_SRC);
        ipv6 = true;
        range?.add(MaskField.TUN_ADDRESSES, 16);
        break;
      case OVS_TUNNEL_KEY_ATTR_IPV6_DST:
        if (isMask) maskAddress(reader, words, keyIs6);
        else address6(reader, words, K.TUN_DST);
        ipv6 = true;
        range?.add(MaskField.TUN_ADDRESSES + 16, 16);
        break;
      case OVS_TUNNEL_KEY_ATTR_TOS:
        tos = reader.u8();
        range?.add(MaskField.TUN_TOS, 1);
        break;
      case OVS_TUNNEL_KEY_ATTR_TTL:
        ttl = reader.u8();
        ttlSeen = true;
        range?.add(MaskField.TUN_TTL, 1);
        break;
      case OVS_TUNNEL_KEY_ATTR_DONT_FRAGMENT:
        flags |= TunnelFlag.DONT_FRAGMENT;
        break;
      case OVS_TUNNEL_KEY_ATTR_CSUM:
        flags |= TunnelFlag.CSUM;
        break;
      case OVS_TUNNEL_KEY_ATTR_TP_SRC:
        words[K.TUN_TP] = (reader.be16() << 16) | (words[K.TUN_TP] & 0xffff);
        range?.add(MaskField.TUN_TP_SRC, 2);
        break;
      case OVS_TUNNEL_KEY_ATTR_TP_DST:
        words[K.TUN_TP] = (words[K.TUN_TP] & ~0xffff) | reader.be16();
        range?.add(MaskField.TUN_TP_DST, 2);
        break;
      case OVS_TUNNEL_KEY_ATTR_OAM:
        flags |= TunnelFlag.OAM;
        break;
      case OVS_TUNNEL_KEY_ATTR_GENEVE_OPTS:
      case OVS_TUNNEL_KEY_ATTR_VXLAN_OPTS:
      case OVS_TUNNEL_KEY_ATTR_ERSPAN_OPTS:
        if (optionsType !== 0) throw new Errno(EINVAL);
        flags |= options(reader, words, isMask, key, range);
        optionsType = type;
        break;
      case OVS_TUNNEL_KEY_ATTR_IPV4_INFO_BRIDGE:
        bridge = true;
        ipv4 = true;
        break;
      default:
        // PAD
        break;
    }
  }
  words[K.TUN_FLAGS] = (flags << 16) | (tos << 8) | ttl;
  const family = isMask ? 0xff : ipv6 ? AF_INET6 : AF_INET;
  words[K.TUN_PROTO] = (family << 8) | (words[K.TUN_PROTO] & 0xff);
  range?.add(MaskField.TUN_FLAGS, 8);
  range?.add(MaskField.TUN_PROTO, 1);
  if (reader.rest > 0 || (ipv4 && ipv6)) throw new Errno(EINVAL);
  if (isMask) return optionsType;
  if (!ipv4 && !ipv6) throw new Errno(EINVAL);
  if (bridge) {
    // An INFO_BRIDGE tunnel has an ID at most.
    if ((words[K.TUN_SRC] | words[K.TUN_DST] | words[K.TUN_TP] | tos | ttl | (flags & ~TunnelFlag.KEY)) !== 0)
      throw new Errno(EINVAL);
  } else if ((ipv4 && words[K.TUN_DST] === 0) || !ttlSeen) {
    throw new Errno(EINVAL);
  }
  if (ipv6 && isAny(words, K.TUN_DST)) throw new Errno(EINVAL);
  return optionsType;
}

/** One of the three option attributes; returns its TunnelFlag. */
function options(
  reader: AttributeReader,
  words: Int32Array,
  isMask: boolean,
  key: Int32Array,
  range: MaskRange | undefined,
): number {
  const { view, offset, length } = reader;
  const keyLength = key[K.TUN_PROTO] & 0xff;
  if (reader.type === OVS_TUNNEL_KEY_ATTR_VXLAN_OPTS) {
    putOptions(words, isMask, isMask ? keyLength : 4, vxlanGbp(reader.nested()), range);
    return TunnelFlag.VXLAN_OPT;
  }
  if (length > MAX_OPTIONS) throw new Errno(EINVAL);
  const geneve = reader.type === OVS_TUNNEL_KEY_ATTR_GENEVE_OPTS;
  // A longer or shorter option list must not match silently, so its length is part of the key.
  if (geneve && (length % 4 !== 0 || (isMask && length !== keyLength))) throw new Errno(EINVAL);
  const bytes = new Uint8Array(view.buffer, view.byteOffset + offset, length);
  putOptions(words, isMask, isMask ? keyLength : geneve ? length : ERSPAN_LEN, bytes, range);
  return geneve ? TunnelFlag.GENEVE_OPT : TunnelFlag.ERSPAN_OPT;
}

/** The group based policy id, host order, as the four bytes the option holds. */
function vxlanGbp(reader: AttributeReader): Uint8Array {
  const bytes = new Uint8Array(4);
  while (reader.next()) {
    if (reader.type !== OVS_VXLAN_EXT_GBP || !payloadLengthOk(VXLAN_EXT_LENGTHS, reader.type, reader.length))
      throw new Errno(EINVAL);
    bytes.set(reader.bytes());
  }
  if (reader.rest > 0) throw new Errno(EINVAL);
  return bytes;
}

/** @param total option bytes of the key; the bytes given are aligned at their end */
function putOptions(
  words: Int32Array,
  isMask: boolean,
  total: number,
  bytes: Uint8Array,
  range: MaskRange | undefined,
): void {
  const { length } = bytes;
  words[K.TUN_PROTO] = (words[K.TUN_PROTO] & ~0xff) | (isMask ? 0xff : total);
  const shift = total - length;
  for (let i = Math.max(0, -shift); i < length; i++) {
    const at = i + shift;
    const word = K.TUN_OPTS + (at >> 2);
    const bits = 24 - 8 * (at & 3);
    words[word] = (words[word] & ~(0xff << bits)) | (bytes[i] << bits);
  }
  range?.add(MaskField.TUN_OPTS_LEN, 1);
  range?.add(MaskField.TUN_OPTS_LEN - length, length);
}

/**
 * Writes the content of OVS_KEY_ATTR_TUNNEL (spec/keys K-247 to K-250); 64-bit attributes are not padded, as on x86-64.
 * @param key which tunnel there is; @param out whose values are written: the key or its mask
 * @param bridge the tunnel of a SET action with INFO_BRIDGE: nothing but the ID
 */
export function putTunnel(writer: MessageWriter, key: Int32Array, out: Int32Array, bridge: boolean): void {
  const flags = out[K.TUN_FLAGS] >>> 16;
  if ((flags & TunnelFlag.KEY) !== 0) putWords(writer, OVS_TUNNEL_KEY_ATTR_ID, out, K.TUN_ID, 8);
  if (bridge) {
    writer.flag(OVS_TUNNEL_KEY_ATTR_IPV4_INFO_BRIDGE);
    return;
  }
  const family = (key[K.TUN_PROTO] >>> 8) & 0xff;
  if (family === AF_INET) {
    if (out[K.TUN_SRC] !== 0) writer.be32(OVS_TUNNEL_KEY_ATTR_IPV4_SRC, out[K.TUN_SRC]);
    if (out[K.TUN_DST] !== 0) writer.be32(OVS_TUNNEL_KEY_ATTR_IPV4_DST, out[K.TUN_DST]);
  } else if (family === AF_INET6) {
    if (!isAny(out, K.TUN_SRC)) putWords(writer, OVS_TUNNEL_KEY_ATTR_IPV6_SRC, out, K.TUN_SRC, 16);
    if (!isAny(out, K.TUN_DST)) putWords(writer, OVS_TUNNEL_KEY_ATTR_IPV6_DST, out, K.TUN_DST, 16);
  }
  const tos = (out[K.TUN_FLAGS] >>> 8) & 0xff;
  if (tos !== 0) writer.u8(OVS_TUNNEL_KEY_ATTR_TOS, tos);
  writer.u8(OVS_TUNNEL_KEY_ATTR_TTL, out[K.TUN_FLAGS] & 0xff);
  if ((flags & TunnelFlag.DONT_FRAGMENT) !== 0) writer.flag(OVS_TUNNEL_KEY_ATTR_DONT_FRAGMENT);
  if ((flags & TunnelFlag.CSUM) !== 0) writer.flag(OVS_TUNNEL_KEY_ATTR_CSUM);
  const ports = out[K.TUN_TP];
  if (ports >>> 16 !== 0) writer.be16(OVS_TUNNEL_KEY_ATTR_TP_SRC, ports >>> 16);
  if ((ports & 0xffff) !== 0) writer.be16(OVS_TUNNEL_KEY_ATTR_TP_DST, ports & 0xffff);
  if ((flags & TunnelFlag.OAM) !== 0) writer.flag(OVS_TUNNEL_KEY_ATTR_OAM);
  const length = key[K.TUN_PROTO] & 0xff;
  if (length === 0 || (flags & OPTION_FLAGS) === 0) return;
  if ((flags & TunnelFlag.GENEVE_OPT) !== 0) {
    putWords(writer, OVS_TUNNEL_KEY_ATTR_GENEVE_OPTS, out, K.TUN_OPTS, length);
  } else if ((flags & TunnelFlag.VXLAN_OPT) !== 0) {
    const nest = writer.nest(OVS_TUNNEL_KEY_ATTR_VXLAN_OPTS);
    putWords(writer, OVS_VXLAN_EXT_GBP, out, K.TUN_OPTS, 4);
    writer.endNest(nest);
  } else {
    putWords(writer, OVS_TUNNEL_KEY_ATTR_ERSPAN_OPTS, out, K.TUN_OPTS, length);
  }
}

/** An attribute of the first `length` bytes of big-endian words. */
function putWords(writer: MessageWriter, type: number, source: Int32Array, from: number, length: number): void {
  const at = writer.attr(type, length);
  const { view } = writer;
  const whole = length & ~3;
  for (let i = 0; i < whole; i += 4) view.setInt32(at + i, source[from + (i >> 2)]);
  for (let i = whole; i < length; i++) view.setUint8(at + i, source[from + (i >> 2)] >>> (24 - 8 * (i & 3)));
}

/**
 * Parses the content of OVS_KEY_ATTR_NSH into the NSH words (spec/keys K-210 to K-214).
 * @throws Errno EINVAL
 */
export function nshFromAttributes(
  view: DataView,
  start: number,
  end: number,
  words: Int32Array,
  isMask: boolean,
  range?: MaskRange,
): void {
  const reader = new AttributeReader(view, start, end);
  let context = false;
  while (reader.next()) {
    if (!payloadLengthOk(NSH_KEY_LENGTHS, reader.type, reader.length)) throw new Errno(EINVAL);
    switch (reader.type) {
      case OVS_NSH_KEY_ATTR_BASE:
        words[K.NSH_BASE] = view.getInt32(reader.offset);
        words[K.NSH_PATH] = view.getInt32(reader.offset + 4);
        range?.add(MaskField.L3, 8);
        break;
      case OVS_NSH_KEY_ATTR_MD1:
        for (let i = 0; i < 4; i++) words[K.NSH_CONTEXT + i] = view.getInt32(reader.offset + 4 * i);
        context = true;
        range?.add(MaskField.L3 + 8, 16);
        break;
      case OVS_NSH_KEY_ATTR_MD2:
        throw new Errno(EINVAL);
      default:
        throw new Errno(EINVAL);
    }
  }
  if (reader.rest > 0) throw new Errno(EINVAL);
  if (!isMask && context && ((words[K.NSH_BASE] >>> 8) & 0xff) !== 1) throw new Errno(EINVAL);
}
