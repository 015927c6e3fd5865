/** The NORMAL output: switching by learned addresses and VLANs (IEEE 802.1D, 802.1Q). */
import { ETH_TYPE_VLAN_8021Q, FlowAt, VLAN_CFI } from "../flow.ts";
import { flowPopVlan, flowPushVlan } from "./commit.ts";
import type { XlateState, XPort } from "./context.ts";

/** Translates NORMAL: to the port of a learned address, else to all ports of the VLAN. */
export function normal(state: XlateState): void {
  const { flow, wc, context } = state;
  wc.fill(FlowAt.DL_DST, 12, 0xff);
  wc.put16(FlowAt.VLAN0_TCI, wc.u16(FlowAt.VLAN0_TCI) | 0xfff | VLAN_CFI);
  const inPort = context.ports.get(flow.u32(FlowAt.IN_PORT));
  if (!inPort) return;
  const tci = flow.u16(FlowAt.VLAN0_TCI);
  const vid = tci & VLAN_CFI ? tci & 0xfff : 0;
  const vlan = inputVlan(inPort, vid);
  if (vlan < 0) return;
  // 01:80:c2:00:00:0x is addressed to the bridge itself.
  if (flow.u32(FlowAt.DL_DST) === 0x0180c200 && (flow.u16(FlowAt.DL_DST + 4) & 0xfff0) === 0) return;
  consultGratuitousArp(state);
  if (!(flow.u8(FlowAt.DL_SRC) & 1)) {
    const learned = { mac: flow.u16(FlowAt.DL_SRC), macLow: flow.u32(FlowAt.DL_SRC + 2), vlan, port: inPort.port };
    state.learned.push(learned);
  }
  const multicast = (flow.u8(FlowAt.DL_DST) & 1) !== 0;
  const known = multicast ? null : context.macs.lookup(flow.u16(FlowAt.DL_DST), flow.u32(FlowAt.DL_DST + 2), vlan);
  if (known !== null) {
    const to = context.ports.get(known);
    if (to && to !== inPort) outputVlan(state, to, vlan);
    return;
  }
  for (const to of context.ports.values()) {
    if (to !== inPort && !to.noFlood && carries(to, vlan)) outputVlan(state, to, vlan);
  }
}

/** Consults the fields of a gratuitous ARP: ovs-vswitchd does so before it learns, and masks are to equal its masks. */
function consultGratuitousArp({ flow, wc }: XlateState): void {
  if (!flow.isArp || flow.u32(FlowAt.DL_DST) !== 0xffffffff || flow.u16(FlowAt.DL_DST + 4) !== 0xffff) return;
  wc.put8(FlowAt.NW_PROTO, 0xff);
  if (flow.u8(FlowAt.NW_PROTO) === 1) wc.fill(FlowAt.NW_SRC, 8, 0xff);
}

/** Outputs to a port with the tag that the VLAN has there. */
function outputVlan(state: XlateState, to: XPort, vlan: number): void {
  if (!carries(to, vlan)) return;
  const { flow } = state;
  const mode = vlanMode(to);
  const untagged = mode === "access" || (mode === "native-untagged" && vlan === (to.tag ?? 0));
  const saved = flow.bytes.slice(FlowAt.VLAN0_TPID, FlowAt.MPLS);
  const vid = untagged ? 0 : vlan;
  if (vid === 0) {
    // A priority tag (VID 0) is removed as well.
    if (flow.vlanCount > 0) flowPopVlan(flow, null);
  } else if (flow.vlanCount > 0) flow.put16(FlowAt.VLAN0_TCI, (flow.u16(FlowAt.VLAN0_TCI) & 0xe000) | vid | VLAN_CFI);
  else flowPushVlan(flow, ETH_TYPE_VLAN_8021Q, vid | VLAN_CFI, null);
  state.outputTo(to.port);
  flow.bytes.set(saved, FlowAt.VLAN0_TPID);
}

function vlanMode(port: XPort): NonNullable<XPort["vlanMode"]> {
  if (port.vlanMode !== undefined) return port.vlanMode;
  if (port.tag === undefined) return "trunk";
  return port.trunks ? "native-tagged" : "access";
}

/** VLAN of a packet with VLAN id `vid` from a port; negative where the port does not accept it. */
function inputVlan(port: XPort, vid: number): number {
  const mode = vlanMode(port);
  if (mode === "access") return vid === 0 ? (port.tag ?? 0) : -1;
  if (vid === 0 && mode !== "trunk") return port.tag ?? 0;
  return carries(port, vid) ? vid : -1;
}

/** Whether a port belongs to a VLAN. */
function carries(port: XPort, vlan: number): boolean {
  const mode = vlanMode(port);
  if (mode === "access") return vlan === (port.tag ?? 0);
  if (mode !== "trunk" && vlan === port.tag) return true;
  return !port.trunks || port.trunks.includes(vlan);
}
