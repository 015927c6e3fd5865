import { readFileSync } from "node:fs";
import { gunzipSync } from "node:zlib";
import { describe, expect, it } from "vitest";
import { SeededRandom } from "../../src/core/random.ts";
import { Ctnetlink } from "../../src/kernel/ctnetlink/ctnetlink.ts";
import { NetlinkBus } from "../../src/netlink/bus.ts";
import { PairSocket } from "../../src/netlink/pair.ts";
import { AttributeReader } from "../../src/netlink/reader.ts";
import { MessageWriter } from "../../src/netlink/writer.ts";
import { NETLINK_NETFILTER, NLM_F_REQUEST, NLMSG_DONE, NLMSG_ERROR } from "../../src/uapi/netlink.ts";
import * as nf from "../../src/uapi/nfnetlink.ts";
import { CtLab } from "../support/conntrack.ts";
import { hex, unhex } from "../support/frames.ts";
import { rowsOfCases } from "../support/rows.ts";

/**
 * Random requests that were sent to Linux 6.18 (tools/reference/ctnetlink.py): errno, answers and events must be the same,
 * byte for byte but for ids, times and reference counts.
 */
type Message = [type: number, flags: number, seq: number, own: boolean, payload: string];
interface Step {
  type: number;
  flags: number;
  family: number;
  version: number;
  body: string;
  errno: number | null;
  answers: Message[];
  events: Message[];
}

const fixture = new URL("../fixtures/ctnetlink-6.18.json.gz", import.meta.url);
const path = process.env.NOKMOD_CTNETLINK_FIXTURE ?? fixture;
const { scripts } = JSON.parse(gunzipSync(readFileSync(path)).toString()) as {
  scripts: { name: string; steps: Step[] }[];
};

class Subject {
  readonly lab = new CtLab({ events: 2, max: 262144 });
  private readonly control: PairSocket;
  private readonly listener: PairSocket;

  constructor() {
    const bus = new NetlinkBus(new SeededRandom(1));
    new Ctnetlink(bus, this.lab.conntrack, () => this.lab.clock.realtime());
    this.control = new PairSocket(bus, NETLINK_NETFILTER);
    this.listener = new PairSocket(bus, NETLINK_NETFILTER);
    for (let group = 1; group <= 6; group++) this.listener.join(group);
  }

  request(step: Step): Pick<Step, "errno" | "answers" | "events"> {
    this.lab.clock.advance(1);
    const writer = new MessageWriter();
    const at = writer.beginMessage(step.type, NLM_F_REQUEST | step.flags, 7, 0);
    writer.rawU32(step.family | (step.version << 8));
    const body = unhex(step.body);
    writer.bytes.set(body, writer.reserve(body.length));
    writer.endMessage(at);
    this.control.send(writer.finish());
    let errno: number | null = null;
    const answers: Message[] = [];
    for (const [type, flags, seq, own, payload] of this.messages(this.control)) {
      if (type === NLMSG_DONE || type === NLMSG_ERROR) {
        const bytes = unhex(payload);
        errno = bytes.length >= 4 ? 0 - new DataView(bytes.buffer).getInt32(0, true) : 0;
      } else answers.push([type, flags, seq, own, payload]);
    }
    return { errno, answers, events: [...this.messages(this.listener)] };
  }

  private *messages(from: PairSocket): Generator<Message> {
    for (let datagram = from.receive(); datagram !== null; datagram = from.receive()) {
      const view = new DataView(datagram.buffer, datagram.byteOffset, datagram.length);
      for (let at = 0; at + 16 <= datagram.length; ) {
        const size = view.getUint32(at, true);
        const own = view.getUint32(at + 12, true) === this.control.portId;
        const payload = hex(datagram.slice(at + 16, at + size));
        yield [view.getUint16(at + 4, true), view.getUint16(at + 6, true), view.getUint32(at + 8, true), own, payload];
        at += (size + 3) & ~3;
      }
    }
  }
}

