import type { Packet } from "../packet/packet.ts";
import type { Underlay } from "./underlay.ts";

/** Counters of a net device, as in struct ovs_vport_stats; numbers, not bigints: exact up to 2^53. */
export interface DeviceStats {
  rxPackets: number;
  txPackets: number;
  rxBytes: number;
  txBytes: number;
  rxErrors: number;
  txErrors: number;
  rxDropped: number;
  txDropped: number;
}

/** Takes the packets of one port: the vport that a datapath made of it (src/datapath/vport.ts). */
export interface PortReceiver {
  /**
   * Takes a packet that the port has received. The bytes are the receiver's until the batch ends.
   * @param tunnel of a tunnel port: the tunnel it came through, as the tunnel words of a flow key; lent for the call
   */
  receive(packet: Packet, tunnel?: Int32Array): void;
}

/**
 * The device of a vport. The datapath reads `running` and `mtu` per packet, so they are plain fields that the
 * port keeps current (rtnetlink).
 */
export interface Port {
  readonly kind: "netdev" | "internal" | "tunnel";
  /** Current device name: follows renames. */
  readonly name: string;
  /** ifindex in the namespace the device lives in. */
  readonly ifindex: number;
  readonly mtu: number;
  /** Admin up and carrier on: outputs to a port that is not running are dropped (spec/actions A-135). */
  readonly running: boolean;
  /** ARPHRD_NONE device: takes packets without Ethernet header. */
  readonly l3: boolean;
  /** Takes what the port receives; undefined until a datapath has made a vport of it, and again after that has gone. */
  receiver: PortReceiver | undefined;
  /** peer netns id when the device is not in the datapath's namespace, else undefined (NETNSID). */
  readonly netnsid: number | undefined;
  /**
   * Queues the packet as it is now for transmission (internal ports: for delivery to the host's stack), with its VLAN
   * tag, checksum and GSO state. The bytes must stay unchanged until the batch is flushed (PortSet.flush).
   */
  send(packet: Packet): void;
  /**
   * Internal ports: asks the nfnetlink of the namespace that the device is in, one request of `length` bytes.
   * @returns the length of the answer, or a negative errno; absent on a port without such a namespace
   */
  askNetfilter?(request: Uint8Array, length: number, reply: Uint8Array): number;
  /** Live counters of the device. */
  stats(): DeviceStats;
  /**
   * Tunnels: fills the tunnel words of `out` with the tunnel that the packet would go through (spec/upcalls U-008).
   * @returns false if it would go through none
   */
  egressTunnel?(packet: Packet, out: Int32Array): boolean;
  /** Over-MTU drop at output: counts a tx error (spec/actions A-140). */
  countTxError(): void;
  /** Detaches from the device (netdev) or removes it (internal). */
  close(): void;
}

/** OVS_VPORT_ATTR_OPTIONS of a tunnel vport. */
export interface TunnelOptions {
  /** OVS_TUNNEL_ATTR_DST_PORT, host byte order. */
  readonly dstPort: number;
  /** OVS_VXLAN_EXT_GBP is present. */
  readonly gbp: boolean;
}

/** Events of ports, besides packets. */
export interface PortEvents {
  /** A port's device was deleted or has left the namespace: its vport must be removed (spec/tables T-092, T-109). */
  onGone(port: Port): void;
  /**
   * An error that is no answer of the kernel about a device: a defect, or a resource that is used up. The ports stay as they
   * are. Without this callback the error becomes a warning of the process (process.emitWarning).
   */
  onFault?(error: Error): void;
}

/** Takes a received packet. The bytes are the receiver's until the batch ends. */
export type Receive = (packet: Packet, port: Port) => void;

/** Makes ports and moves packets in batches between them and the datapath. */
export interface PortProvider {
  /** The host's IP stack, for tunnels. */
  readonly underlay: Underlay;
  /**
   * Attaches an existing net device of this network namespace and owns its ingress.
   * @param altNames take one of the device's alternative names for it, too
   * @throws Errno ENODEV (no such device), EINVAL (loopback or not Ethernet), EBUSY (has another owner), EPERM
   */
  openNetdev(name: string, altNames?: boolean): Port;
  /**
   * Creates the device of an internal port.
   * @param ifindex wanted ifindex, 0 = any
   * @param l3 without Ethernet header, where such a device can be had
   * @throws Errno EEXIST, EINVAL (name), EBUSY (ifindex in use), EPERM
   */
  createInternal(name: string, ifindex: number, l3?: boolean): Port;
  /**
   * Sets the MTU of an internal port's device, or as much as it takes, and brings it up.
   * @throws Errno EPERM, ENODEV
   */
  configure(port: Port, mtu: number): void;
  /** Sends everything queued by Port.send. Scratch memory may be reset afterwards. */
  flush(): void;
}
