import { T } from "../conntrack/layout.ts";
import { AF_INET, AF_INET6, findTransport, invert, newTuple, protoOf, Transport, tupleOf } from "../conntrack/tuple.ts";
import { Errno } from "../core/errors.ts";
import type { BatchClock } from "../datapath/batch-clock.ts";
import { K } from "../flow/key.ts";
import type { AttributeTable } from "../netlink/schema/index.ts";
import { MessageWriter } from "../netlink/writer.ts";
import { ETH_P_IP, ETH_P_IPV6 } from "../packet/ethernet.ts";
import { IpProto } from "../packet/ip.ts";
import type { Packet } from "../packet/packet.ts";
import type { Port } from "../port/port.ts";
import { connectionAttributes, globalStatsAttributes, NFGENMSG_LEN } from "../schema/ctnetlink.ts";
import { EINVAL, ENOENT } from "../uapi/errno.ts";
import { NLM_F_REQUEST, NLMSG_HDRLEN } from "../uapi/netlink.ts";
import * as nf from "../uapi/nfnetlink.ts";
import {
  OVS_CS_F_DST_NAT,
  OVS_CS_F_ESTABLISHED,
  OVS_CS_F_NEW,
  OVS_CS_F_RELATED,
  OVS_CS_F_REPLY_DIR,
  OVS_CS_F_SRC_NAT,
  OVS_CS_F_TRACKED,
  OVS_FRAG_TYPE_LATER,
} from "../uapi/openvswitch.ts";
import { FILTER_ALL, FILTER_DST_PORT, FILTER_SRC_PORT, parseTuple, putTuple } from "./ctnetlink/tuple.ts";

const GET = (nf.NFNL_SUBSYS_CTNETLINK << 8) | nf.IPCTNL_MSG_CT_GET;
const GET_STATS = (nf.NFNL_SUBSYS_CTNETLINK << 8) | nf.IPCTNL_MSG_CT_GET_STATS;
const MAX_REPLY = 4096;
/** Where the attributes of an answer begin. */
const ATTRIBUTES = NLMSG_HDRLEN + NFGENMSG_LEN;
/** Milliseconds until a namespace that has no conntrack is asked again. */
const RETRY = 1000;

/**
 * Connection state that the host's own conntrack has given a packet before an internal port hands it over. The module
 * finds it on the skb, so that flows and upcalls see ct_state, zone, mark, labels and original tuple without a ct
 * action (spec/keys, ct_* of packets that come with an entry). A frame from a TAP device has lost it: ctnetlink is
 * asked for it, in the namespace of the device. Nothing is asked while that namespace tracks no connection.
 *
 * Not seen: entries in zones other than 0, later fragments, and the relation of an ICMP error that the host itself
 * sends.
 */
export class HostConntrack {
  private readonly writer = new MessageWriter(512);
  private readonly reply = new Uint8Array(MAX_REPLY);
  private readonly replyView = new DataView(this.reply.buffer);
  private readonly stats = globalStatsAttributes.table();
  private readonly connection = connectionAttributes.table();
  private readonly transport = new Transport();
  private readonly tuple = newTuple();
  private readonly answer = newTuple();
  /** Port whose namespace's connection count was last read in this batch, and whether it was above 0. */
  private countedPort: Port | undefined = undefined;
  private active = false;
  /** Ports whose namespace has no conntrack, and the monotonic time in ms of the next request to it. */
  private readonly retryAt = new WeakMap<Port, number>();

  constructor(private readonly clock: BatchClock) {}

  /** Called between batches: connections may have come or gone. */
  endBatch(): void {
    this.countedPort = undefined;
  }

  /** Puts the state of the packet's connection into its key, which has just been extracted. */
  fill(packet: Packet, key: Int32Array, port: Port): void {
    const { tuple, answer, transport } = this;
    const etherType = key[K.ETH_TYPE] >>> 16;
    if (etherType !== ETH_P_IP && etherType !== ETH_P_IPV6) return;
    if ((key[K.IP] & 0xff) === OVS_FRAG_TYPE_LATER || !this.isActive(port)) return;
    const family = etherType === ETH_P_IP ? AF_INET : AF_INET6;
    const { view } = packet.memory;
    const end = packet.off + packet.len;
    if (!findTransport(view, packet.l3, end, family, transport)) return;
    if (!tupleOf(view, packet.l3, end, family, transport.proto, transport.offset, 0, tuple)) return;
    // The packet may have been translated: only the tuple of its answers is certain in the entry.
    if (!invert(tuple, 0, answer, 0)) return;
    const length = this.ask(port, GET, family, answer);
    if (length < 0) return;
    this.toKey(this.attributes(length), family, key);
  }

