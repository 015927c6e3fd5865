import * as numbers from "../uapi/errno.ts";

/** The root of all errors that nokmod throws on purpose. `code` is stable: programs may test it. */
export class NokmodError extends Error {
  constructor(
    readonly code: string,
    message: string,
    options?: ErrorOptions,
  ) {
    super(message, options);
    this.name = new.target.name;
  }
}

/**
 * A request that fails as the kernel would fail it. Thrown by control-plane code only; turned into one NLMSG_ERROR
 * (with extended-ack attributes where given) by src/netlink.
 */
export class Errno extends NokmodError {
  /**
   * @param errno positive number of asm-generic/errno.h
   * @param extack text for NLMSGERR_ATTR_MSG, exactly as the module writes it (the ovs_* families write none of their own)
   * @param offset byte offset of the offending attribute from the start of the nlmsghdr, for NLMSGERR_ATTR_OFFS
   * @param missingType attribute type for NLMSGERR_ATTR_MISS_TYPE
   * @param missingNest offset of the nest that lacks it, for NLMSGERR_ATTR_MISS_NEST
   */
  constructor(
    readonly errno: number,
    readonly extack?: string,
    readonly offset?: number,
    readonly missingType?: number,
    readonly missingNest?: number,
  ) {
    super("ERR_ERRNO", extack ?? `errno ${errno}`);
  }
}

/**
 * The code of a failed system call, `ENOENT`, as node:fs, node:child_process, node:os and native/src/system_error.h put it
 * into their errors.
 * @returns undefined: the error is not one of a system call, so the program is at fault
 */
export function systemErrorCode(error: unknown): string | undefined {
  if (!(error instanceof Error) || !("syscall" in error || "errno" in error || "info" in error)) return undefined;
  const { code, info } = error as { readonly code?: unknown; readonly info?: { readonly code?: unknown } };
  // node:os throws ERR_SYSTEM_ERROR, with the code of the call in `info`.
  const found = info?.code ?? code;
  return typeof found === "string" && /^E[A-Z0-9]+$/.test(found) ? found : undefined;
}

const NAMES = new Map<number, string>(Object.entries(numbers).map(([name, value]) => [value, name]));

/** Name of an errno, `ENODEV`; its number where src/uapi/errno.ts does not name it. */
export function errnoName(errno: number): string {
  return NAMES.get(errno) ?? String(errno);
}
