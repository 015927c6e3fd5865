import fc from "fast-check";
import { expect, it } from "vitest";
import { Errno } from "../../src/core/errors.ts";
import { MessageWriter } from "../../src/netlink/writer.ts";
import type { TunnelDevice } from "../../src/tunnel/devices.ts";
import * as ovs from "../../src/uapi/openvswitch.ts";
import * as rt from "../../src/uapi/rtnetlink.ts";
import { attr, le32 } from "../support/actions.ts";
import { concat, frame as frameOf, hex, ip4, ip6, ipv4, ipv6, u16, u32 } from "../support/frames.ts";
import { attributesOf, options, output, setTunnel, TunnelLab } from "../support/tunnels.ts";

const KINDS = ["vxlan", "gbp", "geneve", "gretap", "erspan", "ip6gretap", "ip6erspan"] as const;
type Kind = (typeof KINDS)[number];
/** Bits of the key's ID that a header has room for. */
const ID_BITS: Record<Kind, number> = {
  vxlan: 24,
  gbp: 24,
  geneve: 24,
  gretap: 32,
  ip6gretap: 32,
  erspan: 10,
  ip6erspan: 10,
};

function addPort(lab: TunnelLab, kind: Kind): number {
  if (kind === "vxlan") return lab.add(kind, ovs.OVS_VPORT_TYPE_VXLAN, options(4789)).number;
  if (kind === "gbp") return lab.add(kind, ovs.OVS_VPORT_TYPE_VXLAN, options(4790, true)).number;
  if (kind === "geneve") return lab.add(kind, ovs.OVS_VPORT_TYPE_GENEVE, options(6081)).number;
  const data = new MessageWriter();
  data.flag(rt.IFLA_GRE_COLLECT_METADATA);
  const info = new MessageWriter();
  info.string(rt.IFLA_INFO_KIND, kind);
  info.raw(rt.IFLA_INFO_DATA, data.finish());
  lab.test.ports.configure(lab.test.kernel.tunnelDevices.create(kind, info.finish()).netdev, 1500);
  return lab.add(kind, ovs.OVS_VPORT_TYPE_NETDEV).number;
}

/** Devices without Ethernet inside: their IFLA_INFO_DATA, and what they carry. */
const BARE = {
  gpe: [
    "vxlan",
    (w: MessageWriter) => {
      w.be16(rt.IFLA_VXLAN_PORT, 4792);
      w.u8(rt.IFLA_VXLAN_LEARNING, 0);
      w.u8(rt.IFLA_VXLAN_COLLECT_METADATA, 1);
      w.u8(rt.IFLA_VXLAN_UDP_ZERO_CSUM6_RX, 1);
      w.flag(rt.IFLA_VXLAN_GPE);
    },
    [0x0800, 0x86dd, 0x6558, 0x894f, 0x8847],
  ],
  bareip: ["bareudp", bareudp(6636, 0x0800, true), [0x0800, 0x86dd]],
  baremono: ["bareudp", bareudp(6637, 0x86dd, false), [0x86dd]],
  barempls: ["bareudp", bareudp(6635, 0x8847, true), [0x8847]],
  baredata: ["bareudp", bareudp(6639, 0x88b5, false), [0x88b5]],
} as const;
type BareKind = keyof typeof BARE;
const BARE_KINDS = Object.keys(BARE) as BareKind[];

function bareudp(port: number, etherType: number, multiProto: boolean): (w: MessageWriter) => void {
  return (w) => {
    w.be16(rt.IFLA_BAREUDP_PORT, port);
    w.be16(rt.IFLA_BAREUDP_ETHERTYPE, etherType);
    if (multiProto) w.flag(rt.IFLA_BAREUDP_MULTIPROTO_MODE);
  };
}

function addBare(lab: TunnelLab, name: BareKind): number {
  const [kind, put] = BARE[name];
  const data = new MessageWriter();
  put(data);
  const info = new MessageWriter();
  info.string(rt.IFLA_INFO_KIND, kind);
  info.raw(rt.IFLA_INFO_DATA, data.finish());
  lab.test.ports.configure(lab.test.kernel.tunnelDevices.create(name, info.finish()).netdev, 1500);
  return lab.add(name, ovs.OVS_VPORT_TYPE_NETDEV).number;
}

const near = new TunnelLab();
const far = new TunnelLab();
const numbers = new Map(KINDS.map((kind) => [kind, addPort(near, kind)] as const));
for (const kind of KINDS) addPort(far, kind);
const bareNumbers = new Map(BARE_KINDS.map((kind) => [kind, addBare(near, kind)] as const));
for (const kind of BARE_KINDS) addBare(far, kind);

