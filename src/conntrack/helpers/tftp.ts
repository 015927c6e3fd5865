import { IpProto } from "../../packet/ip.ts";
import type { Packet } from "../../packet/packet.ts";
import * as udp from "../../packet/udp.ts";
import { IPS_NAT_MASK } from "../../uapi/nfnetlink.ts";
import { AddResult } from "../expect.ts";
import { E, T } from "../layout.ts";
import { expectationOf, FOLLOW_MASTER, type Helper, type HelperContext } from "./helper.ts";

/** Read and write request (RFC 1350 section 5). */
const OPCODE_RRQ = 1;
const OPCODE_WRQ = 2;

/**
 * TFTP (spec/conntrack C-226, C-227): the server answers a request from a port of its own choice, so a connection from
 * the server's address to where the request came from is expected.
 */
export const tftpHelper: Helper = {
  name: "tftp",
  proto: IpProto.UDP,
  policies: [{ maxExpected: 1, timeout: 300_000 }],
  nat: true,

  help(context: HelperContext, packet: Packet, l4: number, _family: number, slot: number): boolean {
    const { view } = packet.memory;
    if (l4 + udp.HEADER_LEN + 2 > packet.off + packet.len) return true;
    const opcode = view.getUint16(l4 + udp.HEADER_LEN);
    if (opcode !== OPCODE_RRQ && opcode !== OPCODE_WRQ) return true;
    const { words } = context.table;
    const entry = slot * E.WORDS;
    const reply = entry + E.REPLY;
    const expectation = expectationOf(context, slot, IpProto.UDP)
      .from(words, reply + T.SRC)
      .to(words, reply + T.DST, words[reply + T.PORTS] & 0xffff);
    if ((words[entry + E.STATUS] & IPS_NAT_MASK) !== 0) {
      expectation.translate(1, words[entry + T.PORTS] >>> 16, FOLLOW_MASTER, context.followMaster);
    }
    return context.expectations.add(expectation, context.now) === AddResult.OK;
  },
};
