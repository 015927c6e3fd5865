import { readFileSync } from "node:fs";
import { gunzipSync } from "node:zlib";
import { describe, expect, it } from "vitest";
import { Errno } from "../../src/core/errors.ts";
import { kernelProfile } from "../../src/core/kernel-profile.ts";
import { ProgramCache } from "../../src/datapath/actions/cache.ts";
import { ActionExecutor } from "../../src/datapath/actions/execute.ts";
import { extractUserspace, parseMetadata } from "../../src/flow/codec.ts";
import { newKey } from "../../src/flow/key.ts";
import { PacketMemory } from "../../src/packet/memory.ts";
import { Packet } from "../../src/packet/packet.ts";
import { RecordingHost } from "../support/action-host.ts";
import { unhex } from "../support/frames.ts";
import { rowsOfCases } from "../support/rows.ts";

type Event = ["up", number, string, string, number, string, string?] | ["out", string];

/** What tools/reference/actions.py wrote down of openvswitch.ko 6.12. */
interface Recording {
  readonly packets: [key: string, frame: string][];
  readonly runs: [packet: number, mru: number, actions: string, errno: number, events: Event[]][];
}

/** Another recording to hold against: see tools/reference/record-actions. */
const directory = process.env.NOKMOD_FIXTURES ?? new URL("../fixtures", import.meta.url).pathname;
const recording: Recording = JSON.parse(gunzipSync(readFileSync(`${directory}/execute-6.12.json.gz`)).toString());

/** What the recording exercises; nothing in it has flows to recirculate into, connections, meters or tunnels. */
const rows = [
  "A-112…A-116",
  "A-120…A-123",
  "A-125…A-132",
  "A-159, A-160, A-165, A-168…A-175",
  "A-177…A-205",
  "A-207, A-208, A-210, A-211",
  "A-213…A-218",
  "A-224, A-225, A-230, A-231",
  "K-285…K-288, K-291",
];

const MISS = 1;
const ACTION = 2;
const PORT = 2;

const memory = new PacketMemory();
const host = new RecordingHost(memory);
const executor = new ActionExecutor(host, memory);
const cache = new ProgramCache({ kernel: kernelProfile("6.12"), conntrack: host.conntrack });
const key = newKey();

/** OVS_PACKET_CMD_EXECUTE: [errno, events]. */
function execute(meta: string, frame: string, mru: number, actions: string): [number, Event[]] {
  memory.resetScratch();
  host.events.length = 0;
  const bytes = unhex(frame);
  const packet = new Packet(memory);
  const base = memory.scratch(bytes.length + 128);
  memory.bytes.fill(0xa5, base, base + bytes.length + 128);
  memory.bytes.set(bytes, base + 128);
  packet.reset(base + 128, bytes.length, base, base + 128 + bytes.length);
  packet.mru = mru;
  let errno = 0;
  try {
    const metadata = unhex(meta);
    const tuples = parseMetadata(new DataView(metadata.buffer), 0, metadata.length, packet, key);
    errno = -extractUserspace(packet, key, tuples);
    if (errno === 0) {
      const list = unhex(actions);
      const program = cache.compile(new DataView(list.buffer), 0, list.length, key);
      errno = -executor.execute(packet, key, program);
    }
  } catch (error) {
    if (!(error instanceof Errno)) throw error;
    errno = error.errno;
  }
  const up: Event[] = [];
  const out: Event[] = [];
  for (const event of host.events) {
    if (event.kind === "upcall") {
      up.push(["up", ACTION, event.key, event.frame, event.length, event.userdata]);
      if (event.actions !== undefined) up.at(-1)?.push(event.actions as never);
    } else if (event.kind === "recirculate") up.push(["up", MISS, event.key, event.frame, 0, ""]);
    else if (event.kind === "output" && event.port === PORT && !event.l3) out.push(["out", event.frame()]);
  }
  return [errno === 0 ? 0 : errno, [...up, ...out]];
}

describe("executed actions, as openvswitch.ko 6.12 executes them", () => {
  it(`${rows.join(", ")}: same errno, same upcalls with key and frame, same frames out`, () => {
    const differences: string[] = [];
    for (const [index, mru, actions, errno, events] of recording.runs) {
      const [meta, frame] = recording.packets[index];
      const expected = JSON.stringify([errno, events]);
      const got = JSON.stringify(execute(meta, frame, mru, actions));
      if (got !== expected)
        differences.push(
          `packet ${index} ${frame} mru ${mru}\nactions ${actions}\n module ${expected}\n nokmod ${got}`,
        );
    }
    expect(recording.runs.length).toBeGreaterThan(5000);
    expect(differences.slice(0, Number(process.env.SHOW ?? 10)).join("\n"), `${differences.length} runs`).toBe("");
  });

  describe("the runs that show a row: number of the packet, MRU, actions", () => {
    const runs = new Map(recording.runs.map((run) => [run.slice(0, 3).join(" "), run]));
    for (const [name, rows] of rowsOfCases("execute-6.12")) {
      it(`${rows}: ${name}`, () => {
        const run = runs.get(name);
        if (run === undefined) throw new Error("not in the recording");
        const [index, mru, actions, errno, events] = run;
        const [meta, frame] = recording.packets[index];
        expect(execute(meta, frame, mru, actions)).toEqual([errno, events]);
      });
    }
  });
});
