import { Errno } from "../../core/errors.ts";
import { AttributeReader } from "../../netlink/reader.ts";
import { payloadLengthOk } from "../../schema/lengths.ts";
import { EINVAL } from "../../uapi/errno.ts";
import { OVS_KEY_ATTR_UNSPEC } from "../../uapi/openvswitch.ts";
import { KEY_LENGTHS } from "../attrs.ts";

/** Makes the error of a malformed key or mask. */
export const invalid = (): Errno => new Errno(EINVAL);

/** Attribute sets are bit masks by number; IPV6_EXTHDRS (32) takes bit 0, for UNSPEC never gets into a set. */
export const attrBit = (type: number): number => 1 << (type & 31);

/**
 * The attributes of one key or mask: which there are and where. Positions of a level stay when the next level is read,
 * as the module leaves them.
 */
export class FlowAttributes {
  present = 0;
  private readonly at = new Int32Array(KEY_LENGTHS.length);
  private readonly size = new Int32Array(KEY_LENGTHS.length);
  /** UNSPEC, which has no bit, was among them: never an error in EXECUTE, always one in a flow's key. */
  unspec = false;
  /** Ports of the original tuple, sport << 16 | dport: one field for both families. */
  origPorts = 0;
  /** Attributes seen at all, in this key or mask or the one before. */
  private seen = 0;

  constructor(public view: DataView) {}

  /** For another message. */
  reset(view: DataView): this {
    this.view = view;
    this.present = 0;
    this.at.fill(0);
    this.size.fill(0);
    this.unspec = false;
    this.origPorts = 0;
    this.seen = 0;
    return this;
  }

  has(type: number): boolean {
    return (this.present & attrBit(type)) !== 0;
  }
  /** Takes an attribute out of the set; false when it is not in it. */
  take(type: number): boolean {
    if (!this.has(type)) return false;
    this.present &= ~attrBit(type);
    return true;
  }
  offset(type: number): number {
    return this.at[type];
  }
  length(type: number): number {
    return this.size[type];
  }
  u32(type: number): number {
    return this.view.getInt32(this.at[type], true);
  }
  u16(type: number): number {
    return this.view.getUint16(this.at[type], true);
  }
  be16(type: number): number {
    return this.view.getUint16(this.at[type]);
  }
  /** As be16(), 0 when no level had this attribute. */
  lastBe16(type: number): number {
    return (this.seen & attrBit(type)) === 0 ? 0 : this.be16(type);
  }

  /**
   * Adds the attributes of one level (spec/keys K-034 to K-042).
   * @param isMask attributes of nothing but zeros count as absent
   */
  read(start: number, end: number, isMask: boolean): void {
    const reader = new AttributeReader(this.view, start, end);
    while (reader.next()) {
      const { type, offset, length } = reader;
      if (!payloadLengthOk(KEY_LENGTHS, type, length)) throw invalid();
      if (type === OVS_KEY_ATTR_UNSPEC) {
        if (!isMask && this.unspec) throw invalid();
        this.unspec = !isMask;
        continue;
      }
      if (this.has(type)) throw invalid();
      if (isMask && isZero(this.view, offset, length)) continue;
      this.present |= attrBit(type);
      this.seen |= attrBit(type);
      this.at[type] = offset;
      this.size[type] = length;
    }
    if (reader.rest > 0) throw invalid();
  }
}

/** One message is parsed at a time. */
export const scratchSet = new FlowAttributes(new DataView(new ArrayBuffer(0)));

function isZero(view: DataView, offset: number, length: number): boolean {
  for (let i = 0; i < length; i++) if (view.getUint8(offset + i) !== 0) return false;
  return true;
}

/** Copies `count` big-endian words of an attribute. */
export function loadWords(
  set: FlowAttributes,
  type: number,
  words: Int32Array,
  to: number,
  count: number,
  from = 0,
): void {
  const at = set.offset(type) + from;
  for (let i = 0; i < count; i++) words[to + i] = set.view.getInt32(at + 4 * i);
}
