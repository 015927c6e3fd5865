import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, it, onTestFinished } from "vitest";
import { native } from "../../src/native/addon.ts";
import { netnsInode } from "../../src/native/netns.ts";

describe("an addon that cannot be loaded", () => {
  const folder = mkdtempSync(join(tmpdir(), "nokmod-addon-"));
  afterAll(() => rmSync(folder, { recursive: true }));

  function load(name: string, content?: string): () => void {
    const path = join(folder, name);
    if (content !== undefined) writeFileSync(path, content);
    return () => {
      const before = process.env.NOKMOD_NATIVE;
      process.env.NOKMOD_NATIVE = path;
      onTestFinished(() => {
        if (before === undefined) delete process.env.NOKMOD_NATIVE;
        else process.env.NOKMOD_NATIVE = before;
      });
      native();
    };
  }

  it("is ERR_NATIVE_MISSING where there is no file, or one that dlopen() refuses", () => {
    expect(load("none.node")).toThrow(expect.objectContaining({ code: "ERR_NATIVE_MISSING" }));
    expect(load("text.node", "no ELF file")).toThrow(expect.objectContaining({ code: "ERR_NATIVE_MISSING" }));
  });

  it("throws its own error where it was found but fails, also through netnsInode()", () => {
    const faulty = load("faulty.cjs", 'throw new RangeError("its own");');
    expect(faulty).toThrow(new RangeError("its own"));
    expect(() => netnsInode()).toThrow(new RangeError("its own"));
  });
});
