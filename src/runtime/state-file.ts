import { execFile, spawnSync } from "node:child_process";
import { readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { type MeterBandSpec, OvsClient } from "../client/ovs/index.ts";
import { Errno } from "../core/errors.ts";
import { tunnelVport } from "../tunnel/kinds/index.ts";
import { OVS_VPORT_TYPE_INTERNAL, OVS_ZONE_LIMIT_DEFAULT_ZONE, OVSP_LOCAL } from "../uapi/openvswitch.ts";
import type { Nokmod } from "./nokmod.ts";

/** Of the file. */
const VERSION = 2;
/** Milliseconds from a change until it is written. */
const DELAY = 100;
/** Milliseconds between looks at the addresses of internal ports. */
const INTERVAL = 10_000;

/** What is needed to make the device of an internal port or a tunnel again. */
interface Device {
  /** Empty: it has none. */
  readonly address: string;
  readonly mtu: number;
  readonly up: boolean;
  /** ADDRESS/PREFIX */
  readonly addresses: readonly string[];
}

interface SavedPort {
  readonly name: string;
  readonly type: number;
  readonly portNo: number;
  readonly ifindex: number;
  readonly upcallPids: readonly number[];
  /** VXLAN and GENEVE. */
  readonly tunnelPort: number | null;
  readonly gbp: boolean;
}

interface SavedMeter {
  readonly id: number;
  readonly kbps: boolean;
  /** OVS_METER_ATTR_CLEAR */
  readonly clear: boolean;
  readonly bands: readonly MeterBandSpec[];
}

interface Saved {
  readonly version: number;
  readonly boot: string;
  readonly datapaths: readonly {
    readonly name: string;
    readonly ifindex: number;
    readonly userFeatures: number;
    readonly masksCacheSize: number;
    readonly perCpuPids: readonly number[] | null;
    readonly ports: readonly SavedPort[];
    readonly meters: readonly SavedMeter[];
  }[];
  /** Empty: no limit was ever set. */
  readonly zoneLimits: readonly { readonly zone: number; readonly limit: number }[];
  readonly timeoutPolicies: readonly {
    readonly name: string;
    readonly family: number;
    readonly proto: number;
    /** Milliseconds by CTA_TIMEOUT_* number. */
    readonly timeouts: readonly number[];
  }[];
  /** Payload of IFLA_LINKINFO, base64, by name. */
  readonly tunnels: Readonly<Record<string, string>>;
  readonly devices: Readonly<Record<string, Device>>;
}

/**
 * What was configured, in a file, so that a nokmod that was killed can be started again under a running ovs-vswitchd: it
 * finds its datapath as it left it, less flows and connections. An orderly end removes the file.
 */
export class StateFile {
  private readonly client: OvsClient;
  private subscription: { close(): void } | undefined;
  private timer: NodeJS.Timeout | undefined;
  private soon: NodeJS.Timeout | undefined;
  private devices: Record<string, Device> = {};
  private written = "";

  constructor(
    private readonly nokmod: Nokmod,
    private readonly path: string,
  ) {
    this.client = new OvsClient(nokmod);
  }

  /** Makes what the file tells of, as far as that can be. @returns what could not be made, for people */
  restore(): string[] {
    let saved: Saved;
    try {
      saved = JSON.parse(readFileSync(this.path, "utf8")) as Saved;
    } catch {
      return [];
    }
    if (saved.boot !== bootId()) return [];
    if (saved.version !== VERSION) return [`${this.path} was written by another version`];
    const failures: string[] = [];
    const attempt = (what: string, act: () => void): void => {
      try {
        act();
      } catch (error) {
        if (!(error instanceof Errno)) throw error;
        failures.push(`${what}: ${error.message}`);
      }
    };
    for (const [name, info] of Object.entries(saved.tunnels)) {
      attempt(name, () => this.nokmod.kernel.tunnelDevices.create(name, Buffer.from(info, "base64")));
    }
    for (const { timeouts, ...policy } of saved.timeoutPolicies) {
      this.nokmod.conntrack.timeoutPolicies.set({ ...policy, timeouts: Int32Array.from(timeouts) });
    }
    // Not by a message, which may not hold all of them.
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
    const commands = Object.entries(saved.devices).flatMap(([name, { address, mtu, up, addresses }]) => [
      `link set dev ${name} ${address === "" ? "" : `address ${address}`} mtu ${mtu} ${up ? "up" : "down"}`,
      ...addresses.map((one) => `addr add ${one} dev ${name}`),
    ]);
    if (commands.length > 0) spawnSync("ip", ["-force", "-batch", "-"], { input: `${commands.join("\n")}\n` });
    this.devices = { ...saved.devices };
    return failures;
  }

  /** Keeps the file as things are from now on. */
  follow(): void {
    const changed = (): void => {
      this.soon ??= setTimeout(() => {
        this.soon = undefined;
        this.look();
      }, DELAY).unref();
    };
    this.subscription = this.client.subscribe(changed, ["ovs_datapath", "ovs_vport"], changed);
    this.nokmod.onConfigured = changed;
    this.timer = setInterval(() => this.look(), INTERVAL).unref();
    this.look();
  }

  /** @param remove the file */
  close(remove: boolean): void {
    this.subscription?.close();
    this.subscription = undefined;
    this.nokmod.onConfigured = undefined;
    clearInterval(this.timer);
    clearTimeout(this.soon);
    this.client.close();
    if (remove) rmSync(this.path, { force: true });
  }

  private look(): void {
    this.write();
    execFile("ip", ["-json", "address", "show"], { maxBuffer: 64 << 20 }, (error, stdout) => {
      if (error !== null || this.subscription === undefined) return;
      this.devices = readDevices(stdout);
      this.write();
    });
  }

  private write(): void {
    const { client, nokmod } = this;
    const datapaths = client.datapaths().map(({ name, ifindex, userFeatures, masksCacheSize, perCpuPids }) => ({
      name,
      ifindex,
      userFeatures,
      masksCacheSize,
      perCpuPids,
      ports: client
        .vports(ifindex)
        .filter(({ netnsId }) => netnsId === null)
        .map(({ name, type, portNo, ifindex, upcallPids, tunnelPort, gbp }) => ({
          name,
          type,
          portNo,
          ifindex,
          upcallPids,
          tunnelPort,
          gbp,
        })),
      meters: [...(nokmod.kernel.datapaths.byIfindex(ifindex)?.meters ?? [])].map(({ id, kbps, keepStats, bands }) => ({
        id,
        kbps,
        clear: !keepStats,
        bands: bands.map(({ type, rate, burst }) => ({ type, rate, burst })),
      })),
    }));
    const { limits } = nokmod.conntrack;
    const ports = datapaths.flatMap(({ ports }) => ports);
    const internal = ports.filter(({ type }) => type === OVS_VPORT_TYPE_INTERNAL).map(({ name }) => name);
    // Devices of ports of the tunnel types come and go with their ports.
    const owned = new Set(ports.filter(({ type }) => tunnelVport(type) !== undefined).map(({ name }) => name));
    const tunnels = [...nokmod.kernel.tunnelDevices]
      .filter(({ netdev }) => !owned.has(netdev.name))
      .map(({ netdev, info }) => [netdev.name, Buffer.from(info).toString("base64")] as const);
    const state: Saved = {
      version: VERSION,
      boot: bootId(),
      datapaths,
      zoneLimits: !limits.enabled
        ? []
        : [
            { zone: OVS_ZONE_LIMIT_DEFAULT_ZONE, limit: limits.defaultLimit },
            ...[...limits.zones()].map((zone) => ({ zone, limit: limits.limitOf(zone) })),
          ],
      timeoutPolicies: [...nokmod.conntrack.timeoutPolicies.entries()].map(([, { timeouts, ...policy }]) => ({
        ...policy,
        timeouts: [...timeouts],
      })),
      tunnels: Object.fromEntries(tunnels),
      devices: Object.fromEntries(
        [...internal, ...tunnels.map(([name]) => name)].flatMap((name) =>
          this.devices[name] === undefined ? [] : [[name, this.devices[name]]],
        ),
      ),
    };
    const text = `${JSON.stringify(state, null, 1)}\n`;
    if (text === this.written) return;
    this.written = text;
    writeFileSync(`${this.path}.new`, text, { mode: 0o600 });
    renameSync(`${this.path}.new`, this.path);
  }
}

/** What `ip -json address show` prints. */
function readDevices(text: string): Record<string, Device> {
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

/** Interface numbers and devices mean nothing after a reboot. */
function bootId(): string {
  return readFileSync("/proc/sys/kernel/random/boot_id", "utf8").trim();
}
