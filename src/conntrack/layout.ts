/**
 * How a connection lies in memory: one record of E.WORDS 32-bit words in the slab (table.ts), five cache lines of 64
 * bytes.
 *
 * ```
 * words   0..11  tuple of the original direction (T)     12..15  status, expiry, mark, UDP stream
 *        16..27  tuple of the reply direction            28..31  events, master, extensions
 *        32..46  state of the protocol's tracker         47      by-source chain of NAT
 *        48..55  counters                                56..63  labels, start time, references
 *        64..79  sequence adjustment, helper data, generation
 * ```
 */
export const enum E {
  /** The two tuples; the reply's is at E.REPLY = 1 << E.DIR_SHIFT. */
  ORIG = 0,
  REPLY = 16,
  DIR_SHIFT = 4,
  /** IPS_* bits. */
  STATUS = 12,
  /** When the entry expires, in milliseconds of the table's time; before confirmation the timeout itself. */
  EXPIRES = 13,
  MARK = 14,
  /** UDP: when the flow counts as a stream. Here, so that a UDP packet touches two cache lines only. */
  STREAM = 15,
  /** IPCT_* bits not yet delivered. */
  EVENTS = 28,
  /** IPCT_* bits that are delivered (OVS_CT_ATTR_EVENTMASK). */
  EVENT_MASK = 29,
  /** Slot of the master + 1; 0 = none. */
  MASTER = 30,
  /** Ext bits | helper number << 8 | timeout policy number << 16. */
  EXT = 31,
  /** Tracker state; see Tcp, Sctp. */
  PROTO = 32,
  /** By-source chain (nat.ts): next slot + 1, previous slot + 1. */
  SRC_NEXT = 47,
  /** Packets and bytes of each direction as low and high word: orig packets, orig bytes, reply packets, reply bytes. */
  COUNTERS = 48,
  /** Big-endian words of the 16 bytes. */
  LABELS = 56,
  /** Wall-clock milliseconds since 1970 of creation, as a double over two words. */
  START = 60,
  /** Connections whose master this is. */
  REFERENCES = 62,
  /** SLOT_* */
  SLOT = 63,
  /** Sequence adjustment per direction: position, offset before it, offset after it (seqadj.ts). */
  SEQADJ = 64,
  /** Private to the helper: six words. */
  HELP = 70,
  /** Expectations outstanding. */
  EXPECTING = 76,
  SRC_PREVIOUS = 77,
  /** Counts the uses of this slot: a slot and its generation name one connection for ever. */
  GENERATION = 78,
  WORDS = 80,
}

/** What a slot holds (E.SLOT). */
export const enum Slot {
  FREE = 0,
  /** Allocated, with or without E.STATUS confirmed. */
  USED = 1,
  /** Out of the table, but a packet or another entry may still look at it. */
  DEAD = 2,
}

/** Words of a tuple, and of the links that follow it in the record. */
export const enum T {
  /** Four big-endian words; IPv4 in the first, the others 0. */
  SRC = 0,
  DST = 4,
  /** Source port << 16 | destination port. ICMP: id << 16 | type << 8 | code. GRE: keys. Else 0. */
  PORTS = 8,
  /** Zone << 16 | protocol << 8 | address family (2 or 10). */
  META = 9,
  HASH = 10,
  /** Next of the bucket: slot << 1 | direction, + 1; 0 = end. */
  NEXT = 11,
  /** Words of a tuple outside the slab. */
  WORDS = 11,
}

/** Low byte of E.EXT: which extensions the entry has. */
export const enum Ext {
  /** Events are kept (spec/ctnetlink N-110). */
  EVENTS = 0x01,
  /** Packets and bytes are counted (spec/conntrack C-253). */
  COUNTERS = 0x02,
  /** nf_conntrack_timestamp. */
  TIMESTAMP = 0x04,
  SEQADJ = 0x08,
  /** Counted against its zone's limit. */
  LIMITED = 0x10,
  /** In the by-source chain. */
  BY_SOURCE = 0x20,
  /** Labels may be other than zero. */
  LABELS = 0x40,
  HELPER_SHIFT = 8,
  HELPER_MASK = 0xff00,
  POLICY_SHIFT = 16,
}

/** Tracker words of TCP, from E.PROTO. */
export const enum Tcp {
  /** Per direction, five words each. */
  END = 32,
  MAXEND = 33,
  MAXWIN = 34,
  MAXACK = 35,
  /** Window scale | flags << 8 (IP_CT_TCP_FLAG_*). */
  SCALE_FLAGS = 36,
  DIRECTION = 5,
  /** State | class of the last segment << 8 | its direction << 16 | retransmissions << 24. */
  STATE = 42,
  LAST_SEQ = 43,
  LAST_ACK = 44,
  LAST_END = 45,
  /** Window of the last segment | scale of an ignored SYN << 16 | its flags << 24. */
  LAST_WIN = 46,
}

/** Tracker words of SCTP. */
export const enum Sctp {
  /** Verification tag that each direction uses. */
  VTAG_ORIG = 32,
  VTAG_REPLY = 33,
  /** INIT seen, per direction bit. */
  INIT = 34,
  /** Last direction | flags << 8. */
  LAST = 35,
  STATE = 42,
}

/** Tracker words of DCCP. */
export const enum Dccp {
  /** 1 when the original direction is the server's. */
  ROLE = 32,
  /** Type of the last packet << 1 | its direction. */
  LAST = 35,
  /** Sequence number of the response, 48 bits. */
  HANDSHAKE_LOW = 36,
  HANDSHAKE_HIGH = 37,
  STATE = 42,
}
