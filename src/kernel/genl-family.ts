import type { NetlinkBus } from "../netlink/bus.ts";
import type { BusSocket } from "../netlink/bus-socket.ts";
import type { Dump } from "../netlink/dump.ts";
import type { NetlinkMessage } from "../netlink/message.ts";
import type { AttributeSet, AttributeTable } from "../netlink/schema/index.ts";
import { MessageWriter } from "../netlink/writer.ts";
import { GENL_CMD_CAP_DO, GENL_CMD_CAP_DUMP, GENL_CMD_CAP_HASPOL, GENL_HDRLEN } from "../uapi/genetlink.ts";
import { NETLINK_GENERIC, NLM_F_ECHO } from "../uapi/netlink.ts";

/** An operation of a family. */
export interface GenlOperation {
  readonly cmd: number;
  /** GENL_ADMIN_PERM or GENL_UNS_ADMIN_PERM for those that need privilege, else 0. */
  readonly flags: number;
  /** What its attributes are checked against; the family's own set by default. */
  // biome-ignore lint/suspicious/noExplicitAny: sets of all tables
  readonly attributes?: AttributeSet<any>;
  /** Executes a request. @throws Errno */
  readonly doit?: (request: GenlRequest) => void;
  /** Begins a dump. @throws Errno answered with NLMSG_ERROR; an error of the dump itself is sent in NLMSG_DONE */
  readonly dumpit?: (request: GenlRequest) => Dump;
  /** Checks a dump's attributes strictly before it begins; otherwise the dump checks them. */
  readonly strictDump?: boolean;
  /** Whether the controller reports rules for the dump, too. */
  readonly checkedDump?: boolean;
}

/** A generic-netlink family. */
export interface GenlFamily {
  readonly name: string;
  readonly version: number;
  /** Bytes of the family's header behind genlmsghdr. */
  readonly headerSize: number;
  /** CTRL_ATTR_MAXATTR. */
  readonly maxAttr: number;
  // biome-ignore lint/suspicious/noExplicitAny: sets of all tables
  readonly attributes?: AttributeSet<any>;
  readonly operations: readonly GenlOperation[];
  readonly groups: readonly string[];
  /** Those that only privileged sockets may join. */
  readonly privilegedGroups?: readonly string[];
  /** Commands from this on must have genlmsghdr.reserved 0 and known flags only (spec/families F-026). */
  readonly firstStrictCommand: number;
}

/** A family with the numbers it was given. */
export interface RegisteredFamily extends GenlFamily {
  readonly id: number;
  /** Number of its first multicast group. */
  readonly firstGroup: number;
}

/** One request to a family, its attributes checked. One instance is reused: valid until the handler returns. */
export class GenlRequest {
  message!: NetlinkMessage;
  socket!: BusSocket;
  family!: RegisteredFamily;
  cmd = 0;
  /** genlmsghdr.version */
  version = 0;
  /** Attributes by type; offsets are into `view`. */
  attrs!: AttributeTable;
  /** For replies and notifications; holds one message at a time. */
  readonly writer = new MessageWriter(8192);
  private start = 0;
  /** See GenericNetlink.onNotify. */
  onNotify: ((family: RegisteredFamily) => void) | undefined = undefined;

  constructor(private readonly bus: NetlinkBus) {}

  get view(): DataView {
    return this.message.view;
  }

  /** Position of the family's header. */
  get header(): number {
    return this.message.payload + GENL_HDRLEN;
  }

  get echo(): boolean {
    return (this.message.flags & NLM_F_ECHO) !== 0;
  }

  /**
   * Begins the reply or notification; the family's header is the caller's to write (spec/families F-054, F-055, F-065).
   */
  begin(cmd: number): MessageWriter {
    const { writer } = this;
    writer.reset();
    this.start = writer.beginMessage(this.family.id, 0, this.message.seq, this.socket.portId);
    writer.genl(cmd, this.family.version);
    return writer;
  }

  /** Sends what was begun to the requester. */
  reply(): void {
    this.writer.endMessage(this.start);
    this.socket.send(this.writer.bytes.subarray(0, this.writer.length));
  }

  /** True if somebody is to get the notification (spec/families F-061). */
  get mustNotify(): boolean {
    return this.echo || this.bus.hasListeners(NETLINK_GENERIC, this.family.firstGroup);
  }

  /**
   * Sends what was begun to the family's first group, and to the requester if it asked for an echo (spec/families F-057
   * to F-060).
   */
  notify(): void {
    this.writer.endMessage(this.start);
    this.onNotify?.(this.family);
    const datagram = this.writer.bytes.subarray(0, this.writer.length);
    this.bus.notify(NETLINK_GENERIC, this.family.firstGroup, datagram, this.socket.portId, this.echo);
  }
}

/** CTRL_ATTR_OP_FLAGS of an operation (spec/families F-012). */
export function operationFlags(family: GenlFamily, operation: GenlOperation): number {
  let { flags } = operation;
  if (operation.doit !== undefined) flags |= GENL_CMD_CAP_DO;
  if (operation.dumpit !== undefined) flags |= GENL_CMD_CAP_DUMP;
  if ((operation.attributes ?? family.attributes) !== undefined) flags |= GENL_CMD_CAP_HASPOL;
  return flags;
}
