import { type KernelRelease, kernelProfile, NEWEST_KERNEL } from "../../src/core/kernel-profile.ts";
import { compileActions } from "../../src/datapath/actions/compile.ts";
import type { ValidationContext } from "../../src/datapath/actions/draft.ts";
import { newFacts, readFacts } from "../../src/datapath/actions/facts.ts";
import type { Program } from "../../src/datapath/actions/program.ts";
import { extractKey } from "../../src/flow/extract/extract.ts";
import { newKey } from "../../src/flow/key.ts";
import { HEADROOM, type PacketMemory } from "../../src/packet/memory.ts";
import { Packet } from "../../src/packet/packet.ts";
import * as ovs from "../../src/uapi/openvswitch.ts";
import { concat, u16, u32 } from "./frames.ts";

/** Builders of OVS_ACTION_ATTR_* lists: each function gives the bytes of one action. */

export const le16 = (value: number): Uint8Array => Uint8Array.of(value & 0xff, (value >> 8) & 0xff);
export const le32 = (value: number): Uint8Array => concat(le16(value & 0xffff), le16(value >>> 16));

/** One netlink attribute, padded. */
export function attr(type: number, ...payload: Uint8Array[]): Uint8Array {
  const body = concat(...payload);
  return concat(le16(4 + body.length), le16(type), body, new Uint8Array(-body.length & 3));
}

export const output = (port: number): Uint8Array => attr(ovs.OVS_ACTION_ATTR_OUTPUT, le32(port));
export const userspace = (pid: number, ...more: Uint8Array[]): Uint8Array =>
  attr(ovs.OVS_ACTION_ATTR_USERSPACE, attr(ovs.OVS_USERSPACE_ATTR_PID, le32(pid)), ...more);
export const set = (key: number, value: Uint8Array): Uint8Array => attr(ovs.OVS_ACTION_ATTR_SET, attr(key, value));
export const setMasked = (key: number, value: Uint8Array, mask: Uint8Array): Uint8Array =>
  attr(ovs.OVS_ACTION_ATTR_SET_MASKED, attr(key, value, mask));
export const setMark = (mark: number): Uint8Array => set(ovs.OVS_KEY_ATTR_SKB_MARK, le32(mark));
export const setEthernet = (src: Uint8Array, dst: Uint8Array): Uint8Array =>
  set(ovs.OVS_KEY_ATTR_ETHERNET, concat(src, dst));
export const setUdp = (src: number, dst: number): Uint8Array => set(ovs.OVS_KEY_ATTR_UDP, concat(u16(src), u16(dst)));
export const pushVlan = (vid: number, tpid = 0x8100): Uint8Array =>
  attr(ovs.OVS_ACTION_ATTR_PUSH_VLAN, u16(tpid), u16(0x1000 | vid));
export const popVlan = (): Uint8Array => attr(ovs.OVS_ACTION_ATTR_POP_VLAN);
export const pushMpls = (lse: number): Uint8Array => attr(ovs.OVS_ACTION_ATTR_PUSH_MPLS, u32(lse), u16(0x8847), u16(0));
export const recirc = (id: number): Uint8Array => attr(ovs.OVS_ACTION_ATTR_RECIRC, le32(id));
export const hash = (basis: number, algorithm = 0): Uint8Array =>
  attr(ovs.OVS_ACTION_ATTR_HASH, le32(algorithm), le32(basis));
export const trunc = (length: number): Uint8Array => attr(ovs.OVS_ACTION_ATTR_TRUNC, le32(length));
export const meter = (id: number): Uint8Array => attr(ovs.OVS_ACTION_ATTR_METER, le32(id));
export const clone = (...actions: Uint8Array[]): Uint8Array => attr(ovs.OVS_ACTION_ATTR_CLONE, ...actions);
export const sample = (probability: number, ...actions: Uint8Array[]): Uint8Array =>
  attr(
    ovs.OVS_ACTION_ATTR_SAMPLE,
    attr(ovs.OVS_SAMPLE_ATTR_PROBABILITY, le32(probability)),
    attr(ovs.OVS_SAMPLE_ATTR_ACTIONS, ...actions),
  );
export const checkPktLen = (length: number, greater: Uint8Array, less: Uint8Array): Uint8Array =>
  attr(
    ovs.OVS_ACTION_ATTR_CHECK_PKT_LEN,
    attr(ovs.OVS_CHECK_PKT_LEN_ATTR_PKT_LEN, le16(length)),
    attr(ovs.OVS_CHECK_PKT_LEN_ATTR_ACTIONS_IF_GREATER, greater),
    attr(ovs.OVS_CHECK_PKT_LEN_ATTR_ACTIONS_IF_LESS_EQUAL, less),
  );
export const decTtl = (...actions: Uint8Array[]): Uint8Array =>
  attr(ovs.OVS_ACTION_ATTR_DEC_TTL, attr(ovs.OVS_DEC_TTL_ATTR_ACTION, ...actions));
export const ct = (...attributes: Uint8Array[]): Uint8Array => attr(ovs.OVS_ACTION_ATTR_CT, ...attributes);
export const ctClear = (): Uint8Array => attr(ovs.OVS_ACTION_ATTR_CT_CLEAR);
export const drop = (code: number): Uint8Array => attr(ovs.OVS_ACTION_ATTR_DROP, le32(code));
export const psample = (group: number, cookie: Uint8Array): Uint8Array =>
  attr(
    ovs.OVS_ACTION_ATTR_PSAMPLE | 0x8000,
    attr(ovs.OVS_PSAMPLE_ATTR_GROUP, le32(group)),
    attr(ovs.OVS_PSAMPLE_ATTR_COOKIE, cookie),
  );

const conntrack = { checkHelper: () => 0, crossZoneNat: false };

/** Validates and compiles the list in [start, end) against a masked key. @throws Errno as compileActions() does */
export function validateActions(
  view: DataView,
  start: number,
  end: number,
  maskedKey: Int32Array,
  context: ValidationContext,
): Program {
  return compileActions(view, start, end, readFacts(maskedKey, newFacts()), context);
}

/** Compiles a list against a key. */
export function compile(key: Int32Array, ...actions: Uint8Array[]): Program {
  return compileFor(NEWEST_KERNEL, key, ...actions);
}

/** The same as a given kernel would. */
export function compileFor(release: KernelRelease, key: Int32Array, ...actions: Uint8Array[]): Program {
  const bytes = concat(...actions);
  const kernel = kernelProfile(release);
  return validateActions(new DataView(bytes.buffer), 0, bytes.length, key, { kernel, conntrack });
}

/** A packet as a port hands it over, with its key. */
export function receive(memory: PacketMemory, frame: Uint8Array): { packet: Packet; key: Int32Array } {
  const packet = new Packet(memory);
  const base = memory.scratch(HEADROOM + frame.length);
  memory.bytes.fill(0xa5, base, base + HEADROOM + frame.length);
  memory.bytes.set(frame, base + HEADROOM);
  packet.reset(base + HEADROOM, frame.length, base, base + HEADROOM + frame.length);
  packet.inPort = 1;
  const key = newKey();
  const error = extractKey(packet, key);
  if (error !== 0) throw new Error(`extraction gives ${error}`);
  return { packet, key };
}
