import {
  closeSync,
  constants,
  fstatSync,
  ftruncateSync,
  openSync,
  readFileSync,
  renameSync,
  rmSync,
  writeSync,
} from "node:fs";
import { messagesOf } from "../client/message.ts";
import { errnoName, NokmodError, systemErrorCode } from "../core/errors.ts";
import type { Log } from "../core/log.ts";
import { putFlowActions, putFlowMatch } from "../kernel/families/flow-record.ts";
import type { GenlRequest } from "../kernel/genl-family.ts";
import { MessageWriter } from "../netlink/writer.ts";
import { ENOENT } from "../uapi/errno.ts";
import { GENL_HDRLEN } from "../uapi/genetlink.ts";
import { NETLINK_GENERIC, NLM_F_REQUEST, NLMSG_ERROR, NLMSG_HDRLEN } from "../uapi/netlink.ts";
import * as ovs from "../uapi/openvswitch.ts";
import { keepAside } from "./atomic-file.ts";
import type { Nokmod } from "./nokmod.ts";

const { O_RDONLY, O_WRONLY, O_APPEND, O_CREAT, O_EXCL, O_NOFOLLOW, O_NONBLOCK } = constants;

/** Mode of the file, which contains addresses and port ids. */
const MODE = 0o600;
/** Flows written before packets and requests have a turn, while the file is rewritten. */
const SLICE = 256;
/** Bytes of requests that are executed at a time, while the file is restored. */
const BATCH = 32 << 10;
/** The file is rewritten when it is longer than twice its length after the last rewriting, and this many bytes. */
const SLACK = 1 << 20;
/** Milliseconds until writing is tried again after a failure. */
const RETRY = 10_000;
/** Bytes of nlmsghdr, genlmsghdr and ovs_header. */
const HEADERS = NLMSG_HDRLEN + GENL_HDRLEN + 4;

/**
 * The flows of all datapaths in a file: a line of text with the machine's boot id, then FLOW_NEW, FLOW_SET and FLOW_DEL
 * requests (struct nlmsghdr, genlmsghdr, ovs_header, attributes; padded to 4 bytes) in the order in which they were executed.
 * Each is written before it is answered. The file is there only while there are flows.
 *
 * A request that was written in part, by a process that was killed meanwhile, ends the file. A failure to write (ENOSPC, EROFS)
 * is logged once, and the file is emptied: a file that lacks a FLOW_DEL would bring a deleted flow back. Writing is tried again
 * every ten seconds. The caller must be the only user of PATH.
 */
export class FlowJournal {
  /** Times that the file could not be written since the last time that it could. */
  failures = 0;
  private following = false;
  /** Descriptor of the file; -1: there is none. */
  private file = -1;
  /** Bytes in it, and how many it may have until it is rewritten. */
  private length = 0;
  private room = SLACK;
  /** Descriptor of PATH.new while it is written; it gets all requests, too. -1: not now. */
  private next = -1;
  private nextLength = 0;
  /** The flow that is to be written next: index of its datapath, its index there. */
  private datapath = 0;
  private flow = 0;
  private slice: NodeJS.Immediate | undefined;
  private retry: NodeJS.Timeout | undefined;
  private readonly header: Uint8Array;
  private readonly family: number;
  private readonly datapathFamily: number;
  private readonly writer = new MessageWriter(1 << 16);

  /** @param boot the machine's boot id: the file of another boot is not used */
  constructor(
    private readonly nokmod: Nokmod,
    private readonly path: string,
    boot: string,
    private readonly log?: Log,
  ) {
    this.header = Buffer.from(`nokmod flows 1 ${boot}\n`);
    const { genl } = nokmod.kernel;
    this.family = genl.byName(ovs.OVS_FLOW_FAMILY)?.id ?? 0;
    this.datapathFamily = genl.byName(ovs.OVS_DATAPATH_FAMILY)?.id ?? 0;
  }

  /**
   * Executes the requests of the file. Their datapaths must be there. A file of another form is moved to PATH.bad-N.
   * @returns a line of text for what could not be restored
   */
  restore(): string[] {
    let bytes: Buffer;
    try {
      const file = this.open(this.path, O_RDONLY | O_NONBLOCK);
      try {
        bytes = readFileSync(file);
      } finally {
        closeSync(file);
      }
    } catch (error) {
      if (systemErrorCode(error) === "ENOENT") return [];
      return [this.setAside(reasonOf(error))];
    }
    if (bytes.length === 0) return [];
    const end = bytes.indexOf("\n") + 1;
    const first = bytes.subarray(0, end).toString("latin1");
    if (!/^nokmod flows \d+ \S+\n$/.test(first)) return [this.setAside("not a file of flows")];
    if (!bytes.subarray(0, end).equals(this.header)) return [];
    return this.execute(Uint8Array.from(bytes.subarray(end)));
  }

