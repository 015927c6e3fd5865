import { newKey } from "../../flow/key.ts";
import type { PacketMemory } from "../../packet/memory.ts";
import { Packet } from "../../packet/packet.ts";
import type { Program } from "./program.ts";

/** Deferrals until the queue has been drained (spec/actions A-126). */
const DEFERRED_MAX = 9;

/** What a list may take for granted about the key it runs with. */
export const enum Mode {
  /** The key tells what the packet is; not so after push and pop (spec/keys K-287). */
  VALID = 1,
  /** Nobody looks at the key afterwards: recirculation may have it. */
  OWNED = 2,
}

/** A nested list or recirculation that runs after the top list (spec/actions ). */
export class DeferredAction {
  readonly packet: Packet;
  readonly key = newKey();
  /** undefined = recirculation. */
  program: Program | undefined = undefined;
  /** Mode bits. */
  mode = 0;

  constructor(memory: PacketMemory) {
    this.packet = new Packet(memory);
  }
}

/** The deferred actions of one executor. Places are reused only after the whole queue has been drained. */
export class DeferredQueue {
  readonly entries: DeferredAction[] = [];
  /** Places in use, from the first entry on. */
  count = 0;

  constructor(memory: PacketMemory) {
    for (let i = 0; i < DEFERRED_MAX; i++) this.entries.push(new DeferredAction(memory));
  }

  /** Takes the next place, which the caller fills. @returns undefined when the queue is full */
  add(): DeferredAction | undefined {
    return this.count === DEFERRED_MAX ? undefined : this.entries[this.count++];
  }
}
