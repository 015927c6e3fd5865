import { ipv6LongText, parseIpv6 } from "../net/address.ts";
import * as nf from "../uapi/nfnetlink.ts";
import { AF_INET6 } from "../uapi/socket.ts";
import type { Connection, ConnectionCounters, ConnectionTuple } from "./connection.ts";
import { PROTOCOLS, SCTP_STATES, TCP_STATES } from "./format/conntrack-names.ts";

const IPPROTO_IGMP = 2;
const IPPROTO_TCP = 6;
const IPPROTO_GRE = 47;
const IPPROTO_SCTP = 132;

/**
 * A connection as /proc/net/nf_conntrack has it (spec/ctnetlink N-150), without the newline. `use` counts the reader,
 * too. GRE shows the kernel's default timeouts: ctnetlink has no others.
 */
export function formatProc(connection: Connection): string {
  const { family, original, reply, status, counters } = connection;
  const v6 = family === AF_INET6;
  const { protocol } = original;
  // There it has the names that it has trackers for.
  const name = protocol === IPPROTO_IGMP ? "unknown" : (PROTOCOLS[protocol] ?? "unknown");
  const parts = [`${v6 ? "ipv6" : "ipv4"}     ${family} ${name.padEnd(8)} ${protocol} ${connection.timeout ?? 0}`];
  const state = stateOf(protocol, connection.state);
  if (state !== "") parts.push(state);
  const apart = connection.replyZone !== connection.zone;
  parts.push(tuple(original, v6));
  if (apart && connection.zone !== 0) parts.push(`zone-orig=${connection.zone}`);
  if (counters !== null) parts.push(count(counters.original));
  if ((status & nf.IPS_SEEN_REPLY) === 0) parts.push("[UNREPLIED]");
  parts.push(tuple(reply, v6));
  if (apart && connection.replyZone !== 0) parts.push(`zone-reply=${connection.replyZone}`);
  if (counters !== null) parts.push(count(counters.reply));
  if ((status & nf.IPS_ASSURED) !== 0) parts.push("[ASSURED]");
  parts.push(`mark=${connection.mark >>> 0}`);
  if (!apart) parts.push(`zone=${connection.zone}`);
  parts.push(`use=${(connection.use ?? 0) + 1}`);
  return parts.join(" ");
}

function stateOf(protocol: number, state: number | null): string {
  if (protocol === IPPROTO_GRE) return "timeout=30, stream_timeout=180";
  if (protocol === IPPROTO_TCP) return TCP_STATES[state ?? 0] ?? "";
  return protocol === IPPROTO_SCTP ? (SCTP_STATES[state ?? 0] ?? "") : "";
}

const count = ({ packets, bytes }: ConnectionCounters): string => `packets=${packets} bytes=${bytes}`;

function tuple(one: ConnectionTuple, v6: boolean): string {
  const { src, dst, icmp, sourcePort, destinationPort, protocol } = one;
  const ends = v6 ? `src=${longText(src)} dst=${longText(dst)}` : `src=${src} dst=${dst}`;
  if (icmp !== null) return `${ends} type=${icmp.type} code=${icmp.code} id=${icmp.id}`;
  if (sourcePort === null || destinationPort === null) return ends;
  if (protocol !== IPPROTO_GRE) return `${ends} sport=${sourcePort} dport=${destinationPort}`;
  return `${ends} srckey=0x${sourcePort.toString(16)} dstkey=0x${destinationPort.toString(16)}`;
}

/** All groups with all digits: /proc prints IPv6 addresses by `%pI6`. */
function longText(address: string): string {
  const bytes = parseIpv6(address);
  return bytes === null ? address : ipv6LongText(bytes);
}
