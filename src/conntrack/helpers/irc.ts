import { IpProto } from "../../packet/ip.ts";
import type { Packet } from "../../packet/packet.ts";
import { IP_CT_ESTABLISHED, IPS_NAT_MASK } from "../../uapi/nfnetlink.ts";
import { AF_INET } from "../../uapi/socket.ts";
import { AddResult } from "../expect.ts";
import { E, T } from "../layout.ts";
import { expectationOf, FOLLOW_MASTER, type Helper, type HelperContext } from "./helper.ts";
import { addAtFreePort, digitsEnd, parseDecimal, replaceInStream, tcpPayload, text } from "./payload.ts";

/** Bytes of a segment that are looked at. */
const MAX_SEARCH = 4095;
/** What must at least follow: "PRIVMSG x ", " :\1DCC SEND t AAAAAAAA P\1\n", "AAAAAAAA P\1\n". */
const MIN_PRIVMSG = 10;
const MIN_DCC = 26;
const MIN_ADDRESS = 12;

const PRIVMSG = "PRIVMSG ";
const MESSAGE = " :";
const DCC = "\x01DCC ";
const COMMANDS = ["SEND ", "CHAT ", "MOVE ", "TSEND ", "SCHAT "];

/** Outcome of findOffer(): where the client listens, and where in the payload it says so. */
const offer = new Int32Array(4);
let offerPort = 0;
let offerStart = 0;
let offerEnd = 0;

/** IRC (RFC 1459): DCC, a client's offer to another to connect to it directly. IPv4 only, as the protocol. */
export const ircHelper: Helper = {
  name: "irc",
  proto: IpProto.TCP,
  families: [AF_INET],
  policies: [{ maxExpected: 8, timeout: 300_000 }],
  nat: true,

  help(context: HelperContext, packet: Packet, l4: number, _family: number, slot: number, ctInfo: number): boolean {
    if (ctInfo !== IP_CT_ESTABLISHED) return true;
    const data = tcpPayload(packet, l4);
    if (data < 0 || !findOffer(text(packet, data, MAX_SEARCH))) return true;
    const { words } = context.table;
    const entry = slot * E.WORDS;
    const reply = entry + E.REPLY;
    // The client may know the address that the server sees; any other is forged.
    if ((words[entry + T.SRC] !== offer[0] && words[reply + T.DST] !== offer[0]) || offerPort === 0) return true;
    const expectation = expectationOf(context, slot, IpProto.TCP).to(words, reply + T.DST, offerPort);
    if ((words[entry + E.STATUS] & IPS_NAT_MASK) === 0) {
      return context.expectations.add(expectation, context.now) === AddResult.OK;
    }
    expectation.translate(1, offerPort, FOLLOW_MASTER, context.followMaster);
    const port = addAtFreePort(context, expectation, offerPort);
    if (port === 0) return false;
    const by = `${words[reply + T.DST] >>> 0} ${port}`;
    if (replaceInStream(context, packet, l4, slot, 0, offerStart, offerEnd - offerStart, by)) return true;
    context.expectations.giveUp(expectation);
    return false;
  },
};

/** Looks for a DCC offer at the beginning of the message. */
function findOffer(payload: string): boolean {
  const { length } = payload;
  let at = 0;
  while (at < length - MIN_PRIVMSG && " \r\n".includes(payload[at])) at++;
  if (at < length - MIN_PRIVMSG) {
    if (payload.slice(at, at + PRIVMSG.length).toUpperCase() !== PRIVMSG) return false;
    at += PRIVMSG.length;
  }
  while (at < length - MIN_DCC) {
    if (!payload.startsWith(MESSAGE, at)) {
      at++;
      continue;
    }
    at += MESSAGE.length;
    if (!payload.startsWith(DCC, at)) return false;
    at += DCC.length;
    const command = COMMANDS.find((word) => payload.startsWith(word, at));
    if (command !== undefined) return parseOffer(payload, at + command.length);
  }
  return false;
}

/** Reads "file address port" and a newline somewhere behind. */
function parseOffer(payload: string, start: number): boolean {
  let at = start;
  while (payload[at++] !== " ") if (at > payload.length - MIN_ADDRESS) return false;
  if (!payload.includes("\n", at)) return false;
  offerStart = at;
  offer[0] = parseDecimal(payload, at);
  at = digitsEnd;
  while (payload[at] === " ") at++;
  offerPort = parseDecimal(payload, at) & 0xffff;
  offerEnd = digitsEnd;
  return true;
}
