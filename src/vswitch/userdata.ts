/**
 * The cookie of a userspace action (OVS_USERSPACE_ATTR_USERDATA), which the datapath sends up with the packet.
 *
 *     0      1       2     4        8      9 .. 11   12      20
 *     kind   reason  id    max_len  table  (zero)    cookie  userdata …
 *
 * Numbers are big-endian; a slow-path cookie is its first byte alone, padded to four.
 */

/** Why a userspace action sends a packet up. */
export type UserspaceReason =
  /** The datapath cannot do the flow's actions. */
  | { readonly kind: "slow" }
  /** The packet is for the controller (OFPT_PACKET_IN). */
  | {
      readonly kind: "controller";
      /** OFPR_* */
      readonly reason: number;
      readonly id: number;
      readonly maxLen: number;
      readonly table: number;
      readonly cookie: bigint;
      readonly userdata: Uint8Array | null;
    };

const SLOW = 1;
const CONTROLLER = 2;
const CONTROLLER_BYTES = 20;

/** Writes a cookie. */
export function encodeUserdata(reason: UserspaceReason): Uint8Array {
  if (reason.kind === "slow") return Uint8Array.of(SLOW, 0, 0, 0);
  const tail = reason.userdata ?? new Uint8Array(0);
  const bytes = new Uint8Array(CONTROLLER_BYTES + tail.length);
  const view = new DataView(bytes.buffer);
  view.setUint8(0, CONTROLLER);
  view.setUint8(1, reason.reason);
  view.setUint16(2, reason.id);
  view.setUint32(4, reason.maxLen);
  view.setUint8(8, reason.table);
  view.setBigUint64(12, reason.cookie);
  bytes.set(tail, CONTROLLER_BYTES);
  return bytes;
}

/** Reads a cookie; null for a cookie of another program. */
export function decodeUserdata(bytes: Uint8Array): UserspaceReason | null {
  if (bytes.length === 4 && bytes[0] === SLOW) return { kind: "slow" };
  if (bytes.length < CONTROLLER_BYTES || bytes[0] !== CONTROLLER) return null;
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  return {
    kind: "controller",
    reason: view.getUint8(1),
    id: view.getUint16(2),
    maxLen: view.getUint32(4),
    table: view.getUint8(8),
    cookie: view.getBigUint64(12),
    userdata: bytes.length > CONTROLLER_BYTES ? bytes.slice(CONTROLLER_BYTES) : null,
  };
}
