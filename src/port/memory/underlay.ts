import { Errno } from "../../core/errors.ts";
import type { Packet } from "../../packet/packet.ts";
import { EADDRINUSE } from "../../uapi/errno.ts";
import { AF_INET } from "../../uapi/socket.ts";
import type { ReceiveUnderlay, Route, RouteQuery, Underlay, UnderlayPort } from "../underlay.ts";

const IPPROTO_UDP = 17;

/** skb->mark and skb->priority of a packet. */
interface PacketLabel {
  readonly mark: number;
  readonly priority: number;
}

/** One socket of MemoryUnderlay. */
interface Listener {
  readonly family: number;
  readonly protocol: number;
  readonly udpPort: number;
  readonly receive: ReceiveUnderlay;
}

/**
 * The underlay of MemoryPorts: routes are what a test says, packets that tunnels send are kept, and those that come in are
 * injected.
 */
export class MemoryUnderlay implements Underlay {
  readonly portRange = { min: 32768, max: 60999 };
  onChange: () => void = () => {};
  /** Every IP packet that was sent so far. */
  sent: Uint8Array[] = [];
  /** Mark and priority of each. */
  sentLabels: PacketLabel[] = [];
  /** Answers route(): to be replaced by the test. Call onChange() when its answers change. */
  routes: (query: RouteQuery) => Route | undefined = () => undefined;
  private readonly listeners = new Set<Listener>();

  /**
   * @param deliver hands bytes to a receiver as a received packet, within a batch
   * @param enqueue keeps a packet until the batch is flushed, then calls `take` with its bytes and what they were given with
   */
  constructor(
    private readonly deliver: (bytes: Uint8Array, receive: (packet: Packet) => void) => void,
    private readonly enqueue: (packet: Packet, take: (bytes: Uint8Array, label: PacketLabel) => void) => void,
  ) {}

  open(family: number, protocol: number, udpPort: number, receive: ReceiveUnderlay): UnderlayPort {
    for (const other of this.listeners) {
      if (
        protocol === IPPROTO_UDP &&
        other.family === family &&
        other.protocol === protocol &&
        other.udpPort === udpPort
      )
        throw new Errno(EADDRINUSE);
    }
    const listener: Listener = { family, protocol, udpPort, receive };
    this.listeners.add(listener);
    return {
      send: (packet) => this.enqueue(packet, this.keep),
      sendLong: (packet) => this.enqueue(packet, this.keep),
      losses: () => [0, 0, 0],
      close: () => {
        this.listeners.delete(listener);
      },
    };
  }

  route(query: RouteQuery): Route | undefined {
    return this.routes(query);
  }

  /**
   * An IP packet arrives that is for this host, whole.
   * @param fragment size of the largest fragment it came in, 0 = it came in one piece
   */
  inject(bytes: Uint8Array, fragment = 0, { mark, priority }: PacketLabel = { mark: 0, priority: 0 }): void {
    const v6 = bytes[0] >> 4 === 6;
    const protocol = v6 ? bytes[6] : bytes[9];
    const transport = v6 ? 40 : (bytes[0] & 15) * 4;
    const port = (bytes[transport + 2] << 8) | bytes[transport + 3];
    for (const listener of [...this.listeners]) {
      if (listener.protocol !== protocol || (listener.family === AF_INET) === v6) continue;
      if (protocol === IPPROTO_UDP && listener.udpPort !== port) continue;
      this.deliver(bytes, (packet) => {
        packet.mark = mark;
        packet.priority = priority;
        listener.receive(packet, fragment);
      });
    }
  }

  /** Returns what was sent since the last call, and empties `sent` and `sentLabels`. */
  takeSent(): Uint8Array[] {
    const packets = this.sent;
    this.sent = [];
    this.sentLabels = [];
    return packets;
  }

  private readonly keep = (bytes: Uint8Array, label: PacketLabel): void => {
    this.sent.push(bytes);
    this.sentLabels.push(label);
  };
}
