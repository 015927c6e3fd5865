/**
 * The flow table against a model that does by the letter of spec/tables section 1 what the product does quickly: an
 * array of masks tried in order, a mask cache, and nothing else.
 */
import fc from "fast-check";
import { expect, it } from "vitest";
import { jhash1word } from "../../src/core/jhash.ts";
import type { Program } from "../../src/datapath/actions/program.ts";
import { FlowTable } from "../../src/datapath/flow-table.ts";
import { kernelSort } from "../../src/datapath/kernel-sort.ts";
import { type Ufid, ufidOf } from "../../src/datapath/ufid-index.ts";
import { K, newKey } from "../../src/flow/key.ts";

const program = {} as Program;

/** A flow of group g matches SKB_MARK g, the whole or half of IPV4_DST, and RECIRC_ID in groups of odd number. */
interface Flow {
  readonly group: number;
  readonly value: number;
  readonly recircId: number;
  readonly ufid: number;
}
interface ModelMask {
  readonly group: number;
  flows: Flow[];
  hits: number;
}

const GROUPS = 24;
const dstBits = (group: number): number => (group % 3 === 0 ? -1 : group % 3 === 1 ? 0xfff0 : 0);

function maskOf(group: number): Int32Array {
  const mask = newKey();
  mask[K.SKB_MARK] = -1;
  mask[K.IPV4_DST] = dstBits(group);
  mask[K.TP] = group;
  if (group & 1) mask[K.RECIRC_ID] = -1;
  return mask;
}

function keyOf(group: number, value: number, recircId: number): Int32Array {
  const key = newKey();
  key[K.SKB_MARK] = group;
  key[K.IPV4_DST] = value;
  key[K.RECIRC_ID] = recircId;
  return key;
}

const matches = (flow: Flow, group: number, value: number, recircId: number): boolean =>
  flow.group === group &&
  ((flow.value ^ value) & dstBits(group)) === 0 &&
  ((group & 1) === 0 || flow.recircId === recircId);

class Model {
  masks: ModelMask[] = [];
  maskHits = 0;
  cacheHits = 0;
  private cache: { hash: number; mask: number }[] = [];

  resize(size: number): void {
    if (size !== this.cache.length) this.cache = Array.from({ length: size }, () => ({ hash: 0, mask: 0 }));
  }

  get count(): number {
    return this.masks.reduce((sum, { flows }) => sum + flows.length, 0);
  }

  insert(flow: Flow): void {
    const mask = this.masks.find(({ group }) => group === flow.group);
    if (mask !== undefined) {
      mask.flows.push(flow);
      return;
    }
    this.masks.push({ group: flow.group, flows: [flow], hits: 0 });
    this.forgetHits();
  }

  remove(flow: Flow): void {
    const at = this.masks.findIndex(({ group }) => group === flow.group);
    const mask = this.masks[at];
    mask.flows = mask.flows.filter((other) => other !== flow);
    if (mask.flows.length > 0) return;
    const last = this.masks.pop() as ModelMask;
    if (last !== mask) this.masks[at] = last;
    this.forgetHits();
  }

  forgetHits(): void {
    for (const mask of this.masks) mask.hits = 0;
  }

  lookup(group: number, value: number, recircId: number, skbHash: number): Flow | undefined {
    const probe = (index: number): Flow | undefined => {
      this.maskHits++;
      return this.masks[index].flows.find((flow) => matches(flow, group, value, recircId));
    };
    const walk = (entry: { mask: number }, cached: boolean): Flow | undefined => {
      const order = this.masks.map((_, index) => index);
      if (entry.mask < order.length) order.unshift(...order.splice(entry.mask, 1));
      for (const [tries, index] of order.entries()) {
        const flow = probe(index);
        if (flow === undefined) continue;
        this.masks[index].hits++;
        if (cached && tries === 0 && index === entry.mask) this.cacheHits++;
        entry.mask = index;
        return flow;
      }
      return undefined;
    };
    if (skbHash === 0 || this.cache.length === 0) return walk({ mask: 0 }, false);
    const hash = (recircId === 0 ? skbHash : jhash1word(skbHash, recircId)) >>> 0;
    const places = [0, 8, 16, 24].map((shift) => this.cache[(hash >>> shift) & (this.cache.length - 1)]);
    const known = places.find((place) => place.hash === hash);
    if (known !== undefined) {
      const flow = walk(known, true);
      if (flow === undefined) known.hash = 0;
      return flow;
    }
    const victim = places.reduce((best, place) => (place.hash < best.hash ? place : best));
    const flow = walk(victim, false);
    if (flow !== undefined) victim.hash = hash;
    return flow;
  }
}

