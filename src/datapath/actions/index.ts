export { ProgramCache } from "./cache.ts";
export { validateActions } from "./compile.ts";
export type { ValidationContext } from "./draft.ts";
export { ActionExecutor } from "./execute.ts";
export { dumpActions, Program } from "./program.ts";
