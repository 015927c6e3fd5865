/**
 * Tunnel devices against what those of Linux 6.12 did (tools/reference/tunnels.py): byte for byte the packets on the wire, the
 * upcalls, and the devices' counters.
 */
import { readFileSync } from "node:fs";
import { gunzipSync } from "node:zlib";
import { describe, expect, it } from "vitest";
import { Errno } from "../../src/core/errors.ts";
import { MessageWriter } from "../../src/netlink/writer.ts";
import { checksum } from "../../src/packet/checksum.ts";
import { NLM_F_CREATE } from "../../src/uapi/netlink.ts";
import * as ovs from "../../src/uapi/openvswitch.ts";
import * as rt from "../../src/uapi/rtnetlink.ts";
import { attr, le32 } from "../support/actions.ts";
import { concat, hex, u16, unhex } from "../support/frames.ts";
import { TestKernel } from "../support/kernel.ts";
import { output, setTunnel, TunnelLab } from "../support/tunnels.ts";

interface Recorded {
  ports: Record<string, { type: number; mtu: number; reply: string }>;
  numbers: Record<string, number>;
  links: Record<string, [type: number, flags: number, info: string]>;
  made: [name: string, message: string, errno: number, info: string | null][];
  refused: Record<string, [errno: number, options: string | null]>;
  send: {
    port: string;
    tunnel: string | null;
    key: string;
    frame: string;
    errno: number;
    out: string[];
    ups: [string, string][];
    stats: number[];
  }[];
  egress: { port: string; tunnel: string | null; frame: string; key: string; ups: [number[], string | null][] }[];
  receive: { frame: string; ups: [string, string][]; out: string[]; stats: Record<string, number[]> }[];
}

const recorded: Recorded = JSON.parse(
  gunzipSync(readFileSync(new URL("../fixtures/tunnels-6.12.json.gz", import.meta.url))).toString(),
);

/** IFLA_LINKINFO of a device made with `external`. */
function linkInfo(kind: string, put: (writer: MessageWriter) => void): Uint8Array {
  const data = new MessageWriter();
  put(data);
  const info = new MessageWriter();
  info.string(rt.IFLA_INFO_KIND, kind);
  info.raw(rt.IFLA_INFO_DATA, data.finish());
  return info.finish();
}

function vxlanGpe(port: number, more: (writer: MessageWriter) => void): Uint8Array {
  return linkInfo("vxlan", (w) => {
    w.be16(rt.IFLA_VXLAN_PORT, port);
    w.u8(rt.IFLA_VXLAN_LEARNING, 0);
    w.u8(rt.IFLA_VXLAN_COLLECT_METADATA, 1);
    w.flag(rt.IFLA_VXLAN_GPE);
    more(w);
  });
}

function bareudp(port: number, etherType: number, sourceMin = 0, multiProto = false): Uint8Array {
  return linkInfo("bareudp", (w) => {
    w.be16(rt.IFLA_BAREUDP_PORT, port);
    w.be16(rt.IFLA_BAREUDP_ETHERTYPE, etherType);
    if (sourceMin !== 0) w.u16(rt.IFLA_BAREUDP_SRCPORT_MIN, sourceMin);
    if (multiProto) w.flag(rt.IFLA_BAREUDP_MULTIPROTO_MODE);
  });
}

