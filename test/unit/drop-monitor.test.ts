/** Why packets are dropped, as the drop monitor tells (spec/actions section 12). */
import { describe, expect, it } from "vitest";
import type { KernelRelease } from "../../src/core/kernel-profile.ts";
import { DropReason, dropReasonName } from "../../src/datapath/drop-reason.ts";
import type { MessageWriter } from "../../src/netlink/writer.ts";
import type { MemoryDevice } from "../../src/port/memory/ports.ts";
import { nlctrl } from "../../src/schema/genetlink.ts";
import { dropMonitorAttributes } from "../../src/schema/net-dropmon.ts";
import { EAGAIN, EBUSY, EINVAL, EPERM } from "../../src/uapi/errno.ts";
import * as dm from "../../src/uapi/net_dropmon.ts";
import * as ovs from "../../src/uapi/openvswitch.ts";
import * as a from "../support/actions.ts";
import { DatapathLab } from "../support/datapath-lab.ts";
import { MessageDecoder } from "../support/decode.ts";
import { concat, ethernet, fragmentIpv4, frame, ipv4, u16, udp, unhex } from "../support/frames.ts";
import type { Reply, TestClient } from "../support/kernel.ts";

const FRAME = frame(ethernet(), ipv4({ src: "10.0.0.1", dst: "10.0.0.2" }), udp({ src: 1, dst: 2 }), "payload");
const IN_1 = { inPort: 1 };

const configure = (client: TestClient, values: Parameters<typeof dropMonitorAttributes.encode>[1]): number =>
  request(client, dm.NET_DM_CMD_CONFIG, (writer) => dropMonitorAttributes.encode(writer, values));

/** A request to a family without header of its own; its errno. */
function request(client: TestClient, cmd: number, attributes: (writer: MessageWriter) => void = () => {}): number {
  return client.ack({ family: "NET_DM", cmd, attributes, headless: true }).errno;
}

const decode = (reply: Reply) => dropMonitorAttributes.decode(reply.view, 20, reply.bytes.length);

function setUp(options: { kernel?: KernelRelease; devices?: MemoryDevice[] } = {}) {
  const lab = new DatapathLab(options.devices ?? [{}, {}], undefined, { kernel: options.kernel });
  const monitor = lab.test.client();
  monitor.socket.join(lab.test.group("NET_DM"));
  expect(configure(monitor, { ALERT_MODE: dm.NET_DM_ALERT_MODE_PACKET })).toBe(0);
  expect(request(monitor, dm.NET_DM_CMD_START)).toBe(0);
  /** Why packets were dropped since the last call. */
  const reasons = () => monitor.drain().map((reply) => decode(reply).REASON);
  const through = (packet: Uint8Array, ...actions: Uint8Array[]) => {
    lab.flow(IN_1, ...actions);
    lab.port(1).inject(packet);
    return reasons();
  };
  return { lab, monitor, reasons, through };
}

