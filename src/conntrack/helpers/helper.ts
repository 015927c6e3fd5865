import type { Random } from "../../core/random.ts";
import type { Packet } from "../../packet/packet.ts";
import { Expectation, type ExpectFunction, type ExpectPolicy } from "../expect.ts";
import type { ExpectationTable } from "../expectation-table.ts";
import type { GreKeymap } from "../gre-keymap.ts";
import { E, Ext, T } from "../layout.ts";
import type { NatMapper } from "../nat.ts";
import type { ConntrackOptions } from "../options.ts";
import type { ConnectionTable } from "../table.ts";

/** What a helper may use: the connection tracking it works for. */
export interface HelperContext {
  readonly table: ConnectionTable;
  readonly expectations: ExpectationTable;
  readonly mapper: NatMapper;
  readonly options: ConntrackOptions;
  readonly random: Random;
  /** Call ids of PPTP's GRE. */
  readonly greKeys: GreKeymap;
  /** Table time in milliseconds. */
  readonly now: number;
  /** The NAT side of an expected connection whose master is translated: both ends follow it (spec/conntrack C-232). */
  readonly followMaster: ExpectFunction;
  /** Functions to call when an expectation is matched (expectfn), by their CTA_EXPECT_FN name. */
  readonly expectFunctions: ReadonlyMap<string, ExpectFunction>;
  /** The live confirmed entry with this tuple: slot << 1 | direction, or -1. */
  findLive(tuple: Int32Array): number;
  /** Number of a helper, 0 if there is none of that name for family and protocol. */
  findHelper(name: string, proto: number, family: number): number;
  /** Gives a connection this many milliseconds from now, unless its timeout is fixed. */
  refreshTimeout(slot: number, ms: number): void;
  /** Deletes a connection, with its event. */
  destroy(slot: number, portId: number, report: boolean): boolean;
}

/**
 * An application-layer helper: looks into packets of a connection and announces others (spec/conntrack section 11,
 * docs/helpers.md). Known by name, address family and protocol; the state of a connection is in the six words at E.HELP
 * of its entry, which are zero at first.
 */
export interface Helper {
  /** As `ct(alg=NAME)` and CTA_HELP_NAME say it: up to 15 characters. */
  readonly name: string;
  /** IP protocol of the connections it serves. */
  readonly proto: number;
  /** Address families it serves (AF_INET, AF_INET6); absent = both. */
  readonly families?: readonly number[];
  /** By class of expectation. */
  readonly policies: readonly ExpectPolicy[];
  /**
   * It can be asked for together with NAT. For others a ct action with NAT is refused with ENOENT, as by a kernel that
   * finds no module nf_nat_NAME (spec/conntrack C-020).
   */
  readonly nat?: boolean;
  /** Functions of its expectations by the name that CTA_EXPECT_FN shows. */
  readonly expectFunctions?: (context: HelperContext) => Readonly<Record<string, ExpectFunction>>;
  /**
   * Called for the committing packet of a new connection, and for every tracked packet of a confirmed one
   * (spec/conntrack C-210, C-211). The packet is writable. Its payload is untrusted input.
   * @param l4 absolute offset of the transport header
   * @param family AF_INET or AF_INET6
   * @param ctInfo enum ip_conntrack_info; IP_CT_IS_REPLY and above is the reply direction
   * @returns false to drop the packet (C-214)
   */
  help(context: HelperContext, packet: Packet, l4: number, family: number, slot: number, ctInfo: number): boolean;
  /** A connection with this helper was made by ctnetlink, not by packets. */
  restored?(context: HelperContext, slot: number): void;
  /** A connection with this helper leaves the table. */
  destroy?(context: HelperContext, slot: number): void;
}

/** The CTA_EXPECT_FN name of HelperContext.followMaster. */
export const FOLLOW_MASTER = "nat-follow-master";

/** A new expectation of a connection, in its family and zone, of a protocol; nothing is filled in. */
export function expectationOf(context: HelperContext, slot: number, proto: number, expectClass = 0): Expectation {
  const { words } = context.table;
  const entry = slot * E.WORDS;
  const expectation = new Expectation(slot, (words[entry + E.EXT] & Ext.HELPER_MASK) >>> Ext.HELPER_SHIFT);
  expectation.tuple[T.META] = (words[entry + T.META] & ~0xff00) | (proto << 8);
  expectation.class = expectClass;
  return expectation;
}
