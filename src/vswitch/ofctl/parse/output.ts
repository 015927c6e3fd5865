import { OFPP_CONTROLLER, OFPP_IN_PORT } from "../../flow.ts";
import { type Action, OFPR_ACTION, OFPR_INVALID_TTL, OFPR_NO_MATCH } from "../actions.ts";
import type { Span } from "../errors.ts";
import { entry } from "../symbols.ts";
import { needValue, type Pair, pairs, parseInteger } from "./lexer.ts";
import { type ActionScope, parseHexBytes, parseSubfield, requirePresent } from "./scope.ts";
import { parsePort } from "./values.ts";

/** A port to send to. @throws OfpError */
export function parseOutputPort(scope: ActionScope, span: Span): number {
  const port = parsePort(span, scope.names);
  if (port === 0xffff) throw span.syntax("not a port to send to");
  return port;
}

/** `output:PORT`, `output:FIELD[…]` or `output(port=PORT,max_len=N)`. @throws OfpError */
export function parseOutput(scope: ActionScope, pair: Pair): Action {
  const value = needValue(pair);
  if (pair.delimiter === "(") {
    let port: number | null = null;
    let maxLen: number | undefined;
    for (const inner of pairs(value)) {
      if (inner.name.text === "port") port = parseOutputPort(scope, needValue(inner));
      else if (inner.name.text === "max_len") maxLen = parseInteger(needValue(inner), 0xffffffff, 14);
      else throw inner.name.syntax("port or max_len expected");
    }
    if (port === null || maxLen === undefined) throw pair.whole.syntax("output(…) needs port and max_len");
    return { type: "output", port, maxLen };
  }
  if (value.text.includes("[")) {
    const source = parseSubfield(value);
    requirePresent(scope, source.field, value);
    if (source.bits > 32) throw value.syntax("a port number has at most 32 bits");
    return { type: "output_reg", source };
  }
  const port = parseOutputPort(scope, value);
  if (port === OFPP_CONTROLLER) return controllerAction();
  return { type: "output", port };
}

function controllerAction(maxLen = 0xffff): Action {
  return { type: "controller", maxLen, id: 0, reason: OFPR_ACTION, userdata: null };
}

/** `controller`, `controller:N` or `controller(…)`. @throws OfpError */
export function parseController(pair: Pair): Action {
  if (pair.value === null || pair.value.text === "") return controllerAction();
  if (pair.delimiter !== "(") return controllerAction(parseInteger(pair.value, 0xffff));
  let maxLen = 0xffff;
  let id = 0;
  let reason = OFPR_ACTION;
  let userdata: Uint8Array | null = null;
  const reasons: Readonly<Record<string, number>> = {
    no_match: OFPR_NO_MATCH,
    action: OFPR_ACTION,
    invalid_ttl: OFPR_INVALID_TTL,
  };
  for (const inner of pairs(pair.value)) {
    switch (inner.name.text) {
      case "max_len":
        maxLen = parseInteger(needValue(inner), 0xffff);
        break;
      case "id":
        id = parseInteger(needValue(inner), 0xffff);
        break;
      case "reason": {
        const value = needValue(inner);
        const code = entry(reasons, value.text);
        if (code === undefined) throw value.syntax(`one of ${Object.keys(reasons).join(", ")} expected`);
        reason = code;
        break;
      }
      case "userdata":
        userdata = parseHexBytes(needValue(inner));
        break;
      default:
        throw inner.name.syntax("no such argument of controller");
    }
  }
  return { type: "controller", maxLen, id, reason, userdata };
}

/** `resubmit:PORT` or `resubmit(PORT,TABLE)`. @throws OfpError */
export function parseResubmit(scope: ActionScope, pair: Pair): Action {
  const value = needValue(pair);
  if (pair.delimiter !== "(") return { type: "resubmit", port: parseOutputPort(scope, value), table: null, ct: false };
  const parts: Span[] = [];
  let rest: Span | null = value;
  while (rest) {
    const [head, tail]: [Span, Span | null] = rest.split(",");
    parts.push(head.trim());
    rest = tail;
  }
  if (parts.length > 3) throw value.syntax("resubmit takes a port, a table and ct");
  const [port, table, ct] = parts;
  if (ct && ct.text !== "ct") throw ct.syntax("ct expected");
  if (ct) throw ct.syntax("resubmit(…,ct) is not supported");
  const portNumber = port.text === "" ? null : parseOutputPort(scope, port);
  const tableNumber = !table || table.text === "" ? null : parseInteger(table, 254);
  if (portNumber === null && tableNumber === null) throw pair.whole.syntax("resubmit needs a port or a table");
  return { type: "resubmit", port: portNumber === OFPP_IN_PORT ? null : portNumber, table: tableNumber, ct: false };
}
