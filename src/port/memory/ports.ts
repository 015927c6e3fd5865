import { Errno, NokmodError } from "../../core/errors.ts";
import { HEADROOM, PacketMemory } from "../../packet/memory.ts";
import { Csum, Gso, Packet } from "../../packet/packet.ts";
import { copyWireFrame, wireLength } from "../../packet/wire.ts";
import { EBUSY, EEXIST, EINVAL, ENODEV } from "../../uapi/errno.ts";
import type { DeviceStats, Port, PortEvents, PortReceiver, Receive } from "../port.ts";
import { isDeviceName, type PortDriver } from "../provider.ts";
import { MemoryUnderlay } from "./underlay.ts";

/** What an skb carries beside its bytes. Positions count from the first byte of the frame. */
export interface Offload {
  /** Csum.*; default NONE. */
  csum?: number;
  /** With Csum.PARTIAL: where summing starts. */
  csumStart?: number;
  /** With Csum.PARTIAL: where the checksum field is, from csumStart. */
  csumOffset?: number;
  /** Gso.*; default NONE. */
  gsoType?: number;
  gsoSize?: number;
  /** Out-of-band VLAN tag without the present bit; there is one if vlanTpid is not 0. */
  vlanTci?: number;
  vlanTpid?: number;
  /** A packet without Ethernet header (only on an `l3` port), and its ethertype. */
  protocol?: number;
}

/** A device that MemoryPorts knows of, before or while it is attached. */
export interface MemoryDevice {
  /** Default 1500. */
  mtu?: number;
  /** Admin up and carrier on; default true. */
  running?: boolean;
  /** Default: the next free one, from 1. */
  ifindex?: number;
  /** ARPHRD_NONE. */
  l3?: boolean;
  /** Alternative names. */
  altNames?: readonly string[];
  /** Cannot be attached (spec/families F-157). */
  loopback?: boolean;
  /** Another bridge or rx handler has it already (spec/families F-158). */
  busy?: boolean;
}

/** A packet that a port or tunnel has queued for transmission until flush(). */
interface Queued {
  to: { take(packet: Packet): void };
  packet: Packet;
}

/** Tail room behind injected frames, as rings and skbs have some. */
const TAILROOM = 128;
const ETH_HLEN = 14;
/** Written over a frame when its batch is over: whoever still reads it shows in the result. */
const POISON = 0xa5;

/**
 * Ports without devices: frames are injected by the test and what is sent is kept. Works without root, in one tick, with
 * the same batch rules as the native ports: frames are valid until the batch ends, then their memory is overwritten.
 *
 * @example
 * ```ts
 * const ports = new MemoryPorts();
 * ports.addDevice("eth0");
 * const eth0 = ports.openNetdev("eth0");
 * ports.start((packet, port) => port.send(packet), () => ports.memory.resetScratch());
 * eth0.inject(frame);
 * eth0.sent; // [frame]
 * ```
 */
export class MemoryPorts implements PortDriver {
  readonly underlay: MemoryUnderlay;
  private readonly devices = new Map<string, MemoryPort>();
  private readonly packet: Packet;
  private readonly queue: Queued[] = [];
  private queued = 0;
  private readonly held: number[] = [];
  private depth = 0;
  private nextIfindex = 1;
  private receive: Receive | undefined;
  private endBatch: () => void = () => {};
  private events: PortEvents | undefined;

  constructor(readonly memory: PacketMemory = new PacketMemory()) {
    this.packet = new Packet(memory);
    this.underlay = new MemoryUnderlay(
      (bytes, receive) => this.hand(bytes, receive),
      (packet, take) =>
        this.enqueue(
          {
            take: ({ memory, off, len, mark, priority }) =>
              take(memory.bytes.slice(off, off + len), { mark: mark >>> 0, priority: priority >>> 0 }),
          },
          packet,
        ),
    );
  }

  /** Makes a net device known, as `ip link add` does; openNetdev() attaches it. */
  addDevice(name: string, device: MemoryDevice = {}): MemoryPort {
    if (!isDeviceName(name)) throw new Errno(EINVAL);
    if (this.devices.has(name)) throw new Errno(EEXIST);
    return this.create("netdev", name, device);
  }

  openNetdev(name: string, altNames = false): MemoryPort {
    const device = this.devices.get(name) ?? (altNames ? this.byAltName(name) : undefined);
    if (device === undefined) throw new Errno(ENODEV);
    if (device.loopback || device.kind === "internal") throw new Errno(EINVAL);
    if (device.attached || device.busy) throw new Errno(EBUSY);
    device.attached = true;
    return device;
  }

