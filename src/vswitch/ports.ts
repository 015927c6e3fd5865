/** The ports of a bridge and their upcall sockets, kept as the datapath's vports are. */
import type { OvsClient, UpcallSocket, VportInfo } from "../client/ovs/index.ts";
import { Errno } from "../core/errors.ts";
import { ENODEV } from "../uapi/errno.ts";
import * as ovs from "../uapi/openvswitch.ts";
import { OFPP_LOCAL } from "./flow.ts";
import type { PortNames } from "./ofctl/ports.ts";
import type { XPort } from "./xlate/context.ts";

/** SO_RCVBUF of upcall sockets. */
const UPCALL_BUFFER = 4 * 1024 * 1024;
/** Highest number that an OpenFlow port may have. */
export const MAX_PORT = 0xfeff;

/** A port to attach. */
export interface PortConfig extends Omit<Partial<XPort>, "datapathPort"> {
  /** Device name. */
  readonly name: string;
  /** `netdev` (default): an existing device; `internal`: a device that the datapath makes. */
  readonly type?: "netdev" | "internal";
  /** Port number in OpenFlow and in the datapath; default: the lowest free number. */
  readonly port?: number;
}

/** VLAN and flooding settings of a port. */
export type PortSettings = Pick<XPort, "tag" | "trunks" | "vlanMode" | "noFlood">;

/** What BridgePorts reports. */
interface PortListener {
  /** Upcalls wait in a socket. */
  readable(socket: UpcallSocket): void;
  /** A port was added, changed or removed. */
  changed(): void;
  /** A port was removed; comes before changed(). */
  removed(port: XPort): void;
}

/** OpenFlow's number of a datapath port. */
export function openFlowPort(portNo: number): number {
  return portNo === ovs.OVSP_LOCAL ? OFPP_LOCAL : portNo;
}

export class BridgePorts {
  /** By OpenFlow number. */
  readonly xports = new Map<number, XPort>();
  /** Grows with every change of a port. */
  generation = 0;
  /** By datapath port; with per-CPU dispatch, by handler. */
  private readonly sockets = new Map<number, UpcallSocket>();
  private datapath = 0;

  /** @param perCpu upcalls are dispatched by CPU, to sockets that belong to no port */
  constructor(
    private readonly client: OvsClient,
    private readonly perCpu: boolean,
    private readonly listener: PortListener,
  ) {}

  /** Opens the socket of the local port, or those of `handlers` CPUs. @returns their port ids */
  openHandlers(handlers: number): number[] {
    return Array.from({ length: handlers }, (_, i) => {
      const socket = this.openSocket();
      this.sockets.set(i, socket);
      return socket.portId;
    });
  }

  /** Takes in the ports of a datapath, and follows its vports. @returns a function that ends that */
  attach(datapath: number): () => void {
    this.datapath = datapath;
    const subscription = this.client.subscribe(
      (notification) => {
        if (notification.family === "ovs_vport" && notification.vport.datapath === datapath) {
          this.vportChanged(notification.command, notification.vport);
        }
      },
      ["ovs_vport"],
      () => this.resync(),
    );
    this.resync();
    return () => subscription.close();
  }

  /** Closes all sockets. */
  close(): void {
    for (const socket of this.sockets.values()) socket.close();
    this.sockets.clear();
  }

  /** The ports, the local one first. */
  list(): XPort[] {
    return [...this.xports.values()].sort((a, b) => a.datapathPort - b.datapathPort);
  }

  byName(name: string): XPort | undefined {
    for (const port of this.xports.values()) if (port.name === name) return port;
    return undefined;
  }

  /** Names of the ports for parsing and printing. */
  get names(): PortNames {
    return {
      numberOf: (name) => this.byName(name)?.port,
      nameOf: (port) => this.xports.get(port)?.name,
    };
  }

  /** Attaches a device. @throws Errno ENODEV (no such device), EBUSY (number taken, or device taken) … */
  add(config: string | PortConfig): XPort {
    const wanted = typeof config === "string" ? { name: config } : config;
    const known = this.byName(wanted.name);
    // The ports of a datapath that was there before are attached already.
    if (known && (wanted.port === undefined || wanted.port === known.port)) {
      return this.configure(wanted.name, wanted);
    }
    const socket = this.perCpu ? null : this.openSocket();
    let vport: VportInfo;
    try {
      vport = this.client.createVport(this.datapath, {
        name: wanted.name,
        type: wanted.type === "internal" ? ovs.OVS_VPORT_TYPE_INTERNAL : ovs.OVS_VPORT_TYPE_NETDEV,
        portNo: wanted.port,
        upcallPids: [socket?.portId ?? 0],
      });
    } catch (error) {
      socket?.close();
      throw error;
    }
    if (socket) this.sockets.set(vport.portNo, socket);
    return this.insert(vport, wanted);
  }

