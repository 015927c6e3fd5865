/** Tunnel ports: segments, checksums that sockets do not tell of, life and death of their devices. */
import { describe, expect, it } from "vitest";
import { MessageWriter } from "../../src/netlink/writer.ts";
import { checksum } from "../../src/packet/checksum.ts";
import { Csum, Gso } from "../../src/packet/packet.ts";
import type { MemoryPort } from "../../src/port/memory/ports.ts";
import { NLM_F_CREATE } from "../../src/uapi/netlink.ts";
import * as ovs from "../../src/uapi/openvswitch.ts";
import * as rt from "../../src/uapi/rtnetlink.ts";
import { attr, le32, set, setMark } from "../support/actions.ts";
import { concat, ethernet, frame, hex, ip4, ipv4, tcp, u16, u32, udp } from "../support/frames.ts";
import { messagesIn } from "../support/kernel.ts";
import { match } from "../support/lab.ts";
import { attributesOf, options, output, setTunnel, TunnelLab } from "../support/tunnels.ts";

const TO_FAR = concat(
  attr(ovs.OVS_TUNNEL_KEY_ATTR_ID, u32(0), u32(7)),
  attr(ovs.OVS_TUNNEL_KEY_ATTR_IPV4_DST, ip4("10.9.0.2")),
  attr(ovs.OVS_TUNNEL_KEY_ATTR_TTL, Uint8Array.of(64)),
);
const CSUM = attr(ovs.OVS_TUNNEL_KEY_ATTR_CSUM);
/** Bytes from an outer IPv4 header to the frame inside. */
const VXLAN_LEN = 20 + 8 + 8;

/** Port 1: a VXLAN tunnel, port 2: a device; what comes in by one goes out by the other. */
function setUp(
  tunnel: Uint8Array = TO_FAR,
  before: Uint8Array = new Uint8Array(0),
): { lab: TunnelLab; device: MemoryPort } {
  const lab = new TunnelLab();
  const device = lab.test.device("eth0");
  expect(lab.add("vx", ovs.OVS_VPORT_TYPE_VXLAN, options(4789)).number).toBe(1);
  expect(lab.add("eth0", ovs.OVS_VPORT_TYPE_NETDEV).number).toBe(2);
  const flow = (inPort: number, actions: Uint8Array): void => {
    const { key, mask } = match({ inPort });
    const errno = lab.client.errno({
      family: ovs.OVS_FLOW_FAMILY,
      cmd: ovs.OVS_FLOW_CMD_NEW,
      flags: NLM_F_CREATE,
      ifindex: lab.ifindex,
      attributes: (w) => {
        w.raw(ovs.OVS_FLOW_ATTR_KEY, key);
        w.raw(ovs.OVS_FLOW_ATTR_MASK, mask);
        w.raw(ovs.OVS_FLOW_ATTR_ACTIONS, actions);
      },
    });
    expect(errno).toBe(0);
  };
  flow(1, output(2));
  flow(2, concat(before, setTunnel(tunnel), output(1)));
  return { lab, device };
}

/** A TCP frame whose payload is `size` bytes, checksums right. */
const segmentOf = (size: number, seq = 1000): Uint8Array =>
  frame(
    ethernet(),
    ipv4(),
    tcp({ seq }),
    Uint8Array.from({ length: size }, (_, i) => i),
  );

/** Writes the sum of the pseudo header where a TCP or UDP checksum goes: what the kernel leaves to devices. */
function leaveChecksum(bytes: Uint8Array, field: number): Uint8Array {
  const copy = bytes.slice();
  const view = new DataView(copy.buffer);
  const pseudo = concat(copy.slice(26, 34), Uint8Array.of(0, copy[23]), u16(copy.length - 34));
  view.setUint16(34 + field, ~checksum(new DataView(pseudo.buffer), 0, pseudo.length) & 0xffff);
  return copy;
}

