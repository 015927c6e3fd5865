#!/usr/bin/env node
/**
 * Writes biome.walls.json, the lint rules that keep each folder of src to the imports that docs/architecture.md allows it.
 *
 *     node tools/walls.mjs            writes the file
 *     node tools/walls.mjs --check    exit status 1 when the file is not what would be written
 *
 * The source is the page's table with the columns "folder", "what lives there" and "may import": `src/NAME` in the first
 * column, and in the third `NAME` of each folder that it may import, or nothing. A folder imports from itself freely.
 */
import { readdirSync, readFileSync, writeFileSync } from "node:fs";

const root = new URL("../", import.meta.url);
const PAGE = "docs/architecture.md";
const OUTPUT = "biome.walls.json";
/** Folders below src/NAME that lint rules tell apart: an import goes up by as many steps as the file lies deep. */
const DEPTH = 4;

/** The folders of a page's table. @returns {Map<string, string[]>} what each may import */
export function foldersOf(page) {
  const folders = new Map();
  for (const line of page.split("\n")) {
    const [, first, , third] = line.split("|");
    const names = [...(first ?? "").matchAll(/`src\/([\w-]+)`/g)].map((match) => match[1]);
    if (names.length === 0 || third === undefined) continue;
    const allowed = [...third.matchAll(/`([\w-]+)`/g)].map((match) => match[1]);
    for (const name of names) folders.set(name, allowed);
  }
  return folders;
}

/** The configuration for a page. @throws Error when the page names a folder that there is not, or leaves one out */
export function wallsOf(page, existing) {
  const folders = foldersOf(page);
  const missing = existing.filter((name) => !folders.has(name));
  const unknown = [...folders.keys(), ...[...folders.values()].flat()].filter((name) => !existing.includes(name));
  if (missing.length > 0) throw new Error(`${PAGE} does not tell of src/${missing.join(", src/")}`);
  if (unknown.length > 0) throw new Error(`${PAGE} tells of src/${unknown.join(", src/")}, which is not there`);
  const overrides = [];
  for (const [name, allowed] of folders) {
    const others = existing.filter((other) => other !== name && !allowed.includes(other));
    if (others.length === 0) continue;
    for (let depth = 0; depth < DEPTH; depth++) {
      const up = "../".repeat(depth + 1);
      overrides.push({
        includes: [`src/${name}/${"*/".repeat(depth)}*.ts`],
        linter: {
          rules: {
            style: {
              noRestrictedImports: {
                level: "error",
                options: {
                  patterns: [
                    {
                      group: others.map((other) => `${up}${other}/**`),
                      message: `src/${name} imports ${allowed.length === 0 ? "nothing" : `only ${allowed.join(", ")}`} (${PAGE}).`,
                    },
                  ],
                },
              },
            },
          },
        },
      });
    }
  }
  return `${JSON.stringify({ overrides }, null, 2)}\n`;
}

if (process.argv[1] === new URL(import.meta.url).pathname) {
  const existing = readdirSync(new URL("src", root), { withFileTypes: true })
    .filter((entry) => entry.isDirectory())
    .map((entry) => entry.name);
  const text = wallsOf(readFileSync(new URL(PAGE, root), "utf8"), existing);
  if (!process.argv.includes("--check")) writeFileSync(new URL(OUTPUT, root), text);
  else if (readFileSync(new URL(OUTPUT, root), "utf8") !== text) {
    process.stderr.write(`${OUTPUT} is not what ${PAGE} says: run node tools/walls.mjs\n`);
    process.exitCode = 1;
  }
}
