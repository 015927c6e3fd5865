import { native } from "../../native/addon.ts";

/** Words of a record in PacketIo.rx, as struct RxDescriptor of native/src/io_port.h. */
export const enum Rx {
  /** Handle of the port it came in by. */
  PORT = 0,
  /** First byte of the frame in the arena, and its length. */
  OFF = 1,
  LEN = 2,
  /** Bits 0 to 7 VIRTIO_NET_HDR_F_*, bits 8 to 15 VIRTIO_NET_HDR_GSO_*. */
  FLAGS = 3,
  /** gso_size, hdr_len << 16. */
  GSO = 4,
  /** csum_start (from the frame's first byte), csum_offset << 16. */
  CSUM = 5,
  /** Out-of-band tag: tci, tpid << 16; 0 tpid = none. */
  VLAN = 6,
  /** First writable byte, and one past the last. */
  HEAD = 7,
  END = 8,
  /** Ethertype as the kernel saw it, host order. */
  PROTOCOL = 9,
  /** skb->mark and skb->priority; of underlay sockets only. */
  MARK = 10,
  PRIORITY = 11,
  WORDS = 12,
}

/** Words of a record in PacketIo.tx, as struct TxDescriptor of native/src/io_port.h. */
export const enum Tx {
  PORT = 0,
  OFF = 1,
  LEN = 2,
  /** As Rx.FLAGS; to the underlay: 1 = longer than the device's MTU. */
  FLAGS = 3,
  GSO = 4,
  CSUM = 5,
  VLAN = 6,
  /** Only for devices without link-layer header. */
  PROTOCOL = 7,
  /** skb->mark and skb->priority, of netdev ports and the underlay. */
  MARK = 8,
  PRIORITY = 9,
  WORDS = 10,
}

/** VIRTIO_NET_HDR_F_* of linux/virtio_net.h. */
export const enum VnetFlag {
  NEEDS_CSUM = 1,
  DATA_VALID = 2,
}

/** Records in PacketIo.tx (kTxBatch). */
export const TX_BATCH = 1024;

/** A device as rtnetlink describes it. */
export interface Link {
  ifindex: number;
  name: string;
  /** ARPHRD_* */
  type: number;
  /** IFF_* */
  flags: number;
  mtu: number;
  carrier: boolean;
  /** ifindex of the bridge or bond it is part of, 0 = none. */
  master: number;
  /** RTM_DELLINK */
  deleted: boolean;
  /** Namespace id that the message speaks of, -1 = this namespace. */
  nsid: number;
}

/** A link and the handle of the port that was opened on it. */
export interface OpenedLink extends Link {
  handle: number;
  /** ifindex of our end of an internal port's pair of veths; 0 or absent for all others. */
  peer?: number;
}

/** The packet engine, native/src/packet_io.h. Errors carry the number of asm-generic/errno.h in `errno`. */
export interface PacketIo {
  /** The arena. Only the part named to start() may be touched, and the frames that records point at. */
  readonly buffer: ArrayBuffer;
  readonly rx: Int32Array;
  readonly tx: Int32Array;
  /** Makes the first bytes of the buffer usable; the rest is for rings. */
  start(firstBytes: number): void;
  /** By ifindex, or by name where that is 0. */
  openNetdev(ifindex: number, name: string): OpenedLink;
  /** A TAP device (`l3`: TUN), or a pair of veths where that cannot be had. */
  openInternal(name: string, ifindex: number, l3: boolean): OpenedLink;
  /** Whole IP packets of a family and protocol (and UDP port) to and from the host's stack. @returns handle */
  openUnderlay(family: number, protocol: number, udpPort: number): number;
  /**
   * Asks the routing tables: addresses as bytes, source empty for any. mtu, linkMtu and hopLimit are what the host would
   * use; `port` is for IPsec policies; `ipsec`: some apply.
   */
  getRoute(
    family: number,
    dst: Uint8Array,
    src: Uint8Array,
    tos: number,
    protocol: number,
    port: number,
    mark: number,
  ): { src: Uint8Array; mtu: number; linkMtu: number; hopLimit: number; ifindex: number; ipsec: boolean };
  /** Sets a device's MTU, or as much as it takes, and brings it up. */
  setUp(ifindex: number, mtu: number): void;
  closePort(handle: number): void;
  /** Owns the device by its new name (matters where an nftables chain does). */
  renamed(handle: number, name: string): void;
  /** Where an internal port's device is now (by ifindex, or by name where that is 0); undefined if it is no more. */
  locateInternal(handle: number): { ifindex: number; name: string; nsid: number } | undefined;
  /**
   * Asks nfnetlink in the network namespace of an internal port's device: one request of `length` bytes, one answer.
   * @returns the answer's length, or a negative errno
   */
  askNetfilter(handle: number, request: Uint8Array, length: number, reply: Uint8Array): number;
  /** Closes the socket of askNetfilter(), which keeps the namespace alive. */
  closeNetfilter(handle: number): void;
  /** Sends `queued` records of tx, gives the last batch back, fills rx with the next. @returns its number of records */
  exchange(queued: number): number;
  /** Sends, and gives the last batch back. */
  release(queued: number): void;
  /** Sends; the frames of the last batch stay. */
  flush(queued: number): void;
  getLink(ifindex: number, name: string, nsid: number): Link;
  /** Counters in the order of struct ovs_vport_stats. */
  getStats(ifindex: number, nsid: number): number[];
  /** [received and lost, not sent for want of room, refused]. */
  getCounters(handle: number): number[];
  /** `onLink` gets undefined when changes may have been missed; `onRoutes` is called when routes or addresses changed. */
  listen(onReady: () => void, onLink: (link: Link | undefined) => void, onRoutes: () => void): void;
  shutdown(): void;
}

interface PacketAddon {
  PacketIo: new (arenaBytes: number) => PacketIo;
}

/** Reserves an arena of that many bytes of address space; memory is taken as it is touched. */
export function createPacketIo(arenaBytes: number): PacketIo {
  const { PacketIo } = native<PacketAddon>();
  return new PacketIo(arenaBytes);
}
