import { formatActions } from "../client/format/index.ts";
import { FLOW_WORDS, Flow, FlowAt, Match } from "./flow.ts";
import { formatOfpFlow } from "./ofctl/format/flow.ts";
import { formatOfpMatch } from "./ofctl/format/match.ts";
import type { XlateContext } from "./xlate/context.ts";
import { xlate } from "./xlate/xlate.ts";

/** One translation, as `ovs-appctl ofproto/trace` shows it. */
export interface Trace {
  /** The megaflow's match in ovs-ofctl syntax. */
  readonly megaflow: string;
  /** Datapath actions in ovs-dpctl syntax. */
  readonly actions: string;
  /** The rules that matched, in ovs-ofctl syntax. */
  readonly rules: string[];
  /** Why translation failed, else null. */
  readonly error: string | null;
}

/** Translates a packet without sending it. @param packet left as it is; fields that it does not have are zero */
export function traceFlow(context: XlateContext, packet: Flow): Trace {
  const flow = new Flow(packet);
  flow.put8(FlowAt.IS_ETH, 1);
  if (flow.u16(FlowAt.VLAN0_TCI)) flow.put16(FlowAt.VLAN0_TPID, 0x8100);
  const result = xlate(context, flow);
  const key = new Flow(flow);
  for (let i = 0; i < FLOW_WORDS; i++) key.words[i] &= result.wildcards.words[i];
  return {
    megaflow: formatOfpMatch(new Match(key, result.wildcards)),
    actions: formatActions(result.actions),
    rules: result.rules.map((rule) => formatOfpFlow(rule.spec, null)),
    error: result.error,
  };
}
