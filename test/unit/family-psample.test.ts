import { expect, it } from "vitest";
import { MessageWriter } from "../../src/netlink/writer.ts";
import { nlctrl } from "../../src/schema/genetlink.ts";
import { packetAttributes } from "../../src/schema/openvswitch.ts";
import { psampleMessage } from "../../src/schema/psample.ts";
import { ENODATA, EPERM } from "../../src/uapi/errno.ts";
import { MessageDecoder } from "../support/decode.ts";
import { ethernet, frame, ipv4, udp } from "../support/frames.ts";
import { TestKernel } from "../support/kernel.ts";

const FRAME = frame(ethernet(), ipv4({ src: "10.0.0.1", dst: "10.0.0.2" }), udp({ src: 1, dst: 2 }), "payload");
const COOKIE = Uint8Array.of(1, 2, 3);
const ALWAYS = 0xffff_ffff;

function setUp() {
  const test = new TestKernel();
  const client = test.client();
  const { ifindex } = client.get({
    family: "ovs_datapath",
    cmd: 1,
    flags: 8,
    attributes: (writer: MessageWriter) => {
      writer.string(1, "dp0");
      writer.u32(2, 0);
    },
  });
  const execute = (actions: unknown[]) =>
    client.errno({
      family: "ovs_packet",
      cmd: 3,
      ifindex,
      attributes: (writer) => packetAttributes.encode(writer, { PACKET: FRAME, KEY: {}, ACTIONS: actions as never }),
    });
  return { test, client, ifindex, execute, packets: test.group("psample") + 1 };
}

it("the controller tells of no policy, as the module has none", () => {
  const { client, test } = setUp();
  const reply = client.get({ family: "nlctrl", cmd: 3, attributes: (writer) => writer.string(2, "psample") });
  expect(nlctrl.decode(reply.view, 20, reply.bytes.length).OPS).toEqual([{ ID: 1, FLAGS: 4 }]);
  const dump = (writer: MessageWriter) => writer.u16(1, test.family("psample"));
  const [answer] = client.request({ family: "nlctrl", cmd: 10, flags: 0x300, attributes: dump });
  expect(answer.errno).toBe(ENODATA);
});

it("A-244, A-245, A-246, A-247: a sample goes to the group, its attributes in order", () => {
  const { test, execute, packets, ifindex } = setUp();
  const listener = test.client();
  listener.socket.join(packets);
  expect(execute([{ PSAMPLE: { GROUP: 9, COOKIE } }])).toBe(0);
  const [sample, ...more] = listener.drain();
  expect(more).toEqual([]);
  expect([sample.type, sample.flags, sample.seq, sample.pid, sample.cmd]).toEqual([test.family("psample"), 0, 0, 0, 0]);
  expect(Object.entries(psampleMessage.decode(sample.view, 20, sample.bytes.length))).toEqual([
    ["IIFINDEX", ifindex],
    ["SAMPLE_RATE", ALWAYS],
    ["ORIGSIZE", FRAME.length],
    ["SAMPLE_GROUP", 9],
    ["GROUP_SEQ", 0],
    ["TIMESTAMP", test.clock.realtime() * 1e6],
    ["PROTO", 0x800],
    ["DATA", FRAME],
    ["USER_COOKIE", COOKIE],
    ["SAMPLE_PROBABILITY", true],
  ]);
  const decoder = new MessageDecoder([[test.family("psample"), "psample"]]);
  expect(decoder.decode(sample.bytes)[0]).toMatchObject({ type: "psample", command: "SAMPLE" });
});

it("A-245: the tunnel that a packet came through or is to go through stands between DATA and the cookie", () => {
  const { test, execute, packets } = setUp();
  const listener = test.client();
  listener.socket.join(packets);
  const TUNNEL = {
    ID: 7,
    IPV4_SRC: { addr: "1.1.1.1" },
    IPV4_DST: { addr: "2.2.2.2" },
    TTL: 64,
    CSUM: true,
    TP_DST: 4789,
  };
  const sampled = (actions: unknown[]) => {
    expect(execute(actions)).toBe(0);
    const [{ view, bytes }] = listener.drain();
    return psampleMessage.decode(view, 20, bytes.length);
  };
  const sample = { PSAMPLE: { GROUP: 9, COOKIE } };
  const message = sampled([{ SET: { TUNNEL } }, sample]);
  expect(message.TUNNEL).toEqual(TUNNEL);
  expect(Object.keys(message).slice(-4)).toEqual(["DATA", "TUNNEL", "USER_COOKIE", "SAMPLE_PROBABILITY"]);
  // Options are told, but not those of VXLAN.
  const geneve = { ...TUNNEL, GENEVE_OPTS: Uint8Array.of(1, 2, 3, 1, 9, 9, 9, 9) };
  expect(sampled([{ SET: { TUNNEL: geneve } }, sample]).TUNNEL).toEqual(geneve);
  const gbp = new MessageWriter(64);
  gbp.u32(1, 5);
  const vxlan = { ...TUNNEL, VXLAN_OPTS: gbp.finish() };
  expect(sampled([{ SET: { TUNNEL: vxlan } }, sample]).TUNNEL).toEqual(TUNNEL);
  const bridge = { ID: 7, IPV4_INFO_BRIDGE: true };
  expect(sampled([{ SET: { TUNNEL: bridge } }, sample]).TUNNEL).toEqual({ ...bridge, TTL: 0 });
  expect(sampled([sample])).not.toHaveProperty("TUNNEL");
});

it("A-245: nanoseconds are exact", () => {
  const { test, execute, packets } = setUp();
  const listener = test.client();
  listener.socket.join(packets);
  test.clock.advance(123_457);
  execute([{ PSAMPLE: { GROUP: 1 } }]);
  const [sample] = listener.drain();
  // IIFINDEX, SAMPLE_RATE, ORIGSIZE, SAMPLE_GROUP, GROUP_SEQ take 8 bytes each.
  expect(sample.view.getBigUint64(20 + 40 + 4, true)).toBe(BigInt(test.clock.realtime()) * 1_000_000n);
});

it("A-246, A-248: the probability of the enclosing SAMPLE; TRUNC limits what is sent", () => {
  const { test, execute, packets } = setUp();
  const listener = test.client();
  listener.socket.join(packets);
  execute([{ TRUNC: 20 }, { SAMPLE: { PROBABILITY: ALWAYS, ACTIONS: [{ PSAMPLE: { GROUP: 1 } }] } }]);
  const [sample] = listener.drain();
  const values = psampleMessage.decode(sample.view, 20, sample.bytes.length);
  expect(values.SAMPLE_RATE).toBe(ALWAYS);
  expect([values.ORIGSIZE, values.DATA?.length]).toEqual([FRAME.length, 20]);
});

it("A-244: nothing is sent when nobody listens; listening to packets needs privilege", () => {
  const { test, execute, packets } = setUp();
  const listener = test.client({ privileged: false });
  expect(() => listener.socket.join(packets)).toThrow(expect.objectContaining({ errno: EPERM }));
  listener.socket.join(packets - 1);
  execute([{ PSAMPLE: { GROUP: 9, COOKIE } }]);
  expect(listener.drain()).toEqual([]);
  expect(listener.dump({ family: "psample", cmd: 1 }).records).toEqual([]);
});
