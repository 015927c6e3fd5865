import type { Conntrack } from "../../conntrack/conntrack.ts";
import { mayExpect } from "../../conntrack/expect.ts";
import { mergeLabels } from "../../conntrack/labels.ts";
import { Dccp, E, Ext, Sctp, T, Tcp } from "../../conntrack/layout.ts";
import { Manip } from "../../conntrack/manip.ts";
import { NatRange } from "../../conntrack/nat-range.ts";
import { IPPROTO_DCCP } from "../../conntrack/options.ts";
import { Errno } from "../../core/errors.ts";
import type { AttributeTable } from "../../netlink/schema/index.ts";
import { IpProto } from "../../packet/ip.ts";
import {
  helpAttributes,
  natRangeAttributes,
  protoinfoAttributes,
  protoinfoDccpAttributes,
  protoinfoSctpAttributes,
  protoinfoTcpAttributes,
  protonatAttributes,
  seqadjAttributes,
} from "../../schema/ctnetlink.ts";
import { EBUSY, EINVAL, EOPNOTSUPP } from "../../uapi/errno.ts";
import * as nf from "../../uapi/nfnetlink.ts";
import { AF_INET } from "../../uapi/socket.ts";
import { parseAddress } from "./tuple.ts";

/** Sets what a request says of a connection that is there or being made (spec/ctnetlink N-092 to N-098). */
export class ConnectionChanges {
  constructor(private readonly conntrack: Conntrack) {}

  /** CTA_NAT_SRC and CTA_NAT_DST of a new entry; if one is given, the other side gets a null binding. */
  setUpNat(slot: number, attributes: AttributeTable): void {
    if (!attributes.has(nf.CTA_NAT_SRC) && !attributes.has(nf.CTA_NAT_DST)) return;
    const { mapper, table } = this.conntrack;
    const family = table.words[slot * E.WORDS + T.META] & 0xff;
    for (const manip of [Manip.DST, Manip.SRC]) {
      const type = manip === Manip.SRC ? nf.CTA_NAT_SRC : nf.CTA_NAT_DST;
      if (attributes.has(type)) mapper.setup(slot, parseRange(attributes, type, family), manip);
      else mapper.setupNull(slot, manip);
    }
  }

  /**
   * What may be set of an entry beside helper, timeout and labels (spec/ctnetlink N-096, N-098), in the order of an
   * update.
   */
  change(entry: number, attributes: AttributeTable): void {
    this.changeStatus(entry, attributes);
    this.changeProtoinfo(entry, attributes);
    this.changeMark(entry, attributes);
    this.changeSeqAdjust(entry, attributes);
  }

  changeStatus(entry: number, attributes: AttributeTable): void {
    const { words } = this.conntrack.table;
    if (attributes.has(nf.CTA_STATUS)) {
      const status = attributes.be32(nf.CTA_STATUS);
      const old = words[entry + E.STATUS];
      const differ = status ^ old;
      if ((differ & (nf.IPS_EXPECTED | nf.IPS_CONFIRMED | nf.IPS_DYING)) !== 0) throw new Errno(EBUSY);
      if ((differ & (nf.IPS_SEEN_REPLY | nf.IPS_ASSURED) & old) !== 0) throw new Errno(EBUSY);
      words[entry + E.STATUS] = old | (status & ~nf.IPS_UNCHANGEABLE_MASK);
    }
  }

  changeMark(entry: number, attributes: AttributeTable): void {
    if (!attributes.has(nf.CTA_MARK)) return;
    const { words } = this.conntrack.table;
    const mask = attributes.has(nf.CTA_MARK_MASK) ? ~attributes.be32(nf.CTA_MARK_MASK) : 0;
    words[entry + E.MARK] = (words[entry + E.MARK] & mask) ^ attributes.be32(nf.CTA_MARK);
  }

