import { IpProto } from "../packet/ip.ts";
import type { Packet } from "../packet/packet.ts";
import * as udp from "../packet/udp.ts";
import { IPS_NAT_MASK } from "../uapi/nfnetlink.ts";
import { AddResult, Expectation, maskAddress } from "./expect.ts";
import type { Helper, HelperContext } from "./helper.ts";
import { E, Ext, T } from "./layout.ts";

/** Read and write request (RFC 1350 section 5). */
const OPCODE_RRQ = 1;
const OPCODE_WRQ = 2;

/**
 * TFTP (C-226, C-227): the server answers a request from a port of its own choice, so a connection from the server's
 * address to where the request came from is expected.
 */
export const tftpHelper: Helper = {
  name: "tftp",
  proto: IpProto.UDP,
  policies: [{ maxExpected: 1, timeout: 300_000 }],

  help(context: HelperContext, packet: Packet, l4: number, family: number, slot: number): boolean {
    const { view } = packet.memory;
    if (l4 + udp.HEADER_LEN + 2 > packet.off + packet.len) return true;
    const opcode = view.getUint16(l4 + udp.HEADER_LEN);
    if (opcode !== OPCODE_RRQ && opcode !== OPCODE_WRQ) return true;
    const { words } = context.table;
    const entry = slot * E.WORDS;
    const reply = entry + E.REPLY;
    const expectation = new Expectation(slot, (words[entry + E.EXT] & Ext.HELPER_MASK) >>> Ext.HELPER_SHIFT);
    for (let i = 0; i < 8; i++) expectation.tuple[i] = words[reply + i];
    maskAddress(expectation.mask, family);
    expectation.tuple[T.PORTS] = words[reply + T.PORTS] & 0xffff;
    expectation.tuple[T.META] = words[reply + T.META];
    if ((words[entry + E.STATUS] & IPS_NAT_MASK) !== 0) {
      expectation.savedPort = words[entry + T.PORTS] >>> 16;
      expectation.direction = 1;
      expectation.expectFunction = context.followMaster;
      expectation.functionName = "nat-follow-master";
    }
    return context.expectations.add(expectation, context.now) === AddResult.OK;
  },
};
