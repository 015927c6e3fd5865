#!/usr/bin/env node
/**
 * Lists the exported names of src that two files declare, and exits with 1 where there is one: a name says one thing.
 *
 * A module that other modules import only as a namespace (`import * as tcp from`) is left out: its names are read as
 * `tcp.SRC_PORT`, so they are not shared.
 */
import { readdirSync, readFileSync } from "node:fs";
import { posix } from "node:path";

const DECLARATION =
  /^export (?:declare )?(?:abstract )?(?:async )?(?:const enum|enum|class|interface|type|function\*?|const|let) (\w+)/gm;
const IMPORT = /^(?:import|export) (?:type )?(\* as \w+|\{[^}]*\}|\*) from "(\.[^"]+)";/gm;

/** The modules that a file of `files` imports (or exports again) by the names of their declarations. */
function importedByName(files) {
  const found = new Set();
  for (const [file, text] of files) {
    for (const [, clause, module] of text.matchAll(IMPORT)) {
      if (!clause.startsWith("* as")) found.add(posix.join(posix.dirname(file), module));
    }
  }
  return found;
}

/** The modules of `files` that some other module imports as a namespace. */
function importedAsNamespace(files) {
  const found = new Set();
  for (const [file, text] of files) {
    for (const [, clause, module] of text.matchAll(IMPORT)) {
      if (clause.startsWith("* as")) found.add(posix.join(posix.dirname(file), module));
    }
  }
  return found;
}

/** The files that declare each exported name. @param files text by path */
export function exportsOf(files) {
  const byName = importedByName(files);
  const byNamespace = importedAsNamespace(files);
  const names = new Map();
  for (const [file, text] of files) {
    if (byNamespace.has(file) && !byName.has(file)) continue;
    for (const name of new Set([...text.matchAll(DECLARATION)].map((match) => match[1]))) {
      names.set(name, [...(names.get(name) ?? []), file]);
    }
  }
  return names;
}

/** One line for each name that two files declare. @param files text by path */
export function sharedNames(files) {
  return [...exportsOf(files)]
    .filter(([, where]) => where.length > 1)
    .map(([name, where]) => `${name}: ${where.join(" ")}`)
    .sort();
}

if (process.argv[1] === new URL(import.meta.url).pathname) {
  const root = new URL("../", import.meta.url);
  const files = new Map(
    readdirSync(new URL("src", root), { recursive: true })
      .filter((name) => name.endsWith(".ts"))
      .map((name) => [`src/${name}`, readFileSync(new URL(`src/${name}`, root), "utf8")]),
  );
  for (const line of sharedNames(files)) {
    process.stderr.write(`two files export ${line}\n`);
    process.exitCode = 1;
  }
}
