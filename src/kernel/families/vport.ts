import { Errno } from "../../core/errors.ts";
import type { KernelProfile } from "../../core/kernel-profile.ts";
import { type Datapaths, MAX_PORTS } from "../../datapath/datapaths.ts";
import type { Vport } from "../../datapath/vport.ts";
import type { MessageWriter } from "../../netlink/writer.ts";
import type { TunnelOptions } from "../../port/port.ts";
import { tunnelOptions, vportAttributes, vxlanExtension } from "../../schema/openvswitch.ts";
import type { TunnelVport } from "../../tunnel/kind.ts";
import { tunnelVport } from "../../tunnel/kinds/index.ts";
import { EFBIG, EINVAL, ENODEV, EOPNOTSUPP } from "../../uapi/errno.ts";
import { GENL_UNS_ADMIN_PERM } from "../../uapi/genetlink.ts";
import * as ovs from "../../uapi/openvswitch.ts";
import type { GenlFamily, GenlRequest } from "../genl-family.ts";
import { beginOvs, dpIfindex, OVS_HEADER_SIZE, OvsDump } from "../ovs-header.ts";
import { pidsOf } from "./datapath.ts";

const NLA_HDRLEN = 4;
/** DP_VPORT_HASH_BUCKETS (spec/tables T-097). */
const BUCKETS = 1024;

