/** See names.mjs. */
export function exportsOf(files: ReadonlyMap<string, string>): Map<string, string[]>;
export function sharedNames(files: ReadonlyMap<string, string>): string[];
