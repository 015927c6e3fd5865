/** What a datapath does to packets between real devices: each test has a datapath of its own on the same nokmod. */
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it, onTestFinished } from "vitest";
import { Namespace } from "../../src/lab/namespace.ts";
import * as ovs from "../../src/uapi/openvswitch.ts";
import * as a from "../support/actions.ts";
import {
  checksum,
  concat,
  ethernet,
  fragmentIpv4,
  frame,
  hex,
  icmp,
  ip4,
  ipv4,
  ipv6,
  mac,
  mpls,
  TCP_SYN,
  tcp,
  u16,
  udp,
  vlan,
} from "../support/frames.ts";
import { type Capture, type Host, Lab, type Match, match, root, Script, until } from "../support/lab.ts";

const IPV4 = 0x0800;
const IPV6 = 0x86dd;

/** OVS_ACTION_ATTR_CT arguments. */
const zone = (id: number): Uint8Array => a.attr(ovs.OVS_CT_ATTR_ZONE, u16(id).reverse());
const commit = a.attr(ovs.OVS_CT_ATTR_COMMIT);
const nat = (...attributes: Uint8Array[]): Uint8Array => a.attr(ovs.OVS_CT_ATTR_NAT, ...attributes);
const natSource = (address: string): Uint8Array =>
  nat(a.attr(ovs.OVS_NAT_ATTR_SRC), a.attr(ovs.OVS_NAT_ATTR_IP_MIN, ip4(address)));

const etherType = (bytes: Uint8Array): number => (bytes[12] << 8) | bytes[13];
/** Sets DF, and the header's checksum. */
function dontFragment(bytes: Uint8Array): void {
  bytes[20] |= 0x40;
  bytes.fill(0, 24, 26);
  let sum = 0;
  for (let at = 14; at < 34; at += 2) sum += (bytes[at] << 8) | bytes[at + 1];
  bytes.set(u16(checksum(sum)), 24);
}

const contains = (bytes: Uint8Array, text: string): boolean => Buffer.from(bytes).includes(text);

