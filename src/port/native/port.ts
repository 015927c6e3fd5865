import { isPlainGso } from "../../packet/gso.ts";
import { Csum, Gso, type Packet } from "../../packet/packet.ts";
import { EOPNOTSUPP } from "../../uapi/errno.ts";
import type { DeviceStats, Port, PortReceiver } from "../port.ts";
import { errnoOf, isDeviceGone } from "./attempt.ts";
import type { PacketIo } from "./packet-io.ts";
import { TX_BATCH, Tx } from "./packet-io.ts";

/** What a port uses of the set it belongs to. */
export interface TransmitQueue {
  readonly io: PacketIo;
  /** Number of records waiting in io.tx. */
  queued: number;
  flush(): void;
  /** Sends a GSO packet that the kernel does not take whole, in segments. */
  sendSegments(packet: Packet, port: NativePort): void;
  /** Removes the port from the set. */
  forget(port: NativePort): void;
  /** Reports an error that is a defect or of the machine, not an answer of the kernel about a device. Never throws. */
  fault(error: unknown, what: string): void;
}

const ETH_HLEN = 14;
/** Ethernet frames on a device without link-layer header, linux/if_ether.h. */
const ETH_P_TEB = 0x6558;

/** Milliseconds without askNetfilter() after which the socket in the namespace of an internal port's device is closed. */
const NETFILTER_IDLE = 500;

/** A port on a device of the kernel: netdev (AF_PACKET) or internal (TAP). One class, so that send() stays monomorphic. */
export class NativePort implements Port {
  running = false;
  receiver: PortReceiver | undefined = undefined;
  netnsid: number | undefined = undefined;
  /** ifindex of the end of the veth pair that this process keeps; 0 where the device is no veth. */
  peer = 0;
  /** The device is gone, and that has been reported. */
  gone = false;
  /** askNetfilter() was called since idleCheck last ran. */
  private asked = false;
  private idleCheck: NodeJS.Timeout | undefined = undefined;
  /** Transmit errors that this process counts, in addition to the device's own counters. */
  private txErrors = 0;
  private last: DeviceStats = {
    rxPackets: 0,
    txPackets: 0,
    rxBytes: 0,
    txBytes: 0,
    rxErrors: 0,
    txErrors: 0,
    rxDropped: 0,
    txDropped: 0,
  };

  constructor(
    private readonly queue: TransmitQueue,
    readonly kind: "netdev" | "internal",
    /** Handle of the native port, -1 once it is closed. */
    public handle: number,
    public name: string,
    public ifindex: number,
    public mtu: number,
    readonly l3: boolean,
  ) {}

  send(packet: Packet): void {
    const { queue } = this;
    if (packet.gsoType !== Gso.NONE && !isPlainGso(packet)) {
      queue.sendSegments(packet, this);
      return;
    }
    const { tx } = queue.io;
    const at = queue.queued * Tx.WORDS;
    tx[at + Tx.PORT] = this.handle;
    tx[at + Tx.OFF] = packet.off;
    tx[at + Tx.LEN] = packet.len;
    if (packet.csum === Csum.PARTIAL) {
      tx[at + Tx.FLAGS] = 1 | (packet.gsoType << 8);
      tx[at + Tx.CSUM] = (packet.csumStart - packet.off) | (packet.csumOffset << 16);
    } else {
      tx[at + Tx.FLAGS] = packet.gsoType << 8;
      tx[at + Tx.CSUM] = 0;
    }
    tx[at + Tx.GSO] = packet.gsoType === Gso.NONE ? 0 : packet.gsoSize;
    tx[at + Tx.VLAN] = packet.vlanTpid === 0 ? 0 : packet.vlanTci | (packet.vlanTpid << 16);
    tx[at + Tx.PROTOCOL] = packet.macNone ? packet.protocol : ETH_P_TEB;
    if (++queue.queued === TX_BATCH) queue.flush();
  }

  /** The device's counters with what this process lost; the last ones that were read once the device is gone. */
  stats(): DeviceStats {
    if (this.handle >= 0) {
      try {
        this.last = this.read();
      } catch (error) {
        // A deleted device keeps its last counters until its RTM_DELLINK is read.
        if (!isDeviceGone(error, this.netnsid !== undefined)) this.queue.fault(error, `counters of ${this.name}`);
      }
    }
    return { ...this.last };
  }

  /** See Port. */
  askNetfilter(request: Uint8Array, length: number, reply: Uint8Array): number {
    this.asked = true;
    this.idleCheck ??= setInterval(() => this.closeIdleNetfilter(), NETFILTER_IDLE).unref();
    try {
      return this.queue.io.askNetfilter(this.handle, request, length, reply);
    } catch (error) {
      // The namespace has no nfnetlink, or must not be entered.
      const errno = errnoOf(error);
      if (errno === undefined) this.queue.fault(error, `conntrack of the namespace of ${this.name}`);
      return -(errno || EOPNOTSUPP);
    }
  }

  /** Closes the socket in the device's namespace, which would keep a namespace alive that is in no other use. */
  private closeIdleNetfilter(): void {
    if (this.asked && this.handle >= 0) {
      this.asked = false;
      return;
    }
    clearInterval(this.idleCheck);
    this.idleCheck = undefined;
    if (this.handle >= 0) this.queue.io.closeNetfilter(this.handle);
  }

  private read(): DeviceStats {
    const { io } = this.queue;
    const device = io.getStats(this.ifindex, this.netnsid ?? -1);
    const [rxLost, txLost, txRefused] = io.getCounters(this.handle);
    const [rxPackets, txPackets, rxBytes, txBytes, rxErrors, txErrors, rxDropped, txDropped] = device;
    return {
      rxPackets,
      txPackets,
      // The module counts what the stack gets: without the Ethernet header (spec/tables T-084). TAP counts the whole
      // frame.
      rxBytes: this.kind === "internal" && !this.l3 ? Math.max(0, rxBytes - ETH_HLEN * rxPackets) : rxBytes,
      txBytes,
      rxErrors,
      txErrors: txErrors + txRefused + this.txErrors,
      rxDropped: rxDropped + rxLost,
      txDropped: txDropped + txLost,
    };
  }

  countTxError(): void {
    this.txErrors++;
  }

  close(): void {
    if (this.handle < 0) return;
    this.queue.forget(this);
    this.handle = -1;
    this.running = false;
  }
}
