import { Errno } from "../../core/errors.ts";
import { EACCES, EIO, EPERM } from "../../uapi/errno.ts";

/** Runs a native call; its failure becomes an Errno. */
export function attempt<T>(call: () => T): T {
  try {
    return call();
  } catch (cause) {
    const errno = (cause as { errno?: unknown }).errno;
    if (typeof errno !== "number") throw cause;
    const error = new Errno(errno === 0 ? EIO : errno === EACCES ? EPERM : errno);
    error.cause = cause;
    throw error;
  }
}

/** Whether a native call failed with an errno: the kernel refused it. Anything else is a fault of ours. */
export function isSystemError(error: unknown): error is { readonly errno: number } {
  return typeof (error as { errno?: unknown }).errno === "number";
}
