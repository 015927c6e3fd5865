import type { NetlinkSender } from "../netlink/socket-options.ts";
import type { NativeServer } from "./native-server.ts";

/**
 * Privilege of the sender of the record that the server is handling; between records it is unprivileged. A server has one
 * RecordSender. The system call that reads the privilege is made at most once for each record, when it is first needed.
 */
export class RecordSender implements NetlinkSender {
  /** undefined: not read yet. */
  private known: boolean | undefined = false;

  constructor(private readonly server: () => NativeServer) {}

  /**
   * Begins the handling of a record.
   * @param trusted the process that sent the connection's hello has sent it, and was privileged then
   */
  begin(trusted: boolean): void {
    this.known = trusted ? undefined : false;
  }

  /** Resumes the handling of a record. @param privileged whether its sender was privileged when it was sent */
  resume(privileged: boolean): void {
    this.known = privileged;
  }

  /** The sender waives its privilege for this record. */
  waive(): void {
    this.known = false;
  }

  /** Ends the handling of the record. */
  end(): void {
    this.known = false;
  }

  get privileged(): boolean {
    this.known ??= this.server().senderPrivileged();
    return this.known;
  }
}
