import { describe, expect, it } from "vitest";
import { Datapath } from "../../src/datapath/datapath.ts";
import { Csum, Gso } from "../../src/packet/packet.ts";
import * as ovs from "../../src/uapi/openvswitch.ts";
import * as act from "../support/actions.ts";
import { DatapathLab, inPort, recircId } from "../support/datapath-lab.ts";
import {
  concat,
  ethernet,
  fragmentIpv4,
  frame,
  hex,
  ip4,
  ipv4,
  ipv6,
  mpls,
  nsh,
  sctp,
  TCP_ACK,
  TCP_FIN,
  TCP_PSH,
  tcp,
  u16,
  udp,
  unhex,
  vlan,
} from "../support/frames.ts";

const ETHERNET_LEN = 14;
const datagram = frame(ethernet(), ipv4(), udp({ dst: 53 }), "hello");
const tagged = frame(ethernet(), vlan({ vid: 5, pcp: 5 }), ipv4(), udp(), new Uint8Array(100));
/** A TCP packet for a device that segments: 3000 bytes in three. */
const superPacket = frame(
  ethernet(),
  ipv4(),
  tcp({ flags: TCP_FIN | TCP_PSH | TCP_ACK }),
  new Uint8Array(3000).fill(0x74),
);
const TSO = { gsoType: Gso.TCPV4, gsoSize: 1000, csum: Csum.PARTIAL, csumStart: 34, csumOffset: 16 };
const userdata = (text: string): Uint8Array =>
  act.attr(ovs.OVS_USERSPACE_ATTR_USERDATA, new TextEncoder().encode(text));
const text = (bytes: Uint8Array | undefined): string => new TextDecoder().decode(bytes);
const DISPATCH = ovs.OVS_DP_F_UNALIGNED | ovs.OVS_DP_F_DISPATCH_UPCALL_PER_CPU;
/** PACKET's largest payload. */
const MAX_PACKET = 65531;

describe("which packets produce MISS", () => {
  it("U-018, U-023, U-024: every packet of an unknown flow; the packet itself goes nowhere", () => {
    const lab = new DatapathLab();
    for (let i = 0; i < 3; i++) lab.port(1).inject(datagram);
    expect(lab.take().map(({ command, packet }) => [command, hex(packet)])).toEqual(
      new Array(3).fill(["MISS", hex(datagram)]),
    );
    expect(lab.port(1).sent).toEqual([]);
    expect(lab.port(2).sent).toEqual([]);
    // User space sends it on its way.
    lab.execute(datagram, [act.output(2)]);
    expect(lab.port(2).sent).toEqual([datagram]);
  });

  it("U-019, U-029, A-119, A-120, K-283: after recirculation with recirc_id, ct_* and dp_hash, to the input port's pid", () => {
    const lab = new DatapathLab();
    lab.flow({ inPort: 1 }, act.hash(7), act.ct(act.attr(ovs.OVS_CT_ATTR_ZONE, act.le16(9))), act.recirc(77));
    lab.port(1).inject(datagram);
    const { command, key } = lab.takeOne();
    expect(command).toBe("MISS");
    expect(key).toMatchObject({ RECIRC_ID: 77, IN_PORT: 1, CT_STATE: 0x21, CT_ZONE: 9 });
    expect(key.DP_HASH).not.toBe(0);
    expect(lab.stats()).toMatchObject({ hit: 1, missed: 1, lost: 0 });
    // dp_hash can be matched after recirculation.
    const dpHash = key.DP_HASH as number;
    const exact = (value: number) => act.attr(ovs.OVS_KEY_ATTR_DP_HASH, act.le32(value));
    const ip = act.attr(ovs.OVS_KEY_ATTR_IPV4, new Uint8Array(12));
    lab.flow({ recircId: 77, key: concat(ip, exact(dpHash)), mask: exact(-1) }, act.output(2));
    lab.port(1).inject(datagram);
    expect(lab.take()).toEqual([]);
    expect(lab.port(2).takeSent()).toEqual([datagram]);
  });

  it("U-020: a packet of which no key can be made is dropped without upcall or counter", () => {
    const lab = new DatapathLab();
    lab.port(1).inject(concat(frame(ethernet({ type: 0x894f })), Uint8Array.of(0, 0)));
    expect(lab.take()).toEqual([]);
    expect(lab.stats()).toMatchObject({ hit: 0, missed: 0, lost: 0 });
    expect(lab.upcallStats(1)).toEqual([0, 0]);
  });

  it("U-054: is never truncated, whatever TRUNC stood before recirculation", () => {
    const lab = new DatapathLab();
    lab.flow({ inPort: 1, type: 0x0800 }, act.trunc(20), act.recirc(3));
    lab.port(1).inject(datagram);
    const { command, packet, length } = lab.takeOne();
    expect([command, hex(packet), length]).toEqual(["MISS", hex(datagram), undefined]);
    // It is still there for the next output or action.
    lab.flow({ recircId: 3 }, act.userspace(lab.pid), act.output(2));
    lab.port(1).inject(datagram);
    expect([lab.takeOne().packet.length, lab.port(2).takeSent()]).toEqual([20, [datagram]]);
  });
});

