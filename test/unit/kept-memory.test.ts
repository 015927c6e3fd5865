import { mkdtempSync, readFileSync, rmSync, statSync, symlinkSync, truncateSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { openKeptMemory } from "../../src/native/kept-memory.ts";

describe("memory that lies in a file", () => {
  let directory: string;
  let path: string;
  beforeEach(() => {
    directory = mkdtempSync(join(tmpdir(), "nokmod-kept-"));
    path = join(directory, "connections");
  });
  afterEach(() => rmSync(directory, { recursive: true }));
  const SIZE = 1 << 24;
  const code = (errno: string): unknown => expect.objectContaining({ code: errno });

  it("what was written is there for the next process, and the buffer outlives the file", () => {
    const memory = openKeptMemory(path, SIZE);
    expect(memory.length).toBe(0);
    expect(memory.extend(8192)).toBe(0);
    expect(memory.length).toBe(8192);
    new Uint8Array(memory.buffer, 0, 8192).fill(7);
    expect(statSync(path).mode & 0o777).toBe(0o600);
    expect(readFileSync(path)).toEqual(Buffer.alloc(8192, 7));
    memory.close(false);
    const next = openKeptMemory(path, SIZE);
    expect(next.length).toBe(8192);
    expect(new Uint8Array(next.buffer, 0, 8192).every((byte) => byte === 7)).toBe(true);
    next.close(true);
    expect(() => statSync(path)).toThrow(code("ENOENT"));
    expect(new Uint8Array(next.buffer, 0, 8192)[8191]).toBe(7);
  });

  it("one process at a time; no symlink, no folder, no more than the range; half a page is cut off", () => {
    const memory = openKeptMemory(path, SIZE);
    expect(() => openKeptMemory(path, SIZE)).toThrow(code("EAGAIN"));
    expect(() => memory.extend(SIZE * 2)).toThrow(code("ENOMEM"));
    memory.close(false);
    const link = join(directory, "link");
    symlinkSync(path, link);
    expect(() => openKeptMemory(link, SIZE)).toThrow(code("ELOOP"));
    expect(() => openKeptMemory(directory, SIZE)).toThrow(code("EISDIR"));
    writeFileSync(path, Buffer.alloc(4096 + 100));
    const cut = openKeptMemory(path, SIZE);
    expect(cut.length).toBe(4096);
    cut.close(false);
    truncateSync(path, SIZE + 4096);
    expect(() => openKeptMemory(path, SIZE)).toThrow(code("EFBIG"));
  });

  it("bytes for which there is no room in the file are memory nevertheless", () => {
    const memory = openKeptMemory(path, SIZE);
    expect(memory.extend(4096)).toBe(0);
    memory.close(false);
    expect(memory.extend(4096)).not.toBe(0);
    new Uint8Array(memory.buffer, 0, 8192).fill(1);
    expect(statSync(path).size).toBe(4096);
  });
});
