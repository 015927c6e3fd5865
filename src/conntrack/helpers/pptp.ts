import { IpProto } from "../../packet/ip.ts";
import type { Packet } from "../../packet/packet.ts";
import { IP_CT_ESTABLISHED, IP_CT_ESTABLISHED_REPLY, IPS_NAT_MASK } from "../../uapi/nfnetlink.ts";
import { AF_INET } from "../../uapi/socket.ts";
import { AddResult, type Expectation } from "../expect.ts";
import { E, T } from "../layout.ts";
import { Manip } from "../manip.ts";
import { NatRange } from "../nat-range.ts";
import { invert, newTuple } from "../tuple.ts";
import { expectationOf, type Helper, type HelperContext } from "./helper.ts";
import { replaceInStream, tcpPayload } from "./payload.ts";

/**
 * PPTP (RFC 2637): the control connection between access network server (PNS, taken for the client) and concentrator (PAC)
 * agrees on two call ids, and data then flow in enhanced GRE. Both directions are expected, and the two call ids
 * are mapped to each other for the GRE tracker. One call a control connection, IPv4 only, as in the kernel.
 */

/** Helper words of the entry: states; PAC's call id << 16 | PNS's as the other side sees it; the same before NAT. */
const STATES = E.HELP;
const CALL_IDS = E.HELP + 1;
const NAT_IDS = E.HELP + 2;
const SESSION_MASK = 0xff;
const CALL_SHIFT = 8;

const enum Session {
  NONE = 0,
  ERROR = 1,
  STOPPING = 2,
  REQUESTED = 3,
  CONFIRMED = 4,
}

const enum Call {
  NONE = 0,
  OUT_REQUESTED = 2,
  OUT_CONFIRMED = 3,
  IN_REQUESTED = 4,
  IN_REPLIED = 5,
  IN_CONFIRMED = 6,
  CLEARING = 7,
}

/** Control message types (RFC 2637 section 2). */
const enum Type {
  START_REQUEST = 1,
  START_REPLY = 2,
  STOP_REQUEST = 3,
  STOP_REPLY = 4,
  ECHO_REQUEST = 5,
  ECHO_REPLY = 6,
  OUT_CALL_REQUEST = 7,
  OUT_CALL_REPLY = 8,
  IN_CALL_REQUEST = 9,
  IN_CALL_REPLY = 10,
  IN_CALL_CONNECTED = 11,
  CLEAR_REQUEST = 12,
  DISCONNECT_NOTIFY = 13,
  WAN_ERROR_NOTIFY = 14,
  SET_LINK_INFO = 15,
}

/** be16 length, be16 message type, be32 cookie, be16 control type, be16 reserved. */
const HEADER_LEN = 12;
const CONTROL_MESSAGE = 1;
const MAGIC_COOKIE = 0x1a2b3c4d;
/** Bytes behind the header by control type. */
const BODY_LEN = [0, 144, 144, 4, 4, 0, 0, 156, 20, 208, 12, 16, 4, 136, 28, 12];
/** Offsets in the body. Result codes say 1 for success everywhere. */
const CALL_ID = 0;
const PEER_CALL_ID = 2;
const RESULT = 4;
const SESSION_RESULT = 2;
const STOP_RESULT = 0;
const SUCCESS = 1;

const GRE = IpProto.GRE;

