import { IpProto } from "../../packet/ip.ts";
import type { Packet } from "../../packet/packet.ts";
import { IP_CT_IS_REPLY, IPS_NAT_MASK } from "../../uapi/nfnetlink.ts";
import { AddResult } from "../expect.ts";
import { E, T } from "../layout.ts";
import { expectationOf, FOLLOW_MASTER, type Helper, type HelperContext } from "./helper.ts";
import { addAtFreePort, digitsEnd, parseDecimal, replace, text, udpPayload } from "./payload.ts";

/** Streams that the answer "CONNECT DATA 1 MESG 2 INDEX 3\n" gives ports for. */
const STREAMS = ["DATA ", "MESG ", "INDEX ", "STATE "];
const CONNECT = "CONNECT ";
const MAX_DIGITS = 5;
/** Backup servers may wait long for a client's answer. */
const MASTER_TIMEOUT = 300_000;

/** Amanda: the answer to a backup request over UDP names the TCP ports that the backup server is to connect to. */
export const amandaHelper: Helper = {
  name: "amanda",
  proto: IpProto.UDP,
  policies: [{ maxExpected: 4, timeout: 180_000 }],
  nat: true,

  help(context: HelperContext, packet: Packet, l4: number, _family: number, slot: number, ctInfo: number): boolean {
    if (ctInfo < IP_CT_IS_REPLY) return true;
    context.refreshTimeout(slot, MASTER_TIMEOUT);
    const data = udpPayload(packet, l4);
    if (data < 0) return true;
    let payload = text(packet, data);
    let start = payload.indexOf(CONNECT);
    if (start < 0) return true;
    start += CONNECT.length;
    const stop = payload.indexOf("\n", start);
    if (stop < 0) return true;
    const { words } = context.table;
    const entry = slot * E.WORDS;
    let pass = true;
    for (const stream of STREAMS) {
      let at = payload.indexOf(stream, start);
      if (at < 0 || at + stream.length > stop) continue;
      at += stream.length;
      const port = parseDecimal(payload.slice(0, Math.min(at + MAX_DIGITS, stop)), at) & 0xffff;
      const length = digitsEnd - at;
      if (port === 0) break;
      const expectation = expectationOf(context, slot, IpProto.TCP)
        .from(words, entry + T.SRC)
        .to(words, entry + T.DST, port);
      if ((words[entry + E.STATUS] & IPS_NAT_MASK) === 0) {
        pass = context.expectations.add(expectation, context.now) === AddResult.OK;
        continue;
      }
      expectation.translate(0, port, FOLLOW_MASTER, context.followMaster);
      const free = addAtFreePort(context, expectation, port);
      pass = free !== 0 && replace(packet, packet.l4, IpProto.UDP, at, length, String(free));
      if (free !== 0 && !pass) context.expectations.giveUp(expectation);
      // The end of the line stays where it was, as in the kernel, though a port may have changed its length.
      payload = text(packet, udpPayload(packet, packet.l4));
    }
    return pass;
  },
};