const gre = (writer: MessageWriter): void => writer.flag(rt.IFLA_GRE_COLLECT_METADATA);
const DEVICES: Record<string, [info: Uint8Array, mtu: number]> = {
  strictvx: [
    linkInfo("vxlan", (w) => {
      w.be16(rt.IFLA_VXLAN_PORT, 4791);
      w.u8(rt.IFLA_VXLAN_LEARNING, 0);
      w.u8(rt.IFLA_VXLAN_COLLECT_METADATA, 1);
    }),
    60000,
  ],
  strictge: [
    linkInfo("geneve", (w) => {
      w.be16(rt.IFLA_GENEVE_PORT, 6082);
      w.flag(rt.IFLA_GENEVE_COLLECT_METADATA);
    }),
    60000,
  ],
  span: [linkInfo("erspan", gre), 1500],
  gre6: [linkInfo("ip6gretap", gre), 60000],
  span6: [linkInfo("ip6erspan", gre), 1500],
  l3gre: [linkInfo("gre", gre), 60000],
  gpe: [vxlanGpe(4792, (w) => w.u8(rt.IFLA_VXLAN_UDP_ZERO_CSUM6_RX, 1)), 60000],
  strictgpe: [vxlanGpe(4793, (w) => w.raw(rt.IFLA_VXLAN_PORT_RANGE, concat(u16(40000), u16(40100)))), 60000],
  bareip: [bareudp(6636, 0x0800, 49153, true), 60000],
  bareip4: [bareudp(6637, 0x0800), 60000],
  barempls: [bareudp(6635, 0x8847, 0, true), 60000],
  barempls1: [bareudp(6638, 0x8847), 60000],
  barensh: [bareudp(6639, 0x894f), 60000],
};

/** The ports of the recording, in its order, so that they have its numbers. */
function recordedPorts(): TunnelLab {
  const lab = new TunnelLab("6.12");
  for (const [name, { type, reply }] of Object.entries(recorded.ports)) {
    const device = DEVICES[name];
    if (device !== undefined) {
      const { netdev } = lab.test.kernel.tunnelDevices.create(name, device[0]);
      lab.test.ports.configure(netdev, device[1]);
    }
    const bytes = unhex(reply);
    const options = type === 1 ? undefined : bytes.subarray(optionsAt(bytes));
    const { errno, number } = lab.add(name, type, options?.length === 0 ? undefined : options);
    if (errno !== 0 || number !== recorded.numbers[name]) throw new Error(`${name}: errno ${errno}, number ${number}`);
  }
  return lab;
}

/** IFLA_INFO_SLAVE_KIND */
const SLAVE = hex(attr(rt.IFLA_INFO_SLAVE_KIND, new TextEncoder().encode("openvswitch\0")));
const ARPHRD_NONE = 65534;

/** Where the payload of OPTIONS stands in a recorded reply, its end if there is none. */
function optionsAt(bytes: Uint8Array): number {
  const view = new DataView(bytes.buffer, bytes.byteOffset);
  for (let at = 0; at + 4 <= bytes.length; at += (view.getUint16(at, true) + 3) & ~3)
    if (view.getUint16(at + 2, true) === ovs.OVS_VPORT_ATTR_OPTIONS) return at + 4;
  return bytes.length;
}

/** Ranges of source ports by destination port; the host's for all others. */
const SOURCE_PORTS: Record<number, [least: number, end: number]> = {
  6081: [1, 65535],
  6082: [1, 65535],
  4793: [40000, 40100],
  6636: [49153, 65535],
  6635: [0, 65535],
  6637: [0, 65535],
  6638: [0, 65535],
  6639: [0, 65535],
};

/** An IP packet of a tunnel without what differs from run to run: identification, source port, sums over them, time. */
function comparable(packet: Uint8Array): string {
  const copy = packet.slice();
  const view = new DataView(copy.buffer);
  const v6 = copy[0] >> 4 === 6;
  const transport = v6 ? 40 : (copy[0] & 15) * 4;
  const protocol = v6 ? copy[6] : copy[9];
  const first = v6 || (view.getUint16(6) & 0x1fff) === 0;
  if (!v6) {
    expect(checksum(view, 0, transport)).toBe(0);
    view.setUint16(4, 0);
    view.setUint16(10, 0);
  }
  if (protocol === 17 && first) {
    const port = view.getUint16(transport);
    const [least, end] = SOURCE_PORTS[view.getUint16(transport + 2)] ?? [32768, 60999];
    expect(port).toBeGreaterThanOrEqual(least);
    expect(port).toBeLessThan(end);
    view.setUint16(transport, 0);
    if (view.getUint16(transport + 6) !== 0) view.setUint16(transport + 6, 0xffff);
  } else if (protocol === 47 && first) {
    // A label of its own for each flow: which one nobody can tell.
    if (v6) view.setUint32(0, view.getUint32(0) & (view.getUint32(0) & 0xfffff ? 0xfff00000 : -1));
    if (view.getUint16(transport + 2) === 0x22eb) view.setUint32(transport + 12, 0);
  }
  return hex(copy);
}

