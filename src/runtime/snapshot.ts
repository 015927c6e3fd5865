import type { Datapath } from "../datapath/datapath.ts";
import { tunnelVport } from "../tunnel/kinds/index.ts";
import {
  OVS_DP_F_DISPATCH_UPCALL_PER_CPU,
  OVS_VPORT_TYPE_INTERNAL,
  OVS_ZONE_LIMIT_DEFAULT_ZONE,
} from "../uapi/openvswitch.ts";
import type { Nokmod } from "./nokmod.ts";
import { type SavedDatapath, type SavedDevice, type SavedState, STATE_VERSION } from "./saved-state.ts";

/**
 * The state of a Nokmod as the state file describes it.
 * @param boot bootId()
 * @param devices all devices of the network namespace by name, as last read
 */
export function snapshot(nokmod: Nokmod, boot: string, devices: Readonly<Record<string, SavedDevice>>): SavedState {
  const { kernel, conntrack } = nokmod;
  const datapaths = kernel.datapaths.list.map(saveDatapath);
  const { limits } = conntrack;
  const ports = datapaths.flatMap(({ ports }) => ports);
  const internal = ports.filter(({ type }) => type === OVS_VPORT_TYPE_INTERNAL).map(({ name }) => name);
  // Devices of ports of the tunnel types come and go with their ports.
  const owned = new Set(ports.filter(({ type }) => tunnelVport(type) !== undefined).map(({ name }) => name));
  const tunnels = [...kernel.tunnelDevices]
    .filter(({ netdev }) => !owned.has(netdev.name))
    .map(({ netdev, info }) => [netdev.name, Buffer.from(info).toString("base64")] as const);
  const known = [...internal, ...tunnels.map(([name]) => name)].filter((name) => devices[name] !== undefined);
  return {
    version: STATE_VERSION,
    boot,
    datapaths,
    zoneLimits: !limits.enabled
      ? []
      : [
          { zone: OVS_ZONE_LIMIT_DEFAULT_ZONE, limit: limits.defaultLimit },
          ...[...limits.zones()].map((zone) => ({ zone, limit: limits.limitOf(zone) })),
        ],
    timeoutPolicies: [...conntrack.timeoutPolicies.entries()].map(([number, { timeouts, ...policy }]) => ({
      number,
      ...policy,
      timeouts: [...timeouts],
    })),
    tunnels: Object.fromEntries(tunnels),
    devices: Object.fromEntries(known.map((name) => [name, devices[name]])),
  };
}

/** A datapath, read from the tables themselves: a request that changes them may be in progress on the netlink bus. */
function saveDatapath(datapath: Datapath): SavedDatapath {
  const { name, ifindex, userFeatures, flows, perCpuPids, vports, meters } = datapath;
  const perCpu = (userFeatures & OVS_DP_F_DISPATCH_UPCALL_PER_CPU) !== 0 && perCpuPids !== undefined;
  return {
    name,
    ifindex,
    userFeatures,
    masksCacheSize: flows.maskCacheSize,
    perCpuPids: perCpu ? [...perCpuPids] : null,
    ports: vports.flatMap((vport) => {
      // A device that was moved to another namespace stays there: this process cannot read it.
      if (vport === undefined || vport.port.netnsid !== undefined) return [];
      const options = tunnelVport(vport.type) !== undefined ? datapath.tunnelOptions(vport.port) : undefined;
      return {
        name: vport.name,
        type: vport.type,
        portNo: vport.portNo,
        ifindex: vport.port.ifindex,
        upcallPids: [...vport.upcallPids],
        tunnelPort: options?.dstPort ?? null,
        gbp: options?.gbp ?? false,
      };
    }),
    meters: [...meters].map(({ id, kbps, keepStats, bands }) => ({
      id,
      kbps,
      clear: !keepStats,
      bands: bands.map(({ type, rate, burst }) => ({ type, rate, burst })),
    })),
  };
}
