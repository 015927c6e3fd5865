import type { ChildProcess } from "node:child_process";
import { once } from "node:events";
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from "vitest";
import {
  ConntrackClient,
  connect,
  formatActions,
  formatConnection,
  formatFlow,
  formatKey,
  type Notification,
  OvsClient,
  type SocketOpener,
  type Upcall,
} from "../../src/client/index.ts";
import { ManualClock } from "../../src/core/clock.ts";
import { Errno } from "../../src/core/errors.ts";
import { SeededRandom } from "../../src/core/random.ts";
import { MessageWriter } from "../../src/netlink/writer.ts";
import { MemoryPorts } from "../../src/port/memory/ports.ts";
import { Nokmod } from "../../src/runtime/nokmod.ts";
import { EEXIST, EINVAL, ENODEV, ENOENT, EPERM } from "../../src/uapi/errno.ts";
import * as ovs from "../../src/uapi/openvswitch.ts";
import { forkScript, message, TemporaryDirectory } from "../support/child.ts";
import { ethernet, frame, ipv4, udp } from "../support/frames.ts";

/** Attributes as bytes. */
function attributes(build: (writer: MessageWriter) => void): Uint8Array {
  const writer = new MessageWriter();
  build(writer);
  return writer.finish();
}

function errnoOf(action: () => unknown): number {
  try {
    action();
  } catch (error) {
    if (error instanceof Errno) return error.errno;
    throw error;
  }
  return 0;
}

/** UDP to a port that comes in by port 1; everything else wildcarded. */
function udpFlow(port: number): { key: Uint8Array; mask: Uint8Array } {
  const key = attributes((w) => {
    w.u32(ovs.OVS_KEY_ATTR_IN_PORT, 1);
    w.raw(ovs.OVS_KEY_ATTR_ETHERNET, new Uint8Array(12));
    w.be16(ovs.OVS_KEY_ATTR_ETHERTYPE, 0x0800);
    w.raw(ovs.OVS_KEY_ATTR_IPV4, Uint8Array.of(0, 0, 0, 0, 0, 0, 0, 0, 17, 0, 0, 0));
    w.raw(ovs.OVS_KEY_ATTR_UDP, Uint8Array.of(0, 0, port >> 8, port));
  });
  const mask = attributes((w) => {
    w.u32(ovs.OVS_KEY_ATTR_IN_PORT, 0xffffffff);
    w.be16(ovs.OVS_KEY_ATTR_ETHERTYPE, 0xffff);
    w.raw(ovs.OVS_KEY_ATTR_IPV4, Uint8Array.of(0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0, 0, 0xff));
    w.raw(ovs.OVS_KEY_ATTR_UDP, Uint8Array.of(0, 0, 0xff, 0xff));
  });
  return { key, mask };
}

const output = (port: number): Uint8Array => attributes((w) => w.u32(ovs.OVS_ACTION_ATTR_OUTPUT, port));
const inPort = (port: number): Uint8Array => attributes((w) => w.u32(ovs.OVS_KEY_ATTR_IN_PORT, port));
const datagram = (port: number): Uint8Array =>
  frame(ethernet(), ipv4({ src: "10.1.1.1", dst: "10.1.1.2" }), udp({ src: 1000, dst: port }), "hello");

const directory = new TemporaryDirectory();
const path = directory.file("nokmod.sock");
let server: ChildProcess;

beforeAll(async () => {
  server = forkScript("./nokmod-server.ts", [path]);
  expect(await message(server)).toBe("ready");
});

afterAll(async () => {
  const exit = once(server, "exit");
  server.send("stop");
  await exit;
  directory.dispose();
});

function inProcess(): SocketOpener {
  const ports = new MemoryPorts();
  for (const name of ["left", "right"]) ports.addDevice(name);
  const nokmod = new Nokmod({ ports, clock: new ManualClock(), random: new SeededRandom(1), tickInterval: 0 });
  onTestFinished(() => nokmod.close());
  return nokmod;
}