  private byAltName(name: string): MemoryPort | undefined {
    for (const device of this.devices.values()) if (device.altNames.includes(name)) return device;
    return undefined;
  }

  /** The device starts down, as the module's do (spec/tables T-081): set `running` for it to pass packets. */
  createInternal(name: string, ifindex: number, l3 = false): MemoryPort {
    if (!isDeviceName(name) || ifindex < 0) throw new Errno(EINVAL);
    if (this.devices.has(name)) throw new Errno(EEXIST);
    if (ifindex > 0 && this.ifindexInUse(ifindex)) throw new Errno(EBUSY);
    const port = this.create("internal", name, { running: false, ifindex, l3 });
    port.attached = true;
    return port;
  }

  configure(port: Port, mtu: number): void {
    const device = port as MemoryPort;
    device.mtu = mtu;
    device.running = true;
  }

  /** The device of that name, attached or not. */
  device(name: string): MemoryPort | undefined {
    return this.devices.get(name);
  }

  start(receive: Receive, endBatch: () => void, events?: PortEvents): void {
    this.receive = receive;
    this.endBatch = endBatch;
    this.events = events;
  }

  /** Runs `inject` calls as one batch: nothing is sent and no frame overwritten before the function returns. */
  batch(injections: () => void): void {
    this.depth++;
    try {
      injections();
    } finally {
      this.depth--;
    }
    if (this.depth === 0) this.finish();
  }

  flush(): void {
    const count = this.queued;
    for (let i = 0; i < count; i++) {
      const { to, packet } = this.queue[i];
      to.take(packet);
    }
    this.queued = 0;
  }

  close(): void {
    for (const port of [...this.devices.values()]) {
      if (port.kind === "internal") port.close();
      else port.attached = false;
    }
    this.receive = undefined;
  }

  /** Used by MemoryPort. @internal */
  enqueue(to: { take(packet: Packet): void }, packet: Packet): void {
    if (this.queued === this.queue.length) this.queue.push({ to, packet: new Packet(this.memory) });
    const entry = this.queue[this.queued++];
    entry.to = to;
    entry.packet.copyFrom(packet);
  }

  /** Used by MemoryPort. @internal */
  deliver(port: MemoryPort, frame: Uint8Array, offload: Offload | undefined): void {
    const { receive } = this;
    if (receive === undefined) throw new NokmodError("ERR_NOT_STARTED", "inject() before start()");
    this.hand(frame, (packet) => {
      if (offload !== undefined) describe(packet, offload);
      if (port.l3) {
        packet.macNone = true;
        packet.protocol = offload?.protocol ?? 0;
      }
      receive(packet, port);
    });
  }

  /** Copies bytes into memory that lasts until the batch ends, and hands them over. */
  private hand(frame: Uint8Array, receive: (packet: Packet) => void): void {
    const { packet, memory } = this;
    const size = HEADROOM + frame.length + TAILROOM;
    const base = memory.alloc(size);
    if (base < 0) throw new NokmodError("ERR_NO_BUFFER", `no packet buffer of ${size} bytes`);
    this.held.push(base, size);
    const off = base + HEADROOM;
    memory.bytes.set(frame, off);
    this.depth++;
    packet.reset(off, frame.length, base, base + size);
    receive(packet);
    this.depth--;
    if (this.depth === 0) this.finish();
  }

  /** Used by MemoryPort. @internal */
  forget(port: MemoryPort): void {
    this.devices.delete(port.name);
  }

  /** Used by MemoryPort. @internal */
  moved(port: MemoryPort, name: string): void {
    if (!isDeviceName(name)) throw new Errno(EINVAL);
    if (this.devices.has(name)) throw new Errno(EEXIST);
    this.devices.delete(port.name);
    this.devices.set(name, port);
  }

  /** Used by MemoryPort. @internal */
  gone(port: MemoryPort): void {
    this.events?.onGone(port);
  }

  private finish(): void {
    this.flush();
    this.endBatch();
    this.flush();
    for (let i = 0; i < this.held.length; i += 2) {
      const base = this.held[i];
      this.memory.bytes.fill(POISON, base, base + this.held[i + 1]);
      this.memory.free(base);
    }
    this.held.length = 0;
  }

  private create(kind: "netdev" | "internal", name: string, device: MemoryDevice): MemoryPort {
    let ifindex = device.ifindex ?? 0;
    if (ifindex === 0) {
      while (this.ifindexInUse(this.nextIfindex)) this.nextIfindex++;
      ifindex = this.nextIfindex++;
    }
    const port = new MemoryPort(this, kind, name, ifindex, device);
    this.devices.set(name, port);
    return port;
  }

