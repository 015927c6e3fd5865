import { isVlan } from "../../packet/ethernet.ts";
import {
  OVS_KEY_ATTR_ENCAP,
  OVS_KEY_ATTR_ETHERNET,
  OVS_KEY_ATTR_ETHERTYPE,
  OVS_KEY_ATTR_VLAN,
} from "../../uapi/openvswitch.ts";
import { K } from "../key.ts";
import { MaskField, type MaskRange } from "../mask-range.ts";
import { attrBit, type FlowAttributes, invalid } from "./attribute-set.ts";

/** Of a TCI in an attribute: there is a tag. */
const VLAN_PRESENT = 0x1000;

/**
 * Takes the tag of this level out of the set and reads the level behind it (spec/keys K-112 to K-117).
 * @param word K.VLAN or K.CVLAN
 * @returns false when there is no tag
 */
export function descendKey(set: FlowAttributes, key: Int32Array, word: number): boolean {
  if (!set.has(OVS_KEY_ATTR_ETHERNET) || !set.has(OVS_KEY_ATTR_ETHERTYPE)) return false;
  const tpid = set.be16(OVS_KEY_ATTR_ETHERTYPE);
  if (!isVlan(tpid)) return false;
  if (!set.has(OVS_KEY_ATTR_VLAN) || !set.has(OVS_KEY_ATTR_ENCAP)) throw invalid();
  const tci = set.be16(OVS_KEY_ATTR_VLAN);
  // A TCI of 0 with nothing behind it is a tag cut short.
  if ((tci & VLAN_PRESENT) === 0 && (tci !== 0 || set.length(OVS_KEY_ATTR_ENCAP) !== 0)) throw invalid();
  key[word] = (tci << 16) | tpid;
  descend(set, false);
  return true;
}

/** The same for a mask (spec/keys K-118 to K-121). */
export function descendMask(
  set: FlowAttributes,
  key: Int32Array,
  mask: Int32Array,
  inner: boolean,
  range: MaskRange,
): boolean {
  if (!set.has(OVS_KEY_ATTR_ENCAP)) return false;
  const word = inner ? K.CVLAN : K.VLAN;
  if (((key[word] >>> 16) & VLAN_PRESENT) === 0) throw invalid();
  const tci = set.lastBe16(OVS_KEY_ATTR_VLAN);
  const tpid = set.lastBe16(OVS_KEY_ATTR_ETHERTYPE);
  if (tpid !== 0xffff || (tci & VLAN_PRESENT) === 0) throw invalid();
  mask[word] = (tci << 16) | tpid;
  range.add(inner ? MaskField.CVLAN : MaskField.VLAN, 4);
  descend(set, true);
  return true;
}

function descend(set: FlowAttributes, isMask: boolean): void {
  set.present &= ~(attrBit(OVS_KEY_ATTR_ENCAP) | attrBit(OVS_KEY_ATTR_VLAN) | attrBit(OVS_KEY_ATTR_ETHERTYPE));
  const start = set.offset(OVS_KEY_ATTR_ENCAP);
  set.read(start, start + set.length(OVS_KEY_ATTR_ENCAP), isMask);
}
