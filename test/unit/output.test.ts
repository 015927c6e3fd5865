/** The output action and its neighbours through a whole datapath (spec/actions sections 6 to 8). */
import { describe, expect, it } from "vitest";
import { Gso } from "../../src/packet/packet.ts";
import { EINVAL } from "../../src/uapi/errno.ts";
import * as ovs from "../../src/uapi/openvswitch.ts";
import * as a from "../support/actions.ts";
import { DatapathLab } from "../support/datapath-lab.ts";
import { concat, ethernet, frame, ipv4, u16, udp, unhex } from "../support/frames.ts";

const IN_1 = { inPort: 1 };
const ADDRESSES = { src: "10.0.0.1", dst: "10.0.0.2" };
const FRAME = frame(ethernet(), ipv4(ADDRESSES), udp({}), "payload");
const popEth = a.attr(ovs.OVS_ACTION_ATTR_POP_ETH);
const sized = (length: number) => frame(ethernet(), ipv4(ADDRESSES), udp({}), new Uint8Array(length - 42));

describe("types of devices", () => {
  it("A-136, A-137, A-139: only a device without L2 takes both kinds", () => {
    const lab = new DatapathLab([{}, {}, { l3: true }]);
    lab.flow(IN_1, a.output(2), a.output(3), popEth, a.output(2), a.output(3));
    lab.port(1).inject(FRAME);
    expect(lab.port(2).sent).toEqual([FRAME]);
    expect(lab.port(3).sent).toEqual([FRAME, FRAME.subarray(14)]);
  });
});

describe("sizes", () => {
  it("A-140, A-141, A-142: the MTU holds without L2 header and without one tag, in the frame or beside it", () => {
    const lab = new DatapathLab([{}, { mtu: 100 }]);
    const errors = () => lab.vport(2).STATS?.tx_errors;
    const tag = a.pushVlan(5);
    lab.flow(IN_1, a.output(2));
    lab.port(1).inject(sized(114));
    expect([lab.port(2).sent.length, errors()]).toEqual([1, 0]);
    lab.port(1).inject(sized(115));
    expect([lab.port(2).sent.length, errors()]).toEqual([1, 1]);
    lab.flow(IN_1, tag, a.output(2));
    lab.port(1).inject(sized(114));
    expect([lab.port(2).sent.length, errors()]).toEqual([2, 1]);
    // Two tags: one is beside the frame, the other counts.
    lab.flow(IN_1, tag, tag, a.output(2));
    lab.port(1).inject(sized(110));
    expect([lab.port(2).sent.length, errors()]).toEqual([3, 1]);
    lab.port(1).inject(sized(111));
    expect([lab.port(2).sent.length, errors()]).toEqual([3, 2]);
  });

  it("A-143: a GSO packet is not held against the MTU", () => {
    const lab = new DatapathLab([{}, { mtu: 1500 }]);
    lab.flow(IN_1, a.output(2));
    lab.port(1).inject(sized(5000), { gsoType: Gso.UDP_L4, gsoSize: 1000, csum: 3, csumStart: 34, csumOffset: 6 });
    expect(lab.vport(2).STATS).toMatchObject({ tx_errors: 0 });
    expect(lab.port(2).sent.length).toBeGreaterThan(0);
  });

  it("A-144, A-145, A-146: whole without MRU or up to it, above it in fragments", () => {
    const lab = new DatapathLab([{}, {}]);
    const sizes = (mru: number | undefined, length: number) => {
      const before = lab.port(2).sent.length;
      expect(lab.execute(sized(length), [a.output(2)], { mru })).toBe(0);
      return lab
        .port(2)
        .sent.slice(before)
        .map((sent) => sent.length - 14);
    };
    expect(sizes(undefined, 1014)).toEqual([1000]);
    expect(sizes(1000, 1014)).toEqual([1000]);
    expect(sizes(999, 1014)).toEqual([20 + 976, 20 + 4]);
    // Whole, but longer than the device takes.
    expect(sizes(1600, 1550)).toEqual([]);
    expect(lab.vport(2).STATS).toMatchObject({ tx_errors: 1 });
  });

  it("A-157: each fragment is checked as a packet is", () => {
    const lab = new DatapathLab([{}, { l3: true }, {}]);
    const mpls = a.attr(ovs.OVS_ACTION_ATTR_PUSH_MPLS, unhex("00064140"), u16(0x8847), u16(0));
    // With its label the first fragment is longer than the device takes; the second is not.
    expect(lab.execute(sized(2014), [mpls, a.output(3)], { mru: 1500 })).toBe(0);
    expect(lab.port(3).sent.map((sent) => sent.length - 14)).toEqual([2000 - 20 - 1480 + 20 + 4]);
    expect(lab.vport(3).STATS).toMatchObject({ tx_errors: 1 });
  });
});

describe("internal ports", () => {
  it("A-161: the host's stack gets the packet, and the port counts it as received; down, it gets nothing", () => {
    const lab = new DatapathLab();
    const port = lab.addInternal("int0", 3);
    lab.flow(IN_1, a.output(3));
    lab.port(1).inject(FRAME);
    expect(port.sent).toEqual([FRAME]);
    // Counted after the stack has taken the Ethernet header.
    expect(lab.vport(3).STATS).toMatchObject({ rx_packets: 1, rx_bytes: FRAME.length - 14, tx_packets: 0 });
    port.running = false;
    lab.port(1).inject(FRAME);
    expect(port.sent).toHaveLength(1);
  });
});

describe("what depends on what the kernel was built with", () => {
  it("A-103: PSAMPLE is taken, as by a kernel with CONFIG_PSAMPLE, and its family is there", () => {
    const lab = new DatapathLab();
    expect(lab.execute(FRAME, [a.psample(1, unhex("01"))])).toBe(0);
    expect(lab.test.family("psample")).toBeGreaterThan(0);
    const bare = a.attr(ovs.OVS_ACTION_ATTR_PSAMPLE, a.attr(ovs.OVS_PSAMPLE_ATTR_GROUP, a.le32(1)));
    expect(lab.execute(FRAME, [bare])).toBe(EINVAL);
  });

  it("nd extensions are of OVS's own datapaths, not the kernel's: SET_MASKED of key 30 is EINVAL (F-354)", () => {
    const lab = new DatapathLab();
    expect(lab.execute(FRAME, [a.setMasked(30, new Uint8Array(8), new Uint8Array(8))])).toBe(EINVAL);
    expect(lab.execute(FRAME, [a.set(30, new Uint8Array(8))])).toBe(EINVAL);
    expect(lab.execute(FRAME, [a.set(31, concat(a.attr(1, new Uint8Array(8))))])).toBe(EINVAL);
  });
});
