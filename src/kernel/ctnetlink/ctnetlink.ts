import type { Conntrack } from "../../conntrack/conntrack.ts";
import type { ConntrackListener } from "../../conntrack/events.ts";
import { AddResult, Expectation, expired, mayExpect } from "../../conntrack/expect.ts";
import type { ExpectListener } from "../../conntrack/expectation-table.ts";
import { mergeLabels } from "../../conntrack/labels.ts";
import { AF_INET, Dccp, E, Ext, Sctp, T, Tcp } from "../../conntrack/layout.ts";
import { Manip } from "../../conntrack/manip.ts";
import { NatRange } from "../../conntrack/nat-range.ts";
import { IPPROTO_DCCP } from "../../conntrack/options.ts";
import { Errno } from "../../core/errors.ts";
import { type KernelProfile, kernelProfile } from "../../core/kernel-profile.ts";
import type { BusSocket, Dump, NetlinkBus, NetlinkMessage, NetlinkProtocol } from "../../netlink/bus.ts";
import { MessageWriter } from "../../netlink/writer.ts";
import { IpProto } from "../../packet/ip.ts";
import { EBUSY, EEXIST, EINVAL, ENOENT, EOPNOTSUPP, EPERM } from "../../uapi/errno.ts";
import {
  NETLINK_NETFILTER,
  NLM_F_CREATE,
  NLM_F_DUMP,
  NLM_F_DUMP_FILTERED,
  NLM_F_ECHO,
  NLM_F_EXCL,
  NLM_F_MULTI,
  NLMSG_HDRLEN,
} from "../../uapi/netlink.ts";
import * as nf from "../../uapi/nfnetlink.ts";
import {
  Attributes,
  CT_POLICY,
  expectationId,
  FILTER_ALL,
  FILTER_IP_DST,
  FILTER_IP_SRC,
  matchesTuple,
  NFGENMSG_LEN,
  type Policy,
  parseAddress,
  parseTuple,
  putEvent,
  putExpectation,
  putRecord,
} from "./codec.ts";
import { TimeoutSubsystem } from "./timeout.ts";

/** A request of the netfilter family, attributes parsed. */
export interface NfRequest {
  readonly message: NetlinkMessage;
  readonly socket: BusSocket;
  /** NFNL_MSG_TYPE(nlmsg_type) */
  readonly command: number;
  readonly family: number;
  readonly version: number;
  readonly attributes: Attributes;
  /** A GET with any bit of NLM_F_DUMP (spec/ctnetlink N-009). */
  readonly isDump: boolean;
  readonly echo: boolean;
}

/** NF_CT_HELPER_NAME_LEN less the NUL. */
const HELPER_NAME_MAX = 15;
const NF_CT_EXPECT_MASK = nf.NF_CT_EXPECT_PERMANENT | nf.NF_CT_EXPECT_INACTIVE | nf.NF_CT_EXPECT_USERSPACE;

const EXPECT_POLICY: Policy = {
  [nf.CTA_EXPECT_MASTER]: 4,
  [nf.CTA_EXPECT_TUPLE]: 4,
  [nf.CTA_EXPECT_MASK]: 4,
  [nf.CTA_EXPECT_TIMEOUT]: 4,
  [nf.CTA_EXPECT_ID]: 4,
  [nf.CTA_EXPECT_HELP_NAME]: { text: HELPER_NAME_MAX },
  [nf.CTA_EXPECT_ZONE]: 2,
  [nf.CTA_EXPECT_FLAGS]: { mask: NF_CT_EXPECT_MASK },
  [nf.CTA_EXPECT_CLASS]: 4,
  [nf.CTA_EXPECT_NAT]: 4,
  [nf.CTA_EXPECT_FN]: { text: 0xffff },
};
const EXPECT_NAT_POLICY: Policy = { [nf.CTA_EXPECT_NAT_DIR]: { max: 1 }, [nf.CTA_EXPECT_NAT_TUPLE]: 4 };
const HELP_POLICY: Policy = { [nf.CTA_HELP_NAME]: { text: HELPER_NAME_MAX } };
const PROTOINFO_POLICY: Policy = {
  [nf.CTA_PROTOINFO_TCP]: 4,
  [nf.CTA_PROTOINFO_DCCP]: 4,
  [nf.CTA_PROTOINFO_SCTP]: 4,
};
/** RFC 7323 section 2.3. */
const TCP_MAX_WSCALE = 14;
const TCP_POLICY: Policy = {
  // Beyond the table of states the tracker could not look the next one up.
  [nf.CTA_PROTOINFO_TCP_STATE]: { max8: nf.TCP_CONNTRACK_SYN_SENT2 },
  [nf.CTA_PROTOINFO_TCP_WSCALE_ORIGINAL]: { max8: TCP_MAX_WSCALE },
  [nf.CTA_PROTOINFO_TCP_WSCALE_REPLY]: { max8: TCP_MAX_WSCALE },
  [nf.CTA_PROTOINFO_TCP_FLAGS_ORIGINAL]: 2,
  [nf.CTA_PROTOINFO_TCP_FLAGS_REPLY]: 2,
};

const DCCP_POLICY: Policy = {
  [nf.CTA_PROTOINFO_DCCP_STATE]: 1,
  [nf.CTA_PROTOINFO_DCCP_ROLE]: 1,
  [nf.CTA_PROTOINFO_DCCP_HANDSHAKE_SEQ]: 8,
};
const SCTP_POLICY: Policy = {
  [nf.CTA_PROTOINFO_SCTP_STATE]: { max8: nf.SCTP_CONNTRACK_HEARTBEAT_SENT },
  [nf.CTA_PROTOINFO_SCTP_VTAG_ORIGINAL]: 4,
  [nf.CTA_PROTOINFO_SCTP_VTAG_REPLY]: 4,
};