/** Well-formed Geneve options: class, type, length, data. */
const geneveOptions = fc
  .array(fc.tuple(fc.nat(0xffff), fc.nat(0xff), fc.uint8Array({ minLength: 0, maxLength: 15 })), {
    minLength: 1,
    maxLength: 5,
  })
  .map((list) =>
    concat(
      ...list.map(([kind, type, data]) => {
        const words = data.length >> 2;
        return concat(u16(kind), Uint8Array.of(type, words), data.slice(0, 4 * words));
      }),
    ),
  );
const erspanOptions = fc.oneof(
  fc.nat(0xfffff).map((index) => concat(le32(1), u32(index), u32(0))),
  fc
    .tuple(fc.nat(1), fc.nat(63))
    .map(([direction, id]) => concat(le32(2), u32(0), u16(0), u16(((id & 0x3f) << 4) | (direction << 3)))),
);

const tunnels = fc.record({
  kind: fc.constantFrom(...KINDS),
  v6: fc.boolean(),
  id: fc.nat(0xffffffff),
  tos: fc.nat(0xff),
  ttl: fc.integer({ min: 1, max: 255 }),
  csum: fc.boolean(),
  oam: fc.boolean(),
  gbp: fc.integer({ min: 1, max: 0xffff }),
  geneve: fc.option(geneveOptions, { nil: undefined }),
  erspan: erspanOptions,
  payload: fc.uint8Array({ maxLength: 1300 }),
});

it("A-226, K-245: what one end puts into a header, the other finds there; the frame is the same", () => {
  fc.assert(
    fc.property(tunnels, (t) => {
      const { kind } = t;
      const isGre = !["vxlan", "gbp", "geneve"].includes(kind);
      const v6 = isGre ? kind.startsWith("ip6") : t.v6;
      const id = ID_BITS[kind] === 32 ? t.id : t.id % 2 ** ID_BITS[kind];
      // GRE devices of this kind take no checksums, and a TOS of 1 asks for the one inside.
      // A Geneve vport wants checksums over IPv6.
      const csum = (t.csum && !isGre) || (kind === "geneve" && v6);
      const tos = t.tos & ~3;
      const own: Uint8Array[] = [];
      if (kind === "gbp") own.push(attr(ovs.OVS_TUNNEL_KEY_ATTR_VXLAN_OPTS, attr(ovs.OVS_VXLAN_EXT_GBP, le32(t.gbp))));
      if (kind === "geneve" && t.geneve !== undefined) own.push(attr(ovs.OVS_TUNNEL_KEY_ATTR_GENEVE_OPTS, t.geneve));
      if (kind.endsWith("erspan")) own.push(attr(ovs.OVS_TUNNEL_KEY_ATTR_ERSPAN_OPTS, t.erspan));
      const addresses = (src: boolean): Uint8Array =>
        v6
          ? concat(
              src ? attr(ovs.OVS_TUNNEL_KEY_ATTR_IPV6_SRC, ip6("fd09::1")) : new Uint8Array(0),
              attr(ovs.OVS_TUNNEL_KEY_ATTR_IPV6_DST, ip6("fd09::2")),
            )
          : concat(
              src ? attr(ovs.OVS_TUNNEL_KEY_ATTR_IPV4_SRC, ip4("10.9.0.1")) : new Uint8Array(0),
              attr(ovs.OVS_TUNNEL_KEY_ATTR_IPV4_DST, ip4("10.9.0.2")),
            );
      const key = (src: boolean): Uint8Array[] => [
        attr(ovs.OVS_TUNNEL_KEY_ATTR_ID, u32(0), u32(id)),
        addresses(src),
        ...(tos === 0 ? [] : [attr(ovs.OVS_TUNNEL_KEY_ATTR_TOS, Uint8Array.of(tos))]),
        attr(ovs.OVS_TUNNEL_KEY_ATTR_TTL, Uint8Array.of(t.ttl)),
        ...(csum ? [attr(ovs.OVS_TUNNEL_KEY_ATTR_CSUM)] : []),
      ];
      const oam = t.oam && kind === "geneve" ? [attr(ovs.OVS_TUNNEL_KEY_ATTR_OAM)] : [];
      const frame = concat(Uint8Array.of(2, 0, 0, 0, 0, 11, 2, 0, 0, 0, 0, 10, 0x88, 0xb5), t.payload);
      const meta = concat(
        attr(ovs.OVS_KEY_ATTR_ETHERNET, new Uint8Array(12)),
        attr(ovs.OVS_KEY_ATTR_ETHERTYPE, u16(0x88b5)),
      );
      const actions = concat(setTunnel(concat(...key(false), ...oam, ...own)), output(numbers.get(kind) as number));
      expect(near.execute(meta, frame, actions)).toBe(0);
      const [packet, ...more] = near.underlay.takeSent();
      expect(more).toEqual([]);
      far.underlay.inject(packet);
      const [up, ...others] = far.seen();
      expect(others).toEqual([]);
      expect(hex(up.get(ovs.OVS_PACKET_ATTR_PACKET) as Uint8Array)).toBe(hex(frame));
      const seen = up.get(ovs.OVS_PACKET_ATTR_KEY) as Uint8Array;
      const inner = attributesOf({ bytes: seen, view: new DataView(seen.buffer) }, 0).get(ovs.OVS_KEY_ATTR_TUNNEL);
      const ports = isGre
        ? []
        : [
            attr(ovs.OVS_TUNNEL_KEY_ATTR_TP_SRC, packet.slice(v6 ? 40 : 20, v6 ? 42 : 22)),
            attr(ovs.OVS_TUNNEL_KEY_ATTR_TP_DST, packet.slice(v6 ? 42 : 22, v6 ? 44 : 24)),
          ];
      // The sender's clock stands in version 2, where the options have nothing.
      const told = kind.endsWith("erspan") && t.erspan[0] === 2 ? withClock(own, inner as Uint8Array) : own;
      expect(hex(inner as Uint8Array)).toBe(hex(concat(...key(true), ...ports, ...oam, ...told)));
    }),
    { numRuns: 400 },
  );
});

