export { NetlinkServer, type NetlinkServerOptions } from "./netlink-server.ts";