describe("destination", () => {
  it("U-026, U-025: several pids share the flows; a flow and its replies go to one", () => {
    const lab = new DatapathLab();
    const readers = [0, 1, 2, 3].map(() => lab.test.client());
    const pids = readers.map((reader) => reader.socket.portId);
    expect([lab.setPids(1, ...pids), lab.setPids(2, ...pids)]).toEqual([0, 0]);
    const where = (): number[] => readers.flatMap((reader, index) => lab.take(reader).map(() => index));
    const used = new Set<number>();
    for (let port = 1; port <= 64; port++) {
      const there = frame(ethernet(), ipv4(), udp({ src: 4000 + port, dst: 53 }));
      const back = frame(ethernet(), ipv4({ src: "10.0.0.2", dst: "10.0.0.1" }), udp({ src: 53, dst: 4000 + port }));
      lab.port(1).inject(there);
      const [first] = where();
      lab.port(1).inject(there);
      lab.port(2).inject(back);
      expect(where()).toEqual([first, first]);
      used.add(first);
    }
    expect([...used].sort()).toEqual([0, 1, 2, 3]);
  });

  it("U-025, U-062: of n pids the one at hash mod n, by the hash that EXECUTE gives back", () => {
    const lab = new DatapathLab();
    const readers = [0, 1, 2].map(() => lab.test.client());
    lab.setPids(1, ...readers.map((reader) => reader.socket.portId));
    for (const low of [0, 1, 2, 0x1235, 0xfffffffe, 0xffffffff]) {
      lab.execute(datagram, [act.recirc(1)], { hash: [low, 3] });
      const index = low % 3;
      expect(lab.takeOne(readers[index]).hash).toEqual([low, 3]);
    }
  });

  it("U-028, A-166: an action's upcall goes to the action's pid, not the port's", () => {
    const lab = new DatapathLab();
    const other = lab.test.client();
    lab.flow({ inPort: 1 }, act.userspace(other.socket.portId));
    lab.port(1).inject(datagram);
    expect(lab.take()).toEqual([]);
    expect(lab.takeOne(other).command).toBe("ACTION");
  });

  it("U-027, A-166: with per-CPU dispatch both kinds go to the processor's pid", () => {
    const lab = new DatapathLab();
    const [cpu, wrong] = [lab.test.client(), lab.test.client()];
    expect(lab.setDatapath(DISPATCH, [cpu.socket.portId, wrong.socket.portId])).toBe(0);
    lab.execute(datagram, [act.userspace(wrong.socket.portId), act.recirc(1)]);
    expect(lab.take(cpu).map(({ command }) => command)).toEqual(["ACTION", "MISS"]);
    expect([lab.take(wrong), lab.take()]).toEqual([[], []]);
  });

  it("U-027, U-039: per-CPU dispatch without pids loses all, and no port counts it", () => {
    const lab = new DatapathLab();
    expect(lab.setDatapath(DISPATCH)).toBe(0);
    lab.execute(datagram, [act.userspace(lab.pid), act.recirc(1)]);
    expect(lab.take()).toEqual([]);
    expect(lab.stats()).toMatchObject({ missed: 1, lost: 2 });
    expect(lab.upcallStats(1)).toEqual([0, 0]);
  });

  it("U-034, U-035: a new pid array, or other features, hold from the next upcall on", () => {
    const lab = new DatapathLab();
    const other = lab.test.client();
    lab.port(1).inject(datagram);
    expect(lab.setPids(1, other.socket.portId)).toBe(0);
    lab.port(1).inject(datagram);
    expect([lab.take().length, lab.take(other).length]).toEqual([1, 1]);
    lab.setDatapath(DISPATCH, [lab.pid]);
    lab.port(1).inject(datagram);
    expect([lab.take().length, lab.take(other).length]).toEqual([1, 0]);
    lab.setDatapath(0);
    lab.port(1).inject(datagram);
    expect([lab.take().length, lab.take(other).length]).toEqual([0, 1]);
  });

  it("U-078: the input port of EXECUTE is the one whose pid gets the MISS", () => {
    const lab = new DatapathLab();
    const other = lab.test.client();
    lab.setPids(2, other.socket.portId);
    lab.execute(datagram, [act.recirc(1)], { key: inPort(2) });
    expect(lab.takeOne(other).key.IN_PORT).toBe(2);
    expect([lab.upcallStats(1), lab.upcallStats(2)]).toEqual([
      [0, 0],
      [1, 0],
    ]);
  });
});

