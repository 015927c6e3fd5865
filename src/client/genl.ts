import { Errno } from "../core/errors.ts";
import type { AttributeReader } from "../netlink/reader.ts";
import type { AttributeSet, Definitions, Values } from "../netlink/schema/index.ts";
import type { NetlinkSocket } from "../netlink/socket.ts";
import { nlctrl } from "../schema/genetlink.ts";
import { ENOBUFS, ENOENT, EPROTO } from "../uapi/errno.ts";
import { CTRL_ATTR_FAMILY_NAME, CTRL_CMD_GETFAMILY, GENL_HDRLEN, GENL_ID_CTRL } from "../uapi/genetlink.ts";
import { NETLINK_GENERIC, NLMSG_HDRLEN, NLMSG_MIN_TYPE } from "../uapi/netlink.ts";
import type { Batch } from "./batch.ts";
import { type Build, type MessageView, messagesOf } from "./message.ts";
import { Requester, type SocketOpener } from "./requester.ts";

/** A generic-netlink family as CTRL_CMD_GETFAMILY describes it (spec/families F-011). */
export interface GenlFamilyInfo {
  readonly name: string;
  /** nlmsg_type of its messages. */
  readonly id: number;
  readonly version: number;
  /** Bytes of the family's own header after the genlmsghdr. */
  readonly headerSize: number;
  readonly maxAttr: number;
  /** Multicast group ids by name. */
  readonly groups: ReadonlyMap<string, number>;
  /** Commands and their GENL_CMD_CAP_* and GENL_*ADMIN_PERM flags. */
  readonly operations: ReadonlyMap<number, number>;
}

/** One message of a family: its command and attributes. */
export class GenlMessage {
  constructor(
    readonly message: MessageView,
    private readonly headerSize: number,
  ) {}
  get command(): number {
    return this.message.view.getUint8(this.message.payload);
  }
  get version(): number {
    return this.message.view.getUint8(this.message.payload + 1);
  }
  /** Position of the family header in `view`. */
  get header(): number {
    return this.message.payload + GENL_HDRLEN;
  }
  get view(): DataView {
    return this.message.view;
  }
  get seq(): number {
    return this.message.seq;
  }
  get pid(): number {
    return this.message.pid;
  }
  attributes(): AttributeReader {
    return this.message.attributes(GENL_HDRLEN + this.headerSize);
  }
  /** The attributes by their table; unknown and too short ones are left out. */
  decode<D extends Definitions>(set: AttributeSet<D>): Values<D> {
    const { view, end } = this.message;
    return set.decode(view, Math.min(this.header + this.headerSize, end), end, true);
  }
}

/** A membership of multicast groups; close() ends it. */
export interface Subscription {
  /** nl_pid of the socket that listens. */
  readonly portId: number;
  close(): void;
}

/**
 * A generic-netlink client: families by name, requests, dumps, multicast groups. All requests are synchronous.
 *
 * @example
 * const genl = new GenlClient(connect());
 * const family = genl.family("ovs_datapath");
 * for (const message of genl.dump(family, OVS_DP_CMD_GET, (w) => w.rawU32(0))) console.log(message.command);
 */
export class GenlClient {
  private readonly requester: Requester;
  private readonly families = new Map<string, GenlFamilyInfo>();
  private readonly idle: Requester[] = [];

  constructor(readonly opener: SocketOpener) {
    this.requester = new Requester(opener.open(NETLINK_GENERIC));
  }

  /** Port id of the socket that carries the requests. */
  get portId(): number {
    return this.requester.socket.portId;
  }

  /**
   * The family of that name. Requested once, then kept.
   * @throws Errno ENOENT where it does not exist
   */
  family(name: string): GenlFamilyInfo {
    const known = this.families.get(name);
    if (known !== undefined) return known;
    const replies = this.requester.request(GENL_ID_CTRL, 0, (writer) => {
      writer.genl(CTRL_CMD_GETFAMILY, 1);
      writer.string(CTRL_ATTR_FAMILY_NAME, name);
    });
    if (replies.length === 0) throw new Errno(EPROTO, `no answer to GETFAMILY ${name}`);
    const family = decodeFamily(new GenlMessage(replies[0], 0));
    this.families.set(name, family);
    return family;
  }

