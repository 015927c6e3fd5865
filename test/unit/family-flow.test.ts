import { describe, expect, it, vi } from "vitest";
import type { SetValues } from "../../src/netlink/schema/index.ts";
import type { MessageWriter } from "../../src/netlink/writer.ts";
import { flowAttributes } from "../../src/schema/openvswitch.ts";
import { EEXIST, EINVAL, ENODEV, ENOENT, EOPNOTSUPP, ERANGE } from "../../src/uapi/errno.ts";
import { NLM_F_CREATE } from "../../src/uapi/netlink.ts";
import * as ovs from "../../src/uapi/openvswitch.ts";
import { ethernet, frame, ipv4, tcp } from "../support/frames.ts";
import { messagesIn, type Reply, TestKernel } from "../support/kernel.ts";

const family = "ovs_flow";
const NEW = ovs.OVS_FLOW_CMD_NEW;
const DEL = ovs.OVS_FLOW_CMD_DEL;
const GET = ovs.OVS_FLOW_CMD_GET;
const SET = ovs.OVS_FLOW_CMD_SET;
const ECHO = 8;
const EXCL = 0x200;
const REPLACE = 0x100;

type Values = SetValues<typeof flowAttributes>;
type Key = NonNullable<Values["KEY"]>;
const read = (reply: Reply) => flowAttributes.decode(reply.view, 24, reply.bytes.length);

const ETHERNET = { src: "02:00:00:00:00:01", dst: "02:00:00:00:00:02" };
const NO_MAC = { src: "00:00:00:00:00:00", dst: "00:00:00:00:00:00" };
/** An ARP-less, layer 2 key: exact but for what the mask leaves out. */
const key = (inPort: number, ethertype = 0x88b5): Key => ({ IN_PORT: inPort, ETHERNET, ETHERTYPE: ethertype });
/** Matches in_port and ethertype only. */
const MASK: Key = { IN_PORT: 0xffffffff, ETHERNET: NO_MAC, ETHERTYPE: 0xffff };
const IPV4_KEY: Key = {
  IN_PORT: 1,
  ETHERNET,
  ETHERTYPE: 0x800,
  IPV4: { src: "10.0.0.1", dst: "10.0.0.2", proto: 6, tos: 0, ttl: 64, frag: 0 },
  TCP: { src: 1000, dst: 80 },
  TCP_FLAGS: 0x12,
};
const ufid = (n: number, length = 16) => new Uint8Array(length).fill(n);

function setUp() {
  const test = new TestKernel();
  const client = test.client();
  const { ifindex } = client.get({
    family: "ovs_datapath",
    cmd: 1,
    flags: ECHO,
    attributes: (writer) => {
      writer.string(1, "dp0");
      writer.u32(2, 0);
    },
  });
  const request = (cmd: number, values: Values, more: object = {}) => ({
    family,
    cmd,
    ifindex,
    attributes: (writer: MessageWriter) => flowAttributes.encode(writer, values),
    ...more,
  });
  const errno = (cmd: number, values: Values, more: object = {}) => client.errno(request(cmd, values, more));
  const put = (values: Values, flags = NLM_F_CREATE) => {
    const result = errno(NEW, { ACTIONS: [], ...values }, { flags });
    if (result !== 0) throw new Error(`NEW: ${result}`);
  };
  const get = (values: Values) => read(client.get(request(GET, values)));
  const [{ flows }] = test.kernel.datapaths.list;
  const port = (name: string) => {
    test.device(name);
    client.errno({
      family: "ovs_vport",
      cmd: 1,
      ifindex,
      attributes: (writer) => {
        writer.string(3, name);
        writer.u32(2, 1);
        writer.u32(5, 0);
      },
    });
    return test.ports.device(name) as NonNullable<ReturnType<typeof test.ports.device>>;
  };
  return { test, client, ifindex, request, errno, put, get, flows, port };
}

