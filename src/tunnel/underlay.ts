import { Errno } from "../core/errors.ts";
import type { DeviceStats } from "../port/port.ts";
import type { ReceiveUnderlay, Underlay, UnderlayPort } from "../port/underlay.ts";
import { EAFNOSUPPORT } from "../uapi/errno.ts";
import { AF_INET, AF_INET6 } from "../uapi/socket.ts";
import type { TunnelSettings } from "./kind.ts";

/** The sockets by which one tunnel device sends and receives through the host's IP stack, one for each outer family. */
export class UnderlaySockets {
  v4: UnderlayPort | undefined = undefined;
  v6: UnderlayPort | undefined = undefined;

  /**
   * Opens the sockets. A host without IPv6 gets that for IPv4 alone, unless the device is for IPv6 only.
   * @throws Errno EADDRINUSE, EAFNOSUPPORT, EPERM; no socket is open then
   */
  open(underlay: Underlay, { encapsulation, families, dstPort }: TunnelSettings, receive: ReceiveUnderlay): void {
    for (const family of families) {
      try {
        const socket = underlay.open(family, encapsulation.protocol, dstPort, receive);
        if (family === AF_INET) this.v4 = socket;
        else if (family === AF_INET6) this.v6 = socket;
      } catch (error) {
        if (family !== families[0] && error instanceof Errno && error.errno === EAFNOSUPPORT) continue;
        this.close();
        throw error;
      }
    }
  }

  /** Adds what the host's stack lost or refused. */
  addLosses(stats: DeviceStats): void {
    for (const socket of [this.v4, this.v6]) {
      if (socket === undefined) continue;
      const [rxLost, txLost, txRefused] = socket.losses();
      stats.rxDropped += rxLost;
      stats.txDropped += txLost;
      stats.txErrors += txRefused;
    }
  }

  close(): void {
    this.v4?.close();
    this.v6?.close();
    this.v4 = undefined;
    this.v6 = undefined;
  }
}
