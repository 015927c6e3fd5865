export { NetlinkServer, type NetlinkServerOptions, type NetlinkServerStats, type Peer } from "./seqpacket-server.ts";
