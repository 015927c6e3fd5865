import { expect, it } from "vitest";
import { ManualClock } from "../../src/core/clock.ts";
import { BatchClock } from "../../src/datapath/batch-clock.ts";
import { extractKey } from "../../src/flow/extract/extract.ts";
import { K, newKey } from "../../src/flow/key.ts";
import { HostConntrack } from "../../src/kernel/host-conntrack.ts";
import { MessageWriter } from "../../src/netlink/writer.ts";
import { PacketMemory } from "../../src/packet/memory.ts";
import { Packet } from "../../src/packet/packet.ts";
import type { Port } from "../../src/port/port.ts";
import * as nf from "../../src/uapi/nfnetlink.ts";
import {
  OVS_CS_F_ESTABLISHED,
  OVS_CS_F_NEW,
  OVS_CS_F_REPLY_DIR,
  OVS_CS_F_TRACKED,
} from "../../src/uapi/openvswitch.ts";
import { concat, ethernet, frame, ip4, ipv4, sctp, sctpChunk } from "../support/frames.ts";

const SCTP = 132;

/** An answer of ctnetlink: header, nfgenmsg, attributes. */
function message(build: (writer: MessageWriter) => void): Uint8Array {
  const writer = new MessageWriter(512).reset();
  const at = writer.beginMessage(nf.NFNL_SUBSYS_CTNETLINK << 8, 0, 0, 0);
  writer.bytes[writer.reserve(4)] = 2;
  build(writer);
  writer.endMessage(at);
  return writer.bytes.slice(0, writer.length);
}

/** A tuple as a kernel without a tracker for SCTP tells it: no ports. */
function tuple(writer: MessageWriter, type: number, src: string, dst: string): void {
  const whole = writer.nest(type);
  const ip = writer.nest(nf.CTA_TUPLE_IP);
  writer.raw(nf.CTA_IP_V4_SRC, ip4(src));
  writer.raw(nf.CTA_IP_V4_DST, ip4(dst));
  writer.endNest(ip);
  const proto = writer.nest(nf.CTA_TUPLE_PROTO);
  writer.u8(nf.CTA_PROTO_NUM, SCTP);
  writer.endNest(proto);
  writer.endNest(whole);
}

it.each([
  ["10.1.1.1", "10.1.1.2", OVS_CS_F_TRACKED | OVS_CS_F_NEW],
  ["10.1.1.2", "10.1.1.1", OVS_CS_F_TRACKED | OVS_CS_F_ESTABLISHED | OVS_CS_F_REPLY_DIR],
])("K-269: %s to %s, of a protocol whose ports the host's kernel does not know", (src, dst, state) => {
  const port = {
    askNetfilter(request: Uint8Array, _length: number, reply: Uint8Array): number {
      const answer = message((writer) => {
        if (request[4] === nf.IPCTNL_MSG_CT_GET_STATS) writer.be32(nf.CTA_STATS_GLOBAL_ENTRIES, 1);
        else {
          tuple(writer, nf.CTA_TUPLE_ORIG, "10.1.1.1", "10.1.1.2");
          tuple(writer, nf.CTA_TUPLE_REPLY, "10.1.1.2", "10.1.1.1");
          writer.be32(nf.CTA_STATUS, 0);
        }
      });
      reply.set(answer);
      return answer.length;
    },
  } as unknown as Port;
  const memory = new PacketMemory();
  const packet = new Packet(memory);
  const bytes = frame(
    ethernet(),
    ipv4({ src, dst }),
    sctp({ src: 1000, dst: 2000 }),
    concat(sctpChunk(1, 0, new Uint8Array(16))),
  );
  memory.bytes.set(bytes, 1024);
  packet.reset(1024, bytes.length, 896, 4096);
  const key = newKey();
  expect(extractKey(packet, key)).toBe(0);
  new HostConntrack(new BatchClock(new ManualClock())).fill(packet, key, port);
  expect(key[K.CT] & 0xff).toBe(state);
  expect(key[K.CT_ORIG4_TP]).toBe(0);
});
