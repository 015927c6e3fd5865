/** ovs_ct_limit: limits of connections by zone (spec/families section 12). */
import { ctLimitAttributes } from "../../schema/openvswitch.ts";
import * as ovs from "../../uapi/openvswitch.ts";
import type { GenlMessage } from "../genl.ts";
import type { OvsRequests } from "./requests.ts";

/** struct ovs_zone_limit. */
export interface ZoneLimit {
  /** -1: the default of all zones. */
  readonly zone: number;
  /** 0: no limit. */
  readonly limit: number;
  /** Connections that there are. */
  readonly count: number;
}

/** OVS_CT_LIMIT_CMD_SET */
export function setZoneLimits(requests: OvsRequests, limits: readonly Omit<ZoneLimit, "count">[]): void {
  request(requests, ovs.OVS_CT_LIMIT_CMD_SET, limits);
}

/** OVS_CT_LIMIT_CMD_DEL */
export function deleteZoneLimits(requests: OvsRequests, zones: readonly number[]): void {
  request(requests, ovs.OVS_CT_LIMIT_CMD_DEL, withoutLimit(zones));
}

/** OVS_CT_LIMIT_CMD_GET: of all zones, or of those given. */
export function getZoneLimits(requests: OvsRequests, zones?: readonly number[]): ZoneLimit[] {
  return request(requests, ovs.OVS_CT_LIMIT_CMD_GET, zones && withoutLimit(zones)).flatMap((message) =>
    (message.decode(ctLimitAttributes).ZONE_LIMIT ?? []).map((entry) => ({
      zone: entry.zone_id,
      limit: entry.limit,
      count: entry.count,
    })),
  );
}

function withoutLimit(zones: readonly number[]): Omit<ZoneLimit, "count">[] {
  return zones.map((zone) => ({ zone, limit: 0 }));
}

function request(
  requests: OvsRequests,
  command: number,
  limits: readonly Omit<ZoneLimit, "count">[] | undefined,
): GenlMessage[] {
  return requests.all(requests.ctLimit, command, 0, (w) =>
    ctLimitAttributes.encode(w, {
      ZONE_LIMIT: limits?.map(({ zone, limit }) => ({ zone_id: zone, limit, count: 0 })),
    }),
  );
}
