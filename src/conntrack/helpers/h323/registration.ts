import { IpProto } from "../../../packet/ip.ts";
import { IPS_EXPECTED, NF_CT_EXPECT_PERMANENT } from "../../../uapi/nfnetlink.ts";
import { E, T } from "../../layout.ts";
import { CALL_HELPER, expectSignal } from "./call.ts";
import { h323Address, h323Port, type Message, SPARE } from "./message.ts";
import type { Value } from "./per.ts";

/** Registration, admission and status of H.225.0, between an end and its gatekeeper. */

export const REGISTRATION_HELPER = "RAS";
/** Seconds that a registration lives when it does not say. */
const DEFAULT_LIFE = 300;
/** Milliseconds that are left for the answer to an unregistration. */
const UNREGISTRATION = 30_000;
const MAX_TIMEOUT = 0x7fff_ffff;
/** First byte of a loopback address. */
const LOOPBACK = 127;

type Handler = (message: Message, value: Value) => boolean;

const HANDLERS: readonly (readonly [string, Handler])[] = [
  ["gatekeeperRequest", (message, value) => translateOwn(message, single(value.at("rasAddress")))],
  ["gatekeeperConfirm", gatekeeperConfirm],
  ["registrationRequest", registrationRequest],
  ["registrationConfirm", registrationConfirm],
  ["unregistrationRequest", unregistrationRequest],
  ["admissionRequest", admissionRequest],
  ["admissionConfirm", admissionConfirm],
  ["locationRequest", (message, value) => translateOwn(message, single(value.at("replyAddress")))],
  ["locationConfirm", (message, value) => expectCall(message, value.at("callSignalAddress"))],
  ["infoRequestResponse", infoRequestResponse],
];

/** @returns false to drop the packet */
export function registration(message: Message, ras: Value): boolean {
  for (const [name, handler] of HANDLERS) {
    const value = ras.at(name);
    if (value !== undefined) return handler(message, value);
  }
  return true;
}

const single = (value: Value | undefined): readonly Value[] => (value === undefined ? [] : [value]);

/** Expects registrations at the gatekeeper's rasAddress, if that is not the address that it answers from. */
function gatekeeperConfirm(message: Message, value: Value): boolean {
  const { words, entry, own } = message;
  if (!message.readSignal(value.at("rasAddress"))) return true;
  if (message.isAt(own + T.SRC) && h323Port === message.sourcePort(own)) return true;
  // An expected connection announces no other: there would be no end to them.
  if ((words[entry + E.STATUS] & IPS_EXPECTED) !== 0) return true;
  const expectation = message.expectation(IpProto.UDP, h323Address, 0, h323Port);
  expectation.assignHelper = message.helper(REGISTRATION_HELPER, IpProto.UDP);
  return message.expect(expectation);
}

/** Expects calls from the gatekeeper at the first signalling address of a registration that is the sender's own. */
function registrationRequest(message: Message, value: Value): boolean {
  if (!expectCalls(message, value.at("callSignalAddress")?.items ?? [])) return false;
  if (!translateOwn(message, value.at("rasAddress")?.items ?? [])) return false;
  message.words[message.entry + SPARE] = value.at("timeToLive")?.number ?? DEFAULT_LIFE;
  return true;
}

function expectCalls(message: Message, list: readonly Value[]): boolean {
  const index = list.findIndex((at) => message.readSignal(at) && message.isOwn);
  if (index < 0) return true;
  const { context, words, other, direction } = message;
  const said = h323Port;
  const expectation = message.expectation(IpProto.TCP, words, other + T.DST, said);
  expectation.assignHelper = message.helper(CALL_HELPER, IpProto.TCP);
  expectation.flags = NF_CT_EXPECT_PERMANENT;
  if (!message.isTranslated) {
    if (!message.expect(expectation)) return false;
    message.setSignalPort(direction, said);
    return true;
  }
  expectation.translate(1 - direction, said, CALL_HELPER, context.expectFunctions.get(CALL_HELPER));
  const written = expectSignal(message, expectation, said, (free) =>
    message.writeSignal(list[index], other + T.DST, free),
  );
  // Some ends name their loopback address first.
  if (written && message.signalPort(direction) === said && index > 0 && isLoopback(message, list[0])) {
    message.writeSignal(list[0], other + T.DST, message.signalPort(1 - direction));
  }
  return written;
}

