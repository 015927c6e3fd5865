import { Errno } from "../core/errors.ts";
import type { Port, PortProvider } from "../port/port.ts";
import { EEXIST, EOPNOTSUPP } from "../uapi/errno.ts";
import type { TunnelKind } from "./kind.ts";
import { metadataKind } from "./kinds/index.ts";
import type { LinkData } from "./link-data.ts";
import { parseLinkInfo, reportLinkInfo, validateLinkData } from "./link-info.ts";

/**
 * A tunnel device: nokmod does the tunnelling, the host has a net device for it, a TAP, or a TUN where the kind has no
 * Ethernet header.
 */
export interface TunnelDevice {
  /** The device's name when it was made; later renames show in netdev.name. */
  readonly name: string;
  readonly kind: TunnelKind;
  /** Payload of the IFLA_LINKINFO that the device was made with. */
  readonly info: Uint8Array;
  /** Payload of the IFLA_LINKINFO that the kernel would report of the device. */
  readonly linkInfo: Uint8Array;
  /** The IFLA_INFO_DATA that the device was made with. */
  readonly data: LinkData;
  /** The host's net device: has name, ifindex, MTU and state. The host receives what is sent on it; what it sends is dropped. */
  readonly netdev: Port;
}

/** The tunnel devices of one network namespace. */
export class TunnelDevices implements Iterable<TunnelDevice> {
  /** Called when a device has gone, before another can take its name. */
  onGone: (device: TunnelDevice) => void = () => {};
  private readonly devices = new Set<TunnelDevice>();

  /** @param version kernelVersion() of the kernel whose attributes devices report */
  constructor(
    private readonly ports: PortProvider,
    private readonly version: number,
  ) {}

  /** The device that has that name now. */
  get(name: string): TunnelDevice | undefined {
    for (const device of this.devices) if (device.netdev.name === name) return device;
    return undefined;
  }

  /**
   * Makes a device.
   * @param info payload of IFLA_LINKINFO; the device keeps it
   * @throws Errno EOPNOTSUPP (not a kind in TUNNEL_KINDS, or not in metadata mode), EEXIST (the name is taken), EEXIST or EBUSY
   * (TunnelKind.identity is taken), EINVAL, ERANGE, EPERM
   */
  create(name: string, info: Uint8Array): TunnelDevice {
    const parsed = parseLinkInfo(info);
    const kind = metadataKind(parsed);
    if (kind === undefined) throw new Errno(EOPNOTSUPP);
    if (this.get(name) !== undefined) throw new Errno(EEXIST);
    validateLinkData(kind, parsed.data);
    const { data = new Map() } = parsed;
    const identity = kind.identity(data);
    // Whether the other is up makes no difference.
    for (const other of this.devices)
      if (other.kind === kind && kind.identity(other.data) === identity) throw new Errno(kind.duplicateErrno);
    const netdev = this.ports.createInternal(name, 0, kind.isL3(data));
    const linkInfo = reportLinkInfo(kind, data, this.version);
    const device: TunnelDevice = { name, kind, info, linkInfo, data, netdev };
    this.devices.add(device);
    return device;
  }

  /** Removes a device. */
  remove(device: TunnelDevice): void {
    if (!this.devices.delete(device)) return;
    this.onGone(device);
    device.netdev.close();
  }

  /** Removes the device whose net device has gone by itself. @returns false if the port is no tunnel device's */
  portGone(port: Port): boolean {
    for (const device of this.devices) {
      if (device.netdev !== port) continue;
      this.remove(device);
      return true;
    }
    return false;
  }

  /** Removes all. */
  clear(): void {
    for (const device of [...this.devices]) this.remove(device);
  }

  [Symbol.iterator](): Iterator<TunnelDevice> {
    return this.devices.values();
  }
}
