import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmdirSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { OvsClient } from "../../src/client/index.ts";
import { ManualClock } from "../../src/core/clock.ts";
import { Log } from "../../src/core/log.ts";
import { SeededRandom } from "../../src/core/random.ts";
import { MemoryPorts } from "../../src/port/memory/ports.ts";
import { keepAside, readPlainFile, replaceFile } from "../../src/runtime/atomic-file.ts";
import { Nokmod } from "../../src/runtime/nokmod.ts";
import { parseState } from "../../src/runtime/saved-state.ts";
import { StateFile } from "../../src/runtime/state-file.ts";
import * as ovs from "../../src/uapi/openvswitch.ts";

let directory: string;
let path: string;
const closers: (() => void)[] = [];
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), "nokmod-state-"));
  path = join(directory, "state");
});
afterEach(() => {
  for (const close of closers.splice(0).reverse()) close();
  rmSync(directory, { recursive: true });
});

interface Machine {
  nokmod: Nokmod;
  client: OvsClient;
  state: StateFile;
  lines: string[];
}

function machine(file = path): Machine {
  const ports = new MemoryPorts();
  for (const name of ["left", "right"]) ports.addDevice(name);
  const lines: string[] = [];
  const log = new Log({ sink: { write: (text) => lines.push(text.slice(25)) } });
  const nokmod = new Nokmod({ ports, clock: new ManualClock(), random: new SeededRandom(1), tickInterval: 0, log });
  const state = new StateFile(nokmod, file, log);
  const client = new OvsClient(nokmod);
  closers.push(() => {
    client.close();
    state.close(false);
    nokmod.close();
    log.close();
  });
  return { nokmod, client, state, lines };
}

const saved = (file = path) => parseState(readFileSync(file, "utf8"));
const NETDEV = { type: ovs.OVS_VPORT_TYPE_NETDEV };

describe("what was answered is in the file", () => {
  it("a new datapath, a port put, changed and deleted: each before its answer", () => {
    const { client, state } = machine();
    state.follow();
    const dp = client.createDatapath("dp0").ifindex;
    expect(saved().datapaths).toMatchObject([{ name: "dp0", ifindex: dp }]);
    client.createVport(dp, { name: "left", upcallPids: [7], ...NETDEV });
    expect(saved().datapaths[0].ports[1]).toMatchObject({ name: "left", portNo: 1, upcallPids: [7] });
    client.setVport(dp, "left", { upcallPids: [9] });
    expect(saved().datapaths[0].ports[1].upcallPids).toEqual([9]);
    client.setDatapath(dp, { userFeatures: ovs.OVS_DP_F_UNALIGNED });
    expect(saved().datapaths[0].userFeatures).toBe(ovs.OVS_DP_F_UNALIGNED);
    client.deleteVport(dp, 1);
    expect(saved().datapaths[0].ports.map(({ name }) => name)).toEqual(["dp0"]);
    client.deleteDatapath(dp);
    expect(saved().datapaths).toEqual([]);
    expect(statSync(path).mode & 0o777).toBe(0o600);
    expect(readdirSync(directory)).toEqual(["state"]);
  });

  it("another nokmod makes the same again", () => {
    const before = machine();
    before.state.follow();
    const dp = before.client.createDatapath("dp0").ifindex;
    before.client.createVport(dp, { name: "right", portNo: 5, ...NETDEV });
    before.client.createVport(dp, { name: "left", portNo: 3, ...NETDEV });
    const after = machine();
    expect(after.state.restore()).toEqual([]);
    const [{ ifindex }] = after.client.datapaths();
    expect(ifindex).toBe(dp);
    const ports = after.client.vports(ifindex).map(({ name, portNo }) => `${portNo} ${name}`);
    expect(ports.sort()).toEqual(["0 dp0", "3 left", "5 right"]);
  });
});

