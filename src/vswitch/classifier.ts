/**
 * Finds the rule of highest priority that matches a flow, and marks the bits that were consulted: the mask of the
 * datapath flow. Rules with the same mask share one hash table (tuple space); tables are tried by falling priority.
 *
 * Three things keep masks wide, as in ovs-vswitchd: a table is searched in stages (metadata, L2, L3, L4) and a stage
 * that fails leaves the later ones unconsulted; tries of IPv4 prefixes give the number of bits after which no rule
 * can match; a trie of ports does so inside a table.
 */
import { FLOW_WORDS, type Flow, FlowAt, type Match, STAGE_WORDS } from "./flow.ts";

/** What is stored: anything with a match and a priority. */
interface Classified {
  readonly match: Match;
  readonly priority: number;
}

/** Binary trie of value prefixes of up to 32 bits. */
class Trie {
  // Three numbers a node: child 0, child 1, number of rules that end here. Node 0 is the root.
  private nodes = [0, 0, 0];

  add(value: number, length: number): void {
    let at = 0;
    for (let i = 0; i < length; i++) {
      const slot = at + ((value >>> (31 - i)) & 1);
      if (this.nodes[slot] === 0) {
        this.nodes[slot] = this.nodes.length;
        this.nodes.push(0, 0, 0);
      }
      at = this.nodes[slot];
    }
    this.nodes[at + 2]++;
  }

  /**
   * Number of bits of `value` that decide which prefixes match it. `this.matched(length)` answers for this value until the next
   * lookup.
   */
  lookup(value: number): number {
    this.low = 0;
    this.high = 0;
    let at = 0;
    for (let i = 0; ; i++) {
      if (i > 0 && this.nodes[at + 2] > 0) this.mark(i);
      if (i === 32) return 32;
      const next = this.nodes[at + ((value >>> (31 - i)) & 1)];
      if (next === 0) {
        const leaf = this.nodes[at] === 0 && this.nodes[at + 1] === 0;
        return leaf ? i : i + 1;
      }
      at = next;
    }
  }
  private low = 0;
  private high = 0;
  private mark(length: number): void {
    if (length <= 16) this.low |= 1 << length;
    else this.high |= 1 << (length - 17);
  }
  /** Whether a prefix of `length` bits matched in the last lookup. */
  matched(length: number): boolean {
    return length <= 16 ? (this.low & (1 << length)) !== 0 : (this.high & (1 << (length - 17))) !== 0;
  }
}

function prefixMask(length: number): number {
  return length === 0 ? 0 : (0xffffffff << (32 - length)) >>> 0;
}

/** Length of the prefix that a 32-bit mask starts with. */
function leadingOnes(mask: number): number {
  return Math.clz32(~mask);
}

class Subtable<R extends Classified> {
  readonly mask: Flow;
  /** Words with mask bits, ascending; and where each stage ends in that list. */
  readonly wordIndex: number[] = [];
  readonly stageEnd: number[] = [];
  /** Rules by their masked key; those of one key by falling priority. */
  readonly rules = new Map<string, R[]>();
  /** For each stage but the last with fields: how many rules have that masked key up to there. */
  readonly stages: (Map<string, number> | null)[] = [];
  maxPriority = -1;
  count = 0;
  /** A rule was removed: maxPriority and portsTrie may hold too much. */
  stale = false;
  readonly prefixSrc: number;
  readonly prefixDst: number;
  /** Bits of the ports' mask that form a prefix of (tp_src, tp_dst); 0 where there is no ports trie. */
  readonly portsPrefix: number;
  portsTrie = new Trie();

  constructor(mask: Flow) {
    this.mask = mask;
    for (let stage = 0; stage < 4; stage++) {
      for (let w = STAGE_WORDS[stage]; w < STAGE_WORDS[stage + 1]; w++) if (mask.words[w]) this.wordIndex.push(w);
      this.stageEnd.push(this.wordIndex.length);
    }
    let last = 3;
    while (last > 0 && this.stageEnd[last] === this.stageEnd[last - 1]) last--;
    for (let stage = 0; stage < last; stage++) {
      const start = stage === 0 ? 0 : this.stageEnd[stage - 1];
      this.stages.push(this.stageEnd[stage] > start ? new Map() : null);
    }
    this.prefixSrc = leadingOnes(mask.u32(FlowAt.NW_SRC));
    this.prefixDst = leadingOnes(mask.u32(FlowAt.NW_DST));
    this.portsPrefix = 32 - trailingZeros(mask.u32(FlowAt.TP_SRC));
  }