  /** Writes the flows that there are, and from now on all requests. */
  follow(): void {
    this.following = true;
    this.nokmod.kernel.genl.onExecuted = (request) => this.record(request);
    this.rewrite();
  }

  /** @param remove the file */
  close(remove: boolean): void {
    if (!this.following) return;
    this.following = false;
    this.nokmod.kernel.genl.onExecuted = undefined;
    clearTimeout(this.retry);
    this.abandonNext();
    if (this.file >= 0) closeSync(this.file);
    this.file = -1;
    if (remove) this.unlink(this.path);
  }

  // Restoring.

  private execute(requests: Uint8Array): string[] {
    const view = new DataView(requests.buffer);
    const socket = this.nokmod.open(NETLINK_GENERIC);
    const refused = new Map<number, number>();
    const send = (from: number, to: number): void => {
      socket.send(requests.subarray(from, to));
      for (let answer = socket.receive(); answer !== null; answer = socket.receive()) {
        for (const message of messagesOf(answer)) {
          if (message.type !== NLMSG_ERROR) continue;
          const errno = -message.view.getInt32(message.payload, true);
          refused.set(errno, (refused.get(errno) ?? 0) + 1);
        }
      }
    };
    let begin = 0;
    let at = 0;
    try {
      while (requests.length - at >= HEADERS) {
        const length = view.getUint32(at, true);
        if (length < HEADERS || length > requests.length - at) break;
        // The family's number may be another one now, and nobody waits for an acknowledgement.
        view.setUint16(at + 4, this.family, true);
        view.setUint16(at + 6, NLM_F_REQUEST, true);
        at += (length + 3) & ~3;
        if (at - begin < BATCH) continue;
        send(begin, Math.min(at, requests.length));
        begin = at;
      }
      if (at > begin) send(begin, Math.min(at, requests.length));
    } finally {
      socket.close();
    }
    // ENOENT: a request of before the last rewriting that was written behind it, about a flow that was deleted since.
    refused.delete(ENOENT);
    return [...refused].map(([errno, count]) => `${count} flows: ${errnoName(errno)}`);
  }

  private setAside(reason: string): string {
    const what = `file of flows ${this.path}: ${reason}`;
    try {
      return `${what}; kept as ${keepAside(this.path)}`;
    } catch (failure) {
      return `${what}; it cannot be moved away: ${reasonOf(failure)}`;
    }
  }

  // Writing.

  private record(request: GenlRequest): void {
    const { family, cmd, message } = request;
    if (family.id === this.family) {
      if (cmd !== ovs.OVS_FLOW_CMD_GET) this.append(message.bytes.subarray(message.start, message.end));
    } else if (family.id === this.datapathFamily && cmd === ovs.OVS_DP_CMD_DEL) {
      // Its flows leave the file, so that a new datapath of the same ifindex does not get them.
      this.rewrite();
    }
  }

  private append(request: Uint8Array): void {
    if (this.failures > 0) return;
    try {
      if (this.file < 0 && this.next < 0) {
        this.file = this.create(this.path);
        this.length = this.header.length;
      }
      if (this.file >= 0) this.length += writeRequest(this.file, request);
      if (this.next >= 0) this.nextLength += writeRequest(this.next, request);
    } catch (error) {
      this.failed(error);
      return;
    }
    if (this.length > this.room && this.next < 0) this.rewrite();
  }

  /** Begins to write the flows that there are to PATH.new, which replaces the file when all are in it. */
  private rewrite(): void {
    this.abandonNext();
    try {
      if (this.nokmod.kernel.datapaths.list.every(({ flows }) => flows.count === 0)) {
        this.removeAll();
        return;
      }
      this.next = this.create(`${this.path}.new`);
      this.nextLength = this.header.length;
      this.datapath = 0;
      this.flow = 0;
    } catch (error) {
      this.failed(error);
      return;
    }
    this.continueRewrite();
  }

  private continueRewrite(): void {
    this.slice = undefined;
    try {
      const complete = this.writeSlice();
      if (!complete) this.slice = setImmediate(() => this.continueRewrite());
      else this.replace();
    } catch (error) {
      this.failed(error);
    }
  }