  private ifindexInUse(ifindex: number): boolean {
    for (const device of this.devices.values()) if (device.ifindex === ifindex) return true;
    return false;
  }
}

/** A port of MemoryPorts. `mtu` and `running` may be set at any time, as rtnetlink would. */
export class MemoryPort implements Port {
  mtu: number;
  running: boolean;
  receiver: PortReceiver | undefined = undefined;
  netnsid: number | undefined = undefined;
  readonly l3: boolean;
  readonly loopback: boolean;
  readonly altNames: readonly string[];
  /** Another owner has the device: openNetdev() gives EBUSY. */
  busy: boolean;
  /** Whether it is a port now (openNetdev … close). */
  attached = false;
  /** Every frame sent so far, as on the wire: a VLAN tag that was out of band stands in its place. */
  sent: Uint8Array[] = [];
  /** The checksum and GSO state of each frame of `sent`; positions count from its first byte, tag included. */
  sentOffload: Required<Pick<Offload, "csum" | "csumStart" | "csumOffset" | "gsoType" | "gsoSize">>[] = [];
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

  /** Made by MemoryPorts.addDevice and createInternal. */
  constructor(
    private readonly ports: MemoryPorts,
    readonly kind: "netdev" | "internal",
    public name: string,
    public ifindex: number,
    device: MemoryDevice,
  ) {
    this.mtu = device.mtu ?? 1500;
    this.running = device.running ?? true;
    this.l3 = device.l3 ?? false;
    this.altNames = device.altNames ?? [];
    this.loopback = device.loopback ?? false;
    this.busy = device.busy ?? false;
  }

  /**
   * A frame arrives from the wire (internal port: from the host's stack). Nothing happens if the port is not attached or
   * not running. A batch of its own, unless inside MemoryPorts.batch().
   */
  inject(frame: Uint8Array, offload?: Offload): void {
    if (!this.running) return;
    const { counters } = this;
    if (this.kind === "internal") {
      counters.txPackets++;
      counters.txBytes += frame.length;
    } else {
      counters.rxPackets++;
      counters.rxBytes += frame.length;
    }
    if (this.attached) this.ports.deliver(this, frame, offload);
  }

  send(packet: Packet): void {
    this.ports.enqueue(this, packet);
  }

  /** Returns what was sent since the last call, and empties `sent` and `sentOffload`. */
  takeSent(): Uint8Array[] {
    const frames = this.sent;
    this.sent = [];
    this.sentOffload = [];
    return frames;
  }

  stats(): DeviceStats {
    return { ...this.counters };
  }

  countTxError(): void {
    this.counters.txErrors++;
  }

  close(): void {
    this.attached = false;
    if (this.kind === "internal") this.ports.forget(this);
  }

  /** `ip link set NAME name NEW`. @throws Errno EINVAL, EEXIST */
  rename(name: string): void {
    this.ports.moved(this, name);
    this.name = name;
  }

  /** `ip link del`, or the device leaves the namespace: the datapath hears of it (spec/tables T-109). */
  remove(): void {
    const attached = this.attached;
    this.running = false;
    this.ports.forget(this);
    if (attached) this.ports.gone(this);
  }

  /** Takes a queued packet over at flush. @internal */
  take(packet: Packet): void {
    if (!this.attached || !this.running) return;
    const frame = new Uint8Array(wireLength(packet));
    copyWireFrame(packet, frame, 0);
    const tag = frame.length - packet.len;
    this.sent.push(frame);
    const partial = packet.csum === Csum.PARTIAL;
    this.sentOffload.push({
      csum: packet.csum,
      csumStart: partial ? packet.csumStart - packet.off + tag : 0,
      csumOffset: partial ? packet.csumOffset : 0,
      gsoType: packet.gsoType,
      gsoSize: packet.gsoSize,
    });
    const { counters } = this;
    if (this.kind === "internal") {
      counters.rxPackets++;
      counters.rxBytes += frame.length - ETH_HLEN;
    } else {
      counters.txPackets++;
      counters.txBytes += frame.length;
    }
  }
}

function describe(packet: Packet, offload: Offload): void {
  packet.csum = offload.csum ?? Csum.NONE;
  packet.csumStart = packet.csum === Csum.PARTIAL ? packet.off + (offload.csumStart ?? 0) : 0;
  packet.csumOffset = offload.csumOffset ?? 0;
  packet.gsoType = offload.gsoType ?? Gso.NONE;
  packet.gsoSize = offload.gsoSize ?? 0;
  packet.vlanTci = offload.vlanTci ?? 0;
  packet.vlanTpid = offload.vlanTpid ?? 0;
}
