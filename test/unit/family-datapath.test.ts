import { describe, expect, it } from "vitest";
import type { SetValues } from "../../src/netlink/schema/index.ts";
import type { MessageWriter } from "../../src/netlink/writer.ts";
import { datapathAttributes } from "../../src/schema/openvswitch.ts";
import { EBUSY, EEXIST, EINVAL, ENODEV, ENOENT, EOPNOTSUPP, EPERM, ERANGE } from "../../src/uapi/errno.ts";
import * as ovs from "../../src/uapi/openvswitch.ts";
import { type Reply, type TestClient, TestKernel } from "../support/kernel.ts";

const family = "ovs_datapath";
const NEW = ovs.OVS_DP_CMD_NEW;
const DEL = ovs.OVS_DP_CMD_DEL;
const GET = ovs.OVS_DP_CMD_GET;
const SET = ovs.OVS_DP_CMD_SET;
const ECHO = 8;

type Attributes = SetValues<typeof datapathAttributes>;

function setUp(options: ConstructorParameters<typeof TestKernel>[0] = {}) {
  const test = new TestKernel(options);
  const client = test.client();
  return { test, client };
}

const attributes = (values: Attributes) => (writer: MessageWriter) => datapathAttributes.encode(writer, values);
const read = (reply: Reply) => datapathAttributes.decode(reply.view, 24, reply.bytes.length);

function request(cmd: number, values: Attributes, more: object = {}) {
  return { family, cmd, version: 2, attributes: attributes(values), ...more };
}

/** NEW with echo; returns the reply. */
function create(client: TestClient, name: string, values: Attributes = {}): Reply {
  return client.get(request(NEW, { NAME: name, UPCALL_PID: 0, ...values }, { flags: ECHO }));
}

describe("NEW", () => {
  it("F-098, F-100, F-102: makes the local port; the reply has its attributes in order", () => {
    const { test, client } = setUp();
    const reply = create(client, "dp0");
    expect(Object.entries(read(reply))).toEqual([
      ["NAME", "dp0"],
      ["STATS", { hit: 0, missed: 0, lost: 0, flows: 0 }],
      ["MEGAFLOW_STATS", { mask_hit: 0, masks: 0, cache_hit: 0 }],
      ["USER_FEATURES", 0],
      ["MASKS_CACHE_SIZE", 256],
    ]);
    expect(reply.cmd).toBe(NEW);
    expect(reply.version).toBe(2);
    expect(reply.ifindex).toBe(test.ports.device("dp0")?.ifindex);
    expect(test.ports.device("dp0")?.running).toBe(false);
  });

  it.each([
    ["no name", { UPCALL_PID: 0 }],
    ["no pid", { NAME: "dp0" }],
  ])("F-086: with %s is EINVAL", (_name, values) => {
    expect(setUp().client.errno(request(NEW, values))).toBe(EINVAL);
  });

  it("F-087, F-125: with an unknown feature is EOPNOTSUPP and leaves nothing behind", () => {
    const { test, client } = setUp();
    expect(client.errno(request(NEW, { NAME: "dp0", UPCALL_PID: 0, USER_FEATURES: 0x8000_0003 }))).toBe(EOPNOTSUPP);
    expect(test.ports.device("dp0")).toBeUndefined();
    expect(client.errno(request(GET, { NAME: "dp0" }))).toBe(ENODEV);
  });

  it("F-083, F-088: TC_RECIRC_SHARING needs a kernel with NET_TC_SKB_EXT", () => {
    expect(setUp().client.errno(request(NEW, { NAME: "dp0", UPCALL_PID: 0, USER_FEATURES: 4 }))).toBe(0);
    const without = setUp({ tcSkbExt: false }).client;
    expect(without.errno(request(NEW, { NAME: "dp0", UPCALL_PID: 0, USER_FEATURES: 4 }))).toBe(EOPNOTSUPP);
  });

  it.each([
    [3, EINVAL],
    [4097, ERANGE],
    [8192, ERANGE],
    [0, 0],
    [1, 0],
    [4096, 0],
  ])("F-078, F-089: MASKS_CACHE_SIZE %i gives %i", (size, errno) => {
    expect(setUp().client.errno(request(NEW, { NAME: "dp0", UPCALL_PID: 0, MASKS_CACHE_SIZE: size }))).toBe(errno);
  });

  it("F-092: a name that a device has is EEXIST", () => {
    const { test, client } = setUp();
    test.device("eth0");
    expect(client.errno(request(NEW, { NAME: "eth0", UPCALL_PID: 0 }))).toBe(EEXIST);
  });

  it.each(["", ".", "..", "a/b", "a:b", "a b"])("F-093: the name %j is EINVAL", (name) => {
    expect(setUp().client.errno(request(NEW, { NAME: name, UPCALL_PID: 0 }))).toBe(EINVAL);
  });

  it("F-094: br%d becomes the first free name", () => {
    const { client } = setUp();
    expect(read(create(client, "br%d")).NAME).toBe("br0");
    expect(read(create(client, "br%d")).NAME).toBe("br1");
  });

  it("F-080, F-095: a wanted ifindex is taken; one in use is EEXIST, a negative one ERANGE", () => {
    const { client } = setUp();
    expect(create(client, "dp0", { IFINDEX: 70 }).ifindex).toBe(70);
    expect(client.errno(request(NEW, { NAME: "dp1", UPCALL_PID: 0, IFINDEX: 70 }))).toBe(EEXIST);
    expect(client.errno(request(NEW, { NAME: "dp1", UPCALL_PID: 0, IFINDEX: -1 }))).toBe(ERANGE);
  });

  it("F-096: by a program of version 1 a NEW of what exists takes its features away", () => {
    const { client } = setUp();
    create(client, "dp0", { USER_FEATURES: 3 });
    expect(client.errno(request(NEW, { NAME: "dp0", UPCALL_PID: 0 }))).toBe(EEXIST);
    expect(read(client.get(request(GET, { NAME: "dp0" }))).USER_FEATURES).toBe(3);
    expect(client.errno(request(NEW, { NAME: "dp0", UPCALL_PID: 0 }, { version: 1 }))).toBe(EEXIST);
    expect(read(client.get(request(GET, { NAME: "dp0" }))).USER_FEATURES).toBe(0);
  });

  it("F-025, F-097: version 1 is otherwise as good", () => {
    expect(setUp().client.errno(request(NEW, { NAME: "dp0", UPCALL_PID: 0 }, { version: 1 }))).toBe(0);
  });

  it("F-073, F-101: UPCALL_PID may be an array of whole numbers", () => {
    const { client } = setUp();
    const pids = (length: number) => (writer: MessageWriter) => {
      writer.string(1, `dp${length}`);
      writer.raw(2, new Uint8Array(length));
    };
    expect(client.errno({ family, cmd: NEW, attributes: pids(8) })).toBe(0);
    expect(client.errno({ family, cmd: NEW, attributes: pids(6) })).toBe(EINVAL);
    expect(client.errno({ family, cmd: NEW, attributes: pids(2) })).toBe(ERANGE);
  });
});

