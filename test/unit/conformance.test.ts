import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { claimsOf, compact, conformance, idsIn, onlyInRanges } from "../../tools/conformance.mjs";

describe("docs/conformance.md", () => {
  it("is what `node tools/conformance.mjs` writes", () => {
    const url = new URL("../../docs/conformance.md", import.meta.url);
    expect(readFileSync(url, "utf8") === conformance(), "stale: run node tools/conformance.mjs").toBe(true);
  });

  it("has no row that is held in a range only: name it in a title of its own, or give a recorded case its id", () => {
    expect(onlyInRanges()).toEqual([]);
  });
});

describe("row ids", () => {
  // Made up here, so that this file does not claim to hold them.
  const row = (number: number) => `F-${String(number).padStart(3, "0")}`;

  it("come alone, in lists and in ranges", () => {
    expect(idsIn(`${row(1)}: x`)).toEqual([row(1)]);
    expect(idsIn(`${row(1)}, ${row(3)}…${row(5)}`)).toEqual([row(1), row(3), row(4), row(5)]);
    expect(idsIn(`${row(8)} to ${row(9)} and A-1, F-12345`)).toEqual([row(8), row(9)]);
    expect(compact([row(1), row(2), row(4), row(5), row(6), "K-007"])).toBe(
      `${row(1)}, ${row(2)}, ${row(4)}…${row(6)}, K-007`,
    );
  });

  it("count in titles and lists of rows, each in its own way, not in comments and values", () => {
    const title = (call: string, id: string) => `${call}("${id}: what", () => {});`;
    const source = [
      title("it", row(1)),
      title("describe", row(2)),
      title("it.each([[1, 2]])", row(3)),
      title("it.skipIf(!root)", row(4)),
      title("it", `${row(11)}…${row(12)}, ${row(13)}`),
      `it.each([["${row(14)}, ${row(15)}: what", 1]])("%s", () => {});`,
      `const rows = ["${row(5)}…${row(6)}",\n  "${row(8)}"];`,
      `const ROWS: Record<string, string> = { "a case": "${row(9)} ${row(10)}" };`,
      `// ${row(20)}`,
      `const x = "${row(21)}";`,
      `expect(x).toBe("${row(22)}");`,
    ].join("\n");
    const { named, recorded, ranged } = claimsOf(source);
    expect([...named].sort()).toEqual([1, 3, 4, 13, 14, 15].map(row));
    expect([...recorded].sort()).toEqual([9, 10].map(row));
    expect([...ranged].sort()).toEqual([2, 5, 6, 8, 11, 12].map(row));
  });
});
