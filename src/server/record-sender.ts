import type { NetlinkSender } from "../netlink/socket-options.ts";
import type { NativeServer } from "./native-server.ts";

/**
 * The sender of the record that the server is handling; outside of that, an unprivileged one. One for the whole server: the
 * system call that finds a privilege out is made once for each record at most, and only where the privilege is asked for.
 */
export class RecordSender implements NetlinkSender {
  /** undefined: the native server has to be asked. */
  private known: boolean | undefined = false;

  constructor(private readonly server: () => NativeServer) {}

  /**
   * A record is handled from now on.
   * @param trusted it came from who sent its connection's hello, who was privileged then
   */
  begin(trusted: boolean): void {
    this.known = trusted ? undefined : false;
  }

  /** The sender waives its privilege for this record. */
  waive(): void {
    this.known = false;
  }

  /** The record has been handled. */
  end(): void {
    this.known = false;
  }

  get privileged(): boolean {
    this.known ??= this.server().senderPrivileged();
    return this.known;
  }
}
