/**
 * What a flow key tells of a packet's connection, seen through the upcall behind a datapath's actions
 * (spec/keys section 16).
 */
import { describe, expect, it } from "vitest";
import { K } from "../../src/flow/key.ts";
import type { MessageWriter } from "../../src/netlink/writer.ts";
import * as ovs from "../../src/uapi/openvswitch.ts";
import * as a from "../support/actions.ts";
import { CtLab } from "../support/conntrack.ts";
import { DatapathLab } from "../support/datapath-lab.ts";
import { concat, ethernet, frame, ip4, ipv4, ipv6, mac, nd, tcp, udp } from "../support/frames.ts";

const NEW = 0x01;
const ESTABLISHED = 0x02;
const RELATED = 0x04;
const REPLY = 0x08;
const INVALID = 0x10;
const TRACKED = 0x20;
const SNAT = 0x40;
const DNAT = 0x80;

const out = frame(ethernet(), ipv4({ src: "10.0.0.1", dst: "10.0.0.2" }), udp({ src: 7, dst: 53 }), "ask");
const back = frame(ethernet(), ipv4({ src: "10.0.0.2", dst: "10.0.0.1" }), udp({ src: 53, dst: 7 }), "answer");
const commit = a.attr(ovs.OVS_CT_ATTR_COMMIT);
const nat = (kind: number) =>
  a.attr(
    ovs.OVS_CT_ATTR_NAT,
    a.attr(kind),
    a.attr(ovs.OVS_NAT_ATTR_IP_MIN, ip4("10.9.9.9")),
    a.attr(ovs.OVS_NAT_ATTR_PROTO_MIN, a.le16(900)),
  );
const toUser = (lab: DatapathLab) => a.userspace(lab.pid);

/** The key after a list of actions. */
function keyAfter(lab: DatapathLab, packet: Uint8Array, ...actions: Uint8Array[]) {
  expect(lab.execute(packet, [...actions, toUser(lab)])).toBe(0);
  return lab.takeOne().key;
}