/** A packet of an ethertype that the devices look into, or any bytes. */
function packetOf(etherType: number, payload: Uint8Array): Uint8Array {
  switch (etherType) {
    case 0x0800:
      return frameOf(ipv4({ proto: 253 }), payload);
    case 0x86dd:
      return frameOf(ipv6({ nextHeader: 253 }), payload);
    case 0x8847:
      return concat(u32(0x12345100), payload);
    case 0x894f:
      return concat(
        Uint8Array.from(Buffer.from("0fc20203123456780000000000000000000000000000000000", "hex")).slice(0, 24),
        payload,
      );
    case 0x6558:
      return concat(Uint8Array.of(2, 0, 0, 0, 0, 11, 2, 0, 0, 0, 0, 10, 0x88, 0xb5), payload);
    default:
      return concat(Uint8Array.of(1), payload);
  }
}

const bare = fc.record({
  kind: fc.constantFrom(...BARE_KINDS),
  choice: fc.nat(100),
  v6: fc.boolean(),
  id: fc.nat(0xffffff),
  ttl: fc.integer({ min: 1, max: 255 }),
  csum: fc.boolean(),
  // An EXECUTE takes no packet that is shorter than an Ethernet header.
  payload: fc.uint8Array({ minLength: 14, maxLength: 1300 }),
});

it("A-226, K-245: packets without Ethernet header arrive as they were sent, and with their ethertype", () => {
  fc.assert(
    fc.property(bare, ({ kind, choice, v6, id, ttl, csum, payload }) => {
      const types: readonly number[] = BARE[kind][2];
      const etherType = types[choice % types.length];
      const packet = packetOf(etherType, payload);
      const isFrame = etherType === 0x6558;
      const type = attr(ovs.OVS_KEY_ATTR_ETHERTYPE, u16(isFrame ? 0x88b5 : etherType));
      const meta = isFrame
        ? concat(attr(ovs.OVS_KEY_ATTR_ETHERNET, packet.slice(6, 12), packet.slice(0, 6)), type)
        : type;
      const to = v6
        ? attr(ovs.OVS_TUNNEL_KEY_ATTR_IPV6_DST, ip6("fd09::2"))
        : attr(ovs.OVS_TUNNEL_KEY_ATTR_IPV4_DST, ip4("10.9.0.2"));
      const tunnel = concat(
        attr(ovs.OVS_TUNNEL_KEY_ATTR_ID, u32(0), u32(id)),
        to,
        attr(ovs.OVS_TUNNEL_KEY_ATTR_TTL, Uint8Array.of(ttl)),
        csum ? attr(ovs.OVS_TUNNEL_KEY_ATTR_CSUM) : new Uint8Array(0),
      );
      const actions = concat(setTunnel(tunnel), output(bareNumbers.get(kind) as number));
      expect(near.execute(meta, packet, actions)).toBe(0);
      const [sent, ...more] = near.underlay.takeSent();
      expect(more).toEqual([]);
      // What is inside ends the datagram.
      expect(hex(sent.slice(sent.length - packet.length))).toBe(hex(packet));
      far.underlay.inject(sent);
      const [up, ...others] = far.seen();
      expect(others).toEqual([]);
      expect(hex(up.get(ovs.OVS_PACKET_ATTR_PACKET) as Uint8Array)).toBe(hex(packet));
      const bytes = up.get(ovs.OVS_PACKET_ATTR_KEY) as Uint8Array;
      const key = attributesOf({ bytes, view: new DataView(bytes.buffer) }, 0);
      expect(hex(key.get(ovs.OVS_KEY_ATTR_ETHERTYPE) as Uint8Array)).toBe(hex(u16(isFrame ? 0x88b5 : etherType)));
      expect(key.has(ovs.OVS_KEY_ATTR_ETHERNET)).toBe(isFrame);
      const inner = key.get(ovs.OVS_KEY_ATTR_TUNNEL) as Uint8Array;
      const told = attributesOf({ bytes: inner, view: new DataView(inner.buffer) }, 0).get(ovs.OVS_TUNNEL_KEY_ATTR_ID);
      // No header, no number.
      expect(hex(told as Uint8Array)).toBe(hex(concat(u32(0), u32(kind === "gpe" ? id : 0))));
    }),
    { numRuns: 300 },
  );
});

