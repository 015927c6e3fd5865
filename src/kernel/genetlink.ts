import { Errno } from "../core/errors.ts";
import type { BusSocket, Dump, NetlinkBus, NetlinkMessage, NetlinkProtocol } from "../netlink/bus.ts";
import type { ExtAck } from "../netlink/extack.ts";
import type { AnyAttributeSet, AttributeSet, AttributeTable, Definitions } from "../netlink/schema/index.ts";
import { MessageWriter } from "../netlink/writer.ts";
import { EBUSY, EINVAL, EMSGSIZE, ENOENT, EOPNOTSUPP, EPERM } from "../uapi/errno.ts";
import {
  GENL_ADMIN_PERM,
  GENL_CMD_CAP_DO,
  GENL_CMD_CAP_DUMP,
  GENL_CMD_CAP_HASPOL,
  GENL_HDRLEN,
  GENL_ID_CTRL,
  GENL_ID_PMCRAID,
  GENL_ID_VFS_DQUOT,
  GENL_START_ALLOC,
  GENL_UNS_ADMIN_PERM,
} from "../uapi/genetlink.ts";
import { NETLINK_GENERIC, NLM_F_ACK, NLM_F_DUMP, NLM_F_ECHO, NLM_F_REQUEST, NLMSG_HDRLEN } from "../uapi/netlink.ts";

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
  /** Begins a dump. @throws Errno answered with NLMSG_ERROR; what the dump itself throws ends up in NLMSG_DONE */
  readonly dumpit?: (request: GenlRequest) => Dump;
  /** Checks a dump's attributes strictly before it begins; off = the dump looks at them itself. */
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

/** 64 multicast groups at first; 0 and 1 are taken, and the numbers of the fixed families (mc_group_start). */
const RESERVED_GROUPS = new Set([0, 1, GENL_ID_CTRL, GENL_ID_VFS_DQUOT, GENL_ID_PMCRAID]);

/**
 * NETLINK_GENERIC: families by number, permission and attribute checks, and their handlers (spec/families section 2).
 */
export class GenericNetlink implements NetlinkProtocol {
  readonly privileged = false;
  /** Called after each datagram has been executed. */
  onDatagram: (() => void) | undefined = undefined;
  private readonly families = new Map<number, RegisteredFamily>();
  private readonly operations = new Map<number, (GenlOperation | undefined)[]>();
  private readonly tables = new Map<AnyAttributeSet, AttributeTable>();
  private readonly request: GenlRequest;
  private readonly usedGroups = new Set(RESERVED_GROUPS);
  private nextId = GENL_START_ALLOC;
  private highestGroup = 63;

  constructor(readonly bus: NetlinkBus) {
    this.request = new GenlRequest(bus);
    bus.register(NETLINK_GENERIC, this);
  }

  get groups(): number {
    return this.highestGroup;
  }

  /**
   * Called when a request has made its change, before the notification of it and the answer go out. The request's message
   * has been built: the callback must send no requests of its own.
   */
  set onNotify(callback: ((family: RegisteredFamily) => void) | undefined) {
    this.request.onNotify = callback;
  }

  /** Registers a family under the next free number, or under the wanted one. */
  add(family: GenlFamily, wantedId = 0, wantedGroup = 0): RegisteredFamily {
    const id = wantedId !== 0 ? wantedId : this.nextId++;
    const firstGroup = family.groups.length === 0 ? 0 : wantedGroup || this.freeGroups(family.groups.length);
    for (let i = 0; i < family.groups.length; i++) this.usedGroups.add(firstGroup + i);
    this.highestGroup = Math.max(this.highestGroup, firstGroup + family.groups.length - 1);
    const registered: RegisteredFamily = { ...family, id, firstGroup };
    const byCommand: (GenlOperation | undefined)[] = [];
    for (const operation of family.operations) byCommand[operation.cmd] = operation;
    this.families.set(id, registered);
    this.operations.set(id, byCommand);
    return registered;
  }

  byId(id: number): RegisteredFamily | undefined {
    return this.families.get(id);
  }