export const pptpHelper: Helper = {
  name: "pptp",
  proto: IpProto.TCP,
  families: [AF_INET],
  policies: [{ maxExpected: 2, timeout: 300_000 }],

  help(context: HelperContext, packet: Packet, l4: number, _family: number, slot: number, ctInfo: number): boolean {
    if (ctInfo !== IP_CT_ESTABLISHED && ctInfo !== IP_CT_ESTABLISHED_REPLY) return true;
    const data = tcpPayload(packet, l4);
    if (data < 0) return true;
    const { view } = packet.memory;
    const length = packet.off + packet.len - data;
    if (length < HEADER_LEN || view.getUint16(data + 2) !== CONTROL_MESSAGE) return true;
    if (view.getUint32(data + 4) !== MAGIC_COOKIE) return true;
    const type = view.getUint16(data + 8);
    if (length < HEADER_LEN + (BODY_LEN[type] ?? 0)) return true;
    const body = data + HEADER_LEN;
    const direction = ctInfo === IP_CT_ESTABLISHED ? 0 : 1;
    const known =
      direction === 0 ? fromClient(context, view, slot, type, body) : fromServer(context, view, slot, type, body);
    if (!known || (context.table.words[slot * E.WORDS + E.STATUS] & IPS_NAT_MASK) === 0) return true;
    return translate(context, packet, l4, slot, direction, type);
  },

  destroy(context: HelperContext, slot: number): void {
    endCalls(context, slot);
  },
};

const session = (words: Int32Array, entry: number): Session => words[entry + STATES] & SESSION_MASK;
const call = (words: Int32Array, entry: number): Call => words[entry + STATES] >>> CALL_SHIFT;
function setSession(words: Int32Array, entry: number, state: Session): void {
  words[entry + STATES] = (words[entry + STATES] & ~SESSION_MASK) | state;
}
function setCall(words: Int32Array, entry: number, state: Call): void {
  words[entry + STATES] = (words[entry + STATES] & SESSION_MASK) | (state << CALL_SHIFT);
}
const pacId = (words: Int32Array, at: number): number => words[at] >>> 16;
const pnsId = (words: Int32Array, at: number): number => words[at] & 0xffff;
function setPac(words: Int32Array, at: number, id: number): void {
  words[at] = (id << 16) | (words[at] & 0xffff);
}
function setPns(words: Int32Array, at: number, id: number): void {
  words[at] = (words[at] & 0xffff_0000) | id;
}

/** A message of the PNS. @returns false if it does not fit the state: it passes untouched */
function fromClient(context: HelperContext, view: DataView, slot: number, type: Type, body: number): boolean {
  const { words } = context.table;
  const entry = slot * E.WORDS;
  const ids = entry + CALL_IDS;
  switch (type) {
    case Type.START_REQUEST:
      if (session(words, entry) !== Session.NONE) return false;
      setSession(words, entry, Session.REQUESTED);
      return true;
    case Type.STOP_REQUEST:
      setSession(words, entry, Session.STOPPING);
      return true;
    case Type.OUT_CALL_REQUEST:
      if (session(words, entry) !== Session.CONFIRMED) return false;
      setCall(words, entry, Call.OUT_REQUESTED);
      setPns(words, ids, view.getUint16(body + CALL_ID));
      return true;
    case Type.IN_CALL_REPLY: {
      const state = call(words, entry);
      if (state !== Call.IN_REQUESTED && state !== Call.IN_REPLIED) return false;
      if (pacId(words, ids) !== view.getUint16(body + PEER_CALL_ID)) return false;
      if (view.getUint8(body + RESULT) === SUCCESS) {
        setCall(words, entry, Call.IN_REPLIED);
        setPns(words, ids, view.getUint16(body + CALL_ID));
      } else setCall(words, entry, Call.NONE);
      return true;
    }
    case Type.CLEAR_REQUEST:
      if (session(words, entry) !== Session.CONFIRMED) return false;
      setCall(words, entry, Call.CLEARING);
      return true;
    case Type.SET_LINK_INFO:
    case Type.ECHO_REQUEST:
    case Type.ECHO_REPLY:
      return true;
    default:
      return false;
  }
}

