import { describe, expect, it } from "vitest";
import { Csum, Gso } from "../../src/packet/packet.ts";
import { datapathAttributes, meterAttributes, vportAttributes } from "../../src/schema/openvswitch.ts";
import { EEXIST, EFBIG, EINVAL, ENODEV, ENOENT, ENOMEM, ERANGE } from "../../src/uapi/errno.ts";
import * as ovs from "../../src/uapi/openvswitch.ts";
import * as act from "../support/actions.ts";
import { DatapathLab, inPort, type Match } from "../support/datapath-lab.ts";
import {
  bytesOf,
  concat,
  ethernet,
  frame,
  hex,
  ipv4,
  TCP_ACK,
  TCP_RST,
  TCP_SYN,
  tcp,
  u32,
  udp,
  vlan,
} from "../support/frames.ts";
import { messagesIn } from "../support/kernel.ts";

const datagram = frame(ethernet(), ipv4(), udp({ dst: 53 }), "hello");
const LENGTH = datagram.length;
/** A match of UDP, with room in the key for its ports. */
const PROTO_UDP = Uint8Array.of(0, 0, 0, 0, 0, 0, 0, 0, 17, 0, 0, 0);
const anyUdp = (match: Match): Match => ({
  ...match,
  key: concat(act.attr(ovs.OVS_KEY_ATTR_IPV4, PROTO_UDP), act.attr(ovs.OVS_KEY_ATTR_UDP, new Uint8Array(4))),
  mask: act.attr(
    ovs.OVS_KEY_ATTR_IPV4,
    PROTO_UDP.map((byte) => (byte === 0 ? 0 : 255)),
  ),
});
const zone = (number: number): Uint8Array => act.attr(ovs.OVS_CT_ATTR_ZONE, act.le16(number));
const COMMIT = act.attr(ovs.OVS_CT_ATTR_COMMIT);

describe("flows", () => {
  it("T-003: flows may overlap, nobody checks; but a new one whose own key another matches is that flow", () => {
    const lab = new DatapathLab();
    lab.flow(anyUdp({ inPort: 1 }), act.output(2));
    lab.flow({ inPort: 1 }, act.output(1));
    expect(lab.stats()).toMatchObject({ flows: 2, masks: 2 });
    lab.port(1).inject(datagram);
    expect([lab.port(1).sent.length, lab.port(2).sent.length]).toEqual([0, 1]);
    const narrow = anyUdp({ inPort: 2 });
    lab.flow({ inPort: 2 }, act.output(1));
    expect(() => lab.flow(narrow, act.output(2))).toThrow("errno 2");
  });

  it("T-018: 70,000 flows, more than any number of 16 bits", () => {
    const lab = new DatapathLab();
    const [{ flows }] = lab.test.kernel.datapaths.list;
    lab.flow({ inPort: 1 }, act.output(2));
    const key = new Int32Array(flows.mask(0).words.length);
    const words = flows.mask(0).words.map((word, at) => (at === flows.mask(0).index[0] ? -1 : word));
    for (let i = 0; i < 70_000; i++) {
      key[flows.mask(0).index[0]] = i + 100;
      flows.insert(key, words, undefined, flows.program(0));
    }
    expect(lab.stats()).toMatchObject({ flows: 70_001, masks: 2 });
  });

  it("T-023, F-258: what a packet was matched with is what happens to it, though the flow changes before it has left", () => {
    const lab = new DatapathLab([{}, {}, {}]);
    lab.flow({ inPort: 1 }, act.output(2), act.output(2));
    lab.test.ports.batch(() => {
      lab.port(1).inject(datagram);
      lab.setFlow({ inPort: 1 }, false, act.output(3), act.output(3));
      lab.port(1).inject(datagram);
    });
    expect([lab.port(2).takeSent().length, lab.port(3).takeSent().length]).toEqual([2, 2]);
    lab.test.ports.batch(() => {
      lab.port(1).inject(datagram);
      lab.removeFlow({ inPort: 1 });
      lab.port(1).inject(datagram);
    });
    expect([lab.port(3).takeSent().length, lab.take().length]).toEqual([2, 1]);
  });

  it("T-024, T-025, T-021: a flow that is gone is not found again, neither by hash nor by key", () => {
    const lab = new DatapathLab();
    for (const gone of [() => lab.removeFlow({ inPort: 1 }), () => lab.flushFlows()]) {
      lab.flow({ inPort: 1 }, act.output(2));
      for (let i = 0; i < 3; i++) lab.port(1).inject(datagram);
      expect(lab.port(2).takeSent().length).toBe(3);
      gone();
      lab.port(1).inject(datagram);
      expect([lab.take().length, lab.port(2).takeSent().length]).toEqual([1, 0]);
      expect(() => lab.flowStats({ inPort: 1 })).toThrow(`errno ${ENOENT}`);
    }
  });

  it("T-025, A-118, T-035: counted with the length it came with, whatever its actions do and whether they succeed", () => {
    const lab = new DatapathLab();
    const short = frame(ethernet(), ipv4({ proto: 17, totalLength: 28 }));
    lab.flow(anyUdp({ inPort: 1 }), act.setUdp(1, 2), act.output(2));
    lab.port(1).inject(short);
    expect(lab.flowStats(anyUdp({ inPort: 1 }))).toEqual([1, short.length]);
    expect(lab.stats()).toMatchObject({ hit: 1, missed: 0, lost: 0 });
    expect(lab.port(2).sent).toEqual([]);
    lab.flow({ inPort: 2 }, act.pushVlan(5), act.recirc(3));
    lab.flow({ recircId: 3, type: 0x0800 }, act.output(1));
    lab.port(2).inject(datagram);
    expect(lab.flowStats({ inPort: 2 })).toEqual([1, LENGTH]);
  });

  it("T-026, T-027: a GSO packet counts once with its whole length; a tag beside the frame counts four bytes", () => {
    const lab = new DatapathLab();
    lab.flow({ inPort: 1 }, act.output(2));
    const big = frame(ethernet(), ipv4(), tcp({ flags: TCP_ACK }), new Uint8Array(9000));
    lab.port(1).inject(big, { gsoType: Gso.TCPV4, gsoSize: 1400, csum: Csum.PARTIAL, csumStart: 34, csumOffset: 16 });
    expect(lab.flowStats({ inPort: 1 })).toEqual([1, big.length]);
    // One that matches everything, tags included.
    const [{ flows }] = lab.test.kernel.datapaths.list;
    const nothing = new Int32Array(flows.mask(0).words.length);
    const any = flows.insert(nothing, nothing, undefined, flows.program(0));
    lab.port(2).inject(datagram, { vlanTpid: 0x8100, vlanTci: 5 });
    expect([flows.packets[any], flows.bytes[any]]).toEqual([1, LENGTH + 4]);
  });

  it("T-031, T-030: EXECUTE counts on no flow, but on those that it reaches by recirculation", () => {
    const lab = new DatapathLab();
    lab.flow({ inPort: 1 }, act.output(2));
    lab.flow({ recircId: 5 }, act.output(2));
    lab.execute(datagram, [act.output(2)]);
    expect(lab.flowStats({ inPort: 1 })).toEqual([0, 0]);
    expect(lab.stats()).toMatchObject({ hit: 0, missed: 0 });
    lab.execute(datagram, [act.recirc(5)]);
    expect(lab.flowStats({ recircId: 5 })).toEqual([1, LENGTH]);
    expect(lab.stats()).toMatchObject({ hit: 1, missed: 0 });
  });

  it("T-032, T-033, T-034, F-198: new actions keep the statistics, by SET and by NEW; CLEAR takes them, NEW ignores it", () => {
    const lab = new DatapathLab();
    lab.flow({ inPort: 1 }, act.output(2));
    lab.port(1).inject(datagram);
    lab.setFlow({ inPort: 1 }, false, act.output(1));
    expect(lab.flowStats({ inPort: 1 })).toEqual([1, LENGTH]);
    lab.flow({ inPort: 1 }, act.output(2));
    lab.port(1).inject(datagram);
    expect(lab.flowStats({ inPort: 1 })).toEqual([2, 2 * LENGTH]);
    lab.flow({ inPort: 1 }, act.output(2), new Uint8Array(0));
    expect(lab.flowHas({ inPort: 1 }, ovs.OVS_FLOW_ATTR_USED)).toBe(true);
    lab.setFlow({ inPort: 1 }, true, act.output(2));
    expect(lab.flowStats({ inPort: 1 })).toEqual([0, 0]);
    expect(lab.flowHas({ inPort: 1 }, ovs.OVS_FLOW_ATTR_USED)).toBe(false);
    expect(lab.flowHas({ inPort: 1 }, ovs.OVS_FLOW_ATTR_CLEAR)).toBe(false);
  });
});

