import { describe, expect, it, vi } from "vitest";
import type { SetValues } from "../../src/netlink/schema/index.ts";
import type { MessageWriter } from "../../src/netlink/writer.ts";
import type { MemoryPort } from "../../src/port/memory/ports.ts";
import { vportAttributes } from "../../src/schema/openvswitch.ts";
import { EAFNOSUPPORT, EBUSY, EEXIST, EFBIG, EINVAL, ENODEV, EOPNOTSUPP } from "../../src/uapi/errno.ts";
import * as ovs from "../../src/uapi/openvswitch.ts";
import { type Reply, TestKernel } from "../support/kernel.ts";

const family = "ovs_vport";
const NEW = ovs.OVS_VPORT_CMD_NEW;
const DEL = ovs.OVS_VPORT_CMD_DEL;
const GET = ovs.OVS_VPORT_CMD_GET;
const SET = ovs.OVS_VPORT_CMD_SET;
const NETDEV = ovs.OVS_VPORT_TYPE_NETDEV;
const INTERNAL = ovs.OVS_VPORT_TYPE_INTERNAL;
const ECHO = 8;

type Values = SetValues<typeof vportAttributes>;
const read = (reply: Reply) => vportAttributes.decode(reply.view, 24, reply.bytes.length);
const PIDS = Uint32Array.of(7);

function setUp(options: ConstructorParameters<typeof TestKernel>[0] = {}) {
  const test = new TestKernel(options);
  const client = test.client();
  const addDatapath = (name: string) =>
    client.get({
      family: "ovs_datapath",
      cmd: 1,
      flags: ECHO,
      attributes: (writer) => {
        writer.string(1, name);
        writer.u32(2, 7);
      },
    }).ifindex;
  const ifindex = addDatapath("dp0");
  const request = (cmd: number, values: Values, more: object = {}) => ({
    family,
    cmd,
    ifindex,
    attributes: (writer: MessageWriter) => vportAttributes.encode(writer, values),
    ...more,
  });
  const create = (name: string, values: Values = {}) => {
    if ((values.TYPE ?? NETDEV) === NETDEV) test.device(name);
    return client.get(request(NEW, { NAME: name, TYPE: NETDEV, UPCALL_PID: PIDS, ...values }, { flags: ECHO }));
  };
  const errno = (cmd: number, values: Values, more: object = {}) => client.errno(request(cmd, values, more));
  return { test, client, ifindex, request, create, errno, addDatapath };
}

