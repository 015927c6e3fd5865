import { Errno } from "../core/errors.ts";
import type { AttributeReader } from "../netlink/reader.ts";
import type { NetlinkSocket } from "../netlink/socket.ts";
import type { MessageWriter } from "../netlink/writer.ts";
import { EPROTO } from "../uapi/errno.ts";
import { NETLINK_GENERIC, NLM_F_CREATE, NLM_F_ECHO } from "../uapi/netlink.ts";
import * as ovs from "../uapi/openvswitch.ts";
import { drain, type GenlBatch, GenlClient, type GenlFamily, GenlMessage, type Subscription } from "./genl.ts";
import type { SocketOpener } from "./requester.ts";

/** OVS_DP_ATTR_* of one datapath. */
export interface DatapathInfo {
  /** ovs_header.dp_ifindex: interface index of the local port, the datapath's handle everywhere below. */
  readonly ifindex: number;
  readonly name: string;
  readonly stats: { readonly hit: number; readonly missed: number; readonly lost: number; readonly flows: number };
  readonly megaflowStats: { readonly maskHit: number; readonly masks: number; readonly cacheHit: number };
  /** OVS_DP_F_* */
  readonly userFeatures: number;
  readonly masksCacheSize: number;
  readonly perCpuPids: readonly number[] | null;
}

/** OVS_VPORT_ATTR_STATS (struct ovs_vport_stats). */
export interface VportStats {
  readonly rxPackets: number;
  readonly txPackets: number;
  readonly rxBytes: number;
  readonly txBytes: number;
  readonly rxErrors: number;
  readonly txErrors: number;
  readonly rxDropped: number;
  readonly txDropped: number;
}

/** OVS_VPORT_ATTR_* of one vport. */
export interface VportInfo {
  readonly datapath: number;
  readonly portNo: number;
  /** OVS_VPORT_TYPE_* */
  readonly type: number;
  readonly name: string;
  readonly ifindex: number;
  /** Namespace id relative to the requester's, null when it is the same namespace. */
  readonly netnsId: number | null;
  readonly stats: VportStats | null;
  readonly upcallStats: { readonly success: number; readonly fail: number } | null;
  readonly upcallPids: readonly number[];
  /** UDP port of a VXLAN or Geneve vport. */
  readonly tunnelPort: number | null;
  /** Has VXLAN's group policy extension. */
  readonly gbp: boolean;
}

/** OVS_FLOW_ATTR_* of one flow. `key`, `mask` and `actions` are attribute sequences (OVS_KEY_ATTR_*, OVS_ACTION_ATTR_*). */
export interface FlowInfo {
  readonly datapath: number;
  readonly ufid: Uint8Array | null;
  readonly key: Uint8Array | null;
  readonly mask: Uint8Array | null;
  /** null when left out: by UFID_FLAGS, or because it did not fit into a dump (spec/families F-264). */
  readonly actions: Uint8Array | null;
  readonly packets: number;
  readonly bytes: number;
  /** OR of the low 8 TCP flag bits seen. */
  readonly tcpFlags: number;
  /** CLOCK_MONOTONIC milliseconds of the last packet, null when there was none. */
  readonly used: number | null;
}

/** A flow to put. */
export interface FlowSpec {
  readonly key: Uint8Array;
  /** Left out: every bit of the key is matched. */
  readonly mask?: Uint8Array;
  readonly actions: Uint8Array;
  readonly ufid?: Uint8Array;
  readonly probe?: boolean;
  /** NLM_F_CREATE: an existing flow gives EEXIST (spec/families F-222). Default true. */
  readonly create?: boolean;
}

/** How a flow is named: by UFID if it was put with one, else by its key. */
export type FlowId = { readonly ufid: Uint8Array; readonly key?: Uint8Array } | { readonly key: Uint8Array };

/** A packet to execute actions on (OVS_PACKET_CMD_EXECUTE). */
export interface ExecuteSpec {
  readonly packet: Uint8Array;
  /** Metadata of the key: in_port, skb_mark, priority, recirc_id, ct_* … */
  readonly key: Uint8Array;
  readonly actions: Uint8Array;
  readonly probe?: boolean;
  readonly mru?: number;
  readonly hash?: number;
  readonly upcallPid?: number;
}

/** OVS_PACKET_CMD_MISS or OVS_PACKET_CMD_ACTION. All byte arrays view the datagram that brought it. */
export interface Upcall {
  /** OVS_PACKET_CMD_MISS (no flow matched) or OVS_PACKET_CMD_ACTION (a userspace action). */
  readonly command: number;
  readonly datapath: number;
  readonly packet: Uint8Array;
  readonly key: Uint8Array;
  readonly userdata: Uint8Array | null;
  readonly egressTunnelKey: Uint8Array | null;
  readonly actions: Uint8Array | null;
  readonly mru: number | null;
  /** Length before truncation. */
  readonly length: number | null;
  /** Low 32 bits: hash; bit 32: software hash; bit 33: L4 hash. */
  readonly hash: number | null;
}

