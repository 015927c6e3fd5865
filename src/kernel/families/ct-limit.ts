import type { ZoneLimits } from "../../conntrack/zone-limits.ts";
import { Errno } from "../../core/errors.ts";
import type { AttributeTable } from "../../netlink/schema/index.ts";
import type { MessageWriter } from "../../netlink/writer.ts";
import { ctLimitAttributes } from "../../schema/openvswitch.ts";
import { EINVAL, EMSGSIZE } from "../../uapi/errno.ts";
import { GENL_UNS_ADMIN_PERM } from "../../uapi/genetlink.ts";
import * as ovs from "../../uapi/openvswitch.ts";
import type { GenlFamily, GenlRequest } from "../genl-family.ts";
import { beginOvs, dpIfindex, OVS_HEADER_SIZE } from "../ovs-header.ts";

/** struct ovs_zone_limit: s32 zone_id, u32 limit, u32 count. */
const ZONE_LIMIT_SIZE = 12;
/**
 * Bytes that a reply of the module may have: it allocates 3780 bytes, for which the allocator gives 8 KiB (spec/families F-342).
 */
const MAX_REPLY = 8192 - 320;
const BUCKETS = 512;

/** The ovs_ct_limit family (spec/families section 12). `configured` is called after limits are set or deleted. */
export function ctLimitFamily(limits: ZoneLimits, configured: () => void): GenlFamily {
  return {
    name: ovs.OVS_CT_LIMIT_FAMILY,
    version: ovs.OVS_CT_LIMIT_VERSION,
    headerSize: OVS_HEADER_SIZE,
    maxAttr: ovs.OVS_CT_LIMIT_ATTR_MAX,
    attributes: ctLimitAttributes,
    operations: [
      { cmd: ovs.OVS_CT_LIMIT_CMD_SET, flags: GENL_UNS_ADMIN_PERM, doit: set },
      { cmd: ovs.OVS_CT_LIMIT_CMD_DEL, flags: GENL_UNS_ADMIN_PERM, doit: remove },
      { cmd: ovs.OVS_CT_LIMIT_CMD_GET, flags: 0, doit: get },
    ],
    groups: [ovs.OVS_CT_LIMIT_MCGROUP],
    firstStrictCommand: ovs.OVS_CT_LIMIT_CMD_GET + 1,
  };

  function set(request: GenlRequest): void {
    forEachZone(required(request), (zone, limit) => {
      if (zone === ovs.OVS_ZONE_LIMIT_DEFAULT_ZONE) limits.setDefault(limit);
      else limits.set(zone, limit);
    });
    limits.enabled = true;
    beginOvs(request, ovs.OVS_CT_LIMIT_CMD_SET, dpIfindex(request));
    request.reply();
    configured();
  }

  function remove(request: GenlRequest): void {
    forEachZone(required(request), (zone) => {
      if (zone === ovs.OVS_ZONE_LIMIT_DEFAULT_ZONE) limits.setDefault(0);
      else limits.delete(zone);
    });
    beginOvs(request, ovs.OVS_CT_LIMIT_CMD_DEL, dpIfindex(request));
    request.reply();
    configured();
  }

  function get(request: GenlRequest): void {
    limits.collectExpired();
    const writer = beginOvs(request, ovs.OVS_CT_LIMIT_CMD_GET, dpIfindex(request));
    const nest = writer.nest(ovs.OVS_CT_LIMIT_ATTR_ZONE_LIMIT);
    if (request.attrs.has(ovs.OVS_CT_LIMIT_ATTR_ZONE_LIMIT)) {
      forEachZone(request.attrs, (zone) => {
        if (zone === ovs.OVS_ZONE_LIMIT_DEFAULT_ZONE) put(writer, zone, limits.defaultLimit, 0);
        else put(writer, zone, limits.limitOf(zone), limits.countOf(zone));
      });
    } else {
      put(writer, ovs.OVS_ZONE_LIMIT_DEFAULT_ZONE, limits.defaultLimit, 0);
      for (const zone of inBuckets(limits.zones())) put(writer, zone, limits.limitOf(zone), limits.countOf(zone));
    }
    writer.endNest(nest);
    request.reply();
  }
}

/** Zones by hash bucket, in each the newest first. */
function inBuckets(zones: Iterable<number>): number[] {
  return [...zones].reverse().sort((a, b) => (a % BUCKETS) - (b % BUCKETS));
}

/** @throws Errno EINVAL without the attribute (spec/families F-327, F-335) */
function required(request: GenlRequest): AttributeTable {
  if (!request.attrs.has(ovs.OVS_CT_LIMIT_ATTR_ZONE_LIMIT)) throw new Errno(EINVAL);
  return request.attrs;
}

/**
 * Calls back with each zone of the request: the default zone, or 0 to 65535; others are left out (spec/families F-328
 * to F-332). The module rounds the payload up to 4 bytes first, so the last struct may reach into the padding.
 */
function forEachZone(attrs: AttributeTable, each: (zone: number, limit: number) => void): void {
  const { view } = attrs;
  const start = attrs.offset[ovs.OVS_CT_LIMIT_ATTR_ZONE_LIMIT];
  const aligned = (attrs.length[ovs.OVS_CT_LIMIT_ATTR_ZONE_LIMIT] + 3) & ~3;
  const size = Math.min(aligned, view.byteLength - start);
  for (let at = 0; at + ZONE_LIMIT_SIZE <= size; at += ZONE_LIMIT_SIZE) {
    const zone = view.getInt32(start + at, true);
    const limit = view.getUint32(start + at + 4, true);
    if (zone === ovs.OVS_ZONE_LIMIT_DEFAULT_ZONE || (zone >= 0 && zone <= 0xffff)) each(zone, limit);
  }
}

/** Appends one struct. @throws Errno EMSGSIZE when the reply is full */
function put(writer: MessageWriter, zone: number, limit: number, count: number): void {
  if (writer.length + ZONE_LIMIT_SIZE > MAX_REPLY) throw new Errno(EMSGSIZE);
  writer.rawU32(zone);
  writer.rawU32(limit);
  writer.rawU32(count);
}
