import type { Clock } from "../core/clock.ts";
import { K } from "../flow/key.ts";
import type { Route, Underlay } from "../port/underlay.ts";
import { AF_INET } from "../uapi/socket.ts";

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
  port = 0;
  mark = 0;
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

  /**
   * The way from source to destination of a tunnel key, undefined if there is none. HOT PATH.
   * @param port UDP destination, 0 = none
   * @param mark of the packet
   */
  find(tunnel: Int32Array, tos: number, protocol: number, port: number, mark: number): Route | undefined {
    const family = (tunnel[K.TUN_PROTO] >>> 8) & 0xff;
    let h = family ^ tos ^ (protocol << 8) ^ (port << 16) ^ mark;
    for (let i = 0; i < 8; i++) h = Math.imul(h ^ tunnel[K.TUN_SRC + i], 0x9e3779b1) ^ (h >>> 15);
    const entry = this.entries[(h ^ (h >>> 16)) & (ENTRIES - 1)];
    if (
      this.clock.monotonic() >= entry.expires ||
      entry.tos !== tos ||
      entry.protocol !== protocol ||
      entry.port !== port ||
      entry.mark !== mark ||
      !hasAddresses(entry, tunnel, family)
    ) {
      entry.tos = tos;
      entry.protocol = protocol;
      entry.port = port;
      entry.mark = mark;
      this.ask(entry, tunnel, family);
    }
    return entry.route;
  }

  private ask(entry: Entry, tunnel: Int32Array, family: number): void {
    const { words, tos, protocol, port, mark } = entry;
    for (let i = 0; i < 8; i++) words[i] = tunnel[K.TUN_SRC + i];
    if (family === AF_INET) {
      words.fill(0, 1, 4);
      words.fill(0, 5, 8);
    }
    entry.family = family;
    entry.expires = this.clock.monotonic() + LIFETIME;
    const [src, dst] = [words.slice(0, 4), words.slice(4, 8)];
    entry.route = this.underlay.route({ family, src, dst, tos, protocol, port, mark });
  }
}

function hasAddresses(entry: Entry, tunnel: Int32Array, family: number): boolean {
  const { words } = entry;
  if (entry.family !== family || words[0] !== tunnel[K.TUN_SRC] || words[4] !== tunnel[K.TUN_DST]) return false;
  if (family === AF_INET) return true;
  for (let i = 1; i < 4; i++) {
    if (words[i] !== tunnel[K.TUN_SRC + i] || words[4 + i] !== tunnel[K.TUN_DST + i]) return false;
  }
  return true;
}
