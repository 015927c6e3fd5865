import { execFile } from "node:child_process";
import { readFileSync, rmSync } from "node:fs";
import { OvsClient } from "../client/ovs/index.ts";
import { KeptConnections } from "../conntrack/kept-connections.ts";
import { KEPT_ROOM } from "../conntrack/table.ts";
import { Errno, errnoName, NokmodError, systemErrorCode } from "../core/errors.ts";
import type { Log } from "../core/log.ts";
import { openKeptMemory } from "../native/kept-memory.ts";
import { OVS_VPORT_TYPE_INTERNAL, OVS_ZONE_LIMIT_DEFAULT_ZONE, OVSP_LOCAL } from "../uapi/openvswitch.ts";
import { keepAside, readPlainFile, replaceFile, syncFile } from "./atomic-file.ts";
import { configureDevices, readDevices } from "./devices.ts";
import { FlowJournal } from "./flow-journal.ts";
import type { Nokmod } from "./nokmod.ts";
import { parseState, type SavedDevice, type SavedState } from "./saved-state.ts";
import { snapshot } from "./snapshot.ts";

/** Milliseconds until a change is on the disk; of limits, meters and policies also until it is in the file. */
const DELAY = 100;
/** Milliseconds between reads of the addresses of internal ports, and between attempts to write after a failure. */
const INTERVAL = 10_000;
/** Mode of the file, which contains port ids and addresses. */
const MODE = 0o600;

/**
 * The state file: datapaths with their ports and meters, zone limits, timeout policies, tunnel devices and addresses of
 * internal ports. The flows are in another file, PATH.flows (flow-journal.ts): ovs-vswitchd takes a flow that it has put for
 * installed until it deletes it. Connections are kept if asked, in PATH.connections (src/conntrack/kept-connections.ts). A nokmod
 * that is started after a crash restores all, so that a running ovs-vswitchd continues. SIGTERM removes the files.
 *
 * A change of datapaths or ports is in the file before its answer is sent: a kill right after the answer loses nothing. It is
 * in the kernel's page cache then, and on the disk 100 ms later (fsync in a thread); a file from before the machine's boot is
 * not used. All else is written within 100 ms, addresses within ten seconds.
 *
 * A failure to write is logged once and counted; the last good file stays, and writing is tried again.
 */
export class StateFile {
  /** Times that the file could not be written since the last time that it could. */
  failures = 0;
  private readonly client: OvsClient;
  private readonly flows: FlowJournal;
  private connections: KeptConnections | undefined;
  private subscription: { close(): void } | undefined;
  private timer: NodeJS.Timeout | undefined;
  private soon: NodeJS.Timeout | undefined;
  private devices: Record<string, SavedDevice> = {};
  private written = "";
  private readonly boot = bootId();

  /**
   * @param path of the file; the caller must hold a lock that keeps other processes from it
   * @param keepsConnections the table of connections must be empty then when restore() is called
   */
  constructor(
    private readonly nokmod: Nokmod,
    private readonly path: string,
    private readonly log?: Log,
    private readonly keepsConnections = false,
  ) {
    this.client = new OvsClient(nokmod);
    this.flows = new FlowJournal(nokmod, `${path}.flows`, this.boot, log);
  }

  /**
   * Restores what the file describes. A file that cannot be read is moved to PATH.bad-N.
   * @returns a line of text for each part that could not be restored
   */
  restore(): string[] {
    return [...this.restoreState(), ...(this.keepsConnections ? this.restoreConnections() : [])];
  }

  private restoreConnections(): string[] {
    const path = `${this.path}.connections`;
    const { table } = this.nokmod.conntrack;
    try {
      this.connections = new KeptConnections(this.nokmod.conntrack, openKeptMemory(path, KEPT_ROOM), this.boot);
    } catch (error) {
      if (!(error instanceof NokmodError) && systemErrorCode(error) === undefined) throw error;
      return [`connections are not kept in ${path}: ${reasonOf(error)}`];
    }
    table.onNotKept = (errno) =>
      this.log?.limited(
        "kept connections",
        "warn",
        `${path}: ${errnoName(errno)}; of more than ${table.top} connections the others end with nokmod`,
      );
    const { restored, unusable } = this.connections.restore();
    if (restored > 0) this.log?.info(`${restored} connections are restored`);
    return unusable === undefined ? [] : [`no connections are restored from ${path}: ${unusable}`];
  }

