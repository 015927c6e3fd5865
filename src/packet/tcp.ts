/**
 * TCP (RFC 9293).
 *
 * ```
 *  0                   1                   2                   3
 *  0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
 * |          source port          |       destination port        |  0
 * |                        sequence number                        |  4
 * |                     acknowledgment number                     |  8
 * | data  | res |A|C|E|U|A|P|R|S|F|            window             | 12
 * |           checksum            |        urgent pointer         | 16
 * |                          options ...                          | 20
 * ```
 * Accessors take the offset of the header; the fixed header must lie within the packet.
 */
export const SRC_PORT = 0;
export const DST_PORT = 2;
export const SEQ = 4;
export const ACK = 8;
const OFFSET_FLAGS = 12;
const FLAGS = 13;
export const WINDOW = 14;
export const CHECKSUM = 16;
/** Header without options. */
export const HEADER_LEN = 20;

export const FIN = 0x01;
export const SYN = 0x02;
export const RST = 0x04;
export const PSH = 0x08;
export const ACK_FLAG = 0x10;
export const URG = 0x20;
export const CWR = 0x80;

/** Option kinds. */
const OPT_END = 0;
const OPT_NOOP = 1;
export const OPT_WINDOW_SCALE = 3;
export const OPT_SACK_PERMITTED = 4;
const OPT_SACK = 5;

export function srcPort(view: DataView, off: number): number {
  return view.getUint16(off + SRC_PORT);
}
export function dstPort(view: DataView, off: number): number {
  return view.getUint16(off + DST_PORT);
}
export function seq(view: DataView, off: number): number {
  return view.getUint32(off + SEQ);
}
/** Header length in bytes, options included; not checked. */
export function headerLength(view: DataView, off: number): number {
  return (view.getUint8(off + OFFSET_FLAGS) >>> 4) << 2;
}
/** The eight classic flags. */
export function flags(view: DataView, off: number): number {
  return view.getUint8(off + FLAGS);
}
export function setFlags(view: DataView, off: number, value: number): void {
  view.setUint8(off + FLAGS, value);
}

/**
 * Finds the next option that is not a no-operation, from `at` in the options of a header that ends at `end` (absolute
 * offsets). A caller walks on from `at` plus the option's second byte, its length. HOT PATH.
 * @returns the option's offset; OPTIONS_END; OPTIONS_MALFORMED if its length is below 2 or goes past `end`
 */
export function nextOption(view: DataView, at: number, end: number): number {
  while (at < end) {
    const kind = view.getUint8(at);
    if (kind === OPT_END) return OPTIONS_END;
    if (kind !== OPT_NOOP) {
      if (end - at < 2) return OPTIONS_MALFORMED;
      const size = view.getUint8(at + 1);
      return size < 2 || size > end - at ? OPTIONS_MALFORMED : at;
    }
    at++;
  }
  return OPTIONS_END;
}

/** Results of nextOption() where no option follows. */
export const OPTIONS_END = -1;
const OPTIONS_MALFORMED = -2;

/** Whether the option at `at` holds SACK blocks: kind 5, whole blocks of 8 bytes, at least one (RFC 2018 section 3). */
export function isSack(view: DataView, at: number): boolean {
  const size = view.getUint8(at + 1);
  return view.getUint8(at) === OPT_SACK && size >= 10 && (size - 2) % 8 === 0;
}