/** Devices without Ethernet inside: IFLA_LINKINFO, and bytes from an outer IPv4 header to the packet inside. */
const BARE: [name: string, info: Uint8Array, length: number][] = [
  [
    "VXLAN-GPE",
    linkInfo("vxlan", (w) => {
      w.be16(rt.IFLA_VXLAN_PORT, 4790);
      w.u8(rt.IFLA_VXLAN_LEARNING, 0);
      w.u8(rt.IFLA_VXLAN_COLLECT_METADATA, 1);
      w.flag(rt.IFLA_VXLAN_GPE);
    }),
    20 + 8 + 8,
  ],
  [
    "bareudp",
    linkInfo("bareudp", (w) => {
      w.be16(rt.IFLA_BAREUDP_PORT, 6636);
      w.be16(rt.IFLA_BAREUDP_ETHERTYPE, 0x0800);
    }),
    20 + 8,
  ],
];

function linkInfo(kind: string, put: (writer: MessageWriter) => void): Uint8Array {
  const data = new MessageWriter();
  put(data);
  const info = new MessageWriter();
  info.string(rt.IFLA_INFO_KIND, kind);
  info.raw(rt.IFLA_INFO_DATA, data.finish());
  return info.finish();
}

/** As setUp(), with port 1 a tunnel without Ethernet inside: headers are taken off and put on again. */
function setUpBare(info: Uint8Array, tunnel: Uint8Array = TO_FAR): { lab: TunnelLab; device: MemoryPort } {
  const lab = new TunnelLab();
  const device = lab.test.device("eth0");
  lab.test.ports.configure(lab.test.kernel.tunnelDevices.create("tun0", info).netdev, 60000);
  expect(lab.add("tun0", ovs.OVS_VPORT_TYPE_NETDEV).number).toBe(1);
  expect(lab.add("eth0", ovs.OVS_VPORT_TYPE_NETDEV).number).toBe(2);
  const flow = (key: Uint8Array, mask: Uint8Array, actions: Uint8Array): void => {
    const errno = lab.client.errno({
      family: ovs.OVS_FLOW_FAMILY,
      cmd: ovs.OVS_FLOW_CMD_NEW,
      flags: NLM_F_CREATE,
      ifindex: lab.ifindex,
      attributes: (w) => {
        w.raw(ovs.OVS_FLOW_ATTR_KEY, key);
        w.raw(ovs.OVS_FLOW_ATTR_MASK, mask);
        w.raw(ovs.OVS_FLOW_ATTR_ACTIONS, actions);
      },
    });
    expect(errno).toBe(0);
  };
  const from = (port: number): Uint8Array => attr(ovs.OVS_KEY_ATTR_IN_PORT, le32(port));
  const type = (value: number): Uint8Array => attr(ovs.OVS_KEY_ATTR_ETHERTYPE, u16(value));
  const ip = attr(ovs.OVS_KEY_ATTR_IPV4, new Uint8Array(12));
  const addresses = concat(segmentOf(0).slice(6, 12), segmentOf(0).slice(0, 6));
  const push = attr(ovs.OVS_ACTION_ATTR_PUSH_ETH, addresses);
  flow(concat(from(1), type(0x0800), ip), concat(from(-1), type(0xffff)), concat(push, output(2)));
  const { key, mask } = match({ inPort: 2, ethType: 0x0800 });
  flow(key, mask, concat(attr(ovs.OVS_ACTION_ATTR_POP_ETH), setTunnel(tunnel), output(1)));
  return { lab, device };
}

/** OVS_KEY_ATTR_SKB_MARK and _PRIORITY of an upcall. */
function labelOf(upcall: ReadonlyMap<number, Uint8Array>): string[] {
  const key = Uint8Array.from(upcall.get(ovs.OVS_PACKET_ATTR_KEY) ?? []);
  const attributes = attributesOf({ bytes: key, view: new DataView(key.buffer) }, 0);
  return [ovs.OVS_KEY_ATTR_SKB_MARK, ovs.OVS_KEY_ATTR_PRIORITY].map((type) =>
    hex(attributes.get(type) ?? new Uint8Array(0)),
  );
}

const inside = (packet: Uint8Array): Uint8Array => packet.slice(VXLAN_LEN);

/** What `packets` look like to whom they are sent. */
function arrived(packet: Uint8Array): Uint8Array {
  const copy = packet.slice();
  const view = new DataView(copy.buffer);
  for (const [at, value] of [
    [12, 0x0a090002],
    [16, 0x0a090001],
  ])
    view.setUint32(at, value);
  return copy;
}

