/** Reads whole flows: `table=0,priority=100,in_port=1,ip,actions=…`. */
import { Flow, type Match } from "../../flow.ts";
import { Span } from "../errors.ts";
import { DEFAULT_PRIORITY, type FlowFilter, MAX_TABLE, type OfpFlow } from "../flow.ts";
import { noPortNames, type PortNames } from "../ports.ts";
import { parseActions } from "./actions.ts";
import { needValue, pairs, parseBigInteger, parseInteger } from "./lexer.ts";
import { MatchBuilder } from "./match.ts";
import { parsePort } from "./values.ts";

/** A flow without its actions. */
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

/** Words of dump-flows' output and of other versions that are skipped. */
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
 * parseOfpFlow("table=0,priority=100,in_port=1,ip,actions=ct(commit,zone=1),2")
 * @throws OfpError ERR_OFP_SYNTAX, ERR_OFP_PREREQ
 */
export function parseOfpFlow(text: string, names: PortNames = noPortNames): OfpFlow {
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

/** Parses what `ovs-ofctl del-flows` and `dump-flows` take: a match, table, cookie/mask, out_port. @throws OfpError */
export function parseOfpFilter(text: string, names: PortNames = noPortNames): FlowFilter {
  const span = Span.of(text);
  if (/(^|[,\s])actions?\s*=/.test(text)) throw span.syntax("no actions here");
  const head = parseHead(span, names, true);
  return { ...head, table: head.table === 255 ? null : head.table };
}

/** Parses a match alone. @throws OfpError */
export function parseOfpMatch(text: string, names: PortNames = noPortNames): Match {
  return parseOfpFilter(text, names).match;
}
