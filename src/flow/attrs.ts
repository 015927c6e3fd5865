import { type PayloadLengths, payloadLengths } from "../schema/lengths.ts";
import { keyAttributes, nshAttributes, tunnelKeyAttributes, vxlanKeyExtension } from "../schema/openvswitch.ts";
import { OVS_KEY_ATTR_UNSPEC } from "../uapi/openvswitch.ts";

/** Payload lengths of the flow key's attributes, from the tables in src/schema. */

/**
 * OVS_KEY_ATTR_* (spec/keys section 1). UNSPEC has length 0 (K-001); what only user space knows is refused (K-030 to
 * K-032).
 */
export const KEY_LENGTHS: PayloadLengths = payloadLengths(keyAttributes).map((length, type) =>
  type === OVS_KEY_ATTR_UNSPEC ? 0 : length,
);

/** OVS_TUNNEL_KEY_ATTR_* (spec/keys section 14). */
export const TUNNEL_KEY_LENGTHS: PayloadLengths = payloadLengths(tunnelKeyAttributes);

/** OVS_VXLAN_EXT_* inside OVS_TUNNEL_KEY_ATTR_VXLAN_OPTS. */
export const VXLAN_EXT_LENGTHS: PayloadLengths = payloadLengths(vxlanKeyExtension);

/** OVS_NSH_KEY_ATTR_* (spec/keys K-029). */
export const NSH_KEY_LENGTHS: PayloadLengths = payloadLengths(nshAttributes);
