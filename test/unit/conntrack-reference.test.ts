import { readFileSync } from "node:fs";
import { gunzipSync } from "node:zlib";
import { describe, expect, it } from "vitest";
import { ManualClock } from "../../src/clock.ts";
import type { CtAction } from "../../src/conntrack/action.ts";
import { Conntrack } from "../../src/conntrack/conntrack.ts";
import { AF_INET, AF_INET6 } from "../../src/conntrack/layout.ts";
import type { ConntrackOptions } from "../../src/conntrack/options.ts";
import { parseCt } from "../../src/datapath/actions/ct.ts";
import { K, newKey } from "../../src/datapath/flow-key.ts";
import { extractUserspace, parseMetadata } from "../../src/datapath/key-parse.ts";
import { putKey } from "../../src/datapath/key-put.ts";
import type { Errno } from "../../src/errors.ts";
import { Ctnetlink } from "../../src/kernel/ctnetlink.ts";
import { NetlinkBus } from "../../src/netlink/bus.ts";
import { PairSocket } from "../../src/netlink/pair.ts";
import { AttributeReader } from "../../src/netlink/reader.ts";
import { MessageWriter } from "../../src/netlink/writer.ts";
import { completePartial } from "../../src/packet/l4-checksum.ts";
import { PacketMemory } from "../../src/packet/memory.ts";
import { Packet } from "../../src/packet/packet.ts";
import { SeededRandom } from "../../src/random.ts";
import { NETLINK_NETFILTER, NLM_F_DUMP, NLM_F_REQUEST, NLMSG_DONE, NLMSG_ERROR } from "../../src/uapi/netlink.ts";
import * as nf from "../../src/uapi/nfnetlink.ts";
import { hex, unhex } from "../support/frames.ts";

/**
 * Packet scripts that were played through the ct action of openvswitch.ko 6.12 (tools/reference/record-conntrack): keys and
 * bytes after each ct, the table after each packet, and every event must be the same.
 */
interface Step {
  frame?: string;
  resume?: boolean;
  wait?: number;
  delete?: string;
  ct: string[];
  errno: number;
  ups: [string, string, number][];
  dump: string[];
  expect: string[];
  events: [number, number, string][];
}
interface Script {
  name: string;
  sysctl: Record<string, number>;
  limits: [number, number][];
  policies: string[];
  steps: Step[];
}

const path = process.env.NOKMOD_CONNTRACK_FIXTURE ?? new URL("../fixtures/conntrack-6.12.json.gz", import.meta.url);
const { scripts } = JSON.parse(gunzipSync(readFileSync(path)).toString()) as { scripts: Script[] };

const OPTIONS: Record<string, keyof ConntrackOptions> = {
  acct: "acct",
  tcp_loose: "tcpLoose",
  tcp_be_liberal: "tcpBeLiberal",
  tcp_ignore_invalid_rst: "tcpIgnoreInvalidRst",
};

class Replay {
  readonly clock = new ManualClock();
  readonly memory = new PacketMemory();
  readonly conntrack: Conntrack;
  private readonly control: PairSocket;
  private readonly listener: PairSocket;
  private last: [Uint8Array, Uint8Array] | undefined;

  constructor(script: Script) {
    const options: Record<string, boolean> = {};
    for (const [name, value] of Object.entries(script.sysctl)) options[OPTIONS[name]] = value !== 0;
    const random = new SeededRandom(7);
    this.conntrack = new Conntrack({
      clock: this.clock,
      random,
      memory: this.memory,
      options: { max: 4096, ...options },
    });
    const bus = new NetlinkBus(random);
    new Ctnetlink(bus, this.conntrack, () => this.clock.realtime());
    this.control = new PairSocket(bus, NETLINK_NETFILTER);
    this.listener = new PairSocket(bus, NETLINK_NETFILTER);
    for (const group of [1, 2, 3, 4, 6]) this.listener.join(group);
    for (const [zone, limit] of script.limits) {
      if (zone < 0) this.conntrack.limits.setDefault(limit);
      else this.conntrack.limits.set(zone, limit);
    }
    for (const policy of script.policies) {
      expect(this.request(nf.NFNL_SUBSYS_CTNETLINK_TIMEOUT << 8, 0x404, unhex(policy)).errno).toBe(0);
    }
  }

