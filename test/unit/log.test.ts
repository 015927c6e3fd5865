import { mkdtempSync, readFileSync, renameSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { NokmodError } from "../../src/core/errors.ts";
import { Log, LogFile, type LogLevel } from "../../src/core/log.ts";

const NOON = Date.UTC(2026, 0, 31, 12, 0, 0, 123);

function open(options: { level?: LogLevel; json?: boolean } = {}): { log: Log; lines: string[] } {
  const lines: string[] = [];
  const log = new Log({ sink: { write: (text) => lines.push(text) }, realtime: () => NOON, ...options });
  return { log, lines };
}

describe("lines", () => {
  it("for people: time, level, text", () => {
    const { log, lines } = open();
    log.debug("not at this level");
    log.warn("port veth1 has gone");
    expect(lines).toEqual(["2026-01-31T12:00:00.123Z warn: port veth1 has gone\n"]);
  });

  it("an error on purpose comes with its code, a fault with the places it passed, all in one line", () => {
    const { log, lines } = open();
    log.error("state", new NokmodError("ERR_STATE_FILE", "datapaths[0]: expected object"));
    log.error("request", new TypeError("x is not a function"));
    log.error("text\nof a client\x1b[2J");
    expect(lines[0]).toBe(
      "2026-01-31T12:00:00.123Z error: state: NokmodError: datapaths[0]: expected object (ERR_STATE_FILE)\n",
    );
    expect(lines[1]).toMatch(/error: request: TypeError: x is not a function at .*log\.test\.ts:\d+:\d+.*\n$/);
    expect(lines[2]).toBe("2026-01-31T12:00:00.123Z error: text of a client [2J\n");
    for (const line of lines) expect(line.match(/\n/g)).toHaveLength(1);
  });

  it("for programs: JSON with level, time, msg and err", () => {
    const { log, lines } = open({ json: true, level: "debug" });
    log.debug("a");
    log.error("b", new NokmodError("ERR_X", "c"));
    expect(lines.map((line) => JSON.parse(line))).toMatchObject([
      { level: "debug", time: "2026-01-31T12:00:00.123Z", msg: "a" },
      { level: "error", msg: "b", err: { type: "NokmodError", message: "c", code: "ERR_X" } },
    ]);
  });
});

describe("limits", () => {
  beforeEach(() => void vi.useFakeTimers());
  afterEach(() => void vi.useRealTimers());

  it("one line of a kind a second, then how many were left out; other kinds are not held back", () => {
    const { log, lines } = open();
    const texts = (): string[] => lines.splice(0).map((line) => line.slice("2026-01-31T12:00:00.123Z ".length, -1));
    for (let i = 0; i < 1000; i++) log.limited("flow", "warn", `refused ${i}`);
    log.limited("state", "error", "full");
    expect(texts()).toEqual(["warn: refused 0", "error: full"]);
    vi.advanceTimersByTime(1000);
    expect(texts()).toEqual(["warn: refused 999 (999 more like this)"]);
    log.limited("flow", "warn", "again");
    vi.advanceTimersByTime(999);
    expect(texts()).toEqual([]);
    vi.advanceTimersByTime(1);
    expect(texts()).toEqual(["warn: again (1 more like this)"]);
    vi.advanceTimersByTime(1000);
    log.limited("flow", "warn", "after a quiet second");
    expect(texts()).toEqual(["warn: after a quiet second"]);
    log.limited("flow", "warn", "last");
    log.close();
    expect(texts()).toEqual(["warn: last (1 more like this)"]);
  });
});

describe("LogFile", () => {
  let directory: string;
  beforeEach(() => {
    directory = mkdtempSync(join(tmpdir(), "nokmod-log-"));
  });
  afterEach(() => rmSync(directory, { recursive: true }));

  it("a full disk: said once, counted, never thrown", () => {
    const said: string[] = [];
    const file = new LogFile("/dev/full", (message) => said.push(message));
    for (let i = 0; i < 3; i++) file.write("line\n");
    expect(file.lost).toBe(3);
    expect(said).toEqual(["log /dev/full: ENOSPC: lines are lost until it can be written again"]);
    file.close();
    file.write("after the end\n");
    expect(file.lost).toBe(4);
  });

  it("is opened anew after it was moved away; a path that cannot be opened keeps the old file", () => {
    const path = join(directory, "log");
    const file = new LogFile(path);
    file.write("1\n");
    renameSync(path, `${path}.1`);
    file.write("2\n");
    file.reopen();
    file.write("3\n");
    expect([readFileSync(`${path}.1`, "utf8"), readFileSync(path, "utf8")]).toEqual(["1\n2\n", "3\n"]);
    file.close();
    expect(() => new LogFile(join(directory, "no/log"))).toThrow(expect.objectContaining({ code: "ERR_LOG_FILE" }));
  });
});
