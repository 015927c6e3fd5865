import { Errno } from "../core/errors.ts";
import { ipv4Text, ipv6Text, parseIpv4, parseIpv6 } from "../net/address.ts";
import type { AttributeReader } from "../netlink/reader.ts";
import type { NetlinkSocket } from "../netlink/socket.ts";
import type { MessageWriter } from "../netlink/writer.ts";
import { EINVAL } from "../uapi/errno.ts";
import { NETLINK_NETFILTER } from "../uapi/netlink.ts";
import * as nf from "../uapi/nfnetlink.ts";
import { drain, type Subscription } from "./genl.ts";
import type { MessageView } from "./message.ts";
import { Requester, type SocketOpener } from "./requester.ts";

const AF_INET6 = 10;
/** struct nfgenmsg: u8 family, u8 version, be16 resource id. */
const NFGENMSG_BYTES = 4;

/** One direction of a connection (CTA_TUPLE_*). */
export interface ConnectionTuple {
  readonly src: string;
  readonly dst: string;
  /** IPPROTO_* */
  readonly protocol: number;
  readonly sourcePort: number | null;
  readonly destinationPort: number | null;
  readonly icmp: { readonly id: number; readonly type: number; readonly code: number } | null;
}

/** CTA_COUNTERS_*. */
export interface ConnectionCounters {
  readonly packets: number;
  readonly bytes: number;
}

/** A connection (CTA_*). */
export interface Connection {
  /** AF_INET or AF_INET6. */
  readonly family: number;
  readonly original: ConnectionTuple;
  readonly reply: ConnectionTuple;
  readonly zone: number;
  /** Zone of the reply tuple: another one only where a connection crosses zones. */
  readonly replyZone: number;
  /** IPS_* */
  readonly status: number;
  /** Seconds left; null where the message has none (events, dying connections). */
  readonly timeout: number | null;
  readonly mark: number;
  /** 128 bits, the first byte is the lowest; null when the connection has none. */
  readonly labels: Uint8Array | null;
  readonly id: number;
  readonly use: number | null;
  /** TCP_CONNTRACK_* or SCTP_CONNTRACK_*; null for other protocols. */
  readonly state: number | null;
  /** IP_CT_TCP_FLAG_* of both directions. */
  readonly tcpFlags: { readonly original: number; readonly reply: number } | null;
  /** SCTP verification tags of both directions. */
  readonly vtags: { readonly original: number; readonly reply: number } | null;
  readonly helper: string | null;
  readonly counters: { readonly original: ConnectionCounters; readonly reply: ConnectionCounters } | null;
  /** The connection that expected this one. */
  readonly master: ConnectionTuple | null;
}

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
      writeTuple(w, nf.CTA_TUPLE_ORIG, connection.family, connection.original);
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
      const attribute = message.attributes(NFGENMSG_BYTES);
      while (attribute.next()) {
        if (attribute.type === nf.CTA_STATS_GLOBAL_ENTRIES) counts.entries = attribute.be32();
        else if (attribute.type === nf.CTA_STATS_GLOBAL_MAX_ENTRIES) counts.maximum = attribute.be32();
      }
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
  const at = w.reserve(NFGENMSG_BYTES);
  w.view.setUint8(at, family);
  w.view.setUint8(at + 1, nf.NFNETLINK_V0);
  w.view.setUint16(at + 2, 0);
}

/** IPCTNL_MSG_CT_NEW is a new connection with NLM_F_CREATE, else a changed one. */
function eventKind(message: MessageView): ConnectionEvent["kind"] | null {
  if (message.type === messageType(nf.IPCTNL_MSG_CT_DELETE)) return "destroy";
  if (message.type !== messageType(nf.IPCTNL_MSG_CT_NEW)) return null;
  return message.flags & 0x400 ? "new" : "update";
}

interface MutableTuple {
  src: string;
  dst: string;
  protocol: number;
  sourcePort: number | null;
  destinationPort: number | null;
  icmp: { id: number; type: number; code: number } | null;
}

function emptyTuple(): MutableTuple {
  return { src: "", dst: "", protocol: 0, sourcePort: null, destinationPort: null, icmp: null };
}