/** A message of the PAC. @returns false if it does not fit the state */
function fromServer(context: HelperContext, view: DataView, slot: number, type: Type, body: number): boolean {
  const { words } = context.table;
  const entry = slot * E.WORDS;
  const ids = entry + CALL_IDS;
  switch (type) {
    case Type.START_REPLY:
      if (session(words, entry) < Session.REQUESTED) return false;
      setSession(words, entry, view.getUint8(body + SESSION_RESULT) === SUCCESS ? Session.CONFIRMED : Session.ERROR);
      return true;
    case Type.STOP_REPLY:
      if (session(words, entry) > Session.STOPPING) return false;
      setSession(words, entry, view.getUint8(body + STOP_RESULT) === SUCCESS ? Session.NONE : Session.ERROR);
      return true;
    case Type.OUT_CALL_REPLY: {
      const state = call(words, entry);
      if (session(words, entry) !== Session.CONFIRMED) return false;
      if (state !== Call.OUT_REQUESTED && state !== Call.OUT_CONFIRMED) return false;
      if (pnsId(words, ids) !== view.getUint16(body + PEER_CALL_ID)) return false;
      if (view.getUint8(body + RESULT) === SUCCESS) {
        setCall(words, entry, Call.OUT_CONFIRMED);
        setPac(words, ids, view.getUint16(body + CALL_ID));
        expectGre(context, slot);
      } else setCall(words, entry, Call.NONE);
      return true;
    }
    case Type.IN_CALL_REQUEST:
      if (session(words, entry) !== Session.CONFIRMED) return false;
      setCall(words, entry, Call.IN_REQUESTED);
      setPac(words, ids, view.getUint16(body + CALL_ID));
      return true;
    case Type.IN_CALL_CONNECTED: {
      const state = call(words, entry);
      if (session(words, entry) !== Session.CONFIRMED) return false;
      if (state !== Call.IN_REPLIED && state !== Call.IN_CONFIRMED) return false;
      // Here the peer's call id comes first.
      if (pnsId(words, ids) !== view.getUint16(body)) return false;
      setCall(words, entry, Call.IN_CONFIRMED);
      expectGre(context, slot);
      return true;
    }
    case Type.DISCONNECT_NOTIFY:
      setCall(words, entry, Call.NONE);
      endCalls(context, slot);
      return true;
    case Type.WAN_ERROR_NOTIFY:
    case Type.SET_LINK_INFO:
    case Type.ECHO_REQUEST:
    case Type.ECHO_REPLY:
      return true;
    default:
      return false;
  }
}

/** Expects GRE of both directions and maps their call ids. */
function expectGre(context: HelperContext, slot: number): void {
  const { words } = context.table;
  const { expectations, greKeys, now } = context;
  const entry = slot * E.WORDS;
  const ids = entry + CALL_IDS;
  const pair = [0, 1].map((direction) => {
    const at = entry + (direction << E.DIR_SHIFT);
    const expectation = expectationOf(context, slot, GRE).from(words, at + T.SRC);
    const [from, to] =
      direction === 0 ? [pnsId(words, ids), pacId(words, ids)] : [pacId(words, ids), pnsId(words, ids)];
    expectation.fromPort(from).to(words, at + T.DST, to);
    expectation.expectFunction = (child, expected) => gotGre(context, child, expected);
    return expectation;
  });
  if ((words[entry + E.STATUS] & IPS_NAT_MASK) !== 0) {
    const nat = entry + NAT_IDS;
    setPac(words, nat, pacId(words, ids));
    pair[0].savedPort = pnsId(words, ids);
    pair[0].fromPort(pnsId(words, nat));
    pair[1].savedPort = pnsId(words, nat);
    pair[1].direction = 1;
  }
  if (expectations.add(pair[0], now) !== AddResult.OK) return;
  if (expectations.add(pair[1], now) !== AddResult.OK) {
    expectations.giveUp(pair[0]);
    return;
  }
  const first = greKeys.add(slot, 0, pair[0].tuple);
  if (first && greKeys.add(slot, 1, pair[1].tuple)) return;
  if (first) greKeys.remove(slot);
  for (const expectation of pair) expectations.giveUp(expectation);
}

const scratch = newTuple();
const range = new NatRange();