describe("replies", () => {
  it("F-193, F-194, F-204, F-206, F-207, F-208, F-209, F-233: attributes in order; unused flows have no statistics", () => {
    const { put, get } = setUp();
    put({ KEY: key(1), MASK, ACTIONS: [{ OUTPUT: 2 }], UFID: ufid(1) });
    const values = get({ UFID: ufid(1) });
    expect(Object.keys(values)).toEqual(["UFID", "KEY", "MASK", "ACTIONS"]);
    // The masked key: bits outside the mask are zero.
    expect(values.KEY?.ETHERNET).toEqual(NO_MAC);
    expect(values.MASK?.ETHERNET).toEqual(NO_MAC);
    expect(values.ACTIONS).toEqual([{ OUTPUT: 2 }]);
  });

  it("F-205: a flow without UFID shows its unmasked key, even with OMIT_KEY", () => {
    const { put, get } = setUp();
    put({ KEY: key(1), MASK });
    const values = get({ KEY: key(1), UFID_FLAGS: 7 });
    expect(Object.keys(values)).toEqual(["KEY"]);
    expect(values.KEY?.ETHERNET).toEqual(ETHERNET);
  });

  it.each([
    [1, ["UFID", "MASK", "ACTIONS"]],
    [2, ["UFID", "KEY", "ACTIONS"]],
    [4, ["UFID", "KEY", "MASK"]],
    [7, ["UFID"]],
    [0xfffffff8, ["UFID", "KEY", "MASK", "ACTIONS"]],
  ])("F-202, F-211, F-212, F-213, F-252, F-349: UFID_FLAGS %i of this request alone", (flags, names) => {
    const { put, get, client, request, ifindex } = setUp();
    put({ KEY: key(1), MASK, UFID: ufid(1), UFID_FLAGS: 7 });
    expect(Object.keys(get({ UFID: ufid(1), UFID_FLAGS: flags }))).toEqual(names);
    const { records } = client.dump({ ...request(GET, { UFID_FLAGS: flags }), ifindex });
    expect(Object.keys(read(records[0]))).toEqual(names);
    const echo = client.get(request(DEL, { UFID: ufid(1), UFID_FLAGS: flags }, { flags: ECHO }));
    expect(Object.keys(read(echo))).toEqual(names);
  });

  it("F-195, F-196, F-197, F-204, F-243, F-266, F-267, F-268, T-034: statistics after packets, and none after CLEAR", () => {
    const { put, get, client, request, port, test } = setUp();
    const eth0 = port("eth0");
    put({ KEY: IPV4_KEY, UFID: ufid(1) });
    const packet = frame(
      ethernet({ src: ETHERNET.src, dst: ETHERNET.dst }),
      ipv4({ src: "10.0.0.1", dst: "10.0.0.2", ttl: 64 }),
      tcp({ src: 1000, dst: 80, flags: 0x12 }),
    );
    test.clock.advance(1001);
    eth0.inject(packet);
    eth0.inject(packet);
    const values = get({ UFID: ufid(1) });
    expect(Object.keys(values)).toEqual(["UFID", "KEY", "MASK", "USED", "STATS", "TCP_FLAGS", "ACTIONS"]);
    expect(values.STATS).toEqual({ packets: 2, bytes: packet.length * 2 });
    expect(values.TCP_FLAGS).toBe(0x12);
    expect(values.USED).toBeGreaterThan(test.clock.monotonic() - 10);
    expect(values.USED).toBeLessThanOrEqual(test.clock.monotonic());
    const echo = read(client.get(request(SET, { UFID: ufid(1), CLEAR: true }, { flags: ECHO })));
    expect(echo.STATS?.packets).toBe(2);
    expect(Object.keys(get({ UFID: ufid(1) }))).toEqual(["UFID", "KEY", "MASK", "ACTIONS"]);
  });

  it("F-105: replies carry the ifindex of the request", () => {
    const { put, client, request, test, ifindex } = setUp();
    put({ KEY: key(1), UFID: ufid(1) });
    client.errno({
      family: "ovs_vport",
      cmd: 1,
      ifindex,
      attributes: (writer) => {
        writer.string(3, "int0");
        writer.u32(2, 2);
        writer.u32(5, 0);
      },
    });
    const other = test.ports.device("int0")?.ifindex;
    expect(client.get(request(GET, { UFID: ufid(1) }, { ifindex: other })).ifindex).toBe(other);
  });
});

