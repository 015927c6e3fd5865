import { IPS_HELPER } from "../uapi/nfnetlink.ts";
import { AF_INET } from "../uapi/socket.ts";
import { E, Ext, T } from "./layout.ts";
import { newTuple } from "./tuple.ts";

/** Sets up NAT of an expected connection from its master's (spec/conntrack C-232). */
export type ExpectFunction = (slot: number, expectation: Expectation) => void;

/**
 * A connection that a helper expects. There are a few thousand at most (spec/conntrack C-234), made by the slow path:
 * objects. Destination and protocol must match in full; the source as far as the mask goes.
 */
export class Expectation {
  readonly tuple = newTuple();
  /** Of the source: four address words, and the port in the upper half of the ports word. */
  readonly mask = newTuple();
  /** When it expires, table time in milliseconds. */
  expires = 0;
  /** NF_CT_EXPECT_* */
  flags = 0;
  class = 0;
  /** Helper that the expected connection gets, 0 = none. */
  assignHelper = 0;
  /** Direction of the master that the expected connection goes with, and its port before translation. */
  direction = 0;
  readonly savedAddress = new Int32Array(4);
  savedPort = 0;
  expectFunction: ExpectFunction | undefined = undefined;
  /** Name of expectFunction for CTA_EXPECT_FN. */
  functionName: string | undefined = undefined;
  /** Order of creation: cursors of dumps, CTA_EXPECT_ID. */
  serial = 0;
  /** In the table. */
  live = false;
  /** Given up: it matches nothing, is not listed, and is removed when the table next looks at it. */
  dead = false;

  constructor(
    /** Slot of the master connection. */
    readonly master: number,
    /** Its helper, whose policy counts (0 = none). */
    readonly helper: number,
  ) {}

  /** Expects packets from the address at `at` of `words`; without it they may come from anywhere. */
  from(words: Int32Array, at: number): this {
    for (let i = 0; i < 4; i++) this.tuple[T.SRC + i] = words[at + i];
    maskAddress(this.mask, this.tuple[T.META] & 0xff);
    return this;
  }

  /** Expects packets from this port. */
  fromPort(port: number): this {
    this.tuple[T.PORTS] = (port << 16) | (this.tuple[T.PORTS] & 0xffff);
    this.mask[T.PORTS] |= 0xffff_0000;
    return this;
  }

  /** Expects packets to the address at `at` of `words` and this port. */
  to(words: Int32Array, at: number, port: number): this {
    for (let i = 0; i < 4; i++) this.tuple[T.DST + i] = words[at + i];
    return this.setPort(port);
  }

  /** Changes the port that packets are expected to. */
  setPort(port: number): this {
    this.tuple[T.PORTS] = (this.tuple[T.PORTS] & 0xffff_0000) | (port & 0xffff);
    return this;
  }

  get port(): number {
    return this.tuple[T.PORTS] & 0xffff;
  }

  /**
   * Sets up translation of the expected connection.
   * @param direction of the master that the expected connection goes with
   * @param port that it is translated to, at the end that expects it
   */
  translate(direction: number, port: number, name: string, set: ExpectFunction | undefined): this {
    this.direction = direction;
    this.savedPort = port;
    this.functionName = name;
    this.expectFunction = set;
    return this;
  }
}

/** Room that a helper's policy gives a class of expectations. */
export interface ExpectPolicy {
  /** Name of the class, as /proc/net/nf_conntrack_expect shows it. */
  readonly name?: string;
  /** For one connection; 0 = no limit. */
  readonly maxExpected: number;
  /** Milliseconds. */
  readonly timeout: number;
}

/** Results of ExpectationTable.add(). */
export const enum AddResult {
  OK = 0,
  /** The master has no helper any more. */
  NO_HELPER = -108,
  /** Another expectation covers some of the same packets. */
  BUSY = -16,
  TABLE_FULL = -24,
  /** The same is expected already, in another class or by another master. */
  ALREADY = -114,
}

/**
 * Whether a connection may expect others: it has a helper, or had one that was removed. IPS_HELPER is not set in those
 * that got their helper from an expectation.
 */
export function mayExpect(words: Int32Array, slot: number): boolean {
  const entry = slot * E.WORDS;
  return (words[entry + E.STATUS] & IPS_HELPER) !== 0 || (words[entry + E.EXT] & Ext.HELPER_MASK) !== 0;
}

/** Whether an expectation has expired or was given up. A permanent one survives matches, not its timeout. */
export function expired(expectation: Expectation, now: number): boolean {
  return expectation.dead || ((expectation.expires - now) | 0) <= 0;
}

function sameDestination(a: Int32Array, b: Int32Array): boolean {
  if (a[T.META] !== b[T.META] || ((a[T.PORTS] ^ b[T.PORTS]) & 0xffff) !== 0) return false;
  for (let i = 0; i < 4; i++) if (a[T.DST + i] !== b[T.DST + i]) return false;
  return true;
}

/** Whether a tuple is one that is expected: destination in full, source as far as the mask goes. */
export function covers(expectation: Expectation, tuple: Int32Array): boolean {
  const { mask } = expectation;
  if (!sameDestination(expectation.tuple, tuple)) return false;
  for (let i = 0; i < 4; i++)
    if (((expectation.tuple[T.SRC + i] ^ tuple[T.SRC + i]) & mask[T.SRC + i]) !== 0) return false;
  return ((expectation.tuple[T.PORTS] ^ tuple[T.PORTS]) & mask[T.PORTS] & 0xffff_0000) === 0;
}

/** Whether two expectations have the same tuple and mask. */
export function equal(a: Expectation, b: Expectation): boolean {
  for (let i = 0; i <= T.META; i++) if (a.tuple[i] !== b.tuple[i] || a.mask[i] !== b.mask[i]) return false;
  return true;
}

/** Whether two expectations cover some of the same tuples. */
export function clash(a: Expectation, b: Expectation): boolean {
  if (!sameDestination(a.tuple, b.tuple)) return false;
  for (let i = 0; i < 4; i++) {
    const mask = a.mask[T.SRC + i] & b.mask[T.SRC + i];
    if (((a.tuple[T.SRC + i] ^ b.tuple[T.SRC + i]) & mask) !== 0) return false;
  }
  return ((a.tuple[T.PORTS] ^ b.tuple[T.PORTS]) & a.mask[T.PORTS] & b.mask[T.PORTS] & 0xffff_0000) === 0;
}

/** Fills mask words for a whole source address. */
function maskAddress(mask: Int32Array, family: number): void {
  for (let i = 0; i < (family === AF_INET ? 1 : 4); i++) mask[T.SRC + i] = -1;
}
