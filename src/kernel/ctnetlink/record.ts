import type { Conntrack } from "../../conntrack/conntrack.ts";
import type { Expectation } from "../../conntrack/expect.ts";
import { Dccp, E, Ext, Sctp, T, Tcp } from "../../conntrack/layout.ts";
import { IPPROTO_DCCP } from "../../conntrack/options.ts";
import type { MessageWriter } from "../../netlink/writer.ts";
import { IpProto } from "../../packet/ip.ts";
import * as nf from "../../uapi/nfnetlink.ts";
import { nest, putTuple, putWords } from "./tuple.ts";

/** Both tuples and the zone: how every record begins. */
function putTuples(writer: MessageWriter, words: Int32Array, entry: number): void {
  const zone = words[entry + T.META] >>> 16;
  // As the kernel shows zones that count for one direction only.
  const apart = zone !== words[entry + E.REPLY + T.META] >>> 16;
  putTuple(writer, nf.CTA_TUPLE_ORIG, words, entry, apart && zone !== 0);
  putTuple(writer, nf.CTA_TUPLE_REPLY, words, entry + E.REPLY, apart && words[entry + E.REPLY + T.META] >>> 16 !== 0);
  if (zone !== 0 && !apart) writer.be16(nf.CTA_ZONE, zone);
}

/** CTA_TIMEOUT in whole seconds. @param skipZero leave it out when nothing is left */
function putTimeout(writer: MessageWriter, conntrack: Conntrack, slot: number, skipZero: boolean): void {
  const seconds = Math.max(0, Math.floor(conntrack.left(slot) / 1000));
  if (!skipZero || seconds !== 0) writer.be32(nf.CTA_TIMEOUT, seconds);
}

/** CTA_PROTOINFO of protocols that have a state (spec/ctnetlink N-031, N-059). @param destroy only the state */
function putProtoinfo(writer: MessageWriter, words: Int32Array, entry: number, destroy: boolean): void {
  const proto = (words[entry + T.META] >>> 8) & 0xff;
  if (proto !== IpProto.TCP && proto !== IpProto.SCTP && proto !== IPPROTO_DCCP) return;
  const outer = nest(writer, nf.CTA_PROTOINFO);
  if (proto === IpProto.TCP) {
    const inner = nest(writer, nf.CTA_PROTOINFO_TCP);
    writer.u8(nf.CTA_PROTOINFO_TCP_STATE, words[entry + Tcp.STATE] & 0xff);
    if (!destroy) {
      const orig = words[entry + Tcp.SCALE_FLAGS];
      const reply = words[entry + Tcp.SCALE_FLAGS + Tcp.DIRECTION];
      writer.u8(nf.CTA_PROTOINFO_TCP_WSCALE_ORIGINAL, orig & 0xff);
      writer.u8(nf.CTA_PROTOINFO_TCP_WSCALE_REPLY, reply & 0xff);
      // struct nf_ct_tcp_flags: u8 flags, u8 mask.
      writer.u16(nf.CTA_PROTOINFO_TCP_FLAGS_ORIGINAL, (orig >>> 8) & 0xff);
      writer.u16(nf.CTA_PROTOINFO_TCP_FLAGS_REPLY, (reply >>> 8) & 0xff);
    }
    writer.endNest(inner);
  } else if (proto === IPPROTO_DCCP) {
    const inner = nest(writer, nf.CTA_PROTOINFO_DCCP);
    writer.u8(nf.CTA_PROTOINFO_DCCP_STATE, words[entry + Dccp.STATE]);
    if (!destroy) {
      writer.u8(nf.CTA_PROTOINFO_DCCP_ROLE, words[entry + Dccp.ROLE]);
      const low = words[entry + Dccp.HANDSHAKE_LOW] >>> 0;
      writer.be64(nf.CTA_PROTOINFO_DCCP_HANDSHAKE_SEQ, words[entry + Dccp.HANDSHAKE_HIGH] * 0x1_0000_0000 + low);
    }
    writer.endNest(inner);
  } else {
    const inner = nest(writer, nf.CTA_PROTOINFO_SCTP);
    writer.u8(nf.CTA_PROTOINFO_SCTP_STATE, words[entry + Sctp.STATE] & 0xff);
    if (!destroy) {
      writer.be32(nf.CTA_PROTOINFO_SCTP_VTAG_ORIGINAL, words[entry + Sctp.VTAG_ORIG]);
      writer.be32(nf.CTA_PROTOINFO_SCTP_VTAG_REPLY, words[entry + Sctp.VTAG_REPLY]);
    }
    writer.endNest(inner);
  }
  writer.endNest(outer);
}