describe("ct fields", () => {
  it("K-267, K-270: bits of ct_state; new until the entry is confirmed and answered", () => {
    const lab = new DatapathLab();
    expect(keyAfter(lab, out).CT_STATE).toBe(0);
    expect(keyAfter(lab, out, a.ct()).CT_STATE).toBe(TRACKED | NEW);
    expect(keyAfter(lab, out, a.ct(commit)).CT_STATE).toBe(TRACKED | NEW);
    expect(keyAfter(lab, back, a.ct()).CT_STATE).toBe(TRACKED | ESTABLISHED | REPLY);
    expect(keyAfter(lab, out, a.ct()).CT_STATE).toBe(TRACKED | ESTABLISHED);
    const bad = frame(ethernet(), ipv4({ src: "10.0.0.1", dst: "10.0.0.2" }), tcp({ src: 1, dst: 2, flags: 0x3f }));
    expect(keyAfter(lab, bad, a.ct()).CT_STATE).toBe(TRACKED | INVALID);
  });

  it("K-267: snat and dnat", () => {
    for (const [kind, bit] of [
      [ovs.OVS_NAT_ATTR_SRC, SNAT],
      // The second pass over the source finds nothing to change, and says so all the same (spec/conntrack C-165).
      [ovs.OVS_NAT_ATTR_DST, SNAT | DNAT],
    ]) {
      const lab = new DatapathLab();
      expect(keyAfter(lab, out, a.ct(commit, nat(kind))).CT_STATE).toBe(TRACKED | NEW | bit);
    }
  });

  it("K-289: after NAT the key has the packet's new addresses and ports", () => {
    const lab = new DatapathLab();
    const key = keyAfter(lab, out, a.ct(commit, nat(ovs.OVS_NAT_ATTR_SRC)));
    expect(key.IPV4).toMatchObject({ src: "10.9.9.9", dst: "10.0.0.2" });
    expect(key.UDP).toEqual({ src: 900, dst: 53 });
    expect(key.CT_ORIG_TUPLE_IPV4).toMatchObject({ src: "10.0.0.1", sport: 7 });
    const answer = frame(ethernet(), ipv4({ src: "10.0.0.2", dst: "10.9.9.9" }), udp({ src: 53, dst: 900 }), "answer");
    const reply = keyAfter(lab, answer, a.ct(a.attr(ovs.OVS_CT_ATTR_NAT)));
    expect(reply.IPV4).toMatchObject({ src: "10.0.0.2", dst: "10.0.0.1" });
    expect(reply.UDP).toEqual({ src: 53, dst: 7 });
  });

  it("K-273: without labels they are zero, and with them those of the entry", () => {
    const lab = new DatapathLab();
    const labels = new Uint8Array(16).fill(0x5a);
    const all = new Uint8Array(16).fill(0xff);
    expect(keyAfter(lab, out, a.ct(commit)).CT_LABELS).toEqual(new Uint8Array(16));
    expect(keyAfter(lab, out, a.ct(commit, a.attr(ovs.OVS_CT_ATTR_LABELS, labels, all))).CT_LABELS).toEqual(labels);
    expect(keyAfter(lab, back, a.ct()).CT_LABELS).toEqual(labels);
  });

  it("K-274, K-275: an original tuple of another family, or under ND fields, is left out", () => {
    const lab = new DatapathLab();
    const packet = frame(
      ethernet({ type: 0x86dd }),
      ipv6({ src: "fe80::1", dst: "ff02::1", hopLimit: 255 }),
      nd({ type: 135, target: "fe80::2" }),
    );
    const key = keyAfter(lab, packet, a.ct());
    expect(key.ND).toBeDefined();
    expect(key).not.toHaveProperty("CT_ORIG_TUPLE_IPV6");
    // The connection is IPv4's, the packet that comes to light below the label is not.
    const v6 = frame(ethernet({ type: 0x86dd }), ipv6({ src: "fe80::1", dst: "fe80::2" }), udp({ src: 7, dst: 53 }));
    expect(keyAfter(lab, v6, a.ct())).toHaveProperty("CT_ORIG_TUPLE_IPV6");
    expect(keyAfter(lab, v6, a.ct())).not.toHaveProperty("CT_ORIG_TUPLE_IPV4");
    expect(keyAfter(lab, out, a.ct())).not.toHaveProperty("CT_ORIG_TUPLE_IPV6");
  });

  it("K-276: ct_clear takes all of them and the original tuple", () => {
    const lab = new DatapathLab();
    const mark = a.attr(ovs.OVS_CT_ATTR_MARK, a.le32(9), a.le32(0xffffffff));
    const zone = a.attr(ovs.OVS_CT_ATTR_ZONE, a.le16(4));
    expect(keyAfter(lab, out, a.ct(commit, mark, zone))).toMatchObject({ CT_MARK: 9, CT_ZONE: 4 });
    const key = keyAfter(lab, out, a.ct(zone), a.ctClear());
    expect(key).toMatchObject({ CT_STATE: 0, CT_ZONE: 0, CT_MARK: 0, CT_LABELS: new Uint8Array(16) });
    expect(key).not.toHaveProperty("CT_ORIG_TUPLE_IPV4");
  });

  it("K-277: changes of the Ethernet header and of tags leave them alone", () => {
    const lab = new DatapathLab();
    const ct = a.ct(commit, a.attr(ovs.OVS_CT_ATTR_MARK, a.le32(9), a.le32(0xffffffff)));
    const fields = (key: Record<string, unknown>) =>
      Object.fromEntries(Object.entries(key).filter(([name]) => name.startsWith("CT_")));
    const before = fields(keyAfter(lab, out, ct));
    expect(before).toMatchObject({ CT_STATE: TRACKED | NEW, CT_MARK: 9 });
    const edit = a.setEthernet(mac("0e:00:00:00:00:01"), mac("0e:00:00:00:00:02"));
    for (const actions of [[a.pushVlan(5)], [edit], [a.pushVlan(5), a.popVlan(), edit]])
      expect(fields(keyAfter(lab, out, ct, ...actions))).toEqual(before);
  });

  it("K-271, K-272: an expected connection is rel for life and shows its master's tuple, its mark and labels are its own", () => {
    const lab = new CtLab();
    const flags = (value: number) => ({ src: 1000, dst: 21, flags: value });
    const control = (from: string, to: string, o: Parameters<typeof tcp>[0], text = "") =>
      frame(ethernet(), ipv4({ src: from, dst: to }), tcp(o), text);
    const server = { src: 21, dst: 1000 };
    const master = { commit: true, helper: "ftp", mark: 7 };
    lab.send(control("10.0.0.1", "10.0.0.2", { ...flags(0x02), seq: 99 }), master);
    lab.send(control("10.0.0.2", "10.0.0.1", { ...server, flags: 0x12, seq: 499, ack: 100 }));
    lab.send(control("10.0.0.1", "10.0.0.2", { ...flags(0x10), seq: 100, ack: 500 }));
    // The helper looks at lines that begin where one it has seen ended.
    lab.send(control("10.0.0.1", "10.0.0.2", { ...flags(0x18), seq: 100, ack: 500 }, "NOOP\r\n"));
    lab.send(control("10.0.0.1", "10.0.0.2", { ...flags(0x18), seq: 106, ack: 500 }, "PORT 10,0,0,1,8,0\r\n"));
    const data = (from: string, to: string, o: Parameters<typeof tcp>[0]) =>
      frame(ethernet(), ipv4({ src: from, dst: to }), tcp(o));
    const syn = lab.send(data("10.0.0.2", "10.0.0.1", { src: 20, dst: 2048, flags: 0x02, seq: 1 }), {
      commit: true,
      mark: 3,
    });
    expect(syn.ctState).toBe(TRACKED | NEW | RELATED);
    expect(syn.mark).toBe(3);
    const answer = lab.send(data("10.0.0.1", "10.0.0.2", { src: 2048, dst: 20, flags: 0x12, seq: 1, ack: 2 }));
    expect(answer.ctState).toBe(TRACKED | ESTABLISHED | RELATED | REPLY);
    const later = lab.send(data("10.0.0.2", "10.0.0.1", { src: 20, dst: 2048, flags: 0x10, seq: 2, ack: 2 }));
    expect(later.ctState).toBe(TRACKED | ESTABLISHED | RELATED);
    expect(later.mark).toBe(3);
    // The master's original direction: 10.0.0.1:1000 > 10.0.0.2:21.
    for (const flight of [syn, answer, later]) {
      expect(flight.key[K.CT_ORIG4_SRC] >>> 0).toBe(0x0a000001);
      expect(flight.key[K.CT_ORIG4_TP] >>> 0).toBe((1000 << 16) | 21);
    }
  });
});

