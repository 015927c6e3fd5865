import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { builtinHelpers } from "../../src/conntrack/helpers/builtin.ts";
import { IpProto } from "../../src/packet/ip.ts";
import { completePartial } from "../../src/packet/l4-checksum.ts";
import { AF_INET } from "../../src/uapi/socket.ts";
import { type Ct, CtLab, verifyFrame } from "../support/conntrack.ts";
import { ethernet, frame, ipv4, ipv6, TCP_ACK, TCP_PSH, TCP_SYN, tcp, udp } from "../support/frames.ts";
import {
  callProceeding,
  openChannel,
  registrationConfirm,
  registrationRequest,
  unregistrationRequest,
} from "../support/per.ts";

/**
 * Whatever bytes a helper is given, it returns, packets that pass are whole, and memory stays bounded: in both directions,
 * with and without NAT, IPv4 and IPv6.
 */
const words = [
  ..."PORT |EPRT |227 |229 (|SIP/2.0 200 OK|INVITE sip:|REGISTER sip:|Via: SIP/2.0/UDP |Contact: <sip:|CSeq: 1 INVITE".split(
    "|",
  ),
  ..."Content-Length: 10|v=0\r\no=a 1 1 IN IP4 |c=IN IP4 |m=audio 5000 |PRIVMSG x :\x01DCC SEND f |CONNECT DATA 7 MESG ".split(
    "|",
  ),
  ...["10.0.0.1", "10,0,0,1,7,7", "\r\n", "\r\n\r\n", "\n", ",", "fd00::1", ":5060", "65535", "4294967296", "\0\x01x"],
  "\0\x9c\0\x01\x1a\x2b\x3c\x4d\0\x07\0\0",
  "\0\0\0\x07\0\0\0\0",
  "0\x1a\x02\x01\x01\x04\x06public\xa2\x0d\x02\x01\x01",
  ...[
    registrationRequest([["10.0.0.1", 1720]], [["10.0.0.1", 4000]], 60),
    registrationConfirm(["10.0.0.77", 1720]),
    unregistrationRequest(["10.0.0.1", 1720]),
    callProceeding(["10.0.0.1", 6000], [openChannel(["10.0.0.1", 5000])]),
    callProceeding(["10.0.0.2", 6000], [openChannel(["10.0.0.2", 5000])]),
  ].map((bytes) => Buffer.from(bytes).toString("latin1")),
];
const payload = fc.oneof(
  fc.uint8Array({ maxLength: 200 }).map((bytes) => Buffer.from(bytes).toString("latin1")),
  fc
    .array(fc.oneof(fc.constantFrom(...words), fc.string({ maxLength: 8 })), { maxLength: 12 })
    .map((parts) => parts.join("")),
);
const conversation = fc.array(fc.record({ side: fc.constantFrom(0, 1), payload }), { maxLength: 12 });

describe("helpers take any bytes", () => {
  for (const helper of builtinHelpers) {
    it(`${helper.name} over ${helper.proto === IpProto.TCP ? "TCP" : "UDP"}`, () => {
      fc.assert(
        fc.property(conversation, fc.boolean(), fc.boolean(), (steps, translated, wantsV6) => {
          const v6 = wantsV6 && helper.families?.includes(AF_INET) !== true;
          const lab = new CtLab();
          const [a, b, nat] = v6 ? ["fd00::1", "fd00::2", "fd00::77"] : ["10.0.0.1", "10.0.0.2", "10.0.0.77"];
          const ip = v6 ? ipv6 : ipv4;
          const seq = [100, 900];
          const send = (side: number, flags: number, bytes: Uint8Array): void => {
            const ends = side === 0 ? { src: a, dst: b } : { src: b, dst: translated ? nat : a };
            const ports = side === 0 ? { src: 4000, dst: 5060 } : { src: 5060, dst: 4000 };
            const l4 =
              helper.proto === IpProto.TCP
                ? tcp({ ...ports, flags, seq: seq[side], ack: seq[1 - side] })
                : udp({ ...ports });
            seq[side] += bytes.length + ((flags & TCP_SYN) !== 0 ? 1 : 0);
            const action: Ct = { commit: true, helper: helper.name };
            if (translated) action.nat = side === 0 ? { src: nat } : {};
            const flight = lab.receive(frame(ethernet(), ip(ends), l4, bytes));
            lab.apply(flight, action);
            if (flight.error === 0 && flight.packet.len > 0) {
              completePartial(flight.packet);
              verifyFrame(flight.bytes);
            }
            lab.end();
          };
          send(0, TCP_SYN, new Uint8Array(0));
          send(1, TCP_SYN | TCP_ACK, new Uint8Array(0));
          send(0, TCP_ACK, new Uint8Array(0));
          for (const step of steps) {
            send(
              step.side,
              TCP_PSH | TCP_ACK,
              Uint8Array.from(step.payload, (char) => char.charCodeAt(0) & 0xff),
            );
          }
          const allowed = helper.policies.reduce((sum, { maxExpected }) => sum + maxExpected, 0);
          const { expectations } = lab.conntrack;
          expect(expectations.of(lab.slots[0] ?? 0).length).toBeLessThanOrEqual(allowed);
          for (const slot of lab.slots) lab.conntrack.destroy(slot, 0, false);
          lab.end();
          expect([expectations.count, lab.conntrack.count, lab.conntrack.greKeys.size]).toEqual([0, 0, 0]);
        }),
        { numRuns: 60 },
      );
    });
  }
});