/** CTA_COUNTERS_* if the entry counts (spec/ctnetlink N-058). @param zero reset them (CT_GET_CTRZERO) */
function putCounters(writer: MessageWriter, words: Int32Array, entry: number, zero: boolean): void {
  if ((words[entry + E.EXT] & Ext.COUNTERS) === 0) return;
  for (let direction = 0; direction < 2; direction++) {
    const at = entry + E.COUNTERS + direction * 4;
    const outer = nest(writer, direction === 0 ? nf.CTA_COUNTERS_ORIG : nf.CTA_COUNTERS_REPLY);
    for (let i = 0; i < 2; i++) {
      const to = writer.attr(i === 0 ? nf.CTA_COUNTERS_PACKETS : nf.CTA_COUNTERS_BYTES, 8);
      writer.view.setInt32(to, words[at + i * 2 + 1]);
      writer.view.setInt32(to + 4, words[at + i * 2]);
    }
    writer.endNest(outer);
    if (zero) words.fill(0, at, at + 4);
  }
}

/** CTA_TIMESTAMP in nanoseconds since 1970. @param stop milliseconds, 0 = still there */
function putTimestamp(writer: MessageWriter, conntrack: Conntrack, entry: number, stop: number): void {
  const { words, doubles } = conntrack.table;
  if ((words[entry + E.EXT] & Ext.TIMESTAMP) === 0) return;
  const outer = nest(writer, nf.CTA_TIMESTAMP);
  putNanoseconds(writer, nf.CTA_TIMESTAMP_START, doubles[(entry + E.START) >> 1]);
  if (stop !== 0) putNanoseconds(writer, nf.CTA_TIMESTAMP_STOP, stop);
  writer.endNest(outer);
}

/** 64 bits of milliseconds times 10^6, which a double cannot hold. */
function putNanoseconds(writer: MessageWriter, type: number, ms: number): void {
  const to = writer.attr(type, 8);
  writer.view.setBigUint64(to, BigInt(Math.floor(ms)) * 1_000_000n);
}

function putHelper(writer: MessageWriter, conntrack: Conntrack, entry: number): void {
  const number = (conntrack.table.words[entry + E.EXT] & Ext.HELPER_MASK) >>> Ext.HELPER_SHIFT;
  const name = conntrack.helpers.get(number)?.name;
  if (name === undefined) return;
  const outer = nest(writer, nf.CTA_HELP);
  writer.string(nf.CTA_HELP_NAME, name);
  writer.endNest(outer);
}

/** CTA_LABELS unless all are zero (spec/ctnetlink N-057). */
function putLabels(writer: MessageWriter, words: Int32Array, entry: number): void {
  const at = entry + E.LABELS;
  if ((words[at] | words[at + 1] | words[at + 2] | words[at + 3]) !== 0) putWords(writer, nf.CTA_LABELS, words, at);
}

function putMaster(writer: MessageWriter, words: Int32Array, entry: number): void {
  const master = words[entry + E.MASTER];
  if (master !== 0) putTuple(writer, nf.CTA_TUPLE_MASTER, words, (master - 1) * E.WORDS);
}

/** CTA_SEQ_ADJ_* of a connection whose numbers are shifted. */
function putSeqAdjust(writer: MessageWriter, words: Int32Array, entry: number): void {
  if ((words[entry + E.STATUS] & nf.IPS_SEQ_ADJUST) === 0) return;
  for (let direction = 0; direction < 2; direction++) {
    const at = entry + E.SEQADJ + direction * 3;
    const outer = nest(writer, direction === 0 ? nf.CTA_SEQ_ADJ_ORIG : nf.CTA_SEQ_ADJ_REPLY);
    writer.be32(nf.CTA_SEQADJ_CORRECTION_POS, words[at]);
    writer.be32(nf.CTA_SEQADJ_OFFSET_BEFORE, words[at + 1]);
    writer.be32(nf.CTA_SEQADJ_OFFSET_AFTER, words[at + 2]);
    writer.endNest(outer);
  }
}

/**
 * The attributes of a record in an answer to GET, in the kernel's order (spec/ctnetlink N-053).
 * @param held references that the kernel itself holds while it answers
 */
export function putRecord(
  writer: MessageWriter,
  conntrack: Conntrack,
  slot: number,
  zeroCounters: boolean,
  held: number,
): void {
  const { words } = conntrack.table;
  const entry = slot * E.WORDS;
  putTuples(writer, words, entry);
  writer.be32(nf.CTA_STATUS, words[entry + E.STATUS]);
  writer.be32(nf.CTA_MARK, words[entry + E.MARK]);
  writer.be32(nf.CTA_ID, conntrack.idOf(slot));
  writer.be32(nf.CTA_USE, 1 + held + words[entry + E.REFERENCES]);
  putMaster(writer, words, entry);
  putTimeout(writer, conntrack, slot, false);
  putProtoinfo(writer, words, entry, false);
  putCounters(writer, words, entry, zeroCounters);
  putTimestamp(writer, conntrack, entry, 0);
  putHelper(writer, conntrack, entry);
  putLabels(writer, words, entry);
  putSeqAdjust(writer, words, entry);
}

