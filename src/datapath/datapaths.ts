import { Errno } from "../core/errors.ts";
import type { Port, TunnelOptions } from "../port/port.ts";
import { EAFNOSUPPORT, EBUSY, EEXIST, EFBIG, EINVAL, ENODEV } from "../uapi/errno.ts";
import { OVS_VPORT_TYPE_INTERNAL, OVS_VPORT_TYPE_NETDEV, OVSP_LOCAL } from "../uapi/openvswitch.ts";
import { Datapath } from "./datapath.ts";
import type { DatapathEnvironment } from "./environment.ts";
import { Vport } from "./vport.ts";

/** DP_MAX_PORTS (spec/tables T-118). */
export const MAX_PORTS = 65535;

/** All datapaths of one network namespace: their life cycle and that of their ports. */
export class Datapaths {
  /** In order of creation (spec/families F-117). */
  readonly list: Datapath[] = [];
  /** By the name at attach, which renames do not change; the newest first. */
  private readonly byAttachName = new Map<string, Vport[]>();

  /**
   * @param environment what the datapaths share
   * @param processors number of possible processors, the most upcall port ids that a vport may have
   *   (spec/families F-154)
   */
  constructor(
    readonly environment: DatapathEnvironment,
    private readonly processors: number,
  ) {}

  /**
   * Makes a datapath with its local port (spec/families F-092 to F-101).
   * @param upcallPids of the local port
   * @throws Errno EINVAL (name), EEXIST (a device of that name, or ifindex in use), EPERM
   */
  create(name: string, upcallPids: Uint32Array, ifindex: number): Datapath {
    const datapath = new Datapath(this.environment);
    try {
      this.attach(datapath, OVSP_LOCAL, OVS_VPORT_TYPE_INTERNAL, upcallPids, () =>
        this.environment.ports.createInternal(
          expandName(name, (n) => this.nameTaken(n)),
          ifindex,
        ),
      );
    } catch (error) {
      if (error instanceof Errno && error.errno === EBUSY) throw new Errno(EEXIST);
      throw error;
    }
    this.list.push(datapath);
    return datapath;
  }

  /** Removes all ports, the local one last, and the datapath (spec/families F-113). */
  destroy(datapath: Datapath): void {
    for (let portNo = datapath.vports.length - 1; portNo >= 0; portNo--) {
      const vport = datapath.vports[portNo];
      if (vport !== undefined) this.detach(vport);
    }
    datapath.flows.flush();
    this.list.splice(this.list.indexOf(datapath), 1);
  }

  /**
   * The datapath that an ovs_header.dp_ifindex names: that of any internal port with this ifindex (spec/families F-104,
   * F-105).
   */
  byIfindex(ifindex: number): Datapath | undefined {
    if (ifindex <= 0) return undefined;
    for (const datapath of this.list) {
      if (datapath.ifindex === ifindex) return datapath;
    }
    const names = (vport: Vport | undefined): boolean =>
      vport?.internal === true && vport.port.ifindex === ifindex && vport.port.netnsid === undefined;
    return this.list.find((datapath) => datapath.vports.some(names));
  }

  /** The datapath whose local port has that name (spec/families F-103). */
  byName(name: string): Datapath | undefined {
    const vport = this.vportByName(name);
    return vport === undefined ? undefined : this.list.find(({ local }) => local === vport);
  }

  /** The vport of that name in any datapath (spec/families F-178, F-190). */
  vportByName(name: string): Vport | undefined {
    return this.byAttachName.get(name)?.find((vport) => vport.name === name);
  }

