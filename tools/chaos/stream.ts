import type { ChildProcess } from "node:child_process";
import { once } from "node:events";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import type { Namespace } from "../../src/lab/namespace.ts";

const PROGRAM = fileURLToPath(new URL("../../../tools/chaos/stream.py", import.meta.url));
const PYTHON = "python3";

/** A span of time in which packets may be lost, in milliseconds since 1970. */
export interface Outage {
  readonly from: number;
  readonly to: number;
  readonly why: string;
}

/** Milliseconds for which a datagram may have lain in a ring when its process was killed. */
const IN_FLIGHT = 100;

/** A datagram that came back. */
interface Answer {
  readonly number: number;
  /** Milliseconds since 1970. */
  readonly sent: number;
  /** Milliseconds. */
  readonly took: number;
}

/** Numbered datagrams of one flow from one host to another and back, at a steady rate. */
export class Stream {
  readonly answers: Answer[] = [];
  private constructor(
    private readonly echo: ChildProcess,
    private readonly sender: ChildProcess,
    private readonly interval: number,
  ) {}

  /** @param interval milliseconds between two datagrams */
  static async start(from: Namespace, to: Namespace, address: string, port: number, interval: number): Promise<Stream> {
    const echo = to.startInteractive(PYTHON, PROGRAM, "echo", String(port));
    if (echo.stdout === null) throw new Error("no pipe");
    await once(echo.stdout, "data");
    const sender = from.startInteractive(PYTHON, PROGRAM, "send", address, String(port), String(interval));
    const stream = new Stream(echo, sender, interval);
    if (sender.stdout === null) throw new Error("no pipe");
    createInterface({ input: sender.stdout }).on("line", (line) => {
      const [number, sent, took] = line.split(" ").map(Number);
      stream.answers.push({ number, sent, took });
    });
    return stream;
  }

  /** When the answer came that came last, in milliseconds since 1970. */
  get last(): number {
    const answer = this.answers.at(-1);
    return answer === undefined ? 0 : answer.sent + answer.took;
  }

  /** When the first datagram was sent, after `time`, whose answer came. */
  firstAfter(time: number): number | undefined {
    const answer = this.answers.findLast((one, i, all) => one.sent >= time && (all[i - 1]?.sent ?? 0) < time);
    return answer === undefined ? undefined : answer.sent + answer.took;
  }

  /** Datagrams that never came back, though they were sent outside of the outages; with the time of each. */
  lost(outages: readonly Outage[]): number[] {
    const lost: number[] = [];
    const sorted = [...this.answers].sort((a, b) => a.number - b.number);
    for (let i = 1; i < sorted.length; i++) {
      const [before, after] = [sorted[i - 1], sorted[i]];
      const missing = after.number - before.number - 1;
      for (let j = 1; j <= missing; j++) {
        // The times of those between two that came back: evenly spaced.
        const sent = before.sent + ((after.sent - before.sent) * j) / (missing + 1);
        const excused = outages.some(({ from, to }) => sent >= from - IN_FLIGHT && sent <= to + 2 * this.interval);
        if (!excused) lost.push(sent);
      }
    }
    return lost;
  }

  /** Ends both programs. */
  async stop(): Promise<void> {
    for (const child of [this.sender, this.echo]) {
      if (child.exitCode !== null || child.signalCode !== null) continue;
      const ended = once(child, "exit");
      child.stdin?.end();
      await ended;
    }
  }
}