describe("counters of a datapath", () => {
  it("T-037, T-038, T-039, T-040: from its creation on; nothing sets them back, and another datapath has its own", () => {
    const lab = new DatapathLab();
    lab.port(1).inject(datagram);
    lab.setPids(1, 0);
    lab.port(1).inject(datagram);
    lab.flow({ inPort: 1 }, act.output(2));
    lab.port(1).inject(datagram);
    lab.port(1).inject(datagram);
    const counted = { hit: 2, missed: 2, lost: 1, maskHit: 2, cacheHit: 1 };
    expect(lab.stats()).toEqual({ ...counted, flows: 1, masks: 1 });
    lab.setDatapath(0, undefined, 0);
    lab.setDatapath(0, undefined, 256);
    lab.flushFlows();
    lab.removeVport(1);
    expect(lab.stats()).toEqual({ ...counted, flows: 0, masks: 0 });
    const other = lab.client.get({
      family: "ovs_datapath",
      cmd: ovs.OVS_DP_CMD_NEW,
      flags: 8,
      version: 2,
      attributes: (w) => {
        w.string(ovs.OVS_DP_ATTR_NAME, "dp1");
        w.u32(ovs.OVS_DP_ATTR_UPCALL_PID, 0);
      },
    });
    const { STATS } = datapathAttributes.decode(other.view, 24, other.bytes.length);
    expect(STATS).toEqual({ hit: 0, missed: 0, lost: 0, flows: 0 });
  });

  it("T-107, U-038, F-136: upcalls of a port, whose kind and number do not matter", () => {
    const lab = new DatapathLab();
    lab.port(1).inject(datagram);
    lab.execute(datagram, [act.userspace(lab.pid), act.userspace(0x7fffffff)]);
    expect(lab.upcallStats(1)).toEqual([2, 1]);
    expect(lab.stats().lost).toBe(1);
    lab.removeVport(1);
    lab.addVport("eth1", { number: 1 });
    expect(lab.upcallStats(1)).toEqual([0, 0]);
  });
});

