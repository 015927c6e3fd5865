import { Errno, NokmodError } from "../../core/errors.ts";
import { SystemRandom } from "../../core/random.ts";
import { segment } from "../../packet/gso.ts";
import { PacketMemory } from "../../packet/memory.ts";
import { Csum, Gso, Packet } from "../../packet/packet.ts";
import { EBUSY, EEXIST, EINVAL, ENODEV } from "../../uapi/errno.ts";
import type { Port, PortEvents, Receive } from "../port.ts";
import { isDeviceName, type PortDriver } from "../provider.ts";
import { attempt, isDeviceGone } from "./attempt.ts";
import { createPacketIo, type Link, type PacketIo, Rx, VnetFlag } from "./packet-io.ts";
import { NativePort, type TransmitQueue } from "./port.ts";
import { NativeUnderlay } from "./underlay.ts";

/** Bytes of address space for frames: scratch, pool, and a ring of 4 MiB for each netdev port. */
const ARENA_BYTES = 2 ** 30;
/** Batches that are processed before the event loop runs timers and other sockets. */
const BATCHES_PER_WAKEUP = 8;

/** linux/if_arp.h */
const ARPHRD_ETHER = 1;
const ARPHRD_NONE = 0xfffe;
/** linux/if.h */
const IFF_UP = 0x1;
const IFF_LOOPBACK = 0x8;
const ETH_P_TEB = 0x6558;

/**
 * Ports on devices of this network namespace: netdev ports by AF_PACKET, internal ports by TAP. Waits until a frame comes;
 * then moves batches of up to 256 frames, one native call each way.
 *
 * The namespace is the one that the thread is in when the object is made. The object owns the arena, the ports' sockets and
 * the devices of internal ports; close() gives all of them back.
 */
export class NativePorts implements PortDriver, TransmitQueue {
  readonly io: PacketIo;
  readonly memory: PacketMemory;
  readonly underlay: NativeUnderlay;
  queued = 0;
  private readonly packet: Packet;
  /** For sendSegments(): one packet at a time. */
  private readonly segmentPacket: Packet;
  private segmentPort: NativePort | undefined = undefined;
  /** Identifications of IPv6 fragments (UFO). */
  private readonly random = new SystemRandom();
  private readonly sendSegment = (part: Packet): number => {
    this.segmentPort?.send(part);
    return 0;
  };
  /** By native handle. */
  private readonly ports: (NativePort | undefined)[] = [];
  private receive: Receive = () => {};
  private endBatch: () => void = () => {};
  private events: PortEvents | undefined;
  private listening = false;

  /**
   * @param arenaBytes address space to reserve; memory is used as it is touched
   * @throws NokmodError ERR_NATIVE_MISSING; Errno ENOMEM (no address space), EMFILE, EPERM
   */
  constructor(arenaBytes: number = ARENA_BYTES) {
    this.io = attempt(() => createPacketIo(arenaBytes));
    this.memory = new PacketMemory(this.io.buffer);
    attempt(() => this.io.start(this.memory.ringsOffset));
    this.packet = new Packet(this.memory);
    this.segmentPacket = new Packet(this.memory);
    this.underlay = new NativeUnderlay(this);
  }

  start(receive: Receive, endBatch: () => void, events?: PortEvents): void {
    this.receive = receive;
    this.endBatch = endBatch;
    this.events = events;
    if (this.listening) return;
    this.listening = true;
    this.io.listen(
      () => this.drain(),
      (link) => {
        this.underlay.onChange();
        try {
          this.linkChanged(link);
        } catch (error) {
          this.fault(error, link === undefined ? "looking at all links again" : `change of link ${link.name}`);
        }
      },
      () => this.underlay.onChange(),
    );
  }