describe("NEW", () => {
  it("F-217, F-218, F-219: what is missing, then the key, then actions, then the datapath", () => {
    const { errno } = setUp();
    expect(errno(NEW, { ACTIONS: [] })).toBe(EINVAL);
    expect(errno(NEW, { KEY: key(1) })).toBe(EINVAL);
    expect(errno(NEW, { KEY: { IN_PORT: 1 }, ACTIONS: [] }, { ifindex: 4242 })).toBe(EINVAL);
    expect(errno(NEW, { KEY: key(1), ACTIONS: [{ OUTPUT: 70000 }] }, { ifindex: 4242 })).toBe(EINVAL);
    expect(errno(NEW, { KEY: key(1), ACTIONS: [] }, { ifindex: 4242 })).toBe(ENODEV);
  });

  it("F-194, F-199, F-228, F-231: creates without CREATE; counts flow and mask", () => {
    const { errno, flows } = setUp();
    expect(errno(NEW, { KEY: key(1), ACTIONS: [] })).toBe(0);
    expect([flows.count, flows.masks.length]).toEqual([1, 1]);
    expect(errno(NEW, { KEY: key(2), ACTIONS: [] })).toBe(0);
    expect([flows.count, flows.masks.length]).toEqual([2, 1]);
    expect(errno(NEW, { KEY: key(3), MASK, ACTIONS: [] })).toBe(0);
    expect([flows.count, flows.masks.length]).toEqual([3, 2]);
  });

  it("F-220: actions are validated against the masked key", () => {
    const { errno } = setUp();
    const ct = [{ CT: { COMMIT: true } }];
    expect(errno(NEW, { KEY: IPV4_KEY, ACTIONS: ct })).toBe(0);
    const wild: Key = { IN_PORT: 0xffffffff, ETHERNET: NO_MAC, ETHERTYPE: 0 };
    expect(errno(NEW, { KEY: { ...key(2), ETHERTYPE: 0x800 }, MASK: wild, ACTIONS: ct })).toBe(EINVAL);
  });

  it.each([
    ["CREATE", NLM_F_CREATE],
    ["EXCL", EXCL],
  ])("F-222: of an existing flow with %s gives EEXIST", (_name, flags) => {
    const { put, errno } = setUp();
    put({ KEY: key(1), UFID: ufid(1) });
    expect(errno(NEW, { KEY: key(1), UFID: ufid(1), ACTIONS: [] }, { flags })).toBe(EEXIST);
    expect(errno(NEW, { KEY: key(1), UFID: ufid(2), ACTIONS: [] }, { flags })).toBe(EEXIST);
    expect(errno(NEW, { KEY: key(9), UFID: ufid(1), ACTIONS: [] }, { flags })).toBe(EEXIST);
  });

  it("F-221, F-223: without it the same flow gets the actions and keeps id, mask and statistics", () => {
    const { put, errno, get, flows } = setUp();
    put({ KEY: key(1), MASK });
    expect(errno(NEW, { KEY: key(1), ACTIONS: [{ OUTPUT: 5 }] })).toBe(0);
    expect(flows.count).toBe(1);
    const values = get({ KEY: key(1) });
    expect(values.ACTIONS).toEqual([{ OUTPUT: 5 }]);
    expect(values.MASK?.ETHERNET).toEqual(NO_MAC);
  });

  it("F-224: a UFID flow is the same only if the request's unmasked key is its masked one", () => {
    const { put, errno } = setUp();
    put({ KEY: key(1), MASK, UFID: ufid(1) });
    expect(errno(NEW, { KEY: key(1), MASK, UFID: ufid(1), ACTIONS: [] })).toBe(ENOENT);
    expect(errno(NEW, { KEY: { ...key(1), ETHERNET: NO_MAC }, MASK, UFID: ufid(1), ACTIONS: [] })).toBe(0);
  });

  it("F-225, F-226: another key under the UFID, or of a key-identified flow, is ENOENT", () => {
    const { put, errno } = setUp();
    put({ KEY: key(1), UFID: ufid(1) });
    expect(errno(NEW, { KEY: key(2), UFID: ufid(1), ACTIONS: [] })).toBe(ENOENT);
    put({ KEY: key(3), MASK });
    const other = { ...key(3), ETHERNET: { ...ETHERNET, src: "02:00:00:00:00:77" } };
    expect(errno(NEW, { KEY: other, ACTIONS: [] })).toBe(ENOENT);
  });

  it("F-227: a UFID flow hit under another UFID with the same masked key gets the actions", () => {
    const { put, errno, get, flows } = setUp();
    put({ KEY: key(1), UFID: ufid(1) });
    expect(errno(NEW, { KEY: key(1), UFID: ufid(2), ACTIONS: [{ OUTPUT: 6 }] })).toBe(0);
    expect(flows.count).toBe(1);
    expect(get({ UFID: ufid(1) }).ACTIONS).toEqual([{ OUTPUT: 6 }]);
  });

  it("F-229, F-230: REPLACE alone means nothing; with EXCL it looks like a dump", () => {
    const { errno } = setUp();
    expect(errno(NEW, { KEY: key(1), ACTIONS: [] }, { flags: REPLACE })).toBe(0);
    expect(errno(NEW, { KEY: key(1), ACTIONS: [] }, { flags: EXCL | REPLACE })).toBe(EOPNOTSUPP);
  });

  it("F-200, F-259, F-347: PROBE installs as well", () => {
    const { put, get } = setUp();
    put({ KEY: key(1), UFID: ufid(1), PROBE: true }, 0);
    expect(get({ UFID: ufid(1) }).UFID).toEqual(ufid(1));
  });

  it("F-201, F-214, F-215, F-216: UFIDs of 1 to 16 bytes; longer ones count as none", () => {
    const { put, errno, get } = setUp();
    expect(errno(NEW, { KEY: key(1), ACTIONS: [], UFID: new Uint8Array(0) })).toBe(ERANGE);
    put({ KEY: key(1), UFID: ufid(5, 3) });
    expect(get({ UFID: ufid(5, 3) }).UFID).toEqual(ufid(5, 3));
    expect(errno(GET, { UFID: ufid(5, 4) })).toBe(ENOENT);
    expect(errno(GET, { UFID: Uint8Array.of(5, 5, 5, 0) })).toBe(ENOENT);
    put({ KEY: key(2), UFID: ufid(6, 17) });
    expect(get({ KEY: key(2) }).UFID).toBeUndefined();
  });
});

