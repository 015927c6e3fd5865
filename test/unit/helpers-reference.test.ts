import { readFileSync } from "node:fs";
import { gunzipSync } from "node:zlib";
import { describe, expect, it } from "vitest";
import { SeededRandom } from "../../src/core/random.ts";
import { Ctnetlink } from "../../src/kernel/ctnetlink/ctnetlink.ts";
import { NetlinkBus } from "../../src/netlink/bus.ts";
import { PairSocket } from "../../src/netlink/pair.ts";
import { AttributeReader } from "../../src/netlink/reader.ts";
import { MessageWriter } from "../../src/netlink/writer.ts";
import { completePartial } from "../../src/packet/l4-checksum.ts";
import { NETLINK_NETFILTER, NLM_F_DUMP, NLM_F_REQUEST, NLMSG_DONE } from "../../src/uapi/netlink.ts";
import * as nf from "../../src/uapi/nfnetlink.ts";
import { type Ct, CtLab } from "../support/conntrack.ts";
import { hex, unhex } from "../support/frames.ts";

/**
 * Dialogues that were played through the helpers of Linux 6.18 (tools/reference/helpers.py): after each packet the bytes
 * on the other side, the expectations and the connections must be the same. There a router with nftables stood between
 * the ends; here a ct action with the same helper and translation.
 */
interface Step {
  from: "a" | "b";
  in: string;
  out: string | null;
  expect: string[];
  table: string[];
}
interface Play {
  name: string;
  helper: string;
  proto: number;
  port: number;
  nat: "snat" | "dnat" | null;
  v6: boolean;
  steps: Step[];
}

const fixture = new URL("../fixtures/helpers-6.18.json.gz", import.meta.url);
const path = process.env.NOKMOD_HELPERS_FIXTURE ?? fixture;
const { plays } = JSON.parse(gunzipSync(readFileSync(path)).toString()) as { plays: Play[] };

/** The rows of spec/conntrack that dialogues hold. */
const ROWS: Record<string, string> = {
  "ftp: active and passive, nat None": "C-220 C-224",
  "ftp: active and passive, nat snat": "C-216 C-225 C-232",
  "ftp: active and passive, nat dnat": "C-225",
  "ftp: split, repeated, retransmitted, odd commands": "C-220 C-221 C-222 C-223",
  "tftp: nat None": "C-226",
  "pptp: outgoing call, nat None": "C-332",
};

const SNAT = { v4: "10.1.0.100", v6: "fd01::100" };
const SERVER = { v4: "10.1.0.2", v6: "fd01::2" };

class Replay {
  readonly lab = new CtLab({ events: 2, ftpLoose: false });
  private readonly socket: PairSocket;

  constructor(private readonly play: Play) {
    const bus = new NetlinkBus(new SeededRandom(1));
    new Ctnetlink(bus, this.lab.conntrack, () => this.lab.clock.realtime());
    this.socket = new PairSocket(bus, NETLINK_NETFILTER);
  }

  send(step: Step): { out: string | null; expect: string[]; table: string[] } {
    const { play, lab } = this;
    lab.clock.advance(1);
    const packet = unhex(step.in);
    const v6 = packet[0] >>> 4 === 6;
    const frame = new Uint8Array(14 + packet.length);
    frame.set(unhex(v6 ? "02000000000102000000000286dd" : "0200000000010200000000020800"));
    frame.set(packet, 14);
    const flight = lab.receive(frame);
    const proto = v6 ? packet[6] : packet[9];
    const l4 = v6 ? 40 : 20;
    const control = proto === play.proto && ((packet[l4 + 2] << 8) | packet[l4 + 3]) === play.port;
    const action: Ct = { commit: true, helper: control ? play.helper : undefined };
    const side = v6 ? "v6" : "v4";
    const destination = hex(packet.subarray(v6 ? 24 : 16, v6 ? 40 : 20));
    if (play.nat === "snat") action.nat = step.from === "a" ? { src: SNAT[side] } : {};
    else if (play.nat === "dnat") {
      const virtual = destination === (v6 ? "fd000000000000000000000000000200" : "0a0000c8");
      action.nat = step.from === "a" && virtual ? { dst: SERVER[side] } : {};
    }
    lab.apply(flight, action);
    if (flight.error === 0) completePartial(flight.packet);
    const out = flight.error === 0 ? hex(flight.bytes.subarray(14)) : null;
    lab.end();
    return {
      out,
      expect: this.dump((nf.NFNL_SUBSYS_CTNETLINK_EXP << 8) | nf.IPCTNL_MSG_EXP_GET),
      table: this.dump((nf.NFNL_SUBSYS_CTNETLINK << 8) | nf.IPCTNL_MSG_CT_GET),
    };
  }

