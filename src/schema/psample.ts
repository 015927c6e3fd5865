import { attributeSet, binary, flag, nested, since, u16, u32, u64 } from "../netlink/schema/index.ts";
import * as uapi from "../uapi/psample.ts";
import { kernelVersion } from "../uapi/version.ts";
import { tunnelKeyAttributes } from "./openvswitch.ts";

/** What psample sends (linux/psample.h; spec/actions A-245). TIMESTAMP is in ns: as a number it is not exact. */
export const psampleMessage = attributeSet("psample", {
  IIFINDEX: u16(uapi.PSAMPLE_ATTR_IIFINDEX),
  OIFINDEX: u16(uapi.PSAMPLE_ATTR_OIFINDEX),
  ORIGSIZE: u32(uapi.PSAMPLE_ATTR_ORIGSIZE),
  SAMPLE_GROUP: u32(uapi.PSAMPLE_ATTR_SAMPLE_GROUP),
  GROUP_SEQ: u32(uapi.PSAMPLE_ATTR_GROUP_SEQ),
  SAMPLE_RATE: u32(uapi.PSAMPLE_ATTR_SAMPLE_RATE),
  DATA: binary(uapi.PSAMPLE_ATTR_DATA),
  GROUP_REFCOUNT: u32(uapi.PSAMPLE_ATTR_GROUP_REFCOUNT),
  TIMESTAMP: u64(uapi.PSAMPLE_ATTR_TIMESTAMP),
  PROTO: u16(uapi.PSAMPLE_ATTR_PROTO),
  TUNNEL: nested(uapi.PSAMPLE_ATTR_TUNNEL, () => tunnelKeyAttributes),
  USER_COOKIE: since(kernelVersion(6, 11), binary(uapi.PSAMPLE_ATTR_USER_COOKIE)),
  SAMPLE_PROBABILITY: since(kernelVersion(6, 11), flag(uapi.PSAMPLE_ATTR_SAMPLE_PROBABILITY)),
});
