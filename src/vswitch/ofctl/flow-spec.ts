/** Whole flows: `table=0,priority=100,in_port=1,ip,actions=…`. */
import { Flow, type Match } from "../flow.ts";
import type { Action } from "./actions.ts";
import { Span } from "./errors.ts";
import { formatActions } from "./format-actions.ts";
import { needValue, pairs, parseBigInteger, parseInteger } from "./lexer.ts";
import { formatMatch, MatchBuilder } from "./match.ts";
import { parseActions } from "./parse-actions.ts";
import { noPortNames, type PortNames, parsePort } from "./values.ts";

/** Priority of a flow that names none. */
export const DEFAULT_PRIORITY = 0x8000;
export const MAX_TABLE = 254;

/** One flow as written. */
export interface FlowSpec {
  readonly table: number;
  readonly priority: number;
  readonly cookie: bigint;
  /** Seconds; 0 is never. */
  readonly idleTimeout: number;
  readonly hardTimeout: number;
  readonly match: Match;
  readonly actions: readonly Action[];
}

/** What flows a deletion or a dump selects. */
export interface FlowFilter {
  readonly table: number | null;
  readonly priority: number | null;
  readonly cookie: bigint;
  readonly cookieMask: bigint;
  readonly outPort: number | null;
  readonly match: Match;
}

interface Head {
  table: number | null;
  priority: number | null;
  cookie: bigint;
  cookieMask: bigint;
  idleTimeout: number;
  hardTimeout: number;
  outPort: number | null;
  match: Match;
}

const COOKIE_MAX = (1n << 64n) - 1n;

/** Words of dump-flows' output and of other versions that say nothing to us. */
const ignored = new Set([
  "duration",
  "n_packets",
  "n_bytes",
  "idle_age",
  "hard_age",
  "send_flow_rem",
  "check_overlap",
  "reset_counts",
  "no_packet_counts",
  "no_byte_counts",
  "importance",
]);

function parseHead(span: Span, names: PortNames, selecting: boolean): Head {
  const builder = new MatchBuilder(names);
  const head: Omit<Head, "match"> = {
    table: null,
    priority: null,
    cookie: 0n,
    cookieMask: 0n,
    idleTimeout: 0,
    hardTimeout: 0,
    outPort: null,
  };
  for (const pair of pairs(span)) {
    const name = pair.name.text;
    if (ignored.has(name)) continue;
    switch (name) {
      case "table":
        head.table = parseInteger(needValue(pair), selecting ? 255 : MAX_TABLE);
        break;
      case "priority":
        head.priority = parseInteger(needValue(pair), 0xffff);
        break;
      case "cookie": {
        const [value, mask] = needValue(pair).split("/");
        if (mask && !selecting) throw mask.syntax("a cookie is masked in deletions and dumps only");
        head.cookie = parseBigInteger(value, 64);
        head.cookieMask = !mask || mask.text === "-1" ? COOKIE_MAX : parseBigInteger(mask, 64);
        break;
      }
      case "idle_timeout":
        head.idleTimeout = parseInteger(needValue(pair), 0xffff);
        break;
      case "hard_timeout":
        head.hardTimeout = parseInteger(needValue(pair), 0xffff);
        break;
      case "out_port":
        if (!selecting) throw pair.whole.syntax("out_port selects flows in deletions and dumps only");
        head.outPort = parsePort(needValue(pair), names);
        break;
      default:
        if (!builder.take(pair)) throw pair.name.syntax("no such field");
    }
  }
  return { ...head, match: builder.finish() };
}

/**
 * Parses a flow in the syntax of `ovs-ofctl add-flow`.
 *
 * @example
 * parseFlow("table=0,priority=100,in_port=1,ip,actions=ct(commit,zone=1),2")
 * @throws OfpError ERR_OFP_SYNTAX, ERR_OFP_PREREQ
 */
export function parseFlow(text: string, names: PortNames = noPortNames): FlowSpec {
  const found = /(^|[,\s])actions?\s*=/.exec(text);
  const span = Span.of(text);
  if (!found) throw span.syntax("a flow needs actions=…");
  const head = parseHead(span.slice(0, found.index), names, false);
  const actions = parseActions(span.slice(found.index + found[0].length), new Flow(head.match.key), names);
  const table = head.table ?? 0;
  for (const action of actions) {
    if (action.type === "goto_table" && action.table <= table)
      throw span.syntax("goto_table goes to later tables only");
  }
  return {
    table,
    priority: head.priority ?? DEFAULT_PRIORITY,
    cookie: head.cookie,
    idleTimeout: head.idleTimeout,
    hardTimeout: head.hardTimeout,
    match: head.match,
    actions,
  };
}

/** Parses what `ovs-ofctl del-flows` and `dump-flows` take: a match with table, cookie/mask and out_port. */
export function parseFilter(text: string, names: PortNames = noPortNames): FlowFilter {
  const span = Span.of(text);
  if (/(^|[,\s])actions?\s*=/.test(text)) throw span.syntax("no actions here");
  const head = parseHead(span, names, true);
  return { ...head, table: head.table === 255 ? null : head.table };
}

/** Parses a match alone. */
export function parseMatch(text: string, names: PortNames = noPortNames): Match {
  return parseFilter(text, names).match;
}

/** Statistics that stand in a dump. */
export interface FlowStats {
  /** Seconds. */
  readonly duration: number;
  readonly packets: number;
  readonly bytes: number;
  /** Seconds since the last packet, or since the flow was added. */
  readonly idleAge: number;
}

/** Writes a flow as `ovs-ofctl dump-flows` does, or as `ovs-ofctl add-flow` takes it where no statistics are given. */
export function formatFlow(flow: FlowSpec, stats: FlowStats | null, names: PortNames = noPortNames): string {
  const match = formatMatch(flow.match, names);
  const priority = flow.priority === DEFAULT_PRIORITY ? "" : `priority=${flow.priority}`;
  const rule = [priority, match].filter((t) => t !== "").join(",");
  const timeouts =
    (flow.idleTimeout ? `idle_timeout=${flow.idleTimeout}, ` : "") +
    (flow.hardTimeout ? `hard_timeout=${flow.hardTimeout}, ` : "");
  const actions = `actions=${formatActions(flow.actions, names)}`;
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
