import type { Conntrack } from "../../conntrack/conntrack.ts";
import { E, T } from "../../conntrack/layout.ts";
import type { BusSocket } from "../../netlink/bus-socket.ts";
import type { Dump } from "../../netlink/dump.ts";
import type { NetlinkMessage } from "../../netlink/message.ts";
import type { AttributeTable } from "../../netlink/schema/index.ts";
import type { MessageWriter } from "../../netlink/writer.ts";
import { NFGENMSG_LEN } from "../../schema/ctnetlink.ts";
import { NLM_F_MULTI } from "../../uapi/netlink.ts";
import * as nf from "../../uapi/nfnetlink.ts";

/** A request of the netfilter family, its attributes checked. */
export interface NfRequest {
  readonly message: NetlinkMessage;
  readonly socket: BusSocket;
  /** NFNL_MSG_TYPE(nlmsg_type) */
  readonly command: number;
  readonly family: number;
  readonly version: number;
  readonly attributes: AttributeTable;
  /** A GET with any bit of NLM_F_DUMP (spec/ctnetlink N-009). */
  readonly isDump: boolean;
  readonly echo: boolean;
}

/** Starts a message with its nfgenmsg. @returns position for endMessage() */
export function beginNf(
  writer: MessageWriter,
  subsystem: number,
  command: number,
  flags: number,
  seq: number,
  portId: number,
  family: number,
): number {
  const at = writer.beginMessage((subsystem << 8) | command, flags, seq, portId);
  const to = writer.reserve(NFGENMSG_LEN);
  writer.view.setUint8(to, family);
  writer.view.setUint8(to + 1, nf.NFNETLINK_V0);
  writer.view.setUint16(to + 2, 0);
  return at;
}

/**
 * Starts the answer to a request. NLM_F_MULTI though it may be one message: as the kernel (spec/ctnetlink N-011).
 * @returns position for endMessage()
 */
export function beginReply(
  writer: MessageWriter,
  request: NfRequest,
  subsystem: number,
  command: number,
  family: number,
): number {
  return beginNf(writer, subsystem, command, NLM_F_MULTI, request.message.seq, request.socket.portId, family);
}

/** Sends one message to the requester. @param put writes its attributes */
export function reply(
  request: NfRequest,
  subsystem: number,
  command: number,
  family: number,
  put: (writer: MessageWriter) => void,
): void {
  const writer = request.socket.bus.writer.reset();
  const at = beginReply(writer, request, subsystem, command, family);
  put(writer);
  writer.endMessage(at);
  request.socket.send(writer.bytes.subarray(0, writer.length));
}

/** A dump of one datagram. */
export function singleDump(put: (writer: MessageWriter) => void): Dump {
  return {
    fill: (writer) => {
      put(writer);
      return 0;
    },
  };
}

/** AF_INET or AF_INET6 of a connection. */
export function connectionFamily(conntrack: Conntrack, slot: number): number {
  return conntrack.table.words[slot * E.WORDS + T.META] & 0xff;
}