describe("failures", () => {
  it("U-031, U-039, T-107: port id 0 is lost, and neither success nor failure of the port", () => {
    const lab = new DatapathLab();
    lab.setPids(1, 0);
    lab.port(1).inject(datagram);
    expect(lab.stats()).toMatchObject({ missed: 1, lost: 1 });
    expect(lab.upcallStats(1)).toEqual([0, 0]);
  });

  it("U-032, U-036, U-037, U-038, T-037, T-107: no socket: lost and failed, for MISS and ACTION; the other port counts nothing", () => {
    const lab = new DatapathLab();
    lab.setPids(1, 0x7fffffff);
    lab.port(1).inject(datagram);
    expect([lab.stats().lost, lab.upcallStats(1)]).toEqual([1, [0, 1]]);
    lab.flow({ inPort: 1 }, act.userspace(0x7fffffff), act.userspace(lab.pid));
    lab.port(1).inject(datagram);
    expect(lab.stats()).toMatchObject({ hit: 1, missed: 1, lost: 2 });
    expect(lab.upcallStats(1)).toEqual([1, 2]);
    expect(lab.upcallStats(2)).toEqual([0, 0]);
    expect(lab.take().length).toBe(1);
  });

  it("U-045, A-164: the action list goes on after a failed upcall", () => {
    const lab = new DatapathLab();
    expect(lab.execute(datagram, [act.userspace(0x7fffffff), act.output(2)])).toBe(0);
    expect(lab.port(2).sent).toEqual([datagram]);
    expect(lab.stats().lost).toBe(1);
  });

  it("U-044, U-033: the error of a MISS is nobody's: a full socket loses the upcall, and the next packet is served", () => {
    const lab = new DatapathLab();
    lab.upcalls.socket.setReceiveBuffer(0);
    expect(lab.execute(datagram, [act.recirc(1), act.recirc(1), act.output(2)])).toBe(0);
    expect(lab.stats()).toMatchObject({ missed: 2, lost: 1 });
    expect(lab.upcallStats(1)).toEqual([1, 1]);
    expect(lab.port(2).sent).toEqual([datagram]);
  });

  it("U-040, U-036, U-038, U-022: when one segment cannot be delivered the rest is not sent; it is lost once", () => {
    const lab = new DatapathLab();
    lab.upcalls.socket.setReceiveBuffer(0);
    lab.port(1).inject(superPacket, TSO);
    expect(lab.stats()).toMatchObject({ missed: 1, lost: 1 });
    expect(lab.upcallStats(1)).toEqual([0, 1]);
    expect(() => lab.upcalls.socket.receive()).toThrow(expect.objectContaining({ errno: 105 }));
    const { packet } = lab.takeOne();
    expect(packet.length).toBe(54 + 1000);
    // The sequence number of the first segment.
    expect(hex(packet.subarray(38, 42))).toBe("00000000");
  });

  it("U-041: a datapath without local device loses its upcalls, and the port counts a failure", () => {
    const lab = new DatapathLab();
    const [datapath] = lab.test.kernel.datapaths.list;
    expect(datapath).toBeInstanceOf(Datapath);
    const local = datapath.vports[0];
    datapath.vports[0] = undefined;
    lab.port(1).inject(datagram);
    datapath.vports[0] = local;
    expect(lab.take()).toEqual([]);
    expect(lab.stats()).toMatchObject({ missed: 1, lost: 1 });
    expect(lab.upcallStats(1)).toEqual([0, 1]);
  });

  it("U-042, T-132, U-043: 65531 bytes go up, 65532 are lost; what TRUNC leaves of them goes", () => {
    const lab = new DatapathLab();
    const sized = (length: number) => concat(datagram, new Uint8Array(length - datagram.length));
    lab.port(1).inject(sized(MAX_PACKET));
    const { packet, reply } = lab.takeOne();
    expect([packet.length, reply.bytes.length]).toEqual([MAX_PACKET, 24 + 152 + MAX_PACKET]);
    lab.port(1).inject(sized(MAX_PACKET + 1));
    expect(lab.take()).toEqual([]);
    expect(lab.stats()).toMatchObject({ missed: 2, lost: 1 });
    expect(lab.upcallStats(1)).toEqual([1, 1]);
    // A tag beside the frame counts, as it will stand in it.
    lab.port(1).inject(sized(MAX_PACKET - 3), { vlanTpid: 0x8100, vlanTci: 5 });
    expect(lab.take()).toEqual([]);
    lab.port(1).inject(sized(MAX_PACKET - 4), { vlanTpid: 0x8100, vlanTci: 5 });
    expect(lab.takeOne().packet.length).toBe(MAX_PACKET);
    lab.flow({ inPort: 1 }, act.trunc(100), act.userspace(lab.pid));
    lab.port(1).inject(sized(65549));
    const cut = lab.takeOne();
    expect([cut.packet.length, cut.length]).toEqual([100, 65549]);
  });

  it("U-049: a checksum to complete that lies outside the packet: not sent, lost", () => {
    const lab = new DatapathLab();
    for (const [csumStart, csumOffset] of [
      [datagram.length, 0],
      [34, datagram.length - 34 - 1],
      [5000, 6],
    ])
      lab.port(1).inject(datagram, { csum: Csum.PARTIAL, csumStart, csumOffset });
    expect(lab.take()).toEqual([]);
    expect(lab.stats()).toMatchObject({ missed: 3, lost: 3 });
    expect(lab.upcallStats(1)).toEqual([0, 3]);
    // The last two bytes are still inside.
    lab.port(1).inject(datagram, { csum: Csum.PARTIAL, csumStart: 34, csumOffset: datagram.length - 34 - 2 });
    expect(lab.take().length).toBe(1);
  });
});

