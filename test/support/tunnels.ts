/** A datapath with tunnel ports over an underlay in memory. */

import type { KernelRelease } from "../../src/core/kernel-profile.ts";
import type { Route, RouteQuery } from "../../src/port/underlay.ts";
import { NLM_F_ECHO } from "../../src/uapi/netlink.ts";
import * as ovs from "../../src/uapi/openvswitch.ts";
import { AF_INET } from "../../src/uapi/socket.ts";
import { attr, le32 } from "./actions.ts";
import { concat, u16 } from "./frames.ts";
import { type Reply, type TestClient, TestKernel } from "./kernel.ts";

export const utf8 = (text: string): Uint8Array => new TextEncoder().encode(`${text}\0`);
export const le16 = (value: number): Uint8Array => u16(value).reverse();

/** Top-level attributes of a message, by type. */
export function attributesOf({ bytes, view }: Pick<Reply, "bytes" | "view">, start = 24): Map<number, Uint8Array> {
  const found = new Map<number, Uint8Array>();
  for (let at = start; at + 4 <= bytes.length; ) {
    const length = view.getUint16(at, true);
    if (length < 4) break;
    found.set(view.getUint16(at + 2, true) & 0x3fff, bytes.slice(at + 4, at + length));
    at += (length + 3) & ~3;
  }
  return found;
}

/** OVS_VPORT_ATTR_OPTIONS with a port, perhaps with group policies. */
export function options(port: number, gbp = false): Uint8Array {
  const extension = gbp ? attr(ovs.OVS_TUNNEL_ATTR_EXTENSION, attr(ovs.OVS_VXLAN_EXT_GBP)) : new Uint8Array(0);
  return concat(attr(ovs.OVS_TUNNEL_ATTR_DST_PORT, le16(port)), extension);
}

/** The host that everything is recorded on: 10.9.0.1/24 and fd09::1/64 on a device of MTU 1500. */
export function recordedRoutes({ family, dst, src }: RouteQuery): Route | undefined {
  const v4 = family === AF_INET;
  const own = v4 ? Int32Array.of(0x0a090001, 0, 0, 0) : Int32Array.of(0xfd090000 | 0, 0, 0, 1);
  const near = v4 ? dst[0] >>> 8 === 0x0a0900 : dst[0] === (0xfd090000 | 0) && dst[1] === 0;
  const any = src.every((word) => word === 0);
  // IPv4 takes an address of its own as a source only, IPv6 any.
  if (!near || (v4 && !any && src.some((word, i) => word !== own[i]))) return undefined;
  return { src: any ? own : src, mtu: 1500, linkMtu: 1500, ipsec: false, hopLimit: 64 };
}

export class TunnelLab {
  readonly test: TestKernel;
  readonly client: TestClient;
  readonly upcalls: TestClient;
  readonly ifindex: number;

  constructor(kernel?: KernelRelease) {
    const test = new TestKernel({ kernel });
    this.test = test;
    test.ports.underlay.routes = recordedRoutes;
    this.client = test.client();
    this.upcalls = test.client();
    const created = this.client.get({
      family: ovs.OVS_DATAPATH_FAMILY,
      cmd: ovs.OVS_DP_CMD_NEW,
      version: ovs.OVS_DATAPATH_VERSION,
      flags: NLM_F_ECHO,
      attributes: (w) => {
        w.string(ovs.OVS_DP_ATTR_NAME, "dp0");
        w.u32(ovs.OVS_DP_ATTR_UPCALL_PID, 0);
      },
    });
    this.ifindex = created.ifindex;
  }

  get underlay() {
    return this.test.ports.underlay;
  }

  /** VPORT_NEW: errno, and the port's number and attributes if that is 0. */
  add(
    name: string,
    type: number,
    options?: Uint8Array,
  ): { errno: number; number: number; attributes: Map<number, Uint8Array> } {
    const { errno, replies } = this.client.ack({
      family: ovs.OVS_VPORT_FAMILY,
      cmd: ovs.OVS_VPORT_CMD_NEW,
      flags: NLM_F_ECHO,
      ifindex: this.ifindex,
      attributes: (w) => {
        w.raw(ovs.OVS_VPORT_ATTR_NAME, utf8(name));
        w.u32(ovs.OVS_VPORT_ATTR_TYPE, type);
        w.u32(ovs.OVS_VPORT_ATTR_UPCALL_PID, this.upcalls.socket.portId);
        if (options !== undefined) w.raw(ovs.OVS_VPORT_ATTR_OPTIONS, options);
      },
    });
    const attributes = errno === 0 ? attributesOf(replies[0]) : new Map<number, Uint8Array>();
    return { errno, number: attributes.get(ovs.OVS_VPORT_ATTR_PORT_NO)?.[0] ?? 0, attributes };
  }

  remove(name: string): number {
    return this.client.errno({
      family: ovs.OVS_VPORT_FAMILY,
      cmd: ovs.OVS_VPORT_CMD_DEL,
      ifindex: this.ifindex,
      attributes: (w) => w.raw(ovs.OVS_VPORT_ATTR_NAME, utf8(name)),
    });
  }

  /** The eight counters of a port. */
  stats(name: string): number[] {
    const reply = this.client.get({
      family: ovs.OVS_VPORT_FAMILY,
      cmd: ovs.OVS_VPORT_CMD_GET,
      ifindex: this.ifindex,
      attributes: (w) => w.raw(ovs.OVS_VPORT_ATTR_NAME, utf8(name)),
    });
    const bytes = attributesOf(reply).get(ovs.OVS_VPORT_ATTR_STATS) as Uint8Array;
    const view = new DataView(bytes.buffer, bytes.byteOffset);
    return Array.from({ length: 8 }, (_, i) => Number(view.getBigUint64(8 * i, true)));
  }

  /** EXECUTE; returns its errno. */
  execute(key: Uint8Array, frame: Uint8Array, actions: Uint8Array): number {
    return this.client.errno({
      family: ovs.OVS_PACKET_FAMILY,
      cmd: ovs.OVS_PACKET_CMD_EXECUTE,
      ifindex: this.ifindex,
      attributes: (w) => {
        w.raw(ovs.OVS_PACKET_ATTR_KEY, key);
        w.raw(ovs.OVS_PACKET_ATTR_PACKET, frame);
        w.raw(ovs.OVS_PACKET_ATTR_ACTIONS, actions);
      },
    });
  }

  /** The attributes of the upcalls since the last call. */
  seen(): Map<number, Uint8Array>[] {
    return this.upcalls.drain().map((reply) => attributesOf(reply));
  }
}

/** set(tunnel(…)) */
export const setTunnel = (tunnel: Uint8Array): Uint8Array =>
  attr(ovs.OVS_ACTION_ATTR_SET, attr(ovs.OVS_KEY_ATTR_TUNNEL, tunnel));
export const output = (port: number): Uint8Array => attr(ovs.OVS_ACTION_ATTR_OUTPUT, le32(port));
