/** ovs_flow: datapath flows, OVS_FLOW_ATTR_* (spec/families section 8). */
import type { MessageWriter } from "../../netlink/writer.ts";
import { NLM_F_CREATE, NLM_F_ECHO } from "../../uapi/netlink.ts";
import * as ovs from "../../uapi/openvswitch.ts";
import type { GenlMessage } from "../genl.ts";
import { datapathOf, type OvsRequests } from "./requests.ts";

/** One flow. `key`, `mask` and `actions` are attribute sequences (OVS_KEY_ATTR_*, OVS_ACTION_ATTR_*). */
export interface FlowInfo {
  /** Handle of its datapath. */
  readonly datapath: number;
  readonly ufid: Uint8Array | null;
  readonly key: Uint8Array | null;
  readonly mask: Uint8Array | null;
  /** null when left out: by UFID_FLAGS, or because it did not fit into a dump (spec/families F-264). */
  readonly actions: Uint8Array | null;
  readonly packets: number;
  readonly bytes: number;
  /** OR of the low 8 TCP flag bits seen. */
  readonly tcpFlags: number;
  /** CLOCK_MONOTONIC milliseconds of the last packet, null when there was none. */
  readonly used: number | null;
}

/** A flow to put. */
export interface FlowSpec {
  /** OVS_KEY_ATTR_* */
  readonly key: Uint8Array;
  /** OVS_KEY_ATTR_*; left out: every bit of the key is matched. */
  readonly mask?: Uint8Array;
  /** OVS_ACTION_ATTR_* */
  readonly actions: Uint8Array;
  /** Up to 16 bytes. */
  readonly ufid?: Uint8Array;
  /** Failures are not logged. */
  readonly probe?: boolean;
  /** NLM_F_CREATE: an existing flow gives EEXIST (spec/families F-222). Default true. */
  readonly create?: boolean;
}

/** Names a flow: by UFID if it was put with one, else by its key. */
export type FlowId = { readonly ufid: Uint8Array; readonly key?: Uint8Array } | { readonly key: Uint8Array };

/** Changes of a flow. */
export interface FlowChanges {
  /** OVS_ACTION_ATTR_* */
  readonly actions?: Uint8Array;
  /** OVS_KEY_ATTR_*; must be that of the flow. */
  readonly mask?: Uint8Array;
  /** Sets the counters to 0. */
  readonly clear?: boolean;
}

/**
 * Reads OVS_FLOW_ATTR_*. Written out, not by the table: the built-in switch dumps up to 200 000 flows each half second,
 * and key, mask and actions stay bytes.
 */
export function decodeFlow(message: GenlMessage): FlowInfo {
  let ufid: Uint8Array | null = null;
  let key: Uint8Array | null = null;
  let mask: Uint8Array | null = null;
  let actions: Uint8Array | null = null;
  let packets = 0;
  let bytes = 0;
  let tcpFlags = 0;
  let used: number | null = null;
  const attribute = message.attributes();
  while (attribute.next()) {
    switch (attribute.type) {
      case ovs.OVS_FLOW_ATTR_UFID:
        ufid = attribute.bytes();
        break;
      case ovs.OVS_FLOW_ATTR_KEY:
        key = attribute.bytes();
        break;
      case ovs.OVS_FLOW_ATTR_MASK:
        mask = attribute.bytes();
        break;
      case ovs.OVS_FLOW_ATTR_ACTIONS:
        actions = attribute.bytes();
        break;
      case ovs.OVS_FLOW_ATTR_STATS: {
        // struct ovs_flow_stats: u64 packets, u64 bytes.
        if (attribute.length < 16) break;
        const { view, offset } = attribute;
        packets = view.getUint32(offset, true) + view.getUint32(offset + 4, true) * 0x1_0000_0000;
        bytes = view.getUint32(offset + 8, true) + view.getUint32(offset + 12, true) * 0x1_0000_0000;
        break;
      }
      case ovs.OVS_FLOW_ATTR_TCP_FLAGS:
        tcpFlags = attribute.u8();
        break;
      case ovs.OVS_FLOW_ATTR_USED:
        used = attribute.u64();
        break;
    }
  }
  return { datapath: datapathOf(message), ufid, key, mask, actions, packets, bytes, tcpFlags, used };
}

