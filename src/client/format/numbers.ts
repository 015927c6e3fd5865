/** Numbers, addresses and flags as ovs-dpctl writes them. */
import { ipv4Text, ipv6Text, macText } from "../../net/address.ts";

/** How to write. */
export interface FormatOptions {
  /** Shows wildcarded fields too. */
  readonly verbose?: boolean;
  /** Name of a port; its number when left out. */
  readonly portName?: (portNo: number) => string;
}

/** `%#x` of C: 0 has no prefix. */
export const hex = (value: number | bigint): string => (value ? `0x${value.toString(16)}` : "0");
export const hex4 = (value: number): string => `0x${value.toString(16).padStart(4, "0")}`;
export const hexBytes = (bytes: Uint8Array): string => Buffer.from(bytes).toString("hex");
export const isZero = (bytes: Uint8Array): boolean => bytes.every((byte) => byte === 0);
export const isFull = (bytes: Uint8Array): boolean => bytes.every((byte) => byte === 0xff);

export function bigEndian(bytes: Uint8Array): number {
  let value = 0;
  for (const byte of bytes) value = value * 256 + byte;
  return value;
}

export function bigEndian64(bytes: Uint8Array): bigint {
  let value = 0n;
  for (const byte of bytes) value = (value << 8n) | BigInt(byte);
  return value;
}

/** Host order, any width up to 32 bits. */
export const littleEndian = (bytes: Uint8Array): number => bigEndian(bytes.slice().reverse());

/** How a field and its mask are written. */
export type Style = (value: Uint8Array, mask: Uint8Array | null) => string;

export const styled =
  (write: (bytes: Uint8Array) => string, writeMask = write): Style =>
  (value, mask) =>
    mask === null || isFull(mask) ? write(value) : `${write(value)}/${writeMask(mask)}`;

export const asDecimal = styled(
  (bytes) => String(bigEndian(bytes)),
  (bytes) => hex(bigEndian(bytes)),
);
export const asHex = styled((bytes) => hex(bigEndian(bytes)));
export const asMac = styled(macText);
export const asIpv4 = styled(ipv4Text);
export const asIpv6 = styled(ipv6Text);
export const asHostOrder = styled((bytes) => hex(littleEndian(bytes)));
const FRAGMENTS = ["no", "first", "later"];
export const asFragment: Style = (value) => FRAGMENTS[value[0]] ?? `<invalid: ${value[0]}>`;

/** Twenty bits of a 32-bit big-endian word. */
export const asFlowLabel: Style = (value, mask) => {
  const all = mask === null || (bigEndian(mask) & 0xfffff) === 0xfffff;
  return all ? hex(bigEndian(value)) : `${hex(bigEndian(value))}/${hex(bigEndian(mask))}`;
};

export const CT_STATES = ["new", "est", "rel", "rpl", "inv", "trk", "snat", "dnat"];
export const TCP_FLAGS = ["fin", "syn", "rst", "psh", "ack", "urg", "ece", "cwr", "ns"];

/** `+est-new`: the bits that are matched, set or not. */
export function flagsText(names: readonly string[], value: number, mask: number): string {
  let text = "";
  for (let bit = 0; bit < names.length; bit++) {
    if ((mask >>> bit) & 1) text += ((value >>> bit) & 1 ? "+" : "-") + names[bit];
  }
  return text;
}

/** Up to the first NUL. */
export function textOf(bytes: Uint8Array): string {
  const nul = bytes.indexOf(0);
  return Buffer.from(nul < 0 ? bytes : bytes.subarray(0, nul)).toString("latin1");
}

export function portText(portNo: number, options: FormatOptions): string {
  return options.portName?.(portNo) ?? String(portNo);
}

export const NOTHING: Uint8Array = new Uint8Array(0);
