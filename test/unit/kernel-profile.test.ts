/** `--kernel`: what is there and what is refused, by release (docs/kernels.md). */
import { describe, expect, it } from "vitest";
import { type Errno, NokmodError } from "../../src/core/errors.ts";
import { KERNEL_RELEASES, type KernelRelease, kernelProfile, NEWEST_KERNEL } from "../../src/core/kernel-profile.ts";
import { K, newKey } from "../../src/flow/key.ts";
import { MemoryPorts } from "../../src/port/memory/ports.ts";
import { Nokmod } from "../../src/runtime/nokmod.ts";
import { nlctrl } from "../../src/schema/genetlink.ts";
import { vportAttributes } from "../../src/schema/openvswitch.ts";
import { EINVAL, ENODEV } from "../../src/uapi/errno.ts";
import * as nl from "../../src/uapi/genetlink.ts";
import * as ovs from "../../src/uapi/openvswitch.ts";
import { kernelVersion } from "../../src/uapi/version.ts";
import * as a from "../support/actions.ts";
import { DatapathLab } from "../support/datapath-lab.ts";
import { concat, ethernet, frame, ipv4, udp } from "../support/frames.ts";
import { TestKernel } from "../support/kernel.ts";

/** The releases that take an action list for an IPv4 packet. */
function taken(...actions: Uint8Array[]): KernelRelease[] {
  const key = newKey();
  key[K.ETH_TYPE] = 0x0800_0001;
  return KERNEL_RELEASES.filter((release) => {
    try {
      a.compileFor(release, key, ...actions);
      return true;
    } catch (error) {
      expect((error as Errno).errno).toBe(EINVAL);
      return false;
    }
  });
}

const from = (first: KernelRelease): KernelRelease[] => KERNEL_RELEASES.slice(KERNEL_RELEASES.indexOf(first));

describe("kernel profiles", () => {
  it("are the long-term releases, the newest by default", () => {
    expect(kernelProfile().release).toBe(NEWEST_KERNEL);
    expect(NEWEST_KERNEL).toBe(KERNEL_RELEASES.at(-1));
    expect(KERNEL_RELEASES.map((release) => kernelProfile(release).version)).toEqual([
      kernelVersion(6, 1),
      kernelVersion(6, 6),
      kernelVersion(6, 12),
      kernelVersion(6, 18),
    ]);
    expect(kernelVersion(6, 6)).toBeLessThan(kernelVersion(6, 12));
  });

  it("refuse a release that is not known, and say which are", () => {
    for (const unknown of ["6.2", "5.15", "6.12.3", "", "latest", "__proto__"]) {
      expect(() => kernelProfile(unknown)).toThrow(NokmodError);
      expect(() => kernelProfile(unknown)).toThrow("choose from 6.1, 6.6, 6.12, 6.18");
    }
    const make = () => new Nokmod({ ports: new MemoryPorts(), kernel: "7.0" });
    expect(make).toThrow(expect.objectContaining({ code: "ERR_KERNEL_UNKNOWN" }));
  });

  it("a Nokmod behaves as the release it was given", () => {
    const nokmod = new Nokmod({ ports: new MemoryPorts(), kernel: "6.1", tickInterval: 0 });
    expect(nokmod.kernel.environment.kernel.release).toBe("6.1");
    nokmod.close();
  });
});

describe("actions by release", () => {
  it("A-001…A-024: up to DEC_TTL in all of them", () => {
    expect(taken(a.decTtl(a.output(1)), a.ctClear(), a.output(1))).toEqual([...KERNEL_RELEASES]);
  });

  it("A-025: DROP from 6.6 on, EINVAL before", () => {
    expect(taken(a.drop(0))).toEqual(from("6.6"));
  });

  it("A-026: PSAMPLE from 6.11 on, EINVAL before", () => {
    expect(taken(a.psample(1, Uint8Array.of(1)))).toEqual(from("6.12"));
  });

  it("A-027: an action after the last is EINVAL in all", () => {
    expect(taken(a.attr(ovs.OVS_ACTION_ATTR_PSAMPLE + 1, new Uint8Array(4)))).toEqual([]);
  });

  it("A-049: HASH SYM_L4 from 6.5 on", () => {
    const hash = (algorithm: number) => a.attr(ovs.OVS_ACTION_ATTR_HASH, a.le32(algorithm), a.le32(0));
    expect(taken(hash(ovs.OVS_HASH_ALG_L4))).toEqual([...KERNEL_RELEASES]);
    expect(taken(hash(ovs.OVS_HASH_ALG_SYM_L4))).toEqual(from("6.6"));
    expect(taken(hash(2))).toEqual([]);
  });

  it("A-047: unknown attributes and trailing bytes inside USERSPACE pass up to 6.15", () => {
    const before: KernelRelease[] = ["6.1", "6.6", "6.12"];
    expect(taken(a.userspace(7))).toEqual([...KERNEL_RELEASES]);
    expect(taken(a.userspace(7, a.attr(9, Uint8Array.of(1))))).toEqual(before);
    expect(taken(a.userspace(7, a.attr(0)))).toEqual(before);
    expect(taken(a.userspace(7, Uint8Array.of(2, 0, 1, 0)))).toEqual(before);
  });
});