describe.each([
  ["in another process", () => connect(path)],
  ["in this process", inProcess],
])("the datapath %s", (_, opener) => {
  let count = 0;

  function setUp(): { client: OvsClient; dp: number; name: string; sockets: SocketOpener } {
    const sockets = opener();
    const client = new OvsClient(sockets);
    const name = `dp${count++}`;
    const { ifindex } = client.createDatapath(name);
    client.createVport(ifindex, { name: "left", type: ovs.OVS_VPORT_TYPE_NETDEV });
    client.createVport(ifindex, { name: "right", type: ovs.OVS_VPORT_TYPE_NETDEV });
    onTestFinished(() => {
      client.deleteDatapath(ifindex);
      client.close();
    });
    return { client, dp: ifindex, name, sockets };
  }

  it("datapaths and vports: created, told, changed, deleted", () => {
    const { client, dp, name } = setUp();
    expect(client.datapath(name)).toMatchObject({ ifindex: dp, name, userFeatures: 0, masksCacheSize: 256 });
    expect(client.datapaths().map((one) => one.name)).toEqual([name]);
    expect(client.setDatapath(dp, { userFeatures: 0x9, perCpuPids: [7, 8] })).toMatchObject({ perCpuPids: [7, 8] });
    expect(errnoOf(() => client.createDatapath(name))).toBe(EEXIST);
    const vports = client.vports(dp).map(({ portNo, name, type }) => ({ portNo, name, type }));
    expect(vports).toEqual([
      { portNo: 0, name, type: ovs.OVS_VPORT_TYPE_INTERNAL },
      { portNo: 1, name: "left", type: ovs.OVS_VPORT_TYPE_NETDEV },
      { portNo: 2, name: "right", type: ovs.OVS_VPORT_TYPE_NETDEV },
    ]);
    expect(client.setVport(dp, 1, { upcallPids: [9] }).upcallPids).toEqual([9]);
    expect(client.vport(0, "left").portNo).toBe(1);
    client.deleteVport(dp, "right");
    expect(errnoOf(() => client.vport(dp, 2))).toBe(ENODEV);
    expect(errnoOf(() => client.deleteVport(dp, 0))).toBe(EINVAL);
    expect(errnoOf(() => client.datapath("no-such"))).toBe(ENODEV);
  });

  it("flows: put, told, changed, cleared, deleted; a dump of 3000 is whole", () => {
    const { client, dp } = setUp();
    for (let port = 1; port <= 3000; port++) client.putFlow(dp, { ...udpFlow(port), actions: output(2) });
    const seen = new Set<string>();
    for (const flow of client.flows(dp)) {
      if (flow.key !== null) seen.add(formatKey(flow.key, flow.mask));
    }
    expect(seen.size).toBe(3000);
    expect([...seen].find((text) => text.includes("dst=53)"))).toBe(
      "in_port(1),eth(),eth_type(0x0800),ipv4(proto=17,frag=no),udp(dst=53)",
    );
    expect(errnoOf(() => client.putFlow(dp, { ...udpFlow(53), actions: output(2) }))).toBe(EEXIST);

    client.execute(dp, { packet: datagram(53), key: inPort(1), actions: recirculate(0) });
    const { key } = udpFlow(53);
    const hit = client.flow(dp, { key });
    expect(hit).toMatchObject({ packets: 1, bytes: datagram(53).length, tcpFlags: 0 });
    expect(formatFlow(hit, hit.used ?? 0)).toMatch(/, packets:1, bytes:\d+, used:0\.000s, actions:2$/);
    expect(client.setFlow(dp, { key }, { actions: output(0), clear: true }).packets).toBe(1);
    const changed = client.flow(dp, { key });
    expect([changed.packets, formatActions(changed.actions ?? output(9))]).toEqual([0, "0"]);
    client.deleteFlow(dp, { key });
    expect(errnoOf(() => client.flow(dp, { key }))).toBe(ENOENT);
    client.flushFlows(dp);
    expect([...client.flows(dp)]).toEqual([]);
  });

  it("a dump given up half-way does not disturb the next", () => {
    const { client, dp } = setUp();
    for (let port = 1; port <= 500; port++) client.putFlow(dp, { ...udpFlow(port), actions: output(2) });
    for (const _flow of client.flows(dp)) break;
    expect([...client.flows(dp)]).toHaveLength(500);
    const terse = client.flows(dp, ovs.OVS_UFID_F_OMIT_MASK | ovs.OVS_UFID_F_OMIT_ACTIONS).next().value;
    expect(terse).toMatchObject({ mask: null, actions: null });
  });

  it("F-291: a batch is one crossing; what fails is told by its index", () => {
    const { client, dp } = setUp();
    const batch = client.batch();
    batch.putFlow(dp, { ...udpFlow(53), actions: output(2) });
    batch.putFlow(dp, { ...udpFlow(53), actions: output(2) });
    batch.execute(dp, { packet: datagram(53), key: inPort(1), actions: output(2) });
    batch.deleteFlow(dp, { key: udpFlow(54).key });
    expect(batch.length).toBe(4);
    const failed: [number, number][] = [];
    expect(batch.send((index, error) => failed.push([index, error.errno]))).toBe(2);
    expect(failed).toEqual([
      [1, EEXIST],
      [3, ENOENT],
    ]);
    expect(batch.length).toBe(0);
    expect(batch.send()).toBe(0);
  });

  it("upcalls arrive at the socket that asked for them", async () => {
    const { client, dp } = setUp();
    const upcalls = client.openUpcalls();
    onTestFinished(() => upcalls.close());
    const arrived = new Promise<Upcall[]>((resolve) => {
      upcalls.onReadable = () => {
        const all: Upcall[] = [];
        upcalls.drain((upcall) => all.push(upcall));
        if (all.length > 0) resolve(all);
      };
    });
    const userspace = attributes((w) => {
      const nest = w.nest(ovs.OVS_ACTION_ATTR_USERSPACE);
      w.u32(ovs.OVS_USERSPACE_ATTR_PID, upcalls.portId);
      w.raw(ovs.OVS_USERSPACE_ATTR_USERDATA, Uint8Array.of(1, 2, 3, 4));
      w.endNest(nest);
    });
    client.execute(dp, { packet: datagram(53), key: inPort(1), actions: userspace });
    const [upcall] = await arrived;
    expect(upcall.command).toBe(ovs.OVS_PACKET_CMD_ACTION);
    expect(upcall.datapath).toBe(dp);
    expect(Buffer.from(upcall.packet)).toEqual(Buffer.from(datagram(53)));
    expect(upcall.userdata).toEqual(Uint8Array.of(1, 2, 3, 4));
    expect(formatKey(upcall.key)).toContain("in_port(1)");
    expect(upcalls.lost).toBe(0);
  });

  it("notifications come to those who subscribed", async () => {
    const { client, dp } = setUp();
    const seen: string[] = [];
    const all = new Promise<void>((resolve) => {
      const subscription = client.subscribe(({ family, command }: Notification) => {
        seen.push(`${family} ${command}`);
        if (seen.length === 4) resolve();
      });
      onTestFinished(() => subscription.close());
    });
    client.putFlow(dp, { ...udpFlow(53), actions: output(2) });
    client.deleteVport(dp, "right");
    const other = client.createDatapath("other");
    client.deleteDatapath(other.ifindex);
    await all;
    expect(seen.sort()).toEqual(["ovs_datapath 1", "ovs_datapath 2", "ovs_flow 1", "ovs_vport 2"]);
  });

  it("meters and zone limits", () => {
    const { client, dp } = setUp();
    expect(client.meterFeatures(dp)).toMatchObject({ maxBands: 1, bandTypes: [ovs.OVS_METER_BAND_TYPE_DROP] });
    client.setMeter(dp, 5, { kbps: true, bands: [{ rate: 100, burst: 100 }] });
    expect(client.meter(dp, 5)).toMatchObject({ id: 5, packets: 0, bands: [{ packets: 0, bytes: 0 }] });
    client.deleteMeter(dp, 5);
    expect(errnoOf(() => client.meter(dp, 5))).toBe(ENOENT);
    client.setZoneLimits([
      { zone: -1, limit: 10 },
      { zone: 7, limit: 3 },
    ]);
    expect(client.zoneLimits()).toEqual([
      { zone: -1, limit: 10, count: 0 },
      { zone: 7, limit: 3, count: 0 },
    ]);
    client.deleteZoneLimits([7]);
    expect(client.zoneLimits([7])).toEqual([{ zone: 7, limit: 10, count: 0 }]);
    client.setZoneLimits([{ zone: -1, limit: 0 }]);
  });

  it("connections: made by a ct action, told, deleted", () => {
    const { client, dp, sockets } = setUp();
    const conntrack = new ConntrackClient(sockets);
    onTestFinished(() => conntrack.close());
    const ct = attributes((w) => {
      const nest = w.nest(ovs.OVS_ACTION_ATTR_CT);
      w.flag(ovs.OVS_CT_ATTR_COMMIT);
      w.u16(ovs.OVS_CT_ATTR_ZONE, 5);
      w.endNest(nest);
    });
    for (const port of [53, 54]) {
      client.execute(dp, { packet: datagram(port), key: inPort(1), actions: Buffer.concat([ct, output(2)]) });
    }
    const connections = [...conntrack.connections({ zone: 5 })];
    expect(connections.map((one) => formatConnection(one)).sort()).toEqual([
      "udp,orig=(src=10.1.1.1,dst=10.1.1.2,sport=1000,dport=53),reply=(src=10.1.1.2,dst=10.1.1.1,sport=53,dport=1000),zone=5",
      "udp,orig=(src=10.1.1.1,dst=10.1.1.2,sport=1000,dport=54),reply=(src=10.1.1.2,dst=10.1.1.1,sport=54,dport=1000),zone=5",
    ]);
    expect(conntrack.counts().entries).toBe(2);
    expect([...conntrack.connections({ zone: 6 })]).toEqual([]);
    conntrack.delete(connections[0]);
    expect(errnoOf(() => conntrack.delete(connections[0]))).toBe(ENOENT);
    expect([...conntrack.connections()]).toHaveLength(1);
    conntrack.flush(5);
    expect([...conntrack.connections()]).toEqual([]);
  });

  function recirculate(id: number): Uint8Array {
    return attributes((w) => w.u32(ovs.OVS_ACTION_ATTR_RECIRC, id));
  }
});

describe("privilege", () => {
  it.skipIf(process.getuid?.() !== 0)(
    "F-027, F-028: without CAP_NET_ADMIN every change is EPERM, and every question is answered",
    async () => {
      const client = new OvsClient(connect(path));
      const { ifindex } = client.createDatapath("guarded");
      const child = forkScript("./unprivileged-client.ts", [path, String(ifindex)], { uid: 65534, gid: 65534 });
      const { refused, allowed } = await message<{ refused: number[]; allowed: number[] }>(child);
      expect(new Set(refused)).toEqual(new Set([EPERM]));
      expect(new Set(allowed)).toEqual(new Set([0]));
      expect(client.datapaths().map(({ name }) => name)).toEqual(["guarded"]);
      client.deleteDatapath(ifindex);
    },
  );
});
