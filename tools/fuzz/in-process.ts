import { replay, shrink } from "./case.ts";
import { Chance } from "./chance.ts";
import { CaseGenerator, TARGETS } from "./generator.ts";
import { type Case, Finding, freeBuffers, type Step, World } from "./world.ts";

/** Turns of a case: long enough for tables to fill, short enough to be shrunk. */
const TURNS = 300;
/** Cases between looks at the heap, and bytes that it may grow by since the first look. */
const HEAP_EVERY = 50;
const HEAP_GROWTH = 256 << 20;

/** What a target has done. */
export interface Counts {
  cases: number;
  messages: number;
  packets: number;
}

/** A finding, shrunk. */
export interface Found {
  readonly case: Case;
  readonly finding: Finding;
}

/** Runs cases of a target until `until` (performance.now()), or until something is found. */
export function fuzzInProcess(target: string, seed: number, until: number, counts: Counts): Found | undefined {
  let heap = 0;
  for (let number = 0; performance.now() < until; number++) {
    const found = oneCase(target, (seed + Math.imul(number, 0x9e3779b1)) >>> 0, counts);
    counts.cases++;
    if (found !== undefined) return found;
    if (number % HEAP_EVERY === HEAP_EVERY - 1) {
      globalThis.gc?.();
      const { heapUsed, arrayBuffers } = process.memoryUsage();
      heap ||= heapUsed + arrayBuffers;
      if (globalThis.gc !== undefined && heapUsed + arrayBuffers > heap + HEAP_GROWTH)
        return {
          case: { target, seed, steps: [] },
          finding: new Finding(`memory grows: ${heapUsed + arrayBuffers} bytes after ${number + 1} cases`),
        };
    }
  }
  return undefined;
}

function oneCase(target: string, seed: number, counts: Counts): Found | undefined {
  const before = freeBuffers();
  const chance = new Chance(seed);
  const world = new World(seed);
  const generator = new CaseGenerator(world, chance);
  const steps: Step[] = [];
  const take = (step: Step): void => {
    steps.push(step);
    world.take(step);
    if (step.do === "send") generator.learn();
  };
  try {
    for (const step of generator.prelude()) take(step);
    for (let turn = 0; turn < TURNS; turn++) for (const step of TARGETS[target](generator, chance)) take(step);
    world.close();
    const after = freeBuffers();
    if (after < before) throw new Finding(`${before - after} packet buffers are lost`);
  } catch (error) {
    if (!(error instanceof Finding)) throw error;
    const whole = { target, seed, steps };
    // Only what happens again can be shrunk; what does not is told with all its steps.
    return { case: replay(whole) === undefined ? whole : shrink(whole, error), finding: error };
  } finally {
    counts.messages += world.messages;
    counts.packets += world.packets;
  }
  return undefined;
}
