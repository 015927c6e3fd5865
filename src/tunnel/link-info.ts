/**
 * IFLA_LINKINFO of tunnel devices (linux/if_link.h): parsing what RTM_NEWLINK asks for, checking the sizes of attributes,
 * and writing what RTM_GETLINK reports.
 */
import { Errno } from "../core/errors.ts";
import { AttributeReader } from "../netlink/reader.ts";
import { MessageWriter } from "../netlink/writer.ts";
import { ERANGE } from "../uapi/errno.ts";
import * as rt from "../uapi/rtnetlink.ts";
import type { TunnelKind } from "./kind.ts";

/** Payloads of the attributes in an IFLA_INFO_DATA, by type. */
export type LinkData = ReadonlyMap<number, Uint8Array>;

/** A parsed IFLA_LINKINFO. */
export interface LinkInfo {
  /** IFLA_INFO_KIND, empty if there is none. */
  readonly kind: string;
  /** undefined: there is no IFLA_INFO_DATA. */
  readonly data: LinkData | undefined;
}

/** One attribute of IFLA_INFO_DATA as the kernel reports it. */
export interface LinkAttribute {
  readonly type: number;
  /** Bytes of its payload, 0: it is a flag. */
  readonly size: number;
  /** A flag in RTM_NEWLINK, though it is reported with a payload. */
  readonly requestedAsFlag?: boolean;
  /** Reported where none was given; undefined: reported only if it was given. */
  readonly defaultValue?: Uint8Array | undefined;
  /** A u8 that is reported as 0 or 1. */
  readonly bool?: boolean;
  /** kernelVersion() of the first kernel that reports it. */
  readonly since?: number;
}

/** An attribute of `size` bytes that is always reported; its default is `bytes`, filled up with zeros. */
export const fixed = (type: number, size: number, ...bytes: number[]): LinkAttribute => ({
  type,
  size,
  defaultValue: Uint8Array.from({ length: size }, (_, i) => bytes[i] ?? 0),
});
/** A u8 that is always reported, as 0 or 1. */
export const bool = (type: number, value = 0): LinkAttribute => ({
  type,
  size: 1,
  defaultValue: Uint8Array.of(value),
  bool: true,
});
/** An attribute that is reported only if it was given. */
export const optional = (type: number, size: number): LinkAttribute => ({ type, size });
/** An attribute that kernels before `version` do not report. */
export const since = (version: number, attribute: LinkAttribute): LinkAttribute => ({ ...attribute, since: version });

/** Parses the payload of an IFLA_LINKINFO. */
export function parseLinkInfo(info: Uint8Array): LinkInfo {
  const attributes = attributesIn(info);
  const kind = attributes.get(rt.IFLA_INFO_KIND) ?? new Uint8Array(0);
  const nul = kind.indexOf(0);
  const data = attributes.get(rt.IFLA_INFO_DATA);
  return {
    kind: Buffer.from(nul < 0 ? kind : kind.subarray(0, nul)).toString("latin1"),
    data: data === undefined ? undefined : attributesIn(data),
  };
}

/**
 * Writes the payload of IFLA_LINKINFO that the kernel reports of a device (fill_info in drivers/net, ip_gre.c, ip6_gre.c).
 * @param data the attributes that the device was made with
 * @param version kernelVersion()
 */
export function reportLinkInfo(kind: TunnelKind, data: LinkData, version: number): Uint8Array {
  const values = new Map([...data, ...kind.derived(data)]);
  const reported = new MessageWriter(256);
  for (const { type, size, defaultValue, bool, since } of kind.attributes) {
    const value = values.get(type) ?? defaultValue;
    if (value === undefined || (since !== undefined && version < since)) continue;
    reported.raw(type, bool === true ? Uint8Array.of(isSet(value) ? 1 : 0) : value.subarray(0, size));
  }
  const writer = new MessageWriter(256);
  writer.string(rt.IFLA_INFO_KIND, kind.name);
  writer.raw(rt.IFLA_INFO_DATA, reported.finish());
  return writer.finish();
}

/**
 * Checks what the kernel checks before it makes a device.
 * @throws Errno ERANGE (an attribute is too short, or a flag has a payload), EINVAL (the kind's own checks)
 */
export function validateLinkData(kind: TunnelKind, data: LinkData | undefined): void {
  for (const { type, size, requestedAsFlag } of kind.attributes) {
    const value = data?.get(type);
    if (value === undefined) continue;
    const isFlag = size === 0 || requestedAsFlag === true;
    if (isFlag ? value.length > 0 : value.length < size) throw new Errno(ERANGE);
  }
  kind.validate(data);
}

/** Whether an attribute is a flag that is present, or a u8 that is not 0. */
export function flag(data: LinkData, type: number): boolean {
  const value = data.get(type);
  return value !== undefined && isSet(value);
}

const isSet = (value: Uint8Array): boolean => value.length === 0 || value[0] !== 0;

/** A u16 in network byte order, 0 if it is absent. */
export function be16(data: LinkData, type: number): number {
  const value = data.get(type);
  return value === undefined ? 0 : (value[0] << 8) | value[1];
}

/** A u16 in the machine's (little-endian) byte order, 0 if it is absent. */
export function u16(data: LinkData, type: number): number {
  const value = be16(data, type);
  return (value >> 8) | ((value & 0xff) << 8);
}

/** The payload of an attribute that holds a u16 in network byte order. */
export const be16Bytes = (value: number): Uint8Array => Uint8Array.of(value >> 8, value & 0xff);

function attributesIn(bytes: Uint8Array): Map<number, Uint8Array> {
  const found = new Map<number, Uint8Array>();
  const reader = new AttributeReader(new DataView(bytes.buffer, bytes.byteOffset, bytes.length), 0, bytes.length);
  while (reader.next()) found.set(reader.type, reader.bytes());
  return found;
}
