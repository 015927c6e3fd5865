import {
  appendFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { OvsClient } from "../../src/client/index.ts";
import { ManualClock } from "../../src/core/clock.ts";
import { Log } from "../../src/core/log.ts";
import { SeededRandom } from "../../src/core/random.ts";
import { MessageWriter } from "../../src/netlink/writer.ts";
import { MemoryPorts } from "../../src/port/memory/ports.ts";
import { Nokmod } from "../../src/runtime/nokmod.ts";
import { StateFile } from "../../src/runtime/state-file.ts";
import * as ovs from "../../src/uapi/openvswitch.ts";

let directory: string;
let path: string;
const closers: (() => void)[] = [];
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), "nokmod-flows-"));
  path = join(directory, "state");
});
afterEach(() => {
  vi.useRealTimers();
  for (const close of closers.splice(0).reverse()) close();
  rmSync(directory, { recursive: true });
});

interface Machine {
  readonly nokmod: Nokmod;
  readonly client: OvsClient;
  readonly state: StateFile;
  readonly lines: string[];
  readonly ports: MemoryPorts;
}

/** A nokmod with the ports left and right. */
function machine(): Machine {
  const ports = new MemoryPorts();
  for (const name of ["left", "right"]) ports.addDevice(name);
  const lines: string[] = [];
  const log = new Log({ sink: { write: (text) => lines.push(text.slice(25)) } });
  const nokmod = new Nokmod({ ports, clock: new ManualClock(), random: new SeededRandom(1), tickInterval: 0, log });
  const state = new StateFile(nokmod, path, log);
  const client = new OvsClient(nokmod);
  closers.push(() => {
    client.close();
    state.close(false);
    nokmod.close();
    log.close();
  });
  return { nokmod, client, state, lines, ports };
}

/** A machine that writes its state, with the datapath dp0 and both ports. */
function following(): Machine & { readonly dp: number } {
  const made = machine();
  made.state.follow();
  const dp = made.client.createDatapath("dp0").ifindex;
  for (const name of ["left", "right"]) made.client.createVport(dp, { name, type: ovs.OVS_VPORT_TYPE_NETDEV });
  return { ...made, dp };
}

/** A machine that has restored the state. */
function restored(): Machine & { readonly failures: string[] } {
  const made = machine();
  return { ...made, failures: made.state.restore() };
}

function attributes(build: (writer: MessageWriter) => void): Uint8Array {
  const writer = new MessageWriter();
  build(writer);
  return writer.finish();
}

/** Key of an Ethernet frame of type `type` from port 1. */
const keyOf = (type: number): Uint8Array =>
  attributes((w) => {
    w.u32(ovs.OVS_KEY_ATTR_IN_PORT, 1);
    w.raw(ovs.OVS_KEY_ATTR_ETHERNET, new Uint8Array(12));
    w.be16(ovs.OVS_KEY_ATTR_ETHERTYPE, type);
  });
const mask = attributes((w) => {
  w.u32(ovs.OVS_KEY_ATTR_IN_PORT, 0xffffffff);
  w.raw(ovs.OVS_KEY_ATTR_ETHERNET, new Uint8Array(12));
  w.be16(ovs.OVS_KEY_ATTR_ETHERTYPE, 0xffff);
});
const output = (port: number): Uint8Array => attributes((w) => w.u32(ovs.OVS_ACTION_ATTR_OUTPUT, port));
const ufidOf = (number: number): Uint8Array => new Uint8Array(16).fill(number);

/** All that makes a flow what it is. */
const flowsOf = ({ client }: Machine): unknown[] =>
  client
    .datapaths()
    .flatMap(({ ifindex }) =>
      [...client.flows(ifindex)]
        .map(({ datapath, ufid, key, mask, actions }) => ({ datapath, ufid, key, mask, actions }))
        .sort((a, b) => JSON.stringify(a).localeCompare(JSON.stringify(b))),
    );

const file = (): string => `${path}.flows`;

