/** A datapath with in-memory ports, driven through netlink byte by byte: for tests of forwarding, upcalls and statistics. */
import type { SetValues } from "../../src/netlink/schema/index.ts";
import type { MessageWriter } from "../../src/netlink/writer.ts";
import type { MemoryDevice, MemoryPort } from "../../src/port/memory/ports.ts";
import { datapathAttributes, packetAttributes, vportAttributes } from "../../src/schema/openvswitch.ts";
import { NLM_F_ECHO } from "../../src/uapi/netlink.ts";
import * as ovs from "../../src/uapi/openvswitch.ts";
import { attr, le32 } from "./actions.ts";
import { concat, u16 } from "./frames.ts";
import { messagesIn, type Reply, type TestClient, TestKernel } from "./kernel.ts";

/** What flows match besides the input port. */
export interface Match {
  readonly inPort?: number;
  readonly recircId?: number;
  /** Ethertype, 0x0800 by default; 0x86dd. */
  readonly type?: number;
  /** Masked key and mask attributes that are added. */
  readonly key?: Uint8Array;
  readonly mask?: Uint8Array;
}

/** What EXECUTE carries besides packet and actions. */
export interface ExecuteOptions {
  /** OVS_KEY_ATTR_* bytes; IN_PORT 1 by default. */
  readonly key?: Uint8Array;
  readonly mru?: number;
  /** Both halves of OVS_PACKET_ATTR_HASH. */
  readonly hash?: readonly [low: number, high: number];
}

/** An upcall, decoded. */
export interface SeenUpcall {
  readonly command: "MISS" | "ACTION";
  readonly ifindex: number;
  /** Names of its attributes in order. */
  readonly order: string[];
  readonly key: Record<string, unknown>;
  readonly packet: Uint8Array;
  readonly length: number | undefined;
  readonly mru: number | undefined;
  readonly hash: readonly [low: number, high: number];
  readonly userdata: Uint8Array | undefined;
  readonly reply: Reply;
}

export const recircId = (id: number): Uint8Array => attr(ovs.OVS_KEY_ATTR_RECIRC_ID, le32(id));
export const inPort = (port: number): Uint8Array => attr(ovs.OVS_KEY_ATTR_IN_PORT, le32(port));

export class DatapathLab {
  readonly test: TestKernel;
  readonly client: TestClient;
  /** Gets all upcalls unless told otherwise. */
  readonly upcalls: TestClient;
  /** dp_ifindex. */
  readonly ifindex: number;
  private readonly devices: MemoryPort[] = [];

  /**
   * @param devices of ports 1, 2, …; two by default
   * @param features OVS_DP_F_*
   */
  constructor(
    devices: readonly MemoryDevice[] = [{}, {}],
    features = ovs.OVS_DP_F_UNALIGNED | ovs.OVS_DP_F_VPORT_PIDS,
    options: ConstructorParameters<typeof TestKernel>[0] = {},
  ) {
    this.test = new TestKernel(options);
    this.test.kernel.bus.onFault = (error) => {
      throw error;
    };
    this.client = this.test.client();
    this.upcalls = this.test.client();
    this.ifindex = this.client.get({
      family: "ovs_datapath",
      cmd: ovs.OVS_DP_CMD_NEW,
      flags: NLM_F_ECHO,
      version: ovs.OVS_DATAPATH_VERSION,
      attributes: (w) => {
        w.string(ovs.OVS_DP_ATTR_NAME, "dp0");
        w.u32(ovs.OVS_DP_ATTR_UPCALL_PID, this.pid);
        w.u32(ovs.OVS_DP_ATTR_USER_FEATURES, features);
      },
    }).ifindex;
    for (const [index, device] of devices.entries()) {
      const name = `eth${index + 1}`;
      this.devices.push(this.test.ports.addDevice(name, device));
      this.addVport(name, { number: index + 1 });
    }
  }

  get pid(): number {
    return this.upcalls.socket.portId;
  }

  /** The device of port 1, 2, … */
  port(number: number): MemoryPort {
    return this.devices[number - 1];
  }

  /** errno of OVS_VPORT_CMD_NEW. */
  addVport(name: string, options: { number?: number; type?: number; pids?: number[]; ifindex?: number } = {}): number {
    return this.client.errno({
      family: "ovs_vport",
      cmd: ovs.OVS_VPORT_CMD_NEW,
      ifindex: options.ifindex ?? this.ifindex,
      attributes: (w) => {
        if (options.number !== undefined) w.u32(ovs.OVS_VPORT_ATTR_PORT_NO, options.number);
        w.u32(ovs.OVS_VPORT_ATTR_TYPE, options.type ?? ovs.OVS_VPORT_TYPE_NETDEV);
        w.string(ovs.OVS_VPORT_ATTR_NAME, name);
        w.raw(ovs.OVS_VPORT_ATTR_UPCALL_PID, concat(...(options.pids ?? [this.pid]).map(le32)));
      },
    });
  }

