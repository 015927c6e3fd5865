import { ManualClock } from "../../src/core/clock.ts";
import { Errno } from "../../src/core/errors.ts";
import { KERNEL_RELEASES, type KernelProfile, kernelProfile } from "../../src/core/kernel-profile.ts";
import { SeededRandom } from "../../src/core/random.ts";
import { PairSocket } from "../../src/netlink/pair.ts";
import { PacketMemory } from "../../src/packet/memory.ts";
import { MemoryPorts, type Offload } from "../../src/port/memory/ports.ts";
import type { Route, RouteQuery } from "../../src/port/underlay.ts";
import { Nokmod } from "../../src/runtime/nokmod.ts";
import {
  NETLINK_EXT_ACK,
  NETLINK_GENERIC,
  NETLINK_NETFILTER,
  NLM_F_ACK,
  NLM_F_REQUEST,
  NLMSG_DONE,
  NLMSG_ERROR,
} from "../../src/uapi/netlink.ts";
import { AF_INET } from "../../src/uapi/socket.ts";

/** One thing that happens to a nokmod. */
export type Step =
  /** A datagram on socket number `socket` (Sockets). */
  | { readonly do: "send"; readonly socket: number; readonly bytes: Uint8Array }
  /** A frame comes in on a device. */
  | { readonly do: "frame"; readonly device: string; readonly bytes: Uint8Array; readonly offload?: Offload }
  /** An IP packet for this host. */
  | { readonly do: "underlay"; readonly bytes: Uint8Array; readonly fragment?: number }
  /** Milliseconds pass, then periodic work. */
  | { readonly do: "tick"; readonly ms: number }
  /** A device comes, goes, or goes up and down. */
  | { readonly do: "device"; readonly device: string; readonly change: "add" | "remove" | "toggle" }
  | { readonly do: "join" | "leave"; readonly socket: number; readonly group: number };

/** What happens to a nokmod made with `seed`: replayed, it happens again. */
export interface Case {
  readonly target: string;
  readonly seed: number;
  readonly steps: readonly Step[];
}

/** What must not happen. */
export class Finding extends Error {
  override readonly name = "Finding";
}

export const enum Sockets {
  GENERIC = 0,
  NETFILTER = 1,
  GENERIC_UNPRIVILEGED = 2,
  NETFILTER_UNPRIVILEGED = 3,
  /** Port id UPCALL_PID. */
  UPCALLS = 4,
}
export const SOCKETS = 5;
export const UPCALL_PID = 4242;
export const DEVICES = ["eth1", "eth2", "eth3", "veth0", "l3dev"];
/** Longest time in ms that one step may take, on a machine that does other things too. */
const STEP_LIMIT = 10_000;
/** Longer than fragments wait for the others (ipfrag_time is 30 s, ip6frag_time 60 s), in ms. */
const FRAGMENTS_KEPT = 120_000;

const memory = new PacketMemory();

/** A nokmod over ports in memory, whose every answer is held to the rules of netlink. */
export class World {
  readonly clock = new ManualClock();
  readonly ports = new MemoryPorts(memory);
  readonly nokmod: Nokmod;
  readonly profile: KernelProfile;
  readonly sockets: readonly PairSocket[];
  /** Netlink messages and frames so far. */
  messages = 0;
  packets = 0;
  /** errno of the last message of the last datagram, -1 without an answer. */
  errno = -1;
  private readonly faults: unknown[] = [];