/**
 * The attributes of an event, in the kernel's order (spec/ctnetlink N-104, N-105). @param stop wall-clock milliseconds
 * of a DESTROY
 */
export function putEvent(
  writer: MessageWriter,
  conntrack: Conntrack,
  slot: number,
  events: number,
  stop: number,
): void {
  const { words } = conntrack.table;
  const entry = slot * E.WORDS;
  putTuples(writer, words, entry);
  writer.be32(nf.CTA_ID, conntrack.idOf(slot));
  writer.be32(nf.CTA_STATUS, words[entry + E.STATUS]);
  if ((events & (1 << nf.IPCT_DESTROY)) !== 0) {
    putTimeout(writer, conntrack, slot, true);
    putCounters(writer, words, entry, false);
    putTimestamp(writer, conntrack, entry, stop);
    putProtoinfo(writer, words, entry, true);
  } else {
    putTimeout(writer, conntrack, slot, false);
    if ((events & (1 << nf.IPCT_PROTOINFO)) !== 0) putProtoinfo(writer, words, entry, false);
    putHelper(writer, conntrack, entry);
    if ((events & (1 << nf.IPCT_LABEL)) !== 0) putLabels(writer, words, entry);
    if ((events & (1 << nf.IPCT_RELATED)) !== 0) putMaster(writer, words, entry);
    if ((events & (1 << nf.IPCT_SEQADJ)) !== 0) putSeqAdjust(writer, words, entry);
  }
  const mark = words[entry + E.MARK];
  if (mark !== 0 || (events & (1 << nf.IPCT_MARK)) !== 0) writer.be32(nf.CTA_MARK, mark);
}

const scratch = new Int32Array(T.WORDS);

/** The attributes of an expectation, in the kernel's order (spec/ctnetlink N-117). */
export function putExpectation(writer: MessageWriter, conntrack: Conntrack, expectation: Expectation): void {
  const { words } = conntrack.table;
  const { tuple, mask } = expectation;
  putTuple(writer, nf.CTA_EXPECT_TUPLE, tuple, 0);
  // Of the destination all is compared.
  scratch.set(mask);
  for (let i = 0; i < 4; i++) scratch[T.DST + i] = -1;
  scratch[T.PORTS] = (mask[T.PORTS] & 0xffff_0000) | 0xffff;
  scratch[T.META] = tuple[T.META];
  putTuple(writer, nf.CTA_EXPECT_MASK, scratch, 0);
  const master = expectation.master * E.WORDS;
  putTuple(writer, nf.CTA_EXPECT_MASTER, words, master);
  if (expectation.savedPort !== 0 || expectation.savedAddress.some((word) => word !== 0)) {
    const outer = nest(writer, nf.CTA_EXPECT_NAT);
    writer.be32(nf.CTA_EXPECT_NAT_DIR, expectation.direction);
    scratch.fill(0);
    scratch.set(expectation.savedAddress, T.SRC);
    scratch[T.PORTS] = expectation.savedPort << 16;
    scratch[T.META] = words[master + T.META];
    putTuple(writer, nf.CTA_EXPECT_NAT_TUPLE, scratch, 0);
    writer.endNest(outer);
  }
  const left = Math.max(0, Math.floor(((expectation.expires - conntrack.now) | 0) / 1000));
  writer.be32(nf.CTA_EXPECT_TIMEOUT, left);
  writer.be32(nf.CTA_EXPECT_ID, expectationId(expectation));
  writer.be32(nf.CTA_EXPECT_FLAGS, expectation.flags);
  writer.be32(nf.CTA_EXPECT_CLASS, expectation.class);
  const name = conntrack.helpers.get(expectation.helper)?.name;
  if (name !== undefined) writer.string(nf.CTA_EXPECT_HELP_NAME, name);
  if (expectation.functionName !== undefined) writer.string(nf.CTA_EXPECT_FN, expectation.functionName);
}

/** CTA_EXPECT_ID: opaque, the same for the life of the expectation. */
export function expectationId(expectation: Expectation): number {
  let h = Math.imul(expectation.serial ^ 0x5bd1e995, 0x297a2d39);
  h = Math.imul(h ^ (h >>> 15), 0x2c1b3c6d);
  return (h ^ (h >>> 13)) >>> 0;
}
