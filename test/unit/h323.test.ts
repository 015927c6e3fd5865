import { describe, expect, it } from "vitest";
import { h323UserInformation, rasMessage } from "../../src/conntrack/helpers/h323/h225-syntax.ts";
import { multimediaSystemControlMessage } from "../../src/conntrack/helpers/h323/h245-syntax.ts";
import {
  asnOptional,
  asnSequence,
  BOOLEAN,
  bmpString,
  choice,
  decodePer,
  integer,
  NULL,
  octets,
  REST,
  sequenceOf,
  type Type,
  UNREAD,
  type Value,
  wanted,
} from "../../src/conntrack/helpers/h323/per.ts";
import { T } from "../../src/conntrack/layout.ts";
import { IPS_HELPER, NF_CT_EXPECT_PERMANENT } from "../../src/uapi/nfnetlink.ts";
import { type Ct, CtLab } from "../support/conntrack.ts";
import { ethernet, frame, ipv4, TCP_ACK, TCP_PSH, TCP_SYN, tcp, udp, unhex } from "../support/frames.ts";
import {
  callProceeding,
  openChannel,
  PerWriter,
  registrationConfirm,
  registrationRequest,
  unregistrationRequest,
} from "../support/per.ts";

const A = "10.0.0.1";
const B = "10.0.0.2";
const read = (type: Type, text: string): Value | undefined => {
  const bytes = unhex(text.replaceAll(" ", ""));
  return decodePer(type, bytes, 0, bytes.length, 0);
};

describe("aligned packed encoding", () => {
  it("whole numbers: bits, a byte, two bytes, a length before", () => {
    const tail = wanted(octets(4));
    const at = (type: Type, text: string): number | undefined =>
      read(asnSequence({ first: type, tail }), text)?.at("tail")?.offset;
    expect(at(integer(1, 4), "c0 01020304")).toBe(1);
    expect(at(integer(0, 255), "ff 01020304")).toBe(1);
    expect(at(integer(1, 65535), "ffff 01020304")).toBe(2);
    expect(at(integer(0, 4294967295), "40 ffff 01020304")).toBe(3);
    expect(at(integer(), "03 ffffff 01020304")).toBe(4);
    expect(at(integer(1, 1), "01020304")).toBe(0);
  });

  it("a number that is kept; at the very end it is cut off, as to Linux", () => {
    const type = asnSequence({ number: wanted(integer(1, 4294967295)) });
    expect(read(type, "40 0102 0000")?.at("number")?.number).toBe(0x103);
    expect(read(type, "40 0102")).toBeUndefined();
  });

  it("strings: fixed, by bits, by byte, any size; short fixed ones are not aligned", () => {
    const tail = wanted(octets(3));
    const at = (type: Type, text: string): number | undefined =>
      read(asnSequence({ flag: BOOLEAN, first: type, tail }), text)?.at("tail")?.offset;
    expect(at(octets(2), "80 0000 010203")).toBe(3);
    expect(at(octets(3), "80 000000 010203")).toBe(4);
    expect(at(octets(1, 20), "04 0000 010203")).toBe(3);
    expect(at(octets(1, 256), "80 01 0000 010203")).toBe(4);
    expect(at(bmpString(1, 128), "01 00610062 010203")).toBe(5);
    expect(at(octets(0, Number.POSITIVE_INFINITY), `80 8081 ${"00".repeat(129)} 010203`)).toBe(132);
  });

  it("sequences: optional components, extensions known and unknown, where decoding ends", () => {
    const type = asnSequence(
      { a: asnOptional(integer(0, 255)), b: wanted(octets(4)) },
      { c: UNREAD, d: wanted(octets(4)), e: REST },
    );
    expect(read(type, "00 01020304")?.at("b")?.offset).toBe(1);
    expect(read(type, "40 ff 01020304")?.at("b")?.offset).toBe(2);
    const extended = read(type, "80 01020304 02 80 04 0a0b0c0d");
    expect([extended?.at("b")?.offset, extended?.at("d")?.offset]).toEqual([1, 8]);
    expect(read(type, "80 01020304 03 80 02 ffff 04 0a0b0c0d")?.at("d")?.offset).toBe(11);
    // Length beyond the end; a bitmap longer than Linux takes.
    expect(read(type, "80 01020304 02 80 05 0a0b0c0d")).toBeUndefined();
    expect(read(type, `80 01020304 42${"00".repeat(9)}`)).toBeUndefined();
    // At the third decoding ends, whatever follows.
    expect(read(type, "80 01020304 04 40")?.at("b")?.offset).toBe(1);
  });

  it("choices: root, extension, newer than known, none", () => {
    const type = choice({ a: NULL, b: wanted(octets(4)), c: REST }, { d: wanted(octets(4)) });
    expect(read(type, "00")?.at("a")).toBeDefined();
    expect(read(type, "20 01020304")?.at("b")?.offset).toBe(1);
    expect(read(type, "40")?.at("c")).toBeDefined();
    expect(read(type, "60 00")).toBeUndefined();
    expect(read(type, "80 04 01020304")?.at("d")?.offset).toBe(2);
    expect(read(type, "81 02 0102")).toBeDefined();
    expect(read(type, "81 03 0102")).toBeUndefined();
  });

  it("lists keep so many items, and look at all", () => {
    const type = asnSequence({ list: sequenceOf(wanted(octets(4)), 2), tail: wanted(octets(4)) });
    const value = read(type, "03 01020304 01020304 01020304 05060708");
    expect(value?.at("list")?.items.map(({ offset }) => offset)).toEqual([1, 5]);
    expect(value?.at("tail")?.offset).toBe(13);
    expect(read(type, "bfff 01020304")).toBeUndefined();
  });

  it("messages by their bytes", () => {
    // AdmissionConfirm: 10.0.0.2:1720 in the direct call model.
    const admission = read(rasMessage, "28 00 0004 40 0500 00 0a000002 06b8");
    expect(admission?.at("admissionConfirm", "destCallSignalAddress", "ipAddress", "ip")?.offset).toBe(8);
    // Setup with h245Address, of a terminal.
    const setup = `00 40 06 0008914a0004 00 0a000001 1770 0200 ${"00".repeat(16)} 00`;
    const body = read(h323UserInformation, setup)?.at("h323-uu-pdu", "h323-message-body", "setup");
    expect(body?.at("h245Address", "ipAddress", "ip")?.offset).toBe(10);
    // Response: OpenLogicalChannelAck of channel 1, mediaChannel and mediaControlChannel.
    const ack = "22 c0 0001 02 80 0f 0c 00 0a000001 1388 00 0a000001 1389";
    const parameters = read(multimediaSystemControlMessage, ack)?.at(
      "response",
      "openLogicalChannelAck",
      "forwardMultiplexAckParameters",
      "h2250LogicalChannelAckParameters",
    );
    expect(parameters?.at("mediaChannel", "unicastAddress", "iPAddress", "network")?.offset).toBe(9);
  });
});

