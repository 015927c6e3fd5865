import { existsSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { NokmodError } from "../core/errors.ts";
import { defaultSocketPath } from "../netlink/transport.ts";

/**
 * The path of the preload library, which gives unmodified programs their netlink sockets (docs/transport.md):
 * $NOKMOD_PRELOAD, else the library that was built with the addon.
 * @throws NokmodError ERR_NATIVE_MISSING when it has not been built
 */
function preloadLibrary(env: NodeJS.ProcessEnv = process.env): string {
  const path =
    env.NOKMOD_PRELOAD ?? fileURLToPath(new URL("../../build/Release/libnokmod-preload.so", import.meta.url));
  if (!existsSync(path)) throw new NokmodError("ERR_NATIVE_MISSING", `${path} is not built: run \`npm install\``);
  return path;
}

/** Bytes of a socket path, without its final NUL (sockaddr_un.sun_path of unix(7)). */
const SOCKET_PATH_MAX = 107;

/**
 * @returns the path, which fits a socket address
 * @throws NokmodError ERR_SOCKET_PATH when it is too long
 */
export function checkSocketPath(path: string): string {
  const length = Buffer.byteLength(path);
  if (length <= SOCKET_PATH_MAX) return path;
  const why = `ENAMETOOLONG, ${length} bytes of at most ${SOCKET_PATH_MAX}`;
  throw new NokmodError("ERR_SOCKET_PATH", `the socket path ${path} is too long (${why})`);
}

/**
 * `env` with LD_PRELOAD and NOKMOD_SOCKET, so that a program's netlink sockets are those of the server on `socket`.
 * @throws NokmodError ERR_NATIVE_MISSING
 */
export function preloadEnvironment(
  socket: string = defaultSocketPath(),
  env: NodeJS.ProcessEnv = process.env,
): NodeJS.ProcessEnv {
  const library = preloadLibrary(env);
  const others = (env.LD_PRELOAD ?? "").split(/[ :]+/).filter((name) => name !== "" && name !== library);
  return { ...env, NOKMOD_SOCKET: socket, LD_PRELOAD: [library, ...others].join(":") };
}