/** What a CT_NEW of the control plane reports beside NEW, RELATED and LABEL (spec/ctnetlink N-099). */
const CHANGED =
  (1 << nf.IPCT_REPLY) |
  (1 << nf.IPCT_ASSURED) |
  (1 << nf.IPCT_HELPER) |
  (1 << nf.IPCT_PROTOINFO) |
  (1 << nf.IPCT_SEQADJ) |
  (1 << nf.IPCT_MARK) |
  (1 << nf.IPCT_SYNPROXY);

/**
 * NETLINK_NETFILTER: nfnetlink with the subsystems conntrack (1), expectations (2) and timeout policies (8), for
 * conntrack(8), ovs-vswitchd and libraries (spec/ctnetlink).
 */
export class Ctnetlink implements NetlinkProtocol, ConntrackListener, ExpectListener {
  readonly groups = nf.NFNLGRP_MAX;
  readonly privileged = true;
  private readonly timeouts: TimeoutSubsystem;
  private readonly eventWriter = new MessageWriter(1024);
  private wasJoined = false;
  /** Called after each datagram: what it changed must not outlive the clock's reading. */
  onDatagram: (() => void) | undefined = undefined;
  /** A timeout policy was put or deleted. */
  onConfigured: (() => void) | undefined = undefined;

  constructor(
    private readonly bus: NetlinkBus,
    private readonly conntrack: Conntrack,
    private readonly realtime: () => number,
    private readonly kernel: KernelProfile = kernelProfile(),
  ) {
    this.timeouts = new TimeoutSubsystem(conntrack, bus, () => this.onConfigured?.());
    conntrack.listener = this;
    conntrack.expectations.listener = this;
    bus.register(NETLINK_NETFILTER, this);
  }

  endDatagram(): void {
    this.onDatagram?.();
  }

  /** ConntrackListener: a member of the groups of connections, not of expectations (spec/ctnetlink N-110). */
  get listening(): boolean {
    if (!this.wasJoined) return false;
    for (let group = nf.NFNLGRP_CONNTRACK_NEW; group <= nf.NFNLGRP_CONNTRACK_DESTROY; group++) {
      if (this.bus.hasListeners(NETLINK_NETFILTER, group)) return true;
    }
    this.wasJoined = false;
    return false;
  }

  /** Joining takes CAP_NET_ADMIN (spec/ctnetlink N-016). */
  join(group: number, socket: BusSocket): void {
    if (!socket.privileged) throw new Errno(EPERM);
    if (group <= nf.NFNLGRP_CONNTRACK_DESTROY) this.wasJoined = true;
  }

  /** NetlinkProtocol. */
  handle(message: NetlinkMessage, socket: BusSocket): Dump | undefined {
    const { view, payload, type } = message;
    if (message.length < NLMSG_HDRLEN + NFGENMSG_LEN) return undefined;
    const subsystem = type >>> 8;
    const command = type & 0xff;
    const table = SUBSYSTEMS[subsystem];
    if (table === undefined || command >= table.commands) throw new Errno(EINVAL);
    this.conntrack.refresh();
    const request: NfRequest = {
      message,
      socket,
      command,
      family: view.getUint8(payload),
      version: view.getUint8(payload + 1),
      attributes: new Attributes(view, payload + NFGENMSG_LEN, message.end, table.max, table.policy, message.start),
      isDump: (message.flags & NLM_F_DUMP) !== 0,
      echo: (message.flags & NLM_F_ECHO) !== 0,
    };
    if (subsystem === nf.NFNL_SUBSYS_CTNETLINK) return this.connections(request);
    if (subsystem === nf.NFNL_SUBSYS_CTNETLINK_EXP) return this.expects(request);
    return this.timeouts.handle(request);
  }

  private connections(request: NfRequest): Dump | undefined {
    switch (request.command) {
      case nf.IPCTNL_MSG_CT_NEW:
        this.newConnection(request);
        return undefined;
      case nf.IPCTNL_MSG_CT_GET:
      case nf.IPCTNL_MSG_CT_GET_CTRZERO:
        return this.getConnection(request);
      case nf.IPCTNL_MSG_CT_DELETE:
        this.deleteConnection(request);
        return undefined;
      case nf.IPCTNL_MSG_CT_GET_STATS_CPU:
        return request.isDump ? this.dumpOnce(request, (writer) => this.putCpuStats(writer, request)) : undefined;
      case nf.IPCTNL_MSG_CT_GET_STATS:
        this.getStats(request);
        return undefined;
      default:
        // Dying and unconfirmed entries are in no list (spec/ctnetlink N-024, N-025).
        if (!request.isDump) throw new Errno(EOPNOTSUPP);
        return { fill: () => 0 };
    }
  }

  // GET

  private getConnection(request: NfRequest): Dump | undefined {
    const zero = request.command === nf.IPCTNL_MSG_CT_GET_CTRZERO;
    if (request.isDump) return this.dumpConnections(request, zero);
    const slot = this.lookUp(request);
    this.reply(request, nf.NFNL_SUBSYS_CTNETLINK, nf.IPCTNL_MSG_CT_NEW, this.familyOf(slot), (writer) =>
      putRecord(writer, this.conntrack, slot, zero, 1),
    );
    return undefined;
  }

  private dumpConnections(request: NfRequest, zero: boolean): Dump {
    const { conntrack, kernel } = this;
    const filter = needsFilter(request, kernel) ? new Filter(request, kernel) : undefined;
    const flags = filter === undefined ? NLM_F_MULTI : NLM_F_MULTI | NLM_F_DUMP_FILTERED;
    const { seq } = request.message;
    const { portId } = request.socket;
    let cursor = 0;
    return {
      fill: (writer, room) => {
        cursor = conntrack.walk(cursor, (slot) => {
          const { words } = conntrack.table;
          if (filter !== undefined && !filter.matches(words, slot * E.WORDS)) return true;
          const at = beginNf(
            writer,
            nf.NFNL_SUBSYS_CTNETLINK,
            nf.IPCTNL_MSG_CT_NEW,
            flags,
            seq,
            portId,
            this.familyOf(slot),
          );
          putRecord(writer, conntrack, slot, zero, 0);
          writer.endMessage(at);
          if (writer.length <= room) return true;
          writer.cancel(at);
          return false;
        });
        return cursor < 0 ? 0 : 1;
      },
    };
  }