/** One band of a meter; `rate` in the meter's unit, `burst` in the same times one second. */
export interface MeterBand {
  readonly type?: number;
  readonly rate: number;
  readonly burst: number;
}

/** OVS_METER_ATTR_* of one meter. */
export interface MeterInfo {
  readonly datapath: number;
  readonly id: number | null;
  readonly packets: number;
  readonly bytes: number;
  readonly used: number | null;
  readonly bands: readonly { readonly packets: number; readonly bytes: number }[];
}

/** struct ovs_zone_limit; zone -1 is the default of all zones. */
export interface ZoneLimit {
  readonly zone: number;
  readonly limit: number;
  readonly count: number;
}

/** A notification of ovs_datapath, ovs_vport or ovs_flow. */
export type Notification =
  | { readonly family: "ovs_datapath"; readonly command: number; readonly datapath: DatapathInfo }
  | { readonly family: "ovs_vport"; readonly command: number; readonly vport: VportInfo }
  | { readonly family: "ovs_flow"; readonly command: number; readonly flow: FlowInfo };

/**
 * The datapath as user space sees it: the families of openvswitch.ko, typed. Every call is one request, synchronous.
 *
 * @example
 * const client = new OvsClient(connect());
 * const { ifindex } = client.createDatapath("dp0");
 * client.createVport(ifindex, { name: "veth1", type: OVS_VPORT_TYPE_NETDEV });
 * for (const flow of client.flows(ifindex)) console.log(formatFlow(flow));
 */
export class OvsClient {
  readonly genl: GenlClient;
  readonly families: {
    readonly datapath: GenlFamily;
    readonly vport: GenlFamily;
    readonly flow: GenlFamily;
    readonly packet: GenlFamily;
  };

  /** @throws Errno ENOENT when nothing answers for the families: the datapath is not there */
  constructor(readonly opener: SocketOpener) {
    this.genl = new GenlClient(opener);
    this.families = {
      datapath: this.genl.family(ovs.OVS_DATAPATH_FAMILY),
      vport: this.genl.family(ovs.OVS_VPORT_FAMILY),
      flow: this.genl.family(ovs.OVS_FLOW_FAMILY),
      packet: this.genl.family(ovs.OVS_PACKET_FAMILY),
    };
  }

  /** Creates a datapath and its local port. @throws Errno EEXIST, EINVAL, EOPNOTSUPP (spec/families F-086…F-102) */
  createDatapath(
    name: string,
    options: {
      upcallPid?: number;
      userFeatures?: number;
      masksCacheSize?: number;
      perCpuPids?: readonly number[];
      ifindex?: number;
    } = {},
  ): DatapathInfo {
    return decodeDatapath(
      this.single(
        this.families.datapath,
        ovs.OVS_DP_CMD_NEW,
        (w) => {
          w.rawU32(0);
          w.string(ovs.OVS_DP_ATTR_NAME, name);
          w.u32(ovs.OVS_DP_ATTR_UPCALL_PID, options.upcallPid ?? 0);
          w.u32(ovs.OVS_DP_ATTR_USER_FEATURES, options.userFeatures ?? 0);
          if (options.masksCacheSize !== undefined) w.u32(ovs.OVS_DP_ATTR_MASKS_CACHE_SIZE, options.masksCacheSize);
          if (options.perCpuPids !== undefined) u32s(w, ovs.OVS_DP_ATTR_PER_CPU_PIDS, options.perCpuPids);
          if (options.ifindex !== undefined) w.u32(ovs.OVS_DP_ATTR_IFINDEX, options.ifindex);
        },
        NLM_F_ECHO,
      ),
    );
  }

  /** Features left out become 0, as in the kernel (spec/families F-106). */
  setDatapath(
    datapath: number | string,
    options: { userFeatures: number; masksCacheSize?: number; perCpuPids?: readonly number[] },
  ): DatapathInfo {
    return decodeDatapath(
      this.single(
        this.families.datapath,
        ovs.OVS_DP_CMD_SET,
        (w) => {
          datapathRef(w, datapath);
          w.u32(ovs.OVS_DP_ATTR_USER_FEATURES, options.userFeatures);
          if (options.masksCacheSize !== undefined) w.u32(ovs.OVS_DP_ATTR_MASKS_CACHE_SIZE, options.masksCacheSize);
          if (options.perCpuPids !== undefined) u32s(w, ovs.OVS_DP_ATTR_PER_CPU_PIDS, options.perCpuPids);
        },
        NLM_F_ECHO,
      ),
    );
  }

  /** Deletes a datapath with its ports and flows. */
  deleteDatapath(datapath: number | string): void {
    this.genl.request(this.families.datapath, ovs.OVS_DP_CMD_DEL, (w) => datapathRef(w, datapath));
  }

