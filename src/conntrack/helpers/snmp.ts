import { diff32, update } from "../../packet/checksum.ts";
import { IpProto } from "../../packet/ip.ts";
import * as ipv4 from "../../packet/ipv4.ts";
import type { Packet } from "../../packet/packet.ts";
import * as udp from "../../packet/udp.ts";
import { IP_CT_IS_REPLY, IPS_NAT_MASK } from "../../uapi/nfnetlink.ts";
import { AF_INET } from "../../uapi/socket.ts";
import { E, T } from "../layout.ts";
import type { Helper, HelperContext } from "./helper.ts";

const SNMP_PORT = 161;
const SNMP_TRAP_PORT = 162;

/** BER identifiers (ITU-T X.690) that a message of SNMPv1 or v2c is made of (RFC 1157 section 4, RFC 3416 section 3). */
const INTEGER = 0x02;
const OCTET_STRING = 0x04;
const NULL = 0x05;
const OBJECT_ID = 0x06;
const SEQUENCE = 0x30;
const IP_ADDRESS = 0x40;
/** Counter32, Gauge32, TimeTicks, Opaque, Counter64. */
const APPLICATION_VALUES = [0x41, 0x42, 0x43, 0x44, 0x46];
/** noSuchObject, noSuchInstance, endOfMibView. */
const EXCEPTIONS = [0x80, 0x81, 0x82];
/** All PDUs but the trap of SNMPv1, which has another form. */
const PDUS = [0xa0, 0xa1, 0xa2, 0xa3, 0xa5, 0xa6, 0xa7, 0xa8];

/**
 * SNMP's translator ("basic SNMP ALG", RFC 2962): IpAddress values in answers and traps that name the translated host are
 * rewritten in place. Of the broadcast part see netbios-ns.
 */
function help(
  context: HelperContext,
  packet: Packet,
  l4: number,
  _family: number,
  slot: number,
  ctInfo: number,
): boolean {
  const { words } = context.table;
  const entry = slot * E.WORDS;
  if ((words[entry + E.STATUS] & IPS_NAT_MASK) === 0) return true;
  const { view } = packet.memory;
  const end = packet.off + packet.len;
  if (l4 + udp.HEADER_LEN > end) return true;
  const direction = ctInfo >= IP_CT_IS_REPLY ? 1 : 0;
  if (view.getUint16(l4 + udp.SRC_PORT) === SNMP_PORT && direction !== 1) return true;
  if (view.getUint16(l4 + udp.DST_PORT) === SNMP_TRAP_PORT && direction !== 0) return true;
  if (udp.length(view, l4) !== end - packet.l3 - ipv4.headerLength(view, packet.l3)) return false;
  const from = words[entry + T.SRC];
  const to = words[entry + E.REPLY + T.DST];
  if (from === to) return true;
  const message = new Message(view, l4 + udp.HEADER_LEN, l4 + udp.length(view, l4));
  if (!message.parse()) return false;
  for (const at of message.addresses) {
    if (view.getInt32(at) !== from) continue;
    const sum = view.getUint16(l4 + udp.CHECKSUM);
    // At an odd offset of the datagram the bytes stand in each other's halves of the sum.
    const odd = ((at - l4) & 1) !== 0;
    const diff = odd ? diff32(rotate(from), rotate(to)) : diff32(from, to);
    if (sum !== 0) view.setUint16(l4 + udp.CHECKSUM, update(sum, diff));
    view.setInt32(at, to);
  }
  return true;
}

const rotate = (word: number): number => (word << 8) | (word >>> 24);

/** A reader of one message, strict about the order of elements. */
class Message {
  /** Absolute offsets of the IpAddress values. */
  readonly addresses: number[] = [];
  private contentEnd = 0;

  constructor(
    private readonly view: DataView,
    private at: number,
    private readonly end: number,
  ) {}

  /** @returns false if it is not a message of SNMPv1 or v2c */
  parse(): boolean {
    if (!this.enter(SEQUENCE, this.end)) return false;
    const messageEnd = this.contentEnd;
    if (!this.enter(INTEGER, messageEnd) || this.contentEnd !== this.at + 1) return false;
    if (this.view.getUint8(this.at) > 1) return false;
    this.at++;
    if (!this.skip(OCTET_STRING, messageEnd)) return false;
    if (!PDUS.some((pdu) => this.enter(pdu, messageEnd))) return this.at === messageEnd;
    const pduEnd = this.contentEnd;
    for (let i = 0; i < 3; i++) if (!this.skip(INTEGER, pduEnd)) return false;
    if (!this.enter(SEQUENCE, pduEnd)) return false;
    const listEnd = this.contentEnd;
    while (this.at < listEnd) {
      if (!this.enter(SEQUENCE, listEnd)) return false;
      const bindingEnd = this.contentEnd;
      if (!this.skip(OBJECT_ID, bindingEnd) || !this.value(bindingEnd) || this.at !== bindingEnd) return false;
    }
    return this.at === listEnd && listEnd === pduEnd && pduEnd === messageEnd;
  }

  private value(end: number): boolean {
    if (this.enter(IP_ADDRESS, end)) {
      if (this.contentEnd !== this.at + 4) return false;
      this.addresses.push(this.at);
      this.at = this.contentEnd;
      return true;
    }
    const others = [INTEGER, OCTET_STRING, OBJECT_ID, NULL, ...APPLICATION_VALUES, ...EXCEPTIONS];
    return others.some((tag) => this.skip(tag, end)) || this.at === end;
  }

  private skip(tag: number, end: number): boolean {
    if (!this.enter(tag, end)) return false;
    this.at = this.contentEnd;
    return true;
  }

  /** Steps over identifier and length if the identifier is `tag` and the content fits. */
  private enter(tag: number, end: number): boolean {
    const { view } = this;
    if (this.at + 2 > end || view.getUint8(this.at) !== tag) return false;
    let length = view.getUint8(this.at + 1);
    let at = this.at + 2;
    if (length > 0x7f) {
      const bytes = length & 0x7f;
      if (bytes === 0 || bytes > 2 || at + bytes > end) return false;
      length = 0;
      for (let i = 0; i < bytes; i++) length = (length << 8) | view.getUint8(at++);
    }
    if (at + length > end) return false;
    this.at = at;
    this.contentEnd = at + length;
    return true;
  }
}

export const snmpHelper: Helper = {
  name: "snmp",
  proto: IpProto.UDP,
  families: [AF_INET],
  policies: [{ maxExpected: 1, timeout: 30_000 }],
  help,
};

export const snmpTrapHelper: Helper = {
  name: "snmp_trap",
  proto: IpProto.UDP,
  families: [AF_INET],
  policies: [{ maxExpected: 0, timeout: 180_000 }],
  help,
};
