/** The records of tunnel types: complete, found by what programs ask for, and the only place that knows a kind's name. */
import { readdirSync, readFileSync } from "node:fs";
import { join, relative } from "node:path";
import { fileURLToPath } from "node:url";
import { describe, expect, it } from "vitest";
import { ManualClock } from "../../src/core/clock.ts";
import { Rule } from "../../src/netlink/schema/index.ts";
import { MessageWriter } from "../../src/netlink/writer.ts";
import type { TunnelKind } from "../../src/tunnel/kind.ts";
import { metadataKind, TUNNEL_KINDS, tunnelKindOfVport, tunnelVport } from "../../src/tunnel/kinds/index.ts";
import { parseLinkInfo, reportLinkInfo, validateLinkData } from "../../src/tunnel/link-info.ts";
import * as ovs from "../../src/uapi/openvswitch.ts";
import * as rt from "../../src/uapi/rtnetlink.ts";
import { kernelVersion } from "../../src/uapi/version.ts";

const SRC = fileURLToPath(new URL("../../src", import.meta.url));
const KINDS = join("tunnel", "kinds");

/** The IFLA_LINKINFO of a device in metadata mode, with what bareudp insists on. */
function external(kind: TunnelKind): Uint8Array {
  const data = new MessageWriter(64);
  if (kind.collectMetadata === 0) {
    data.be16(rt.IFLA_BAREUDP_PORT, 6635);
    data.be16(rt.IFLA_BAREUDP_ETHERTYPE, 0x8847);
  } else if (kind.attributes.byType[kind.collectMetadata]?.rule === Rule.FLAG) {
    data.flag(kind.collectMetadata);
  } else {
    data.u8(kind.collectMetadata, 1);
  }
  const info = new MessageWriter(128);
  info.string(rt.IFLA_INFO_KIND, kind.name);
  info.raw(rt.IFLA_INFO_DATA, data.finish());
  return info.finish();
}

describe.each(TUNNEL_KINDS.map((kind) => [kind.name, kind] as const))("%s", (name, kind) => {
  it("is found by its IFLA_LINKINFO in metadata mode, and its settings agree with the record", () => {
    const parsed = parseLinkInfo(external(kind));
    expect(metadataKind(parsed)).toBe(kind);
    const data = parsed.data ?? new Map();
    validateLinkData(kind, data);
    const settings = kind.settings(data, { clock: new ManualClock(), hasPort: () => false });
    expect(settings.kind).toBe(kind);
    expect(settings.encapsulation.l3).toBe(kind.isL3(data));
    expect(settings.families.length).toBeGreaterThan(0);
    expect(kind.identity(data)).toBe(kind.identity(new Map(data)));
  });

  it("reports every attribute once, and what it reports makes the same device again", () => {
    const types = kind.reported.map(({ type }) => type);
    expect(new Set(types).size).toBe(types.length);
    const { data = new Map() } = parseLinkInfo(external(kind));
    const version = kernelVersion(6, 18);
    const reported = reportLinkInfo(kind, data, version);
    const again = parseLinkInfo(reported);
    expect(again.kind).toBe(name);
    expect([...(again.data?.keys() ?? [])]).toEqual(types.filter((type) => again.data?.has(type)));
    expect(reportLinkInfo(kind, again.data ?? new Map(), version)).toEqual(reported);
  });

  it("makes the devices of its vport type", () => {
    const { vport } = kind;
    if (vport === undefined) return;
    expect(tunnelKindOfVport(vport.type)).toBe(kind);
    const data = new MessageWriter(64);
    vport.putLinkData(data, { dstPort: 4321, gbp: vport.hasGbp });
    const info = new MessageWriter(128);
    info.string(rt.IFLA_INFO_KIND, kind.name);
    info.raw(rt.IFLA_INFO_DATA, data.finish());
    const parsed = parseLinkInfo(info.finish());
    expect(metadataKind(parsed)).toBe(kind);
    const made = parsed.data ?? new Map();
    validateLinkData(kind, made);
    const settings = kind.settings(made, { clock: new ManualClock(), hasPort: () => false });
    expect([settings.dstPort, settings.gbp]).toEqual([vport.hasOptions ? 4321 : 0, vport.hasGbp]);
  });
});

describe("the table", () => {
  it("has each name and each vport type once, and the three types of OVS that are tunnels", () => {
    const names = TUNNEL_KINDS.map(({ name }) => name);
    expect(new Set(names).size).toBe(names.length);
    const types = TUNNEL_KINDS.flatMap(({ vport }) => (vport === undefined ? [] : [vport.type]));
    expect(types.sort((a, b) => a - b)).toEqual([
      ovs.OVS_VPORT_TYPE_GRE,
      ovs.OVS_VPORT_TYPE_VXLAN,
      ovs.OVS_VPORT_TYPE_GENEVE,
    ]);
    expect(tunnelVport(ovs.OVS_VPORT_TYPE_NETDEV)).toBeUndefined();
    expect(tunnelVport(ovs.OVS_VPORT_TYPE_INTERNAL)).toBeUndefined();
  });

  it("is the only place of src that compares a kind's name or a tunnel's vport type", () => {
    const names = TUNNEL_KINDS.map(({ name }) => name).join("|");
    // A comparison, a case, or a key of a table (Map entry, object literal, has, includes).
    const compared = new RegExp(
      [
        `[!=]==?\\s*["'\`](?:${names})["'\`]`,
        `["'\`](?:${names})["'\`]\\s*[!=]==?`,
        `case\\s+["'\`](?:${names})["'\`]`,
        `\\[\\s*["'\`](?:${names})["'\`]`,
        `(?:has|includes|get)\\(\\s*["'\`](?:${names})["'\`]`,
        "OVS_VPORT_TYPE_(?:GRE|VXLAN|GENEVE)",
      ].join("|"),
    );
    const found: string[] = [];
    let inKinds = 0;
    for (const entry of readdirSync(SRC, { recursive: true, withFileTypes: true })) {
      const path = relative(SRC, join(entry.parentPath, entry.name));
      if (!entry.isFile() || !path.endsWith(".ts") || path.startsWith("uapi")) continue;
      const lines = readFileSync(join(SRC, path), "utf8").split("\n");
      for (const [i, line] of lines.entries()) {
        if (!compared.test(line)) continue;
        if (path.startsWith(KINDS)) inKinds++;
        else found.push(`${path}:${i + 1}: ${line.trim()}`);
      }
    }
    expect(found).toEqual([]);
    // The pattern finds what it is for: the records name the vport types.
    expect(inKinds).toBeGreaterThanOrEqual(3);
  });
});