describe("a file that cannot be used", () => {
  const good = { version: 2, boot: "b", datapaths: [], zoneLimits: [], timeoutPolicies: [], tunnels: {}, devices: {} };
  const datapath = { name: "dp0", ifindex: 1, userFeatures: 0, masksCacheSize: 256, perCpuPids: null, meters: [] };
  const port = { name: "p", type: 1, portNo: 1, ifindex: 2, upcallPids: [0], tunnelPort: null, gbp: false };

  it.each([
    ["not JSON", "{", "not JSON: "],
    ["a number", "7", "the whole: "],
    ["another version", { ...good, version: 3 }, "version: "],
    ["no list of datapaths", { ...good, datapaths: {} }, "datapaths: Invalid input: expected array, received object"],
    [
      "a port number that is text",
      { ...good, datapaths: [{ ...datapath, ports: [port, { ...port, portNo: "2" }] }] },
      "datapaths[0].ports[1].portNo: Invalid input: expected number, received string",
    ],
    [
      "a name that is more than a name",
      { ...good, devices: { "x\nlink del eth0": { address: "", mtu: 1, up: true, addresses: [] } } },
      "devices.x\nlink del eth0: ",
    ],
    [
      "an address that is more than an address",
      { ...good, devices: { x: { address: "", mtu: 1, up: true, addresses: ["10.0.0.1/8 dev eth0"] } } },
      "devices.x.addresses[0]: expected ADDRESS/PREFIX",
    ],
  ])("%s: says what is wrong where, keeps the file aside, goes on", (_, content, says) => {
    const text = typeof content === "string" ? content : JSON.stringify(content);
    for (const number of [1, 2]) {
      writeFileSync(path, text);
      const { state, client } = machine();
      const [failure, ...more] = state.restore();
      expect(failure).toContain(`state file ${path}: ${says}`);
      expect(failure).toContain(`; kept as ${path}.bad-${number}`);
      expect(more).toEqual([]);
      expect(readFileSync(`${path}.bad-${number}`, "utf8")).toBe(text);
      state.follow();
      client.createDatapath("dp0");
      expect(saved().datapaths.length).toBe(1);
    }
  });

  it("a symlink is not followed, neither to read nor to write", () => {
    const other = join(directory, "other");
    writeFileSync(other, "precious");
    symlinkSync(other, path);
    symlinkSync(other, `${path}.new`);
    const { state, client } = machine();
    expect(state.restore()).toEqual([`state file ${path}: ELOOP; kept as ${path}.bad-1`]);
    state.follow();
    client.createDatapath("dp0");
    expect(saved().datapaths.length).toBe(1);
    expect(readFileSync(other, "utf8")).toBe("precious");
    expect(existsSync(`${path}.new`)).toBe(false);
  });

  it("of another boot, or not there: nothing is made and nothing said", () => {
    expect(machine().state.restore()).toEqual([]);
    writeFileSync(path, JSON.stringify({ ...good, datapaths: [{ ...datapath, ports: [] }] }));
    const { state, client } = machine();
    expect(state.restore()).toEqual([]);
    expect(client.datapaths()).toEqual([]);
    expect(readdirSync(directory)).toEqual(["state"]);
  });
});

describe("a file that cannot be written", () => {
  it("is said once, requests go on, the last good file stays, and it is written again when it can be", () => {
    const folder = join(directory, "folder");
    const file = join(folder, "state");
    const { state, client, lines } = machine(file);
    state.follow();
    client.createDatapath("dp0");
    client.createDatapath("dp1");
    expect(state.failures).toBe(3);
    expect(lines).toEqual([
      `warn: cannot write the state file ${file}: ENOENT; the last good one stays, and writing is tried again\n`,
    ]);
    mkdirSync(folder);
    client.createDatapath("dp2");
    expect(saved(file).datapaths.length).toBe(3);
    expect(state.failures).toBe(0);
    expect(lines.slice(1)).toEqual([`info: state file ${file} is written again, after 3 failures\n`]);
    // A folder in the place of the temporary file.
    mkdirSync(`${file}.new`);
    const text = readFileSync(file, "utf8");
    client.createDatapath("dp3");
    expect(readFileSync(file, "utf8")).toBe(text);
    rmdirSync(`${file}.new`);
    client.createDatapath("dp4");
    expect(saved(file).datapaths.length).toBe(5);
  });
});

describe("files", () => {
  it("replaceFile() leaves the old file and no other when it fails", () => {
    writeFileSync(path, "old");
    const missing = join(directory, "missing/state");
    expect(() => replaceFile(missing, "new", { mode: 0o600, durable: true })).toThrow(
      expect.objectContaining({ code: "ENOENT" }),
    );
    replaceFile(path, "new", { mode: 0o640, durable: true });
    expect(readFileSync(path, "utf8")).toBe("new");
    expect(readdirSync(directory)).toEqual(["state"]);
  });

  it("readPlainFile() reads nothing but files; keepAside() takes the next free number", () => {
    expect(readPlainFile(path)).toBeUndefined();
    expect(() => readPlainFile("/dev/null")).toThrow(expect.objectContaining({ code: "ERR_NOT_A_FILE" }));
    for (const number of [1, 2, 3]) {
      writeFileSync(path, `${number}`);
      expect(keepAside(path)).toBe(`${path}.bad-${number}`);
    }
    expect(readFileSync(`${path}.bad-1`, "utf8")).toBe("1");
  });
});