describe("drop reasons of 6.6 and later", () => {
  it("A-232: numbers and names", () => {
    const own = [
      "LAST_ACTION",
      "ACTION_ERROR",
      "EXPLICIT",
      "EXPLICIT_WITH_ERROR",
      "METER",
      "RECURSION_LIMIT",
      "DEFERRED_LIMIT",
      "FRAG_L2_TOO_LONG",
      "FRAG_INVALID_PROTO",
      "CONNTRACK",
      "IP_TTL",
    ];
    const base = 3 << 16;
    expect(own.map((_, i) => dropReasonName(base + 1 + i))).toEqual(own.map((name) => `OVS_DROP_${name}`));
    expect(DropReason.IP_TTL).toBe(base + own.length);
  });

  it("A-230, A-231: DROP tells whether it was for an error; the list returns 0", () => {
    const { lab, reasons, through } = setUp();
    expect(through(FRAME, a.drop(0))).toEqual(["OVS_DROP_EXPLICIT"]);
    expect(through(FRAME, a.output(2), a.drop(5))).toEqual(["OVS_DROP_EXPLICIT_WITH_ERROR"]);
    expect(lab.port(2).sent).toEqual([FRAME]);
    expect(lab.execute(FRAME, [a.drop(5)])).toBe(0);
    expect(reasons()).toEqual(["OVS_DROP_EXPLICIT_WITH_ERROR"]);
  });

  it("A-114, A-233: LAST_ACTION at the end of a list that has not consumed the packet", () => {
    const { through } = setUp();
    expect(through(FRAME)).toEqual(["OVS_DROP_LAST_ACTION"]);
    expect(through(FRAME, a.output(2))).toEqual([]);
    expect(through(FRAME, a.output(2), a.setMark(1))).toEqual(["OVS_DROP_LAST_ACTION"]);
    expect(through(FRAME, a.clone(a.setMark(1)), a.output(2))).toEqual(["OVS_DROP_LAST_ACTION"]);
    expect(through(FRAME, a.recirc(77))).toEqual([]);
  });

  it("A-234: ACTION_ERROR once for each packet that an error frees", () => {
    const { lab, reasons, through } = setUp();
    const fails = a.set(ovs.OVS_KEY_ATTR_CT_MARK, a.le32(1));
    expect(through(FRAME, fails, a.output(2))).toEqual(["OVS_DROP_ACTION_ERROR"]);
    // Last: the nested list has the packet itself. Not last: its copy, and then the packet.
    expect(through(FRAME, a.clone(fails))).toEqual(["OVS_DROP_ACTION_ERROR"]);
    expect(through(FRAME, a.clone(a.clone(fails)))).toEqual(["OVS_DROP_ACTION_ERROR"]);
    expect(through(FRAME, a.clone(fails), a.output(2))).toEqual(Array(2).fill("OVS_DROP_ACTION_ERROR"));
    expect(lab.execute(FRAME, [fails])).toBe(EINVAL);
    expect(reasons()).toEqual(["OVS_DROP_ACTION_ERROR"]);
    expect(lab.port(2).sent).toEqual([]);
  });

  it("A-117, A-234: an error behind a recirculation stays there", () => {
    const { lab, reasons } = setUp();
    lab.flow({ recircId: 7 }, a.set(ovs.OVS_KEY_ATTR_CT_MARK, a.le32(1)));
    expect(lab.execute(FRAME, [a.recirc(7), a.output(2)])).toBe(0);
    expect(lab.port(2).sent).toEqual([FRAME]);
    expect(reasons()).toEqual(["OVS_DROP_ACTION_ERROR"]);
    expect(lab.execute(FRAME, [a.recirc(7)])).toBe(0);
    expect(reasons()).toEqual(["OVS_DROP_ACTION_ERROR"]);
  });

  it("A-133: no counter of the datapath tells of a drop", () => {
    const { lab, through } = setUp();
    const before = lab.stats();
    expect(through(FRAME, a.drop(1))).toHaveLength(1);
    expect(lab.stats()).toEqual({ ...before, hit: before.hit + 1, flows: 1, masks: 1, maskHit: 1 });
    expect(lab.vport(2).STATS).toMatchObject({ tx_packets: 0, tx_dropped: 0, tx_errors: 0 });
  });

  it("A-118: a flow counts a packet whatever becomes of it", () => {
    const { lab, through } = setUp();
    through(FRAME, a.set(ovs.OVS_KEY_ATTR_CT_MARK, a.le32(1)));
    through(FRAME, a.drop(0));
    expect(lab.flowStats(IN_1)).toEqual([2, 2 * FRAME.length]);
  });

  it("A-235: METER", () => {
    const { lab, through } = setUp();
    const band = concat(
      a.attr(ovs.OVS_BAND_ATTR_TYPE, a.le32(1)),
      a.attr(ovs.OVS_BAND_ATTR_RATE, a.le32(1)),
      a.attr(ovs.OVS_BAND_ATTR_BURST, a.le32(1)),
    );
    const errno = lab.client.errno({
      family: "ovs_meter",
      cmd: ovs.OVS_METER_CMD_SET,
      ifindex: lab.ifindex,
      attributes: (writer) => {
        writer.u32(ovs.OVS_METER_ATTR_ID, 3);
        writer.raw(ovs.OVS_METER_ATTR_BANDS, a.attr(0, band));
      },
    });
    expect(errno).toBe(0);
    expect(through(FRAME, a.meter(3), a.output(2))).toEqual([]);
    expect(through(FRAME, a.meter(3), a.output(2))).toEqual(["OVS_DROP_METER"]);
    expect(lab.port(2).sent).toHaveLength(1);
  });

  it("A-238: CONNTRACK when ct fails, here at a zone's limit", () => {
    const { lab, through } = setUp();
    lab.test.conntrack.limits.enabled = true;
    lab.test.conntrack.limits.set(5, 1);
    const commit = a.ct(a.attr(ovs.OVS_CT_ATTR_COMMIT), a.attr(ovs.OVS_CT_ATTR_ZONE, a.le16(5)));
    const from = (src: number) => frame(ethernet(), ipv4({ src: "10.0.0.1", dst: "10.0.0.2" }), udp({ src, dst: 2 }));
    expect(through(from(1), commit, a.output(2))).toEqual([]);
    expect(through(from(2), commit, a.output(2))).toEqual(["OVS_DROP_CONNTRACK"]);
    expect(lab.port(2).sent).toHaveLength(1);
  });

  it("A-238: a fragment that waits for others is not dropped", () => {
    const { through } = setUp();
    const whole = frame(ethernet(), ipv4({ src: "10.0.0.1", dst: "10.0.0.2" }), udp({}), new Uint8Array(200));
    const [first] = fragmentIpv4(whole, 100);
    expect(through(first, a.ct(), a.output(2))).toEqual([]);
  });

  it("A-217, A-239: IP_TTL when dec_ttl has no actions for an expired packet", () => {
    const { lab, through } = setUp();
    const old = frame(ethernet(), ipv4({ ttl: 1 }), udp({}));
    expect(through(old, a.decTtl(), a.output(2))).toEqual(["OVS_DROP_IP_TTL"]);
    expect(through(old, a.decTtl(a.output(2)), a.drop(0))).toEqual([]);
    expect(lab.port(2).sent).toEqual([old]);
  });

  it("A-134, A-135, A-240: DEV_READY for a port that is missing or down", () => {
    const { lab, through } = setUp();
    expect(through(FRAME, a.output(9))).toEqual(["DEV_READY"]);
    lab.port(2).running = false;
    expect(through(FRAME, a.output(2))).toEqual(["DEV_READY"]);
    expect(lab.vport(2).STATS).toMatchObject({ tx_packets: 0, tx_dropped: 0, tx_errors: 0 });
  });

  it("A-147, A-241: PKT_TOO_BIG when the fragments do not fit the port", () => {
    const { lab, reasons } = setUp({ devices: [{}, { mtu: 900 }] });
    const big = frame(ethernet(), ipv4({ src: "10.0.0.1", dst: "10.0.0.2" }), udp({}), new Uint8Array(2000));
    expect(lab.execute(big, [a.output(2)], { mru: 1000 })).toBe(0);
    expect(reasons()).toEqual(["PKT_TOO_BIG"]);
    expect(lab.execute(big, [a.output(2)], { mru: 900 })).toBe(0);
    expect(reasons()).toEqual([]);
  });

  it("A-148, A-149: fragmentation that is refused", () => {
    const { lab, reasons } = setUp();
    const big = frame(ethernet(), ipv4({ src: "10.0.0.1", dst: "10.0.0.2" }), udp({}), new Uint8Array(2000));
    const labels = Array.from({ length: 5 }, (_, i) => a.pushMpls(i === 0 ? 0x64140 : 0x64040));
    expect(lab.execute(big, [...labels, a.output(2)], { mru: 1000 })).toBe(0);
    expect(reasons()).toEqual(["OVS_DROP_FRAG_L2_TOO_LONG"]);
    const other = concat(big.subarray(0, 12), u16(0x88b5), big.subarray(14));
    expect(lab.execute(other, [a.output(2)], { mru: 1000 })).toBe(0);
    expect(reasons()).toEqual(["OVS_DROP_FRAG_INVALID_PROTO"]);
    expect(lab.port(2).sent).toEqual([]);
  });

  it("A-242: NOMEM when there is no room for fragments", () => {
    const { lab, reasons } = setUp();
    const big = frame(ethernet(), ipv4({ src: "10.0.0.1", dst: "10.0.0.2" }), udp({}), new Uint8Array(2000));
    const { memory } = lab.test.ports;
    const scratch = memory.scratch.bind(memory);
    let left = 1;
    memory.scratch = (size: number) => (left-- > 0 ? scratch(size) : -1);
    expect(lab.execute(big, [a.output(2)], { mru: 1000 })).toBe(0);
    memory.scratch = scratch;
    expect(reasons()).toEqual(["NOMEM"]);
  });

  it("A-243: not dropped when user space or psample has it last; LAST_ACTION when sample passes it over", () => {
    const { lab, through } = setUp();
    expect(through(FRAME, a.userspace(lab.pid))).toEqual([]);
    expect(through(FRAME, a.psample(1, unhex("01")))).toEqual([]);
    expect(through(FRAME, a.userspace(lab.pid), a.setMark(1))).toEqual(["OVS_DROP_LAST_ACTION"]);
    expect(through(FRAME, a.sample(0, a.output(2)))).toEqual(["OVS_DROP_LAST_ACTION"]);
  });

  it("a type or size that the port cannot take, a MISS that nobody gets: NOT_SPECIFIED", () => {
    const { lab, reasons, through } = setUp({ devices: [{}, { mtu: 100 }] });
    const popped = [a.attr(ovs.OVS_ACTION_ATTR_POP_ETH), a.output(2)];
    expect(through(FRAME, ...popped)).toEqual(["NOT_SPECIFIED"]);
    expect(through(frame(ethernet(), ipv4(), udp({}), new Uint8Array(200)), a.output(2))).toEqual(["NOT_SPECIFIED"]);
    expect(lab.vport(2).STATS).toMatchObject({ tx_errors: 1 });
    lab.flushFlows();
    lab.port(1).inject(FRAME);
    expect(reasons()).toEqual([]);
    lab.setPids(1, 0);
    lab.port(1).inject(FRAME);
    expect(reasons()).toEqual(["NOT_SPECIFIED"]);
    lab.port(1).inject(FRAME.subarray(0, 13));
    expect(reasons()).toEqual(["NOT_SPECIFIED"]);
  });
});