/** Host A registers with, and calls, host B. */
class Call {
  readonly lab = new CtLab();
  private readonly seq = [100, 900];

  ras(side: 0 | 1, message: Uint8Array, action: Ct = { commit: true, helper: "RAS" }) {
    const ends = side === 0 ? { src: A, dst: B } : { src: B, dst: A };
    const ports = side === 0 ? { src: 3000, dst: 1719 } : { src: 1719, dst: 3000 };
    return this.lab.send(frame(ethernet(), ipv4(ends), udp(ports), message), action);
  }

  segment(side: 0 | 1, flags: number, payload: Uint8Array = new Uint8Array(0)) {
    const ends = side === 0 ? { src: A, dst: B } : { src: B, dst: A };
    const ports = side === 0 ? { src: 4000, dst: 1720 } : { src: 1720, dst: 4000 };
    const header = tcp({ ...ports, flags, seq: this.seq[side], ack: this.seq[1 - side], window: 60000 });
    this.seq[side] += payload.length + ((flags & TCP_SYN) !== 0 ? 1 : 0);
    return this.lab.send(frame(ethernet(), ipv4(ends), header, payload), { commit: true, helper: "Q.931" });
  }

  open(): this {
    this.segment(0, TCP_SYN);
    this.segment(1, TCP_SYN | TCP_ACK);
    this.segment(0, TCP_ACK);
    return this;
  }

  say(side: 0 | 1, payload: Uint8Array) {
    return this.segment(side, TCP_PSH | TCP_ACK, payload);
  }

  get expected(): string[] {
    const { conntrack } = this.lab;
    return [...conntrack.expectations.values()].map(({ tuple, port, flags, assignHelper }) => {
      const proto = (tuple[T.META] >>> 8) & 0xff;
      const helper = conntrack.helpers.get(assignHelper)?.name ?? "-";
      return `${proto} ${tuple[T.DST] & 0xff}:${port} ${helper}${(flags & NF_CT_EXPECT_PERMANENT) !== 0 ? " permanent" : ""}`;
    });
  }
}

