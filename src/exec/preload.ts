import { existsSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { NokmodError } from "../core/errors.ts";
import { defaultSocketPath } from "../netlink/transport.ts";

/**
 * The preload library: netlink sockets of programs that know nothing of nokmod (docs/transport.md). $NOKMOD_PRELOAD
 * names another one than was built with the addon.
 * @throws NokmodError ERR_NATIVE_MISSING when it has not been built
 */
export function preloadLibrary(env: NodeJS.ProcessEnv = process.env): string {
  const path =
    env.NOKMOD_PRELOAD ?? fileURLToPath(new URL("../../build/Release/libnokmod-preload.so", import.meta.url));
  if (!existsSync(path)) throw new NokmodError("ERR_NATIVE_MISSING", `${path} is not built: run \`npm install\``);
  return path;
}

/** The environment in which a program's netlink sockets are those of the server on `socket`. */
export function preloadEnvironment(
  socket: string = defaultSocketPath(),
  env: NodeJS.ProcessEnv = process.env,
): NodeJS.ProcessEnv {
  const library = preloadLibrary(env);
  const others = (env.LD_PRELOAD ?? "").split(/[ :]+/).filter((name) => name !== "" && name !== library);
  return { ...env, NOKMOD_SOCKET: socket, LD_PRELOAD: [library, ...others].join(":") };
}
