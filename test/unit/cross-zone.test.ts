/** Connections between two zones (docs/cross-zone-nat.md): nokmod's extension, so there are no rows of the module to hold. */
import { beforeEach, describe, expect, it } from "vitest";
import { ConntrackClient, OvsClient } from "../../src/client/index.ts";
import type { Errno } from "../../src/core/errors.ts";
import { ManualClock, type MemoryPort, MemoryPorts, Nokmod, SeededRandom } from "../../src/testing/index.ts";
import { EINVAL } from "../../src/uapi/errno.ts";
import * as own from "../../src/uapi/nokmod.ts";
import * as ovs from "../../src/uapi/openvswitch.ts";
import { formatOfpFlow, OfpError, parseOfpFlow, VSwitch } from "../../src/vswitch/index.ts";
import * as a from "../support/actions.ts";
import { CtLab, verifyFrame } from "../support/conntrack.ts";
import { concat, ethernet, frame, hex, icmp, ip4, ipv4, tcp, u16, udp } from "../support/frames.ts";
import { match } from "../support/lab.ts";

/** Both tenants have the same address; the server sees one public address. */
const TENANT = "10.0.0.1";
const PUBLIC = "192.0.2.1";
const SERVER = "192.0.2.2";
const out = (zone: number) => ({ zone, commit: true, nat: { src: PUBLIC, replyZone: 20 } });
const back = { zone: 20, nat: { reverse: true } };
const ask = (src = 5000, payload = "ask"): Uint8Array =>
  frame(ethernet(), ipv4({ src: TENANT, dst: SERVER }), udp({ src, dst: 53 }), payload);
const answer = (dst: number, payload = "answer"): Uint8Array =>
  frame(ethernet(), ipv4({ src: SERVER, dst: PUBLIC }), udp({ src: 53, dst }), payload);

