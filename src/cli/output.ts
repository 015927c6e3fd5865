import { readFileSync } from "node:fs";
import { styleText } from "node:util";
import { Errno, errnoName, NokmodError, systemErrorCode } from "../core/errors.ts";
import * as errno from "../uapi/errno.ts";

type Style = Parameters<typeof styleText>[0];

/** Colours on a terminal, none in a file or pipe, and none with NO_COLOR (https://no-color.org). */
const coloured = process.stdout.isTTY === true && process.env.NO_COLOR === undefined;

/** The text in a style if stdout is a terminal, else as it is. */
export function paint(style: Style, text: string): string {
  return coloured ? styleText(style, text) : text;
}

/** Prints a line. */
export function print(line = ""): void {
  process.stdout.write(`${line}\n`);
}

/** A value as indented JSON; bytes as a string of hexadecimal digits. */
function json(value: unknown): string {
  return JSON.stringify(
    value,
    (_key, item) => (item instanceof Uint8Array ? Buffer.from(item).toString("hex") : item),
    2,
  );
}

/** Prints a value as JSON; bytes as a string of hexadecimal digits. */
export function printJson(value: unknown): void {
  print(json(value));
}

/** Characters that printJsonList() collects for one write. */
const WRITE_SIZE = 65_536;

/** As printJson() of an array, whose elements are printed as they come: a list of any length takes no memory. */
export function printJsonList(values: Iterable<unknown>): void {
  let text = "[";
  let separator = "\n";
  for (const value of values) {
    text += `${separator}  ${json(value).replaceAll("\n", "\n  ")}`;
    separator = ",\n";
    if (text.length < WRITE_SIZE) continue;
    process.stdout.write(text);
    text = "";
  }
  print(separator === "\n" ? "[]" : `${text}\n]`);
}

/** A column: its heading, and whether its values are numbers (set right). */
interface Column {
  readonly title: string;
  readonly right?: boolean;
}

/** Prints rows under headings, each column as wide as its widest cell. */
export function printTable(columns: readonly Column[], rows: readonly (readonly (string | number)[])[]): void {
  const cells = rows.map((row) => row.map(String));
  const widths = columns.map((column, i) => Math.max(column.title.length, ...cells.map((row) => row[i].length)));
  const line = (row: readonly string[]): string =>
    row
      .map((cell, i) => (columns[i].right ? cell.padStart(widths[i]) : cell.padEnd(widths[i])))
      .join("  ")
      .trimEnd();
  print(paint("bold", line(columns.map((column) => column.title))));
  for (const row of cells) print(line(row));
}

/** Text for errnos of the datapath; EPERM is missing because its text names the capability. */
const MEANINGS: Record<number, string> = {
  [errno.ENOENT]: "not there",
  [errno.EBUSY]: "in use",
  [errno.EEXIST]: "there is one already",
  [errno.ENODEV]: "no such device",
  [errno.EINVAL]: "makes no sense here",
  [errno.EAFNOSUPPORT]: "of no type that is known",
};

/** Bits of a capability set, linux/capability.h. */
const CAP_NET_ADMIN = 12n;
const CAP_NET_RAW = 13n;

/** The capability that this process lacks when the kernel's devices answer EPERM. */
export function missingCapability(): string {
  let status = "";
  try {
    status = readFileSync("/proc/self/status", "utf8");
  } catch (error) {
    // ENOENT, EACCES: no /proc. The answer is then the capability that most processes lack.
    if (systemErrorCode(error) === undefined) throw error;
  }
  const effective = BigInt(`0x${/^CapEff:\s*([0-9a-f]+)$/m.exec(status)?.[1] ?? "0"}`);
  const has = (capability: bigint): boolean => ((effective >> capability) & 1n) === 1n;
  return has(CAP_NET_ADMIN) && !has(CAP_NET_RAW) ? "CAP_NET_RAW" : "CAP_NET_ADMIN";
}

/**
 * One line of text about an error: what failed, where, and the code of the error.
 * @param capability to name for EPERM: missingCapability()
 */
export function describeError(error: unknown, capability = "CAP_NET_ADMIN"): string {
  if (error instanceof Errno) {
    const name = errnoName(error.errno);
    const meaning = error.errno === errno.EPERM ? `not permitted: ${capability} is needed` : MEANINGS[error.errno];
    const text = error.extack ?? meaning;
    return text === undefined ? name : `${text} (${name})`;
  }
  // A message that ends with the code of its cause says more than a second code would.
  if (error instanceof NokmodError) return ENDS_WITH_CODE.test(error.message) ? error.message : withCode(error);
  return error instanceof Error ? error.message : String(error);
}

const ENDS_WITH_CODE = /\([A-Z][A-Z0-9_]+\)$/;
const withCode = ({ message, code }: NokmodError): string => `${message} (${code})`;

/**
 * Ends the program with status 0 on EPIPE of stdout, as after `nokmod show | head -1`, and with status 1 and a message on
 * any other error of stdout, such as ENOSPC.
 */
export function watchOutput(): void {
  process.stdout.on("error", (error: NodeJS.ErrnoException) => {
    if (error.code !== "EPIPE") {
      process.stderr.write(`nokmod: cannot write the output: ${error.code ?? error.message}\n`);
      process.exit(1);
    }
    process.exit();
  });
  // Without stderr there is nowhere left to report to.
  process.stderr.on("error", () => {});
}

/** Ignores errors of stdout and stderr from now on: the datapath continues when nobody reads its output. */
export function ignoreOutputErrors(): void {
  process.stdout.removeAllListeners("error").on("error", () => {});
  process.stderr.removeAllListeners("error").on("error", () => {});
}

/** The known name with the smallest edit distance to a mistyped one; undefined when none is within a third of its length. */
export function nearest(name: string, known: Iterable<string>): string | undefined {
  let best: string | undefined;
  let least = Math.max(2, Math.floor(name.length / 3)) + 1;
  for (const candidate of known) {
    const distance = editDistance(name, candidate);
    if (distance < least) {
      least = distance;
      best = candidate;
    }
  }
  return best;
}

/** Levenshtein distance. */
function editDistance(a: string, b: string): number {
  let previous = Array.from({ length: b.length + 1 }, (_, i) => i);
  for (let i = 1; i <= a.length; i++) {
    const current = [i];
    for (let j = 1; j <= b.length; j++) {
      const replaced = previous[j - 1] + (a[i - 1] === b[j - 1] ? 0 : 1);
      current.push(Math.min(previous[j] + 1, current[j - 1] + 1, replaced));
    }
    previous = current;
  }
  return previous[b.length];
}

/** A count in at most four characters or with its unit: 1234567 → `1.2M`. */
export function brief(count: number): string {
  if (count < 10_000) return String(count);
  const units = ["", "k", "M", "G", "T"];
  let unit = 0;
  while (count >= 1000 && unit < units.length - 1) {
    count /= 1000;
    unit++;
  }
  return `${count < 10 ? count.toFixed(1) : Math.round(count)}${units[unit]}`;
}
