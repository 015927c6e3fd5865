import { Errno } from "../../core/errors.ts";
import { ProgramCache } from "../../datapath/actions/cache.ts";
import type { ValidationContext } from "../../datapath/actions/draft.ts";
import type { Program } from "../../datapath/actions/program.ts";
import type { FlowTable } from "../../datapath/flow-table.ts";
import { type Ufid, ufidOf } from "../../datapath/ufid-index.ts";
import { parseKey, parseMatch } from "../../flow/codec.ts";
import { K, newKey, sameKey } from "../../flow/key.ts";
import type { AttributeTable } from "../../netlink/schema/index.ts";
import { ENOENT } from "../../uapi/errno.ts";
import * as ovs from "../../uapi/openvswitch.ts";

const MAX_UFID_LENGTH = 16;

/**
 * The flow that a request of ovs_flow names: its key, its mask and its actions. One object serves all requests of a family,
 * one after the other.
 */
export class FlowMatch {
  readonly key = newKey();
  readonly mask = newKey();
  private readonly maskedKey = newKey();
  private readonly programs: ProgramCache;

  constructor(context: ValidationContext) {
    this.programs = new ProgramCache(context);
  }

  /** Parses KEY and MASK into `key` and `mask`. @returns the range of the mask (parseMatch) @throws Errno EINVAL */
  parse(attrs: AttributeTable): number {
    const hasMask = attrs.has(ovs.OVS_FLOW_ATTR_MASK);
    return parseMatch(
      attrs.view,
      attrs.offset[ovs.OVS_FLOW_ATTR_KEY],
      attrs.end(ovs.OVS_FLOW_ATTR_KEY),
      hasMask ? attrs.offset[ovs.OVS_FLOW_ATTR_MASK] : -1,
      hasMask ? attrs.end(ovs.OVS_FLOW_ATTR_MASK) : -1,
      this.key,
      this.mask,
    );
  }

  /** Parses KEY alone: GET and DEL look at no mask (spec/families F-248). @throws Errno EINVAL */
  parseKey(attrs: AttributeTable): void {
    parseKey(attrs.view, attrs.offset[ovs.OVS_FLOW_ATTR_KEY], attrs.end(ovs.OVS_FLOW_ATTR_KEY), this.key);
  }

  /** Actions are validated against the masked key (spec/families F-220). Precondition: parse(). @throws Errno */
  parseActions(attrs: AttributeTable): Program {
    const { key, mask, maskedKey } = this;
    for (let i = 0; i < K.WORDS; i++) maskedKey[i] = key[i] & mask[i];
    return this.programs.compile(
      attrs.view,
      attrs.offset[ovs.OVS_FLOW_ATTR_ACTIONS],
      attrs.end(ovs.OVS_FLOW_ATTR_ACTIONS),
      maskedKey,
    );
  }

  /** By UFID, else by the whole unmasked key among key-identified flows (spec/families F-238). @throws Errno ENOENT */
  find(flows: FlowTable, ufid: Ufid | undefined): number {
    const flow = ufid !== undefined ? flows.findUfid(ufid) : flows.findExact(this.key);
    if (flow < 0) throw new Errno(ENOENT);
    return flow;
  }

  /** Whether the key names the flow that it hit (spec/families F-223, F-224, F-226). Overwrites the masked key. */
  names(flows: FlowTable, flow: number): boolean {
    const own = flows.unmaskedKey(flow);
    if (own !== undefined) return sameKey(own, this.key);
    flows.readMaskedKey(flow, this.maskedKey);
    return sameKey(this.maskedKey, this.key);
  }
}

/** The UFID of a request; a UFID of more than 16 bytes counts as absent (spec/families F-215). */
export function ufidIn(attrs: AttributeTable): Ufid | undefined {
  if (!attrs.has(ovs.OVS_FLOW_ATTR_UFID) || attrs.length[ovs.OVS_FLOW_ATTR_UFID] > MAX_UFID_LENGTH) return undefined;
  return ufidOf(attrs.bytes(ovs.OVS_FLOW_ATTR_UFID));
}
