import { CtAction, NatAction } from "../../conntrack/action.ts";
import type { ConntrackPort } from "../../conntrack/conntrack-port.ts";
import { Errno } from "../../core/errors.ts";
import type { AttributeReader } from "../../netlink/reader.ts";
import { Rule } from "../../netlink/schema/index.ts";
import type { MessageWriter } from "../../netlink/writer.ts";
import { payloadLengths } from "../../schema/lengths.ts";
import { natExtensionAttributes } from "../../schema/nokmod.ts";
import { ctAttributes, natAttributes } from "../../schema/openvswitch.ts";
import { EINVAL, ERANGE } from "../../uapi/errno.ts";
import { NOKMOD_NAT_ATTR_DST_ZONE, NOKMOD_NAT_ATTR_REVERSE, NOKMOD_NAT_ATTR_SRC_ZONE } from "../../uapi/nokmod.ts";
import {
  OVS_CT_ATTR_COMMIT,
  OVS_CT_ATTR_EVENTMASK,
  OVS_CT_ATTR_FORCE_COMMIT,
  OVS_CT_ATTR_HELPER,
  OVS_CT_ATTR_LABELS,
  OVS_CT_ATTR_MARK,
  OVS_CT_ATTR_MAX,
  OVS_CT_ATTR_NAT,
  OVS_CT_ATTR_TIMEOUT,
  OVS_CT_ATTR_ZONE,
  OVS_NAT_ATTR_DST,
  OVS_NAT_ATTR_IP_MAX,
  OVS_NAT_ATTR_IP_MIN,
  OVS_NAT_ATTR_MAX,
  OVS_NAT_ATTR_PERSISTENT,
  OVS_NAT_ATTR_PROTO_HASH,
  OVS_NAT_ATTR_PROTO_MAX,
  OVS_NAT_ATTR_PROTO_MIN,
  OVS_NAT_ATTR_PROTO_RANDOM,
  OVS_NAT_ATTR_SRC,
} from "../../uapi/openvswitch.ts";
import { AF_INET6 } from "../../uapi/socket.ts";

/** The nested OVS_ACTION_ATTR_CT: parsing and dumping (spec/conntrack sections 1 and 2). */

/** Shortest and longest payload by OVS_CT_ATTR_* (spec/conntrack C-001 to C-009). */
const CT_LENGTHS: readonly (readonly [number, number])[] = ctAttributes.byType.map((attribute) => {
  if (attribute === undefined) return [0, 0];
  if (attribute.rule === Rule.NESTED) return [0, 0xffff];
  // A string's length in the table is without the NUL.
  if (attribute.rule === Rule.NUL_STRING) return [1, attribute.length + 1];
  return [attribute.size, attribute.size];
});

/** Payload by OVS_NAT_ATTR_*; the addresses are as long as the family's (spec/conntrack C-033 to C-036). */
const NAT_LENGTHS = payloadLengths(natAttributes);

/** Payload by NOKMOD_NAT_ATTR_*. */
const EXTENSION_LENGTHS = payloadLengths(natExtensionAttributes);

/**
 * Parses a ct action.
 * @param reader stands on the attribute
 * @param family AF_INET or AF_INET6, from the masked key
 * @param ipProto of the masked key
 * @throws Errno EINVAL, ERANGE (spec/conntrack C-038), or what checkHelper says
 */
export function parseCt(
  reader: AttributeReader,
  family: number,
  ipProto: number,
  conntrack: Pick<ConntrackPort, "checkHelper" | "crossZoneNat">,
): CtAction {
  const action = new CtAction();
  action.family = family;
  action.ipProto = ipProto;
  const nat = new NatParser(action, conntrack.crossZoneNat);
  const attributes = reader.nested();
  while (attributes.next()) {
    const { type, length } = attributes;
    if (type > OVS_CT_ATTR_MAX) throw new Errno(EINVAL);
    const [shortest, longest] = CT_LENGTHS[type];
    if (length < shortest || length > longest) throw new Errno(EINVAL);
    switch (type) {
      case OVS_CT_ATTR_FORCE_COMMIT:
        action.force = true;
        action.commit = true;
        break;
      case OVS_CT_ATTR_COMMIT:
        action.commit = true;
        break;
      case OVS_CT_ATTR_ZONE:
        action.zone = attributes.u16();
        break;
      case OVS_CT_ATTR_MARK:
        action.mark = attributes.s32();
        action.markMask = attributes.view.getInt32(attributes.offset + 4, true);
        if (action.markMask === 0) throw new Errno(EINVAL);
        action.hasMark = true;
        break;
      case OVS_CT_ATTR_LABELS:
        readWords(attributes.view, attributes.offset, 4, action.labels);
        readWords(attributes.view, attributes.offset + 16, 4, action.labelsMask);
        if (!action.labelsMask.some((word) => word !== 0)) throw new Errno(EINVAL);
        action.hasLabels = true;
        break;
      case OVS_CT_ATTR_HELPER:
        action.helper = terminated(attributes);
        break;
      case OVS_CT_ATTR_TIMEOUT:
        action.timeout = terminated(attributes);
        break;
      case OVS_CT_ATTR_EVENTMASK:
        action.hasEventmask = true;
        action.eventmask = attributes.u32();
        break;
      case OVS_CT_ATTR_NAT:
        nat.parse(attributes);
        break;
      default:
        throw new Errno(EINVAL);
    }
  }
  if (!action.commit && (action.hasMark || action.hasLabels)) throw new Errno(EINVAL);
  if (attributes.rest > 0) throw new Errno(EINVAL);
  nat.finish();
  // An empty name is no name (spec/conntrack C-032 speaks of names that are there).
  if (action.timeout === "") action.timeout = undefined;
  if (action.helper !== undefined) {
    const error = conntrack.checkHelper(action.helper, family, ipProto, action.nat !== undefined);
    if (error !== 0) throw new Errno(-error);
  }
  return action;
}

