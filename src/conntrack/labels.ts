import { IPCT_LABEL } from "../uapi/nfnetlink.ts";
import type { CtAction } from "./action.ts";
import { cacheEvents } from "./events.ts";
import { E, Ext } from "./layout.ts";

/** Connection labels: 128 bits, four big-endian words at E.LABELS. */

/**
 * Sets the labels of a new connection: its master's, then the bits that the action sets (spec/conntrack C-140, C-141).
 * @returns false if it has neither a master nor an action that sets labels: nothing was done
 */
export function initLabels(words: Int32Array, entry: number, action: CtAction): boolean {
  const master = words[entry + E.MASTER];
  if (master === 0 && !action.hasLabels) return false;
  words[entry + E.EXT] |= Ext.LABELS;
  for (let i = 0; i < 4; i++) {
    let label = master === 0 ? words[entry + E.LABELS + i] : words[(master - 1) * E.WORDS + E.LABELS + i];
    if (action.hasLabels) label = (label & ~action.labelsMask[i]) | (action.labels[i] & action.labelsMask[i]);
    words[entry + E.LABELS + i] = label;
  }
  cacheEvents(words, entry, 1 << IPCT_LABEL);
  return true;
}

/**
 * Changes the labels of a confirmed connection: bits outside the mask are XORed in (spec/conntrack C-026).
 * @returns whether they changed
 */
export function mergeLabels(words: Int32Array, entry: number, labels: Int32Array, mask: Int32Array): boolean {
  words[entry + E.EXT] |= Ext.LABELS;
  let changed = false;
  for (let i = 0; i < 4; i++) {
    const old = words[entry + E.LABELS + i];
    const label = (old & ~mask[i]) ^ labels[i];
    if (label !== old) changed = true;
    words[entry + E.LABELS + i] = label;
  }
  return changed;
}
