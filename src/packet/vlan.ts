/**
 * 802.1Q and 802.1ad tags as they stand in a frame: behind the two addresses, before the type.
 *
 * ```
 *  0         2                   4
 * +---------+---------------------+
 * | tpid    | pcp 3  dei 1 vid 12 |
 * +---------+---------------------+
 * ```
 * Read from the position behind the tpid, a tag is its control information followed by the next ethertype.
 */
export const TAG_LEN = 4;
/** Drop eligible; in netlink attributes this bit says "tag present" (spec/keys section 6). */
export const DEI = 0x1000;
