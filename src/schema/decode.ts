import type { AnyAttributeSet } from "../netlink/schema/index.ts";
import { CTRL_CMD_NEWFAMILY, GENL_ID_CTRL } from "../uapi/genetlink.ts";
import * as nl from "../uapi/netlink.ts";
import { extendedAck, nlctrl } from "./genetlink.ts";
import { dropMonitorAttributes } from "./net-dropmon.ts";
import * as schema from "./openvswitch.ts";
import { psampleMessage } from "./psample.ts";

/** One netlink message, readable. */
export interface DecodedMessage {
  /** Family name, "error", "done", "noop", or the number of an unknown type. */
  readonly type: string;
  /** Command name without the family's prefix, or its number; empty for control messages. */
  readonly command: string;
  /** Names of NLM_F_*; those that differ between requests (DUMP, CREATE) and answers by what the message is. */
  readonly flags: readonly string[];
  readonly seq: number;
  readonly pid: number;
  /** ovs_header.dp_ifindex */
  readonly ifindex?: number;
  /** Of "error" and "done": the positive errno. */
  readonly errno?: number;
  /** By name, nested as in the message; or the bytes of an unknown family. */
  readonly attributes: unknown;
}

interface Family {
  readonly set: AnyAttributeSet;
  readonly commands: readonly string[];
  /** Has no ovs_header. */
  readonly bare?: boolean;
}

const OVS_COMMANDS = ["", "NEW", "DEL", "GET", "SET"];
const FAMILIES: Readonly<Record<string, Family>> = {
  ovs_datapath: { set: schema.datapathAttributes, commands: OVS_COMMANDS },
  ovs_vport: { set: schema.vportAttributes, commands: OVS_COMMANDS },
  ovs_flow: { set: schema.flowAttributes, commands: OVS_COMMANDS },
  ovs_packet: { set: schema.packetAttributes, commands: ["", "MISS", "ACTION", "EXECUTE"] },
  ovs_meter: { set: schema.meterAttributes, commands: ["", "FEATURES", "SET", "DEL", "GET"] },
  ovs_ct_limit: { set: schema.ctLimitAttributes, commands: ["", "SET", "DEL", "GET"] },
  NET_DM: {
    set: dropMonitorAttributes,
    commands: [
      "",
      "ALERT",
      "CONFIG",
      "START",
      "STOP",
      "PACKET_ALERT",
      "CONFIG_GET",
      "CONFIG_NEW",
      "STATS_GET",
      "STATS_NEW",
    ],
    bare: true,
  },
  psample: { set: psampleMessage, commands: ["SAMPLE", "GET_GROUP", "NEW_GROUP", "DEL_GROUP"], bare: true },
};
const CTRL_COMMANDS = [
  "",
  "NEWFAMILY",
  "DELFAMILY",
  "GETFAMILY",
  "NEWOPS",
  "DELOPS",
  "GETOPS",
  "NEWMCAST_GRP",
  "DELMCAST_GRP",
  "GETMCAST_GRP",
  "GETPOLICY",
];
const OVS_ATTRIBUTES = nl.NLMSG_HDRLEN + 8;
const CTRL_ATTRIBUTES = nl.NLMSG_HDRLEN + 4;

/**
 * Decodes NETLINK_GENERIC messages of the controller and the ovs_* families. Learns the families' numbers from the
 * controller's answers that pass by; known ones can be given.
 */
export class MessageDecoder {
  private readonly families = new Map<number, string>([[GENL_ID_CTRL, "nlctrl"]]);

  constructor(families: Iterable<readonly [number, string]> = []) {
    for (const [id, name] of families) this.families.set(id, name);
  }

  /** All messages of a datagram; what is no whole message at its end is left out. */
  decode(datagram: Uint8Array): DecodedMessage[] {
    const messages: DecodedMessage[] = [];
    const view = new DataView(datagram.buffer, datagram.byteOffset, datagram.byteLength);
    let at = 0;
    while (view.byteLength - at >= nl.NLMSG_HDRLEN) {
      const length = view.getUint32(at, true);
      if (length < nl.NLMSG_HDRLEN || length > view.byteLength - at) break;
      messages.push(this.one(view, at, at + length));
      at += (length + 3) & ~3;
    }
    return messages;
  }

