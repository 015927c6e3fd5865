import { F, FLOW_NW_FRAG_ANY, FLOW_NW_FRAG_LATER, type Flow, VLAN_CFI } from "../flow.ts";

/** Writes the mask with which every translation of `flow` starts. */
export function setInitialWildcards(wc: Flow, flow: Flow): void {
  wc.words.fill(0);
  wc.fill(F.IN_PORT, 4, 0xff);
  wc.fill(F.RECIRC_ID, 4, 0xff);
  wc.put8(F.IS_ETH, 0xff);
  wc.put16(F.DL_TYPE, 0xffff);
  if (flow.isIp) wc.put8(F.NW_FRAG, FLOW_NW_FRAG_ANY | FLOW_NW_FRAG_LATER);
}

/** Takes out of a mask what is no part of the packet that was translated. */
export function finishWildcards(wc: Flow, original: Flow): void {
  wc.fill(F.REGS, F.SKB_PRIORITY - F.REGS, 0);
  // The datapath takes a mask of ND fields only where the type is exact (spec/keys K-069).
  if (original.isNd && !(wc.isZero(F.ND_TARGET, 16) && wc.isZero(F.ARP_SHA, 12))) wc.fill(F.TP_SRC, 2, 0xff);
  if (original.isIcmp) {
    wc.put16(F.TP_SRC, wc.u16(F.TP_SRC) & 0xff);
    wc.put16(F.TP_DST, wc.u16(F.TP_DST) & 0xff);
  }
  if (original.isLaterFragment) wc.fill(F.TP_SRC, 4, 0);
  // Bits set for what actions pushed; the packet has no such header to match on.
  if (original.vlanCount === 0) wc.fill(F.VLAN0_TPID, 8, 0);
  for (let at: number = F.VLAN0_TCI; at <= F.VLAN1_TCI; at += 4) if (wc.u16(at)) wc.put16(at, wc.u16(at) | VLAN_CFI);
  if (!original.isMpls) wc.fill(F.MPLS, 12, 0);
  if (!original.isIp && !original.isArp) wc.fill(F.NW_SRC, 8, 0);
}
