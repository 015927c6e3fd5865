import { execFileSync, spawnSync } from "node:child_process";
import { copyFileSync, existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, relative } from "node:path";
import { fileURLToPath } from "node:url";
import { describe, expect, it, onTestFinished } from "vitest";

const ROOT = fileURLToPath(new URL("../../", import.meta.url));
const read = (path: string): string => readFileSync(join(ROOT, path), "utf8");
const SOURCES = read("native/sources.txt").trim().split("\n").sort();

function temporary(): string {
  const path = mkdtempSync(join(tmpdir(), "nokmod-build-"));
  onTestFinished(() => rmSync(path, { recursive: true, force: true }));
  return path;
}

/** Sources of a target as gyp understands binding.gyp: Python evaluates the file, as gyp does. */
function gypSources(): string[] {
  const script = `
import ast, json, subprocess, sys
target = ast.literal_eval(open("binding.gyp").read())["targets"][0]
out = []
for entry in target["sources"]:
    out += subprocess.check_output(entry[4:-1], shell=True, text=True).split() if entry.startswith("<!@(") else [entry]
print(json.dumps(out))`;
  return JSON.parse(execFileSync("python3", ["-c", script], { cwd: ROOT, encoding: "utf8" })) as string[];
}

/** Sources of a target as CMake understands CMakeLists.txt. */
function cmakeCommands(): { file: string; command: string }[] {
  const build = temporary();
  execFileSync("cmake", ["-S", ROOT, "-B", build, "-DCMAKE_EXPORT_COMPILE_COMMANDS=ON"], {
    encoding: "utf8",
    stdio: "pipe",
  });
  return JSON.parse(readFileSync(join(build, "compile_commands.json"), "utf8")) as { file: string; command: string }[];
}

describe("the two builds of the native side", () => {
  it("the list of sources names every unit there is", () => {
    const units = readdirSync(join(ROOT, "native/src"))
      .filter((name) => name.endsWith(".cc"))
      .map((name) => `native/src/${name}`);
    expect(SOURCES).toEqual(units.sort());
  });

  it("node-gyp builds that list", () => {
    expect(gypSources().sort()).toEqual(SOURCES);
  });

  it.skipIf(spawnSync("cmake", ["--version"]).status !== 0)("CMake builds the same, with the same definitions", () => {
    const commands = cmakeCommands().filter(({ command }) => command.includes("nokmod_native.dir"));
    expect(commands.map(({ file }) => relative(ROOT, file)).sort()).toEqual(SOURCES);
    const defines = /"defines": \[(.*?)\]/s.exec(read("binding.gyp"))?.[1].match(/[\w=]+/g) ?? [];
    expect(defines).toContain("NAPI_CPP_EXCEPTIONS");
    for (const { command } of commands) {
      for (const define of defines) expect(command).toContain(`-D${define}`);
      expect(command).toContain("-std=c++17");
    }
  });

  it("an install where the nan unit cannot be built succeeds, tells why, and leaves no old unit", () => {
    const where = temporary();
    // Away from node_modules nan is not to be found.
    copyFileSync(join(ROOT, "native/nan/build.cjs"), join(where, "build.cjs"));
    const output = join(where, "out");
    const result = spawnSync(process.execPath, [join(where, "build.cjs"), "", output], { encoding: "utf8" });
    expect(result.status).toBe(0);
    expect(result.stderr).toContain("the optional shared-memory unit was not built; its fallback is used");
    expect(existsSync(join(output, "nokmod_shared.stamp"))).toBe(true);
    expect(existsSync(join(output, "nokmod_shared.node"))).toBe(false);
  });
});
