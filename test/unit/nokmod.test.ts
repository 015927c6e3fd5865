import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { OvsClient, type Upcall } from "../../src/client/index.ts";
import { ManualClock } from "../../src/core/clock.ts";
import { SeededRandom } from "../../src/core/random.ts";
import { MessageWriter } from "../../src/netlink/writer.ts";
import { Packet } from "../../src/packet/packet.ts";
import { type MemoryPort, MemoryPorts } from "../../src/port/memory/ports.ts";
import { Nokmod } from "../../src/runtime/nokmod.ts";
import * as ovs from "../../src/uapi/openvswitch.ts";
import { ethernet, frame, ipv4, udp } from "../support/frames.ts";

/** A datapath of two ports in memory, driven through netlink as any client would. */
let nokmod: Nokmod;
let client: OvsClient;
let ports: MemoryPorts;
let dp: number;
let left: MemoryPort;
let right: MemoryPort;
let source: ManualClock;

beforeEach(() => {
  ports = new MemoryPorts();
  left = ports.addDevice("left");
  right = ports.addDevice("right");
  source = new ManualClock();
  nokmod = new Nokmod({ ports, clock: source, random: new SeededRandom(1), tickInterval: 0 });
  nokmod.kernel.bus.onFault = (error) => {
    throw error;
  };
  client = new OvsClient(nokmod);
  dp = client.createDatapath("dp0").ifindex;
  client.createVport(dp, { name: "left", type: ovs.OVS_VPORT_TYPE_NETDEV });
  client.createVport(dp, { name: "right", type: ovs.OVS_VPORT_TYPE_NETDEV });
});

afterEach(() => nokmod.close());

/** Attributes as bytes. */
function attributes(build: (writer: MessageWriter) => void): Uint8Array {
  const writer = new MessageWriter();
  build(writer);
  return writer.finish();
}

const datagram = frame(ethernet(), ipv4({ src: "10.1.1.1", dst: "10.1.1.2" }), udp({ src: 1000, dst: 53 }), "hello");

/** A flow for everything that comes in by port 1. */
function fromLeft(actions: Uint8Array): void {
  const key = attributes((w) => {
    w.u32(ovs.OVS_KEY_ATTR_IN_PORT, 1);
    w.raw(ovs.OVS_KEY_ATTR_ETHERNET, new Uint8Array(12));
    w.be16(ovs.OVS_KEY_ATTR_ETHERTYPE, 0x0800);
    w.raw(ovs.OVS_KEY_ATTR_IPV4, Uint8Array.of(0, 0, 0, 0, 0, 0, 0, 0, 17, 0, 0, 0));
    w.raw(ovs.OVS_KEY_ATTR_UDP, Uint8Array.of(0, 0, 0, 53));
  });
  const mask = attributes((w) => {
    w.u32(ovs.OVS_KEY_ATTR_IN_PORT, 0xffffffff);
    w.be16(ovs.OVS_KEY_ATTR_ETHERTYPE, 0xffff);
    w.raw(ovs.OVS_KEY_ATTR_IPV4, Uint8Array.of(0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0, 0, 0));
    w.raw(ovs.OVS_KEY_ATTR_UDP, Uint8Array.of(0, 0, 0xff, 0xff));
  });
  client.putFlow(dp, { key, mask, actions });
}

describe("the whole, through netlink", () => {
  it("T-035, T-026: a flow put by netlink switches packets and counts them", () => {
    fromLeft(attributes((w) => w.u32(ovs.OVS_ACTION_ATTR_OUTPUT, 2)));
    left.inject(datagram);
    left.inject(datagram);
    expect(right.sent).toEqual([datagram, datagram]);
    const { stats } = client.datapath(dp);
    expect(stats).toMatchObject({ hit: 2, missed: 0, lost: 0, flows: 1 });
    const [flow] = [...client.flows(dp)];
    expect([flow.packets, flow.bytes]).toEqual([2, 2 * datagram.length]);
  });

  it("U-021, U-022: a miss without a port id is counted missed and lost", () => {
    left.inject(datagram);
    expect(client.datapath(dp).stats).toMatchObject({ hit: 0, missed: 1, lost: 1 });
  });

  it("U-005, U-013, U-025: a miss goes to the vport's port id with the whole frame", () => {
    const upcalls = client.openUpcalls();
    client.setVport(dp, "left", { upcallPids: [upcalls.portId] });
    left.inject(datagram);
    const seen: Upcall[] = [];
    upcalls.drain((upcall) => seen.push(upcall));
    expect(seen.length).toBe(1);
    expect(seen[0]).toMatchObject({ command: ovs.OVS_PACKET_CMD_MISS, datapath: dp });
    expect(seen[0].packet).toEqual(datagram);
    expect(client.datapath(dp).stats).toMatchObject({ hit: 0, missed: 1, lost: 0 });
  });
});

describe("a turn of the engine", () => {
  it("reads the clock anew, and sends what was queued when it ends, also by an error", () => {
    const { clock } = nokmod.kernel.environment;
    const port = nokmod.kernel.datapaths.byIfindex(dp)?.vports[2]?.port;
    const packet = new Packet(ports.memory);
    const send = (): void => {
      const base = ports.memory.scratch(2048);
      ports.memory.bytes.set(datagram, base);
      packet.reset(base, datagram.length, base, base + 2048);
      port?.send(packet);
    };
    const first = clock.monotonic();
    source.advance(5);
    expect(clock.monotonic()).toBe(first);
    expect(
      nokmod.kernel.turn(() => {
        send();
        expect(right.sent).toEqual([]);
        return clock.monotonic();
      }),
    ).toBe(first + 5);
    expect(right.sent).toEqual([datagram]);
    source.advance(5);
    const failing = (): never => {
      send();
      throw new RangeError("of ours");
    };
    expect(() => nokmod.kernel.turn(failing)).toThrow("of ours");
    expect(right.sent).toEqual([datagram, datagram]);
    expect(clock.monotonic()).toBe(first + 10);
  });

  it("a fault of ours costs the frame that met it, is reported, and the next goes through", () => {
    const faults: unknown[] = [];
    nokmod.kernel.bus.onFault = (error) => faults.push(error);
    fromLeft(attributes((w) => w.u32(ovs.OVS_ACTION_ATTR_OUTPUT, 2)));
    const fault = new TypeError("of ours");
    const port = nokmod.kernel.datapaths.byIfindex(dp)?.vports[2]?.port as { send: unknown };
    const { send } = port;
    port.send = () => {
      throw fault;
    };
    left.inject(datagram);
    port.send = send;
    left.inject(datagram);
    expect(faults).toEqual([fault]);
    expect(right.sent).toEqual([datagram]);
  });
});
