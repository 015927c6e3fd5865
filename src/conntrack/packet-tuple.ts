import { IpProto } from "../packet/ip.ts";
import type { Packet } from "../packet/packet.ts";
import type { GreKeymap } from "./gre-keymap.ts";
import { T } from "./layout.ts";
import { findTransport, Transport, tupleOf } from "./tuple.ts";

/** GRE: flags and version, protocol, payload length, call id (RFC 2637 section 4.1). */
const GRE_MIN_LEN = 8;
const GRE_VERSION = 0x0007;

const transport = new Transport();

/** Reads the tuple of a packet whose l3 is known, in this zone. @returns false if it has none */
export function readTuple(
  greKeys: GreKeymap,
  packet: Packet,
  family: number,
  zone: number,
  tuple: Int32Array,
): boolean {
  const { view } = packet.memory;
  const end = packet.off + packet.len;
  if (!findTransport(view, packet.l3, end, family, transport)) return false;
  const { proto, offset } = transport;
  if (!tupleOf(view, packet.l3, end, family, proto, offset, zone, tuple)) return false;
  if (proto === IpProto.GRE) addGreSource(greKeys, view, offset, end, tuple);
  return true;
}

/** Adds the source's key of enhanced GRE, which its header does not have, to a tuple (spec/conntrack C-332). */
export function addGreSource(greKeys: GreKeymap, view: DataView, l4: number, end: number, tuple: Int32Array): void {
  if (greKeys.size === 0 || l4 + GRE_MIN_LEN > end || (view.getUint16(l4) & GRE_VERSION) !== 1) return;
  tuple[T.PORTS] |= greKeys.lookUp(tuple) << 16;
}
