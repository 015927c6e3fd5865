import { Errno } from "../core/errors.ts";
import { parseIpv4, parseIpv6 } from "../net/address.ts";
import type { AttributeSet, Definitions, SetValues, Values } from "../netlink/schema/index.ts";
import {
  connectionAttributes,
  NFGENMSG_LEN,
  type protoinfoAttributes,
  type tupleAttributes,
} from "../schema/ctnetlink.ts";
import { EINVAL } from "../uapi/errno.ts";
import { AF_INET6 } from "../uapi/socket.ts";
import type { MessageView } from "./message.ts";

/** Connections as ctnetlink sends them, decoded by the tables of src/schema/ctnetlink.ts. */

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
  /** Zone of the reply tuple: other than `zone` only where a connection crosses zones. */
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

/** The attributes behind a family header of `skip` bytes. */
export function decodePayload<D extends Definitions>(
  set: AttributeSet<D>,
  { view, payload, end }: MessageView,
  skip: number,
): Values<D> {
  return set.decode(view, Math.min(payload + skip, end), end, true);
}

/** Reads IPCTNL_MSG_CT_NEW and _DELETE: CTA_*. */
export function decodeConnection(message: MessageView): Connection {
  const values = decodePayload(connectionAttributes, message, NFGENMSG_LEN);
  const { TUPLE_ORIG, TUPLE_REPLY, TUPLE_MASTER, COUNTERS_ORIG, COUNTERS_REPLY } = values;
  const zone = values.ZONE ?? TUPLE_ORIG?.ZONE ?? 0;
  return {
    family: message.view.getUint8(message.payload),
    original: tupleOf(TUPLE_ORIG),
    reply: tupleOf(TUPLE_REPLY),
    zone,
    replyZone: TUPLE_REPLY?.ZONE ?? zone,
    status: values.STATUS ?? 0,
    timeout: values.TIMEOUT ?? null,
    mark: values.MARK ?? 0,
    labels: values.LABELS ?? null,
    id: values.ID ?? 0,
    use: values.USE ?? null,
    ...protocolState(values.PROTOINFO),
    helper: values.HELP?.NAME ?? null,
    counters:
      COUNTERS_ORIG === undefined || COUNTERS_REPLY === undefined
        ? null
        : { original: countersOf(COUNTERS_ORIG), reply: countersOf(COUNTERS_REPLY) },
    master: TUPLE_MASTER === undefined ? null : tupleOf(TUPLE_MASTER),
  };
}

function tupleOf({ IP, PROTO }: SetValues<typeof tupleAttributes> = {}): ConnectionTuple {
  const id = PROTO?.ICMP_ID ?? PROTO?.ICMPV6_ID;
  return {
    src: IP?.V4_SRC ?? IP?.V6_SRC ?? "",
    dst: IP?.V4_DST ?? IP?.V6_DST ?? "",
    protocol: PROTO?.NUM ?? 0,
    sourcePort: PROTO?.SRC_PORT ?? null,
    destinationPort: PROTO?.DST_PORT ?? null,
    icmp:
      id === undefined
        ? null
        : {
            id,
            type: PROTO?.ICMP_TYPE ?? PROTO?.ICMPV6_TYPE ?? 0,
            code: PROTO?.ICMP_CODE ?? PROTO?.ICMPV6_CODE ?? 0,
          },
  };
}

/** State, flags and tags of the protocol's tracker. */
function protocolState({
  TCP,
  SCTP,
}: SetValues<typeof protoinfoAttributes> = {}): Pick<Connection, "state" | "tcpFlags" | "vtags"> {
  return {
    state: SCTP?.STATE ?? TCP?.STATE ?? null,
    tcpFlags:
      TCP === undefined ? null : { original: TCP.FLAGS_ORIGINAL?.flags ?? 0, reply: TCP.FLAGS_REPLY?.flags ?? 0 },
    vtags: SCTP === undefined ? null : { original: SCTP.VTAG_ORIGINAL ?? 0, reply: SCTP.VTAG_REPLY ?? 0 },
  };
}

const countersOf = ({ PACKETS = 0, BYTES = 0 }: { PACKETS?: number; BYTES?: number }): ConnectionCounters => ({
  packets: PACKETS,
  bytes: BYTES,
});

/** A tuple as values of CTA_TUPLE_*. @throws Errno EINVAL for what is no address */
export function tupleValues(family: number, tuple: ConnectionTuple): SetValues<typeof tupleAttributes> {
  const six = family === AF_INET6;
  for (const text of [tuple.src, tuple.dst]) {
    if ((six ? parseIpv6(text) : parseIpv4(text)) === null) throw new Errno(EINVAL, `${text} is no address`);
  }
  const { icmp } = tuple;
  const NUM = tuple.protocol;
  return {
    IP: six ? { V6_SRC: tuple.src, V6_DST: tuple.dst } : { V4_SRC: tuple.src, V4_DST: tuple.dst },
    PROTO:
      icmp === null
        ? { NUM, SRC_PORT: tuple.sourcePort ?? undefined, DST_PORT: tuple.destinationPort ?? undefined }
        : six
          ? { NUM, ICMPV6_ID: icmp.id, ICMPV6_TYPE: icmp.type, ICMPV6_CODE: icmp.code }
          : { NUM, ICMP_ID: icmp.id, ICMP_TYPE: icmp.type, ICMP_CODE: icmp.code },
  };
}