  /** An internal port that is up. */
  addInternal(name: string, number?: number): MemoryPort {
    const error = this.addVport(name, { number, type: ovs.OVS_VPORT_TYPE_INTERNAL });
    const port = this.test.ports.device(name);
    if (error !== 0 || port === undefined) throw new Error(`errno ${error}`);
    port.running = true;
    return port;
  }

  /** errno of OVS_VPORT_CMD_DEL. */
  removeVport(number: number): number {
    return this.client.errno({
      family: "ovs_vport",
      cmd: ovs.OVS_VPORT_CMD_DEL,
      ifindex: this.ifindex,
      attributes: (w) => w.u32(ovs.OVS_VPORT_ATTR_PORT_NO, number),
    });
  }

  /** OVS_VPORT_CMD_SET of UPCALL_PID; its errno. */
  setPids(number: number, ...pids: number[]): number {
    return this.client.errno({
      family: "ovs_vport",
      cmd: ovs.OVS_VPORT_CMD_SET,
      ifindex: this.ifindex,
      attributes: (w) => {
        w.u32(ovs.OVS_VPORT_ATTR_PORT_NO, number);
        w.raw(ovs.OVS_VPORT_ATTR_UPCALL_PID, concat(...pids.map(le32)));
      },
    });
  }

  /** OVS_DP_CMD_SET; its errno. */
  setDatapath(features: number, perCpuPids?: number[], cacheSize?: number): number {
    return this.client.errno({
      family: "ovs_datapath",
      cmd: ovs.OVS_DP_CMD_SET,
      version: ovs.OVS_DATAPATH_VERSION,
      ifindex: this.ifindex,
      attributes: (w) => {
        w.u32(ovs.OVS_DP_ATTR_USER_FEATURES, features);
        if (cacheSize !== undefined) w.u32(ovs.OVS_DP_ATTR_MASKS_CACHE_SIZE, cacheSize);
        if (perCpuPids !== undefined) w.raw(ovs.OVS_DP_ATTR_PER_CPU_PIDS, concat(...perCpuPids.map(le32)));
      },
    });
  }

  private flowRequest(cmd: number, match: Match, flags: number, more: (w: MessageWriter) => void): Reply[] {
    const type = match.type ?? 0x0800;
    const ip =
      type === 0x86dd
        ? attr(ovs.OVS_KEY_ATTR_IPV6, new Uint8Array(40))
        : attr(ovs.OVS_KEY_ATTR_IPV4, new Uint8Array(12));
    const port = match.inPort === undefined ? new Uint8Array(0) : inPort(match.inPort);
    const key = [recircId(match.recircId ?? 0), port, attr(ovs.OVS_KEY_ATTR_ETHERNET, new Uint8Array(12))];
    const etherType = (bits: number) => attr(ovs.OVS_KEY_ATTR_ETHERTYPE, u16(bits));
    const none = new Uint8Array(0);
    const { errno, replies } = this.client.ack({
      family: "ovs_flow",
      cmd,
      flags,
      ifindex: this.ifindex,
      attributes: (w) => {
        w.raw(ovs.OVS_FLOW_ATTR_KEY, concat(...key, etherType(type), match.key ?? ip));
        const mask = concat(
          recircId(-1),
          match.inPort === undefined ? none : inPort(-1),
          etherType(0xffff),
          match.mask ?? none,
        );
        w.raw(ovs.OVS_FLOW_ATTR_MASK, mask);
        more(w);
      },
    });
    if (errno !== 0) throw new Error(`flow: errno ${errno}`);
    return replies;
  }

  /** OVS_FLOW_CMD_NEW: makes the flow, or gives it other actions. */
  flow(match: Match, ...actions: Uint8Array[]): void {
    this.flowRequest(ovs.OVS_FLOW_CMD_NEW, match, 0, (w) => w.raw(ovs.OVS_FLOW_ATTR_ACTIONS, concat(...actions)));
  }

  /** OVS_FLOW_CMD_SET. */
  setFlow(match: Match, clear: boolean, ...actions: Uint8Array[]): void {
    this.flowRequest(ovs.OVS_FLOW_CMD_SET, match, 0, (w) => {
      w.raw(ovs.OVS_FLOW_ATTR_ACTIONS, concat(...actions));
      if (clear) w.raw(ovs.OVS_FLOW_ATTR_CLEAR, new Uint8Array(0));
    });
  }

  removeFlow(match: Match): void {
    this.flowRequest(ovs.OVS_FLOW_CMD_DEL, match, 0, () => {});
  }

  flushFlows(): void {
    this.client.errno({ family: "ovs_flow", cmd: ovs.OVS_FLOW_CMD_DEL, ifindex: this.ifindex });
  }

  /** [packets, bytes] of a flow; [0, 0] when STATS is left out. */
  flowStats(match: Match): [packets: number, bytes: number] {
    const [{ view, bytes }] = this.flowRequest(ovs.OVS_FLOW_CMD_GET, match, 0, () => {});
    for (let at = 24; at + 4 <= bytes.length; at += (view.getUint16(at, true) + 3) & ~3) {
      if (view.getUint16(at + 2, true) === ovs.OVS_FLOW_ATTR_STATS)
        return [Number(view.getBigUint64(at + 4, true)), Number(view.getBigUint64(at + 12, true))];
    }
    return [0, 0];
  }

