import { describe, expect, it } from "vitest";
import type { KernelRelease } from "../../src/core/kernel-profile.ts";
import { EADDRINUSE, EBUSY, EEXIST, EINVAL, ENODEV } from "../../src/uapi/errno.ts";
import * as ovs from "../../src/uapi/openvswitch.ts";
import * as rt from "../../src/uapi/rtnetlink.ts";
import { attr, le32 } from "../support/actions.ts";
import { concat, ethernet, frame, hex, ipv4, u16, u32, udp } from "../support/frames.ts";
import { attributesOf, le16, options, output, setTunnel, TunnelLab, utf8 } from "../support/tunnels.ts";

const { OVS_VPORT_TYPE_GENEVE, OVS_VPORT_TYPE_GRE, OVS_VPORT_TYPE_NETDEV, OVS_VPORT_TYPE_VXLAN } = ovs;

describe("options of a tunnel port", () => {
  const shown = (type: number, bytes?: Uint8Array): string | undefined => {
    const { attributes } = new TunnelLab().add("tun0", type, bytes);
    const back = attributes.get(ovs.OVS_VPORT_ATTR_OPTIONS);
    return back === undefined ? undefined : hex(back);
  };

  it("F-130, F-137: DST_PORT of two bytes in host order, for VXLAN and GENEVE; of a GRE port they are not told", () => {
    expect(shown(OVS_VPORT_TYPE_VXLAN, options(4790))).toBe("06000100b6120000");
    expect(shown(OVS_VPORT_TYPE_GENEVE, options(6081))).toBe("06000100c1170000");
    expect(shown(OVS_VPORT_TYPE_GRE, options(1))).toBeUndefined();
    const lab = new TunnelLab();
    for (const length of [0, 1, 3, 4]) {
      const bad = attr(ovs.OVS_TUNNEL_ATTR_DST_PORT, new Uint8Array(length).fill(1));
      for (const type of [OVS_VPORT_TYPE_VXLAN, OVS_VPORT_TYPE_GENEVE])
        expect(lab.add("bad", type, bad).errno).toBe(EINVAL);
    }
  });

  it("F-138, T-094: EXTENSION with GBP is told back by VXLAN alone", () => {
    expect(shown(OVS_VPORT_TYPE_VXLAN, options(4790, true))).toBe("06000100b61200000800020004000100");
    expect(shown(OVS_VPORT_TYPE_GENEVE, options(6081, true))).toBe("06000100c1170000");
  });

  it("T-094, F-164: a second VXLAN port of the same UDP port shares nothing with the first", () => {
    const lab = new TunnelLab();
    expect(lab.add("vx0", OVS_VPORT_TYPE_VXLAN, options(4790)).errno).toBe(0);
    expect(lab.add("vx1", OVS_VPORT_TYPE_VXLAN, options(4790, true)).errno).toBe(EADDRINUSE);
    expect(lab.test.kernel.tunnelDevices.get("vx1")).toBeUndefined();
  });
});

describe("what is told of a VXLAN device (rt.IFLA_INFO_DATA)", () => {
  const told = (release: KernelRelease): Map<number, string> => {
    const data = concat(
      attr(rt.IFLA_VXLAN_LEARNING, Uint8Array.of(0)),
      attr(rt.IFLA_VXLAN_COLLECT_METADATA, Uint8Array.of(1)),
      attr(rt.IFLA_VXLAN_GPE),
    );
    const info = concat(attr(rt.IFLA_INFO_KIND, utf8("vxlan")), attr(rt.IFLA_INFO_DATA, data));
    const { linkInfo: told } = new TunnelLab(release).test.kernel.tunnelDevices.create("vx0", info);
    const view = new DataView(told.buffer, told.byteOffset);
    const bytes = attributesOf({ bytes: told, view }, 0).get(rt.IFLA_INFO_DATA) as Uint8Array;
    const found = attributesOf({ bytes, view: new DataView(bytes.buffer) }, 0);
    return new Map([...found].map(([type, value]) => [type, hex(value)]));
  };

  it.each(["6.1", "6.6", "6.12", "6.18"] as const)("T-095: as Linux %s has it", (release) => {
    const newer: [type: number, since: KernelRelease[], value: string][] = [
      [rt.IFLA_VXLAN_LOCALBYPASS, ["6.6", "6.12", "6.18"], "01"],
      [rt.IFLA_VXLAN_LABEL_POLICY, ["6.12", "6.18"], "00000000"],
      [rt.IFLA_VXLAN_RESERVED_BITS, ["6.18"], "c2ffff00000000ff"],
    ];
    const attributes = told(release);
    for (const [type, since, value] of newer)
      expect([type, attributes.get(type)]).toEqual([type, since.includes(release) ? value : undefined]);
    // The port that is VXLAN-GPE's own, where none was named.
    expect(attributes.get(rt.IFLA_VXLAN_PORT)).toBe("12b6");
    expect([...attributes.keys()].slice(0, 2)).toEqual([rt.IFLA_VXLAN_ID, rt.IFLA_VXLAN_TTL]);
  });
});

