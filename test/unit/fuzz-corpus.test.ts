/** What `npm run fuzz` has found stays found: every case of test/fuzz-corpus is done again, and nothing is wrong. */
import { execFileSync } from "node:child_process";
import { readdirSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { expect, it } from "vitest";
import { readCase, replay } from "../../tools/fuzz/case.ts";
import { Chance } from "../../tools/fuzz/chance.ts";
import { CaseGenerator, TARGETS } from "../../tools/fuzz/generator.ts";
import { buildReplay, HARNESSES, NATIVE_CORPUS } from "../../tools/fuzz/native.ts";
import { type Finding, type Step, World } from "../../tools/fuzz/world.ts";
import { TemporaryDirectory } from "../support/child.ts";

const CORPUS = fileURLToPath(new URL("../fuzz-corpus/", import.meta.url));

it.each(readdirSync(CORPUS).filter((name) => name.endsWith(".json")))("%s", (name) => {
  expect(replay(readCase(`${CORPUS}${name}`))).toBeUndefined();
});

it.each(Object.keys(HARNESSES))("native: %s, under AddressSanitizer", { timeout: 240_000 }, (name) => {
  const directory = new TemporaryDirectory();
  try {
    const inputs = readdirSync(join(NATIVE_CORPUS, name)).map((file) => join(NATIVE_CORPUS, name, file));
    expect(inputs.length).toBeGreaterThan(0);
    execFileSync(buildReplay(name, directory.path), inputs, { stdio: "pipe" });
  } finally {
    directory.dispose();
  }
});

it("the prelude makes a datapath with ports and tunnels, and flows of the frames target are taken", () => {
  const world = new World(2);
  const generator = new CaseGenerator(world, new Chance(1));
  for (const step of generator.prelude()) {
    world.take(step);
    expect(world.errno).toBe(0);
  }
  let flows = 0;
  for (let turn = 0; turn < 200; turn++)
    for (const step of generator.flowAndFrame()) {
      world.take(step);
      if (step.do === "send" && world.errno === 0) flows++;
    }
  expect(flows).toBeGreaterThan(40);
  world.close();
});

it.each(Object.keys(TARGETS))("the same seed makes the same steps of %s", (target) => {
  const run = (): string => {
    const world = new World(9);
    const chance = new Chance(9);
    const generator = new CaseGenerator(world, chance);
    const steps: Step[] = [];
    for (let turn = 0; turn < 60; turn++)
      for (const step of TARGETS[target](generator, chance)) {
        world.take(step);
        steps.push(step);
      }
    world.close();
    return JSON.stringify(steps);
  };
  expect(run()).toBe(run());
});

it("a fault of a handler is found, with its cause", () => {
  const world = new World(1);
  const problem = new TypeError("broken");
  world.nokmod.kernel.bus.onFault?.(problem);
  let found: unknown;
  try {
    world.take({ do: "tick", ms: 1 });
  } catch (error) {
    found = error;
  }
  expect((found as Finding).cause).toBe(problem);
});
