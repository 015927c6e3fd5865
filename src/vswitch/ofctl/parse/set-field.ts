import { findField, type OfpField } from "../../fields.ts";
import { Match, VLAN_CFI } from "../../flow.ts";
import type { Action, LegacySet, SetFieldAction } from "../actions.ts";
import { fullMask, type MaskedValue } from "../symbols.ts";
import { needValue, type Pair, parseInteger } from "./lexer.ts";
import { put } from "./match.ts";
import { type ActionScope, arrow, requirePacket, requirePresent, requireWritable, setTagged } from "./scope.ts";
import { ipv4Value, macValue, parseMasked } from "./values.ts";

/** The field of each action that sets one. */
export const legacySets: Readonly<Record<LegacySet, string>> = {
  mod_dl_src: "dl_src",
  mod_dl_dst: "dl_dst",
  mod_nw_src: "nw_src",
  mod_nw_dst: "nw_dst",
  mod_nw_tos: "nw_tos",
  mod_nw_ecn: "nw_ecn",
  mod_nw_ttl: "nw_ttl",
  set_mpls_label: "mpls_label",
  set_mpls_tc: "mpls_tc",
  set_mpls_ttl: "mpls_ttl",
  write_metadata: "metadata",
};

/** `mod_dl_src:MAC` and the like. @throws OfpError */
export function parseLegacySet(scope: ActionScope, word: LegacySet, pair: Pair): Action {
  const field = findField(legacySets[word])!;
  const value = needValue(pair);
  let masked: MaskedValue;
  switch (word) {
    case "mod_dl_src":
    case "mod_dl_dst":
      masked = { value: macValue(value), mask: fullMask(field) };
      break;
    case "mod_nw_src":
    case "mod_nw_dst":
      masked = { value: ipv4Value(value), mask: fullMask(field) };
      break;
    case "mod_nw_tos": {
      const tos = parseInteger(value, 255);
      if (tos & 3) throw value.syntax("the two low bits are ECN's; must be 0");
      masked = { value: Uint8Array.of(tos), mask: Uint8Array.of(0xfc) };
      break;
    }
    default:
      masked = parseMasked(field, value, scope.names);
  }
  if (word.startsWith("set_mpls")) requirePacket(scope, "mpls", pair.whole);
  return setFieldAction(word, field, masked);
}

/** `set_field:VALUE[/MASK]->FIELD`. @throws OfpError */
export function parseSetField(scope: ActionScope, pair: Pair): Action {
  const value = needValue(pair);
  const [valueSpan, fieldSpan] = arrow(value);
  const field = findField(fieldSpan.text);
  if (!field) throw fieldSpan.syntax("no such field");
  requireWritable(scope, field, fieldSpan);
  requirePresent(scope, field, fieldSpan);
  let masked: MaskedValue;
  if (field.name === "vlan_vid") {
    masked = parseMasked(field, valueSpan, scope.names);
    // The field exists in tagged packets only: setting it never removes the tag.
    masked.value[0] |= VLAN_CFI >> 8;
  } else masked = parseMasked(field, valueSpan, scope.names);
  if (field.name === "arp_op" && masked.value[0] !== 0) throw valueSpan.syntax("not within 0 to 255");
  if (field.name === "dl_vlan") setTagged(scope);
  return setFieldAction("set_field", field, masked);
}

function setFieldAction(word: SetFieldAction["word"], field: OfpField, masked: MaskedValue): SetFieldAction {
  const bits = new Match();
  put(bits.key, bits.mask, field, masked);
  return { type: "set_field", word, field, masked, bits };
}