/** The sum over a whole UDP packet that names a checksum; 0 = right. */
function udpSum(packet: Uint8Array): number {
  const v6 = packet[0] >> 4 === 6;
  const transport = v6 ? 40 : (packet[0] & 15) * 4;
  const view = new DataView(packet.buffer, packet.byteOffset, packet.length);
  const length = packet.length - transport;
  const pseudo = new DataView(new ArrayBuffer(40));
  const [from, size] = v6 ? [8, 32] : [12, 8];
  for (let i = 0; i < size; i++) pseudo.setUint8(i, packet[from + i]);
  pseudo.setUint32(size, length);
  pseudo.setUint16(size + 6, 17);
  return checksum(view, transport, length, ~checksum(pseudo, 0, size + 8) & 0xffff);
}

const isBridge = (tunnel: string | null): boolean => tunnel?.endsWith("04001000") ?? false;

const bytesOf = (up: Map<number, Uint8Array>, type: number): string => hex(up.get(type) ?? new Uint8Array(0));

/** Collects what differs, so that one run shows all of it. */
class Differences {
  private readonly found: unknown[] = [];
  private cases = 0;

  compare(question: object, seen: unknown, wanted: unknown): void {
    this.cases++;
    if (JSON.stringify(seen) !== JSON.stringify(wanted)) this.found.push({ ...question, seen, wanted });
  }

  expectNone(): void {
    expect(this.cases).toBeGreaterThan(0);
    expect(this.found).toEqual([]);
  }
}

