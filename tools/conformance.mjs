#!/usr/bin/env node
/**
 * Writes docs/conformance.md: for each section of the specification, how many of its rows tests hold, and which they do not.
 *
 *     node tools/conformance.mjs            writes the file
 *     node tools/conformance.mjs --check    exit status 1 when the file is not what would be written
 *
 * A row is held in one of three ways:
 * - named: its id stands by itself in the title of a test (`it("F-222: …")`, `it("F-222, F-226: …")`, or the first string of a
 *   case of `it.each`)
 * - recorded: a case of a recording of the real module carries its id, in `const ROWS` (an object by case) of the test that
 *   plays the recording, or in test/fixtures/RECORDING.rows.json
 * - in a range only: `it("K-001…K-010: …")`, in the title of a `describe`, or in `const rows` (an array) of a test: nobody
 *   can tell which assertion holds it. A test fails if there is such a row.
 *
 * The sections and their rows: docs/spec. The rows that are exempt (nothing outside shows them, or they are of another
 * program), and where nokmod does not do what the module does: tools/conformance.json.
 */
import { readdirSync, readFileSync, writeFileSync } from "node:fs";

const root = new URL("../", import.meta.url);
const read = (path) => readFileSync(new URL(path, root), "utf8");
const OUTPUT = "docs/conformance.md";
/** The pages of docs/spec, in their order here. */
const PAGES = ["families", "keys", "actions", "conntrack", "upcalls", "tables", "ctnetlink"];
/** What the last whole run of `npm run test:ovs` wrote. */
const SUITE = "docs/ovs-suite.md";

/** What follows `it(`, `describe.skipIf(…)(`, `it.each(…)(`: a string. */
const TITLE = /(?:\b(it|test|describe)(?:\.\w+)*|\))\(\s*(["'`])((?:\\.|(?!\2)[^\\])*)\2/g;
/** The first string of a case of `it.each` that begins with ids. */
const CASE = /\[\s*"((?:[FKACUTN]-\d{3}(?:, )?)+: [^"]*)",/g;
const ROWS = /\bconst rows(?::[^=]*)?\s*=\s*(\[[^\]]*\]|\{[^}]*\})/gi;
/** F-001, or F-001…F-010, or F-001 to F-010. */
const IDS = /\b([FKACUTN])-(\d{3})(?:\s*(?:…|–|to)\s*\1-(\d{3}))?\b/g;

const name = (letter, number) => `${letter}-${String(number).padStart(3, "0")}`;

/** All ids that a text names, ranges included. */
export function idsIn(text) {
  const ids = [];
  for (const [, letter, first, last] of text.matchAll(IDS)) {
    for (let number = Number(first); number <= Number(last ?? first); number++) ids.push(name(letter, number));
  }
  return ids;
}

const rangesIn = (text) => [...text.matchAll(IDS)].filter(([, , , last]) => last !== undefined).map(([range]) => range);
const singlesIn = (text) => [...text.matchAll(IDS)].filter(([, , , last]) => last === undefined).map(([id]) => id);

/** The ids that a test file claims: named, shown by recorded cases, and in ranges. */
export function claimsOf(source) {
  const named = new Set();
  const recorded = new Set();
  const ranged = new Set();
  const add = (set, ids) => {
    for (const id of ids) set.add(id);
  };
  for (const [, call, , title] of source.matchAll(TITLE)) {
    if (call === "describe") add(ranged, idsIn(title));
    else {
      add(named, singlesIn(title));
      for (const range of rangesIn(title)) add(ranged, idsIn(range));
    }
  }
  for (const [, title] of source.matchAll(CASE)) add(named, singlesIn(title));
  for (const [, list] of source.matchAll(ROWS)) add(list.startsWith("{") ? recorded : ranged, idsIn(list));
  return { named, recorded, ranged };
}