  byName(name: string): RegisteredFamily | undefined {
    for (const family of this.families.values()) if (family.name === name) return family;
    return undefined;
  }

  /** In order of their numbers. */
  list(): RegisteredFamily[] {
    return [...this.families.values()].sort((a, b) => a.id - b.id);
  }

  handle(message: NetlinkMessage, socket: BusSocket): Dump | undefined {
    const family = this.families.get(message.type);
    if (family === undefined) throw new Errno(ENOENT);
    const headerEnd = NLMSG_HDRLEN + GENL_HDRLEN + family.headerSize;
    if (message.length < headerEnd) throw new Errno(EINVAL);
    const cmd = message.view.getUint8(message.payload);
    const isDump = (message.flags & NLM_F_DUMP) === NLM_F_DUMP;
    if (cmd >= family.firstStrictCommand) checkHeader(message, isDump);
    const operation = this.operations.get(family.id)?.[cmd];
    if (operation === undefined || (isDump ? operation.dumpit : operation.doit) === undefined)
      throw new Errno(EOPNOTSUPP);
    if ((operation.flags & (GENL_ADMIN_PERM | GENL_UNS_ADMIN_PERM)) !== 0 && !socket.privileged) throw new Errno(EPERM);
    if (isDump && socket.dumping) throw new Errno(EBUSY);

    const { request } = this;
    request.message = message;
    request.socket = socket;
    request.family = family;
    request.cmd = cmd;
    request.version = message.view.getUint8(message.payload + 1);
    const attributes: AttributeSet<Definitions> | undefined = operation.attributes ?? family.attributes;
    if (attributes !== undefined && (!isDump || operation.strictDump === true)) {
      request.attrs = attributes.parse(
        this.tableOf(attributes),
        message.view,
        message.start + headerEnd,
        message.end,
        message.start,
        message.extack,
        isDump,
      );
    }
    if (isDump) return operation.dumpit?.(request);
    operation.doit?.(request);
    return undefined;
  }

  /** @throws Errno EPERM */
  join(group: number, socket: BusSocket): void {
    if (socket.privileged) return;
    for (const { firstGroup, groups, privilegedGroups } of this.families.values()) {
      const name = groups[group - firstGroup];
      if (name !== undefined && privilegedGroups?.includes(name)) throw new Errno(EPERM);
    }
  }

  endDatagram(): void {
    this.onDatagram?.();
  }

  private tableOf(attributes: AttributeSet<Definitions>): AttributeTable {
    let table = this.tables.get(attributes);
    if (table === undefined) {
      table = attributes.table();
      this.tables.set(attributes, table);
    }
    return table;
  }

  private freeGroups(count: number): number {
    let first = 0;
    for (;;) {
      let free = 0;
      while (free < count && !this.usedGroups.has(first + free)) free++;
      if (free === count) return first;
      first += free + 1;
    }
  }
}

/** What commands added since Linux 6.1 insist on (genl_header_check). */
function checkHeader(message: NetlinkMessage, isDump: boolean): void {
  if (message.view.getUint16(message.payload + 2, true) !== 0)
    throw new Errno(EINVAL, "genlmsghdr.reserved field is not 0");
  const flags = isDump ? message.flags & ~NLM_F_DUMP : message.flags;
  if ((flags & ~(NLM_F_REQUEST | NLM_F_ACK | NLM_F_ECHO)) !== 0)
    throw new Errno(EINVAL, "ambiguous or reserved bits set in nlmsg_flags");
}

/** CTRL_ATTR_OP_FLAGS of an operation (spec/families F-012). */
export function operationFlags(family: GenlFamily, operation: GenlOperation): number {
  let { flags } = operation;
  if (operation.doit !== undefined) flags |= GENL_CMD_CAP_DO;
  if (operation.dumpit !== undefined) flags |= GENL_CMD_CAP_DUMP;
  if ((operation.attributes ?? family.attributes) !== undefined) flags |= GENL_CMD_CAP_HASPOL;
  return flags;
}

/** Thrown by a dump when a record does not fit: it goes into the next datagram. */
export const NO_ROOM = -EMSGSIZE;
