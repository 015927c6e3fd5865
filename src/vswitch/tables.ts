/** The OpenFlow tables of a bridge. */
import { Classifier } from "./classifier.ts";
import type { Flow } from "./flow.ts";
import type { OfpFlow } from "./ofctl/flow.ts";

/** A flow of a table, with its counters. */
export class OfpRule {
  packets = 0;
  bytes = 0;
  /** CLOCK_MONOTONIC milliseconds. */
  readonly created: number;
  /** CLOCK_MONOTONIC milliseconds of the last packet, or of the creation. */
  used: number;
  constructor(
    readonly spec: OfpFlow,
    now: number,
  ) {
    this.created = now;
    this.used = now;
  }
  get match(): OfpFlow["match"] {
    return this.spec.match;
  }
  get priority(): number {
    return this.spec.priority;
  }
}

/** The tables by number. */
export class FlowTables {
  private readonly tables = new Map<number, Classifier<OfpRule>>();
  /** Grows with every change. */
  generation = 0;

  /** Adds a rule. @returns the rule of the same table, match and priority that it replaces, else null */
  add(rule: OfpRule): OfpRule | null {
    let table = this.tables.get(rule.spec.table);
    if (!table) {
      table = new Classifier();
      this.tables.set(rule.spec.table, table);
    }
    this.generation++;
    return table.insert(rule);
  }
  /** Removes a rule; false where it is not in its table. */
  remove(rule: OfpRule): boolean {
    const removed = this.tables.get(rule.spec.table)?.remove(rule) ?? false;
    if (removed) this.generation++;
    return removed;
  }
  /** The rule of highest priority that matches. @param wildcards the bits that were consulted are set in it */
  lookup(table: number, flow: Flow, wildcards: Flow | null): OfpRule | null {
    return this.tables.get(table)?.lookup(flow, wildcards) ?? null;
  }
  /** All rules by table, falling priority and age. */
  *[Symbol.iterator](): IterableIterator<OfpRule> {
    for (const id of [...this.tables.keys()].sort((a, b) => a - b)) {
      const rules = [...this.tables.get(id)!];
      yield* rules.sort((a, b) => b.priority - a.priority || a.created - b.created);
    }
  }
}
