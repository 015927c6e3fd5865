import { execFileSync, spawnSync } from "node:child_process";
import { existsSync, mkdirSync } from "node:fs";
import { basename, join } from "node:path";
import { fileURLToPath } from "node:url";

const ROOT = fileURLToPath(new URL("../../", import.meta.url));
export const NATIVE_CORPUS = join(ROOT, "test/fuzz-corpus/native");
/** Where harnesses are built, and what libFuzzer adds to the corpora. */
const OUTPUT = join(ROOT, "build-fuzz");
const PACKAGES = ["clang", "libclang-rt-14-dev"];
const CHECKED = ["-g", "-O1", "-fno-sanitize-recover=undefined"];
const WITHOUT_MAIN = "-fsanitize=fuzzer-no-link,address,undefined";

/** The harnesses of native/fuzz with the sources that they drive. */
export const HARNESSES: Readonly<Record<string, readonly string[]>> = {
  routing: ["native/preload/routing.c"],
  links: ["native/preload/links.c"],
  mailbox: ["native/src/record.cc"],
};

/** Whether clang with libFuzzer is installed. `install`: by apt-get, which takes root, if it is not. */
export function hasFuzzer(install: boolean): boolean {
  const works = (): boolean => spawnSync("clang++", ["--version"], { stdio: "ignore" }).status === 0;
  if (!works() && install) {
    console.log(`native: apt-get install ${PACKAGES.join(" ")}`);
    spawnSync("apt-get", ["install", "-y", "--no-install-recommends", ...PACKAGES], { stdio: "inherit" });
  }
  return works();
}

/**
 * Builds each harness with libFuzzer, AddressSanitizer and UBSan and runs it, coverage-guided, from its corpus.
 * @returns runs by harness, and what was found, as libFuzzer tells it; undefined if nothing
 */
export function fuzzNative(seed: number, seconds: number): { runs: Record<string, number>; found: string | undefined } {
  const runs: Record<string, number> = {};
  const each = Math.max(1, Math.floor(seconds / Object.keys(HARNESSES).length));
  for (const [name, sources] of Object.entries(HARNESSES)) {
    const binary = build(name, sources);
    const grown = join(OUTPUT, `corpus-${name}`);
    mkdirSync(grown, { recursive: true });
    const kept = join(NATIVE_CORPUS, name);
    const corpora = existsSync(kept) ? [grown, kept] : [grown];
    const { status, stderr } = spawnSync(
      binary,
      [
        `-seed=${seed}`,
        `-max_total_time=${each}`,
        "-max_len=4096",
        "-timeout=10",
        `-artifact_prefix=${OUTPUT}/${name}-`,
        ...corpora,
      ],
      { encoding: "utf8", maxBuffer: 256 << 20 },
    );
    runs[name] = Number(/^Done (\d+) runs/m.exec(stderr)?.[1] ?? 0);
    if (status !== 0)
      return { runs, found: `${name}: ${stderr.slice(Math.max(0, stderr.search(/==\d+==|runtime error/)))}` };
  }
  return { runs, found: undefined };
}

/** Compiles a harness with the sources that it drives. @returns its path */
function build(name: string, sources: readonly string[]): string {
  mkdirSync(OUTPUT, { recursive: true });
  const objects = sources.map((source) => {
    const object = join(OUTPUT, `${basename(source)}.o`);
    const language = source.endsWith(".cc") ? ["-std=c++17"] : ["-std=gnu11"];
    execFileSync("clang", [...language, ...CHECKED, WITHOUT_MAIN, "-c", join(ROOT, source), "-o", object], {
      stdio: "inherit",
    });
    return object;
  });
  const binary = join(OUTPUT, name);
  execFileSync(
    "clang++",
    [
      "-std=c++17",
      ...CHECKED,
      "-fsanitize=fuzzer,address,undefined",
      join(ROOT, `native/fuzz/${name}.cc`),
      ...objects,
      "-o",
      binary,
    ],
    { stdio: "inherit" },
  );
  return binary;
}

/** Builds a harness with gcc, its sanitizers and replay.cc in the place of libFuzzer, in `directory`. @returns its path */
export function buildReplay(name: string, directory: string): string {
  const sanitize = "-fsanitize=address,undefined";
  const objects = HARNESSES[name].map((source) => {
    const object = join(directory, `${basename(source)}.o`);
    const [compiler, language] = source.endsWith(".cc") ? ["g++", "-std=c++17"] : ["gcc", "-std=gnu11"];
    execFileSync(compiler, [language, ...CHECKED, sanitize, "-c", join(ROOT, source), "-o", object], { stdio: "pipe" });
    return object;
  });
  const binary = join(directory, name);
  const harness = [name, "replay"].map((file) => join(ROOT, `native/fuzz/${file}.cc`));
  execFileSync("g++", ["-std=c++17", ...CHECKED, sanitize, ...harness, ...objects, "-o", binary], { stdio: "pipe" });
  return binary;
}