  private restoreState(): string[] {
    let saved: SavedState;
    try {
      const text = readPlainFile(this.path);
      if (text === undefined) return [];
      saved = parseState(text);
    } catch (error) {
      return [this.setAside(error)];
    }
    if (saved.boot !== this.boot) return [];
    const failures: string[] = [];
    const attempt = (what: string, act: () => void): void => {
      try {
        act();
      } catch (error) {
        // The other parts are restored nevertheless. An Errno is the kernel's or the datapath's answer; any other error is a
        // fault of the program, logged with its stack.
        if (!(error instanceof Errno)) this.log?.error(`state file: ${what}`, error);
        failures.push(`${what}: ${error instanceof Errno ? errnoName(error.errno) : reasonOf(error)}`);
      }
    };
    for (const [name, info] of Object.entries(saved.tunnels)) {
      attempt(name, () => this.nokmod.kernel.tunnelDevices.create(name, Buffer.from(info, "base64")));
    }
    for (const { number, timeouts, ...policy } of saved.timeoutPolicies) {
      this.nokmod.conntrack.timeoutPolicies.restore(number, { ...policy, timeouts: Int32Array.from(timeouts) });
    }
    // Set directly: one netlink message does not hold the limits of all zones.
    const { limits } = this.nokmod.conntrack;
    for (const { zone, limit } of saved.zoneLimits) {
      if (zone === OVS_ZONE_LIMIT_DEFAULT_ZONE) limits.setDefault(limit);
      else limits.set(zone, limit);
    }
    for (const { name, ifindex, userFeatures, masksCacheSize, perCpuPids, ports, meters } of saved.datapaths) {
      attempt(name, () => {
        const local = ports.find(({ portNo }) => portNo === OVSP_LOCAL);
        const made = this.client.createDatapath(name, {
          ifindex,
          userFeatures,
          masksCacheSize,
          upcallPid: local?.upcallPids[0] ?? 0,
          ...(perCpuPids === null ? {} : { perCpuPids }),
        });
        for (const port of ports) {
          if (port.portNo === OVSP_LOCAL) continue;
          const { name, type, portNo, upcallPids, gbp } = port;
          const ifindex = type === OVS_VPORT_TYPE_INTERNAL ? port.ifindex : undefined;
          const tunnelPort = port.tunnelPort ?? undefined;
          attempt(name, () =>
            this.client.createVport(made.ifindex, { name, type, portNo, upcallPids, ifindex, tunnelPort, gbp }),
          );
        }
        for (const { id, ...meter } of meters) {
          attempt(`meter ${id}`, () => this.client.setMeter(made.ifindex, id, meter));
        }
      });
    }
    failures.push(...this.flows.restore());
    failures.push(...configureDevices(saved.devices));
    this.devices = { ...saved.devices };
    return failures;
  }

  /** Writes the files now and after each change from now on. */
  follow(): void {
    this.flows.follow();
    this.nokmod.kernel.onChange = () => {
      this.write();
      this.later();
    };
    const changed = (): void => this.later();
    // Only multicast reports ports whose devices vanish, and changes by the built-in switch.
    this.subscription = this.client.subscribe(changed, ["ovs_datapath", "ovs_vport"], changed);
    this.nokmod.onConfigured = changed;
    this.timer = setInterval(() => this.look(), INTERVAL).unref();
    this.look();
  }

  /** @param remove the files */
  close(remove: boolean): void {
    this.flows.close(remove);
    this.closeConnections(remove);
    this.subscription?.close();
    this.subscription = undefined;
    this.nokmod.kernel.onChange = undefined;
    this.nokmod.onConfigured = undefined;
    clearInterval(this.timer);
    clearTimeout(this.soon);
    this.client.close();
    if (!remove) return;
    try {
      rmSync(this.path, { force: true });
    } catch (error) {
      this.log?.warn(`cannot remove the state file ${this.path}: ${reasonOf(error)}`);
    }
  }

