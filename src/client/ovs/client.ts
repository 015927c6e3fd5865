import { NETLINK_GENERIC } from "../../uapi/netlink.ts";
import type { GenlClient, GenlMessage, Subscription } from "../genl.ts";
import type { SocketOpener } from "../requester.ts";
import { OvsBatch } from "./batch.ts";
import { deleteZoneLimits, getZoneLimits, setZoneLimits, type ZoneLimit } from "./ct-limit.ts";
import {
  createDatapath,
  type DatapathChanges,
  type DatapathInfo,
  type DatapathOptions,
  decodeDatapath,
  deleteDatapath,
  getDatapath,
  listDatapaths,
  setDatapath,
} from "./datapath.ts";
import {
  decodeFlow,
  deleteFlow,
  type FlowChanges,
  type FlowId,
  type FlowInfo,
  type FlowSpec,
  flushFlows,
  getFlow,
  putFlow,
  setFlow,
  walkFlows,
} from "./flow.ts";
import {
  deleteMeter,
  getMeter,
  getMeterFeatures,
  type MeterFeatures,
  type MeterInfo,
  type MeterOptions,
  setMeter,
} from "./meter.ts";
import { type ExecuteSpec, executePacket, UpcallSocket } from "./packet.ts";
import { OvsRequests } from "./requests.ts";
import {
  createVport,
  decodeVport,
  deleteVport,
  getVport,
  listVports,
  setVport,
  type VportInfo,
  type VportOptions,
} from "./vport.ts";

/** A notification of ovs_datapath, ovs_vport or ovs_flow. */
export type Notification =
  | { readonly family: "ovs_datapath"; readonly command: number; readonly datapath: DatapathInfo }
  | { readonly family: "ovs_vport"; readonly command: number; readonly vport: VportInfo }
  | { readonly family: "ovs_flow"; readonly command: number; readonly flow: FlowInfo };

/**
 * The families of openvswitch.ko, typed. Every call is one request, synchronous; `datapath` is a datapath's handle
 * (interface index of its local port).
 *
 * @example
 * const client = new OvsClient(connect());
 * const { ifindex } = client.createDatapath("dp0");
 * client.createVport(ifindex, { name: "veth1", type: OVS_VPORT_TYPE_NETDEV });
 * for (const flow of client.flows(ifindex)) console.log(formatFlow(flow, now));
 */
export class OvsClient {
  private readonly requests: OvsRequests;

  /** @throws Errno ENOENT where nothing answers for the families: the datapath is not there */
  constructor(readonly opener: SocketOpener) {
    this.requests = new OvsRequests(opener);
  }

  /** The generic-netlink client that carries the requests. */
  get genl(): GenlClient {
    return this.requests.genl;
  }
  /** The families that every datapath has. */
  get families(): OvsRequests["families"] {
    return this.requests.families;
  }

  /** Creates a datapath and its local port. @throws Errno EEXIST, EINVAL, EOPNOTSUPP (spec/families F-086…F-102) */
  createDatapath(name: string, options: DatapathOptions = {}): DatapathInfo {
    return createDatapath(this.requests, name, options);
  }

  /** Changes a datapath. Features left out become 0, as in the kernel (spec/families F-106). @throws Errno ENODEV */
  setDatapath(datapath: number | string, options: DatapathChanges): DatapathInfo {
    return setDatapath(this.requests, datapath, options);
  }

  /** Deletes a datapath with its ports and flows. @throws Errno ENODEV */
  deleteDatapath(datapath: number | string): void {
    deleteDatapath(this.requests, datapath);
  }

  /** Reads a datapath, by name or handle. @throws Errno ENODEV */
  datapath(datapath: number | string): DatapathInfo {
    return getDatapath(this.requests, datapath);
  }

  /** Reads all datapaths. */
  datapaths(): DatapathInfo[] {
    return listDatapaths(this.requests);
  }

  /** Attaches a port. @throws Errno ENODEV, EBUSY, EEXIST, EINVAL, EAFNOSUPPORT (spec/families F-144…F-166) */
  createVport(datapath: number, options: VportOptions): VportInfo {
    return createVport(this.requests, datapath, options);
  }

  /** Replaces the port ids that a vport's upcalls go to. @throws Errno ENODEV */
  setVport(datapath: number, port: number | string, options: { upcallPids?: readonly number[] }): VportInfo {
    return setVport(this.requests, datapath, port, options);
  }