/** NAT nests of one ct action: a second one adds to the first (spec/conntrack C-024). */
class NatParser {
  /** Some flag of a range was given. */
  private ranged = false;
  /** NOKMOD_NAT_ATTR_SRC_ZONE, -1 = absent. */
  private srcZone = -1;

  constructor(
    private readonly action: CtAction,
    private readonly crossZone: boolean,
  ) {}

  parse(reader: AttributeReader): void {
    const { action } = this;
    const wide = action.family === AF_INET6;
    const seenBefore = action.nat !== undefined;
    const nat = action.nat ?? new NatAction();
    let typed = seenBefore;
    let hasIpMax = false;
    let hasProtoMax = false;
    const attributes = reader.nested();
    while (attributes.next()) {
      const { type, length } = attributes;
      if (type > OVS_NAT_ATTR_MAX) {
        this.extension(attributes, nat);
        continue;
      }
      const address = type === OVS_NAT_ATTR_IP_MIN || type === OVS_NAT_ATTR_IP_MAX;
      if (length !== (address ? (wide ? 16 : 4) : NAT_LENGTHS[type])) throw new Errno(EINVAL);
      switch (type) {
        case OVS_NAT_ATTR_SRC:
        case OVS_NAT_ATTR_DST:
          if (typed) throw new Errno(ERANGE);
          typed = true;
          nat.type = type === OVS_NAT_ATTR_SRC ? 1 : 2;
          break;
        case OVS_NAT_ATTR_IP_MIN:
          nat.hasIp = true;
          readWords(attributes.view, attributes.offset, length >> 2, nat.ipMin);
          break;
        case OVS_NAT_ATTR_IP_MAX:
          nat.hasIp = true;
          hasIpMax = true;
          readWords(attributes.view, attributes.offset, length >> 2, nat.ipMax);
          break;
        case OVS_NAT_ATTR_PROTO_MIN:
          nat.hasProto = true;
          nat.protoMin = attributes.u16();
          break;
        case OVS_NAT_ATTR_PROTO_MAX:
          nat.hasProto = true;
          hasProtoMax = true;
          nat.protoMax = attributes.u16();
          break;
        case OVS_NAT_ATTR_PERSISTENT:
          nat.persistent = true;
          break;
        case OVS_NAT_ATTR_PROTO_HASH:
          nat.protoHash = true;
          break;
        case OVS_NAT_ATTR_PROTO_RANDOM:
          nat.protoRandom = true;
          break;
        default:
          throw new Errno(EINVAL);
      }
      this.ranged ||= type !== OVS_NAT_ATTR_SRC && type !== OVS_NAT_ATTR_DST;
    }
    if (attributes.rest > 0) throw new Errno(EINVAL);
    // Bare: existing connections only. Else COMMIT must have been seen by now (spec/conntrack C-039, C-040).
    if (typed ? !action.commit : this.ranged) throw new Errno(EINVAL);
    if (nat.hasIp && !hasIpMax) nat.ipMax.set(nat.ipMin);
    if (nat.hasProto && !hasProtoMax) nat.protoMax = nat.protoMin;
    action.nat = nat;
  }

