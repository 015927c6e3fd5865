/** The ovs_* families, one file each, and OvsClient, which offers them all. */
export { OvsBatch } from "./batch.ts";
export { type Notification, OvsClient } from "./client.ts";
export type { ZoneLimit } from "./ct-limit.ts";
export type { DatapathChanges, DatapathInfo, DatapathOptions } from "./datapath.ts";
export type { FlowChanges, FlowId, FlowInfo, FlowSpec } from "./flow.ts";
export type { MeterBandSpec, MeterFeatures, MeterInfo, MeterOptions } from "./meter.ts";
export { type ExecuteSpec, type Upcall, UpcallSocket } from "./packet.ts";
export type { VportInfo, VportOptions, VportStats } from "./vport.ts";
