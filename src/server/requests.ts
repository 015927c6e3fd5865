import { Errno } from "../core/errors.ts";
import type { NetlinkHost } from "../netlink/host.ts";
import { REQUEST_BYTES, REQUEST_MAX, RequestAt, SEND_UNPRIVILEGED, TransportOp } from "../netlink/transport.ts";
import { EBADF, EINVAL, EIO, EMSGSIZE, ENOENT, EOPNOTSUPP, EPERM } from "../uapi/errno.ts";
import type { Channel } from "./channel.ts";
import type { ServerConnections } from "./connections.ts";
import type { ServerContext } from "./server-context.ts";
import type { ServerSocket } from "./server-socket.ts";

/** Executes the requests of control channels (TransportOp), and the datagrams of data channels. */
export class Requests {
  constructor(
    private readonly context: ServerContext,
    private readonly connections: ServerConnections,
  ) {}

  /** A datagram written to a data channel itself: a send without an answer. */
  datagram(id: number, socket: ServerSocket, length: number): void {
    this.context.stats.requests++;
    const resume = (): void => {
      if (this.connections.get(id)?.socket === socket) this.context.server.pause(id, false);
    };
    const errno = this.context.queue.send(socket, this.context.input, 0, Math.min(length, REQUEST_MAX), 0, resume);
    if (errno === undefined) this.context.server.pause(id, true);
  }

  /** A request on a control channel. @returns length of the answer in the output; 0: it comes later */
  request(id: number, channel: Channel, length: number): number {
    this.context.stats.requests++;
    if (length < REQUEST_BYTES || length > REQUEST_MAX) {
      this.context.stats.malformed++;
      return this.context.output.answer(length < REQUEST_BYTES ? EINVAL : EMSGSIZE);
    }
    const { view } = this.context;
    const op = view.getUint32(RequestAt.Op, true);
    const a = view.getUint32(RequestAt.A, true);
    const b = view.getUint32(RequestAt.B, true);
    if (op === TransportOp.Find) {
      const found = this.connections.find(channel);
      return found === undefined
        ? this.context.output.answer(ENOENT)
        : this.context.output.answer(0, found.flags, found.idLow, found.idHigh);
    }
    if (op === TransportOp.NewLink || op === TransportOp.Links) {
      return this.onLinks(channel, op, length);
    }
    const socket = this.connections.socket(
      view.getUint32(RequestAt.IdLow, true),
      view.getUint32(RequestAt.IdHigh, true),
    );
    if (socket === undefined) return this.context.output.answer(EBADF);
    socket.answerA = 0;
    socket.answerB = 0;
    if (op === TransportOp.Send) {
      if (b === SEND_UNPRIVILEGED) this.context.sender.waive();
      return this.onSend(id, channel, socket, length, a);
    }
    const errno = this.errnoOf(socket.host, () => this.execute(socket, op, a, b));
    return this.context.output.answer(errno, socket.flags, socket.answerA, socket.answerB);
  }

  /** TransportOp.Send. @returns length of the answer; 0: it comes later */
  private onSend(id: number, channel: Channel, socket: ServerSocket, length: number, receiveLength: number): number {
    const { input, output, queue, server } = this.context;
    const errno = queue.send(socket, input, REQUEST_BYTES, length, receiveLength, (late) => {
      channel.asking = false;
      if (this.connections.get(id) === channel) server.send(id, output.answer(late, socket.flags));
    });
    if (errno !== undefined) return output.answer(errno, socket.flags);
    channel.asking = true;
    return 0;
  }

  private execute(socket: ServerSocket, op: number, a: number, b: number): void {
    switch (op) {
      case TransportOp.More:
        socket.more(a);
        break;
      case TransportOp.Bind:
        socket.bind(a, b);
        break;
      case TransportOp.Join:
        socket.bound().join(a);
        break;
      case TransportOp.Leave:
        socket.bound().leave(a);
        break;
      case TransportOp.Option:
        socket.setOption(a, b);
        break;
      case TransportOp.ReceiveBuffer:
        socket.setReceiveBuffer(a, b !== 0);
        break;
      case TransportOp.Describe:
        socket.describe();
        break;
      case TransportOp.Overrun:
        socket.reportOverrun();
        break;
      default:
        throw new Errno(EOPNOTSUPP);
    }
  }

  private onLinks({ host }: Channel, op: TransportOp, length: number): number {
    let payload: Uint8Array | undefined;
    const errno = this.errnoOf(host, () => {
      const { links } = host;
      if (links === undefined) throw new Errno(EOPNOTSUPP);
      const bytes = this.context.input.slice(REQUEST_BYTES, length);
      if (op === TransportOp.Links) {
        payload = links.describe(new Uint32Array(bytes.buffer, 0, bytes.length >> 2));
        return;
      }
      if (!this.context.sender.privileged) throw new Errno(EPERM);
      links.create(bytes);
    });
    return this.context.output.answer(errno, 0, 0, 0, payload);
  }

  /**
   * Runs the action of a request in the host's namespace.
   * @returns 0 or the errno that it threw; EIO for any other exception, which onFault gets
   */
  private errnoOf(host: NetlinkHost, action: () => void): number {
    try {
      if (host.run === undefined) action();
      else host.run(action);
      return 0;
    } catch (error) {
      // An exception here must not end the server.
      if (!(error instanceof Errno)) this.context.host.bus.onFault?.(error);
      return error instanceof Errno ? error.errno : EIO;
    }
  }
}
