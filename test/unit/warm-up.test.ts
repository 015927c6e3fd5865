import { expect, it } from "vitest";
import { warmUp } from "../../src/cli/warm-up.ts";

it("warmUp() puts flows and makes connections", async () => {
  const { flows, connections } = await warmUp();
  expect(flows).toBeGreaterThan(32);
  expect(connections).toBeGreaterThanOrEqual(32);
});