/** Reads IPCTNL_MSG_CT_NEW and _DELETE: CTA_*. */
export function decodeConnection(message: MessageView): Connection {
  let original: ConnectionTuple = emptyTuple();
  let reply: ConnectionTuple = emptyTuple();
  let master: ConnectionTuple | null = null;
  let zone = 0;
  let replyZone: number | undefined;
  let status = 0;
  let timeout: number | null = null;
  let mark = 0;
  let labels: Uint8Array | null = null;
  let id = 0;
  let use: number | null = null;
  let info: ProtocolInfo = { state: null, tcpFlags: null, vtags: null };
  let helper: string | null = null;
  let originalCounters: ConnectionCounters | null = null;
  let replyCounters: ConnectionCounters | null = null;
  const attribute = message.attributes(NFGENMSG_BYTES);
  while (attribute.next()) {
    switch (attribute.type) {
      case nf.CTA_TUPLE_ORIG:
        original = readTuple(attribute.nested());
        zone = readZone(attribute.nested()) ?? zone;
        break;
      case nf.CTA_TUPLE_REPLY:
        reply = readTuple(attribute.nested());
        replyZone = readZone(attribute.nested());
        break;
      case nf.CTA_TUPLE_MASTER:
        master = readTuple(attribute.nested());
        break;
      case nf.CTA_ZONE:
        zone = attribute.be16();
        break;
      case nf.CTA_STATUS:
        status = attribute.be32();
        break;
      case nf.CTA_TIMEOUT:
        timeout = attribute.be32();
        break;
      case nf.CTA_MARK:
        mark = attribute.be32();
        break;
      case nf.CTA_LABELS:
        labels = attribute.bytes();
        break;
      case nf.CTA_ID:
        id = attribute.be32();
        break;
      case nf.CTA_USE:
        use = attribute.be32();
        break;
      case nf.CTA_PROTOINFO:
        info = readProtocolInfo(attribute.nested());
        break;
      case nf.CTA_HELP:
        for (const help = attribute.nested(); help.next(); ) {
          if (help.type === nf.CTA_HELP_NAME) helper = help.string();
        }
        break;
      case nf.CTA_COUNTERS_ORIG:
        originalCounters = readCounters(attribute.nested());
        break;
      case nf.CTA_COUNTERS_REPLY:
        replyCounters = readCounters(attribute.nested());
        break;
    }
  }
  const counters = originalCounters && replyCounters && { original: originalCounters, reply: replyCounters };
  const family = message.view.getUint8(message.payload);
  return {
    family,
    original,
    reply,
    zone,
    replyZone: replyZone ?? zone,
    status,
    timeout,
    mark,
    labels,
    id,
    use,
    ...info,
    helper,
    counters,
    master,
  };
}

/** CTA_TUPLE_ZONE: the zone of one direction. */
function readZone(parts: AttributeReader): number | undefined {
  let zone: number | undefined;
  while (parts.next()) if (parts.type === nf.CTA_TUPLE_ZONE) zone = parts.be16();
  return zone;
}

function readTuple(parts: AttributeReader): ConnectionTuple {
  const tuple = emptyTuple();
  while (parts.next()) {
    const nested = parts.nested();
    if (parts.type === nf.CTA_TUPLE_IP) {
      while (nested.next()) {
        switch (nested.type) {
          case nf.CTA_IP_V4_SRC:
            tuple.src = ipv4Text(nested.bytes());
            break;
          case nf.CTA_IP_V4_DST:
            tuple.dst = ipv4Text(nested.bytes());
            break;
          case nf.CTA_IP_V6_SRC:
            tuple.src = ipv6Text(nested.bytes());
            break;
          case nf.CTA_IP_V6_DST:
            tuple.dst = ipv6Text(nested.bytes());
            break;
        }
      }
    } else if (parts.type === nf.CTA_TUPLE_PROTO) readProtocol(nested, tuple);
  }
  return tuple;
}

function readProtocol(parts: AttributeReader, tuple: MutableTuple): void {
  const icmp = { id: 0, type: 0, code: 0 };
  let hasIcmp = false;
  while (parts.next()) {
    switch (parts.type) {
      case nf.CTA_PROTO_NUM:
        tuple.protocol = parts.u8();
        break;
      case nf.CTA_PROTO_SRC_PORT:
        tuple.sourcePort = parts.be16();
        break;
      case nf.CTA_PROTO_DST_PORT:
        tuple.destinationPort = parts.be16();
        break;
      case nf.CTA_PROTO_ICMP_ID:
      case nf.CTA_PROTO_ICMPV6_ID:
        icmp.id = parts.be16();
        hasIcmp = true;
        break;
      case nf.CTA_PROTO_ICMP_TYPE:
      case nf.CTA_PROTO_ICMPV6_TYPE:
        icmp.type = parts.u8();
        break;
      case nf.CTA_PROTO_ICMP_CODE:
      case nf.CTA_PROTO_ICMPV6_CODE:
        icmp.code = parts.u8();
        break;
    }
  }
  if (hasIcmp) tuple.icmp = icmp;
}

