// Lets Node 20 run the repository's TypeScript as it is: `node --import ./test/support/register-ts.mjs FILE.ts`. For
// child processes and worker threads of tests, which vitest does not transform. What was compiled once is kept by its
// content, so that most starts do without the compiler.
import { createHash } from "node:crypto";
import { mkdirSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import { register } from "node:module";
import { fileURLToPath } from "node:url";

const CACHE = fileURLToPath(new URL("../../node_modules/.cache/nokmod-ts/", import.meta.url));

async function compile(source, fileName) {
  const cached = `${CACHE}${createHash("sha256").update(source).digest("hex")}.js`;
  try {
    return readFileSync(cached, "utf8");
  } catch {
    // Not compiled yet.
  }
  const { default: ts } = await import("typescript");
  const { outputText } = ts.transpileModule(source, {
    compilerOptions: {
      target: ts.ScriptTarget.ES2022,
      module: ts.ModuleKind.ESNext,
      isolatedModules: true,
      preserveConstEnums: true,
    },
    fileName,
  });
  try {
    mkdirSync(CACHE, { recursive: true });
    // Renamed into place: others may be reading.
    const temporary = `${cached}.${process.pid}`;
    writeFileSync(temporary, outputText);
    renameSync(temporary, cached);
  } catch {
    // A user who may not write there compiles each time.
  }
  return outputText;
}

export async function load(url, context, next) {
  if (!url.startsWith("file:") || !url.endsWith(".ts")) return next(url, context);
  const fileName = fileURLToPath(url);
  const source = await compile(readFileSync(fileName, "utf8"), fileName);
  return { format: "module", source, shortCircuit: true };
}

if (!process.env.NOKMOD_TS_HOOKS) {
  // The hooks run in a thread of their own, which loads this file again.
  process.env.NOKMOD_TS_HOOKS = "1";
  register(import.meta.url);
  delete process.env.NOKMOD_TS_HOOKS;
}