  /** By name or interface index. @throws Errno ENODEV */
  datapath(datapath: number | string): DatapathInfo {
    return decodeDatapath(this.single(this.families.datapath, ovs.OVS_DP_CMD_GET, (w) => datapathRef(w, datapath)));
  }

  datapaths(): DatapathInfo[] {
    const found: DatapathInfo[] = [];
    for (const message of this.genl.dump(this.families.datapath, ovs.OVS_DP_CMD_GET, (w) => w.rawU32(0))) {
      found.push(decodeDatapath(message));
    }
    return found;
  }

  /** @throws Errno ENODEV, EBUSY, EEXIST, EINVAL, EAFNOSUPPORT (spec/families F-144…F-166) */
  createVport(
    datapath: number,
    options: {
      name: string;
      type: number;
      portNo?: number;
      upcallPids?: readonly number[];
      /** UDP port of a VXLAN or GENEVE port. */
      tunnelPort?: number;
      /** VXLAN with the group policy extension. */
      gbp?: boolean;
      ifindex?: number;
    },
  ): VportInfo {
    return decodeVport(
      this.single(
        this.families.vport,
        ovs.OVS_VPORT_CMD_NEW,
        (w) => {
          w.rawU32(datapath);
          w.string(ovs.OVS_VPORT_ATTR_NAME, options.name);
          w.u32(ovs.OVS_VPORT_ATTR_TYPE, options.type);
          u32s(w, ovs.OVS_VPORT_ATTR_UPCALL_PID, options.upcallPids ?? [0]);
          if (options.portNo !== undefined) w.u32(ovs.OVS_VPORT_ATTR_PORT_NO, options.portNo);
          if (options.ifindex !== undefined) w.u32(ovs.OVS_VPORT_ATTR_IFINDEX, options.ifindex);
          if (options.tunnelPort !== undefined) {
            const nest = w.nest(ovs.OVS_VPORT_ATTR_OPTIONS);
            w.u16(ovs.OVS_TUNNEL_ATTR_DST_PORT, options.tunnelPort);
            if (options.gbp) {
              const extension = w.nest(ovs.OVS_TUNNEL_ATTR_EXTENSION);
              w.flag(ovs.OVS_VXLAN_EXT_GBP);
              w.endNest(extension);
            }
            w.endNest(nest);
          }
        },
        NLM_F_ECHO,
      ),
    );
  }

  /** Replaces the port ids that its upcalls go to. */
  setVport(datapath: number, port: number | string, options: { upcallPids?: readonly number[] }): VportInfo {
    return decodeVport(
      this.single(
        this.families.vport,
        ovs.OVS_VPORT_CMD_SET,
        (w) => {
          w.rawU32(datapath);
          vportRef(w, port);
          if (options.upcallPids !== undefined) u32s(w, ovs.OVS_VPORT_ATTR_UPCALL_PID, options.upcallPids);
        },
        NLM_F_ECHO,
      ),
    );
  }

  deleteVport(datapath: number, port: number | string): void {
    this.genl.request(this.families.vport, ovs.OVS_VPORT_CMD_DEL, (w) => {
      w.rawU32(datapath);
      vportRef(w, port);
    });
  }

  /** By name (datapath 0: of any datapath) or by number. @throws Errno ENODEV */
  vport(datapath: number, port: number | string): VportInfo {
    return decodeVport(
      this.single(this.families.vport, ovs.OVS_VPORT_CMD_GET, (w) => {
        w.rawU32(datapath);
        vportRef(w, port);
      }),
    );
  }

  vports(datapath: number): VportInfo[] {
    const found: VportInfo[] = [];
    for (const message of this.genl.dump(this.families.vport, ovs.OVS_VPORT_CMD_GET, (w) => w.rawU32(datapath))) {
      found.push(decodeVport(message));
    }
    return found;
  }

  /** Puts a new flow. @throws Errno EEXIST, EINVAL, ENODEV … (spec/families F-217…F-232) */
  putFlow(datapath: number, flow: FlowSpec): void {
    this.genl.request(
      this.families.flow,
      ovs.OVS_FLOW_CMD_NEW,
      (w) => writeFlow(w, datapath, flow),
      flow.create === false ? 0 : NLM_F_CREATE,
    );
  }

  /**
   * Changes a flow's actions, or clears its statistics.
   * @returns the flow as it was when its statistics were cleared
   * @throws Errno ENOENT
   */
  setFlow(
    datapath: number,
    id: FlowId,
    options: { actions?: Uint8Array; mask?: Uint8Array; clear?: boolean },
  ): FlowInfo {
    return decodeFlow(
      this.single(
        this.families.flow,
        ovs.OVS_FLOW_CMD_SET,
        (w) => {
          w.rawU32(datapath);
          flowRef(w, id);
          if (options.mask !== undefined) w.raw(ovs.OVS_FLOW_ATTR_MASK, options.mask);
          if (options.actions !== undefined) w.raw(ovs.OVS_FLOW_ATTR_ACTIONS, options.actions);
          if (options.clear) w.flag(ovs.OVS_FLOW_ATTR_CLEAR);
        },
        NLM_F_ECHO,
      ),
    );
  }