describe("what else the key tells", () => {
  it("K-191: options of router messages and redirects are not looked at", () => {
    const lab = new DatapathLab();
    const link = Uint8Array.of(1, 1, 2, 0, 0, 0, 0, 1);
    const packet = (type: number) =>
      frame(
        ethernet({ type: 0x86dd }),
        ipv6({ src: "fe80::1", dst: "ff02::1", hopLimit: 255 }),
        nd({ type, target: "fe80::2" }),
        link,
      );
    for (const type of [133, 134, 137]) {
      const key = keyAfter(lab, packet(type));
      expect(key).not.toHaveProperty("ND");
      expect(key.ICMPV6).toEqual({ type, code: 0 });
    }
    expect(keyAfter(lab, packet(135)).ND).toMatchObject({ target: "fe80::2", sll: "02:00:00:00:00:01" });
  });

  it("K-266: EXECUTE takes the key in any order, and absent fields for zero", () => {
    const lab = new DatapathLab();
    const metadata = [
      a.attr(ovs.OVS_KEY_ATTR_SKB_MARK, a.le32(5)),
      a.attr(ovs.OVS_KEY_ATTR_IN_PORT, a.le32(2)),
      a.attr(ovs.OVS_KEY_ATTR_PRIORITY, a.le32(6)),
    ];
    const keys = [metadata, [...metadata].reverse()].map((key) => {
      expect(lab.execute(out, [toUser(lab)], { key: concat(...key) })).toBe(0);
      return lab.takeOne().key;
    });
    expect(keys[0]).toEqual(keys[1]);
    expect(keys[0]).toMatchObject({ IN_PORT: 2, PRIORITY: 6, SKB_MARK: 5, CT_STATE: 0, CT_ZONE: 0, CT_MARK: 0 });
    expect(lab.execute(out, [toUser(lab)], { key: new Uint8Array(0) })).toBe(0);
    expect(lab.takeOne().key).not.toHaveProperty("IN_PORT");
  });
});

describe("families are there, each namespace its own", () => {
  const makeDatapath = (writer: MessageWriter) => {
    writer.string(ovs.OVS_DP_ATTR_NAME, "dp0");
    writer.u32(ovs.OVS_DP_ATTR_UPCALL_PID, 0);
  };

  it("F-002: ovs_ct_limit is there, as in kernels with NETFILTER_CONNCOUNT", () => {
    const { test, client } = new DatapathLab();
    expect(test.family("ovs_ct_limit")).toBeGreaterThan(0);
    expect(client.errno({ family: "ovs_ct_limit", cmd: ovs.OVS_CT_LIMIT_CMD_GET })).toBe(0);
  });

  it("F-007: two namespaces have the families and know nothing of each other's datapaths, limits and connections", () => {
    const one = new DatapathLab();
    const two = new DatapathLab([]);
    const names = ["ovs_datapath", "ovs_vport", "ovs_flow", "ovs_packet", "ovs_meter", "ovs_ct_limit"];
    for (const name of names) expect(two.test.family(name)).toBeGreaterThan(0);
    one.execute(out, [a.ct(commit)]);
    one.test.conntrack.limits.set(3, 4);
    expect(two.client.dump({ family: "ovs_datapath", cmd: ovs.OVS_DP_CMD_GET }).records).toHaveLength(1);
    expect([one.test.conntrack.table.count, two.test.conntrack.table.count]).toEqual([1, 0]);
    expect([...two.test.conntrack.limits.zones()]).toEqual([]);
    expect(two.vport(0).NAME).toBe("dp0");
  });

  it("F-008: a dump that its reader leaves half way keeps nobody else from changing things", () => {
    const lab = new DatapathLab([]);
    for (let i = 0; i < 300; i++) lab.flow({ recircId: i + 1 }, a.output(1));
    const reader = lab.test.client();
    reader.socket.send(
      reader.build({ family: "ovs_flow", cmd: ovs.OVS_FLOW_CMD_GET, ifindex: lab.ifindex, flags: 0x300 }),
    );
    expect(reader.socket.receive()).not.toBeNull();
    const other = lab.test.client();
    lab.flow({ recircId: 1000 }, a.output(1));
    expect(other.errno({ family: "ovs_datapath", cmd: ovs.OVS_DP_CMD_NEW, attributes: makeDatapath })).toBe(17);
    expect(lab.stats().flows).toBe(301);
    expect(reader.drain().length).toBeGreaterThan(150);
  });
});
