import { describe, expect, it } from "vitest";
import type { Program } from "../../src/datapath/actions/program.ts";
import { FlowTable } from "../../src/datapath/flow-table.ts";
import { ufidOf } from "../../src/datapath/ufid-index.ts";
import { K, newKey } from "../../src/flow/key.ts";

const program = {} as Program;

/** A key or mask with some words set. */
function words(set: Record<number, number>): Int32Array {
  const key = newKey();
  for (const [at, value] of Object.entries(set)) key[Number(at)] = value;
  return key;
}

const EXACT_PORT = words({ [K.IN_PORT]: 0xffff });
const EXACT_DST = words({ [K.IPV4_DST]: -1 });

const ufid = (n: number) => ufidOf(Uint8Array.from({ length: 16 }, (_, i) => (i === 0 ? n : n >> 8)));

/** Inserts a flow that matches one IPv4 destination. */
const toDestination = (table: FlowTable, address: number): number =>
  table.insert(words({ [K.IPV4_DST]: address }), EXACT_DST, undefined, program);

describe("lookup", () => {
  it("T-001: compares only the bits of the mask", () => {
    const table = new FlowTable();
    const flow = table.insert(
      words({ [K.IPV4_DST]: 0x0a010100 }),
      words({ [K.IPV4_DST]: 0xffffff00 | 0 }),
      undefined,
      program,
    );
    expect(table.lookup(words({ [K.IPV4_DST]: 0x0a010177, [K.SKB_MARK]: 9 }), 1)).toBe(flow);
    expect(table.lookup(words({ [K.IPV4_DST]: 0x0a010277 }), 1)).toBe(-1);
  });

  it("T-001: a mask without bits matches every packet", () => {
    const table = new FlowTable();
    const flow = table.insert(newKey(), newKey(), undefined, program);
    expect(table.lookup(words({ [K.IN_PORT]: 3 }), 77)).toBe(flow);
  });

  it("T-002: the first mask in the array that has a matching flow wins", () => {
    const table = new FlowTable();
    const first = table.insert(words({ [K.IN_PORT]: 1 }), EXACT_PORT, undefined, program);
    toDestination(table, 5);
    expect(table.lookup(words({ [K.IN_PORT]: 1, [K.IPV4_DST]: 5 }), 0)).toBe(first);
  });

  it("T-004: the last mask moves into the hole of a removed one", () => {
    const table = new FlowTable();
    const a = table.insert(words({ [K.IN_PORT]: 1 }), EXACT_PORT, undefined, program);
    toDestination(table, 5);
    const c = table.insert(words({ [K.PRIORITY]: 1 }), words({ [K.PRIORITY]: -1 }), undefined, program);
    const last = table.mask(c);
    table.remove(a);
    expect(table.masks[0]).toBe(last);
    expect(table.masks.length).toBe(2);
  });

  it("T-013, T-012: counts masks probed and cache hits", () => {
    const table = new FlowTable();
    table.insert(words({ [K.IN_PORT]: 1 }), EXACT_PORT, undefined, program);
    toDestination(table, 5);
    const packet = words({ [K.IN_PORT]: 2, [K.IPV4_DST]: 5 });
    table.lookup(packet, 1234);
    expect([table.maskHits, table.cacheHits]).toEqual([2, 0]);
    table.lookup(packet, 1234);
    expect([table.maskHits, table.cacheHits]).toEqual([3, 1]);
    expect(table.lookup(words({ [K.IN_PORT]: 2, [K.IPV4_DST]: 6 }), 99)).toBe(-1);
    expect([table.maskHits, table.cacheHits]).toEqual([5, 1]);
  });

  it("T-011: without a hash or with the cache off every lookup walks the masks", () => {
    const table = new FlowTable();
    table.insert(words({ [K.IN_PORT]: 1 }), EXACT_PORT, undefined, program);
    toDestination(table, 5);
    table.resizeMaskCache(0);
    const packet = words({ [K.IN_PORT]: 2, [K.IPV4_DST]: 5 });
    for (let i = 0; i < 3; i++) table.lookup(packet, 1234);
    expect([table.maskHits, table.cacheHits]).toEqual([6, 0]);
    table.resizeMaskCache(256);
    for (let i = 0; i < 3; i++) table.lookup(packet, 0);
    expect([table.maskHits, table.cacheHits]).toEqual([12, 0]);
  });

  it("T-014: a flow that went away is not found through the caches", () => {
    const table = new FlowTable();
    const flow = toDestination(table, 5);
    const packet = words({ [K.IPV4_DST]: 5 });
    expect(table.lookup(packet, 7)).toBe(flow);
    table.remove(flow);
    expect(table.lookup(packet, 7)).toBe(-1);
    const other = toDestination(table, 6);
    expect(other).toBe(flow);
    expect(table.lookup(packet, 7)).toBe(-1);
    expect(table.lookup(words({ [K.IPV4_DST]: 6 }), 7)).toBe(other);
  });

  it("T-005: masks are sorted by use every 4 s, and not before", () => {
    const table = new FlowTable();
    table.rebalance(10_000);
    const idle = table.insert(words({ [K.IN_PORT]: 1 }), EXACT_PORT, undefined, program);
    const busy = toDestination(table, 5);
    for (let i = 0; i < 10; i++) table.lookup(words({ [K.IN_PORT]: 2, [K.IPV4_DST]: 5 }), 0);
    table.rebalance(13_999);
    expect(table.masks[0]).toBe(table.mask(idle));
    table.rebalance(14_000);
    expect(table.masks[0]).toBe(table.mask(busy));
  });
});

