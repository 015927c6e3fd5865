/**
 * Every attribute table: what it encodes passes its own validation and decodes to the same value, and no bytes make its
 * validation or decoding throw anything but an Errno.
 */
import { readFileSync } from "node:fs";
import { gunzipSync } from "node:zlib";
import { describe, expect, it } from "vitest";
import { Errno } from "../../src/core/errors.ts";
import { SeededRandom } from "../../src/core/random.ts";
import { ExtAck } from "../../src/netlink/extack.ts";
import {
  type AnyAttributeSet,
  type Attribute,
  AttributeSet,
  type Definitions,
  type NamedAttribute,
  Rule,
  toJson,
  toText,
} from "../../src/netlink/schema/index.ts";
import { MessageWriter } from "../../src/netlink/writer.ts";
import * as ctnetlink from "../../src/schema/ctnetlink.ts";
import * as genetlink from "../../src/schema/genetlink.ts";
import * as dropMonitor from "../../src/schema/net-dropmon.ts";
import * as openvswitch from "../../src/schema/openvswitch.ts";
import * as psample from "../../src/schema/psample.ts";
import { NETLINK_NETFILTER } from "../../src/uapi/netlink.ts";
import { MessageDecoder } from "../support/decode.ts";

const SEED = Number(process.env.NOKMOD_SEED ?? 7);
const RUNS = 120;
const random = new SeededRandom(SEED);
const below = (n: number): number => random.u32() % n;

/** Sets that a module exports. */
const sets = Object.values<unknown>({ ...openvswitch, ...ctnetlink, ...genetlink, ...dropMonitor, ...psample }).filter(
  (value): value is AttributeSet<Definitions> => value instanceof AttributeSet,
);

const bytesOf = (length: number): Uint8Array => Uint8Array.from({ length }, () => below(256));

/** Attributes of a level, in any order, as bytes. An ordered set may repeat them. */
function level(set: AnyAttributeSet, depth: number): Uint8Array {
  const known = set.byType.filter((attribute): attribute is NamedAttribute => attribute !== undefined);
  const chosen = set.ordered
    ? Array.from({ length: below(5) }, () => known[below(known.length)])
    : known.filter(() => below(3) === 0);
  const writer = new MessageWriter();
  for (const attribute of chosen) {
    const payload = payloadOf(attribute, depth);
    if (payload !== undefined) writer.raw(attribute.type, payload);
  }
  return writer.finish();
}

/** Bytes that the rule of an attribute lets pass. */
function payloadOf(attribute: Attribute<unknown>, depth: number): Uint8Array | undefined {
  const { rule, length, size, min = 0, max, mask, inner, element } = attribute;
  if (inner !== undefined) return depth > 3 ? undefined : level(inner(), depth + 1);
  if (element !== undefined) {
    const writer = new MessageWriter();
    for (let i = 0; i < below(4); i++) {
      const entry = payloadOf(element, depth + 1);
      if (entry !== undefined) writer.raw(i, entry);
    }
    return writer.finish();
  }
  switch (rule) {
    case Rule.FLAG:
      return new Uint8Array(0);
    case Rule.NUL_STRING:
    case Rule.STRING: {
      const text = Array.from({ length: 1 + below((length || 20) - 1) }, () => 33 + below(90));
      return Uint8Array.from([...text, 0]);
    }
    case Rule.BINARY:
      return bytesOf(max !== undefined ? min + below(max - min + 1) : below((length || 40) + 1));
    case Rule.UNSPEC:
    case Rule.NESTED:
      // Without a size it may be text: ASCII.
      return size > 0 ? bytesOf(size) : bytesOf(Math.max(length, 4 * below(8))).map((byte) => byte & 0x7f || 1);
    default: {
      if (max === undefined && mask === undefined && min === 0) {
        const bytes = bytesOf(size);
        // A number is exact below 2^53; signed ones with a least value have no sign.
        if (size === 8) bytes.fill(0, rule === Rule.U64 ? 6 : 0, rule === Rule.U64 ? 8 : 2);
        if (attribute.min !== undefined) bytes[size - 1] &= 0x7f;
        return bytes;
      }
      const writer = new MessageWriter();
      attribute.write(writer, attribute.type, (min + below((max ?? 0xffff) - min + 1)) & (mask ?? -1));
      return writer.finish().slice(4, 4 + size);
    }
  }
}

