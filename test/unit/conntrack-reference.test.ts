import { readFileSync } from "node:fs";
import { gunzipSync } from "node:zlib";
import { describe, expect, it } from "vitest";
import type { CtAction } from "../../src/conntrack/action.ts";
import { Conntrack } from "../../src/conntrack/conntrack.ts";
import type { ConntrackOptions } from "../../src/conntrack/options.ts";
import { ManualClock } from "../../src/core/clock.ts";
import type { Errno } from "../../src/core/errors.ts";
import { SeededRandom } from "../../src/core/random.ts";
import { parseCt } from "../../src/datapath/actions/ct.ts";
import { K, newKey } from "../../src/flow/key.ts";
import { extractUserspace, parseMetadata } from "../../src/flow/parse/packet-key.ts";
import { putKey } from "../../src/flow/put.ts";
import { Ctnetlink } from "../../src/kernel/ctnetlink/ctnetlink.ts";
import { NetlinkBus } from "../../src/netlink/bus.ts";
import { PairSocket } from "../../src/netlink/pair.ts";
import { AttributeReader } from "../../src/netlink/reader.ts";
import { MessageWriter } from "../../src/netlink/writer.ts";
import { completePartial } from "../../src/packet/l4-checksum.ts";
import { PacketMemory } from "../../src/packet/memory.ts";
import { Packet } from "../../src/packet/packet.ts";
import { NETLINK_NETFILTER, NLM_F_DUMP, NLM_F_REQUEST, NLMSG_DONE, NLMSG_ERROR } from "../../src/uapi/netlink.ts";
import * as nf from "../../src/uapi/nfnetlink.ts";
import { AF_INET, AF_INET6 } from "../../src/uapi/socket.ts";
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

const byType = (a: Step["events"][0], b: Step["events"][0]): number => a[0] - b[0] || a[1] - b[1];

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