describe("tunnels as Linux 6.12 has them", () => {
  it("F-162, F-163, F-164, F-141, F-142, F-143: ports of the tunnel types and why they are refused", () => {
    const lab = recordedPorts();
    lab.test.device("u1");
    for (const [name, { mtu, type }] of Object.entries(recorded.ports)) {
      if (type !== 1) expect([name, lab.test.kernel.tunnelDevices.get(name)?.netdev.mtu]).toEqual([name, mtu]);
    }
    const seen: Record<string, unknown> = {};
    for (const question of Object.keys(recorded.refused)) {
      const [name, type, options] = JSON.parse(question) as [string, number, string | null];
      const { errno, attributes } = lab.add(name, type, options === null ? undefined : unhex(options));
      const back = attributes.get(ovs.OVS_VPORT_ATTR_OPTIONS);
      seen[question] = [errno, back === undefined ? null : hex(back)];
      if (errno === 0) lab.remove(name);
    }
    expect(seen).toEqual(recorded.refused);
  });

  it("F-139: the answer names OPTIONS last", () => {
    const lab = new TunnelLab();
    for (const [name, { type, reply }] of Object.entries(recorded.ports)) {
      if (type === 1) continue;
      const bytes = unhex(reply);
      const { attributes } = lab.add(name, type, bytes.subarray(optionsAt(bytes)));
      const without = new Set([ovs.OVS_VPORT_ATTR_PORT_NO, ovs.OVS_VPORT_ATTR_UPCALL_PID, ovs.OVS_VPORT_ATTR_IFINDEX]);
      const kept = [...attributes].filter(([kind]) => !without.has(kind));
      const empty = new Set([ovs.OVS_VPORT_ATTR_STATS, ovs.OVS_VPORT_ATTR_UPCALL_STATS]);
      const told = kept.map(([kind, value]) => attr(kind, empty.has(kind) ? new Uint8Array(0) : value));
      expect(hex(concat(...told))).toBe(reply);
    }
  });

  it("T-095: devices and their refusals, and what is told of them", () => {
    const lab = recordedPorts();
    const differences = new Differences();
    const told = new Map([...lab.test.kernel.tunnelDevices].map(({ name, linkInfo }) => [name, hex(linkInfo)]));
    for (const [name, [type, , info]] of Object.entries(recorded.links)) {
      // How it is told as a port of a datapath follows.
      expect(info.endsWith(SLAVE)).toBe(true);
      differences.compare({ name }, told.get(name), info.slice(0, -SLAVE.length));
      expect([name, lab.test.ports.device(name)?.l3]).toEqual([name, type === ARPHRD_NONE]);
    }
    for (const [index, [name, body, errno, info]] of recorded.made.entries()) {
      // All but the last two were made alone.
      const { kernel } = index < recorded.made.length - 2 ? new TestKernel({ kernel: "6.12" }) : lab.test;
      const message = new MessageWriter();
      const at = message.beginMessage(rt.RTM_NEWLINK, NLM_F_CREATE, 1, 0);
      const bytes = concat(message.finish(), unhex(body));
      new DataView(bytes.buffer).setUint32(at, bytes.length, true);
      let seen: number | string | undefined;
      try {
        kernel.links.create(bytes);
        seen = hex(kernel.tunnelDevices.get(name)?.linkInfo ?? new Uint8Array(0));
      } catch (error) {
        if (!(error instanceof Errno)) throw error;
        seen = error.errno;
      }
      differences.compare({ name, body: body.slice(56) }, seen, errno === 0 ? info : errno);
    }
    differences.expectNone();
  });

  const names = [...new Set(recorded.send.map(({ port }) => port))];
  it.each(names)("A-226, A-227, A-229, A-202: what %s sends", (name) => {
    const lab = recordedPorts();
    const differences = new Differences();
    for (const [index, one] of recorded.send.entries()) {
      const { port, tunnel, key, frame, errno } = one;
      // A bridge's tunnel without an address goes to the loopback device there.
      if (port !== name || (isBridge(tunnel) && one.ups.length > 0)) continue;
      // Room for options that are none of Geneve's is left as it was found there.
      if (port === "geneve" && tunnel?.includes("0c000b80")) continue;
      const before = lab.stats(port);
      const actions = concat(
        tunnel === null ? new Uint8Array(0) : setTunnel(unhex(tunnel)),
        output(recorded.numbers[port]),
      );
      const got = lab.execute(unhex(key), unhex(frame), actions);
      const after = lab.stats(port);
      const sent = lab.underlay.takeSent();
      const seen = {
        errno: got,
        out: sent.map(comparable),
        ups: lab.seen().map((up) => [bytesOf(up, ovs.OVS_PACKET_ATTR_KEY), bytesOf(up, ovs.OVS_PACKET_ATTR_PACKET)]),
        stats: after.map((value, i) => value - before[i]),
      };
      const wanted = {
        errno,
        out: one.out.map((o) => comparable(unhex(o).slice(14))),
        ups: one.ups,
        stats: one.stats,
      };
      differences.compare({ index, tunnel, frame: frame.slice(0, 80) }, seen, wanted);
      const [packet] = sent;
      if (sent.length === 1 && packet[packet[0] >> 4 === 6 ? 6 : 9] === 17) {
        const at = packet[0] >> 4 === 6 ? 46 : 26;
        if (packet[at] !== 0 || packet[at + 1] !== 0) expect(udpSum(packet)).toBe(0);
      }
    }
    differences.expectNone();
  });

  it("A-167, U-008: EGRESS_TUN_KEY of upcalls by the userspace action", () => {
    const lab = recordedPorts();
    const differences = new Differences();
    for (const { port, tunnel, frame, key, ups } of recorded.egress) {
      if (isBridge(tunnel)) continue;
      const userspace = attr(
        ovs.OVS_ACTION_ATTR_USERSPACE,
        concat(
          attr(ovs.OVS_USERSPACE_ATTR_PID, le32(lab.upcalls.socket.portId)),
          attr(ovs.OVS_USERSPACE_ATTR_EGRESS_TUN_PORT, le32(recorded.numbers[port])),
          attr(ovs.OVS_USERSPACE_ATTR_USERDATA, new TextEncoder().encode("cookie")),
        ),
      );
      const actions = concat(tunnel === null ? new Uint8Array(0) : setTunnel(unhex(tunnel)), userspace);
      expect(lab.execute(unhex(key), unhex(frame), actions)).toBe(0);
      const seen = lab.seen().map((up) => {
        const egress = up.get(ovs.OVS_PACKET_ATTR_EGRESS_TUN_KEY);
        return [[...up.keys()], egress === undefined ? null : withoutSourcePort(egress)];
      });
      const wanted = ups.map(([order, egress]) => [order, egress === null ? null : withoutSourcePort(unhex(egress))]);
      differences.compare({ port, tunnel }, seen, wanted);
    }
    differences.expectNone();
  });

  it("K-245, U-057: what comes in, and what does not", () => {
    const lab = recordedPorts();
    const differences = new Differences();
    for (const [index, { frame, ups, stats }] of recorded.receive.entries()) {
      const bytes = unhex(frame);
      if (isOdd(bytes)) continue;
      const before = Object.keys(recorded.numbers).map((name) => [name, lab.stats(name)] as const);
      lab.underlay.inject(asHostTakesIt(bytes.slice(14)));
      const changes: Record<string, number[]> = {};
      for (const [name, old] of before) {
        const change = lab.stats(name).map((value, i) => value - old[i]);
        if (change.some((value) => value !== 0)) changes[name] = change;
      }
      const seen = lab
        .seen()
        .map((up) => [bytesOf(up, ovs.OVS_PACKET_ATTR_KEY), bytesOf(up, ovs.OVS_PACKET_ATTR_PACKET)]);
      differences.compare({ index, frame }, { ups: seen, stats: changes }, { ups, stats });
    }
    differences.expectNone();
  });
});

