import type { Clock } from "../clock.ts";
import { K } from "../datapath/flow-key.ts";
import { AF_INET, type Route, type Underlay } from "../port/underlay.ts";

/** Entries; a power of two. */
const ENTRIES = 1024;
/** Path MTU discoveries are not announced: look again after so many ms. */
const LIFETIME = 1000;

/** One answer of the host's routing, as it was asked for. */
class Entry {
  readonly words = new Int32Array(8);
  family = 0;
  tos = 0;
  protocol = 0;
  route: Route | undefined = undefined;
  expires = -1;
}

/** Routes of tunnel keys, asked for once a second at most and whenever the host's tables have changed. */
export class RouteCache {
  private readonly entries = Array.from({ length: ENTRIES }, () => new Entry());

  constructor(
    private readonly underlay: Underlay,
    private readonly clock: Clock,
  ) {
    underlay.onChange = () => this.clear();
  }

  clear(): void {
    for (const entry of this.entries) entry.expires = -1;
  }

  /** The way from source to destination of a tunnel key, undefined if there is none. HOT PATH. */
  find(tunnel: Int32Array, tos: number, protocol: number): Route | undefined {
    const family = (tunnel[K.TUN_PROTO] >>> 8) & 0xff;
    let h = family ^ tos ^ (protocol << 8);
    for (let i = 0; i < 8; i++) h = Math.imul(h ^ tunnel[K.TUN_SRC + i], 0x9e3779b1) ^ (h >>> 15);
    const entry = this.entries[(h ^ (h >>> 16)) & (ENTRIES - 1)];
    if (this.clock.monotonic() < entry.expires && matches(entry, tunnel, family, tos, protocol)) return entry.route;
    return this.ask(entry, tunnel, family, tos, protocol);
  }

  private ask(entry: Entry, tunnel: Int32Array, family: number, tos: number, protocol: number): Route | undefined {
    const { words } = entry;
    for (let i = 0; i < 8; i++) words[i] = tunnel[K.TUN_SRC + i];
    if (family === AF_INET) {
      words.fill(0, 1, 4);
      words.fill(0, 5, 8);
    }
    entry.family = family;
    entry.tos = tos;
    entry.protocol = protocol;
    entry.expires = this.clock.monotonic() + LIFETIME;
    entry.route = this.underlay.route({ family, src: words.slice(0, 4), dst: words.slice(4, 8), tos, protocol });
    return entry.route;
  }
}

function matches(entry: Entry, tunnel: Int32Array, family: number, tos: number, protocol: number): boolean {
  if (entry.family !== family || entry.tos !== tos || entry.protocol !== protocol) return false;
  const { words } = entry;
  if (words[0] !== tunnel[K.TUN_SRC] || words[4] !== tunnel[K.TUN_DST]) return false;
  if (family === AF_INET) return true;
  for (let i = 1; i < 4; i++) {
    if (words[i] !== tunnel[K.TUN_SRC + i] || words[4 + i] !== tunnel[K.TUN_DST + i]) return false;
  }
  return true;
}