it("A-232 to A-239: before 6.6 an error has no reason, and the end of a list is not a drop", () => {
  const { through } = setUp({ kernel: "6.1" });
  expect(through(FRAME)).toEqual([]);
  expect(through(FRAME, a.sample(0, a.output(2)))).toEqual([]);
  expect(through(frame(ethernet(), ipv4({ ttl: 1 }), udp({})), a.decTtl())).toEqual([]);
  expect(through(FRAME, a.output(9))).toEqual(["NOT_SPECIFIED"]);
  expect(through(FRAME, a.set(ovs.OVS_KEY_ATTR_CT_MARK, a.le32(1)))).toEqual(["NOT_SPECIFIED"]);
});

describe("the NET_DM family", () => {
  it("sends one alert a packet, its attributes in the kernel's order", () => {
    const { lab, monitor } = setUp();
    lab.flow(IN_1, a.drop(1));
    lab.port(1).inject(FRAME);
    const [alert, ...more] = monitor.drain();
    expect(more).toEqual([]);
    expect([alert.flags, alert.seq, alert.pid, alert.cmd, alert.version]).toEqual([0, 0, 0, 5, 2]);
    expect(Object.entries(decode(alert)).filter(([name]) => name !== "PC")).toEqual([
      ["ORIGIN", 0],
      ["REASON", "OVS_DROP_EXPLICIT_WITH_ERROR"],
      ["SYMBOL", "do_execute_actions [openvswitch]"],
      ["IN_PORT", { NETDEV_IFINDEX: lab.port(1).ifindex }],
      ["TIMESTAMP", lab.test.clock.realtime() * 1e6],
      ["ORIG_LEN", FRAME.length],
      ["PROTO", 0x0800],
      ["PAYLOAD", FRAME],
    ]);
    const decoder = new MessageDecoder([[lab.test.family("NET_DM"), "NET_DM"]]);
    expect(decoder.decode(alert.bytes)[0]).toMatchObject({ type: "NET_DM", command: "PACKET_ALERT" });
  });

  it("cuts the payload as it was told, and keeps configuration from changing while it runs", () => {
    const { lab, monitor } = setUp();
    expect(configure(monitor, { TRUNC_LEN: 20 })).toBe(EBUSY);
    expect(request(monitor, dm.NET_DM_CMD_START)).toBe(EAGAIN);
    expect(request(monitor, dm.NET_DM_CMD_STOP)).toBe(0);
    expect(request(monitor, dm.NET_DM_CMD_STOP)).toBe(0);
    expect(configure(monitor, { ALERT_MODE: 2 })).toBe(EINVAL);
    expect(configure(monitor, { TRUNC_LEN: 20, QUEUE_LEN: 7 })).toBe(0);
    lab.flow(IN_1);
    lab.port(1).inject(FRAME);
    expect(monitor.drain()).toEqual([]);
    expect(request(monitor, dm.NET_DM_CMD_START)).toBe(0);
    lab.port(1).inject(FRAME);
    const [alert] = monitor.drain();
    expect(decode(alert)).toMatchObject({ PAYLOAD: FRAME.subarray(0, 20), ORIG_LEN: FRAME.length });
    const [settings] = monitor.request({ family: "NET_DM", cmd: dm.NET_DM_CMD_CONFIG_GET, headless: true });
    expect(settings.cmd).toBe(dm.NET_DM_CMD_CONFIG_NEW);
    expect(Object.entries(decode(settings))).toEqual([
      ["ALERT_MODE", 1],
      ["TRUNC_LEN", 20],
      ["QUEUE_LEN", 7],
    ]);
    const [statistics] = monitor.request({ family: "NET_DM", cmd: dm.NET_DM_CMD_STATS_GET, headless: true });
    expect(statistics.cmd).toBe(dm.NET_DM_CMD_STATS_NEW);
    expect(decode(statistics)).toEqual({ STATS: { DROPPED: 0 }, HW_STATS: { DROPPED: 0 } });
  });

  it("counts by place in summary mode, once a second", () => {
    const { lab, monitor } = setUp();
    request(monitor, dm.NET_DM_CMD_STOP);
    configure(monitor, { ALERT_MODE: dm.NET_DM_ALERT_MODE_SUMMARY });
    request(monitor, dm.NET_DM_CMD_START);
    lab.flow(IN_1);
    for (let i = 0; i < 3; i++) lab.port(1).inject(FRAME);
    lab.flow(IN_1, a.output(9));
    lab.port(1).inject(FRAME);
    expect(monitor.drain()).toEqual([]);
    lab.test.kernel.tick();
    const [{ view, bytes, cmd }, ...more] = monitor.drain();
    expect([more.length, cmd, bytes.length, view.getUint16(22, true)]).toEqual([
      0,
      dm.NET_DM_CMD_ALERT,
      20 + 8 + 24,
      0,
    ]);
    expect([view.getUint32(24, true), view.getUint32(36, true), view.getUint32(48, true)]).toEqual([2, 3, 1]);
    expect(view.getBigUint64(28, true)).not.toBe(view.getBigUint64(40, true));
    lab.test.kernel.tick();
    expect(monitor.drain()).toEqual([]);
  });

  it("needs privilege, and is found by the controller", () => {
    const { lab } = setUp();
    const plain = lab.test.client({ privileged: false });
    expect(request(plain, dm.NET_DM_CMD_STOP)).toBe(EPERM);
    expect(() => plain.socket.join(lab.test.group("NET_DM"))).toThrow(expect.objectContaining({ errno: EPERM }));
    const reply = plain.get({ family: "nlctrl", cmd: 3, attributes: (writer) => writer.string(2, "NET_DM") });
    expect(nlctrl.decode(reply.view, 20, reply.bytes.length)).toMatchObject({ VERSION: 2, HDRSIZE: 0, MAXATTR: 23 });
  });
});
