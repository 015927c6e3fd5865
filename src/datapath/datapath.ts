import type { ConntrackPort } from "../conntrack/conntrack-port.ts";
import type { KernelProfile } from "../core/kernel-profile.ts";
import type { Random } from "../core/random.ts";
import { extractHeaders, extractKey } from "../flow/extract/extract.ts";
import { type PacketHasher, skbHashFlags } from "../flow/hash.ts";
import { K, newKey } from "../flow/key.ts";
import { fragment } from "../packet/fragment.ts";
import { Gso, Packet } from "../packet/packet.ts";
import { wireLength } from "../packet/wire.ts";
import type { Port, TunnelOptions } from "../port/port.ts";
import { E2BIG, EAGAIN, ENOMEM, EPROTONOSUPPORT } from "../uapi/errno.ts";
import { OVS_DP_F_DISPATCH_UPCALL_PER_CPU, OVSP_LOCAL } from "../uapi/openvswitch.ts";
import { ActionExecutor } from "./actions/execute.ts";
import type { Program, UserspaceUpcall } from "./actions/program.ts";
import type { BatchClock } from "./batch-clock.ts";
import { DropReason, dropReasonBefore66 } from "./drop-reason.ts";
import type { DatapathEnvironment } from "./environment.ts";
import { FlowTable } from "./flow-table.ts";
import type { ActionHost } from "./host.ts";
import { MeterTable } from "./meter.ts";
import { UpcallSender } from "./upcall.ts";
import type { Vport, VportOwner } from "./vport.ts";

const ETH_HLEN = 14;
const VLAN_HLEN = 4;
const ETH_P_8021Q = 0x8100;
const ETH_P_8021AD = 0x88a8;
/** The kernel's core takes a VLAN tag off before the module sees a frame, and drops frames too short for that. */
const MIN_TAGGED = 20;

/** Whether a frame, perhaps cut short, has a VLAN tag in it. */
function isTagged(packet: Packet): boolean {
  if (packet.macNone || packet.len < ETH_HLEN) return false;
  const type = packet.memory.view.getUint16(packet.off + 12);
  return type === ETH_P_8021Q || type === ETH_P_8021AD;
}

/** Why a packet that could not be fragmented is dropped (spec/actions ). */
function fragmentDropReason(error: number): DropReason {
  switch (error) {
    case -E2BIG:
      return DropReason.FRAG_L2_TOO_LONG;
    case -EPROTONOSUPPORT:
      return DropReason.FRAG_INVALID_PROTO;
    case -ENOMEM:
      return DropReason.NOMEM;
    default:
      return DropReason.NOT_SPECIFIED;
  }
}

/** Counters of OVS_DP_ATTR_STATS (spec/families F-074). */
interface DatapathCounters {
  hit: number;
  missed: number;
  lost: number;
}

/**
 * One datapath: ports, flow table, meters, and a packet's way between them. Single-threaded: a packet is finished, with
 * all its recirculations, before the next one starts.
 */
export class Datapath implements ActionHost, VportOwner {
  /** OVS_DP_F_* */
  userFeatures = 0;
  /** OVS_DP_ATTR_PER_CPU_PIDS, undefined = never given. */
  perCpuPids: Uint32Array | undefined = undefined;
  readonly flows = new FlowTable();
  readonly meters: MeterTable;
  readonly counters: DatapathCounters = { hit: 0, missed: 0, lost: 0 };
  /** Ports by number; holes are undefined. */
  readonly vports: (Vport | undefined)[] = [];

  readonly kernel: KernelProfile;
  readonly clock: BatchClock;
  readonly random: Random;
  readonly hasher: PacketHasher;
  readonly conntrack: ConntrackPort;
  private readonly executor: ActionExecutor;
  private readonly key = newKey();
  private readonly egress = newKey();
  /** The packet being processed is one of EXECUTE. */
  private executing = false;
  private readonly upcallSender: UpcallSender;
  private readonly fragmentPacket: Packet;
  private fragmentPort: Vport | undefined = undefined;

  constructor(private readonly environment: DatapathEnvironment) {
    this.kernel = environment.kernel;
    this.clock = environment.clock;
    this.random = environment.random;
    this.hasher = environment.hasher;
    this.conntrack = environment.conntrack;
    this.executor = new ActionExecutor(this, environment.memory);
    this.meters = new MeterTable(environment.clock);
    this.fragmentPacket = new Packet(environment.memory);
    this.upcallSender = new UpcallSender(environment);
  }

  /** The local port (number 0), whose device names the datapath. */
  get local(): Vport | undefined {
    return this.vports[OVSP_LOCAL];
  }

  get name(): string {
    return this.local?.name ?? "";
  }

