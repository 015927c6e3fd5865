import { closeSync, openSync } from "node:fs";
import { Errno } from "../core/errors.ts";
import { withNetns } from "../native/netns.ts";
import type { NetlinkBus } from "../netlink/bus.ts";
import type { LinkHost, NetlinkHost } from "../netlink/host.ts";
import { EOPNOTSUPP, EPERM } from "../uapi/errno.ts";
import type { Nokmod } from "./nokmod.ts";

/**
 * Datapaths and connections of the network namespaces that programs come from: as with the module, each has its own. One
 * is made at its first program's first request, and goes with its last program unless something is left in it.
 */
export class Namespaces {
  private readonly members = new Map<number, Member>();

  /** @param create makes the Nokmod of the namespace that the thread is in */
  constructor(private readonly create: () => Nokmod) {}

  /**
   * For NetlinkServerOptions.foreign: the namespace's own side of netlink.
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

  /** How many there are. */
  get size(): number {
    return this.members.size;
  }

  /** Takes all of them down. */
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
      // The namespace could not be opened or entered. Anything else, an Errno or a fault of ours, is as it is.
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
      // Where there is no datapath a tunnel device is not for one: the kernel's can be used by routes, too (encap ip).
      create: (message) => {
        if (datapaths.list.length === 0) throw new Errno(EOPNOTSUPP);
        links.create(message);
      },
      describe: (ifindexes) => links.describe(ifindexes),
    };
  }

  /** Devices and sockets that a request makes belong into the namespace. */
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