describe("meters of a datapath", () => {
  const DROP_ONE = { ID: 1, BANDS: [{ TYPE: ovs.OVS_METER_BAND_TYPE_DROP, RATE: 1, BURST: 1 }] };
  const request = (lab: DatapathLab, cmd: number, values: Parameters<typeof meterAttributes.encode>[1]) =>
    lab.client.ack({
      family: "ovs_meter",
      cmd,
      ifindex: lab.ifindex,
      attributes: (w) => meterAttributes.encode(w, values),
    });
  const meterOf = (lab: DatapathLab) => {
    const [{ view, bytes }] = request(lab, ovs.OVS_METER_CMD_GET, { ID: 1 }).replies;
    return meterAttributes.decode(view, 24, bytes.length);
  };

  it("T-054, T-125: one band at most, so none wins over another", () => {
    const lab = new DatapathLab();
    const [band] = DROP_ONE.BANDS;
    expect(request(lab, ovs.OVS_METER_CMD_SET, { ID: 1, BANDS: [band, band] }).errno).toBe(EINVAL);
  });

  it("T-045, T-062, F-296: times in milliseconds; used is when it was made, then when the last packet came", () => {
    const lab = new DatapathLab();
    lab.test.clock.advance(5000);
    request(lab, ovs.OVS_METER_CMD_SET, DROP_ONE);
    const made = meterOf(lab).USED;
    lab.test.clock.advance(1234);
    expect(meterOf(lab).USED).toBe(made);
    lab.execute(datagram, [act.meter(1)]);
    lab.test.clock.advance(50);
    expect(meterOf(lab).USED).toBe((made as number) + 1234);
    expect(made).toBe(lab.test.clock.monotonic() - 1234 - 50);
  });

  it("T-056, T-058, A-222: bytes are those of the frame without a tag beside it, and of a GSO packet all", () => {
    const lab = new DatapathLab();
    request(lab, ovs.OVS_METER_CMD_SET, DROP_ONE);
    lab.flow({ inPort: 1, type: 0x0800 }, act.meter(1));
    const big = frame(ethernet(), ipv4(), tcp(), new Uint8Array(9000));
    lab.port(1).inject(big, { gsoType: Gso.TCPV4, gsoSize: 1400, csum: Csum.PARTIAL, csumStart: 34, csumOffset: 16 });
    expect(meterOf(lab).STATS).toEqual({ packets: 1, bytes: big.length });
    lab.execute(frame(ethernet(), ipv4(), udp(), "x"), [act.pushVlan(7), act.meter(1)]);
    expect(meterOf(lab).STATS).toEqual({ packets: 2, bytes: big.length + 43 });
  });

  it("T-066, T-067, F-320: it is shared by all flows that name it, stays when they change, and goes with the datapath", () => {
    const lab = new DatapathLab();
    request(lab, ovs.OVS_METER_CMD_SET, { ID: 1, BANDS: [{ TYPE: 1, RATE: 1, BURST: 3 }] });
    lab.flow({ inPort: 1 }, act.meter(1), act.output(2));
    lab.flow({ inPort: 2 }, act.meter(1), act.output(1));
    lab.port(1).inject(datagram);
    lab.port(2).inject(datagram);
    lab.flushFlows();
    lab.flow({ inPort: 1 }, act.meter(1), act.output(2));
    for (let i = 0; i < 4; i++) lab.port(1).inject(datagram);
    // Three packets are the burst, in whatever flow.
    expect([lab.port(1).sent.length, lab.port(2).sent.length]).toEqual([1, 2]);
    expect(meterOf(lab).STATS).toEqual({ packets: 6, bytes: 6 * LENGTH });
    lab.client.errno({ family: "ovs_datapath", cmd: ovs.OVS_DP_CMD_DEL, ifindex: lab.ifindex, version: 2 });
    expect(request(lab, ovs.OVS_METER_CMD_GET, { ID: 1 }).errno).toBe(ENODEV);
  });
});

describe("limits of connections", () => {
  const limits = (lab: DatapathLab, cmd: number, zones: [zone: number, limit: number][], ifindex = lab.ifindex) => {
    const { errno, replies } = lab.client.ack({
      family: "ovs_ct_limit",
      cmd,
      ifindex,
      attributes: (w) =>
        w.raw(
          ovs.OVS_CT_LIMIT_ATTR_ZONE_LIMIT | 0x8000,
          concat(...zones.flatMap(([number, limit]) => [act.le32(number), act.le32(limit), act.le32(0)])),
        ),
    });
    expect(errno).toBe(0);
    return replies;
  };
  /** [limit, count] of a zone. */
  const limitOf = (lab: DatapathLab, number: number): number[] => {
    const [{ view }] = limits(lab, ovs.OVS_CT_LIMIT_CMD_GET, [[number, 0]]);
    return [view.getUint32(32, true), view.getUint32(36, true)];
  };
  const from = (port: number) => frame(ethernet(), ipv4(), udp({ src: port }), "x");
  const commit = (lab: DatapathLab, port: number, number: number): number =>
    lab.execute(from(port), [act.ct(COMMIT, zone(number)), act.output(2)]);

  it("T-068, T-070, F-326: by zone, of all datapaths together; 512 zones apart share nothing", () => {
    const lab = new DatapathLab();
    // Any dp_ifindex will do: limits belong to the namespace.
    limits(lab, ovs.OVS_CT_LIMIT_CMD_SET, [[5, 1]], 4711);
    expect([commit(lab, 1, 5), commit(lab, 2, 5), commit(lab, 2, 5 + 512), commit(lab, 3, 5 + 512)]).toEqual([
      0,
      ENOMEM,
      0,
      0,
    ]);
    expect(limitOf(lab, 5)).toEqual([1, 1]);
    limits(lab, ovs.OVS_CT_LIMIT_CMD_SET, [[-1, 2]]);
    expect([commit(lab, 1, 9), commit(lab, 2, 9), commit(lab, 3, 9), commit(lab, 2, 5)]).toEqual([
      0,
      0,
      ENOMEM,
      ENOMEM,
    ]);
  });

  it("T-069, F-334, F-341: nothing counts before the first limit anywhere", () => {
    const lab = new DatapathLab();
    for (const port of [1, 2, 3]) expect(commit(lab, port, 5)).toBe(0);
    expect(limitOf(lab, 5)).toEqual([0, 0]);
    limits(lab, ovs.OVS_CT_LIMIT_CMD_SET, [[5, 1]]);
    expect([commit(lab, 4, 5), commit(lab, 5, 5)]).toEqual([0, ENOMEM]);
    // What was there before goes on and is not counted.
    expect([commit(lab, 1, 5), commit(lab, 2, 5)]).toEqual([0, 0]);
    expect(limitOf(lab, 5)).toEqual([1, 1]);
  });

  it("T-072, T-073, F-343: a commit that would exceed it fails with ENOMEM and leaves neither mark nor connection; the packet is dropped", () => {
    const lab = new DatapathLab();
    limits(lab, ovs.OVS_CT_LIMIT_CMD_SET, [[5, 1]]);
    expect(commit(lab, 1, 5)).toBe(0);
    expect(lab.port(2).takeSent().length).toBe(1);
    const mark = act.attr(ovs.OVS_CT_ATTR_MARK, act.le32(7), act.le32(-1));
    expect(lab.execute(from(2), [act.ct(COMMIT, zone(5), mark), act.output(2)])).toBe(ENOMEM);
    expect(lab.port(2).takeSent()).toEqual([]);
    expect(lab.test.conntrack.count).toBe(1);
    // Looking up is no commit: it is not limited.
    expect(lab.execute(from(2), [act.ct(zone(5)), act.output(2)])).toBe(0);
    expect(lab.port(2).takeSent().length).toBe(1);
  });

  it("T-071, F-340: a connection that is gone, or a TCP one that is closed, makes room", () => {
    const lab = new DatapathLab();
    limits(lab, ovs.OVS_CT_LIMIT_CMD_SET, [[5, 1]]);
    const segment = (flags: number, seq: number, back = false) =>
      frame(
        ethernet(),
        back ? ipv4({ src: "10.0.0.2", dst: "10.0.0.1" }) : ipv4(),
        tcp(back ? { src: 80, dst: 1000, flags, seq, ack: 101 } : { src: 1000, dst: 80, flags, seq, ack: 301 }),
      );
    const go = (packet: Uint8Array) => lab.execute(packet, [act.ct(COMMIT, zone(5))]);
    expect([go(segment(TCP_SYN, 100)), go(segment(TCP_SYN | TCP_ACK, 300, true)), go(segment(TCP_ACK, 101))]).toEqual([
      0, 0, 0,
    ]);
    expect(commit(lab, 7, 5)).toBe(ENOMEM);
    expect(go(segment(TCP_RST | TCP_ACK, 101))).toBe(0);
    lab.test.clock.advance(10);
    expect(commit(lab, 7, 5)).toBe(0);
    expect(commit(lab, 8, 5)).toBe(ENOMEM);
    // UDP's timeout.
    lab.test.clock.advance(29_000);
    expect([commit(lab, 8, 5), limitOf(lab, 5)]).toEqual([ENOMEM, [1, 1]]);
    lab.test.clock.advance(2000);
    expect(limitOf(lab, 5)).toEqual([1, 0]);
    expect(commit(lab, 8, 5)).toBe(0);
    lab.test.clock.advance(31_000);
    expect([commit(lab, 9, 5), commit(lab, 10, 5)]).toEqual([0, ENOMEM]);
  });
});

