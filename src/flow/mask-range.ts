/**
 * Byte offsets of the module's own flow key on x86-64 (Linux 6.12). They show in one place only: two masks with equal
 * bytes are still two masks when the ranges of bytes that their attributes cover differ (spec/keys K-074), and masks
 * are counted in OVS_DP_ATTR_MEGAFLOW_STATS.
 */
export const enum MaskField {
  /** Option bytes end here, and their length follows. */
  TUN_OPTS_LEN = 255,
  TUN_ID = 256,
  TUN_ADDRESSES = 264,
  TUN_FLAGS = 296,
  TUN_TOS = 312,
  TUN_TTL = 313,
  TUN_TP_SRC = 314,
  TUN_TP_DST = 316,
  TUN_END = 320,
  PRIORITY = 320,
  SKB_MARK = 324,
  IN_PORT = 328,
  MAC_PROTO = 330,
  TUN_PROTO = 331,
  DP_HASH = 332,
  RECIRC_ID = 336,
  ETH_SRC = 340,
  VLAN = 352,
  CVLAN = 356,
  ETH_TYPE = 360,
  CT_STATE = 362,
  CT_ORIG_PROTO = 363,
  IP = 364,
  CT_ZONE = 368,
  TP = 370,
  TCP_FLAGS = 374,
  /** The union of IPv4 and ARP, IPv6, MPLS, NSH. */
  L3 = 376,
  IPV6_EXTHDRS = 412,
  IPV6_ND = 416,
  CT_ORIG_TP = 448,
  CT_MARK = 452,
  CT_LABELS = 456,
}

/** The bytes that a mask's attributes cover, rounded to eight. */
export class MaskRange {
  private start = 0;
  private end = 0;
  private tunnel = 0;

  /** A whole tunnel key, with fields that no attribute sets (flow label, next hop): a mask of its own. */
  addTunnel(): void {
    this.add(MaskField.TUN_ID, MaskField.TUN_END - MaskField.TUN_ID);
    this.tunnel = 0x8000;
  }

  add(offset: number, size: number): void {
    const start = offset & ~7;
    const end = (offset + size + 7) & ~7;
    if (this.start === this.end) {
      this.start = start;
      this.end = end;
      return;
    }
    if (start < this.start) this.start = start;
    if (end > this.end) this.end = end;
  }

  /** start << 16 | end, with bit 15 set after addTunnel(). */
  get value(): number {
    return (this.start << 16) | this.tunnel | this.end;
  }
}