  constructor(seed: number) {
    for (const name of DEVICES) this.ports.addDevice(name, { l3: name === "l3dev" });
    this.ports.underlay.routes = route;
    this.profile = kernelProfile(KERNEL_RELEASES[seed % KERNEL_RELEASES.length]);
    this.nokmod = new Nokmod({
      ports: this.ports,
      clock: this.clock,
      random: new SeededRandom(seed),
      tickInterval: 0,
      processors: 4,
      kernel: this.profile.release,
      crossZoneNat: seed % 3 === 0,
    });
    const { bus } = this.nokmod.kernel;
    bus.onFault = (error) => this.faults.push(error);
    this.sockets = [
      new PairSocket(bus, NETLINK_GENERIC),
      new PairSocket(bus, NETLINK_NETFILTER),
      new PairSocket(bus, NETLINK_GENERIC, { privileged: false }),
      new PairSocket(bus, NETLINK_NETFILTER, { privileged: false }),
      new PairSocket(bus, NETLINK_GENERIC, { portId: UPCALL_PID }),
    ];
    this.sockets[Sockets.GENERIC].setOption(NETLINK_EXT_ACK, true);
    this.sockets[Sockets.NETFILTER].setOption(NETLINK_EXT_ACK, true);
  }

  /** Does a step. @throws Finding */
  take(step: Step): void {
    const begin = performance.now();
    try {
      this.run(step);
    } catch (error) {
      if (error instanceof Finding) throw error;
      throw new Finding(`${step.do} threw: ${describe(error)}`, { cause: error });
    }
    if (this.faults.length > 0) throw new Finding(`fault: ${describe(this.faults[0])}`, { cause: this.faults[0] });
    const took = performance.now() - begin;
    if (took > STEP_LIMIT) throw new Finding(`${step.do} took ${Math.round(took)} ms`);
  }

  private run(step: Step): void {
    switch (step.do) {
      case "send":
        this.send(step.socket, step.bytes);
        break;
      case "frame":
        this.packets++;
        this.ports.device(step.device)?.inject(step.bytes, step.offload);
        break;
      case "underlay":
        this.packets++;
        this.ports.underlay.inject(step.bytes, step.fragment);
        break;
      case "tick":
        this.clock.advance(step.ms);
        this.nokmod.tick();
        break;
      case "device":
        this.change(step.device, step.change);
        break;
      default:
        try {
          this.sockets[step.socket][step.do](step.group);
        } catch (error) {
          if (!(error instanceof Errno)) throw error;
        }
    }
    if (step.do !== "send") for (const socket of this.sockets) drain(socket);
    this.forget();
  }

  private change(name: string, change: "add" | "remove" | "toggle"): void {
    const device = this.ports.device(name);
    if (change === "add" && device === undefined) this.ports.addDevice(name, { l3: name === "l3dev" });
    if (device === undefined || change === "add") return;
    if (change === "toggle") device.running = !device.running;
    else if (device.kind === "netdev") device.remove();
  }

  /** What was sent is not looked at: it would only grow. */
  private forget(): void {
    for (const name of DEVICES) this.ports.device(name)?.takeSent();
    this.ports.underlay.sent = [];
    this.ports.underlay.sentLabels = [];
  }

  private send(number: number, bytes: Uint8Array): void {
    const socket = this.sockets[number];
    const requests = requestsIn(bytes);
    this.messages += Math.max(1, requests.length);
    socket.send(bytes.slice());
    const { answers, overrun } = drain(socket);
    for (let other = 0; other < this.sockets.length; other++) if (other !== number) drain(this.sockets[other]);
    this.errno = -1;
    const ends = new Map<number, number>();
    for (const { type, seq, errno } of answers) {
      if (type !== NLMSG_ERROR && type !== NLMSG_DONE) continue;
      if (errno < 0 || errno > 133) throw new Finding(`no errno: ${errno}`);
      this.errno = errno;
      ends.set(seq, (ends.get(seq) ?? 0) + 1);
    }
    // What was lost can't be held against anybody; nor can what is sent twice under one number.
    if (overrun || new Set(requests.map(({ seq }) => seq)).size !== requests.length) return;
    for (const seq of ends.keys())
      if (!requests.some((request) => request.seq === seq)) throw new Finding(`an answer to no request: ${seq}`);
    let refused = false;
    for (const { seq, flags, type } of requests) {
      const count = ends.get(seq) ?? 0;
      if (count > 1) throw new Finding(`${count} ends of request ${seq}`);
      // Without privilege a datagram of nfnetlink ends at its first message (netlink_rcv_skb is not reached).
      if ((flags & NLM_F_ACK) !== 0 && count === 0 && !refused)
        throw new Finding(`no acknowledgment of type ${type}, flags ${flags}`);
      if (number === Sockets.NETFILTER_UNPRIVILEGED) refused = true;
    }
    if (requests.length === 0 && answers.some(({ type }) => type === NLMSG_ERROR))
      throw new Finding("an answer to no message");
  }