describe("SET", () => {
  it("F-234, F-235, F-236: needs a key or a UFID, and a key for actions", () => {
    const { put, errno } = setUp();
    put({ KEY: key(1), UFID: ufid(1) });
    expect(errno(SET, { ACTIONS: [] })).toBe(EINVAL);
    expect(errno(SET, {})).toBe(EINVAL);
    expect(errno(SET, { UFID: ufid(1, 17) })).toBe(EINVAL);
    expect(errno(SET, { UFID: ufid(1), ACTIONS: [] })).toBe(EINVAL);
    expect(errno(SET, { UFID: ufid(1) })).toBe(0);
  });

  it("F-237, F-245: the key must be valid even with a UFID, before the datapath is looked for", () => {
    const { put, errno } = setUp();
    put({ KEY: key(1), UFID: ufid(1) });
    expect(errno(SET, { UFID: ufid(1), KEY: { IN_PORT: 1 } }, { ifindex: 4242 })).toBe(EINVAL);
    expect(errno(SET, { UFID: ufid(1), KEY: key(1), ACTIONS: [] }, { ifindex: 4242 })).toBe(ENODEV);
  });

  it("F-238, F-239, F-240, F-241, F-242, F-244: by UFID whatever the key; changes actions only if given", () => {
    const { put, errno, get, client, request } = setUp();
    put({ KEY: key(1), UFID: ufid(1), ACTIONS: [{ OUTPUT: 1 }] });
    put({ KEY: key(2), ACTIONS: [{ OUTPUT: 2 }] });
    expect(errno(SET, { UFID: ufid(1), KEY: key(2), ACTIONS: [{ OUTPUT: 9 }] })).toBe(0);
    expect(get({ UFID: ufid(1) }).ACTIONS).toEqual([{ OUTPUT: 9 }]);
    expect(get({ KEY: key(2) }).ACTIONS).toEqual([{ OUTPUT: 2 }]);
    const reply = client.get(request(SET, { KEY: key(2) }, { flags: ECHO }));
    expect([reply.cmd, read(reply).ACTIONS]).toEqual([SET, [{ OUTPUT: 2 }]]);
    expect(errno(SET, { KEY: key(2), ACTIONS: [] })).toBe(0);
    expect(get({ KEY: key(2) }).ACTIONS).toEqual([]);
    expect(errno(SET, { KEY: key(3), ACTIONS: [] })).toBe(ENOENT);
    // A UFID flow is not found by its key.
    expect(errno(SET, { KEY: key(1), ACTIONS: [] })).toBe(ENOENT);
  });
});

