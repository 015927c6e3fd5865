import type { NetlinkSocket } from "../netlink/socket.ts";
import type { MessageWriter } from "../netlink/writer.ts";
import { connectionAttributes, globalStatsAttributes } from "../schema/ctnetlink.ts";
import { NETLINK_NETFILTER, NLM_F_CREATE } from "../uapi/netlink.ts";
import * as nf from "../uapi/nfnetlink.ts";
import {
  type Connection,
  type ConnectionCounters,
  type ConnectionTuple,
  decodeConnection,
  decodePayload,
  NFGENMSG_LEN,
  tupleValues,
} from "./connection.ts";
import { drain, type Subscription } from "./genl.ts";

export { type Connection, type ConnectionCounters, type ConnectionTuple, decodeConnection } from "./connection.ts";

import type { MessageView } from "./message.ts";
import { Requester, type SocketOpener } from "./requester.ts";

/** What happened to a connection. */
export interface ConnectionEvent {
  readonly kind: "new" | "update" | "destroy";
  readonly connection: Connection;
}

/**
 * ctnetlink: the connections of the datapath's namespace. Every call is synchronous.
 *
 * @example
 * for (const connection of new ConntrackClient(connect()).connections()) console.log(formatConnection(connection));
 */
export class ConntrackClient {
  private readonly requester: Requester;

  constructor(readonly opener: SocketOpener) {
    this.requester = new Requester(opener.open(NETLINK_NETFILTER));
  }

  /**
   * Walks the connections; the caller may stop early.
   * @param filter zone: of that zone only (the kernel filters since 6.8; filtered here as well)
   */
  *connections(filter: { zone?: number; family?: number } = {}): IterableIterator<Connection> {
    const requester = new Requester(this.opener.open(NETLINK_NETFILTER));
    try {
      const messages = requester.dump(messageType(nf.IPCTNL_MSG_CT_GET), 0, (w) => {
        header(w, filter.family ?? 0);
        if (filter.zone !== undefined) w.be16(nf.CTA_ZONE, filter.zone);
      });
      for (const message of messages) {
        const connection = decodeConnection(message);
        const { zone, replyZone } = connection;
        if (filter.zone === undefined || zone === filter.zone || replyZone === filter.zone) yield connection;
      }
    } finally {
      requester.socket.close();
    }
  }

  /** Deletes a connection that was listed. @throws Errno ENOENT */
  delete(connection: Connection): void {
    this.requester.request(messageType(nf.IPCTNL_MSG_CT_DELETE), 0, (w) => {
      header(w, connection.family);
      if (connection.zone !== 0) w.be16(nf.CTA_ZONE, connection.zone);
      connectionAttributes.encode(w, { TUPLE_ORIG: tupleValues(connection.family, connection.original) });
      w.be32(nf.CTA_ID, connection.id);
    });
  }

  /** Deletes all connections, or those of a zone. */
  flush(zone?: number): void {
    this.requester.request(messageType(nf.IPCTNL_MSG_CT_DELETE), 0, (w) => {
      header(w, 0);
      if (zone !== undefined) w.be16(nf.CTA_ZONE, zone);
    });
  }

  /** Number of connections, and how many there may be. */
  counts(): { entries: number; maximum: number } {
    const counts = { entries: 0, maximum: 0 };
    for (const message of this.requester.request(messageType(nf.IPCTNL_MSG_CT_GET_STATS), 0, (w) => header(w, 0))) {
      const { ENTRIES, MAX_ENTRIES } = decodePayload(globalStatsAttributes, message, NFGENMSG_LEN);
      if (ENTRIES !== undefined) counts.entries = ENTRIES;
      if (MAX_ENTRIES !== undefined) counts.maximum = MAX_ENTRIES;
    }
    return counts;
  }

  /** Listens to connections made, changed and destroyed. */
  subscribe(onEvent: (event: ConnectionEvent) => void, onLost?: () => void): Subscription {
    const socket: NetlinkSocket = this.opener.open(NETLINK_NETFILTER);
    for (const group of [nf.NFNLGRP_CONNTRACK_NEW, nf.NFNLGRP_CONNTRACK_UPDATE, nf.NFNLGRP_CONNTRACK_DESTROY]) {
      socket.join(group);
    }
    socket.onReadable = () =>
      drain(
        socket,
        (message) => {
          const kind = eventKind(message);
          if (kind !== null) onEvent({ kind, connection: decodeConnection(message) });
        },
        onLost,
      );
    return {
      portId: socket.portId,
      close: () => {
        socket.onReadable = null;
        socket.close();
      },
    };
  }

