import type { Packet } from "../packet/packet.ts";
import type { Random } from "../random.ts";
import type { Expectation, ExpectationTable, ExpectPolicy } from "./expect.ts";
import type { NatMapper } from "./nat.ts";
import type { ConntrackOptions } from "./options.ts";
import type { ConnectionTable } from "./table.ts";

/** What a helper may use. */
export interface HelperContext {
  readonly table: ConnectionTable;
  readonly expectations: ExpectationTable;
  readonly mapper: NatMapper;
  readonly options: ConntrackOptions;
  readonly random: Random;
  /** Table time in milliseconds. */
  readonly now: number;
  /** The NAT side of an expected connection whose master is translated: both ends follow it (C-232). */
  readonly followMaster: (slot: number, expectation: Expectation) => void;
}

/**
 * An application-layer helper: looks into packets of a connection and announces others (conntrack.md section 11).
 * Registered by (name, address family, protocol).
 */
export interface Helper {
  readonly name: string;
  /** IP protocol of the connections it serves. */
  readonly proto: number;
  /** By class of expectation. */
  readonly policies: readonly ExpectPolicy[];
  /**
   * Called for the committing packet of a new connection, and for every tracked packet of a confirmed one (C-210, C-211).
   * @param ctInfo enum ip_conntrack_info
   * @returns false to drop the packet (C-214)
   */
  help(context: HelperContext, packet: Packet, l4: number, family: number, slot: number, ctInfo: number): boolean;
}
