import { createRequire } from "node:module";
import { NokmodError } from "../core/errors.ts";

/** The exports of native/src. Each caller declares an interface of those that it uses. */
type NativeAddon = object;

const require = createRequire(import.meta.url);
const RELEASE = "../../build/Release/";

let addon: NativeAddon | undefined;

/**
 * Loads a module of the native build.
 * @param name of the file in build/Release
 * @param path the file to load instead
 * @throws Error of require() or dlopen()
 */
export function loadNative(name: string, path: string | undefined): unknown {
  return require(path ?? RELEASE + name);
}

/**
 * The native addon (or the one that NOKMOD_NATIVE names). It is loaded at the first call, so that a program that uses memory
 * ports alone needs no build.
 * @throws NokmodError ERR_NATIVE_MISSING when it has not been built for this Node; whatever its own initialization throws
 */
export function native<T extends NativeAddon>(): T {
  if (addon === undefined) {
    try {
      addon = loadNative("nokmod_native.node", process.env.NOKMOD_NATIVE) as NativeAddon;
    } catch (cause) {
      // No such file, or one that was built for another Node or machine.
      const { code } = cause as NodeJS.ErrnoException;
      if (code !== "MODULE_NOT_FOUND" && code !== "ERR_DLOPEN_FAILED") throw cause;
      throw new NokmodError("ERR_NATIVE_MISSING", "the native addon is not built: run `npm install`", { cause });
    }
  }
  return addon as T;
}