const viewOf = (bytes: Uint8Array): DataView => new DataView(bytes.buffer, bytes.byteOffset, bytes.length);

/** Runs what may fail with an Errno only. */
function onlyErrno(run: () => void): void {
  try {
    run();
  } catch (error) {
    if (!(error instanceof Errno)) throw error;
  }
}

describe(`tables of src/schema, seed ${SEED}`, () => {
  it("are all there", () => expect(sets.length).toBeGreaterThan(40));

  it.each(sets.map((set) => [set.name, set] as const))("%s: encode, validate, decode", (_, set) => {
    for (let run = 0; run < RUNS; run++) {
      const bytes = level(set, 0);
      const value = set.decode(viewOf(bytes), 0, bytes.length, true);
      const writer = new MessageWriter();
      set.encode(writer, value);
      set.parse(set.table(), writer.view, 0, writer.length, 0, undefined);
      expect(set.decode(writer.view, 0, writer.length, true)).toEqual(value);
      expect(set.decode(writer.view, 0, writer.length)).toEqual(value);
    }
  });

  it.each(sets.map((set) => [set.name, set] as const))("%s: any bytes at all", (_, set) => {
    for (let run = 0; run < RUNS; run++) {
      const bytes = run % 2 === 0 ? bytesOf(below(120)) : level(set, 0);
      for (let i = 0; i < below(4) && bytes.length > 0; i++)
        bytes[below(bytes.length)] = below(4) === 0 ? below(256) : below(6);
      const view = viewOf(bytes);
      for (const strict of [false, true]) {
        onlyErrno(() => set.parse(set.table(), view, 0, bytes.length, 0, new ExtAck(), strict));
      }
      toText(set.decode(view, 0, bytes.length));
      toJson(set.decode(view, 0, bytes.length, true));
    }
  });
});

const fixture = (name: string): string | Buffer => {
  const bytes = readFileSync(new URL(`../fixtures/${name}`, import.meta.url));
  return name.endsWith(".gz") ? gunzipSync(bytes) : bytes;
};

describe("recorded messages are printed", () => {
  for (const name of ["vswitchd-6.12.json", "netlink-answers-6.12.json"]) {
    it(name, () => {
      const { families, transactions, cases } = JSON.parse(String(fixture(name))) as {
        families: Record<string, number>;
        transactions?: { request: string; replies: string[] }[];
        cases?: { request: string; replies: string[] }[];
      };
      const decoder = new MessageDecoder(Object.entries(families).map(([family, id]) => [id, family] as const));
      let count = 0;
      for (const { request, replies } of transactions ?? cases ?? []) {
        for (const hex of [request, ...replies]) {
          for (const message of decoder.decode(new Uint8Array(Buffer.from(hex, "hex")))) {
            expect(toText(message)).not.toContain("undefined");
            count++;
          }
        }
      }
      expect(count).toBeGreaterThan(100);
    });
  }

  it("ctnetlink-6.18.json.gz", () => {
    const { scripts } = JSON.parse(String(fixture("ctnetlink-6.18.json.gz"))) as {
      scripts: { steps: { answers: [number, number, number, boolean, string][]; events: typeof scripts }[] }[];
    };
    const decoder = new MessageDecoder([], NETLINK_NETFILTER);
    let count = 0;
    for (const { steps } of scripts) {
      for (const { answers, events } of steps) {
        for (const record of [...answers, ...(events as unknown as typeof answers)]) {
          const [type, flags] = record;
          const body = record.find((part): part is string => typeof part === "string");
          if (typeof type !== "number" || body === undefined) continue;
          const writer = new MessageWriter();
          const at = writer.beginMessage(type, flags, 0, 0);
          const bytes = Buffer.from(body, "hex");
          writer.bytes.set(bytes, writer.reserve(bytes.length));
          writer.endMessage(at);
          const [message] = decoder.decode(writer.finish());
          expect(message.type).toMatch(/^(ctnetlink|ctnetlink_exp|cttimeout)$/);
          expect(toText(message)).not.toMatch(/#\d/);
          count++;
        }
      }
    }
    expect(count).toBeGreaterThan(100);
  });
});
