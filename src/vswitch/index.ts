/**
 * The built-in userspace: a small ovs-vswitchd.
 *
 * @example
 * const bridge = new VSwitch({ opener: nokmod, name: "br0", ports: ["veth1", "veth2"] });
 * bridge.addFlow("in_port=1,ip,actions=ct(commit,zone=1,nat(src=10.1.1.240-10.1.1.255)),2");
 * bridge.onFlowPut = ({ key, mask, actions }) => console.log(formatKey(key, mask), formatActions(actions));
 */
export { Classifier } from "./classifier.ts";
export { executeWithHelp } from "./execute.ts";
export { type Field, fields, findField } from "./fields.ts";
export { Flow, Match, OFPP_LOCAL } from "./flow.ts";
export { type MacEntry, MacTable } from "./mac-table.ts";
export { readKey, writeKey, writeMask, writeMetadata } from "./odp/key.ts";
export type { Action, CtAction, NatSpec } from "./ofctl/actions.ts";
export { OfpError } from "./ofctl/errors.ts";
export {
  type FlowFilter,
  type FlowSpec,
  type FlowStats,
  formatFlow,
  parseFilter,
  parseFlow,
  parseMatch,
} from "./ofctl/flow-spec.ts";
export { formatActions as formatOfpActions } from "./ofctl/format-actions.ts";
export { formatMatch } from "./ofctl/match.ts";
export type { PortNames } from "./ofctl/values.ts";
export { ufidOf } from "./ufid.ts";
export {
  type FlowEvent,
  manualScheduler,
  type PacketIn,
  type PortConfig,
  type Scheduler,
  systemScheduler,
  type UpcallEvent,
  VSwitch,
  type VSwitchOptions,
} from "./vswitch.ts";
export { FlowTables, Rule, type XlateContext, type XlateResult, type XPort, xlate } from "./xlate.ts";
