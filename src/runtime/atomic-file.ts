import {
  closeSync,
  constants,
  existsSync,
  fstatSync,
  fsyncSync,
  openSync,
  readFileSync,
  renameSync,
  rmSync,
  unlinkSync,
  writeSync,
} from "node:fs";
import { open } from "node:fs/promises";
import { NokmodError, systemErrorCode } from "../core/errors.ts";

const { O_WRONLY, O_RDONLY, O_CREAT, O_EXCL, O_NOFOLLOW, O_NONBLOCK } = constants;

/** Options of replaceFile(). */
interface ReplaceOptions {
  /** Mode of the file. */
  readonly mode: number;
  /** Waits until the bytes are on the disk (fsync), which may take tens of milliseconds. */
  readonly durable: boolean;
}

/**
 * Replaces a file as a whole: writes PATH.new, which must not be there (O_EXCL, so no symlink is followed), and renames it
 * over PATH. A reader, or a crash, sees the old file or the new one. On failure PATH is as it was and PATH.new is removed.
 * The caller must be the only writer of PATH.
 * @throws Error with the `code` of the system call: ENOSPC, EROFS, EACCES …
 */
export function replaceFile(path: string, text: string, options: ReplaceOptions): void {
  const temporary = `${path}.new`;
  const fd = create(temporary, options.mode);
  try {
    try {
      const bytes = Buffer.from(text);
      for (let at = 0; at < bytes.length; ) at += writeSync(fd, bytes, at);
      if (options.durable) fsyncSync(fd);
    } finally {
      closeSync(fd);
    }
    renameSync(temporary, path);
  } catch (error) {
    rmSync(temporary, { force: true });
    throw error;
  }
}

function create(path: string, mode: number): number {
  const flags = O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW;
  try {
    return openSync(path, flags, mode);
  } catch (error) {
    if (systemErrorCode(error) !== "EEXIST") throw error;
    // Left by a process that was killed while it wrote. unlink() removes a symlink, not what it points at.
    unlinkSync(path);
    return openSync(path, flags, mode);
  }
}

/** Waits, without blocking the thread, until what was written to a file is on the disk. @throws Error ENOENT, EIO … */
export async function syncFile(path: string): Promise<void> {
  const handle = await open(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK);
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

/**
 * Reads a regular file that is not a symlink.
 * @returns undefined: there is none
 * @throws NokmodError ERR_NOT_A_FILE; Error with the `code` of the system call: EACCES, ELOOP (a symlink), EIO …
 */
export function readPlainFile(path: string): string | undefined {
  let fd: number;
  try {
    fd = openSync(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK);
  } catch (error) {
    if (systemErrorCode(error) === "ENOENT") return undefined;
    throw error;
  }
  try {
    if (!fstatSync(fd).isFile()) throw new NokmodError("ERR_NOT_A_FILE", `${path} is not a regular file`);
    return readFileSync(fd, "utf8");
  } finally {
    closeSync(fd);
  }
}

/** Files that keepAside() keeps of one path; the last is replaced after that. */
const KEPT = 99;

/**
 * Moves a file out of the way, to PATH.bad-1 or the next number that is free.
 * @returns its new path
 * @throws Error with the `code` of the system call
 */
export function keepAside(path: string): string {
  let number = 1;
  while (number < KEPT && existsSync(`${path}.bad-${number}`)) number++;
  const aside = `${path}.bad-${number}`;
  renameSync(path, aside);
  return aside;
}