describe.skipIf(!root)("a datapath of real devices", () => {
  let lab: Lab;
  let h1: Host;
  let h2: Host;
  let dp: number;
  const captures: Capture[] = [];

  beforeAll(async () => {
    lab = await Lab.create(2);
    [h1, h2] = lab.hosts;
    await lab.start();
  });
  afterAll(async () => {
    await lab?.close();
  });
  beforeEach(() => {
    dp = lab.datapath();
  });
  afterEach(async () => {
    lab.clear();
    for (const capture of captures.splice(0)) await capture.stop();
  });

  function flow(what: Match, ...actions: Uint8Array[]): void {
    lab.ovs.putFlow(dp, { ...match(what), actions: concat(...actions) });
  }

  /** What comes in by one leaves by the other. */
  function plain(): void {
    flow({ inPort: 1 }, a.output(2));
    flow({ inPort: 2 }, a.output(1));
  }

  async function capture(host: Host): Promise<Capture> {
    const one = await host.capture();
    captures.push(one);
    return one;
  }

  /** Sends a frame into port 1; gives what leaves by port 2 of it: all frames with `mark` in them. */
  async function through(frames: Uint8Array | Uint8Array[], mark: string, count = 1): Promise<string[]> {
    const seen = await capture(h2);
    await h1.send(...(Array.isArray(frames) ? frames : [frames]));
    const found = await seen.wait((bytes) => contains(bytes, mark), count);
    return found.map(hex);
  }

  const header = (o: Parameters<typeof ethernet>[0] = {}) => ethernet({ src: h1.mac, dst: h2.mac, ...o });
  const datagram = (payload: string, o: Parameters<typeof ipv4>[0] = {}, ...tags: ReturnType<typeof vlan>[]) =>
    frame(header(), ...tags, ipv4({ src: h1.address, dst: h2.address, ...o }), udp({ src: 1000, dst: 2000 }), payload);

  /** Bytes that iperf3 got through from h1 to `to`: when the sender is done, up to 6 MB may still be in its buffers. */
  async function iperf(to: string, bytes: string): Promise<number> {
    const server = new Script(h2.namespace.start("iperf3", "-s", "-1", "--forceflush"));
    await server.line("Server listening");
    const { stdout } = await h1.execute("iperf3", "-c", to, "-n", bytes, "-J");
    await server.stop();
    const { end, error } = JSON.parse(stdout) as { end: { sum_received?: { bytes: number } }; error?: string };
    expect(error).toBeUndefined();
    return end.sum_received?.bytes ?? 0;
  }

  /** A counter of /proc/net/snmp at a host. */
  function counter(host: Host, protocol: "Tcp" | "Udp", name: string): number {
    const lines = host.namespace
      .run("cat", "/proc/net/snmp")
      .split("\n")
      .filter((line) => line.startsWith(`${protocol}:`));
    const [names, values] = lines.map((line) => line.split(" "));
    return Number(values[names.indexOf(name)]);
  }

  /** Segments that TCP threw away, and checksums that were wrong, at a host. */
  const badSegments = (host: Host): number => counter(host, "Tcp", "InErrs") + counter(host, "Tcp", "InCsumErrors");

  /** Datagrams, also those of tunnels, that were lost or whose checksum was wrong at a host. */
  const badDatagrams = (host: Host): number => counter(host, "Udp", "InErrors") + counter(host, "Udp", "InCsumErrors");

  describe("plain", () => {
    it("A-136, T-035: ARP, IPv4 and IPv6 go from device to device", async () => {
      plain();
      // Hosts speak when they like: what came before the flows has missed.
      const { missed, lost } = lab.ovs.datapath(dp).stats;
      expect(await h1.ping(h2.address)).toMatchObject({ received: 3 });
      expect(await h1.ping(h2.address6)).toMatchObject({ received: 3 });
      expect(lab.ovs.datapath(dp).stats).toMatchObject({ missed, lost });
    });

    it("A-113, A-162: one packet to the other port and back out of its own", async () => {
      flow({ inPort: 1 }, a.output(2), a.output(1));
      const back = await capture(h1);
      const packet = datagram("hairpin");
      expect(await through(packet, "hairpin")).toEqual([hex(packet)]);
      expect((await back.wait((bytes) => contains(bytes, "hairpin"))).map(hex)).toEqual([hex(packet)]);
    });

    it("A-134: a port that is not there takes nothing and stops nothing", async () => {
      flow({ inPort: 1 }, a.output(99), a.output(2));
      const packet = datagram("past-99");
      expect(await through(packet, "past-99")).toEqual([hex(packet)]);
    });

    it("T-026, T-027, T-029: flows count packets, bytes and TCP flags as received", async () => {
      flow({ inPort: 1, ethType: IPV4 }, a.output(2));
      const syn = frame(header(), ipv4({ src: h1.address, dst: h2.address }), tcp({ flags: TCP_SYN }), "counted");
      const tagged = datagram("counted");
      await through([syn, tagged], "counted", 2);
      const [found] = lab.ovs.flows(dp);
      expect(found).toMatchObject({ packets: 2, bytes: syn.length + tagged.length });
      expect(found.tcpFlags).toBe(TCP_SYN);
    });
  });

  describe("tags", () => {
    /** Ports 3 and 4: the ends of one veth, a trunk between what pushes and what pops. */
    function trunk(): void {
      lab.namespace.run("ip", "link", "add", "t3", "type", "veth", "peer", "name", "t4");
      onTestFinished(() => void lab.namespace.try("ip", "link", "del", "t3"));
      for (const [name, portNo] of [
        ["t3", 3],
        ["t4", 4],
      ] as const) {
        lab.namespace.run("ip", "link", "set", name, "up");
        lab.ovs.createVport(dp, { name, type: ovs.OVS_VPORT_TYPE_NETDEV, portNo });
      }
    }

    it.each([
      { name: "802.1Q", tags: [{ vid: 100 }] },
      { name: "802.1ad", tags: [{ vid: 100, tpid: 0x88a8 }] },
      { name: "QinQ", tags: [{ vid: 7, tpid: 0x88a8 }, { vid: 8 }] },
    ])(
      "A-142, A-170, A-171, A-172: $name tags are pushed, cross a trunk and are popped; ping and TCP",
      async ({ tags }) => {
        trunk();
        const push = concat(...[...tags].reverse().map(({ vid, tpid }) => a.pushVlan(vid, tpid)));
        const pop = concat(...tags.map(() => a.popVlan()));
        flow({ inPort: 1 }, push, a.output(3));
        flow({ inPort: 4, tags }, pop, a.output(2));
        flow({ inPort: 2 }, push, a.output(4));
        flow({ inPort: 3, tags }, pop, a.output(1));
        expect(await h1.ping(h2.address)).toMatchObject({ received: 3 });
        const full = () => h1.ping(h2.address, "-s", "1472", "-M", "do", "-W", "0.3");
        if (tags.length > 1) {
          // One tag is let pass above the MTU, two are not.
          expect(await full()).toMatchObject({ received: 0 });
          expect(lab.ovs.vport(dp, 3).stats?.txErrors).toBe(3);
          for (const name of ["t3", "t4"]) lab.namespace.run("ip", "link", "set", name, "mtu", "1504");
          await until(async () => (await full()).received === 3, "MTU 1504");
        } else expect(await full()).toMatchObject({ received: 3 });
        const bad = badSegments(h2);
        expect(await iperf(h2.address, "30M")).toBeGreaterThan(14e6);
        expect(badSegments(h2)).toBe(bad);
      },
    );

    it("A-171, A-172, T-027: on the wire, byte for byte; the flow counts the tag", async () => {
      const one = { inPort: 1, tags: [{ vid: 5 }] };
      flow(one, a.pushVlan(6, 0x88a8), a.output(2), a.popVlan(), a.popVlan(), a.output(2));
      const sent = datagram("tagged", {}, vlan({ vid: 5 }));
      expect(await through(sent, "tagged", 2)).toEqual([
        hex(datagram("tagged", {}, vlan({ vid: 6, tpid: 0x88a8 }), vlan({ vid: 5 }))),
        hex(datagram("tagged")),
      ]);
      expect(lab.ovs.flow(dp, { key: match(one).key })).toMatchObject({ packets: 1, bytes: sent.length });
    });

    it("A-175, A-177: MPLS labels are pushed and popped", async () => {
      flow({ inPort: 1, ethType: IPV4 }, a.pushMpls(0x00064140), a.output(2));
      const labelled = (payload: string) =>
        frame(header(), mpls({ label: 100, ttl: 64 }), ipv4({ src: h1.address, dst: h2.address }), udp(), payload);
      expect(await through(datagram("labelled"), "labelled")).toEqual([hex(labelled("labelled"))]);
      flow({ inPort: 1, ethType: 0x8847 }, a.attr(ovs.OVS_ACTION_ATTR_POP_MPLS, u16(IPV4)), a.output(2));
      expect(await through(labelled("unlabelled"), "unlabelled")).toEqual([hex(datagram("unlabelled"))]);
    });
  });

  describe("sizes", () => {
    it("A-140, T-105, T-112: a frame above the MTU of its port is dropped and counted; a new MTU counts at once", async () => {
      plain();
      const mtu = async (size: number): Promise<void> => {
        for (const host of [h1, h2]) host.namespace.run("ip", "link", "set", "e0", "mtu", `${size}`);
        lab.namespace.run("ip", "link", "set", h1.device, "mtu", `${size}`);
      };
      onTestFinished(async () => {
        await mtu(1500);
        lab.namespace.run("ip", "link", "set", h2.device, "mtu", "1500");
      });
      await mtu(9000);
      const before = lab.ovs.vport(dp, 2).stats?.txErrors ?? 0;
      await h1.send(datagram("x".repeat(2000)), datagram("x".repeat(1472)));
      const errors = () => (lab.ovs.vport(dp, 2).stats?.txErrors ?? 0) - before;
      await until(() => errors() === 1, "tx_errors");
      expect(await h1.ping(h2.address, "-s", "2000", "-M", "do", "-c", "1", "-W", "0.2")).toMatchObject({
        received: 0,
      });
      expect(errors()).toBe(2);
      lab.namespace.run("ip", "link", "set", h2.device, "mtu", "9000");
      await until(async () => (await h1.ping(h2.address, "-s", "8972", "-M", "do", "-c", "1")).received === 1, "jumbo");
      expect(errors()).toBe(2);
    });

    it("A-143: segments of 64 KiB go through whole, and no checksum is wrong at the receiver", async () => {
      plain();
      const bad = badSegments(h2);
      expect(await iperf(h2.address, "200M")).toBeGreaterThan(150e6);
      expect(await iperf(h2.address6, "50M")).toBeGreaterThan(35e6);
      expect(badSegments(h2)).toBe(bad);
      const { rxPackets, rxBytes } = lab.ovs.vport(dp, 1).stats ?? { rxPackets: 1, rxBytes: 0 };
      expect(rxBytes / rxPackets).toBeGreaterThan(10_000);
    });

    it("A-143: segments in a VXLAN tunnel of the hosts go through, checksums right inside and outside", async () => {
      plain();
      const [device, address] = ["vx0", "10.9.0"];
      for (const [host, other] of [
        [h1, h2],
        [h2, h1],
      ]) {
        const ends = ["local", host.address, "remote", other.address, "dstport", "4789", "udpcsum"];
        host.namespace.run("ip", "link", "add", "name", device, "type", "vxlan", "id", "5", ...ends);
        host.namespace.run("ip", "addr", "add", `${address}.${host.number}/24`, "dev", device);
        host.namespace.run("ip", "link", "set", device, "up");
      }
      const bad = badSegments(h2);
      const errors = (): number => lab.ovs.vport(dp, 2).stats?.txErrors ?? -1;
      const before = errors();
      const datagrams = badDatagrams(h2);
      expect(await iperf(`${address}.${h2.number}`, "100M")).toBeGreaterThan(75e6);
      expect(badSegments(h2)).toBe(bad);
      expect(errors()).toBe(before);
      expect(badDatagrams(h2)).toBe(datagrams);
      const { rxPackets, rxBytes } = lab.ovs.vport(dp, 1).stats ?? { rxPackets: 1, rxBytes: 0 };
      expect(rxBytes / rxPackets).toBeGreaterThan(3000);
      for (const host of [h1, h2]) host.namespace.run("ip", "link", "del", device);
    });

    it("A-143, C-059, C-397: the same through ct with source NAT; the receiver sees the translated address", async () => {
      // The translated address is answered for by a neighbour entry.
      h2.namespace.run("ip", "neigh", "replace", "10.1.1.77", "lladdr", h1.mac, "dev", "e0");
      flow({ inPort: 1, ethType: 0x0806 }, a.output(2));
      flow({ inPort: 2, ethType: 0x0806 }, a.output(1));
      flow({ inPort: 1, ethType: IPV4 }, a.ct(commit, zone(21), natSource("10.1.1.77")), a.output(2));
      flow({ inPort: 2, ethType: IPV4 }, a.ct(zone(21), nat()), a.output(1));
      const seen = await capture(h2);
      const bad = badSegments(h2) + badSegments(h1);
      const transfer = iperf(h2.address, "200M");
      await seen.wait((bytes) => etherType(bytes) === IPV4 && bytes[23] === 6, 20);
      await seen.stop();
      expect(await transfer).toBeGreaterThan(150e6);
      expect(badSegments(h2) + badSegments(h1)).toBe(bad);
      const sources = new Set(
        seen.frames.filter((f) => etherType(f) === IPV4).map((f) => f.subarray(26, 30).join(".")),
      );
      expect([...sources]).toEqual(["10.1.1.77"]);
    });

    it("a stream without offloads goes through ct with NAT, checksums right", async () => {
      const off = (state: string) => h1.namespace.run("ethtool", "-K", "e0", "tso", state, "gso", state, "tx", state);
      off("off");
      onTestFinished(() => void off("on"));
      h2.namespace.run("ip", "neigh", "replace", "10.1.1.78", "lladdr", h1.mac, "dev", "e0");
      flow({ inPort: 1, ethType: 0x0806 }, a.output(2));
      flow({ inPort: 2, ethType: 0x0806 }, a.output(1));
      flow({ inPort: 1, ethType: IPV4 }, a.ct(commit, zone(22), natSource("10.1.1.78")), a.output(2));
      flow({ inPort: 2, ethType: IPV4 }, a.ct(zone(22), nat()), a.output(1));
      const bad = badSegments(h2);
      expect(await iperf(h2.address, "20M")).toBeGreaterThan(5e6);
      expect(badSegments(h2)).toBe(bad);
    });
  });

  describe("fragments", () => {
    it.each([
      { family: "IPv4", type: IPV4, zoneId: 31, to: () => h2.address },
      { family: "IPv6", type: IPV6, zoneId: 32, to: () => h2.address6 },
    ])(
      "C-064, C-066, C-077, A-146, A-150, A-153: a ping of 4000 bytes in $family is put together by ct and cut again",
      async ({ type, zoneId, to }) => {
        for (const [from, towards] of [
          [1, 2],
          [2, 1],
        ]) {
          flow({ inPort: from, ethType: 0x0806 }, a.output(towards));
          flow({ inPort: from, ethType: type }, a.ct(commit, zone(zoneId)), a.output(towards));
        }
        const seen = await capture(h2);
        expect(await h1.ping(to(), "-s", "4000")).toMatchObject({ received: 3 });
        const sizes = (await seen.wait((f) => etherType(f) === type && f.length > 600, 9)).map((f) => f.length);
        expect(Math.max(...sizes)).toBeLessThanOrEqual(1514);
      },
    );

    it("A-151, A-158, C-068: the original cuts are kept, DF is not; the identification stays", async () => {
      flow({ inPort: 1, ethType: IPV4 }, a.ct(commit, zone(33)), a.output(2));
      const whole = frame(
        header(),
        ipv4({ src: h1.address, dst: h2.address, id: 0x1234, df: true }),
        udp(),
        "fragment".repeat(250),
      );
      const pieces = fragmentIpv4(whole, 800);
      for (const piece of pieces) dontFragment(piece);
      const found = await through(pieces, "fragment", pieces.length);
      const bytes = found.map((text) => Buffer.from(text, "hex"));
      expect(bytes.map((one) => one.length)).toEqual(pieces.map((one) => one.length));
      for (const [i, one] of bytes.entries()) {
        expect(one.readUInt16BE(18)).toBe(0x1234);
        expect(one[20] & 0x40).toBe(0);
        expect(one.subarray(34)).toEqual(Buffer.from(pieces[i].subarray(34)));
      }
    });

    it("C-061, C-069: what never becomes whole goes nowhere", async () => {
      flow({ inPort: 1, ethType: IPV4 }, a.ct(commit, zone(34)), a.output(2));
      const whole = frame(header(), ipv4({ src: h1.address, dst: h2.address, id: 9 }), udp(), "incomplete".repeat(200));
      const [first] = fragmentIpv4(whole, 800);
      const seen = await capture(h2);
      await h1.send(first, datagram("after"));
      await seen.wait((bytes) => contains(bytes, "after"));
      expect(seen.frames.filter((bytes) => contains(bytes, "incomplete"))).toEqual([]);
    });

    it("A-147: reassembled from pieces larger than the MTU of the port: dropped", async () => {
      for (const host of [h1]) host.namespace.run("ip", "link", "set", "e0", "mtu", "4000");
      lab.namespace.run("ip", "link", "set", h1.device, "mtu", "4000");
      onTestFinished(() => {
        h1.namespace.run("ip", "link", "set", "e0", "mtu", "1500");
        lab.namespace.run("ip", "link", "set", h1.device, "mtu", "1500");
      });
      flow({ inPort: 1, ethType: IPV4 }, a.ct(commit, zone(35)), a.output(2));
      const whole = frame(header(), ipv4({ src: h1.address, dst: h2.address, id: 10 }), udp(), "large".repeat(1000));
      const seen = await capture(h2);
      await h1.send(...fragmentIpv4(whole, 3000), datagram("after"));
      await seen.wait((bytes) => contains(bytes, "after"));
      expect(seen.frames.filter((bytes) => contains(bytes, "largelarge"))).toEqual([]);
    });
  });

  describe("actions on the wire", () => {
    it("A-159, A-132: trunc cuts what the next output sends, and only that", async () => {
      flow({ inPort: 1, ethType: IPV4 }, a.trunc(60), a.output(2), a.output(2));
      const packet = datagram("truncate".repeat(20));
      const found = await through(packet, "truncate", 2);
      expect(found).toEqual([hex(packet.subarray(0, 60)), hex(packet)]);
    });

    it("A-204, A-205, A-208, A-131: sample always, never, and on a copy", async () => {
      const edit = a.setEthernet(mac(h1.mac), mac("02:00:00:00:00:99"));
      flow(
        { inPort: 1, ethType: IPV4 },
        a.sample(0, a.output(2)),
        a.sample(0xffffffff, edit, a.output(2)),
        a.output(2),
      );
      const packet = datagram("sampled");
      const copy = packet.slice();
      copy.set(mac("02:00:00:00:00:99"), 0);
      expect(await through(packet, "sampled", 2)).toEqual([hex(copy), hex(packet)]);
    });

    it("A-187, A-190, A-197: set_masked writes masked bits and keeps checksums right", async () => {
      const value = concat(ip4("10.1.0.0"), ip4("0.0.0.9"), Uint8Array.of(0, 0x1c, 0, 0));
      const bits = concat(ip4("255.255.0.0"), ip4("0.0.0.255"), Uint8Array.of(0, 0x1c, 0, 0));
      flow({ inPort: 1, ethType: IPV4 }, a.setMasked(ovs.OVS_KEY_ATTR_IPV4, value, bits), a.output(2));
      expect(await through(datagram("masked", { tos: 0x03 }), "masked")).toEqual([
        hex(datagram("masked", { tos: 0x1f, dst: "10.1.1.9" })),
      ]);
    });

    it("A-215, A-216: dec_ttl counts down, and runs its list instead at 1", async () => {
      flow({ inPort: 1, ethType: IPV4 }, a.decTtl(a.pushVlan(9), a.output(2)), a.output(2));
      expect(await through(datagram("ttl-many", { ttl: 9 }), "ttl-many")).toEqual([
        hex(datagram("ttl-many", { ttl: 8 })),
      ]);
      expect(await through(datagram("ttl-one", { ttl: 1 }), "ttl-one")).toEqual([
        hex(datagram("ttl-one", { ttl: 1 }, vlan({ vid: 9 }))),
      ]);
    });

    it("A-211, A-213: check_pkt_len takes the branch of the packet's length", async () => {
      const branch = (vid: number) => concat(a.pushVlan(vid), a.output(2));
      flow({ inPort: 1, ethType: IPV4 }, a.checkPktLen(100, branch(1), branch(2)));
      const just = datagram("y".repeat(58));
      expect(just.length).toBe(100);
      expect(await through(just, "yyyy")).toEqual([hex(datagram("y".repeat(58), {}, vlan({ vid: 2 })))]);
      expect(await through(datagram("z".repeat(59)), "zzzz")).toEqual([
        hex(datagram("z".repeat(59), {}, vlan({ vid: 1 }))),
      ]);
    });

    it("A-119, A-120, T-030: recirculation finds the next flow", async () => {
      flow({ inPort: 1, ethType: IPV4 }, a.recirc(5));
      flow({ inPort: 1, recircId: 5, ethType: IPV4 }, a.pushVlan(3), a.output(2));
      expect(await through(datagram("again"), "again")).toEqual([hex(datagram("again", {}, vlan({ vid: 3 })))]);
      const counts = [...lab.ovs.flows(dp)].map((one) => one.packets);
      expect(counts).toEqual([1, 1]);
      expect(lab.ovs.datapath(dp).stats.hit).toBe(2);
    });

    it("A-192: IPv6 addresses and hop limit, ICMPv6 checksum", async () => {
      const to = (dst: string, hopLimit: number) =>
        frame(header(), ipv6({ src: h1.address6, dst, hopLimit }), udp(), "six-six");
      const bytes = new Uint8Array(40);
      const bits = new Uint8Array(40);
      bytes.set([0x99], 31);
      bits.set([0xff], 31);
      bytes[38] = 7;
      bits[38] = 0xff;
      flow({ inPort: 1, ethType: IPV6 }, a.setMasked(ovs.OVS_KEY_ATTR_IPV6, bytes, bits), a.output(2));
      expect(await through(to("fd00::2", 64), "six-six")).toEqual([hex(to("fd00::99", 7))]);
    });

    it("C-058, C-060: a wrong checksum is invalid to ct, and the packet passes as it is", async () => {
      flow({ inPort: 1, ethType: IPV4 }, a.ct(commit, zone(41)), a.recirc(6));
      flow({ inPort: 1, recircId: 6, ethType: IPV4, ctState: [0x30, 0x30] }, a.pushVlan(66), a.output(2));
      flow({ inPort: 1, recircId: 6, ethType: IPV4, ctState: [0x21, 0x31] }, a.pushVlan(1), a.output(2));
      const ping = (checksum?: number) =>
        [header(), ipv4({ src: h1.address, dst: h2.address }), icmp({ checksum }), "checksum"] as const;
      const tagged = (vid: number, checksum?: number) => {
        const [first, ...rest] = ping(checksum);
        return hex(frame(first, vlan({ vid }), ...rest));
      };
      expect(await through(frame(...ping(0xbad)), "checksum")).toEqual([tagged(66, 0xbad)]);
      expect(await through(frame(...ping()), "checksum")).toEqual([tagged(1)]);
    });
  });

  describe("devices without Ethernet", () => {
    /** A TUN device as port 20: what is sent to it is printed, and each signal sends `packet` from it. */
    async function tun(packet: Uint8Array): Promise<Script> {
      const script = new Script(lab.namespace.start("/usr/bin/python3", "-u", "-c", TUN, hex(packet)));
      onTestFinished(() => script.stop());
      await script.line("ready");
      lab.namespace.run("ip", "link", "set", "tun0", "up");
      lab.ovs.createVport(dp, { name: "tun0", type: ovs.OVS_VPORT_TYPE_NETDEV, portNo: 20 });
      return script;
    }
    const packet = (payload: string): Uint8Array => datagram(payload).subarray(14);
    const fromTun = (ethType: number): { key: Uint8Array; mask: Uint8Array } => {
      const ones = Uint8Array.of(0xff, 0xff, 0xff, 0xff);
      const recirc = [a.attr(ovs.OVS_KEY_ATTR_RECIRC_ID, a.le32(0)), a.attr(ovs.OVS_KEY_ATTR_RECIRC_ID, ones)];
      const port = [a.attr(ovs.OVS_KEY_ATTR_IN_PORT, a.le32(20)), a.attr(ovs.OVS_KEY_ATTR_IN_PORT, ones)];
      const type = [a.attr(ovs.OVS_KEY_ATTR_ETHERTYPE, u16(ethType)), a.attr(ovs.OVS_KEY_ATTR_ETHERTYPE, u16(0xffff))];
      const ip = [a.attr(ovs.OVS_KEY_ATTR_IPV4, new Uint8Array(12)), a.attr(ovs.OVS_KEY_ATTR_IPV4, new Uint8Array(12))];
      return { key: concat(recirc[0], port[0], type[0], ip[0]), mask: concat(recirc[1], port[1], type[1], ip[1]) };
    };

    it("A-139, A-182: pop_eth, then output to a TUN device: the packet without its header", async () => {
      const script = await tun(packet("unused"));
      flow({ inPort: 1, ethType: IPV4 }, a.attr(ovs.OVS_ACTION_ATTR_POP_ETH), a.output(20));
      await h1.send(datagram("layer-3"));
      await script.line(hex(packet("layer-3")));
    });

    it("A-138: a frame with its Ethernet header is sent to it whole, as protocol 0x6558", async () => {
      const script = await tun(packet("unused"));
      const taps = new Script(lab.namespace.start("/usr/bin/python3", "-u", "-c", TAP_OF_TUN));
      onTestFinished(() => taps.stop());
      await taps.line("ready");
      flow({ inPort: 1, ethType: IPV4 }, a.output(20));
      await h1.send(datagram("layer-2"));
      await script.line(hex(datagram("layer-2")));
      await taps.line(`6558 ${hex(datagram("layer-2"))}`);
    });

    it("A-137, A-181: what comes from it has no Ethernet header: dropped at an Ethernet port unless one is pushed", async () => {
      const script = await tun(packet("from-tun"));
      const pushEth = a.attr(ovs.OVS_ACTION_ATTR_PUSH_ETH, mac(h1.mac), mac(h2.mac));
      // PUSH_ETH carries source, then destination.
      lab.ovs.putFlow(dp, { ...fromTun(IPV4), actions: concat(a.output(2), pushEth, a.output(2)) });
      const seen = await capture(h2);
      await until(() => {
        script.child.kill("SIGUSR1");
        return seen.frames.some((bytes) => contains(bytes, "from-tun"));
      }, "from-tun");
      const found = seen.frames.filter((bytes) => contains(bytes, "from-tun")).map(hex);
      expect(new Set(found)).toEqual(new Set([hex(datagram("from-tun"))]));
      const [{ packets }] = lab.ovs.flows(dp);
      expect(packets).toBeGreaterThanOrEqual(found.length);
    });
  });

  describe("internal ports", () => {
    it("T-083, T-084, T-087, T-104: a host's address on an internal port; ping and TCP with offloads", async () => {
      const S = lab.namespace;
      const { ifindex } = lab.ovs.createVport(dp, { name: "int0", type: ovs.OVS_VPORT_TYPE_INTERNAL, portNo: 10 });
      expect(ifindex).toBeGreaterThan(0);
      S.run("ip", "addr", "add", "10.1.1.10/24", "dev", "int0");
      S.run("ip", "link", "set", "int0", "up");
      flow({ inPort: 10 }, a.output(2));
      flow({ inPort: 2 }, a.output(10));
      expect(await h2.ping("10.1.1.10")).toMatchObject({ received: 3 });
      const server = new Script(h2.namespace.start("iperf3", "-s", "-1", "--forceflush"));
      await server.line("Server listening");
      const bad = badSegments(h2);
      const run = await S.execute("iperf3", "-c", h2.address, "-n", "50M", "-J");
      await server.stop();
      expect(JSON.parse(run.stdout).end.sum_received.bytes, run.stdout).toBeGreaterThan(35e6);
      expect(badSegments(h2)).toBe(bad);
      const stats = lab.ovs.vport(dp, 10).stats;
      expect(stats?.txBytes).toBeGreaterThan(35e6);
      expect(stats?.rxPackets).toBeGreaterThan(10);
      lab.ovs.deleteVport(dp, 10);
      expect(S.try("ip", "link", "show", "int0").status).not.toBe(0);
    });

    it("T-081, T-085: down at first; what is sent to it then is dropped", async () => {
      lab.ovs.createVport(dp, { name: "int1", type: ovs.OVS_VPORT_TYPE_INTERNAL, portNo: 11 });
      expect(lab.namespace.run("ip", "link", "show", "int1")).toContain("state DOWN");
      flow({ inPort: 1 }, a.output(11), a.output(2));
      const packet = datagram("to-nobody");
      expect(await through(packet, "to-nobody")).toEqual([hex(packet)]);
      expect(lab.ovs.vport(dp, 11).stats).toMatchObject({ rxPackets: 0 });
    });

    it("T-089, F-189: moved to another namespace it stays attached; that namespace gets an id when it is asked for", async () => {
      const N = await Namespace.create();
      onTestFinished(() => N.close());
      lab.ovs.createVport(dp, { name: "int2", type: ovs.OVS_VPORT_TYPE_INTERNAL, portNo: 12 });
      const ids = () =>
        lab.namespace
          .run("ip", "netns", "list-id")
          .match(/(?<=nsid )\d+/g)
          ?.map(Number) ?? [];
      const before = ids();
      lab.namespace.run("ip", "link", "set", "int2", "netns", `${N.pid}`);
      N.run("ip", "addr", "add", "10.1.1.12/24", "dev", "int2");
      N.run("ip", "link", "set", "int2", "up");
      flow({ inPort: 12 }, a.output(2));
      flow({ inPort: 2 }, a.output(12));
      await until(async () => (await h2.ping("10.1.1.12", "-c", "1", "-W", "0.3")).received === 1, "ping");
      const { netnsId } = lab.ovs.vport(dp, 12);
      expect(before).not.toContain(netnsId);
      expect(ids()).toContain(netnsId);
    });
  });
});

const TUN = `
import fcntl, os, signal, struct, sys
fd = os.open("/dev/net/tun", os.O_RDWR)
fcntl.ioctl(fd, 0x400454ca, struct.pack("16sH", b"tun0", 0x1001))
packet = bytes.fromhex(sys.argv[1])
signal.signal(signal.SIGUSR1, lambda *_: os.write(fd, packet))
print("ready")
while True:
    print(os.read(fd, 65536).hex())
`;

/** Prints protocol and bytes of what is sent to tun0. */
const TAP_OF_TUN = `
import socket
s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
s.bind(("tun0", 3))
print("ready")
while True:
    data, (_, protocol, kind, *_) = s.recvfrom(65536)
    if kind == 4: print("%04x %s" % (protocol, data.hex()))
`;
