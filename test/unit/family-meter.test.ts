import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { ManualClock } from "../../src/core/clock.ts";
import { Meter, MeterBand, MeterTable } from "../../src/datapath/meter.ts";
import type { SetValues } from "../../src/netlink/schema/index.ts";
import type { MessageWriter } from "../../src/netlink/writer.ts";
import { meterAttributes } from "../../src/schema/openvswitch.ts";
import { EBUSY, EFBIG, EINVAL, ENODEV, ENOENT, ERANGE } from "../../src/uapi/errno.ts";
import * as ovs from "../../src/uapi/openvswitch.ts";
import { type Reply, TestKernel } from "../support/kernel.ts";

const family = "ovs_meter";
const FEATURES = ovs.OVS_METER_CMD_FEATURES;
const SET = ovs.OVS_METER_CMD_SET;
const DEL = ovs.OVS_METER_CMD_DEL;
const GET = ovs.OVS_METER_CMD_GET;
const DROP = ovs.OVS_METER_BAND_TYPE_DROP;

type Values = SetValues<typeof meterAttributes>;
const read = (reply: Reply) => meterAttributes.decode(reply.view, 24, reply.bytes.length);
const band = (rate: number, burst: number, type = DROP) => ({ TYPE: type, RATE: rate, BURST: burst });

function setUp() {
  const test = new TestKernel();
  const client = test.client();
  const { ifindex } = client.get({
    family: "ovs_datapath",
    cmd: 1,
    flags: 8,
    attributes: (writer) => {
      writer.string(1, "dp0");
      writer.u32(2, 0);
    },
  });
  const request = (cmd: number, values: Values, more: object = {}) => ({
    family,
    cmd,
    ifindex,
    attributes: (writer: MessageWriter) => meterAttributes.encode(writer, values),
    ...more,
  });
  const errno = (cmd: number, values: Values, more: object = {}) => client.errno(request(cmd, values, more));
  const get = (cmd: number, values: Values) => read(client.get(request(cmd, values)));
  const [{ meters }] = test.kernel.datapaths.list;
  return { test, client, request, errno, get, meters, ifindex };
}

describe("F-299, F-303…F-305, F-307, F-310: requests that are refused", () => {
  it.each<[string, Values, number]>([
    ["F-303: no ID", { BANDS: [band(1, 1)] }, EINVAL],
    ["F-304: no BANDS", { ID: 1 }, EINVAL],
    ["F-305: two bands", { ID: 1, BANDS: [band(1, 1), band(1, 1)] }, EINVAL],
    ["F-299: no BURST", { ID: 1, BANDS: [{ TYPE: 1, RATE: 1 }] }, EINVAL],
    ["F-299: no RATE", { ID: 1, BANDS: [{ TYPE: 1, BURST: 1 }] }, EINVAL],
    ["F-299: no TYPE", { ID: 1, BANDS: [{ RATE: 1, BURST: 1 }] }, EINVAL],
    ["F-307: rate 0", { ID: 1, BANDS: [band(0, 1)] }, EINVAL],
    ["F-310: all that is wrong beats a missing datapath", { ID: 1, BANDS: [band(0, 1)] }, EINVAL],
  ])("%s", (name, values, errno) => {
    expect(setUp().errno(SET, values, name.startsWith("F-310") ? { ifindex: 4242 } : {})).toBe(errno);
  });
});

