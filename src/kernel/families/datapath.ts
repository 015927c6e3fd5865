import { Errno } from "../../core/errors.ts";
import type { Datapath } from "../../datapath/datapath.ts";
import type { Datapaths } from "../../datapath/datapaths.ts";
import type { AttributeTable } from "../../netlink/schema/index.ts";
import type { MessageWriter } from "../../netlink/writer.ts";
import { datapathAttributes } from "../../schema/openvswitch.ts";
import { EEXIST, EINVAL, ENODEV, EOPNOTSUPP } from "../../uapi/errno.ts";
import { GENL_UNS_ADMIN_PERM } from "../../uapi/genetlink.ts";
import * as ovs from "../../uapi/openvswitch.ts";
import type { GenlFamily, GenlRequest } from "../genl-family.ts";
import { beginOvs, dpIfindex, OVS_HEADER_SIZE, OvsDump } from "../ovs-header.ts";

const FEATURES = ovs.OVS_DP_F_UNALIGNED | ovs.OVS_DP_F_VPORT_PIDS | ovs.OVS_DP_F_DISPATCH_UPCALL_PER_CPU;

/** What NEW and SET change in a datapath. */
interface Settings {
  userFeatures: number;
  maskCacheSize: number;
  perCpuPids: Uint32Array | undefined;
}

/**
 * The ovs_datapath family (spec/families sections 4 and 5).
 * @param processors number of possible processors (F-118)
 * @param tcSkbExt as if the kernel had NET_TC_SKB_EXT (F-083, F-088)
 */
export function datapathFamily(datapaths: Datapaths, processors: number, tcSkbExt: boolean): GenlFamily {
  const known = tcSkbExt ? FEATURES | ovs.OVS_DP_F_TC_RECIRC_SHARING : FEATURES;

  function create(request: GenlRequest): void {
    const { attrs } = request;
    if (!attrs.has(ovs.OVS_DP_ATTR_NAME) || !attrs.has(ovs.OVS_DP_ATTR_UPCALL_PID)) throw new Errno(EINVAL);
    const settings: Settings = { userFeatures: 0, maskCacheSize: -1, perCpuPids: undefined };
    change(settings, attrs);
    const ifindex = attrs.has(ovs.OVS_DP_ATTR_IFINDEX) ? attrs.s32(ovs.OVS_DP_ATTR_IFINDEX) : 0;
    let datapath: Datapath;
    try {
      datapath = datapaths.create(
        attrs.string(ovs.OVS_DP_ATTR_NAME),
        pidsOf(attrs, ovs.OVS_DP_ATTR_UPCALL_PID),
        ifindex,
      );
    } catch (error) {
      // A program from before user features is about to reuse the datapath (spec/families F-096).
      if (error instanceof Errno && error.errno === EEXIST && request.version < ovs.OVS_DP_VER_FEATURES) {
        const existing = find(request);
        if (existing !== undefined) existing.userFeatures = 0;
      }
      throw error;
    }
    datapath.userFeatures = settings.userFeatures;
    datapath.perCpuPids = settings.perCpuPids;
    if (settings.maskCacheSize >= 0) datapath.flows.resizeMaskCache(settings.maskCacheSize);
    answer(request, ovs.OVS_DP_CMD_NEW, datapath);
    request.notify();
  }

  function destroy(request: GenlRequest): void {
    const datapath = lookup(request);
    answer(request, ovs.OVS_DP_CMD_DEL, datapath);
    datapaths.destroy(datapath);
    request.notify();
  }

  function get(request: GenlRequest): void {
    const datapath = lookup(request);
    answer(request, ovs.OVS_DP_CMD_GET, datapath);
    request.reply();
  }

  function set(request: GenlRequest): void {
    const datapath = lookup(request);
    const settings: Settings = {
      userFeatures: datapath.userFeatures,
      maskCacheSize: datapath.flows.maskCacheSize,
      perCpuPids: datapath.perCpuPids,
    };
    try {
      change(settings, request.attrs);
    } finally {
      // Not atomic: changes before an error stay (spec/families F-091, F-108).
      datapath.userFeatures = settings.userFeatures;
      datapath.flows.resizeMaskCache(settings.maskCacheSize);
      datapath.perCpuPids = settings.perCpuPids;
    }
    answer(request, ovs.OVS_DP_CMD_SET, datapath);
    request.notify();
  }

  /** spec/families F-087 to F-091, F-106 to F-110. */
  function change(settings: Settings, attrs: AttributeTable): void {
    let features = 0;
    if (attrs.has(ovs.OVS_DP_ATTR_USER_FEATURES)) {
      features = attrs.u32(ovs.OVS_DP_ATTR_USER_FEATURES);
      if ((features & ~known) !== 0) throw new Errno(EOPNOTSUPP);
    }
    if (attrs.has(ovs.OVS_DP_ATTR_MASKS_CACHE_SIZE)) {
      const size = attrs.u32(ovs.OVS_DP_ATTR_MASKS_CACHE_SIZE);
      if ((size & (size - 1)) !== 0) throw new Errno(EINVAL);
      settings.maskCacheSize = size;
    }
    settings.userFeatures = features;
    if ((features & ovs.OVS_DP_F_DISPATCH_UPCALL_PER_CPU) !== 0 && attrs.has(ovs.OVS_DP_ATTR_PER_CPU_PIDS)) {
      const pids = pidsOf(attrs, ovs.OVS_DP_ATTR_PER_CPU_PIDS);
      if (pids.length === 0) throw new Errno(EINVAL);
      settings.perCpuPids = pids;
    }
  }

  /** spec/families F-103 to F-105. */
  function find(request: GenlRequest): Datapath | undefined {
    if (!request.attrs.has(ovs.OVS_DP_ATTR_NAME)) return datapaths.byIfindex(dpIfindex(request));
    return datapaths.byName(request.attrs.string(ovs.OVS_DP_ATTR_NAME));
  }

  function lookup(request: GenlRequest): Datapath {
    const datapath = find(request);
    if (datapath === undefined) throw new Errno(ENODEV);
    return datapath;
  }

  function answer(request: GenlRequest, cmd: number, datapath: Datapath): void {
    putDatapath(beginOvs(request, cmd, datapath.ifindex), datapath, processors);
  }

  return {
    name: ovs.OVS_DATAPATH_FAMILY,
    version: ovs.OVS_DATAPATH_VERSION,
    headerSize: OVS_HEADER_SIZE,
    maxAttr: ovs.OVS_DP_ATTR_MAX,
    attributes: datapathAttributes,
    operations: [
      { cmd: ovs.OVS_DP_CMD_NEW, flags: GENL_UNS_ADMIN_PERM, doit: create },
      { cmd: ovs.OVS_DP_CMD_DEL, flags: GENL_UNS_ADMIN_PERM, doit: destroy },
      {
        cmd: ovs.OVS_DP_CMD_GET,
        flags: 0,
        doit: get,
        dumpit: (request) => new DatapathDump(datapaths, processors, request),
      },
      { cmd: ovs.OVS_DP_CMD_SET, flags: GENL_UNS_ADMIN_PERM, doit: set },
    ],
    groups: [ovs.OVS_DATAPATH_MCGROUP],
    firstStrictCommand: ovs.OVS_DP_CMD_SET + 1,
  };
}

