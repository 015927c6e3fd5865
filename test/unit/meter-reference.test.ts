/** Meters against openvswitch.ko 6.12: recorded by tools/reference/record-meters, packet by packet. */
import { readFileSync } from "node:fs";
import { gunzipSync } from "node:zlib";
import { expect, it } from "vitest";
import { ManualClock } from "../../src/core/clock.ts";
import { Meter, MeterBand, MeterTable } from "../../src/datapath/meter.ts";

type Step = [length: number, used: number, packets: number, bytes: number, bandPackets: number, bandBytes: number];
interface Recorded {
  readonly kbps: boolean;
  readonly type: number;
  readonly rate: number;
  readonly burst: number;
  /** 0 or 1. */
  readonly bands: number;
  readonly steps: Step[];
}

const path = process.env.NOKMOD_METERS_FIXTURE ?? new URL("../fixtures/meters-6.12.json.gz", import.meta.url);
const { meters } = JSON.parse(gunzipSync(readFileSync(path)).toString()) as { meters: Recorded[] };

it("F-293, F-306…F-309, T-045…T-053, T-055…T-057, T-059…T-062, T-064: every count after every packet is the module's", () => {
  expect(meters.length).toBeGreaterThan(15);
  for (const { kbps, type, rate, burst, bands, steps } of meters) {
    const clock = new ManualClock();
    const table = new MeterTable(clock);
    const band = new MeterBand(type, rate || 1, burst);
    table.set(new Meter(1, kbps, true, bands === 0 ? [] : [band], table.now()));
    const start = table.now();
    const meter = table.get(1);
    const counted = steps.map(([length, used]): Step => {
      clock.advance(start + used - table.now());
      table.drops(1, length);
      return [length, (meter?.used ?? 0) - start, meter?.packets ?? 0, meter?.bytes ?? 0, band.packets, band.bytes];
    });
    expect(counted, `rate ${rate} burst ${burst} kbps ${kbps} type ${type}`).toEqual(steps);
  }
});
