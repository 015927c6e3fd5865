import { spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";
import type { Ending, Result } from "./machine.ts";
import type { Test } from "./suite.ts";

/** What a test's own set-up takes from the machine's kernel, with commands that succeed where it is there. */
const NEEDS = {
  vlan: ["802.1Q devices", "ip link add link v0 name v0.1 type vlan id 1"],
  bond: ["bonding devices", "ip link add type bond"],
  geneve: ["Geneve devices", "ip link add type geneve id 1 remote 10.0.0.1"],
  gre: ["GRE devices", "ip link add type gre remote 10.0.0.1 && ip link add type gretap remote 10.0.0.2"],
  ip6gre: ["GRE devices over IPv6", "ip link add type ip6gretap remote fc00::1"],
  erspan: ["ERSPAN devices", "ip link add type erspan remote 10.0.0.1 seq key 1 erspan_ver 1 erspan 7"],
  ip6erspan: ["ERSPAN devices over IPv6", "ip link add type ip6erspan remote fc00::1 seq key 1 erspan_ver 1 erspan 7"],
  ipsec: [
    "IPsec, with Libreswan to drive it",
    "ipsec --version | grep Libreswan && ip xfrm state add dst 10.0.0.1 proto esp spi 1 aead 'rfc4106(gcm(aes))' 0x0102030405060708090a0b0c0d0e0f1011121314 128",
  ],
} as const;

/** Name of something that a test needs. */
export type Need = keyof typeof NEEDS;

/** One line of expected.json. */
interface Entry {
  readonly test: number;
  readonly title: string;
  /** Without these it can't pass, whatever the datapath. */
  readonly needs?: readonly Need[];
  /** Where it is not `ok` although everything it needs is there. */
  readonly result?: Ending;
  readonly reason?: string;
  /** Why it may also fail, with the module as well. */
  readonly chance?: string;
  /** Why it must have a machine of its own. */
  readonly alone?: string;
}

/** What a test should end with, and why if that is not `ok`. */
export interface Expectation {
  /** Endings that are right. */
  readonly endings: readonly Ending[];
  readonly reason: string;
  /** Whether the kernel has all that the test's own set-up needs. */
  readonly possible: boolean;
}

/** A result, seen by the list. */
export interface Outcome extends Result {
  /** Whether it is what the list says. */
  readonly agrees: boolean;
  /** Why it is not to be `ok`. */
  readonly reason: string;
  readonly possible: boolean;
  /** Release of the kernel it was run on. */
  readonly kernel: string;
}

/** The list that the repository keeps: how every test should end. */
export class Expected {
  private readonly entries: ReadonlyMap<number, Entry>;
  private readonly missing: ReadonlySet<Need>;

  /** @param path expected.json */
  constructor(path: string) {
    const entries = JSON.parse(readFileSync(path, "utf8")) as Entry[];
    this.entries = new Map(entries.map((entry) => [entry.test, entry]));
    const needs = new Set(entries.flatMap((entry) => entry.needs ?? []));
    this.missing = new Set([...needs].filter((need) => !available(need)));
  }

  /** @throws Error when the list knows no such test */
  of(test: Test): Expectation {
    const entry = this.entries.get(test.number);
    if (entry?.title !== test.title)
      throw new Error(`expected.json has another test ${test.number} than ${test.title}`);
    const missing = (entry.needs ?? []).filter((need) => this.missing.has(need));
    if (missing.length > 0) {
      const reason = `this kernel has no ${missing.map((need) => NEEDS[need][0]).join(", no ")}`;
      return { endings: ["failed", "skipped"], reason, possible: false };
    }
    if (entry.chance !== undefined) return { endings: ["ok", "failed"], reason: entry.chance, possible: true };
    return { endings: [entry.result ?? "ok"], reason: entry.reason ?? "", possible: true };
  }

  /** Whether what a test leaves behind would spoil others, also with the module. */
  alone(test: Test): boolean {
    return this.entries.get(test.number)?.alone !== undefined;
  }

  /** Compares a result with the list. */
  judge({ test, ending }: Result): Pick<Outcome, "agrees" | "reason" | "possible"> {
    const { endings, reason, possible } = this.of(test);
    return { agrees: endings.includes(ending), reason, possible };
  }
}

/** Whether the kernel has something, tried in a network namespace of its own. */
function available(need: Need): boolean {
  const script = `ip link add v0 type veth peer name v1 && ip link set v0 up && ip link set v1 up &&
    ip address add 10.1.1.1/24 dev v0 && ${NEEDS[need][1]}`;
  return spawnSync("unshare", ["--net", "sh", "-c", script], { stdio: "ignore" }).status === 0;
}
