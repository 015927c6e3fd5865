import { readdirSync, readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";

/** The specification in docs/spec, and what the repository cites of it. */
const root = new URL("../../", import.meta.url);
const read = (path: string): string => readFileSync(new URL(path, root), "utf8");

const FILES: Record<string, string> = {
  families: "F",
  keys: "K",
  actions: "A",
  conntrack: "C",
  upcalls: "U",
  tables: "T",
  ctnetlink: "N",
};
const NAMES = Object.keys(FILES).join("|");

interface Section {
  readonly title: string;
  readonly rows: string[];
}

/** Sections of a page, with the ids of their rows. */
function sectionsOf(page: string): Section[] {
  const sections: Section[] = [];
  for (const line of page.split("\n")) {
    const title = /^## (.+)$/.exec(line);
    if (title !== null) sections.push({ title: title[1], rows: [] });
    const row = /^\| ([A-Z]-\d+) \|/.exec(line);
    if (row !== null) sections.at(-1)?.rows.push(row[1]);
  }
  return sections;
}

const pages = new Map(Object.keys(FILES).map((file) => [file, sectionsOf(read(`docs/spec/${file}.md`))]));
const rowsOf = (file: string): string[] => pages.get(file)?.flatMap(({ rows }) => rows) ?? [];
const known = new Set(Object.keys(FILES).flatMap(rowsOf));

/** Everything that may cite a row: [path, text]. */
const cited = ["src", "native", "test", "tools", "docs"].flatMap((folder) =>
  readdirSync(new URL(folder, root), { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile() && !entry.name.endsWith(".gz") && !entry.parentPath.includes("node_modules"))
    .map((entry): [string, string] => {
      const path = `${entry.parentPath}/${entry.name}`;
      return [path.slice(root.pathname.length), readFileSync(path, "utf8")];
    }),
);

/** `path: text` of all matches that `wrong` rejects. */
function wrongs(pattern: RegExp, wrong: (match: RegExpExecArray) => boolean): string[] {
  return cited.flatMap(([path, text]) =>
    [...text.matchAll(pattern)].filter(wrong).map((match) => `${path}: ${match[0].replaceAll(/\s+/g, " ")}`),
  );
}

describe("docs/spec", () => {
  it("names every row once, in the file of its letter", () => {
    for (const [file, letter] of Object.entries(FILES)) {
      const rows = rowsOf(file);
      expect(rows.filter((id, i) => rows.indexOf(id) !== i)).toEqual([]);
      expect(rows.filter((id) => !new RegExp(`^${letter}-\\d{3}$`).test(id))).toEqual([]);
    }
  });

  it("counts its rows in index.md", () => {
    const index = read("docs/spec/index.md");
    const files = [...index.matchAll(/^\| \[(\w+)\.md\]\(\1\.md\) \| (\d+) \|/gm)].map(([, file, rows]) => [
      file,
      +rows,
    ]);
    expect(files).toEqual(Object.keys(FILES).map((file) => [file, rowsOf(file).length]));
    expect(/^\| \*\*total\*\* \| \*\*(\d+)\*\*/m.exec(index)?.[1]).toBe(String(known.size));
    const sections = [...index.matchAll(/^### (\w+)\.md\n\n\| Section \| Rows \|\n\|---\|---\|\n((?:\|.*\n)+)/gm)].map(
      ([, file, lines]) => [
        file,
        [...lines.matchAll(/^\| (.*) \| (\d+) \|$/gm)].map(([, title, rows]) => [title, +rows]),
      ],
    );
    const counted = [...pages].map(([file, list]) => [
      file,
      list.filter(({ rows }) => rows.length > 0).map(({ title, rows }) => [title, rows.length]),
    ]);
    expect(sections).toEqual(counted);
  });
});

describe("citations", () => {
  it("are of rows that there are", () => {
    expect(cited.length).toBeGreaterThan(300);
    expect(wrongs(/(?<![\w-])[FKACUTN]-\d{3}(?![\w-])/g, ([id]) => !known.has(id))).toEqual([]);
  });

  it("name the file of the row's letter, one that is there, and no section that is not", () => {
    // The ids of a list go by the file in front of it; lists go on over the end of a comment's line.
    const between = String.raw`(?:,|\s|\*|//|…|–|\bto\b|\band\b|\bor\b)*`;
    const list = new RegExp(String.raw`(?<![\w/])spec/(\w+)\b((?:${between}(?<![\w/-])[A-Z]-\d{3}\b)+)`, "g");
    const foreign = wrongs(list, ([, file, ids]) =>
      [...ids.matchAll(/([A-Z])-\d{3}/g)].some(([, letter]) => letter !== FILES[file]),
    );
    expect(foreign).toEqual([]);
    const sections = new RegExp(
      String.raw`(?<![\w/])spec/(${NAMES})[\s*/]+sections? (\d+b?(?:(?:, | to | and )\d+b?)*)`,
      "g",
    );
    const absent = wrongs(sections, ([, file, numbers]) =>
      (numbers.match(/\d+b?/g) ?? []).some(
        (number) => !pages.get(file)?.some(({ title }) => title.startsWith(`${number}. `)),
      ),
    );
    expect(absent).toEqual([]);
  });
});
