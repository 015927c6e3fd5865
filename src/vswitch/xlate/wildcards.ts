import { FLOW_NW_FRAG_ANY, FLOW_NW_FRAG_LATER, type Flow, FlowAt, VLAN_CFI } from "../flow.ts";

/** Writes the mask with which every translation of `flow` starts. */
export function setInitialWildcards(wc: Flow, flow: Flow): void {
  wc.words.fill(0);
  wc.fill(FlowAt.IN_PORT, 4, 0xff);
  wc.fill(FlowAt.RECIRC_ID, 4, 0xff);
  wc.put8(FlowAt.IS_ETH, 0xff);
  wc.put16(FlowAt.DL_TYPE, 0xffff);
  if (flow.isIp) wc.put8(FlowAt.NW_FRAG, FLOW_NW_FRAG_ANY | FLOW_NW_FRAG_LATER);
}

/** Clears the bits of a mask that belong to headers which the translated packet does not have. */
export function finishWildcards(wc: Flow, original: Flow): void {
  wc.fill(FlowAt.REGS, FlowAt.SKB_PRIORITY - FlowAt.REGS, 0);
  // The datapath takes a mask of ND fields only where the type is exact (spec/keys K-069).
  if (original.isNd && !(wc.isZero(FlowAt.ND_TARGET, 16) && wc.isZero(FlowAt.ARP_SHA, 12)))
    wc.fill(FlowAt.TP_SRC, 2, 0xff);
  if (original.isIcmp) {
    wc.put16(FlowAt.TP_SRC, wc.u16(FlowAt.TP_SRC) & 0xff);
    wc.put16(FlowAt.TP_DST, wc.u16(FlowAt.TP_DST) & 0xff);
  }
  if (original.isLaterFragment) wc.fill(FlowAt.TP_SRC, 4, 0);
  // Bits set for what actions pushed; the packet has no such header to match on.
  if (original.vlanCount === 0) wc.fill(FlowAt.VLAN0_TPID, 8, 0);
  for (let at: number = FlowAt.VLAN0_TCI; at <= FlowAt.VLAN1_TCI; at += 4)
    if (wc.u16(at)) wc.put16(at, wc.u16(at) | VLAN_CFI);
  if (!original.isMpls) wc.fill(FlowAt.MPLS, 12, 0);
  if (!original.isIp && !original.isArp) wc.fill(FlowAt.NW_SRC, 8, 0);
}