describe("ports", () => {
  it("T-096, T-118: numbers up to 65534 carry packets; 65535 is none", () => {
    const lab = new DatapathLab();
    const last = lab.test.ports.addDevice("last");
    lab.test.ports.addDevice("beyond");
    expect([lab.addVport("beyond", { number: 65535 }), lab.addVport("last", { number: 65534 })]).toEqual([EFBIG, 0]);
    expect(lab.execute(datagram, [act.output(65534)])).toBe(0);
    expect(last.takeSent()).toEqual([datagram]);
    expect(lab.execute(datagram, [act.output(65535)])).toBe(EINVAL);
    last.inject(datagram);
    expect(lab.takeOne().key.IN_PORT).toBe(65534);
    lab.flow({ inPort: 65534 }, act.output(65534));
    last.inject(datagram);
    expect(last.sent).toEqual([datagram]);
  });

  it("F-150, T-118: with all 65534 in use there is no number left: EFBIG", () => {
    const lab = new DatapathLab([{}]);
    const [datapath] = lab.test.kernel.datapaths.list;
    const taken = datapath.vports[1];
    for (let portNo = 2; portNo < 65535; portNo++) datapath.vports[portNo] = taken;
    lab.test.ports.addDevice("more");
    expect(lab.addVport("more")).toBe(EFBIG);
    datapath.vports[77] = undefined;
    expect(lab.addVport("more")).toBe(0);
    expect(lab.vport(77).NAME).toBe("more");
    datapath.vports.length = 2;
  });

  it("K-246: a packet that came out of no tunnel has no tunnel key, and a flow that wants one does not match", () => {
    const lab = new DatapathLab();
    const tunnel = act.attr(
      ovs.OVS_KEY_ATTR_TUNNEL | 0x8000,
      act.attr(ovs.OVS_TUNNEL_KEY_ATTR_IPV4_DST, bytesOf(192, 0, 2, 1)),
      act.attr(ovs.OVS_TUNNEL_KEY_ATTR_TTL, bytesOf(64)),
    );
    const any = act.attr(ovs.OVS_KEY_ATTR_TUNNEL | 0x8000, act.attr(ovs.OVS_TUNNEL_KEY_ATTR_IPV4_DST, act.le32(-1)));
    const ip = act.attr(ovs.OVS_KEY_ATTR_IPV4, new Uint8Array(12));
    lab.flow({ inPort: 1, key: concat(ip, tunnel), mask: any }, act.output(2));
    lab.port(1).inject(datagram);
    expect(Object.keys(lab.takeOne().key)).not.toContain("TUNNEL");
    expect(lab.port(2).sent).toEqual([]);
  });

  it("T-097, F-187: ports are told by number modulo 1024", () => {
    const lab = new DatapathLab([]);
    for (const [index, number] of [1023, 1024, 5, 1029, 2053].entries()) {
      lab.test.ports.addDevice(`d${index}`);
      lab.addVport(`d${index}`, { number });
    }
    const { records } = lab.client.dump({ family: "ovs_vport", cmd: ovs.OVS_VPORT_CMD_GET, ifindex: lab.ifindex });
    const numbers = records.map(({ view, bytes }) => vportAttributes.decode(view, 24, bytes.length).PORT_NO);
    expect(numbers).toEqual([1024, 0, 2053, 1029, 5, 1023]);
  });

  it("T-098, T-099: a port goes while flows name it; its number and device can be had again, with other pids", () => {
    const lab = new DatapathLab();
    const other = lab.test.client();
    lab.flow({ inPort: 1 }, act.output(2));
    expect(lab.removeVport(2)).toBe(0);
    lab.port(1).inject(datagram);
    expect(lab.stats()).toMatchObject({ hit: 1, flows: 1 });
    expect(lab.port(2).sent).toEqual([]);
    expect(lab.addVport("eth2", { number: 2, pids: [other.socket.portId] })).toBe(0);
    lab.port(1).inject(datagram);
    expect(lab.port(2).sent).toEqual([datagram]);
    lab.port(2).inject(datagram);
    expect([lab.take().length, lab.take(other).length]).toEqual([0, 1]);
  });

  it("T-102, T-103, T-104, T-106, F-132: statistics are the device's, in order; neither SET nor a new port sets them back", () => {
    const lab = new DatapathLab();
    lab.flow({ inPort: 1 }, act.output(2));
    for (let i = 0; i < 3; i++) lab.port(1).inject(datagram);
    lab.execute(concat(datagram, new Uint8Array(3000)), [act.output(2)]);
    lab.execute(datagram, [act.output(1)]);
    const reply = (number: number) =>
      lab.client.get({
        family: "ovs_vport",
        cmd: ovs.OVS_VPORT_CMD_GET,
        ifindex: lab.ifindex,
        attributes: (w) => w.u32(ovs.OVS_VPORT_ATTR_PORT_NO, number),
      });
    const numbers = (number: number): number[] => {
      const { view, bytes } = reply(number);
      let at = 24;
      while (view.getUint16(at + 2, true) !== ovs.OVS_VPORT_ATTR_STATS) at += (view.getUint16(at, true) + 3) & ~3;
      expect([view.getUint16(at, true), bytes.length >= at + 68]).toEqual([68, true]);
      return Array.from({ length: 8 }, (_, i) => Number(view.getBigUint64(at + 4 + 8 * i, true)));
    };
    const one = [3, 1, 3 * LENGTH, LENGTH, 0, 0, 0, 0];
    const two = [0, 3, 0, 3 * LENGTH, 0, 1, 0, 0];
    expect([numbers(1), numbers(2)]).toEqual([one, two]);
    lab.setPids(1, lab.pid);
    lab.removeVport(2);
    lab.addVport("eth2", { number: 7 });
    expect([numbers(1), numbers(7)]).toEqual([one, two]);
  });

  it("T-108, T-110: the group hears of ports that come, change and go by netlink; not of their MTU, name or state", () => {
    const lab = new DatapathLab();
    const listener = lab.test.client();
    listener.socket.join(lab.test.group("ovs_vport"));
    lab.test.ports.addDevice("eth3");
    lab.addVport("eth3", { number: 3 });
    lab.setPids(3, lab.pid);
    lab.port(1).mtu = 9000;
    lab.port(1).running = false;
    lab.port(1).rename("eth9");
    lab.removeVport(3);
    const told = listener
      .drain()
      .map(({ cmd, view, bytes }) => [cmd, vportAttributes.decode(view, 24, bytes.length).NAME]);
    expect(told).toEqual([
      [ovs.OVS_VPORT_CMD_NEW, "eth3"],
      [ovs.OVS_VPORT_CMD_SET, "eth3"],
      [ovs.OVS_VPORT_CMD_DEL, "eth3"],
    ]);
  });

  it("T-111: the local device renamed: replies have the new name, neither name is found", () => {
    const lab = new DatapathLab();
    lab.test.ports.device("dp0")?.rename("dp9");
    const get = (attributes: Parameters<typeof lab.client.get>[0]["attributes"], ifindex = 0) =>
      lab.client.ack({ family: "ovs_datapath", cmd: ovs.OVS_DP_CMD_GET, version: 2, ifindex, attributes });
    for (const name of ["dp0", "dp9"]) expect(get((w) => w.string(ovs.OVS_DP_ATTR_NAME, name)).errno).toBe(ENODEV);
    const [{ view, bytes }] = get(undefined, lab.ifindex).replies;
    expect(datapathAttributes.decode(view, 24, bytes.length).NAME).toBe("dp9");
  });

  it("T-116: what a cable brings back is a packet of its own: however often it goes round, no limit of recursion is hit", () => {
    const lab = new DatapathLab([{}, {}, {}, {}]);
    // Cables lead from 3 to 4 and from 1 to 2.
    lab.flow({ inPort: 2 }, act.output(3));
    lab.flow({ inPort: 4 }, act.output(1));
    let frames = [datagram];
    for (let hop = 0; hop < 20; hop++) {
      const [input, output] = hop % 2 === 0 ? [2, 3] : [4, 1];
      for (const one of frames) lab.port(input).inject(one);
      frames = lab.port(output).takeSent();
      expect(frames).toEqual([datagram]);
    }
    expect(lab.stats()).toMatchObject({ hit: 20, missed: 0, lost: 0 });
  });
});

