import { Errno } from "../core/errors.ts";
import type { Random } from "../core/random.ts";
import { EADDRINUSE, ECONNREFUSED, ENOBUFS, EPROTONOSUPPORT } from "../uapi/errno.ts";
import { BusSocket, type NetlinkProtocol, type SocketBus } from "./bus-socket.ts";
import { DUMP_ROOM_MAX } from "./dump.ts";
import { ExtAck } from "./extack.ts";
import { EMPTY_BYTES, EMPTY_VIEW, NetlinkMessage } from "./message.ts";
import type { BusSocketOptions, NetlinkSender } from "./socket-options.ts";
import { MessageWriter } from "./writer.ts";

/** The sender of a socket whose owner is this process. */
const OWN_PROCESS: NetlinkSender = { privileged: true };

/** Port ids from -4096 up are not handed out: they look like error pointers. */
const ROVER_START = -4096;

/**
 * All netlink sockets of one network namespace. Delivers unicast by port id and multicast by group; bounded receive
 * buffers are the sinks'. A reader that does not read loses its own datagrams and nobody else's.
 */
export class NetlinkBus implements SocketBus {
  /** Called with anything thrown by a handler that is not an Errno: a fault in nokmod itself. */
  onFault: ((error: unknown) => void) | undefined = undefined;
  /** Scratch for answers, overwritten by the next one. */
  readonly writer = new MessageWriter(8192);
  readonly dumpWriter = new MessageWriter(DUMP_ROOM_MAX);
  readonly dumpExtack = new ExtAck();
  private readonly protocols = new Map<number, NetlinkProtocol>();
  private readonly sockets = new Map<number, Map<number, BusSocket>>();
  private readonly messages: NetlinkMessage[] = [];
  private lastBytes: Uint8Array = EMPTY_BYTES;
  private lastView: DataView = EMPTY_VIEW;
  private rover = ROVER_START;

  constructor(private readonly random: Random) {}

  /** Puts the kernel side of a protocol in place. */
  register(protocol: number, handler: NetlinkProtocol): void {
    this.protocols.set(protocol, handler);
    this.sockets.set(protocol, new Map());
  }

  /**
   * Opens a socket.
   * @throws Errno EPROTONOSUPPORT, EADDRINUSE (the wanted port id is taken)
   */
  open(protocol: number, options: BusSocketOptions): BusSocket {
    const handler = this.protocols.get(protocol);
    const sockets = this.sockets.get(protocol);
    if (handler === undefined || sockets === undefined) throw new Errno(EPROTONOSUPPORT);
    let portId = (options.portId ?? 0) >>> 0;
    if (portId === 0) portId = this.autobind(sockets, options.pid ?? 0);
    else if (sockets.has(portId)) throw new Errno(EADDRINUSE);
    const { privileged, sender = OWN_PROCESS, sink } = options;
    const socket = new BusSocket(this, protocol, portId, privileged, sender, sink, handler);
    sockets.set(portId, socket);
    return socket;
  }

  /** The open socket with that port id. */
  socket(protocol: number, portId: number): BusSocket | undefined {
    return this.sockets.get(protocol)?.get(portId);
  }

  /** Every open socket of a protocol. */
  *socketsOf(protocol: number): Iterable<BusSocket> {
    yield* this.sockets.get(protocol)?.values() ?? [];
  }

  /**
   * Sends one datagram to a port id. The caller keeps the bytes. Never throws.
   * @returns 0, -ECONNREFUSED (no such socket, spec/upcalls U-032) or -EAGAIN (its buffer is full, U-033)
   */
  unicast(protocol: number, portId: number, datagram: Uint8Array): number {
    const socket = this.sockets.get(protocol)?.get(portId);
    if (socket === undefined) return -ECONNREFUSED;
    return socket.send(datagram);
  }

  /** True if some socket is a member: else no message need be built (spec/families F-061). */
  hasListeners(protocol: number, group: number): boolean {
    const sockets = this.sockets.get(protocol);
    if (sockets === undefined) return false;
    for (const socket of sockets.values()) if (socket.groups.has(group)) return true;
    return false;
  }

  /**
   * Sends one datagram to all members of a group but one. A socket whose buffer is full loses its own copy only.
   * @param exclude port id that gets its copy otherwise, 0 = nobody
   * @returns 0, or -ENOBUFS if a member with NETLINK_BROADCAST_ERROR lost it
   */
  multicast(protocol: number, group: number, datagram: Uint8Array, exclude = 0): number {
    const sockets = this.sockets.get(protocol);
    if (sockets === undefined) return 0;
    let error = 0;
    for (const socket of sockets.values()) {
      if (!socket.groups.has(group) || socket.portId === exclude) continue;
      if (socket.send(datagram) !== 0 && socket.reportsBroadcastErrors) error = -ENOBUFS;
    }
    return error;
  }

  /**
   * Sends a notification as nlmsg_notify() does: to the group, and with `echo` to the requester, who then gets that one
   * copy only (spec/families F-057 to F-060).
   */
  notify(protocol: number, group: number, datagram: Uint8Array, requester: number, echo: boolean): void {
    this.multicast(protocol, group, datagram, echo ? requester : 0);
    if (echo) this.unicast(protocol, requester, datagram);
  }

  /**
   * netlink_set_err(): a notification could not be built; the next receive of its readers fails with ENOBUFS
   * (spec/families F-071).
   */
  setError(protocol: number, group: number): void {
    for (const socket of this.socketsOf(protocol)) if (socket.groups.has(group)) socket.overrun();
  }

  release(socket: BusSocket): void {
    const sockets = this.sockets.get(socket.protocol);
    if (sockets?.get(socket.portId) === socket) sockets.delete(socket.portId);
  }

  viewOf(bytes: Uint8Array): DataView {
    if (bytes !== this.lastBytes) {
      this.lastBytes = bytes;
      this.lastView = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
    }
    return this.lastView;
  }

  takeMessage(): NetlinkMessage {
    return this.messages.pop() ?? new NetlinkMessage();
  }

  giveMessage(message: NetlinkMessage): void {
    message.bytes = EMPTY_BYTES;
    message.view = EMPTY_VIEW;
    this.messages.push(message);
  }

  /** The owner's process id, or a number from the top half when that is taken (netlink_autobind). */
  private autobind(sockets: Map<number, BusSocket>, pid: number): number {
    let portId = pid >>> 0;
    while (portId === 0 || sockets.has(portId)) {
      if (this.rover === ROVER_START) this.rover = -0x8000_0000 + (this.random.u32() % (0x8000_0000 + ROVER_START));
      else if (this.rover < -0x8000_0000) this.rover = ROVER_START - 1;
      portId = this.rover-- >>> 0;
    }
    return portId;
  }
}
