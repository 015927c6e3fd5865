import type { NetlinkSocket } from "../netlink/socket.ts";
import type { MessageWriter } from "../netlink/writer.ts";
import { connectionAttributes, globalStatsAttributes, NFGENMSG_LEN } from "../schema/ctnetlink.ts";
import { NETLINK_NETFILTER, NLM_F_CREATE } from "../uapi/netlink.ts";
import * as nf from "../uapi/nfnetlink.ts";
import { type Connection, decodeConnection, decodePayload, tupleValues } from "./connection.ts";
import { drain, type Subscription } from "./genl.ts";
import type { MessageView } from "./message.ts";
import { Requester, type SocketOpener } from "./requester.ts";

/** What happened to a connection. */
export interface ConnectionEvent {
  readonly kind: "new" | "update" | "destroy";
  readonly connection: Connection;
}

/**
 * ctnetlink: the connections of the datapath's namespace. Every call is synchronous.
 *
 * @example
 * for (const connection of new ConntrackClient(connect()).connections()) console.log(formatConnection(connection));
 */
export class ConntrackClient {
  private readonly requester: Requester;

  constructor(readonly opener: SocketOpener) {
    this.requester = new Requester(opener.open(NETLINK_NETFILTER));
  }

  /**
   * Walks the connections; the caller may stop early.
   * @param filter zone: of that zone only (the kernel filters since 6.8; filtered here as well)
   */
  *connections(filter: { zone?: number; family?: number } = {}): IterableIterator<Connection> {
    const requester = new Requester(this.opener.open(NETLINK_NETFILTER));
    try {
      const messages = requester.dump(messageType(nf.IPCTNL_MSG_CT_GET), 0, (w) => {
        header(w, filter.family ?? 0);
        if (filter.zone !== undefined) w.be16(nf.CTA_ZONE, filter.zone);
      });
      for (const message of messages) {
        const connection = decodeConnection(message);
        const { zone, replyZone } = connection;
        if (filter.zone === undefined || zone === filter.zone || replyZone === filter.zone) yield connection;
      }
    } finally {
      requester.socket.close();
    }
  }

  /** Deletes a connection that was listed. @throws Errno ENOENT */
  delete(connection: Connection): void {
    this.requester.request(messageType(nf.IPCTNL_MSG_CT_DELETE), 0, (w) => {
      header(w, connection.family);
      if (connection.zone !== 0) w.be16(nf.CTA_ZONE, connection.zone);
      connectionAttributes.encode(w, { TUPLE_ORIG: tupleValues(connection.family, connection.original) });
      w.be32(nf.CTA_ID, connection.id);
    });
  }

  /** Deletes all connections, or those of a zone. */
  flush(zone?: number): void {
    this.requester.request(messageType(nf.IPCTNL_MSG_CT_DELETE), 0, (w) => {
      header(w, 0);
      if (zone !== undefined) w.be16(nf.CTA_ZONE, zone);
    });
  }

  /** Number of connections, and how many there may be. */
  counts(): { entries: number; maximum: number } {
    const counts = { entries: 0, maximum: 0 };
    for (const message of this.requester.request(messageType(nf.IPCTNL_MSG_CT_GET_STATS), 0, (w) => header(w, 0))) {
      const { ENTRIES, MAX_ENTRIES } = decodePayload(globalStatsAttributes, message, NFGENMSG_LEN);
      if (ENTRIES !== undefined) counts.entries = ENTRIES;
      if (MAX_ENTRIES !== undefined) counts.maximum = MAX_ENTRIES;
    }
    return counts;
  }

  /** Listens to connections made, changed and destroyed. */
  subscribe(onEvent: (event: ConnectionEvent) => void, onLost?: () => void): Subscription {
    const socket: NetlinkSocket = this.opener.open(NETLINK_NETFILTER);
    for (const group of [nf.NFNLGRP_CONNTRACK_NEW, nf.NFNLGRP_CONNTRACK_UPDATE, nf.NFNLGRP_CONNTRACK_DESTROY]) {
      socket.join(group);
    }
    socket.onReadable = () =>
      drain(
        socket,
        (message) => {
          const kind = eventKind(message);
          if (kind !== null) onEvent({ kind, connection: decodeConnection(message) });
        },
        onLost,
      );
    return {
      portId: socket.portId,
      close: () => {
        socket.onReadable = null;
        socket.close();
      },
    };
  }

  /** Closes the socket of requests; subscriptions live on. */
  close(): void {
    this.requester.socket.close();
  }
}

function messageType(command: number): number {
  return (nf.NFNL_SUBSYS_CTNETLINK << 8) | command;
}

function header(w: MessageWriter, family: number): void {
  const at = w.reserve(NFGENMSG_LEN);
  w.view.setUint8(at, family);
  w.view.setUint8(at + 1, nf.NFNETLINK_V0);
  w.view.setUint16(at + 2, 0);
}

/** IPCTNL_MSG_CT_NEW is a new connection with NLM_F_CREATE, else a changed one. */
function eventKind(message: MessageView): ConnectionEvent["kind"] | null {
  if (message.type === messageType(nf.IPCTNL_MSG_CT_DELETE)) return "destroy";
  if (message.type !== messageType(nf.IPCTNL_MSG_CT_NEW)) return null;
  return message.flags & NLM_F_CREATE ? "new" : "update";
}
