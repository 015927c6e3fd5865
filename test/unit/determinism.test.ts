import { expect, it } from "vitest";
import { OvsClient } from "../../src/client/index.ts";
import { ManualClock } from "../../src/core/clock.ts";
import { SeededRandom } from "../../src/core/random.ts";
import { Gso } from "../../src/packet/packet.ts";
import { type MemoryPort, MemoryPorts } from "../../src/port/memory/ports.ts";
import { Nokmod } from "../../src/runtime/nokmod.ts";
import * as ovs from "../../src/uapi/openvswitch.ts";
import { ethernet, frame, hex, ipv4, ipv6, udp } from "../support/frames.ts";

const datagram = frame(ethernet(), ipv4({ src: "10.1.1.1", dst: "10.1.1.2" }), udp({ src: 1000, dst: 53 }), "hello");
/** A UDP datagram that UFO cuts into fragments, each with a random identification. */
const large = frame(ethernet(), ipv6({ src: "fd00::1", dst: "fd00::2" }), udp(), "x".repeat(3000));

/** A Nokmod with one port, whose misses are read. */
class Subject {
  readonly nokmod: Nokmod;
  private readonly device: MemoryPort;
  private readonly misses: ReturnType<OvsClient["openUpcalls"]>;
  /** What the misses gave: hash and frame. */
  readonly seen: string[] = [];

  constructor(seed: number) {
    const ports = new MemoryPorts();
    this.device = ports.addDevice("left");
    this.nokmod = new Nokmod({ ports, clock: new ManualClock(), random: new SeededRandom(seed), tickInterval: 0 });
    const client = new OvsClient(this.nokmod);
    this.misses = client.openUpcalls();
    const { ifindex } = client.createDatapath("dp0");
    client.createVport(ifindex, {
      name: "left",
      type: ovs.OVS_VPORT_TYPE_NETDEV,
      upcallPids: [this.misses.portId],
    });
  }

  send(bytes: Uint8Array, ufo = false): void {
    this.device.inject(bytes, ufo ? { gsoType: Gso.UDP, gsoSize: 1448 } : undefined);
    this.misses.drain(({ packet, hash }) => this.seen.push(`${hash} ${hex(packet)}`));
  }

  both(): string[] {
    this.send(datagram);
    this.send(large, true);
    return this.seen.splice(0);
  }
}

it("the same seed gives the same hashes and the same fragments, whatever another Nokmod of the process does", () => {
  const alone = new Subject(1);
  const expected = [...alone.both(), ...alone.both()];
  alone.nokmod.close();
  expect(expected).toHaveLength(8);

  const subject = new Subject(1);
  const got = subject.both();
  const other = new Subject(2);
  const others = other.both();
  got.push(...subject.both());
  expect(got).toEqual(expected);
  // The other's seed is another: so are its hashes and identifications.
  for (const [i, text] of others.entries()) expect(text).not.toBe(expected[i]);
  other.nokmod.close();
  subject.nokmod.close();
});