/** `F-001, F-003…F-005` */
export function compact(ids) {
  const runs = [];
  for (const id of ids) {
    const number = Number(id.slice(2));
    const run = runs.at(-1);
    if (run?.letter === id[0] && run.last === number - 1) run.last = number;
    else runs.push({ letter: id[0], first: number, last: number });
  }
  return runs
    .map(({ letter, first, last }) => {
      if (first === last) return name(letter, first);
      return `${name(letter, first)}${last === first + 1 ? ", " : "…"}${name(letter, last)}`;
    })
    .join(", ");
}

/** The sections of a page of docs/spec that have rows. */
export function sectionsOf(page) {
  const sections = [];
  for (const line of page.split("\n")) {
    const title = /^## (.+)$/.exec(line);
    if (title !== null) sections.push({ title: title[1], ids: [] });
    const row = /^\| ([FKACUTN]-\d{3}) \|/.exec(line);
    if (row !== null) sections.at(-1).ids.push(row[1]);
  }
  return sections.filter(({ ids }) => ids.length > 0);
}

/** The ids that all tests and recordings claim. */
function claims() {
  const all = { named: new Set(), recorded: new Set(), ranged: new Set() };
  for (const file of readdirSync(new URL("test/", root), { recursive: true })) {
    if (file.endsWith(".rows.json")) {
      for (const rows of Object.values(JSON.parse(read(`test/${file}`))))
        for (const id of idsIn(rows)) all.recorded.add(id);
    } else if (file.endsWith(".test.ts")) {
      const own = claimsOf(read(`test/${file}`));
      for (const kind of Object.keys(all)) for (const id of own[kind]) all[kind].add(id);
    }
  }
  return all;
}

/** The rows that stand in nothing but a range. */
export function onlyInRanges() {
  const { named, recorded, ranged } = claims();
  return [...ranged].filter((id) => !named.has(id) && !recorded.has(id)).sort();
}

const percent = (part, whole) => `${Math.floor((100 * part) / whole)} %`;

