import type { ExtAck } from "./extack.ts";
import type { MessageWriter } from "./writer.ts";

/**
 * Room for records in a dump's datagram until the reader has shown a larger buffer (NLMSG_GOODSIZE,
 * spec/families F-265).
 */
export const DUMP_ROOM = 3776;
/** The largest room a dump's datagram gets, however large the reader's buffer. */
export const DUMP_ROOM_MAX = 32768 - 320;

/**
 * A dump under way. The bus calls fill() whenever the reader has room, each time with an empty writer.
 */
export interface Dump {
  /**
   * Writes records (NLM_F_MULTI) while `writer.length` stays within `room`; the next call goes on after the last one.
   * @returns more than 0: call again; 0: complete; a negative errno: ends the dump with that errno in NLMSG_DONE
   */
  fill(writer: MessageWriter, room: number, extack: ExtAck): number;
  /** The dump has ended, or its socket was closed. */
  done?(): void;
}
