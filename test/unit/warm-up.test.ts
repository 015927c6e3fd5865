import { expect, it } from "vitest";
import { warmUp } from "../../src/cli/warm-up.ts";
import { skbHash } from "../../src/flow/hash.ts";
import { K, newKey } from "../../src/flow/key.ts";

it("warmUp() puts flows and makes connections, and leaves the hashes of this process as they were", async () => {
  const key = newKey();
  key[K.IPV4_SRC] = 0x0a000001;
  const hash = skbHash(key);
  const { flows, connections } = await warmUp();
  expect(flows).toBeGreaterThan(32);
  expect(connections).toBeGreaterThanOrEqual(32);
  expect(skbHash(key)).toBe(hash);
});