  /** Detaches a port. @throws Errno ENODEV */
  deleteVport(datapath: number, port: number | string): void {
    deleteVport(this.requests, datapath, port);
  }

  /** Reads a vport, by name (datapath 0: of any datapath) or by number. @throws Errno ENODEV */
  vport(datapath: number, port: number | string): VportInfo {
    return getVport(this.requests, datapath, port);
  }

  /** Reads all vports of a datapath. */
  vports(datapath: number): VportInfo[] {
    return listVports(this.requests, datapath);
  }

  /** Puts a new flow. @throws Errno EEXIST, EINVAL, ENODEV … (spec/families F-217…F-232) */
  putFlow(datapath: number, flow: FlowSpec): void {
    putFlow(this.requests, datapath, flow);
  }

  /**
   * Changes a flow's actions, or clears its statistics.
   * @returns the flow as it was when its statistics were cleared
   * @throws Errno ENOENT
   */
  setFlow(datapath: number, id: FlowId, options: FlowChanges): FlowInfo {
    return setFlow(this.requests, datapath, id, options);
  }

  /** Reads a flow. @param ufidFlags OVS_UFID_F_OMIT_*: what to leave out @throws Errno ENOENT */
  flow(datapath: number, id: FlowId, ufidFlags = 0): FlowInfo {
    return getFlow(this.requests, datapath, id, ufidFlags);
  }

  /** Deletes a flow. @returns it with its last statistics @throws Errno ENOENT */
  deleteFlow(datapath: number, id: FlowId): FlowInfo {
    return deleteFlow(this.requests, datapath, id);
  }

  /** Deletes all flows of a datapath. */
  flushFlows(datapath: number): void {
    flushFlows(this.requests, datapath);
  }

  /**
   * Walks the flows as they come; the caller may stop early.
   * @param ufidFlags OVS_UFID_F_OMIT_*: what to leave out
   */
  flows(datapath: number, ufidFlags = 0): IterableIterator<FlowInfo> {
    return walkFlows(this.requests, datapath, ufidFlags);
  }

  /** Runs actions on a packet. @throws Errno as validation or an action failed (spec/families F-280…F-286) */
  execute(datapath: number, spec: ExecuteSpec): void {
    executePacket(this.requests, datapath, spec);
  }

  /** Requests that leave in one datagram without acknowledgements: the answer to upcalls. */
  batch(): OvsBatch {
    return new OvsBatch(this.requests);
  }

  /** A socket that upcalls may be sent to: its `portId` is what upcallPid options take. */
  openUpcalls(): UpcallSocket {
    return new UpcallSocket(this.opener.open(NETLINK_GENERIC), this.families.packet);
  }

  /**
   * Listens to the multicast groups of ovs_datapath, ovs_vport and ovs_flow, or to those named.
   * @param onLost called when notifications were lost because they were not read in time
   */
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
  setMeter(datapath: number, id: number, options: MeterOptions): MeterInfo {
    return setMeter(this.requests, datapath, id, options);
  }

  /** Reads a meter. @throws Errno ENOENT */
  meter(datapath: number, id: number): MeterInfo {
    return getMeter(this.requests, datapath, id);
  }

  /** Deletes a meter; an unknown one is no error. */
  deleteMeter(datapath: number, id: number): MeterInfo {
    return deleteMeter(this.requests, datapath, id);
  }

  /** Reads what a datapath can do with meters. */
  meterFeatures(datapath: number): MeterFeatures {
    return getMeterFeatures(this.requests, datapath);
  }

  /** Sets limits of connections by zone; zone -1 sets the default. */
  setZoneLimits(limits: readonly Omit<ZoneLimit, "count">[]): void {
    setZoneLimits(this.requests, limits);
  }

  /** Gives zones back to the default limit. */
  deleteZoneLimits(zones: readonly number[]): void {
    deleteZoneLimits(this.requests, zones);
  }

  /** Reads the default (zone -1) and every zone with a limit of its own, or the zones asked for. */
  zoneLimits(zones?: readonly number[]): ZoneLimit[] {
    return getZoneLimits(this.requests, zones);
  }

  /** Closes the sockets of requests; subscriptions and upcall sockets live on. */
  close(): void {
    this.genl.close();
  }
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