describe("SET", () => {
  it("F-106: without USER_FEATURES clears them", () => {
    const { client } = setUp();
    create(client, "dp0", { USER_FEATURES: 3 });
    const reply = client.get(request(SET, { NAME: "dp0" }, { flags: ECHO }));
    expect(reply.cmd).toBe(SET);
    expect(read(reply).USER_FEATURES).toBe(0);
  });

  it("F-079, F-084, F-090, F-118, F-126: per-processor port ids are kept with the feature only, as many as processors", () => {
    const { client } = setUp({ processors: 3 });
    create(client, "dp0");
    const pids = Uint32Array.of(1, 2, 3, 4, 5);
    const set = (values: Attributes) => read(client.get(request(SET, { NAME: "dp0", ...values }, { flags: ECHO })));
    expect(set({ USER_FEATURES: 1, PER_CPU_PIDS: pids }).PER_CPU_PIDS).toBeUndefined();
    expect(set({ USER_FEATURES: 9 }).PER_CPU_PIDS).toBeUndefined();
    expect(set({ USER_FEATURES: 9, PER_CPU_PIDS: pids }).PER_CPU_PIDS).toEqual(Uint32Array.of(1, 2, 3));
    expect(set({ USER_FEATURES: 9 }).PER_CPU_PIDS).toEqual(Uint32Array.of(1, 2, 3));
    expect(set({ USER_FEATURES: 1 }).PER_CPU_PIDS).toBeUndefined();
  });

  it("F-091, F-108: is not atomic: features and cache size are changed when the port ids are refused", () => {
    const { client } = setUp();
    create(client, "dp0");
    const values = { NAME: "dp0", USER_FEATURES: 9, MASKS_CACHE_SIZE: 16, PER_CPU_PIDS: new Uint32Array(0) };
    expect(client.errno(request(SET, values))).toBe(EINVAL);
    const now = read(client.get(request(GET, { NAME: "dp0" })));
    expect([now.USER_FEATURES, now.MASKS_CACHE_SIZE]).toEqual([9, 16]);
    // The feature check comes first of all.
    expect(client.errno(request(SET, { ...values, USER_FEATURES: 16, MASKS_CACHE_SIZE: 32 }))).toBe(EOPNOTSUPP);
    expect(read(client.get(request(GET, { NAME: "dp0" }))).MASKS_CACHE_SIZE).toBe(16);
  });

  it("F-109, F-110: the cache size it has, and none at all", () => {
    const { client } = setUp();
    create(client, "dp0");
    for (const size of [256, 0]) {
      const reply = client.get(request(SET, { NAME: "dp0", MASKS_CACHE_SIZE: size }, { flags: ECHO }));
      expect(read(reply).MASKS_CACHE_SIZE).toBe(size);
    }
  });

  it("F-107: UPCALL_PID and IFINDEX change nothing", () => {
    const { test, client } = setUp();
    const { ifindex } = create(client, "dp0");
    expect(client.errno(request(SET, { NAME: "dp0", UPCALL_PID: 9, IFINDEX: 99 }))).toBe(0);
    expect(client.get(request(GET, { NAME: "dp0" })).ifindex).toBe(ifindex);
    expect([...(test.kernel.datapaths.list[0].local?.upcallPids ?? [])]).toEqual([0]);
  });
});