  /** The masked key over the first `end` words of the mask. */
  hash(flow: Flow, end: number): string {
    let text = "";
    const { words } = flow;
    const mask = this.mask.words;
    for (let i = 0; i < end; i++) {
      const value = words[this.wordIndex[i]] & mask[this.wordIndex[i]];
      text += String.fromCharCode(value & 0xffff, value >>> 16);
    }
    return text;
  }

  unwildcard(wildcards: Flow, end = this.wordIndex.length): void {
    for (let i = 0; i < end; i++) {
      const w = this.wordIndex[i];
      wildcards.words[w] |= this.mask.words[w];
    }
  }
}

function trailingZeros(value: number): number {
  return value === 0 ? 32 : 31 - Math.clz32(value & -value);
}

/** Rules of one table, by tuple-space search. */
export class Classifier<R extends Classified> {
  private readonly subtables = new Map<string, Subtable<R>>();
  /** By falling highest priority. */
  private order: Subtable<R>[] = [];
  private srcTrie = new Trie();
  private dstTrie = new Trie();
  private stale = false;
  size = 0;

  private keyOf(mask: Flow): string {
    let text = "";
    for (let w = 0; w < FLOW_WORDS; w++) {
      if (mask.words[w]) text += String.fromCharCode(w, mask.words[w] & 0xffff, mask.words[w] >>> 16);
    }
    return text;
  }

  /** Adds a rule; an existing rule of the same match and priority is removed and returned. */
  insert(rule: R): R | null {
    const { key, mask } = rule.match;
    const name = this.keyOf(mask);
    let table = this.subtables.get(name);
    if (!table) {
      table = new Subtable(mask.clone());
      this.subtables.set(name, table);
    }
    const bucket = table.hash(key, table.wordIndex.length);
    let list = table.rules.get(bucket);
    if (!list) {
      list = [];
      table.rules.set(bucket, list);
    }
    const same = list.findIndex((r) => r.priority === rule.priority);
    let replaced: R | null = null;
    if (same >= 0) replaced = list.splice(same, 1, rule)[0];
    else {
      list.push(rule);
      list.sort((a, b) => b.priority - a.priority);
      table.count++;
      this.size++;
      for (let stage = 0; stage < table.stages.length; stage++) this.count(table, stage, key, 1);
      this.addPrefixes(table, key);
      if (table.portsPrefix > 0) table.portsTrie.add(key.u32(FlowAt.TP_SRC), table.portsPrefix);
    }
    if (rule.priority > table.maxPriority) {
      table.maxPriority = rule.priority;
      this.stale = true;
    }
    return replaced;
  }

  /** Takes a rule out; false where it is not there. */
  remove(rule: R): boolean {
    const { key, mask } = rule.match;
    const name = this.keyOf(mask);
    const table = this.subtables.get(name);
    if (!table) return false;
    const bucket = table.hash(key, table.wordIndex.length);
    const list = table.rules.get(bucket);
    const index = list?.indexOf(rule) ?? -1;
    if (!list || index < 0) return false;
    list.splice(index, 1);
    if (list.length === 0) table.rules.delete(bucket);
    table.count--;
    this.size--;
    for (let stage = 0; stage < table.stages.length; stage++) this.count(table, stage, key, -1);
    if (table.count === 0) this.subtables.delete(name);
    table.stale = true;
    this.stale = true;
    return true;
  }

  /** Priorities and tries only grow while rules are added; after a removal the next lookup rebuilds them. */
  private refresh(): void {
    this.stale = false;
    this.srcTrie = new Trie();
    this.dstTrie = new Trie();
    for (const table of this.subtables.values()) {
      if (table.stale) {
        table.maxPriority = -1;
        table.portsTrie = new Trie();
      }
      for (const rules of table.rules.values()) {
        for (const rule of rules) {
          this.addPrefixes(table, rule.match.key);
          if (!table.stale) continue;
          table.maxPriority = Math.max(table.maxPriority, rule.priority);
          if (table.portsPrefix > 0) table.portsTrie.add(rule.match.key.u32(FlowAt.TP_SRC), table.portsPrefix);
        }
      }
      table.stale = false;
    }
    this.order = [...this.subtables.values()].sort((a, b) => b.maxPriority - a.maxPriority);
  }

  private addPrefixes(table: Subtable<R>, key: Flow): void {
    if (table.prefixSrc > 0) this.srcTrie.add(key.u32(FlowAt.NW_SRC), table.prefixSrc);
    if (table.prefixDst > 0) this.dstTrie.add(key.u32(FlowAt.NW_DST), table.prefixDst);
  }

