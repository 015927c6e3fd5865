/** ovs_datapath: datapaths, OVS_DP_ATTR_* (spec/families section 4). */
import { datapathAttributes } from "../../schema/openvswitch.ts";
import { NLM_F_ECHO } from "../../uapi/netlink.ts";
import * as ovs from "../../uapi/openvswitch.ts";
import type { GenlMessage } from "../genl.ts";
import { datapathOf, type OvsRequests } from "./requests.ts";

/** One datapath. */
export interface DatapathInfo {
  /** ovs_header.dp_ifindex: interface index of the local port, the datapath's handle in all requests. */
  readonly ifindex: number;
  readonly name: string;
  /** Packets that matched a flow, missed, missed and were lost; number of flows. */
  readonly stats: { readonly hit: number; readonly missed: number; readonly lost: number; readonly flows: number };
  /** Masks looked at, number of masks, hits of the mask cache. */
  readonly megaflowStats: { readonly maskHit: number; readonly masks: number; readonly cacheHit: number };
  /** OVS_DP_F_* */
  readonly userFeatures: number;
  readonly masksCacheSize: number;
  /** Port ids by CPU with OVS_DP_F_DISPATCH_UPCALL_PER_CPU, else null. */
  readonly perCpuPids: readonly number[] | null;
}

/** Settings of a new datapath. */
export interface DatapathOptions {
  /** Port id that upcalls of the local port go to. Default 0: none. */
  readonly upcallPid?: number;
  /** OVS_DP_F_* */
  readonly userFeatures?: number;
  readonly masksCacheSize?: number;
  readonly perCpuPids?: readonly number[];
  /** Interface index that the local port is to get. */
  readonly ifindex?: number;
}

/** Settings of an existing datapath. */
export interface DatapathChanges {
  /** OVS_DP_F_*, all of them. */
  readonly userFeatures: number;
  readonly masksCacheSize?: number;
  readonly perCpuPids?: readonly number[];
}

/** Reads OVS_DP_ATTR_*. Attributes that are missing give 0, the empty name, and null. */
export function decodeDatapath(message: GenlMessage): DatapathInfo {
  const { NAME, STATS, MEGAFLOW_STATS, USER_FEATURES, MASKS_CACHE_SIZE, PER_CPU_PIDS } =
    message.decode(datapathAttributes);
  return {
    ifindex: datapathOf(message),
    name: NAME ?? "",
    stats: STATS ?? { hit: 0, missed: 0, lost: 0, flows: 0 },
    megaflowStats: {
      maskHit: MEGAFLOW_STATS?.mask_hit ?? 0,
      masks: MEGAFLOW_STATS?.masks ?? 0,
      cacheHit: MEGAFLOW_STATS?.cache_hit ?? 0,
    },
    userFeatures: USER_FEATURES ?? 0,
    masksCacheSize: MASKS_CACHE_SIZE ?? 0,
    perCpuPids: PER_CPU_PIDS === undefined ? null : Array.from(PER_CPU_PIDS),
  };
}

/** OVS_DP_CMD_NEW */
export function createDatapath(requests: OvsRequests, name: string, options: DatapathOptions): DatapathInfo {
  const reply = requests.one(
    requests.families.datapath,
    ovs.OVS_DP_CMD_NEW,
    0,
    (w) =>
      datapathAttributes.encode(w, {
        NAME: name,
        UPCALL_PID: options.upcallPid ?? 0,
        USER_FEATURES: options.userFeatures ?? 0,
        MASKS_CACHE_SIZE: options.masksCacheSize,
        PER_CPU_PIDS: options.perCpuPids && Uint32Array.from(options.perCpuPids),
        IFINDEX: options.ifindex,
      }),
    NLM_F_ECHO,
  );
  return decodeDatapath(reply);
}

/** OVS_DP_CMD_SET */
export function setDatapath(requests: OvsRequests, datapath: number | string, options: DatapathChanges): DatapathInfo {
  const reply = requests.one(
    requests.families.datapath,
    ovs.OVS_DP_CMD_SET,
    handleOf(datapath),
    (w) =>
      datapathAttributes.encode(w, {
        NAME: nameOf(datapath),
        USER_FEATURES: options.userFeatures,
        MASKS_CACHE_SIZE: options.masksCacheSize,
        PER_CPU_PIDS: options.perCpuPids && Uint32Array.from(options.perCpuPids),
      }),
    NLM_F_ECHO,
  );
  return decodeDatapath(reply);
}

/** OVS_DP_CMD_DEL */
export function deleteDatapath(requests: OvsRequests, datapath: number | string): void {
  requests.all(requests.families.datapath, ovs.OVS_DP_CMD_DEL, handleOf(datapath), (w) =>
    datapathAttributes.encode(w, { NAME: nameOf(datapath) }),
  );
}

/** OVS_DP_CMD_GET */
export function getDatapath(requests: OvsRequests, datapath: number | string): DatapathInfo {
  const reply = requests.one(requests.families.datapath, ovs.OVS_DP_CMD_GET, handleOf(datapath), (w) =>
    datapathAttributes.encode(w, { NAME: nameOf(datapath) }),
  );
  return decodeDatapath(reply);
}

/** OVS_DP_CMD_GET with NLM_F_DUMP */
export function listDatapaths(requests: OvsRequests): DatapathInfo[] {
  return Array.from(requests.dump(requests.families.datapath, ovs.OVS_DP_CMD_GET, 0), decodeDatapath);
}

/** A datapath is named by its handle in the header, or by OVS_DP_ATTR_NAME with handle 0. */
function handleOf(datapath: number | string): number {
  return typeof datapath === "number" ? datapath : 0;
}

function nameOf(datapath: number | string): string | undefined {
  return typeof datapath === "string" ? datapath : undefined;
}
