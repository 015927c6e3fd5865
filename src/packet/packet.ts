import type { PacketMemory } from "./memory.ts";

/** Checksum states, as CHECKSUM_* of linux/skbuff.h. */
export const enum Csum {
  /** The packet carries its checksums in full; nobody has verified them. */
  NONE = 0,
  /** Verified by the device: no need to look. */
  UNNECESSARY = 1,
  /** The pseudo-header sum stands in the field; the rest is still to be summed from csumStart to the end. */
  PARTIAL = 3,
}

/** GSO types, as VIRTIO_NET_HDR_GSO_* of linux/virtio_net.h. */
export const enum Gso {
  NONE = 0,
  TCPV4 = 1,
  UDP = 3,
  TCPV6 = 4,
  UDP_L4 = 5,
  ECN = 0x80,
}

/** Values of Packet.ct besides connection indices. */
export const enum CtRef {
  NONE = -1,
  /** ct_clear marked the packet as untracked. */
  UNTRACKED = -2,
}

/**
 * What an skb is in the kernel: a frame in the arena and what is known of it. Instances are few and reused: the
 * datapath points one at each frame of a batch in turn. All offsets are absolute positions in the arena.
 */
export class Packet {
  /** First byte: the Ethernet header, or the L3 header of a packet without one (macNone). */
  off = 0;
  /** Bytes from off, without an out-of-band VLAN tag. */
  len = 0;
  /** Lowest offset that may be written when something is pushed before the frame. */
  head = 0;
  /** One past the last byte that may be written. */
  end = 0;
  /** Network header, and transport header; written by flow key extraction. 0 = not known. */
  l3 = 0;
  l4 = 0;
  /** True for a packet without Ethernet header (mac_proto NONE). */
  macNone = false;
  /** skb->protocol in host order: the ethertype after the out-of-band tag; ETH_P_802_2 for LLC. */
  protocol = 0;
  /** Out-of-band VLAN tag as `tci` without the present bit, valid if vlanTpid is not 0. */
  vlanTci = 0;
  vlanTpid = 0;
  csum: number = Csum.NONE;
  /** With Csum.PARTIAL: where summing starts (absolute), and where the field is, counted from csumStart. */
  csumStart = 0;
  csumOffset = 0;
  gsoType: number = Gso.NONE;
  gsoSize = 0;
  /** Vport number the packet came in by (OVS_CB input_vport). */
  inPort = 0;
  priority = 0;
  mark = 0;
  /** skb hash, 0 = not computed. hashFlags: bit 0 software, bit 1 L4 (bits 32 and 33 of OVS_PACKET_ATTR_HASH). */
  hash = 0;
  hashFlags = 0;
  /** Largest fragment received, 0 = never was fragmented. */
  mru = 0;
  ignoreDf = false;
  /**
   * Of a packet made by reassembly: absolute offset of the list of its fragments, 0 = none. The list is the number of
   * fragments, then the payload bytes of each in order, as big-endian u16. It lies in
   * scratch memory, so it lasts as long as the packet (spec/actions A-158).
   */
  fragList = 0;
  /** Bytes that the next output or upcall may keep (TRUNC); it counts what the packet is then. 0 = all. */
  maxLen = 0;
  /** Connection index in the conntrack slab, or CtRef. Valid until Conntrack.endBatch(). */
  ct: number = CtRef.NONE;
  /** enum ip_conntrack_info of that reference. */
  ctInfo = 0;
  /**
   * Another packet that is still to be processed has the same connection: an unconfirmed one must not be changed
   * (spec/conntrack C-091).
   */
  ctShared = false;
  /** Probability of the enclosing SAMPLE, for PSAMPLE. */
  probability = 0;
  /** OVS_PACKET_ATTR_UPCALL_PID of EXECUTE, 0 = none. */
  upcallPid = 0;
  /** Tunnel key that set(tunnel) gave for the outputs that follow: tunnel words of a flow key. undefined = none. */
  egressTunnel: Int32Array | undefined = undefined;

  constructor(readonly memory: PacketMemory) {}

  /** Points at a frame fresh from a device: all metadata cleared. `head`..`end` is the writable room around it. */
  reset(off: number, len: number, head: number, end: number): void {
    this.off = off;
    this.len = len;
    this.head = head;
    this.end = end;
    this.l3 = 0;
    this.l4 = 0;
    this.macNone = false;
    this.protocol = 0;
    this.vlanTci = 0;
    this.vlanTpid = 0;
    this.csum = Csum.NONE;
    this.csumStart = 0;
    this.csumOffset = 0;
    this.gsoType = Gso.NONE;
    this.gsoSize = 0;
    this.inPort = 0;
    this.priority = 0;
    this.mark = 0;
    this.hash = 0;
    this.hashFlags = 0;
    this.mru = 0;
    this.ignoreDf = false;
    this.fragList = 0;
    this.maxLen = 0;
    this.ct = CtRef.NONE;
    this.ctInfo = 0;
    this.ctShared = false;
    this.probability = 0;
    this.upcallPid = 0;
    this.egressTunnel = undefined;
  }

  /** Copies all metadata of `from`, and points at the same bytes. */
  copyFrom(from: Packet): void {
    this.off = from.off;
    this.len = from.len;
    this.head = from.head;
    this.end = from.end;
    this.l3 = from.l3;
    this.l4 = from.l4;
    this.macNone = from.macNone;
    this.protocol = from.protocol;
    this.vlanTci = from.vlanTci;
    this.vlanTpid = from.vlanTpid;
    this.csum = from.csum;
    this.csumStart = from.csumStart;
    this.csumOffset = from.csumOffset;
    this.gsoType = from.gsoType;
    this.gsoSize = from.gsoSize;
    this.inPort = from.inPort;
    this.priority = from.priority;
    this.mark = from.mark;
    this.hash = from.hash;
    this.hashFlags = from.hashFlags;
    this.mru = from.mru;
    this.ignoreDf = from.ignoreDf;
    this.fragList = from.fragList;
    this.maxLen = from.maxLen;
    this.ct = from.ct;
    this.ctInfo = from.ctInfo;
    this.ctShared = from.ctShared;
    this.probability = from.probability;
    this.upcallPid = from.upcallPid;
    this.egressTunnel = from.egressTunnel;
  }

  /**
   * Moves the packet's bytes into scratch memory with `headroom` bytes before and `tailroom` after it, so that the
   * bytes it pointed at before stay untouched. Returns false when scratch memory is used up.
   */
  unshare(headroom: number, tailroom: number): boolean {
    const base = this.memory.scratch(headroom + this.len + tailroom);
    if (base < 0) return false;
    const to = base + headroom;
    this.memory.bytes.copyWithin(to, this.off, this.off + this.len);
    this.moved(to - this.off);
    this.head = base;
    this.end = to + this.len + tailroom;
    return true;
  }

  /** Shifts every stored position by `delta` after the bytes were moved. */
  moved(delta: number): void {
    this.off += delta;
    if (this.l3 !== 0) this.l3 += delta;
    if (this.l4 !== 0) this.l4 += delta;
    if (this.csumStart !== 0) this.csumStart += delta;
  }
}
