import type { KernelProfile } from "../core/kernel-profile.ts";
import type { Packet } from "../packet/packet.ts";
import type { Port, PortReceiver, TunnelOptions } from "../port/port.ts";
import { OVS_VPORT_TYPE_INTERNAL } from "../uapi/openvswitch.ts";

/** What a vport knows of the datapath that it belongs to (src/datapath/datapath.ts). */
export interface VportOwner {
  /** ovs_header.dp_ifindex. */
  readonly ifindex: number;
  readonly kernel: KernelProfile;
  /** OVS_DP_F_* */
  readonly userFeatures: number;
  /** Ports by number; holes are undefined. */
  readonly vports: (Vport | undefined)[];
  /** Takes a packet that the vport's device received; see Datapath.receive(). */
  receive(packet: Packet, vport: Vport, tunnel?: Int32Array): boolean;
  /** OVS_VPORT_ATTR_OPTIONS of a port, undefined if it has none. */
  tunnelOptions(port: Port): TunnelOptions | undefined;
}

/** A port of a datapath: a number, a device and the netlink port ids that get its upcalls. */
export class Vport implements PortReceiver {
  /** Upcall port ids (OVS_VPORT_ATTR_UPCALL_PID); never empty. */
  upcallPids: Uint32Array;
  /** OVS_VPORT_ATTR_UPCALL_STATS (spec/upcalls U-038, U-039). */
  upcallSuccess = 0;
  upcallFail = 0;
  /** Device name when attached: the module's hash by name is never updated (spec/families F-190). */
  readonly attachName: string;

  constructor(
    readonly datapath: VportOwner,
    readonly portNo: number,
    /** OVS_VPORT_TYPE_* */
    readonly type: number,
    readonly port: Port,
    upcallPids: Uint32Array,
  ) {
    this.upcallPids = upcallPids;
    this.attachName = port.name;
    port.receiver = this;
  }

  /** Hands a packet of the port's to the datapath; an internal port counts a tx error where no key can be made. HOT PATH. */
  receive(packet: Packet, tunnel?: Int32Array): void {
    if (!this.datapath.receive(packet, this, tunnel) && this.internal) this.port.countTxError();
  }

  get name(): string {
    return this.port.name;
  }

  get internal(): boolean {
    return this.type === OVS_VPORT_TYPE_INTERNAL;
  }

  /** The port id for a packet with this hash (spec/upcalls U-025). */
  upcallPid(hash: number): number {
    const pids = this.upcallPids;
    if (pids.length === 1) return pids[0];
    return pids[(hash >>> 0) % pids.length];
  }
}
