import { readFileSync, writeFileSync } from "node:fs";
import type { Offload } from "../../src/port/memory/ports.ts";
import { type Case, Finding, freeBuffers, type Step, World } from "./world.ts";

/** A step as JSON: bytes as hexadecimal text. */
interface StoredStep {
  readonly do: Step["do"];
  readonly bytes?: string;
  readonly [more: string]: string | number | Offload | undefined;
}

/** A case in a file of test/fuzz-corpus. */
interface StoredCase {
  readonly target: string;
  readonly seed: number;
  /** What was wrong when it was found. */
  readonly found: string;
  readonly steps: readonly StoredStep[];
}

/** @throws Error where the file is none */
export function readCase(file: string): Case {
  const { target, seed, steps } = JSON.parse(readFileSync(file, "utf8")) as StoredCase;
  return { target, seed, steps: steps.map((step) => stored(step)) };
}

function stored(step: StoredStep): Step {
  return {
    ...step,
    ...(step.bytes === undefined ? {} : { bytes: Uint8Array.from(Buffer.from(step.bytes, "hex")) }),
  } as Step;
}

export function writeCase(file: string, { target, seed, steps }: Case, found: string): void {
  const lines = steps.map((step) =>
    JSON.stringify("bytes" in step ? { ...step, bytes: Buffer.from(step.bytes).toString("hex") } : step),
  );
  const head = `{"target":${JSON.stringify(target)},"seed":${seed},"found":${JSON.stringify(found)},"steps":[`;
  writeFileSync(file, `${head}\n${lines.join(",\n")}\n]}\n`);
}

/** Does a case from its start to its end. @returns what was wrong, undefined if nothing */
export function replay({ seed, steps }: Case): Finding | undefined {
  const before = freeBuffers();
  try {
    const world = new World(seed);
    for (const step of steps) world.take(step);
    world.close();
  } catch (error) {
    if (error instanceof Finding) return error;
    throw error;
  }
  const after = freeBuffers();
  return after < before ? new Finding(`${before - after} packet buffers are lost`) : undefined;
}

/** What two findings have in common if they are one: numbers do not count. */
const kindOf = (finding: Finding): string => finding.message.replace(/\d+/g, "N");

/**
 * Leaves out steps and bytes as long as the same is found.
 * @param attempts replays at most
 */
export function shrink(found: Case, finding: Finding, attempts = 600): Case {
  const kind = kindOf(finding);
  let left = attempts;
  const still = (steps: readonly Step[]): boolean => {
    if (left-- <= 0) return false;
    const seen = replay({ ...found, steps });
    return seen !== undefined && kindOf(seen) === kind;
  };
  let { steps } = found;
  for (let size = Math.ceil(steps.length / 2); size >= 1 && left > 0; size = size === 1 ? 0 : Math.ceil(size / 2)) {
    for (let at = steps.length - size; at > -size; at -= size) {
      const fewer = [...steps.slice(0, Math.max(at, 0)), ...steps.slice(at + size)];
      if (fewer.length < steps.length && still(fewer)) steps = fewer;
    }
  }
  return { ...found, steps: steps.map((step, index) => shorter(steps, step, index, still)) };
}

/** A step with its bytes cut at the end: a frame's, since a message's length is told in it. */
function shorter(steps: readonly Step[], step: Step, index: number, still: (steps: readonly Step[]) => boolean): Step {
  if (step.do !== "frame" && step.do !== "underlay") return step;
  let { bytes } = step;
  for (let cut = bytes.length >> 1; cut >= 1; cut >>= 1) {
    while (cut < bytes.length) {
      const less = { ...step, bytes: bytes.subarray(0, bytes.length - cut) };
      if (!still(steps.with(index, less))) break;
      bytes = less.bytes;
    }
  }
  return { ...step, bytes };
}
