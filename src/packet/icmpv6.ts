/**
 * ICMPv6 (RFC 4443) and neighbour discovery (RFC 4861).
 *
 * ```
 *  0               8               16                             31
 * |     type      |     code      |           checksum            |  0
 * |  id (echo)                    |  sequence                     |  4
 * |  body: the inner packet of errors; the target of ND ...       |  8
 * |  ND options ...                                               | 24
 * ```
 */
const TYPE = 0;
const CODE = 1;
export const CHECKSUM = 2;
export const ID = 4;
export const HEADER_LEN = 8;

/** Message types, as in linux/icmpv6.h and net/ndisc.h. */
export const enum Icmpv6Type {
  PKT_TOOBIG = 2,
  ECHO_REQUEST = 128,
  ECHO_REPLY = 129,
  MGM_QUERY = 130,
  MGM_REPORT = 131,
  MGM_REDUCTION = 132,
  ROUTER_SOLICITATION = 133,
  ROUTER_ADVERTISEMENT = 134,
  NEIGHBOUR_SOLICITATION = 135,
  NEIGHBOUR_ADVERTISEMENT = 136,
  REDIRECT = 137,
  NI_QUERY = 139,
  NI_REPLY = 140,
  MLD2_REPORT = 143,
  MRDISC_ADVERTISEMENT = 151,
  MRDISC_SOLICITATION = 152,
}

export function type(view: DataView, off: number): number {
  return view.getUint8(off + TYPE);
}
export function code(view: DataView, off: number): number {
  return view.getUint8(off + CODE);
}
export function id(view: DataView, off: number): number {
  return view.getUint16(off + ID);
}
/** True for error messages: types below 128. */
export function isError(messageType: number): boolean {
  return messageType < 128;
}