describe("GET", () => {
  it("F-246, F-247, F-248, F-249, F-250, F-251, F-253: what is missing, and what a key or a UFID finds", () => {
    const { put, errno } = setUp();
    put({ KEY: key(1), UFID: ufid(1) });
    put({ KEY: key(2), MASK });
    expect(errno(GET, {})).toBe(EINVAL);
    expect(errno(GET, { UFID: ufid(1), KEY: { IN_PORT: 1 } })).toBe(EINVAL);
    expect(errno(GET, { KEY: key(1) })).toBe(ENOENT);
    expect(errno(GET, { UFID: ufid(2) })).toBe(ENOENT);
    expect(errno(GET, { KEY: key(2), MASK: { IN_PORT: 0 } })).toBe(0);
    const other = { ...key(2), ETHERNET: { ...ETHERNET, src: "02:00:00:00:00:77" } };
    expect(errno(GET, { KEY: other })).toBe(ENOENT);
    expect(errno(GET, { KEY: key(2) }, { ifindex: 4242 })).toBe(ENODEV);
  });
});

describe("DEL", () => {
  it("F-255, F-256, F-257: an invalid key, no such flow, the flow as it was", () => {
    const { put, errno, client, request, flows } = setUp();
    put({ KEY: key(1), ACTIONS: [{ OUTPUT: 3 }] });
    expect(errno(DEL, { KEY: { IN_PORT: 1 } })).toBe(EINVAL);
    expect(errno(DEL, { KEY: key(2) })).toBe(ENOENT);
    const reply = client.get(request(DEL, { KEY: key(1) }, { flags: ECHO }));
    expect([reply.cmd, read(reply).ACTIONS]).toEqual([DEL, [{ OUTPUT: 3 }]]);
    expect([flows.count, flows.masks.length]).toEqual([0, 0]);
  });

  it("F-069, F-254: without key and UFID all flows go, and nobody is told", () => {
    const { put, client, request, flows, test } = setUp();
    for (let i = 0; i < 10; i++) put({ KEY: key(i), UFID: ufid(i + 1) });
    const listener = test.client();
    listener.socket.join(test.group(family));
    expect(client.ack(request(DEL, {}, { flags: ECHO })).replies).toEqual([]);
    expect([flows.count, flows.masks.length]).toEqual([0, 0]);
    expect(listener.drain()).toEqual([]);
    expect(client.errno(request(DEL, {}, { ifindex: 4242 }))).toBe(ENODEV);
  });

  it("F-271: put again, statistics start at zero", () => {
    const { put, errno, get, flows } = setUp();
    put({ KEY: key(1), UFID: ufid(1) });
    flows.countHit(0, 100, 5000, 0);
    expect(get({ UFID: ufid(1) }).STATS).toEqual({ packets: 1, bytes: 100 });
    errno(DEL, { UFID: ufid(1) });
    put({ KEY: key(1), UFID: ufid(1) });
    expect(get({ UFID: ufid(1) }).STATS).toBeUndefined();
  });
});

