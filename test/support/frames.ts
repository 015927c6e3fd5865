/**
 * Builds frames for tests, outermost layer first:
 *
 * ```ts
 * frame(ethernet(), ipv4({ src: "10.0.0.1" }), udp({ dst: 53 }), "payload")
 * ```
 *
 * Each layer fills in what follows from its neighbours (ethertype, protocol, lengths, checksums) unless told otherwise,
 * so that a malformed frame is a right one with a field overridden, or a slice of it.
 */

/** One header. `encode` gets everything behind it, already encoded. */
export interface Layer {
  /** Number that an ethertype field before this layer holds. */
  readonly etherType?: number;
  /** Number that an IP protocol field before this layer holds. */
  readonly ipProto?: number;
  /** Sum of the pseudo-header (RFC 793, RFC 8200 section 8.1) for a segment of this length, if this is an IP layer. */
  pseudoSum?(proto: number, length: number): number;
  encode(payload: Uint8Array, next: Layer | undefined, network: Layer | undefined): Uint8Array;
}

/** The frame made of these layers; a string stands for its ASCII bytes. */
export function frame(...layers: (Layer | Uint8Array | string)[]): Uint8Array {
  let bytes: Uint8Array = new Uint8Array(0);
  for (let i = layers.length - 1; i >= 0; i--) {
    const layer = layers[i];
    if (typeof layer === "string") bytes = concat(new TextEncoder().encode(layer), bytes);
    else if (layer instanceof Uint8Array) bytes = concat(layer, bytes);
    else bytes = layer.encode(bytes, asLayer(layers[i + 1]), networkBefore(layers, i));
  }
  return bytes;
}

const asLayer = (item: Layer | Uint8Array | string | undefined): Layer | undefined =>
  item === undefined || typeof item === "string" || item instanceof Uint8Array ? undefined : item;

function networkBefore(layers: (Layer | Uint8Array | string)[], index: number): Layer | undefined {
  for (let i = index - 1; i >= 0; i--) {
    const layer = asLayer(layers[i]);
    if (layer?.pseudoSum) return layer;
  }
  return undefined;
}

export const MAC_A = "02:00:00:00:00:0a";
export const MAC_B = "02:00:00:00:00:0b";

/** Ethernet II; `type` below 0x600 makes it an 802.3 length. */
export const ethernet = (o: { src?: string; dst?: string; type?: number } = {}): Layer => ({
  encode: (payload, next) =>
    concat(mac(o.dst ?? MAC_B), mac(o.src ?? MAC_A), u16(o.type ?? next?.etherType ?? 0), payload),
});

/** 802.1Q (or 802.1ad) tag. `tci` overrides vid, pcp and dei. */
export const vlan = (
  o: { vid?: number; pcp?: number; dei?: number; tci?: number; tpid?: number; type?: number } = {},
): Layer => ({
  etherType: o.tpid ?? 0x8100,
  encode: (payload, next) =>
    concat(
      u16(o.tci ?? ((o.pcp ?? 0) << 13) | ((o.dei ?? 0) << 12) | (o.vid ?? 1)),
      u16(o.type ?? next?.etherType ?? 0),
      payload,
    ),
});

/** 802.2 LLC with SNAP, to be put behind ethernet({ type: length }). */
export const snap = (o: { dsap?: number; ssap?: number; oui?: number; type?: number } = {}): Layer => ({
  encode: (payload, next) =>
    concat(
      bytesOf(o.dsap ?? 0xaa, o.ssap ?? 0xaa, 3),
      u32(((o.oui ?? 0) << 8) >>> 0).subarray(0, 3),
      u16(o.type ?? next?.etherType ?? 0),
      payload,
    ),
});

/** ARP for Ethernet and IPv4 (RFC 826). */
export const arp = (
  o: {
    op?: number;
    sha?: string;
    sip?: string;
    tha?: string;
    tip?: string;
    hrd?: number;
    pro?: number;
    hln?: number;
    pln?: number;
    rarp?: boolean;
  } = {},
): Layer => ({
  etherType: o.rarp ? 0x8035 : 0x0806,
  encode: (payload) =>
    concat(
      u16(o.hrd ?? 1),
      u16(o.pro ?? 0x0800),
      bytesOf(o.hln ?? 6, o.pln ?? 4),
      u16(o.op ?? 1),
      mac(o.sha ?? MAC_A),
      ip4(o.sip ?? "10.0.0.1"),
      mac(o.tha ?? "00:00:00:00:00:00"),
      ip4(o.tip ?? "10.0.0.2"),
      payload,
    ),
});

