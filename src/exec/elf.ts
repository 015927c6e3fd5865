import { closeSync, openSync, readSync, statSync } from "node:fs";
import { basename, join } from "node:path";

/** How a program makes its system calls, as far as its file tells. */
export const enum ProgramKind {
  /** Through the C library, which a preload library can stand in front of; also what we cannot read. */
  Dynamic,
  /** By itself: no dynamic linker takes part, or it is Go, whose runtime calls the kernel even where it is linked. */
  Static,
  /** Code for another kind of processor, or of 32 bits. */
  Foreign,
}

/** ELF header: EI_CLASS, EI_DATA, e_machine u16, e_phoff u64, e_phentsize u16, e_phnum u16. */
const EI_CLASS = 4;
const EI_DATA = 5;
const E_MACHINE = 18;
const E_PHOFF = 32;
const E_PHENTSIZE = 54;
const E_PHNUM = 56;
const ELF_HEADER_BYTES = 64;
const ELFCLASS64 = 2;
const ELFDATA2LSB = 1;
const EM_X86_64 = 62;
const EM_AARCH64 = 183;
/** Program header: p_type u32, p_offset u64, p_filesz u64. */
const P_OFFSET = 8;
const P_FILESZ = 32;
const PROGRAM_HEADER_BYTES = 56;
const PT_INTERP = 3;
const PT_NOTE = 4;
/** Scripts name scripts as their interpreters; the kernel follows so many. */
const MAX_INTERPRETERS = 5;

/** What kind of program a command line starts: found along PATH, through the interpreters of scripts and `env`. */
export function programKind(command: readonly string[], env: NodeJS.ProcessEnv = process.env): ProgramKind {
  let words = [...command];
  for (let depth = 0; depth < MAX_INTERPRETERS && words.length > 0; depth++) {
    const path = findProgram(words[0], env);
    if (path === undefined) return ProgramKind.Dynamic;
    if (basename(path) === "env" && words.length > 1) {
      const program = words.findIndex((word, i) => i > 0 && !word.startsWith("-") && !word.includes("="));
      if (program > 0) {
        words = words.slice(program);
        continue;
      }
    }
    const start = readAt(path, 0, 256);
    if (start === undefined) return ProgramKind.Dynamic;
    if (start.toString("latin1", 0, 2) !== "#!") return elfKind(path, start);
    const line = start.toString("latin1", 2).split("\n", 1)[0].trim();
    words = [...line.split(/[ \t]+/), path, ...words.slice(1)];
  }
  return ProgramKind.Dynamic;
}

/** As execvp() finds it; undefined when there is no such command. */
function findProgram(name: string, env: NodeJS.ProcessEnv): string | undefined {
  const candidates = name.includes("/")
    ? [name]
    : (env.PATH ?? "/usr/local/bin:/usr/bin:/bin").split(":").map((directory) => join(directory || ".", name));
  return candidates.find((path) => {
    const status = statSync(path, { throwIfNoEntry: false });
    return status?.isFile() && (status.mode & 0o111) !== 0;
  });
}

function elfKind(path: string, header: Buffer): ProgramKind {
  if (header.length < ELF_HEADER_BYTES || header.toString("latin1", 0, 4) !== "\x7fELF") return ProgramKind.Dynamic;
  const own = process.arch === "arm64" ? EM_AARCH64 : EM_X86_64;
  if (header[EI_CLASS] !== ELFCLASS64 || header[EI_DATA] !== ELFDATA2LSB || header.readUInt16LE(E_MACHINE) !== own) {
    return ProgramKind.Foreign;
  }
  const size = header.readUInt16LE(E_PHENTSIZE);
  const count = header.readUInt16LE(E_PHNUM);
  if (size < PROGRAM_HEADER_BYTES) return ProgramKind.Dynamic;
  const table = readAt(path, Number(header.readBigUInt64LE(E_PHOFF)), size * count);
  if (table === undefined) return ProgramKind.Dynamic;
  let interpreted = false;
  for (let at = 0; at + size <= table.length; at += size) {
    const type = table.readUInt32LE(at);
    if (type === PT_INTERP) interpreted = true;
    if (type === PT_NOTE && hasGoNote(path, table, at)) return ProgramKind.Static;
  }
  return interpreted ? ProgramKind.Dynamic : ProgramKind.Static;
}

/** A note: name length u32, descriptor length u32, type u32, name. Go's linker writes one in the name of "Go". */
function hasGoNote(path: string, table: Buffer, at: number): boolean {
  const length = Number(table.readBigUInt64LE(at + P_FILESZ));
  const notes = readAt(path, Number(table.readBigUInt64LE(at + P_OFFSET)), Math.min(length, 4096));
  for (let note = 0; notes !== undefined && note + 12 <= notes.length; ) {
    const nameLength = notes.readUInt32LE(note);
    if (notes.toString("latin1", note + 12, note + 12 + nameLength) === "Go\0\0") return true;
    note += 12 + ((nameLength + 3) & ~3) + ((notes.readUInt32LE(note + 4) + 3) & ~3);
  }
  return false;
}

/** Up to `length` bytes of a file; undefined when it cannot be read. */
function readAt(path: string, position: number, length: number): Buffer | undefined {
  let fd: number | undefined;
  try {
    fd = openSync(path, "r");
    const bytes = Buffer.alloc(length);
    return bytes.subarray(0, readSync(fd, bytes, 0, length, position));
  } catch {
    return undefined;
  } finally {
    if (fd !== undefined) closeSync(fd);
  }
}
