import type { Conntrack } from "../../conntrack/conntrack.ts";
import type { ConntrackListener } from "../../conntrack/events.ts";
import type { Expectation } from "../../conntrack/expect.ts";
import type { ExpectListener } from "../../conntrack/expectation-table.ts";
import { T } from "../../conntrack/layout.ts";
import type { NetlinkBus } from "../../netlink/bus.ts";
import { MessageWriter } from "../../netlink/writer.ts";
import { NETLINK_NETFILTER, NLM_F_CREATE, NLM_F_EXCL } from "../../uapi/netlink.ts";
import * as nf from "../../uapi/nfnetlink.ts";
import { beginNf, connectionFamily } from "./message.ts";
import { putEvent, putExpectation } from "./record.ts";

/** Events of connections and expectations for the multicast groups (spec/ctnetlink sections 7 and 8). */
export class CtnetlinkEvents implements ConntrackListener, ExpectListener {
  private readonly writer = new MessageWriter(1024);
  private wasJoined = false;

  /** @param realtime milliseconds since 1970 */
  constructor(
    private readonly bus: NetlinkBus,
    private readonly conntrack: Conntrack,
    private readonly realtime: () => number,
  ) {}

  /** A socket joins `group`. */
  joined(group: number): void {
    if (group <= nf.NFNLGRP_CONNTRACK_DESTROY) this.wasJoined = true;
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
    const writer = this.writer.reset();
    const at = beginNf(
      writer,
      nf.NFNL_SUBSYS_CTNETLINK,
      command,
      flags,
      0,
      portId,
      connectionFamily(this.conntrack, slot),
    );
    const stop = command === nf.IPCTNL_MSG_CT_DELETE ? this.realtime() : 0;
    putEvent(writer, this.conntrack, slot, events, stop);
    writer.endMessage(at);
    this.bus.notify(NETLINK_NETFILTER, group, writer.bytes.subarray(0, writer.length), portId, report);
  }

  /** ExpectListener (spec/ctnetlink N-122). */
  expectation(expectation: Expectation, isNew: boolean, portId: number, report: boolean): void {
    const group = isNew ? nf.NFNLGRP_CONNTRACK_EXP_NEW : nf.NFNLGRP_CONNTRACK_EXP_DESTROY;
    if (!report && !this.bus.hasListeners(NETLINK_NETFILTER, group)) return;
    const writer = this.writer.reset();
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
}