describe("attributes", () => {
  const dp = (
    lab: DatapathLab,
    cmd: number,
    attributes: (w: Parameters<NonNullable<Parameters<typeof lab.client.get>[0]["attributes"]>>[0]) => void,
  ) => lab.client.ack({ family: "ovs_datapath", cmd, ifindex: lab.ifindex, version: 2, attributes });
  const vport = (lab: DatapathLab, cmd: number, attributes: Parameters<typeof dp>[2]) =>
    lab.client.ack({ family: "ovs_vport", cmd, ifindex: lab.ifindex, attributes });

  it("F-072: a datapath's name has 1 to 15 characters and its NUL", () => {
    const lab = new DatapathLab([]);
    const create = (name: string) =>
      dp(lab, ovs.OVS_DP_CMD_NEW, (w) => {
        w.raw(ovs.OVS_DP_ATTR_NAME, new TextEncoder().encode(name));
        w.u32(ovs.OVS_DP_ATTR_UPCALL_PID, 0);
      }).errno;
    expect(["a23456789012345\0", "a234567890123456\0", "b23456789012345", "\0", ""].map(create)).toEqual([
      0, 22, 22, 22, 22,
    ]);
    expect(create("a23456789012345\0")).toBe(EEXIST);
  });

  it("F-074, F-075, F-076, F-085, F-111: SET answers with everything; statistics stand at their offsets, without padding attributes", () => {
    const lab = new DatapathLab();
    lab.setPids(1, 0);
    lab.port(1).inject(datagram);
    lab.flow({ inPort: 1 }, act.output(2));
    lab.port(1).inject(datagram);
    lab.port(1).inject(datagram);
    const reply = lab.client.get({
      family: "ovs_datapath",
      cmd: ovs.OVS_DP_CMD_SET,
      flags: 8,
      ifindex: lab.ifindex,
      version: 2,
      attributes: (w) => w.u32(ovs.OVS_DP_ATTR_USER_FEATURES, ovs.OVS_DP_F_VPORT_PIDS),
    });
    expect(reply.cmd).toBe(ovs.OVS_DP_CMD_SET);
    const le64 = (value: number) => concat(act.le32(value), act.le32(0));
    expect(hex(reply.bytes.subarray(24))).toBe(
      hex(
        concat(
          act.attr(ovs.OVS_DP_ATTR_NAME, new TextEncoder().encode("dp0\0")),
          act.attr(ovs.OVS_DP_ATTR_STATS, ...[2, 1, 1, 1].map(le64)),
          act.attr(ovs.OVS_DP_ATTR_MEGAFLOW_STATS, le64(2), act.le32(1), act.le32(0), ...[1, 0].map(le64)),
          act.attr(ovs.OVS_DP_ATTR_USER_FEATURES, act.le32(ovs.OVS_DP_F_VPORT_PIDS)),
          act.attr(ovs.OVS_DP_ATTR_MASKS_CACHE_SIZE, act.le32(256)),
        ),
      ),
    );
  });

  it("F-077, F-133, F-203: PAD is taken in every family, whatever it holds, and means nothing", () => {
    const lab = new DatapathLab();
    lab.flow({ inPort: 1 }, act.output(2));
    for (const length of [0, 4, 8]) {
      const pad = new Uint8Array(length);
      expect(dp(lab, ovs.OVS_DP_CMD_GET, (w) => w.raw(ovs.OVS_DP_ATTR_PAD, pad)).errno).toBe(0);
      const { errno } = vport(lab, ovs.OVS_VPORT_CMD_GET, (w) => {
        w.raw(ovs.OVS_VPORT_ATTR_PAD, pad);
        w.u32(ovs.OVS_VPORT_ATTR_PORT_NO, 1);
      });
      expect(errno).toBe(0);
      const flow = lab.client.ack({
        family: "ovs_flow",
        cmd: ovs.OVS_FLOW_CMD_DEL,
        ifindex: lab.ifindex,
        attributes: (w) => {
          w.raw(ovs.OVS_FLOW_ATTR_PAD, pad);
          w.raw(ovs.OVS_FLOW_ATTR_UFID, Uint8Array.of(1));
        },
      });
      expect(flow.errno).toBe(ENOENT);
    }
  });

  it("F-081, F-082: UNALIGNED ends upcalls unpadded, VPORT_PIDS shows all pids; each alone", () => {
    const lab = new DatapathLab(undefined, 0);
    lab.setPids(1, lab.pid, 7);
    for (const features of [0, 1, 2, 3]) {
      lab.setDatapath(features);
      lab.port(1).inject(datagram);
      const [seen] = lab.take();
      if (seen !== undefined) expect(seen.reply.bytes.length % 4 === 0).toBe((features & 1) === 0);
      expect(lab.vport(1).UPCALL_PID).toEqual(Uint32Array.from((features & 2) === 0 ? [lab.pid] : [lab.pid, 7]));
    }
  });

  it("F-127, F-129, F-131, F-132, F-136: lengths that the vport family takes", () => {
    const lab = new DatapathLab();
    const get = (type: number, bytes: Uint8Array) => vport(lab, ovs.OVS_VPORT_CMD_GET, (w) => w.raw(type, bytes)).errno;
    const set = (type: number, length: number) =>
      vport(lab, ovs.OVS_VPORT_CMD_SET, (w) => {
        w.u32(ovs.OVS_VPORT_ATTR_PORT_NO, 1);
        w.raw(type, new Uint8Array(length));
      }).errno;
    const one = Uint8Array.of(1, 0, 0, 0, 0, 0, 0, 0);
    expect([0, 2, 3, 4, 6, 8].map((length) => get(ovs.OVS_VPORT_ATTR_PORT_NO, one.subarray(0, length)))).toEqual([
      34, 34, 34, 0, 0, 0,
    ]);
    const text = (name: string) => get(ovs.OVS_VPORT_ATTR_NAME, new TextEncoder().encode(name));
    expect(["eth1\0", "eth1", "123456789012345\0", "1234567890123456\0", ""].map(text)).toEqual([
      0,
      EINVAL,
      ENODEV,
      EINVAL,
      EINVAL,
    ]);
    expect([0, 2, 3, 4, 6, 8].map((length) => set(ovs.OVS_VPORT_ATTR_UPCALL_PID, length))).toEqual([
      22, 22, 22, 0, 22, 0,
    ]);
    expect([0, 8, 63, 64, 80].map((length) => set(ovs.OVS_VPORT_ATTR_STATS, length))).toEqual([34, 34, 34, 0, 0]);
    expect([0, 2, 3, 4, 6, 8].map((length) => set(ovs.OVS_VPORT_ATTR_UPCALL_STATS, length))).toEqual([
      0, 34, 34, 0, 0, 0,
    ]);
    expect(ERANGE).toBe(34);
  });

  it("F-136, F-085: UPCALL_STATS holds SUCCESS and FAIL as u64, without padding attributes", () => {
    const lab = new DatapathLab();
    lab.port(1).inject(datagram);
    const [{ bytes, view }] = vport(lab, ovs.OVS_VPORT_CMD_GET, (w) => w.u32(ovs.OVS_VPORT_ATTR_PORT_NO, 1)).replies;
    let at = 24;
    while ((view.getUint16(at + 2, true) & 0x3fff) !== ovs.OVS_VPORT_ATTR_UPCALL_STATS)
      at += (view.getUint16(at, true) + 3) & ~3;
    expect(hex(bytes.subarray(at, at + 28))).toBe(
      `1c000a${hex(bytes.subarray(at + 3, at + 4))}0c00000001000000000000000c0001000000000000000000`,
    );
  });

  it("F-198: CLEAR is a flag: it has no payload, and NEW ignores it", () => {
    const lab = new DatapathLab();
    lab.flow({ inPort: 1 }, act.output(2));
    lab.port(1).inject(datagram);
    const clear = (length: number) =>
      lab.client.errno({
        family: "ovs_flow",
        cmd: ovs.OVS_FLOW_CMD_SET,
        ifindex: lab.ifindex,
        attributes: (w) => {
          w.raw(ovs.OVS_FLOW_ATTR_UFID, Uint8Array.of(1));
          w.raw(ovs.OVS_FLOW_ATTR_CLEAR, new Uint8Array(length));
        },
      });
    expect([clear(1), clear(4), clear(0)]).toEqual([ERANGE, ERANGE, ENOENT]);
  });

  it("F-185: what vswitchd relies on: a port that is not there is ENODEV, for GET and DEL, by number and name", () => {
    const lab = new DatapathLab();
    for (const cmd of [ovs.OVS_VPORT_CMD_GET, ovs.OVS_VPORT_CMD_DEL]) {
      expect(vport(lab, cmd, (w) => w.u32(ovs.OVS_VPORT_ATTR_PORT_NO, 9)).errno).toBe(ENODEV);
      expect(vport(lab, cmd, (w) => w.string(ovs.OVS_VPORT_ATTR_NAME, "eth9")).errno).toBe(ENODEV);
    }
  });

  it("F-270, T-123: as many actions as a message can hold; no limit of 32 KiB", () => {
    const lab = new DatapathLab();
    const outputs = (count: number) => new Array<Uint8Array>(count).fill(act.output(2));
    for (const count of [4000, 4097, 8000, 8180]) lab.flow({ inPort: 1 }, ...outputs(count));
    lab.flow({ inPort: 1 }, ...outputs(3));
    lab.port(1).inject(datagram);
    expect(lab.port(2).sent.length).toBe(3);
  });

  it("F-210: actions come back as they were given, SET as SET", () => {
    const lab = new DatapathLab();
    const actions = [
      act.setMark(7),
      act.clone(act.pushVlan(3), act.output(2)),
      act.sample(1 << 30, act.userspace(5)),
      act.ct(COMMIT, zone(4)),
      act.recirc(9),
    ];
    lab.flow({ inPort: 1 }, ...actions);
    const replies = lab.client.dump({ family: "ovs_flow", cmd: ovs.OVS_FLOW_CMD_GET, ifindex: lab.ifindex }).records;
    expect(hex(replies[0].bytes)).toContain(hex(concat(...actions)));
    expect(messagesIn(replies[0].bytes).length).toBe(1);
  });
});

