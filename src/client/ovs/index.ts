/** The ovs_* families, one file each, and OvsClient, which offers them all. */
export { OvsBatch } from "./batch.ts";
export { type Notification, OvsClient } from "./client.ts";
export type { ZoneLimit } from "./ct-limit.ts";
export { type DatapathChanges, type DatapathInfo, type DatapathOptions, decodeDatapath } from "./datapath.ts";
export { decodeFlow, type FlowChanges, type FlowId, type FlowInfo, type FlowSpec } from "./flow.ts";
export type { MeterBandSpec, MeterFeatures, MeterInfo, MeterOptions } from "./meter.ts";
export { decodeUpcall, type ExecuteSpec, type Upcall, UpcallSocket } from "./packet.ts";
export type { OvsRequests } from "./requests.ts";
export { decodeVport, type VportInfo, type VportOptions, type VportStats } from "./vport.ts";