  private isActive(port: Port): boolean {
    if (this.countedPort === port) return this.active;
    this.countedPort = port;
    this.active = false;
    const retry = this.retryAt.get(port);
    const now = this.clock.monotonic();
    if (retry !== undefined && now < retry) return false;
    const length = this.ask(port, GET_STATS, 0, undefined);
    if (length < 0) {
      this.retryAt.set(port, now + RETRY);
      return false;
    }
    const found = globalStatsAttributes.parse(this.stats, this.replyView, ATTRIBUTES, length, 0, undefined);
    this.active = found.has(nf.CTA_STATS_GLOBAL_ENTRIES) && found.be32(nf.CTA_STATS_GLOBAL_ENTRIES) !== 0;
    return this.active;
  }

  /** @returns length of the answer in this.reply, or a negative errno */
  private ask(port: Port, type: number, family: number, tuple: Int32Array | undefined): number {
    if (port.askNetfilter === undefined) return -ENOENT;
    const writer = this.writer.reset();
    const at = writer.beginMessage(type, NLM_F_REQUEST, 0, 0);
    writer.bytes[writer.reserve(NFGENMSG_LEN)] = family;
    if (tuple !== undefined) putTuple(writer, nf.CTA_TUPLE_ORIG, tuple, 0);
    writer.endMessage(at);
    return port.askNetfilter(writer.bytes, writer.length, this.reply);
  }

  private attributes(length: number): AttributeTable {
    return connectionAttributes.parse(this.connection, this.replyView, ATTRIBUTES, length, 0, undefined);
  }

  private toKey(found: AttributeTable, family: number, key: Int32Array): void {
    const status = found.has(nf.CTA_STATUS) ? found.be32(nf.CTA_STATUS) : 0;
    const isReply = !sameTuple(tupleIn(found, nf.CTA_TUPLE_REPLY, family, this.answer), this.answer);
    const hasMaster = found.has(nf.CTA_TUPLE_MASTER);
    let state = OVS_CS_F_TRACKED;
    if (isReply) state |= OVS_CS_F_ESTABLISHED | OVS_CS_F_REPLY_DIR;
    else if ((status & nf.IPS_SEEN_REPLY) !== 0) state |= OVS_CS_F_ESTABLISHED;
    else state |= (status & nf.IPS_EXPECTED) !== 0 ? OVS_CS_F_RELATED : OVS_CS_F_NEW;
    if (hasMaster) state |= OVS_CS_F_RELATED;
    if ((status & nf.IPS_SRC_NAT) !== 0) state |= OVS_CS_F_SRC_NAT;
    if ((status & nf.IPS_DST_NAT) !== 0) state |= OVS_CS_F_DST_NAT;
    key[K.CT_MARK] = found.has(nf.CTA_MARK) ? found.be32(nf.CTA_MARK) : 0;
    const labels =
      found.has(nf.CTA_LABELS) && found.length[nf.CTA_LABELS] === 16 ? found.bytes(nf.CTA_LABELS) : undefined;
    for (let i = 0; i < 4; i++) key[K.CT_LABELS + i] = labels === undefined ? 0 : be32(labels, 4 * i);
    const original = tupleIn(found, hasMaster ? nf.CTA_TUPLE_MASTER : nf.CTA_TUPLE_ORIG, family);
    const proto = protoOf(original, 0);
    let ports = original[T.PORTS];
    if (proto === IpProto.ICMP || proto === IpProto.ICMPV6) ports = ((ports & 0xff00) << 8) | (ports & 0xff);
    if (family === AF_INET) {
      key[K.CT_ORIG4_SRC] = original[T.SRC];
      key[K.CT_ORIG4_DST] = original[T.DST];
      key[K.CT_ORIG4_TP] = ports;
    } else {
      for (let i = 0; i < 4; i++) {
        key[K.CT_ORIG6_SRC + i] = original[T.SRC + i];
        key[K.CT_ORIG6_DST + i] = original[T.DST + i];
      }
      key[K.CT_ORIG6_TP] = ports;
    }
    key[K.CT] = (proto << 8) | state;
  }
}

const be32 = (bytes: Uint8Array, at: number): number =>
  (bytes[at] << 24) | (bytes[at + 1] << 16) | (bytes[at + 2] << 8) | bytes[at + 3];

/**
 * A tuple of the answer. A kernel without the tracker of GRE, SCTP or another protocol with ports sends none of them: they
 * are then taken from `like`.
 */
function tupleIn(found: AttributeTable, type: number, family: number, like?: Int32Array): Int32Array {
  try {
    return parseTuple(found, type, family, 0);
  } catch (error) {
    // EINVAL: the ports are missing.
    if (!(error instanceof Errno && error.errno === EINVAL)) throw error;
    const tuple = parseTuple(found, type, family, 0, FILTER_ALL & ~(FILTER_SRC_PORT | FILTER_DST_PORT));
    if (like !== undefined) tuple[T.PORTS] = like[T.PORTS];
    return tuple;
  }
}

function sameTuple(a: Int32Array, b: Int32Array): boolean {
  for (let i = 0; i <= T.META; i++) if (a[i] !== b[i]) return false;
  return true;
}