  private closeConnections(remove: boolean): void {
    try {
      this.connections?.close(remove);
    } catch (error) {
      if (systemErrorCode(error) === undefined) throw error;
      this.log?.warn(`cannot remove the file of connections: ${reasonOf(error)}`);
    }
    this.connections = undefined;
  }

  /** Moves a file that cannot be read to PATH.bad-N. @returns a line of text about it */
  private setAside(error: unknown): string {
    this.logFault(error);
    const what = `state file ${this.path}: ${error instanceof NokmodError ? error.message : reasonOf(error)}`;
    try {
      return `${what}; kept as ${keepAside(this.path)}`;
    } catch (failure) {
      return `${what}; it cannot be moved away: ${reasonOf(failure)}`;
    }
  }

  private later(): void {
    this.soon ??= setTimeout(() => {
      this.soon = undefined;
      this.look();
    }, DELAY).unref();
  }

  private look(): void {
    this.connections?.touch();
    this.write();
    this.sync();
    this.readDevices();
  }

  /** Reads the addresses of the devices with ip(8), and writes them when it has ended. */
  private readDevices(): void {
    const failed = (error: unknown): void =>
      this.log?.limited("state devices", "warn", `addresses of internal ports are not saved: ${reasonOf(error)}`);
    const read = (error: Error | null, stdout: string): void => {
      if (this.subscription === undefined) return;
      try {
        if (error !== null) throw error;
        this.devices = readDevices(stdout);
      } catch (cause) {
        // ENOENT: no ip(8). EAGAIN: no more processes. SyntaxError, TypeError: output of another form. The addresses stay as
        // they were last read.
        failed(cause);
        return;
      }
      if (this.write()) this.sync();
    };
    try {
      execFile("ip", ["-json", "address", "show"], { maxBuffer: 64 << 20 }, read);
    } catch (error) {
      // ENOMEM, EMFILE: no memory or no descriptor for another process.
      if (systemErrorCode(error) === undefined) throw error;
      failed(error);
    }
  }

  private sync(): void {
    syncFile(this.path).catch((error: unknown) => {
      // Closed meanwhile, or never written: writeFailed() has logged that.
      if (this.subscription === undefined || this.failures > 0) return;
      this.log?.limited("state sync", "warn", `state file ${this.path} may not be on the disk: ${reasonOf(error)}`);
    });
  }

  /** Writes the file if it would differ. @returns whether it was written */
  private write(): boolean {
    try {
      const text = `${JSON.stringify(snapshot(this.nokmod, this.boot, this.devices), null, 1)}\n`;
      if (text === this.written) return false;
      replaceFile(this.path, text, { mode: MODE, durable: false });
      this.written = text;
    } catch (error) {
      // The caller is a request or a timer, which must not fail because of ENOSPC, EROFS or EACCES.
      this.writeFailed(error);
      return false;
    }
    if (this.failures > 0) {
      this.log?.info(`state file ${this.path} is written again, after ${this.failures} failures`);
      this.failures = 0;
    }
    return true;
  }

  /** Logs an error with its stack if neither a system call nor this module reported it. */
  private logFault(error: unknown): void {
    if (error instanceof NokmodError || systemErrorCode(error) !== undefined) return;
    this.log?.limited("state fault", "error", `state file ${this.path}: fault`, error);
  }

  private writeFailed(error: unknown): void {
    this.logFault(error);
    if (this.failures++ > 0) return;
    this.log?.warn(
      `cannot write the state file ${this.path}: ${reasonOf(error)}; the last good one stays, and writing is tried again`,
    );
  }
}

/** The code of a failed system call, else the message. */
function reasonOf(error: unknown): string {
  return systemErrorCode(error) ?? (error instanceof Error ? error.message : String(error));
}

/** The id of the machine's boot: ifindexes of a state file from another boot name other devices. */
function bootId(): string {
  return readFileSync("/proc/sys/kernel/random/boot_id", "utf8").trim();
}
