import { describe, expect, it } from "vitest";
import { KERNEL_RELEASES } from "../../src/core/kernel-profile.ts";
import type { SetValues } from "../../src/netlink/schema/index.ts";
import type { MessageWriter } from "../../src/netlink/writer.ts";
import { type flowAttributes, packetAttributes } from "../../src/schema/openvswitch.ts";
import { EINVAL, ENODEV, ENOENT, ERANGE } from "../../src/uapi/errno.ts";
import * as ovs from "../../src/uapi/openvswitch.ts";
import { ethernet, frame, ipv4, udp } from "../support/frames.ts";
import { type Reply, TestKernel } from "../support/kernel.ts";

type Values = SetValues<typeof packetAttributes>;
type Actions = NonNullable<SetValues<typeof flowAttributes>["ACTIONS"]>;
const read = (reply: Reply) => packetAttributes.decode(reply.view, 24, reply.bytes.length);
const FRAME = frame(ethernet(), ipv4({ src: "10.0.0.1", dst: "10.0.0.2" }), udp({ src: 1, dst: 2 }), "payload");

function setUp(options: ConstructorParameters<typeof TestKernel>[0] = {}) {
  const test = new TestKernel(options);
  const client = test.client();
  const upcalls = test.client();
  const add = (family: string, attributes: (writer: MessageWriter) => void, ifindex = 0) =>
    client.get({ family, cmd: 1, flags: 8, ifindex, attributes }).ifindex;
  const ifindex = add("ovs_datapath", (writer) => {
    writer.string(1, "dp0");
    writer.u32(2, upcalls.socket.portId);
  });
  const ports = ["eth1", "eth2"].map((name) => {
    const device = test.device(name);
    add(
      "ovs_vport",
      (writer) => {
        writer.string(3, name);
        writer.u32(2, 1);
        writer.u32(5, upcalls.socket.portId);
      },
      ifindex,
    );
    return device;
  });
  const request = (values: Values, more: object = {}) => ({
    family: "ovs_packet",
    cmd: ovs.OVS_PACKET_CMD_EXECUTE,
    ifindex,
    attributes: (writer: MessageWriter) => packetAttributes.encode(writer, values),
    ...more,
  });
  const errno = (values: Values, more: object = {}) => client.errno(request(values, more));
  const execute = (actions: Actions, values: Values = {}) =>
    errno({ PACKET: FRAME, KEY: { IN_PORT: 1 }, ACTIONS: actions, ...values });
  return { test, client, upcalls, ifindex, ports, request, errno, execute };
}