describe("a tunnel port", () => {
  it("cuts a GSO packet before it encapsulates: each segment is a whole packet, identifications differ", () => {
    const { lab, device } = setUp();
    const whole = leaveChecksum(segmentOf(3000), 16);
    device.inject(whole, { csum: Csum.PARTIAL, csumStart: 34, csumOffset: 16, gsoType: Gso.TCPV4, gsoSize: 1000 });
    const sent = lab.underlay.takeSent();
    expect(sent.map((packet) => packet.length)).toEqual([1, 2, 3].map(() => VXLAN_LEN + 54 + 1000));
    const frames = sent.map(inside);
    for (const [i, one] of frames.entries()) {
      const view = new DataView(one.buffer);
      expect(view.getUint32(38)).toBe(1000 + 1000 * i);
      const pseudo = concat(one.slice(26, 34), Uint8Array.of(0, 6), u16(one.length - 34));
      const sum = ~checksum(new DataView(pseudo.buffer), 0, pseudo.length) & 0xffff;
      expect(checksum(view, 34, one.length - 34, sum)).toBe(0);
    }
    expect(new Set(sent.map((packet) => (packet[4] << 8) | packet[5])).size).toBe(3);
    expect(new Set(sent.map((packet) => (packet[20] << 8) | packet[21])).size).toBe(1);
    expect(lab.stats("vx")).toEqual([0, 1, 0, 3040, 0, 0, 0, 0]);
  });

  it("completes a checksum that was left to the device, outer checksum over it", () => {
    const { lab, device } = setUp(concat(TO_FAR, CSUM));
    const right = segmentOf(101);
    device.inject(leaveChecksum(right, 16), { csum: Csum.PARTIAL, csumStart: 34, csumOffset: 16 });
    const [packet] = lab.underlay.takeSent();
    expect(hex(inside(packet))).toBe(hex(right));
    const view = new DataView(packet.buffer);
    const pseudo = concat(packet.slice(12, 20), Uint8Array.of(0, 17), u16(packet.length - 20));
    const sum = ~checksum(new DataView(pseudo.buffer), 0, pseudo.length) & 0xffff;
    expect(view.getUint16(26)).not.toBe(0);
    expect(checksum(view, 20, packet.length - 20, sum)).toBe(0);
  });

  it("A-229: outputs after set(tunnel) do not disturb each other's bytes", () => {
    const lab = new TunnelLab();
    const number = lab.add("vx", ovs.OVS_VPORT_TYPE_VXLAN, options(4789)).number;
    const bytes = segmentOf(10);
    const key = concat(
      attr(ovs.OVS_KEY_ATTR_ETHERNET, new Uint8Array(12)),
      attr(ovs.OVS_KEY_ATTR_ETHERTYPE, u16(0x800)),
    );
    expect(lab.execute(key, bytes, concat(setTunnel(TO_FAR), output(number), output(number)))).toBe(0);
    expect(lab.underlay.takeSent().map((packet) => hex(inside(packet)))).toEqual([hex(bytes), hex(bytes)]);
  });

  it("A-228: the tunnel that a packet came through is not the one it leaves by", () => {
    const { lab, device } = setUp();
    device.inject(segmentOf(10));
    const [packet] = lab.underlay.takeSent();
    // Back out of the tunnel: without a set(tunnel) of its own, which VXLAN drops without a word.
    const { key, mask } = match({ inPort: 1 });
    lab.client.errno({
      family: ovs.OVS_FLOW_FAMILY,
      cmd: ovs.OVS_FLOW_CMD_NEW,
      ifindex: lab.ifindex,
      flags: NLM_F_CREATE,
      attributes: (w) => {
        w.raw(ovs.OVS_FLOW_ATTR_KEY, key);
        w.raw(ovs.OVS_FLOW_ATTR_MASK, mask);
        w.raw(ovs.OVS_FLOW_ATTR_ACTIONS, output(1));
      },
    });
    lab.underlay.inject(arrived(packet));
    expect(lab.underlay.takeSent()).toEqual([]);
  });

  it.each([
    ["TCP", 16, segmentOf(50)],
    ["UDP", 6, frame(ethernet(), ipv4({ proto: 17 }), udp({ src: 1, dst: 2 }), new Uint8Array(50).fill(9))],
  ])("knows a %s checksum that the sender left to its device, and leaves it to the next one", (_name, field, right) => {
    const { lab, device } = setUp();
    device.inject(right);
    const [packet] = lab.underlay.takeSent();
    lab.underlay.inject(arrived(packet));
    expect(device.sentOffload.pop()).toMatchObject({ csum: Csum.NONE });
    lab.underlay.inject(arrived(concat(packet.slice(0, VXLAN_LEN), leaveChecksum(right, field))));
    expect(device.sentOffload.pop()).toMatchObject({ csum: Csum.PARTIAL, csumStart: 34, csumOffset: field });
  });

  it("takes what is longer than the path and came in no pieces for segments that were never cut", () => {
    const { lab, device } = setUp();
    const small = segmentOf(10);
    device.inject(small);
    const [packet] = lab.underlay.takeSent();
    const big = leaveChecksum(segmentOf(4000), 16);
    const outer = concat(packet.slice(0, VXLAN_LEN), big);
    const view = new DataView(outer.buffer);
    view.setUint16(2, outer.length);
    view.setUint16(24, outer.length - 20);
    lab.underlay.inject(arrived(outer));
    // 1500, less the outer headers, less Ethernet, IP and TCP.
    expect(device.sentOffload.pop()).toMatchObject({ gsoType: Gso.TCPV4, gsoSize: 1500 - VXLAN_LEN - 54 });
    expect(hex(device.sent.pop() as Uint8Array)).toBe(hex(big));
    // The same out of fragments is a packet that long, too long for the next device.
    lab.underlay.inject(arrived(outer), 1500);
    expect(device.takeSent()).toEqual([]);
  });

  it("an outer checksum that is wrong is dropped, one that was left to a device is not", () => {
    const { lab, device } = setUp(concat(TO_FAR, CSUM));
    device.inject(segmentOf(10));
    device.takeSent();
    const [packet] = lab.underlay.takeSent();
    const with_ = (value: number): Uint8Array => {
      const copy = packet.slice();
      new DataView(copy.buffer).setUint16(26, value);
      return copy;
    };
    const pseudo = concat(packet.slice(12, 20), Uint8Array.of(0, 17), u16(packet.length - 20));
    const left = ~checksum(new DataView(pseudo.buffer), 0, pseudo.length) & 0xffff;
    lab.underlay.inject(with_(left ^ 1));
    expect(device.takeSent()).toHaveLength(0);
    lab.underlay.inject(with_(left));
    lab.underlay.inject(packet);
    expect(device.takeSent()).toHaveLength(2);
  });

  it("routes are asked for again when they change, and after a second", () => {
    const { lab, device } = setUp();
    let asked = 0;
    const { routes } = lab.underlay;
    lab.underlay.routes = (query) => {
      asked++;
      return routes(query);
    };
    for (let i = 0; i < 5; i++) device.inject(segmentOf(10));
    expect(asked).toBe(1);
    lab.underlay.onChange();
    device.inject(segmentOf(10));
    expect(asked).toBe(2);
    lab.test.clock.advance(1001);
    lab.test.kernel.tick();
    device.inject(segmentOf(10));
    expect(asked).toBe(3);
  });

  it("A-201: mark and priority go with the outer packet, each segment and fragment; the mark decides the route", () => {
    const { lab, device } = setUp(TO_FAR, concat(setMark(0x80000055), set(ovs.OVS_KEY_ATTR_PRIORITY, le32(0x10007))));
    const { routes } = lab.underlay;
    const asked: (readonly number[])[] = [];
    lab.underlay.routes = (query) => {
      asked.push([query.protocol, query.port, query.mark >>> 0]);
      return routes(query);
    };
    const labels = (): unknown => {
      const found = lab.underlay.sentLabels;
      lab.underlay.takeSent();
      return found;
    };
    const label = { mark: 0x80000055, priority: 0x10007 };
    device.inject(segmentOf(10));
    expect(labels()).toEqual([label]);
    const whole = leaveChecksum(segmentOf(3000), 16);
    device.inject(whole, { csum: Csum.PARTIAL, csumStart: 34, csumOffset: 16, gsoType: Gso.TCPV4, gsoSize: 1000 });
    expect(labels()).toEqual([label, label, label]);
    device.inject(segmentOf(1460));
    expect(labels()).toEqual([label, label]);
    expect(asked).toEqual([[17, 4789, 0x80000055]]);
  });

  it("K-093: mark and priority of the outer packet are those of the one inside", () => {
    const lab = new TunnelLab();
    const { device, lab: sender } = setUp();
    lab.add("vx", ovs.OVS_VPORT_TYPE_VXLAN, options(4789));
    device.inject(segmentOf(10));
    const [packet] = sender.underlay.takeSent();
    lab.underlay.inject(arrived(packet), 0, { mark: 0x80000077, priority: 5 });
    expect(lab.seen().map(labelOf)).toEqual([["77000080", "05000000"]]);
    lab.underlay.inject(arrived(packet));
    expect(lab.seen().map(labelOf)).toEqual([["00000000", "00000000"]]);
  });

  it("A-201: the answer to a packet that is too big has its mark and priority", () => {
    const { lab, device } = setUp(TO_FAR, concat(setMark(0x55), set(ovs.OVS_KEY_ATTR_PRIORITY, le32(7))));
    const { errno } = lab.client.ack({
      family: ovs.OVS_FLOW_FAMILY,
      cmd: ovs.OVS_FLOW_CMD_DEL,
      ifindex: lab.ifindex,
      attributes: (w) => w.raw(ovs.OVS_FLOW_ATTR_KEY, match({ inPort: 1 }).key),
    });
    expect(errno).toBe(0);
    device.inject(frame(ethernet(), ipv4({ df: true }), tcp(), new Uint8Array(1411)));
    expect(lab.underlay.takeSent()).toEqual([]);
    expect(lab.seen().map(labelOf)).toEqual([["55000000", "07000000"]]);
  });

  it("under IPsec policies a packet leaves whole, for the host to cut what IPsec makes of it", () => {
    const { lab, device } = setUp();
    const { routes } = lab.underlay;
    lab.underlay.routes = (query) => {
      const route = routes(query);
      return route && { ...route, mtu: 1438, ipsec: true };
    };
    const lengths = (size: number): number[] => {
      device.inject(segmentOf(size));
      return lab.underlay.takeSent().map((packet) => packet.length);
    };
    const room = 1438 - VXLAN_LEN - 54;
    expect(lengths(room)).toEqual([1438]);
    expect(lengths(room + 1)).toEqual([1439]);
    expect(lengths(room + 62)).toEqual([1500]);
    expect(lengths(room + 63)).toEqual([1501]);
    expect(lab.stats("vx").slice(1)).toEqual([4, 0, expect.any(Number), 0, 0, 0, 0]);
  });

  it("F-176, T-093: a device of a tunnel type goes with its port, and its UDP port is free again", () => {
    const lab = new TunnelLab();
    lab.add("gn", ovs.OVS_VPORT_TYPE_GENEVE, options(6081));
    expect(lab.test.kernel.tunnelDevices.get("gn")?.kind.name).toBe("geneve");
    expect(lab.test.ports.device("gn")?.running).toBe(true);
    expect(lab.remove("gn")).toBe(0);
    expect(lab.test.kernel.tunnelDevices.get("gn")).toBeUndefined();
    expect(lab.test.ports.device("gn")).toBeUndefined();
    expect(lab.add("gn2", ovs.OVS_VPORT_TYPE_GENEVE, options(6081)).errno).toBe(0);
  });

  it("F-191, T-109: the device goes by itself: the port goes too, and the ovs_vport group hears of it", () => {
    const lab = new TunnelLab();
    lab.add("gn", ovs.OVS_VPORT_TYPE_GENEVE, options(6081));
    const listener = lab.test.client();
    listener.socket.join(lab.test.group(ovs.OVS_VPORT_FAMILY));
    lab.test.ports.device("gn")?.remove();
    const datagram = listener.socket.receive() as Uint8Array;
    const [message] = messagesIn(datagram);
    expect(message.cmd).toBe(ovs.OVS_VPORT_CMD_DEL);
    expect(new TextDecoder().decode(attributesOf(message).get(ovs.OVS_VPORT_ATTR_NAME))).toBe("gn\0");
    expect(lab.test.kernel.tunnelDevices.get("gn")).toBeUndefined();
    expect(lab.test.kernel.datapaths.vportByName("gn")).toBeUndefined();
    expect(lab.add("gn", ovs.OVS_VPORT_TYPE_GENEVE, options(6081)).errno).toBe(0);
  });

  it("the port is gone while packets come in: they are dropped", () => {
    const { lab, device } = setUp();
    device.inject(segmentOf(10));
    const [packet] = lab.underlay.takeSent();
    lab.remove("vx");
    lab.underlay.inject(arrived(packet));
    expect(device.takeSent()).toEqual([]);
    expect(lab.test.faults).toEqual([]);
  });
});