/** A message with its ids, times and counts wiped. */
function readable([type, flags, seq, own, payload]: Message): string {
  const bytes = unhex(payload);
  const subsystem = type >>> 8;
  const reader = new AttributeReader(new DataView(bytes.buffer), 4, bytes.length);
  const parts = [`type ${type.toString(16)} flags ${flags} seq ${seq} own ${own} head ${hex(bytes.slice(0, 4))}`];
  // One processor here, several there: their numbers do not matter.
  if (type === STATISTICS || type === EXPECT_STATISTICS) parts[0] = "statistics";
  while (reader.next()) {
    const wiped = subsystem === 1 ? CT_WIPED : subsystem === 2 ? EXPECT_WIPED : [];
    // An extension of the recorded kernel's configuration that the module's reference does not have.
    if (subsystem === 1 && reader.type === nf.CTA_SYNPROXY) continue;
    const isTime = reader.type === (subsystem === 1 ? nf.CTA_TIMEOUT : nf.CTA_EXPECT_TIMEOUT);
    if (wiped.includes(reader.type)) parts.push(`${reader.rawType}`);
    else if (subsystem < 3 && isTime) parts.push(`timeout ${seconds(reader.be32())}`);
    else parts.push(`${reader.rawType}:${hex(reader.bytes())}`);
  }
  return parts.join(" ");
}
/** To the next multiple of ten; table time reaches to 2^31 ms, the kernel's to 2^31 ticks. */
const seconds = (value: number): number => Math.ceil(Math.min(value, 0x7fff_ffff / 1000) / 10) * 10;
const CT_WIPED = [nf.CTA_ID, nf.CTA_USE];
const EXPECT_WIPED = [nf.CTA_EXPECT_ID];
/** Entries whose time is over go when somebody comes across them. */
const GONE = (nf.NFNL_SUBSYS_CTNETLINK << 8) | nf.IPCTNL_MSG_CT_DELETE;
const STATISTICS = (nf.NFNL_SUBSYS_CTNETLINK << 8) | nf.IPCTNL_MSG_CT_GET_STATS_CPU;
const EXPECT_STATISTICS = (nf.NFNL_SUBSYS_CTNETLINK << 8) | nf.IPCTNL_MSG_EXP_GET_STATS_CPU;

/** One message a processor there, one in all here: sums are compared by their own tests. */
const listed = (messages: Message[], inOrder: boolean): string[] => {
  const texts = messages
    .filter(([type, , , own]) => type !== GONE || own)
    .map(readable)
    .filter((text) => !text.startsWith("statistics"));
  // A table is walked in no particular order.
  return inOrder ? texts : texts.sort();
};

type Answer = Pick<Step, "errno" | "answers" | "events">;

function same(step: Step, ours: Answer, where: string): void {
  const { type } = step;
  expect(ours.errno, where).toBe(step.errno);
  expect(listed(ours.answers, type === 0x801), where).toEqual(listed(step.answers, type === 0x801));
  expect(listed(ours.events, false), where).toEqual(listed(step.events, false));
}

describe("as Linux 6.18 does (N-002, N-003, N-010, N-011, N-018 to N-023, N-026 to N-042, N-045 to N-052, N-121, N-123)", () => {
  const answered = new Map<string, [step: Step, ours: Answer]>();
  for (const { name, steps } of scripts) {
    it(`requests of ${name}`, () => {
      const subject = new Subject();
      for (const [index, step] of steps.entries()) {
        const { type, flags, family, body } = step;
        const where = `step ${index}: type ${type.toString(16)} flags ${flags.toString(16)} family ${family} ${body}`;
        const ours = subject.request(step);
        answered.set(`${name}, step ${index}`, [step, ours]);
        same(step, ours, where);
      }
    });
  }

  // They need what was asked before them: after the whole scripts.
  for (const [name, rows] of rowsOfCases("ctnetlink-6.18")) {
    it.skipIf(process.env.NOKMOD_CTNETLINK_FIXTURE !== undefined)(`${rows}: ${name}`, () => {
      const answer = answered.get(name);
      if (answer === undefined) throw new Error("not in the recording, or not reached");
      same(...answer, name);
    });
  }
});