const isLoopback = (message: Message, at: Value): boolean =>
  message.readSignal(at) && h323Address[0] >>> 24 === LOOPBACK;

/** Sets the connection's timeout to the registration's: the gatekeeper's timeToLive, or else the one that was requested. */
function registrationConfirm(message: Message, value: Value): boolean {
  const { context, words, entry, slot } = message;
  if (!translateKnown(message, value.at("callSignalAddress")?.items ?? [])) return false;
  const life = value.at("timeToLive")?.number;
  if (life !== undefined) words[entry + SPARE] = life;
  const seconds = words[entry + SPARE] >>> 0;
  // Linux also looks for the expectation of calls, to extend its timeout, but without a source address: it finds none.
  if (seconds > 0) context.refreshTimeout(slot, Math.min(seconds * 1000, MAX_TIMEOUT));
  return true;
}

function unregistrationRequest(message: Message, value: Value): boolean {
  if (!translateKnown(message, value.at("callSignalAddress")?.items ?? [])) return false;
  message.context.expectations.removeAllOf(message.slot);
  for (const direction of [0, 1]) message.setSignalPort(direction, 0);
  message.context.refreshTimeout(message.slot, UNREGISTRATION);
  return true;
}

/** Translates the address of the called end when that asks to answer, else of the calling end. */
function admissionRequest(message: Message, value: Value): boolean {
  const { own, other, direction } = message;
  if (!message.isTranslated) return true;
  const called = value.at("destCallSignalAddress");
  if (message.readSignal(called) && message.isAt(own + T.SRC) && h323Port === message.signalPort(direction)) {
    return message.writeSignal(called, other + T.DST, message.signalPort(1 - direction));
  }
  const caller = value.at("srcCallSignalAddress");
  if (!message.readSignal(caller) || !message.isAt(own + T.SRC)) return true;
  return message.writeSignal(caller, other + T.DST, h323Port);
}

/** Expects the call at the end that the gatekeeper admits it to, unless that end is the one that asked. */
function admissionConfirm(message: Message, value: Value): boolean {
  const at = value.at("destCallSignalAddress");
  if (message.readSignal(at) && message.isAt(message.own + T.DST)) return translateKnown(message, single(at));
  return expectCall(message, at);
}

/** Expects calls to an address that the gatekeeper names. */
function expectCall(message: Message, at: Value | undefined): boolean {
  if (!message.readSignal(at)) return true;
  const expectation = message.expectation(IpProto.TCP, h323Address, 0, h323Port);
  expectation.flags = NF_CT_EXPECT_PERMANENT;
  expectation.assignHelper = message.helper(CALL_HELPER, IpProto.TCP);
  return message.expect(expectation);
}

function infoRequestResponse(message: Message, value: Value): boolean {
  if (!translateOwn(message, single(value.at("rasAddress")))) return false;
  return translateKnown(message, value.at("callSignalAddress")?.items ?? []);
}

/** Translates the first address that is the source address of the message itself. */
function translateOwn(message: Message, list: readonly Value[]): boolean {
  if (!message.isTranslated) return true;
  const { own, other } = message;
  for (const at of list) {
    if (!message.readSignal(at) || !message.isAt(own + T.SRC) || h323Port !== message.sourcePort(own)) continue;
    return message.writeSignal(at, other + T.DST, message.destinationPort(other));
  }
  return true;
}

/** Translates the first address that calls are expected at, of the sender or of the receiver. */
function translateKnown(message: Message, list: readonly Value[]): boolean {
  if (!message.isTranslated) return true;
  const { own, other, direction } = message;
  const free = message.signalPort(1 - direction);
  for (const [index, at] of list.entries()) {
    if (!message.readSignal(at) || h323Port !== message.signalPort(direction)) continue;
    if (message.isAt(own + T.SRC)) {
      const first = index > 0 && isLoopback(message, list[0]) ? list[0] : at;
      return message.writeSignal(first, other + T.DST, free);
    }
    if (message.isAt(own + T.DST)) return message.writeSignal(at, other + T.SRC, free);
  }
  return true;
}
