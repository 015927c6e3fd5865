/**
 * The flow key as netlink attributes (spec/keys): parsing in key-parse.ts and key-tunnel.ts, output in key-put.ts, the
 * attribute tables in key-attrs.ts. This is the door.
 */
export {
  AttrLength,
  type AttrLengths,
  attrLengthOk,
  KEY_LENGTHS,
  NSH_KEY_LENGTHS,
  TUNNEL_KEY_LENGTHS,
} from "./key-attrs.ts";
export { extractUserspace, MetadataKey, parseKey, parseMatch, parseMetadata } from "./key-parse.ts";
export { putKey, putMask } from "./key-put.ts";
export { nshFromAttributes, parseTunnel, putTunnel } from "./key-tunnel.ts";