  step(step: Step): Omit<Step, "ct"> {
    // Every round trip of the recording took less than a tick: whole seconds are rounded down as there.
    this.clock.advance(1 + (step.wait ?? 0) * 1000);
    if (step.delete !== undefined) this.request((nf.NFNL_SUBSYS_CTNETLINK << 8) | nf.IPCTNL_MSG_CT_DELETE, 4);
    const packet = new Packet(this.memory);
    const key = newKey();
    let bytes: Uint8Array;
    let tuples = 0;
    if (step.resume) {
      if (this.last === undefined) throw new Error("nothing to resume");
      bytes = this.last[1];
    } else bytes = unhex(step.frame ?? "");
    const base = this.memory.scratch(bytes.length + 128);
    this.memory.bytes.set(bytes, base + 128);
    packet.reset(base + 128, bytes.length, base, base + 128 + bytes.length);
    if (step.resume && this.last !== undefined) {
      const attributes = this.last[0];
      const view = new DataView(attributes.buffer, attributes.byteOffset, attributes.length);
      tuples = parseMetadata(view, 0, attributes.length, packet, key);
    } else {
      const writer = new MessageWriter();
      writer.u32(3, 0);
      writer.raw(4, new Uint8Array(12));
      tuples = parseMetadata(writer.view, 0, writer.length, packet, key);
    }
    expect(extractUserspace(packet, key, tuples)).toBe(0);
    const ups: [string, string, number][] = [];
    let errno = 0;
    // The module looks at the whole list before it runs any of it.
    const actions: CtAction[] = [];
    try {
      for (const text of step.ct) actions.push(this.action(text, key));
    } catch (error) {
      errno = (error as Errno).errno;
      actions.length = 0;
    }
    for (const action of actions) {
      const error = this.conntrack.execute(packet, key, action);
      if (error === -115) break;
      errno = error === 0 ? 0 : -error;
      if (error !== 0) break;
      completePartial(packet);
      const writer = new MessageWriter();
      putKey(writer, key);
      const attributes = writer.finish();
      const frame = this.memory.bytes.slice(packet.off, packet.off + packet.len);
      ups.push([hex(attributes), hex(frame), packet.mru]);
      this.last = [attributes, frame];
    }
    this.conntrack.endBatch();
    const dump = this.request((nf.NFNL_SUBSYS_CTNETLINK << 8) | nf.IPCTNL_MSG_CT_GET, NLM_F_DUMP).records;
    const expectations = this.request((nf.NFNL_SUBSYS_CTNETLINK_EXP << 8) | nf.IPCTNL_MSG_EXP_GET, NLM_F_DUMP).records;
    return { errno, ups, dump, expect: expectations, events: this.events() };
  }

  private action(text: string, key: Int32Array): CtAction {
    const payload = unhex(text);
    const writer = new MessageWriter();
    writer.raw(12, payload);
    const reader = new AttributeReader(writer.view, 0, writer.length);
    reader.next();
    const family = key[K.ETH_TYPE] >>> 16 === 0x0800 ? AF_INET : AF_INET6;
    return parseCt(reader, family, key[K.IP] >>> 24, this.conntrack);
  }

  private request(
    type: number,
    flags: number,
    body: Uint8Array = new Uint8Array(0),
  ): { errno: number; records: string[] } {
    const writer = new MessageWriter();
    const at = writer.beginMessage(type, NLM_F_REQUEST | flags, 1, 0);
    writer.rawU32(0);
    const to = writer.reserve(body.length);
    writer.bytes.set(body, to);
    writer.endMessage(at);
    this.control.send(writer.finish());
    const records: string[] = [];
    let errno = -1;
    for (const message of messages(this.control)) {
      if (message.type === NLMSG_DONE || message.type === NLMSG_ERROR) errno = message.errno;
      else records.push(message.attributes);
    }
    return { errno, records };
  }

  private events(): [number, number, string][] {
    return [...messages(this.listener)].map(({ type, flags, attributes }) => [type, flags, attributes]);
  }
}

