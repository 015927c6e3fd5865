/** See walls.mjs. */
export function foldersOf(page: string): Map<string, string[]>;
export function wallsOf(page: string, existing: readonly string[]): string;
