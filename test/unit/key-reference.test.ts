/** nokmod against what Linux 6.12's openvswitch.ko answered (test/fixtures/extract-6.12.json, test/reference). */
import { describe, expect, it } from "vitest";
import { extractKey } from "../../src/datapath/extract.ts";
import { newKey } from "../../src/datapath/flow-key.ts";
import { dpHash } from "../../src/datapath/hash.ts";
import {
  extractUserspace,
  parseKey,
  parseMatch,
  parseMetadata,
  putKey,
  putMask,
} from "../../src/datapath/key-codec.ts";
import { Errno } from "../../src/errors.ts";
import { MessageWriter } from "../../src/netlink/writer.ts";
import { Packet } from "../../src/packet/packet.ts";
import { EINVAL, ENOENT } from "../../src/uapi/errno.ts";
import { concat, hex, unhex } from "../support/frames.ts";
import { executeCases, extractionCases, maskPairs, matchCases, sharedMemory } from "../support/key-cases.ts";
import { type Answer, keysOf, readFixture, unpack } from "../support/key-fixture.ts";

const fixture = readFixture();
const memory = sharedMemory();

/** Puts a frame between bytes that are not its own. */
function packetOf(bytes: Uint8Array): Packet {
  memory.bytes.fill(0xa5, 0, 4096);
  memory.bytes.set(bytes, 512);
  const packet = new Packet(memory);
  packet.reset(512, bytes.length, 0, 4096);
  return packet;
}

function put(key: Int32Array): string {
  const writer = new MessageWriter();
  putKey(writer, key);
  return hex(writer.finish());
}

function receive(bytes: Uint8Array): Answer {
  const packet = packetOf(bytes);
  packet.inPort = 1;
  const key = newKey();
  return extractKey(packet, key) === 0 ? put(key) : -EINVAL;
}

function execute(keyBytes: Uint8Array, bytes: Uint8Array): Answer {
  return errnoOf(() => {
    const packet = packetOf(bytes);
    const key = newKey();
    const tuples = parseMetadata(viewOf(keyBytes), 0, keyBytes.length, packet, key);
    return extractUserspace(packet, key, tuples) || put(key);
  });
}

function match(keyBytes: Uint8Array, maskBytes: Uint8Array | null): Answer {
  return errnoOf(() => {
    const all = concat(keyBytes, maskBytes ?? new Uint8Array(0));
    const key = newKey();
    const mask = newKey();
    parseMatch(viewOf(all), 0, keyBytes.length, maskBytes === null ? -1 : keyBytes.length, all.length, key, mask);
    const writer = new MessageWriter();
    putMask(
      writer,
      key.map((word, i) => word & mask[i]),
      mask,
    );
    return [put(key), hex(writer.finish())];
  });
}

function errnoOf(work: () => Answer): Answer {
  try {
    return work();
  } catch (error) {
    if (error instanceof Errno) return -error.errno;
    throw error;
  }
}

const viewOf = (bytes: Uint8Array): DataView => new DataView(bytes.buffer, bytes.byteOffset, bytes.length);

/** Names, ours and theirs of all cases that differ. */
function differences<T>(cases: readonly T[], answers: readonly Answer[], ours: (one: T) => Answer): unknown[] {
  return cases.flatMap((one, i) => {
    const mine = ours(one);
    const theirs = answers[i];
    return JSON.stringify(mine) === JSON.stringify(theirs)
      ? []
      : [{ case: (one as { name: string }).name, mine, theirs }];
  });
}

describe("Linux 6.12", () => {
  it("was asked what is asked here", () => {
    expect(fixture.questions).toBe(keysOf(executeCases(), matchCases(), maskPairs()));
    expect(fixture.extract.frames.length).toBeGreaterThan(2000);
  });

  it("K-112…K-215: gives every frame the same key", () => {
    const cases = extractionCases();
    expect(fixture.extract.frames).toEqual(cases.map(({ bytes }) => hex(bytes)));
    const answers = fixture.extract.execute.map((packed) => unpack(fixture, packed));
    expect(differences(cases, answers, ({ bytes }) => receive(bytes))).toEqual([]);
  });

  it("K-104…K-111: treats the keys of EXECUTE alike", () => {
    const answers = fixture.execute.map((packed) => unpack(fixture, packed));
    expect(differences(executeCases(), answers, ({ key, frame }) => execute(key, frame))).toEqual([]);
  });

  it("K-034…K-090, K-112…K-122, K-210…K-250: reads and shows keys and masks of flows alike", () => {
    const answers = fixture.match.map((packed) => unpack(fixture, packed));
    expect(differences(matchCases(), answers, ({ key, mask }) => match(key, mask))).toEqual([]);
  });

  it("K-076…K-090: understands the same keys without mask", () => {
    const ours = ({ key }: { key: Uint8Array }): Answer =>
      errnoOf(() => {
        parseKey(viewOf(key), 0, key.length, newKey());
        return -ENOENT;
      });
    expect(differences(matchCases(), fixture.get, ours)).toEqual([]);
  });

  it("K-074: takes the same masks for one", () => {
    const ours = ({ flows }: { flows: [Uint8Array, Uint8Array][] }): Answer =>
      new Set(
        flows.map(([keyBytes, maskBytes]) => {
          const all = concat(keyBytes, maskBytes);
          const mask = newKey();
          const range = parseMatch(viewOf(all), 0, keyBytes.length, keyBytes.length, all.length, newKey(), mask);
          return `${range} ${mask.join()}`;
        }),
      ).size;
    expect(differences(maskPairs(), fixture.masks, ours)).toEqual([]);
  });

  it("K-280: hashes alike", () => {
    for (const { hash, basis, dpHash: theirs } of fixture.hash) expect(dpHash(hash, basis)).toBe(theirs);
    expect(unhex("00").length).toBe(1);
  });
});
