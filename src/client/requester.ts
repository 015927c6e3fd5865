import { Errno } from "../core/errors.ts";
import type { NetlinkSocket } from "../netlink/socket.ts";
import { MessageWriter } from "../netlink/writer.ts";
import { EPROTO } from "../uapi/errno.ts";
import {
  NETLINK_CAP_ACK,
  NETLINK_EXT_ACK,
  NLM_F_ACK,
  NLM_F_DUMP,
  NLM_F_REQUEST,
  NLMSG_DONE,
  NLMSG_ERROR,
} from "../uapi/netlink.ts";
import { Batch } from "./batch.ts";
import { type Build, errorOf, type MessageView, messagesOf } from "./message.ts";

/** Opens netlink sockets: to a server in another process (connect()), or to a Nokmod in this one. */
export interface SocketOpener {
  /**
   * Opens a netlink socket and binds it to a free port id.
   * @throws Errno EPROTONOSUPPORT for a protocol that is not emulated
   */
  open(protocol: number): NetlinkSocket;
}

/**
 * Requests and their answers over one netlink socket, any protocol. When send() of a NetlinkSocket returns, every
 * answer is in its receive queue; so all requests are synchronous.
 */
export class Requester {
  private sequence = 0;
  private readonly writer = new MessageWriter();
  /** Called with messages that answer no request: notifications, upcalls. They are dropped when null. */
  onUnsolicited: ((message: MessageView) => void) | null = null;

  constructor(readonly socket: NetlinkSocket) {
    socket.setOption(NETLINK_EXT_ACK, true);
    socket.setOption(NETLINK_CAP_ACK, true);
  }

  /**
   * Sends one request and returns its replies, without the acknowledgement.
   * @throws Errno as the request failed
   */
  request(type: number, flags: number, build: Build): MessageView[] {
    const sequence = this.send(type, flags | NLM_F_REQUEST | NLM_F_ACK, build);
    const replies: MessageView[] = [];
    for (;;) {
      const datagram = this.socket.receive();
      if (datagram === null) throw new Errno(EPROTO, "the request was neither answered nor acknowledged");
      for (const message of messagesOf(datagram)) {
        if (message.seq !== sequence) this.onUnsolicited?.(message);
        else if (message.type === NLMSG_ERROR) {
          const error = errorOf(message);
          if (error !== null) throw error;
          return replies;
        } else replies.push(message);
      }
    }
  }

  /**
   * Dumps: yields the records of NLM_F_DUMP as they arrive. The socket is busy until the last record has been read; a caller that
   * stops early must close the socket.
   * @throws Errno as the dump failed
   */
  *dump(type: number, flags: number, build: Build): IterableIterator<MessageView> {
    const sequence = this.send(type, flags | NLM_F_REQUEST | NLM_F_DUMP, build);
    for (;;) {
      const datagram = this.socket.receive();
      if (datagram === null) throw new Errno(EPROTO, "the dump ended without NLMSG_DONE");
      for (const message of messagesOf(datagram)) {
        if (message.seq !== sequence) this.onUnsolicited?.(message);
        else if (message.type === NLMSG_ERROR) {
          const error = errorOf(message);
          if (error !== null) throw error;
        } else if (message.type === NLMSG_DONE) {
          const status = message.end - message.payload >= 4 ? message.view.getInt32(message.payload, true) : 0;
          if (status < 0) throw new Errno(-status);
          return;
        } else yield message;
      }
    }
  }

  /** A batch of requests that leave in one datagram. */
  batch(): Batch {
    return new Batch(this);
  }

  /** The sequence number of the next request. */
  nextSequence(): number {
    this.sequence = (this.sequence + 1) >>> 0 || 1;
    return this.sequence;
  }

  private send(type: number, flags: number, build: Build): number {
    const writer = this.writer.reset();
    const sequence = this.nextSequence();
    const at = writer.beginMessage(type, flags, sequence, this.socket.portId);
    build(writer);
    writer.endMessage(at);
    this.socket.send(writer.finish());
    return sequence;
  }
}
