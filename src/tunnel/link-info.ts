/**
 * IFLA_LINKINFO of tunnel devices (linux/if_link.h): parsing what RTM_NEWLINK asks for, checking the sizes of attributes,
 * and writing what RTM_GETLINK reports.
 */
import { AttributeReader } from "../netlink/reader.ts";
import { decode, encode } from "../netlink/schema/index.ts";
import { MessageWriter } from "../netlink/writer.ts";
import { linkInfoAttributes } from "../schema/rtnetlink.ts";
import type { TunnelKind } from "./kind.ts";
import { isNonZero, type LinkData } from "./link-data.ts";

/** A parsed IFLA_LINKINFO. */
export interface LinkInfo {
  /** IFLA_INFO_KIND, empty if there is none. */
  readonly kind: string;
  /** undefined: there is no IFLA_INFO_DATA. */
  readonly data: LinkData | undefined;
}

/** Parses the payload of an IFLA_LINKINFO. */
export function parseLinkInfo(info: Uint8Array): LinkInfo {
  const { KIND = "", DATA } = decode(linkInfoAttributes, info);
  return { kind: KIND, data: DATA === undefined ? undefined : attributesIn(DATA) };
}

/**
 * Writes the payload of IFLA_LINKINFO that the kernel reports of a device (fill_info in drivers/net, ip_gre.c, ip6_gre.c).
 * @param data the attributes that the device was made with
 * @param version kernelVersion()
 */
export function reportLinkInfo(kind: TunnelKind, data: LinkData, version: number): Uint8Array {
  const values = new Map([...data, ...kind.derived(data)]);
  const reported = new MessageWriter(256);
  for (const { type, size, defaultValue, bool, since } of kind.reported) {
    const value = values.get(type) ?? defaultValue;
    if (value === undefined || (since !== undefined && version < since)) continue;
    reported.raw(type, bool === true ? Uint8Array.of(isNonZero(value) ? 1 : 0) : value.subarray(0, size));
  }
  return encode(linkInfoAttributes, { KIND: kind.name, DATA: reported.finish() });
}

/**
 * Checks what the kernel checks before it makes a device.
 * @throws Errno ERANGE (an attribute is too short, or a flag has a payload), EINVAL (the kind's own checks)
 */
export function validateLinkData(kind: TunnelKind, data: LinkData | undefined): void {
  if (data !== undefined) {
    const writer = new MessageWriter(256);
    for (const [type, value] of data) writer.raw(type, value);
    const bytes = writer.finish();
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
    kind.attributes.validate(0, bytes.length, { view, base: 0, extack: undefined, strict: false });
  }
  kind.validate(data);
}

function attributesIn(bytes: Uint8Array): Map<number, Uint8Array> {
  const found = new Map<number, Uint8Array>();
  const reader = new AttributeReader(new DataView(bytes.buffer, bytes.byteOffset, bytes.length), 0, bytes.length);
  while (reader.next()) found.set(reader.type, reader.bytes());
  return found;
}