it("A-171: from 6.12 on what is set after a second tag was pushed is written four bytes too early", () => {
  const packet = frame(
    ethernet(),
    ipv4({ src: "10.0.0.1", dst: "10.0.0.2", ttl: 64 }),
    udp({ src: 1, dst: 2 }),
    "data",
  );
  const ttl = a.setMasked(
    ovs.OVS_KEY_ATTR_IPV4,
    concat(new Uint8Array(10), Uint8Array.of(9, 0)),
    concat(new Uint8Array(10), Uint8Array.of(0xff, 0)),
  );
  const sent = KERNEL_RELEASES.map((kernel) => {
    const lab = new DatapathLab(undefined, undefined, { kernel });
    expect(lab.execute(packet, [a.pushVlan(5), a.pushVlan(6), ttl, a.output(2)])).toBe(0);
    const [bytes] = lab.port(2).sent;
    // The TTL behind two tags, and four bytes before it the low half of the identification.
    return [bytes[22 + 8], bytes[18 + 8]];
  });
  expect(sent.slice(0, 2)).toEqual(Array(2).fill([9, packet[14 + 4]]));
  expect(sent.slice(2)).toEqual(Array(2).fill([64, 9]));
});

describe("families by release", () => {
  const family = (test: TestKernel, name: string) => {
    const reply = test.client().get({
      family: "nlctrl",
      cmd: nl.CTRL_CMD_GETFAMILY,
      attributes: (writer) => writer.string(nl.CTRL_ATTR_FAMILY_NAME, name),
    });
    return nlctrl.decode(reply.view, 20, reply.bytes.length);
  };

  it("F-006: MAXATTR of ovs_vport is 9, with UPCALL_STATS 10; of ovs_packet 11, with UPCALL_PID 12", () => {
    const maxima = KERNEL_RELEASES.map((kernel) => {
      const test = new TestKernel({ kernel });
      return [family(test, "ovs_vport").MAXATTR, family(test, "ovs_packet").MAXATTR];
    });
    expect(maxima).toEqual([
      [9, 11],
      [10, 11],
      [10, 11],
      [10, 12],
    ]);
  });

  it("F-156: before 6.10 an alternative name of a device will do", () => {
    for (const kernel of KERNEL_RELEASES) {
      const lab = new DatapathLab([], undefined, { kernel });
      lab.test.ports.addDevice("eth1", { altNames: ["uplink"] });
      const taken = kernel === "6.1" || kernel === "6.6";
      expect(lab.addVport("uplink", { number: 1 }), kernel).toBe(taken ? 0 : ENODEV);
      if (taken) expect(lab.vport(1).NAME).toBe("eth1");
      expect(lab.addVport("downlink")).toBe(ENODEV);
    }
  });

  it("F-136, T-107: UPCALL_STATS stands in a vport from 6.2 on", () => {
    for (const kernel of KERNEL_RELEASES) {
      const test = new TestKernel({ kernel });
      const client = test.client();
      const { ifindex } = client.get({
        family: "ovs_datapath",
        cmd: ovs.OVS_DP_CMD_NEW,
        flags: 8,
        attributes: (writer) => {
          writer.string(ovs.OVS_DP_ATTR_NAME, "dp0");
          writer.u32(ovs.OVS_DP_ATTR_UPCALL_PID, 0);
        },
      });
      const reply = client.get({
        family: "ovs_vport",
        cmd: ovs.OVS_VPORT_CMD_GET,
        ifindex,
        attributes: (writer) => writer.u32(ovs.OVS_VPORT_ATTR_PORT_NO, 0),
      });
      const { UPCALL_STATS, UPCALL_PID } = vportAttributes.decode(reply.view, 24, reply.bytes.length);
      expect(UPCALL_STATS, kernel).toEqual(kernel === "6.1" ? undefined : { SUCCESS: 0, FAIL: 0 });
      expect(UPCALL_PID, kernel).toHaveLength(1);
    }
  });
});
