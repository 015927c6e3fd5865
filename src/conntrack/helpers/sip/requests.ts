import { T } from "../../layout.ts";
import { sameAddress } from "../address.ts";
import { describe } from "./media.ts";
import { flush, INVITE_CSEQ, LISTEN_PORT, MIN_MESSAGE, type SipMessage } from "./message.ts";
import {
  address,
  findHeader,
  findUri,
  found,
  isLetter,
  number,
  port,
  Result,
  readNumber,
  SIP_HEADERS,
  standsAt,
} from "./parse.ts";
import { register, registered } from "./registration.ts";
import { translateMessage } from "./translate.ts";

/** @returns false to drop the packet */
export function handle(message: SipMessage): boolean {
  const isResponse = standsAt(message.text, 0, "sip/2.0 ");
  if (!(isResponse ? response(message) : request(message))) return false;
  return !message.isTranslated || translateMessage(message);
}

type Handler = (message: SipMessage, cseq: number, code: number) => boolean;

/** Methods in the order they are tried: a method may be the beginning of another's name. */
const METHODS: readonly { readonly name: string; readonly request?: Handler; readonly response?: Handler }[] = [
  { name: "invite", request: invite, response: answer },
  { name: "update", request: describe, response: answer },
  { name: "ack", request: describe },
  { name: "prack", request: describe, response: answer },
  { name: "bye", request: bye },
  { name: "register", request: register, response: registered },
];

/** CSeq's number and where the method behind it stands; -1 if it has none. */
function cseqMethod(message: SipMessage): number {
  const { text, family } = message;
  if (findHeader(text, 0, SIP_HEADERS.CSEQ, family) !== Result.FOUND) return -1;
  return readNumber(text, found.offset) === found.offset ? -1 : found.offset + found.length + 1;
}

function response(message: SipMessage): boolean {
  const { text } = message;
  if (text.length < MIN_MESSAGE) return true;
  readNumber(text, "SIP/2.0 ".length);
  const code = number;
  if (code === 0) return false;
  const at = cseqMethod(message);
  if (at < 0) return false;
  const cseq = number;
  const method = METHODS.find((one) => one.response !== undefined && standsAt(text, at, one.name));
  return method?.response?.(message, cseq, code) ?? true;
}

function request(message: SipMessage): boolean {
  const { text, family, words, own } = message;
  // Some telephones send from a high port but listen on what their Via says.
  if (findUri(text, SIP_HEADERS.VIA_UDP, family) === Result.FOUND) {
    if (port !== message.sourcePort(own) && sameAddress(address, 0, words, own + T.SRC)) {
      words[message.entry + LISTEN_PORT] = port;
    }
  }
  const method = METHODS.find(
    ({ name, request: handler }) =>
      handler !== undefined && standsAt(text, 0, `${name} `) && isLetter(text.charCodeAt(name.length + 1)),
  );
  if (method === undefined) return true;
  if (cseqMethod(message) < 0) return false;
  return method.request?.(message, number, 0) ?? true;
}

function invite(message: SipMessage, cseq: number): boolean {
  flush(message, true);
  if (!describe(message)) return false;
  message.words[message.entry + INVITE_CSEQ] = cseq | 0;
  return true;
}

function bye(message: SipMessage): boolean {
  flush(message, true);
  return true;
}

function answer(message: SipMessage, cseq: number, code: number): boolean {
  if (code >= 100 && code <= 299) return describe(message);
  if (message.words[message.entry + INVITE_CSEQ] >>> 0 === cseq) flush(message, true);
  return true;
}