  changeProtoinfo(entry: number, attributes: AttributeTable): void {
    if (!attributes.has(nf.CTA_PROTOINFO)) return;
    const { words } = this.conntrack.table;
    const info = attributes.nested(nf.CTA_PROTOINFO, protoinfoAttributes);
    const proto = (words[entry + T.META] >>> 8) & 0xff;
    if (proto === IpProto.SCTP && info.has(nf.CTA_PROTOINFO_SCTP)) {
      const sctp = info.nested(nf.CTA_PROTOINFO_SCTP, protoinfoSctpAttributes);
      for (let type = 1; type <= nf.CTA_PROTOINFO_SCTP_MAX; type++) if (!sctp.has(type)) throw new Errno(EINVAL);
      words[entry + Sctp.STATE] = sctp.u8(nf.CTA_PROTOINFO_SCTP_STATE);
      words[entry + Sctp.VTAG_ORIG] = sctp.be32(nf.CTA_PROTOINFO_SCTP_VTAG_ORIGINAL);
      words[entry + Sctp.VTAG_REPLY] = sctp.be32(nf.CTA_PROTOINFO_SCTP_VTAG_REPLY);
    }
    if (proto === IPPROTO_DCCP && info.has(nf.CTA_PROTOINFO_DCCP)) this.changeDccp(entry, info);
    if (proto !== IpProto.TCP || !info.has(nf.CTA_PROTOINFO_TCP)) return;
    const tcp = info.nested(nf.CTA_PROTOINFO_TCP, protoinfoTcpAttributes);
    if (tcp.has(nf.CTA_PROTOINFO_TCP_STATE)) {
      const state = tcp.u8(nf.CTA_PROTOINFO_TCP_STATE);
      words[entry + Tcp.STATE] = (words[entry + Tcp.STATE] & ~0xff) | state;
    }
    const sides = [nf.CTA_PROTOINFO_TCP_FLAGS_ORIGINAL, nf.CTA_PROTOINFO_TCP_FLAGS_REPLY];
    for (const [direction, type] of sides.entries()) {
      if (!tcp.has(type)) continue;
      const [flags, mask] = tcp.bytes(type);
      const at = entry + Tcp.SCALE_FLAGS + direction * Tcp.DIRECTION;
      words[at] = (words[at] & ~(mask << 8)) | ((flags & mask) << 8);
    }
    const scales = [nf.CTA_PROTOINFO_TCP_WSCALE_ORIGINAL, nf.CTA_PROTOINFO_TCP_WSCALE_REPLY];
    const scaling = nf.IP_CT_TCP_FLAG_WINDOW_SCALE << 8;
    const orig = entry + Tcp.SCALE_FLAGS;
    const both = words[orig] & words[orig + Tcp.DIRECTION] & scaling;
    if (both === 0 || !scales.every((type) => tcp.has(type))) return;
    for (const [direction, type] of scales.entries()) {
      const at = orig + direction * Tcp.DIRECTION;
      words[at] = (words[at] & ~0xff) | tcp.u8(type);
    }
  }

  private changeDccp(entry: number, info: AttributeTable): void {
    const { words } = this.conntrack.table;
    const dccp = info.nested(nf.CTA_PROTOINFO_DCCP, protoinfoDccpAttributes);
    if (!dccp.has(nf.CTA_PROTOINFO_DCCP_STATE) || !dccp.has(nf.CTA_PROTOINFO_DCCP_ROLE)) throw new Errno(EINVAL);
    const state = dccp.u8(nf.CTA_PROTOINFO_DCCP_STATE);
    const role = dccp.u8(nf.CTA_PROTOINFO_DCCP_ROLE);
    if (role > 1 || state > nf.CTA_TIMEOUT_DCCP_TIMEWAIT) throw new Errno(EINVAL);
    words[entry + Dccp.STATE] = state;
    words[entry + Dccp.ROLE] = role;
    if (!dccp.has(nf.CTA_PROTOINFO_DCCP_HANDSHAKE_SEQ)) return;
    const seq = dccp.bytes(nf.CTA_PROTOINFO_DCCP_HANDSHAKE_SEQ);
    const view = new DataView(seq.buffer, seq.byteOffset, seq.length);
    words[entry + Dccp.HANDSHAKE_HIGH] = view.getInt32(0);
    words[entry + Dccp.HANDSHAKE_LOW] = view.getInt32(4);
  }

  changeSeqAdjust(entry: number, attributes: AttributeTable): void {
    const { words } = this.conntrack.table;
    for (const [direction, type] of [nf.CTA_SEQ_ADJ_ORIG, nf.CTA_SEQ_ADJ_REPLY].entries()) {
      if (!attributes.has(type) || (words[entry + E.EXT] & Ext.SEQADJ) === 0) continue;
      const values = attributes.nested(type, seqadjAttributes);
      for (let i = 1; i <= nf.CTA_SEQADJ_MAX; i++) {
        if (!values.has(i)) throw new Errno(EINVAL);
        words[entry + E.SEQADJ + direction * 3 + i - 1] = values.be32(i);
      }
      words[entry + E.STATUS] |= nf.IPS_SEQ_ADJUST;
    }
  }