  /** @throws Errno ENOENT */
  flow(datapath: number, id: FlowId, ufidFlags = 0): FlowInfo {
    return decodeFlow(
      this.single(this.families.flow, ovs.OVS_FLOW_CMD_GET, (w) => {
        w.rawU32(datapath);
        flowRef(w, id);
        if (ufidFlags !== 0) w.u32(ovs.OVS_FLOW_ATTR_UFID_FLAGS, ufidFlags);
      }),
    );
  }

  /** Deletes a flow. @returns it with its last statistics @throws Errno ENOENT */
  deleteFlow(datapath: number, id: FlowId): FlowInfo {
    return decodeFlow(
      this.single(
        this.families.flow,
        ovs.OVS_FLOW_CMD_DEL,
        (w) => {
          w.rawU32(datapath);
          flowRef(w, id);
        },
        NLM_F_ECHO,
      ),
    );
  }

  /** Deletes all flows of a datapath. */
  flushFlows(datapath: number): void {
    this.genl.request(this.families.flow, ovs.OVS_FLOW_CMD_DEL, (w) => w.rawU32(datapath));
  }

  /**
   * Walks the flows as they come; the caller may stop early.
   * @param ufidFlags OVS_UFID_F_OMIT_*: what to leave out
   */
  *flows(datapath: number, ufidFlags = 0): IterableIterator<FlowInfo> {
    const messages = this.genl.dump(this.families.flow, ovs.OVS_FLOW_CMD_GET, (w) => {
      w.rawU32(datapath);
      if (ufidFlags !== 0) w.u32(ovs.OVS_FLOW_ATTR_UFID_FLAGS, ufidFlags);
    });
    for (const message of messages) yield decodeFlow(message);
  }

  /** Runs actions on a packet. @throws Errno as validation or an action failed (spec/families F-280…F-286) */
  execute(datapath: number, spec: ExecuteSpec): void {
    this.genl.request(this.families.packet, ovs.OVS_PACKET_CMD_EXECUTE, (w) => writeExecute(w, datapath, spec));
  }

  /** Requests that leave in one datagram without acknowledgements: the answer to upcalls. */
  batch(): OvsBatch {
    return new OvsBatch(this);
  }

  /** A socket that upcalls may be sent to: its `portId` is what upcallPid options want. */
  openUpcalls(): UpcallSocket {
    return new UpcallSocket(this.opener.open(NETLINK_GENERIC), this.families.packet);
  }

  /** Listens to the groups of ovs_datapath, ovs_vport and ovs_flow, or to those named. */
  subscribe(
    onNotification: (notification: Notification) => void,
    names: readonly Notification["family"][] = ["ovs_datapath", "ovs_vport", "ovs_flow"],
    onLost?: () => void,
  ): { close(): void } {
    const subscriptions: Subscription[] = names.map((name) =>
      this.genl.subscribe(
        this.genl.family(name),
        (message) => onNotification(decodeNotification(name, message)),
        [name],
        onLost,
      ),
    );
    return {
      close: () => {
        for (const subscription of subscriptions) subscription.close();
      },
    };
  }

  /** Sets a meter. @throws Errno EINVAL, EFBIG, EBUSY (spec/families F-303…F-314) */
  setMeter(
    datapath: number,
    id: number,
    options: { kbps?: boolean; bands: readonly MeterBand[]; clear?: boolean },
  ): MeterInfo {
    return decodeMeter(
      this.single(this.genl.family(ovs.OVS_METER_FAMILY), ovs.OVS_METER_CMD_SET, (w) => {
        w.rawU32(datapath);
        w.u32(ovs.OVS_METER_ATTR_ID, id);
        if (options.kbps) w.flag(ovs.OVS_METER_ATTR_KBPS);
        const bands = w.nest(ovs.OVS_METER_ATTR_BANDS);
        for (const band of options.bands) {
          const nest = w.nest(ovs.OVS_BAND_ATTR_UNSPEC);
          w.u32(ovs.OVS_BAND_ATTR_TYPE, band.type ?? ovs.OVS_METER_BAND_TYPE_DROP);
          w.u32(ovs.OVS_BAND_ATTR_RATE, band.rate);
          w.u32(ovs.OVS_BAND_ATTR_BURST, band.burst);
          w.endNest(nest);
        }
        w.endNest(bands);
        if (options.clear) w.flag(ovs.OVS_METER_ATTR_CLEAR);
      }),
    );
  }

