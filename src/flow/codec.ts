/** The flow key as netlink attributes (spec/keys), for other folders: lengths, parsing and output. */
export { KEY_LENGTHS, NSH_KEY_LENGTHS } from "./attrs.ts";
export { parseKey, parseMatch } from "./parse/match.ts";
export { extractUserspace, parseMetadata } from "./parse/packet-key.ts";
export { putKey, putMask } from "./put.ts";
export { parseTunnel, putTunnel } from "./tunnel.ts";
