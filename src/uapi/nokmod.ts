/**
 * Attributes that no kernel has: nokmod's extensions, refused unless they are switched on. Numbers are far above those of
 * the kernel's headers.
 */

/** Nested in OVS_CT_ATTR_NAT: u16, the zone of the original tuple of a new connection, which must be that of the action. */
export const NOKMOD_NAT_ATTR_SRC_ZONE = 64;
/** u16: the zone of its reply tuple. Together with SRC_ZONE, and with OVS_NAT_ATTR_SRC or _DST. */
export const NOKMOD_NAT_ATTR_DST_ZONE = 65;
/** Flag: translates answers back, whose connection may have begun in another zone. Alone, without commit. */
export const NOKMOD_NAT_ATTR_REVERSE = 66;
