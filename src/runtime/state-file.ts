import { execFile, spawnSync } from "node:child_process";
import { readFileSync, rmSync } from "node:fs";
import { OvsClient } from "../client/ovs/index.ts";
import { Errno, errnoName, NokmodError } from "../core/errors.ts";
import type { Log } from "../core/log.ts";
import type { Datapath } from "../datapath/datapath.ts";
import { tunnelVport } from "../tunnel/kinds/index.ts";
import {
  OVS_DP_F_DISPATCH_UPCALL_PER_CPU,
  OVS_VPORT_TYPE_INTERNAL,
  OVS_ZONE_LIMIT_DEFAULT_ZONE,
  OVSP_LOCAL,
} from "../uapi/openvswitch.ts";
import { keepAside, readPlainFile, replaceFile, syncFile } from "./atomic-file.ts";
import type { Nokmod } from "./nokmod.ts";
import { parseState, type SavedDatapath, type SavedDevice, type SavedState, STATE_VERSION } from "./saved-state.ts";

/** Milliseconds from a change that is not written at once until it is written, and from any until it is on the disk. */
const DELAY = 100;
/** Milliseconds between looks at the addresses of internal ports, and between attempts to write after a failure. */
const INTERVAL = 10_000;
/** Of the file: it tells port ids and addresses. */
const MODE = 0o600;

/**
 * Keeps what is configured in a file, so that a nokmod started after a crash continues under a running ovs-vswitchd:
 * datapaths with their ports and meters, limits of zones, timeout policies, tunnel devices and addresses of internal ports,
 * but no flows and no connections. An orderly end removes the file.
 *
 * A change of datapaths or ports is in the file before its answer goes out: a kill right after the answer loses nothing.
 * It is handed to the kernel then; the disk gets it 100 ms later (fsync in a thread), for a file from before the machine's
 * boot is not used. All else is written within 100 ms, addresses within ten seconds.
 *
 * A failure to write is logged once and counted; the last good file stays, and writing is tried again.
 */
export class StateFile {
  /** Times that the file could not be written since the last time that it could. */
  failures = 0;
  private readonly client: OvsClient;
  private subscription: { close(): void } | undefined;
  private timer: NodeJS.Timeout | undefined;
  private soon: NodeJS.Timeout | undefined;
  private devices: Record<string, SavedDevice> = {};
  private written = "";
  private readonly boot = bootId();

  /** @param path of the file; the caller must hold a lock that keeps other processes from it */
  constructor(
    private readonly nokmod: Nokmod,
    private readonly path: string,
    private readonly log?: Log,
  ) {
    this.client = new OvsClient(nokmod);
  }