describe("NEW", () => {
  it("F-139, F-143, F-166: the reply has its attributes in order", () => {
    const { test, create, ifindex } = setUp();
    const reply = create("eth0", { PORT_NO: 5 });
    expect(reply.cmd).toBe(NEW);
    expect(reply.ifindex).toBe(ifindex);
    const values = read(reply);
    expect(Object.keys(values)).toEqual(["PORT_NO", "TYPE", "NAME", "IFINDEX", "STATS", "UPCALL_STATS", "UPCALL_PID"]);
    expect([values.PORT_NO, values.TYPE, values.NAME]).toEqual([5, NETDEV, "eth0"]);
    expect(values.IFINDEX).toBe(test.ports.device("eth0")?.ifindex);
    expect(values.UPCALL_STATS).toEqual({ SUCCESS: 0, FAIL: 0 });
    expect(values.STATS).toEqual({
      rx_packets: 0,
      tx_packets: 0,
      rx_bytes: 0,
      tx_bytes: 0,
      rx_errors: 0,
      tx_errors: 0,
      rx_dropped: 0,
      tx_dropped: 0,
    });
  });

  it.each(["NAME", "TYPE", "UPCALL_PID"] as const)("F-144: without %s is EINVAL", (missing) => {
    const { errno } = setUp();
    expect(errno(NEW, { NAME: "eth0", TYPE: NETDEV, UPCALL_PID: PIDS, [missing]: undefined })).toBe(EINVAL);
  });

  it("F-145, F-146, F-147: IFINDEX of a netdev, then a number too high, then the datapath", () => {
    const { errno } = setUp();
    const values = { NAME: "eth0", TYPE: NETDEV, UPCALL_PID: PIDS };
    expect(errno(NEW, { ...values, IFINDEX: 5, PORT_NO: 65535 }, { ifindex: 4242 })).toBe(EOPNOTSUPP);
    expect(errno(NEW, { ...values, PORT_NO: 65535 }, { ifindex: 4242 })).toBe(EFBIG);
    expect(errno(NEW, { ...values, PORT_NO: 65534 }, { ifindex: 4242 })).toBe(ENODEV);
  });

  it("F-148, F-149: a number in use is EBUSY; 0 and none mean the lowest free from 1", () => {
    const { create, errno, client, request } = setUp();
    expect(read(create("a")).PORT_NO).toBe(1);
    expect(read(create("b", { PORT_NO: 0 })).PORT_NO).toBe(2);
    expect(errno(NEW, { NAME: "nowhere", TYPE: NETDEV, UPCALL_PID: PIDS, PORT_NO: 2 })).toBe(EBUSY);
    client.errno(request(DEL, { PORT_NO: 1 }));
    expect(read(create("c")).PORT_NO).toBe(1);
    expect(read(create("d", { PORT_NO: 65534 })).PORT_NO).toBe(65534);
  });

  it("F-128, F-151, F-152: unknown types are EAFNOSUPPORT, those of tunnels are known", () => {
    const { errno } = setUp();
    for (const type of [0, 6, 99]) expect(errno(NEW, { NAME: "t0", TYPE: type, UPCALL_PID: PIDS })).toBe(EAFNOSUPPORT);
    expect(errno(NEW, { NAME: "t0", TYPE: 3, UPCALL_PID: PIDS })).toBe(0);
    for (const type of [4, 5]) expect(errno(NEW, { NAME: "t1", TYPE: type, UPCALL_PID: PIDS })).toBe(EINVAL);
  });

  it("F-153, F-154: no pids, half a pid or more than processors are EINVAL, before the device is looked for", () => {
    const { client, errno, ifindex } = setUp({ processors: 2 });
    for (const length of [0, 3, 6, 12])
      expect(
        client.errno({
          family,
          cmd: NEW,
          ifindex,
          attributes: (writer) => {
            writer.string(3, "nowhere");
            writer.u32(2, NETDEV);
            writer.raw(5, new Uint8Array(length));
          },
        }),
      ).toBe(EINVAL);
    expect(errno(NEW, { NAME: "nowhere", TYPE: NETDEV, UPCALL_PID: Uint32Array.of(1, 2) })).toBe(ENODEV);
  });

  it("F-155, F-157, F-158, F-159: devices that are not there, cannot be used or are taken", () => {
    const { test, create, errno, addDatapath } = setUp();
    const netdev = (name: string) => ({ NAME: name, TYPE: NETDEV, UPCALL_PID: PIDS });
    test.ports.addDevice("lo", { loopback: true });
    test.ports.addDevice("slave", { busy: true });
    create("eth0");
    create("int0", { TYPE: INTERNAL });
    expect(errno(NEW, netdev("nowhere"))).toBe(ENODEV);
    expect(errno(NEW, netdev("lo"))).toBe(EINVAL);
    expect(errno(NEW, netdev("int0"))).toBe(EINVAL);
    expect(errno(NEW, netdev("slave"))).toBe(EBUSY);
    expect(errno(NEW, netdev("eth0"))).toBe(EEXIST);
    expect(errno(NEW, netdev("eth0"), { ifindex: addDatapath("dp1") })).toBe(EBUSY);
  });

  it("F-134, F-160, F-161: internal ports: the name, the wanted ifindex", () => {
    const { create, errno } = setUp();
    expect(read(create("int0", { TYPE: INTERNAL, IFINDEX: 77 })).IFINDEX).toBe(77);
    expect(errno(NEW, { NAME: "int0", TYPE: INTERNAL, UPCALL_PID: PIDS })).toBe(EEXIST);
    expect(errno(NEW, { NAME: "int1", TYPE: INTERNAL, UPCALL_PID: PIDS, IFINDEX: 77 })).toBe(EBUSY);
  });
});

