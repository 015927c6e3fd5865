import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from "vitest";
import * as a from "../support/actions.ts";
import { type Capture, type Host, Lab, type Match, match, root, until } from "../support/lab.ts";
import { concat } from "../support/frames.ts";

describe.skipIf(!root)("a datapath of real devices", () => {
  let lab: Lab;
  let h1: Host;
  let h2: Host;
  let dp: number;
  const captures: Capture[] = [];

  beforeAll(async () => {
    lab = await Lab.create(2);
    [h1, h2] = lab.hosts;
    await lab.start();
  });
  afterAll(async () => {
    await lab?.close();
  });
  beforeEach(() => {
    dp = lab.datapath();
  });
  afterEach(async () => {
    lab.ovs.deleteDatapath(dp);
    for (const capture of captures.splice(0)) await capture.stop();
  });

  function flow(what: Match, ...actions: Uint8Array[]): void {
    lab.ovs.putFlow(dp, { ...match(what), actions: concat(...actions) });
  }

  /** What comes in by one leaves by the other. */
  function plain(): void {
    flow({ inPort: 1 }, a.output(2));
    flow({ inPort: 2 }, a.output(1));
  }

  it("A-136, T-035: ARP, IPv4 and IPv6 go from device to device", async () => {
    plain();
    expect(await h1.ping(h2.address)).toMatchObject({ received: 3 });
    expect(await h1.ping(h2.address6)).toMatchObject({ received: 3 });
    expect(lab.ovs.datapath(dp).stats).toMatchObject({ missed: 0, lost: 0 });
  });
});
