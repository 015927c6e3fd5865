/** nokmod against what Linux 6.12's openvswitch.ko answered (test/fixtures/extract-6.12.json, test/reference). */
import { describe, expect, it } from "vitest";
import { dpHash } from "../../src/flow/hash.ts";
import { hex } from "../support/frames.ts";
import { executeCases, extractionCases, maskPairs, matchCases } from "../support/key-cases.ts";
import { keysOf, readFixture, unpack } from "../support/key-fixture.ts";
import { differences, distinctMasks, execute, get, match, receive } from "../support/key-subject.ts";

const fixture = readFixture();

describe("Linux 6.12", () => {
  it("was asked what is asked here", () => {
    expect(fixture.questions).toBe(keysOf(executeCases(), matchCases(), maskPairs()));
    expect(fixture.extract.frames.length).toBeGreaterThan(2000);
  });

  it("K-112…K-190, K-192…K-215: gives every frame the same key", () => {
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

  it("K-104…K-111: treats the keys of EXECUTE alike", () => {
    const answers = fixture.execute.map((packed) => unpack(fixture, packed));
    expect(differences(executeCases(), answers, ({ key, frame }) => execute(key, frame))).toEqual([]);
  });

  it("K-001…K-090, K-099…K-103, K-112…K-122, K-210…K-244, K-247…K-265: reads and shows keys and masks of flows alike", () => {
    const answers = fixture.match.map((packed) => unpack(fixture, packed));
    expect(differences(matchCases(), answers, ({ key, mask }) => match(key, mask))).toEqual([]);
  });

  it("K-076…K-090: understands the same keys without mask", () => {
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
