import { closeSync, openSync } from "node:fs";
import { Errno } from "../core/errors.ts";
import type { Log } from "../core/log.ts";
import { withNetns } from "../native/netns.ts";
import type { NetlinkBus } from "../netlink/bus.ts";
import type { LinkHost, NetlinkHost } from "../netlink/host.ts";
import { EOPNOTSUPP, EPERM } from "../uapi/errno.ts";
import { isNetnsUsed } from "./netns-users.ts";
import type { Nokmod } from "./nokmod.ts";

/** Default of the milliseconds between looks at namespaces without a program. */
const CHECK_INTERVAL = 1000;

/**
 * Datapaths and connections of the network namespaces that programs come from: as with the module, each has its own. One
 * is made at its first program's first request, and goes with its last program unless something is left in it. What is left
 * goes when the namespace does: nothing but this process keeps it alive.
 */
export class Namespaces {
  private readonly members = new Map<number, Member>();
  private timer: NodeJS.Timeout | undefined;

  /**
   * @param create makes the Nokmod of the namespace that the thread is in
   * @param log gets failures to look at /proc
   * @param checkInterval milliseconds between looks whether namespaces without a program are still used
   */
  constructor(
    private readonly create: () => Nokmod,
    private readonly log?: Log,
    private readonly checkInterval = CHECK_INTERVAL,
  ) {}

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
    clearTimeout(this.timer);
    this.timer = undefined;
    for (const member of this.members.values()) member.close();
    this.members.clear();
  }

  /** Looks from time to time whether namespaces that no program has connections in are used still. */
  private watch(): void {
    this.timer ??= setTimeout(() => void this.check(), this.checkInterval).unref();
  }

  private async check(): Promise<void> {
    for (const [inode, member] of this.members) {
      if (member.users > 0) continue;
      try {
        const used = await isNetnsUsed(inode);
        // A program may have come meanwhile; or everything has been closed.
        if (used || member.users > 0 || this.members.get(inode) !== member) continue;
        this.members.delete(inode);
        member.close();
      } catch (error) {
        this.log?.limited("namespaces", "error", "looking for the users of a network namespace", error);
      }
    }
    if (this.timer === undefined) return;
    this.timer = undefined;
    if ([...this.members.values()].some(({ users }) => users === 0)) this.watch();
  }

  private make(inode: number, path: string): Member {
    let fd = -1;
    try {
      fd = openSync(path, "r");
      return new Member(withNetns(path, this.create), fd, (member, empty) => {
        if (!empty) {
          this.watch();
          return;
        }
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
    private readonly onUnused: (member: Member, empty: boolean) => void,
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
    const { length: tunnels } = [...kernel.tunnelDevices];
    this.onUnused(this, kernel.datapaths.list.length === 0 && conntrack.count === 0 && tunnels === 0);
  }

  close(): void {
    this.nokmod.close();
    closeSync(this.fd);
  }
}