/** IPv4 (RFC 791). `offset` is in bytes; `options` are padded to four bytes. */
export const ipv4 = (
  o: {
    src?: string;
    dst?: string;
    proto?: number;
    tos?: number;
    ttl?: number;
    id?: number;
    df?: boolean;
    mf?: boolean;
    offset?: number;
    options?: Uint8Array;
    version?: number;
    ihl?: number;
    totalLength?: number;
    checksum?: number;
  } = {},
): Layer => {
  const src = ip4(o.src ?? "10.0.0.1");
  const dst = ip4(o.dst ?? "10.0.0.2");
  return {
    etherType: 0x0800,
    ipProto: 4,
    pseudoSum: (proto, length) => sum(src) + sum(dst) + proto + length,
    encode: (payload, next) => {
      const options = pad(o.options ?? new Uint8Array(0), 4);
      const header = concat(
        bytesOf(((o.version ?? 4) << 4) | (o.ihl ?? 5 + options.length / 4), o.tos ?? 0),
        u16(o.totalLength ?? 20 + options.length + payload.length),
        u16(o.id ?? 0),
        u16((o.df ? 0x4000 : 0) | (o.mf ? 0x2000 : 0) | ((o.offset ?? 0) >> 3)),
        bytesOf(o.ttl ?? 64, o.proto ?? next?.ipProto ?? 0),
        u16(0),
        src,
        dst,
        options,
      );
      header.set(u16(o.checksum ?? checksum(sum(header))), 10);
      return concat(header, payload);
    },
  };
};

/** IPv6 (RFC 8200). */
export const ipv6 = (
  o: {
    src?: string;
    dst?: string;
    nextHeader?: number;
    tclass?: number;
    label?: number;
    hopLimit?: number;
    payloadLength?: number;
  } = {},
): Layer => {
  const src = ip6(o.src ?? "fd00::1");
  const dst = ip6(o.dst ?? "fd00::2");
  return {
    etherType: 0x86dd,
    ipProto: 41,
    pseudoSum: (proto, length) => sum(src) + sum(dst) + proto + length,
    encode: (payload, next) =>
      concat(
        u32((0x60000000 | ((o.tclass ?? 0) << 20) | (o.label ?? 0)) >>> 0),
        u16(o.payloadLength ?? payload.length),
        bytesOf(o.nextHeader ?? next?.ipProto ?? 59, o.hopLimit ?? 64),
        src,
        dst,
        payload,
      ),
  };
};

/** An IPv6 extension header: hop-by-hop 0, routing 43, destination options 60, authentication 51. */
export const extension = (
  type: number,
  o: { nextHeader?: number; length?: number; body?: Uint8Array } = {},
): Layer => ({
  ipProto: type,
  encode: (payload, next) => {
    // AH counts in units of four bytes minus two, the others in units of eight bytes minus one.
    const body = o.body ?? (type === 51 ? new Uint8Array(10) : bytesOf(1, 4, 0, 0, 0, 0));
    const units = type === 51 ? (body.length + 2) / 4 - 2 : (body.length + 2) / 8 - 1;
    return concat(bytesOf(o.nextHeader ?? next?.ipProto ?? 59, o.length ?? units), body, payload);
  },
});

/** IPv6 Fragment header. `offset` in bytes. */
export const fragment = (
  o: { nextHeader?: number; offset?: number; mf?: boolean; id?: number; reserved?: number } = {},
): Layer => ({
  ipProto: 44,
  encode: (payload, next) =>
    concat(
      bytesOf(o.nextHeader ?? next?.ipProto ?? 59, o.reserved ?? 0),
      u16(((o.offset ?? 0) & 0xfff8) | (o.mf ? 1 : 0)),
      u32(o.id ?? 1),
      payload,
    ),
});

export const TCP_FIN = 0x01;
export const TCP_SYN = 0x02;
export const TCP_RST = 0x04;
export const TCP_PSH = 0x08;
export const TCP_ACK = 0x10;

/** TCP (RFC 9293). `flags` are 12 bits; `options` are padded to four bytes. */
export const tcp = (
  o: {
    src?: number;
    dst?: number;
    seq?: number;
    ack?: number;
    flags?: number;
    window?: number;
    urgent?: number;
    options?: Uint8Array;
    dataOffset?: number;
    checksum?: number;
  } = {},
): Layer => ({
  ipProto: 6,
  encode: (payload, _next, network) => {
    const options = pad(o.options ?? new Uint8Array(0), 4);
    const segment = concat(
      u16(o.src ?? 1000),
      u16(o.dst ?? 2000),
      u32(o.seq ?? 0),
      u32(o.ack ?? 0),
      u16(((o.dataOffset ?? 5 + options.length / 4) << 12) | (o.flags ?? TCP_ACK)),
      u16(o.window ?? 65535),
      u16(0),
      u16(o.urgent ?? 0),
      options,
      payload,
    );
    segment.set(u16(o.checksum ?? checksum(sum(segment) + (network?.pseudoSum?.(6, segment.length) ?? 0))), 16);
    return segment;
  },
});

