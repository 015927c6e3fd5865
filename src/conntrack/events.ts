import { IPS_CONFIRMED, IPS_DYING } from "../uapi/nfnetlink.ts";
import { E, Ext } from "./layout.ts";
import type { ConnectionTable } from "./table.ts";

/**
 * Conntrack events (IPCT_*), cached in the entry and delivered to one listener as nf_conntrack_ecache does
 * (spec/ctnetlink N-109 to N-111).
 */

/** Receives the events of connections: ctnetlink (src/kernel/ctnetlink/ctnetlink.ts). */
export interface ConntrackListener {
  /**
   * False if no socket is subscribed: entries made now get no event cache when nf_conntrack_events is 2
   * (spec/ctnetlink N-110).
   */
  readonly listening: boolean;
  /**
   * Receives one entry's events. Called synchronously; the entry can be read until the call returns.
   * @param events 1 << IPCT_*, those cached included
   * @param portId requester, 0 for packets and the garbage collector
   * @param report NLM_F_ECHO: the requester wants it too
   */
  connection(slot: number, events: number, portId: number, report: boolean): void;
}

/** The entries that events are about, and the listener that they go to. */
interface EventSource {
  readonly table: ConnectionTable;
  readonly listener: ConntrackListener | undefined;
}

/** Adds events (1 << IPCT_*) to an entry's cache until they are delivered (spec/ctnetlink N-109). */
export function cacheEvents(words: Int32Array, entry: number, events: number): void {
  if ((words[entry + E.EXT] & Ext.EVENTS) !== 0) words[entry + E.EVENTS] |= events;
}

/** Delivers the cached events of a confirmed entry, if its event mask lets any through (spec/conntrack C-124). */
export function deliverCachedEvents(source: EventSource, slot: number): void {
  const { words } = source.table;
  const entry = slot * E.WORDS;
  const events = words[entry + E.EVENTS];
  if (events === 0 || (words[entry + E.STATUS] & (IPS_CONFIRMED | IPS_DYING)) !== IPS_CONFIRMED) return;
  words[entry + E.EVENTS] = 0;
  if ((events & words[entry + E.EVENT_MASK]) !== 0) source.listener?.connection(slot, events, 0, false);
}

/** Delivers events (1 << IPCT_*) at once, past the cache, if the entry keeps events and its mask lets any through. */
export function deliverEvents(
  source: EventSource,
  slot: number,
  events: number,
  portId: number,
  report: boolean,
): void {
  const { words } = source.table;
  const entry = slot * E.WORDS;
  if ((words[entry + E.EXT] & Ext.EVENTS) === 0) return;
  if ((events & words[entry + E.EVENT_MASK]) !== 0) source.listener?.connection(slot, events, portId, report);
}