/** The first GRE packet of a direction: the other direction need not be expected any more. */
function gotGre(context: HelperContext, slot: number, expectation: Expectation): void {
  const { words } = context.table;
  const { expectations, mapper, now } = context;
  const { direction } = expectation;
  const master = expectation.master * E.WORDS;
  if ((words[master + E.STATUS] & IPS_NAT_MASK) === 0) {
    invert(expectation.tuple, 0, scratch, 0);
    giveUp(context, scratch);
    return;
  }
  const other = master + ((1 - direction) << E.DIR_SHIFT);
  for (let i = 0; i < 8; i++) scratch[i] = words[other + i];
  scratch[T.META] = expectation.tuple[T.META];
  const ids = master + CALL_IDS;
  // Seen from the concentrator the kernel looks for call ids of 0, so that the other expectation stays.
  scratch[T.PORTS] = direction === 0 ? (pacId(words, ids) << 16) | pnsId(words, ids) : 0;
  const sibling = expectations.find(scratch, now);
  if (sibling !== undefined) expectations.giveUp(sibling);
  range.setAddress(words, other + T.DST);
  mapper.setup(slot, direction === 0 ? range.setPort(expectation.savedPort) : range, Manip.SRC);
  range.setAddress(words, other + T.SRC);
  mapper.setup(slot, direction === 1 ? range.setPort(expectation.savedPort) : range, Manip.DST);
}

function giveUp(context: HelperContext, tuple: Int32Array): boolean {
  const expectation = context.expectations.find(tuple, context.now);
  if (expectation === undefined) return false;
  context.expectations.giveUp(expectation);
  return true;
}

/** Removes the GRE connections and expectations of a call, when it or the control connection has ended. */
function endCalls(context: HelperContext, slot: number): void {
  const { words } = context.table;
  const entry = slot * E.WORDS;
  const ids = entry + CALL_IDS;
  context.greKeys.remove(slot);
  for (let direction = 0; direction < 2; direction++) {
    const at = entry + (direction << E.DIR_SHIFT);
    for (let i = 0; i < 8; i++) scratch[i] = words[at + i];
    scratch[T.META] = (words[at + T.META] & ~0xff00) | (GRE << 8);
    const [pac, pns] = [pacId(words, ids), pnsId(words, ids)];
    scratch[T.PORTS] = direction === 0 ? (pns << 16) | pac : (pac << 16) | pns;
    const link = context.findLive(scratch);
    if (link >= 0) context.destroy(link >> 1, 0, false);
    else giveUp(context, scratch);
  }
}

/** Writes call ids as the receiver of the message knows them. */
function translate(
  context: HelperContext,
  packet: Packet,
  l4: number,
  slot: number,
  direction: number,
  type: Type,
): boolean {
  const { words } = context.table;
  const entry = slot * E.WORDS;
  const ids = entry + CALL_IDS;
  let field = -1;
  let id = 0;
  if (direction === 0) {
    if (type === Type.OUT_CALL_REQUEST) {
      setPns(words, entry + NAT_IDS, pnsId(words, ids));
      // The translated source port serves as call id: it is not used by another client of the same PAC.
      setPns(words, ids, words[entry + E.REPLY + T.PORTS] & 0xffff);
    }
    id = pnsId(words, ids);
    if (type === Type.OUT_CALL_REQUEST || type === Type.IN_CALL_REPLY || type === Type.CLEAR_REQUEST) field = CALL_ID;
  } else {
    id = pnsId(words, entry + NAT_IDS);
    if (type === Type.OUT_CALL_REPLY) field = PEER_CALL_ID;
    else if (
      type === Type.IN_CALL_CONNECTED ||
      type === Type.WAN_ERROR_NOTIFY ||
      type === Type.DISCONNECT_NOTIFY ||
      type === Type.SET_LINK_INFO
    ) {
      field = 0;
    }
  }
  if (field < 0) return true;
  const by = String.fromCharCode(id >>> 8, id & 0xff);
  return replaceInStream(context, packet, l4, slot, direction, HEADER_LEN + field, 2, by);
}