describe("contents", () => {
  it("U-046, U-047: a tag beside the frame stands in it again, an inner one is where it was", () => {
    const lab = new DatapathLab();
    const qinq = frame(ethernet(), vlan({ tpid: 0x88a8, vid: 6 }), vlan({ vid: 7 }), ipv4(), udp(), "x");
    lab.port(1).inject(tagged);
    lab.port(1).inject(concat(tagged.subarray(0, 12), tagged.subarray(16)), { vlanTpid: 0x8100, vlanTci: 0xa005 });
    lab.port(1).inject(qinq);
    const [inFrame, beside, two] = lab.take();
    expect(hex(inFrame.packet)).toBe(hex(tagged));
    expect(hex(beside.packet)).toBe(hex(tagged));
    expect(hex(two.packet)).toBe(hex(qinq));
    for (const { key } of [inFrame, beside]) expect(key).toMatchObject({ ETHERTYPE: 0x8100, VLAN: 0xb005 });
    expect(two.key).toMatchObject({ ETHERTYPE: 0x88a8, VLAN: 0x1006, ENCAP: { ETHERTYPE: 0x8100, VLAN: 0x1007 } });
  });

  it("U-048: a checksum that the sender left to the device is complete", () => {
    const lab = new DatapathLab();
    const partial = datagram.slice();
    // The pseudo-header's sum: addresses, protocol, length.
    let sum = 17 + 13;
    for (const address of [ip4("10.0.0.1"), ip4("10.0.0.2")])
      sum += (address[0] << 8) + address[1] + (address[2] << 8) + address[3];
    partial.set(u16(sum), 40);
    lab.port(1).inject(partial, { csum: Csum.PARTIAL, csumStart: 34, csumOffset: 6 });
    expect(hex(lab.takeOne().packet)).toBe(hex(datagram));
    // Beside a tag the field stands four bytes further.
    lab.port(1).inject(partial, { csum: Csum.PARTIAL, csumStart: 34, csumOffset: 6, vlanTpid: 0x8100, vlanTci: 9 });
    expect(hex(lab.takeOne().packet)).toBe(
      hex(concat(datagram.subarray(0, 12), unhex("81000009"), datagram.subarray(12))),
    );
  });

  it("U-048: a sum of zero is sent as ffff", () => {
    const lab = new DatapathLab();
    const zero = frame(ethernet(), ipv4(), new Uint8Array(8).fill(0xff));
    zero.set([0, 0], 34 + 6);
    lab.port(1).inject(zero, { csum: Csum.PARTIAL, csumStart: 34, csumOffset: 6 });
    expect(hex(lab.takeOne().packet.subarray(40, 42))).toBe("ffff");
  });

  it("U-050, U-052: a TSO packet goes as one message per segment, all with the key and flags of the whole", () => {
    const lab = new DatapathLab();
    lab.port(1).inject(superPacket, TSO);
    const seen = lab.take();
    expect(seen.map(({ packet }) => packet.length)).toEqual([1054, 1054, 1054]);
    for (const { key } of seen) expect(key.TCP_FLAGS).toBe(TCP_FIN | TCP_PSH | TCP_ACK);
    expect(seen.map(({ packet }) => packet[47])).toEqual([TCP_ACK, TCP_ACK, TCP_FIN | TCP_PSH | TCP_ACK]);
    expect(seen.map(({ hash }) => hash)).toEqual(new Array(3).fill(seen[0].hash));
    expect(lab.stats()).toMatchObject({ missed: 1, lost: 0 });
    expect(lab.upcallStats(1)).toEqual([1, 0]);
  });

  it("U-053, A-165: TRUNC cuts each segment, and LEN is the segment's", () => {
    const lab = new DatapathLab();
    lab.flow({ inPort: 1 }, act.trunc(200), act.userspace(lab.pid));
    lab.port(1).inject(superPacket, TSO);
    expect(lab.take().map(({ packet, length }) => [packet.length, length])).toEqual(new Array(3).fill([200, 1054]));
    lab.flow({ inPort: 1 }, act.trunc(2000), act.userspace(lab.pid));
    lab.port(1).inject(superPacket, TSO);
    expect(lab.take().map(({ packet, length }) => [packet.length, length])).toEqual(
      new Array(3).fill([1054, undefined]),
    );
  });

  it("U-051: UFO: the first fragment has the packet's key, the others say LATER", () => {
    const lab = new DatapathLab();
    const big = frame(ethernet(), ipv4(), udp({ dst: 53 }), new Uint8Array(2500));
    lab.port(1).inject(big, { gsoType: Gso.UDP, gsoSize: 1000 });
    const seen = lab.take();
    expect(seen.map(({ key }) => (key.IPV4 as { frag: number }).frag)).toEqual([1, 2, 2]);
    // More-fragments flag and offset of each.
    expect(seen.map(({ packet }) => hex(packet.subarray(20, 22)))).toEqual(["2000", "207d", "00fa"]);
    expect(lab.stats()).toMatchObject({ missed: 1, lost: 0 });
    // The next packet's key is its own again.
    lab.port(1).inject(datagram);
    expect((lab.takeOne().key.IPV4 as { frag: number }).frag).toBe(0);
  });

  it.each([
    [60, 60, 146],
    [142, 142, 146],
    [143, 143, 146],
    [145, 145, 146],
    [146, 146, undefined],
    [150, 146, undefined],
  ])("U-053: TRUNC to %i of a frame of 146 bytes with its tag", (limit, kept, length) => {
    const lab = new DatapathLab();
    lab.execute(tagged, [act.trunc(limit), act.userspace(lab.pid), act.userspace(lab.pid)]);
    const [cut, whole] = lab.take();
    expect([cut.packet.length, cut.length]).toEqual([kept, length]);
    expect(hex(cut.packet)).toBe(hex(tagged.subarray(0, kept)));
    expect(cut.order).toEqual(length === undefined ? ["KEY", "HASH", "PACKET"] : ["KEY", "LEN", "HASH", "PACKET"]);
    // It holds for one upcall only.
    expect([hex(whole.packet), whole.length]).toEqual([hex(tagged), undefined]);
  });

  it.each([0, 1, 2, 3])("U-014, U-015, F-081: a frame of 42 + %i bytes, without and with UNALIGNED", (more) => {
    const lab = new DatapathLab(undefined, 0);
    const one = frame(ethernet(), ipv4(), udp(), new Uint8Array(more));
    lab.execute(one, [act.userspace(lab.pid)]);
    const padded = lab.takeOne().reply;
    const length = padded.bytes.length;
    expect(length).toBe(176 + ((42 + more + 3) & ~3));
    expect(padded.view.getUint32(0, true)).toBe(length);
    expect(padded.view.getUint16(172, true)).toBe(4 + 42 + more);
    expect(hex(padded.bytes.subarray(176))).toBe(hex(one).padEnd(2 * (length - 176), "0"));
    lab.setDatapath(ovs.OVS_DP_F_UNALIGNED);
    lab.execute(one, [act.userspace(lab.pid)]);
    const exact = lab.takeOne().reply;
    expect([exact.bytes.length, exact.view.getUint32(0, true)]).toEqual([176 + 42 + more, 176 + 42 + more]);
  });

  it("U-014, U-053: padding behind a cut packet is zero, whatever stood there", () => {
    const lab = new DatapathLab(undefined, 0);
    lab.execute(tagged, [act.trunc(61), act.userspace(lab.pid)]);
    const { bytes } = lab.takeOne().reply;
    expect(bytes.length % 4).toBe(0);
    expect(hex(bytes.subarray(-3))).toBe("000000");
    expect(hex(bytes.subarray(-64, -3))).toBe(hex(tagged.subarray(0, 61)));
  });

  it("U-055: PACKET is the frame as it is now; KEY is up to date after set, stale after push_mpls", () => {
    const lab = new DatapathLab();
    lab.execute(datagram, [
      act.setUdp(1, 2),
      act.userspace(lab.pid, userdata("set")),
      act.pushMpls(0x5140),
      act.userspace(lab.pid, userdata("mpls")),
    ]);
    const [set, pushed] = lab.take();
    expect([text(set.userdata), set.key.UDP]).toEqual(["set", { src: 1, dst: 2 }]);
    expect(hex(set.packet.subarray(34, 38))).toBe("00010002");
    expect([text(pushed.userdata), pushed.key.ETHERTYPE, pushed.key.MPLS]).toEqual(["mpls", 0x0800, undefined]);
    expect(hex(pushed.packet.subarray(12, 18))).toBe("884700005140");
  });

  it("U-056: a packet without Ethernet header starts at L3, its key has no ETHERNET", () => {
    const lab = new DatapathLab([{ l3: true }, {}]);
    const packet = datagram.subarray(ETHERNET_LEN);
    lab.port(1).inject(packet, { protocol: 0x0800 });
    const seen = lab.takeOne();
    expect(hex(seen.packet)).toBe(hex(packet));
    expect(Object.keys(seen.key)).not.toContain("ETHERNET");
    expect(seen.key.ETHERTYPE).toBe(0x0800);
  });

  it("U-057, U-067: a tunnel key that EXECUTE gives is in the MISS, with the inner frame, and does not encapsulate", () => {
    const lab = new DatapathLab();
    const tunnel = act.attr(
      ovs.OVS_KEY_ATTR_TUNNEL | 0x8000,
      act.attr(ovs.OVS_TUNNEL_KEY_ATTR_ID, unhex("0000000000000007")),
      act.attr(ovs.OVS_TUNNEL_KEY_ATTR_IPV4_SRC, ip4("192.0.2.1")),
      act.attr(ovs.OVS_TUNNEL_KEY_ATTR_IPV4_DST, ip4("192.0.2.2")),
      act.attr(ovs.OVS_TUNNEL_KEY_ATTR_TTL, Uint8Array.of(64)),
    );
    expect(lab.execute(datagram, [act.output(2), act.recirc(1)], { key: concat(inPort(1), tunnel) })).toBe(0);
    const { key, packet } = lab.takeOne();
    expect(key.TUNNEL).toMatchObject({ IPV4_SRC: { addr: "192.0.2.1" }, IPV4_DST: { addr: "192.0.2.2" }, TTL: 64 });
    expect(hex(packet)).toBe(hex(datagram));
    expect(lab.port(2).sent).toEqual([datagram]);
  });

  it("U-058: bytes behind the IP packet are as received, until ct trims them", () => {
    const lab = new DatapathLab();
    const padded = concat(datagram, new Uint8Array(60 - datagram.length).fill(0xee));
    lab.port(1).inject(padded);
    expect(hex(lab.takeOne().packet)).toBe(hex(padded));
    lab.execute(padded, [act.ct(), act.userspace(lab.pid)]);
    expect(hex(lab.takeOne().packet)).toBe(hex(datagram));
  });
});

