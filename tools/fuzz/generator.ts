import { encode } from "../../src/netlink/schema/index.ts";
import * as schema from "../../src/schema/openvswitch.ts";
import { NLM_F_ACK, NLM_F_REQUEST } from "../../src/uapi/netlink.ts";
import * as ovs from "../../src/uapi/openvswitch.ts";
import { attr } from "../../test/support/actions.ts";
import type { Chance } from "./chance.ts";
import { arriving, structured, tunnelled } from "./frames.ts";
import {
  actionList,
  FAMILIES,
  type Family,
  header,
  keyOf,
  message,
  requestBody,
  requestFlags,
  validActions,
} from "./messages.ts";
import { flipBytes, mutateTlvs } from "./tlv.ts";
import { DEVICES, SOCKETS, Sockets, type Step, UPCALL_PID, type World } from "./world.ts";

const DATAPATH = 50;
const TUNNELS: readonly [name: string, type: number, port?: number][] = [
  ["vxlan0", ovs.OVS_VPORT_TYPE_VXLAN, 4789],
  ["geneve0", ovs.OVS_VPORT_TYPE_GENEVE, 6081],
  ["gre0", ovs.OVS_VPORT_TYPE_GRE],
];
/** Requests that succeeded are kept and sent again, changed: so many of them. */
const KEPT = 200;

interface Kept {
  readonly family: Family;
  readonly command: number;
  readonly body: Uint8Array;
}

/** Makes the steps of a case, one after the other, for the nokmod that they are done to. */
export class CaseGenerator {
  private seq = 0;
  private readonly kept: Kept[] = [];
  private last: Kept | undefined;

  constructor(
    private readonly world: World,
    private readonly chance: Chance,
  ) {}

  /** A datapath with ports, tunnels and meters. */
  *prelude(): Generator<Step> {
    const { kernel } = this.world.nokmod;
    const send = (name: string, command: number, body: Uint8Array, version = 1, flags = 0): Step => {
      const start = new Uint8Array(8);
      start.set([command, version]);
      if (name !== ovs.OVS_DATAPATH_FAMILY || command !== ovs.OVS_DP_CMD_NEW)
        new DataView(start.buffer).setInt32(4, DATAPATH, true);
      const type = kernel.genl.byName(name)?.id ?? 16;
      const whole = new Uint8Array(Buffer.concat([start, body]));
      return {
        do: "send",
        socket: Sockets.GENERIC,
        bytes: message(type, flags | NLM_F_REQUEST | NLM_F_ACK, ++this.seq, whole),
      };
    };
    yield send(
      ovs.OVS_DATAPATH_FAMILY,
      ovs.OVS_DP_CMD_NEW,
      encode(schema.datapathAttributes, {
        NAME: "dp0",
        UPCALL_PID,
        USER_FEATURES: ovs.OVS_DP_F_UNALIGNED | ovs.OVS_DP_F_VPORT_PIDS,
        IFINDEX: DATAPATH,
      }),
      ovs.OVS_DATAPATH_VERSION,
    );
    for (const [index, NAME] of DEVICES.entries())
      yield send(
        ovs.OVS_VPORT_FAMILY,
        ovs.OVS_VPORT_CMD_NEW,
        encode(schema.vportAttributes, {
          NAME,
          TYPE: ovs.OVS_VPORT_TYPE_NETDEV,
          PORT_NO: index + 1,
          UPCALL_PID: Uint32Array.of(UPCALL_PID),
        }),
      );
    for (const [index, [NAME, TYPE, DST_PORT]] of TUNNELS.entries())
      yield send(
        ovs.OVS_VPORT_FAMILY,
        ovs.OVS_VPORT_CMD_NEW,
        encode(schema.vportAttributes, {
          NAME,
          TYPE,
          PORT_NO: index + 6,
          UPCALL_PID: Uint32Array.of(UPCALL_PID),
          ...(DST_PORT === undefined ? {} : { OPTIONS: { DST_PORT } }),
        }),
      );
    for (const ID of [1, 2])
      yield send(
        ovs.OVS_METER_FAMILY,
        ovs.OVS_METER_CMD_SET,
        encode(schema.meterAttributes, {
          ID,
          KBPS: ID === 1,
          BANDS: [{ TYPE: 1, RATE: 100, BURST: 10, STATS: { packets: 0, bytes: 0 } }],
        }),
      );
  }

  /** A request of any family, on any socket: made from the tables, changed, kept from before, or nothing but bytes. */
  request(): Step {
    const { chance } = this;
    const parts = [this.one()];
    // Several messages in a datagram, now and then.
    if (chance.oneIn(10)) for (let i = 1 + chance.below(4); i > 0; i--) parts.push(this.one());
    let bytes = parts[0].bytes;
    if (parts.length > 1) {
      const { netfilter } = parts[0];
      bytes = new Uint8Array(
        Buffer.concat(parts.filter((part) => part.netfilter === netfilter).map((part) => part.bytes)),
      );
      this.last = undefined;
    }
    if (chance.oneIn(60)) bytes = bytes.subarray(0, chance.below(bytes.length + 1));
    let socket = parts[0].netfilter ? Sockets.NETFILTER : Sockets.GENERIC;
    if (chance.oneIn(15)) socket += 2;
    if (chance.oneIn(100)) socket = chance.below(SOCKETS);
    return { do: "send", socket, bytes };
  }

