import type { Conntrack } from "../../conntrack/conntrack.ts";
import { E, Ext, T } from "../../conntrack/layout.ts";
import { Errno } from "../../core/errors.ts";
import type { KernelProfile } from "../../core/kernel-profile.ts";
import type { Dump } from "../../netlink/dump.ts";
import { EEXIST, EINVAL, ENOENT, EOPNOTSUPP, EPERM } from "../../uapi/errno.ts";
import { NLM_F_CREATE, NLM_F_DUMP_FILTERED, NLM_F_EXCL, NLM_F_MULTI } from "../../uapi/netlink.ts";
import * as nf from "../../uapi/nfnetlink.ts";
import { ConnectionChanges } from "./change.ts";
import { ConnectionFilter, needsFilter } from "./filter.ts";
import { beginNf, connectionFamily, type NfRequest, reply, singleDump } from "./message.ts";
import { putRecord } from "./record.ts";
import { putCpuStats, putGlobalStats } from "./statistics.ts";
import { parseExpectTuple, parseTuple, requestZone } from "./tuple.ts";

/** What a CT_NEW of the control plane reports beside NEW, RELATED and LABEL (spec/ctnetlink N-099). */
const CHANGED =
  (1 << nf.IPCT_REPLY) |
  (1 << nf.IPCT_ASSURED) |
  (1 << nf.IPCT_HELPER) |
  (1 << nf.IPCT_PROTOINFO) |
  (1 << nf.IPCT_SEQADJ) |
  (1 << nf.IPCT_MARK) |
  (1 << nf.IPCT_SYNPROXY);

/** Subsystem NFNL_SUBSYS_CTNETLINK: connections (spec/ctnetlink sections 2 to 6). */
export class Connections {
  private readonly changes: ConnectionChanges;

  constructor(
    private readonly conntrack: Conntrack,
    private readonly kernel: KernelProfile,
  ) {
    this.changes = new ConnectionChanges(conntrack);
  }

  handle(request: NfRequest): Dump | undefined {
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
        return request.isDump ? singleDump((writer) => putCpuStats(writer, request, this.conntrack)) : undefined;
      case nf.IPCTNL_MSG_CT_GET_STATS:
        reply(request, nf.NFNL_SUBSYS_CTNETLINK, nf.IPCTNL_MSG_CT_GET_STATS, 0, (writer) =>
          putGlobalStats(writer, this.conntrack),
        );
        return undefined;
      default:
        // Dying and unconfirmed entries are in no list (spec/ctnetlink N-024, N-025).
        if (!request.isDump) throw new Errno(EOPNOTSUPP);
        return { fill: () => 0 };
    }
  }

  private getConnection(request: NfRequest): Dump | undefined {
    const zero = request.command === nf.IPCTNL_MSG_CT_GET_CTRZERO;
    if (request.isDump) return this.dumpConnections(request, zero);
    const slot = this.lookUp(request);
    reply(request, nf.NFNL_SUBSYS_CTNETLINK, nf.IPCTNL_MSG_CT_NEW, connectionFamily(this.conntrack, slot), (writer) =>
      putRecord(writer, this.conntrack, slot, zero, 1),
    );
    return undefined;
  }

  private dumpConnections(request: NfRequest, zero: boolean): Dump {
    const { conntrack, kernel } = this;
    const filter = needsFilter(request, kernel) ? new ConnectionFilter(request, kernel) : undefined;
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
            connectionFamily(this.conntrack, slot),
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
    const zone = requestZone(attributes);
    const type = attributes.has(nf.CTA_TUPLE_ORIG) ? nf.CTA_TUPLE_ORIG : nf.CTA_TUPLE_REPLY;
    if (!attributes.has(type)) throw new Errno(EINVAL);
    const link = this.conntrack.findLive(parseTuple(attributes, type, family, zone));
    if (link < 0) throw new Errno(ENOENT);
    return link >> 1;
  }

  private deleteConnection(request: NfRequest): void {
    const { attributes } = request;
    requestZone(attributes);
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
    const filter = needsFilter(request, kernel, family) ? new ConnectionFilter(request, kernel, family) : undefined;
    conntrack.walk(0, (slot) => {
      if (filter === undefined || filter.matches(conntrack.table.words, slot * E.WORDS)) {
        conntrack.destroy(slot, request.socket.portId, request.echo);
      }
      return true;
    });
  }

  private newConnection(request: NfRequest): void {
    const { conntrack } = this;
    const { attributes, family, message } = request;
    const zone = requestZone(attributes);
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
      if (has(nf.CTA_LABELS) && this.changes.changeLabels(slot, attributes)) events |= 1 << nf.IPCT_LABEL;
      conntrack.announce(slot, CHANGED | events, portId, request.echo);
      return;
    }
    if ((message.flags & NLM_F_EXCL) !== 0) throw new Errno(EEXIST);
    if (has(nf.CTA_NAT_SRC) || has(nf.CTA_NAT_DST) || has(nf.CTA_TUPLE_MASTER)) throw new Errno(EOPNOTSUPP);
    const slot = link >> 1;
    if (has(nf.CTA_HELP)) this.changes.changeHelper(slot, attributes);
    if (has(nf.CTA_TIMEOUT)) {
      const fixed = (conntrack.table.words[slot * E.WORDS + E.STATUS] & nf.IPS_FIXED_TIMEOUT) !== 0;
      if (fixed) throw new Errno(EPERM);
      conntrack.setLeft(slot, attributes.be32(nf.CTA_TIMEOUT) * 1000);
    }
    this.changes.change(slot * E.WORDS, attributes);
    if (has(nf.CTA_LABELS) && !this.changes.changeLabels(slot, attributes)) throw new Errno(EINVAL);
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
        const number = this.changes.helper(entry, attributes);
        if (number === 0) throw new Errno(EOPNOTSUPP);
        words[entry + E.EXT] |= number << Ext.HELPER_SHIFT;
        words[entry + E.STATUS] |= nf.IPS_HELPER;
        conntrack.helpers.get(number)?.restored?.(conntrack, slot);
      }
      this.changes.setUpNat(slot, attributes);
      words[entry + E.EXT] |= Ext.SEQADJ;
      words[entry + E.STATUS] |= nf.IPS_CONFIRMED;
      conntrack.setLeft(slot, attributes.be32(nf.CTA_TIMEOUT) * 1000);
      this.changes.changeStatus(entry, attributes);
      this.changes.changeSeqAdjust(entry, attributes);
      words.fill(0, entry + E.PROTO, entry + E.SRC_NEXT);
      this.changes.changeProtoinfo(entry, attributes);
      this.changes.changeMark(entry, attributes);
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
}