describe("lookup", () => {
  it("F-178, F-179, F-180, F-181, F-182, F-183, F-184: by name before number, in any datapath when the header is 0", () => {
    const { create, errno, client, request, addDatapath } = setUp();
    const other = addDatapath("dp1");
    create("eth0", { PORT_NO: 5 });
    expect(read(client.get(request(GET, { NAME: "eth0", PORT_NO: 99 }, { ifindex: 0 }))).PORT_NO).toBe(5);
    expect(errno(GET, { NAME: "eth0" }, { ifindex: other })).toBe(ENODEV);
    expect(errno(GET, { NAME: "nothing" })).toBe(ENODEV);
    expect(errno(GET, { PORT_NO: 65535 }, { ifindex: 4242 })).toBe(EFBIG);
    expect(errno(GET, { PORT_NO: 5 }, { ifindex: 4242 })).toBe(ENODEV);
    expect(errno(GET, { PORT_NO: 6 })).toBe(ENODEV);
    expect(errno(GET, {})).toBe(EINVAL);
  });

  it("F-177: IFINDEX cannot be looked up by", () => {
    const { errno } = setUp();
    for (const cmd of [GET, SET, DEL]) expect(errno(cmd, { IFINDEX: 1, NAME: "dp0" })).toBe(EOPNOTSUPP);
  });

  it("F-190: after a rename replies have the new name; neither name finds the port", () => {
    const { create, errno, client, request, test } = setUp();
    create("eth0");
    const device = test.ports.device("eth0");
    device?.rename("eth9");
    expect(read(client.get(request(GET, { PORT_NO: 1 }))).NAME).toBe("eth9");
    expect(errno(GET, { NAME: "eth0" })).toBe(ENODEV);
    expect(errno(GET, { NAME: "eth9" })).toBe(ENODEV);
  });
});

describe("SET", () => {
  it("F-168, F-169, F-173: the type must be the port's, options cannot be set, then the pids are", () => {
    const { create, errno } = setUp();
    create("eth0");
    const all = { NAME: "eth0", TYPE: INTERNAL, OPTIONS: {}, UPCALL_PID: new Uint32Array(0) };
    expect(errno(SET, all)).toBe(EINVAL);
    expect(errno(SET, { ...all, TYPE: NETDEV })).toBe(EOPNOTSUPP);
    expect(errno(SET, { ...all, TYPE: NETDEV, OPTIONS: undefined })).toBe(EINVAL);
  });

  it("F-140, F-170, F-171: replaces the pids, or keeps the old ones; one is told without VPORT_PIDS", () => {
    const { create, errno, client, request } = setUp();
    create("eth0");
    expect(errno(SET, { NAME: "eth0", UPCALL_PID: Uint32Array.of(1, 2, 3) })).toBe(0);
    expect(errno(SET, { NAME: "eth0", UPCALL_PID: new Uint32Array(5) })).toBe(EINVAL);
    const pids = () => read(client.get(request(GET, { NAME: "eth0" }))).UPCALL_PID;
    expect(pids()).toEqual(Uint32Array.of(1));
    const features = (writer: MessageWriter) => writer.u32(5, 2);
    expect(
      client.errno({ family: "ovs_datapath", cmd: 4, ifindex: request(GET, {}).ifindex, attributes: features }),
    ).toBe(0);
    expect(pids()).toEqual(Uint32Array.of(1, 2, 3));
  });

  it("F-167, F-172: of nothing succeeds and notifies; of no port it is ENODEV", () => {
    const { create, errno, test } = setUp();
    create("eth0");
    const listener = test.client();
    listener.socket.join(test.group(family));
    expect(errno(SET, { NAME: "eth0" })).toBe(0);
    expect(listener.drain().map((notice) => notice.cmd)).toEqual([SET]);
    expect(errno(SET, { NAME: "nothing" })).toBe(ENODEV);
  });
});

describe("DEL", () => {
  it("F-174: the local port goes with its datapath only", () => {
    expect(setUp().errno(DEL, { PORT_NO: 0 })).toBe(EINVAL);
    expect(setUp().errno(DEL, { NAME: "dp0" })).toBe(EINVAL);
  });

  it("F-175, F-176: tells what was removed; netdevs survive, internal devices do not", () => {
    const { create, client, request, test } = setUp();
    create("eth0");
    create("int0", { TYPE: INTERNAL });
    for (const name of ["eth0", "int0"]) {
      const reply = client.get(request(DEL, { NAME: name }, { flags: ECHO }));
      expect([reply.cmd, read(reply).NAME]).toEqual([DEL, name]);
    }
    expect(test.ports.device("eth0")).toBeDefined();
    expect(test.ports.device("int0")).toBeUndefined();
    expect(read(create("eth0")).PORT_NO).toBe(1);
  });
});