describe("connection tracking", () => {
  it("two tenants with the same address and port share the public address; answers find their way by ct_zone", () => {
    const lab = new CtLab();
    expect(lab.send(ask(), out(10)).addresses).toBe(`${PUBLIC}:5000>${SERVER}:53`);
    const second = lab.send(ask(), out(11));
    const port = Number(/:(\d+)>/.exec(second.addresses)?.[1]);
    expect(port).not.toBe(5000);
    expect(lab.entries.sort((x, y) => x.slice(-5).localeCompare(y.slice(-5)))).toEqual([
      `17 ${TENANT}:5000>${SERVER}:53 ${SERVER}:53>${PUBLIC}:5000 zone=10>20`,
      `17 ${TENANT}:5000>${SERVER}:53 ${SERVER}:53>${PUBLIC}:${port} zone=11>20`,
    ]);
    for (const [to, zone] of [
      [5000, 10],
      [port, 11],
    ]) {
      const reply = lab.send(answer(to), back);
      expect([reply.zone, reply.state, reply.addresses]).toEqual([
        zone,
        "est|rpl|trk|dnat",
        `${SERVER}:53>${TENANT}:5000`,
      ]);
      verifyFrame(reply.bytes);
    }
    expect(lab.send(ask(), out(10))).toMatchObject({ zone: 10, addresses: `${PUBLIC}:5000>${SERVER}:53` });
    expect(lab.conntrack.count).toBe(2);
  });

  it("an answer to nobody is new in its own zone, and reverse translates nothing", () => {
    const lab = new CtLab();
    lab.send(ask(), out(10));
    const stray = lab.send(answer(6000), back);
    expect([stray.zone, stray.state, stray.addresses]).toEqual([20, "new|trk", `${SERVER}:53>${PUBLIC}:6000`]);
    // In the tenant's zone nobody knows the public address.
    expect(lab.send(answer(5000), { ...back, zone: 10 }).state).toBe("new|trk");
  });

  it("a packet that comes back from user space finds its entry, in either direction", () => {
    const lab = new CtLab();
    const first = lab.apply(lab.receive(ask()), out(10));
    const again = lab.apply(lab.comeBack(first), out(10));
    expect([again.error, again.addresses]).toEqual([0, `${PUBLIC}:5000>${SERVER}:53`]);
    // Also by an action that does not say where the answers are.
    const plain = lab.apply(lab.comeBack(first), { zone: 10 });
    expect([plain.packet.ct, plain.state]).toEqual([lab.slots[0], "new|trk|snat"]);
    lab.end();
    expect(lab.entries).toHaveLength(1);
    const reply = lab.apply(lab.receive(answer(5000)), back);
    const resumed = lab.apply(lab.comeBack(reply), { zone: 10, nat: {} });
    expect([resumed.zone, resumed.state, resumed.addresses]).toEqual([
      10,
      "est|rpl|trk|dnat",
      `${SERVER}:53>${TENANT}:5000`,
    ]);
    // The same packet under way, once more through the zone it came by.
    expect(lab.apply(reply, back).addresses).toBe(`${SERVER}:53>${TENANT}:5000`);
    expect(lab.conntrack.count).toBe(1);
  });

  it("mark and labels are the connection's, in whichever zone it is met", () => {
    const lab = new CtLab();
    lab.send(ask(), { ...out(10), mark: 7, labels: [1, 2, 3, 4] });
    expect(lab.send(answer(5000), back)).toMatchObject({ mark: 7, labels: [1, 2, 3, 4] });
  });

  it("counts against the limit of the zone it began in", () => {
    const lab = new CtLab();
    for (const zone of [10, 11, 20]) lab.conntrack.limits.set(zone, 1);
    expect(lab.send(ask(5000), out(10)).error).toBe(0);
    expect(lab.send(ask(5001), out(10)).error).toBe(-12);
    expect(lab.send(ask(5001), out(11)).error).toBe(0);
    expect([10, 11, 20].map((zone) => lab.conntrack.limits.countOf(zone))).toEqual([1, 1, 0]);
  });

  it("ICMP: echoes by id, and an error about a translated packet, outside and inside", () => {
    const lab = new CtLab();
    const ping = frame(ethernet(), ipv4({ src: TENANT, dst: SERVER, proto: 1 }), icmp({ type: 8, rest: 0x0009_0001 }));
    lab.send(ping, out(10));
    lab.send(ping, out(11));
    expect(lab.entries).toHaveLength(2);
    lab.send(ask(), out(11));
    const [port] = lab.entries
      .filter((line) => line.startsWith("17"))
      .map((line) => Number(/>192\.0\.2\.1:(\d+)/.exec(line)?.[1]));
    const quoted = frame(ipv4({ src: PUBLIC, dst: SERVER }), udp({ src: port, dst: 53 }), "ask");
    const unreachable = frame(
      ethernet(),
      ipv4({ src: SERVER, dst: PUBLIC, proto: 1 }),
      icmp({ type: 3, code: 3 }),
      quoted,
    );
    const error = lab.send(unreachable, back);
    expect([error.zone, error.state]).toEqual([11, "rel|rpl|trk|dnat"]);
    expect(hex(error.bytes)).toContain(hex(concat(ip4(TENANT), ip4(SERVER), u16(5000), u16(53))));
  });

  it("ftp: the data connection that the server opens belongs to the tenant's", () => {
    const lab = new CtLab();
    const control = (payload: string, o: { flags: number; seq: number; ack?: number }): Uint8Array =>
      frame(ethernet(), ipv4({ src: TENANT, dst: SERVER }), tcp({ src: 4000, dst: 21, ...o }), payload);
    const fromServer = (payload: string, o: { flags: number; seq: number; ack?: number }): Uint8Array =>
      frame(ethernet(), ipv4({ src: SERVER, dst: PUBLIC }), tcp({ src: 21, dst: 4000, ...o }), payload);
    const helped = { ...out(10), helper: "ftp" };
    lab.send(control("", { flags: 0x02, seq: 100 }), helped);
    lab.send(fromServer("", { flags: 0x12, seq: 500, ack: 101 }), back);
    lab.send(control("", { flags: 0x10, seq: 101, ack: 501 }), helped);
    lab.send(control("USER x\r\n", { flags: 0x18, seq: 101, ack: 501 }), helped);
    const port = lab.send(control("PORT 10,0,0,1,20,21\r\n", { flags: 0x18, seq: 109, ack: 501 }), helped);
    expect(Buffer.from(port.bytes).toString("latin1")).toContain("PORT 192,0,2,1,20,21");
    const data = frame(
      ethernet(),
      ipv4({ src: SERVER, dst: PUBLIC }),
      tcp({ src: 20, dst: 20 * 256 + 21, flags: 0x02, seq: 900 }),
    );
    const opened = lab.send(data, { zone: 20, commit: true, nat: { dst: TENANT } });
    expect(opened.state).toBe("new|rel|trk|snat|dnat");
    expect(opened.addresses).toBe(`${SERVER}:20>${TENANT}:5141`);
    expect(lab.entries.find((line) => line.includes(":5141"))).toMatch(/zone=20>10$/);
  });
});