describe("lookup", () => {
  it("F-103, F-116: by name, the local port's only; the header is not looked at", () => {
    const { test, client } = setUp();
    create(client, "dp0");
    test.device("eth0");
    const { ifindex } = test.kernel.datapaths.list[0];
    const port = (writer: MessageWriter) => {
      writer.string(3, "eth0");
      writer.u32(2, 1);
      writer.u32(5, 0);
    };
    expect(client.errno({ family: "ovs_vport", cmd: 1, ifindex, attributes: port })).toBe(0);
    expect(client.errno(request(GET, { NAME: "dp0" }, { ifindex: 4242 }))).toBe(0);
    expect(client.errno(request(GET, { NAME: "eth0" }, { ifindex }))).toBe(ENODEV);
    expect(client.errno(request(GET, { NAME: "nothing" }, { ifindex }))).toBe(ENODEV);
  });

  it("F-104, F-105: by the ifindex of any internal port; the reply carries the local port's", () => {
    const { test, client } = setUp();
    const { ifindex } = create(client, "dp0");
    const internal = (writer: MessageWriter) => {
      writer.string(3, "int0");
      writer.u32(2, 2);
      writer.u32(5, 0);
    };
    expect(client.errno({ family: "ovs_vport", cmd: 1, ifindex, attributes: internal })).toBe(0);
    test.device("eth0");
    expect(client.get(request(GET, {}, { ifindex: test.ports.device("int0")?.ifindex })).ifindex).toBe(ifindex);
    expect(client.errno(request(GET, {}, { ifindex: test.ports.device("eth0")?.ifindex }))).toBe(ENODEV);
    for (const bad of [0, -1, 4242]) expect(client.errno(request(GET, {}, { ifindex: bad }))).toBe(ENODEV);
  });
});

describe("DEL and dump", () => {
  it("F-112, F-113, F-114, F-115, F-070: the reply was taken before; netdevs stay, internal ones go; one notification", () => {
    const { test, client } = setUp();
    const { ifindex } = create(client, "dp0");
    test.device("eth0");
    for (const [name, type] of [
      ["eth0", 1],
      ["int0", 2],
    ] as const)
      client.errno({
        family: "ovs_vport",
        cmd: 1,
        ifindex,
        attributes: (writer) => {
          writer.string(3, name);
          writer.u32(2, type);
          writer.u32(5, 0);
        },
      });
    const listener = test.client();
    for (const group of ["ovs_datapath", "ovs_vport", "ovs_flow"]) listener.socket.join(test.group(group));
    const reply = client.get(request(DEL, { NAME: "dp0" }, { flags: ECHO }));
    expect([reply.cmd, reply.ifindex, read(reply).NAME]).toEqual([DEL, ifindex, "dp0"]);
    expect(listener.drain().map((notice) => [notice.type, notice.cmd])).toEqual([[test.family(family), DEL]]);
    expect(test.ports.device("int0")).toBeUndefined();
    expect(test.ports.device("dp0")).toBeUndefined();
    expect(test.ports.device("eth0")).toBeDefined();
    expect(test.ports.device("eth0")?.attached).toBe(false);
    expect(test.kernel.datapaths.list).toEqual([]);
    expect(client.errno(request(GET, { NAME: "dp0" }))).toBe(ENODEV);
  });

  it("F-099, F-117: all in order of creation, whatever the header says", () => {
    const { client } = setUp();
    for (const name of ["z", "a", "m"]) create(client, name);
    client.errno(request(DEL, { NAME: "z" }));
    create(client, "z");
    const { records, done } = client.dump({ family, cmd: GET, ifindex: 4242 });
    expect(records.map((record) => read(record).NAME)).toEqual(["a", "m", "z"]);
    expect(records.every((record) => record.flags === 2 && record.cmd === GET)).toBe(true);
    expect(done.errno).toBe(0);
  });
});