  openNetdev(name: string, altNames = false): NativePort {
    if (!isDeviceName(name)) throw new Errno(ENODEV);
    const link = attempt(() => this.io.getLink(0, name, -1));
    // The kernel also finds alternative names (spec/families F-156).
    if (link.name !== name && !altNames) throw new Errno(ENODEV);
    if ((link.flags & IFF_LOOPBACK) !== 0) throw new Errno(EINVAL);
    if (link.type !== ARPHRD_ETHER && link.type !== ARPHRD_NONE) throw new Errno(EINVAL);
    const own = this.byIfindex(link.ifindex, undefined);
    if (own !== undefined) throw new Errno(own.kind === "internal" ? EINVAL : EBUSY);
    if (link.master !== 0) throw new Errno(EBUSY);
    const opened = attempt(() => this.io.openNetdev(link.ifindex, ""));
    return this.add("netdev", opened, opened.handle);
  }

  createInternal(name: string, ifindex: number, l3 = false): NativePort {
    if (!isDeviceName(name) || ifindex < 0) throw new Errno(EINVAL);
    if (this.exists(0, name)) throw new Errno(EEXIST);
    if (ifindex > 0 && this.exists(ifindex, "")) throw new Errno(EBUSY);
    const opened = attempt(() => this.io.openInternal(name, ifindex, l3));
    const port = this.add("internal", opened, opened.handle);
    port.peer = opened.peer ?? 0;
    return port;
  }

  configure(port: Port, mtu: number): void {
    attempt(() => this.io.setUp(port.ifindex, mtu));
    const link = attempt(() => this.io.getLink(port.ifindex, "", -1));
    this.update(port as NativePort, link);
  }

  flush(): void {
    const { queued } = this;
    if (queued === 0) return;
    this.queued = 0;
    this.io.flush(queued);
  }

  sendSegments(packet: Packet, port: NativePort): void {
    this.segmentPort = port;
    const error = segment(packet, this.segmentPacket, this.sendSegment, this.random);
    if (error !== 0) port.countTxError();
  }

  forget(port: NativePort): void {
    this.flush();
    this.io.closePort(port.handle);
    this.ports[port.handle] = undefined;
  }

  close(): void {
    this.flush();
    for (const port of this.ports) port?.close();
    this.io.shutdown();
    this.listening = false;
  }

  fault(cause: unknown, what: string): void {
    const message = cause instanceof Error ? cause.message : String(cause);
    const fault = new NokmodError("ERR_PORT_FAULT", `${what}: ${message}`, { cause });
    if (this.events?.onFault === undefined) process.emitWarning(fault);
    else this.events.onFault(fault);
  }

  private exists(ifindex: number, name: string): boolean {
    try {
      attempt(() => this.io.getLink(ifindex, name, -1));
      return true;
    } catch (error) {
      if (isDeviceGone(error, false)) return false;
      throw error;
    }
  }

  private add(kind: "netdev" | "internal", link: Link, handle: number): NativePort {
    const l3 = link.type === ARPHRD_NONE;
    const port = new NativePort(this, kind, handle, link.name, link.ifindex, link.mtu, l3);
    port.running = isRunning(link);
    this.ports[handle] = port;
    return port;
  }

  /** Moves batches until no frame is left, BATCHES_PER_WAKEUP at most. */
  private drain(): void {
    const { io } = this;
    let count = io.exchange(this.takeQueued());
    for (let batches = 1; count > 0; batches++) {
      this.handle(count);
      this.flush();
      this.endBatch();
      if (batches === BATCHES_PER_WAKEUP) {
        io.release(this.takeQueued());
        return;
      }
      count = io.exchange(this.takeQueued());
    }
  }

  private takeQueued(): number {
    const { queued } = this;
    this.queued = 0;
    return queued;
  }

