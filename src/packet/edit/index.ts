/**
 * The changes that actions make to a packet (spec/actions sections 8 and 9), with the checksums that follow from them.
 *
 * The functions that push, pop, trim or check return 0 or a negative errno, and make the packet writable by themselves.
 * The set* functions write in place: call ensureWritable first. They leave skb hash, conntrack reference and flow key
 * to the caller, and say whether something changed, which decides about these.
 */

export * from "./ethernet.ts";
export * from "./ipv4.ts";
export * from "./ipv6.ts";
export * from "./mpls.ts";
export * from "./nsh.ts";
export * from "./transport.ts";
export * from "./trim.ts";
export * from "./ttl.ts";
export * from "./vlan.ts";
export * from "./writable.ts";
