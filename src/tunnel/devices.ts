import { Errno } from "../errors.ts";
import { AttributeReader } from "../netlink/reader.ts";
import type { Port, PortProvider } from "../port/port.ts";
import { EEXIST, EOPNOTSUPP } from "../uapi/errno.ts";
import {
  IFLA_GENEVE_COLLECT_METADATA,
  IFLA_GRE_COLLECT_METADATA,
  IFLA_INFO_DATA,
  IFLA_INFO_KIND,
  IFLA_VXLAN_COLLECT_METADATA,
} from "../uapi/rtnetlink.ts";

/** Kinds of devices that carry tunnels by metadata, and the attribute of IFLA_INFO_DATA that asks for it. */
const COLLECT_METADATA: ReadonlyMap<string, number> = new Map([
  ["vxlan", IFLA_VXLAN_COLLECT_METADATA],
  ["geneve", IFLA_GENEVE_COLLECT_METADATA],
  ["gre", IFLA_GRE_COLLECT_METADATA],
  ["gretap", IFLA_GRE_COLLECT_METADATA],
  ["ip6gretap", IFLA_GRE_COLLECT_METADATA],
  ["erspan", IFLA_GRE_COLLECT_METADATA],
  ["ip6erspan", IFLA_GRE_COLLECT_METADATA],
]);

/** A tunnel's net device. The tunnel itself is nokmod's; the device is its face towards the host: a TAP. */
export interface TunnelDevice {
  /** The name when it was made. */
  readonly name: string;
  /** IFLA_INFO_KIND: "vxlan", "geneve", "gre", "gretap", "erspan", "ip6gretap" or "ip6erspan". */
  readonly kind: string;
  /** Payload of IFLA_LINKINFO as whoever made the device gave it. */
  readonly info: Uint8Array;
  /** Payload of IFLA_INFO_DATA in it; empty where there was none. */
  readonly data: Uint8Array;
  /** Carries name, ifindex, MTU and state. What is sent on it the host receives; what the host sends on it is dropped. */
  readonly face: Port;
}

/** What the payload of an IFLA_LINKINFO tells. */
export interface LinkInfo {
  readonly kind: string;
  readonly data: Uint8Array;
  /** A device of a kind that nokmod can stand in for, which takes its tunnels from metadata. */
  readonly collectsMetadata: boolean;
}

/** Reads the payload of an IFLA_LINKINFO. */
export function parseLinkInfo(info: Uint8Array): LinkInfo {
  const reader = new AttributeReader(new DataView(info.buffer, info.byteOffset, info.length), 0, info.length);
  let kind = "";
  let data: Uint8Array = info.subarray(0, 0);
  while (reader.next()) {
    if (reader.type === IFLA_INFO_KIND) kind = reader.string();
    else if (reader.type === IFLA_INFO_DATA) data = reader.bytes();
  }
  const flag = COLLECT_METADATA.get(kind);
  return { kind, data, collectsMetadata: flag !== undefined && hasFlag(data, flag) };
}

/** A flag attribute without payload, or a u8 that is not 0. */
function hasFlag(data: Uint8Array, type: number): boolean {
  const reader = new AttributeReader(new DataView(data.buffer, data.byteOffset, data.length), 0, data.length);
  while (reader.next()) if (reader.type === type) return reader.length === 0 || reader.u8() !== 0;
  return false;
}

/** The tunnel devices of one network namespace. */
export class TunnelDevices implements Iterable<TunnelDevice> {
  /** Called when a device has gone, before anything else can take its name. */
  onGone: (device: TunnelDevice) => void = () => {};
  private readonly devices = new Set<TunnelDevice>();

  constructor(private readonly ports: PortProvider) {}

  /** The device that is called so now. */
  get(name: string): TunnelDevice | undefined {
    for (const device of this.devices) if (device.face.name === name) return device;
    return undefined;
  }

  /**
   * Makes a device.
   * @param info payload of IFLA_LINKINFO; kept
   * @throws Errno EOPNOTSUPP (not a kind or mode of ours), EEXIST (the name is taken), EINVAL, EPERM
   */
  create(name: string, info: Uint8Array): TunnelDevice {
    const { kind, data, collectsMetadata } = parseLinkInfo(info);
    if (!collectsMetadata) throw new Errno(EOPNOTSUPP);
    if (this.get(name) !== undefined) throw new Errno(EEXIST);
    const device: TunnelDevice = { name, kind, info, data, face: this.ports.createInternal(name, 0) };
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
