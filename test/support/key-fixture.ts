import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import type { ExecuteCase, MatchCase, maskPairs } from "./key-cases.ts";

/** KEY as hex, [KEY, MASK], a negative errno, a number of masks; null when nothing came up. */
export type Answer = string | [string, string] | number | null | { key: string; packet: string };

/** What the reference said, in the order of the lists in key-cases.ts. Strings are kept once and pointed at. */
export interface KeyFixture {
  /** Number of what was asked, so that answers to other questions are not taken for these. */
  readonly questions: string;
  readonly strings: string[];
  readonly extract: { frames: string[]; execute: Packed[]; receive: Packed[] };
  readonly execute: Packed[];
  readonly match: Packed[];
  readonly get: number[];
  readonly masks: number[];
  readonly hash: { hash: number; basis: number; dpHash: number }[];
}

/** `{ s: index }` for a string, `{ p: [index, index] }` for two; numbers and null as they are. */
type Packed = number | null | { s: number } | { p: [number, number] } | { k: number; packet: string };

export const FIXTURE = fileURLToPath(new URL("../fixtures/extract-6.12.json", import.meta.url));

export function pack(raw: {
  extract: { frames: string[]; execute: Answer[]; receive: Answer[] };
  execute: Answer[];
  match: Answer[];
  get: Answer[];
  masks: Answer[];
  hash: { hash: number; basis: number; dpHash: number }[];
  questions: string;
}): KeyFixture {
  const strings: string[] = [];
  const known = new Map<string, number>();
  const index = (text: string): number => {
    let at = known.get(text);
    if (at === undefined) {
      at = strings.push(text) - 1;
      known.set(text, at);
    }
    return at;
  };
  const one = (answer: Answer): Packed => {
    if (answer === null || typeof answer === "number") return answer;
    if (typeof answer === "string") return { s: index(answer) };
    if (Array.isArray(answer)) return { p: [index(answer[0]), index(answer[1])] };
    return { k: index(answer.key), packet: answer.packet };
  };
  return {
    questions: raw.questions,
    extract: {
      frames: raw.extract.frames,
      execute: raw.extract.execute.map(one),
      receive: raw.extract.receive.map(one),
    },
    execute: raw.execute.map(one),
    match: raw.match.map(one),
    get: raw.get as number[],
    masks: raw.masks as number[],
    hash: raw.hash,
    strings,
  };
}

export function unpack(fixture: KeyFixture, packed: Packed): Answer {
  if (packed === null || typeof packed === "number") return packed;
  if ("s" in packed) return fixture.strings[packed.s];
  if ("p" in packed) return [fixture.strings[packed.p[0]], fixture.strings[packed.p[1]]];
  return { key: fixture.strings[packed.k], packet: packed.packet };
}

export const readFixture = (): KeyFixture => JSON.parse(readFileSync(FIXTURE, "utf8"));

/** A digest of the questions that are not in the fixture themselves. */
export function keysOf(executes: ExecuteCase[], matches: MatchCase[], masks: ReturnType<typeof maskPairs>): string {
  const digest = createHash("sha256");
  for (const { name, key, frame } of executes) digest.update(name).update(key).update(frame);
  for (const { name, key, mask } of matches)
    digest
      .update(name)
      .update(key)
      .update(mask ?? "none");
  for (const { name, flows } of masks) {
    digest.update(name);
    for (const [key, mask] of flows) digest.update(key).update(mask ?? "none");
  }
  return digest.digest("hex");
}