  /** Lets what waits time out (fragments, above all), then takes all down. @throws Finding */
  close(): void {
    this.take({ do: "tick", ms: FRAGMENTS_KEPT });
    try {
      for (const socket of this.sockets) socket.close();
      this.nokmod.close();
    } catch (error) {
      throw new Finding(`close: ${describe(error)}`, { cause: error });
    }
    if (this.faults.length > 0) throw new Finding(`fault at the end: ${describe(this.faults[0])}`);
  }
}

/** Free buffers of the arena that all worlds share: less than at the start is a leak. */
export function freeBuffers(): number {
  const taken: number[] = [];
  for (let at = memory.alloc(1); at >= 0; at = memory.alloc(1)) taken.push(at);
  for (const at of taken.reverse()) memory.free(at);
  return taken.length;
}

function describe(error: unknown): string {
  return error instanceof Error ? `${error.name}: ${error.message}` : String(error);
}

interface Message {
  readonly type: number;
  readonly flags: number;
  readonly seq: number;
  readonly errno: number;
}

function requestsIn(bytes: Uint8Array): Message[] {
  const found: Message[] = [];
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  for (let at = 0; bytes.length - at >= 16; ) {
    const length = view.getUint32(at, true);
    if (length < 16 || length > bytes.length - at) break;
    const flags = view.getUint16(at + 6, true);
    const message = { type: view.getUint16(at + 4, true), flags, seq: view.getUint32(at + 8, true), errno: 0 };
    found.push((flags & NLM_F_REQUEST) === 0 && (flags & NLM_F_ACK) === 0 ? { ...message, flags: 0 } : message);
    at += (length + 3) & ~3;
  }
  return found;
}

/** Everything that waits at a socket, checked for its form. @throws Finding */
function drain(socket: PairSocket): { answers: Message[]; overrun: boolean } {
  const answers: Message[] = [];
  let overrun = false;
  for (let count = 0; ; count++) {
    if (count > 100_000) throw new Finding("an answer without an end");
    let datagram: Uint8Array | null;
    try {
      datagram = socket.receive();
    } catch (error) {
      if (!(error instanceof Errno)) throw error;
      overrun = true;
      continue;
    }
    if (datagram === null) return { answers, overrun };
    checkDatagram(datagram, answers);
  }
}

function checkDatagram(datagram: Uint8Array, answers: Message[]): void {
  const view = new DataView(datagram.buffer, datagram.byteOffset, datagram.length);
  let at = 0;
  while (at < datagram.length) {
    const left = datagram.length - at;
    const length = left >= 16 ? view.getUint32(at, true) : 0;
    if (length < 16 || length > left) throw new Finding(`nlmsg_len ${length} with ${left} bytes left`);
    const type = view.getUint16(at + 4, true);
    const control = type === NLMSG_ERROR || type === NLMSG_DONE;
    if (control && length < 20) throw new Finding(`an end of ${length} bytes`);
    const flags = view.getUint16(at + 6, true);
    const errno = control ? 0 - view.getInt32(at + 16, true) : 0;
    answers.push({ type, flags, seq: view.getUint32(at + 8, true), errno });
    at += (length + 3) & ~3;
  }
}

/** A route to everything but 0.0.0.0/8 and ::/32. */
function route({ family, dst, src }: RouteQuery): Route | undefined {
  if (dst[0] >>> 24 === 0) return undefined;
  const own = family === AF_INET ? Int32Array.of(0x0a090001, 0, 0, 0) : Int32Array.of(0xfd090000 | 0, 0, 0, 1);
  const any = src.every((word) => word === 0);
  return { src: any ? own : src, mtu: 1500, linkMtu: 1500, ipsec: false, hopLimit: 64 };
}