type ProtocolInfo = Pick<Connection, "state" | "tcpFlags" | "vtags">;

/** CTA_PROTOINFO: a nest of the protocol. */
function readProtocolInfo(parts: AttributeReader): ProtocolInfo {
  let state: number | null = null;
  let tcpFlags: ProtocolInfo["tcpFlags"] = null;
  let vtags: ProtocolInfo["vtags"] = null;
  while (parts.next()) {
    const nested = parts.nested();
    let original = 0;
    let reply = 0;
    if (parts.type === nf.CTA_PROTOINFO_TCP) {
      while (nested.next()) {
        if (nested.type === nf.CTA_PROTOINFO_TCP_STATE) state = nested.u8();
        else if (nested.type === nf.CTA_PROTOINFO_TCP_FLAGS_ORIGINAL) original = nested.u8();
        else if (nested.type === nf.CTA_PROTOINFO_TCP_FLAGS_REPLY) reply = nested.u8();
      }
      tcpFlags = { original, reply };
    } else if (parts.type === nf.CTA_PROTOINFO_SCTP) {
      while (nested.next()) {
        if (nested.type === nf.CTA_PROTOINFO_SCTP_STATE) state = nested.u8();
        else if (nested.type === nf.CTA_PROTOINFO_SCTP_VTAG_ORIGINAL) original = nested.be32();
        else if (nested.type === nf.CTA_PROTOINFO_SCTP_VTAG_REPLY) reply = nested.be32();
      }
      vtags = { original, reply };
    }
  }
  return { state, tcpFlags, vtags };
}

function readCounters(parts: AttributeReader): ConnectionCounters {
  let packets = 0;
  let bytes = 0;
  while (parts.next()) {
    if (parts.length < 8) continue;
    const value = parts.view.getUint32(parts.offset) * 0x1_0000_0000 + parts.view.getUint32(parts.offset + 4);
    if (parts.type === nf.CTA_COUNTERS_PACKETS) packets = value;
    else if (parts.type === nf.CTA_COUNTERS_BYTES) bytes = value;
  }
  return { packets, bytes };
}

function writeTuple(w: MessageWriter, type: number, family: number, tuple: ConnectionTuple): void {
  const nest = w.nest(type);
  const ip = w.nest(nf.CTA_TUPLE_IP);
  const six = family === AF_INET6;
  w.raw(six ? nf.CTA_IP_V6_SRC : nf.CTA_IP_V4_SRC, addressBytes(tuple.src));
  w.raw(six ? nf.CTA_IP_V6_DST : nf.CTA_IP_V4_DST, addressBytes(tuple.dst));
  w.endNest(ip);
  const protocol = w.nest(nf.CTA_TUPLE_PROTO);
  w.u8(nf.CTA_PROTO_NUM, tuple.protocol);
  if (tuple.icmp !== null) {
    w.be16(six ? nf.CTA_PROTO_ICMPV6_ID : nf.CTA_PROTO_ICMP_ID, tuple.icmp.id);
    w.u8(six ? nf.CTA_PROTO_ICMPV6_TYPE : nf.CTA_PROTO_ICMP_TYPE, tuple.icmp.type);
    w.u8(six ? nf.CTA_PROTO_ICMPV6_CODE : nf.CTA_PROTO_ICMP_CODE, tuple.icmp.code);
  } else {
    if (tuple.sourcePort !== null) w.be16(nf.CTA_PROTO_SRC_PORT, tuple.sourcePort);
    if (tuple.destinationPort !== null) w.be16(nf.CTA_PROTO_DST_PORT, tuple.destinationPort);
  }
  w.endNest(protocol);
  w.endNest(nest);
}

/** Bytes of an address. @throws Errno EINVAL where it is none */
function addressBytes(text: string): Uint8Array {
  const bytes = text.includes(":") ? parseIpv6(text) : parseIpv4(text);
  if (bytes === null) throw new Errno(EINVAL, `${text} is no address`);
  return bytes;
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
