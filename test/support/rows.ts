import { readFileSync } from "node:fs";

/**
 * Which rows of docs/spec the cases of a recording show: `[case, rows]` as test/fixtures/NAME.rows.json has them. The
 * recordings themselves are left as the module answered.
 * @param name of the recording, without its endings: `actions-6.12`
 */
export function rowsOfCases(name: string): [name: string, rows: string][] {
  const file = new URL(`../fixtures/${name}.rows.json`, import.meta.url);
  return Object.entries(JSON.parse(readFileSync(file, "utf8")) as Record<string, string>);
}
