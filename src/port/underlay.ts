import type { Packet } from "../packet/packet.ts";

/** A route, as the host's routing tables have it. */
export interface Route {
  /** The source address that the host chose, as big-endian words; IPv4 in the first. */
  readonly src: Int32Array;
  /** Path MTU, IP header included, without what IPsec puts into packets. */
  readonly mtu: number;
  /** The longest packet that is sent unfragmented: the path MTU plus the IPsec overhead. */
  readonly linkMtu: number;
  /** IPsec policies apply: the host must be given unfragmented packets. */
  readonly ipsec: boolean;
  /** TTL or hop limit that the host would use. */
  readonly hopLimit: number;
}

/** The key of a route lookup; addresses as big-endian words, IPv4 in the first. */
export interface RouteQuery {
  /** AF_INET or AF_INET6. */
  readonly family: number;
  readonly dst: Int32Array;
  /** All zero: the host is to choose. */
  readonly src: Int32Array;
  readonly tos: number;
  /** IPPROTO_* */
  readonly protocol: number;
  /** UDP destination port, 0 = none. */
  readonly port: number;
  /** The packet's mark, for rules that go by it. */
  readonly mark: number;
}

/** One family and protocol of the underlay, and with UDP one port. */
export interface UnderlayPort {
  /**
   * Sends a whole IP packet (packet.off is its header) with packet.mark and packet.priority; what holds for Port.send
   * holds for it.
   */
  send(packet: Packet): void;
  /**
   * The same for an IPv4 packet that is longer than the device's MTU: the host is to cut it, behind IPsec. Only where there
   * are policies (Route.ipsec).
   */
  sendLong(packet: Packet): void;
  /** [received and lost, not sent for want of room, refused] by the host's stack so far. */
  losses(): readonly number[];
  close(): void;
}

/**
 * Takes a whole IP packet that was for this host, reassembled if it came in fragments. The bytes are the receiver's until
 * the batch ends. Mark and priority are the packet's where the kernel tells them.
 * @param fragment size of the largest fragment it came in, 0 = it came whole
 */
export type ReceiveUnderlay = (packet: Packet, fragment: number) => void;

/** The host's IP stack, as tunnels see it. */
export interface Underlay {
  /** Ports from `min` to below `max` are for the sources of UDP tunnels (net.ipv4.ip_local_port_range). */
  readonly portRange: { readonly min: number; readonly max: number };
  /** Called when routes or addresses may have changed. */
  onChange: () => void;
  /**
   * Starts to receive packets of a family and protocol that are for this host.
   * @param udpPort with UDP: the destination port, which nobody else can have then; 0 = any free one
   * @throws Errno EADDRINUSE, EAFNOSUPPORT (no such family), EPERM
   */
  open(family: number, protocol: number, udpPort: number, receive: ReceiveUnderlay): UnderlayPort;
  /** Asks the host's routing tables, path MTU discoveries included. @returns undefined if there is no way */
  route(query: RouteQuery): Route | undefined;
}