  /** @returns false if value and mask are not words, or not as many */
  changeLabels(slot: number, attributes: AttributeTable): boolean {
    const length = attributes.length[nf.CTA_LABELS];
    if ((length & 3) !== 0) return false;
    const masked = attributes.has(nf.CTA_LABELS_MASK);
    if (masked && (length === 0 || attributes.length[nf.CTA_LABELS_MASK] !== length)) return false;
    const words = (type: number): Int32Array => {
      const bytes = attributes.bytes(type);
      const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
      const out = new Int32Array(4);
      for (let i = 0; i < length / 4; i++) out[i] = view.getInt32(i * 4);
      return out;
    };
    // Without a mask what is not given becomes zero.
    const mask = masked ? words(nf.CTA_LABELS_MASK) : Int32Array.of(-1, -1, -1, -1);
    mergeLabels(this.conntrack.table.words, slot * E.WORDS, words(nf.CTA_LABELS), mask);
    return true;
  }

  /** A helper of a confirmed entry may be named once more, or taken away by an empty name. */
  changeHelper(slot: number, attributes: AttributeTable): void {
    const { conntrack } = this;
    const { words } = conntrack.table;
    const entry = slot * E.WORDS;
    const help = attributes.nested(nf.CTA_HELP, helpAttributes);
    if (!help.has(nf.CTA_HELP_NAME)) throw new Errno(EINVAL);
    const name = help.string(nf.CTA_HELP_NAME);
    const helper = conntrack.helperOfSlot(slot);
    if (words[entry + E.MASTER] !== 0) {
      if (helper?.name !== name) throw new Errno(EBUSY);
      return;
    }
    if (name === "") {
      if (helper === undefined) return;
      conntrack.expectations.removeAllOf(slot);
      words[entry + E.EXT] &= ~Ext.HELPER_MASK;
      return;
    }
    const found = conntrack.helpers.get(this.helper(entry, attributes));
    if (found === undefined) throw new Errno(EOPNOTSUPP);
    // The bit stays when the helper is taken away: there is room for one, but none may be put there.
    if (!mayExpect(words, slot)) throw new Errno(EOPNOTSUPP);
    if (found !== helper) throw new Errno(EBUSY);
    helper.restored?.(conntrack, slot);
  }

  helper(entry: number, attributes: AttributeTable): number {
    const help = attributes.nested(nf.CTA_HELP, helpAttributes);
    if (!help.has(nf.CTA_HELP_NAME)) throw new Errno(EINVAL);
    const meta = this.conntrack.table.words[entry + T.META];
    return this.conntrack.findHelper(help.string(nf.CTA_HELP_NAME), (meta >>> 8) & 0xff, meta & 0xff);
  }
}

/** struct nf_nat_range as CTA_NAT_* attributes. */
function parseRange(attributes: AttributeTable, type: number, family: number): NatRange {
  const nat = attributes.nested(type, natRangeAttributes);
  const range = new NatRange();
  const v4 = family === AF_INET;
  const [min, max] = v4 ? [nf.CTA_NAT_V4_MINIP, nf.CTA_NAT_V4_MAXIP] : [nf.CTA_NAT_V6_MINIP, nf.CTA_NAT_V6_MAXIP];
  if (nat.has(min)) {
    range.mapIps = true;
    parseAddress(nat, min, range.min, 0, family);
  }
  if (nat.has(max)) parseAddress(nat, max, range.max, 0, family);
  else range.max.set(range.min);
  if (!nat.has(nf.CTA_NAT_PROTO)) return range;
  const ports = nat.nested(nf.CTA_NAT_PROTO, protonatAttributes);
  if (ports.has(nf.CTA_PROTONAT_PORT_MIN)) {
    range.setPort(ports.be16(nf.CTA_PROTONAT_PORT_MIN));
    if (ports.has(nf.CTA_PROTONAT_PORT_MAX)) range.protoMax = ports.be16(nf.CTA_PROTONAT_PORT_MAX);
  }
  return range;
}
