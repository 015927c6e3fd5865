import { readFileSync } from "node:fs";
import type { Packet } from "../../packet/packet.ts";
import { AF_INET } from "../../uapi/socket.ts";
import type { ReceiveUnderlay, Route, RouteQuery, Underlay, UnderlayPort } from "../underlay.ts";
import { attempt, errnoOf } from "./attempt.ts";
import { TX_BATCH, Tx } from "./packet-io.ts";
import type { TransmitQueue } from "./port.ts";

/** Shows the range of the network namespace that the reading thread is in. */
const PORT_RANGE = "/proc/sys/net/ipv4/ip_local_port_range";
const DEFAULT_PORT_RANGE = { min: 32768, max: 60999 };

/** The IP stack of the network namespace that a PacketIo is in: raw sockets and rtnetlink. */
export class NativeUnderlay implements Underlay {
  readonly portRange = readPortRange();
  onChange: () => void = () => {};
  /** Receivers by native handle. */
  private readonly receivers: (ReceiveUnderlay | undefined)[] = [];

  constructor(private readonly queue: TransmitQueue) {}

  open(family: number, protocol: number, udpPort: number, receive: ReceiveUnderlay): UnderlayPort {
    const handle = attempt(() => this.queue.io.openUnderlay(family, protocol, udpPort));
    this.receivers[handle] = receive;
    return new NativeUnderlayPort(this.queue, handle, () => {
      this.receivers[handle] = undefined;
    });
  }

  route({ family, dst, src, tos, protocol, port, mark }: RouteQuery): Route | undefined {
    const any = src.every((word) => word === 0);
    try {
      const found = this.queue.io.getRoute(
        family,
        addressBytes(family, dst),
        any ? new Uint8Array(0) : addressBytes(family, src),
        tos,
        protocol,
        port,
        mark,
      );
      const { mtu, linkMtu, ipsec, hopLimit } = found;
      return { src: addressWords(found.src), mtu, linkMtu, ipsec, hopLimit };
    } catch (error) {
      // Whatever errno the kernel refuses a route with, the packet cannot be sent.
      if (errnoOf(error) !== undefined) return undefined;
      throw error;
    }
  }

  /** Hands a packet to the receiver of the native port `handle`. */
  receive(handle: number, packet: Packet, fragment: number): void {
    this.receivers[handle]?.(packet, fragment);
  }
}

class NativeUnderlayPort implements UnderlayPort {
  constructor(
    private readonly queue: TransmitQueue,
    private handle: number,
    private readonly onClose: () => void,
  ) {}

  send(packet: Packet): void {
    this.enqueue(packet, 0);
  }

  sendLong(packet: Packet): void {
    this.enqueue(packet, 1);
  }

  private enqueue(packet: Packet, flags: number): void {
    const { queue } = this;
    const { tx } = queue.io;
    const at = queue.queued * Tx.WORDS;
    tx[at + Tx.PORT] = this.handle;
    tx[at + Tx.OFF] = packet.off;
    tx[at + Tx.LEN] = packet.len;
    tx[at + Tx.FLAGS] = flags;
    tx[at + Tx.GSO] = 0;
    tx[at + Tx.CSUM] = 0;
    tx[at + Tx.VLAN] = 0;
    tx[at + Tx.PROTOCOL] = packet.protocol;
    tx[at + Tx.MARK] = packet.mark;
    tx[at + Tx.PRIORITY] = packet.priority;
    if (++queue.queued === TX_BATCH) queue.flush();
  }

  losses(): readonly number[] {
    return this.handle < 0 ? [0, 0, 0] : this.queue.io.getCounters(this.handle);
  }

  close(): void {
    if (this.handle < 0) return;
    this.queue.flush();
    this.queue.io.closePort(this.handle);
    this.handle = -1;
    this.onClose();
  }
}

function readPortRange(): { min: number; max: number } {
  try {
    const [min, max] = readFileSync(PORT_RANGE, "utf8").trim().split(/\s+/).map(Number);
    return min > 0 && max > min ? { min, max } : DEFAULT_PORT_RANGE;
  } catch (error) {
    // A system error (/proc is not mounted, or must not be read); any other is a defect.
    if (errnoOf(error) === undefined) throw error;
    return DEFAULT_PORT_RANGE;
  }
}

function addressBytes(family: number, words: Int32Array): Uint8Array {
  const bytes = new Uint8Array(family === AF_INET ? 4 : 16);
  const view = new DataView(bytes.buffer);
  for (let i = 0; i < bytes.length; i += 4) view.setInt32(i, words[i >> 2]);
  return bytes;
}

function addressWords(bytes: Uint8Array): Int32Array {
  const words = new Int32Array(4);
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  for (let i = 0; i < bytes.length; i += 4) words[i >> 2] = view.getInt32(i);
  return words;
}