  /** @throws Errno ENOENT */
  meter(datapath: number, id: number): MeterInfo {
    return decodeMeter(this.meterById(ovs.OVS_METER_CMD_GET, datapath, id));
  }

  /** Deletes a meter; an unknown one is no error. */
  deleteMeter(datapath: number, id: number): MeterInfo {
    return decodeMeter(this.meterById(ovs.OVS_METER_CMD_DEL, datapath, id));
  }

  meterFeatures(datapath: number): { maxMeters: number; maxBands: number; bandTypes: number[] } {
    const message = this.single(this.genl.family(ovs.OVS_METER_FAMILY), ovs.OVS_METER_CMD_FEATURES, (w) =>
      w.rawU32(datapath),
    );
    const features = { maxMeters: 0, maxBands: 0, bandTypes: [] as number[] };
    const attributes = message.attributes();
    while (attributes.next()) {
      if (attributes.type === ovs.OVS_METER_ATTR_MAX_METERS) features.maxMeters = attributes.u32();
      else if (attributes.type === ovs.OVS_METER_ATTR_MAX_BANDS) features.maxBands = attributes.u32();
      else if (attributes.type === ovs.OVS_METER_ATTR_BANDS) {
        for (const band of children(attributes)) {
          for (const field of children(band)) {
            if (field.type === ovs.OVS_BAND_ATTR_TYPE) features.bandTypes.push(field.u32());
          }
        }
      }
    }
    return features;
  }

  /** Sets limits of connections by zone; zone -1 sets the default. */
  setZoneLimits(limits: readonly { zone: number; limit: number }[]): void {
    this.zoneLimitRequest(ovs.OVS_CT_LIMIT_CMD_SET, limits);
  }

  /** Gives zones back to the default limit. */
  deleteZoneLimits(zones: readonly number[]): void {
    this.zoneLimitRequest(
      ovs.OVS_CT_LIMIT_CMD_DEL,
      zones.map((zone) => ({ zone, limit: 0 })),
    );
  }

  /** The default (zone -1) and every zone with a limit of its own, or the zones asked for. */
  zoneLimits(zones?: readonly number[]): ZoneLimit[] {
    const replies = this.zoneLimitRequest(
      ovs.OVS_CT_LIMIT_CMD_GET,
      zones?.map((zone) => ({ zone, limit: 0 })),
    );
    const found: ZoneLimit[] = [];
    for (const message of replies) {
      const attributes = message.attributes();
      while (attributes.next()) {
        if (attributes.type !== ovs.OVS_CT_LIMIT_ATTR_ZONE_LIMIT) continue;
        const { view, offset, length } = attributes;
        for (let at = offset; at + ZONE_LIMIT_BYTES <= offset + length; at += ZONE_LIMIT_BYTES) {
          found.push({
            zone: view.getInt32(at, true),
            limit: view.getUint32(at + 4, true),
            count: view.getUint32(at + 8, true),
          });
        }
      }
    }
    return found;
  }

  /** Closes the sockets of requests; subscriptions and upcall sockets live on. */
  close(): void {
    this.genl.close();
  }

  private meterById(command: number, datapath: number, id: number): GenlMessage {
    return this.single(this.genl.family(ovs.OVS_METER_FAMILY), command, (w) => {
      w.rawU32(datapath);
      w.u32(ovs.OVS_METER_ATTR_ID, id);
    });
  }

  private zoneLimitRequest(command: number, limits?: readonly { zone: number; limit: number }[]): GenlMessage[] {
    return this.genl.request(this.genl.family(ovs.OVS_CT_LIMIT_FAMILY), command, (w) => {
      w.rawU32(0);
      if (limits === undefined) return;
      let at = w.attr(ovs.OVS_CT_LIMIT_ATTR_ZONE_LIMIT, limits.length * ZONE_LIMIT_BYTES);
      for (const { zone, limit } of limits) {
        w.view.setInt32(at, zone, true);
        w.view.setUint32(at + 4, limit, true);
        w.view.setUint32(at + 8, 0, true);
        at += ZONE_LIMIT_BYTES;
      }
    });
  }

  private single(family: GenlFamily, command: number, build: (w: MessageWriter) => void, flags = 0): GenlMessage {
    const replies = this.genl.request(family, command, build, flags);
    if (replies.length === 0) throw new Errno(EPROTO, `${family.name} acknowledged command ${command} without a reply`);
    return replies[0];
  }
}

