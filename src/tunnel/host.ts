import type { Random } from "../core/random.ts";
import type { Packet } from "../packet/packet.ts";
import type { Port } from "../port/port.ts";
import type { Underlay } from "../port/underlay.ts";
import type { RouteCache } from "./routes.ts";

/** What a tunnel port uses of the network namespace it is in; implemented by TunnelPorts (ports.ts). */
export interface TunnelHost {
  readonly underlay: Underlay;
  readonly routes: RouteCache;
  readonly random: Random;
  /**
   * Takes a decapsulated packet.
   * @param tunnel the tunnel words of a flow key; lent for the call
   */
  deliver(packet: Packet, port: Port, tunnel: Int32Array): void;
  /** Takes a packet that was made while another is being processed: it is delivered when the batch ends. Copies `tunnel`. */
  deliverLater(packet: Packet, port: Port, tunnel: Int32Array): void;
}
