import { IpProto } from "../../../packet/ip.ts";
import * as udp from "../../../packet/udp.ts";
import { AF_INET } from "../../../uapi/socket.ts";
import { T } from "../../layout.ts";
import { formatAddress, sameAddress } from "../address.ts";
import { replace } from "../payload.ts";
import { LISTEN_PORT, type SipMessage } from "./message.ts";
import {
  address,
  findAddressParameter,
  findNumberParameter,
  findRequestUri,
  findUri,
  found,
  number,
  port,
  Result,
  SIP_HEADERS,
  standsAt,
  Walk,
} from "./parse.ts";

export function endpoint(words: Int32Array, at: number, family: number, atPort: number): string {
  const text = formatAddress(words, at, family);
  return family === AF_INET ? `${text}:${atPort}` : `[${text}]:${atPort}`;
}

/** Replaces the endpoint that was found, if it is the sender's or the receiver's. */
function mapEndpoint(message: SipMessage): boolean {
  const { words, entry, own, other, family } = message;
  let at: number;
  let to: number;
  if (sameAddress(words, own + T.SRC, address, 0) && message.sourcePort(own) === port) {
    at = other + T.DST;
    to = message.destinationPort(other);
  } else if (sameAddress(words, own + T.DST, address, 0) && message.destinationPort(own) === port) {
    at = other + T.SRC;
    to = words[entry + LISTEN_PORT] !== 0 ? words[entry + LISTEN_PORT] : message.sourcePort(other);
  } else return true;
  if (sameAddress(words, at, address, 0) && to === port) return true;
  return message.mangle(found.offset, found.length, endpoint(words, at, family, to));
}

export function translateMessage(message: SipMessage): boolean {
  const { words, entry, packet, family, proto } = message;
  const isRequest = !standsAt(message.text, 0, "sip/2.0");
  if (isRequest && findRequestUri(message.text, family) === Result.FOUND && !mapEndpoint(message)) return false;
  if (!translateVia(message, isRequest)) return false;
  const walk = new Walk();
  while (findUri(message.text, SIP_HEADERS.CONTACT, family, walk) === Result.FOUND) {
    const before = message.text.length;
    if (!mapEndpoint(message)) return false;
    walk.at += message.text.length - before;
  }
  for (const header of [SIP_HEADERS.FROM, SIP_HEADERS.TO]) {
    if (findUri(message.text, header, family) === Result.FOUND && !mapEndpoint(message)) return false;
  }
  const listens = words[entry + LISTEN_PORT];
  if (message.direction === 0 || listens === 0) return true;
  if (proto !== IpProto.UDP) return false;
  packet.memory.view.setUint16(packet.l4 + udp.DST_PORT, listens);
  return replace(packet, packet.l4, proto, 0, 0, "");
}

/** The topmost Via of this connection, and its parameters. */
function translateVia(message: SipMessage, isRequest: boolean): boolean {
  const { words, own, other, family } = message;
  const header = message.proto === IpProto.TCP ? SIP_HEADERS.VIA_TCP : SIP_HEADERS.VIA_UDP;
  if (findUri(message.text, header, family) !== Result.FOUND) return true;
  const at = own + (isRequest ? T.SRC : T.DST);
  const atPort = isRequest ? message.sourcePort(own) : message.destinationPort(own);
  if (!sameAddress(words, at, address, 0) || port !== atPort) return true;
  const end = found.offset + found.length;
  const before = message.text.length;
  if (!mapEndpoint(message)) return false;
  const from = end + message.text.length - before;
  const parameter = (name: string, is: number, becomes: number, brackets: boolean): boolean => {
    if (!findAddressParameter(message.text, from, name, family, brackets)) return true;
    if (!sameAddress(address, 0, words, is) || sameAddress(address, 0, words, becomes)) return true;
    const by = formatAddress(words, becomes, family);
    return message.mangle(found.offset, found.length, brackets && family !== AF_INET ? `[${by}]` : by);
  };
  if (!parameter("maddr=", own + T.SRC, other + T.DST, true)) return false;
  if (!parameter("received=", own + T.DST, other + T.SRC, false)) return false;
  if (findNumberParameter(message.text, from, "rport=") !== Result.FOUND || number < 1024) return true;
  if (number !== message.destinationPort(own) || number === message.sourcePort(other)) return true;
  return message.mangle(found.offset, found.length, String(message.sourcePort(other)));
}
