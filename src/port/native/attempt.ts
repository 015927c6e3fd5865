import { Errno } from "../../core/errors.ts";
import { EACCES, EBADFD, EINVAL, EIO, ENETDOWN, ENODEV, ENOENT, ENXIO, EPERM } from "../../uapi/errno.ts";

/**
 * Runs a native call.
 * @throws Errno for an error with an `errno`, EACCES as EPERM; any other error as it is
 */
export function attempt<T>(call: () => T): T {
  try {
    return call();
  } catch (cause) {
    const errno = errnoOf(cause);
    if (errno === undefined) throw cause;
    const error = new Errno(errno === 0 ? EIO : errno === EACCES ? EPERM : errno);
    error.cause = cause;
    throw error;
  }
}

/** The errno of a native call's error or of an Errno; undefined for any other error. */
export function errnoOf(error: unknown): number | undefined {
  const errno = (error as { errno?: unknown } | null)?.errno;
  return typeof errno === "number" ? errno : undefined;
}

/**
 * Errnos of a native call on a device that has been deleted: ENODEV of rtnetlink, ENXIO and ENETDOWN of packet sockets, EBADFD
 * of a TAP's descriptor; ENOENT where its namespace has no id in this one.
 */
const GONE: readonly number[] = [ENODEV, ENXIO, ENETDOWN, EBADFD, ENOENT];

/**
 * Whether a native call failed because its device is gone. Any other error is a fault, to be reported.
 * @param elsewhere the call named another namespace: EINVAL then says that the namespace is gone
 */
export function isDeviceGone(error: unknown, elsewhere: boolean): boolean {
  const errno = errnoOf(error);
  if (errno === undefined) return false;
  return GONE.includes(errno) || (elsewhere && errno === EINVAL);
}
