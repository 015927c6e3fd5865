import type { Dump } from "../netlink/dump.ts";
import type { ExtAck } from "../netlink/extack.ts";
import type { MessageWriter } from "../netlink/writer.ts";
import { EMSGSIZE } from "../uapi/errno.ts";
import type { GenlRequest } from "./genl-family.ts";

/**
 * A dump of one message per record. Subclasses write records one by one; this cuts them into datagrams
 * (spec/families F-034).
 */
export abstract class RecordDump implements Dump {
  protected readonly familyId: number;
  protected readonly version: number;
  protected readonly seq: number;
  protected readonly portId: number;

  constructor(request: GenlRequest) {
    this.familyId = request.family.id;
    this.version = request.family.version;
    this.seq = request.message.seq;
    this.portId = request.socket.portId;
  }

  abstract fill(writer: MessageWriter, room: number, extack: ExtAck): number;
}

/** Returned by fill() when a record does not fit: it goes into the next datagram. */
export const RECORD_TOO_LONG = -EMSGSIZE;
