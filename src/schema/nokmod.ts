/** Attributes that no kernel has (src/uapi/nokmod.ts). */
import { attributeSet, flag, u16 } from "../netlink/schema/index.ts";
import * as nokmod from "../uapi/nokmod.ts";

/** NOKMOD_NAT_ATTR_*, in OVS_CT_ATTR_NAT beside OVS_NAT_ATTR_*. */
export const natExtensionAttributes = attributeSet("nokmod_nat", {
  SRC_ZONE: u16(nokmod.NOKMOD_NAT_ATTR_SRC_ZONE),
  DST_ZONE: u16(nokmod.NOKMOD_NAT_ATTR_DST_ZONE),
  REVERSE: flag(nokmod.NOKMOD_NAT_ATTR_REVERSE),
});
