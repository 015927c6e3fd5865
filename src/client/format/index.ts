/**
 * Keys, masks, actions and flows in the syntax of ovs-dpctl(8). Fields that are not matched are left out; `verbose` shows
 * them, as `ovs-dpctl dump-flows -m` does.
 */
export { formatActions } from "./actions.ts";
export { formatFlow, formatUfid } from "./flow.ts";
export { formatKey } from "./keys.ts";
export type { FormatOptions } from "./numbers.ts";
