import { closeSync, openSync } from "node:fs";
import { Errno } from "../core/errors.ts";
import { withNetns } from "../native/netns.ts";
import type { NetlinkBus } from "../netlink/bus.ts";
import type { LinkHost, NetlinkHost } from "../netlink/host.ts";
import { EOPNOTSUPP, EPERM } from "../uapi/errno.ts";
import type { Nokmod } from "./nokmod.ts";

/**
 * One Nokmod for each network namespace that clients come from: as with the module, datapaths and connections belong to a
 * namespace. It is made when the first client connects, and closed after the last one has left if it has no datapath,
 * connection and tunnel device.
 */
export class Namespaces {
  private readonly members = new Map<number, Member>();

  /** @param create makes the Nokmod of the namespace that the thread is in */
  constructor(private readonly create: () => Nokmod) {}

  /**
   * The netlink bus and links of a namespace, for NetlinkServerOptions.foreign.
   * @param inode of the namespace
   * @param path of it, valid during the call
   * @throws Errno EPERM: this process may not enter it
   */
  readonly enter = (inode: number, path: string): NetlinkHost => {
    let member = this.members.get(inode);
    if (member === undefined) {
      member = this.make(inode, path);
      this.members.set(inode, member);
    }
    member.users++;
    return member;
  };

  /** Number of namespaces. */
  get size(): number {
    return this.members.size;
  }

  /** Closes all of them. */
  close(): void {
    for (const member of this.members.values()) member.close();
    this.members.clear();
  }

  private make(inode: number, path: string): Member {
    let fd = -1;
    try {
      fd = openSync(path, "r");
      return new Member(withNetns(path, this.create), fd, (member) => {
        this.members.delete(inode);
        member.close();
      });
    } catch (error) {
      if (fd >= 0) closeSync(fd);
      // openSync() or setns() failed: the namespace cannot be entered. Any other error is Nokmod's own.
      const { code } = error as { code?: unknown };
      if (fd < 0 || code === "ERR_NETNS") throw new Errno(EPERM);
      throw error;
    }
  }
}

class Member implements NetlinkHost {
  users = 0;
  readonly bus: NetlinkBus;
  readonly links: LinkHost;

  constructor(
    private readonly nokmod: Nokmod,
    private readonly fd: number,
    private readonly onUnused: (member: Member) => void,
  ) {
    const { bus, links, datapaths } = nokmod.kernel;
    this.bus = bus;
    this.links = {
      // Without a datapath the device is made by the kernel, whose routes can use it (encap ip).
      create: (message) => {
        if (datapaths.list.length === 0) throw new Errno(EOPNOTSUPP);
        links.create(message);
      },
      describe: (ifindexes) => links.describe(ifindexes),
    };
  }

  /** Runs an action in the namespace, so that its devices and sockets are made there. */
  run(action: () => void): void {
    withNetns(`/proc/self/fd/${this.fd}`, action);
  }

  release(): void {
    if (--this.users > 0) return;
    const { kernel, conntrack } = this.nokmod;
    if (kernel.datapaths.list.length === 0 && conntrack.count === 0 && [...kernel.tunnelDevices].length === 0)
      this.onUnused(this);
  }

  close(): void {
    this.nokmod.close();
    closeSync(this.fd);
  }
}
