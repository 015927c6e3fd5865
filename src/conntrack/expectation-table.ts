import { IPS_CONFIRMED, IPS_DYING, NF_CT_EXPECT_INACTIVE, NF_CT_EXPECT_PERMANENT } from "../uapi/nfnetlink.ts";
import { AddResult, clash, covers, type Expectation, type ExpectPolicy, equal, expired, mayExpect } from "./expect.ts";
import { E, T } from "./layout.ts";
import type { ConnectionTable } from "./table.ts";
import { setZone, tupleZone } from "./tuple.ts";

/** Receives the creation and deletion of expectations: ctnetlink (spec/ctnetlink N-122). */
export interface ExpectListener {
  expectation(expectation: Expectation, isNew: boolean, portId: number, report: boolean): void;
}

/** The expectations of a namespace, found by destination (spec/conntrack C-228 to C-235). */
export class ExpectationTable {
  count = 0;
  created = 0;
  matched = 0;
  deleted = 0;
  listener: ExpectListener | undefined = undefined;
  /** By serial: insertion order. */
  private readonly all = new Map<number, Expectation>();
  private readonly byDestination = new Map<number, Expectation[]>();
  private readonly byMaster = new Map<number, Expectation[]>();
  private nextSerial = 1;

  constructor(
    private readonly table: ConnectionTable,
    /** nf_conntrack_expect_max */
    public max: number,
    /** Policy of the helper that a connection has at the moment, by class. */
    private readonly policyOf: (master: number, expectClass: number) => ExpectPolicy | undefined,
  ) {}

  /**
   * Adds an expectation; an equal one of the same master is replaced, and the oldest of the class goes when the policy
   * of the master's helper allows no more (spec/conntrack C-224).
   * @param anyMaster an equal one of another master is not simply a clash
   */
  add(expectation: Expectation, now: number, portId = 0, report = false, anyMaster = false): AddResult {
    const result = this.check(expectation, now, anyMaster);
    if (result === AddResult.OK) this.insert(expectation, now, portId, report);
    return result;
  }

  /** Adds both or none, each as add() does with `anyMaster`: what they replace goes before either comes. */
  addPair(first: Expectation, second: Expectation, now: number): AddResult {
    for (const [index, expectation] of [first, second].entries()) {
      const result = this.check(expectation, now, true, index);
      if (result !== AddResult.OK) return result;
    }
    for (const expectation of [first, second]) this.insert(expectation, now, 0, false);
    return AddResult.OK;
  }

  private insert(expectation: Expectation, now: number, portId: number, report: boolean): void {
    const { master } = expectation;
    const policy = this.policyOf(master, expectation.class);
    expectation.serial = this.nextSerial++;
    expectation.expires = (now + (policy?.timeout ?? 0)) | 0;
    expectation.live = true;
    this.all.set(expectation.serial, expectation);
    push(this.byDestination, destinationKey(expectation.tuple), expectation);
    push(this.byMaster, master, expectation);
    this.table.words[master * E.WORDS + E.EXPECTING]++;
    this.count++;
    this.created++;
    this.listener?.expectation(expectation, true, portId, report);
  }

  /** Sets the zone of an expectation whose master is between two zones: the reply zone if it is to the master's originator. */
  private chooseZone({ tuple, master }: Expectation): void {
    const { words } = this.table;
    const entry = master * E.WORDS;
    const reply = entry + E.REPLY;
    if (tupleZone(words, entry) === tupleZone(words, reply)) return;
    const back = sameAddress(tuple, T.DST, words, reply + T.DST) || sameAddress(tuple, T.DST, words, entry + T.SRC);
    setZone(tuple, 0, tupleZone(words, back ? reply : entry));
  }

  /**
   * Tests whether an expectation can be added, and removes the one that it replaces.
   * @param coming others of its class that will be added before it
   */
  private check(expectation: Expectation, now: number, anyMaster: boolean, coming = 0): AddResult {
    const { master } = expectation;
    if (!mayExpect(this.table.words, master)) return AddResult.NO_HELPER;
    this.chooseZone(expectation);
    for (const other of [...(this.byDestination.get(destinationKey(expectation.tuple)) ?? [])]) {
      if (this.collect(other, now)) continue;
      if ((anyMaster || other.master === master) && equal(other, expectation)) {
        if (other.class !== expectation.class || other.master !== master) return AddResult.ALREADY;
        this.remove(other, 0, false);
        break;
      }
      if (clash(other, expectation)) return AddResult.BUSY;
    }
    const policy = this.policyOf(master, expectation.class);
    if (policy !== undefined && policy.maxExpected > 0) {
      const ofClass = (): Expectation[] => this.of(master).filter((other) => other.class === expectation.class);
      if (ofClass().length + coming >= policy.maxExpected) {
        for (const other of [...this.of(master)]) this.collect(other, now);
        const left = ofClass();
        if (left.length + coming >= policy.maxExpected && left.length > 0) this.remove(left[0], 0, false);
      }
    }
    return this.count >= this.max ? AddResult.TABLE_FULL : AddResult.OK;
  }