describe("registration", () => {
  it("C-218: calls from the gatekeeper are expected, any number, with a helper of their own", () => {
    const call = new Call();
    call.ras(0, registrationRequest([[A, 1720]], [[A, 3000]]));
    expect(call.expected).toEqual(["6 1:1720 Q.931 permanent"]);
    for (const src of [7, 8]) {
      const syn = frame(ethernet(), ipv4({ src: B, dst: A }), tcp({ src, dst: 1720, flags: TCP_SYN }));
      const flight = call.lab.send(syn, { commit: true });
      expect(flight.state).toBe("new|rel|trk");
      expect(call.lab.conntrack.helperOfSlot(flight.packet.ct)?.name).toBe("Q.931");
      // The bit is for helpers that were asked for.
      expect(call.lab.status(flight.packet.ct) & IPS_HELPER).toBe(0);
    }
    const syn = frame(ethernet(), ipv4({ src: "10.0.0.3", dst: A }), tcp({ src: 7, dst: 1720, flags: TCP_SYN }));
    expect(call.lab.send(syn, { commit: true }).state).toBe("new|trk");
  });

  it("no address but the sender's own, and not without a port", () => {
    const call = new Call();
    call.ras(
      0,
      registrationRequest(
        [
          ["10.0.0.9", 1720],
          [A, 0],
        ],
        [[A, 3000]],
      ),
    );
    expect(call.expected).toEqual([]);
    call.ras(
      0,
      registrationRequest(
        [
          ["10.0.0.9", 1720],
          [A, 1721],
        ],
        [[A, 3000]],
      ),
    );
    expect(call.expected).toEqual(["6 1:1721 Q.931 permanent"]);
  });

  it("lives as long as the gatekeeper says, or was asked for, or five minutes; half a minute after its end", () => {
    const call = new Call();
    const left = (): number => call.lab.left();
    call.ras(0, registrationRequest([[A, 1720]], [[A, 3000]]));
    call.ras(1, registrationConfirm([A, 1720]));
    expect(left()).toBe(300);
    call.ras(0, registrationRequest([[A, 1720]], [[A, 3000]], 200));
    call.ras(1, registrationConfirm([A, 1720]));
    expect(left()).toBe(201);
    call.ras(1, registrationConfirm([A, 1720], 59));
    expect(left()).toBe(60);
    call.ras(0, unregistrationRequest([A, 1720]));
    expect([left(), call.expected]).toEqual([30, []]);
  });
});

describe("calls", () => {
  it("the H.245 connection and channels of a fast start; RTP at the even port, RTCP at the odd", () => {
    const call = new Call().open();
    expect(call.say(1, callProceeding([B, 6000], [openChannel([B, 5001])])).error).toBe(0);
    expect(call.expected).toEqual(["6 2:6000 H.245", "17 2:5000 -", "17 2:5001 -"]);
    const rtp = frame(ethernet(), ipv4({ src: A, dst: B }), udp({ src: 9, dst: 5000 }));
    expect(call.lab.send(rtp, { commit: true }).state).toBe("new|rel|trk");
    call.lab.clock.advance(240_001);
    const late = frame(ethernet(), ipv4({ src: A, dst: B }), udp({ src: 9, dst: 5001 }));
    expect(call.lab.send(late, { commit: true }).state).toBe("new|trk");
  });

  it("C-224: twenty expectations of a call, the oldest go", () => {
    const call = new Call().open();
    const channels = Array.from({ length: 12 }, (_, i) => openChannel([B, 5000 + 2 * i]));
    call.say(1, callProceeding([B, 6000], channels));
    expect(call.expected.length).toBe(20);
    expect(call.expected[0]).toBe("17 2:5004 -");
  });

  it("a header that comes alone, messages one behind the other, one that is cut off", () => {
    const message = callProceeding([B, 6000]);
    const alone = new Call().open();
    alone.say(1, message.subarray(0, 4));
    alone.say(1, message.subarray(4));
    expect(alone.expected.length).toBe(1);
    const both = new Call().open();
    both.say(1, Uint8Array.of(...message, ...callProceeding([B, 6001])));
    expect(both.expected.length).toBe(2);
    // Behind another message a header alone is not remembered.
    const behind = new Call().open();
    behind.say(1, Uint8Array.of(...callProceeding([B, 6001]), ...message.subarray(0, 4)));
    behind.say(1, message.subarray(4));
    expect(behind.expected).toEqual(["6 2:6001 H.245"]);
    const cut = new Call().open();
    cut.say(1, message.subarray(0, 20));
    cut.say(1, message.subarray(20));
    expect(cut.expected).toEqual([]);
  });

  it("what has the H.245 helper by name is left alone", () => {
    const lab = new CtLab();
    const bytes = new PerWriter().bytes(...callProceeding([A, 6000])).data;
    const datagram = frame(ethernet(), ipv4({ src: A, dst: B }), udp({ src: 9, dst: 9 }), bytes);
    const flight = lab.send(datagram, { commit: true, helper: "H.245" });
    expect([flight.error, lab.conntrack.expectations.count]).toEqual([0, 0]);
  });
});