describe("hash", () => {
  const SOFTWARE = 1;
  const L4 = 2;

  it("U-059, K-282: a MISS has the hash of its lookup, with software and L4 bit", () => {
    const lab = new DatapathLab();
    for (const [packet, flags] of [
      [datagram, SOFTWARE | L4],
      [superPacket.subarray(0, 100), SOFTWARE | L4],
      [frame(ethernet(), ipv4({ proto: 47 }), new Uint8Array(20)), SOFTWARE],
      [frame(ethernet(), ipv4({ mf: true }), udp(), new Uint8Array(16)), SOFTWARE],
      [frame(ethernet(), ipv6({ label: 5 }), new Uint8Array(8)), SOFTWARE | L4],
      [frame(ethernet(), ipv6(), sctp()), SOFTWARE | L4],
    ] as const) {
      lab.port(1).inject(packet);
      const { hash } = lab.takeOne();
      expect(hash[0]).not.toBe(0);
      expect(hash[1]).toBe(flags);
    }
  });

  it("U-060: an action's upcall shows what is there: 0 in EXECUTE, and after set of an address", () => {
    const lab = new DatapathLab();
    lab.execute(datagram, [act.userspace(lab.pid)]);
    expect(lab.takeOne().hash).toEqual([0, 0]);
    const all = new Uint8Array(12);
    const src = concat(ip4("9.9.9.9"), ip4("10.0.0.2"), Uint8Array.of(17, 0, 64, 0));
    lab.flow(
      {
        inPort: 1,
        key: concat(
          act.attr(ovs.OVS_KEY_ATTR_IPV4, Uint8Array.of(...all.subarray(0, 8), 17, 0, 0, 0)),
          act.attr(ovs.OVS_KEY_ATTR_UDP, new Uint8Array(4)),
        ),
        mask: act.attr(ovs.OVS_KEY_ATTR_IPV4, Uint8Array.of(...all.subarray(0, 8), 255, 0, 0, 0)),
      },
      act.userspace(lab.pid),
      act.setMasked(
        ovs.OVS_KEY_ATTR_IPV4,
        concat(src.subarray(0, 4), new Uint8Array(8)),
        concat(new Uint8Array(4).fill(255), new Uint8Array(8)),
      ),
      act.userspace(lab.pid),
    );
    lab.port(1).inject(datagram);
    const [before, after] = lab.take();
    expect(before.hash[1]).toBe(SOFTWARE | L4);
    expect(after.hash).toEqual([0, 0]);
    expect(hex(after.packet.subarray(26, 30))).toBe("09090909");
  });

  it.each([
    [0x1234, 0, 0x1234, 0],
    [0x1234, SOFTWARE, 0x1234, SOFTWARE],
    [0x1234, L4, 0x1234, L4],
    [0x1234, SOFTWARE | L4, 0x1234, SOFTWARE | L4],
    [0x1234, 7, 0x1234, SOFTWARE | L4],
    [0, SOFTWARE, 0, SOFTWARE],
    [0, 0, 0, 0],
    [0xfedcba98, SOFTWARE, 0xfedcba98, SOFTWARE],
  ])("U-061, U-062: EXECUTE with hash %i and bits %i: the action shows %i and %i", (low, high, wantLow, wantHigh) => {
    const lab = new DatapathLab();
    lab.execute(datagram, [act.userspace(lab.pid)], { hash: [low, high] });
    expect(lab.takeOne().hash).toEqual([wantLow, wantHigh]);
  });

  it("U-061, U-062: lookup and dp_hash take a hash that says what it is, and compute one that does not", () => {
    const lab = new DatapathLab();
    const executed = (hash?: readonly [number, number]) => {
      lab.execute(datagram, [act.hash(0), act.recirc(1)], { hash });
      const { hash: seen, key } = lab.takeOne();
      return { seen, dpHash: key.DP_HASH };
    };
    lab.port(1).inject(datagram);
    const own = lab.takeOne().hash;
    const computed = executed();
    expect(computed.seen).toEqual(own);
    expect(executed([0x1234, 0])).toEqual(computed);
    expect(executed([0, 0])).toEqual(computed);
    for (const bits of [SOFTWARE, L4, SOFTWARE | L4]) {
      const given = executed([0x1234, bits]);
      expect(given.seen).toEqual([0x1234, bits]);
      expect(given.dpHash).not.toEqual(computed.dpHash);
    }
    expect(executed([0, SOFTWARE]).seen).toEqual([0, SOFTWARE]);
    // What MISS gave, given back, gives the same.
    expect(executed(own)).toEqual(computed);
  });

  it("U-061: recirculating a copy leaves the original's raw hash alone", () => {
    const lab = new DatapathLab();
    lab.execute(datagram, [act.recirc(1), act.userspace(lab.pid)], { hash: [0x1234, 0] });
    const [miss, action] = lab.take();
    expect(miss.hash[1]).toBe(SOFTWARE | L4);
    expect(action.hash).toEqual([0x1234, 0]);
  });
});