/** The rows of spec/conntrack and spec/ctnetlink that a script holds. */
const ROWS: Record<string, string> = {
  "tcp: open, data, close by the client, reopen":
    "C-252 C-271 C-272 C-273 C-276 C-280 C-282 C-285 C-305 C-306 C-312 C-388 C-389 C-390 N-059",
  "tcp: close by the server, late FIN, SYN on TIME_WAIT without commit": "C-275 C-281 C-285",
  "tcp: both close at once": "C-275 C-281",
  "tcp: retransmissions shorten the timeout": "C-307",
  "tcp: SYN retransmitted, SYN/ACK retransmitted, early data": "C-108 C-280 C-304",
  "tcp: RST answers SYN": "C-283 C-302",
  "tcp: RST by the client after SYN": "C-277 C-302",
  "tcp: RST of an established connection: exact, old, ahead": "C-300 C-301",
  "tcp: RST part of a train": "C-301",
  "tcp: picked up in the middle": "C-152 C-292 C-308",
  "tcp: picked up by a reply": "C-292",
  "tcp: no picking up": "C-293",
  "tcp: nothing else begins a connection": "C-274 C-278 C-290 C-294",
  "tcp: window": "C-127 C-295 C-296 C-297 C-299 C-311",
  "tcp: window before it is assured": "C-295 C-296 C-298",
  "tcp: window, liberal": "C-299 C-310",
  "tcp: window scale and SACK": "C-295 C-303",
  "tcp: scale offered by one side only": "C-303",
  "tcp: scale above 14, odd options": "C-303",
  "tcp: simultaneous open": "C-279 C-289",
  "tcp: simultaneous open, ACK from the other side first": "C-289",
  "tcp: SYN into an established connection, answered: resynchronised": "C-284 C-287",
  "tcp: SYN into an established connection, answered by a challenge ACK and RST": "C-284",
  "tcp: challenge ACK in LAST_ACK": "C-288",
  "tcp: half-open, answered by ACK, then RST": "C-284",
  "tcp: zero window": "C-307",
  "tcp: unacknowledged data": "C-307",
  "tcp: FIN and RST out of the window from both sides": "C-309",
  "tcp: bad headers": "C-058 C-060 C-291",
  "tcp: ignored invalid RST": "C-300 C-310",
  "tcp: SYN on CLOSE after RST by the same side, by the other side": "C-285 C-286",
  "tcp: IPv6 and NAT with translated ports and options": "C-176 C-244",
  "udp: unreplied, replied, stream":
    "C-100 C-101 C-102 C-107 C-110 C-124 C-250 C-253 C-313 C-314 C-372 C-373 N-056 N-100 N-101 N-104",
  "udp: header and checksum": "C-315 C-316",
  "udp: lookup only, commit, commit again with a mark":
    "C-055 C-098 C-118 C-122 C-128 C-131 C-137 C-138 C-139 C-146 N-057 N-105",
  "udp: Ethernet padding is cut off": "C-053",
  labels: "C-116 C-141 C-143 C-144 C-367 N-057",
  "labels and marks outside their masks": "C-025 C-026",
  eventmask: "C-136 N-106 N-107 N-108",
  zones: "C-079 C-115 C-150 C-151 C-240 C-245 C-360 C-361 C-362 C-029",
  force: "C-027 C-086 C-090 N-102",
  "force with a key that was tracked": "C-090",
  "upcall and back: counted once": "C-078 C-080 C-092 C-097 C-374 C-375 C-383 C-384 C-385",
  "upcall and back: gone meanwhile": "C-082 C-387",
  "upcall and back: a new connection, committed meanwhile": "C-083 C-084 C-376",
  "upcall and back: translated": "C-081 C-154 C-380 C-381 C-382 C-386",
  "upcall and back: another zone": "C-079 C-155",
  "acct and invalid packets": "C-056 C-099 C-251",
  "icmp: echo and its reply": "C-318 C-325 K-106",
  "icmp: what begins a connection": "C-130 C-319 C-320",
  "icmp: errors": "C-103 C-104 C-111 C-247 C-248 C-249 C-321",
  "icmp: echo translated by id": "C-178 C-200",
  icmpv6: "C-112 C-322 C-323 C-324",
  "icmp: error through NAT": "C-157 C-173 C-174 C-399",
  "icmpv6: error through NAT": "C-173",
  "icmp: error through destination NAT, TCP inside": "C-173",
  "nat: source range, many clients and servers": "C-187 C-188",
  "nat: source range, persistent": "C-188",
  "nat: IPv6 range": "C-189",
  "nat: destination range": "C-204 C-205",
  "nat: already in the range": "C-185 C-190",
  "nat: the same source keeps its mapping": "C-186",
  "nat: single port taken: kept, confirm fails": "C-094 C-147 C-184 C-190 C-197 C-202",
  "nat: null bindings": "C-047 C-113 C-161 C-170",
  "nat: destination port, and back": "C-125 C-156 C-159 C-160 C-169 C-181 C-182 C-397",
  "nat: destination, then source, in one zone and in two": "C-155 C-164 C-165 C-166 C-167",
  "nat: bare, of new and of untranslated connections": "C-153 C-158 C-172 C-398",
  "nat: of a confirmed connection that is still new": "C-163 C-183",
  "nat: second packet of a new translated connection": "C-162",
  "nat: UDP without checksum, UDPLite, generic": "C-176 C-179",
  "other protocols": "C-243 C-317 C-334",
  "udplite: the pseudo header of UDP": "C-317",
  "sctp: association": "C-326 C-328 C-330 C-336 C-339 C-342 C-343 C-344 C-345 C-348 C-351 C-354 C-357 C-358 N-059",
  "sctp: what begins an association": "C-327 C-329 C-337 C-340 C-341 C-346 C-359",
  "sctp: abort, restart, heartbeat on another path": "C-328 C-331 C-336 C-338 C-347 C-349 C-356",
  "sctp: translated": "C-177",
  "fragments of IPv4": "C-054 C-061 C-062 C-063 C-064 C-065 C-066 C-067 C-076",
  "fragments of IPv4, translated": "C-064",
  "fragments of IPv6": "C-061 C-066",
  limits: "C-132 C-133 C-135 C-363 C-364 C-365",
  "timeout policy": "C-022 C-335 N-124 N-125 N-127 C-029",
  "tftp: no commit, no expectation": "C-120 C-121 C-212 C-226 C-227 C-228 C-229 C-230 C-231 C-391 C-392 C-393",
  "tftp: translated, mark and labels inherited":
    "C-106 C-117 C-129 C-140 C-210 C-211 C-232 K-272 N-104 N-105 N-116 N-117",
  "tftp: master deleted, not a request, second request replaces the first": "C-224 C-233 C-235 N-088 N-102 N-115",
  "ftp: PORT": "C-126 C-214 C-219 C-220 C-221 C-222 C-223 C-224",
  "ftp: PASV": "C-220",
  "ftp: EPRT and EPSV": "C-220",
  "ftp: PORT translated, the payload shrinks or grows, numbers follow": "C-208 C-216 C-225 C-377 C-378 C-379",
  "ftp: PASV through destination NAT": "C-225",
  "ftp: IPv6 EPRT translated": "C-225",
  "sctp: shut down by the other side, errors and echoes from it": "C-350 C-352 C-353 C-355",
  "cached: another helper, none, another timeout": "C-087 C-088 C-089 C-093 C-096",
  "timeout policy of another protocol, another family": "C-022 C-370",
  "nat: destination ports are tried in order": "C-195",
  "nat: hairpin": "C-203",
  "nat: port 0": "C-206",
  "helpers: none by port, none for errors, none of the wrong protocol": "C-213 C-236",
  "headers that cannot be read": "C-241 C-242",
  "dccp: open and close": "C-333 N-059",
  "dccp: what begins a connection": "C-333",
  "ftp: commit first, helper too late": "C-209",
  "ftp: looked up with a helper, committed without": "C-019 C-207 C-029",
};

describe("as openvswitch.ko 6.12 does", () => {
  it("every script that rows are claimed for is in the recording", () => {
    const names = new Set(scripts.map((script) => script.name));
    expect(Object.keys(ROWS).filter((name) => !names.has(name))).toEqual([]);
  });

  for (const script of scripts) {
    const rows = ROWS[script.name];
    it(rows === undefined ? script.name : `${rows}: ${script.name}`, () => {
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
        // A flush walks the table in no particular order.
        if (step.delete !== undefined) for (const events of [ours.events, step.events]) events.sort(byType);
        expect(
          ours.events.map(([type, flags]) => [type, flags]),
          `${where}, events`,
        ).toEqual(step.events.map(([type, flags]) => [type, flags]));
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