  /**
   * Makes what the file describes, as far as that can be made. A file that cannot be read is moved to PATH.bad-N.
   * @returns what could not be made or read, for people
   */
  restore(): string[] {
    let saved: SavedState;
    try {
      const text = readPlainFile(this.path);
      if (text === undefined) return [];
      saved = parseState(text);
    } catch (error) {
      return [this.setAside(error as Error)];
    }
    if (saved.boot !== this.boot) return [];
    const failures: string[] = [];
    const attempt = (what: string, act: () => void): void => {
      try {
        act();
      } catch (error) {
        // One part that cannot be made must not keep the others from being made; a fault of ours is logged with its stack.
        if (!(error instanceof Errno)) this.log?.error(`state file: ${what}`, error);
        failures.push(`${what}: ${error instanceof Errno ? errnoName(error.errno) : (error as Error).message}`);
      }
    };
    for (const [name, info] of Object.entries(saved.tunnels)) {
      attempt(name, () => this.nokmod.kernel.tunnelDevices.create(name, Buffer.from(info, "base64")));
    }
    for (const { timeouts, ...policy } of saved.timeoutPolicies) {
      this.nokmod.conntrack.timeoutPolicies.set({ ...policy, timeouts: Int32Array.from(timeouts) });
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
    failures.push(...configureDevices(saved.devices));
    this.devices = { ...saved.devices };
    return failures;
  }

  /** Keeps the file as things are from now on. */
  follow(): void {
    this.nokmod.kernel.onChange = () => {
      this.write();
      this.later();
    };
    const changed = (): void => this.later();
    // Ports whose devices vanish, and what the built-in switch does, are told by multicast alone.
    this.subscription = this.client.subscribe(changed, ["ovs_datapath", "ovs_vport"], changed);
    this.nokmod.onConfigured = changed;
    this.timer = setInterval(() => this.look(), INTERVAL).unref();
    this.look();
  }

  /** @param remove the file */
  close(remove: boolean): void {
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

  /** Moves a file that cannot be used out of the way. @returns what to say of it */
  private setAside(error: Error): string {
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
    this.write();
    this.sync();
    execFile("ip", ["-json", "address", "show"], { maxBuffer: 64 << 20 }, (error, stdout) => {
      if (this.subscription === undefined) return;
      try {
        if (error !== null) throw error;
        this.devices = readDevices(stdout);
      } catch (cause) {
        // No ip(8), no room for a process, or output of another form: the addresses stay as they were last seen.
        this.log?.limited("state devices", "warn", `addresses of internal ports are not saved: ${reasonOf(cause)}`);
        return;
      }
      if (this.write()) this.sync();
    });
  }

  private sync(): void {
    syncFile(this.path).catch((error: unknown) => {
      // Closed meanwhile, or never written: what failed then has been logged.
      if (this.subscription === undefined || this.failures > 0) return;
      this.log?.limited("state sync", "warn", `state file ${this.path} may not be on the disk: ${reasonOf(error)}`);
    });
  }

  /** Writes the file if it would differ. @returns whether it was written */
  private write(): boolean {
    try {
      const text = `${JSON.stringify(this.state(), null, 1)}\n`;
      if (text === this.written) return false;
      replaceFile(this.path, text, { mode: MODE, durable: false });
      this.written = text;
    } catch (error) {
      // A request or a timer waits for us: neither must fail because a disk is full.
      this.writeFailed(error);
      return false;
    }
    if (this.failures > 0) {
      this.log?.info(`state file ${this.path} is written again, after ${this.failures} failures`);
      this.failures = 0;
    }
    return true;
  }

  private writeFailed(error: unknown): void {
    if (this.failures++ > 0) return;
    this.log?.warn(
      `cannot write the state file ${this.path}: ${reasonOf(error)}; the last good one stays, and writing is tried again`,
    );
  }

  private state(): SavedState {
    const { nokmod } = this;
    const { kernel, conntrack } = nokmod;
    const datapaths = kernel.datapaths.list.map(saveDatapath);
    const { limits } = conntrack;
    const ports = datapaths.flatMap(({ ports }) => ports);
    const internal = ports.filter(({ type }) => type === OVS_VPORT_TYPE_INTERNAL).map(({ name }) => name);
    // Devices of ports of the tunnel types come and go with their ports.
    const owned = new Set(ports.filter(({ type }) => tunnelVport(type) !== undefined).map(({ name }) => name));
    const tunnels = [...kernel.tunnelDevices]
      .filter(({ netdev }) => !owned.has(netdev.name))
      .map(({ netdev, info }) => [netdev.name, Buffer.from(info).toString("base64")] as const);
    const known = [...internal, ...tunnels.map(([name]) => name)].filter((name) => this.devices[name] !== undefined);
    return {
      version: STATE_VERSION,
      boot: this.boot,
      datapaths,
      zoneLimits: !limits.enabled
        ? []
        : [
            { zone: OVS_ZONE_LIMIT_DEFAULT_ZONE, limit: limits.defaultLimit },
            ...[...limits.zones()].map((zone) => ({ zone, limit: limits.limitOf(zone) })),
          ],
      timeoutPolicies: [...conntrack.timeoutPolicies.entries()].map(([, { timeouts, ...policy }]) => ({
        ...policy,
        timeouts: [...timeouts],
      })),
      tunnels: Object.fromEntries(tunnels),
      devices: Object.fromEntries(known.map((name) => [name, this.devices[name]])),
    };
  }
}

/** A datapath, read from the tables themselves: a request that changes them may be under way on the netlink bus. */
function saveDatapath(datapath: Datapath): SavedDatapath {
  const { name, ifindex, userFeatures, flows, perCpuPids, vports, meters } = datapath;
  const perCpu = (userFeatures & OVS_DP_F_DISPATCH_UPCALL_PER_CPU) !== 0 && perCpuPids !== undefined;
  return {
    name,
    ifindex,
    userFeatures,
    masksCacheSize: flows.maskCacheSize,
    perCpuPids: perCpu ? [...perCpuPids] : null,
    ports: vports.flatMap((vport) => {
      // A device that was moved to another namespace stays there, beyond our reach.
      if (vport === undefined || vport.port.netnsid !== undefined) return [];
      const options = tunnelVport(vport.type) !== undefined ? datapath.tunnelOptions(vport.port) : undefined;
      return {
        name: vport.name,
        type: vport.type,
        portNo: vport.portNo,
        ifindex: vport.port.ifindex,
        upcallPids: [...vport.upcallPids],
        tunnelPort: options?.dstPort ?? null,
        gbp: options?.gbp ?? false,
      };
    }),
    meters: [...meters].map(({ id, kbps, keepStats, bands }) => ({
      id,
      kbps,
      clear: !keepStats,
      bands: bands.map(({ type, rate, burst }) => ({ type, rate, burst })),
    })),
  };
}

/** Gives devices their address, MTU, state and addresses back. @returns what ip(8) could not do */
function configureDevices(devices: SavedState["devices"]): string[] {
  const commands = Object.entries(devices).flatMap(([name, { address, mtu, up, addresses }]) => [
    `link set dev ${name} ${address === "" ? "" : `address ${address}`} mtu ${mtu} ${up ? "up" : "down"}`,
    ...addresses.map((prefix) => `addr add ${prefix} dev ${name}`),
  ]);
  if (commands.length === 0) return [];
  const { error, stderr } = spawnSync("ip", ["-force", "-batch", "-"], {
    input: `${commands.join("\n")}\n`,
    encoding: "utf8",
  });
  if (error !== undefined) return [`addresses of internal ports: ip: ${reasonOf(error)}`];
  // "Command failed -:LINE" follows each message.
  return stderr
    .split("\n")
    .filter((line) => line !== "" && !line.startsWith("Command failed"))
    .map((line) => `ip: ${line}`);
}

/** ENOSPC, or the message where there is no code. */
function reasonOf(error: unknown): string {
  const { code, message } = error as NodeJS.ErrnoException;
  return typeof code === "string" ? code : message;
}

/** What `ip -json address show` prints. */
function readDevices(text: string): Record<string, SavedDevice> {
  const links = JSON.parse(text) as readonly {
    readonly ifname: string;
    readonly address?: string;
    readonly mtu: number;
    readonly flags: readonly string[];
    readonly addr_info: readonly { readonly local?: string; readonly prefixlen?: number; readonly scope?: string }[];
  }[];
  return Object.fromEntries(
    links.map(({ ifname, address, mtu, flags, addr_info }) => [
      ifname,
      {
        address: address ?? "",
        mtu,
        up: flags.includes("UP"),
        addresses: addr_info
          .filter(({ local, scope }) => local !== undefined && scope !== "link")
          .map(({ local, prefixlen }) => `${local}/${prefixlen}`),
      },
    ]),
  );
}

/** Names the machine's boot: interface numbers and devices mean nothing after the next one. */
function bootId(): string {
  return readFileSync("/proc/sys/kernel/random/boot_id", "utf8").trim();
}
