import { closeSync, openSync } from "node:fs";
import { Errno, NokmodError, systemErrorCode } from "../core/errors.ts";
import type { Log } from "../core/log.ts";
import { withNetns } from "../native/netns.ts";
import type { NetlinkBus } from "../netlink/bus.ts";
import type { LinkHost, NetlinkHost } from "../netlink/host.ts";
import { EMFILE, EOPNOTSUPP, EPERM } from "../uapi/errno.ts";
import { isNetnsUsed } from "./netns-users.ts";
import type { Nokmod } from "./nokmod.ts";

/** Default of `checkInterval`. */
const CHECK_INTERVAL = 1000;

/**
 * One Nokmod for each network namespace that clients come from: as with the module, datapaths and connections belong to a
 * namespace. It is made when the first client connects, and closed after the last one has left if it has no datapath,
 * connection and tunnel device; else when no process, mount or descriptor keeps the namespace any more.
 */
export class Namespaces {
  private readonly members = new Map<number, Member>();
  private timer: NodeJS.Timeout | undefined;

  /**
   * @param create makes the Nokmod of the namespace that the thread is in
   * @param log gets failures to read /proc
   * @param checkInterval milliseconds between checks whether namespaces without a client are in use
   */
  constructor(
    private readonly create: () => Nokmod,
    private readonly log?: Log,
    private readonly checkInterval = CHECK_INTERVAL,
  ) {}

  /**
   * The netlink bus and links of a namespace, for NetlinkServerOptions.foreign.
   * @param inode of the namespace
   * @param path of it, valid during the call
   * @throws Errno EPERM: this process may not enter it; EMFILE: it has no descriptor left; else that of opening `path`
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

  /** Closes the Nokmods of all namespaces. */
  close(): void {
    clearTimeout(this.timer);
    this.timer = undefined;
    for (const member of this.members.values()) member.close();
    this.members.clear();
  }

  /** Starts the periodic check of namespaces without a client. */
  private watch(): void {
    this.timer ??= setTimeout(() => void this.check(), this.checkInterval).unref();
  }

  private async check(): Promise<void> {
    for (const [inode, member] of this.members) {
      if (member.users > 0) continue;
      try {
        const used = await isNetnsUsed(inode);
        // A client may have connected meanwhile, or close() was called.
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
      throw fd < 0 || isNetnsError(error) ? enterError(error) : error;
    }
  }
}

const isNetnsError = (error: unknown): error is NokmodError =>
  error instanceof NokmodError && error.code === "ERR_NETNS";

/**
 * The answer to a client whose network namespace could not be opened or entered.
 * @param error of node:fs, or ERR_NETNS of withNetns() with the error of the system call as its cause
 * @returns Errno EMFILE for EMFILE and ENFILE; EPERM for EACCES, EPERM, and whatever else setns(2) fails with; the errno of
 * another failure to open; else `error` itself, a fault of the program
 * @internal
 */
export function enterError(error: unknown): unknown {
  const cause = isNetnsError(error) ? error.cause : error;
  const code = systemErrorCode(cause);
  if (code === "EMFILE" || code === "ENFILE") return new Errno(EMFILE);
  if (code === "EACCES" || code === "EPERM" || isNetnsError(error)) return new Errno(EPERM);
  if (code === undefined) return error;
  // libuv's numbers are negative.
  return new Errno(Math.abs((cause as NodeJS.ErrnoException).errno ?? EPERM));
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
      // Without a datapath the device is made by the kernel, whose routes can use it (encap ip).
      create: (message) => {
        if (datapaths.list.length === 0) throw new Errno(EOPNOTSUPP);
        links.create(message);
      },
      describe: (ifindexes) => links.describe(ifindexes),
    };
  }

  /** Runs an action in the namespace, so that its devices and sockets are made there. */
  run<T>(action: () => T): T {
    return withNetns(`/proc/self/fd/${this.fd}`, action);
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