  private count(table: Subtable<R>, stage: number, key: Flow, change: number): void {
    const map = table.stages[stage];
    if (!map) return;
    const bucket = table.hash(key, table.stageEnd[stage]);
    const left = (map.get(bucket) ?? 0) + change;
    if (left === 0) map.delete(bucket);
    else map.set(bucket, left);
  }

  /** Every rule, in no order. */
  *[Symbol.iterator](): IterableIterator<R> {
    for (const table of this.subtables.values()) for (const list of table.rules.values()) yield* list;
  }

  /** The rule of exactly this match and priority. */
  find(match: Match, priority: number): R | null {
    const table = this.subtables.get(this.keyOf(match.mask));
    const list = table?.rules.get(table.hash(match.key, table.wordIndex.length));
    return list?.find((r) => r.priority === priority) ?? null;
  }

  /**
   * The rule of highest priority that matches.
   * @param wildcards the bits that were consulted are set in it
   */
  lookup(flow: Flow, wildcards: Flow | null): R | null {
    if (this.stale) this.refresh();
    let best: R | null = null;
    // Bits that the tries consulted: looked up when first needed, -1 until then.
    this.srcBits = -1;
    this.dstBits = -1;
    for (const table of this.order) {
      if (best !== null && table.maxPriority <= best.priority) break;
      const found = this.search(table, flow, wildcards);
      if (found !== null && (best === null || found.priority > best.priority)) best = found;
    }
    return best;
  }
  private srcBits = -1;
  private dstBits = -1;

  private search(table: Subtable<R>, flow: Flow, wildcards: Flow | null): R | null {
    let started = 0;
    for (let stage = 0; stage < table.stages.length; stage++) {
      const map = table.stages[stage];
      if (!map) continue;
      if (this.triesFail(table, flow, wildcards, stage, started)) {
        if (wildcards) table.unwildcard(wildcards, started);
        return null;
      }
      if (!map.has(table.hash(flow, table.stageEnd[stage]))) {
        if (wildcards) table.unwildcard(wildcards, table.stageEnd[stage]);
        return null;
      }
      started = table.stageEnd[stage];
    }
    if (this.triesFail(table, flow, wildcards, 3, started)) {
      if (wildcards) table.unwildcard(wildcards, started);
      return null;
    }
    const list = table.rules.get(table.hash(flow, table.wordIndex.length));
    if (list) {
      if (wildcards) table.unwildcard(wildcards);
      return list[0];
    }
    if (!wildcards) return null;
    if (table.portsPrefix > 0) {
      const bits = table.portsTrie.lookup((flow.u32(FlowAt.TP_SRC) & table.mask.u32(FlowAt.TP_SRC)) >>> 0);
      const mask = table.mask.u32(FlowAt.TP_SRC) & prefixMask(bits);
      const before = wildcards.u32(FlowAt.TP_SRC);
      table.unwildcard(wildcards);
      wildcards.put32(FlowAt.TP_SRC, before | mask);
    } else table.unwildcard(wildcards);
    return null;
  }

  /**
   * Whether the tries rule a table out before its L3 fields are compared. They are asked when the stage that holds the
   * addresses comes next.
   */
  private triesFail(table: Subtable<R>, flow: Flow, wildcards: Flow | null, stage: number, started: number): boolean {
    if (stage < 2 || started >= table.stageEnd[2]) return false;
    if (table.prefixDst > 0) {
      if (this.dstBits < 0) this.dstBits = this.dstTrie.lookup(flow.u32(FlowAt.NW_DST));
      if (!this.dstTrie.matched(table.prefixDst) && narrow(wildcards, FlowAt.NW_DST, this.dstBits, table.prefixDst))
        return true;
    }
    if (table.prefixSrc > 0) {
      if (this.srcBits < 0) this.srcBits = this.srcTrie.lookup(flow.u32(FlowAt.NW_SRC));
      if (!this.srcTrie.matched(table.prefixSrc) && narrow(wildcards, FlowAt.NW_SRC, this.srcBits, table.prefixSrc))
        return true;
    }
    return false;
  }
}

/**
 * Marks `bits` bits of an address as consulted, unless that is more than the table's own `prefix` and not consulted yet
 * (the trie is shared by all tables: it may need bits that this table does not match).
 */
function narrow(wildcards: Flow | null, offset: number, bits: number, prefix: number): boolean {
  if (!wildcards) return true;
  const mask = prefixMask(bits);
  const before = wildcards.u32(offset);
  if (bits <= prefix) {
    wildcards.put32(offset, before | mask);
    return true;
  }
  return (before & mask) >>> 0 === mask;
}