describe("commands", () => {
  it("F-300, F-301, F-302: features", () => {
    const { get, errno } = setUp();
    expect(Object.entries(get(FEATURES, {}))).toEqual([
      ["MAX_METERS", 200_000],
      ["MAX_BANDS", 1],
      ["BANDS", [{ TYPE: DROP }]],
    ]);
    expect(errno(FEATURES, {}, { ifindex: 4242 })).toBe(ENODEV);
  });

  it("F-293, T-046: packets a second, or kbit a second with the KBPS flag", () => {
    const { errno, meters, test } = setUp();
    errno(SET, { ID: 1, BANDS: [band(2, 2)] });
    errno(SET, { ID: 2, KBPS: true, BANDS: [band(2, 2)] });
    const passed = (id: number, length: number) =>
      Array.from({ length: 9 }, () => meters.drops(id, length)).filter((dropped) => !dropped).length;
    expect([passed(1, 1500), passed(2, 100)]).toEqual([2, 2]);
    test.clock.advance(1000);
    test.kernel.environment.clock.invalidate();
    expect([passed(1, 60), passed(2, 50)]).toEqual([2, 5]);
  });

  it("F-295, F-298: bands by any inner number; replies have number 0, numbers as u32, 16 bytes of STATS", () => {
    const { client, request, errno } = setUp();
    const attributes = (writer: MessageWriter) => {
      writer.u32(ovs.OVS_METER_ATTR_ID, 1);
      const bands = writer.nest(ovs.OVS_METER_ATTR_BANDS);
      const one = writer.nest(77);
      for (const attribute of [ovs.OVS_BAND_ATTR_TYPE, ovs.OVS_BAND_ATTR_RATE, ovs.OVS_BAND_ATTR_BURST])
        writer.u32(attribute, 1);
      writer.endNest(one);
      writer.endNest(bands);
    };
    expect(client.errno({ ...request(SET, {}), attributes })).toBe(0);
    const { bytes } = client.get(request(GET, { ID: 1 }));
    // ID, STATS, USED, then BANDS { 0 { STATS } }.
    expect(Buffer.from(bytes.subarray(64)).toString("hex")).toBe(
      `1c000400${"18000000"}${"14000400"}${"00".repeat(16)}`,
    );
    const features = client.get(request(FEATURES, {}));
    expect(Buffer.from(features.bytes.subarray(24)).toString("hex")).toBe(
      `08000700${"400d0300"}${"08000800"}${"01000000"}${"10000400"}${"0c000000"}${"08000100"}${"01000000"}`,
    );
    // STATS of a request has 16 bytes at least, the integers four.
    const short = (type: number, size: number) => ({
      ...request(SET, {}),
      attributes: (writer: MessageWriter) => writer.raw(type, new Uint8Array(size)),
    });
    for (const [type, size] of [
      [ovs.OVS_METER_ATTR_STATS, 15],
      [ovs.OVS_METER_ATTR_MAX_METERS, 3],
      [ovs.OVS_METER_ATTR_MAX_BANDS, 3],
      [ovs.OVS_METER_ATTR_KBPS, 1],
      [ovs.OVS_METER_ATTR_CLEAR, 1],
      [ovs.OVS_METER_ATTR_USED, 7],
    ])
      expect(client.errno(short(type, size))).toBe(ERANGE);
    expect(errno(GET, { ID: 1 })).toBe(0);
  });

  it("F-322: the reply's dp_ifindex is the request's", () => {
    const { client, request, ifindex } = setUp();
    const requests: [number, Values][] = [
      [FEATURES, {}],
      [SET, { ID: 1, BANDS: [] }],
      [GET, { ID: 1 }],
      [DEL, { ID: 1 }],
    ];
    for (const [cmd, values] of requests) expect(client.get(request(cmd, values)).ifindex).toBe(ifindex);
  });

  it("F-324: what vswitchd sends for a meter is taken: BURST as RATE, neither CLEAR nor STATS", () => {
    const recording = JSON.parse(readFileSync(new URL("../fixtures/vswitchd-6.12.json", import.meta.url), "utf8")) as {
      families: Record<string, number>;
      transactions: { request: string }[];
    };
    const { errno } = setUp();
    let seen = 0;
    let asRate = 0;
    for (const { request } of recording.transactions) {
      const bytes = new Uint8Array(Buffer.from(request, "hex"));
      const view = new DataView(bytes.buffer);
      if (view.getUint16(4, true) !== recording.families.ovs_meter || bytes[16] !== SET) continue;
      const values = meterAttributes.decode(view, 24, view.getUint32(0, true));
      seen++;
      expect(values).not.toHaveProperty("CLEAR");
      expect(values).not.toHaveProperty("STATS");
      for (const one of values.BANDS ?? []) if (one.BURST === one.RATE) asRate++;
      expect(errno(SET, values)).toBe(0);
    }
    // One of them was made with a burst of its own.
    expect(seen).toBeGreaterThan(1);
    expect(asRate).toBe(seen - 1);
  });

  it("F-306, F-308, F-309: no bands, another type and burst 0 are accepted", () => {
    const { errno } = setUp();
    expect(errno(SET, { ID: 1, BANDS: [] })).toBe(0);
    expect(errno(SET, { ID: 2, BANDS: [band(1, 1, 7)] })).toBe(0);
    expect(errno(SET, { ID: 3, BANDS: [band(1, 0)] })).toBe(0);
    expect(errno(SET, { ID: 3, BANDS: [band(1, 0)] }, { ifindex: 4242 })).toBe(ENODEV);
  });

  it("a band attribute that is too short is ERANGE", () => {
    const { client, request } = setUp();
    const attributes = (writer: MessageWriter) => {
      writer.u32(1, 1);
      const bands = writer.nest(4);
      const one = writer.nest(0);
      writer.u8(1, 1);
      writer.endNest(one);
      writer.endNest(bands);
    };
    expect(client.errno({ ...request(SET, {}), attributes })).toBe(ERANGE);
  });

  it("F-292, F-316, F-317: GET tells statistics, not rates", () => {
    const { errno, get, meters } = setUp();
    expect(errno(GET, {})).toBe(EINVAL);
    expect(errno(GET, { ID: 1 })).toBe(ENOENT);
    errno(SET, { ID: 1, BANDS: [band(10, 1)] });
    for (let i = 0; i < 3; i++) meters.drops(1, 60);
    expect(Object.entries(get(GET, { ID: 1 }))).toEqual([
      ["ID", 1],
      ["STATS", { packets: 3, bytes: 180 }],
      ["USED", 1_000_000],
      ["BANDS", [{ STATS: { packets: 2, bytes: 120 } }]],
    ]);
    expect(errno(GET, { ID: 1 }, { ifindex: 4242 })).toBe(ENODEV);
  });

  it("F-294, F-297, F-311, F-312, T-063: SET of an existing id tells of the old meter and starts anew", () => {
    const { client, request, errno, get, meters } = setUp();
    errno(SET, { ID: 1, BANDS: [band(10, 1)] });
    meters.drops(1, 60);
    const reply = client.get(request(SET, { ID: 1, BANDS: [band(10, 1)], STATS: { packets: 7, bytes: 8 } }));
    expect(read(reply).STATS).toEqual({ packets: 1, bytes: 60 });
    expect(get(GET, { ID: 1 }).STATS).toEqual({ packets: 7, bytes: 8 });
    // With CLEAR the statistics of the request count for nothing, and the next SET tells none.
    client.get(request(SET, { ID: 1, BANDS: [], CLEAR: true, STATS: { packets: 7, bytes: 8 } }));
    expect(get(GET, { ID: 1 }).STATS).toEqual({ packets: 0, bytes: 0 });
    expect(Object.keys(get(SET, { ID: 1, BANDS: [] }))).toEqual(["ID"]);
  });

  it("F-318, F-319, F-320: DEL of an unknown meter succeeds with an empty reply", () => {
    const { client, request, errno, get, meters } = setUp();
    expect(client.get(request(DEL, { ID: 5 })).bytes.length).toBe(24);
    errno(SET, { ID: 5, BANDS: [band(1, 1)] });
    expect(get(DEL, { ID: 5 }).ID).toBe(5);
    expect(errno(GET, { ID: 5 })).toBe(ENOENT);
    expect(meters.drops(5, 60)).toBe(false);
    expect(errno(DEL, {})).toBe(EINVAL);
  });

  it("F-314, F-315: an id whose slot another holds is EBUSY", () => {
    const { errno } = setUp();
    expect(errno(SET, { ID: 1025, BANDS: [] })).toBe(0);
    expect(errno(SET, { ID: 1, BANDS: [] })).toBe(EBUSY);
    expect(errno(SET, { ID: 2 ** 32 - 1, BANDS: [] })).toBe(0);
    expect(errno(GET, { ID: 2 ** 32 - 1 })).toBe(0);
  });

  it("F-010, F-063, F-321: nothing is ever multicast", () => {
    const { errno, test } = setUp();
    const listener = test.client();
    listener.socket.join(test.group(family));
    listener.socket.join(test.group("ovs_ct_limit"));
    errno(SET, { ID: 1, BANDS: [] }, { flags: 8 });
    errno(DEL, { ID: 1 }, { flags: 8 });
    expect(listener.drain()).toEqual([]);
  });
});