/** The ovs_vport family (spec/families sections 6 and 7). */
export function vportFamily(datapaths: Datapaths, kernel: KernelProfile): GenlFamily {
  const attributes = vportAttributes.asOf(kernel.version);
  /** Order of creation: within a bucket, dumps show the newest first (spec/families F-187). */
  const created = new WeakMap<Vport, number>();
  let count = 0;

  function create(request: GenlRequest): void {
    const { attrs } = request;
    if (
      !attrs.has(ovs.OVS_VPORT_ATTR_NAME) ||
      !attrs.has(ovs.OVS_VPORT_ATTR_TYPE) ||
      !attrs.has(ovs.OVS_VPORT_ATTR_UPCALL_PID)
    )
      throw new Errno(EINVAL);
    const type = attrs.u32(ovs.OVS_VPORT_ATTR_TYPE);
    const tunnel = tunnelVport(type);
    const hasIfindex = attrs.has(ovs.OVS_VPORT_ATTR_IFINDEX);
    if (hasIfindex && type !== ovs.OVS_VPORT_TYPE_INTERNAL) throw new Errno(EOPNOTSUPP);
    const portNo = attrs.has(ovs.OVS_VPORT_ATTR_PORT_NO) ? attrs.u32(ovs.OVS_VPORT_ATTR_PORT_NO) : 0;
    if (portNo >= MAX_PORTS) throw new Errno(EFBIG);
    const datapath = datapaths.byIfindex(dpIfindex(request));
    if (datapath === undefined) throw new Errno(ENODEV);
    const vport = datapaths.addVport(
      datapath,
      attrs.string(ovs.OVS_VPORT_ATTR_NAME),
      type,
      portNo,
      pidsOf(attrs, ovs.OVS_VPORT_ATTR_UPCALL_PID),
      hasIfindex ? attrs.s32(ovs.OVS_VPORT_ATTR_IFINDEX) : 0,
      tunnel?.hasOptions === true ? parseTunnelOptions(request, tunnel) : undefined,
    );
    created.set(vport, ++count);
    answer(request, ovs.OVS_VPORT_CMD_NEW, vport);
    request.notify();
  }

  function remove(request: GenlRequest): void {
    const vport = lookup(request);
    if (vport.portNo === ovs.OVSP_LOCAL) throw new Errno(EINVAL);
    answer(request, ovs.OVS_VPORT_CMD_DEL, vport);
    datapaths.removeVport(vport);
    request.notify();
  }

  function get(request: GenlRequest): void {
    answer(request, ovs.OVS_VPORT_CMD_GET, lookup(request));
    request.reply();
  }

  function set(request: GenlRequest): void {
    const { attrs } = request;
    const vport = lookup(request);
    if (attrs.has(ovs.OVS_VPORT_ATTR_TYPE) && attrs.u32(ovs.OVS_VPORT_ATTR_TYPE) !== vport.type)
      throw new Errno(EINVAL);
    if (attrs.has(ovs.OVS_VPORT_ATTR_OPTIONS)) throw new Errno(EOPNOTSUPP);
    if (attrs.has(ovs.OVS_VPORT_ATTR_UPCALL_PID))
      datapaths.setUpcallPids(vport, pidsOf(attrs, ovs.OVS_VPORT_ATTR_UPCALL_PID));
    answer(request, ovs.OVS_VPORT_CMD_SET, vport);
    request.notify();
  }

  /** spec/families F-177 to F-184. */
  function lookup(request: GenlRequest): Vport {
    const { attrs } = request;
    if (attrs.has(ovs.OVS_VPORT_ATTR_IFINDEX)) throw new Errno(EOPNOTSUPP);
    const ifindex = dpIfindex(request);
    let vport: Vport | undefined;
    if (attrs.has(ovs.OVS_VPORT_ATTR_NAME)) {
      vport = datapaths.vportByName(attrs.string(ovs.OVS_VPORT_ATTR_NAME));
      if (vport !== undefined && ifindex !== 0 && ifindex !== vport.datapath.ifindex) vport = undefined;
    } else if (attrs.has(ovs.OVS_VPORT_ATTR_PORT_NO)) {
      const portNo = attrs.u32(ovs.OVS_VPORT_ATTR_PORT_NO);
      if (portNo >= MAX_PORTS) throw new Errno(EFBIG);
      vport = datapaths.byIfindex(ifindex)?.vports[portNo];
    } else {
      throw new Errno(EINVAL);
    }
    if (vport === undefined) throw new Errno(ENODEV);
    return vport;
  }

  function answer(request: GenlRequest, cmd: number, vport: Vport): void {
    putVport(beginOvs(request, cmd, vport.datapath.ifindex), vport);
  }

  /** By bucket of the port number, resumed by (bucket, index in the bucket) (spec/families F-187). */
  class VportDump extends OvsDump {
    private readonly ifindex: number;
    private bucket = 0;
    private index = 0;

    constructor(request: GenlRequest) {
      super(request, ovs.OVS_VPORT_CMD_GET);
      this.ifindex = dpIfindex(request);
    }

    fill(writer: MessageWriter, room: number): number {
      const datapath = datapaths.byIfindex(this.ifindex);
      if (datapath === undefined) return -ENODEV;
      for (; this.bucket < BUCKETS && this.bucket < datapath.vports.length; this.bucket++) {
        const chain = chainOf(datapath.vports, this.bucket);
        for (; this.index < chain.length; this.index++) {
          const vport = chain[this.index];
          const at = this.begin(writer, datapath.ifindex);
          putVport(writer, vport);
          if (!this.end(writer, at, room)) return writer.length;
        }
        this.index = 0;
      }
      return writer.length;
    }
  }

  function chainOf(vports: readonly (Vport | undefined)[], bucket: number): Vport[] {
    const chain: Vport[] = [];
    for (let portNo = bucket; portNo < vports.length; portNo += BUCKETS) {
      const vport = vports[portNo];
      if (vport !== undefined) chain.push(vport);
    }
    return chain.length < 2 ? chain : chain.sort((a, b) => (created.get(b) ?? 0) - (created.get(a) ?? 0));
  }

  return {
    name: ovs.OVS_VPORT_FAMILY,
    version: ovs.OVS_VPORT_VERSION,
    headerSize: OVS_HEADER_SIZE,
    maxAttr: attributes.maxType,
    attributes,
    operations: [
      { cmd: ovs.OVS_VPORT_CMD_NEW, flags: GENL_UNS_ADMIN_PERM, doit: create },
      { cmd: ovs.OVS_VPORT_CMD_DEL, flags: GENL_UNS_ADMIN_PERM, doit: remove },
      { cmd: ovs.OVS_VPORT_CMD_GET, flags: 0, doit: get, dumpit: (request) => new VportDump(request) },
      { cmd: ovs.OVS_VPORT_CMD_SET, flags: GENL_UNS_ADMIN_PERM, doit: set },
    ],
    groups: [ovs.OVS_VPORT_MCGROUP],
    firstStrictCommand: ovs.OVS_VPORT_CMD_SET + 1,
  };
}

