/** What user-written helpers need (docs/helpers.md). */
export { AddResult, type Expectation, type ExpectFunction, type ExpectPolicy } from "../expect.ts";
export { E as EntryWord, T as TupleWord } from "../layout.ts";
export { expectationOf, FOLLOW_MASTER, type Helper, type HelperContext } from "./helper.ts";
export {
  addAtFreePort,
  parseDecimal,
  replace,
  replaceInStream,
  tcpPayload,
  text as payloadText,
  udpPayload,
} from "./payload.ts";