describe("EXECUTE", () => {
  it("F-064, F-272, F-273, F-274, F-285: sends the packet; nothing but the ACK comes back", () => {
    const { ports, client, request } = setUp();
    const values = { PACKET: FRAME, KEY: { IN_PORT: 1 }, ACTIONS: [{ OUTPUT: 2 }] };
    expect(client.ack(request(values, { flags: 8 })).replies).toEqual([]);
    expect(ports[1].sent).toHaveLength(1);
    expect(Buffer.from(ports[1].sent[0]).equals(Buffer.from(FRAME))).toBe(true);
  });

  it.each(["PACKET", "KEY", "ACTIONS"] as const)("F-280: without %s is EINVAL", (missing) => {
    expect(setUp().execute([], { [missing]: undefined })).toBe(EINVAL);
  });

  it("F-047, F-272: a packet of less than 14 bytes is ERANGE", () => {
    expect(setUp().execute([], { PACKET: new Uint8Array(13) })).toBe(ERANGE);
  });

  it("F-281: key, packet, actions, then the datapath", () => {
    const { errno } = setUp();
    const good = { PACKET: FRAME, KEY: { IN_PORT: 1 }, ACTIONS: [] };
    const nowhere = { ifindex: 4242 };
    expect(errno({ ...good, KEY: { IN_PORT: 70000 } }, nowhere)).toBe(EINVAL);
    expect(errno({ ...good, ACTIONS: [{ OUTPUT: 70000 }] }, nowhere)).toBe(EINVAL);
    expect(errno(good, nowhere)).toBe(ENODEV);
  });

  it("F-285: an output port that is not there is no error", () => {
    expect(setUp().execute([{ OUTPUT: 99 }])).toBe(0);
  });

  it("F-275, F-276: what it has no use for is ignored", () => {
    expect(setUp().execute([], { USERDATA: Uint8Array.of(1), LEN: 5, PROBE: true })).toBe(0);
  });

  it("F-282, F-283: an in_port that is not there counts as the local port, and stays in the key", () => {
    const { execute, upcalls } = setUp();
    const userspace = [{ USERSPACE: { PID: upcalls.socket.portId } }];
    for (const key of [{ IN_PORT: 9 }, {}]) {
      expect(execute(userspace, { KEY: key })).toBe(0);
      const [upcall] = upcalls.drain();
      expect(read(upcall).KEY?.IN_PORT).toBe("IN_PORT" in key ? 9 : undefined);
      expect(read(upcall).KEY?.ETHERTYPE).toBe(0x800);
    }
  });

  it("F-283, U-029: a miss of such a packet goes to the local port's pid", () => {
    const { execute, upcalls } = setUp();
    expect(execute([{ RECIRC: 5 }], { KEY: { IN_PORT: 9 } })).toBe(0);
    expect(upcalls.drain()).toHaveLength(1);
  });

  it("F-277, U-068: MRU permits fragments of a packet that says do not fragment", () => {
    const { execute, ports } = setUp();
    const ip = ipv4({ src: "10.0.0.1", dst: "10.0.0.2", df: true });
    const big = frame(ethernet(), ip, udp({ src: 1, dst: 2 }), new Uint8Array(2000));
    execute([{ OUTPUT: 2 }], { PACKET: big, MRU: 1000 });
    expect(ports[1].sent.length).toBeGreaterThan(1);
  });

  it("F-287: counts on no flow", () => {
    const { execute, test } = setUp();
    execute([{ OUTPUT: 2 }]);
    expect(test.kernel.datapaths.list[0].counters).toEqual({ hit: 0, missed: 0, lost: 0 });
  });

  it("U-076, F-288: recirculation looks it up again; the miss comes before the ACK", () => {
    const { test, execute, upcalls } = setUp();
    expect(execute([{ RECIRC: 5 }], { KEY: { IN_PORT: 1, SKB_MARK: 7, PRIORITY: 8 } })).toBe(0);
    const [upcall] = upcalls.drain();
    const values = read(upcall);
    expect(upcall.cmd).toBe(ovs.OVS_PACKET_CMD_MISS);
    expect([values.KEY?.RECIRC_ID, values.KEY?.SKB_MARK, values.KEY?.PRIORITY]).toEqual([5, 7, 8]);
    expect(test.kernel.datapaths.list[0].counters).toEqual({ hit: 0, missed: 1, lost: 0 });
  });

  it("F-278, U-062: the hash is restored", () => {
    const { execute, upcalls } = setUp();
    execute([{ USERSPACE: { PID: upcalls.socket.portId } }], { HASH: 0x1234 + 2 ** 33 });
    expect(read(upcalls.drain()[0]).HASH).toBe(0x1234 + 2 ** 33);
  });

  it("F-277, F-289: MRU lets a packet larger than the MTU out in fragments", () => {
    const { execute, ports } = setUp();
    const big = frame(
      ethernet(),
      ipv4({ src: "10.0.0.1", dst: "10.0.0.2" }),
      udp({ src: 1, dst: 2 }),
      new Uint8Array(2000),
    );
    execute([{ OUTPUT: 2 }], { PACKET: big });
    expect(ports[1].sent).toHaveLength(0);
    execute([{ OUTPUT: 2 }], { PACKET: big, MRU: 1000 });
    expect(ports[1].sent.length).toBeGreaterThan(1);
  });

  it("F-279, U-030: UPCALL_PID is Linux 6.17's: earlier ones pass over it", () => {
    for (const kernel of KERNEL_RELEASES) {
      const { execute, upcalls, test } = setUp({ kernel });
      const other = test.client();
      execute([{ RECIRC: 5 }], { UPCALL_PID: other.socket.portId });
      expect(upcalls.drain()).toHaveLength(kernel === "6.18" ? 0 : 1);
      expect(other.drain()).toHaveLength(kernel === "6.18" ? 1 : 0);
    }
  });

  it("F-291: several in one datagram, in order", () => {
    const { client, request, ports } = setUp();
    const one = (mark: number) =>
      client.build(
        request(
          { PACKET: frame(ethernet(), new Uint8Array(46).fill(mark)), KEY: {}, ACTIONS: [{ OUTPUT: 2 }] },
          { flags: 4 },
        ),
      );
    client.socket.send(new Uint8Array(Buffer.concat([1, 2, 3].map(one))));
    expect(client.drain().map((reply) => reply.errno)).toEqual([0, 0, 0]);
    expect(ports[1].sent.map((sent) => sent[20])).toEqual([1, 2, 3]);
  });
});

