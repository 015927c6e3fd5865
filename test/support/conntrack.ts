import { CtAction, NatAction } from "../../src/conntrack/action.ts";
import { Conntrack } from "../../src/conntrack/conntrack.ts";
import type { ConntrackListener } from "../../src/conntrack/events.ts";
import { E, T } from "../../src/conntrack/layout.ts";
import type { ConntrackOptions } from "../../src/conntrack/options.ts";
import { ManualClock } from "../../src/core/clock.ts";
import { SeededRandom } from "../../src/core/random.ts";
import { extractKey } from "../../src/flow/extract/extract.ts";
import { K, newKey } from "../../src/flow/key.ts";
import { PacketMemory } from "../../src/packet/memory.ts";
import { Packet } from "../../src/packet/packet.ts";
import { IPCT_DESTROY, IPCT_NEW, IPCT_RELATED, IPS_CONFIRMED, TCP_CONNTRACK_CLOSE } from "../../src/uapi/nfnetlink.ts";
import { AF_INET, AF_INET6 } from "../../src/uapi/socket.ts";
import * as f from "./frames.ts";

/** What a test says of a ct action; addresses as text. */
export interface Ct {
  zone?: number;
  commit?: boolean;
  force?: boolean;
  mark?: number;
  markMask?: number;
  labels?: readonly number[];
  labelsMask?: readonly number[];
  helper?: string;
  timeout?: string;
  eventmask?: number;
  nat?: Nat;
  v6?: boolean;
}

export interface Nat {
  src?: string;
  dst?: string;
  srcMax?: string;
  dstMax?: string;
  port?: number;
  portMax?: number;
  persistent?: boolean;
  random?: boolean;
  /** Zone of the reply tuple, when it is another than the action's. */
  replyZone?: number;
  reverse?: boolean;
}

export function ct(o: Ct = {}): CtAction {
  const action = new CtAction();
  action.family = o.v6 ? AF_INET6 : AF_INET;
  action.zone = o.zone ?? 0;
  action.commit = (o.commit ?? false) || (o.force ?? false);
  action.force = o.force ?? false;
  if (o.mark !== undefined) {
    action.hasMark = true;
    action.mark = o.mark;
    action.markMask = o.markMask ?? -1;
  }
  if (o.labels !== undefined) {
    action.hasLabels = true;
    action.labels.set(o.labels);
    action.labelsMask.set(o.labelsMask ?? [-1, -1, -1, -1]);
  }
  action.helper = o.helper;
  action.timeout = o.timeout;
  if (o.eventmask !== undefined) {
    action.hasEventmask = true;
    action.eventmask = o.eventmask;
  }
  if (o.nat !== undefined) {
    const nat = new NatAction();
    nat.type = o.nat.src !== undefined ? 1 : o.nat.dst !== undefined ? 2 : 0;
    const low = o.nat.src ?? o.nat.dst;
    const high = o.nat.srcMax ?? o.nat.dstMax ?? low;
    if (low !== undefined && high !== undefined && low !== "") {
      nat.hasIp = true;
      nat.ipMin.set(addressWords(low));
      nat.ipMax.set(addressWords(high));
    }
    if (o.nat.port !== undefined) {
      nat.hasProto = true;
      nat.protoMin = o.nat.port;
      nat.protoMax = o.nat.portMax ?? o.nat.port;
    }
    nat.persistent = o.nat.persistent ?? false;
    nat.protoRandom = o.nat.random ?? false;
    nat.replyZone = o.nat.replyZone ?? -1;
    nat.reverse = o.nat.reverse ?? false;
    action.nat = nat;
  }
  return action;
}

export function addressWords(text: string): number[] {
  if (!text.includes(":")) return [new DataView(f.ip4(text).buffer).getInt32(0), 0, 0, 0];
  const view = new DataView(f.ip6(text).buffer);
  return [0, 4, 8, 12].map((at) => view.getInt32(at));
}

export function addressText(words: Int32Array, at: number, family: number): string {
  const bytes = [];
  for (let i = 0; i < (family === AF_INET ? 1 : 4); i++) {
    for (let shift = 24; shift >= 0; shift -= 8) bytes.push((words[at + i] >>> shift) & 0xff);
  }
  if (family === AF_INET) return bytes.join(".");
  const groups = [];
  for (let i = 0; i < 16; i += 2) groups.push(((bytes[i] << 8) | bytes[i + 1]).toString(16));
  return groups.join(":");
}