describe("notifications", () => {
  it("F-057, F-061, F-065: NEW, SET and DEL go to the group", () => {
    const { put, errno, test } = setUp();
    const listener = test.client();
    listener.socket.join(test.group(family));
    put({ KEY: key(1), UFID: ufid(1) });
    errno(SET, { UFID: ufid(1) });
    errno(DEL, { UFID: ufid(1) });
    expect(listener.drain().map((notice) => notice.cmd)).toEqual([NEW, SET, DEL]);
  });
});

describe("dump", () => {
  it("F-260, F-261, F-262: only UFID_FLAGS counts, but all is checked", () => {
    const { put, client, request, ifindex } = setUp();
    put({ KEY: key(1) });
    put({ KEY: key(2), UFID: ufid(1) });
    expect(client.dump(request(GET, { KEY: { IN_PORT: 1 } })).records).toHaveLength(2);
    const short = (writer: MessageWriter) => writer.u8(10, 1);
    const { records, done } = client.dump({ family, cmd: GET, ifindex, attributes: short });
    expect([records.length, done.errno]).toEqual([0, ERANGE]);
    expect(client.dump(request(GET, {}, { ifindex: 4242 })).done.errno).toBe(ENODEV);
  });

  it("F-263: every flow that stays is shown, though others come and go", () => {
    const { put, client, request, errno } = setUp();
    for (let i = 0; i < 1000; i++) put({ KEY: key(i), UFID: Uint8Array.of(1, i & 255, i >> 8) });
    client.socket.send(client.build(request(GET, {}, { flags: 0x300 })));
    const seen = new Set<number | undefined>();
    const note = () => {
      const datagram = client.socket.receive();
      if (datagram === null) return false;
      for (const reply of messagesIn(datagram)) if (reply.type > 16) seen.add(read(reply).KEY?.IN_PORT);
      return true;
    };
    note();
    const other = client.test.client();
    for (let i = 0; i < 1000; i += 10) other.errno(request(DEL, { UFID: Uint8Array.of(1, i & 255, i >> 8) }));
    while (note());
    for (let i = 0; i < 1000; i++) if (i % 10 !== 0) expect(seen.has(i)).toBe(true);
    expect(errno(GET, { UFID: Uint8Array.of(1, 1, 0) })).toBe(0);
  });

  it("F-264: actions that fit in no datagram are left out", () => {
    const { put, client, request, get } = setUp();
    const many = Array.from({ length: 6000 }, (_, i) => ({ OUTPUT: i % 9 }));
    put({ KEY: key(1), UFID: ufid(1), ACTIONS: many });
    put({ KEY: key(2), UFID: ufid(2), ACTIONS: [{ OUTPUT: 1 }] });
    const { records, done } = client.dump(request(GET, {}));
    expect(done.errno).toBe(0);
    expect(records.map((record) => read(record).ACTIONS?.length)).toEqual([undefined, 1]);
    expect(get({ UFID: ufid(1) }).ACTIONS).toHaveLength(6000);
  });

  it("a piece of a dump of many flows looks at its own flows only", () => {
    const { client, request, flows, put } = setUp();
    put({ KEY: key(1), MASK });
    const mask = flows.mask(0).words;
    const program = flows.program(0);
    const words = new Int32Array(mask.length);
    for (let i = 0; i < 20_000; i++) {
      words[2] = i + 10;
      flows.insert(words, mask, { words: Int32Array.of(i, 0, 0, 1), length: 16 }, program);
    }
    client.socket.send(client.build(request(GET, {}, { flags: 0x300 })));
    const looked = vi.spyOn(flows, "has");
    let count = 0;
    let datagrams = 0;
    for (;;) {
      const before = looked.mock.calls.length;
      const datagram = client.socket.receive();
      if (datagram === null) break;
      expect(datagram.length).toBeLessThanOrEqual(32448);
      const records = messagesIn(datagram).filter((reply) => reply.type > 16).length;
      // One more did not fit, or a datagram is made ahead.
      expect(looked.mock.calls.length - before).toBeLessThan(1000);
      count += records;
      datagrams++;
    }
    expect(count).toBe(20_001);
    expect(datagrams).toBeGreaterThan(20);
    expect(looked.mock.calls.length).toBeLessThan(20_001 + 3 * datagrams);
  });
});