/** The whole document. */
export function conformance() {
  const specification = PAGES.map((page) => ({
    file: `spec/${page}.md`,
    sections: sectionsOf(read(`docs/spec/${page}.md`)),
  }));
  const { exempt, deviations } = JSON.parse(read("tools/conformance.json"));
  const { named, recorded, ranged } = claims();
  const held = new Set([...named, ...recorded, ...ranged]);
  const columns = (ids) => [
    ids.filter((id) => named.has(id)).length,
    ids.filter((id) => recorded.has(id)).length,
    ids.filter((id) => ranged.has(id) && !named.has(id) && !recorded.has(id)),
  ];
  const exempted = new Set(exempt.flatMap(({ rows }) => idsIn(rows)));
  const deviating = new Set(deviations.flatMap(({ rows }) => idsIn(rows)));
  const summary = [];
  const chapters = [];
  let allRows = 0;
  let allHeld = 0;
  let allExempt = 0;
  let allTitles = 0;
  let allCases = 0;
  let allRanges = 0;
  for (const { file, sections } of specification) {
    let rows = 0;
    let count = 0;
    let excused = 0;
    const lines = [
      `## [${file}](${file})`,
      "",
      "| Section | Rows | Held | Named | Recorded | In a range only | Exempt | Deviates | Not held |",
      "|---|--:|--:|--:|--:|---|---|---|---|",
    ];
    for (const { title, ids } of sections) {
      const others = ids.filter((id) => !held.has(id));
      const untold = others.filter((id) => exempted.has(id));
      const different = others.filter((id) => !exempted.has(id) && deviating.has(id));
      const missing = others.filter((id) => !exempted.has(id) && !deviating.has(id));
      rows += ids.length;
      count += ids.length - others.length;
      excused += untold.length;
      const [byTitle, byCase, byRange] = columns(ids);
      const lists = [byRange, untold, different, missing].map(compact);
      const cells = [ids.length, ids.length - others.length, byTitle, byCase, ...lists];
      lines.push(`| ${[title, ...cells].join(" | ")} |`);
    }
    const [byTitle, byCase, byRange] = columns(sections.flatMap(({ ids }) => ids));
    allTitles += byTitle;
    allCases += byCase;
    allRanges += byRange.length;
    allRows += rows;
    allHeld += count;
    allExempt += excused;
    summary.push(
      `| [${file}](${file}) | ${rows} | ${count} | ${byTitle} | ${byCase} | ${byRange.length} | ${excused} | ${percent(count, rows - excused)} |`,
    );
    chapters.push(...lines, "");
  }
  const known = new Set(specification.flatMap(({ sections }) => sections.flatMap(({ ids }) => ids)));
  const unknown = [...held].filter((id) => !known.has(id));
  if (unknown.length > 0) throw new Error(`tests name rows that do not exist: ${unknown.join(", ")}`);
  const nowhere = [...exempted, ...deviating].filter((id) => !known.has(id));
  if (nowhere.length > 0) throw new Error(`exempt or deviating rows that do not exist: ${nowhere.join(", ")}`);
  return [
    "# Conformance",
    "",
    "The [specification](spec/index.md) says what openvswitch.ko and nf_conntrack do as seen from outside: one row is one fact",
    "that a test can check, with an id (F families, K keys, A actions, C conntrack, U upcalls, T tables, N",
    "ctnetlink). A row is held by tests in one of three ways:",
    "",
    "- **Named**: its id stands by itself in the title of a test.",
    "- **Recorded**: a case of a recording of the real module carries its id, and nokmod is compared with what was recorded. A row",
    "  may be both.",
    "- **In a range only**: it is one of many in the title of a test (`K-001…K-010`), so that nobody can tell which assertion holds",
    "  it. There is no such row; a test fails if there is.",
    "",
    "A row is exempt when nothing outside shows it or it is about another program, and deviates when nokmod is known not to do it;",
    "both are listed below with the reason. The share is of the rows that are not exempt.",
    "`node tools/conformance.mjs` writes this file; a test fails when it is stale.",
    "",
    "| File | Rows | Held by tests | Named | Recorded | In a range only | Exempt | Share held |",
    "|---|--:|--:|--:|--:|--:|--:|--:|",
    ...summary,
    `| **all** | **${allRows}** | **${allHeld}** | **${allTitles}** | **${allCases}** | **${allRanges}** | **${allExempt}** | **${percent(allHeld, allRows - allExempt)}** |`,
    "",
    ...chapters,
    "## Open vSwitch's own suite for the kernel datapath",
    "",
    ...suite(),
    "",
    "## Exempt rows",
    "",
    ...exempt.map(({ rows, why }) => `- ${compact(idsIn(rows).filter((id) => !held.has(id)))}: ${why}`),
    "",
    "Rows that the real module contradicted have been corrected: [spec/corrections.md](spec/corrections.md).",
    "",
    "## Known deviations",
    "",
    ...deviations.map(({ rows, what }) => `- ${rows === "" ? "" : `${rows}: `}${what}`),
    "",
  ].join("\n");
}

/** What docs/ovs-suite.md says in sum, and of the tests that are not ok. */
function suite() {
  const page = read(SUITE);
  const sum = /^\*\*(\d+ tests: .*?)\*\*\.? (.*(?:\n.+)*)/m.exec(page);
  const rows = page.split("\n").filter((line) => /^\| \d+ \|/.test(line) && line.split(" | ")[2] !== "ok");
  if (sum === null) throw new Error(`${SUITE} has no sum`);
  return [
    `Of \`npm run test:ovs\`, every test in [ovs-suite.md](ovs-suite.md): ${sum[1]} ${sum[2].replaceAll("\n", " ")}`,
    ...(rows.length === 0 ? [] : ["", "| | test | result | Linux | why not ok |", "|---|---|---|---|---|", ...rows]),
  ];
}

if (process.argv[1] === new URL(import.meta.url).pathname) {
  const text = conformance();
  const url = new URL(OUTPUT, root);
  if (process.argv.includes("--check")) {
    if (readFileSync(url, "utf8") !== text) {
      process.stderr.write(`${OUTPUT} is stale: run node tools/conformance.mjs\n`);
      process.exitCode = 1;
    }
  } else writeFileSync(url, text);
}
