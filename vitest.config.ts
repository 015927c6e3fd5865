import { defineConfig } from "vitest/config";

/** test/reference asks the real module and needs a runner of it: `npm run test:reference` with NOKMOD_REFERENCE set. */
const reference = process.env.NOKMOD_REFERENCE !== undefined;

export default defineConfig({
  test: {
    include: ["test/**/*.test.ts"],
    exclude: reference ? [] : ["test/reference/**"],
    testTimeout: 60_000,
    hookTimeout: 60_000,
    pool: "forks",
  },
});