describe("upcalls through netlink", () => {
  it("U-001, U-002, U-003, U-004, U-006, U-012, U-016, F-120: a MISS to the port's pid, and the counters", () => {
    const { ports, upcalls, test, ifindex } = setUp();
    ports[0].inject(FRAME);
    const [miss, ...more] = upcalls.drain();
    expect(more).toEqual([]);
    expect([miss.type, miss.flags, miss.seq, miss.pid]).toEqual([test.family("ovs_packet"), 0, 0, 0]);
    expect([miss.cmd, miss.version, miss.ifindex]).toEqual([ovs.OVS_PACKET_CMD_MISS, 1, ifindex]);
    const values = read(miss);
    expect(Object.keys(values)).toEqual(["KEY", "HASH", "PACKET"]);
    // The hash's lower half, and that software computed it over ports (bits 32 and 33).
    expect(Math.floor(Number(values.HASH) / 2 ** 32)).toBe(3);
    expect(Buffer.from(values.PACKET ?? []).equals(Buffer.from(FRAME))).toBe(true);
    expect(test.kernel.datapaths.list[0].counters).toEqual({ hit: 0, missed: 1, lost: 0 });
  });

  it("U-017: each is a datagram of its own", () => {
    const { ports, upcalls } = setUp();
    for (let i = 0; i < 3; i++) ports[0].inject(FRAME);
    const { socket } = upcalls;
    for (let i = 0; i < 3; i++) {
      const datagram = socket.receive() ?? new Uint8Array(4);
      expect(new DataView(datagram.buffer, datagram.byteOffset).getUint32(0, true)).toBe(datagram.length);
    }
    expect(socket.receive()).toBeNull();
  });

  it("U-032, U-033, F-121: nobody there, or a reader that does not read: lost and counted; others are served", () => {
    const { ports, upcalls, test, client, ifindex } = setUp();
    const { counters } = test.kernel.datapaths.list[0];
    upcalls.socket.setReceiveBuffer(0);
    ports[0].inject(FRAME);
    ports[0].inject(FRAME);
    expect(counters.lost).toBe(1);
    expect(() => upcalls.socket.receive()).toThrow(expect.objectContaining({ errno: 105 }));
    upcalls.socket.close();
    ports[0].inject(FRAME);
    expect(counters).toEqual({ hit: 0, missed: 3, lost: 2 });
    expect(client.errno({ family: "ovs_flow", cmd: 3, ifindex, attributes: (w) => w.raw(9, Uint8Array.of(1)) })).toBe(
      ENOENT,
    );
  });
});
