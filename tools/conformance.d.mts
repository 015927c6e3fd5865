/** All ids that a text names. */
export function idsIn(text: string): string[];
/** The ids that a test file claims: named in titles, shown by recorded cases, and in ranges. */
export function claimsOf(source: string): { named: Set<string>; recorded: Set<string>; ranged: Set<string> };
/** Runs of ids as ranges. */
export function compact(ids: readonly string[]): string;
/** Sections of a page of docs/spec with the ids of their rows. */
export function sectionsOf(page: string): { title: string; ids: string[] }[];
/** The rows that stand in nothing but a range. */
export function onlyInRanges(): string[];
/** The text of docs/conformance.md. */
export function conformance(): string;
