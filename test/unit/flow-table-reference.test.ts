/**
 * What openvswitch.ko 6.12 counted while flows came and went, packets were looked up, the mask cache changed its size and
 * masks were sorted by use (tools/reference/flow_table.py). The same is put to nokmod by netlink.
 */
import { readFileSync } from "node:fs";
import { gunzipSync } from "node:zlib";
import { describe, expect, it } from "vitest";
import * as ovs from "../../src/uapi/openvswitch.ts";
import * as act from "../support/actions.ts";
import { DatapathLab, inPort } from "../support/datapath-lab.ts";
import { concat, ethernet, frame, ipv4, u32 } from "../support/frames.ts";

type Counters = [hit: number, missed: number, maskHit: number, cacheHit: number, masks: number, flows: number];
type Step =
  | ["put" | "del", group: number, bits: number, value: number, Counters]
  | ["flush", Counters]
  | ["cache", size: number, Counters]
  | ["packet", group: number, value: number, hash: number, recircId: number, Counters];

const file = process.env.NOKMOD_FLOW_TABLE_FIXTURE ?? "../fixtures/flow-table-6.12.json.gz";
const { rounds } = JSON.parse(gunzipSync(readFileSync(new URL(file, import.meta.url))).toString()) as {
  rounds: Step[][];
};

/** Masks are sorted this often. */
const REBALANCE = 4000;

class Subject {
  private readonly lab = new DatapathLab([]);

  constructor() {
    this.lab.setPids(0, 0);
  }

  run(step: Step): void {
    const { lab } = this;
    switch (step[0]) {
      case "put":
      case "del":
        this.flow(step[0] === "put", step[1], step[2], step[3]);
        break;
      case "flush":
        lab.flushFlows();
        break;
      case "cache":
        lab.setDatapath(0, undefined, step[1]);
        break;
      case "packet": {
        const [, group, value, low, id] = step;
        const packet = frame(ethernet(), ipv4({ proto: group, dst: [...u32(value)].join(".") }));
        const error = lab.execute(packet, [act.recirc(id)], {
          key: inPort(0),
          hash: low === 0 ? undefined : [low, 3],
        });
        if (error !== 0) throw new Error(`EXECUTE: errno ${error}`);
        break;
      }
    }
  }

  private flow(put: boolean, group: number, bits: number, value: number): void {
    const { lab } = this;
    const prefix = bits === 32 ? -1 : ~(-1 >>> bits);
    const ip = (proto: number, dst: number) =>
      act.attr(ovs.OVS_KEY_ATTR_IPV4, new Uint8Array(4), u32(dst >>> 0), Uint8Array.of(proto, 0, 0, 0));
    const type = (bytes: number[]) => act.attr(ovs.OVS_KEY_ATTR_ETHERTYPE, Uint8Array.from(bytes));
    const error = lab.client.errno({
      family: "ovs_flow",
      cmd: put ? ovs.OVS_FLOW_CMD_NEW : ovs.OVS_FLOW_CMD_DEL,
      ifindex: lab.ifindex,
      attributes: (w) => {
        const head = act.attr(ovs.OVS_KEY_ATTR_ETHERNET, new Uint8Array(12));
        w.raw(ovs.OVS_FLOW_ATTR_KEY, concat(head, type([8, 0]), ip(group, value & prefix)));
        if (!put) return;
        w.raw(ovs.OVS_FLOW_ATTR_MASK, concat(type([255, 255]), ip(255, prefix)));
        w.raw(ovs.OVS_FLOW_ATTR_ACTIONS, new Uint8Array(0));
      },
    });
    if (error !== 0) throw new Error(`flow: errno ${error}`);
  }

  counters(): Counters {
    const { hit, missed, maskHit, cacheHit, masks, flows } = this.lab.stats();
    return [hit, missed, maskHit, cacheHit, masks, flows];
  }

  sortMasks(): void {
    this.lab.test.clock.advance(REBALANCE);
    this.lab.test.kernel.tick();
  }
}

describe("the flow table of Linux 6.12", () => {
  it("T-002, T-004, T-005, T-008, T-009, T-010, T-011, T-012, T-013, T-014, T-038, T-039, F-119, F-122, F-123, F-124: all counters after each of its steps", () => {
    const subject = new Subject();
    const differences: unknown[] = [];
    for (const [number, steps] of rounds.entries()) {
      let before: Counters = subject.counters();
      for (const [index, step] of steps.entries()) {
        subject.run(step);
        const after = subject.counters();
        const want = step.at(-1) as Counters;
        if (JSON.stringify(after) !== JSON.stringify(want)) differences.push({ number, index, step, before, after });
        if (differences.length > 0) break;
        before = after;
      }
      subject.sortMasks();
      if (differences.length > 0) break;
    }
    expect(differences).toEqual([]);
  });
});