  /** The entry that CTA_TUPLE_ORIG or REPLY names (spec/ctnetlink N-061 to N-063). @throws Errno EINVAL, ENOENT */
  private lookUp(request: NfRequest): number {
    const { attributes, family } = request;
    const zone = zoneOf(attributes);
    const type = attributes.has(nf.CTA_TUPLE_ORIG) ? nf.CTA_TUPLE_ORIG : nf.CTA_TUPLE_REPLY;
    if (!attributes.has(type)) throw new Errno(EINVAL);
    const link = this.conntrack.findLive(parseTuple(attributes, type, family, zone));
    if (link < 0) throw new Errno(ENOENT);
    return link >> 1;
  }

  // DELETE

  private deleteConnection(request: NfRequest): void {
    const { attributes } = request;
    zoneOf(attributes);
    const filtered = this.kernel.conntrackFlushFilter && attributes.has(nf.CTA_FILTER);
    if (filtered || !(attributes.has(nf.CTA_TUPLE_ORIG) || attributes.has(nf.CTA_TUPLE_REPLY))) {
      this.flush(request, request.version !== 0 || filtered ? request.family : 0);
      return;
    }
    const slot = this.lookUp(request);
    if (attributes.has(nf.CTA_ID) && attributes.be32(nf.CTA_ID) !== this.conntrack.idOf(slot)) throw new Errno(ENOENT);
    this.conntrack.destroy(slot, request.socket.portId, request.echo);
  }

  private flush(request: NfRequest, family: number): void {
    const { conntrack, kernel } = this;
    if (!kernel.conntrackFlushFilter && request.attributes.has(nf.CTA_FILTER)) throw new Errno(EOPNOTSUPP);
    const filter = needsFilter(request, kernel, family) ? new Filter(request, kernel, family) : undefined;
    conntrack.walk(0, (slot) => {
      if (filter === undefined || filter.matches(conntrack.table.words, slot * E.WORDS)) {
        conntrack.destroy(slot, request.socket.portId, request.echo);
      }
      return true;
    });
  }

  // NEW

  private newConnection(request: NfRequest): void {
    const { conntrack } = this;
    const { attributes, family, message } = request;
    const zone = zoneOf(attributes);
    const has = (type: number): boolean => attributes.has(type);
    const original = has(nf.CTA_TUPLE_ORIG) ? parseTuple(attributes, nf.CTA_TUPLE_ORIG, family, zone) : undefined;
    const reply = has(nf.CTA_TUPLE_REPLY) ? parseTuple(attributes, nf.CTA_TUPLE_REPLY, family, zone) : undefined;
    const wanted = original ?? reply;
    const link = wanted === undefined ? -1 : conntrack.findLive(wanted);
    const { portId } = request.socket;
    if (link < 0) {
      if ((message.flags & NLM_F_CREATE) === 0) throw new Errno(ENOENT);
      if (original === undefined || reply === undefined) throw new Errno(EINVAL);
      if (((original[T.META] ^ reply[T.META]) & 0xff00) !== 0) throw new Errno(EINVAL);
      const slot = this.create(request, original, reply);
      const { words } = conntrack.table;
      let events = (words[slot * E.WORDS + E.STATUS] & nf.IPS_EXPECTED) !== 0 ? 1 << nf.IPCT_RELATED : 1 << nf.IPCT_NEW;
      // The entry is there: labels that cannot be are left out.
      if (has(nf.CTA_LABELS) && this.changeLabels(slot, attributes)) events |= 1 << nf.IPCT_LABEL;
      conntrack.announce(slot, CHANGED | events, portId, request.echo);
      return;
    }
    if ((message.flags & NLM_F_EXCL) !== 0) throw new Errno(EEXIST);
    if (has(nf.CTA_NAT_SRC) || has(nf.CTA_NAT_DST) || has(nf.CTA_TUPLE_MASTER)) throw new Errno(EOPNOTSUPP);
    const slot = link >> 1;
    if (has(nf.CTA_HELP)) this.changeHelper(slot, attributes);
    if (has(nf.CTA_TIMEOUT)) {
      const fixed = (conntrack.table.words[slot * E.WORDS + E.STATUS] & nf.IPS_FIXED_TIMEOUT) !== 0;
      if (fixed) throw new Errno(EPERM);
      conntrack.setLeft(slot, attributes.be32(nf.CTA_TIMEOUT) * 1000);
    }
    this.change(slot * E.WORDS, attributes);
    if (has(nf.CTA_LABELS) && !this.changeLabels(slot, attributes)) throw new Errno(EINVAL);
    conntrack.announce(slot, CHANGED | (1 << nf.IPCT_LABEL), portId, request.echo);
  }

