/** Writes flows in the syntax of ovs-ofctl. */
import { DEFAULT_PRIORITY, type OfpFlow, type OfpFlowStats } from "../flow.ts";
import { noPortNames, type PortNames } from "../ports.ts";
import { formatOfpActions } from "./actions.ts";
import { formatOfpMatch } from "./match.ts";

/** Writes a flow as `ovs-ofctl dump-flows` does, or as `ovs-ofctl add-flow` takes it where no statistics are given. */
export function formatOfpFlow(flow: OfpFlow, stats: OfpFlowStats | null, names: PortNames = noPortNames): string {
  const match = formatOfpMatch(flow.match, names);
  const priority = flow.priority === DEFAULT_PRIORITY ? "" : `priority=${flow.priority}`;
  const rule = [priority, match].filter((t) => t !== "").join(",");
  const timeouts =
    (flow.idleTimeout ? `idle_timeout=${flow.idleTimeout}, ` : "") +
    (flow.hardTimeout ? `hard_timeout=${flow.hardTimeout}, ` : "");
  const actions = `actions=${formatOfpActions(flow.actions, names)}`;
  if (stats === null) {
    const cookie = flow.cookie ? `cookie=0x${flow.cookie.toString(16)}, ` : "";
    const table = flow.table ? `table=${flow.table}, ` : "";
    return `${cookie}${table}${timeouts}${rule === "" ? "" : `${rule} `}${actions}`;
  }
  return (
    ` cookie=0x${flow.cookie.toString(16)}, duration=${stats.duration.toFixed(3)}s, table=${flow.table}, ` +
    `n_packets=${stats.packets}, n_bytes=${stats.bytes}, ${timeouts}idle_age=${Math.floor(stats.idleAge)}, ` +
    `${rule === "" ? "" : `${rule} `}${actions}`
  );
}