/** Requests that leave together, in order, none acknowledged; only failures come back (see Batch). */
export class OvsBatch {
  private readonly batch: GenlBatch;
  constructor(private readonly client: OvsClient) {
    this.batch = client.genl.batch();
  }
  get length(): number {
    return this.batch.length;
  }
  /** @returns the index of the request, for send()'s onError */
  putFlow(datapath: number, flow: FlowSpec): number {
    const flags = flow.create === false ? 0 : NLM_F_CREATE;
    return this.batch.add(this.client.families.flow, ovs.OVS_FLOW_CMD_NEW, (w) => writeFlow(w, datapath, flow), flags);
  }
  deleteFlow(datapath: number, id: FlowId): number {
    return this.batch.add(this.client.families.flow, ovs.OVS_FLOW_CMD_DEL, (w) => {
      w.rawU32(datapath);
      flowRef(w, id);
    });
  }
  execute(datapath: number, spec: ExecuteSpec): number {
    return this.batch.add(this.client.families.packet, ovs.OVS_PACKET_CMD_EXECUTE, (w) =>
      writeExecute(w, datapath, spec),
    );
  }
  /** @returns the number of failed requests */
  send(onError?: (index: number, error: Errno) => void): number {
    return this.batch.send(onError);
  }
}

/** A netlink socket that the datapath sends upcalls to. */
export class UpcallSocket {
  /** Upcalls lost because this socket was full, as often as the socket told (ENOBUFS). */
  lost = 0;

  constructor(
    readonly socket: NetlinkSocket,
    private readonly packetFamily: GenlFamily,
  ) {}

  get portId(): number {
    return this.socket.portId;
  }

  /** Called when upcalls arrive; drain() then takes them. */
  set onReadable(callback: (() => void) | null) {
    this.socket.onReadable = callback;
  }

  /** Hands over everything that waits. @returns the number of upcalls */
  drain(onUpcall: (upcall: Upcall) => void): number {
    let count = 0;
    drain(
      this.socket,
      (message) => {
        if (message.type !== this.packetFamily.id) return;
        count++;
        onUpcall(decodeUpcall(new GenlMessage(message, this.packetFamily.headerSize)));
      },
      () => this.lost++,
    );
    return count;
  }

  close(): void {
    this.socket.onReadable = null;
    this.socket.close();
  }
}

const ZONE_LIMIT_BYTES = 12;
const EMPTY: Uint8Array = new Uint8Array(0);

function writeFlow(w: MessageWriter, datapath: number, flow: FlowSpec): void {
  w.rawU32(datapath);
  if (flow.ufid !== undefined) w.raw(ovs.OVS_FLOW_ATTR_UFID, flow.ufid);
  w.raw(ovs.OVS_FLOW_ATTR_KEY, flow.key);
  if (flow.mask !== undefined) w.raw(ovs.OVS_FLOW_ATTR_MASK, flow.mask);
  w.raw(ovs.OVS_FLOW_ATTR_ACTIONS, flow.actions);
  if (flow.probe) w.flag(ovs.OVS_FLOW_ATTR_PROBE);
}

function writeExecute(w: MessageWriter, datapath: number, spec: ExecuteSpec): void {
  w.rawU32(datapath);
  w.raw(ovs.OVS_PACKET_ATTR_PACKET, spec.packet);
  w.raw(ovs.OVS_PACKET_ATTR_KEY, spec.key);
  w.raw(ovs.OVS_PACKET_ATTR_ACTIONS, spec.actions);
  if (spec.probe) w.flag(ovs.OVS_PACKET_ATTR_PROBE);
  if (spec.mru) w.u16(ovs.OVS_PACKET_ATTR_MRU, spec.mru);
  if (spec.hash !== undefined) w.u64(ovs.OVS_PACKET_ATTR_HASH, spec.hash);
  if (spec.upcallPid !== undefined) w.u32(ovs.OVS_PACKET_ATTR_UPCALL_PID, spec.upcallPid);
}

function datapathRef(w: MessageWriter, datapath: number | string): void {
  if (typeof datapath === "number") w.rawU32(datapath);
  else {
    w.rawU32(0);
    w.string(ovs.OVS_DP_ATTR_NAME, datapath);
  }
}

function vportRef(w: MessageWriter, port: number | string): void {
  if (typeof port === "number") w.u32(ovs.OVS_VPORT_ATTR_PORT_NO, port);
  else w.string(ovs.OVS_VPORT_ATTR_NAME, port);
}

function flowRef(w: MessageWriter, id: FlowId): void {
  if ("ufid" in id) w.raw(ovs.OVS_FLOW_ATTR_UFID, id.ufid);
  if (id.key !== undefined) w.raw(ovs.OVS_FLOW_ATTR_KEY, id.key);
}

function u32s(w: MessageWriter, type: number, values: readonly number[]): void {
  const at = w.attr(type, values.length * 4);
  for (let i = 0; i < values.length; i++) w.view.setUint32(at + i * 4, values[i], true);
}

function readU32s(attribute: AttributeReader): number[] {
  const values: number[] = [];
  for (let at = 0; at + 4 <= attribute.length; at += 4) {
    values.push(attribute.view.getUint32(attribute.offset + at, true));
  }
  return values;
}

