import * as nf from "../../uapi/nfnetlink.ts";
import type { Connection, ConnectionCounters, ConnectionTuple } from "../connection.ts";
import { PROTOCOLS, SCTP_STATES, TCP_STATES } from "./conntrack-names.ts";

const IPPROTO_SCTP = 132;

/** Writes a connection as `conntrack -L` does. */
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
