import { Errno } from "../../core/errors.ts";
import { EINVAL, ERANGE } from "../../uapi/errno.ts";
import { NLA_F_NESTED, NLMSGERR_ATTR_POLICY } from "../../uapi/netlink.ts";
import type { ExtAck } from "../extack.ts";
import {
  type AnyAttributeSet,
  type Attribute,
  type AttributePositions,
  INTEGER_SIZE,
  type NamedAttribute,
  Rule,
} from "./attribute.ts";
import { putPolicy } from "./policy.ts";
import { readU64, TYPE_MASK } from "./values.ts";

/** MAX_POLICY_RECURSION_DEPTH of the kernel. */
const MAX_DEPTH = 10;
const INVALID_LENGTH = "invalid attribute length";
const FAILED = "Attribute failed policy validation";

/**
 * Checks one level of attributes as __nla_parse() does (spec/families F-037 to F-049).
 * @param table gets the position of each attribute; undefined = only check
 * @param base position of the nlmsghdr, for extended acks
 * @param strict NL_VALIDATE_STRICT instead of NL_VALIDATE_LIBERAL
 * @param depth nests around this level
 * @throws Errno EINVAL or ERANGE; what broke the rule is noted in `extack`
 */
export function validateLevel(
  set: AnyAttributeSet,
  table: AttributePositions | undefined,
  view: DataView,
  start: number,
  end: number,
  base: number,
  extack: ExtAck | undefined,
  strict: boolean,
  depth: number,
): void {
  if (depth >= MAX_DEPTH) {
    if (extack !== undefined) extack.message = "allowed policy recursion depth exceeded";
    throw new Errno(EINVAL);
  }
  let at = start;
  while (end - at >= 4) {
    const size = view.getUint16(at, true);
    if (size < 4 || size > end - at) break;
    const rawType = view.getUint16(at + 2, true);
    const type = rawType & TYPE_MASK;
    if (type === 0 || type > set.maxType) {
      if (strict) throw refuse(EINVAL, "Unknown attribute type", at, base, extack, undefined);
    } else {
      const attribute = set.byType[type];
      if (attribute === undefined) {
        if (strict) throw refuse(EINVAL, "Unsupported attribute", at, base, extack, undefined);
      } else if (attribute.rule !== Rule.UNSPEC || attribute.length !== 0 || strict) {
        check(attribute, view, at, size - 4, rawType, base, extack, strict, depth);
      }
      if (table !== undefined) {
        table.offset[type] = at + 4;
        table.length[type] = size - 4;
      }
    }
    at += (size + 3) & ~3;
  }
  if (at < end) {
    if (extack !== undefined) extack.message = "bytes leftover after parsing attributes";
    if (strict) throw new Errno(EINVAL);
  }
}

/** Notes in `extack` what is wrong with the attribute at `at`. @returns the error to throw */
function refuse(
  errno: number,
  text: string,
  at: number,
  base: number,
  extack: ExtAck | undefined,
  attribute: Attribute<unknown> | undefined,
): Errno {
  if (extack !== undefined) {
    extack.message = text;
    extack.offset = at - base;
    extack.policy =
      attribute === undefined ? undefined : (writer) => putPolicy(writer, attribute, NLMSGERR_ATTR_POLICY, undefined);
  }
  return new Errno(errno);
}

/** The rules of validate_nla() for one attribute. */
function check(
  attribute: NamedAttribute,
  view: DataView,
  at: number,
  length: number,
  rawType: number,
  base: number,
  extack: ExtAck | undefined,
  strict: boolean,
  depth: number,
): void {
  const { rule } = attribute;
  const integer = INTEGER_SIZE[rule];
  if (strict) {
    if (integer !== 0 && length !== integer) throw refuse(EINVAL, INVALID_LENGTH, at, base, extack, attribute);
    const nest = rule === Rule.NESTED || rule === Rule.NESTED_ARRAY;
    if (nest && (rawType & NLA_F_NESTED) === 0)
      throw refuse(EINVAL, "NLA_F_NESTED is missing", at, base, extack, attribute);
    if (!nest && rule !== Rule.UNSPEC && (rawType & NLA_F_NESTED) !== 0)
      throw refuse(EINVAL, "NLA_F_NESTED not expected", at, base, extack, attribute);
  }
  switch (rule) {
    case Rule.FLAG:
      if (length > 0) throw refuse(ERANGE, FAILED, at, base, extack, attribute);
      break;
    case Rule.NUL_STRING:
    case Rule.STRING: {
      if (rule === Rule.NUL_STRING) {
        const look = attribute.length !== 0 ? Math.min(length, attribute.length + 1) : length;
        let nul = false;
        for (let i = 0; i < look && !nul; i++) nul = view.getUint8(at + 4 + i) === 0;
        if (!nul) throw refuse(EINVAL, FAILED, at, base, extack, attribute);
      }
      if (length < 1) throw refuse(ERANGE, FAILED, at, base, extack, attribute);
      if (attribute.length !== 0) {
        const text = view.getUint8(at + 4 + length - 1) === 0 ? length - 1 : length;
        if (text > attribute.length) throw refuse(ERANGE, FAILED, at, base, extack, attribute);
      }
      break;
    }
    case Rule.BINARY:
      if (attribute.length !== 0 && length > attribute.length)
        throw refuse(ERANGE, FAILED, at, base, extack, attribute);
      break;
    case Rule.NESTED:
    case Rule.NESTED_ARRAY:
      if (length === 0) break;
      if (length < 4) throw refuse(ERANGE, FAILED, at, base, extack, attribute);
      if (attribute.deep === true && attribute.inner !== undefined)
        attribute.inner().validate(view, at + 4, at + 4 + length, base, extack, strict, depth + 1);
      break;
    case Rule.UNSPEC:
      if (strict) throw refuse(EINVAL, "Unsupported attribute", at, base, extack, undefined);
      if (length < attribute.length) throw refuse(ERANGE, FAILED, at, base, extack, attribute);
      break;
    default:
      if (length < integer) throw refuse(ERANGE, FAILED, at, base, extack, attribute);
  }
  if (attribute.mask !== undefined && (readInteger(rule, view, at + 4) & ~attribute.mask) !== 0)
    throw refuse(EINVAL, "reserved bit set", at, base, extack, attribute);
  if (attribute.min === undefined && attribute.max === undefined) return;
  const value = rule === Rule.BINARY ? length : readInteger(rule, view, at + 4);
  if (value < (attribute.min ?? -Infinity) || value > (attribute.max ?? Infinity)) {
    const text = rule === Rule.BINARY ? "binary attribute size out of range" : "integer out of range";
    throw refuse(ERANGE, text, at, base, extack, attribute);
  }
}

function readInteger(rule: Rule, view: DataView, at: number): number {
  switch (rule) {
    case Rule.U8:
      return view.getUint8(at);
    case Rule.U16:
      return view.getUint16(at, true);
    case Rule.U32:
      return view.getUint32(at, true);
    case Rule.BE16:
      return view.getUint16(at);
    case Rule.BE32:
      return view.getUint32(at);
    case Rule.S8:
      return view.getInt8(at);
    case Rule.S16:
      return view.getInt16(at, true);
    case Rule.S32:
      return view.getInt32(at, true);
    case Rule.S64:
      return view.getUint32(at, true) + view.getInt32(at + 4, true) * 0x1_0000_0000;
    default:
      return readU64(view, at);
  }
}
