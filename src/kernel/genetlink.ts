import { Errno } from "../core/errors.ts";
import type { NetlinkBus } from "../netlink/bus.ts";
import type { BusSocket, NetlinkProtocol } from "../netlink/bus-socket.ts";
import type { Dump } from "../netlink/dump.ts";
import type { NetlinkMessage } from "../netlink/message.ts";
import type { AnyAttributeSet, AttributeSet, AttributeTable, Definitions } from "../netlink/schema/index.ts";
import { EBUSY, EINVAL, ENOENT, EOPNOTSUPP, EPERM } from "../uapi/errno.ts";
import {
  GENL_ADMIN_PERM,
  GENL_HDRLEN,
  GENL_ID_CTRL,
  GENL_ID_PMCRAID,
  GENL_ID_VFS_DQUOT,
  GENL_START_ALLOC,
  GENL_UNS_ADMIN_PERM,
} from "../uapi/genetlink.ts";
import { NETLINK_GENERIC, NLM_F_ACK, NLM_F_DUMP, NLM_F_ECHO, NLM_F_REQUEST, NLMSG_HDRLEN } from "../uapi/netlink.ts";
import { type GenlFamily, type GenlOperation, GenlRequest, type RegisteredFamily } from "./genl-family.ts";

/** 64 multicast groups at first; 0 and 1 are taken, and the numbers of the fixed families (mc_group_start). */
const RESERVED_GROUPS = new Set([0, 1, GENL_ID_CTRL, GENL_ID_VFS_DQUOT, GENL_ID_PMCRAID]);

/**
 * NETLINK_GENERIC: families by number, permission and attribute checks, and their handlers (spec/families section 2).
 */
export class GenericNetlink implements NetlinkProtocol {
  readonly privileged = false;
  /** Called after each datagram has been executed. */
  onDatagram: (() => void) | undefined = undefined;
  /**
   * Called after a request other than a dump has been executed, before it is acknowledged; its own reply may have been sent. Must
   * send no requests and must not throw.
   */
  onExecuted: ((request: GenlRequest) => void) | undefined = undefined;
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

  /** Registers a family. @param wantedId 0: the next free number @param wantedGroup its first group; 0: the next free ones */
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
    this.onExecuted?.(request);
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
