import { existsSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { NokmodError } from "../core/errors.ts";

/**
 * The supervisor: netlink sockets of programs that make their system calls themselves (docs/transport.md, "Static
 * programs"). It is put in front of a command line; $NOKMOD_SOCKET tells it where nokmod listens. $NOKMOD_SECCOMP names
 * another one than was built with the addon.
 * @throws NokmodError ERR_NATIVE_MISSING when it has not been built
 */
export function seccompSupervisor(env: NodeJS.ProcessEnv = process.env): string {
  const path = env.NOKMOD_SECCOMP ?? fileURLToPath(new URL("../../build/Release/nokmod-seccomp", import.meta.url));
  if (!existsSync(path)) throw new NokmodError("ERR_NATIVE_MISSING", `${path} is not built: run \`npm install\``);
  return path;
}