/** OVS_FLOW_CMD_NEW */
export function putFlow(requests: OvsRequests, datapath: number, flow: FlowSpec): void {
  requests.all(requests.families.flow, ovs.OVS_FLOW_CMD_NEW, datapath, (w) => writeFlow(w, flow), createFlags(flow));
}

/** NLM_F_* of a put. */
export function createFlags(flow: FlowSpec): number {
  return flow.create === false ? 0 : NLM_F_CREATE;
}

/** OVS_FLOW_CMD_SET */
export function setFlow(requests: OvsRequests, datapath: number, id: FlowId, options: FlowChanges): FlowInfo {
  const reply = requests.one(
    requests.families.flow,
    ovs.OVS_FLOW_CMD_SET,
    datapath,
    (w) => {
      writeFlowId(w, id);
      if (options.mask !== undefined) w.raw(ovs.OVS_FLOW_ATTR_MASK, options.mask);
      if (options.actions !== undefined) w.raw(ovs.OVS_FLOW_ATTR_ACTIONS, options.actions);
      if (options.clear) w.flag(ovs.OVS_FLOW_ATTR_CLEAR);
    },
    NLM_F_ECHO,
  );
  return decodeFlow(reply);
}

/** OVS_FLOW_CMD_GET */
export function getFlow(requests: OvsRequests, datapath: number, id: FlowId, ufidFlags: number): FlowInfo {
  const reply = requests.one(requests.families.flow, ovs.OVS_FLOW_CMD_GET, datapath, (w) => {
    writeFlowId(w, id);
    writeUfidFlags(w, ufidFlags);
  });
  return decodeFlow(reply);
}

/** OVS_FLOW_CMD_DEL of one flow */
export function deleteFlow(requests: OvsRequests, datapath: number, id: FlowId): FlowInfo {
  return decodeFlow(
    requests.one(requests.families.flow, ovs.OVS_FLOW_CMD_DEL, datapath, (w) => writeFlowId(w, id), NLM_F_ECHO),
  );
}

/** OVS_FLOW_CMD_DEL of all flows */
export function flushFlows(requests: OvsRequests, datapath: number): void {
  requests.all(requests.families.flow, ovs.OVS_FLOW_CMD_DEL, datapath);
}

/** OVS_FLOW_CMD_GET with NLM_F_DUMP */
export function* walkFlows(requests: OvsRequests, datapath: number, ufidFlags: number): IterableIterator<FlowInfo> {
  const messages = requests.dump(requests.families.flow, ovs.OVS_FLOW_CMD_GET, datapath, (w) =>
    writeUfidFlags(w, ufidFlags),
  );
  for (const message of messages) yield decodeFlow(message);
}

/** Writes the attributes of a put. Written out, not by the table: each miss of the built-in switch puts a flow. */
export function writeFlow(w: MessageWriter, flow: FlowSpec): void {
  if (flow.ufid !== undefined) w.raw(ovs.OVS_FLOW_ATTR_UFID, flow.ufid);
  w.raw(ovs.OVS_FLOW_ATTR_KEY, flow.key);
  if (flow.mask !== undefined) w.raw(ovs.OVS_FLOW_ATTR_MASK, flow.mask);
  w.raw(ovs.OVS_FLOW_ATTR_ACTIONS, flow.actions);
  if (flow.probe) w.flag(ovs.OVS_FLOW_ATTR_PROBE);
}

/** Writes the attributes that name a flow. */
export function writeFlowId(w: MessageWriter, id: FlowId): void {
  if ("ufid" in id) w.raw(ovs.OVS_FLOW_ATTR_UFID, id.ufid);
  if (id.key !== undefined) w.raw(ovs.OVS_FLOW_ATTR_KEY, id.key);
}

function writeUfidFlags(w: MessageWriter, ufidFlags: number): void {
  if (ufidFlags !== 0) w.u32(ovs.OVS_FLOW_ATTR_UFID_FLAGS, ufidFlags);
}
