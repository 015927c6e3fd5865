import { Errno } from "../../core/errors.ts";
import { EINVAL, ERANGE } from "../../uapi/errno.ts";
import { NLA_F_NESTED, NLMSGERR_ATTR_POLICY } from "../../uapi/netlink.ts";
import {
  type AnyAttributeSet,
  type Attribute,
  type AttributePositions,
  INTEGER_SIZE,
  type NamedAttribute,
  Rule,
  type Validation,
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
 * @param depth nests around this level
 * @throws Errno EINVAL or ERANGE; what broke the rule is noted in `extack`
 */
export function validateLevel(
  set: AnyAttributeSet,
  table: AttributePositions | undefined,
  start: number,
  end: number,
  validation: Validation,
  depth: number,
): void {
  const { view, extack, strict } = validation;
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
      if (strict) throw refuse(EINVAL, "Unknown attribute type", at, validation, undefined);
    } else {
      const attribute = set.byType[type];
      if (attribute === undefined) {
        if (strict) throw refuse(EINVAL, "Unsupported attribute", at, validation, undefined);
      } else if (attribute.rule !== Rule.UNSPEC || attribute.length !== 0 || strict) {
        check(attribute, at, size - 4, rawType, validation, depth);
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

/** Notes in the extended ack what is wrong with the attribute at `at`. @returns the error to throw */
function refuse(
  errno: number,
  text: string,
  at: number,
  { base, extack }: Validation,
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
  at: number,
  length: number,
  rawType: number,
  validation: Validation,
  depth: number,
): void {
  const { view, strict } = validation;
  const { rule } = attribute;
  const integer = INTEGER_SIZE[rule];
  if (strict) {
    if (integer !== 0 && length !== integer) throw refuse(EINVAL, INVALID_LENGTH, at, validation, attribute);
    const nest = rule === Rule.NESTED || rule === Rule.NESTED_ARRAY;
    if (nest && (rawType & NLA_F_NESTED) === 0)
      throw refuse(EINVAL, "NLA_F_NESTED is missing", at, validation, attribute);
    if (!nest && rule !== Rule.UNSPEC && (rawType & NLA_F_NESTED) !== 0)
      throw refuse(EINVAL, "NLA_F_NESTED not expected", at, validation, attribute);
  }
  switch (rule) {
    case Rule.FLAG:
      if (length > 0) throw refuse(ERANGE, FAILED, at, validation, attribute);
      break;
    case Rule.NUL_STRING:
    case Rule.STRING: {
      if (rule === Rule.NUL_STRING) {
        const look = attribute.length !== 0 ? Math.min(length, attribute.length + 1) : length;
        let nul = false;
        for (let i = 0; i < look && !nul; i++) nul = view.getUint8(at + 4 + i) === 0;
        if (!nul) throw refuse(EINVAL, FAILED, at, validation, attribute);
      }
      if (length < 1) throw refuse(ERANGE, FAILED, at, validation, attribute);
      if (attribute.length !== 0) {
        const text = view.getUint8(at + 4 + length - 1) === 0 ? length - 1 : length;
        if (text > attribute.length) throw refuse(ERANGE, FAILED, at, validation, attribute);
      }
      break;
    }
    case Rule.BINARY:
      if (attribute.length !== 0 && length > attribute.length) throw refuse(ERANGE, FAILED, at, validation, attribute);
      break;
    case Rule.NESTED:
    case Rule.NESTED_ARRAY:
      if (length === 0) break;
      if (length < 4) throw refuse(ERANGE, FAILED, at, validation, attribute);
      if (attribute.deep === true && attribute.inner !== undefined)
        attribute.inner().validate(at + 4, at + 4 + length, validation, depth + 1);
      break;
    case Rule.UNSPEC:
      if (strict) throw refuse(EINVAL, "Unsupported attribute", at, validation, undefined);
      if (length < attribute.length) throw refuse(ERANGE, FAILED, at, validation, attribute);
      break;
    default:
      if (length < integer) throw refuse(ERANGE, FAILED, at, validation, attribute);
  }
  if (attribute.mask !== undefined && (readInteger(rule, view, at + 4) & ~attribute.mask) !== 0)
    throw refuse(EINVAL, "reserved bit set", at, validation, attribute);
  if (attribute.min === undefined && attribute.max === undefined) return;
  const value = rule === Rule.BINARY ? length : readInteger(rule, view, at + 4);
  if (value < (attribute.min ?? -Infinity) || value > (attribute.max ?? Infinity)) {
    const text = rule === Rule.BINARY ? "binary attribute size out of range" : "integer out of range";
    throw refuse(ERANGE, text, at, validation, attribute);
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
