/** NativePorts over a fake packet engine: which errors of the engine mean that a device is gone, and which are faults. */
import { afterEach, describe, expect, it, vi } from "vitest";
import { PacketMemory } from "../../src/packet/memory.ts";
import { isDeviceGone } from "../../src/port/native/attempt.ts";
import type { Link } from "../../src/port/native/packet-io.ts";
import { NativePorts } from "../../src/port/native/ports.ts";
import type { Port } from "../../src/port/port.ts";
import { EBADFD, EINVAL, EMFILE, ENETDOWN, ENODEV, ENOENT, ENXIO, EPERM } from "../../src/uapi/errno.ts";

/** An error as the addon throws it. */
const systemError = (errno: number): Error => Object.assign(new Error(`errno ${errno}`), { errno });

const device = (more: Partial<Link> = {}): Link => ({
  ifindex: 7,
  name: "eth7",
  type: 1,
  flags: 1,
  mtu: 1500,
  carrier: true,
  master: 0,
  deleted: false,
  nsid: -1,
  ...more,
});

/** The engine: what a test replaces, and the callback by which it reports changes of links. */
const engine = {
  getLink: (_ifindex: number, _name: string, _nsid: number): Link => device(),
  locateInternal: (): { ifindex: number; name: string; nsid: number } | undefined => ({
    ifindex: 9,
    name: "in0",
    nsid: -1,
  }),
  getStats: (): number[] => [1, 2, 3, 4, 5, 6, 7, 8],
  changed: (_link: Link | undefined): void => {},
};
const initial = { ...engine };

vi.mock("../../src/port/native/packet-io.ts", async (original) => ({
  ...(await original<object>()),
  createPacketIo: () => ({
    buffer: new PacketMemory().buffer,
    rx: new Int32Array(0),
    tx: new Int32Array(0),
    start: () => {},
    openNetdev: () => ({ ...device(), handle: 0 }),
    openInternal: () => ({ ...device({ ifindex: 9, name: "in0" }), handle: 1 }),
    getLink: (ifindex: number, name: string, nsid: number) => engine.getLink(ifindex, name, nsid),
    locateInternal: () => engine.locateInternal(),
    getStats: () => engine.getStats(),
    getCounters: () => [0, 0, 0],
    renamed: () => {},
    closePort: () => {},
    flush: () => {},
    shutdown: () => {},
    listen: (_onReady: () => void, onLink: (link: Link | undefined) => void) => {
      engine.changed = onLink;
    },
  }),
}));

/** A netdev and an internal port, with the events that they raise. */
function lab() {
  const gone: Port[] = [];
  const faults: Error[] = [];
  const ports = new NativePorts(1);
  const netdev = ports.openNetdev("eth7");
  engine.getLink = () => {
    throw systemError(ENODEV);
  };
  const internal = ports.createInternal("in0", 0);
  engine.getLink = initial.getLink;
  ports.start(
    () => {},
    () => {},
    { onGone: (port) => gone.push(port), onFault: (error) => faults.push(error) },
  );
  return { ports, netdev, internal, gone, faults };
}

const fail = (error: unknown) => (): never => {
  throw error;
};

afterEach(() => {
  Object.assign(engine, initial);
});

describe("errors of native calls", () => {
  it("mean a vanished device only by the errnos of one", () => {
    for (const errno of [ENODEV, ENXIO, ENETDOWN, EBADFD, ENOENT])
      expect([errno, isDeviceGone(systemError(errno), false)]).toEqual([errno, true]);
    for (const errno of [EPERM, EMFILE, EINVAL, 0])
      expect([errno, isDeviceGone(systemError(errno), false)]).toEqual([errno, false]);
    expect(isDeviceGone(systemError(EINVAL), true)).toBe(true);
    for (const defect of [new TypeError("x is undefined"), undefined, null, "text"])
      expect(isDeviceGone(defect, true)).toBe(false);
  });

  it.each([ENODEV, ENXIO, ENETDOWN])("errno %i while links are read again: the port is gone, once", (errno) => {
    const { netdev, internal, gone, faults } = lab();
    engine.getLink = fail(systemError(errno));
    engine.changed(undefined);
    engine.changed(undefined);
    expect(gone).toEqual([netdev, internal]);
    expect(netdev.running).toBe(false);
    expect(faults).toEqual([]);
  });

  it.each([
    ["a defect", new TypeError("x is undefined")],
    ["no descriptors left", systemError(EMFILE)],
  ])("%s is reported and no port is taken for gone; the next event works again", (_what, error) => {
    const { netdev, internal, gone, faults } = lab();
    engine.getLink = fail(error);
    engine.changed(undefined);
    expect(gone).toEqual([]);
    expect([netdev.running, internal.running]).toEqual([true, true]);
    expect(faults.map(({ cause }) => cause)).toEqual([error, error]);
    expect(faults[0].message).toContain("eth7");
    engine.getLink = () => device({ mtu: 9000 });
    engine.changed(undefined);
    expect(netdev.mtu).toBe(9000);
    expect(gone).toEqual([]);
  });

  it("a device in a namespace that has gone is gone (EINVAL), in this namespace EINVAL is a fault", () => {
    const { internal, gone, faults } = lab();
    engine.getLink = (ifindex) => (ifindex === 7 ? device() : fail(systemError(EINVAL))());
    engine.changed(undefined);
    expect([gone.length, faults.length]).toEqual([0, 1]);
    engine.locateInternal = () => ({ ifindex: 9, name: "in0", nsid: 3 });
    engine.changed(undefined);
    expect([gone, faults.length]).toEqual([[internal], 1]);
  });

  it("a defect in the receiver of events is reported and does not end the process", () => {
    const ports = new NativePorts(1);
    ports.openNetdev("eth7");
    const faults: Error[] = [];
    const defect = new TypeError("x is undefined");
    ports.start(
      () => {},
      () => {},
      { onGone: fail(defect), onFault: (error) => faults.push(error) },
    );
    engine.changed(device({ deleted: true }));
    expect(faults.map(({ cause }) => cause)).toEqual([defect]);
  });

  it("counters: a vanished device keeps its last ones silently, a defect is reported", () => {
    const { netdev, faults } = lab();
    expect(netdev.stats().rxPackets).toBe(1);
    engine.getStats = fail(systemError(ENODEV));
    expect(netdev.stats().rxPackets).toBe(1);
    expect(faults).toEqual([]);
    const defect = new TypeError("x is undefined");
    engine.getStats = fail(defect);
    expect(netdev.stats().rxPackets).toBe(1);
    expect(faults.map(({ cause }) => cause)).toEqual([defect]);
  });

  it("whether a name is free: a defect is thrown, not taken for a free name", () => {
    const { ports } = lab();
    const defect = new TypeError("x is undefined");
    engine.getLink = fail(defect);
    expect(() => ports.createInternal("in1", 0)).toThrow(defect);
  });
});
