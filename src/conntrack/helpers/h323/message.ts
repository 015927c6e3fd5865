import { IpProto } from "../../../packet/ip.ts";
import type { Packet } from "../../../packet/packet.ts";
import * as tcp from "../../../packet/tcp.ts";
import * as udp from "../../../packet/udp.ts";
import { IPS_NAT_MASK } from "../../../uapi/nfnetlink.ts";
import { AF_INET } from "../../../uapi/socket.ts";
import type { Expectation } from "../../expect.ts";
import { AddResult } from "../../expect.ts";
import { E, T } from "../../layout.ts";
import { sameAddress } from "../address.ts";
import { expectationOf, type HelperContext } from "../helper.ts";
import { addAtFreePort, replace } from "../payload.ts";
import type { Value } from "./per.ts";

/**
 * Helper words of the entry: the port where signalling is expected, of the original direction in the lower half; the same of
 * four RTP channels; a word of the single helper's own.
 */
const SIGNAL_PORTS = E.HELP;
const RTP_PORTS = E.HELP + 1;
export const RTP_CHANNELS = 4;
/** RAS: seconds until a registration expires. TPKT: bytes of the announced message of each direction. */
export const SPARE = E.HELP + 5;

const IPV4_LEN = 4;
const IPV6_LEN = 16;

/** Address and port of the last Message.read(). */
export const h323Address = new Int32Array(4);
export let h323Port = 0;

/** One message on its way through a helper. */
export class Message {
  readonly entry: number;
  /** Tuple of the sender's direction, and of the other. */
  readonly own: number;
  readonly other: number;

  constructor(
    readonly context: HelperContext,
    readonly packet: Packet,
    readonly slot: number,
    readonly direction: number,
    readonly family: number,
    private readonly proto: number,
    /** Byte of the payload that offsets of the decoded message count from. */
    private readonly base: number,
  ) {
    this.entry = slot * E.WORDS;
    this.own = this.entry + (direction << E.DIR_SHIFT);
    this.other = this.entry + ((1 - direction) << E.DIR_SHIFT);
  }

  get words(): Int32Array {
    return this.context.table.words;
  }

  /** The payload is translated: IPv4 only. */
  get isTranslated(): boolean {
    return this.family === AF_INET && (this.words[this.entry + E.STATUS] & IPS_NAT_MASK) !== 0;
  }

  /** The sender itself is seen at another address. */
  get isSenderTranslated(): boolean {
    return this.isTranslated && !sameAddress(this.words, this.own + T.SRC, this.words, this.other + T.DST);
  }

  sourcePort(at: number): number {
    return this.words[at + T.PORTS] >>> 16;
  }
  destinationPort(at: number): number {
    return this.words[at + T.PORTS] & 0xffff;
  }

  signalPort(direction: number): number {
    return (this.words[this.entry + SIGNAL_PORTS] >>> (direction << 4)) & 0xffff;
  }
  setSignalPort(direction: number, value: number): void {
    setHalf(this.words, this.entry + SIGNAL_PORTS, direction, value);
  }
  rtpPort(channel: number, direction: number): number {
    return (this.words[this.entry + RTP_PORTS + channel] >>> (direction << 4)) & 0xffff;
  }
  setRtpPort(channel: number, direction: number, value: number): void {
    setHalf(this.words, this.entry + RTP_PORTS + channel, direction, value);
  }

  /** Reads an address and the port behind it into `h323Address` and `h323Port`. @returns false if it is of another family */
  read(ip: Value | undefined, ip6: Value | undefined): boolean {
    const value = this.family === AF_INET ? ip : ip6;
    if (value === undefined) return false;
    const { view } = this.packet.memory;
    const at = this.payload + value.offset;
    const length = this.family === AF_INET ? IPV4_LEN : IPV6_LEN;
    h323Address.fill(0);
    for (let i = 0; i < length; i += 4) h323Address[i >> 2] = view.getInt32(at + i);
    h323Port = view.getUint16(at + length);
    return true;
  }

  /** Reads a TransportAddress of H.225.0. */
  readSignal(value: Value | undefined): boolean {
    return this.read(value?.at("ipAddress", "ip"), value?.at("ip6Address", "ip"));
  }

  /** Reads a TransportAddress of H.245. */
  readMedia(value: Value | undefined): boolean {
    const unicast = value?.at("unicastAddress");
    return this.read(unicast?.at("iPAddress", "network"), unicast?.at("iP6Address", "network"));
  }

  /** The address just read is the one at `at`. */
  isAt(at: number): boolean {
    return sameAddress(h323Address, 0, this.words, at);
  }

  /** The address just read is one that can be expected: the sender's own, with a port. */
  get isOwn(): boolean {
    return h323Port !== 0 && this.isAt(this.own + T.SRC);
  }

  /** Writes the IPv4 address at `at` of the words and a port in place. @returns false if there is no memory */
  write(value: Value, at: number, newPort: number): boolean {
    const word = this.words[at];
    const by = [word >>> 24, (word >>> 16) & 0xff, (word >>> 8) & 0xff, word & 0xff, newPort >>> 8, newPort & 0xff];
    const text = String.fromCharCode(...by);
    return replace(this.packet, this.packet.l4, this.proto, this.base + value.offset, text.length, text);
  }
  writeSignal(value: Value | undefined, at: number, newPort: number): boolean {
    const ip = value?.at("ipAddress", "ip");
    return ip === undefined || this.write(ip, at, newPort);
  }
  writeMedia(value: Value | undefined, at: number, newPort: number): boolean {
    const ip = value?.at("unicastAddress", "iPAddress", "network");
    return ip === undefined || this.write(ip, at, newPort);
  }

  /** An expectation of what the other end will send to the address at `at` of `words`. */
  expectation(proto: number, words: Int32Array, at: number, toPort: number): Expectation {
    return expectationOf(this.context, this.slot, proto)
      .from(this.words, this.other + T.SRC)
      .to(words, at, toPort);
  }

  /** Number of one of the H.323 helpers. */
  helper(name: string, proto: number): number {
    return this.context.findHelper(name, proto, this.family);
  }

  /** Adds an expectation as it is. @returns false to drop the packet */
  expect(expectation: Expectation): boolean {
    return this.context.expectations.add(expectation, this.context.now) === AddResult.OK;
  }

  /**
   * Adds an expectation at a free port and writes the port into the message, for the other end.
   * @param write puts the port into the message; false drops the packet
   */
  expectTranslated(expectation: Expectation, first: number, write: (free: number) => boolean): boolean {
    const free = addAtFreePort(this.context, expectation, first);
    // Without a port the message goes on as it is.
    if (free === 0 || write(free)) return true;
    this.context.expectations.giveUp(expectation);
    return false;
  }

  /** Absolute offset of what decoded offsets count from. */
  private get payload(): number {
    const { l4, memory } = this.packet;
    return l4 + this.base + (this.proto === IpProto.TCP ? tcp.headerLength(memory.view, l4) : udp.HEADER_LEN);
  }
}

/** Sets the half of a word that belongs to a direction. */
export function setHalf(words: Int32Array, at: number, direction: number, value: number): void {
  const shift = direction << 4;
  words[at] = (words[at] & ~(0xffff << shift)) | ((value & 0xffff) << shift);
}
