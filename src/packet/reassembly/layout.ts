/** Columns of the rows that a FragmentTable keeps, and the outcomes of its insert(). */

/** Columns of a queue. */
export const enum QueueColumn {
  /** Next in the hash chain, or next free row. */
  NEXT = 0,
  BUCKET = 1,
  /** QueueFlag bits. */
  FLAGS = 2,
  ZONE = 3,
  /** Four words each; IPv4 in the first. */
  SRC = 4,
  DST = 8,
  ID = 12,
  /** IPv4: protocol. IPv6: input port for link-local and multicast destinations. */
  PROTO = 13,
  /** Payload bytes: end of the furthest fragment, and sum of what is here. */
  LEN = 14,
  MEAT = 15,
  /** Bit 1 << ecn for every ECN value seen. */
  ECN = 16,
  /** Largest fragment; largest with DF. */
  MAX_SIZE = 17,
  MAX_DF_SIZE = 18,
  HEAD = 19,
  TAIL = 20,
  COUNT = 21,
  /** The source's fragment counter when this queue last got one. */
  RID = 22,
  /** Neighbours in the list by age of the family. */
  OLDER = 23,
  NEWER = 24,
  /** IPv6: offset, from the IPv6 header, of the byte that names the fragment header, and of the fragment header. */
  NEXT_HEADER_AT = 25,
  FRAGMENT_AT = 26,
  WORDS = 27,
}

export const enum QueueFlag {
  FIRST_IN = 1,
  LAST_IN = 2,
  V6 = 4,
}

/** Columns of a fragment. */
export const enum FragmentColumn {
  /** Next by offset, or next free row. */
  NEXT = 0,
  OFFSET = 1,
  LEN = 2,
  /** Buffer in the arena, and where the payload lies in it. */
  BUFFER = 3,
  DATA = 4,
  /** Row that heads the run; of a head: where the run ends. */
  RUN = 5,
  RUN_END = 6,
  SIZE = 7,
  CSUM = 8,
  /** Of the frame: start, network header and checksum start, from BUFFER. */
  L3 = 9,
  CSUM_START = 10,
  CSUM_OFFSET = 11,
  MARK = 12,
  PRIORITY = 13,
  VLAN_TCI = 14,
  VLAN_TPID = 15,
  PROTOCOL = 16,
  MAC_NONE = 17,
  WORDS = 18,
}

/** No row. */
export const NONE = -1;

/** Results of insert() that are no row. */
export const DUPLICATE = -2;
export const OVERLAP = -3;
export const FULL = -4;
