/**
 * The built-in userspace: a small ovs-vswitchd.
 *
 * @example
 * const bridge = new VSwitch({ opener: nokmod, name: "br0", ports: ["veth1", "veth2"] });
 * bridge.addFlow("in_port=1,ip,actions=ct(commit,zone=1,nat(src=10.1.1.240-10.1.1.255)),2");
 * bridge.onFlowPut = ({ key, mask, actions }) => console.log(formatKey(key, mask), formatActions(actions));
 */
export { VSwitch } from "./bridge.ts";
export { Classifier } from "./classifier.ts";
export type { BridgeHooks, BridgeStatistics, FlowEvent, PacketIn, UpcallEvent } from "./events.ts";
export { executeWithHelp } from "./execute.ts";
export { fields, findField, type OfpField } from "./fields.ts";
export { Flow, Match, OFPP_LOCAL } from "./flow.ts";
export { type MacEntry, MacTable } from "./mac-table.ts";
export { readKey, writeKey, writeMask, writeMetadata } from "./odp/key.ts";
export type { Action, NatSpec, OfpCtAction } from "./ofctl/actions.ts";
export { OfpError } from "./ofctl/errors.ts";
export type { FlowFilter, OfpFlow, OfpFlowStats } from "./ofctl/flow.ts";
export { formatOfpActions } from "./ofctl/format/actions.ts";
export { formatOfpFlow } from "./ofctl/format/flow.ts";
export { formatOfpMatch } from "./ofctl/format/match.ts";
export { parseOfpFilter, parseOfpFlow, parseOfpMatch } from "./ofctl/parse/flow.ts";
export type { PortNames } from "./ofctl/ports.ts";
export type { VSwitchOptions } from "./options.ts";
export type { PortConfig, PortSettings } from "./ports.ts";
export { manualScheduler, type Scheduler, systemScheduler } from "./scheduler.ts";
export { FlowTables, OfpRule } from "./tables.ts";
export type { Trace } from "./trace.ts";
export { ufidOfKey } from "./ufid.ts";
export type { XlateContext, XlateResult, XPort } from "./xlate/context.ts";
export { xlate } from "./xlate/xlate.ts";
