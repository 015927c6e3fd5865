/** nokmod against what Linux 6.12's openvswitch.ko answered (test/fixtures/extract-6.12.json, test/reference). */
import { describe, expect, it } from "vitest";
import { dpHash } from "../../src/flow/hash.ts";
import { hex } from "../support/frames.ts";
import { executeCases, extractionCases, maskPairs, matchCases } from "../support/key-cases.ts";
import { keysOf, readFixture, unpack } from "../support/key-fixture.ts";
import { differences, distinctMasks, execute, get, match, receive } from "../support/key-subject.ts";
import { rowsOfCases } from "../support/rows.ts";

const fixture = readFixture();

describe("Linux 6.12", () => {
  it("was asked what is asked here", () => {
    expect(fixture.questions).toBe(keysOf(executeCases(), matchCases(), maskPairs()));
    expect(fixture.extract.frames.length).toBeGreaterThan(2000);
  });

  it("gives every frame the same key", () => {
    const cases = extractionCases();
    expect(fixture.extract.frames).toEqual(cases.map(({ bytes }) => hex(bytes)));
    const answers = fixture.extract.execute.map((packed) => unpack(fixture, packed));
    expect(differences(cases, answers, ({ bytes }) => receive(bytes))).toEqual([]);
  });

  it("K-127: gives a frame from a device that key as well, unless its tag is cut short before it gets here", () => {
    const { frames, execute: executed, receive: received } = fixture.extract;
    frames.forEach((bytes, i) => {
      const tagged = ["8100", "88a8"].includes(bytes.slice(24, 28));
      const lost = unpack(fixture, executed[i]) === -22 || (tagged && bytes.length < 2 * 20);
      expect(unpack(fixture, received[i]), bytes).toEqual(lost ? null : unpack(fixture, executed[i]));
    });
  });

  it("treats the keys of EXECUTE alike", () => {
    const answers = fixture.execute.map((packed) => unpack(fixture, packed));
    expect(differences(executeCases(), answers, ({ key, frame }) => execute(key, frame))).toEqual([]);
  });

  it("reads and shows keys and masks of flows alike", () => {
    const answers = fixture.match.map((packed) => unpack(fixture, packed));
    expect(differences(matchCases(), answers, ({ key, mask }) => match(key, mask))).toEqual([]);
  });

  it("understands the same keys without mask", () => {
    expect(differences(matchCases(), fixture.get, ({ key }) => get(key))).toEqual([]);
  });

  it("K-074: takes the same masks for one", () => {
    expect(differences(maskPairs(), fixture.masks, ({ flows }) => distinctMasks(flows))).toEqual([]);
  });

  it("K-280: hashes alike", () => {
    expect(fixture.hash.length).toBe(12);
    for (const { hash, basis, dpHash: theirs } of fixture.hash) expect(dpHash(hash, basis)).toBe(theirs);
  });
});

describe("the cases that show a row", () => {
  const named = <T extends { name: string }>(
    kind: string,
    cases: readonly T[],
    run: (one: T) => unknown,
    packed: Packed,
  ) =>
    cases.map(
      (one, i) => [`${kind}: ${one.name}`, { ours: () => run(one), theirs: unpack(fixture, packed[i]) }] as const,
    );
  type Packed = typeof fixture.match;
  const cases = new Map<string, { ours: () => unknown; theirs: unknown }>([
    ...named("frame", extractionCases(), ({ bytes }) => receive(bytes), fixture.extract.execute),
    ...named("execute", executeCases(), ({ key, frame }) => execute(key, frame), fixture.execute),
    ...named("flow", matchCases(), ({ key, mask }) => match(key, mask), fixture.match),
  ]);

  for (const [name, rows] of rowsOfCases("extract-6.12")) {
    it(`${rows}: ${name}`, () => {
      expect(cases.has(name)).toBe(true);
      expect(cases.get(name)?.ours()).toEqual(cases.get(name)?.theirs);
    });
  }
});
