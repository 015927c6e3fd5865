import { compileActions } from "./compile.ts";
import type { ValidationContext } from "./draft.ts";
import { Fact, type KeyFacts, newFacts, readFacts } from "./facts.ts";
import type { Program } from "./program.ts";

/** Slots; a power of two. An action list that falls on the slot of another takes it over. */
const SLOTS = 4096;

/** All that validation reads, and the program it gave. */
interface Entry {
  readonly bytes: Uint8Array;
  readonly facts: KeyFacts;
  readonly program: Program;
}

/**
 * Action lists that were put lately: flows with the same actions share one Program, and validating them again costs one
 * look. An entry that is taken over costs memory and time, never correctness.
 */
export class ProgramCache {
  private readonly entries: (Entry | undefined)[] = new Array(SLOTS).fill(undefined);
  private readonly facts = newFacts();

  constructor(private readonly context: ValidationContext) {}

  /**
   * Validates and compiles a list as compileActions() does, or returns the program that it compiled before.
   * @param maskedKey the flow's key under its mask; for EXECUTE the packet's key
   * @throws Errno like compileActions(); errors are not kept
   */
  compile(view: DataView, start: number, end: number, maskedKey: Int32Array): Program {
    const facts = readFacts(maskedKey, this.facts);
    let hash = 0;
    for (let i = 0; i < Fact.COUNT; i++) hash = (Math.imul(hash, 31) + facts[i]) | 0;
    for (let i = start; i < end; i++) hash = Math.imul(hash ^ view.getUint8(i), 0x01000193);
    const slot = (hash ^ (hash >>> 15)) & (SLOTS - 1);
    const entry = this.entries[slot];
    if (entry !== undefined && sameFacts(entry.facts, facts) && sameBytes(entry.bytes, view, start, end))
      return entry.program;
    const program = compileActions(view, start, end, facts, this.context);
    if (namesPolicy(program)) return program;
    const bytes = new Uint8Array(view.buffer, view.byteOffset + start, end - start).slice();
    this.entries[slot] = { bytes, facts: facts.slice(), program };
    return program;
  }
}

function sameFacts(a: KeyFacts, b: KeyFacts): boolean {
  for (let i = 0; i < Fact.COUNT; i++) if (a[i] !== b[i]) return false;
  return true;
}

function sameBytes(bytes: Uint8Array, view: DataView, start: number, end: number): boolean {
  if (bytes.length !== end - start) return false;
  for (let i = 0; i < bytes.length; i++) if (bytes[i] !== view.getUint8(start + i)) return false;
  return true;
}

/** Whether a timeout policy is named: the name may mean another policy for the next flow (spec/conntrack C-022). */
function namesPolicy(program: Program): boolean {
  return program.cts.some((action) => action.timeout !== undefined) || program.programs.some(namesPolicy);
}