/** The u64 at byte `at` of an attribute's payload; 0 past its end. */
function u64At(attribute: AttributeReader, at: number): number {
  if (at + 8 > attribute.length) return 0;
  const { view, offset } = attribute;
  return view.getUint32(offset + at, true) + view.getUint32(offset + at + 4, true) * 0x1_0000_0000;
}

function* children(attribute: AttributeReader): IterableIterator<AttributeReader> {
  const nested = attribute.nested();
  while (nested.next()) yield nested;
}

/** ovs_header.dp_ifindex of a message. */
function datapathOf(message: GenlMessage): number {
  return message.view.getInt32(message.header, true);
}

/** Reads OVS_DP_ATTR_*. */
export function decodeDatapath(message: GenlMessage): DatapathInfo {
  let name = "";
  let stats = { hit: 0, missed: 0, lost: 0, flows: 0 };
  let megaflowStats = { maskHit: 0, masks: 0, cacheHit: 0 };
  let userFeatures = 0;
  let masksCacheSize = 0;
  let perCpuPids: number[] | null = null;
  const attribute = message.attributes();
  while (attribute.next()) {
    switch (attribute.type) {
      case ovs.OVS_DP_ATTR_NAME:
        name = attribute.string();
        break;
      case ovs.OVS_DP_ATTR_STATS:
        stats = {
          hit: u64At(attribute, 0),
          missed: u64At(attribute, 8),
          lost: u64At(attribute, 16),
          flows: u64At(attribute, 24),
        };
        break;
      case ovs.OVS_DP_ATTR_MEGAFLOW_STATS:
        megaflowStats = {
          maskHit: u64At(attribute, 0),
          masks: attribute.length >= 12 ? attribute.view.getUint32(attribute.offset + 8, true) : 0,
          cacheHit: u64At(attribute, 16),
        };
        break;
      case ovs.OVS_DP_ATTR_USER_FEATURES:
        userFeatures = attribute.u32();
        break;
      case ovs.OVS_DP_ATTR_MASKS_CACHE_SIZE:
        masksCacheSize = attribute.u32();
        break;
      case ovs.OVS_DP_ATTR_PER_CPU_PIDS:
        perCpuPids = readU32s(attribute);
        break;
    }
  }
  return { ifindex: datapathOf(message), name, stats, megaflowStats, userFeatures, masksCacheSize, perCpuPids };
}

/** Reads OVS_VPORT_ATTR_*. */
export function decodeVport(message: GenlMessage): VportInfo {
  let portNo = -1;
  let type = ovs.OVS_VPORT_TYPE_UNSPEC;
  let name = "";
  let ifindex = 0;
  let netnsId: number | null = null;
  let stats: VportStats | null = null;
  let upcallStats: VportInfo["upcallStats"] = null;
  let upcallPids: number[] = [];
  let tunnelPort: number | null = null;
  let gbp = false;
  const attribute = message.attributes();
  while (attribute.next()) {
    switch (attribute.type) {
      case ovs.OVS_VPORT_ATTR_PORT_NO:
        portNo = attribute.u32();
        break;
      case ovs.OVS_VPORT_ATTR_TYPE:
        type = attribute.u32();
        break;
      case ovs.OVS_VPORT_ATTR_NAME:
        name = attribute.string();
        break;
      case ovs.OVS_VPORT_ATTR_IFINDEX:
        ifindex = attribute.u32();
        break;
      case ovs.OVS_VPORT_ATTR_NETNSID:
        netnsId = attribute.s32();
        break;
      case ovs.OVS_VPORT_ATTR_UPCALL_PID:
        upcallPids = readU32s(attribute);
        break;
      case ovs.OVS_VPORT_ATTR_STATS:
        stats = {
          rxPackets: u64At(attribute, 0),
          txPackets: u64At(attribute, 8),
          rxBytes: u64At(attribute, 16),
          txBytes: u64At(attribute, 24),
          rxErrors: u64At(attribute, 32),
          txErrors: u64At(attribute, 40),
          rxDropped: u64At(attribute, 48),
          txDropped: u64At(attribute, 56),
        };
        break;
      case ovs.OVS_VPORT_ATTR_UPCALL_STATS: {
        let success = 0;
        let fail = 0;
        for (const counter of children(attribute)) {
          if (counter.length !== 8) continue;
          if (counter.type === ovs.OVS_VPORT_UPCALL_ATTR_SUCCESS) success = counter.u64();
          else if (counter.type === ovs.OVS_VPORT_UPCALL_ATTR_FAIL) fail = counter.u64();
        }
        upcallStats = { success, fail };
        break;
      }
      case ovs.OVS_VPORT_ATTR_OPTIONS:
        for (const option of children(attribute)) {
          if (option.type === ovs.OVS_TUNNEL_ATTR_DST_PORT) tunnelPort = option.u16();
          else if (option.type === ovs.OVS_TUNNEL_ATTR_EXTENSION) gbp = option.nested().next();
        }
        break;
    }
  }
  const datapath = datapathOf(message);
  return { datapath, portNo, type, name, ifindex, netnsId, stats, upcallStats, upcallPids, tunnelPort, gbp };
}

