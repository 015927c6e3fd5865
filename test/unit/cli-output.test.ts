import { afterEach, describe, expect, it, vi } from "vitest";
import { printJson, printJsonList } from "../../src/cli/output.ts";

afterEach(() => void vi.restoreAllMocks());

/** What is written to stdout, and in how many pieces. */
function written(act: () => void): { text: string; writes: number } {
  const pieces: string[] = [];
  vi.spyOn(process.stdout, "write").mockImplementation((text) => pieces.push(String(text)) > 0);
  act();
  return { text: pieces.join(""), writes: pieces.length };
}

describe("printJsonList()", () => {
  const values = [1, "two\nlines", { three: [3, { bytes: Uint8Array.of(1, 0xff) }], none: {} }, [], null];

  it.each([0, 1, 2, 5])("prints %i elements as printJson() prints the array of them", (count) => {
    const some = values.slice(0, count);
    const { text } = written(() => printJsonList(some));
    vi.restoreAllMocks();
    expect(text).toBe(written(() => printJson(some)).text);
    expect(JSON.parse(text)).toHaveLength(count);
  });

  it("writes a long list in pieces, as its elements come", () => {
    let made = 0;
    let madeAtFirst = 0;
    function* many(): Iterable<number[]> {
      for (; made < 2000; made++) yield Array.from({ length: 20 }, () => made);
    }
    vi.spyOn(process.stdout, "write").mockImplementation(() => {
      madeAtFirst ||= made;
      return true;
    });
    printJsonList(many());
    expect(madeAtFirst).toBeGreaterThan(0);
    expect(madeAtFirst).toBeLessThan(1000);
  });
});
