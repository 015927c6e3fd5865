import { isNd } from "../flow/extract/icmpv6.ts";
import { K } from "../flow/key.ts";
import { ETH_P_IP, ETH_P_IPV6 } from "../packet/ethernet.ts";
import { IpProto } from "../packet/ip.ts";
import * as ipv4 from "../packet/ipv4.ts";
import * as ipv6 from "../packet/ipv6.ts";
import type { Packet } from "../packet/packet.ts";
import { IPS_CONFIRMED } from "../uapi/nfnetlink.ts";
import {
  OVS_CS_F_DST_NAT,
  OVS_CS_F_ESTABLISHED,
  OVS_CS_F_INVALID,
  OVS_CS_F_NEW,
  OVS_CS_F_RELATED,
  OVS_CS_F_REPLY_DIR,
  OVS_CS_F_SRC_NAT,
  OVS_CS_F_TRACKED,
} from "../uapi/openvswitch.ts";
import { AF_INET, AF_INET6 } from "../uapi/socket.ts";
import { E, Ext, T } from "./layout.ts";
import { Manip } from "./manip.ts";
import { protoOf } from "./tuple.ts";

/** The ct_* fields of the flow key: ct_state, ct_zone, ct_mark, ct_label and the original tuple (spec/conntrack section 6). */

/** ct_state bits by enum ip_conntrack_info (spec/conntrack C-100 to C-104). */
const STATE_OF_INFO = Uint8Array.of(
  OVS_CS_F_TRACKED | OVS_CS_F_ESTABLISHED,
  OVS_CS_F_TRACKED | OVS_CS_F_RELATED,
  OVS_CS_F_TRACKED | OVS_CS_F_NEW,
  OVS_CS_F_TRACKED | OVS_CS_F_ESTABLISHED | OVS_CS_F_REPLY_DIR,
  OVS_CS_F_TRACKED | OVS_CS_F_RELATED | OVS_CS_F_REPLY_DIR,
);

/** Writes the packet's connection into the key: all ct_* fields, or "invalid" without an entry. HOT PATH. */
export function updateKey(words: Int32Array, packet: Packet, key: Int32Array, zone: number): void {
  const slot = packet.ct;
  if (slot < 0) {
    clearMarkAndLabels(key);
    key[K.CT] = (zone << 16) | OVS_CS_F_TRACKED | OVS_CS_F_INVALID;
    return;
  }
  const entry = slot * E.WORDS;
  let state = STATE_OF_INFO[packet.ctInfo];
  let from = entry;
  const master = words[entry + E.MASTER];
  if (master !== 0) {
    state |= OVS_CS_F_RELATED;
    from = (master - 1) * E.WORDS;
  }
  key[K.CT_MARK] = words[entry + E.MARK];
  if ((words[entry + E.STATUS] & IPS_CONFIRMED) === 0) {
    state |= OVS_CS_F_NEW;
    // The commit will give it the master's labels; the key shows them already.
    labelsToKey(words, from, key);
  } else labelsToKey(words, entry, key);
  originToKey(words, from, key, words[entry + T.META] >>> 16, state);
}

/** Writes state, zone, and the original tuple of the entry at `from`. */
function originToKey(words: Int32Array, from: number, key: Int32Array, zone: number, state: number): void {
  const etherType = key[K.ETH_TYPE] >>> 16;
  const family = words[from + T.META] & 0xff;
  const proto = protoOf(words, from);
  let ports = words[from + T.PORTS];
  if (etherType === ETH_P_IP && family === AF_INET) {
    if (proto === IpProto.ICMP) ports = ((ports & 0xff00) << 8) | (ports & 0xff);
    key[K.CT_ORIG4_SRC] = words[from + T.SRC];
    key[K.CT_ORIG4_DST] = words[from + T.DST];
    key[K.CT_ORIG4_TP] = ports;
  } else if (etherType === ETH_P_IPV6 && family === AF_INET6 && !isNd(key)) {
    if (proto === IpProto.ICMPV6) ports = ((ports & 0xff00) << 8) | (ports & 0xff);
    for (let i = 0; i < 4; i++) {
      key[K.CT_ORIG6_SRC + i] = words[from + T.SRC + i];
      key[K.CT_ORIG6_DST + i] = words[from + T.DST + i];
    }
    key[K.CT_ORIG6_TP] = ports;
  } else {
    key[K.CT] = (zone << 16) | state;
    return;
  }
  key[K.CT] = (zone << 16) | (proto << 8) | state;
}