function* messages(socket: PairSocket): Generator<{ type: number; flags: number; errno: number; attributes: string }> {
  for (let datagram = socket.receive(); datagram !== null; datagram = socket.receive()) {
    const view = new DataView(datagram.buffer, datagram.byteOffset, datagram.length);
    for (let at = 0; at + 16 <= datagram.length; ) {
      const size = view.getUint32(at, true);
      const type = view.getUint16(at + 4, true);
      const errno = type === NLMSG_DONE || type === NLMSG_ERROR ? 0 - view.getInt32(at + 16, true) : 0;
      yield { type, flags: view.getUint16(at + 6, true), errno, attributes: hex(datagram.slice(at + 20, at + size)) };
      at += (size + 3) & ~3;
    }
  }
}

const TIMEOUTS: Record<number, number> = { 1: nf.CTA_TIMEOUT, 2: nf.CTA_EXPECT_TIMEOUT };
const IDS: Record<number, number> = { 1: nf.CTA_ID, 2: nf.CTA_EXPECT_ID };

/** A record with its id wiped and its timeout taken out, readable where two differ. */
function record(subsystem: number, text: string): { text: string; timeout: number } {
  const bytes = unhex(text);
  const reader = new AttributeReader(new DataView(bytes.buffer), 0, bytes.length);
  let timeout = -1;
  const parts: string[] = [];
  while (reader.next()) {
    if (reader.type === TIMEOUTS[subsystem]) {
      timeout = reader.be32();
      parts.push(`${reader.rawType}:timeout`);
    } else if (reader.type === IDS[subsystem]) parts.push(`${reader.rawType}:id`);
    else parts.push(`${reader.rawType}:${hex(reader.bytes())}`);
  }
  return { text: parts.join(" "), timeout };
}

function sameRecords(subsystem: number, ours: string[], theirs: string[], what: string): void {
  const left = ours.map((text) => record(subsystem, text));
  const right = theirs.map((text) => record(subsystem, text));
  const order = (a: { text: string }, b: { text: string }): number => (a.text < b.text ? -1 : 1);
  left.sort(order);
  right.sort(order);
  expect(
    left.map((one) => one.text),
    what,
  ).toEqual(right.map((one) => one.text));
  for (const [i, one] of left.entries()) {
    expect(
      Math.abs(one.timeout - right[i].timeout),
      `${what}: timeout ${one.timeout} for ${right[i].timeout}`,
    ).toBeLessThanOrEqual(1);
  }
}

/** Attributes of a key by type, readable where two differ. */
function keyParts(text: string): string[] {
  const bytes = unhex(text);
  const reader = new AttributeReader(new DataView(bytes.buffer), 0, bytes.length);
  const parts: string[] = [];
  while (reader.next()) parts.push(`${reader.type}:${hex(reader.bytes())}`);
  // The packet's hash is random there.
  return parts.filter((part) => !part.startsWith("19:"));
}

describe("as openvswitch.ko 6.12 does", () => {
  for (const script of scripts) {
    it(script.name, () => {
      const replay = new Replay(script);
      for (const [index, step] of script.steps.entries()) {
        const where = `step ${index}`;
        const ours = replay.step(step);
        expect(ours.errno, where).toBe(step.errno);
        expect(ours.ups.length, where).toBe(step.ups.length);
        for (const [i, [key, frame, mru]] of step.ups.entries()) {
          expect(keyParts(ours.ups[i][0]), `${where}, key ${i}`).toEqual(keyParts(key));
          expect(ours.ups[i][1], `${where}, packet ${i}`).toBe(frame);
          expect(ours.ups[i][2], `${where}, mru ${i}`).toBe(mru);
        }
        sameRecords(1, ours.dump, step.dump, `${where}, table`);
        sameRecords(2, ours.expect, step.expect, `${where}, expectations`);
        expect(
          ours.events.map(([type, flags]) => [type, flags]),
          `${where}, events`,
        ).toEqual(step.events.map(([type, flags]) => [type, flags]));
        // A flush walks the table in no particular order.
        for (let i = 0, end = 0; i < ours.events.length; i = end) {
          const [type, flags] = ours.events[i];
          while (end < ours.events.length && ours.events[end][0] === type && ours.events[end][1] === flags) end++;
          const texts = (events: Step["events"]): string[] => events.slice(i, end).map(([, , text]) => text);
          sameRecords(type >>> 8, texts(ours.events), texts(step.events), `${where}, event ${i}`);
        }
      }
    });
  }
});