describe("dump", () => {
  it("F-186: of no datapath ends with ENODEV", () => {
    const { client } = setUp();
    const { records, done } = client.dump({ family, cmd: GET, ifindex: 4242 });
    expect([records.length, done.errno]).toEqual([0, ENODEV]);
  });

  it("F-187, F-188: by bucket of the number, in each the newest first", () => {
    const { create, client, ifindex } = setUp();
    for (const portNo of [1025, 3, 1, 2049, 1024]) create(`p${portNo}`, { PORT_NO: portNo, TYPE: INTERNAL });
    const { records, done } = client.dump({ family, cmd: GET, ifindex });
    expect(records.map((record) => read(record).PORT_NO)).toEqual([1024, 0, 2049, 1, 1025, 3]);
    expect(records.every((record) => record.flags === 2 && record.cmd === GET)).toBe(true);
    expect(done.errno).toBe(0);
  });

  it("resumes where it stopped, though ports come and go", () => {
    const { create, client, ifindex, request } = setUp();
    for (let portNo = 1; portNo <= 800; portNo++) create(`p${portNo}`, { PORT_NO: portNo, TYPE: INTERNAL });
    client.socket.send(client.build({ family, cmd: GET, ifindex, flags: 0x300 }));
    const first = client.socket.receive() as Uint8Array;
    client.socket.send(client.build(request(DEL, { PORT_NO: 780 })));
    const numbers = client
      .drain()
      .filter((reply) => reply.type > 16)
      .map((reply) => read(reply).PORT_NO);
    expect(first.length).toBeLessThanOrEqual(32448);
    expect(numbers).not.toContain(780);
    expect(numbers.at(-1)).toBe(800);
  });
});

describe("device events", () => {
  it("F-066, F-191, T-109: a device that goes takes its port along; the group hears of it with seq 0 and port id 0", () => {
    const { create, errno, test, ifindex } = setUp();
    create("eth0");
    const listener = test.client();
    listener.socket.join(test.group(family));
    test.ports.device("eth0")?.remove();
    const notices = listener.drain();
    expect(notices.map((notice) => [notice.cmd, notice.seq, notice.pid, notice.ifindex])).toEqual([
      [DEL, 0, 0, ifindex],
    ]);
    expect(read(notices[0]).NAME).toBe("eth0");
    expect(errno(GET, { PORT_NO: 1 })).toBe(ENODEV);
  });

  it("F-066: the group hears of it before the port is closed, which takes a while on a real device", () => {
    const { create, test } = setUp();
    create("eth0");
    const listener = test.client();
    listener.socket.join(test.group(family));
    const device = test.ports.device("eth0") as MemoryPort;
    const heard: number[] = [];
    vi.spyOn(device, "close").mockImplementation(() => {
      heard.push(listener.drain().length);
    });
    device.remove();
    expect(heard).toEqual([1]);
  });

  it("F-067: an internal device goes silently", () => {
    const { create, errno, test } = setUp();
    create("int0", { TYPE: INTERNAL });
    const listener = test.client();
    listener.socket.join(test.group(family));
    test.ports.device("int0")?.remove();
    expect(listener.drain()).toEqual([]);
    expect(errno(GET, { PORT_NO: 1 })).toBe(ENODEV);
  });

  it("F-135: NETNSID when the device is in another namespace", () => {
    const { create, client, request, test } = setUp();
    create("int0", { TYPE: INTERNAL });
    const device = test.ports.device("int0");
    if (device !== undefined) device.netnsid = 3;
    const values = read(client.get(request(GET, { NAME: "int0" })));
    expect(Object.keys(values).slice(3, 6)).toEqual(["IFINDEX", "NETNSID", "STATS"]);
    expect(values.NETNSID).toBe(3);
  });
});
