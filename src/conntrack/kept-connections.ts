import { NokmodError } from "../core/errors.ts";
import { IPS_CONFIRMED, IPS_DYING, IPS_UNTRACKED as IPS_NAT_CLASH } from "../uapi/nfnetlink.ts";
import { AF_INET, AF_INET6 } from "../uapi/socket.ts";
import { E, Ext, Slot, T } from "./layout.ts";
import type { ConntrackState } from "./state.ts";
import { KEPT_HEADER_BYTES, type KeptMemory } from "./table.ts";
import { tupleZone } from "./tuple.ts";

/**
 * Connections in memory that outlives the process: the slab of the connection table lies in a file that is mapped, so a
 * connection is there with its TCP windows, NAT, marks and counters as the last packet left it, and a packet costs no more.
 *
 * The file, numbers little-endian:
 *
 * ```
 * 0   8 bytes "nokmodct"          24  f64 epoch: CLOCK_MONOTONIC in ms at table time 0
 * 8   u32 layout (LAYOUT)         32  f64 CLOCK_MONOTONIC in ms when it was last in use
 * 12  u32 words of a record       40  48 bytes boot id, ASCII, padded with NUL
 * 16  u32 hash of helper names    4096  records (layout.ts)
 * ```
 */
const MAGIC = "nokmodct";
/** Number of this layout: of the header, and of the meaning of a record's words. */
const LAYOUT = 1;
const enum Header {
  LAYOUT = 8,
  RECORD_WORDS = 12,
  HELPERS = 16,
  EPOCH = 24,
  LAST_USE = 32,
  BOOT = 40,
}
const BOOT_BYTES = 48;
/** Table time has 32 bits of milliseconds and is compared by difference: a file that was not used for longer is not read. */
const LONGEST_PAUSE = 7 * 24 * 3600 * 1000;

/** What keepConnections() found. */
interface KeptResult {
  /** Connections that are in the table again. */
  readonly restored: number;
  /** Why nothing was restored, if the file was of another kind than expected. */
  readonly unusable?: string;
}

/** The part of connection tracking that a packet does not touch: the header of kept memory. */
export class KeptConnections {
  private readonly header: DataView;

  constructor(
    private readonly ct: ConntrackState,
    private readonly memory: KeptMemory,
    /** The machine's boot id; ASCII. */
    private readonly boot: string,
  ) {
    if (memory.length === 0) {
      const errno = memory.extend(KEPT_HEADER_BYTES);
      if (errno !== 0) throw new NokmodError("ERR_STATE_FILE", "there is no room for a file of connections");
    }
    this.header = new DataView(memory.buffer, 0, KEPT_HEADER_BYTES);
  }

  /** Moves the table into the memory, and links the connections that lie there. The table must be empty. */
  restore(): KeptResult {
    const { ct, memory, header } = this;
    const unusable = this.unusable();
    const empty = header.getUint32(Header.RECORD_WORDS, true) === 0;
    ct.table.useMemory(memory);
    let restored = 0;
    if (unusable === undefined && !empty) {
      ct.beginTime(header.getFloat64(Header.EPOCH, true));
      restored = adopt(ct);
    } else {
      // Not one slot at a time: a file may have millions.
      ct.table.forgetAll();
    }
    this.writeHeader();
    return unusable === undefined || empty ? { restored } : { restored, unusable };
  }

  /** Records that the memory is in use: call every few minutes. */
  touch(): void {
    this.header.setFloat64(Header.LAST_USE, this.ct.monotonic(), true);
  }

  /** @param remove the file */
  close(remove: boolean): void {
    this.memory.close(remove);
  }

  /** Why the records cannot be used; undefined if they can. */
  private unusable(): string | undefined {
    const { header } = this;
    const text = (at: number, length: number): string => {
      const bytes = new Uint8Array(header.buffer, at, length);
      return String.fromCharCode(...bytes).replace(/\0+$/, "");
    };
    if (text(0, 8) !== MAGIC) return "it is not a file of connections";
    if (header.getUint32(Header.LAYOUT, true) !== LAYOUT || header.getUint32(Header.RECORD_WORDS, true) !== E.WORDS)
      return "another version wrote it";
    if (header.getUint32(Header.HELPERS, true) !== this.ct.helpers.fingerprint()) return "the helpers are other ones";
    if (text(Header.BOOT, BOOT_BYTES) !== this.boot) return "the machine was booted since";
    const pause = this.ct.monotonic() - header.getFloat64(Header.LAST_USE, true);
    if (!(pause >= 0 && pause < LONGEST_PAUSE)) return "it is too old";
    return undefined;
  }

