import type { Errno } from "../../core/errors.ts";
import * as ovs from "../../uapi/openvswitch.ts";
import type { GenlBatch } from "../genl.ts";
import { createFlags, type FlowId, type FlowSpec, writeFlow, writeFlowId } from "./flow.ts";
import { type ExecuteSpec, writeExecute } from "./packet.ts";
import type { OvsRequests } from "./requests.ts";

/**
 * Requests that leave in one datagram, in order, none acknowledged; only failures are answered (spec/families F-052).
 * Each call returns the index of its request, for send()'s onError.
 */
export class OvsBatch {
  private readonly batch: GenlBatch;
  constructor(private readonly requests: OvsRequests) {
    this.batch = requests.genl.batch();
  }
  /** Number of requests added since the last send(). */
  get length(): number {
    return this.batch.length;
  }
  putFlow(datapath: number, flow: FlowSpec): number {
    return this.batch.add(
      this.requests.families.flow,
      ovs.OVS_FLOW_CMD_NEW,
      (w) => {
        w.rawU32(datapath);
        writeFlow(w, flow);
      },
      createFlags(flow),
    );
  }
  deleteFlow(datapath: number, id: FlowId): number {
    return this.batch.add(this.requests.families.flow, ovs.OVS_FLOW_CMD_DEL, (w) => {
      w.rawU32(datapath);
      writeFlowId(w, id);
    });
  }
  execute(datapath: number, spec: ExecuteSpec): number {
    return this.batch.add(this.requests.families.packet, ovs.OVS_PACKET_CMD_EXECUTE, (w) => {
      w.rawU32(datapath);
      writeExecute(w, spec);
    });
  }
  /** Sends the requests. @returns the number of failed ones */
  send(onError?: (index: number, error: Errno) => void): number {
    return this.batch.send(onError);
  }
}