describe("limits", () => {
  it("T-127, F-078: the mask cache has 0 or a power of two up to 4096 entries", () => {
    const lab = new DatapathLab();
    expect([0, 1, 2, 4096, 3, 4095, 4097, 8192].map((size) => lab.setDatapath(0, undefined, size))).toEqual([
      0,
      0,
      0,
      0,
      EINVAL,
      EINVAL,
      ERANGE,
      ERANGE,
    ]);
  });

  it("T-128, U-010: MRU is a u16", () => {
    const lab = new DatapathLab();
    lab.execute(datagram, [act.userspace(lab.pid)], { mru: 65535 });
    const { mru, reply } = lab.takeOne();
    expect(mru).toBe(65535);
    expect(hex(reply.bytes)).toContain("06000900ffff0000");
  });

  it("T-122: UFIDs of 16 bytes are told apart by the last", () => {
    const lab = new DatapathLab();
    const ufid = (last: number) => Uint8Array.from({ length: 16 }, (_, i) => (i === 15 ? last : i + 1));
    const flow = (cmd: number, last: number, port: number) =>
      lab.client.ack({
        family: "ovs_flow",
        cmd,
        ifindex: lab.ifindex,
        attributes: (w) => {
          w.raw(ovs.OVS_FLOW_ATTR_UFID, ufid(last));
          if (cmd !== ovs.OVS_FLOW_CMD_NEW) return;
          w.raw(
            ovs.OVS_FLOW_ATTR_KEY,
            concat(
              inPort(port),
              act.attr(ovs.OVS_KEY_ATTR_ETHERNET, new Uint8Array(12)),
              act.attr(ovs.OVS_KEY_ATTR_ETHERTYPE, Uint8Array.of(0x88, 0xcc)),
            ),
          );
          w.raw(
            ovs.OVS_FLOW_ATTR_MASK,
            concat(inPort(-1), act.attr(ovs.OVS_KEY_ATTR_ETHERTYPE, Uint8Array.of(255, 255))),
          );
          w.raw(ovs.OVS_FLOW_ATTR_ACTIONS, new Uint8Array(0));
        },
      }).errno;
    expect([flow(ovs.OVS_FLOW_CMD_NEW, 1, 1), flow(ovs.OVS_FLOW_CMD_NEW, 2, 2)]).toEqual([0, 0]);
    expect([
      flow(ovs.OVS_FLOW_CMD_DEL, 3, 0),
      flow(ovs.OVS_FLOW_CMD_DEL, 2, 0),
      flow(ovs.OVS_FLOW_CMD_DEL, 2, 0),
    ]).toEqual([ENOENT, 0, ENOENT]);
    expect(lab.stats().flows).toBe(1);
  });

  it("T-119: the key has two tags; a third is the ethertype that the inner one names", () => {
    const lab = new DatapathLab();
    const three = frame(ethernet(), vlan({ vid: 5 }), vlan({ vid: 6 }), vlan({ vid: 7 }), ipv4(), udp());
    lab.port(1).inject(three);
    const { key, packet } = lab.takeOne();
    expect(key).toMatchObject({
      ETHERTYPE: 0x8100,
      VLAN: 0x1005,
      ENCAP: { ETHERTYPE: 0x8100, VLAN: 0x1006, ENCAP: { ETHERTYPE: 0x8100 } },
    });
    expect(hex(packet)).toBe(hex(three));
  });

  it("T-120: the key has three labels of a stack of five", () => {
    const lab = new DatapathLab();
    const stack = [1, 2, 3, 4, 5].map((label) => u32((label << 12) | (label === 5 ? 0x100 : 0) | 64));
    lab.port(1).inject(frame(ethernet({ type: 0x8847 }), ...stack, ipv4(), udp()));
    expect(hex(lab.takeOne().reply.bytes)).toContain("10001500" + "000010400000204000003040");
  });

  it("T-121: 252 bytes of Geneve options, not 256", () => {
    const lab = new DatapathLab();
    const options = (length: number) => {
      const option = concat(Uint8Array.of(0, 0, 1, 1), new Uint8Array(4));
      const whole = new Array<Uint8Array>(length >> 3).fill(option);
      if (length % 8 !== 0) whole.push(Uint8Array.of(0, 0, 1, 0));
      return act.attr(
        ovs.OVS_KEY_ATTR_TUNNEL | 0x8000,
        act.attr(ovs.OVS_TUNNEL_KEY_ATTR_ID, new Uint8Array(8)),
        act.attr(ovs.OVS_TUNNEL_KEY_ATTR_IPV4_SRC, Uint8Array.of(1, 2, 3, 4)),
        act.attr(ovs.OVS_TUNNEL_KEY_ATTR_IPV4_DST, Uint8Array.of(1, 2, 3, 5)),
        act.attr(ovs.OVS_TUNNEL_KEY_ATTR_TTL, Uint8Array.of(64)),
        act.attr(ovs.OVS_TUNNEL_KEY_ATTR_GENEVE_OPTS, ...whole),
      );
    };
    const errnos = [248, 252, 256].map((length) =>
      lab.execute(datagram, [act.userspace(lab.pid)], { key: concat(inPort(1), options(length)) }),
    );
    expect(errnos).toEqual([0, 0, EINVAL]);
    // OVS_TUNNEL_KEY_ATTR_GENEVE_OPTS with its header.
    const shown = lab.take().map(({ reply }) => hex(reply.bytes));
    expect(shown.map((bytes) => [bytes.includes("fc00080000000101"), bytes.includes("0001080000000101")])).toEqual([
      [true, false],
      [false, true],
    ]);
  });

  it("T-124: a chain of recirculations is cut after 30 flows: three within each other, nine deferred", () => {
    const lab = new DatapathLab();
    for (const more of [[], [act.output(2)]]) {
      for (let id = 1; id < 120; id++) lab.flow({ recircId: id }, act.recirc(id + 1), ...more);
      const before = lab.stats().hit;
      expect(lab.execute(datagram, [act.recirc(1), ...more])).toBe(0);
      expect(lab.stats()).toMatchObject({ hit: before + 30, missed: 0, lost: 0 });
      expect(lab.port(2).takeSent().length).toBe(more.length * 31);
    }
  });

  it("T-126: no datapath promises more than 200,000 meters", () => {
    const lab = new DatapathLab();
    const { replies } = lab.client.ack({ family: "ovs_meter", cmd: ovs.OVS_METER_CMD_FEATURES, ifindex: lab.ifindex });
    const { MAX_METERS } = meterAttributes.decode(replies[0].view, 24, replies[0].bytes.length);
    expect(MAX_METERS).toBeGreaterThan(1000);
    expect(MAX_METERS).toBeLessThanOrEqual(200_000);
  });

  it("T-129: an L2 header of 30 bytes is put before every fragment, one of 34 before none", () => {
    const lab = new DatapathLab();
    const big = frame(ethernet(), ipv4(), udp(), new Uint8Array(2000));
    const sent = (labels: number) => {
      // The first is the bottom of the stack.
      const push = Array.from({ length: labels }, (_, i) => act.pushMpls(i === 0 ? 0x5140 : 0x5040));
      expect(lab.execute(big, [...push, act.output(2)], { mru: 1000 })).toBe(0);
      return lab.port(2).takeSent().length;
    };
    expect([sent(0), sent(3), sent(4), sent(5)]).toEqual([3, 3, 3, 0]);
  });

  it("T-130: names of helpers have 15 characters, of timeout policies 31", () => {
    const lab = new DatapathLab();
    const name = (length: number) => new TextEncoder().encode(`${"h".repeat(length)}\0`);
    const install = (attribute: Uint8Array): string => {
      try {
        lab.flow(anyUdp({ inPort: 1 }), act.ct(COMMIT, attribute));
        return "taken";
      } catch (error) {
        return (error as Error).message;
      }
    };
    const policy = { maxExpected: 1, timeout: 60 };
    lab.test.conntrack.registerHelper({ name: "h".repeat(15), proto: 17, policies: [policy], help: () => 0 } as never);
    expect([15, 16, 17].map((length) => install(act.attr(ovs.OVS_CT_ATTR_HELPER, name(length))))).toEqual([
      "taken",
      "flow: errno 22",
      "flow: errno 22",
    ]);
    expect([31, 32].map((length) => install(act.attr(ovs.OVS_CT_ATTR_TIMEOUT, name(length))))).toEqual([
      "taken",
      "flow: errno 22",
    ]);
  });

  it("T-131: labels have 128 bits, with their mask 32 bytes", () => {
    const lab = new DatapathLab();
    const labels = (length: number) =>
      act.ct(COMMIT, act.attr(ovs.OVS_CT_ATTR_LABELS, new Uint8Array(length).fill(255)));
    const errnos = [16, 28, 32, 36].map((length) => lab.execute(datagram, [labels(length), act.userspace(lab.pid)]));
    expect(errnos).toEqual([EINVAL, EINVAL, 0, EINVAL]);
    expect(lab.takeOne().key.CT_LABELS).toEqual(new Uint8Array(16).fill(255));
  });
});