describe("notifications", () => {
  it("F-057, F-058, F-059, F-060, F-065: to the group, with echo to the requester once, with its seq and port id", () => {
    const { test, client } = setUp();
    const listener = test.client();
    listener.socket.join(test.group(family));
    client.socket.join(test.group(family));
    const { replies } = client.ack(request(NEW, { NAME: "dp0", UPCALL_PID: 0 }, { seq: 77 }));
    expect(replies.map((reply) => [reply.seq, reply.pid, reply.flags])).toEqual([[77, client.socket.portId, 0]]);
    expect(listener.drain().map((reply) => [reply.seq, reply.pid])).toEqual([[77, client.socket.portId]]);
    expect(client.ack(request(SET, { NAME: "dp0" }, { flags: ECHO })).replies).toHaveLength(1);
    expect(listener.drain()).toHaveLength(1);
    client.socket.leave(test.group(family));
    expect(client.ack(request(SET, { NAME: "dp0" })).replies).toHaveLength(0);
    expect(client.ack(request(SET, { NAME: "dp0" }, { flags: ECHO })).replies).toHaveLength(1);
  });

  it("F-062: GET goes to the requester alone", () => {
    const { test, client } = setUp();
    create(client, "dp0");
    const listener = test.client();
    listener.socket.join(test.group(family));
    client.get(request(GET, { NAME: "dp0" }));
    expect(listener.drain()).toEqual([]);
  });

  it("F-068: none when everything is taken down", () => {
    const { test, client } = setUp();
    create(client, "dp0");
    const listener = test.client();
    for (const group of ["ovs_datapath", "ovs_vport"]) listener.socket.join(test.group(group));
    test.kernel.shutdown();
    expect(listener.drain()).toEqual([]);
    expect(client.errno(request(GET, { NAME: "dp0" }))).toBe(ENODEV);
  });
});

describe("privileges and dispatch", () => {
  it("F-027, F-028: writing needs CAP_NET_ADMIN, reading does not", () => {
    const { test, client } = setUp();
    const { ifindex } = create(client, "dp0");
    const nobody = test.client({ privileged: false });
    const write: [string, number[]][] = [
      ["ovs_datapath", [1, 2, 4]],
      ["ovs_vport", [1, 2, 4]],
      ["ovs_flow", [1, 2, 4]],
      ["ovs_packet", [3]],
      ["ovs_meter", [2, 3]],
      ["ovs_ct_limit", [1, 2]],
    ];
    for (const [name, commands] of write)
      for (const cmd of commands) expect(nobody.errno({ family: name, cmd, ifindex }), `${name} ${cmd}`).toBe(EPERM);
    expect(nobody.errno({ family, cmd: GET, ifindex })).toBe(0);
    expect(nobody.errno({ family: "ovs_vport", cmd: 3, ifindex, attributes: (w) => w.u32(1, 0) })).toBe(0);
    expect(nobody.errno({ family: "ovs_meter", cmd: 1, ifindex })).toBe(0);
    expect(nobody.errno({ family: "ovs_meter", cmd: 4, ifindex, attributes: (w) => w.u32(1, 0) })).toBe(ENOENT);
    expect(nobody.errno({ family: "ovs_ct_limit", cmd: 3 })).toBe(0);
    for (const name of ["ovs_datapath", "ovs_vport", "ovs_flow"])
      expect(nobody.dump({ family: name, cmd: 3, ifindex }).done.errno).toBe(0);
  });

  it("F-001, F-021, F-024, F-030, F-031: commands that do not exist, and dumps of what has none", () => {
    const { client } = setUp();
    for (const cmd of [0, 5, 99]) expect(client.errno(request(cmd, {}))).toBe(EOPNOTSUPP);
    for (const cmd of [1, 2]) expect(client.errno({ family: "ovs_packet", cmd })).toBe(EOPNOTSUPP);
    expect(client.errno(request(NEW, {}, { flags: 0x300 }))).toBe(EOPNOTSUPP);
    for (const flags of [0x100, 0x200]) expect(client.errno(request(GET, {}, { flags }))).toBe(ENODEV);
  });

  it("F-032: EBUSY comes before a dump is looked at", () => {
    const { client } = setUp();
    for (let i = 0; i < 400; i++) create(client, `dp${i}`);
    const dump = client.build({ family, cmd: GET, flags: 0x300 });
    client.socket.send(dump);
    client.socket.send(client.build({ family: "nlctrl", cmd: 10, flags: 0x300 }));
    const replies = client.drain();
    expect(replies.filter((reply) => reply.errno === EBUSY)).toHaveLength(1);
  });
});
