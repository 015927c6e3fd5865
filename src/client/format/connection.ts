import type { Connection, ConnectionCounters, ConnectionTuple } from "../connection.ts";
import { PROTOCOLS, SCTP_STATES } from "./conntrack-names.ts";

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
  if (more) text += `,status=${flagNames(STATUS_NAMES, connection.status)}`;
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
    `state_orig=${name},state_reply=${name},flags_orig=${flagNames(TCP_FLAG_NAMES, tcpFlags.original)},` +
    `flags_reply=${flagNames(TCP_FLAG_NAMES, tcpFlags.reply)}`
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

/** Names by TCP_CONNTRACK_*, as Open vSwitch writes them. */
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

function flagNames(names: readonly string[], flags: number): string {
  return names.filter((_, bit) => (flags >>> bit) & 1).join("|");
}