  private dump(type: number): string[] {
    const writer = new MessageWriter();
    const at = writer.beginMessage(type, NLM_F_REQUEST | NLM_F_DUMP, 1, 0);
    writer.rawU32(0);
    writer.endMessage(at);
    this.socket.send(writer.finish());
    const records: string[] = [];
    for (let datagram = this.socket.receive(); datagram !== null; datagram = this.socket.receive()) {
      const view = new DataView(datagram.buffer, datagram.byteOffset, datagram.length);
      for (let at = 0; at + 16 <= datagram.length; ) {
        const size = view.getUint32(at, true);
        if (view.getUint16(at + 4, true) !== NLMSG_DONE) records.push(hex(datagram.slice(at + 20, at + size)));
        at += (size + 3) & ~3;
      }
    }
    return records;
  }
}

/** An IP packet without what a router changes: time to live, and its part of the header's sum. */
function bytes(text: string | null): string | null {
  if (text === null) return null;
  const packet = unhex(text);
  if (packet[0] >>> 4 === 4) packet.fill(0, 10, 12);
  packet[packet[0] >>> 4 === 4 ? 8 : 7] = 0;
  return hex(packet);
}

const DONE = nf.IPS_SRC_NAT_DONE | nf.IPS_DST_NAT_DONE;

/** Attributes of a record, without ids, references, and times but for their order of magnitude. */
function records(texts: string[], kind: "expect" | "table"): string[] {
  return texts
    .map((text) => {
      const record = unhex(text);
      const reader = new AttributeReader(new DataView(record.buffer), 0, record.length);
      const parts: string[] = [];
      while (reader.next()) {
        const { type, rawType } = reader;
        if (kind === "expect" && type === nf.CTA_EXPECT_ID) parts.push("id");
        else if (kind === "expect" && type === nf.CTA_EXPECT_TIMEOUT) parts.push(`timeout ${near(reader.be32())}`);
        else if (kind === "table" && (type === nf.CTA_ID || type === nf.CTA_USE)) parts.push(`${type}`);
        else if (kind === "table" && type === nf.CTA_TIMEOUT) parts.push(`timeout ${near(reader.be32())}`);
        else if (kind === "table" && type === nf.CTA_STATUS) parts.push(`status ${reader.be32() & ~DONE}`);
        else if (kind === "table" && type === nf.CTA_PROTOINFO) parts.push(withoutLiberal(hex(reader.bytes())));
        else parts.push(`${rawType}:${hex(reader.bytes())}`);
      }
      return parts.join(" ");
    })
    .sort();
}

/** TCP's state without BE_LIBERAL, which the ct action gives to every established connection. */
const withoutLiberal = (text: string): string =>
  text.replace(/(0600040|0600050)0(..)00/g, (_, head, flags) => {
    const left = Number.parseInt(flags, 16) & ~nf.IP_CT_TCP_FLAG_BE_LIBERAL;
    return `${head}0${left.toString(16).padStart(2, "0")}00`;
  });

/** Seconds to the next multiple of ten: the recording took less than that, and began at a whole one. */
const near = (seconds: number): number => Math.ceil(seconds / 10) * 10;

describe("helpers as Linux 6.18 has them", () => {
  for (const play of plays) {
    const rows = ROWS[play.name];
    it(rows === undefined ? play.name : `${rows}: ${play.name}`, () => {
      const replay = new Replay(play);
      for (const [index, step] of play.steps.entries()) {
        const where = `step ${index} from ${step.from}`;
        const ours = replay.send(step);
        expect(bytes(ours.out), `${where}, packet`).toBe(bytes(step.out));
        expect(records(ours.expect, "expect"), `${where}, expectations`).toEqual(records(step.expect, "expect"));
        expect(records(ours.table, "table"), `${where}, table`).toEqual(records(step.table, "table"));
      }
    });
  }
});
