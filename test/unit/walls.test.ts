import { spawnSync } from "node:child_process";
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { describe, expect, it, onTestFinished } from "vitest";
import { foldersOf, wallsOf } from "../../tools/walls.mjs";

const ROOT = fileURLToPath(new URL("../../", import.meta.url));
const PAGE = readFileSync(join(ROOT, "docs/architecture.md"), "utf8");
const entries = readdirSync(join(ROOT, "src"), { withFileTypes: true });
const folders = entries.filter((entry) => entry.isDirectory()).map((entry) => entry.name);

describe("the walls between the folders of src", () => {
  it("are those of docs/architecture.md: biome.walls.json is made from its table", () => {
    expect(readFileSync(join(ROOT, "biome.walls.json"), "utf8")).toBe(wallsOf(PAGE, folders));
  });

  it("a folder that the page leaves out, or one that there is not, is named", () => {
    expect(() => wallsOf(PAGE, [...folders, "attic"])).toThrow("docs/architecture.md does not tell of src/attic");
    const without = folders.filter((name) => name !== "conntrack");
    expect(() => wallsOf(PAGE, without)).toThrow("docs/architecture.md tells of src/conntrack");
  });

  it("hold: the linter refuses what the table does not allow, at any depth, and nothing else", () => {
    const where = mkdtempSync(join(tmpdir(), "nokmod-walls-"));
    onTestFinished(() => rmSync(where, { recursive: true, force: true }));
    const page = "| `src/low` | a | nothing |\n| `src/high` | b | `low` |\n";
    expect([...foldersOf(page)]).toEqual([
      ["low", []],
      ["high", ["low"]],
    ]);
    writeFileSync(join(where, "biome.walls.json"), wallsOf(page, ["low", "high"]));
    writeFileSync(
      join(where, "biome.json"),
      JSON.stringify({ extends: ["./biome.walls.json"], formatter: { enabled: false } }),
    );
    for (const folder of ["low/deep", "high/deep/deeper"]) mkdirSync(join(where, "src", folder), { recursive: true });
    const files = {
      "src/low/a.ts": 'import "../high/b.ts";\n',
      "src/low/deep/a.ts": 'import "../../high/b.ts";\nimport "../a.ts";\n',
      "src/high/b.ts": 'import "../low/a.ts";\n',
      "src/high/deep/deeper/b.ts": 'import "../../../low/a.ts";\nimport "../../b.ts";\n',
    };
    for (const [name, text] of Object.entries(files)) writeFileSync(join(where, name), text);
    symlinkSync(join(ROOT, "node_modules"), join(where, "node_modules"));
    const { stdout } = spawnSync(
      process.execPath,
      [join(ROOT, "node_modules/@biomejs/biome/bin/biome"), "lint", "--reporter=json", "src"],
      { cwd: where, encoding: "utf8" },
    );
    const { diagnostics } = JSON.parse(stdout) as { diagnostics: { category: string; location: { path: unknown } }[] };
    const refused = diagnostics
      .filter(({ category }) => category === "lint/style/noRestrictedImports")
      .map(({ location }) => JSON.stringify(location.path).match(/src\/[\w/]+\.ts/)?.[0]);
    expect(refused.sort()).toEqual(["src/low/a.ts", "src/low/deep/a.ts"]);
  });

  it("nothing but the public exports lies loose under src", () => {
    expect(entries.filter((entry) => !entry.isDirectory()).map((entry) => entry.name)).toEqual(["index.ts"]);
  });
});
