import type { AnyAttributeSet } from "../../src/netlink/schema/index.ts";
import * as conntrack from "../../src/schema/ctnetlink.ts";
import { extendedAck, nlctrl } from "../../src/schema/genetlink.ts";
import { dropMonitorAttributes } from "../../src/schema/net-dropmon.ts";
import * as schema from "../../src/schema/openvswitch.ts";
import { psampleMessage } from "../../src/schema/psample.ts";
import { CTRL_CMD_NEWFAMILY, GENL_ID_CTRL } from "../../src/uapi/genetlink.ts";
import * as nl from "../../src/uapi/netlink.ts";
import * as nf from "../../src/uapi/nfnetlink.ts";

/** One netlink message, readable. */
export interface DecodedMessage {
  /** Name of the family or of the netfilter subsystem, "error", "done", "noop", or the number of an unknown type. */
  readonly type: string;
  /** Command name without its prefix, or its number; empty for control messages. */
  readonly command: string;
  /** Names of NLM_F_*; those that differ between requests (DUMP, CREATE) and answers by what the message is. */
  readonly flags: readonly string[];
  readonly seq: number;
  readonly pid: number;
  /** ovs_header.dp_ifindex */
  readonly ifindex?: number;
  /** nfgenmsg.nfgen_family: AF_INET, AF_INET6 or 0. */
  readonly family?: number;
  /** Of "error" and "done": the positive errno. */
  readonly errno?: number;
  /** By name, nested as in the message; the payload's bytes where the type is unknown or the header cut short. */
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
/** A subsystem of nfnetlink: names of its commands, and the sets of those whose attributes are not the subsystem's. */
interface Subsystem {
  readonly name: string;
  readonly set: AnyAttributeSet;
  readonly commands: readonly string[];
  readonly sets?: Readonly<Record<number, AnyAttributeSet>>;
}

const SUBSYSTEMS: Readonly<Record<number, Subsystem>> = {
  [nf.NFNL_SUBSYS_CTNETLINK]: {
    name: "ctnetlink",
    set: conntrack.connectionAttributes,
    commands: ["NEW", "GET", "DELETE", "GET_CTRZERO", "GET_STATS_CPU", "GET_STATS", "GET_DYING", "GET_UNCONFIRMED"],
    sets: {
      // The kernel answers EXP_GET_STATS_CPU with this subsystem's number, too, and another command's: CT_GET_CTRZERO.
      [nf.IPCTNL_MSG_CT_GET_CTRZERO]: conntrack.expectStatsAttributes,
      [nf.IPCTNL_MSG_CT_GET_STATS_CPU]: conntrack.cpuStatsAttributes,
      [nf.IPCTNL_MSG_CT_GET_STATS]: conntrack.globalStatsAttributes,
    },
  },
  [nf.NFNL_SUBSYS_CTNETLINK_EXP]: {
    name: "ctnetlink_exp",
    set: conntrack.expectationAttributes,
    commands: ["NEW", "GET", "DELETE", "GET_STATS_CPU"],
    sets: { [nf.IPCTNL_MSG_EXP_GET_STATS_CPU]: conntrack.expectStatsAttributes },
  },
  [nf.NFNL_SUBSYS_CTNETLINK_TIMEOUT]: {
    name: "cttimeout",
    set: conntrack.timeoutAttributes,
    commands: ["NEW", "GET", "DELETE", "DEFAULT_SET", "DEFAULT_GET"],
  },
};

const OVS_ATTRIBUTES = nl.NLMSG_HDRLEN + 8;
const CTRL_ATTRIBUTES = nl.NLMSG_HDRLEN + 4;
/** Behind nlmsghdr and nfgenmsg. */
const NF_ATTRIBUTES = nl.NLMSG_HDRLEN + 4;

/**
 * Decodes messages for printing: of NETLINK_GENERIC those of the controller, the ovs_* families, psample and NET_DM, of
 * NETLINK_NETFILTER those of conntrack. Learns the families' numbers from the controller's answers that it decodes;
 * known ones can be given. Never throws.
 */
export class MessageDecoder {
  private readonly families = new Map<number, string>([[GENL_ID_CTRL, "nlctrl"]]);

  /** @param protocol NETLINK_GENERIC or NETLINK_NETFILTER */
  constructor(
    families: Iterable<readonly [number, string]> = [],
    private readonly protocol = nl.NETLINK_GENERIC,
  ) {
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
      messages.push(this.decodeMessage(view, at, at + length));
      at += (length + 3) & ~3;
    }
    return messages;
  }

  private decodeMessage(view: DataView, at: number, end: number): DecodedMessage {
    const type = view.getUint16(at + 4, true);
    const bits = view.getUint16(at + 6, true);
    const head = { seq: view.getUint32(at + 8, true), pid: view.getUint32(at + 12, true) };
    if (type < nl.NLMSG_MIN_TYPE) return { ...control(view, at, end, type, bits), ...head };
    const flags = flagNames(bits, (bits & nl.NLM_F_REQUEST) !== 0);
    if (this.protocol === nl.NETLINK_NETFILTER) return { ...netfilter(view, at, end, type, bits), flags, ...head };
    const name = this.families.get(type);
    const family = name === undefined ? undefined : FAMILIES[name];
    const start = name === "nlctrl" || family?.bare === true ? CTRL_ATTRIBUTES : OVS_ATTRIBUTES;
    if (name === undefined || end - at < start) {
      return { type: name ?? String(type), command: "", flags, ...head, attributes: payloadBytes(view, at, end) };
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

/** Payload behind the nlmsghdr. */
function payloadBytes(view: DataView, at: number, end: number): Uint8Array {
  return new Uint8Array(view.buffer, view.byteOffset + at + nl.NLMSG_HDRLEN, end - at - nl.NLMSG_HDRLEN).slice();
}

function netfilter(
  view: DataView,
  at: number,
  end: number,
  type: number,
  bits: number,
): Pick<DecodedMessage, "type" | "command" | "family" | "attributes"> {
  const subsystem = SUBSYSTEMS[type >>> 8];
  const command = type & 0xff;
  const start = at + NF_ATTRIBUTES;
  if (subsystem === undefined || end < start) {
    return { type: subsystem?.name ?? String(type), command: "", attributes: payloadBytes(view, at, end) };
  }
  const isRequest = (bits & nl.NLM_F_REQUEST) !== 0;
  const set = isRequest ? subsystem.set : (subsystem.sets?.[command] ?? subsystem.set);
  return {
    type: subsystem.name,
    command: subsystem.commands[command] ?? String(command),
    family: view.getUint8(at + nl.NLMSG_HDRLEN),
    attributes: set.decode(view, start, end),
  };
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
