import { describe, expect, it } from "vitest";
import { nlctrl } from "../../src/schema/genetlink.ts";
import { ctLimitAttributes } from "../../src/schema/openvswitch.ts";
import { EINVAL, EMSGSIZE, ENOENT } from "../../src/uapi/errno.ts";
import { CTRL_CMD_GETFAMILY, CTRL_CMD_NEWFAMILY } from "../../src/uapi/genetlink.ts";
import * as ovs from "../../src/uapi/openvswitch.ts";
import { type Reply, TestKernel } from "../support/kernel.ts";

const SET = ovs.OVS_CT_LIMIT_CMD_SET;
const DEL = ovs.OVS_CT_LIMIT_CMD_DEL;
const GET = ovs.OVS_CT_LIMIT_CMD_GET;

describe("the controller", () => {
  const test = new TestKernel();
  const client = test.client();
  const family = (name: string) => {
    const reply = client.get({ family: "nlctrl", cmd: CTRL_CMD_GETFAMILY, attributes: (w) => w.string(2, name) });
    return { reply, values: nlctrl.decode(reply.view, 20, reply.bytes.length) };
  };

  it("F-001: the six families have numbers from 0x13 on, in order of registration", () => {
    const names = ["ovs_datapath", "ovs_vport", "ovs_flow", "ovs_packet", "ovs_meter", "ovs_ct_limit"];
    const ids = names.map((name) => family(name).values.FAMILY_ID ?? 0);
    expect(ids[0]).toBeGreaterThanOrEqual(0x13);
    expect(ids).toEqual([...ids].sort((a, b) => a - b));
    const { records, done } = client.dump({ family: "nlctrl", cmd: CTRL_CMD_GETFAMILY });
    expect(records.map((r) => nlctrl.decode(r.view, 20, r.bytes.length).FAMILY_NAME)).toEqual([
      "nlctrl",
      ...names,
      "psample",
      "NET_DM",
    ]);
    expect(done.errno).toBe(0);
  });

  it.each([
    ["ovs_datapath", 2, 9, 4],
    ["ovs_vport", 1, 10, 4],
    ["ovs_flow", 1, 11, 4],
    ["ovs_packet", 1, 12, 1],
    ["ovs_meter", 1, 9, 4],
    ["ovs_ct_limit", 1, 1, 3],
  ])("F-003, F-004, F-005, F-006, F-009, F-011, F-013: %s", (name, version, maxAttr, operations) => {
    const { reply, values } = family(name);
    expect(reply.cmd).toBe(CTRL_CMD_NEWFAMILY);
    const names = ["FAMILY_NAME", "FAMILY_ID", "VERSION", "HDRSIZE", "MAXATTR", "OPS"];
    expect(Object.keys(values)).toEqual(name === "ovs_packet" ? names : [...names, "MCAST_GROUPS"]);
    expect([values.VERSION, values.HDRSIZE, values.MAXATTR, values.OPS?.length]).toEqual([
      version,
      4,
      maxAttr,
      operations,
    ]);
    if (name !== "ovs_packet") expect(values.MCAST_GROUPS?.map((group) => group.NAME)).toEqual([name]);
  });

  it("F-012: flags of operations: 0x1a for what needs privilege, 0x0e for GET with a dump", () => {
    expect(family("ovs_flow").values.OPS).toEqual([
      { ID: 1, FLAGS: 0x1a },
      { ID: 2, FLAGS: 0x1a },
      { ID: 3, FLAGS: 0x0e },
      { ID: 4, FLAGS: 0x1a },
    ]);
  });

  it("F-014, F-015: unknown and over-long names", () => {
    const errno = (name: string) =>
      client.errno({ family: "nlctrl", cmd: CTRL_CMD_GETFAMILY, attributes: (w) => w.string(2, name) });
    expect(errno("ovs_nothing")).toBe(ENOENT);
    expect(errno("a".repeat(15))).toBe(ENOENT);
    expect(errno("a".repeat(16))).toBe(EINVAL);
  });
});

