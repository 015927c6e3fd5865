import { FLOW_WORDS, type Match } from "./flow.ts";
import { DEFAULT_PRIORITY, type FlowFilter } from "./ofctl/flow.ts";
import type { FlowTables, OfpRule } from "./tables.ts";

/**
 * The rules that a filter selects, in the order of the tables.
 * @param strict that of exactly the filter's match and priority, instead of all that match nothing outside of it
 */
export function selectRules(tables: FlowTables, filter: FlowFilter, strict: boolean): OfpRule[] {
  const found: OfpRule[] = [];
  for (const rule of tables) {
    const { spec } = rule;
    if (filter.table !== null && spec.table !== filter.table) continue;
    if (((spec.cookie ^ filter.cookie) & filter.cookieMask) !== 0n) continue;
    if (filter.outPort !== null && !spec.actions.some((a) => a.type === "output" && a.port === filter.outPort))
      continue;
    if (strict) {
      if (spec.priority !== (filter.priority ?? DEFAULT_PRIORITY) || !spec.match.equals(filter.match)) continue;
    } else if (!isWithin(spec.match, filter.match)) continue;
    found.push(rule);
  }
  return found;
}

/** Whether everything that `match` matches is matched by `outer` too. */
function isWithin(match: Match, outer: Match): boolean {
  for (let i = 0; i < FLOW_WORDS; i++) {
    const mask = outer.mask.words[i];
    if (mask & ~match.mask.words[i]) return false;
    if ((match.key.words[i] ^ outer.key.words[i]) & mask) return false;
  }
  return true;
}
