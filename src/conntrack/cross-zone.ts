import { E } from "./layout.ts";
import { setZone, tupleZone } from "./tuple.ts";

/**
 * Connections whose original and reply tuples are in different zones (NOKMOD_NAT_ATTR_DST_ZONE): which reply zones the
 * connections of a zone have ever had. Linux has no such connections.
 */
export class ReplyZones {
  private readonly byZone = new Map<number, Set<number>>();

  /** Moves the reply tuple of a new entry into another zone. */
  set(words: Int32Array, entry: number, replyZone: number): void {
    const zone = tupleZone(words, entry);
    setZone(words, entry + E.REPLY, replyZone);
    const known = this.byZone.get(zone);
    if (known === undefined) this.byZone.set(zone, new Set([replyZone]));
    else known.add(replyZone);
  }

  /** Reply zones of the connections that began in `zone`. */
  of(zone: number): ReadonlySet<number> | undefined {
    return this.byZone.get(zone);
  }
}
