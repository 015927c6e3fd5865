import { systemClock } from "../../src/core/clock.ts";
import { SeededRandom } from "../../src/core/random.ts";
import type { ActionExecutor } from "../../src/datapath/actions/execute.ts";
import type { UserspaceUpcall } from "../../src/datapath/actions/program.ts";
import { type DropReason, dropReasonName } from "../../src/datapath/drop-reason.ts";
import type { ActionHost } from "../../src/datapath/host.ts";
import { putKey } from "../../src/flow/codec.ts";
import { extractHeaders } from "../../src/flow/extract/extract.ts";
import { PacketHasher } from "../../src/flow/hash.ts";
import { K } from "../../src/flow/key.ts";
import { MessageWriter } from "../../src/netlink/writer.ts";
import type { PacketMemory } from "../../src/packet/memory.ts";
import { CtRef, type Packet } from "../../src/packet/packet.ts";
import { hex } from "./frames.ts";

/** What an action asked of its host, as readable values. */
export type HostEvent =
  | {
      readonly kind: "output";
      readonly port: number;
      readonly frame: () => string;
      readonly l3: boolean;
      readonly tunnel: boolean;
    }
  | {
      readonly kind: "upcall";
      readonly key: string;
      readonly frame: string;
      readonly length: number;
      readonly userdata: string;
      readonly actions: string | undefined;
    }
  | {
      readonly kind: "recirculate";
      readonly id: number;
      readonly key: string;
      readonly frame: string;
      readonly level: number;
    }
  | { readonly kind: "meter"; readonly id: number }
  | { readonly kind: "psample"; readonly group: number; readonly cookie: string; readonly probability: number }
  | { readonly kind: "ct"; readonly zone: number }
  | { readonly kind: "ct_clear" };

/** The frame as it would be on the wire, a tag beside it put back. */
export function frameOf(packet: Packet): string {
  const { bytes } = packet.memory;
  const { off, len, vlanTpid, vlanTci } = packet;
  const text = hex(bytes.subarray(off, off + len));
  if (vlanTpid === 0) return text;
  const tag = ((vlanTpid << 16) | vlanTci) >>> 0;
  return text.slice(0, 24) + tag.toString(16).padStart(8, "0") + text.slice(24);
}

/** An ActionHost that writes down what it is asked. Outputs are read late, as a port reads them at the end of a batch. */
export class RecordingHost implements ActionHost {
  readonly clock = systemClock;
  readonly random = new SeededRandom(1);
  readonly hasher = new PacketHasher(1);
  readonly events: HostEvent[] = [];
  /** Why packets were dropped, in order. */
  readonly drops: string[] = [];
  executor: ActionExecutor | undefined;
  /** What ct answers. */
  ctResult = 0;
  /** Meters that drop. */
  readonly dropping = new Set<number>();
  /** Called for a recirculated packet after it was written down. */
  onRecirculate: ((packet: Packet, key: Int32Array) => void) | undefined;
  private level = 0;

  constructor(private readonly memory: PacketMemory) {}

  readonly conntrack = {
    execute: (_packet: Packet, _key: Int32Array, action: { readonly zone: number }): number => {
      this.events.push({ kind: "ct", zone: action.zone });
      return this.ctResult;
    },
    clear: (packet: Packet, key: Int32Array): void => {
      this.events.push({ kind: "ct_clear" });
      packet.ct = CtRef.UNTRACKED;
      key.fill(0, K.CT, K.CT_LABELS + 4);
    },
    checkHelper: (): number => 0,
    crossZoneNat: false,
    bind: (): void => {},
    endBatch: (): void => {},
  };

  output(packet: Packet, _key: Int32Array, port: number): void {
    const { memory } = this;
    const { off, vlanTpid, vlanTci } = packet;
    let { len } = packet;
    if (packet.maxLen !== 0) len = Math.min(len, packet.maxLen);
    this.events.push({
      kind: "output",
      port,
      frame: () => frameOf({ memory, off, len, vlanTpid, vlanTci } as Packet),
      l3: packet.macNone,
      tunnel: packet.egressTunnel !== undefined,
    });
  }

  outputCopy(packet: Packet, key: Int32Array, port: number): void {
    this.output(packet, key, port);
  }

  upcallAction(packet: Packet, key: Int32Array, upcall: UserspaceUpcall): void {
    let frame = frameOf(packet);
    let length = 0;
    // The tag counts: it has been put back into the frame by then.
    if (packet.maxLen !== 0 && frame.length > 2 * packet.maxLen) {
      length = frame.length / 2;
      frame = frame.slice(0, 2 * packet.maxLen);
    }
    const userdata = upcall.userdata === undefined ? "" : hex(upcall.userdata);
    const actions = upcall.actions === undefined ? undefined : hex(upcall.actions());
    this.events.push({ kind: "upcall", key: keyText(key), frame, length, userdata, actions });
  }

  recirculate(packet: Packet, key: Int32Array): void {
    this.level++;
    this.events.push({
      kind: "recirculate",
      id: key[K.RECIRC_ID],
      key: keyText(key),
      frame: frameOf(packet),
      level: this.level,
    });
    this.onRecirculate?.(packet, key);
    this.level--;
  }

  updateKey(packet: Packet, key: Int32Array): number {
    return extractHeaders(packet, key);
  }

  meter(_packet: Packet, id: number): boolean {
    this.events.push({ kind: "meter", id });
    return this.dropping.has(id);
  }

  dropped(_packet: Packet, reason: DropReason): void {
    this.drops.push(dropReasonName(reason));
  }

  psample(packet: Packet, _key: Int32Array, group: number, cookie: Uint8Array): void {
    this.events.push({ kind: "psample", group, cookie: hex(cookie), probability: packet.probability });
  }
}

/** The key as an upcall shows it. */
export function keyText(key: Int32Array): string {
  const writer = new MessageWriter();
  putKey(writer, key);
  return hex(writer.finish());
}