/** ct_state bits as OVS writes them, in its order. */
export function stateText(state: number): string {
  const names = ["new", "est", "rel", "rpl", "inv", "trk", "snat", "dnat"];
  return names.filter((_, bit) => ((state >>> bit) & 1) !== 0).join("|");
}

/** A packet on its way through several actions, as skb and key. */
export class Flight {
  readonly key = newKey();
  error = 0;
  constructor(readonly packet: Packet) {}

  get ctState(): number {
    return this.key[K.CT] & 0xff;
  }
  get state(): string {
    return stateText(this.ctState);
  }
  get zone(): number {
    return this.key[K.CT] >>> 16;
  }
  get mark(): number {
    return this.key[K.CT_MARK] >>> 0;
  }
  get labels(): number[] {
    return [...this.key.subarray(K.CT_LABELS, K.CT_LABELS + 4)];
  }
  get bytes(): Uint8Array {
    return this.packet.memory.bytes.slice(this.packet.off, this.packet.off + this.packet.len);
  }
  /** "src:port>dst:port" of the bytes, ports only where there are some. */
  get addresses(): string {
    const frame = this.bytes;
    const v4 = frame[12] === 0x08;
    const proto = v4 ? frame[23] : frame[20];
    const l4 = v4 ? 14 + (frame[14] & 15) * 4 : 54;
    const at = v4 ? 26 : 22;
    const size = v4 ? 4 : 16;
    const text = (start: number): string => {
      const words = new Int32Array(4);
      const view = new DataView(frame.buffer, frame.byteOffset);
      for (let i = 0; i < size / 4; i++) words[i] = view.getInt32(start + i * 4);
      return addressText(words, 0, v4 ? AF_INET : AF_INET6);
    };
    const port = (index: number): string =>
      [6, 17, 132, 136].includes(proto) ? `:${(frame[l4 + index] << 8) | frame[l4 + index + 1]}` : "";
    return `${text(at)}${port(0)}>${text(at + size)}${port(2)}`;
  }
}

/** Connection tracking on a manual clock, with everything that happens written down. */
export class CtLab {
  readonly clock = new ManualClock();
  readonly memory = new PacketMemory();
  readonly conntrack: Conntrack;
  readonly events: string[] = [];
  private readonly pool: Packet[] = [];

  constructor(options: Partial<ConntrackOptions> = {}, seed = 1) {
    this.conntrack = new Conntrack({
      clock: this.clock,
      random: new SeededRandom(seed),
      memory: this.memory,
      options: { max: 4096, events: 1, ...options },
    });
    const lab = this;
    const listener: ConntrackListener = {
      listening: true,
      connection(slot, events) {
        const kind =
          (events & (1 << IPCT_DESTROY)) !== 0
            ? "DESTROY"
            : (events & ((1 << IPCT_NEW) | (1 << IPCT_RELATED))) !== 0
              ? "NEW"
              : "UPDATE";
        lab.events.push(`${kind} ${lab.describe(slot)}`);
      },
    };
    this.conntrack.listener = listener;
  }

  /** A packet fresh from a port. */
  receive(bytes: Uint8Array): Flight {
    const packet = this.pool.pop() ?? new Packet(this.memory);
    const base = this.memory.scratch(bytes.length + 128);
    this.memory.bytes.set(bytes, base + 128);
    packet.reset(base + 128, bytes.length, base, base + 128 + bytes.length);
    const flight = new Flight(packet);
    flight.key.fill(0);
    if (extractKey(packet, flight.key) !== 0) throw new Error("no key");
    return flight;
  }

  /** The same bytes and key as they come back from user space: without the connection. */
  comeBack(flight: Flight): Flight {
    const back = this.receive(flight.bytes);
    const { key } = flight;
    for (const word of [K.RECIRC_ID, K.CT, K.CT_MARK, K.CT_LABELS, K.CT_LABELS + 1, K.CT_LABELS + 2, K.CT_LABELS + 3]) {
      back.key[word] = key[word];
    }
    return back;
  }

