import { expect, it } from "vitest";
import { warmUp } from "../../src/cli/warm-up.ts";

it("warmUp() puts flows and makes connections, without a fault", async () => {
  const faults: unknown[] = [];
  const { flows, connections } = await warmUp((...fault) => faults.push(fault));
  expect(faults).toEqual([]);
  expect(flows).toBeGreaterThan(32);
  expect(connections).toBeGreaterThanOrEqual(32);
});
