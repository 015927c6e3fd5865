import { existsSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { NokmodError } from "../core/errors.ts";

/**
 * The path of the seccomp supervisor, which gives programs that make their system calls themselves their netlink sockets
 * (docs/transport.md): $NOKMOD_SECCOMP, else the one that was built with the addon. It starts the command line that
 * follows it, and reads the server's path from $NOKMOD_SOCKET.
 * @throws NokmodError ERR_NATIVE_MISSING when it has not been built
 */
export function seccompSupervisor(env: NodeJS.ProcessEnv = process.env): string {
  const path = env.NOKMOD_SECCOMP ?? fileURLToPath(new URL("../../build/Release/nokmod-seccomp", import.meta.url));
  if (!existsSync(path)) throw new NokmodError("ERR_NATIVE_MISSING", `${path} is not built: run \`npm install\``);
  return path;
}
