/**
 * The tunnel types, one record each. A new one is a file here and a line in TUNNEL_KINDS; how the record is read is in
 * ../kind.ts.
 */
import type { TunnelKind, TunnelVport } from "../kind.ts";
import { isFlagSet } from "../link-data.ts";
import type { LinkInfo } from "../link-info.ts";
import { bareudp } from "./bareudp.ts";
import { erspan, ip6erspan } from "./erspan.ts";
import { geneve } from "./geneve.ts";
import { gre, gretap, ip6gretap } from "./gre.ts";
import { vxlan } from "./vxlan.ts";

/** All tunnel types. @internal */
export const TUNNEL_KINDS: readonly TunnelKind[] = [vxlan, geneve, gre, gretap, ip6gretap, erspan, ip6erspan, bareudp];

const byName = new Map(TUNNEL_KINDS.map((kind) => [kind.name, kind]));

/**
 * The kind of device that an IFLA_LINKINFO asks for, if nokmod can provide it: a kind in TUNNEL_KINDS, in the mode in which
 * tunnels come from metadata.
 */
export function metadataKind({ kind: name, data }: LinkInfo): TunnelKind | undefined {
  const kind = byName.get(name);
  if (kind === undefined || kind.collectMetadata === 0) return kind;
  return data !== undefined && isFlagSet(data, kind.collectMetadata) ? kind : undefined;
}

/** The kind whose devices a vport of that type (OVS_VPORT_TYPE_*) makes; undefined if the type is no tunnel's. */
export function tunnelKindOfVport(type: number): TunnelKind | undefined {
  return TUNNEL_KINDS.find(({ vport }) => vport?.type === type);
}

/** What a vport type takes and makes; undefined if it is no tunnel's. */
export function tunnelVport(type: number): TunnelVport | undefined {
  return tunnelKindOfVport(type)?.vport;
}