describe("the table", () => {
  const meter = (id: number) => new Meter(id, false, true, [], 0);

  it("F-313: full is EFBIG, one before the maximum, and the old meter of that id is lost", () => {
    const table = new MeterTable(new ManualClock(), 3);
    table.set(meter(1));
    table.set(meter(2));
    expect(() => table.set(meter(3))).toThrow(expect.objectContaining({ errno: EFBIG }));
    table.set(meter(2));
    expect(table.get(2)).toBeDefined();
  });

  it("T-042, T-043, T-044: the array grows and shrinks with its meters in place", () => {
    const table = new MeterTable(new ManualClock());
    for (let id = 0; id < 1023; id++) table.set(meter(id));
    expect(() => table.set(meter(1024))).not.toThrow();
    expect(() => table.set(meter(2048))).toThrow(expect.objectContaining({ errno: EBUSY }));
    for (let id = 0; id < 1023; id++) if (id > 99) table.remove(id);
    // Slot 1024 of the upper half is taken: no shrinking yet.
    expect(table.get(1024)).toBeDefined();
    table.remove(1024);
    table.remove(99);
    for (let id = 0; id < 99; id++) expect(table.get(id)).toBeDefined();
    expect(() => table.set(meter(1024))).toThrow(expect.objectContaining({ errno: EBUSY }));
  });
});

