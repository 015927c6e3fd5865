import {
  NL_POLICY_TYPE_ATTR_MAX_LENGTH,
  NL_POLICY_TYPE_ATTR_MAX_VALUE_S,
  NL_POLICY_TYPE_ATTR_MAX_VALUE_U,
  NL_POLICY_TYPE_ATTR_MIN_LENGTH,
  NL_POLICY_TYPE_ATTR_MIN_VALUE_S,
  NL_POLICY_TYPE_ATTR_MIN_VALUE_U,
  NL_POLICY_TYPE_ATTR_POLICY_IDX,
  NL_POLICY_TYPE_ATTR_POLICY_MAXTYPE,
  NL_POLICY_TYPE_ATTR_TYPE,
  NLA_F_NESTED,
} from "../../uapi/netlink.ts";
import type { MessageWriter } from "../writer.ts";
import { type AnyAttributeSet, type Attribute, INTEGER_SIZE, Rule } from "./attribute.ts";

/**
 * Writes the rule of an attribute as a nest of NL_POLICY_TYPE_ATTR_*, as the controller and extended acks carry it.
 * @param index number of a nested set in the dump, for POLICY_IDX; undefined in an extended ack
 * @returns false, having written nothing, for UNSPEC, BE16 and BE32, which enum netlink_attribute_type cannot express
 */
export function putPolicy(
  writer: MessageWriter,
  attribute: Attribute<unknown>,
  nestType: number,
  index: ((set: AnyAttributeSet) => number) | undefined,
): boolean {
  const { rule } = attribute;
  if (rule === Rule.UNSPEC || rule === Rule.BE16 || rule === Rule.BE32) return false;
  const nest = writer.nest(nestType | NLA_F_NESTED);
  switch (rule) {
    case Rule.NESTED:
    case Rule.NESTED_ARRAY:
      if (index !== undefined && attribute.deep === true && attribute.inner !== undefined) {
        const inner = attribute.inner();
        writer.u32(NL_POLICY_TYPE_ATTR_POLICY_IDX, index(inner));
        writer.u32(NL_POLICY_TYPE_ATTR_POLICY_MAXTYPE, inner.maxType);
      }
      break;
    case Rule.U8:
    case Rule.U16:
    case Rule.U32:
    case Rule.U64:
      writer.u64(NL_POLICY_TYPE_ATTR_MIN_VALUE_U, attribute.min ?? 0);
      if (attribute.max !== undefined) writer.u64(NL_POLICY_TYPE_ATTR_MAX_VALUE_U, attribute.max);
      else putAllOnes(writer, NL_POLICY_TYPE_ATTR_MAX_VALUE_U, INTEGER_SIZE[rule]);
      break;
    case Rule.S8:
    case Rule.S16:
    case Rule.S32:
    case Rule.S64: {
      const top = 2 ** (INTEGER_SIZE[rule] * 8 - 1);
      putSigned(writer, NL_POLICY_TYPE_ATTR_MIN_VALUE_S, attribute.min ?? -top);
      if (attribute.max !== undefined) putSigned(writer, NL_POLICY_TYPE_ATTR_MAX_VALUE_S, attribute.max);
      else if (rule !== Rule.S64) putSigned(writer, NL_POLICY_TYPE_ATTR_MAX_VALUE_S, top - 1);
      else writer.view.setUint8(putAllOnes(writer, NL_POLICY_TYPE_ATTR_MAX_VALUE_S, 8) + 7, 0x7f);
      break;
    }
    case Rule.STRING:
    case Rule.NUL_STRING:
    case Rule.BINARY:
      if (attribute.min !== undefined || attribute.max !== undefined) {
        if (attribute.min) writer.u32(NL_POLICY_TYPE_ATTR_MIN_LENGTH, attribute.min);
        if (attribute.max !== undefined) writer.u32(NL_POLICY_TYPE_ATTR_MAX_LENGTH, attribute.max);
      } else if (attribute.length !== 0) writer.u32(NL_POLICY_TYPE_ATTR_MAX_LENGTH, attribute.length);
      break;
  }
  writer.u32(NL_POLICY_TYPE_ATTR_TYPE, rule);
  writer.endNest(nest);
  return true;
}

function putAllOnes(writer: MessageWriter, type: number, size: number): number {
  const at = writer.attr(type, 8);
  writer.bytes.fill(0, at, at + 8);
  writer.bytes.fill(0xff, at, at + size);
  return at;
}

function putSigned(writer: MessageWriter, type: number, value: number): void {
  const at = writer.attr(type, 8);
  writer.view.setUint32(at, value >>> 0, true);
  writer.view.setInt32(at + 4, Math.floor(value / 0x1_0000_0000), true);
}