  /** Closes the socket of requests; subscriptions live on. */
  close(): void {
    this.requester.socket.close();
  }
}

function messageType(command: number): number {
  return (nf.NFNL_SUBSYS_CTNETLINK << 8) | command;
}

function header(w: MessageWriter, family: number): void {
  const at = w.reserve(NFGENMSG_LEN);
  w.view.setUint8(at, family);
  w.view.setUint8(at + 1, nf.NFNETLINK_V0);
  w.view.setUint16(at + 2, 0);
}

/** IPCTNL_MSG_CT_NEW is a new connection with NLM_F_CREATE, else a changed one. */
function eventKind(message: MessageView): ConnectionEvent["kind"] | null {
  if (message.type === messageType(nf.IPCTNL_MSG_CT_DELETE)) return "destroy";
  if (message.type !== messageType(nf.IPCTNL_MSG_CT_NEW)) return null;
  return message.flags & NLM_F_CREATE ? "new" : "update";
}

/** Names by IPPROTO_*. */
export const PROTOCOLS: Readonly<Record<number, string>> = {
  1: "icmp",
  2: "igmp",
  6: "tcp",
  17: "udp",
  33: "dccp",
  47: "gre",
  58: "icmpv6",
  132: "sctp",
  136: "udplite",
};

/** Names by TCP_CONNTRACK_*, as Open vSwitch has them and as conntrack(8) has them. */
const TCP_STATES_OVS = [
  "CLOSED",
  "SYN_SENT",
  "SYN_RECV",
  "ESTABLISHED",
  "FIN_WAIT_1",
  "CLOSE_WAIT",
  "LAST_ACK",
  "TIME_WAIT",
  "CLOSING",
  "LISTEN",
];
export const TCP_STATES = [
  "NONE",
  "SYN_SENT",
  "SYN_RECV",
  "ESTABLISHED",
  "FIN_WAIT",
  "CLOSE_WAIT",
  "LAST_ACK",
  "TIME_WAIT",
  "CLOSE",
  "SYN_SENT2",
];
/** Names by SCTP_CONNTRACK_*. */
export const SCTP_STATES = [
  "NONE",
  "CLOSED",
  "COOKIE_WAIT",
  "COOKIE_ECHOED",
  "ESTABLISHED",
  "SHUTDOWN_SENT",
  "SHUTDOWN_RECD",
  "SHUTDOWN_ACK_SENT",
  "HEARTBEAT_SENT",
];
const IPPROTO_SCTP = 132;

function labelsText(labels: Uint8Array): string {
  const text = Buffer.from(labels).reverse().toString("hex").replace(/^0+/, "");
  return `0x${text || "0"}`;
}

/** What formatConnection() writes beyond tuples, zone, mark, labels and state. */
export interface ConnectionFormat {
  /** `-m`: id, status, both directions' TCP state and flags. */
  readonly more?: boolean;
  /** `-s`: counters and timeout. */
  readonly statistics?: boolean;
}

/** Writes a connection as `ovs-appctl dpctl/dump-conntrack [-m] [-s]` does. */
export function formatConnection(connection: Connection, { more, statistics }: ConnectionFormat = {}): string {
  const { original, reply } = connection;
  const counters = statistics ? connection.counters : null;
  let text = `${PROTOCOLS[original.protocol] ?? original.protocol}`;
  text += `,orig=(${ovsTuple(original)}${ovsCounters(counters?.original)})`;
  text += `,reply=(${ovsTuple(reply)}${ovsCounters(counters?.reply)})`;
  if (more) text += `,id=${connection.id}`;
  if (connection.zone !== 0) text += `,zone=${connection.zone}`;
  if (connection.replyZone !== connection.zone) text += `,reply_zone=${connection.replyZone}`;
  if (more) text += `,status=${flagsText(STATUS_NAMES, connection.status)}`;
  if (statistics && connection.timeout !== null) text += `,timeout=${connection.timeout}`;
  if (connection.mark !== 0) text += `,mark=${connection.mark}`;
  if (connection.labels?.some((byte) => byte !== 0)) text += `,labels=${labelsText(connection.labels)}`;
  const info = protocolInfoText(connection, more ?? false);
  if (info !== "") text += `,protoinfo=(${info})`;
  if (connection.helper !== null) text += `,helper=${connection.helper}`;
  if (connection.master !== null) text += `,parent=(${ovsTuple(connection.master)})`;
  return text;
}