describe("a second device", () => {
  const device = (kind: string, ...data: Uint8Array[]): Uint8Array =>
    concat(attr(rt.IFLA_INFO_KIND, utf8(kind)), attr(rt.IFLA_INFO_DATA, concat(...data)));
  const vxlan = (...more: Uint8Array[]): Uint8Array => {
    const quiet = attr(rt.IFLA_VXLAN_LEARNING, Uint8Array.of(0));
    return device("vxlan", quiet, attr(rt.IFLA_VXLAN_COLLECT_METADATA, Uint8Array.of(1)), ...more);
  };
  const gre = attr(rt.IFLA_GRE_COLLECT_METADATA);
  const CASES: [name: string, info: Uint8Array, errno: number][] = [
    ["vxlan", vxlan(), EEXIST],
    ["vxlan gpe", vxlan(attr(rt.IFLA_VXLAN_GPE)), EEXIST],
    ["geneve", device("geneve", attr(rt.IFLA_GENEVE_COLLECT_METADATA)), EBUSY],
    ["gre", device("gre", gre), EEXIST],
    ["gretap", device("gretap", gre), EEXIST],
    ["ip6erspan", device("ip6erspan", gre), EEXIST],
    [
      "bareudp",
      device("bareudp", attr(rt.IFLA_BAREUDP_PORT, u16(6635)), attr(rt.IFLA_BAREUDP_ETHERTYPE, u16(0x8847))),
      EBUSY,
    ],
  ];
  it.each(CASES)("T-095: of kind %s is refused while there is one, under another name too", (_name, info, errno) => {
    const { tunnelDevices } = new TunnelLab().test.kernel;
    const first = tunnelDevices.create("a", info);
    expect(() => tunnelDevices.create("b", info)).toThrow(expect.objectContaining({ errno }));
    expect(() => tunnelDevices.create("a", info)).toThrow(expect.objectContaining({ errno: EEXIST }));
    tunnelDevices.remove(first);
    tunnelDevices.create("b", info);
  });

  it("VXLAN devices of one port that take different packets are two", () => {
    const { tunnelDevices } = new TunnelLab().test.kernel;
    const port = attr(rt.IFLA_VXLAN_PORT, u16(7000));
    tunnelDevices.create("a", vxlan(port));
    for (const [name, other] of [
      ["b", attr(rt.IFLA_VXLAN_UDP_ZERO_CSUM6_RX, Uint8Array.of(1))],
      ["c", attr(rt.IFLA_VXLAN_GBP)],
      ["d", attr(rt.IFLA_VXLAN_GPE)],
    ] as const)
      tunnelDevices.create(name, vxlan(port, other));
    expect([...tunnelDevices]).toHaveLength(4);
  });
});

