import { readFileSync } from "node:fs";
import { styleText } from "node:util";
import { Errno, errnoName, NokmodError } from "../core/errors.ts";
import * as errno from "../uapi/errno.ts";

type Style = Parameters<typeof styleText>[0];

/** Colours on a terminal, none in a file or pipe, and none with NO_COLOR (https://no-color.org). */
const coloured = process.stdout.isTTY === true && process.env.NO_COLOR === undefined;

/** The text in a style, where the output can show it. */
export function paint(style: Style, text: string): string {
  return coloured ? styleText(style, text) : text;
}

/** Prints a line. */
export function print(line = ""): void {
  process.stdout.write(`${line}\n`);
}

/** Prints a value for programs. */
export function printJson(value: unknown): void {
  print(
    JSON.stringify(value, (_key, item) => (item instanceof Uint8Array ? Buffer.from(item).toString("hex") : item), 2),
  );
}

/** A column: its heading, and whether its values are numbers (set right). */
export interface Column {
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

/** What the errnos that people meet here mean; EPERM is told of with the capability. */
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

/** The capability for want of which this process gets EPERM from the kernel's devices. */
export function missingCapability(): string {
  let effective: bigint;
  try {
    effective = BigInt(`0x${/^CapEff:\s*([0-9a-f]+)$/m.exec(readFileSync("/proc/self/status", "utf8"))?.[1]}`);
  } catch {
    // No /proc: the one that most lack.
    return "CAP_NET_ADMIN";
  }
  const has = (capability: bigint): boolean => ((effective >> capability) & 1n) === 1n;
  return has(CAP_NET_ADMIN) && !has(CAP_NET_RAW) ? "CAP_NET_RAW" : "CAP_NET_ADMIN";
}

/**
 * What went wrong, for people: one line that names what and where, and ends with the code of the error.
 * @param capability that EPERM means, as missingCapability() tells
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
 * Ends the program quietly when the reader of its output has gone, as `nokmod show | head -1` lets it. What else can go
 * wrong with output, such as a full disk, ends it with an error.
 */
export function watchOutput(): void {
  process.stdout.on("error", (error: NodeJS.ErrnoException) => {
    if (error.code !== "EPIPE") {
      process.stderr.write(`nokmod: cannot write the output: ${error.code ?? error.message}\n`);
      process.exit(1);
    }
    process.exit();
  });
  // Nobody can be told of it.
  process.stderr.on("error", () => {});
}

/** For a program that goes on when the readers of its output have gone. */
export function ignoreOutputErrors(): void {
  process.stdout.removeAllListeners("error").on("error", () => {});
  process.stderr.removeAllListeners("error").on("error", () => {});
}

/** The known name nearest to a mistyped one, or undefined when none is near. */
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

/** 1234567 → `1.2M`; for tables that people read. */
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