/** UDP (RFC 768). `checksum: 0` sends none. */
export const udp = (o: { src?: number; dst?: number; length?: number; checksum?: number } = {}): Layer => ({
  ipProto: 17,
  encode: (payload, _next, network) => {
    const segment = concat(
      u16(o.src ?? 1000),
      u16(o.dst ?? 2000),
      u16(o.length ?? 8 + payload.length),
      u16(0),
      payload,
    );
    const right = checksum(sum(segment) + (network?.pseudoSum?.(17, segment.length) ?? 0)) || 0xffff;
    segment.set(u16(o.checksum ?? right), 6);
    return segment;
  },
});

/** ICMP (RFC 792); `rest` is the second word of the header. */
export const icmp = (o: { type?: number; code?: number; rest?: number; checksum?: number } = {}): Layer => ({
  ipProto: 1,
  encode: (payload) => {
    const message = concat(bytesOf(o.type ?? 8, o.code ?? 0, 0, 0), u32(o.rest ?? 0x00010001), payload);
    message.set(u16(o.checksum ?? checksum(sum(message))), 2);
    return message;
  },
});

/** ICMPv6 (RFC 4443). */
export const icmpv6 = (o: { type?: number; code?: number; rest?: number; checksum?: number } = {}): Layer => ({
  ipProto: 58,
  encode: (payload, _next, network) => {
    const message = concat(bytesOf(o.type ?? 128, o.code ?? 0, 0, 0), u32(o.rest ?? 0x00010001), payload);
    const pseudo = network?.pseudoSum?.(58, message.length) ?? 0;
    message.set(u16(o.checksum ?? checksum(sum(message) + pseudo)), 2);
    return message;
  },
});

/** Neighbour solicitation (135) or advertisement (136), RFC 4861, with source and target link-layer options. */
export const nd = (
  o: { type?: number; code?: number; target?: string; sll?: string; tll?: string; options?: Uint8Array } = {},
): Layer => {
  const outer = icmpv6({ type: o.type ?? 135, code: o.code ?? 0, rest: 0 });
  return {
    ipProto: 58,
    encode: (payload, next, network) =>
      outer.encode(
        concat(
          ip6(o.target ?? "fd00::2"),
          o.sll === undefined ? new Uint8Array(0) : ndOption(1, mac(o.sll)),
          o.tll === undefined ? new Uint8Array(0) : ndOption(2, mac(o.tll)),
          o.options ?? new Uint8Array(0),
          payload,
        ),
        next,
        network,
      ),
  };
};

/** A neighbour discovery option; `length` in units of eight bytes overrides the right one. */
export const ndOption = (type: number, body: Uint8Array, length = (body.length + 2) / 8): Uint8Array =>
  concat(bytesOf(type, length), body);

/** SCTP (RFC 9260): common header with the right CRC32c; chunks are the payload. */
export const sctp = (o: { src?: number; dst?: number; tag?: number; checksum?: number } = {}): Layer => ({
  ipProto: 132,
  encode: (payload) => {
    const packet = concat(u16(o.src ?? 1000), u16(o.dst ?? 2000), u32(o.tag ?? 0), u32(0), payload);
    const crc = crc32c(packet);
    new DataView(packet.buffer).setUint32(8, o.checksum ?? crc, o.checksum === undefined);
    return packet;
  },
});

/** An SCTP chunk, padded to four bytes. */
export const sctpChunk = (type: number, flags = 0, body: Uint8Array = new Uint8Array(0)): Uint8Array =>
  pad(concat(bytesOf(type, flags), u16(4 + body.length), body), 4);

/** One MPLS label stack entry; bottom of stack unless another one follows or `s` says otherwise. */
export const mpls = (
  o: { label?: number; tc?: number; s?: number; ttl?: number; etherType?: number } = {},
): Layer & { readonly mpls: true } => ({
  mpls: true,
  etherType: o.etherType ?? 0x8847,
  encode: (payload, next) => {
    const bottom = o.s ?? (next !== undefined && "mpls" in next ? 0 : 1);
    const entry = ((o.label ?? 100) << 12) | ((o.tc ?? 0) << 9) | (bottom << 8) | (o.ttl ?? 64);
    return concat(u32(entry >>> 0), payload);
  },
});

