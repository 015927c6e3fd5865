/** What of a recorded answer must be equal: everything but numbers that are the machine's own. */
import type { AnyAttributeSet } from "../../src/netlink/schema/index.ts";
import { nlctrl } from "../../src/schema/genetlink.ts";
import {
  ctLimitAttributes,
  datapathAttributes,
  flowAttributes,
  meterAttributes,
  packetAttributes,
  vportAttributes,
} from "../../src/schema/openvswitch.ts";
import type { Reply } from "./kernel.ts";

const SETS: Record<string, AnyAttributeSet> = {
  nlctrl,
  ovs_datapath: datapathAttributes,
  ovs_vport: vportAttributes,
  ovs_flow: flowAttributes,
  ovs_packet: packetAttributes,
  ovs_meter: meterAttributes,
  ovs_ct_limit: ctLimitAttributes,
};

/** The attributes of a family's messages. */
export const setFor = (family: string): AnyAttributeSet | undefined => SETS[family];

const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString("hex");

/**
 * A message as a value. PAD attributes are left out: User-Mode Linux has them, x86-64 has not (spec/families F-085).
 * @param nameOf the family of a message type, in the kernel that wrote it
 */
export function comparable(
  reply: Reply,
  nameOf: (type: number) => string,
  sets: (family: string) => AnyAttributeSet | undefined,
): unknown {
  const { flags, cmd, version, errno, bytes, view } = reply;
  if (cmd < 0) {
    // NLMSG_ERROR: the echoed header holds numbers of the machine; what follows it does not, but for dp_ifindex.
    const echoed = reply.type === 2 ? bytes.slice(36) : bytes.slice(20);
    if (echoed.length >= 8) echoed.fill(0, 4, 8);
    if (reply.type === 2 && nameOf(view.getUint16(24, true)) === "nlctrl") echoed.fill(0, 8, 10);
    return { type: reply.type, flags, errno, rest: hex(withoutPads(echoed)) };
  }
  const family = nameOf(reply.type);
  const start = family === "nlctrl" ? 20 : 24;
  if (family === "nlctrl" && cmd === CTRL_CMD_GETPOLICY)
    return { flags, cmd, version, tree: tree(view, start, bytes.length) };
  const decoded = sets(family)?.decode(view, start, bytes.length) as Record<string, unknown>;
  const values = Object.entries(decoded)
    .filter(([name]) => name !== "PAD")
    .map(([name, value]): [string, unknown] => [name, comparableValue(family, name, value)]);
  return { type: family, flags, cmd, version, values };
}

const CTRL_CMD_GETPOLICY = 10;
const PAD = 11;

/** Attributes with their numbers; nests are told by NLA_F_NESTED. */
function tree(view: DataView, start: number, end: number): unknown[] {
  const list: unknown[] = [];
  for (let at = start; at + 4 <= end; at += (view.getUint16(at, true) + 3) & ~3) {
    const size = view.getUint16(at, true);
    const type = view.getUint16(at + 2, true);
    if (type === PAD && size === 4) continue;
    if (type & 0x8000) list.push([type & 0x3fff, tree(view, at + 4, at + size)]);
    // The number of the family.
    else if (at === start && start === 20) list.push([type, "family"]);
    else list.push([type, hex(new Uint8Array(view.buffer, at + 4, size - 4))]);
  }
  return list;
}

/** Extended acks hold 64-bit bounds, too; their nest is compared without PAD. */
function withoutPads(bytes: Uint8Array): Uint8Array {
  const text = hex(bytes).replaceAll("04000b00", "");
  // The nest around them is 4 bytes shorter for each; its length is told by what is inside.
  return Uint8Array.from(Buffer.from(text.replace(/[0-9a-f]{4}0480/g, "00000480"), "hex"));
}

function comparableValue(family: string, name: string, value: unknown): unknown {
  switch (name) {
    case "FAMILY_ID":
    case "IFINDEX":
    // Time and the machine's memory.
    case "USED":
    case "MAX_METERS":
      return typeof value;
    case "MCAST_GROUPS":
      return (value as { NAME: string }[]).map((group) => group.NAME);
    case "STATS":
    case "MEGAFLOW_STATS":
    case "UPCALL_STATS":
      // Packets that the machine's own stack sent.
      return family === "ovs_vport" || family === "ovs_datapath"
        ? Object.keys(value as object).filter((key) => key !== "#7")
        : ordered(value);
    default:
      return ordered(value);
  }
}

/** Objects as lists of their properties: the order of attributes must be the same at all levels. */
function ordered(value: unknown): unknown {
  if (ArrayBuffer.isView(value)) return hex(new Uint8Array(value.buffer, value.byteOffset, value.byteLength));
  if (Array.isArray(value)) return value.map(ordered);
  if (typeof value !== "object" || value === null) return value;
  return Object.entries(value).map(([name, inner]) => [name, ordered(inner)]);
}