describe("buckets", () => {
  function setUpMeter(kbps: boolean, rate: number, burst: number, type = DROP) {
    const clock = new ManualClock();
    const table = new MeterTable(clock);
    const one = new MeterBand(type, rate, burst);
    table.set(new Meter(1, kbps, true, [one], table.now()));
    const passed = (n: number, length = 60) => {
      let count = 0;
      for (let i = 0; i < n; i++) if (!table.drops(1, length)) count++;
      return count;
    };
    return { clock, table, passed, one };
  }

  it("T-047, T-051, T-052, T-053, T-060: 100 packets at once, then one each 10 ms", () => {
    const { clock, passed } = setUpMeter(false, 100, 100);
    expect(passed(200)).toBe(100);
    clock.advance(9);
    expect(passed(1)).toBe(0);
    clock.advance(1);
    expect(passed(2)).toBe(1);
    clock.advance(100);
    expect(passed(20)).toBe(10);
  });

  it("T-046, T-061: rate 1000 kbps, burst 1: 125 bytes at most", () => {
    const { passed, clock } = setUpMeter(true, 1000, 1);
    expect(passed(1, 126)).toBe(0);
    expect(passed(1, 125)).toBe(1);
    clock.advance(1);
    expect(passed(2, 125)).toBe(1);
  });

  it("T-048, T-049, T-050: a long pause fills the bucket and no more", () => {
    const { passed, clock } = setUpMeter(false, 10, 5);
    passed(5);
    clock.advance(1e9);
    expect(passed(20)).toBe(5);
  });

  it("T-050: the time is cut before it is multiplied, so that it does not wrap", () => {
    const { passed, clock, one } = setUpMeter(false, 65536, 65536);
    one.bucket = 0;
    clock.advance(65536);
    passed(1);
    expect(one.bucket).toBe(65536 * 1000 - 1000);
  });

  it("T-059: burst 0 drops all", () => {
    const { passed, clock } = setUpMeter(false, 10, 0);
    clock.advance(1000);
    expect(passed(5)).toBe(0);
  });

  it("T-055, T-056, T-057, F-308: another type counts and passes", () => {
    const { passed, table, one } = setUpMeter(false, 1, 1, 7);
    expect(passed(5)).toBe(5);
    expect([table.get(1)?.packets, one.packets, one.bytes]).toEqual([5, 4, 240]);
  });

  it("T-064: products of rate and time wrap at 32 bits", () => {
    const { passed, clock, one } = setUpMeter(true, 0xffff_ffff, 0xffff_ffff);
    one.bucket = 0;
    clock.advance(2);
    passed(1, 0);
    expect(one.bucket).toBe((2 * 0xffff_ffff) % 2 ** 32);
  });

  it("T-065: an unknown meter passes", () => {
    expect(new MeterTable(new ManualClock()).drops(9, 60)).toBe(false);
  });
});
