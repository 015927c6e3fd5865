/**
 * ICMP (RFC 792).
 *
 * ```
 *  0               8               16                             31
 * |     type      |     code      |           checksum            |  0
 * |  id (echo, timestamp, …)      |  sequence                     |  4
 * |  body: for errors the inner IP header and at least 8 bytes ...|  8
 * ```
 */
const TYPE = 0;
export const CHECKSUM = 2;
export const ID = 4;
export const BODY = 8;
export const HEADER_LEN = 8;

/** Message types, as ICMP_* of linux/icmp.h. */
export const enum IcmpType {
  ECHOREPLY = 0,
  DEST_UNREACH = 3,
  SOURCE_QUENCH = 4,
  REDIRECT = 5,
  ECHO = 8,
  TIME_EXCEEDED = 11,
  PARAMETERPROB = 12,
  TIMESTAMP = 13,
  TIMESTAMPREPLY = 14,
  INFO_REQUEST = 15,
  INFO_REPLY = 16,
  ADDRESS = 17,
  ADDRESSREPLY = 18,
}

export function type(view: DataView, off: number): number {
  return view.getUint8(off + TYPE);
}
export function id(view: DataView, off: number): number {
  return view.getUint16(off + ID);
}
/** True for the types that carry the packet they are about (icmp_is_err). */
export function isError(messageType: number): boolean {
  return (
    messageType === IcmpType.DEST_UNREACH ||
    messageType === IcmpType.SOURCE_QUENCH ||
    messageType === IcmpType.REDIRECT ||
    messageType === IcmpType.TIME_EXCEEDED ||
    messageType === IcmpType.PARAMETERPROB
  );
}
