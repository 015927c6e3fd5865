/** programKind() on ELF files that are damaged: it answers, in bounded time and memory. */
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, expect, it } from "vitest";
import { ProgramKind, programKind } from "../../src/exec/elf.ts";

const directory = mkdtempSync(join(tmpdir(), "nokmod-elf-"));
afterAll(() => rmSync(directory, { recursive: true, force: true }));

const PT_NOTE = 4;

/** An ELF file of this machine with one program header, a PT_NOTE, whose contents are `note`. */
function elf(note: readonly number[], change: (bytes: Buffer) => void = () => {}): string {
  const bytes = Buffer.alloc(64 + 56 + note.length * 4);
  bytes.write("\x7fELF", "latin1");
  bytes[4] = 2;
  bytes[5] = 1;
  bytes.writeUInt16LE(process.arch === "arm64" ? 183 : 62, 18);
  bytes.writeBigUInt64LE(64n, 32);
  bytes.writeUInt16LE(56, 54);
  bytes.writeUInt16LE(1, 56);
  bytes.writeUInt32LE(PT_NOTE, 64);
  bytes.writeBigUInt64LE(120n, 64 + 8);
  bytes.writeBigUInt64LE(BigInt(note.length * 4), 64 + 32);
  for (const [i, word] of note.entries()) bytes.writeUInt32LE(word, 120 + i * 4);
  change(bytes);
  const path = join(directory, "program");
  writeFileSync(path, bytes);
  chmodSync(path, 0o755);
  return path;
}

it("a note whose length is nearly 2^32 ends the search for notes", () => {
  expect(programKind([elf([0x80000000, 0, 1, 0])])).toBe(ProgramKind.Static);
  expect(programKind([elf([0xffffffff, 0xffffffff, 1, 0])])).toBe(ProgramKind.Static);
});

it("program headers beyond what a file may have are not read", () => {
  expect(programKind([elf([], (bytes) => bytes.writeBigUInt64LE(0xffffffff_ffffffffn, 32))])).toBe(ProgramKind.Dynamic);
  expect(programKind([elf([], (bytes) => bytes.writeUInt16LE(0xffff, 56))])).toBe(ProgramKind.Dynamic);
});

it("a note at an offset beyond the file is no note", () => {
  const path = elf([4, 0, 1, 0], (bytes) => bytes.writeBigUInt64LE(0xffffffff_ffffffffn, 64 + 8));
  expect(programKind([path])).toBe(ProgramKind.Static);
});
