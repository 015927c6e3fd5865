import { describe, expect, it } from "vitest";
import { Errno } from "../../src/core/errors.ts";
import { PacketMemory } from "../../src/packet/memory.ts";
import { Csum, Gso, type Packet } from "../../src/packet/packet.ts";
import { MemoryPorts } from "../../src/port/memory/ports.ts";
import type { Port } from "../../src/port/port.ts";
import { isDeviceName } from "../../src/port/provider.ts";
import { EBUSY, EEXIST, EINVAL, ENODEV } from "../../src/uapi/errno.ts";

function errno(call: () => unknown): number {
  try {
    call();
  } catch (error) {
    expect(error).toBeInstanceOf(Errno);
    return (error as Errno).errno;
  }
  return 0;
}

/** Two devices whose frames cross. */
function pair(ports = new MemoryPorts()) {
  ports.addDevice("a");
  ports.addDevice("b", { mtu: 9000 });
  const a = ports.openNetdev("a");
  const b = ports.openNetdev("b");
  const gone: Port[] = [];
  let batches = 0;
  ports.start(
    (packet, port) => (port === a ? b : a).send(packet),
    () => {
      batches++;
      ports.memory.resetScratch();
    },
    { onGone: (port) => void gone.push(port) },
  );
  return { ports, a, b, gone, batches: () => batches };
}

const frame = new Uint8Array(60).map((_, i) => i);

