/** The repository's tree for programs that run as another user, who may not enter the folder that it lies in. */
import { execFileSync } from "node:child_process";
import { cpSync, mkdtempSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join, relative } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";

const ROOT = fileURLToPath(new URL("../../", import.meta.url));
/** What programs of src and test/support need at run time. */
const PARTS = ["package.json", "src", "test/support", "build/Release", "node_modules"];
/** Large packages of the lint and test tools. */
const TOOLS = /node_modules\/(?:@biomejs|@rolldown|lightningcss|knip|\.bin|vitest|vite)/;
const EVERYBODY_ENTERS = 0o005;

let copy: string | undefined;

/** Whether every user may enter a folder and all that it lies in. */
function isOpen(path: string): boolean {
  if ((statSync(path).mode & EVERYBODY_ENTERS) !== EVERYBODY_ENTERS) return false;
  const above = dirname(path);
  return above === path || isOpen(above);
}

/** The path of a file of the tree that every user may read: itself, or one in a copy, which goes with this process. */
export function forEveryUser(path: string): string {
  if (isOpen(ROOT)) return path;
  if (copy === undefined) {
    const made = mkdtempSync(join(tmpdir(), "nokmod-tree-"));
    process.on("exit", () => rmSync(made, { recursive: true, force: true }));
    for (const part of PARTS) {
      cpSync(join(ROOT, part), join(made, part), { recursive: true, filter: (from) => !TOOLS.test(from) });
    }
    // Git and npm may have made files for their owner alone; mkdtemp() has made the folder so.
    execFileSync("chmod", ["-R", "a+rX", made]);
    copy = made;
  }
  return join(copy, relative(ROOT, path));
}

/** TYPESCRIPT_ARGV for a program of another user. */
export function typescriptForEveryUser(): string[] {
  return ["--import", pathToFileURL(forEveryUser(fileURLToPath(new URL("./register-ts.mjs", import.meta.url)))).href];
}
