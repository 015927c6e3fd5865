import type { Packet } from "../packet/packet.ts";
import type { DeviceStats, Port, PortReceiver } from "../port/port.ts";
import type { TunnelHost } from "./host.ts";
import type { TunnelSettings } from "./kind.ts";
import { TunnelReceiver } from "./receive.ts";
import { TunnelTransmitter } from "./transmit.ts";
import { UnderlaySockets } from "./underlay.ts";

/**
 * A tunnel device as a port: what is sent on it is encapsulated and goes out through the host's IP stack, and the other way
 * round. Name, ifindex, MTU and state are those of the net device that the host has for it.
 */
export class TunnelPort implements Port {
  readonly kind = "tunnel";
  readonly l3: boolean;
  readonly netnsid = undefined;
  receiver: PortReceiver | undefined = undefined;
  private readonly sockets = new UnderlaySockets();
  private readonly transmitter: TunnelTransmitter;
  private readonly decapsulator: TunnelReceiver;
  private readonly counters: DeviceStats = {
    rxPackets: 0,
    txPackets: 0,
    rxBytes: 0,
    txBytes: 0,
    rxErrors: 0,
    txErrors: 0,
    rxDropped: 0,
    txDropped: 0,
  };

  /**
   * @param netdev the device that the host has for the tunnel; it stays the caller's
   * @param packet any packet of the memory that packets are in
   * @param onClose is called once the port has given up its sockets
   */
  constructor(
    readonly settings: TunnelSettings,
    private readonly netdev: Port,
    private readonly host: TunnelHost,
    packet: Packet,
    private readonly onClose: (port: TunnelPort) => void,
  ) {
    this.l3 = settings.encapsulation.l3;
    this.transmitter = new TunnelTransmitter(settings, this, host, this.sockets, this.counters, packet.memory);
    this.decapsulator = new TunnelReceiver(settings, this, host, this.counters);
  }

  /**
   * Starts to receive.
   * @throws Errno EADDRINUSE, EAFNOSUPPORT, EPERM
   */
  open(): void {
    this.sockets.open(this.host.underlay, this.settings, (packet, size) => this.decapsulator.receive(packet, size));
  }

  get name(): string {
    return this.netdev.name;
  }
  get ifindex(): number {
    return this.netdev.ifindex;
  }
  get mtu(): number {
    return this.netdev.mtu;
  }
  get running(): boolean {
    return this.netdev.running;
  }

  /** The device's counters, with what the host's stack lost. */
  stats(): DeviceStats {
    const stats = { ...this.counters };
    this.sockets.addLosses(stats);
    return stats;
  }

  countTxError(): void {
    this.counters.txErrors++;
  }

  send(packet: Packet): void {
    this.transmitter.send(packet);
  }

  egressTunnel(packet: Packet, out: Int32Array): boolean {
    return this.transmitter.egressTunnel(packet, out);
  }

  close(): void {
    this.sockets.close();
    this.onClose(this);
  }
}