  /** nokmod's own attributes. */
  private extension(attribute: AttributeReader, nat: NatAction): void {
    const { type, length } = attribute;
    if (!this.crossZone || length !== EXTENSION_LENGTHS[type]) throw new Errno(EINVAL);
    if (type === NOKMOD_NAT_ATTR_SRC_ZONE) this.srcZone = attribute.u16();
    else if (type === NOKMOD_NAT_ATTR_DST_ZONE) nat.replyZone = attribute.u16();
    else nat.reverse = true;
  }

  /** Checks the zones against the whole action, once all of it has been read. @throws Errno EINVAL */
  finish(): void {
    const { nat, zone, commit } = this.action;
    if (nat === undefined) return;
    const crosses = nat.replyZone >= 0;
    if (crosses !== this.srcZone >= 0) throw new Errno(EINVAL);
    if (crosses && (nat.type === 0 || this.srcZone !== zone)) throw new Errno(EINVAL);
    if (nat.reverse && (nat.type !== 0 || commit)) throw new Errno(EINVAL);
  }
}

/** The string of the attribute the reader stands on, which must contain a NUL (spec/conntrack C-017). */
function terminated(reader: AttributeReader): string {
  const bytes = reader.bytes();
  if (!bytes.includes(0)) throw new Errno(EINVAL);
  return reader.string();
}

function readWords(view: DataView, offset: number, count: number, into: Int32Array): void {
  for (let i = 0; i < count; i++) into[i] = view.getInt32(offset + 4 * i);
}

function putWords(writer: MessageWriter, type: number, words: Int32Array, count: number): void {
  const at = writer.attr(type, count * 4);
  for (let i = 0; i < count; i++) writer.view.setInt32(at + 4 * i, words[i]);
}

/** Writes the contents of OVS_ACTION_ATTR_CT in the kernel's order (spec/conntrack C-031, C-051). */
export function putCt(writer: MessageWriter, action: CtAction): void {
  if (action.commit) writer.flag(action.force ? OVS_CT_ATTR_FORCE_COMMIT : OVS_CT_ATTR_COMMIT);
  writer.u16(OVS_CT_ATTR_ZONE, action.zone);
  if (action.hasMark) {
    const at = writer.attr(OVS_CT_ATTR_MARK, 8);
    writer.view.setInt32(at, action.mark, true);
    writer.view.setInt32(at + 4, action.markMask, true);
  }
  if (action.hasLabels) {
    const at = writer.attr(OVS_CT_ATTR_LABELS, 32);
    for (let i = 0; i < 4; i++) {
      writer.view.setInt32(at + 4 * i, action.labels[i]);
      writer.view.setInt32(at + 16 + 4 * i, action.labelsMask[i]);
    }
  }
  if (action.helper !== undefined) writer.string(OVS_CT_ATTR_HELPER, action.helper);
  if (action.hasEventmask) writer.u32(OVS_CT_ATTR_EVENTMASK, action.eventmask);
  if (action.timeout !== undefined) writer.string(OVS_CT_ATTR_TIMEOUT, action.timeout);
  if (action.nat !== undefined) {
    const nest = writer.nest(OVS_CT_ATTR_NAT);
    putNat(writer, { nat: action.nat, zone: action.zone }, action.family === AF_INET6 ? 4 : 1);
    writer.endNest(nest);
  }
}

function putNat(writer: MessageWriter, { nat, zone }: { nat: NatAction; zone: number }, addressWords: number): void {
  if (nat.reverse) writer.flag(NOKMOD_NAT_ATTR_REVERSE);
  if (nat.type === 0) return;
  writer.flag(nat.type === 1 ? OVS_NAT_ATTR_SRC : OVS_NAT_ATTR_DST);
  if (nat.hasIp) {
    putWords(writer, OVS_NAT_ATTR_IP_MIN, nat.ipMin, addressWords);
    if (nat.ipMax.some((word, i) => word !== nat.ipMin[i]))
      putWords(writer, OVS_NAT_ATTR_IP_MAX, nat.ipMax, addressWords);
  }
  if (nat.hasProto) {
    writer.u16(OVS_NAT_ATTR_PROTO_MIN, nat.protoMin);
    if (nat.protoMax !== nat.protoMin) writer.u16(OVS_NAT_ATTR_PROTO_MAX, nat.protoMax);
  }
  if (nat.persistent) writer.flag(OVS_NAT_ATTR_PERSISTENT);
  if (nat.protoHash) writer.flag(OVS_NAT_ATTR_PROTO_HASH);
  if (nat.protoRandom) writer.flag(OVS_NAT_ATTR_PROTO_RANDOM);
  if (nat.replyZone >= 0) {
    writer.u16(NOKMOD_NAT_ATTR_SRC_ZONE, zone);
    writer.u16(NOKMOD_NAT_ATTR_DST_ZONE, nat.replyZone);
  }
}