describe("EXECUTE", () => {
  const zone = act.attr(ovs.OVS_KEY_ATTR_CT_ZONE, act.le16(3));
  const metadata = concat(
    act.attr(ovs.OVS_KEY_ATTR_PRIORITY, act.le32(6)),
    inPort(2),
    act.attr(ovs.OVS_KEY_ATTR_SKB_MARK, act.le32(0x55)),
    act.attr(ovs.OVS_KEY_ATTR_DP_HASH, act.le32(0x77)),
    recircId(12),
    act.attr(ovs.OVS_KEY_ATTR_CT_STATE, act.le32(0x2a)),
    zone,
    act.attr(ovs.OVS_KEY_ATTR_CT_MARK, act.le32(0xabcd)),
    act.attr(ovs.OVS_KEY_ATTR_CT_LABELS, unhex("000102030405060708090a0b0c0d0e0f")),
  );

  it("U-063, U-064, U-065, U-066, K-281: metadata comes from KEY, untouched and unchecked against any connection", () => {
    const lab = new DatapathLab();
    lab.execute(datagram, [act.userspace(lab.pid)], { key: metadata });
    expect(lab.takeOne().key).toMatchObject({
      PRIORITY: 6,
      IN_PORT: 2,
      SKB_MARK: 0x55,
      DP_HASH: 0x77,
      RECIRC_ID: 12,
      CT_STATE: 0x2a,
      CT_ZONE: 3,
      CT_MARK: 0xabcd,
      CT_LABELS: unhex("000102030405060708090a0b0c0d0e0f"),
      UDP: { src: 1000, dst: 53 },
    });
    expect(lab.test.conntrack.count).toBe(0);
    lab.execute(datagram, [act.userspace(lab.pid)]);
    const { key } = lab.takeOne();
    expect([key.DP_HASH, key.RECIRC_ID, key.CT_STATE, key.CT_MARK]).toEqual([0, 0, 0, 0]);
    lab.port(1).inject(datagram);
    expect(lab.takeOne().key.DP_HASH).toBe(0);
  });

  it("U-065, U-066: established by KEY alone: ct finds no connection and says new", () => {
    const lab = new DatapathLab();
    lab.execute(datagram, [act.ct(act.attr(ovs.OVS_CT_ATTR_ZONE, act.le16(3))), act.userspace(lab.pid)], {
      key: metadata,
    });
    expect(lab.takeOne().key).toMatchObject({ CT_STATE: 0x21, CT_ZONE: 3, CT_MARK: 0 });
  });

  it("U-069: MRU stands for the length in check_pkt_len, with the L2 header", () => {
    const lab = new DatapathLab();
    const branch = (length: number, mru?: number): string => {
      const up = (name: string) => act.userspace(lab.pid, userdata(name));
      lab.execute(datagram, [act.checkPktLen(length, up("greater"), up("less"))], { mru });
      return text(lab.takeOne().userdata);
    };
    expect([branch(datagram.length), branch(datagram.length - 1)]).toEqual(["less", "greater"]);
    expect([branch(1014, 1000), branch(1013, 1000)]).toEqual(["less", "greater"]);
  });

  it("U-010, U-080: MRU comes up again; without it a packet above the MTU is dropped", () => {
    const lab = new DatapathLab();
    const big = frame(ethernet(), ipv4(), udp(), new Uint8Array(2000));
    lab.execute(big, [act.userspace(lab.pid), act.output(2)], { mru: 1000 });
    const { mru, order } = lab.takeOne();
    expect([mru, order]).toEqual([1000, ["KEY", "MRU", "HASH", "PACKET"]]);
    expect(lab.port(2).takeSent().length).toBe(3);
    lab.execute(big, [act.userspace(lab.pid), act.output(2)]);
    expect(lab.takeOne().mru).toBeUndefined();
    expect(lab.port(2).takeSent()).toEqual([]);
  });

  it("U-070: the packet may fill its attribute", () => {
    const lab = new DatapathLab([{}, { mtu: 65535 }]);
    const whole = concat(datagram, new Uint8Array(MAX_PACKET - datagram.length).fill(7));
    expect(lab.execute(whole, [act.output(2)])).toBe(0);
    expect(lab.port(2).sent[0]).toEqual(whole);
  });

  it("U-071: checksums are not taken for granted: ct calls a wrong one invalid", () => {
    const lab = new DatapathLab();
    const state = (packet: Uint8Array): unknown => {
      lab.execute(packet, [act.ct(), act.userspace(lab.pid)]);
      return lab.takeOne().key.CT_STATE;
    };
    expect(state(datagram)).toBe(0x21);
    expect(state(frame(ethernet(), ipv4(), udp({ dst: 53, checksum: 0x1234 }), "hello"))).toBe(0x30);
    expect(state(frame(ethernet(), ipv4(), tcp({ checksum: 0x1234 })))).toBe(0x30);
  });

  it("U-072, U-073: ethertype and outer tag come from the frame: pop_vlan finds it", () => {
    const lab = new DatapathLab();
    lab.execute(tagged, [act.popVlan(), act.output(2)]);
    expect(hex(lab.port(2).takeSent()[0])).toBe(hex(concat(tagged.subarray(0, 12), tagged.subarray(16))));
  });

  it("U-074, A-128: deferred work is done before the ACK, in order", () => {
    const lab = new DatapathLab();
    // No list is the last of its own, and each changes the key: the fourth has no room to keep it.
    const deep = (inner: Uint8Array) => [1, 2, 3, 4].reduce((list) => act.clone(list, act.setMark(1)), inner);
    lab.execute(datagram, [
      deep(act.userspace(lab.pid, userdata("deferred"))),
      act.userspace(lab.pid, userdata("top")),
    ]);
    expect(lab.take().map((upcall) => text(upcall.userdata))).toEqual(["top", "deferred"]);
  });

  it("U-075, A-162: out of the port it came in by", () => {
    const lab = new DatapathLab();
    lab.execute(datagram, [act.output(1)]);
    expect(lab.port(1).takeSent()).toEqual([datagram]);
    lab.flow({ inPort: 1 }, act.output(1));
    lab.port(1).inject(datagram);
    expect(lab.port(1).takeSent()).toEqual([datagram]);
  });

  it("U-077, A-115, A-116, A-117: the first error of the top list is the answer; those behind recirculation are not", () => {
    const lab = new DatapathLab();
    // The key says UDP, but no room is there for its header: set fails, with ENOMEM as the module.
    const short = frame(ethernet(), ipv4({ proto: 17, totalLength: 28 }));
    const failing = act.setUdp(1, 2);
    expect(lab.execute(short, [failing, act.output(2)])).toBe(12);
    expect(lab.execute(short, [act.clone(failing), act.output(2)])).toBe(12);
    expect(lab.port(2).sent).toEqual([]);
    const proto = Uint8Array.of(0, 0, 0, 0, 0, 0, 0, 0, 17, 0, 0, 0);
    lab.flow(
      {
        recircId: 9,
        key: concat(act.attr(ovs.OVS_KEY_ATTR_IPV4, proto), act.attr(ovs.OVS_KEY_ATTR_UDP, new Uint8Array(4))),
        mask: act.attr(
          ovs.OVS_KEY_ATTR_IPV4,
          proto.map((byte) => (byte === 0 ? 0 : 255)),
        ),
      },
      failing,
      act.output(1),
    );
    expect(lab.execute(short, [act.recirc(9), act.output(2)])).toBe(0);
    expect([lab.port(1).sent.length, lab.port(2).takeSent().length]).toEqual([0, 1]);
    expect(lab.stats()).toMatchObject({ hit: 1, missed: 0 });
  });

  it("F-286: a fragment that ct keeps is no error", () => {
    const lab = new DatapathLab();
    const [first] = fragmentIpv4(frame(ethernet(), ipv4({ id: 3 }), udp(), new Uint8Array(1000)), 800);
    expect(lab.execute(first, [act.ct(), act.output(2)])).toBe(0);
    expect(lab.port(2).sent).toEqual([]);
  });

  it("F-284: the datapath of a dp_ifindex that is gone is ENODEV", () => {
    const lab = new DatapathLab();
    lab.client.errno({ family: "ovs_datapath", cmd: ovs.OVS_DP_CMD_DEL, ifindex: lab.ifindex, version: 2 });
    expect(lab.execute(datagram, [act.output(2)])).toBe(19);
  });

  it("F-290: without CAP_NET_ADMIN it is EPERM, and nothing is sent", () => {
    const lab = new DatapathLab();
    const user = lab.test.client({ privileged: false });
    expect(
      user.errno({
        family: "ovs_packet",
        cmd: ovs.OVS_PACKET_CMD_EXECUTE,
        ifindex: lab.ifindex,
        attributes: (w) => {
          w.raw(ovs.OVS_PACKET_ATTR_PACKET, datagram);
          w.raw(ovs.OVS_PACKET_ATTR_KEY, inPort(1));
          w.raw(ovs.OVS_PACKET_ATTR_ACTIONS, act.output(2));
        },
      }),
    ).toBe(1);
    expect(lab.port(2).sent).toEqual([]);
  });
});