/**
 * OVS_VPORT_ATTR_OPTIONS of a new tunnel port. As in the module only what is inside EXTENSION is checked by its table, and
 * other attributes are ignored (spec/families F-137, F-138, F-162).
 * @throws Errno EINVAL, ERANGE
 */
function parseTunnelOptions({ attrs }: GenlRequest, { hasGbp }: TunnelVport): TunnelOptions {
  if (!attrs.has(ovs.OVS_VPORT_ATTR_OPTIONS)) throw new Errno(EINVAL);
  const options = attrs.firstOfEach(ovs.OVS_VPORT_ATTR_OPTIONS, tunnelOptions);
  const { DST_PORT } = tunnelOptions.definitions;
  if (!options.has(DST_PORT.type) || options.length[DST_PORT.type] !== DST_PORT.size) throw new Errno(EINVAL);
  const dstPort = options.read(DST_PORT);
  if (!hasGbp || !options.has(ovs.OVS_TUNNEL_ATTR_EXTENSION)) return { dstPort, gbp: false };
  if (options.length[ovs.OVS_TUNNEL_ATTR_EXTENSION] < NLA_HDRLEN) throw new Errno(EINVAL);
  const extension = options.nested(ovs.OVS_TUNNEL_ATTR_EXTENSION, vxlanExtension);
  return { dstPort, gbp: extension.has(ovs.OVS_VXLAN_EXT_GBP) };
}

/** Everything after ovs_header, in the module's order (spec/families F-139 to F-143). */
export function putVport(writer: MessageWriter, vport: Vport): void {
  const { port, datapath } = vport;
  writer.u32(ovs.OVS_VPORT_ATTR_PORT_NO, vport.portNo);
  writer.u32(ovs.OVS_VPORT_ATTR_TYPE, vport.type);
  writer.string(ovs.OVS_VPORT_ATTR_NAME, vport.name);
  writer.u32(ovs.OVS_VPORT_ATTR_IFINDEX, port.ifindex);
  if (port.netnsid !== undefined) writer.u32(ovs.OVS_VPORT_ATTR_NETNSID, port.netnsid);
  const stats = port.stats();
  vportAttributes.encode(writer, {
    STATS: {
      rx_packets: stats.rxPackets,
      tx_packets: stats.txPackets,
      rx_bytes: stats.rxBytes,
      tx_bytes: stats.txBytes,
      rx_errors: stats.rxErrors,
      tx_errors: stats.txErrors,
      rx_dropped: stats.rxDropped,
      tx_dropped: stats.txDropped,
    },
  });
  if (vportAttributes.asOf(datapath.kernel.version).knows(ovs.OVS_VPORT_ATTR_UPCALL_STATS)) {
    vportAttributes.encode(writer, { UPCALL_STATS: { SUCCESS: vport.upcallSuccess, FAIL: vport.upcallFail } });
  }
  const all = (datapath.userFeatures & ovs.OVS_DP_F_VPORT_PIDS) !== 0;
  vportAttributes.encode(writer, { UPCALL_PID: all ? vport.upcallPids : vport.upcallPids.subarray(0, 1) });
  if (tunnelVport(vport.type)?.hasOptions !== true) return;
  const options = datapath.tunnelOptions(port);
  if (options === undefined) return;
  const EXTENSION = options.gbp ? { GBP: true } : undefined;
  vportAttributes.encode(writer, { OPTIONS: { DST_PORT: options.dstPort, EXTENSION } });
}
