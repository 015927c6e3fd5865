import type { Conntrack } from "../../conntrack/conntrack.ts";
import { Errno } from "../../core/errors.ts";
import { type KernelProfile, kernelProfile } from "../../core/kernel-profile.ts";
import type { NetlinkBus } from "../../netlink/bus.ts";
import type { BusSocket, LongRequest, NetlinkProtocol } from "../../netlink/bus-socket.ts";
import type { Dump } from "../../netlink/dump.ts";
import type { NetlinkMessage } from "../../netlink/message.ts";
import { type AttributeSet, attributeSet } from "../../netlink/schema/index.ts";
import {
  connectionAttributes,
  expectationAttributes,
  NFGENMSG_LEN,
  timeoutAttributes,
} from "../../schema/ctnetlink.ts";
import { EINVAL, EPERM } from "../../uapi/errno.ts";
import { NETLINK_NETFILTER, NLM_F_DUMP, NLM_F_ECHO, NLMSG_HDRLEN } from "../../uapi/netlink.ts";
import * as nf from "../../uapi/nfnetlink.ts";
import { Connections } from "./connections.ts";
import { CtnetlinkEvents } from "./events.ts";
import { Expectations } from "./expectations.ts";
import type { NfRequest } from "./message.ts";
import { TimeoutRequests } from "./timeouts.ts";

/** Attributes of a subsystem's commands; a command without has none that are looked at. */
interface Subsystem {
  /** Number of commands. */
  readonly commands: number;
  // biome-ignore lint/suspicious/noExplicitAny: sets of all tables
  readonly attributes: AttributeSet<any>;
  /** Commands that take no attributes. */
  readonly bare: readonly number[];
}

const NO_ATTRIBUTES = attributeSet("none", {}, { maxType: 0 });

/** By number. */
const SUBSYSTEMS: Readonly<Record<number, Subsystem>> = {
  [nf.NFNL_SUBSYS_CTNETLINK]: {
    commands: nf.IPCTNL_MSG_MAX,
    attributes: connectionAttributes,
    bare: [
      nf.IPCTNL_MSG_CT_GET_STATS_CPU,
      nf.IPCTNL_MSG_CT_GET_STATS,
      nf.IPCTNL_MSG_CT_GET_DYING,
      nf.IPCTNL_MSG_CT_GET_UNCONFIRMED,
    ],
  },
  [nf.NFNL_SUBSYS_CTNETLINK_EXP]: {
    commands: nf.IPCTNL_MSG_EXP_MAX,
    attributes: expectationAttributes,
    bare: [nf.IPCTNL_MSG_EXP_GET_STATS_CPU],
  },
  [nf.NFNL_SUBSYS_CTNETLINK_TIMEOUT]: { commands: nf.IPCTNL_MSG_TIMEOUT_MAX, attributes: timeoutAttributes, bare: [] },
};

/**
 * NETLINK_NETFILTER: nfnetlink with the subsystems conntrack (1), expectations (2) and timeout policies (8), for
 * conntrack(8), ovs-vswitchd and libraries (spec/ctnetlink).
 */
export class Ctnetlink implements NetlinkProtocol {
  readonly groups = nf.NFNLGRP_MAX;
  readonly privileged = true;
  private readonly connections: Connections;
  private readonly expectations: Expectations;
  private readonly timeouts: TimeoutRequests;
  private readonly events: CtnetlinkEvents;
  /** Called after each datagram, to end the turn: the next datagram reads the clock anew. */
  onDatagram: (() => void) | undefined = undefined;
  /** A timeout policy was put or deleted. */
  onConfigured: (() => void) | undefined = undefined;

  constructor(
    bus: NetlinkBus,
    private readonly conntrack: Conntrack,
    realtime: () => number,
    kernel: KernelProfile = kernelProfile(),
  ) {
    this.connections = new Connections(conntrack, kernel);
    this.expectations = new Expectations(conntrack);
    this.timeouts = new TimeoutRequests(conntrack, bus, () => this.onConfigured?.());
    this.events = new CtnetlinkEvents(bus, conntrack, realtime);
    conntrack.listener = this.events;
    conntrack.expectations.listener = this.events;
    bus.register(NETLINK_NETFILTER, this);
  }

  endDatagram(): void {
    this.onDatagram?.();
  }

  /** Joining takes CAP_NET_ADMIN (spec/ctnetlink N-016). */
  join(group: number, socket: BusSocket): void {
    if (!socket.privileged) throw new Errno(EPERM);
    this.events.joined(group);
  }

  /** NetlinkProtocol. */
  handle(message: NetlinkMessage, socket: BusSocket): Dump | LongRequest | undefined {
    const { view, payload, type } = message;
    if (message.length < NLMSG_HDRLEN + NFGENMSG_LEN) return undefined;
    const subsystem = type >>> 8;
    const command = type & 0xff;
    const known = SUBSYSTEMS[subsystem];
    if (known === undefined || command >= known.commands) throw new Errno(EINVAL);
    const set = known.bare.includes(command) ? NO_ATTRIBUTES : known.attributes;
    this.conntrack.refresh();
    const request: NfRequest = {
      message,
      socket,
      command,
      family: view.getUint8(payload),
      version: view.getUint8(payload + 1),
      attributes: set.parse(set.table(), view, payload + NFGENMSG_LEN, message.end, message.start, message.extack),
      isDump: (message.flags & NLM_F_DUMP) !== 0,
      echo: (message.flags & NLM_F_ECHO) !== 0,
    };
    if (subsystem === nf.NFNL_SUBSYS_CTNETLINK) return this.connections.handle(request);
    if (subsystem === nf.NFNL_SUBSYS_CTNETLINK_EXP) return this.expectations.handle(request);
    return this.timeouts.handle(request);
  }
}