  /**
   * Sends one request with NLM_F_ACK; returns its replies.
   * @param build writes the family header, then the attributes
   * @throws Errno as the request failed
   */
  request(family: GenlFamilyInfo, command: number, build: Build, flags = 0): GenlMessage[] {
    return this.requester
      .request(family.id, flags, framed(family, command, build))
      .map((message) => new GenlMessage(message, family.headerSize));
  }

  /**
   * Walks a dump, record by record, on a socket of its own; so other requests may be made meanwhile, and the caller may
   * stop early.
   * @throws Errno as the dump failed
   */
  *dump(family: GenlFamilyInfo, command: number, build: Build): IterableIterator<GenlMessage> {
    const requester = this.idle.pop() ?? new Requester(this.opener.open(NETLINK_GENERIC));
    let whole = false;
    try {
      for (const message of requester.dump(family.id, 0, framed(family, command, build))) {
        yield new GenlMessage(message, family.headerSize);
      }
      whole = true;
    } finally {
      if (whole) this.idle.push(requester);
      else requester.socket.close();
    }
  }

  /** A batch of unacknowledged requests on the request socket. */
  batch(): GenlBatch {
    return new GenlBatch(this.requester.batch());
  }

  /**
   * Listens to multicast groups of a family on a socket of its own.
   * @param groups names; all groups of the family when left out
   * @param onLost called when notifications were lost because they were not read in time (ENOBUFS)
   * @throws Errno ENOENT for an unknown group
   */
  subscribe(
    family: GenlFamilyInfo,
    onMessage: (message: GenlMessage) => void,
    groups: readonly string[] = [...family.groups.keys()],
    onLost?: () => void,
  ): Subscription {
    const ids = groups.map((name) => {
      const id = family.groups.get(name);
      if (id === undefined) throw new Errno(ENOENT, `family ${family.name} has no group ${name}`);
      return id;
    });
    const socket = this.opener.open(NETLINK_GENERIC);
    for (const id of ids) socket.join(id);
    socket.onReadable = () =>
      drain(
        socket,
        (message) => {
          if (message.type === family.id) onMessage(new GenlMessage(message, family.headerSize));
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

  /** Closes the sockets of requests and dumps; subscriptions live on. */
  close(): void {
    this.requester.socket.close();
    for (const requester of this.idle.splice(0)) requester.socket.close();
  }
}

/** Requests of any family that leave in one datagram (see Batch). */
export class GenlBatch {
  constructor(private readonly batch: Batch) {}
  get length(): number {
    return this.batch.length;
  }
  add(family: GenlFamilyInfo, command: number, build: Build, flags = 0): number {
    return this.batch.add(family.id, flags, framed(family, command, build));
  }
  send(onError?: (index: number, error: Errno) => void): number {
    return this.batch.send(onError);
  }
}

/** Reads all messages that wait in a socket. @param onLost called for each ENOBUFS; reading goes on */
export function drain(
  socket: NetlinkSocket,
  onMessage: (message: MessageView) => void,
  onLost?: (() => void) | undefined,
): void {
  for (;;) {
    let datagram: Uint8Array | null;
    try {
      datagram = socket.receive();
    } catch (error) {
      // ENOBUFS: messages were lost because the receive buffer was full.
      if (!(error instanceof Errno && error.errno === ENOBUFS)) throw error;
      onLost?.();
      continue;
    }
    if (datagram === null) return;
    for (const message of messagesOf(datagram)) {
      if (message.type >= NLMSG_MIN_TYPE && message.end - message.start >= NLMSG_HDRLEN + GENL_HDRLEN) {
        onMessage(message);
      }
    }
  }
}

function framed(family: GenlFamilyInfo, command: number, build: Build): Build {
  return (writer) => {
    writer.genl(command, family.version);
    build(writer);
  };
}

function decodeFamily(message: GenlMessage): GenlFamilyInfo {
  const { view, header, message: whole } = message;
  const values = nlctrl.decode(view, header, whole.end, true);
  return {
    name: values.FAMILY_NAME ?? "",
    id: values.FAMILY_ID ?? 0,
    version: values.VERSION ?? 0,
    headerSize: values.HDRSIZE ?? 0,
    maxAttr: values.MAXATTR ?? 0,
    groups: new Map((values.MCAST_GROUPS ?? []).map(({ NAME = "", ID = 0 }) => [NAME, ID])),
    operations: new Map((values.OPS ?? []).map(({ ID = 0, FLAGS = 0 }) => [ID, FLAGS])),
  };
}
