import { findField, type OfpField } from "../../fields.ts";
import { type Flow, FlowAt, VLAN_CFI } from "../../flow.ts";
import { hasPrerequisite, prerequisiteText } from "../../prerequisite.ts";
import type { Subfield } from "../../subfield.ts";
import type { Action } from "../actions.ts";
import type { Span } from "../errors.ts";
import type { PortNames } from "../ports.ts";

/** The place of a list of actions. */
export interface ActionScope {
  /** What is known of packets here: changed as actions push and pop headers. */
  readonly packet: Flow;
  readonly names: PortNames;
  /** Inside ct(exec(…)): only ct_mark and ct_label may be set. */
  readonly insideCt: boolean;
}

/** Parses a list of actions: what an action with a nested list is given. */
export type ParseList = (span: Span, scope: ActionScope) => Action[];

/** `NAME`, `NAME[]`, `NAME[n]` or `NAME[a..b]`. */
export function parseSubfield(span: Span): Subfield {
  const found = /^([^[\]]+)(?:\[(?:(\d+)(?:\.\.(\d+))?)?\])?$/.exec(span.text);
  if (!found) throw span.syntax("not a field such as NXM_NX_REG0[0..15]");
  const field = findField(found[1]);
  if (!field) throw span.slice(0, found[1].length).syntax("no such field");
  if (found[2] === undefined) return { field, start: 0, bits: field.bits };
  const start = Number(found[2]);
  const end = found[3] === undefined ? start : Number(found[3]);
  if (end < start) throw span.syntax("the last bit stands before the first");
  if (end >= field.width || start >= field.bits) throw span.syntax(`${field.name} has ${field.bits} bits`);
  return { field, start, bits: Math.min(end, field.bits - 1) - start + 1 };
}

/** A subfield that an action writes. @throws OfpError */
export function parseTarget(scope: ActionScope, span: Span): Subfield {
  const subfield = parseSubfield(span);
  requireWritable(scope, subfield.field, span);
  requirePresent(scope, subfield.field, span);
  return subfield;
}

/** @throws OfpError where the field may not be written here */
export function requireWritable(scope: ActionScope, field: OfpField, span: Span): void {
  if (!field.writable) throw span.syntax(`${field.name} cannot be written`);
  const ct = field.name === "ct_mark" || field.name === "ct_label";
  if (scope.insideCt && !ct) throw span.syntax("only ct_mark and ct_label may be set in ct(exec(…))");
  if (!scope.insideCt && ct) throw span.syntax(`${field.name} may be set in ct(exec(…)) only`);
}

/** @throws OfpError where packets need not have the field */
export function requirePresent(scope: ActionScope, field: OfpField, span: Span): void {
  if (!hasPrerequisite(scope.packet, field.prerequisite)) {
    throw span.prerequisite(`${field.name} needs ${prerequisiteText[field.prerequisite]}`);
  }
}

/** @throws OfpError where packets need not have such a header */
export function requirePacket(scope: ActionScope, pre: "ip" | "mpls", span: Span): void {
  if (!hasPrerequisite(scope.packet, pre)) throw span.prerequisite(`this action needs ${prerequisiteText[pre]}`);
}

/** Notes that packets have a VLAN tag from here on. */
export function setTagged(scope: ActionScope): void {
  scope.packet.put16(FlowAt.VLAN0_TCI, scope.packet.u16(FlowAt.VLAN0_TCI) | VLAN_CFI);
}

/** The two sides of `A->B`. @throws OfpError */
export function arrow(span: Span): [Span, Span] {
  const [left, right] = span.split("->");
  if (!right) throw span.syntax("-> is missing");
  return [left.trim(), right.trim()];
}

/** `00.11.22` */
export function parseHexBytes(span: Span): Uint8Array {
  const text = span.text.replace(/\./g, "");
  if (text.length % 2 !== 0 || !/^[0-9a-fA-F]*$/.test(text)) throw span.syntax("not bytes in hex, as 01.02.0a");
  return new Uint8Array(Buffer.from(text, "hex"));
}
