export type { Peer } from "./channel.ts";
export { NetlinkServer, type NetlinkServerOptions, type NetlinkServerStats } from "./netlink-server.ts";
