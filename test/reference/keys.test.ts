/**
 * Asks a real openvswitch.ko all the questions of test/support/key-cases.ts and records its answers, which the unit
 * tests hold nokmod to. Needs NOKMOD_REFERENCE: a command that runs a script, given by path, as root on a machine or
 * virtual machine that has the module loaded and shares the file system.
 */
import { execFileSync } from "node:child_process";
import { chmodSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, it } from "vitest";
import { SeededRandom } from "../../src/core/random.ts";
import { hex } from "../support/frames.ts";
import { executeCases, extractionCases, frames, maskPairs, matchCases, oddFrames } from "../support/key-cases.ts";
import { type Answer, FIXTURE, type KeyFixture, keysOf, pack } from "../support/key-fixture.ts";
import { differences, match, receive } from "../support/key-subject.ts";

const runner = process.env.NOKMOD_REFERENCE;
const PORT_1 = "0800030001000000";

it.skipIf(runner === undefined)("records what the module says of flow keys", { timeout: 300_000 }, () => {
  const extractions = extractionCases();
  const executes = executeCases();
  const matches = matchCases();
  const masks = maskPairs();
  const hashes = [1, 2, 0x12345678, 0xffffffff].flatMap((hash) => [0, 1, 0xdeadbeef].map((basis) => ({ hash, basis })));
  const questions = [
    ...extractions.map(({ bytes }) => ({ op: "execute", key: PORT_1, frame: hex(bytes) })),
    ...extractions.map(({ bytes }) => ({ op: "receive", frame: hex(bytes) })),
    ...executes.map(({ key, frame }) => ({ op: "execute", key: hex(key), frame: hex(frame) })),
    ...matches.map(({ key, mask }) => ({ op: "flow", key: hex(key), mask: mask === null ? null : hex(mask) })),
    ...matches.map(({ key }) => ({ op: "get", key: hex(key) })),
    ...masks.map(({ flows }) => ({
      op: "masks",
      flows: flows.map(([key, mask]) => [hex(key), mask === null ? null : hex(mask)]),
    })),
    ...hashes.map(({ hash, basis }) => ({
      op: "hash",
      key: PORT_1,
      frame: hex(extractions[0].bytes), // Bit 32 says that the hash is a software hash, to be kept.
      hash: hash + 2 ** 32,
      alg: 0,
      basis,
    })),
  ];
  const answers = ask(questions);
  const take = (count: number): Answer[] => answers.splice(0, count);
  const fixture: KeyFixture = pack({
    extract: {
      frames: extractions.map(({ bytes }) => hex(bytes)),
      execute: take(extractions.length),
      receive: take(extractions.length),
    },
    execute: take(executes.length),
    match: take(matches.length),
    get: take(matches.length),
    masks: take(masks.length),
    hash: take(hashes.length).map((answer, i) => ({ ...hashes[i], dpHash: dpHashOf(answer as string) })),
    questions: keysOf(executes, matches, masks),
  });
  writeFileSync(FIXTURE, `${JSON.stringify(fixture, null, 0)}\n`);
});

it.skipIf(runner === undefined)("agrees with nokmod on random frames and keys", { timeout: 300_000 }, () => {
  // NOKMOD_SEED repeats a run.
  const seed = Number(process.env.NOKMOD_SEED ?? Date.now() % 1_000_000);
  const random = new SeededRandom(seed);
  const pick = <T>(list: readonly T[]): T => list[random.u32() % list.length];
  const change = (bytes: Uint8Array): Uint8Array => {
    const copy = bytes.slice();
    for (let n = random.u32() % 4; n > 0 && copy.length > 0; n--)
      copy[random.u32() % copy.length] = pick([0, 1, 0xff, random.u32() & 0xff, 1 << (random.u32() % 8)]);
    return copy;
  };
  const bases = [...frames(), ...oddFrames()];
  const cases = Array.from({ length: 20_000 }, (_, i) => {
    const { bytes } = pick(bases);
    const changed = change(bytes);
    return {
      name: `frame ${i}`,
      bytes: changed.subarray(0, random.u32() % 2 ? changed.length : Math.max(14, random.u32() % changed.length)),
    };
  });
  const matches = matchCases();
  const flows = Array.from({ length: 20_000 }, (_, i) => {
    const own = pick(matches);
    const { key } = own;
    const { mask } = random.u32() % 2 ? own : pick(matches);
    return { name: `flow ${i}`, key: change(key), mask: mask === null ? null : change(mask) };
  });
  const answers = ask([
    ...cases.map(({ bytes }) => ({ op: "execute", key: PORT_1, frame: hex(bytes) })),
    ...flows.map(({ key, mask }) => ({ op: "flow", key: hex(key), mask: mask === null ? null : hex(mask) })),
  ]);
  const detail = (list: ReturnType<typeof differences>): unknown => ({ seed, list: list.slice(0, 10) });
  const frameDifferences = differences(cases, answers.splice(0, cases.length), ({ bytes }) => receive(bytes));
  const flowDifferences = differences(flows, answers, ({ key, mask }) => match(key, mask));
  expect(detail(frameDifferences)).toEqual({ seed, list: [] });
  expect(detail(flowDifferences)).toEqual({ seed, list: [] });
});

/** The module's answers. */
function ask(questions: object[]): Answer[] {
  const folder = mkdtempSync(join(process.env.TMPDIR ?? "/tmp", "nokmod-keys-"));
  try {
    const script = join(folder, "run");
    writeFileSync(join(folder, "questions"), JSON.stringify(questions));
    writeFileSync(
      script,
      `#!/bin/sh\nexec python3 '${process.cwd()}/tools/reference/keys.py' '${folder}/questions' '${folder}/answers'\n`,
    );
    chmodSync(script, 0o755);
    execFileSync("/bin/sh", ["-c", `${runner} '${script}'`], { stdio: "inherit" });
    const answers: Answer[] = JSON.parse(readFileSync(join(folder, "answers"), "utf8"));
    expect(answers.length).toBe(questions.length);
    return answers;
  } finally {
    rmSync(folder, { recursive: true });
  }
}

/** DP_HASH is the second attribute of a key. */
const dpHashOf = (key: string): number => Buffer.from(key.slice(24, 32), "hex").readUInt32LE();