  /** ifindex of the local device: ovs_header.dp_ifindex. */
  get ifindex(): number {
    return this.local?.port.ifindex ?? 0;
  }

  /**
   * A packet from a device. HOT PATH.
   * @param tunnel what it came through, as tunnel words of a key (spec/keys K-245)
   * @returns false when no flow key could be made of it: it is dropped, and an internal port counts a tx error
   *   (spec/tables T-083)
   */
  receive(packet: Packet, vport: Vport, tunnel?: Int32Array): boolean {
    const { key } = this;
    packet.inPort = vport.portNo;
    if (packet.len < MIN_TAGGED && !vport.internal && isTagged(packet)) return true;
    if (extractKey(packet, key) !== 0) {
      this.dropped(packet, DropReason.NOT_SPECIFIED);
      return false;
    }
    if (vport.internal && vport.port.askNetfilter !== undefined)
      this.environment.hostConntrack.fill(packet, key, vport.port);
    if (tunnel !== undefined) key.set(tunnel.subarray(K.TUN_PROTO), K.TUN_PROTO);
    this.process(packet, key);
    return true;
  }

  /** Looks the packet up and runs its flow's actions, or sends a MISS. */
  private process(packet: Packet, key: Int32Array): void {
    const { flows, counters } = this;
    const flow = flows.lookup(key, this.hasher.ofPacket(packet, key));
    if (flow < 0) {
      this.miss(packet, key);
      return;
    }
    flows.countHit(flow, wireLength(packet), this.clock.monotonic(), key[K.TCP_FLAGS]);
    const program = flows.program(flow);
    if (program.soleOutput >= 0) this.output(packet, key, program.soleOutput);
    else this.executor.execute(packet, key, program);
    counters.hit++;
  }

  private miss(packet: Packet, key: Int32Array): void {
    this.counters.missed++;
    const vport = this.vports[packet.inPort];
    const error = this.upcall(packet, key, vport === undefined ? 0 : vport.upcallPid(packet.hash), undefined);
    if (error !== 0 && error !== -EAGAIN) this.dropped(packet, DropReason.NOT_SPECIFIED);
  }

  /**
   * Sends an upcall to `pid`, or where dispatch mode and EXECUTE's UPCALL_PID say (spec/upcalls section 3).
   * @returns 0 or the negative errno for which it is lost
   */
  private upcall(packet: Packet, key: Int32Array, pid: number, userspace: UserspaceUpcall | undefined): number {
    if (packet.hash !== 0 && packet.hashFlags === 0) packet.hashFlags = skbHashFlags(key);
    if (packet.upcallPid !== 0) pid = packet.upcallPid;
    else if ((this.userFeatures & OVS_DP_F_DISPATCH_UPCALL_PER_CPU) !== 0) {
      // One thread runs the datapath: it is processor 0.
      pid = this.perCpuPids === undefined ? 0 : this.perCpuPids[0];
    }
    const vport = this.vports[packet.inPort] ?? this.local;
    const egress = userspace === undefined ? undefined : this.egressTunnel(packet, key, userspace.egressTunPort);
    const error = this.upcallSender.send(packet, key, pid, this.ifindex, this.userFeatures, userspace, egress);
    if (error !== 0) this.counters.lost++;
    if (vport !== undefined && pid !== 0) {
      if (error === 0) vport.upcallSuccess++;
      else vport.upcallFail++;
    }
    return error;
  }

  /**
   * OVS_PACKET_CMD_EXECUTE: runs actions on a packet from user space whose key is complete.
   * @returns 0 or the negative errno of the top list (spec/upcalls U-077)
   */
  executePacket(packet: Packet, key: Int32Array, program: Program): number {
    this.executing = true;
    try {
      return this.executor.execute(packet, key, program);
    } finally {
      this.executing = false;
    }
  }

  // ActionHost

  output(packet: Packet, key: Int32Array, portNo: number): void {
    const vport = this.vports[portNo];
    if (vport === undefined || !vport.port.running) {
      this.dropped(packet, DropReason.DEV_READY);
      return;
    }
    // A tunnel chooses its source port by the hash.
    if (packet.egressTunnel !== undefined) this.hasher.ofPacket(packet, key);
    const { len, mru } = packet;
    if (packet.maxLen !== 0 && len > packet.maxLen) packet.len = packet.maxLen;
    const hardHeader = vport.port.l3 ? 0 : ETH_HLEN;
    if (mru === 0 || packet.len <= mru + hardHeader) {
      this.transmit(packet, vport);
    } else if (mru <= vport.port.mtu) {
      this.fragmentPort = vport;
      const error = fragment(
        packet,
        key[K.ETH_TYPE] >>> 16,
        mru,
        vport.port.mtu,
        this.random,
        this.fragmentPacket,
        this.sendFragment,
      );
      if (error !== 0) this.dropped(packet, fragmentDropReason(error));
    } else {
      this.dropped(packet, DropReason.PKT_TOO_BIG);
    }
    packet.len = len;
  }