/** Reads OVS_FLOW_ATTR_*. */
export function decodeFlow(message: GenlMessage): FlowInfo {
  let ufid: Uint8Array | null = null;
  let key: Uint8Array | null = null;
  let mask: Uint8Array | null = null;
  let actions: Uint8Array | null = null;
  let packets = 0;
  let bytes = 0;
  let tcpFlags = 0;
  let used: number | null = null;
  const attribute = message.attributes();
  while (attribute.next()) {
    switch (attribute.type) {
      case ovs.OVS_FLOW_ATTR_UFID:
        ufid = attribute.bytes();
        break;
      case ovs.OVS_FLOW_ATTR_KEY:
        key = attribute.bytes();
        break;
      case ovs.OVS_FLOW_ATTR_MASK:
        mask = attribute.bytes();
        break;
      case ovs.OVS_FLOW_ATTR_ACTIONS:
        actions = attribute.bytes();
        break;
      case ovs.OVS_FLOW_ATTR_STATS:
        packets = u64At(attribute, 0);
        bytes = u64At(attribute, 8);
        break;
      case ovs.OVS_FLOW_ATTR_TCP_FLAGS:
        tcpFlags = attribute.u8();
        break;
      case ovs.OVS_FLOW_ATTR_USED:
        used = attribute.u64();
        break;
    }
  }
  return { datapath: datapathOf(message), ufid, key, mask, actions, packets, bytes, tcpFlags, used };
}

/** Reads an upcall: OVS_PACKET_ATTR_* of MISS and ACTION. */
export function decodeUpcall(message: GenlMessage): Upcall {
  let packet: Uint8Array = EMPTY;
  let key: Uint8Array = EMPTY;
  let userdata: Uint8Array | null = null;
  let egressTunnelKey: Uint8Array | null = null;
  let actions: Uint8Array | null = null;
  let mru: number | null = null;
  let length: number | null = null;
  let hash: number | null = null;
  const attribute = message.attributes();
  while (attribute.next()) {
    switch (attribute.type) {
      case ovs.OVS_PACKET_ATTR_PACKET:
        packet = attribute.bytes();
        break;
      case ovs.OVS_PACKET_ATTR_KEY:
        key = attribute.bytes();
        break;
      case ovs.OVS_PACKET_ATTR_USERDATA:
        userdata = attribute.bytes();
        break;
      case ovs.OVS_PACKET_ATTR_EGRESS_TUN_KEY:
        egressTunnelKey = attribute.bytes();
        break;
      case ovs.OVS_PACKET_ATTR_ACTIONS:
        actions = attribute.bytes();
        break;
      case ovs.OVS_PACKET_ATTR_MRU:
        mru = attribute.u16();
        break;
      case ovs.OVS_PACKET_ATTR_LEN:
        length = attribute.u32();
        break;
      case ovs.OVS_PACKET_ATTR_HASH:
        hash = attribute.u64();
        break;
    }
  }
  const { command } = message;
  const datapath = datapathOf(message);
  return { command, datapath, packet, key, userdata, egressTunnelKey, actions, mru, length, hash };
}

function decodeMeter(message: GenlMessage): MeterInfo {
  let id: number | null = null;
  let packets = 0;
  let bytes = 0;
  let used: number | null = null;
  const bands: { packets: number; bytes: number }[] = [];
  const attribute = message.attributes();
  while (attribute.next()) {
    switch (attribute.type) {
      case ovs.OVS_METER_ATTR_ID:
        id = attribute.u32();
        break;
      case ovs.OVS_METER_ATTR_STATS:
        packets = u64At(attribute, 0);
        bytes = u64At(attribute, 8);
        break;
      case ovs.OVS_METER_ATTR_USED:
        used = attribute.u64();
        break;
      case ovs.OVS_METER_ATTR_BANDS:
        for (const band of children(attribute)) {
          for (const field of children(band)) {
            if (field.type === ovs.OVS_BAND_ATTR_STATS)
              bands.push({ packets: u64At(field, 0), bytes: u64At(field, 8) });
          }
        }
        break;
    }
  }
  return { datapath: datapathOf(message), id, packets, bytes, used, bands };
}

function decodeNotification(family: Notification["family"], message: GenlMessage): Notification {
  const { command } = message;
  switch (family) {
    case "ovs_datapath":
      return { family, command, datapath: decodeDatapath(message) };
    case "ovs_vport":
      return { family, command, vport: decodeVport(message) };
    case "ovs_flow":
      return { family, command, flow: decodeFlow(message) };
  }
}
