import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { claimedBy, compact, conformance, idsIn } from "../../tools/conformance.mjs";

describe("docs/conformance.md", () => {
  it("is what `node tools/conformance.mjs` writes", () => {
    const url = new URL("../../docs/conformance.md", import.meta.url);
    expect(readFileSync(url, "utf8") === conformance(), "stale: run node tools/conformance.mjs").toBe(true);
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

  it("count in titles and lists of rows, not in comments and values", () => {
    const title = (call: string, id: string) => `${call}("${id}: what", () => {});`;
    const source = [
      title("it", row(1)),
      title("describe", row(2)),
      title("it.each([[1, 2]])", row(3)),
      title("it.skipIf(!root)", row(4)),
      `const rows = ["${row(5)}…${row(6)}",\n  "${row(8)}"];`,
      `const ROWS: Record<string, string> = { "a case": "${row(9)} ${row(10)}" };`,
      `// ${row(20)}`,
      `const x = "${row(21)}";`,
      `expect(x).toBe("${row(22)}");`,
    ].join("\n");
    expect([...claimedBy(source)].sort()).toEqual([1, 2, 3, 4, 5, 6, 8, 9, 10].map(row));
  });
});
