/** The attributes of the NET_DM family (linux/net_dropmon.h). */
import {
  attributeSet,
  binary,
  checkedAs,
  countedStructs,
  flag,
  nested,
  nulString,
  Rule,
  replyOnly,
  u8,
  u16,
  u32,
  u64,
} from "../netlink/schema/index.ts";
import * as uapi from "../uapi/net_dropmon.ts";

const port = attributeSet("net_dm_port", { NETDEV_IFINDEX: u32(uapi.NET_DM_ATTR_PORT_NETDEV_IFINDEX) });
const stats = attributeSet("net_dm_stats", { DROPPED: u64(uapi.NET_DM_ATTR_STATS_DROPPED) });

/** TIMESTAMP is in ns, PC an address: as numbers they are not exact. */
export const dropMonitorAttributes = attributeSet("net_dm", {
  /** struct net_dm_alert_msg. Each point is a program counter, its lower half first, and a count. */
  UNSPEC: countedStructs(uapi.NET_DM_ATTR_UNSPEC, { pcLow: "u32", pcHigh: "u32", count: "u32" }),
  ALERT_MODE: u8(uapi.NET_DM_ATTR_ALERT_MODE),
  PC: replyOnly(u64(uapi.NET_DM_ATTR_PC)),
  SYMBOL: replyOnly(nulString(uapi.NET_DM_ATTR_SYMBOL)),
  IN_PORT: checkedAs(
    nested(uapi.NET_DM_ATTR_IN_PORT, () => port),
    Rule.UNSPEC,
  ),
  TIMESTAMP: replyOnly(u64(uapi.NET_DM_ATTR_TIMESTAMP)),
  PROTO: replyOnly(u16(uapi.NET_DM_ATTR_PROTO)),
  PAYLOAD: binary(uapi.NET_DM_ATTR_PAYLOAD),
  TRUNC_LEN: u32(uapi.NET_DM_ATTR_TRUNC_LEN),
  ORIG_LEN: replyOnly(u32(uapi.NET_DM_ATTR_ORIG_LEN)),
  QUEUE_LEN: u32(uapi.NET_DM_ATTR_QUEUE_LEN),
  STATS: checkedAs(
    nested(uapi.NET_DM_ATTR_STATS, () => stats),
    Rule.UNSPEC,
  ),
  HW_STATS: checkedAs(
    nested(uapi.NET_DM_ATTR_HW_STATS, () => stats),
    Rule.UNSPEC,
  ),
  ORIGIN: replyOnly(u16(uapi.NET_DM_ATTR_ORIGIN)),
  SW_DROPS: flag(uapi.NET_DM_ATTR_SW_DROPS),
  HW_DROPS: flag(uapi.NET_DM_ATTR_HW_DROPS),
  REASON: replyOnly(nulString(uapi.NET_DM_ATTR_REASON)),
});