describe("MemoryPorts", () => {
  it("F-155, F-157, F-158: refuses what the module refuses", () => {
    const ports = new MemoryPorts();
    ports.addDevice("lo", { loopback: true });
    ports.addDevice("enslaved", { busy: true });
    ports.addDevice("eth0");
    ports.createInternal("br0", 0);
    expect(errno(() => ports.openNetdev("nothere"))).toBe(ENODEV);
    expect(errno(() => ports.openNetdev("lo"))).toBe(EINVAL);
    expect(errno(() => ports.openNetdev("br0"))).toBe(EINVAL);
    expect(errno(() => ports.openNetdev("enslaved"))).toBe(EBUSY);
    const port = ports.openNetdev("eth0");
    expect(errno(() => ports.openNetdev("eth0"))).toBe(EBUSY);
    port.close();
    expect(ports.openNetdev("eth0")).toBe(port);
  });

  it("F-160, F-161, T-081: internal devices: name and ifindex taken, down at first, gone when closed", () => {
    const ports = new MemoryPorts();
    ports.addDevice("eth0", { ifindex: 7 });
    expect(errno(() => ports.createInternal("eth0", 0))).toBe(EEXIST);
    expect(errno(() => ports.createInternal("br0", 7))).toBe(EBUSY);
    expect(errno(() => ports.createInternal("br/0", 0))).toBe(EINVAL);
    const port = ports.createInternal("br0", 42);
    expect(port).toMatchObject({ kind: "internal", ifindex: 42, running: false, mtu: 1500 });
    port.close();
    expect(ports.device("br0")).toBeUndefined();
    expect(errno(() => ports.createInternal("br0", 42))).toBe(0);
  });

  it("moves frames with their offload state; positions count from the frame", () => {
    const { a, b } = pair();
    a.inject(frame, { csum: Csum.PARTIAL, csumStart: 34, csumOffset: 6, gsoType: Gso.UDP_L4, gsoSize: 20 });
    expect(b.sent).toEqual([frame]);
    expect(b.sentOffload).toEqual([
      { csum: Csum.PARTIAL, csumStart: 34, csumOffset: 6, gsoType: Gso.UDP_L4, gsoSize: 20 },
    ]);
    expect(b.takeSent()).toEqual([frame]);
    expect(b.sent).toEqual([]);
    expect(a.sent).toEqual([]);
  });

  it("puts an out-of-band VLAN tag back into what is sent, and shifts the checksum start with it", () => {
    const { a, b } = pair();
    a.inject(frame, { vlanTpid: 0x88a8, vlanTci: 0xe005, csum: Csum.PARTIAL, csumStart: 34, csumOffset: 16 });
    expect(b.sent[0]).toEqual(new Uint8Array([...frame.slice(0, 12), 0x88, 0xa8, 0xe0, 5, ...frame.slice(12)]));
    expect(b.sentOffload[0].csumStart).toBe(38);
  });

  it("ends the batch after everything queued was sent, and not before batch() returns", () => {
    const { ports, a, b, batches } = pair();
    a.inject(frame);
    expect(batches()).toBe(1);
    ports.batch(() => {
      a.inject(frame);
      b.inject(frame);
      expect(b.sent).toHaveLength(1);
    });
    expect(batches()).toBe(2);
    expect(b.sent).toHaveLength(2);
    expect(a.sent).toHaveLength(1);
  });

  it("shows who reads a frame after its batch: the bytes are overwritten, the memory is given back", () => {
    const ports = new MemoryPorts();
    ports.addDevice("a");
    const a = ports.openNetdev("a");
    let off = 0;
    const tops = new Set<number>();
    ports.start(
      (packet: Packet) => {
        off = packet.off;
        tops.add(off);
        expect(packet.off - packet.head).toBeGreaterThanOrEqual(128);
        expect(packet.end).toBeGreaterThanOrEqual(packet.off + packet.len + 64);
        expect(ports.memory.bytes[off + 5]).toBe(5);
      },
      () => {},
    );
    for (let i = 0; i < 20_000; i++) a.inject(frame);
    expect(ports.memory.bytes[off + 5]).toBe(0xa5);
    expect(tops.size).toBe(1);
  });

  it("sends the bytes as they are when the batch is flushed, as rings do", () => {
    const ports = new MemoryPorts();
    ports.addDevice("a");
    const a = ports.openNetdev("a");
    ports.start(
      (packet) => {
        a.send(packet);
        ports.memory.view.setUint8(packet.off, 0x77);
      },
      () => {},
    );
    a.inject(frame);
    expect(a.sent[0][0]).toBe(0x77);
  });

  it("carries frames of 64 KiB", () => {
    const { a, b } = pair();
    const large = new Uint8Array(65_549).fill(3);
    a.inject(large, { gsoType: Gso.TCPV4, gsoSize: 1448 });
    expect(b.sent[0]).toEqual(large);
  });

  it("T-104, T-083, T-084: counters, and the direction and header bytes of an internal port", () => {
    const ports = new MemoryPorts();
    ports.addDevice("a");
    const a = ports.openNetdev("a");
    const inner = ports.createInternal("br0", 0);
    inner.running = true;
    ports.start(
      (packet, port) => (port === a ? inner : a).send(packet),
      () => {},
    );
    a.inject(frame);
    inner.inject(frame);
    inner.inject(frame);
    inner.countTxError();
    expect(a.stats()).toMatchObject({ rxPackets: 1, rxBytes: 60, txPackets: 2, txBytes: 120 });
    expect(inner.stats()).toMatchObject({ rxPackets: 1, rxBytes: 46, txPackets: 2, txBytes: 120, txErrors: 1 });
  });

  it("T-113, T-109, T-110: down, rename and removal", () => {
    const { ports, a, b, gone } = pair();
    b.running = false;
    a.inject(frame);
    expect(b.sent).toEqual([]);
    b.inject(frame);
    expect(a.sent).toEqual([]);
    a.rename("c");
    expect(ports.device("c")).toBe(a);
    expect(errno(() => a.rename("b"))).toBe(EEXIST);
    a.remove();
    expect(gone).toEqual([a]);
    expect(a.running).toBe(false);
    expect(errno(() => ports.openNetdev("c"))).toBe(ENODEV);
    b.close();
    b.remove();
    expect(gone).toEqual([a]);
  });

  it("a device without Ethernet header hands over the ethertype", () => {
    const ports = new MemoryPorts(new PacketMemory());
    ports.addDevice("tun0", { l3: true });
    const tun = ports.openNetdev("tun0");
    const seen: unknown[] = [];
    ports.start(
      (packet) => seen.push([packet.macNone, packet.protocol, packet.len]),
      () => {},
    );
    tun.inject(frame, { protocol: 0x0800 });
    expect(seen).toEqual([[true, 0x0800, 60]]);
  });
});

describe("isDeviceName", () => {
  it.each(["eth0", "a", "x".repeat(15), "veth@1", "ü"])("takes %j", (name) => expect(isDeviceName(name)).toBe(true));
  it.each(["", ".", "..", "a/b", "a:b", "a b", "a\tb", "x".repeat(16), "ü".repeat(8)])("refuses %j", (name) => {
    expect(isDeviceName(name)).toBe(false);
  });
});