  /** @returns whether all flows are written */
  private writeSlice(): boolean {
    const { writer } = this;
    const { list } = this.nokmod.kernel.datapaths;
    writer.reset();
    for (let left = SLICE; left > 0 && this.datapath < list.length; this.flow++) {
      const { flows, ifindex } = list[this.datapath];
      if (this.flow >= flows.limit) {
        this.datapath++;
        this.flow = -1;
        continue;
      }
      if (!flows.has(this.flow)) continue;
      const at = writer.beginMessage(this.family, NLM_F_REQUEST, 0, 0);
      writer.genl(ovs.OVS_FLOW_CMD_NEW, ovs.OVS_FLOW_VERSION);
      writer.rawU32(ifindex);
      putFlowMatch(writer, flows, this.flow, 0);
      putFlowActions(writer, flows, this.flow);
      writer.endMessage(at);
      left--;
    }
    if (writer.length > 0) this.nextLength += writeRequest(this.next, writer.bytes.subarray(0, writer.length));
    return this.datapath >= list.length;
  }

  private replace(): void {
    renameSync(`${this.path}.new`, this.path);
    if (this.file >= 0) closeSync(this.file);
    this.file = this.next;
    this.length = this.nextLength;
    this.next = -1;
    this.room = SLACK + 2 * this.length;
    this.succeeded();
  }

  private removeAll(): void {
    if (this.file >= 0) closeSync(this.file);
    this.file = -1;
    this.length = 0;
    this.room = SLACK;
    rmSync(this.path, { force: true });
    this.succeeded();
  }

  private succeeded(): void {
    if (this.failures === 0) return;
    this.log?.info(`the file of flows ${this.path} is written again`);
    this.failures = 0;
  }

  /** Empties the file, logs the failure if it is the first one, and tries again later. */
  private failed(error: unknown): void {
    if (systemErrorCode(error) === undefined && !(error instanceof NokmodError))
      this.log?.limited("flow file fault", "error", `file of flows ${this.path}: fault`, error);
    this.abandonNext();
    if (this.file >= 0) {
      try {
        ftruncateSync(this.file);
      } catch (failure) {
        // EIO, ENOSPC of a file system that copies on write.
        this.log?.warn(`cannot empty the file of flows ${this.path}: ${reasonOf(failure)}`);
      }
      closeSync(this.file);
      this.file = -1;
    }
    this.unlink(this.path);
    if (this.failures++ === 0)
      this.log?.warn(
        `cannot write the file of flows ${this.path}: ${reasonOf(error)}; a nokmod that starts after a crash begins without flows`,
      );
    clearTimeout(this.retry);
    if (this.following) this.retry = setTimeout(() => this.rewrite(), RETRY).unref();
  }

  private abandonNext(): void {
    clearImmediate(this.slice);
    this.slice = undefined;
    if (this.next < 0) return;
    closeSync(this.next);
    this.next = -1;
    this.unlink(`${this.path}.new`);
  }

  /** Opens a new file and writes the header. @throws Error with the `code` of the system call */
  private create(path: string): number {
    // A file of that name was left by a process that was killed; of a symlink the link itself is removed.
    rmSync(path, { force: true });
    const file = this.open(path, O_WRONLY | O_APPEND | O_CREAT | O_EXCL);
    try {
      writeAll(file, this.header);
    } catch (error) {
      closeSync(file);
      throw error;
    }
    return file;
  }

  /** @throws NokmodError ERR_NOT_A_FILE; Error with the `code` of the system call */
  private open(path: string, flags: number): number {
    const file = openSync(path, flags | O_NOFOLLOW, MODE);
    if (fstatSync(file).isFile()) return file;
    closeSync(file);
    throw new NokmodError("ERR_NOT_A_FILE", `${path} is not a regular file`);
  }

  private unlink(path: string): void {
    try {
      rmSync(path, { force: true });
    } catch (error) {
      this.log?.warn(`cannot remove ${path}: ${reasonOf(error)}`);
    }
  }
}

const PADDING = new Uint8Array(3);

/** Writes a request, padded to 4 bytes. @returns the number of bytes */
function writeRequest(file: number, request: Uint8Array): number {
  writeAll(file, request);
  const padding = -request.length & 3;
  if (padding > 0) writeAll(file, PADDING.subarray(0, padding));
  return request.length + padding;
}

/** @throws Error with the `code` of the system call */
function writeAll(file: number, bytes: Uint8Array): void {
  for (let at = 0; at < bytes.length; ) at += writeSync(file, bytes, at);
}

/** The code of a failed system call, else the message. */
function reasonOf(error: unknown): string {
  return systemErrorCode(error) ?? (error instanceof Error ? error.message : String(error));
}