  /** Whether the flow's reply has this attribute. */
  flowHas(match: Match, attribute: number): boolean {
    const [{ view, bytes }] = this.flowRequest(ovs.OVS_FLOW_CMD_GET, match, 0, () => {});
    for (let at = 24; at + 4 <= bytes.length; at += (view.getUint16(at, true) + 3) & ~3)
      if ((view.getUint16(at + 2, true) & 0x3fff) === attribute) return true;
    return false;
  }

  /** The errno of OVS_PACKET_CMD_EXECUTE. */
  execute(packet: Uint8Array, actions: Uint8Array[], options: ExecuteOptions = {}): number {
    return this.client.errno({
      family: "ovs_packet",
      cmd: ovs.OVS_PACKET_CMD_EXECUTE,
      ifindex: this.ifindex,
      attributes: (w) => {
        w.raw(ovs.OVS_PACKET_ATTR_PACKET, packet);
        w.raw(ovs.OVS_PACKET_ATTR_KEY, options.key ?? inPort(1));
        w.raw(ovs.OVS_PACKET_ATTR_ACTIONS, concat(...actions));
        if (options.mru !== undefined) w.u16(ovs.OVS_PACKET_ATTR_MRU, options.mru);
        if (options.hash !== undefined) w.raw(ovs.OVS_PACKET_ATTR_HASH, concat(...options.hash.map(le32)));
      },
    });
  }

  /** The upcalls that are waiting. */
  take(client: TestClient = this.upcalls): SeenUpcall[] {
    const seen: SeenUpcall[] = [];
    for (let datagram = client.socket.receive(); datagram !== null; datagram = client.socket.receive()) {
      const messages = messagesIn(datagram);
      if (messages.length !== 1) throw new Error(`${messages.length} messages in one datagram`);
      seen.push(decode(messages[0]));
    }
    return seen;
  }

  /** The only upcall that is waiting. */
  takeOne(client: TestClient = this.upcalls): SeenUpcall {
    const [one, ...more] = this.take(client);
    if (one === undefined || more.length > 0) throw new Error("expected one upcall");
    return one;
  }

  /** OVS_DP_ATTR_STATS and MEGAFLOW_STATS. */
  stats(): Record<"hit" | "missed" | "lost" | "flows" | "maskHit" | "masks" | "cacheHit", number> {
    const reply = this.client.get({
      family: "ovs_datapath",
      cmd: ovs.OVS_DP_CMD_GET,
      version: ovs.OVS_DATAPATH_VERSION,
      ifindex: this.ifindex,
    });
    const { STATS: s, MEGAFLOW_STATS: m } = datapathAttributes.decode(reply.view, 24, reply.bytes.length);
    if (s === undefined || m === undefined) throw new Error("no statistics");
    const { hit, missed, lost, flows } = s;
    return { hit, missed, lost, flows, maskHit: m.mask_hit, masks: m.masks, cacheHit: m.cache_hit };
  }

  /** The reply to OVS_VPORT_CMD_GET. */
  vport(number: number): SetValues<typeof vportAttributes> {
    const reply = this.client.get({
      family: "ovs_vport",
      cmd: ovs.OVS_VPORT_CMD_GET,
      ifindex: this.ifindex,
      attributes: (w) => w.u32(ovs.OVS_VPORT_ATTR_PORT_NO, number),
    });
    return vportAttributes.decode(reply.view, 24, reply.bytes.length);
  }

  /** [success, fail] of OVS_VPORT_ATTR_UPCALL_STATS. */
  upcallStats(number: number): [success: number, fail: number] {
    const { UPCALL_STATS: stats } = this.vport(number);
    return [stats?.SUCCESS ?? -1, stats?.FAIL ?? -1];
  }
}

function decode(reply: Reply): SeenUpcall {
  const values = packetAttributes.decode(reply.view, 24, reply.bytes.length);
  const { view, bytes } = reply;
  let hash: readonly [number, number] = [-1, -1];
  for (let at = 24; at + 4 <= bytes.length; at += (view.getUint16(at, true) + 3) & ~3) {
    if (view.getUint16(at + 2, true) === ovs.OVS_PACKET_ATTR_HASH)
      hash = [view.getUint32(at + 4, true), view.getUint32(at + 8, true)];
  }
  return {
    command: reply.cmd === ovs.OVS_PACKET_CMD_MISS ? "MISS" : "ACTION",
    ifindex: reply.ifindex,
    order: Object.keys(values),
    key: values.KEY as Record<string, unknown>,
    packet: values.PACKET as Uint8Array,
    length: values.LEN,
    mru: values.MRU,
    hash,
    userdata: values.USERDATA,
    reply,
  };
}
