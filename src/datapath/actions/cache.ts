import { K } from "../../flow/key.ts";
import { ETH_P_NSH, isMpls } from "../../packet/ethernet.ts";
import type { Program } from "./program.ts";
import { type ValidationContext, validateActions } from "./validate.ts";

/** Slots; a power of two. An action list that falls on the slot of another takes it over. */
const SLOTS = 4096;

/** What validation looked at besides the bytes, and what came of it. */
interface Entry {
  readonly bytes: Uint8Array;
  readonly types: number;
  readonly ip: number;
  readonly vlan: number;
  readonly detail: number;
  readonly program: Program;
}

/**
 * Action lists that were put lately: flows with the same actions share one Program, and validating them again costs one
 * look. Forgetting an entry costs memory and time, never correctness.
 */
export class ProgramCache {
  private readonly entries: (Entry | undefined)[] = new Array(SLOTS).fill(undefined);

  constructor(private readonly context: ValidationContext) {}

  /**
   * As validateActions().
   * @throws Errno like it; errors are not remembered
   */
  compile(view: DataView, start: number, end: number, maskedKey: Int32Array): Program {
    const types = maskedKey[K.ETH_TYPE] | 0;
    // Of the rest of the key, validation reads protocol and fragment type, the tag, the label count, and NSH's payload.
    const ip = maskedKey[K.IP] & 0xff0000ff;
    const vlan = maskedKey[K.VLAN] | 0;
    const etherType = types >>> 16;
    const detail = isMpls(etherType)
      ? maskedKey[K.MPLS_LABELS]
      : etherType === ETH_P_NSH
        ? maskedKey[K.NSH_BASE] & 0xff
        : 0;
    let hash = (types ^ ip ^ Math.imul(vlan, 31) ^ Math.imul(detail, 131)) | 0;
    for (let i = start; i < end; i++) hash = Math.imul(hash ^ view.getUint8(i), 0x01000193);
    const slot = (hash ^ (hash >>> 15)) & (SLOTS - 1);
    const entry = this.entries[slot];
    if (
      entry !== undefined &&
      entry.types === types &&
      entry.ip === ip &&
      entry.vlan === vlan &&
      entry.detail === detail &&
      sameBytes(entry.bytes, view, start, end)
    ) {
      return entry.program;
    }
    const program = validateActions(view, start, end, maskedKey, this.context);
    if (namesPolicy(program)) return program;
    const bytes = new Uint8Array(view.buffer, view.byteOffset + start, end - start).slice();
    this.entries[slot] = { bytes, types, ip, vlan, detail, program };
    return program;
  }
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