const bytes16 = (n: number): Ufid => ufidOf(Uint8Array.of(n & 0xff, n >> 8, n % 7));
const group = fc.integer({ min: 0, max: GROUPS - 1 });
const value = fc.integer({ min: 0, max: 40 }).map((n) => n * 7);
const recircId = fc.constantFrom(0, 0, 1, 9);
const command = fc.oneof(
  { weight: 30, arbitrary: fc.tuple(fc.constant("put" as const), group, value, recircId, fc.boolean()) },
  { weight: 15, arbitrary: fc.tuple(fc.constant("remove" as const), fc.nat()) },
  {
    weight: 125,
    arbitrary: fc.tuple(fc.constant("packet" as const), fc.nat(), group, value, recircId, fc.nat({ max: 30 })),
  },
  { weight: 5, arbitrary: fc.tuple(fc.constant("cache" as const), fc.constantFrom(0, 1, 2, 8, 256, 4096)) },
  { weight: 5, arbitrary: fc.tuple(fc.constant("sort" as const)) },
  { weight: 1, arbitrary: fc.tuple(fc.constant("flush" as const)) },
);

it("T-001…T-006, T-008…T-014, T-018, T-019, T-020…T-022, K-075: finds, counts and forgets as the model does", () => {
  fc.assert(
    fc.property(fc.array(command, { minLength: 20, maxLength: 250 }), (commands) => {
      const table = new FlowTable();
      const model = new Model();
      model.resize(256);
      const flows = new Map<Flow, number>();
      let now = 10_000;
      table.rebalance(now);
      let serial = 0;
      for (const step of commands) {
        switch (step[0]) {
          case "put": {
            const [, group, value, recircId, byUfid] = step;
            const key = keyOf(group, value, recircId);
            const there = [...flows.keys()].some((flow) => matches(flow, group, value, recircId));
            expect(table.find(key) >= 0).toBe(there);
            if (there) break;
            const flow = { group, value, recircId, ufid: byUfid ? ++serial : 0 };
            model.insert(flow);
            flows.set(flow, table.insert(key, maskOf(group), byUfid ? bytes16(serial) : undefined, program, group));
            break;
          }
          case "remove": {
            const list = [...flows];
            if (list.length === 0) break;
            const [flow, index] = list[step[1] % list.length];
            model.remove(flow);
            flows.delete(flow);
            table.remove(index);
            if (flow.ufid !== 0) expect(table.findUfid(bytes16(flow.ufid))).toBe(-1);
            else expect(table.findExact(keyOf(flow.group, flow.value, flow.recircId))).toBe(-1);
            break;
          }
          case "packet": {
            const list = [...flows.keys()];
            // Most packets are some flow's; few hashes, so that they meet in the cache.
            const aim = list.length > 0 && step[1] % 8 !== 0 ? list[step[1] % list.length] : undefined;
            const { group, value, recircId } = aim ?? { group: step[2], value: step[3], recircId: step[4] };
            const hash = step[5] === 0 ? 0 : Math.imul(step[5], 0x01010135);
            const expected = model.lookup(group, value, recircId, hash);
            const found = table.lookup(keyOf(group, value, recircId), hash);
            expect(found).toBe(expected === undefined ? -1 : flows.get(expected));
            break;
          }
          case "cache":
            table.resizeMaskCache(step[1]);
            model.resize(step[1]);
            expect(table.maskCacheSize).toBe(step[1]);
            break;
          case "sort":
            now += 4000;
            table.rebalance(now);
            kernelSort(model.masks, (a, b) => b.hits - a.hits);
            model.forgetHits();
            break;
          case "flush":
            table.flush();
            model.masks = [];
            flows.clear();
            break;
        }
        expect([table.maskHits, table.cacheHits, table.masks.length, table.count]).toEqual([
          model.maskHits,
          model.cacheHits,
          model.masks.length,
          model.count,
        ]);
      }
      const masked = newKey();
      for (const [flow, index] of flows) {
        const key = keyOf(flow.group, flow.value, flow.recircId);
        expect(flow.ufid === 0 ? table.findExact(key) : table.findUfid(bytes16(flow.ufid))).toBe(index);
        table.readMaskedKey(index, masked);
        const mask = maskOf(flow.group);
        expect(masked).toEqual(key.map((word, at) => word & mask[at]));
      }
      let shown = 0;
      for (let index = 0; index < table.limit; index++) if (table.has(index)) shown++;
      expect(shown).toBe(flows.size);
    }),
    { numRuns: 300 },
  );
});

it("T-005: the kernel's sort sorts, and keeps all elements", () => {
  fc.assert(
    fc.property(fc.array(fc.nat({ max: 6 }), { maxLength: 60 }), (counts) => {
      const list = counts.map((count, id) => ({ count, id }));
      kernelSort(list, (a, b) => b.count - a.count);
      expect(list.map(({ count }) => count)).toEqual([...counts].sort((a, b) => b - a));
      expect(list.map(({ id }) => id).sort((a, b) => a - b)).toEqual(counts.map((_, id) => id));
    }),
    { numRuns: 1000 },
  );
});