describe("metadata of received packets", () => {
  it("A-228: does not leave by another tunnel unless a tunnel is set", () => {
    const lab = new TunnelLab();
    const from = lab.add("vx0", OVS_VPORT_TYPE_VXLAN, options(4790)).number;
    const to = lab.add("gnv0", OVS_VPORT_TYPE_GENEVE, options(6081)).number;
    const inner = frame(ethernet(), ipv4(), udp(), "through two tunnels");
    const received = frame(
      ipv4({ src: "10.9.0.2", dst: "10.9.0.1" }),
      udp({ src: 40_000, dst: 4790 }),
      u32(0x08000000),
      u32(77 << 8),
      inner,
    );
    const put = (actions: Uint8Array) => {
      const wildcarded = attr(ovs.OVS_KEY_ATTR_ETHERNET, new Uint8Array(12));
      const type = (value: number) => attr(ovs.OVS_KEY_ATTR_ETHERTYPE, u16(value));
      return lab.client.errno({
        family: ovs.OVS_FLOW_FAMILY,
        cmd: ovs.OVS_FLOW_CMD_NEW,
        ifindex: lab.ifindex,
        attributes: (w) => {
          const ip = attr(ovs.OVS_KEY_ATTR_IPV4, new Uint8Array(12));
          w.raw(
            ovs.OVS_FLOW_ATTR_KEY,
            concat(attr(ovs.OVS_KEY_ATTR_IN_PORT, le32(from)), wildcarded, type(0x0800), ip),
          );
          w.raw(ovs.OVS_FLOW_ATTR_MASK, concat(attr(ovs.OVS_KEY_ATTR_IN_PORT, le32(-1)), type(0xffff)));
          w.raw(ovs.OVS_FLOW_ATTR_ACTIONS, actions);
        },
      });
    };
    expect(put(output(to))).toBe(0);
    lab.underlay.inject(received);
    expect(lab.underlay.takeSent()).toEqual([]);
    const tunnel = concat(
      attr(ovs.OVS_TUNNEL_KEY_ATTR_ID, new Uint8Array(8)),
      attr(ovs.OVS_TUNNEL_KEY_ATTR_IPV4_DST, Uint8Array.of(10, 9, 0, 3)),
      attr(ovs.OVS_TUNNEL_KEY_ATTR_TTL, Uint8Array.of(64)),
    );
    expect(put(concat(setTunnel(tunnel), output(to)))).toBe(0);
    lab.underlay.inject(received);
    const [sent, ...more] = lab.underlay.takeSent();
    expect([hex(sent.subarray(16, 20)), more]).toEqual(["0a090003", []]);
    expect(hex(sent)).toContain(hex(inner));
  });
});

describe("devices of tunnel ports", () => {
  it("F-165, T-093: a device of the port's name, up, that goes with the port", () => {
    const lab = new TunnelLab();
    for (const [name, type, kind, given] of [
      ["vx0", OVS_VPORT_TYPE_VXLAN, "vxlan", options(4790)],
      ["gnv0", OVS_VPORT_TYPE_GENEVE, "geneve", options(6081)],
      ["gre0", OVS_VPORT_TYPE_GRE, "gretap", undefined],
    ] as const) {
      expect(lab.add(name, type, given).errno).toBe(0);
      const device = lab.test.kernel.tunnelDevices.get(name);
      expect([device?.kind.name, device?.netdev.running]).toEqual([kind, true]);
      expect(lab.remove(name)).toBe(0);
      expect(lab.test.kernel.tunnelDevices.get(name)).toBeUndefined();
      expect(lab.test.ports.device(name)).toBeUndefined();
      expect(lab.remove(name)).toBe(ENODEV);
    }
  });

  it("T-095: a device that was made by itself and takes its tunnels from metadata is a NETDEV port", () => {
    const lab = new TunnelLab();
    const info = concat(
      attr(rt.IFLA_INFO_KIND, utf8("vxlan")),
      attr(rt.IFLA_INFO_DATA, attr(rt.IFLA_VXLAN_COLLECT_METADATA, Uint8Array.of(1)), attr(15, le16(4789).reverse())),
    );
    lab.test.kernel.tunnelDevices.create("vxlan_sys_4789", info);
    const { errno, attributes } = lab.add("vxlan_sys_4789", OVS_VPORT_TYPE_NETDEV);
    expect([errno, attributes.get(ovs.OVS_VPORT_ATTR_TYPE)?.[0], attributes.has(ovs.OVS_VPORT_ATTR_OPTIONS)]).toEqual([
      0,
      OVS_VPORT_TYPE_NETDEV,
      false,
    ]);
    expect(lab.remove("vxlan_sys_4789")).toBe(0);
    // The device is whose it was.
    expect(lab.test.kernel.tunnelDevices.get("vxlan_sys_4789")).toBeDefined();
  });
});
