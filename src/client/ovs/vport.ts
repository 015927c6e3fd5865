/** ovs_vport: ports of datapaths, OVS_VPORT_ATTR_* (spec/families section 6). */
import type { SetValues } from "../../netlink/schema/index.ts";
import { vportAttributes } from "../../schema/openvswitch.ts";
import { NLM_F_ECHO } from "../../uapi/netlink.ts";
import * as ovs from "../../uapi/openvswitch.ts";
import type { GenlMessage } from "../genl.ts";
import { datapathOf, type OvsRequests } from "./requests.ts";

/** Counters of a vport (struct ovs_vport_stats). */
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

/** One vport. */
export interface VportInfo {
  /** Handle of its datapath. */
  readonly datapath: number;
  readonly portNo: number;
  /** OVS_VPORT_TYPE_* */
  readonly type: number;
  readonly name: string;
  /** Interface index of its device; 0 where it has none. */
  readonly ifindex: number;
  /** Namespace id relative to the requester's, null when it is the same namespace. */
  readonly netnsId: number | null;
  readonly stats: VportStats | null;
  /** Upcalls that were sent, and lost. */
  readonly upcallStats: { readonly success: number; readonly fail: number } | null;
  readonly upcallPids: readonly number[];
  /** UDP port of a VXLAN or Geneve vport. */
  readonly tunnelPort: number | null;
  /** Has VXLAN's group policy extension. */
  readonly gbp: boolean;
}

/** Settings of a new vport. */
export interface VportOptions {
  readonly name: string;
  /** OVS_VPORT_TYPE_* */
  readonly type: number;
  /** Default: the lowest free number. */
  readonly portNo?: number;
  /** Port ids that upcalls go to. Default 0: none. */
  readonly upcallPids?: readonly number[];
  /** UDP port of a VXLAN or Geneve port. */
  readonly tunnelPort?: number;
  /** VXLAN with the group policy extension. */
  readonly gbp?: boolean;
  /** Interface index that the device of an internal port is to get. */
  readonly ifindex?: number;
}

/** Reads OVS_VPORT_ATTR_*. Attributes that are missing give -1 (number), 0, the empty name, null and no port ids. */
export function decodeVport(message: GenlMessage): VportInfo {
  const values = message.decode(vportAttributes);
  const { STATS: stats, UPCALL_STATS: upcalls, OPTIONS: options } = values;
  return {
    datapath: datapathOf(message),
    portNo: values.PORT_NO ?? -1,
    type: values.TYPE ?? ovs.OVS_VPORT_TYPE_UNSPEC,
    name: values.NAME ?? "",
    ifindex: values.IFINDEX ?? 0,
    netnsId: values.NETNSID ?? null,
    stats: stats === undefined ? null : statsOf(stats),
    upcallStats: upcalls === undefined ? null : { success: upcalls.SUCCESS ?? 0, fail: upcalls.FAIL ?? 0 },
    upcallPids: Array.from(values.UPCALL_PID ?? []),
    tunnelPort: options?.DST_PORT ?? null,
    gbp: options?.EXTENSION?.GBP ?? false,
  };
}

function statsOf(stats: NonNullable<SetValues<typeof vportAttributes>["STATS"]>): VportStats {
  return {
    rxPackets: stats.rx_packets,
    txPackets: stats.tx_packets,
    rxBytes: stats.rx_bytes,
    txBytes: stats.tx_bytes,
    rxErrors: stats.rx_errors,
    txErrors: stats.tx_errors,
    rxDropped: stats.rx_dropped,
    txDropped: stats.tx_dropped,
  };
}

/** OVS_VPORT_CMD_NEW */
export function createVport(requests: OvsRequests, datapath: number, options: VportOptions): VportInfo {
  const { name, type, portNo, upcallPids = [0], tunnelPort, gbp, ifindex } = options;
  const reply = requests.one(
    requests.families.vport,
    ovs.OVS_VPORT_CMD_NEW,
    datapath,
    (w) =>
      vportAttributes.encode(w, {
        NAME: name,
        TYPE: type,
        UPCALL_PID: Uint32Array.from(upcallPids),
        PORT_NO: portNo,
        IFINDEX: ifindex,
        OPTIONS:
          tunnelPort === undefined ? undefined : { DST_PORT: tunnelPort, EXTENSION: gbp ? { GBP: true } : undefined },
      }),
    NLM_F_ECHO,
  );
  return decodeVport(reply);
}

/** OVS_VPORT_CMD_SET */
export function setVport(
  requests: OvsRequests,
  datapath: number,
  port: number | string,
  options: { upcallPids?: readonly number[] },
): VportInfo {
  const reply = requests.one(
    requests.families.vport,
    ovs.OVS_VPORT_CMD_SET,
    datapath,
    (w) =>
      vportAttributes.encode(w, {
        ...reference(port),
        UPCALL_PID: options.upcallPids && Uint32Array.from(options.upcallPids),
      }),
    NLM_F_ECHO,
  );
  return decodeVport(reply);
}

/** OVS_VPORT_CMD_DEL */
export function deleteVport(requests: OvsRequests, datapath: number, port: number | string): void {
  requests.all(requests.families.vport, ovs.OVS_VPORT_CMD_DEL, datapath, (w) =>
    vportAttributes.encode(w, reference(port)),
  );
}

/** OVS_VPORT_CMD_GET */
export function getVport(requests: OvsRequests, datapath: number, port: number | string): VportInfo {
  const reply = requests.one(requests.families.vport, ovs.OVS_VPORT_CMD_GET, datapath, (w) =>
    vportAttributes.encode(w, reference(port)),
  );
  return decodeVport(reply);
}

/** OVS_VPORT_CMD_GET with NLM_F_DUMP */
export function listVports(requests: OvsRequests, datapath: number): VportInfo[] {
  return Array.from(requests.dump(requests.families.vport, ovs.OVS_VPORT_CMD_GET, datapath), decodeVport);
}

/** A vport is named by its number or its name. */
function reference(port: number | string): { PORT_NO: number } | { NAME: string } {
  return typeof port === "number" ? { PORT_NO: port } : { NAME: port };
}