  /** One action on a packet under way. */
  apply(flight: Flight, o: Ct = {}): Flight {
    const v6 = flight.key[K.ETH_TYPE] >>> 16 === 0x86dd;
    const action = ct({ v6, ...o });
    action.ipProto = flight.key[K.IP] >>> 24;
    flight.error = this.conntrack.execute(flight.packet, flight.key, action);
    return flight;
  }

  /** A fresh packet through one action, and the end of its batch. */
  send(bytes: Uint8Array, o: Ct = {}): Flight {
    const flight = this.apply(this.receive(bytes), o);
    this.end();
    return flight;
  }

  end(): void {
    this.conntrack.endBatch();
    // Scratch memory is not given back: tests look at packets after the batch.
  }

  /** Live entries, each as one line, sorted. */
  get entries(): string[] {
    const lines: string[] = [];
    this.conntrack.walk(0, (slot) => {
      lines.push(this.describe(slot));
      return true;
    });
    return lines.sort();
  }

  /** Slots of live entries. */
  get slots(): number[] {
    const slots: number[] = [];
    this.conntrack.walk(0, (slot) => {
      slots.push(slot);
      return true;
    });
    return slots;
  }

  describe(slot: number): string {
    const { words } = this.conntrack.table;
    const entry = slot * E.WORDS;
    const side = (at: number): string => {
      const family = words[at + T.META] & 0xff;
      const ports = words[at + T.PORTS];
      return `${addressText(words, at + T.SRC, family)}:${ports >>> 16}>${addressText(words, at + T.DST, family)}:${ports & 0xffff}`;
    };
    const proto = (words[entry + T.META] >>> 8) & 0xff;
    const zone = words[entry + T.META] >>> 16;
    const replyZone = words[entry + E.REPLY + T.META] >>> 16;
    const zones = replyZone === zone ? `${zone}` : `${zone}>${replyZone}`;
    const mark = words[entry + E.MARK];
    return `${proto} ${side(entry)} ${side(entry + E.REPLY)}${zones !== "0" ? ` zone=${zones}` : ""}${mark !== 0 ? ` mark=${mark}` : ""}`;
  }

  word(slot: number, word: number): number {
    return this.conntrack.table.words[slot * E.WORDS + word];
  }
  status(slot: number): number {
    return this.word(slot, E.STATUS);
  }
  /** Seconds that the only entry, or this one, has left. */
  left(slot = this.slots[0]): number {
    this.conntrack.refresh();
    return this.conntrack.left(slot) / 1000;
  }
}

export { IPS_CONFIRMED, TCP_CONNTRACK_CLOSE };

/** Throws unless all checksums of an untagged frame are right, inner ones of ICMP errors left aside. */
export function verifyFrame(bytes: Uint8Array): void {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const fold = (sum: number): number => {
    let s = sum;
    while (s > 0xffff) s = (s & 0xffff) + Math.floor(s / 0x10000);
    return s;
  };
  const sum = (start: number, end: number): number => {
    let total = 0;
    for (let i = start; i < end; i += 2) total += (bytes[i] << 8) | (i + 1 < end ? bytes[i + 1] : 0);
    return total;
  };
  const v4 = view.getUint16(12) === 0x0800;
  let l4: number;
  let end: number;
  let proto: number;
  let pseudo: number;
  if (v4) {
    l4 = 14 + (bytes[14] & 15) * 4;
    end = 14 + view.getUint16(16);
    proto = bytes[23];
    if (fold(sum(14, l4)) !== 0xffff) throw new Error("IPv4 header checksum");
    pseudo = proto === 1 ? 0 : sum(26, 34) + proto + end - l4;
  } else {
    l4 = 54;
    end = 54 + view.getUint16(18);
    proto = bytes[20];
    pseudo = sum(22, 54) + proto + end - l4;
  }
  if (proto === 17 && view.getUint16(l4 + 6) === 0 && v4) return;
  if (![1, 6, 17, 58].includes(proto)) return;
  if (fold(sum(l4, end) + pseudo) !== 0xffff) throw new Error(`checksum of protocol ${proto}`);
}
