import { IpProto } from "../../../packet/ip.ts";
import type { Packet } from "../../../packet/packet.ts";
import * as tcp from "../../../packet/tcp.ts";
import { IP_CT_ESTABLISHED, IP_CT_ESTABLISHED_REPLY, IP_CT_IS_REPLY, IPS_NAT_MASK } from "../../../uapi/nfnetlink.ts";
import type { ExpectPolicy } from "../../expect.ts";
import { E } from "../../layout.ts";
import { setSeqAdjust } from "../../seqadj.ts";
import type { Helper, HelperContext } from "../helper.ts";
import { tcpPayload, text, udpPayload } from "../payload.ts";
import { EXPECT_FUNCTION, expected } from "./expected.ts";
import { MIN_MESSAGE, SipMessage } from "./message.ts";
import { findHeader, found, number, Result, readNumber, SIP_HEADERS } from "./parse.ts";
import { handle } from "./requests.ts";

/** Signalling may be silent for an hour. */
const MASTER_TIMEOUT = 3_600_000;

const HEADERS_END = "\r\n\r\n";

const POLICIES: readonly ExpectPolicy[] = [
  { name: "signalling", maxExpected: 1, timeout: 180_000 },
  { name: "audio", maxExpected: 4, timeout: 180_000 },
  { name: "video", maxExpected: 4, timeout: 180_000 },
  { name: "image", maxExpected: 2, timeout: 180_000 },
];

export const sipUdpHelper: Helper = {
  name: "sip",
  proto: IpProto.UDP,
  policies: POLICIES,
  nat: true,
  expectFunctions: (context) => ({
    [EXPECT_FUNCTION]: (slot, expectation) => expected(context, slot, expectation),
  }),

  help(context: HelperContext, packet: Packet, l4: number, family: number, slot: number, ctInfo: number): boolean {
    const data = udpPayload(packet, l4);
    if (data < 0) return true;
    context.refreshTimeout(slot, MASTER_TIMEOUT);
    const payload = text(packet, data);
    if (payload.length < MIN_MESSAGE) return true;
    packet.l4 = l4;
    const direction = ctInfo >= IP_CT_IS_REPLY ? 1 : 0;
    return handle(new SipMessage(context, packet, slot, direction, family, IpProto.UDP, 0, payload));
  },
};

export const sipTcpHelper: Helper = {
  name: "sip",
  proto: IpProto.TCP,
  policies: POLICIES,
  nat: true,

  help(context: HelperContext, packet: Packet, l4: number, family: number, slot: number, ctInfo: number): boolean {
    if (ctInfo !== IP_CT_ESTABLISHED && ctInfo !== IP_CT_ESTABLISHED_REPLY) return true;
    const data = tcpPayload(packet, l4);
    if (data < 0) return true;
    context.refreshTimeout(slot, MASTER_TIMEOUT);
    let rest = text(packet, data);
    if (rest.length < MIN_MESSAGE) return true;
    packet.l4 = l4;
    const direction = ctInfo === IP_CT_ESTABLISHED ? 0 : 1;
    let base = 0;
    let change = 0;
    for (;;) {
      const length = messageLength(rest, family);
      if (length < 0) break;
      // The rest of this message comes with the next segment: nobody can look at it in one piece.
      if (length > rest.length) return true;
      const one = rest.slice(0, length);
      const message = new SipMessage(context, packet, slot, direction, family, IpProto.TCP, base, one);
      if (!handle(message)) return false;
      change += message.text.length - length;
      base += message.text.length;
      rest = rest.slice(length);
    }
    const { words } = context.table;
    const entry = slot * E.WORDS;
    if ((words[entry + E.STATUS] & IPS_NAT_MASK) === 0) return true;
    const seq = packet.memory.view.getInt32(packet.l4 + tcp.SEQ);
    setSeqAdjust(words, entry, direction, seq, change);
    return true;
  },
};

/** Length of the message at the beginning of a stream by its Content-Length; -1 if it has none or is cut off. */
function messageLength(stream: string, family: number): number {
  if (findHeader(stream, 0, SIP_HEADERS.CONTENT_LENGTH, family) !== Result.FOUND) return -1;
  const at = readNumber(stream, found.offset);
  if (at === found.offset || number > stream.length) return -1;
  const end = stream.indexOf(HEADERS_END, at);
  return end < 0 ? -1 : end + HEADERS_END.length + number;
}