  private handle(count: number): void {
    const { packet, receive, ports, underlay } = this;
    const { rx } = this.io;
    for (let i = 0, at = 0; i < count; i++, at += Rx.WORDS) {
      const port = ports[rx[at + Rx.PORT]];
      const off = rx[at + Rx.OFF];
      packet.reset(off, rx[at + Rx.LEN], rx[at + Rx.HEAD], rx[at + Rx.END]);
      if (port === undefined) {
        packet.mark = rx[at + Rx.MARK] >>> 0;
        packet.priority = rx[at + Rx.PRIORITY] >>> 0;
        underlay.receive(rx[at + Rx.PORT], packet, rx[at + Rx.GSO]);
        continue;
      }
      const flags = rx[at + Rx.FLAGS];
      if (flags !== 0) {
        if ((flags & VnetFlag.NEEDS_CSUM) !== 0) {
          const csum = rx[at + Rx.CSUM];
          packet.csum = Csum.PARTIAL;
          packet.csumStart = off + (csum & 0xffff);
          packet.csumOffset = csum >>> 16;
        } else if ((flags & VnetFlag.DATA_VALID) !== 0) packet.csum = Csum.UNNECESSARY;
        packet.gsoType = flags >> 8;
        if (packet.gsoType !== Gso.NONE) packet.gsoSize = rx[at + Rx.GSO] & 0xffff;
      }
      const vlan = rx[at + Rx.VLAN];
      if (vlan !== 0) {
        packet.vlanTci = vlan & 0xffff;
        packet.vlanTpid = vlan >>> 16;
      }
      if (port.l3 && rx[at + Rx.PROTOCOL] !== ETH_P_TEB) {
        packet.macNone = true;
        packet.protocol = rx[at + Rx.PROTOCOL];
      }
      receive(packet, port);
    }
  }

  private byIfindex(ifindex: number, netnsid: number | undefined): NativePort | undefined {
    for (const port of this.ports) {
      if (port !== undefined && port.ifindex === ifindex && port.netnsid === netnsid) return port;
    }
    return undefined;
  }

  private linkChanged(link: Link | undefined): void {
    if (link === undefined) {
      for (const port of this.ports) if (port !== undefined) this.relocate(port);
      return;
    }
    let port = this.byIfindex(link.ifindex, link.nsid < 0 ? undefined : link.nsid);
    if (port === undefined && link.deleted && link.nsid < 0) {
      // The end of a veth pair that this process keeps is deleted with the other end, in whatever namespace that is.
      port = this.ports.find((p) => p !== undefined && p.peer === link.ifindex);
    }
    if (port === undefined) return;
    if (!link.deleted) this.update(port, link);
    else if (port.kind === "netdev") this.gone(port);
    else this.relocate(port);
  }

  /** Asks again where a port's device is, and for its name, MTU and state; reports that it is gone, or a fault. */
  private relocate(port: NativePort): void {
    let elsewhere = false;
    try {
      if (port.kind === "netdev") this.update(port, this.io.getLink(port.ifindex, "", -1));
      else {
        const place = this.io.locateInternal(port.handle);
        if (place === undefined) {
          this.gone(port);
          return;
        }
        elsewhere = place.nsid >= 0;
        const link = this.io.getLink(place.ifindex, place.name, place.nsid);
        port.netnsid = elsewhere ? place.nsid : undefined;
        port.ifindex = link.ifindex;
        this.update(port, link);
      }
    } catch (error) {
      if (isDeviceGone(error, elsewhere)) this.gone(port);
      else this.fault(error, `device ${port.name}`);
    }
  }

  private update(port: NativePort, link: Link): void {
    port.mtu = link.mtu;
    port.running = isRunning(link);
    if (port.name === link.name) return;
    port.name = link.name;
    if (port.kind === "netdev") attempt(() => this.io.renamed(port.handle, link.name));
  }

  private gone(port: NativePort): void {
    if (port.gone) return;
    port.gone = true;
    port.running = false;
    if (this.events === undefined) port.close();
    else this.events.onGone(port);
  }
}

function isRunning(link: Link): boolean {
  return (link.flags & IFF_UP) !== 0 && link.carrier;
}