  outputCopy(packet: Packet, key: Int32Array, portNo: number): void {
    const { fragList } = packet;
    packet.fragList = 0;
    this.output(packet, key, portNo);
    packet.fragList = fragList;
  }

  private readonly sendFragment = (part: Packet): number => {
    this.transmit(part, this.fragmentPort as Vport);
    return 0;
  };

  /** Type and MTU checks, then out (spec/actions ). HOT PATH. */
  private transmit(packet: Packet, vport: Vport): void {
    const { port } = vport;
    if (packet.macNone && !port.l3) {
      this.dropped(packet, DropReason.NOT_SPECIFIED);
      return;
    }
    let length = packet.len;
    if (!port.l3) {
      length -= ETH_HLEN;
      if (packet.vlanTpid === 0 && (packet.protocol === ETH_P_8021Q || packet.protocol === ETH_P_8021AD))
        length -= VLAN_HLEN;
    }
    if (length > port.mtu && packet.gsoType === Gso.NONE) {
      port.countTxError();
      this.dropped(packet, DropReason.NOT_SPECIFIED);
      return;
    }
    port.send(packet);
  }

  upcallAction(packet: Packet, key: Int32Array, upcall: UserspaceUpcall): void {
    this.upcall(packet, key, upcall.pid, upcall);
  }

  /** The tunnel that a packet would leave through by that port, as tunnel words of a key (spec/actions A-167). */
  private egressTunnel(packet: Packet, key: Int32Array, portNo: number): Int32Array | undefined {
    if (portNo < 0 || packet.egressTunnel === undefined) return undefined;
    const port = this.vports[portNo]?.port;
    if (port?.egressTunnel === undefined) return undefined;
    this.hasher.ofPacket(packet, key);
    return port.egressTunnel(packet, this.egress) ? this.egress : undefined;
  }

  recirculate(packet: Packet, key: Int32Array): void {
    this.process(packet, key);
  }

  dropped(packet: Packet, reason: DropReason): void {
    const { drops } = this.environment;
    if (drops === undefined || !drops.active) return;
    const reported = this.kernel.dropReasons ? reason : dropReasonBefore66(reason);
    if (reported !== 0) drops.dropped(packet, reported, this.vports[packet.inPort]);
  }

  updateKey(packet: Packet, key: Int32Array): number {
    return extractHeaders(packet, key);
  }

  meter(packet: Packet, meterId: number): boolean {
    return this.meters.drops(meterId, packet.len);
  }

  psample(packet: Packet, key: Int32Array, group: number, cookie: Uint8Array): void {
    const input = this.vports[packet.inPort] ?? this.local;
    // A packet of EXECUTE has come through no tunnel, whatever its key says.
    const received = this.executing || key[K.TUN_PROTO] >>> 8 === 0 ? undefined : key;
    const tunnel = packet.egressTunnel ?? received;
    this.environment.psample?.(packet, group, cookie, input === undefined ? 0 : input.port.ifindex, tunnel);
  }

  /** What OVS_VPORT_ATTR_OPTIONS tells of a port, undefined if it has none. */
  tunnelOptions(port: Port): TunnelOptions | undefined {
    return this.environment.tunnels.options(port);
  }

  /** The lowest free port number from 1 on, or -1 (spec/families F-149, F-150). */
  freePortNo(maxPorts: number): number {
    for (let portNo = 1; portNo < maxPorts; portNo++) if (this.vports[portNo] === undefined) return portNo;
    return -1;
  }
}

/**
 * Ends a batch, after the frames of a port provider or after an EXECUTE: everything queued leaves, scratch memory and
 * connections that were never confirmed are given back, and the clock will be read anew.
 */
export function endBatch(environment: DatapathEnvironment): void {
  environment.tunnels.endBatch();
  environment.ports.flush();
  environment.conntrack.endBatch();
  environment.hostConntrack.endBatch();
  environment.memory.resetScratch();
  environment.clock.invalidate();
}

/** The receive function of tunnels. HOT PATH. */
export function receiveFromTunnel(packet: Packet, port: Port, tunnel: Int32Array): void {
  port.receiver?.receive(packet, tunnel);
}

/** The receive function of a port provider: hands each frame to the datapath its port belongs to. HOT PATH. */
export function receiveFrom(packet: Packet, port: Port): void {
  port.receiver?.receive(packet);
}