function protocolInfoText({ state, tcpFlags, vtags }: Connection, more: boolean): string {
  if (state === null) return "";
  if (vtags !== null) {
    return `state=${SCTP_STATES[state] ?? state},vtag_orig=${vtags.original},vtag_reply=${vtags.reply}`;
  }
  const name = TCP_STATES_OVS[state] ?? String(state);
  if (!more || tcpFlags === null) return `state=${name}`;
  return (
    `state_orig=${name},state_reply=${name},flags_orig=${flagsText(TCP_FLAG_NAMES, tcpFlags.original)},` +
    `flags_reply=${flagsText(TCP_FLAG_NAMES, tcpFlags.reply)}`
  );
}

function ovsTuple({ src, dst, sourcePort, destinationPort, icmp }: ConnectionTuple): string {
  if (icmp !== null) return `src=${src},dst=${dst},id=${icmp.id},type=${icmp.type},code=${icmp.code}`;
  return `src=${src},dst=${dst},sport=${sourcePort ?? 0},dport=${destinationPort ?? 0}`;
}

function ovsCounters(counters: ConnectionCounters | undefined): string {
  if (counters === undefined || counters.packets === 0) return "";
  return `,packets=${counters.packets},bytes=${counters.bytes}`;
}

/** Names by IPS_* bit. */
const STATUS_NAMES = [
  "EXPECTED",
  "SEEN_REPLY",
  "ASSURED",
  "CONFIRMED",
  "SRC_NAT",
  "DST_NAT",
  "SEQ_ADJUST",
  "SRC_NAT_DONE",
  "DST_NAT_DONE",
  "DYING",
  "FIXED_TIMEOUT",
  "TEMPLATE",
  "UNTRACKED",
  "HELPER",
  "OFFLOAD",
];

/** Names by IP_CT_TCP_FLAG_* bit. */
const TCP_FLAG_NAMES = ["WINDOW_SCALE", "SACK_PERM", "CLOSE_INIT", "BE_LIBERAL", "DATA_UNACKNOWLEDGED", "MAXACK_SET"];

function flagsText(names: readonly string[], flags: number): string {
  return names.filter((_, bit) => (flags >>> bit) & 1).join("|");
}

/** Writes a connection as `conntrack -L` does: for those who know its output by heart. */
export function formatConntrackLine(connection: Connection): string {
  const { original, reply, state, counters } = connection;
  const name = PROTOCOLS[original.protocol] ?? "unknown";
  let text = `${name.padEnd(8)} ${original.protocol} `;
  if (connection.timeout !== null) text += `${connection.timeout} `;
  if (state !== null) {
    const names = original.protocol === IPPROTO_SCTP ? SCTP_STATES : TCP_STATES;
    text += `${names[state] ?? state} `;
  }
  text += lineTuple(original, counters?.original);
  if (!(connection.status & nf.IPS_SEEN_REPLY)) text += "[UNREPLIED] ";
  text += lineTuple(reply, counters?.reply);
  if (connection.status & nf.IPS_ASSURED) text += "[ASSURED] ";
  text += `mark=${connection.mark} `;
  if (connection.replyZone !== connection.zone) {
    text += `zone-orig=${connection.zone} zone-reply=${connection.replyZone} `;
  } else if (connection.zone !== 0) text += `zone=${connection.zone} `;
  if (connection.helper !== null) text += `helper=${connection.helper} `;
  if (connection.use !== null) text += `use=${connection.use}`;
  return text.trimEnd();
}

function lineTuple(tuple: ConnectionTuple, counters?: ConnectionCounters): string {
  let text = `src=${tuple.src} dst=${tuple.dst} `;
  if (tuple.icmp !== null) text += `type=${tuple.icmp.type} code=${tuple.icmp.code} id=${tuple.icmp.id} `;
  else if (tuple.sourcePort !== null) text += `sport=${tuple.sourcePort} dport=${tuple.destinationPort} `;
  if (counters !== undefined) text += `packets=${counters.packets} bytes=${counters.bytes} `;
  return text;
}