describe.each(BARE)("a %s port", (name, info, header) => {
  it("A-226: cuts a GSO packet: each segment is an IP packet of its own", () => {
    const { lab, device } = setUpBare(info);
    const whole = leaveChecksum(segmentOf(3000), 16);
    device.inject(whole, { csum: Csum.PARTIAL, csumStart: 34, csumOffset: 16, gsoType: Gso.TCPV4, gsoSize: 1000 });
    const sent = lab.underlay.takeSent();
    expect(sent.map((packet) => packet.length)).toEqual([1, 2, 3].map(() => header + 40 + 1000));
    for (const [i, packet] of sent.entries()) {
      const one = packet.slice(header);
      const view = new DataView(one.buffer);
      expect([one[0], view.getUint16(2), view.getUint32(24)]).toEqual([0x45, 1040, 1000 + 1000 * i]);
      const pseudo = concat(one.slice(12, 20), Uint8Array.of(0, 6), u16(one.length - 20));
      const sum = ~checksum(new DataView(pseudo.buffer), 0, pseudo.length) & 0xffff;
      expect(checksum(view, 20, one.length - 20, sum)).toBe(0);
    }
    expect(lab.stats("tun0")).toEqual([0, 1, 0, 3040, 0, 0, 0, 0]);
  });

  it("K-245: knows a checksum that the sender left to its device, and segments that were never cut", () => {
    const { lab, device } = setUpBare(info);
    const right = segmentOf(50);
    device.inject(right);
    const [packet] = lab.underlay.takeSent();
    expect(hex(packet.slice(header))).toBe(hex(right.slice(14)));
    lab.underlay.inject(arrived(packet));
    expect(hex(device.sent[0])).toBe(hex(right));
    expect(device.sentOffload.pop()).toMatchObject({ csum: Csum.NONE });
    lab.underlay.inject(arrived(concat(packet.slice(0, header), leaveChecksum(right, 16).slice(14))));
    expect(device.sentOffload.pop()).toMatchObject({ csum: Csum.PARTIAL, csumStart: 34, csumOffset: 16 });
    const outer = concat(packet.slice(0, header), leaveChecksum(segmentOf(4000), 16).slice(14));
    const view = new DataView(outer.buffer);
    view.setUint16(2, outer.length);
    view.setUint16(24, outer.length - 20);
    lab.underlay.inject(arrived(outer));
    expect(device.sentOffload.pop()).toMatchObject({ gsoType: Gso.TCPV4, gsoSize: 1500 - header - 40 });
  });

  it("what does not fit into the path is answered by VXLAN alone", () => {
    const { lab, device } = setUpBare(info);
    const big = frame(ethernet(), ipv4({ df: true, proto: 17 }), udp(), new Uint8Array(1472));
    device.inject(big);
    const sent = lab.underlay.takeSent();
    if (name === "bareudp") {
      // Fragments of the outer packet: the key asks for no DF.
      expect(sent.length).toBe(2);
      expect(lab.stats("tun0")).toEqual([0, 1, 0, 1500, 0, 0, 0, 0]);
    } else {
      expect(sent).toEqual([]);
      // As if it had come in by the tunnel.
      expect(lab.stats("tun0").slice(0, 2)).toEqual([1, 1]);
      const [answer] = device.takeSent();
      expect([answer[23], answer[34], answer[35]]).toEqual([1, 3, 4]);
    }
  });

  it("a packet of an ethertype that it does not carry is an error", () => {
    const { lab } = setUpBare(info);
    const type = (value: number): Uint8Array => attr(ovs.OVS_KEY_ATTR_ETHERTYPE, u16(value));
    const actions = concat(setTunnel(TO_FAR), output(1));
    expect(lab.execute(type(0x88b5), new Uint8Array(40), actions)).toBe(0);
    expect(lab.underlay.takeSent()).toEqual([]);
    expect(lab.stats("tun0")).toEqual([0, 0, 0, 0, 0, 1, 0, 0]);
  });
});