  private one(view: DataView, at: number, end: number): DecodedMessage {
    const type = view.getUint16(at + 4, true);
    const bits = view.getUint16(at + 6, true);
    const head = { seq: view.getUint32(at + 8, true), pid: view.getUint32(at + 12, true) };
    if (type < nl.NLMSG_MIN_TYPE) return { ...control(view, at, end, type, bits), ...head };
    const name = this.families.get(type);
    const flags = flagNames(bits, (bits & nl.NLM_F_REQUEST) !== 0);
    const family = name === undefined ? undefined : FAMILIES[name];
    const start = name === "nlctrl" || family?.bare === true ? CTRL_ATTRIBUTES : OVS_ATTRIBUTES;
    if (name === undefined || end - at < start) {
      const attributes = new Uint8Array(
        view.buffer,
        view.byteOffset + at + nl.NLMSG_HDRLEN,
        end - at - nl.NLMSG_HDRLEN,
      );
      return { type: name ?? String(type), command: "", flags, ...head, attributes: attributes.slice() };
    }
    const cmd = view.getUint8(at + nl.NLMSG_HDRLEN);
    if (name === "nlctrl") {
      const attributes = nlctrl.decode(view, at + start, end);
      if (cmd === CTRL_CMD_NEWFAMILY && attributes.FAMILY_ID !== undefined && attributes.FAMILY_NAME !== undefined)
        this.families.set(attributes.FAMILY_ID, attributes.FAMILY_NAME);
      return { type: name, command: CTRL_COMMANDS[cmd] ?? String(cmd), flags, ...head, attributes };
    }
    return {
      type: name,
      command: family?.commands[cmd] || String(cmd),
      flags,
      ...head,
      ifindex: family?.bare === true ? undefined : view.getInt32(at + CTRL_ATTRIBUTES, true),
      attributes: family?.set.decode(view, at + start, end) ?? {},
    };
  }
}

function control(
  view: DataView,
  at: number,
  end: number,
  type: number,
  bits: number,
): Pick<DecodedMessage, "type" | "command" | "flags" | "errno" | "attributes"> {
  const names: Record<number, string> = { [nl.NLMSG_NOOP]: "noop", [nl.NLMSG_ERROR]: "error", [nl.NLMSG_DONE]: "done" };
  const name = names[type] ?? String(type);
  const flags: string[] = [];
  if (bits & nl.NLM_F_MULTI) flags.push("MULTI");
  if (type === nl.NLMSG_ERROR && bits & nl.NLM_F_CAPPED) flags.push("CAPPED");
  if (bits & nl.NLM_F_ACK_TLVS) flags.push("ACK_TLVS");
  const body = at + nl.NLMSG_HDRLEN;
  if ((type !== nl.NLMSG_ERROR && type !== nl.NLMSG_DONE) || end - body < 4)
    return { type: name, command: "", flags, attributes: {} };
  const errno = 0 - view.getInt32(body, true);
  let attributes = {};
  if (bits & nl.NLM_F_ACK_TLVS) {
    let start = body + 4;
    if (type === nl.NLMSG_ERROR) {
      // Behind the request: its header alone, or all of it.
      const capped = (bits & nl.NLM_F_CAPPED) !== 0 || end - start < 4;
      start += ((capped ? nl.NLMSG_HDRLEN : view.getUint32(start, true)) + 3) & ~3;
    }
    if (start <= end) attributes = extendedAck.decode(view, start, end);
  }
  return { type: name, command: "", flags, errno, attributes };
}

function flagNames(bits: number, request: boolean): string[] {
  const names: string[] = [];
  if (bits & nl.NLM_F_REQUEST) names.push("REQUEST");
  if (bits & nl.NLM_F_MULTI) names.push("MULTI");
  if (bits & nl.NLM_F_ACK) names.push("ACK");
  if (bits & nl.NLM_F_ECHO) names.push("ECHO");
  if (!request) return names;
  if ((bits & nl.NLM_F_DUMP) === nl.NLM_F_DUMP) names.push("DUMP");
  else if (bits & nl.NLM_F_REPLACE) names.push("REPLACE");
  else if (bits & nl.NLM_F_EXCL) names.push("EXCL");
  if (bits & nl.NLM_F_CREATE) names.push("CREATE");
  return names;
}