describe("fragments", () => {
  const whole = frame(ethernet(), ipv4({ id: 77 }), udp({ dst: 53 }), new Uint8Array(2000).fill(0x33));
  const pieces = fragmentIpv4(whole, 1480);

  it("U-081, U-082: each fragment misses for itself; a later one has no ports", () => {
    const lab = new DatapathLab();
    for (const piece of pieces) lab.port(1).inject(piece);
    const [first, later] = lab.take();
    expect(first.key).toMatchObject({ IPV4: { frag: 1 }, UDP: { src: 1000, dst: 53 } });
    expect(later.key).toMatchObject({ IPV4: { frag: 2, proto: 17 } });
    expect(Object.keys(later.key)).not.toContain("UDP");
    expect(hex(later.packet)).toBe(hex(pieces[1]));
  });

  it("U-079, U-080, K-290, A-158: after ct the whole datagram, above the MTU, with MRU; given back it leaves in the same pieces", () => {
    const lab = new DatapathLab();
    lab.flow({ inPort: 1 }, act.ct(), act.recirc(1));
    for (const piece of pieces) lab.port(1).inject(piece);
    const { packet, mru, key, hash } = lab.takeOne();
    expect(hex(packet)).toBe(hex(whole));
    expect(mru).toBe(1500);
    expect(key).toMatchObject({ IPV4: { frag: 0 }, UDP: { src: 1000, dst: 53 }, RECIRC_ID: 1 });
    lab.execute(packet, [act.output(2)], { mru, hash });
    expect(lab.port(2).takeSent().map(hex)).toEqual(pieces.map(hex));
  });
});

