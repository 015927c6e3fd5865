import { IpProto } from "../../packet/ip.ts";
import type { Packet } from "../../packet/packet.ts";
import { IP_CT_ESTABLISHED, IP_CT_ESTABLISHED_REPLY } from "../../uapi/nfnetlink.ts";
import { AddResult } from "../expect.ts";
import { E, T } from "../layout.ts";
import { expectationOf, type Helper, type HelperContext } from "./helper.ts";
import { tcpPayload } from "./payload.ts";

/** Helper word of the entry: 1 after a request to start scanning, until it is answered. */
const STARTING = E.HELP;

/** Request: be32 code, be32 handle. */
const REQUEST_LEN = 8;
const SANE_NET_START = 7;
/** Answer: be32 status, be16 0, be16 port, and more. */
const ANSWER_LEN = 8;
const SANE_STATUS_GOOD = 0;

/** SANE network scanning: the answer to SANE_NET_START names the port that the image is fetched from. No NAT. */
export const saneHelper: Helper = {
  name: "sane",
  proto: IpProto.TCP,
  policies: [{ maxExpected: 1, timeout: 300_000 }],

  help(context: HelperContext, packet: Packet, l4: number, _family: number, slot: number, ctInfo: number): boolean {
    if (ctInfo !== IP_CT_ESTABLISHED && ctInfo !== IP_CT_ESTABLISHED_REPLY) return true;
    const data = tcpPayload(packet, l4);
    if (data < 0) return true;
    const { view } = packet.memory;
    const length = packet.off + packet.len - data;
    const { words } = context.table;
    const entry = slot * E.WORDS;
    if (ctInfo === IP_CT_ESTABLISHED) {
      if (length === REQUEST_LEN) words[entry + STARTING] = view.getUint32(data) === SANE_NET_START ? 1 : 0;
      return true;
    }
    if (words[entry + STARTING] === 0) return true;
    words[entry + STARTING] = 0;
    if (length < ANSWER_LEN) return true;
    if (view.getUint32(data) !== SANE_STATUS_GOOD || view.getUint16(data + 4) !== 0) return true;
    const expectation = expectationOf(context, slot, IpProto.TCP)
      .from(words, entry + T.SRC)
      .to(words, entry + T.DST, view.getUint16(data + 6));
    return context.expectations.add(expectation, context.now) === AddResult.OK;
  },
};
