/**
 * MPLS label stack entries (RFC 3032), handled whole as 32-bit numbers.
 *
 * ```
 *  0                   1                   2                   3
 *  0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
 * |                label                  | tc  |s|      ttl      |
 * ```
 */
export const LSE_LEN = 4;
const S_BIT = 0x100;

/** The label stack entry at `off` as an unsigned 32-bit number. */
export function lse(view: DataView, off: number): number {
  return view.getUint32(off);
}
/** True for the last entry of the stack. */
export function isBottom(value: number): boolean {
  return (value & S_BIT) !== 0;
}