describe("what vswitchd expects of its sockets", () => {
  it("U-084, U-087, U-083: messages in order; what was lost is told by ENOBUFS once, then reading goes on", () => {
    const lab = new DatapathLab();
    lab.upcalls.socket.setReceiveBuffer(0);
    lab.port(1).inject(datagram);
    lab.port(1).inject(datagram);
    expect(() => lab.upcalls.socket.receive()).toThrow(expect.objectContaining({ errno: 105 }));
    expect(lab.take().length).toBe(1);
    lab.upcalls.socket.setReceiveBuffer(1 << 20);
    const frames = [1, 2, 3, 4].map((byte) => frame(ethernet(), ipv4(), udp(), new Uint8Array(10).fill(byte)));
    for (const one of frames) lab.port(1).inject(one);
    expect(lab.take().map(({ packet }) => hex(packet))).toEqual(frames.map(hex));
  });

  it("U-085, U-086: from port id 0, with KEY nested and PACKET of at least 14 bytes", () => {
    const lab = new DatapathLab();
    const shortest = frame(ethernet({ type: 0x88cc }));
    lab.port(1).inject(shortest);
    const { reply, packet } = lab.takeOne();
    expect([reply.pid, packet.length]).toEqual([0, 14]);
    expect(reply.view.getUint16(26, true) & 0x3fff).toBe(ovs.OVS_PACKET_ATTR_KEY);
  });

  it("U-053: labels and NSH in a packet are no reason not to send it up", () => {
    const lab = new DatapathLab();
    const odd = [frame(ethernet(), mpls(), ipv4(), udp()), frame(ethernet(), nsh({ np: 1 }), ipv4(), udp())];
    for (const one of odd) lab.port(1).inject(one);
    expect(lab.take().map(({ packet }) => hex(packet))).toEqual(odd.map(hex));
  });
});