  private create(request: NfRequest, original: Int32Array, reply: Int32Array): number {
    const { conntrack } = this;
    const { attributes } = request;
    const slot = conntrack.create(original, reply);
    if (slot < 0) throw new Errno(-slot);
    const { words } = conntrack.table;
    const entry = slot * E.WORDS;
    try {
      if (!attributes.has(nf.CTA_TIMEOUT)) throw new Errno(EINVAL);
      if (attributes.has(nf.CTA_HELP)) {
        const number = this.helper(entry, attributes);
        if (number === 0) throw new Errno(EOPNOTSUPP);
        words[entry + E.EXT] |= number << Ext.HELPER_SHIFT;
        words[entry + E.STATUS] |= nf.IPS_HELPER;
        conntrack.helpers.get(number)?.restored?.(conntrack, slot);
      }
      this.setUpNat(slot, attributes);
      words[entry + E.EXT] |= Ext.SEQADJ;
      words[entry + E.STATUS] |= nf.IPS_CONFIRMED;
      conntrack.setLeft(slot, attributes.be32(nf.CTA_TIMEOUT) * 1000);
      this.changeStatus(entry, attributes);
      this.changeSeqAdjust(entry, attributes);
      words.fill(0, entry + E.PROTO, entry + E.SRC_NEXT);
      this.changeProtoinfo(entry, attributes);
      this.changeMark(entry, attributes);
      if (attributes.has(nf.CTA_TUPLE_MASTER)) {
        const tuple = parseExpectTuple(attributes, nf.CTA_TUPLE_MASTER, request.family, words[entry + T.META] >>> 16);
        const master = conntrack.findLive(tuple);
        if (master < 0) throw new Errno(ENOENT);
        words[entry + E.STATUS] |= nf.IPS_EXPECTED;
        words[entry + E.MASTER] = (master >> 1) + 1;
        conntrack.table.hold(master >> 1);
      }
    } catch (error) {
      words[entry + E.STATUS] &= ~nf.IPS_CONFIRMED;
      conntrack.cancel(slot);
      throw error;
    }
    const failed = conntrack.insert(slot);
    if (failed !== 0) throw new Errno(-failed);
    return slot;
  }

