import { diff32 } from "../packet/checksum.ts";
import { updateL4 } from "../packet/l4-checksum.ts";
import type { Packet } from "../packet/packet.ts";
import * as tcp from "../packet/tcp.ts";
import { IPS_SEQ_ADJUST } from "../uapi/nfnetlink.ts";
import { E, Ext } from "./layout.ts";

/**
 * Sequence adjustment (spec/conntrack C-216): when a helper changes the length of what one side sends, later sequence
 * numbers of that side and acknowledgments of the other are shifted. Three words a direction: where the last change
 * was, and the offset before and after that place.
 */
const POSITION = 0;
const BEFORE = 1;
const AFTER = 2;
const DIRECTION = 3;

const later = (a: number, b: number): boolean => ((b - a) | 0) < 0;

/** Offset that applies to sequence number `seq` of a direction; 0 without adjustment. */
export function seqOffset(words: Int32Array, entry: number, direction: number, seq: number): number {
  if ((words[entry + E.EXT] & Ext.SEQADJ) === 0) return 0;
  const at = entry + E.SEQADJ + direction * DIRECTION;
  return later(seq, words[at + POSITION]) ? words[at + AFTER] : words[at + BEFORE];
}

/** Records that the payload at `seq` (as sent) became longer by `delta` bytes. @param seq sequence number of the segment */
export function setSeqAdjust(words: Int32Array, entry: number, direction: number, seq: number, delta: number): void {
  if (delta === 0 || (words[entry + E.EXT] & Ext.SEQADJ) === 0) return;
  words[entry + E.STATUS] |= IPS_SEQ_ADJUST;
  const at = entry + E.SEQADJ + direction * DIRECTION;
  if (words[at + BEFORE] === words[at + AFTER] || later(seq, words[at + POSITION])) {
    words[at + POSITION] = seq;
    words[at + BEFORE] = words[at + AFTER];
    words[at + AFTER] += delta;
  }
}

/** Shifts the numbers of a segment, SACK blocks included, and updates its checksum. @returns false to drop it */
export function adjustSegment(
  packet: Packet,
  l4: number,
  words: Int32Array,
  entry: number,
  direction: number,
): boolean {
  const view = packet.memory.view;
  if (l4 + tcp.HEADER_LEN > packet.off + packet.len) return false;
  const seq = view.getInt32(l4 + tcp.SEQ);
  const shift = seqOffset(words, entry, direction, seq);
  if (shift !== 0) {
    const fresh = (seq + shift) | 0;
    updateL4(packet, l4 + tcp.CHECKSUM, diff32(seq, fresh), false);
    view.setInt32(l4 + tcp.SEQ, fresh);
  }
  if ((tcp.flags(view, l4) & tcp.ACK_FLAG) === 0) return true;
  const ack = view.getInt32(l4 + tcp.ACK);
  const fresh = unshift(words, entry, 1 - direction, ack);
  if (fresh !== ack) {
    updateL4(packet, l4 + tcp.CHECKSUM, diff32(ack, fresh), false);
    view.setInt32(l4 + tcp.ACK, fresh);
  }
  return adjustSack(packet, l4, words, entry, 1 - direction);
}

/** The number that the sender of a direction used for what its peer saw as `seen`. */
function unshift(words: Int32Array, entry: number, direction: number, seen: number): number {
  const at = entry + E.SEQADJ + direction * DIRECTION;
  const offset = later((seen - words[at + BEFORE]) | 0, words[at + POSITION]) ? words[at + AFTER] : words[at + BEFORE];
  return (seen - offset) | 0;
}

/** Shifts the edges of SACK blocks and updates the checksum. @returns false if the options are malformed */
function adjustSack(packet: Packet, l4: number, words: Int32Array, entry: number, direction: number): boolean {
  const view = packet.memory.view;
  const end = l4 + tcp.headerLength(view, l4);
  if (end > packet.off + packet.len) return false;
  let at = tcp.nextOption(view, l4 + tcp.HEADER_LEN, end);
  while (at >= 0) {
    const next = at + view.getUint8(at + 1);
    if (tcp.isSack(view, at)) {
      for (let edge = at + 2; edge < next; edge += 4) {
        const seen = view.getInt32(edge);
        const fresh = unshift(words, entry, direction, seen);
        updateL4(packet, l4 + tcp.CHECKSUM, diff32(seen, fresh), false);
        view.setInt32(edge, fresh);
      }
    }
    at = tcp.nextOption(view, next, end);
  }
  return at === tcp.OPTIONS_END;
}
