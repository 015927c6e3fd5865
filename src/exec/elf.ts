import { closeSync, openSync, readSync, statSync } from "node:fs";
import { basename, join } from "node:path";
import { systemErrorCode } from "../core/errors.ts";

/** How a program makes its system calls, read from its ELF file. */
export const enum ProgramKind {
  /** Through the C library, whose functions a preload library replaces; also a file that cannot be read or is not ELF. */
  Dynamic,
  /** By itself: the file names no dynamic linker, or it is Go, whose runtime makes system calls even in a linked program. */
  Static,
  /** The file has another machine type than this process, or is 32-bit. */
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
/** Bytes of all program headers that execve(2) takes. */
const PROGRAM_HEADERS_MAX = 0x10000;
const PT_INTERP = 3;
const PT_NOTE = 4;
/** Interpreters that the kernel follows from script to script (BINPRM_MAX_RECURSION of execve(2)). */
const MAX_INTERPRETERS = 5;

/**
 * The kind of the program that a command line starts, searched along PATH. Of a script it is the kind of its interpreter;
 * of `env` that of the command after it.
 * @param env environment whose PATH is searched
 */
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

/** The path that execvp() would start; undefined when there is no such command. */
function findProgram(name: string, env: NodeJS.ProcessEnv): string | undefined {
  const candidates = name.includes("/")
    ? [name]
    : (env.PATH ?? "/usr/local/bin:/usr/bin:/bin").split(":").map((directory) => join(directory || ".", name));
  return candidates.find(isExecutable);
}

function isExecutable(path: string): boolean {
  try {
    const status = statSync(path, { throwIfNoEntry: false });
    return status?.isFile() === true && (status.mode & 0o111) !== 0;
  } catch (error) {
    // EACCES, ELOOP, ENAMETOOLONG …: execvp() tries the next directory too.
    if (systemErrorCode(error) === undefined) throw error;
    return false;
  }
}

function elfKind(path: string, header: Buffer): ProgramKind {
  if (header.length < ELF_HEADER_BYTES || header.toString("latin1", 0, 4) !== "\x7fELF") return ProgramKind.Dynamic;
  const own = process.arch === "arm64" ? EM_AARCH64 : EM_X86_64;
  if (header[EI_CLASS] !== ELFCLASS64 || header[EI_DATA] !== ELFDATA2LSB || header.readUInt16LE(E_MACHINE) !== own) {
    return ProgramKind.Foreign;
  }
  const size = header.readUInt16LE(E_PHENTSIZE);
  const count = header.readUInt16LE(E_PHNUM);
  if (size < PROGRAM_HEADER_BYTES || size * count > PROGRAM_HEADERS_MAX) return ProgramKind.Dynamic;
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
    note += 12 + align4(nameLength) + align4(notes.readUInt32LE(note + 4));
  }
  return false;
}

/** Rounds a u32 up to a multiple of 4, without wrapping. */
const align4 = (length: number): number => Math.ceil(length / 4) * 4;

/** Up to `length` bytes of a file from `position`; undefined when it cannot be read there. */
function readAt(path: string, position: number, length: number): Buffer | undefined {
  // A damaged file names offsets beyond what pread(2) takes.
  if (!Number.isSafeInteger(position)) return undefined;
  let fd: number | undefined;
  try {
    fd = openSync(path, "r");
    const bytes = Buffer.alloc(length);
    return bytes.subarray(0, readSync(fd, bytes, 0, length, position));
  } catch (error) {
    // EACCES, ENOENT, EIO …: starting the program fails with the same error.
    if (systemErrorCode(error) === undefined) throw error;
    return undefined;
  } finally {
    if (fd !== undefined) closeSync(fd);
  }
}
