import * as tcp from "../../../packet/tcp.ts";

/** Valid combinations of flags, PSH, ECE and CWR aside (spec/conntrack C-290). */
const VALID_FLAGS = new Uint8Array(64);
for (const flags of [
  tcp.SYN,
  tcp.SYN | tcp.URG,
  tcp.SYN | tcp.ACK_FLAG,
  tcp.RST,
  tcp.RST | tcp.ACK_FLAG,
  tcp.FIN | tcp.ACK_FLAG,
  tcp.FIN | tcp.ACK_FLAG | tcp.URG,
  tcp.ACK_FLAG,
  tcp.ACK_FLAG | tcp.URG,
]) {
  VALID_FLAGS[flags] = 1;
}

/** Whether sequence number a is before b, modulo 2^32. */
export const seqBefore = (a: number, b: number): boolean => ((a - b) | 0) < 0;

/** Whether sequence number a is after b, modulo 2^32. */
export const seqAfter = (a: number, b: number): boolean => ((b - a) | 0) < 0;

/** Fields of the segment in hand: one object for the module, so that no packet allocates one. */
export const segmentFields = {
  view: new DataView(new ArrayBuffer(0)) as DataView,
  l4: 0,
  headerLength: 0,
  flags: 0,
  class: 0,
  seq: 0,
  ack: 0,
  win: 0,
  end: 0,
};

/**
 * Whether the header is valid: long enough, within the segment, a valid combination of flags (spec/conntrack C-290, C-291).
 * @param length bytes from l4 to the end of the packet
 */
export function tcpHeaderValid(view: DataView, l4: number, length: number): boolean {
  if (length < tcp.HEADER_LEN) return false;
  const header = tcp.headerLength(view, l4);
  if (header < tcp.HEADER_LEN || header > length) return false;
  return VALID_FLAGS[tcp.flags(view, l4) & 0x37] !== 0;
}