/** Everything after ovs_header, in the module's order (spec/families F-102). */
function putDatapath(writer: MessageWriter, datapath: Datapath, processors: number): void {
  const { counters, flows } = datapath;
  writer.string(ovs.OVS_DP_ATTR_NAME, datapath.name);
  datapathAttributes.encode(writer, {
    STATS: { hit: counters.hit, missed: counters.missed, lost: counters.lost, flows: flows.count },
    MEGAFLOW_STATS: {
      mask_hit: flows.maskHits,
      masks: flows.masks.length,
      cache_hit: flows.cacheHits,
    },
  });
  writer.u32(ovs.OVS_DP_ATTR_USER_FEATURES, datapath.userFeatures);
  writer.u32(ovs.OVS_DP_ATTR_MASKS_CACHE_SIZE, flows.maskCacheSize);
  if ((datapath.userFeatures & ovs.OVS_DP_F_DISPATCH_UPCALL_PER_CPU) !== 0 && datapath.perCpuPids !== undefined)
    datapathAttributes.encode(writer, { PER_CPU_PIDS: datapath.perCpuPids.subarray(0, processors) });
}

/** All datapaths in order of creation, by index (spec/families F-117). */
class DatapathDump extends OvsDump {
  private next = 0;

  constructor(
    private readonly datapaths: Datapaths,
    private readonly processors: number,
    request: GenlRequest,
  ) {
    super(request, ovs.OVS_DP_CMD_GET);
  }

  fill(writer: MessageWriter, room: number): number {
    const { list } = this.datapaths;
    for (; this.next < list.length; this.next++) {
      const datapath = list[this.next];
      const at = this.begin(writer, datapath.ifindex);
      putDatapath(writer, datapath, this.processors);
      if (!this.end(writer, at, room)) break;
    }
    return writer.length;
  }
}

/**
 * Upcall port ids; none at all when the payload is not whole u32s, which nobody accepts (spec/families F-091, F-101,
 * F-153).
 */
export function pidsOf(attrs: AttributeTable, type: number): Uint32Array {
  return attrs.length[type] % 4 === 0 ? attrs.u32s(type) : new Uint32Array(0);
}
