import { spawnSync } from "node:child_process";
import { existsSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { homedir } from "node:os";
import { join } from "node:path";

/** One test group of the suite. */
export interface Test {
  readonly number: number;
  readonly title: string;
  /** Where its source begins, such as `system-traffic.at:3`. */
  readonly source: string;
  readonly keywords: readonly string[];
}

/** Where Debian's openvswitch-source puts OVS's sources, the generated suite among them. */
const SOURCES = "/usr/src/openvswitch/openvswitch.tar.gz";
const SUITE = "system-kmod-testsuite";

/** Everything of the suite that stays between runs. */
export const cache = join(process.env.XDG_CACHE_HOME ?? join(homedir(), ".cache"), "nokmod/ovs-suite");

/** OVS's suite for the kernel datapath, unpacked from Debian's package; nothing of it has to be compiled. */
export class Suite {
  readonly version: string;
  readonly tests: readonly Test[];
  private readonly directory: string;

  /** Unpacks the sources of the version that is installed, unless they are there. */
  constructor() {
    this.version = output("dpkg-query", ["-W", "-f", "$" + "{Version}", "openvswitch-source"]);
    const installed = output("dpkg-query", ["-W", "-f", "$" + "{Version}", "openvswitch-switch"]);
    if (installed !== this.version) throw new Error(`openvswitch-switch is ${installed}, its suite ${this.version}`);
    const unpacked = join(cache, this.version);
    this.directory = join(unpacked, "openvswitch");
    if (!existsSync(unpacked)) {
      const half = `${unpacked}.${process.pid}`;
      mkdirSync(half, { recursive: true });
      output("tar", ["-xzf", SOURCES, "-C", half]);
      const monitor = join(half, "openvswitch/ipsec/ovs-monitor-ipsec");
      writeFileSync(monitor, configured(readFileSync(`${monitor}.in`, "utf8")), { mode: 0o755 });
      renameSync(half, unpacked);
    }
    this.tests = parseList(output("bash", [this.program, "--list"]));
  }

  /** The suite's script. */
  get program(): string {
    return join(this.directory, "tests", SUITE);
  }

  /** What a test that failed left behind in a directory made by {@link prepare}. */
  remains(directory: string, test: number): string {
    const width = String(this.tests.length).length;
    return join(directory, `${SUITE}.dir`, String(test).padStart(width, "0"));
  }

  /**
   * Makes a directory in which the suite can run: the two files that `configure` would have written. Programs of `bin`
   * stand in front of the installed ones.
   */
  prepare(directory: string, bin: string): void {
    rmSync(directory, { recursive: true, force: true });
    mkdirSync(directory, { recursive: true });
    const tests = join(this.directory, "tests");
    const settings = {
      at_testdir: "tests",
      abs_builddir: directory,
      at_srcdir: tests,
      abs_srcdir: tests,
      at_top_srcdir: this.directory,
      abs_top_srcdir: this.directory,
      at_top_build_prefix: `${directory}/`,
      abs_top_builddir: directory,
      at_top_builddir: directory,
      EXEEXT: "",
      AUTOTEST_PATH: `${bin}:${join(this.directory, "ipsec")}`,
      SHELL: "/bin/bash",
    };
    const lines = Object.entries(settings).map(([name, value]) => `${name}='${value}'\n`);
    writeFileSync(join(directory, "atconfig"), lines.join(""));
    writeFileSync(join(directory, "atlocal"), configured(readFileSync(join(tests, "atlocal.in"), "utf8")));
    writeFileSync(join(directory, "config.log"), "");
  }
}

/** A file of the sources with the answers that `configure` would have found. */
function configured(text: string): string {
  const answers: Record<string, string> = { PYTHON3: "/usr/bin/python3", EGREP: "grep -E", CFLAGS: "" };
  return text.replace(/@(\w+)@/g, (_, name: string) => answers[name] ?? "no");
}

/** What `--list` prints: a line with number, place and title, then one with keywords or none. */
export function parseList(text: string): Test[] {
  const tests: Test[] = [];
  for (const line of text.split("\n")) {
    const head = /^ *(\d+): (\S+:\d+) +(.*?) *$/.exec(line);
    if (head !== null) {
      tests.push({ number: Number(head[1]), source: head[2], title: head[3], keywords: [] });
    } else if (tests.length > 0 && /^ {6}\S/.test(line)) {
      const last = tests[tests.length - 1];
      tests[tests.length - 1] = { ...last, keywords: [...last.keywords, ...line.trim().split(/\s+/)] };
    }
  }
  return tests;
}

/** Standard output of a program that has to succeed. */
function output(file: string, args: readonly string[]): string {
  const { status, stdout, stderr, error } = spawnSync(file, args, { encoding: "utf8", maxBuffer: 1 << 26 });
  if (status !== 0) throw new Error(`${file} ${args.join(" ")}: ${error?.message ?? stderr}`);
  return stdout;
}
