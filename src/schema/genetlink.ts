import {
  attributeSet,
  list,
  markedNested,
  nested,
  nulString,
  numberedList,
  u16,
  u32,
  u64,
} from "../netlink/schema/index.ts";
import * as nl from "../uapi/genetlink.ts";
import * as policy from "../uapi/netlink.ts";

/** One operation in CTRL_ATTR_OPS. */
export const ctrlOp = attributeSet("op", { ID: u32(nl.CTRL_ATTR_OP_ID), FLAGS: u32(nl.CTRL_ATTR_OP_FLAGS) });

/** One group in CTRL_ATTR_MCAST_GROUPS. */
export const ctrlGroup = attributeSet("mcast-group", {
  ID: u32(nl.CTRL_ATTR_MCAST_GRP_ID),
  NAME: nulString(nl.CTRL_ATTR_MCAST_GRP_NAME),
});

/** A rule in CTRL_ATTR_POLICY, or in NLMSGERR_ATTR_POLICY. */
export const policyRule = attributeSet("policy", {
  TYPE: u32(policy.NL_POLICY_TYPE_ATTR_TYPE),
  MIN_VALUE_S: u64(policy.NL_POLICY_TYPE_ATTR_MIN_VALUE_S),
  MAX_VALUE_S: u64(policy.NL_POLICY_TYPE_ATTR_MAX_VALUE_S),
  MIN_VALUE_U: u64(policy.NL_POLICY_TYPE_ATTR_MIN_VALUE_U),
  MAX_VALUE_U: u64(policy.NL_POLICY_TYPE_ATTR_MAX_VALUE_U),
  MIN_LENGTH: u32(policy.NL_POLICY_TYPE_ATTR_MIN_LENGTH),
  MAX_LENGTH: u32(policy.NL_POLICY_TYPE_ATTR_MAX_LENGTH),
  POLICY_IDX: u32(policy.NL_POLICY_TYPE_ATTR_POLICY_IDX),
  POLICY_MAXTYPE: u32(policy.NL_POLICY_TYPE_ATTR_POLICY_MAXTYPE),
});

/** One operation in CTRL_ATTR_OP_POLICY: the index of the policy that each of its handlers checks by. */
export const operationPolicy = attributeSet("op-policy", {
  DO: u32(nl.CTRL_ATTR_POLICY_DO),
  DUMP: u32(nl.CTRL_ATTR_POLICY_DUMP),
});

/** The generic-netlink controller, as it answers. */
export const nlctrl = attributeSet("nlctrl", {
  FAMILY_ID: u16(nl.CTRL_ATTR_FAMILY_ID),
  FAMILY_NAME: nulString(nl.CTRL_ATTR_FAMILY_NAME, nl.GENL_NAMSIZ - 1),
  VERSION: u32(nl.CTRL_ATTR_VERSION),
  HDRSIZE: u32(nl.CTRL_ATTR_HDRSIZE),
  MAXATTR: u32(nl.CTRL_ATTR_MAXATTR),
  OPS: list(
    nl.CTRL_ATTR_OPS,
    nested(0, () => ctrlOp),
    1,
  ),
  MCAST_GROUPS: list(
    nl.CTRL_ATTR_MCAST_GROUPS,
    nested(0, () => ctrlGroup),
    1,
  ),
  /** Rules by index of the policy and number of the attribute. */
  POLICY: markedNested(
    numberedList(
      nl.CTRL_ATTR_POLICY,
      numberedList(
        0,
        nested(0, () => policyRule),
      ),
    ),
  ),
  /** Policies by command. */
  OP_POLICY: markedNested(
    numberedList(
      nl.CTRL_ATTR_OP_POLICY,
      nested(0, () => operationPolicy),
    ),
  ),
  OP: u32(nl.CTRL_ATTR_OP),
});

/** What GETFAMILY checks. */
export const getFamily = attributeSet("nlctrl", {
  FAMILY_ID: u16(nl.CTRL_ATTR_FAMILY_ID),
  FAMILY_NAME: nulString(nl.CTRL_ATTR_FAMILY_NAME, nl.GENL_NAMSIZ - 1),
});

/** What GETPOLICY checks. */
export const getPolicy = attributeSet("nlctrl", {
  FAMILY_ID: u16(nl.CTRL_ATTR_FAMILY_ID),
  FAMILY_NAME: nulString(nl.CTRL_ATTR_FAMILY_NAME, nl.GENL_NAMSIZ - 1),
  OP: u32(nl.CTRL_ATTR_OP),
});

/** TLVs of NLMSG_ERROR and NLMSG_DONE. */
export const extendedAck = attributeSet("nlmsgerr", {
  MSG: nulString(policy.NLMSGERR_ATTR_MSG),
  OFFS: u32(policy.NLMSGERR_ATTR_OFFS),
  POLICY: nested(policy.NLMSGERR_ATTR_POLICY, () => policyRule),
  MISS_TYPE: u32(policy.NLMSGERR_ATTR_MISS_TYPE),
  MISS_NEST: u32(policy.NLMSGERR_ATTR_MISS_NEST),
});