  private writeHeader(): void {
    const { header, ct } = this;
    for (let i = 0; i < MAGIC.length; i++) header.setUint8(i, MAGIC.charCodeAt(i));
    header.setUint32(Header.LAYOUT, LAYOUT, true);
    header.setUint32(Header.RECORD_WORDS, E.WORDS, true);
    header.setUint32(Header.HELPERS, ct.helpers.fingerprint(), true);
    header.setFloat64(Header.EPOCH, ct.epoch, true);
    for (let i = 0; i < BOOT_BYTES; i++)
      header.setUint8(Header.BOOT + i, i < this.boot.length ? this.boot.charCodeAt(i) : 0);
    this.touch();
  }
}

/**
 * Links the confirmed connections of the slab, and frees the other slots. What lies outside of the slab is made anew: hashes,
 * chains, references, counts of zones; expectations and the call ids of PPTP are lost.
 * @returns connections linked
 */
function adopt(ct: ConntrackState): number {
  ct.readClock();
  const { table } = ct;
  const { words } = table;
  const slots = table.top;
  let adopted = 0;
  let last = -1;
  for (let slot = 0; slot < slots; slot++) {
    const entry = slot * E.WORDS;
    if (!isWhole(ct, slot) || clashes(ct, entry)) {
      words[entry + E.SLOT] = Slot.FREE;
      continue;
    }
    words[entry + E.EVENTS] = 0;
    words[entry + E.EXPECTING] = 0;
    words[entry + E.REFERENCES] = 0;
    const bySource = (words[entry + E.EXT] & Ext.BY_SOURCE) !== 0;
    table.link(slot);
    if (bySource) table.linkSource(slot);
    last = slot;
    adopted++;
  }
  table.count = adopted;
  table.top = last + 1;
  for (let slot = last; slot >= 0; slot--) {
    const entry = slot * E.WORDS;
    if (words[entry + E.SLOT] === Slot.FREE) table.free(slot);
    else restoreReferences(ct, slot);
  }
  return adopted;
}

/** Whether a slot holds a live, confirmed connection, and every word that is used as a number of something is in range. */
function isWhole(ct: ConntrackState, slot: number): boolean {
  const { words } = ct.table;
  const entry = slot * E.WORDS;
  if (words[entry + E.SLOT] !== Slot.USED) return false;
  if ((words[entry + E.STATUS] & (IPS_CONFIRMED | IPS_DYING | IPS_NAT_CLASH)) !== IPS_CONFIRMED) return false;
  const meta = words[entry + T.META];
  const family = meta & 0xff;
  if (family !== AF_INET && family !== AF_INET6) return false;
  if ((words[entry + E.REPLY + T.META] & 0xffff) !== (meta & 0xffff)) return false;
  const helper = (words[entry + E.EXT] & Ext.HELPER_MASK) >>> Ext.HELPER_SHIFT;
  if (helper !== 0 && ct.helpers.get(helper) === undefined) return false;
  return !ct.expired(slot);
}

/** Computes the hashes of both tuples. @returns whether another connection has one of them */
function clashes(ct: ConntrackState, entry: number): boolean {
  const { table } = ct;
  const { words } = table;
  let found = false;
  for (const at of [entry, entry + E.REPLY]) {
    words[at + T.HASH] = table.hash(words, at);
    found ||= table.find(words.subarray(at, at + T.WORDS), words[at + T.HASH]) >= 0;
  }
  return found;
}

/** Restores what a connection has elsewhere: its master's reference, its count against a limit, its zone of replies. */
function restoreReferences(ct: ConntrackState, slot: number): void {
  const { table } = ct;
  const { words } = table;
  const entry = slot * E.WORDS;
  const master = words[entry + E.MASTER] - 1;
  if (master >= 0) {
    // A master that has ended is not there any more: its slot was kept for this connection only.
    if (master < table.top && words[master * E.WORDS + E.SLOT] === Slot.USED) table.hold(master);
    else words[entry + E.MASTER] = 0;
  }
  if ((words[entry + E.EXT] & Ext.LIMITED) !== 0) ct.limits.recount(words, entry);
  const replyZone = tupleZone(words, entry + E.REPLY);
  if (replyZone !== tupleZone(words, entry)) ct.replyZones.set(words, entry, replyZone);
}