it("whatever a program asks for: a device that can be made and is told of again the same way, or an errno", () => {
  const attributes = fc.array(fc.tuple(fc.nat(36), fc.uint8Array({ maxLength: 9 })), { maxLength: 8 });
  const kinds = fc.constantFrom("vxlan", "geneve", "gre", "ip6erspan", "bareudp", "veth", "");
  fc.assert(
    fc.property(kinds, attributes, fc.uint8Array({ maxLength: 6 }), (kind, list, rest) => {
      const data = concat(...list.map(([type, value]) => attr(type, value)), rest);
      const info = concat(attr(rt.IFLA_INFO_KIND, new TextEncoder().encode(kind)), attr(rt.IFLA_INFO_DATA, data));
      const { tunnelDevices } = near.test.kernel;
      let device: TunnelDevice;
      try {
        device = tunnelDevices.create("any", info);
      } catch (error) {
        expect(error).toBeInstanceOf(Errno);
        return;
      }
      const told = hex(device.linkInfo);
      tunnelDevices.remove(device);
      const again = tunnelDevices.create("any", device.info);
      expect(hex(again.linkInfo)).toBe(told);
      tunnelDevices.remove(again);
    }),
    { numRuns: 1000 },
  );
});

/** Version 2's options as they arrive: with the timestamp, and the bit that says that there is one. */
function withClock([options]: Uint8Array[], inner: Uint8Array): Uint8Array[] {
  const copy = options.slice();
  copy.set(inner.slice(-8, -4), 8);
  copy[copy.length - 2] |= 0x80;
  return [copy];
}

it("any bytes from the underlay: no fault, nothing but upcalls", () => {
  const header = (protocol: number, length: number, v6: boolean): Uint8Array =>
    v6
      ? concat(u32(0x60000000), u16(length), Uint8Array.of(protocol, 64), ip6("fd09::2"), ip6("fd09::1"))
      : concat(
          u32(0x45000000 | (20 + length)),
          u32(0),
          u32(0x40000000 | (protocol << 16)),
          ip4("10.9.0.2"),
          ip4("10.9.0.1"),
        );
  const starts = fc.constantFrom(
    "c35012b50000",
    "c35012b60000",
    "c35017c10000",
    "c35012b80000",
    "c35019eb0000",
    "c35019ec0000",
    "c35019ed0000",
    "c35019ef0000",
    "00006558",
    "20006558",
    "100088be",
    "100022eb",
    "b0006558",
  );
  fc.assert(
    fc.property(starts, fc.uint8Array({ maxLength: 200 }), fc.boolean(), fc.boolean(), (start, tail, v6, vni) => {
      const first = Uint8Array.from(Buffer.from(start, "hex"));
      const isUdp = start.startsWith("c350");
      const flags = start === "c35012b80000" ? Uint8Array.of(12, 0, 0, tail.length % 7) : Uint8Array.of(8, 0, 0, 0);
      const body = concat(first, vni ? flags : new Uint8Array(0), tail);
      if (isUdp && body.length >= 8) body.set(concat(u16(body.length), u16(0)), 4);
      far.underlay.inject(concat(header(isUdp ? 17 : 47, body.length, v6), body));
      far.seen();
      expect(far.test.faults).toEqual([]);
      expect(far.underlay.takeSent()).toEqual([]);
    }),
    { numRuns: 1000 },
  );
});
