import { execFileSync, spawnSync } from "node:child_process";
import { afterAll, afterEach, beforeAll, describe, expect, it, onTestFinished } from "vitest";
import type { Errno } from "../../src/core/errors.ts";
import { Namespace } from "../../src/lab/namespace.ts";
import { native } from "../../src/native/addon.ts";
import { Csum, Gso, Packet } from "../../src/packet/packet.ts";
import type { NativePort } from "../../src/port/native/port.ts";
import { NativePorts } from "../../src/port/native/ports.ts";
import type { Port } from "../../src/port/port.ts";
import { EBUSY, EEXIST, EINVAL, ENODEV } from "../../src/uapi/errno.ts";
import { forkScript, message } from "../support/child.ts";
import { forEveryUser, typescriptForEveryUser } from "../support/tree.ts";
import { wakeUps } from "../support/wake-ups.ts";

interface NetnsAddon {
  withNetns<T>(path: string, callback: () => T): T;
}

/** What the host of a device says of it, `ip -details -json link`. */
interface IpLink {
  ifindex: number;
  ifname: string;
  address: string;
  mtu: number;
  flags: string[];
  promiscuity: number;
  txqlen: number;
  stats64: { rx: { packets: number; bytes: number }; tx: { packets: number; bytes: number } };
}

/** A frame as it arrived, positions from its first byte. */
interface Seen {
  bytes: Uint8Array;
  csum: number;
  start: number;
  csumOffset: number;
  gsoType: number;
  gsoSize: number;
  vlanTci: number;
  vlanTpid: number;
}

const root = process.getuid?.() === 0;

/** Turns of the event loop that timers of the test runner may take while nothing comes in; a spinning loop takes thousands. */
const QUIET = 60;

