import { readFileSync } from "node:fs";
import { gunzipSync } from "node:zlib";
import { describe, expect, it } from "vitest";
import { Errno } from "../../src/core/errors.ts";
import { type KernelRelease, kernelProfile } from "../../src/core/kernel-profile.ts";
import { dumpActions } from "../../src/datapath/actions/program.ts";
import { parseMatch } from "../../src/flow/codec.ts";
import { newKey } from "../../src/flow/key.ts";
import { MessageWriter } from "../../src/netlink/writer.ts";
import { validateActions } from "../support/actions.ts";
import { hex, unhex } from "../support/frames.ts";
import { rowsOfCases } from "../support/rows.ts";

/** What tools/reference/actions.py wrote down of a kernel's openvswitch.ko. */
interface Recording {
  readonly keys: string[];
  readonly lists: [key: number, actions: string, answer: number | string][];
  readonly sizes: [key: number, piece: string, most: number][];
}

/** Another recording to hold against: see tools/reference/record-actions. */
const directory = process.env.NOKMOD_FIXTURES ?? new URL("../fixtures", import.meta.url).pathname;
const read = (release: KernelRelease): Recording =>
  JSON.parse(gunzipSync(readFileSync(`${directory}/actions-${release}.json.gz`)).toString());

/** The helpers of the recording machine: ftp and tftp, for IPv4 and IPv6. */
const conntrack = {
  crossZoneNat: false,
  checkHelper: (name: string, _family: number, ipProto: number): number =>
    (name === "ftp" && ipProto === 6) || (name === "tftp" && ipProto === 17) ? 0 : -22,
};

const keysOf = (recording: Recording): Int32Array[] =>
  recording.keys.map((text) => {
    const bytes = unhex(text);
    const key = newKey();
    parseMatch(new DataView(bytes.buffer), 0, bytes.length, -1, -1, key, newKey());
    return key;
  });

function answer(release: KernelRelease, key: Int32Array, actions: Uint8Array): number | string {
  const kernel = kernelProfile(release);
  try {
    const program = validateActions(new DataView(actions.buffer), 0, actions.length, key, { kernel, conntrack });
    const writer = new MessageWriter();
    dumpActions(program, writer);
    return hex(writer.finish());
  } catch (error) {
    if (error instanceof Errno) return error.errno;
    throw error;
  }
}

/** What nokmod in the kernel's place answers to a recorded list. */
function ours(release: KernelRelease, key: Int32Array, actions: string): number | string {
  // Shorter than one attribute: refused by the policy of the message, before anybody looks at actions.
  return actions.length > 0 && actions.length < 8 ? 34 : answer(release, key, unhex(actions));
}

/** The lists that a kernel answers otherwise than nokmod in its place. */
function differences(release: KernelRelease, recording: Recording): string[] {
  const keys = keysOf(recording);
  return recording.lists.flatMap(([key, actions, expected]) => {
    const got = ours(release, keys[key], actions);
    return got === expected ? [] : [`key ${key} actions ${actions}\n  module ${expected}\n  nokmod ${got}`];
  });
}

const shown = (found: string[]): string => found.slice(0, Number(process.env.SHOW ?? 20)).join("\n");

describe("action lists, as openvswitch.ko 6.12 answers", () => {
  const recording = read("6.12");

  it("refuses with the same errno and dumps the same bytes", () => {
    const found = differences("6.12", recording);
    expect(recording.lists.length).toBeGreaterThan(3000);
    expect(shown(found), `${found.length} lists`).toBe("");
  });

  describe("the lists that show a row: number of the key, list", () => {
    const keys = keysOf(recording);
    const answers = new Map(recording.lists.map(([key, actions, expected]) => [`${key} ${actions}`, expected]));
    for (const [name, rows] of rowsOfCases("actions-6.12")) {
      it(`${rows}: ${name}`, () => {
        const [key, actions] = name.split(" ");
        expect(answers.has(name)).toBe(true);
        expect(ours("6.12", keys[Number(key)], actions)).toBe(answers.get(name));
      });
    }
  });

  it("A-035: a clone whose list takes more than 65535 bytes in the kernel gives EMSGSIZE", () => {
    const keys = keysOf(recording);
    for (const [key, piece, most] of recording.sizes) {
      const bytes = unhex(piece);
      const limit = (count: number) => {
        const list = new Uint8Array(4 + count * bytes.length);
        new DataView(list.buffer).setUint16(0, list.length, true);
        list[2] = 20;
        for (let i = 0; i < count; i++) list.set(bytes, 4 + i * bytes.length);
        return answer("6.12", keys[key], list);
      };
      expect(typeof limit(most), piece).toBe("string");
      if (4 + (most + 1) * bytes.length < 65520) expect(limit(most + 1), piece).toBe(90);
    }
  });
});

describe("action lists, as openvswitch.ko 6.1 answers", () => {
  it("A-025…A-027, A-049: what came later is EINVAL, all else as in 6.12; lists with ct were left out", () => {
    // Recorded of 6.1.176 in Debian's User-Mode Linux, which has no conntrack zones.
    const recording = read("6.1");
    const found = differences("6.1", recording);
    expect(recording.lists.length).toBeGreaterThan(3000);
    expect(shown(found), `${found.length} lists`).toBe("");
    // The same lists tell the kernels apart.
    expect(differences("6.12", recording).length).toBeGreaterThan(20);
  });
});
