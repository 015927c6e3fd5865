import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { describe, expect, it } from "vitest";

const SRC = fileURLToPath(new URL("../../src/", import.meta.url));
const files = readdirSync(SRC, { recursive: true, encoding: "utf8" }).filter((name) => name.endsWith(".ts"));

/** The parent of each class of src, where it has one. */
const parents = new Map<string, string>();
for (const file of files) {
  for (const [, name, parent] of readFileSync(join(SRC, file), "utf8").matchAll(
    /class (\w+)(?:<[^{]*>)? extends (\w+)/g,
  )) {
    parents.set(name, parent);
  }
}

/** The classes from a class up to its root. */
function ancestors(name: string): string[] {
  const parent = parents.get(name);
  return parent === undefined ? [name] : [name, ...ancestors(parent)];
}

describe("error classes of src", () => {
  const errors = [...parents.keys()].filter((name) => /Error$/.test(ancestors(name).at(-1) ?? ""));

  it("all have NokmodError at their root, which gives each a code", () => {
    expect(errors).toContain("Errno");
    expect(errors).toContain("TranslationFailed");
    for (const name of errors) expect(ancestors(name).slice(-2), name).toEqual(["NokmodError", "Error"]);
  });

  it("are the only errors thrown: a plain one has no code", () => {
    // Object.assign(new RangeError(…), { code }) is Node's own form of an argument out of range.
    const plain = files.flatMap((file) =>
      [
        ...readFileSync(join(SRC, file), "utf8").matchAll(
          /(?<!Object\.assign\()\bnew (?:Aggregate|Eval|Range|Reference|Syntax|Type|URI)?Error\(/g,
        ),
      ].map(([text]) => `${file}: ${text}`),
    );
    expect(plain).toEqual([]);
  });

  it("their codes are literals: ERR_ and capitals", () => {
    const codes = files.flatMap((file) =>
      [...readFileSync(join(SRC, file), "utf8").matchAll(/(?:new \w*Error|super)\(\s*"([^"]*)",/g)].map(
        (match) => match[1],
      ),
    );
    const errorCodes = codes.filter((code) => code.startsWith("ERR"));
    expect(errorCodes.length).toBeGreaterThan(5);
    for (const code of errorCodes) expect(code).toMatch(/^ERR(_[A-Z0-9]+)+$/);
  });
});
