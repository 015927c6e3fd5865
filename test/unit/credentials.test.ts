import { spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { hasNetAdmin } from "../../src/server/credentials.ts";

const REGISTER = new URL("../support/register-ts.mjs", import.meta.url).href;
const CREDENTIALS = new URL("../../src/server/credentials.ts", import.meta.url).href;
const NET_ADMIN = 12;

/** A program that says whether it, the process that started it, and process 0 have the privilege. */
const PROGRAM = `import { hasNetAdmin } from ${JSON.stringify(CREDENTIALS)};
console.log(JSON.stringify([process.pid, process.ppid, 0].map(hasNetAdmin)));`;

const run = (...wrapper: string[]) => {
  const [command, ...args] = [...wrapper, process.execPath, "--import", REGISTER, "--input-type=module", "-e", PROGRAM];
  return spawnSync(command, args, { encoding: "utf8" });
};
const userNamespaces = spawnSync("unshare", ["--user", "--map-root-user", "true"]).status === 0;

describe("privilege", () => {
  it("F-027: is CAP_NET_ADMIN", () => {
    const effective = /^CapEff:\s*([0-9a-f]+)$/m.exec(readFileSync("/proc/self/status", "latin1"))?.[1] ?? "0";
    expect(hasNetAdmin(process.pid)).toBe(((Number.parseInt(effective.slice(-8), 16) >>> NET_ADMIN) & 1) === 1);
    expect(hasNetAdmin(0)).toBe(false);
    expect(hasNetAdmin(2 ** 30)).toBe(false);
  });

  it.skipIf(!userNamespaces)("F-029: root of a user namespace has it there, and nobody from outside", () => {
    // unshare itself becomes the program: its parent is this process, in the namespace outside.
    const { stdout, stderr } = run("unshare", "--user", "--map-root-user");
    expect([stdout.trim(), stderr]).toEqual(["[true,false,false]", ""]);
  });
});