describe("flows after a crash", () => {
  it("are those that were put, changed and not deleted, by UFID and by key", () => {
    const before = following();
    const { client, dp } = before;
    for (let i = 1; i <= 4; i++)
      client.putFlow(dp, { ufid: ufidOf(i), key: keyOf(0x9000 + i), mask, actions: output(2) });
    client.putFlow(dp, { key: keyOf(0x9100), mask, actions: output(2) });
    client.putFlow(dp, { key: keyOf(0x9101), actions: new Uint8Array() });
    client.setFlow(dp, { key: keyOf(0x9100) }, { actions: output(0) });
    client.deleteFlow(dp, { ufid: ufidOf(2) });
    client.putFlow(dp, { ufid: ufidOf(3), key: keyOf(0x9003), mask, actions: output(0), create: false });
    const after = restored();
    expect(after.failures).toEqual([]);
    expect(flowsOf(after)).toHaveLength(5);
    expect(flowsOf(after)).toEqual(flowsOf(before));
    expect(statSync(file()).mode & 0o777).toBe(0o600);
  });

  it("switch packets", () => {
    const before = following();
    before.client.putFlow(before.dp, { key: keyOf(0x9000), mask, actions: output(2) });
    const { ports } = restored();
    const frame = Uint8Array.from({ length: 60 }, (_, i) => (i === 12 ? 0x90 : 0));
    ports.device("left")?.inject(frame);
    expect(ports.device("right")?.sent).toEqual([frame]);
  });

  it("are none after a flush, and the file goes with the last datapath that has flows", () => {
    const { client, dp } = following();
    client.putFlow(dp, { ufid: ufidOf(1), key: keyOf(0x9000), mask, actions: output(2) });
    client.flushFlows(dp);
    expect(flowsOf(restored())).toEqual([]);
    client.putFlow(dp, { ufid: ufidOf(1), key: keyOf(0x9000), mask, actions: output(2) });
    expect(existsSync(file())).toBe(true);
    client.deleteDatapath(dp);
    expect(existsSync(file())).toBe(false);
  });

  it("do not come back in a datapath that takes the number of a deleted one", () => {
    const before = following();
    const { client, dp } = before;
    client.putFlow(dp, { ufid: ufidOf(1), key: keyOf(0x9000), mask, actions: output(2) });
    const other = client.createDatapath("dp1").ifindex;
    client.putFlow(other, { ufid: ufidOf(2), key: keyOf(0x9001), mask, actions: output(0) });
    client.deleteDatapath(dp);
    client.createDatapath("dp0", { ifindex: dp });
    const after = restored();
    expect(after.failures).toEqual([]);
    expect(flowsOf(after)).toEqual(flowsOf(before));
    expect(flowsOf(after)).toHaveLength(1);
  });

  it("are as many after many changes, in a file that does not grow for ever", async () => {
    const before = following();
    const { client, dp } = before;
    let largest = 0;
    for (let round = 0; round < 40; round++) {
      for (let i = 0; i < 1000; i++) {
        const ufid = Uint8Array.of(i & 255, i >> 8);
        client.putFlow(dp, { ufid, key: keyOf(0x1000 + i), mask, actions: output(round % 3), create: false });
      }
      // Slices of the rewriting, between requests.
      await new Promise((resolve) => setImmediate(resolve));
      largest = Math.max(largest, statSync(file()).size);
    }
    expect(largest).toBeLessThan(3 << 20);
    const after = restored();
    expect(flowsOf(after)).toHaveLength(1000);
    expect(flowsOf(after)).toEqual(flowsOf(before));
  });
});

describe("a file of flows that is not whole", () => {
  function saved(): Uint8Array {
    const { client, dp } = following();
    for (const i of [1, 2]) client.putFlow(dp, { ufid: ufidOf(i), key: keyOf(0x9000 + i), mask, actions: output(2) });
    return readFileSync(file());
  }

  it("the request that was written in part is left out, wherever it ends", () => {
    const bytes = saved();
    const start = bytes.indexOf(0x0a) + 1;
    const middle = start + (bytes.length - start) / 2;
    const lengths = [0, 1, start - 1, start, start + 1, start + 20, middle - 1, middle, middle + 1, bytes.length - 1];
    for (const length of lengths) {
      writeFileSync(file(), bytes.subarray(0, length));
      const { failures, client, nokmod } = restored();
      const count = [...client.flows(client.datapath("dp0").ifindex)].length;
      expect(count, `${length} bytes`).toBe(length < middle ? 0 : 1);
      expect(failures.length).toBe(length === 0 || length >= start ? 0 : 1);
      nokmod.close();
    }
  });

  it("what the datapath refuses is counted and said", () => {
    saved();
    const text = readFileSync(path, "utf8");
    const request = readFileSync(file()).subarray(readFileSync(file()).indexOf(0x0a) + 1);
    const half = Buffer.from(request.subarray(0, request.length / 2));
    // Another command than a flow has.
    half[16] = 9;
    appendFileSync(file(), half);
    writeFileSync(path, text);
    const { failures, client } = restored();
    expect(failures).toEqual(["1 flows: EOPNOTSUPP"]);
    expect([...client.flows(client.datapath("dp0").ifindex)]).toHaveLength(2);
  });

  it("of another form, or a symlink: kept aside and said; of another boot: not used", () => {
    const bytes = saved();
    const state = readFileSync(path, "utf8");
    writeFileSync(file(), "something else\n");
    expect(restored().failures).toEqual([`file of flows ${file()}: not a file of flows; kept as ${file()}.bad-1`]);
    writeFileSync(join(directory, "other"), bytes);
    symlinkSync(join(directory, "other"), file());
    expect(restored().failures).toEqual([`file of flows ${file()}: ELOOP; kept as ${file()}.bad-2`]);
    const other = Buffer.from(bytes);
    other.write("x", other.indexOf(0x0a) - 1);
    writeFileSync(file(), other);
    writeFileSync(path, state);
    const { failures, client } = restored();
    expect(failures).toEqual([]);
    expect([...client.flows(client.datapath("dp0").ifindex)]).toEqual([]);
  });
});

it("a file that cannot be written: said once, requests go on, the old file goes, and all flows are in the next one", () => {
  vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout"] });
  const before = following();
  const { client, dp, lines } = before;
  mkdirSync(file());
  for (const i of [1, 2, 3]) client.putFlow(dp, { ufid: ufidOf(i), key: keyOf(0x9000 + i), mask, actions: output(2) });
  vi.advanceTimersByTime(10_000);
  const warnings = lines.filter((line) => line.includes("cannot write the file of flows"));
  expect(warnings).toHaveLength(1);
  expect(flowsOf(before)).toHaveLength(3);
  rmSync(file(), { recursive: true });
  vi.advanceTimersByTime(10_000);
  expect(lines.at(-1)).toBe(`info: the file of flows ${file()} is written again\n`);
  client.deleteFlow(dp, { ufid: ufidOf(2) });
  expect(flowsOf(restored())).toEqual(flowsOf(before));
  expect(flowsOf(before)).toHaveLength(2);
});
