import { ETH_P_IP, ETH_P_IPV6 } from "../../packet/ethernet.ts";
import { K } from "../key.ts";
import { MaskField, MaskRange } from "../mask-range.ts";
import { type FlowAttributes, scratchSet } from "./attribute-set.ts";
import { exactMask } from "./exact-mask.ts";
import { parseFields } from "./fields.ts";
import { validateAttrs } from "./validate.ts";
import { descendKey, descendMask } from "./vlan.ts";

/**
 * Parses a flow's KEY and MASK (ovs_nla_get_match; spec/keys sections 2, 3, 4, 6, 13, 14). Both arrays are cleared
 * first. The key is not masked.
 * @param maskStart position of the content of MASK, or -1 without MASK attribute: every field given is matched exactly
 * @returns the byte range that the mask covers, as an opaque number: two masks are the same mask only if words and
 * range are (K-074)
 * @throws Errno EINVAL
 */
export function parseMatch(
  view: DataView,
  keyStart: number,
  keyEnd: number,
  maskStart: number,
  maskEnd: number,
  key: Int32Array,
  mask: Int32Array,
): number {
  key.fill(0);
  mask.fill(0);
  const set = scratchSet.reset(view);
  const keyAttrs = readKey(set, keyStart, keyEnd, key);

  const range = new MaskRange();
  let start = maskStart;
  let end = maskEnd;
  if (start < 0) {
    set.view = exactMask(view, keyStart, keyEnd);
    start = 0;
    end = keyEnd - keyStart;
    if (key[K.TUN_PROTO] !== 0) {
      // Tunnel fields that were not given are zero and are matched as such.
      mask.fill(-1, K.TUN_ID, K.TUN_OPTS);
      range.addTunnel();
    }
  }
  set.present = 0;
  set.read(start, end, true);
  mask[K.VLAN] = 0xffff0000;
  mask[K.CVLAN] = 0xffff0000;
  range.add(MaskField.VLAN + 2, 2);
  range.add(MaskField.CVLAN + 2, 2);
  if (descendMask(set, key, mask, false, range) && key[K.VLAN] >>> 16 !== 0) descendMask(set, key, mask, true, range);
  const maskAttrs = set.present;
  parseFields(set, mask, key, range);
  validateAttrs(key, keyAttrs, mask, maskAttrs);
  return range.value;
}

/**
 * Parses the KEY of a request that names a flow by it (GET, DEL): the key alone, unmasked.
 * @throws Errno EINVAL
 */
export function parseKey(view: DataView, start: number, end: number, key: Int32Array): void {
  key.fill(0);
  const set = scratchSet.reset(view);
  validateAttrs(key, readKey(set, start, end, key), undefined, 0);
}

/** Reads a KEY with its VLAN levels; returns the set of attributes behind the tags. */
function readKey(set: FlowAttributes, start: number, end: number, key: Int32Array): number {
  set.read(start, end, false);
  if (descendKey(set, key, K.VLAN) && key[K.VLAN] >>> 16 !== 0) descendKey(set, key, K.CVLAN);
  const attrs = set.present;
  parseFields(set, key, undefined, undefined);
  if (set.origPorts !== 0) {
    // A tuple of the other family still gives its ports and protocol, which have a place of their own in the module.
    const type = key[K.ETH_TYPE] >>> 16;
    if (type === ETH_P_IP) key[K.CT_ORIG4_TP] = set.origPorts;
    else if (type === ETH_P_IPV6) key[K.CT_ORIG6_TP] = set.origPorts;
  }
  return attrs;
}
