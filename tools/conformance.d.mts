/** All ids that a text names, ranges included. */
export function idsIn(text: string): string[];
/** The ids that a test file claims. */
export function claimedBy(source: string): Set<string>;
/** Runs of ids as ranges. */
export function compact(ids: readonly string[]): string;
/** The text of docs/conformance.md. */
export function conformance(): string;