describe("ovs_ct_limit", () => {
  type Zone = { zone_id: number; limit: number; count: number };
  const zone = (zone_id: number, limit = 0): Zone => ({ zone_id, limit, count: 0 });

  function setUp() {
    const test = new TestKernel();
    const client = test.client();
    const request = (cmd: number, zones?: Zone[]) => ({
      family: "ovs_ct_limit",
      cmd,
      ifindex: 55,
      attributes: (writer: Parameters<typeof ctLimitAttributes.encode>[0]) =>
        ctLimitAttributes.encode(writer, { ZONE_LIMIT: zones }),
    });
    const read = (reply: Reply) => ctLimitAttributes.decode(reply.view, 24, reply.bytes.length).ZONE_LIMIT;
    const get = (zones?: Zone[]) => read(client.get(request(GET, zones)));
    return { test, client, request, get };
  }

  it("F-325, F-326, F-333: SET answers with the header alone and looks up no datapath", () => {
    const { client, request, test } = setUp();
    expect(test.conntrack.limits.enabled).toBe(false);
    const reply = client.get(request(SET, [zone(1, 5)]));
    expect([reply.cmd, reply.ifindex, reply.bytes.length]).toEqual([SET, 55, 24]);
    expect(test.conntrack.limits.enabled).toBe(true);
  });

  it("F-327, F-335: SET and DEL need the attribute", () => {
    const { client, request } = setUp();
    expect(client.errno(request(SET))).toBe(EINVAL);
    expect(client.errno(request(DEL))).toBe(EINVAL);
  });

  it("F-328, F-329, F-330, F-336, F-337, F-338, F-339, F-341: defaults, own limits, zones that are none", () => {
    const { client, request, get } = setUp();
    client.get(request(SET, [zone(-1, 9), zone(5, 7), zone(-2, 1), zone(65536, 1), zone(65535, 0)]));
    expect(get()).toEqual([zone(-1, 9), zone(5, 7), zone(65535, 0)]);
    expect(get([zone(6), zone(5), zone(-1), zone(70000)])).toEqual([zone(6, 9), zone(5, 7), zone(-1, 9)]);
    expect(client.get(request(DEL, [zone(5), zone(77), zone(-1)])).bytes.length).toBe(24);
    expect(get()).toEqual([zone(-1, 0), zone(65535, 0)]);
    expect(get([zone(5)])).toEqual([zone(5, 0)]);
  });

  it("F-331, F-332: a last struct that is cut off is left out", () => {
    const { client, request, get } = setUp();
    const cut = (bytes: number) => ({
      ...request(SET),
      attributes: (writer: Parameters<typeof ctLimitAttributes.encode>[0]) => {
        const payload = new Uint8Array(bytes);
        new DataView(payload.buffer).setInt32(0, 3, true);
        payload[4] = 8;
        writer.raw(1, payload);
      },
    });
    expect(client.errno(cut(8))).toBe(0);
    expect(get()).toEqual([zone(-1)]);
    expect(client.errno(cut(20))).toBe(0);
    expect(get()).toEqual([zone(-1), zone(3, 8)]);
  });

  it("F-338: zones come by hash bucket, the newest first", () => {
    const { client, request, get } = setUp();
    client.get(request(SET, [zone(513, 1), zone(2, 1), zone(1, 1)]));
    expect(get()?.map((one) => one.zone_id)).toEqual([-1, 1, 513, 2]);
  });

  it("F-342: a reply that the module's buffer does not hold is EMSGSIZE", () => {
    const { client, request } = setUp();
    const zones = (count: number) => Array.from({ length: count }, (_, i) => zone(i));
    expect(client.errno(request(GET, zones(653)))).toBe(0);
    expect(client.errno(request(GET, zones(654)))).toBe(EMSGSIZE);
  });
});
