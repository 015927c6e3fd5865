import { readFileSync } from "node:fs";
import { gunzipSync } from "node:zlib";
import { describe, expect, it } from "vitest";
import { dumpActions, validateActions } from "../../src/datapath/actions/index.ts";
import { newKey } from "../../src/datapath/flow-key.ts";
import { parseMatch } from "../../src/datapath/key-codec.ts";
import { Errno } from "../../src/errors.ts";
import { kernelProfile } from "../../src/kernel-profile.ts";
import { MessageWriter } from "../../src/netlink/writer.ts";
import { hex, unhex } from "../support/frames.ts";

/** What tools/reference/actions.py wrote down of openvswitch.ko 6.12. */
interface Recording {
  readonly keys: string[];
  readonly lists: [key: number, actions: string, answer: number | string][];
  readonly sizes: [key: number, piece: string, most: number][];
}

/** Another recording to hold against: see tools/reference/record-actions. */
const directory = process.env.NOKMOD_FIXTURES ?? new URL("../fixtures", import.meta.url).pathname;
const recording: Recording = JSON.parse(gunzipSync(readFileSync(`${directory}/actions-6.12.json.gz`)).toString());

const kernel = kernelProfile("6.12");

/** The helpers of the recording machine: ftp and tftp, for IPv4 and IPv6. */
const conntrack = {
  crossZoneNat: false,
  checkHelper: (name: string, _family: number, ipProto: number): number =>
    (name === "ftp" && ipProto === 6) || (name === "tftp" && ipProto === 17) ? 0 : -22,
};

const keys = recording.keys.map((text) => {
  const bytes = unhex(text);
  const key = newKey();
  parseMatch(new DataView(bytes.buffer), 0, bytes.length, -1, -1, key, newKey());
  return key;
});

function answer(key: Int32Array, actions: Uint8Array): number | string {
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

describe("action lists, as openvswitch.ko 6.12 answers", () => {
  it("A-001…A-036, A-038…A-102, A-104…A-111, C-001…C-051: refuses with the same errno and dumps the same bytes", () => {
    const differences: string[] = [];
    for (const [key, actions, expected] of recording.lists) {
      // Shorter than one attribute: refused by the policy of the message, before anybody looks at actions.
      if (actions.length > 0 && actions.length < 8) {
        expect(expected).toBe(34);
        continue;
      }
      const got = answer(keys[key], unhex(actions));
      if (got !== expected) differences.push(`key ${key} actions ${actions}\n  module ${expected}\n  nokmod ${got}`);
    }
    expect(recording.lists.length).toBeGreaterThan(3000);
    expect(differences.slice(0, Number(process.env.SHOW ?? 20)).join("\n"), `${differences.length} lists`).toBe("");
  });

  it("A-035: a clone whose list takes more than 65535 bytes in the kernel gives EMSGSIZE", () => {
    for (const [key, piece, most] of recording.sizes) {
      const bytes = unhex(piece);
      const limit = (count: number) => {
        const list = new Uint8Array(4 + count * bytes.length);
        new DataView(list.buffer).setUint16(0, list.length, true);
        list[2] = 20;
        for (let i = 0; i < count; i++) list.set(bytes, 4 + i * bytes.length);
        return answer(keys[key], list);
      };
      expect(typeof limit(most), piece).toBe("string");
      if (4 + (most + 1) * bytes.length < 65520) expect(limit(most + 1), piece).toBe(90);
    }
  });
});