  /**
   * Adds a port (spec/families F-147 to F-165).
   * @param portNo wanted number, 0 = lowest free from 1
   * @param ifindex wanted ifindex of an internal port, 0 = any
   * @param options of a tunnel port
   * @throws Errno EBUSY (number or device in use), EFBIG (no number free), EAFNOSUPPORT (type), EINVAL, ENODEV, EEXIST
   */
  addVport(
    datapath: Datapath,
    name: string,
    type: number,
    portNo: number,
    upcallPids: Uint32Array,
    ifindex: number,
    options?: TunnelOptions,
  ): Vport {
    if (portNo !== 0) {
      if (datapath.vports[portNo] !== undefined) throw new Errno(EBUSY);
    } else {
      portNo = datapath.freePortNo(MAX_PORTS);
      if (portNo < 0) throw new Errno(EFBIG);
    }
    const { ports, tunnels, kernel } = this.environment;
    switch (type) {
      case OVS_VPORT_TYPE_NETDEV:
        return this.attach(datapath, portNo, type, upcallPids, () => {
          try {
            return tunnels.open(name) ?? ports.openNetdev(name, !kernel.primaryNamesOnly);
          } catch (error) {
            // Whatever errno the device is refused with, a port of this datapath comes first.
            if (error instanceof Errno && hasPort(datapath, name)) throw new Errno(EEXIST);
            throw error;
          }
        });
      case OVS_VPORT_TYPE_INTERNAL:
        return this.attach(datapath, portNo, type, upcallPids, () =>
          ports.createInternal(
            expandName(name, (n) => this.nameTaken(n)),
            ifindex,
          ),
        );
      default:
        if (!tunnels.isTunnelType(type)) throw new Errno(EAFNOSUPPORT);
        return this.attach(datapath, portNo, type, upcallPids, () => tunnels.create(name, type, options));
    }
  }

  /**
   * Replaces the upcall port ids of a vport (spec/families F-170, F-171).
   * @throws Errno EINVAL
   */
  setUpcallPids(vport: Vport, pids: Uint32Array): void {
    this.checkPids(pids);
    vport.upcallPids = pids;
  }

  /**
   * Removes a port; an internal one's device goes with it.
   * @throws Errno EINVAL for the local port (spec/families F-174)
   */
  removeVport(vport: Vport): void {
    if (vport.portNo === OVSP_LOCAL) throw new Errno(EINVAL);
    this.detach(vport);
  }

  /** The vport that was made of a port, undefined if there is none. */
  vportOf({ receiver }: Port): Vport | undefined {
    return receiver instanceof Vport ? receiver : undefined;
  }

  /** A device has gone by itself: its vport goes too (spec/tables T-109). Returns that vport. */
  deviceGone(port: Port): Vport | undefined {
    const vport = this.vportOf(port);
    if (vport === undefined) return undefined;
    this.detach(vport);
    return vport;
  }

  /** Periodic work: sorts masks by use (spec/tables T-005). */
  tick(now: number): void {
    for (const datapath of this.list) datapath.flows.rebalance(now);
  }

  private attach(datapath: Datapath, portNo: number, type: number, upcallPids: Uint32Array, open: () => Port): Vport {
    this.checkPids(upcallPids);
    const port = open();
    const vport = new Vport(datapath, portNo, type, port, upcallPids);
    while (datapath.vports.length < portNo) datapath.vports.push(undefined);
    datapath.vports[portNo] = vport;
    const namesakes = this.byAttachName.get(vport.attachName);
    if (namesakes === undefined) this.byAttachName.set(vport.attachName, [vport]);
    else namesakes.unshift(vport);
    return vport;
  }

  private detach(vport: Vport): void {
    vport.datapath.vports[vport.portNo] = undefined;
    const namesakes = this.byAttachName.get(vport.attachName) as Vport[];
    namesakes.splice(namesakes.indexOf(vport), 1);
    if (namesakes.length === 0) this.byAttachName.delete(vport.attachName);
    vport.port.receiver = undefined;
    vport.port.close();
  }

  private nameTaken(name: string): boolean {
    return this.vportByName(name) !== undefined;
  }

  private checkPids(pids: Uint32Array): void {
    if (pids.length === 0 || pids.length > this.processors) throw new Errno(EINVAL);
  }
}

/** Whether a device that is called so now is a port of the datapath (spec/families F-159). */
function hasPort(datapath: Datapath, name: string): boolean {
  return datapath.vports.some((vport) => vport?.name === name && !vport.internal);
}

/** Expands the device-name template `br%d` to the first name that is free (spec/families F-094). */
function expandName(name: string, taken: (name: string) => boolean): string {
  const at = name.indexOf("%");
  if (at < 0) return name;
  if (name.slice(at, at + 2) !== "%d" || name.includes("%", at + 2)) throw new Errno(EINVAL);
  for (let i = 0; i < 32768; i++) {
    const expanded = name.slice(0, at) + i + name.slice(at + 2);
    if (!taken(expanded)) return expanded;
  }
  throw new Errno(ENODEV);
}
