/** Writes whole flows. */
import type { FlowInfo } from "../ovs/flow.ts";
import { formatActions } from "./actions.ts";
import { formatKey } from "./keys.ts";
import { type FormatOptions, hexBytes } from "./numbers.ts";

/** `01234567-89ab-…`: a unique flow id. */
export function formatUfid(ufid: Uint8Array): string {
  const text = hexBytes(ufid).padStart(32, "0");
  return `ufid:${text.slice(0, 8)}-${text.slice(8, 12)}-${text.slice(12, 16)}-${text.slice(16, 20)}-${text.slice(20)}`;
}

const FLOW_TCP_FLAGS = "FSRP.UEC";

/**
 * Writes a flow as `ovs-dpctl dump-flows` does: key, packets, bytes, idle time, TCP flags, actions.
 * @param now CLOCK_MONOTONIC in milliseconds, for the idle time
 */
export function formatFlow(flow: FlowInfo, now: number, options: FormatOptions = {}): string {
  let text = "";
  if (flow.ufid !== null && (options.verbose || flow.key === null)) text += `${formatUfid(flow.ufid)}, `;
  if (flow.key !== null) text += `${formatKey(flow.key, flow.mask, options)}, `;
  text += `packets:${flow.packets}, bytes:${flow.bytes}, used:`;
  text += flow.used === null ? "never" : `${(Math.max(0, now - flow.used) / 1000).toFixed(3)}s`;
  if (flow.tcpFlags !== 0) {
    text += ", flags:";
    for (let bit = 0; bit < 8; bit++) if ((flow.tcpFlags >>> bit) & 1) text += FLOW_TCP_FLAGS[bit];
  }
  return `${text}, actions:${flow.actions === null ? "" : formatActions(flow.actions, options)}`;
}
