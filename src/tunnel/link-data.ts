/** IFLA_INFO_DATA of tunnel devices: its payloads by attribute, and which of them a kind reports. */
import type { Attribute } from "../netlink/schema/index.ts";
import { INTEGER_SIZE } from "../netlink/schema/index.ts";

/** Payloads of the attributes in an IFLA_INFO_DATA, by type. */
export type LinkData = ReadonlyMap<number, Uint8Array>;

/** One attribute of IFLA_INFO_DATA as the kernel reports it. */
export interface ReportedAttribute {
  readonly type: number;
  /** Bytes of its payload, 0: it is a flag. */
  readonly size: number;
  /** Reported where none was given; undefined: reported only if it was given. */
  readonly defaultValue?: Uint8Array;
  /** A u8 that is reported as 0 or 1. */
  readonly bool?: boolean;
  /** kernelVersion() of the first kernel that reports it. */
  readonly since?: number | undefined;
}

/** Payload bytes of an attribute of fixed length; 0: a flag. */
function sizeOf({ rule, length, size }: Attribute<unknown>): number {
  return INTEGER_SIZE[rule] || Math.max(length, size);
}

/** An attribute that is always reported; its default is `bytes`, filled up with zeros. */
export function fixed(attribute: Attribute<unknown>, ...bytes: number[]): ReportedAttribute {
  const { type, since } = attribute;
  const size = sizeOf(attribute);
  return { type, size, since, defaultValue: Uint8Array.from({ length: size }, (_, i) => bytes[i] ?? 0) };
}

/** An attribute that is always reported as a u8 of 0 or 1. */
export function reportedBool({ type, since }: Attribute<unknown>, value = 0): ReportedAttribute {
  return { type, size: 1, since, defaultValue: Uint8Array.of(value), bool: true };
}

/** An attribute that is reported only if it was given. */
export function ifGiven(attribute: Attribute<unknown>): ReportedAttribute {
  const { type, since } = attribute;
  return { type, size: sizeOf(attribute), since };
}

/** Whether an attribute is a flag that is present, or a u8 that is not 0. */
export function isFlagSet(data: LinkData, type: number): boolean {
  const value = data.get(type);
  return value !== undefined && isNonZero(value);
}

/** Whether the payload is that of a flag, or of a u8 that is not 0. */
export const isNonZero = (value: Uint8Array): boolean => value.length === 0 || value[0] !== 0;

/** A u16 in network byte order, 0 if it is absent. */
export function readBe16(data: LinkData, type: number): number {
  const value = data.get(type);
  return value === undefined ? 0 : (value[0] << 8) | value[1];
}

/** A u16 in the machine's (little-endian) byte order, 0 if it is absent. */
export function readU16(data: LinkData, type: number): number {
  const value = readBe16(data, type);
  return (value >> 8) | ((value & 0xff) << 8);
}

/** The payload of an attribute that holds a u16 in network byte order. */
export const be16Bytes = (value: number): Uint8Array => Uint8Array.of(value >> 8, value & 0xff);