/** A switch namespace with two veths sA and sB whose other ends, both named e0, are 10.9.1.1 in A and 10.9.1.2 in B. */
describe.skipIf(!root)("ports on real devices", () => {
  let S: Namespace;
  let A: Namespace;
  let B: Namespace;
  const opened: NativePorts[] = [];

  beforeAll(async () => {
    [S, A, B] = await Promise.all([Namespace.create(), Namespace.create(), Namespace.create()]);
    S.run("sysctl", "-qw", "net.ipv6.conf.all.disable_ipv6=1", "net.ipv6.conf.default.disable_ipv6=1");
  });
  afterAll(async () => {
    await Promise.all([S?.close(), A?.close(), B?.close()]);
  });
  afterEach(() => {
    for (const ports of opened.splice(0)) ports.close();
    for (const name of ["sA", "sB", "tA"]) S.try("ip", "link", "del", name);
  });

  /** Both veths anew: what a test did to them goes with them. */
  function wire(): void {
    for (const [side, namespace, address] of [
      ["A", A, "10.9.1.1/24"],
      ["B", B, "10.9.1.2/24"],
    ] as const) {
      S.run("ip", "link", "add", `s${side}`, "type", "veth", "peer", "name", "e0", "netns", String(namespace.pid));
      S.run("ip", "link", "set", `s${side}`, "up");
      namespace.run("sysctl", "-qw", "net.ipv6.conf.e0.disable_ipv6=1");
      namespace.run("ip", "addr", "add", address, "dev", "e0");
      namespace.run("ip", "link", "set", "e0", "up");
    }
  }

  function inSwitch<T>(callback: () => T): T {
    return native<NetnsAddon>().withNetns(S.path, callback);
  }

  function makePorts(): NativePorts {
    const ports = inSwitch(() => new NativePorts(256 << 20));
    opened.push(ports);
    return ports;
  }

  /** Ports sA and sB; what comes in by one leaves by the other. */
  function forward(see?: (packet: Packet, port: Port) => void): {
    ports: NativePorts;
    a: NativePort;
    b: NativePort;
    gone: Port[];
  } {
    const ports = makePorts();
    const a = ports.openNetdev("sA");
    const b = ports.openNetdev("sB");
    const gone: Port[] = [];
    ports.start(
      (packet, port) => {
        see?.(packet, port);
        (port === a ? b : a).send(packet);
      },
      () => ports.memory.resetScratch(),
      {
        onGone(port) {
          gone.push(port);
          port.close();
        },
      },
    );
    return { ports, a, b, gone };
  }

  function link(namespace: Namespace, name: string): IpLink {
    return JSON.parse(namespace.run("ip", "-details", "-json", "-s", "link", "show", name))[0] as IpLink;
  }

  async function ping(...options: string[]): Promise<number | null> {
    const result = await A.execute("ping", "-q", "-c", "3", "-i", "0.05", "-W", "1", ...options);
    return result.status;
  }

  async function until(condition: () => boolean): Promise<void> {
    const end = Date.now() + 5000;
    while (!condition()) {
      if (Date.now() > end) throw new Error(`timed out waiting for ${condition}`);
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
  }

  function errno(call: () => unknown): number {
    try {
      call();
    } catch (error) {
      return (error as Errno).errno;
    }
    return 0;
  }

  describe("attaching", () => {
    it("F-155, F-156, F-157, F-158: what cannot be a netdev port is refused with the module's errno", () => {
      wire();
      const ports = makePorts();
      S.run("ip", "link", "set", "lo", "up");
      S.run("ip", "link", "property", "add", "dev", "sA", "altname", "other-name-of-sA");
      S.run("ip", "link", "add", "br0", "type", "bridge");
      S.run("ip", "link", "set", "sB", "master", "br0");
      onTestFinished(() => void S.try("ip", "link", "del", "br0"));
      ports.createInternal("in0", 0);
      expect(errno(() => ports.openNetdev("nothere"))).toBe(ENODEV);
      expect(errno(() => ports.openNetdev(""))).toBe(ENODEV);
      expect(errno(() => ports.openNetdev("x".repeat(64)))).toBe(ENODEV);
      expect(errno(() => ports.openNetdev("other-name-of-sA"))).toBe(ENODEV);
      expect(errno(() => ports.openNetdev("lo"))).toBe(EINVAL);
      expect(errno(() => ports.openNetdev("in0"))).toBe(EINVAL);
      expect(errno(() => ports.openNetdev("sB"))).toBe(EBUSY);
      expect(errno(() => ports.openNetdev("sA"))).toBe(0);
    });

    it("F-156: an alternative name is taken where it is to be, and the port has the device's own", () => {
      wire();
      const ports = makePorts();
      S.run("ip", "link", "property", "add", "dev", "sA", "altname", "uplink");
      expect(errno(() => ports.openNetdev("uplink"))).toBe(ENODEV);
      expect(ports.openNetdev("uplink", true).name).toBe("sA");
    });

    it("F-158: a device has one owner, in this process and among all", () => {
      wire();
      const first = makePorts();
      const port = first.openNetdev("sA");
      expect(errno(() => first.openNetdev("sA"))).toBe(EBUSY);
      const second = makePorts();
      expect(errno(() => second.openNetdev("sA"))).toBe(EBUSY);
      port.close();
      expect(errno(() => second.openNetdev("sA"))).toBe(0);
    });

    it("300 devices in one arena, and frames pass through the last two", async () => {
      const crowd = await Namespace.create();
      onTestFinished(() => crowd.close());
      const links = Array.from({ length: 150 }, (_, i) => `link add v${i} type veth peer name w${i}`);
      execFileSync("nsenter", [`--net=${crowd.path}`, "ip", "-batch", "-"], { input: links.join("\n") });
      const ports = native<NetnsAddon>().withNetns(crowd.path, () => new NativePorts());
      opened.push(ports);
      crowd.run("sysctl", "-qw", "net.ipv6.conf.all.disable_ipv6=1");
      const all = Array.from({ length: 150 }, (_, i) => ["v", "w"].map((end) => ports.openNetdev(`${end}${i}`)));
      const [first, last] = all[149];
      for (const { name } of [first, last]) crowd.run("ip", "link", "set", name, "up");
      let received = 0;
      ports.start(
        (_packet, port) => {
          if (port === last) received++;
        },
        () => ports.memory.resetScratch(),
      );
      // More than a ring has slots: they are used in turn.
      const packet = new Packet(ports.memory);
      for (let sent = 0; sent < 1000; sent += 100) {
        const base = ports.memory.scratch(1200);
        packet.reset(base + 128, 1000, base, base + 1200);
        for (let i = 0; i < 100; i++) first.send(packet);
        ports.flush();
        await until(() => received === sent + 100);
      }
    });

    it("T-074, T-075: promiscuity goes up and comes back, and the device is left as it was", () => {
      wire();
      const ports = makePorts();
      const port = ports.openNetdev("sA");
      expect(link(S, "sA").promiscuity).toBe(1);
      port.close();
      expect(link(S, "sA").promiscuity).toBe(0);
      expect(S.run("ip", "link", "show", "sA")).toContain("UP");
    });

    it("T-074: the host's stack neither sees nor answers what the port takes", async () => {
      wire();
      S.run("ip", "addr", "add", "10.9.1.9/24", "dev", "sA");
      expect(await ping("10.9.1.9")).toBe(0);
      A.run("ip", "neigh", "flush", "dev", "e0");
      const ports = makePorts();
      const port = ports.openNetdev("sA");
      let arp = 0;
      ports.start(
        () => arp++,
        () => {},
      );
      expect(await ping("10.9.1.9")).toBe(1);
      expect(arp).toBeGreaterThan(0);
      port.close();
      A.run("ip", "neigh", "flush", "dev", "e0");
      expect(await ping("10.9.1.9")).toBe(0);
    });

    it("kill -9 of the owner leaves nothing behind", async () => {
      wire();
      S.run("ip", "addr", "add", "10.9.1.9/24", "dev", "sA");
      const before = S.run("nft", "list", "ruleset");
      const child = inSwitch(() => forkScript("port-owner.ts", ["sA", "sB"]));
      await message(child);
      expect(await ping("10.9.1.2")).toBe(0);
      expect(await ping("10.9.1.9")).toBe(1);
      const ended = new Promise((resolve) => child.once("exit", resolve));
      child.kill("SIGKILL");
      await ended;
      A.run("ip", "neigh", "flush", "dev", "e0");
      expect(await ping("10.9.1.9")).toBe(0);
      expect(link(S, "sA").promiscuity).toBe(0);
      expect(S.run("tc", "qdisc", "show", "dev", "sA")).not.toContain("clsact");
      expect(S.run("nft", "list", "ruleset")).toBe(before);
      expect(S.try("ip", "link", "show", "nkpi0").status).not.toBe(0);
      expect(errno(() => makePorts().openNetdev("sA"))).toBe(0);
    });
  });

  it("without root, in a user namespace: owns by nftables, follows a rename, has internal ports, leaves nothing", (context) => {
    const prefix = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "unshare", "-Urn"];
    const [command, ...args] = prefix;
    if (spawnSync(command, [...args, "true"]).status !== 0) context.skip("no user namespaces here");
    const script = forEveryUser(new URL("../support/port-unprivileged.ts", import.meta.url).pathname);
    const program = [process.execPath, ...typescriptForEveryUser(), script];
    const { stdout, stderr } = spawnSync(command, [...args, ...program], { encoding: "utf8", timeout: 30_000 });
    expect(stderr).toBe("");
    expect(JSON.parse(stdout)).toEqual({
      received: true,
      forwarded: true,
      ifindex: 4711,
      down: true,
      running: true,
      dropsU0: true,
      dropsU9: true,
      left: "",
    });
  });

  describe("forwarding", () => {
    it("T-115: ping and a TCP stream of 64 KiB segments go through whole", async () => {
      wire();
      let segments = 0;
      let largest = 0;
      let partial = 0;
      const { a, b } = forward((packet) => {
        if (packet.gsoType !== Gso.NONE) segments++;
        if (packet.csum === Csum.PARTIAL) partial++;
        largest = Math.max(largest, packet.len);
      });
      expect(await ping("10.9.1.2")).toBe(0);
      const server = B.start("iperf3", "-s", "-1", "--forceflush");
      await new Promise((resolve) => server.stdout?.once("data", resolve));
      const run = await A.execute("iperf3", "-c", "10.9.1.2", "-n", "200M", "-J");
      const report = JSON.parse(run.stdout).end;
      expect(report.sum_received.bytes).toBeGreaterThan(150e6);
      expect(largest).toBeGreaterThan(60_000);
      expect(segments).toBeGreaterThan(1000);
      expect(partial).toBeGreaterThanOrEqual(segments);
      expect(a.stats().rxBytes).toBeGreaterThan(150e6);
      expect(b.stats().txErrors).toBe(0);
    });

    it("a stream without offloads, and one cut to small segments, arrive too", async () => {
      wire();
      A.run("ethtool", "-K", "e0", "tso", "off", "gso", "off", "tx", "off");
      let partial = 0;
      forward((packet, port) => {
        if (packet.csum === Csum.PARTIAL && port.name === "sA") partial++;
      });
      const server = B.start("iperf3", "-s", "-1", "--forceflush");
      await new Promise((resolve) => server.stdout?.once("data", resolve));
      const run = await A.execute("iperf3", "-c", "10.9.1.2", "-n", "20M", "-J");
      expect(JSON.parse(run.stdout).end.sum_received.bytes).toBeGreaterThan(5e6);
      expect(partial).toBe(0);
    });

    /** Ports on the far ends of both veths, with what arrives at B. */
    function farEnds(): { fromA: NativePort; portsA: NativePorts; seen: Seen[] } {
      const portsA = native<NetnsAddon>().withNetns(A.path, () => new NativePorts(256 << 20));
      const portsB = native<NetnsAddon>().withNetns(B.path, () => new NativePorts(256 << 20));
      opened.push(portsA, portsB);
      const seen: Seen[] = [];
      portsA.start(
        () => {},
        () => {},
      );
      const atB = portsB.openNetdev("e0");
      portsB.start(
        (packet) => {
          const { off, len, csum, csumStart, csumOffset, gsoType, gsoSize, vlanTci, vlanTpid } = packet;
          const start = csum === Csum.PARTIAL ? csumStart - off : 0;
          const bytes = portsB.memory.bytes.slice(off, off + len);
          seen.push({ bytes, csum, start, csumOffset, gsoType, gsoSize, vlanTci, vlanTpid });
        },
        () => {},
      );
      expect(atB.running).toBe(true);
      return { fromA: portsA.openNetdev("e0"), portsA, seen };
    }

    /** An Ethernet, IPv4 and TCP frame; the TCP checksum field holds the pseudo-header's sum. */
    function tcpFrame(payload: number): Uint8Array {
      const frame = new Uint8Array(54 + payload).fill(0x5a, 54);
      const view = new DataView(frame.buffer);
      frame.set([
        2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 8, 0, 0x45, 0, 0, 0, 0, 1, 0x40, 0, 64, 6, 0, 0, 10, 9, 9, 1, 10, 9, 9, 2,
      ]);
      view.setUint16(16, 40 + payload);
      view.setUint16(34, 1000);
      view.setUint16(36, 2000);
      frame[46] = 0x50;
      frame[47] = 0x10;
      view.setUint16(48, 512);
      let sum = 0;
      for (let i = 14; i < 34; i += 2) sum += view.getUint16(i);
      view.setUint16(24, ~((sum & 0xffff) + (sum >> 16)));
      sum = 6 + 20 + payload;
      for (let i = 26; i < 34; i += 2) sum += view.getUint16(i);
      while (sum > 0xffff) sum = (sum & 0xffff) + (sum >> 16);
      view.setUint16(50, sum);
      return frame;
    }

    it.each([
      { name: "802.1Q", tpid: 0x8100, tci: 0x6007, payload: 40, gso: false },
      { name: "802.1Q, as long as the MTU allows", tpid: 0x8100, tci: 7, payload: 1460, gso: false },
      { name: "802.1Q, segments", tpid: 0x8100, tci: 7, payload: 60_000, gso: true },
      { name: "802.1ad", tpid: 0x88a8, tci: 0xe123, payload: 40, gso: false },
      { name: "802.1ad, as long as the MTU allows", tpid: 0x88a8, tci: 7, payload: 1460, gso: false },
      { name: "802.1ad, segments", tpid: 0x88a8, tci: 7, payload: 30_000, gso: true },
      { name: "none", tpid: 0, tci: 0, payload: 1460, gso: false },
      { name: "none, segments", tpid: 0, tci: 0, payload: 64_000, gso: true },
    ])(
      "the VLAN tag ($name), checksum and GSO state cross two veths unchanged",
      async ({ tpid, tci, payload, gso }) => {
        wire();
        forward();
        const { fromA, portsA, seen } = farEnds();
        const frame = tcpFrame(payload);
        const packet = new Packet(portsA.memory);
        const off = portsA.memory.alloc(payload > 2000 ? 69_000 : 2000) + 128;
        portsA.memory.bytes.set(frame, off);
        packet.reset(off, frame.length, off - 128, off + frame.length);
        packet.csum = Csum.PARTIAL;
        packet.csumStart = off + 34;
        packet.csumOffset = 16;
        packet.vlanTpid = tpid;
        packet.vlanTci = tci;
        if (gso) {
          packet.gsoType = Gso.TCPV4;
          packet.gsoSize = 1400;
        }
        fromA.send(packet);
        portsA.flush();
        const mine = () => seen.filter((s) => s.bytes.length === frame.length);
        await until(() => mine().length > 0);
        expect(mine()).toEqual([
          {
            bytes: frame,
            csum: Csum.PARTIAL,
            start: 34,
            csumOffset: 16,
            gsoType: gso ? Gso.TCPV4 : Gso.NONE,
            gsoSize: gso ? 1400 : 0,
            vlanTci: tci,
            vlanTpid: tpid,
          },
        ]);
      },
    );

    it("T-112: frames of a jumbo MTU come whole, and the MTU follows the device", async () => {
      wire();
      const { a, b } = forward();
      expect(a.mtu).toBe(1500);
      for (const [namespace, name] of [
        [S, "sA"],
        [S, "sB"],
        [A, "e0"],
        [B, "e0"],
      ] as const) {
        namespace.run("ip", "link", "set", name, "mtu", "9000");
      }
      await until(() => a.mtu === 9000 && b.mtu === 9000);
      expect(await ping("-M", "do", "-s", "8972", "10.9.1.2")).toBe(0);
      for (const size of ["1800", "1900", "2000", "3000"]) {
        expect(await ping("-c", "1", "-M", "do", "-s", size, "10.9.1.2")).toBe(0);
      }
    });

    it("edits in place: bytes pushed before the frame and cut off its end are what is sent", async () => {
      wire();
      const ports = makePorts();
      const a = ports.openNetdev("sA");
      const b = ports.openNetdev("sB");
      const { fromA, portsA, seen } = farEnds();
      let headroom = 0;
      ports.start(
        (packet, port) => {
          if (port !== a || packet.len !== 154) return;
          const { bytes } = ports.memory;
          headroom = packet.off - packet.head;
          packet.off -= 128;
          packet.len += 127;
          bytes.fill(0xee, packet.off, packet.off + 128);
          b.send(packet);
        },
        () => ports.memory.resetScratch(),
      );
      const frame = tcpFrame(100);
      const packet = new Packet(portsA.memory);
      const off = portsA.memory.alloc(2000) + 128;
      portsA.memory.bytes.set(frame, off);
      packet.reset(off, frame.length, off - 128, off + frame.length);
      fromA.send(packet);
      portsA.flush();
      await until(() => seen.some((s) => s.bytes.length === 281));
      const { bytes } = seen.find((s) => s.bytes.length === 281)!;
      expect(bytes.subarray(0, 128)).toEqual(new Uint8Array(128).fill(0xee));
      expect(bytes.subarray(128)).toEqual(frame.subarray(0, 153));
      expect(headroom).toBeGreaterThanOrEqual(128);
    });

    it("one frame sent to a port twice and to both ports arrives as often", async () => {
      wire();
      const ports = makePorts();
      const a = ports.openNetdev("sA");
      const b = ports.openNetdev("sB");
      ports.start(
        (packet, port) => {
          if (port !== a) return;
          b.send(packet);
          b.send(packet);
          a.send(packet);
        },
        () => {},
      );
      const before = [link(A, "e0"), link(B, "e0")];
      A.run("sysctl", "-qw", "net.ipv4.conf.e0.arp_accept=0");
      await A.execute("arping", "-c", "1", "-w", "1", "-I", "e0", "10.9.1.77").catch(() => {});
      await A.execute("ping", "-c", "1", "-W", "1", "-b", "10.9.1.255");
      const after = [link(A, "e0"), link(B, "e0")];
      const back = after[0].stats64.rx.packets - before[0].stats64.rx.packets;
      const over = after[1].stats64.rx.packets - before[1].stats64.rx.packets;
      expect(back).toBeGreaterThan(0);
      expect(over).toBe(2 * back);
    });

    it("T-078: a queueing discipline of the user holds for what a port sends", async () => {
      wire();
      S.run("tc", "qdisc", "add", "dev", "sB", "root", "tbf", "rate", "400kbit", "burst", "3000", "latency", "5s");
      forward();
      // 10 frames of 1042 bytes; what exceeds the burst waits for its turn, 21 ms a frame.
      const result = await A.execute("ping", "-q", "-c", "10", "-i", "0.002", "-s", "1000", "-W", "2", "10.9.1.2");
      expect(result.status).toBe(0);
      expect(Number(/= [\d.]+\/[\d.]+\/([\d.]+)/.exec(result.stdout)?.[1])).toBeGreaterThan(30);
      const sent = /Sent (\d+) bytes/.exec(S.run("tc", "-s", "qdisc", "show", "dev", "sB"))?.[1];
      expect(Number(sent)).toBeGreaterThan(5000);
    });

    it("takes no processor time while nothing comes", async () => {
      wire();
      forward();
      expect(await ping("10.9.1.2")).toBe(0);
      expect(await wakeUps(100)).toBeLessThan(QUIET);
    });

    it("dozens of ports fit", async () => {
      const ports = makePorts();
      onTestFinished(() => {
        for (let i = 0; i < 40; i++) S.try("ip", "link", "del", `d${i}`);
      });
      const commands: string[] = [];
      for (let i = 0; i < 40; i++) commands.push(`link add d${i} type veth peer name p${i}`);
      execFileSync("nsenter", [`--net=${S.path}`, "--", "ip", "-batch", "-"], { input: commands.join("\n") });
      for (let i = 0; i < 40; i++) ports.openNetdev(`d${i}`);
      for (let i = 0; i < 40; i++) expect(errno(() => ports.openNetdev(`d${i}`))).toBe(EBUSY);
    });
  });

  describe("changes of a device", () => {
    it("T-110: a rename is followed, and frames still flow", async () => {
      wire();
      const { a } = forward();
      S.run("ip", "link", "set", "sA", "down");
      S.run("ip", "link", "set", "sA", "name", "tA");
      S.run("ip", "link", "set", "tA", "up");
      await until(() => a.name === "tA" && a.running);
      expect(await ping("10.9.1.2")).toBe(0);
    });

    it("T-113: down, and no carrier, is not running; up again works again", async () => {
      wire();
      const { a } = forward();
      expect(a.running).toBe(true);
      S.run("ip", "link", "set", "sA", "down");
      await until(() => !a.running);
      S.run("ip", "link", "set", "sA", "up");
      await until(() => a.running);
      A.run("ip", "link", "set", "e0", "down");
      await until(() => !a.running);
      A.run("ip", "link", "set", "e0", "up");
      await until(() => a.running);
      expect(await ping("10.9.1.2")).toBe(0);
    });

    it("a device that is down when it is attached works once it is up", async () => {
      wire();
      S.run("ip", "link", "set", "sA", "down");
      const { a } = forward();
      expect(a.running).toBe(false);
      expect(await wakeUps(100)).toBeLessThan(QUIET);
      S.run("ip", "link", "set", "sA", "up");
      await until(() => a.running);
      expect(await ping("10.9.1.2")).toBe(0);
    });

    it("T-109: a deleted device is reported once and its port closes", async () => {
      wire();
      const { ports, a, b, gone } = forward();
      S.run("ip", "link", "del", "sA");
      await until(() => gone.length > 0);
      expect(gone.map((port) => port.name)).toEqual([a.name]);
      expect(a.running).toBe(false);
      expect(a.stats().rxErrors).toBe(0);
      expect(a.handle).toBe(-1);
      expect(b.running).toBe(true);
      // The other is a port still: what it sends arrives.
      const before = link(B, "e0").stats64.rx.packets;
      const packet = new Packet(ports.memory);
      const off = ports.memory.alloc(2000) + 128;
      ports.memory.bytes.fill(0xff, off, off + 60);
      packet.reset(off, 60, off - 128, off + 60);
      b.send(packet);
      ports.flush();
      await until(() => link(B, "e0").stats64.rx.packets > before);
      expect(await wakeUps(100)).toBeLessThan(QUIET);
    });

    it("T-092: a device moved to another namespace is let go of and works there", async () => {
      wire();
      const { a, gone } = forward();
      const C = await Namespace.create();
      onTestFinished(() => C.close());
      S.run("ip", "link", "set", "sA", "netns", String(C.pid));
      await until(() => gone.length > 0);
      expect(gone.map((port) => port.name)).toEqual([a.name]);
      expect(link(C, "sA").promiscuity).toBe(0);
      C.run("ip", "addr", "add", "10.9.1.9/24", "dev", "sA");
      C.run("ip", "link", "set", "sA", "up");
      expect(await ping("10.9.1.9")).toBe(0);
    });
  });

  describe("internal ports", () => {
    it("T-079, T-081: a new device is Ethernet with a random MAC, MTU 1500, down, with carrier", () => {
      const ports = makePorts();
      const port = ports.createInternal("in0", 0);
      const device = link(S, "in0");
      expect(device.mtu).toBe(1500);
      expect(device.txqlen).toBe(1000);
      expect(device.flags).not.toContain("UP");
      expect(Number.parseInt(device.address.slice(0, 2), 16) & 3).toBe(2);
      expect(port).toMatchObject({ kind: "internal", name: "in0", ifindex: device.ifindex, mtu: 1500, running: false });
      expect(link(S, "in0").address).not.toBe("00:00:00:00:00:00");
      S.run("ip", "link", "set", "in0", "up");
      expect(link(S, "in0").flags).toContain("LOWER_UP");
    });

    it("F-160, F-161: a taken name gives EEXIST, a taken ifindex EBUSY, a free one is used; bad names EINVAL", () => {
      wire();
      const ports = makePorts();
      const taken = link(S, "sA").ifindex;
      expect(errno(() => ports.createInternal("sA", 0))).toBe(EEXIST);
      expect(errno(() => ports.createInternal("in1", taken))).toBe(EBUSY);
      expect(errno(() => ports.createInternal("a/b", 0))).toBe(EINVAL);
      expect(errno(() => ports.createInternal("x".repeat(16), 0))).toBe(EINVAL);
      expect(ports.createInternal("in1", 4242).ifindex).toBe(4242);
      expect(link(S, "in1").ifindex).toBe(4242);
    });

    it("one without Ethernet header is a TUN device: IP packets both ways, told by their version", async () => {
      const ports = makePorts();
      const inner = ports.createInternal("tun0", 0, true);
      expect(inner.l3).toBe(true);
      expect(link(S, "tun0")).toMatchObject({ link_type: "none", mtu: 1500, txqlen: 1000 });
      const seen = new Set<string>();
      ports.start(
        (packet) => {
          const { view, bytes } = packet.memory;
          const { off } = packet;
          seen.add(`${packet.macNone} ${packet.protocol.toString(16)} ${view.getUint8(off) >> 4}`);
          if (packet.protocol !== 0x0800 || view.getUint8(off + 20) !== 8) return;
          // An echo request: answer it.
          const src = bytes.slice(off + 12, off + 16);
          bytes.copyWithin(off + 12, off + 16, off + 20);
          bytes.set(src, off + 16);
          view.setUint16(off + 20, 0);
          const sum = view.getUint16(off + 22) + 0x0800;
          view.setUint16(off + 22, (sum & 0xffff) + (sum >> 16));
          inner.send(packet);
        },
        () => ports.memory.resetScratch(),
      );
      S.run("sysctl", "-qw", "net.ipv6.conf.tun0.disable_ipv6=0");
      S.run("ip", "addr", "add", "10.9.3.2/24", "dev", "tun0");
      S.run("ip", "link", "set", "tun0", "up");
      await until(() => inner.running);
      expect((await S.execute("ping", "-c", "2", "-i", "0.1", "-W", "2", "10.9.3.3")).status).toBe(0);
      // Router solicitations.
      await until(() => seen.has("true 86dd 6"));
      expect([...seen].sort()).toEqual(["true 800 4", "true 86dd 6"]);
      const { stats64 } = link(S, "tun0");
      expect(inner.stats()).toMatchObject({ rxPackets: 2, rxBytes: stats64.rx.bytes });
    });

    it("T-083, T-084, T-087, T-104: the host talks through it with segments and partial checksums; counters both ways", async () => {
      wire();
      const ports = makePorts();
      const a = ports.openNetdev("sA");
      const inner = ports.createInternal("in0", 0);
      let largest = 0;
      const segments = [0, 0];
      ports.start(
        (packet, port) => {
          largest = Math.max(largest, packet.len);
          if (packet.gsoType !== Gso.NONE) segments[port === a ? 0 : 1]++;
          (port === a ? inner : a).send(packet);
        },
        () => ports.memory.resetScratch(),
      );
      S.run("ip", "addr", "add", "10.9.1.2/24", "dev", "in0");
      S.run("ip", "link", "set", "in0", "up");
      await until(() => inner.running);
      expect(await ping("10.9.1.2")).toBe(0);
      expect(await ping("-s", "20000", "10.9.1.2")).toBe(0);
      for (const direction of [[], ["-R"]]) {
        const server = S.start("iperf3", "-s", "-1", "--forceflush");
        await new Promise((resolve) => server.stdout?.once("data", resolve));
        const run = await A.execute("iperf3", "-c", "10.9.1.2", "-n", "30M", "-J", ...direction);
        expect(JSON.parse(run.stdout).end.sum_received.bytes).toBeGreaterThan(20e6);
      }
      expect(largest).toBeGreaterThan(30_000);
      expect(segments[0]).toBeGreaterThan(100);
      expect(segments[1]).toBeGreaterThan(100);
      const stats = inner.stats();
      const device = link(S, "in0");
      expect(stats.rxPackets).toBe(device.stats64.rx.packets);
      expect(stats.txPackets).toBe(device.stats64.tx.packets);
      expect(stats.rxBytes).toBe(device.stats64.rx.bytes - 14 * device.stats64.rx.packets);
    });

    it("T-087: a tag that the host put in comes out of band, with checksum and GSO state in place", async () => {
      const ports = makePorts();
      const inner = ports.createInternal("in0", 0);
      const seen: number[][] = [];
      ports.start(
        (packet) => {
          if (packet.vlanTpid === 0) return;
          seen.push([packet.len, packet.vlanTpid, packet.vlanTci, packet.csumStart - packet.off, packet.gsoSize]);
          inner.send(packet);
        },
        () => {},
      );
      S.run("ip", "link", "set", "in0", "up");
      await until(() => inner.running);
      // A packet socket on the device sends a tagged segment of 9 KB, as a VLAN device with offloads would.
      const script = `
import socket, struct
s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
s.setsockopt(263, 15, 1)
s.bind(("in0", 0))
frame = bytes.fromhex("020000000002020000000001810000050800") + bytes.fromhex("4500") + struct.pack(">H", 9040) + \\
  bytes.fromhex("0001400040060000" "0a0909010a090902" "03e807d00000000000000000501002000000" "0000") + bytes(9000)
s.send(struct.pack("<BBHHHH", 1, 1, 58, 1400, 38, 16) + frame)
`;
      S.run("python3", "-c", script);
      await until(() => seen.length > 0);
      expect(seen).toEqual([[9054, 0x8100, 5, 34, 1400]]);
    });

    it("T-085, T-086: down it takes nothing; its address may change while it is up", async () => {
      const ports = makePorts();
      const inner = ports.createInternal("in0", 0);
      ports.start(
        () => {},
        () => {},
      );
      S.run("ip", "link", "set", "in0", "up");
      await until(() => inner.running);
      S.run("ip", "link", "set", "in0", "address", "02:00:00:00:77:01");
      expect(link(S, "in0").address).toBe("02:00:00:00:77:01");
      const send = (): void => {
        const packet = new Packet(ports.memory);
        const base = ports.memory.scratch(400);
        packet.reset(base + 128, 60, base, base + 400);
        inner.send(packet);
        ports.flush();
        ports.memory.resetScratch();
      };
      // The host receives what is sent to an internal port.
      send();
      expect(link(S, "in0").stats64.rx.packets).toBe(1);
      S.run("ip", "link", "set", "in0", "down");
      await until(() => !inner.running);
      send();
      expect(link(S, "in0").stats64.rx.packets).toBe(1);
      S.run("ip", "link", "set", "in0", "name", "in9");
      await until(() => inner.name === "in9");
    });

    it("T-089, T-090: moved to another namespace it stays a port and has a namespace id; gone with that namespace", async () => {
      wire();
      const ports = makePorts();
      const a = ports.openNetdev("sA");
      const inner = ports.createInternal("in0", 0);
      const gone: Port[] = [];
      ports.start(
        (packet, port) => (port === a ? inner : a).send(packet),
        () => {},
        {
          onGone(port) {
            gone.push(port);
            port.close();
          },
        },
      );
      const C = await Namespace.create();
      S.run("ip", "link", "set", "in0", "netns", String(C.pid));
      await until(() => inner.netnsid !== undefined);
      C.run("ip", "addr", "add", "10.9.1.2/24", "dev", "in0");
      C.run("ip", "link", "set", "in0", "up", "mtu", "1400");
      await until(() => inner.running && inner.mtu === 1400);
      expect(inner.ifindex).toBe(link(C, "in0").ifindex);
      expect(await ping("10.9.1.2")).toBe(0);
      expect(inner.stats().rxPackets).toBe(link(C, "in0").stats64.rx.packets);
      C.run("nsenter", `--net=${C.path}`, "ip", "link", "set", "in0", "netns", String(S.pid));
      await until(() => inner.netnsid === undefined);
      expect(inner.name).toBe("in0");
      S.run("ip", "link", "set", "in0", "netns", String(C.pid));
      await until(() => inner.netnsid !== undefined);
      await C.close();
      await until(() => gone.length > 0);
      expect(gone.map((port) => port.name)).toEqual([inner.name]);
    });

    it("a device deleted by hand is reported and costs no processor time", async () => {
      const ports = makePorts();
      const inner = ports.createInternal("in0", 0);
      const gone: Port[] = [];
      ports.start(
        () => {},
        () => {},
        { onGone: (port) => gone.push(port) },
      );
      S.run("ip", "link", "del", "in0");
      await until(() => gone.length > 0);
      expect(gone.map((port) => port.name)).toEqual([inner.name]);
      expect(await wakeUps(100)).toBeLessThan(QUIET);
      inner.close();
      expect(errno(() => ports.createInternal("in0", 0))).toBe(0);
    });
  });
});
