import { spawnSync } from "node:child_process";
import { fileURLToPath } from "node:url";
import { describe, expect, it } from "vitest";
import { exportsOf, sharedNames } from "../../tools/names.mjs";

describe("the exported names of src", () => {
  const files = new Map([
    ["src/a/tcp.ts", "export const SRC = 0;\nexport function port(): void {}\n"],
    ["src/a/udp.ts", "export const SRC = 0;\nexport class Meter {}\n"],
    ["src/b/meter.ts", 'import * as tcp from "../a/tcp.ts";\nexport interface Meter {\n}\n'],
    ["src/b/port.ts", 'import { Meter } from "../a/udp.ts";\nexport const port = 1;\nexport type { Meter };\n'],
  ]);

  it("a name that two files declare is listed with both", () => {
    expect(sharedNames(files)).toEqual(["Meter: src/a/udp.ts src/b/meter.ts"]);
  });

  it("a module that is imported only as a namespace shares none", () => {
    expect([...exportsOf(files).keys()].sort()).toEqual(["Meter", "SRC", "port"]);
    const named = new Map([...files, ["src/c.ts", 'import { port } from "./a/tcp.ts";\n']]);
    expect(sharedNames(named)).toEqual([
      "Meter: src/a/udp.ts src/b/meter.ts",
      "SRC: src/a/tcp.ts src/a/udp.ts",
      "port: src/a/tcp.ts src/b/port.ts",
    ]);
  });

  it("say one thing each", () => {
    const script = fileURLToPath(new URL("../../tools/names.mjs", import.meta.url));
    const { status, stderr } = spawnSync(process.execPath, [script], { encoding: "utf8" });
    expect([status, stderr]).toEqual([0, ""]);
  });
});
