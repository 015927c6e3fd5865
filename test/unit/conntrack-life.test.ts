/**
 * Connections as packets and action lists see them: rows of spec/conntrack that no recording of the module has in it.
 */
import { describe, expect, it } from "vitest";
import type { HelperContext } from "../../src/conntrack/helpers/helper.ts";
import { E, Ext } from "../../src/conntrack/layout.ts";
import { EINVAL } from "../../src/uapi/errno.ts";
import { IPS_CONFIRMED, IPS_SRC_NAT } from "../../src/uapi/nfnetlink.ts";
import * as ovs from "../../src/uapi/openvswitch.ts";
import * as act from "../support/actions.ts";
import { CtLab } from "../support/conntrack.ts";
import { DatapathLab, inPort } from "../support/datapath-lab.ts";
import {
  bytesOf,
  concat,
  ethernet,
  fragmentIpv4,
  frame,
  hex,
  ipv4,
  ipv6,
  TCP_ACK,
  TCP_PSH,
  TCP_SYN,
  tcp,
  udp,
} from "../support/frames.ts";

const A = "10.1.1.1";
const B = "10.1.2.2";
const there = (src = 1000, dst = 2000) => frame(ethernet(), ipv4({ src: A, dst: B }), udp({ src, dst }), "x");
const back = (src = 2000, dst = 1000) => frame(ethernet(), ipv4({ src: B, dst: A }), udp({ src, dst }), "x");
const segment = (flags: number, seq: number, ack = 0, text = "") =>
  frame(ethernet(), ipv4({ src: A, dst: B }), tcp({ src: 1000, dst: 2000, flags, seq, ack }), text);
const answer = (flags: number, seq: number, ack = 0, text = "") =>
  frame(ethernet(), ipv4({ src: B, dst: A }), tcp({ src: 2000, dst: 1000, flags, seq, ack }), text);
const COMMIT = act.attr(ovs.OVS_CT_ATTR_COMMIT);

describe("the action", () => {
  it("C-129: translated first, then mark and labels, then the helper, then told as NEW with all of it", () => {
    const lab = new CtLab();
    const order: string[] = [];
    lab.conntrack.registerHelper({
      name: "watcher",
      proto: 6,
      nat: true,
      policies: [{ maxExpected: 1, timeout: 60_000 }],
      help: (context: HelperContext, _packet: unknown, _l4: number, _family: number, slot: number) => {
        const { words } = context.table;
        const entry = slot * E.WORDS;
        const status = words[entry + E.STATUS];
        order.push(`help mark=${words[entry + E.MARK]} label=${words[entry + E.LABELS]}`);
        order.push(`snat=${(status & IPS_SRC_NAT) !== 0} confirmed=${(status & IPS_CONFIRMED) !== 0}`);
        return true;
      },
    } as never);
    lab.conntrack.listener = {
      listening: true,
      connection: () => order.push("event"),
    };
    const o = { commit: true, mark: 7, labels: [9, 0, 0, 0], helper: "watcher", nat: { src: "192.0.2.1" } };
    expect(lab.send(segment(TCP_SYN, 100), o).error).toBe(0);
    expect(order).toEqual(["help mark=7 label=9", "snat=true confirmed=false", "event"]);
  });

  it("C-095: a fragment that is kept ends the list with success, and the packet is gone", () => {
    const lab = new DatapathLab();
    const [first, second] = fragmentIpv4(frame(ethernet(), ipv4({ id: 5 }), udp(), new Uint8Array(1000)), 800);
    expect(lab.execute(first, [act.ct(), act.userspace(lab.pid), act.output(2)])).toBe(0);
    expect([lab.take(), lab.port(2).sent]).toEqual([[], []]);
    expect(lab.execute(second, [act.ct(), act.userspace(lab.pid)])).toBe(0);
    expect(lab.takeOne().packet.length).toBe(14 + 20 + 8 + 1000);
  });

  it("C-075: fragments whose datagram never becomes whole go without a word", () => {
    const lab = new DatapathLab();
    const [first] = fragmentIpv4(frame(ethernet(), ipv4({ id: 6 }), udp(), new Uint8Array(1000)), 800);
    lab.execute(first, [act.ct(), act.output(2)]);
    lab.test.clock.advance(31_000);
    lab.execute(frame(ethernet(), ipv4({ id: 7 }), udp(), "x"), [act.ct()]);
    expect([lab.take(), lab.port(1).sent, lab.port(2).sent]).toEqual([[], [], []]);
  });
});

