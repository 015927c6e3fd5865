import { IpProto } from "../../../packet/ip.ts";
import { IPS_EXPECTED, NF_CT_EXPECT_INACTIVE, NF_CT_EXPECT_PERMANENT } from "../../../uapi/nfnetlink.ts";
import { AddResult, type Expectation } from "../../expect.ts";
import { E, T } from "../../layout.ts";
import { sameAddress } from "../address.ts";
import { expectationOf } from "../helper.ts";
import { addAtFreePort } from "../payload.ts";
import { EXPECT_FUNCTION } from "./expected.ts";
import { ExpectClass, flush, LISTEN_PORT, REGISTER_CSEQ, type SipMessage } from "./message.ts";
import {
  address,
  findHeader,
  findNumberParameter,
  findTransportParameter,
  findUri,
  found,
  number,
  port,
  Result,
  readNumber,
  SIP_HEADERS,
  Walk,
} from "./parse.ts";
import { endpoint } from "./translate.ts";

/** The protocol that Contact wants calls with, -1 if it is another than this connection's. */
function transportOf(message: SipMessage, from: number): number {
  const wanted = findTransportParameter(message.text, from);
  if (wanted === undefined) return message.proto;
  const proto = wanted === "tcp" ? IpProto.TCP : wanted === "udp" ? IpProto.UDP : -1;
  return proto === message.proto ? proto : -1;
}

function expiresHeader(message: SipMessage): number {
  const { text, family } = message;
  if (findHeader(text, 0, SIP_HEADERS.EXPIRES, family) !== Result.FOUND) return 0;
  readNumber(text, found.offset);
  return number;
}

/** Handles REGISTER: adds an expectation of calls to the Contact, inactive until the registrar accepts. */
export function register(message: SipMessage, cseq: number): boolean {
  const { context, words, entry, own, other, text, family } = message;
  // An expected connection registers nothing.
  if ((words[entry + E.STATUS] & IPS_EXPECTED) !== 0) return true;
  let expires = expiresHeader(message);
  const contact = findUri(text, SIP_HEADERS.CONTACT, family);
  if (contact === Result.BAD) return false;
  if (contact === Result.NONE) return true;
  if (!sameAddress(words, own + T.SRC, address, 0)) return true;
  const { offset, length } = found;
  const proto = transportOf(message, offset + length);
  if (proto < 0) return true;
  const parameter = findNumberParameter(text, offset + length, "expires=");
  if (parameter === Result.BAD) return false;
  if (parameter === Result.FOUND) expires = number;
  let pass = true;
  if (expires !== 0) {
    const expectation = expectationOf(context, message.slot, proto, ExpectClass.SIGNALLING)
      .from(words, other + T.SRC)
      .to(address, 0, port);
    expectation.assignHelper = expectation.helper;
    expectation.flags = NF_CT_EXPECT_PERMANENT | NF_CT_EXPECT_INACTIVE;
    pass = message.isTranslated
      ? expectTranslated(message, expectation, offset, length)
      : context.expectations.add(expectation, context.now) === AddResult.OK;
  }
  if (pass) words[entry + REGISTER_CSEQ] = cseq | 0;
  return pass;
}

/** Handles the registrar's answer: activates the expectations of the bindings in it, for as long as they last. */
export function registered(message: SipMessage, cseq: number, code: number): boolean {
  const { words, entry, own, text, family } = message;
  if (words[entry + REGISTER_CSEQ] >>> 0 !== cseq || (code >= 100 && code <= 199)) return true;
  if (code >= 200 && code <= 299) {
    const common = expiresHeader(message);
    const walk = new Walk();
    for (;;) {
      const contact = findUri(text, SIP_HEADERS.CONTACT, family, walk);
      if (contact === Result.BAD) return false;
      if (contact === Result.NONE) break;
      if (!sameAddress(words, own + T.DST, address, 0)) continue;
      const end = found.offset + found.length;
      const proto = transportOf(message, end);
      if (proto < 0) continue;
      const parameter = findNumberParameter(text, end, "expires=");
      if (parameter === Result.BAD) return false;
      const expires = parameter === Result.FOUND ? number : common;
      if (expires === 0) break;
      if (activate(message, proto, expires)) return true;
    }
  }
  flush(message, false);
  return true;
}

/** Activates the signalling expectation of the address in hand. */
function activate(message: SipMessage, proto: number, expires: number): boolean {
  const { context, expectations, slot } = message;
  const expectation = [...expectations.of(slot)]
    .reverse()
    .find(
      (one) =>
        one.class === ExpectClass.SIGNALLING &&
        sameAddress(one.tuple, T.DST, address, 0) &&
        ((one.tuple[T.META] >>> 8) & 0xff) === proto &&
        one.port === port,
    );
  if (expectation === undefined) return false;
  expectation.expires = (context.now + Math.min(expires * 1000, 0x7fff_ffff)) | 0;
  expectation.flags &= ~NF_CT_EXPECT_INACTIVE;
  return true;
}

/** An expectation of signalling to a translated Contact, which is rewritten. */
function expectTranslated(message: SipMessage, expectation: Expectation, offset: number, length: number): boolean {
  const { context, words, entry, own, other, family } = message;
  const first = expectation.port;
  expectation.savedAddress.set(expectation.tuple.subarray(T.DST, T.DST + 4));
  expectation.translate(1 - message.direction, first, EXPECT_FUNCTION, context.expectFunctions.get(EXPECT_FUNCTION));
  if (!sameAddress(words, own + T.SRC, words, other + T.DST)) expectation.to(words, other + T.DST, first);
  const listens = words[entry + LISTEN_PORT];
  const wanted = first === (listens !== 0 ? listens : message.sourcePort(own)) ? message.destinationPort(other) : first;
  const free = addAtFreePort(context, expectation, wanted);
  if (free === 0) return false;
  if (sameAddress(expectation.tuple, T.DST, expectation.savedAddress, 0) && free === first) return true;
  if (message.mangle(offset, length, endpoint(expectation.tuple, T.DST, family, free))) return true;
  context.expectations.giveUp(expectation);
  return false;
}