  /** Detaches a port. @throws Errno ENODEV */
  remove(name: string): void {
    const port = this.byName(name);
    if (!port || port.port === OFPP_LOCAL) throw new Errno(ENODEV, `no port ${name}`);
    this.client.deleteVport(this.datapath, port.datapathPort);
    this.forget(port);
  }

  /** Replaces a port's settings. @throws Errno ENODEV */
  configure(name: string, settings: PortSettings): XPort {
    const old = this.byName(name);
    if (!old) throw new Errno(ENODEV, `no port ${name}`);
    const { port, datapathPort } = old;
    const { tag, trunks, vlanMode, noFlood } = settings;
    const changed: XPort = { port, datapathPort, name, tag, trunks, vlanMode, noFlood };
    this.xports.set(port, changed);
    this.changed();
    return changed;
  }

  /**
   * Netlink port id for userspace actions of flows from an OpenFlow port. In per-CPU mode it is 0xffffffff: the datapath
   * looks at its list of handlers whatever the action names.
   */
  upcallPid(port: number): number {
    if (this.perCpu) return 0xffffffff;
    const number = port === OFPP_LOCAL ? ovs.OVSP_LOCAL : port;
    return (this.sockets.get(number) ?? this.sockets.get(0))?.portId ?? 0;
  }

  private insert(vport: VportInfo, settings: PortSettings = {}): XPort {
    const { tag, trunks, vlanMode, noFlood } = settings;
    const number = openFlowPort(vport.portNo);
    const port: XPort = { port: number, datapathPort: vport.portNo, name: vport.name, tag, trunks, vlanMode, noFlood };
    this.xports.set(number, port);
    this.changed();
    return port;
  }

  private forget(port: XPort): void {
    if (this.xports.get(port.port) !== port) return;
    this.xports.delete(port.port);
    if (!this.perCpu) {
      this.sockets.get(port.datapathPort)?.close();
      this.sockets.delete(port.datapathPort);
    }
    this.listener.removed(port);
    this.changed();
  }

  private changed(): void {
    this.generation++;
    this.listener.changed();
  }

  private vportChanged(command: number, vport: VportInfo): void {
    const number = openFlowPort(vport.portNo);
    const known = this.xports.get(number);
    if (command === ovs.OVS_VPORT_CMD_DEL) {
      if (known && known.name === vport.name && !this.exists(vport)) this.forget(known);
    } else if (!known) this.adopt(vport);
    else if (known.name !== vport.name && this.exists(vport)) this.xports.set(number, { ...known, name: vport.name });
  }

  /** Whether a vport exists now: by the time that a notification is read it may be gone, or another. */
  private exists(vport: VportInfo): boolean {
    try {
      return this.client.vport(this.datapath, vport.portNo).name === vport.name;
    } catch (error) {
      if (error instanceof Errno && error.errno === ENODEV) return false;
      throw error;
    }
  }

  /** Takes in a vport that another program has attached. */
  private adopt(vport: VportInfo): void {
    if (vport.portNo > MAX_PORT) return;
    const local = vport.portNo === ovs.OVSP_LOCAL;
    const socket = this.perCpu ? null : local ? this.sockets.get(0)! : this.openSocket();
    try {
      const now = this.client.setVport(this.datapath, vport.portNo, { upcallPids: [socket?.portId ?? 0] });
      if (socket) this.sockets.set(vport.portNo, socket);
      this.insert(now);
    } catch (error) {
      if (!local) socket?.close();
      // ENODEV: the vport was removed meanwhile.
      if (!(error instanceof Errno && error.errno === ENODEV)) throw error;
    }
  }

  /** Reads all vports: at the start, and when notifications were lost. */
  private resync(): void {
    const present = new Set<number>();
    for (const vport of this.client.vports(this.datapath)) {
      const number = openFlowPort(vport.portNo);
      present.add(number);
      if (!this.xports.has(number)) this.adopt(vport);
    }
    for (const port of [...this.xports.values()]) if (!present.has(port.port)) this.forget(port);
  }

  private openSocket(): UpcallSocket {
    const socket = this.client.openUpcalls();
    socket.socket.setReceiveBuffer(UPCALL_BUFFER);
    socket.onReadable = () => this.listener.readable(socket);
    return socket;
  }
}