describe("helpers", () => {
  const watched = (o: { proto?: number; families?: number[] } = {}) => {
    const lab = new CtLab();
    const seen: number[] = [];
    lab.conntrack.registerHelper({
      name: "watcher",
      proto: o.proto ?? 6,
      policies: [{ maxExpected: 1, timeout: 60_000 }],
      help: (_context: unknown, _slot: unknown, packet: { ctInfo: number }) => {
        seen.push(packet.ctInfo);
        return true;
      },
    } as never);
    return { lab, seen };
  };

  it("C-215: an IPv6 packet whose transport header cannot be found has no helper; nor is it tracked", () => {
    const { lab, seen } = watched();
    const v6 = (next: number, body: Uint8Array) => frame(ethernet(), ipv6({ nextHeader: next }), body);
    const flight = lab.send(v6(43, bytesOf(6, 5, 0, 0)), { commit: true, helper: "watcher" });
    expect(flight.state).toBe("inv|trk");
    expect(seen).toEqual([]);
  });

  it("C-217: without a helper sequence numbers are as they came, though an adjustment be there", () => {
    const lab = new CtLab();
    lab.send(segment(TCP_SYN, 100), { commit: true });
    lab.send(answer(TCP_SYN | TCP_ACK, 500, 101));
    const [slot] = lab.slots;
    const { words } = lab.conntrack.table;
    words[slot * E.WORDS + E.EXT] |= Ext.SEQADJ;
    words[slot * E.WORDS + E.SEQADJ] = 0;
    words[slot * E.WORDS + E.SEQADJ + 2] = 4;
    const flight = lab.send(segment(TCP_ACK | TCP_PSH, 101, 501, "hi"));
    expect(hex(flight.bytes.subarray(38, 42))).toBe("00000065");
  });
});

describe("the NAT series", () => {
  const flow = (lab: DatapathLab, stateMask: number, ...actions: Uint8Array[]): number => {
    lab.flushFlows();
    return lab.client.errno({
      family: "ovs_flow",
      cmd: ovs.OVS_FLOW_CMD_NEW,
      ifindex: lab.ifindex,
      attributes: (w) => {
        const state = (bits: number) => act.attr(ovs.OVS_KEY_ATTR_CT_STATE, act.le32(bits));
        w.raw(
          ovs.OVS_FLOW_ATTR_KEY,
          concat(
            inPort(1),
            state(stateMask & 0x3f),
            act.attr(ovs.OVS_KEY_ATTR_ETHERNET, new Uint8Array(12)),
            act.attr(ovs.OVS_KEY_ATTR_ETHERTYPE, bytesOf(8, 0)),
            act.attr(ovs.OVS_KEY_ATTR_IPV4, new Uint8Array(12)),
          ),
        );
        w.raw(
          ovs.OVS_FLOW_ATTR_MASK,
          concat(inPort(-1), state(stateMask), act.attr(ovs.OVS_KEY_ATTR_ETHERTYPE, bytesOf(255, 255))),
        );
        w.raw(ovs.OVS_FLOW_ATTR_ACTIONS, concat(...actions));
      },
    });
  };
  const nat = (...inner: Uint8Array[]) => act.attr(ovs.OVS_CT_ATTR_NAT, ...inner);
  const SRC = concat(act.attr(ovs.OVS_NAT_ATTR_SRC), act.attr(ovs.OVS_NAT_ATTR_IP_MIN, bytesOf(10, 9, 9, 9)));

  it("C-394, C-395, C-396: the bits snat and dnat can be matched; nat needs no commit, nat(src) does", () => {
    const lab = new DatapathLab();
    expect([flow(lab, 0xc0, act.output(2)), flow(lab, 0x100, act.output(2))]).toEqual([0, EINVAL]);
    expect(flow(lab, 0x20, act.ct(nat()))).toBe(0);
    expect(flow(lab, 0x20, act.ct(nat(SRC)))).toBe(EINVAL);
    expect(flow(lab, 0x20, act.ct(COMMIT, nat(SRC)))).toBe(0);
  });

  it("C-371: nothing is new and rpl at once, whatever the direction a connection is committed in", () => {
    const lab = new CtLab();
    const states = [there(), back(), there(), back()].map((bytes) => lab.send(bytes, { commit: true }).state);
    expect(states).toEqual(["new|trk", "est|rpl|trk", "est|trk", "est|rpl|trk"]);
  });
});
