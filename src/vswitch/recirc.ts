/** Frozen state by recirc_id: where the translation of a recirculated packet continues. */
import type { Action } from "./ofctl/actions.ts";

/** State of a translation at a recirculation. */
export interface FrozenState {
  /** Table to go on in. */
  readonly table: number;
  /** Actions to go on with, in place of a lookup. */
  readonly actions: readonly Action[] | null;
  /** Registers and metadata. */
  readonly metadata: Uint8Array;
  readonly inPort: number;
  readonly stack: readonly Uint8Array[];
  readonly conntracked: boolean;
}

interface Entry {
  readonly key: string;
  readonly state: FrozenState;
  /** Datapath flows whose actions name this id. */
  references: number;
  /** CLOCK_MONOTONIC milliseconds at which the last reference was dropped. */
  idleSince: number;
}

/** Allocates recirc_ids. Equal states share one id, so that their packets share datapath flows. */
export class RecircTable {
  private readonly byKey = new Map<string, number>();
  private readonly byId = new Map<number, Entry>();
  private readonly actionIds = new WeakMap<object, number>();
  private nextActionId = 1;
  private nextId = 1;

  constructor(private readonly now: () => number) {}

  get size(): number {
    return this.byId.size;
  }

  get(id: number): FrozenState | undefined {
    return this.byId.get(id)?.state;
  }

  /** The id of a state, new where there is none yet. */
  idOf(state: FrozenState): number {
    const key = this.keyOf(state);
    const known = this.byKey.get(key);
    if (known !== undefined) {
      const entry = this.byId.get(known)!;
      if (entry.references === 0) entry.idleSince = this.now();
      return known;
    }
    while (this.byId.has(this.nextId)) this.nextId = this.nextId >= 0xffffffff ? 1 : this.nextId + 1;
    const id = this.nextId;
    this.nextId = id >= 0xffffffff ? 1 : id + 1;
    this.byKey.set(key, id);
    this.byId.set(id, { key, state, references: 0, idleSince: this.now() });
    return id;
  }

  /** Adds a reference to each id: a datapath flow that names them was put. */
  hold(ids: readonly number[]): void {
    for (const id of ids) {
      const entry = this.byId.get(id);
      if (entry) entry.references++;
    }
  }

  /** Drops a reference of each id: such a flow was removed. */
  release(ids: readonly number[]): void {
    for (const id of ids) {
      const entry = this.byId.get(id);
      if (entry && --entry.references === 0) entry.idleSince = this.now();
    }
  }

  /** Forgets ids that no flow has named for `graceMs`: until then packets with them may wait in upcall sockets. */
  sweep(graceMs: number): void {
    const limit = this.now() - graceMs;
    for (const [id, entry] of this.byId) {
      if (entry.references > 0 || entry.idleSince > limit) continue;
      this.byId.delete(id);
      this.byKey.delete(entry.key);
    }
  }

  private keyOf(state: FrozenState): string {
    const actions = (state.actions ?? []).map((action) => {
      let id = this.actionIds.get(action);
      if (id === undefined) {
        id = this.nextActionId++;
        this.actionIds.set(action, id);
      }
      return id;
    });
    const hex = (bytes: Uint8Array) => Buffer.from(bytes).toString("hex");
    const stack = state.stack.map(hex).join(".");
    return `${state.table}|${state.actions === null ? "-" : actions.join(".")}|${hex(state.metadata)}|${state.inPort}|${stack}|${state.conntracked}`;
  }
}
