import { Errno } from "../core/errors.ts";
import type { Port, PortProvider } from "../port/port.ts";
import { EBUSY, EEXIST, EOPNOTSUPP } from "../uapi/errno.ts";
import { collectsMetadata, isL3, type LinkData, ownedBy, parseLinkInfo, toldLinkInfo, validate } from "./link-info.ts";

/** A tunnel's net device. The tunnel itself is nokmod's; the device is its face towards the host: a TAP, or a TUN. */
export interface TunnelDevice {
  /** The name when it was made. */
  readonly name: string;
  /** IFLA_INFO_KIND: "vxlan", "geneve", "gre", "gretap", "erspan", "ip6gretap", "ip6erspan" or "bareudp". */
  readonly kind: string;
  /** Payload of IFLA_LINKINFO as whoever made the device gave it. */
  readonly info: Uint8Array;
  /** The same as the kernel would tell of the device. */
  readonly told: Uint8Array;
  /** Attributes of IFLA_INFO_DATA as whoever made the device gave them. */
  readonly data: LinkData;
  /** Carries name, ifindex, MTU and state. What is sent on it the host receives; what the host sends on it is dropped. */
  readonly face: Port;
}

/** The tunnel devices of one network namespace. */
export class TunnelDevices implements Iterable<TunnelDevice> {
  /** Called when a device has gone, before anything else can take its name. */
  onGone: (device: TunnelDevice) => void = () => {};
  private readonly devices = new Set<TunnelDevice>();

  /** @param version kernelVersion(), which decides what is told of devices */
  constructor(
    private readonly ports: PortProvider,
    private readonly version: number,
  ) {}

  /** The device that is called so now. */
  get(name: string): TunnelDevice | undefined {
    for (const device of this.devices) if (device.face.name === name) return device;
    return undefined;
  }

  /**
   * Makes a device.
   * @param info payload of IFLA_LINKINFO; kept
   * @throws Errno EOPNOTSUPP (not a kind or mode of ours), EEXIST (the name is taken, or there is one like that), EBUSY (the
   * same of Geneve and bareudp), EINVAL, ERANGE, EPERM
   */
  create(name: string, info: Uint8Array): TunnelDevice {
    const asked = parseLinkInfo(info);
    const { kind, data = new Map() } = asked;
    if (!collectsMetadata(asked)) throw new Errno(EOPNOTSUPP);
    if (this.get(name) !== undefined) throw new Errno(EEXIST);
    validate(asked);
    const owned = ownedBy(kind, data);
    // Whether that is up or not.
    for (const other of this.devices)
      if (ownedBy(other.kind, other.data) === owned)
        throw new Errno(kind === "bareudp" || kind === "geneve" ? EBUSY : EEXIST);
    const face = this.ports.createInternal(name, 0, isL3(asked));
    const device: TunnelDevice = { name, kind, info, told: toldLinkInfo(info, this.version), data, face };
    this.devices.add(device);
    return device;
  }

  /** Removes a device. */
  remove(device: TunnelDevice): void {
    if (!this.devices.delete(device)) return;
    this.onGone(device);
    device.face.close();
  }

  /** A port has gone by itself. @returns whether it was a tunnel device's face */
  portGone(port: Port): boolean {
    for (const device of this.devices) {
      if (device.face !== port) continue;
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
