export { ProgramCache } from "./cache.ts";
export { ActionExecutor } from "./execute.ts";
export { dumpActions, Program } from "./program.ts";
export { type ValidationContext, validateActions } from "./validate.ts";
