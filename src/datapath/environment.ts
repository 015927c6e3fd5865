import type { ConntrackPort } from "../conntrack/conntrack-port.ts";
import type { KernelProfile } from "../core/kernel-profile.ts";
import type { Random } from "../core/random.ts";
import type { PacketHasher } from "../flow/hash.ts";
import type { PacketMemory } from "../packet/memory.ts";
import type { Packet } from "../packet/packet.ts";
import type { Port, PortProvider, TunnelOptions } from "../port/port.ts";
import type { BatchClock } from "./batch-clock.ts";
import type { DropSink } from "./drop-reason.ts";
import type { UpcallSink } from "./upcall.ts";

/** The host's own conntrack, asked about packets of internal ports. Implemented by src/kernel/host-conntrack.ts. */
export interface HostState {
  /** Puts the state of the packet's connection into its key, if it has one. */
  fill(packet: Packet, key: Int32Array, port: Port): void;
  endBatch(): void;
}

/** Makes ports of tunnel devices; implemented by src/tunnel/ports.ts. */
export interface TunnelProvider {
  /** Whether vports of that type (OVS_VPORT_TYPE_*) are tunnels. */
  isTunnelType(type: number): boolean;
  /** A tunnel device as a port; undefined if no tunnel device has that name. @throws Errno EBUSY, EADDRINUSE, EPERM */
  open(name: string): Port | undefined;
  /** A port with a device of its own, for vports of the tunnel types. @throws Errno EINVAL, EEXIST, EBUSY, EADDRINUSE */
  create(name: string, type: number, options: TunnelOptions | undefined): Port;
  /** What OVS_VPORT_ATTR_OPTIONS tells of a port, undefined if it has none. */
  options(port: Port): TunnelOptions | undefined;
  /** Delivers packets that tunnels made during the batch. */
  endBatch(): void;
}

/**
 * Sends a sample.
 * @param inIfindex of the input device, 0 = unknown
 * @param tunnel the tunnel that the packet came through or is to go through, as tunnel words of a key
 */
export type PsampleSink = (
  packet: Packet,
  group: number,
  cookie: Uint8Array,
  inIfindex: number,
  tunnel: Int32Array | undefined,
) => void;

/** What all datapaths of a namespace share. */
export interface DatapathEnvironment {
  /** The kernel to behave as. */
  readonly kernel: KernelProfile;
  readonly clock: BatchClock;
  readonly random: Random;
  /** Packet hashes: one seed for all datapaths. */
  readonly hasher: PacketHasher;
  readonly memory: PacketMemory;
  readonly conntrack: ConntrackPort;
  /** Knows what the host's own conntrack thinks of a packet that its stack sends through an internal port. */
  readonly hostConntrack: HostState;
  readonly ports: PortProvider;
  readonly tunnels: TunnelProvider;
  /** Generic-netlink id of the ovs_packet family. */
  readonly packetFamily: () => number;
  readonly upcalls: UpcallSink;
  /** Who hears of dropped packets. */
  readonly drops?: DropSink;
  /** psample messages, when somebody listens (spec/actions A-244). */
  readonly psample?: PsampleSink;
}
