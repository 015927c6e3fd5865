// Lets Node 20 run the repository's TypeScript as it is: `node --import ./test/support/register-ts.mjs FILE.ts`. For
// child processes and worker threads of tests, which vitest does not transform.
import { readFileSync } from "node:fs";
import { register } from "node:module";
import { fileURLToPath } from "node:url";
import ts from "typescript";

const COMPILER_OPTIONS = {
  target: ts.ScriptTarget.ES2022,
  module: ts.ModuleKind.ESNext,
  isolatedModules: true,
  preserveConstEnums: true,
};

export async function load(url, context, next) {
  if (!url.startsWith("file:") || !url.endsWith(".ts")) return next(url, context);
  const { outputText } = ts.transpileModule(readFileSync(fileURLToPath(url), "utf8"), {
    compilerOptions: COMPILER_OPTIONS,
    fileName: url,
  });
  return { format: "module", source: outputText, shortCircuit: true };
}

if (!process.env.NOKMOD_TS_HOOKS) {
  // The hooks run in a thread of their own, which loads this file again.
  process.env.NOKMOD_TS_HOOKS = "1";
  register(import.meta.url);
  delete process.env.NOKMOD_TS_HOOKS;
}
