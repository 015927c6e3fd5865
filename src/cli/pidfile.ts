import { rmSync } from "node:fs";
import { NokmodError, systemErrorCode } from "../core/errors.ts";
import { readPlainFile, replaceFile } from "../runtime/atomic-file.ts";

const MODE = 0o644;

/**
 * Writes this process's id and a newline. A symlink at the path is replaced, not followed.
 * @throws NokmodError ERR_PIDFILE
 */
export function writePidfile(path: string): void {
  try {
    replaceFile(path, `${process.pid}\n`, { mode: MODE, durable: false });
  } catch (cause) {
    const code = systemErrorCode(cause);
    if (code === undefined) throw cause;
    throw new NokmodError("ERR_PIDFILE", `cannot write the pidfile ${path}: ${code}`, { cause });
  }
}

/** Removes the file if it names this process: another one may have replaced it. @returns why it could not be removed */
export function removePidfile(path: string): string | undefined {
  try {
    if (readPlainFile(path)?.trim() === String(process.pid)) rmSync(path, { force: true });
    return undefined;
  } catch (error) {
    const reason = error instanceof NokmodError ? error.code : systemErrorCode(error);
    if (reason === undefined) throw error;
    return `cannot remove the pidfile ${path}: ${reason}`;
  }
}
