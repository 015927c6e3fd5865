import type { Packet } from "../packet/packet.ts";

/** Results of Encapsulation.pull() that are no length. */
export const enum Pull {
  /** Not for this tunnel, or malformed in a way that no counter has. */
  IGNORED = -1,
  /** Counts as dropped. */
  DROPPED = -2,
  /** Counts as an error. */
  ERROR = -3,
}

/** What the tunnel protocols share: a header between the outer UDP or IP header and the packet inside. */
export interface Encapsulation {
  /** IpProto.UDP or IpProto.GRE. */
  readonly protocol: number;
  /** The packets inside have no Ethernet header. */
  readonly l3: boolean;
  /**
   * Length of the header for a tunnel key.
   * @returns -1 if the packet cannot be sent through that tunnel: it is dropped
   */
  length(tunnel: Int32Array): number;
  /** Whether an L3 device can send packets of that ethertype (TEB for a frame); by default all. */
  carries?(etherType: number): boolean;
  /**
   * Writes the header at packet.off, before the packet inside, which begins `length` bytes later.
   * @param etherType of the packet inside; TEB for an Ethernet frame on an L3 device
   * @param v6 of the outer header
   */
  push(packet: Packet, length: number, tunnel: Int32Array, etherType: number, v6: boolean): void;
  /** Called for a packet that is dropped after the kernel's driver has built its header, instead of push(). */
  dropped?(): void;
  /**
   * Reads a header that begins at packet.off, and sets ID, flags and options of the tunnel key (other words are the
   * caller's). Sets packet.protocol for a packet without Ethernet header.
   * @returns its length, or one of Pull
   */
  pull(packet: Packet, tunnel: Int32Array, v6: boolean): number;
}
