import { createRequire } from "node:module";
import { NokmodError } from "../core/errors.ts";
import type { SharedUnit } from "./shared-memory.ts";

/** What native/src exports; each unit adds its part where it is used (see the interfaces beside their callers). */
export type NativeAddon = object;

const require = createRequire(import.meta.url);
const RELEASE = "../../build/Release/";

let addon: NativeAddon | undefined;
let shared: SharedUnit | null | undefined;

/**
 * The native addon, loaded when first asked for, so that whatever runs in memory alone needs no build.
 * @throws NokmodError ERR_NATIVE_MISSING when it has not been built for this Node
 */
export function native<T extends NativeAddon>(): T {
  if (addon === undefined) {
    try {
      addon = require(process.env.NOKMOD_NATIVE ?? `${RELEASE}nokmod_native.node`) as NativeAddon;
    } catch (cause) {
      throw new NokmodError("ERR_NATIVE_MISSING", "the native addon is not built: run `npm install`", { cause });
    }
  }
  return addon as T;
}

/** The optional unit for SharedArrayBuffers over mapped memory; null where it could not be built. */
export function sharedUnit(): SharedUnit | null {
  if (shared === undefined) {
    try {
      shared = require(process.env.NOKMOD_SHARED ?? `${RELEASE}nokmod_shared.node`) as SharedUnit;
    } catch {
      shared = null;
    }
  }
  return shared;
}