describe("through netlink and the built-in userspace", () => {
  let nokmod: Nokmod;
  let bridge: VSwitch;
  let devices: MemoryPort[];
  const rules = [
    `in_port=1,ip,actions=ct(commit,nat(src_zone=10,dst_zone=20,masq=${PUBLIC})),3`,
    `in_port=2,ip,actions=ct(commit,nat(src_zone=11,dst_zone=20,masq=${PUBLIC})),3`,
    "in_port=3,ct_state=-trk,ip,actions=ct(nat(reverse,zone=20),table=1)",
    "table=1,ct_state=+est,ct_zone=10,ip,actions=1",
    "table=1,ct_state=+est,ct_zone=11,ip,actions=2",
  ];

  beforeEach(() => {
    const ports = new MemoryPorts();
    devices = ["one", "two", "server"].map((name) => ports.addDevice(name));
    const random = new SeededRandom(1);
    nokmod = new Nokmod({ ports, clock: new ManualClock(), random, tickInterval: 0, crossZoneNat: true });
    bridge = new VSwitch({ opener: nokmod, name: "br0", ports: ["one", "two", "server"], flows: rules });
  });

  /** Upcalls are answered in microtasks. */
  const settle = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

  it("each tenant gets its own answer", async () => {
    const [one, two, server] = devices;
    one.inject(ask());
    two.inject(ask());
    await settle();
    const seen = server.sent.map((bytes) => (bytes[34] << 8) | bytes[35]);
    expect(seen).toHaveLength(2);
    expect(new Set(seen).size).toBe(2);
    for (const [i, port] of seen.entries()) server.inject(answer(port, `answer ${i}`));
    await settle();
    expect(one.sent.map((bytes) => Buffer.from(bytes).toString("latin1").slice(-8))).toEqual(["answer 0"]);
    expect(two.sent.map((bytes) => Buffer.from(bytes).toString("latin1").slice(-8))).toEqual(["answer 1"]);
    expect(bridge.flows("table=1").map((flow) => flow.packets)).toEqual([1, 1]);
  });

  it("a dump shows both zones; a zone's dump and flush reach the entries of either side", async () => {
    const [one, two] = devices;
    one.inject(ask());
    two.inject(ask());
    await settle();
    const conntrack = new ConntrackClient(nokmod);
    const zones = (zone?: number): string[] =>
      [...conntrack.connections({ zone })].map((c) => `${c.zone}>${c.replyZone}`).sort();
    expect(zones()).toEqual(["10>20", "11>20"]);
    expect(zones(10)).toEqual(["10>20"]);
    expect(zones(20)).toEqual(["10>20", "11>20"]);
    conntrack.flush(11);
    expect(zones()).toEqual(["10>20"]);
    conntrack.delete([...conntrack.connections()][0]);
    expect(zones()).toEqual([]);
    one.inject(ask());
    await settle();
    expect(zones()).toEqual(["10>20"]);
    conntrack.flush(20);
    expect(zones()).toEqual([]);
  });

  it("is refused unless it is switched on, and when it contradicts itself", () => {
    const nested = (...attributes: Uint8Array[]): Uint8Array => a.attr(ovs.OVS_CT_ATTR_NAT, ...attributes);
    const le16 = (value: number): Uint8Array => u16(value).reverse();
    const src = a.attr(ovs.OVS_NAT_ATTR_SRC);
    const commit = a.attr(ovs.OVS_CT_ATTR_COMMIT);
    const zone = a.attr(ovs.OVS_CT_ATTR_ZONE, le16(10));
    const from = (value: number): Uint8Array => a.attr(own.NOKMOD_NAT_ATTR_SRC_ZONE, le16(value));
    const to = a.attr(own.NOKMOD_NAT_ATTR_DST_ZONE, le16(20));
    const reverse = a.attr(own.NOKMOD_NAT_ATTR_REVERSE);
    let port = 100;
    const errno = (client: OvsClient, ...parts: Uint8Array[]): number => {
      try {
        const [{ ifindex }] = client.datapaths();
        client.putFlow(ifindex, {
          ...match({ inPort: port++, ethType: 0x0800 }),
          actions: a.attr(ovs.OVS_ACTION_ATTR_CT, ...parts),
        });
        return 0;
      } catch (error) {
        return (error as Errno).errno;
      }
    };
    const plain = new Nokmod({ ports: new MemoryPorts(), tickInterval: 0 });
    const strict = new OvsClient(plain);
    strict.createDatapath("dp0");
    expect(errno(strict, commit, zone, nested(src, from(10), to))).toBe(EINVAL);
    expect(errno(strict, zone, nested(reverse))).toBe(EINVAL);
    expect(errno(strict, commit, zone, nested(src))).toBe(0);
    plain.close();
    const client = new OvsClient(nokmod);
    expect(errno(client, commit, zone, nested(src, from(10), to))).toBe(0);
    // commit must come first (spec/conntrack C-040)
    expect(errno(client, nested(src, from(10), to), commit, zone)).toBe(EINVAL);
    expect(errno(client, commit, nested(src, from(10), to), zone)).toBe(0); // the zone need not
    expect(errno(client, commit, zone, nested(src, from(11), to))).toBe(EINVAL);
    expect(errno(client, commit, zone, nested(src, to))).toBe(EINVAL);
    expect(errno(client, commit, zone, nested(src, from(10)))).toBe(EINVAL);
    expect(errno(client, commit, zone, nested(from(10), to))).toBe(EINVAL);
    expect(errno(client, zone, nested(reverse))).toBe(0);
    expect(errno(client, commit, zone, nested(reverse))).toBe(EINVAL);
    expect(errno(client, commit, zone, nested(reverse, src))).toBe(EINVAL);
    expect(errno(client, zone, nested(a.attr(own.NOKMOD_NAT_ATTR_REVERSE, le16(1))))).toBe(EINVAL);
    expect(errno(client, zone, nested(a.attr(67)))).toBe(EINVAL);
  });

  it("rules are printed as they are read, and bad ones say why", () => {
    const printed = (actions: string): string =>
      formatOfpFlow(parseOfpFlow(`ip,actions=${actions}`), null).replace(/.*actions=/, "");
    const masq = `ct(commit,nat(src_zone=10,dst_zone=20,masq=${PUBLIC}),exec(set_field:1->ct_mark))`;
    const canonical = printed(masq);
    expect(canonical).toBe(
      `ct(commit,zone=10,nat(src=${PUBLIC},src_zone=10,dst_zone=20),exec(set_field:0x1->ct_mark))`,
    );
    expect(printed(canonical)).toBe(canonical);
    expect(printed("ct(nat(reverse,zone=20),table=1)")).toBe("ct(table=1,zone=20,nat(reverse))");
    expect(printed("ct(table=1,zone=20,nat(reverse))")).toBe("ct(table=1,zone=20,nat(reverse))");
    for (const bad of [
      "ct(commit,zone=11,nat(src=1.1.1.1,src_zone=10,dst_zone=20))",
      "ct(commit,nat(src=1.1.1.1,src_zone=10))",
      "ct(commit,nat(src_zone=10,dst_zone=20))",
      "ct(commit,nat(reverse,zone=20))",
      "ct(nat(reverse,src=1.1.1.1))",
      "ct(commit,nat(src=1.1.1.1,zone=3))",
      "ct(commit,nat(src=1.1.1.1,src_zone=10,dst_zone=65536))",
    ]) {
      expect(() => parseOfpFlow(`ip,actions=${bad}`), bad).toThrow(OfpError);
    }
  });
});
