import { IpProto } from "../../../packet/ip.ts";
import type { Expectation } from "../../expect.ts";
import { E, T } from "../../layout.ts";
import { Manip } from "../../manip.ts";
import { NatRange } from "../../nat-range.ts";
import { FOLLOW_MASTER, type HelperContext } from "../helper.ts";
import { control, openChannel } from "./control.ts";
import { h323Address, h323Port, type Message } from "./message.ts";
import type { Value } from "./per.ts";

/** Call signalling of H.225.0: where the H.245 connection goes, whom a call is forwarded to, and channels of a fast start. */

/** Names of the helpers. */
export const CALL_HELPER = "Q.931";
export const CONTROL_HELPER = "H.245";
/** The CTA_EXPECT_FN name of forwarded(). */
const CALL_FORWARDING = "callforwarding";

/** Messages of which only h245Address and fastStart are read. */
const PLAIN = ["callProceeding", "connect", "alerting", "progress"] as const;

/** @returns false to drop the packet */
export function call(message: Message, information: Value): boolean {
  const pdu = information.at("h323-uu-pdu");
  const body = pdu?.at("h323-message-body");
  if (body !== undefined && !signal(message, body)) return false;
  return items(pdu?.at("h245Control"), (one) => control(message, one));
}

function signal(message: Message, body: Value): boolean {
  const setup = body.at("setup");
  if (setup !== undefined) {
    if (!expectControl(message, setup.at("h245Address")) || !translateSetup(message, setup)) return false;
    return items(setup.at("fastStart"), (open) => openChannel(message, open));
  }
  const facility = body.at("facility");
  if (facility?.at("reason", "callForwarded") !== undefined) {
    return expectForwarded(message, facility.at("alternativeAddress"));
  }
  for (const one of [facility, ...PLAIN.map((name) => body.at(name))]) {
    if (one === undefined) continue;
    if (!expectControl(message, one.at("h245Address"))) return false;
    if (!items(one.at("fastStart"), (open) => openChannel(message, open))) return false;
  }
  return true;
}

const items = (list: Value | undefined, handle: (item: Value) => boolean): boolean =>
  list === undefined || list.items.every(handle);

/** Addresses of caller and called in a Setup, as the receiver knows them. */
function translateSetup(message: Message, setup: Value): boolean {
  if (!message.isTranslated) return true;
  const { other } = message;
  const called = setup.at("destCallSignalAddress");
  if (message.readSignal(called) && !message.isAt(other + T.SRC)) {
    if (!message.writeSignal(called, other + T.SRC, message.sourcePort(other))) return false;
  }
  const caller = setup.at("sourceCallSignalAddress");
  if (!message.readSignal(caller) || message.isAt(other + T.DST)) return true;
  return message.writeSignal(caller, other + T.DST, message.destinationPort(other));
}

/** Expects the H.245 connection. */
function expectControl(message: Message, at: Value | undefined): boolean {
  if (!message.readSignal(at) || !message.isOwn) return true;
  const { context, words, other, direction } = message;
  const said = h323Port;
  const expectation = message.expectation(IpProto.TCP, words, other + T.DST, said);
  expectation.assignHelper = message.helper(CONTROL_HELPER, IpProto.UDP);
  if (!message.isSenderTranslated) return message.expect(expectation);
  expectation.translate(1 - direction, said, FOLLOW_MASTER, context.followMaster);
  return expectSignal(message, expectation, said, (free) => message.writeSignal(at, other + T.DST, free));
}

/**
 * Adds an expectation of signalling at a free port: the one that the same port has become before, if that is so.
 * @param write puts the port into the message
 */
export function expectSignal(
  message: Message,
  expectation: Expectation,
  said: number,
  write: (free: number) => boolean,
): boolean {
  const { direction } = message;
  const first = message.signalPort(direction) === said ? message.signalPort(1 - direction) : said;
  return message.expectTranslated(expectation, first, (free) => {
    if (!write(free)) return false;
    message.setSignalPort(direction, said);
    message.setSignalPort(1 - direction, free);
    return true;
  });
}

/**
 * Expects the forwarded call. Linux does not where its routes to the new end and to the caller are the
 * same; a datapath has no routes: only a call that is forwarded to the caller itself is not expected.
 */
function expectForwarded(message: Message, at: Value | undefined): boolean {
  if (!message.readSignal(at) || h323Port === 0) return true;
  const { context, words, other, direction } = message;
  if (message.isAt(other + T.SRC)) return true;
  const expectation = message.expectation(IpProto.TCP, h323Address, 0, h323Port);
  expectation.assignHelper = message.helper(CALL_HELPER, IpProto.TCP);
  if (!message.isSenderTranslated) return message.expect(expectation);
  expectation.savedAddress.set(h323Address);
  expectation.to(words, other + T.DST, h323Port);
  expectation.translate(1 - direction, h323Port, CALL_FORWARDING, context.expectFunctions.get(CALL_FORWARDING));
  return message.expectTranslated(expectation, h323Port, (free) => message.writeSignal(at, other + T.DST, free));
}

const range = new NatRange();

/** Sets up NAT of a forwarded call: source as the master's, destination the end named (ip_nat_callforwarding_expect). */
function forwarded(context: HelperContext, slot: number, expectation: Expectation): void {
  fromExpected(context, slot, expectation);
  context.mapper.setup(slot, range.setAddress(expectation.savedAddress, 0).setPort(expectation.savedPort), Manip.DST);
}

/** Sets up NAT of a call to a registered end; an expectation without source matches calls from anywhere (ip_nat_q931_expect). */
function registered(context: HelperContext, slot: number, expectation: Expectation): void {
  if (expectation.tuple[T.SRC] !== 0) {
    context.followMaster(slot, expectation);
    return;
  }
  fromExpected(context, slot, expectation);
  const master = expectation.master * E.WORDS + ((1 - expectation.direction) << E.DIR_SHIFT);
  context.mapper.setup(
    slot,
    range.setAddress(context.table.words, master + T.SRC).setPort(expectation.savedPort),
    Manip.DST,
  );
}

function fromExpected(context: HelperContext, slot: number, expectation: Expectation): void {
  const other = slot * E.WORDS + ((1 - expectation.direction) << E.DIR_SHIFT);
  context.mapper.setup(slot, range.setAddress(context.table.words, other + T.SRC), Manip.SRC);
}

/** Functions of expected calls, by their CTA_EXPECT_FN name. */
export const callFunctions = (context: HelperContext) => ({
  [CALL_HELPER]: (slot: number, expectation: Expectation) => registered(context, slot, expectation),
  [CALL_FORWARDING]: (slot: number, expectation: Expectation) => forwarded(context, slot, expectation),
});
