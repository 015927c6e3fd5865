import type { Errno } from "../core/errors.ts";
import type { NetlinkSocket } from "../netlink/socket.ts";
import { MessageWriter } from "../netlink/writer.ts";
import { NLM_F_REQUEST, NLMSG_ERROR } from "../uapi/netlink.ts";
import { type Build, errorOf, type MessageView, messagesOf } from "./message.ts";

/** Functions of a requester that its Batch calls. */
interface BatchOwner {
  readonly socket: NetlinkSocket;
  onUnsolicited: ((message: MessageView) => void) | null;
  nextSequence(): number;
}

/**
 * Several requests in one datagram, none acknowledged: only requests that fail are answered, by NLMSG_ERROR
 * (spec/families F-052). With it a flow is put and its packet executed by one system call.
 */
export class Batch {
  private readonly writer = new MessageWriter();
  private first = 0;
  private size = 0;

  constructor(private readonly requester: BatchOwner) {}

  /** Number of requests added since the last send(). */
  get length(): number {
    return this.size;
  }

  /** Appends a request; its index counts from 0. */
  add(type: number, flags: number, build: Build): number {
    const sequence = this.requester.nextSequence();
    if (this.size === 0) this.first = sequence;
    const { writer } = this;
    writer.reserve(-writer.length & 3);
    const at = writer.beginMessage(type, flags | NLM_F_REQUEST, sequence, this.requester.socket.portId);
    build(writer);
    writer.endMessage(at);
    return this.size++;
  }

  /**
   * Sends the requests that were added, and empties the batch. Calls `onError` for each request that failed, with its index.
   * @returns the number of failed requests
   */
  send(onError?: (index: number, error: Errno) => void): number {
    if (this.size === 0) return 0;
    const { requester, first, size } = this;
    const datagram = this.writer.finish();
    this.writer.reset();
    this.size = 0;
    requester.socket.send(datagram);
    let failed = 0;
    for (let answer = requester.socket.receive(); answer !== null; answer = requester.socket.receive()) {
      for (const message of messagesOf(answer)) {
        const index = (message.seq - first) >>> 0;
        if (message.seq === 0 || index >= size) requester.onUnsolicited?.(message);
        else if (message.type === NLMSG_ERROR) {
          const error = errorOf(message);
          if (error === null) continue;
          failed++;
          onError?.(index, error);
        }
      }
    }
    return failed;
  }
}