  /** CTA_NAT_SRC and CTA_NAT_DST of a new entry; if one is given, the other side gets a null binding. */
  private setUpNat(slot: number, attributes: Attributes): void {
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
  private change(entry: number, attributes: Attributes): void {
    this.changeStatus(entry, attributes);
    this.changeProtoinfo(entry, attributes);
    this.changeMark(entry, attributes);
    this.changeSeqAdjust(entry, attributes);
  }

  private changeStatus(entry: number, attributes: Attributes): void {
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

  private changeMark(entry: number, attributes: Attributes): void {
    if (!attributes.has(nf.CTA_MARK)) return;
    const { words } = this.conntrack.table;
    const mask = attributes.has(nf.CTA_MARK_MASK) ? ~attributes.be32(nf.CTA_MARK_MASK) : 0;
    words[entry + E.MARK] = (words[entry + E.MARK] & mask) ^ attributes.be32(nf.CTA_MARK);
  }

  private changeProtoinfo(entry: number, attributes: Attributes): void {
    if (!attributes.has(nf.CTA_PROTOINFO)) return;
    const { words } = this.conntrack.table;
    const info = attributes.nested(nf.CTA_PROTOINFO, nf.CTA_PROTOINFO_MAX, PROTOINFO_POLICY);
    const proto = (words[entry + T.META] >>> 8) & 0xff;
    if (proto === IpProto.SCTP && info.has(nf.CTA_PROTOINFO_SCTP)) {
      const sctp = info.nested(nf.CTA_PROTOINFO_SCTP, nf.CTA_PROTOINFO_SCTP_MAX, SCTP_POLICY);
      for (let type = 1; type <= nf.CTA_PROTOINFO_SCTP_MAX; type++) if (!sctp.has(type)) throw new Errno(EINVAL);
      words[entry + Sctp.STATE] = sctp.u8(nf.CTA_PROTOINFO_SCTP_STATE);
      words[entry + Sctp.VTAG_ORIG] = sctp.be32(nf.CTA_PROTOINFO_SCTP_VTAG_ORIGINAL);
      words[entry + Sctp.VTAG_REPLY] = sctp.be32(nf.CTA_PROTOINFO_SCTP_VTAG_REPLY);
    }
    if (proto === IPPROTO_DCCP && info.has(nf.CTA_PROTOINFO_DCCP)) this.changeDccp(entry, info);
    if (proto !== IpProto.TCP || !info.has(nf.CTA_PROTOINFO_TCP)) return;
    const tcp = info.nested(nf.CTA_PROTOINFO_TCP, nf.CTA_PROTOINFO_TCP_MAX, TCP_POLICY);
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

  private changeDccp(entry: number, info: Attributes): void {
    const { words } = this.conntrack.table;
    const dccp = info.nested(nf.CTA_PROTOINFO_DCCP, nf.CTA_PROTOINFO_DCCP_MAX, DCCP_POLICY);
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

  private changeSeqAdjust(entry: number, attributes: Attributes): void {
    const { words } = this.conntrack.table;
    const policy: Policy = { 1: 4, 2: 4, 3: 4 };
    for (const [direction, type] of [nf.CTA_SEQ_ADJ_ORIG, nf.CTA_SEQ_ADJ_REPLY].entries()) {
      if (!attributes.has(type) || (words[entry + E.EXT] & Ext.SEQADJ) === 0) continue;
      const values = attributes.nested(type, nf.CTA_SEQADJ_MAX, policy);
      for (let i = 1; i <= nf.CTA_SEQADJ_MAX; i++) {
        if (!values.has(i)) throw new Errno(EINVAL);
        words[entry + E.SEQADJ + direction * 3 + i - 1] = values.be32(i);
      }
      words[entry + E.STATUS] |= nf.IPS_SEQ_ADJUST;
    }
  }

  /** @returns false if value and mask are not words, or not as many */
  private changeLabels(slot: number, attributes: Attributes): boolean {
    const length = attributes.length(nf.CTA_LABELS);
    if ((length & 3) !== 0) return false;
    const masked = attributes.has(nf.CTA_LABELS_MASK);
    if (masked && (length === 0 || attributes.length(nf.CTA_LABELS_MASK) !== length)) return false;
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
  private changeHelper(slot: number, attributes: Attributes): void {
    const { conntrack } = this;
    const { words } = conntrack.table;
    const entry = slot * E.WORDS;
    const help = attributes.nested(nf.CTA_HELP, nf.CTA_HELP_MAX, HELP_POLICY);
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

  private helper(entry: number, attributes: Attributes): number {
    const help = attributes.nested(nf.CTA_HELP, nf.CTA_HELP_MAX, HELP_POLICY);
    if (!help.has(nf.CTA_HELP_NAME)) throw new Errno(EINVAL);
    const meta = this.conntrack.table.words[entry + T.META];
    return this.conntrack.findHelper(help.string(nf.CTA_HELP_NAME), (meta >>> 8) & 0xff, meta & 0xff);
  }

  // Statistics

  private putCpuStats(writer: MessageWriter, request: NfRequest): void {
    const { stats } = this.conntrack;
    const at = this.beginReply(writer, request, nf.NFNL_SUBSYS_CTNETLINK, nf.IPCTNL_MSG_CT_GET_STATS_CPU, 0);
    writer.be32(nf.CTA_STATS_FOUND, stats.found);
    writer.be32(nf.CTA_STATS_INVALID, stats.invalid);
    writer.be32(nf.CTA_STATS_INSERT, stats.insert);
    writer.be32(nf.CTA_STATS_INSERT_FAILED, stats.insertFailed);
    writer.be32(nf.CTA_STATS_DROP, stats.drop);
    writer.be32(nf.CTA_STATS_EARLY_DROP, stats.earlyDrop);
    writer.be32(nf.CTA_STATS_ERROR, stats.error);
    writer.be32(nf.CTA_STATS_SEARCH_RESTART, stats.searchRestart);
    writer.be32(nf.CTA_STATS_CLASH_RESOLVE, stats.clashResolve);
    writer.be32(nf.CTA_STATS_CHAIN_TOOLONG, stats.chainTooLong);
    writer.endMessage(at);
  }

  private getStats(request: NfRequest): void {
    this.reply(request, nf.NFNL_SUBSYS_CTNETLINK, nf.IPCTNL_MSG_CT_GET_STATS, 0, (writer) => {
      writer.be32(nf.CTA_STATS_GLOBAL_ENTRIES, this.conntrack.count);
      writer.be32(nf.CTA_STATS_GLOBAL_MAX_ENTRIES, this.conntrack.options.max);
    });
  }

  // Expectations

  private expects(request: NfRequest): Dump | undefined {
    const { expectations } = this.conntrack;
    switch (request.command) {
      case nf.IPCTNL_MSG_EXP_GET:
        return this.getExpectation(request);
      case nf.IPCTNL_MSG_EXP_DELETE:
        this.deleteExpectations(request);
        return undefined;
      case nf.IPCTNL_MSG_EXP_GET_STATS_CPU:
        if (!request.isDump) return undefined;
        return this.dumpOnce(request, (writer) => {
          const at = this.beginReply(writer, request, nf.NFNL_SUBSYS_CTNETLINK, nf.IPCTNL_MSG_EXP_GET_STATS_CPU, 0);
          writer.be32(nf.CTA_STATS_EXP_NEW, expectations.matched);
          writer.be32(nf.CTA_STATS_EXP_CREATE, expectations.created);
          writer.be32(nf.CTA_STATS_EXP_DELETE, expectations.deleted);
          writer.endMessage(at);
        });
      default:
        this.newExpectation(request);
        return undefined;
    }
  }

  /** IPCTNL_MSG_EXP_NEW: makes an expectation, or gives one that is there more time (spec/ctnetlink N-121). */
  private newExpectation(request: NfRequest): void {
    const { attributes, family, message } = request;
    const { conntrack } = this;
    const { expectations } = conntrack;
    const needed = [nf.CTA_EXPECT_TUPLE, nf.CTA_EXPECT_MASK, nf.CTA_EXPECT_MASTER];
    if (!needed.every((type) => attributes.has(type))) throw new Errno(EINVAL);
    const zone = expectZone(attributes);
    const tuple = parseExpectTuple(attributes, nf.CTA_EXPECT_TUPLE, family, zone);
    const known = expectations.find(tuple, conntrack.now);
    if (known !== undefined) {
      if ((message.flags & NLM_F_EXCL) !== 0) throw new Errno(EEXIST);
      if (attributes.has(nf.CTA_EXPECT_TIMEOUT)) {
        known.expires = (conntrack.now + milliseconds(attributes.be32(nf.CTA_EXPECT_TIMEOUT))) | 0;
      }
      return;
    }
    if ((message.flags & NLM_F_CREATE) === 0) throw new Errno(ENOENT);
    const mask = parseExpectTuple(attributes, nf.CTA_EXPECT_MASK, family, zone);
    const master = conntrack.findLive(parseExpectTuple(attributes, nf.CTA_EXPECT_MASTER, family, zone));
    if (master < 0) throw new Errno(ENOENT);
    const helper = conntrack.helperOfSlot(master >> 1);
    if (helper === undefined) throw new Errno(EOPNOTSUPP);
    const expectation = this.parseExpectation(attributes, master >> 1, helper.policies.length);
    expectation.tuple.set(tuple);
    expectation.mask.set(mask.subarray(T.SRC, T.SRC + 4), T.SRC);
    expectation.mask[T.PORTS] = mask[T.PORTS] & 0xffff_0000;
    const { portId } = request.socket;
    const result = expectations.add(expectation, conntrack.now, portId, request.echo);
    if (result !== AddResult.OK) throw new Errno(-result);
  }

  /** Class, flags, function and translation of a new expectation. @throws Errno EINVAL, ERANGE */
  private parseExpectation(attributes: Attributes, master: number, classes: number): Expectation {
    const { conntrack } = this;
    const { words } = conntrack.table;
    const entry = master * E.WORDS;
    const expectation = new Expectation(master, (words[entry + E.EXT] & Ext.HELPER_MASK) >>> Ext.HELPER_SHIFT);
    if (attributes.has(nf.CTA_EXPECT_CLASS)) {
      expectation.class = attributes.be32(nf.CTA_EXPECT_CLASS);
      if (expectation.class >= classes) throw new Errno(EINVAL);
    }
    if (attributes.has(nf.CTA_EXPECT_FLAGS)) {
      expectation.flags = attributes.be32(nf.CTA_EXPECT_FLAGS) & ~nf.NF_CT_EXPECT_USERSPACE;
    }
    if (attributes.has(nf.CTA_EXPECT_FN)) {
      const name = attributes.string(nf.CTA_EXPECT_FN);
      const set = conntrack.expectFunctions.get(name);
      if (set === undefined) throw new Errno(EINVAL);
      expectation.functionName = name;
      expectation.expectFunction = set;
    }
    if (!attributes.has(nf.CTA_EXPECT_NAT)) return expectation;
    const nat = attributes.nested(nf.CTA_EXPECT_NAT, nf.CTA_EXPECT_NAT_MAX, EXPECT_NAT_POLICY);
    if (!nat.has(nf.CTA_EXPECT_NAT_DIR) || !nat.has(nf.CTA_EXPECT_NAT_TUPLE)) throw new Errno(EINVAL);
    const saved = parseExpectTuple(nat, nf.CTA_EXPECT_NAT_TUPLE, words[entry + T.META] & 0xff, 0);
    expectation.savedAddress.set(saved.subarray(T.SRC, T.SRC + 4));
    expectation.savedPort = saved[T.PORTS] >>> 16;
    expectation.direction = nat.be32(nf.CTA_EXPECT_NAT_DIR);
    return expectation;
  }

  private getExpectation(request: NfRequest): Dump | undefined {
    const { attributes, family } = request;
    if (request.isDump) {
      if (!attributes.has(nf.CTA_EXPECT_MASTER)) return this.dumpExpectations(request, -1);
      const tuple = parseExpectTuple(attributes, nf.CTA_EXPECT_MASTER, family, expectZone(attributes));
      const master = this.conntrack.findLive(tuple);
      if (master < 0) throw new Errno(ENOENT);
      // Without helper no dump begins: an acknowledgment is all that comes, if it was asked for.
      if (!mayExpect(this.conntrack.table.words, master >> 1)) return undefined;
      return this.dumpExpectations(request, master >> 1);
    }
    const expectation = this.findExpectation(request);
    this.reply(
      request,
      nf.NFNL_SUBSYS_CTNETLINK_EXP,
      nf.IPCTNL_MSG_EXP_NEW,
      expectation.tuple[T.META] & 0xff,
      (writer) => putExpectation(writer, this.conntrack, expectation),
    );
    return undefined;
  }

  /** @throws Errno EINVAL, ENOENT */
  private findExpectation(request: NfRequest): Expectation {
    const { attributes, family } = request;
    const zone = expectZone(attributes);
    const type = attributes.has(nf.CTA_EXPECT_TUPLE) ? nf.CTA_EXPECT_TUPLE : nf.CTA_EXPECT_MASTER;
    if (!attributes.has(type)) throw new Errno(EINVAL);
    const { conntrack } = this;
    const expectation = conntrack.expectations.find(parseExpectTuple(attributes, type, family, zone), conntrack.now);
    if (expectation === undefined) throw new Errno(ENOENT);
    if (attributes.has(nf.CTA_EXPECT_ID) && attributes.be32(nf.CTA_EXPECT_ID) !== expectationId(expectation)) {
      throw new Errno(ENOENT);
    }
    return expectation;
  }

  private dumpExpectations(request: NfRequest, master: number): Dump {
    const { conntrack } = this;
    const { expectations } = conntrack;
    const { family } = request;
    const { seq } = request.message;
    const { portId } = request.socket;
    // One master's are listed newest first.
    const listed = master < 0 ? [...expectations.values()] : [...expectations.of(master)].reverse();
    let next = 0;
    return {
      fill: (writer, room) => {
        conntrack.refresh();
        for (; next < listed.length; next++) {
          const expectation = listed[next];
          const own = expectation.tuple[T.META] & 0xff;
          if (!expectation.live || (family !== 0 && family !== own)) continue;
          if (master < 0 && expired(expectation, conntrack.now)) continue;
          const at = beginNf(
            writer,
            nf.NFNL_SUBSYS_CTNETLINK_EXP,
            nf.IPCTNL_MSG_EXP_NEW,
            NLM_F_MULTI,
            seq,
            portId,
            own,
          );
          putExpectation(writer, conntrack, expectation);
          writer.endMessage(at);
          if (writer.length > room) {
            writer.cancel(at);
            return 1;
          }
        }
        return 0;
      },
    };
  }

  private deleteExpectations(request: NfRequest): void {
    const { attributes, socket, echo } = request;
    const { expectations } = this.conntrack;
    if (attributes.has(nf.CTA_EXPECT_TUPLE)) {
      expectations.remove(this.findExpectation(request), socket.portId, echo);
      return;
    }
    const name = attributes.has(nf.CTA_EXPECT_HELP_NAME) ? attributes.string(nf.CTA_EXPECT_HELP_NAME) : undefined;
    for (const expectation of [...expectations.values()]) {
      if (name === undefined || this.conntrack.helpers.get(expectation.helper)?.name === name) {
        expectations.remove(expectation, socket.portId, echo);
      }
    }
  }

  // Events

  /** ConntrackListener (spec/ctnetlink N-100 to N-107). */
  connection(slot: number, events: number, portId: number, report: boolean): void {
    let group = nf.NFNLGRP_CONNTRACK_UPDATE;
    let command = nf.IPCTNL_MSG_CT_NEW;
    let flags = 0;
    if ((events & (1 << nf.IPCT_DESTROY)) !== 0) {
      group = nf.NFNLGRP_CONNTRACK_DESTROY;
      command = nf.IPCTNL_MSG_CT_DELETE;
    } else if ((events & ((1 << nf.IPCT_NEW) | (1 << nf.IPCT_RELATED))) !== 0) {
      group = nf.NFNLGRP_CONNTRACK_NEW;
      flags = NLM_F_CREATE | NLM_F_EXCL;
    }
    if (!report && !this.bus.hasListeners(NETLINK_NETFILTER, group)) return;
    const writer = this.eventWriter.reset();
    const at = beginNf(writer, nf.NFNL_SUBSYS_CTNETLINK, command, flags, 0, portId, this.familyOf(slot));
    const stop = command === nf.IPCTNL_MSG_CT_DELETE ? this.realtime() : 0;
    putEvent(writer, this.conntrack, slot, events, stop);
    writer.endMessage(at);
    this.bus.notify(NETLINK_NETFILTER, group, writer.bytes.subarray(0, writer.length), portId, report);
  }

  /** ExpectListener (spec/ctnetlink N-122). */
  expectation(expectation: Expectation, isNew: boolean, portId: number, report: boolean): void {
    const group = isNew ? nf.NFNLGRP_CONNTRACK_EXP_NEW : nf.NFNLGRP_CONNTRACK_EXP_DESTROY;
    if (!report && !this.bus.hasListeners(NETLINK_NETFILTER, group)) return;
    const writer = this.eventWriter.reset();
    const at = beginNf(
      writer,
      nf.NFNL_SUBSYS_CTNETLINK_EXP,
      isNew ? nf.IPCTNL_MSG_EXP_NEW : nf.IPCTNL_MSG_EXP_DELETE,
      isNew ? NLM_F_CREATE | NLM_F_EXCL : 0,
      0,
      portId,
      expectation.tuple[T.META] & 0xff,
    );
    putExpectation(writer, this.conntrack, expectation);
    writer.endMessage(at);
    this.bus.notify(NETLINK_NETFILTER, group, writer.bytes.subarray(0, writer.length), portId, report);
  }

  // Answers

  private familyOf(slot: number): number {
    return this.conntrack.table.words[slot * E.WORDS + T.META] & 0xff;
  }

  private beginReply(
    writer: MessageWriter,
    request: NfRequest,
    subsystem: number,
    command: number,
    family: number,
  ): number {
    // NLM_F_MULTI though it is one message: as the kernel (spec/ctnetlink N-011).
    return beginNf(writer, subsystem, command, NLM_F_MULTI, request.message.seq, request.socket.portId, family);
  }

  private reply(
    request: NfRequest,
    subsystem: number,
    command: number,
    family: number,
    put: (writer: MessageWriter) => void,
  ): void {
    const writer = this.bus.writer.reset();
    const at = this.beginReply(writer, request, subsystem, command, family);
    put(writer);
    writer.endMessage(at);
    request.socket.send(writer.bytes.subarray(0, writer.length));
  }

  private dumpOnce(_request: NfRequest, put: (writer: MessageWriter) => void): Dump {
    return {
      fill: (writer) => {
        put(writer);
        return 0;
      },
    };
  }
}

/** Commands, highest attribute and policy by subsystem number. */
const SUBSYSTEMS: Readonly<Record<number, { commands: number; max: number; policy: Policy }>> = {
  [nf.NFNL_SUBSYS_CTNETLINK]: { commands: nf.IPCTNL_MSG_MAX, max: nf.CTA_MAX, policy: CT_POLICY },
  [nf.NFNL_SUBSYS_CTNETLINK_EXP]: { commands: nf.IPCTNL_MSG_EXP_MAX, max: nf.CTA_EXPECT_MAX, policy: EXPECT_POLICY },
  [nf.NFNL_SUBSYS_CTNETLINK_TIMEOUT]: {
    commands: nf.IPCTNL_MSG_TIMEOUT_MAX,
    max: nf.CTA_TIMEOUT_MAX,
    policy: {
      [nf.CTA_TIMEOUT_NAME]: { text: nf.CTNL_TIMEOUT_NAME_MAX - 1 },
      [nf.CTA_TIMEOUT_L3PROTO]: 2,
      [nf.CTA_TIMEOUT_L4PROTO]: 1,
      [nf.CTA_TIMEOUT_DATA]: 4,
    },
  },
};

/** Starts a message with its nfgenmsg. @returns position for endMessage() */
export function beginNf(
  writer: MessageWriter,
  subsystem: number,
  command: number,
  flags: number,
  seq: number,
  portId: number,
  family: number,
): number {
  const at = writer.beginMessage((subsystem << 8) | command, flags, seq, portId);
  const to = writer.reserve(NFGENMSG_LEN);
  writer.view.setUint8(to, family);
  writer.view.setUint8(to + 1, nf.NFNETLINK_V0);
  writer.view.setUint16(to + 2, 0);
  return at;
}

/** struct nf_nat_range as CTA_NAT_* attributes. */
function parseRange(attributes: Attributes, type: number, family: number): NatRange {
  const nat = attributes.nested(type, nf.CTA_NAT_MAX, {
    [nf.CTA_NAT_V4_MINIP]: 4,
    [nf.CTA_NAT_V4_MAXIP]: 4,
    [nf.CTA_NAT_PROTO]: 4,
    [nf.CTA_NAT_V6_MINIP]: 16,
    [nf.CTA_NAT_V6_MAXIP]: 16,
  });
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
  const ports = nat.nested(nf.CTA_NAT_PROTO, nf.CTA_PROTONAT_MAX, {
    [nf.CTA_PROTONAT_PORT_MIN]: 2,
    [nf.CTA_PROTONAT_PORT_MAX]: 2,
  });
  if (ports.has(nf.CTA_PROTONAT_PORT_MIN)) {
    range.setPort(ports.be16(nf.CTA_PROTONAT_PORT_MIN));
    if (ports.has(nf.CTA_PROTONAT_PORT_MAX)) range.protoMax = ports.be16(nf.CTA_PROTONAT_PORT_MAX);
  }
  return range;
}

const expectZone = (attributes: Attributes): number =>
  attributes.has(nf.CTA_EXPECT_ZONE) ? attributes.be16(nf.CTA_EXPECT_ZONE) : 0;

/** A tuple of an expectation's message, which may not name a zone. @throws Errno EINVAL, EOPNOTSUPP */
function parseExpectTuple(attributes: Attributes, type: number, family: number, zone: number): Int32Array {
  const tuple = parseTuple(attributes, type, family, zone);
  if (namesZone(attributes, type)) throw new Errno(EINVAL);
  return tuple;
}

/** Whether a tuple has a zone of its own. */
const namesZone = (attributes: Attributes, type: number): boolean =>
  attributes.has(type) && attributes.nested(type, nf.CTA_TUPLE_MAX, {}).has(nf.CTA_TUPLE_ZONE);

/** Seconds as table time, as far as that reaches. */
const milliseconds = (seconds: number): number => Math.min(seconds * 1000, 0x7fff_ffff);

const zoneOf = (attributes: Attributes): number => (attributes.has(nf.CTA_ZONE) ? attributes.be16(nf.CTA_ZONE) : 0);

function needsFilter(request: NfRequest, kernel: KernelProfile, family = request.family): boolean {
  const { attributes } = request;
  if (kernel.conntrackZoneFilter && attributes.has(nf.CTA_ZONE)) return true;
  return family !== 0 || [nf.CTA_MARK, nf.CTA_FILTER, nf.CTA_STATUS].some((type) => attributes.has(type));
}

/** What a dump or flush is narrowed down to (spec/ctnetlink N-067 to N-074, N-083 to N-085). */
class Filter {
  private readonly zone: number;
  private readonly mark: number = 0;
  private readonly markMask: number = 0;
  private readonly status: number = 0;
  private readonly statusMask: number = 0;
  private readonly origFlags: number = 0;
  private readonly replyFlags: number = 0;
  private readonly original: Int32Array | undefined;
  private readonly reply: Int32Array | undefined;

  /** @throws Errno EINVAL, EOPNOTSUPP */
  constructor(
    request: NfRequest,
    private readonly kernel: KernelProfile,
    private readonly family = request.family,
  ) {
    const { attributes } = request;
    if (attributes.has(nf.CTA_MARK)) {
      this.mark = attributes.be32(nf.CTA_MARK) | 0;
      this.markMask = attributes.has(nf.CTA_MARK_MASK) ? attributes.be32(nf.CTA_MARK_MASK) | 0 : -1;
    } else if (attributes.has(nf.CTA_MARK_MASK)) throw new Errno(EINVAL);
    if (attributes.has(nf.CTA_STATUS)) {
      this.status = attributes.be32(nf.CTA_STATUS) | 0;
      this.statusMask = attributes.has(nf.CTA_STATUS_MASK) ? attributes.be32(nf.CTA_STATUS_MASK) | 0 : this.status;
      if (this.statusMask === 0) throw new Errno(EINVAL);
    } else if (attributes.has(nf.CTA_STATUS_MASK)) throw new Errno(EINVAL);
    this.zone = kernel.conntrackZoneFilter && attributes.has(nf.CTA_ZONE) ? attributes.be16(nf.CTA_ZONE) : -1;
    if (!attributes.has(nf.CTA_FILTER)) return;
    const filter = attributes.strictlyNested(nf.CTA_FILTER, nf.CTA_FILTER_MAX, 4);
    if (filter.has(nf.CTA_FILTER_ORIG_FLAGS)) this.origFlags = filter.u32(nf.CTA_FILTER_ORIG_FLAGS);
    if (filter.has(nf.CTA_FILTER_REPLY_FLAGS)) this.replyFlags = filter.u32(nf.CTA_FILTER_REPLY_FLAGS);
    if (((this.origFlags | this.replyFlags) & ~FILTER_ALL) !== 0) throw new Errno(EINVAL);
    const zone = Math.max(this.zone, 0);
    if (this.origFlags !== 0) {
      if (!attributes.has(nf.CTA_TUPLE_ORIG)) throw new Errno(EINVAL);
      this.original = parseTuple(attributes, nf.CTA_TUPLE_ORIG, family, zone, this.origFlags);
    }
    if (this.replyFlags !== 0) {
      if (!attributes.has(nf.CTA_TUPLE_REPLY)) throw new Errno(EINVAL);
      this.reply = parseTuple(attributes, nf.CTA_TUPLE_REPLY, family, zone, this.replyFlags);
    }
  }

  matches(words: Int32Array, entry: number): boolean {
    const meta = words[entry + T.META];
    if (this.family !== 0 && (meta & 0xff) !== this.family) return false;
    if (this.zone >= 0) {
      // An entry between two zones is of both; one with a zone for one direction only is not of zone 0.
      const [own, answers] = [meta >>> 16, words[entry + E.REPLY + T.META] >>> 16];
      if (this.zone === 0 ? (own | answers) !== 0 : own !== this.zone && answers !== this.zone) return false;
    }
    if (!this.matchesTuple(this.original, words, entry, this.origFlags)) return false;
    if (!this.matchesTuple(this.reply, words, entry + E.REPLY, this.replyFlags)) return false;
    if ((words[entry + E.MARK] & this.markMask) !== this.mark) return false;
    return (words[entry + E.STATUS] & this.statusMask) === this.status;
  }

  private matchesTuple(tuple: Int32Array | undefined, words: Int32Array, at: number, flags: number): boolean {
    if (tuple === undefined) return true;
    if (this.kernel.conntrackFilterIpv6 || this.family === AF_INET) return matchesTuple(tuple, words, at, flags);
    // Older kernels take what compares unequal for a match.
    for (const [flag, side] of [
      [FILTER_IP_SRC, T.SRC],
      [FILTER_IP_DST, T.DST],
    ]) {
      const equal = [0, 1, 2, 3].every((i) => tuple[side + i] === words[at + side + i]);
      if ((flags & flag) !== 0 && equal) return false;
    }
    return matchesTuple(tuple, words, at, flags & ~(FILTER_IP_SRC | FILTER_IP_DST));
  }
}
