import { Errno } from "../../src/core/errors.ts";
import type { BusSocket, NetlinkProtocol } from "../../src/netlink/bus-socket.ts";
import type { Dump } from "../../src/netlink/dump.ts";
import type { NetlinkMessage } from "../../src/netlink/message.ts";
import { MessageWriter } from "../../src/netlink/writer.ts";
import { EPERM } from "../../src/uapi/errno.ts";
import { NLM_F_MULTI } from "../../src/uapi/netlink.ts";

/** Message types of EchoProtocol. The payload starts with the u32s named here. */
export const enum Echo {
  /** The payload comes back. */
  Echo = 16,
  /** count, size: a dump of that many records, each its number and zeros. */
  Dump = 17,
  /** group, count, size: that many multicasts, each its number and zeros. */
  Multicast = 18,
  /** EPERM unless privileged. */
  Privileged = 19,
  /** port id, count, size: that many unicasts; the reply tells how many were delivered. */
  Unicast = 20,
}

/** A kernel side for tests of transports: it does what it is told, and knows nothing of Open vSwitch. */
export class EchoProtocol implements NetlinkProtocol {
  readonly groups = 64;
  readonly privileged = false;
  private readonly writer = new MessageWriter();

  handle(message: NetlinkMessage, socket: BusSocket): Dump | undefined {
    const { view, payload, seq } = message;
    const argument = (index: number): number =>
      payload + index * 4 + 4 <= message.end ? view.getUint32(payload + index * 4, true) : 0;
    switch (message.type) {
      case Echo.Echo: {
        const size = message.end - payload;
        const bytes = this.build(message.type, seq, socket.portId, size, 0);
        bytes.set(message.bytes.subarray(payload, message.end), 16);
        socket.send(bytes);
        return undefined;
      }
      case Echo.Dump:
        return this.dump(argument(0), argument(1), seq, socket.portId);
      case Echo.Multicast:
        for (let i = 0; i < argument(1); i++) {
          socket.bus.multicast(socket.protocol, argument(0), this.build(message.type, 0, 0, argument(2), i), 0);
        }
        return undefined;
      case Echo.Privileged:
        if (!socket.privileged) throw new Errno(EPERM, "not for you");
        return undefined;
      case Echo.Unicast: {
        let delivered = 0;
        for (let i = 0; i < argument(1); i++) {
          const datagram = this.build(message.type, 0, 0, argument(2), i);
          if (socket.bus.unicast(socket.protocol, argument(0), datagram) === 0) delivered++;
        }
        socket.send(this.build(message.type, seq, socket.portId, 4, delivered));
        return undefined;
      }
      default:
        throw new Errno(95);
    }
  }

  private dump(count: number, size: number, seq: number, portId: number): Dump {
    let next = 0;
    return {
      fill: (writer, room) => {
        while (next < count) {
          if (writer.length + 16 + size > room) return 1;
          const at = writer.beginMessage(Echo.Dump, NLM_F_MULTI, seq, portId);
          writer.bytes.fill(0, writer.reserve(size), writer.length);
          writer.view.setUint32(at + 16, next++, true);
          writer.endMessage(at);
        }
        return 0;
      },
    };
  }

  private build(type: number, seq: number, pid: number, size: number, first: number): Uint8Array {
    const writer = this.writer.reset();
    const at = writer.beginMessage(type, 0, seq, pid);
    const payload = writer.reserve(size);
    writer.bytes.fill(0, payload, payload + size);
    if (size >= 4) writer.view.setUint32(payload, first, true);
    writer.endMessage(at);
    return writer.finish();
  }
}