  /** Keeps the last request if it did what it asked for. */
  learn(): void {
    if (this.last === undefined || this.world.errno !== 0) return;
    if (this.kept.length < KEPT) this.kept.push(this.last);
    else this.kept[this.chance.below(KEPT)] = this.last;
    this.last = undefined;
  }

  private one(): { bytes: Uint8Array; netfilter: boolean } {
    const { chance } = this;
    let family: Family;
    let command: number;
    let body: Uint8Array;
    if (this.kept.length > 0 && chance.oneIn(3)) {
      ({ family, command, body } = chance.of(this.kept));
      if (!chance.oneIn(3)) body = mutateTlvs(body, chance);
      if (chance.oneIn(4)) command = chance.below(family.commands);
    } else {
      family = chance.of(FAMILIES);
      command = chance.oneIn(30) ? chance.below(256) : chance.below(family.commands);
      body = requestBody(family, chance);
    }
    this.last = { family, command, body };
    const netfilter = family.subsystem !== undefined;
    const known = family.name === "nlctrl" ? 16 : (this.world.nokmod.kernel.genl.byName(family.name)?.id ?? 16);
    let type = netfilter ? ((family.subsystem as number) << 8) | command : known;
    if (chance.oneIn(60)) type = chance.oneIn(2) ? chance.below(40) : chance.below(0x10000);
    const whole = new Uint8Array(Buffer.concat([header(family, chance, command, DATAPATH), body]));
    const lie = chance.oneIn(60) ? chance.below(80) - 40 : 0;
    const bytes = message(type, requestFlags(chance), ++this.seq, whole, lie);
    return { bytes: chance.oneIn(150) ? flipBytes(bytes, chance) : bytes, netfilter };
  }

  /** A flow for frames like one that is to come, and that frame. */
  *flowAndFrame(): Generator<Step> {
    const { chance } = this;
    const device = chance.below(DEVICES.length);
    const frames = arriving(chance);
    const sample = (frames[0]?.bytes.length ?? 0) >= 14 ? frames[0].bytes : structured(chance);
    const { key, mask, masked } = keyOf(sample, chance, device + 1, chance.oneIn(2) ? 0 : chance.below(4));
    const { profile, nokmod } = this.world;
    const actions = chance.oneIn(5) ? actionList(chance) : validActions(chance, masked, profile, nokmod.conntrack);
    const body = new Uint8Array(
      Buffer.concat([
        attr(ovs.OVS_FLOW_ATTR_KEY | 0x8000, key),
        attr(ovs.OVS_FLOW_ATTR_MASK | 0x8000, mask),
        attr(ovs.OVS_FLOW_ATTR_ACTIONS | 0x8000, actions),
      ]),
    );
    const start = new Uint8Array(8);
    start.set([ovs.OVS_FLOW_CMD_NEW, 1]);
    new DataView(start.buffer).setInt32(4, DATAPATH, true);
    const type = this.world.nokmod.kernel.genl.byName(ovs.OVS_FLOW_FAMILY)?.id ?? 16;
    const whole = new Uint8Array(Buffer.concat([start, body]));
    yield {
      do: "send",
      socket: Sockets.GENERIC,
      bytes: message(type, NLM_F_REQUEST | NLM_F_ACK | 0x400, ++this.seq, whole),
    };
    for (const { bytes, offload } of frames) yield { do: "frame", device: DEVICES[device], bytes, offload };
  }

  /** Frames on any device, without a thought to flows. */
  *frames(): Generator<Step> {
    const { chance } = this;
    if (chance.oneIn(6)) {
      yield { do: "underlay", bytes: tunnelled(chance), ...(chance.oneIn(8) ? { fragment: 600 } : {}) };
      return;
    }
    const device = chance.of(DEVICES);
    for (const { bytes, offload } of arriving(chance)) yield { do: "frame", device, bytes, offload };
  }

  /** Time passes, a device vanishes, a socket joins a group. */
  event(): Step {
    const { chance } = this;
    switch (chance.below(6)) {
      case 0:
        return {
          do: "device",
          device: chance.of(DEVICES),
          change: chance.of(["add", "remove", "toggle", "add", "toggle"] as const),
        };
      case 1:
        return { do: chance.oneIn(4) ? "leave" : "join", socket: chance.below(SOCKETS), group: chance.below(30) };
      default:
        return { do: "tick", ms: chance.of([1, 10, 1000, 1000, 30_000, 600_000]) };
    }
  }
}

/** What a target does in its turn. */
export const TARGETS: Readonly<Record<string, (generator: CaseGenerator, chance: Chance) => Iterable<Step>>> = {
  *netlink(generator, chance) {
    if (chance.oneIn(12)) yield* generator.frames();
    else if (chance.oneIn(25)) yield generator.event();
    else yield generator.request();
  },
  *frames(generator, chance) {
    if (chance.oneIn(3)) yield* generator.flowAndFrame();
    else if (chance.oneIn(25)) yield generator.event();
    else if (chance.oneIn(40)) yield generator.request();
    else yield* generator.frames();
  },
};