describe("identity", () => {
  it("F-221, F-250: a flow is found by its UFID of any length, and a key-identified one is not", () => {
    const table = new FlowTable();
    const flow = table.insert(words({ [K.IN_PORT]: 1 }), EXACT_PORT, ufid(7), program);
    const short = table.insert(words({ [K.IN_PORT]: 2 }), EXACT_PORT, ufidOf(Uint8Array.of(7)), program);
    toDestination(table, 1);
    expect(table.findUfid(ufid(7))).toBe(flow);
    expect(table.findUfid(ufidOf(Uint8Array.of(7)))).toBe(short);
    expect(table.findUfid(ufid(8))).toBe(-1);
    expect(table.ufid(short)).toEqual(Uint8Array.of(7));
  });

  it("F-249, F-251, T-020: an exact lookup compares the whole unmasked key of key-identified flows", () => {
    const table = new FlowTable();
    const key = words({ [K.IPV4_DST]: 5, [K.SKB_MARK]: 3 });
    const flow = table.insert(key, EXACT_DST, undefined, program);
    expect(table.findExact(key)).toBe(flow);
    expect(table.findExact(words({ [K.IPV4_DST]: 5, [K.SKB_MARK]: 4 }))).toBe(-1);
    table.remove(flow);
    table.insert(key, EXACT_DST, ufid(1), program);
    expect(table.findExact(key)).toBe(-1);
  });

  it("T-022: a UFID flow keeps only its masked key", () => {
    const table = new FlowTable();
    const flow = table.insert(words({ [K.IPV4_DST]: 5, [K.SKB_MARK]: 3 }), EXACT_DST, ufid(1), program);
    const key = words({ 0: 99 });
    table.readMaskedKey(flow, key);
    expect(key).toEqual(words({ [K.IPV4_DST]: 5 }));
    expect(table.unmaskedKey(flow)).toBeUndefined();
  });
});

describe("life of flows", () => {
  it("T-006: one mask for all flows with the same bits, removed with the last", () => {
    const table = new FlowTable();
    const flows = [1, 2, 3].map((address) => toDestination(table, address));
    expect(table.masks.length).toBe(1);
    for (const flow of flows) table.remove(flow);
    expect([table.masks.length, table.count]).toEqual([0, 0]);
  });

  it("T-021: flush removes flows, masks and UFIDs", () => {
    const table = new FlowTable();
    for (let i = 1; i < 50; i++) table.insert(words({ [K.IPV4_DST]: i }), EXACT_DST, ufid(i), program);
    table.lookup(words({ [K.IPV4_DST]: 5 }), 5);
    table.flush();
    expect([table.count, table.masks.length, table.limit]).toEqual([0, 0, 0]);
    expect(table.lookup(words({ [K.IPV4_DST]: 5 }), 5)).toBe(-1);
    expect(table.findUfid(ufid(5))).toBe(-1);
  });

  it("F-271: statistics of a new flow start at zero, also in a used place", () => {
    const table = new FlowTable();
    const flow = toDestination(table, 1);
    table.countHit(flow, 100, 5000, 0x12);
    table.remove(flow);
    const again = toDestination(table, 1);
    expect([table.packets[again], table.bytes[again], table.used[again], table.tcpFlags[again]]).toEqual([0, 0, 0, 0]);
  });

  it("F-267, F-269, T-028, T-029: used has the granularity of jiffies, TCP flags are OR-ed", () => {
    const table = new FlowTable();
    const flow = toDestination(table, 1);
    table.countHit(flow, 60, 10_003, 0x02);
    table.countHit(flow, 60, 10_007, 0x10);
    expect([table.packets[flow], table.bytes[flow], table.usedAt(flow), table.tcpFlags[flow]]).toEqual([
      2, 120, 10_004, 0x12,
    ]);
  });

  it("holds 20,000 flows, finds each by key and UFID, and survives removals in between", () => {
    const table = new FlowTable();
    const flows = new Map<number, number>();
    for (let i = 1; i <= 20_000; i++)
      flows.set(i, table.insert(words({ [K.IPV4_DST]: i }), EXACT_DST, ufid(i), program));
    for (let i = 1; i <= 20_000; i += 3) {
      table.remove(flows.get(i) as number);
      flows.delete(i);
    }
    for (let i = 30_000; i < 33_000; i++)
      flows.set(i, table.insert(words({ [K.IPV4_DST]: i }), EXACT_DST, ufid(i), program));
    expect(table.count).toBe(flows.size);
    for (const [address, flow] of flows) {
      expect(table.lookup(words({ [K.IPV4_DST]: address }), address)).toBe(flow);
      expect(table.findUfid(ufid(address))).toBe(flow);
    }
    expect(table.lookup(words({ [K.IPV4_DST]: 1 }), 1)).toBe(-1);
  });

  it("F-221: a removed flow is not found by its UFID, wherever the table grew", () => {
    const table = new FlowTable();
    const flows: number[] = [];
    for (let i = 0; i < 9000; i++) flows.push(table.insert(words({ [K.IPV4_DST]: i }), EXACT_DST, ufid(i), program));
    for (let i = 0; i < 9000; i++) {
      table.remove(flows[i]);
      expect(table.findUfid(ufid(i))).toBe(-1);
    }
  });
});
