import { Flow } from "../../flow.ts";
import { hasPrerequisite, prerequisiteText } from "../../prerequisite.ts";
import type { Subfield } from "../../subfield.ts";
import type { Action, NatSpec, OfpCtAction } from "../actions.ts";
import type { Span } from "../errors.ts";
import { needValue, type Pair, pairs, parseInteger } from "./lexer.ts";
import { parseNat } from "./nat.ts";
import { type ActionScope, type ParseList, parseSubfield, requirePacket } from "./scope.ts";

/** `ct(ARGUMENT,…)`. @param parseList reads the list of exec(…) @throws OfpError */
export function parseOfpCt(scope: ActionScope, pair: Pair, parseList: ParseList): OfpCtAction {
  requirePacket(scope, "ip", pair.whole);
  let commit = false;
  let force = false;
  let table: number | null = null;
  let zone: number | Subfield | undefined;
  let nat: NatSpec | null = null;
  let natZone: number | undefined;
  let natSpan: Span | null = null;
  let helper: string | null = null;
  let exec: Action[] = [];
  let execSpan: Span | null = null;
  for (const inner of pair.value ? pairs(pair.value) : []) {
    switch (inner.name.text) {
      case "commit":
        commit = true;
        break;
      case "force":
        force = true;
        break;
      case "table":
        table = parseInteger(needValue(inner), 254);
        break;
      case "zone": {
        const value = needValue(inner);
        if (/^[0-9]/.test(value.text)) zone = parseInteger(value, 0xffff);
        else {
          const source = parseSubfield(value);
          if (source.bits !== 16) throw value.syntax("a zone has 16 bits");
          zone = source;
        }
        break;
      }
      case "nat":
        ({ nat, zone: natZone } = parseNat(inner));
        natSpan = inner.whole;
        break;
      case "alg": {
        const value = needValue(inner);
        if (value.text !== "ftp" && value.text !== "tftp") throw value.syntax("ftp or tftp expected");
        helper = value.text;
        const pre = helper === "ftp" ? "tcp" : "udp";
        if (!hasPrerequisite(scope.packet, pre))
          throw inner.whole.prerequisite(`alg=${helper} needs ${prerequisiteText[pre]}`);
        break;
      }
      case "exec":
        execSpan = inner.whole;
        exec = parseList(needValue(inner), { packet: new Flow(scope.packet), names: scope.names, insideCt: true });
        break;
      default:
        throw inner.name.syntax("no such argument of ct");
    }
  }
  if (force && !commit) throw pair.whole.syntax("force needs commit");
  if (execSpan && !commit) throw execSpan.syntax("exec needs commit");
  if (natSpan && nat && nat.type !== "restore" && !commit) throw natSpan.syntax("nat with src or dst needs commit");
  if (helper && !commit) throw pair.whole.syntax("alg needs commit");
  if (natSpan && nat?.reverse && commit) throw natSpan.syntax("reverse is for connections that are there: no commit");
  if (natSpan && natZone !== undefined && (zone ?? natZone) !== natZone)
    throw natSpan.syntax(`the zone of ct and that of nat differ: ${natZone}`);
  zone ??= natZone ?? 0;
  return { type: "ct", commit, force, table, zone, nat, helper, exec };
}