  /**
   * The expectation that a new connection fulfils.
   * @param consume a connection that is committed uses it up, unless it is permanent (spec/conntrack C-120, C-121,
   *   C-229)
   */
  match(tuple: Int32Array, now: number, consume: boolean): Expectation | undefined {
    const bucket = this.byDestination.get(destinationKey(tuple));
    if (bucket === undefined) return undefined;
    for (const expectation of [...bucket]) {
      if (this.collect(expectation, now)) continue;
      if ((expectation.flags & NF_CT_EXPECT_INACTIVE) !== 0 || !covers(expectation, tuple)) continue;
      const status = this.table.words[expectation.master * E.WORDS + E.STATUS];
      if ((status & IPS_CONFIRMED) === 0 || (status & IPS_DYING) !== 0) return undefined;
      this.matched++;
      if (consume && (expectation.flags & NF_CT_EXPECT_PERMANENT) === 0) this.remove(expectation, 0, false);
      return expectation;
    }
    return undefined;
  }

  /** An expectation that covers a tuple, left as it is. */
  find(tuple: Int32Array, now: number): Expectation | undefined {
    return this.byDestination
      .get(destinationKey(tuple))
      ?.find((expectation) => !expired(expectation, now) && covers(expectation, tuple));
  }

  /** Marks an expectation as dead: it matches no longer; its removal and event follow when the table next looks at it. */
  giveUp(expectation: Expectation): void {
    expectation.dead = true;
  }

  remove(expectation: Expectation, portId: number, report: boolean): void {
    if (!expectation.live) return;
    expectation.live = false;
    this.all.delete(expectation.serial);
    drop(this.byDestination, destinationKey(expectation.tuple), expectation);
    drop(this.byMaster, expectation.master, expectation);
    this.table.words[expectation.master * E.WORDS + E.EXPECTING]--;
    this.count--;
    this.deleted++;
    this.listener?.expectation(expectation, false, portId, report);
  }

  /** Removes the expectations of a master that is destroyed (spec/conntrack C-233). */
  removeAllOf(master: number): void {
    for (const expectation of [...(this.byMaster.get(master) ?? [])]) this.remove(expectation, 0, false);
  }

  /** Expectations of a master, oldest first. */
  of(master: number): readonly Expectation[] {
    return this.byMaster.get(master) ?? [];
  }

  /** All, in order of creation, those that have expired but were not collected yet among them. */
  values(): IterableIterator<Expectation> {
    return this.all.values();
  }

  /** Removes what has expired. */
  gc(now: number): void {
    for (const expectation of [...this.all.values()]) this.collect(expectation, now);
  }

  private collect(expectation: Expectation, now: number): boolean {
    if (!expired(expectation, now)) return false;
    this.remove(expectation, 0, false);
    return true;
  }
}

function push(map: Map<number, Expectation[]>, key: number, expectation: Expectation): void {
  const list = map.get(key);
  if (list === undefined) map.set(key, [expectation]);
  else list.push(expectation);
}

function drop(map: Map<number, Expectation[]>, key: number, expectation: Expectation): void {
  const list = map.get(key);
  if (list === undefined) return;
  const left = list.filter((other) => other !== expectation);
  if (left.length === 0) map.delete(key);
  else map.set(key, left);
}

function sameAddress(a: Int32Array, at: number, b: Int32Array, to: number): boolean {
  for (let i = 0; i < 4; i++) if (a[at + i] !== b[to + i]) return false;
  return true;
}

function destinationKey(tuple: Int32Array): number {
  let key = Math.imul(tuple[T.META], 0x297a2d39) ^ (tuple[T.PORTS] & 0xffff);
  for (let i = 0; i < 4; i++) key = Math.imul(key ^ tuple[T.DST + i], 0x2c1b3c6d);
  return key;
}