/** Writes an entry's labels, zero if it has none. */
export function labelsToKey(words: Int32Array, entry: number, key: Int32Array): void {
  if ((words[entry + E.EXT] & Ext.LABELS) === 0) {
    key[K.CT_LABELS] = 0;
    key[K.CT_LABELS + 1] = 0;
    key[K.CT_LABELS + 2] = 0;
    key[K.CT_LABELS + 3] = 0;
    return;
  }
  key[K.CT_LABELS] = words[entry + E.LABELS];
  key[K.CT_LABELS + 1] = words[entry + E.LABELS + 1];
  key[K.CT_LABELS + 2] = words[entry + E.LABELS + 2];
  key[K.CT_LABELS + 3] = words[entry + E.LABELS + 3];
}

/** Writes what a packet shows that is expected by the connection at `master` but not tracked (spec/conntrack C-119). */
export function expectedToKey(words: Int32Array, master: number, key: Int32Array, zone: number): void {
  key[K.CT_MARK] = words[master + E.MARK];
  labelsToKey(words, master, key);
  originToKey(words, master, key, zone, OVS_CS_F_TRACKED | OVS_CS_F_NEW | OVS_CS_F_RELATED);
}

/** Writes zero into all ct_* fields but the original tuple (spec/conntrack C-237). */
export function clearKey(key: Int32Array): void {
  key[K.CT] = 0;
  clearMarkAndLabels(key);
}

function clearMarkAndLabels(key: Int32Array): void {
  key[K.CT_MARK] = 0;
  for (let i = 0; i < 4; i++) key[K.CT_LABELS + i] = 0;
}

/**
 * Writes the addresses and ports of a translated packet into the key, with the NAT bits (spec/conntrack C-169, C-170).
 * @param done which manips were applied: 1 << Manip.SRC, 1 << Manip.DST
 */
export function natToKey(packet: Packet, key: Int32Array, done: number): void {
  const { view } = packet.memory;
  const { l3, l4 } = packet;
  const v4 = key[K.ETH_TYPE] >>> 16 === ETH_P_IP;
  const proto = key[K.IP] >>> 24;
  const hasPorts = proto === IpProto.UDP || proto === IpProto.TCP || proto === IpProto.SCTP;
  if ((done & (1 << Manip.SRC)) !== 0) {
    key[K.CT] |= OVS_CS_F_SRC_NAT;
    if (v4) key[K.IPV4_SRC] = view.getInt32(l3 + ipv4.SRC);
    else for (let i = 0; i < 4; i++) key[K.IPV6_SRC + i] = view.getInt32(l3 + ipv6.SRC + i * 4);
    if (hasPorts) key[K.TP] = (view.getUint16(l4) << 16) | (key[K.TP] & 0xffff);
  }
  if ((done & (1 << Manip.DST)) !== 0) {
    key[K.CT] |= OVS_CS_F_DST_NAT;
    if (v4) key[K.IPV4_DST] = view.getInt32(l3 + ipv4.DST);
    else for (let i = 0; i < 4; i++) key[K.IPV6_DST + i] = view.getInt32(l3 + ipv6.DST + i * 4);
    if (hasPorts) key[K.TP] = (key[K.TP] & 0xffff_0000) | view.getUint16(l4 + 2);
  }
}