/** NSH (RFC 8300) MD type 1 unless overridden; `context` are the bytes behind the service path header. */
export const nsh = (
  o: {
    version?: number;
    flags?: number;
    ttl?: number;
    length?: number;
    mdtype?: number;
    np?: number;
    path?: number;
    context?: Uint8Array;
  } = {},
): Layer => ({
  etherType: 0x894f,
  encode: (payload) => {
    const context = o.context ?? new Uint8Array(16);
    const first =
      ((o.version ?? 0) << 14) | ((o.flags ?? 0) << 12) | ((o.ttl ?? 63) << 6) | (o.length ?? 2 + context.length / 4);
    return concat(u16(first), bytesOf(o.mdtype ?? 1, o.np ?? 3), u32(o.path ?? 0x000001ff), context, payload);
  },
});

/** Cuts an untagged IPv4 frame into fragments whose payload is at most `size` bytes (a multiple of eight). */
export function fragmentIpv4(whole: Uint8Array, size: number): Uint8Array[] {
  const headerLength = (whole[14] & 15) * 4;
  const start = 14 + headerLength;
  const total = (whole[16] << 8) | whole[17];
  const payload = whole.subarray(start, 14 + total);
  const fragments: Uint8Array[] = [];
  for (let offset = 0; offset < payload.length; offset += size) {
    const part = payload.subarray(offset, offset + size);
    const piece = concat(whole.subarray(0, start), part);
    piece.set(u16(headerLength + part.length), 16);
    piece.set(u16((offset + size < payload.length ? 0x2000 : 0) | (offset >> 3)), 20);
    piece.set(u16(0), 24);
    piece.set(u16(checksum(sum(piece.subarray(14, start)))), 24);
    fragments.push(piece);
  }
  return fragments;
}

/** Cuts an untagged IPv6 frame without extension headers into fragments of at most `size` payload bytes. */
export function fragmentIpv6(whole: Uint8Array, size: number, id = 1): Uint8Array[] {
  const payload = whole.subarray(54);
  const fragments: Uint8Array[] = [];
  for (let offset = 0; offset < payload.length; offset += size) {
    const part = payload.subarray(offset, offset + size);
    const header = concat(bytesOf(whole[20], 0), u16(offset | (offset + size < payload.length ? 1 : 0)), u32(id));
    const piece = concat(whole.subarray(0, 54), header, part);
    piece.set(u16(8 + part.length), 18);
    piece[20] = 44;
    fragments.push(piece);
  }
  return fragments;
}

/** The bytes of a MAC address in colon notation. */
export const mac = (text: string): Uint8Array => Uint8Array.from(text.split(":"), (part) => Number.parseInt(part, 16));

/** The bytes of a dotted IPv4 address. */
export const ip4 = (text: string): Uint8Array => Uint8Array.from(text.split("."), Number);

/** The bytes of an IPv6 address ("fd00::1"). */
export function ip6(text: string): Uint8Array {
  const [left, right] = text.split("::").map((half) => (half === "" ? [] : half.split(":")));
  const groups =
    right === undefined ? left : [...left, ...new Array(8 - left.length - right.length).fill("0"), ...right];
  return concat(...groups.map((group) => u16(Number.parseInt(group, 16))));
}

export const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString("hex");
export const unhex = (text: string): Uint8Array => new Uint8Array(Buffer.from(text.replace(/\s+/g, ""), "hex"));

export function concat(...parts: Uint8Array[]): Uint8Array {
  const all = new Uint8Array(parts.reduce((length, part) => length + part.length, 0));
  let at = 0;
  for (const part of parts) {
    all.set(part, at);
    at += part.length;
  }
  return all;
}

export const bytesOf = (...values: number[]): Uint8Array => Uint8Array.from(values);
export const u16 = (value: number): Uint8Array => bytesOf((value >> 8) & 0xff, value & 0xff);
export const u32 = (value: number): Uint8Array => concat(u16(value >>> 16), u16(value & 0xffff));

const pad = (bytes: Uint8Array, unit: number): Uint8Array =>
  concat(bytes, new Uint8Array((unit - (bytes.length % unit)) % unit));

/** Sum of big-endian 16-bit words, an odd last byte counted as the high half. */
export function sum(bytes: Uint8Array): number {
  let total = 0;
  for (let i = 0; i < bytes.length; i += 2) total += (bytes[i] << 8) | (bytes[i + 1] ?? 0);
  return total;
}

/** The Internet checksum (RFC 1071) of a sum. */
export function checksum(total: number): number {
  let folded = total;
  while (folded > 0xffff) folded = (folded & 0xffff) + Math.floor(folded / 0x10000);
  return ~folded & 0xffff;
}

/** CRC32c (RFC 9260 appendix A), bit by bit. */
export function crc32c(bytes: Uint8Array): number {
  let crc = 0xffffffff;
  for (const byte of bytes) {
    crc ^= byte;
    for (let bit = 0; bit < 8; bit++) crc = crc & 1 ? (crc >>> 1) ^ 0x82f63b78 : crc >>> 1;
  }
  return ~crc >>> 0;
}