/**
 * What is not done as there: frames with a tag in GRE, congestion marked outside, get the mark over the tag (the kernel takes it for
 * the IP header, and the packet is broken); and keyless GRE over IPv6, which goes to ip6gretap or ip6erspan as they were made.
 */
function isOdd(frame: Uint8Array): boolean {
  const view = new DataView(frame.buffer);
  const v6 = view.getUint16(12) === 0x86dd;
  const transport = v6 ? 54 : 34;
  if (frame[v6 ? 20 : 23] !== 47 || frame.length < transport + 4) return false;
  const flags = view.getUint16(transport);
  const type = view.getUint16(transport + 2);
  if (v6) return type === 0x6558 && ((flags & 0x2000) === 0 || packetKey(view, transport) === 0);
  const inner = transport + (type === 0x6558 ? 8 : 16);
  return (frame[15] & 3) === 3 && frame.length > inner + 14 && view.getUint16(inner + 12) === 0x8100;
}

/** The key of a GRE header that has one and no checksum. */
function packetKey(view: DataView, transport: number): number {
  return transport + 8 <= view.byteLength ? view.getUint32(transport + 4) : 0;
}

/** TP_SRC of a tunnel key as zeros. */
function withoutSourcePort(tunnel: Uint8Array): string {
  const copy = tunnel.slice();
  const view = new DataView(copy.buffer);
  for (let at = 0; at + 4 <= copy.length; at += (view.getUint16(at, true) + 3) & ~3)
    if (view.getUint16(at + 2, true) === ovs.OVS_TUNNEL_KEY_ATTR_TP_SRC) view.setUint16(at + 4, 0);
  return hex(copy);
}

/** The stack cuts padding off. */
function asHostTakesIt(packet: Uint8Array): Uint8Array {
  const view = new DataView(packet.buffer);
  return packet.slice(0, packet[0] >> 4 === 6 ? 40 + view.getUint16(4) : view.getUint16(2));
}
