import { Errno } from "../core/errors.ts";
import { EACCES, EINVAL, ENOENT } from "../uapi/errno.ts";
import type { Conntrack } from "./conntrack.ts";
import { REPLIED, TCP_RETRANS, TCP_UNACK, TIMEOUT, UNREPLIED } from "./options.ts";

const INT_MAX = 0x7fff_ffff;
/** Timeouts are kept in 32 bits of milliseconds. */
const MAX_SECONDS = Math.floor(INT_MAX / 1000);
const NETFILTER = "net.netfilter.";

/** One setting: how it is read and written, and what it may be. */
interface Setting {
  readonly min: number;
  readonly max: number;
  readonly get: () => number;
  /** Absent: read-only. */
  readonly set?: (value: number) => void;
}

/**
 * The settings of connection tracking under the names that sysctl(8) knows: those of /proc/sys/net/netfilter, and
 * net.ipv4.ipfrag_* of reassembly (spec/conntrack C-257, C-262, C-310). A change takes effect at the next packet; of a
 * timeout, when an entry is next refreshed.
 *
 * @example
 * ```ts
 * nokmod.sysctl.set("net.netfilter.nf_conntrack_tcp_be_liberal", 1);
 * ```
 */
export class ConntrackSysctl {
  private readonly settings = new Map<string, Setting>();

  constructor(conntrack: Conntrack) {
    const { options, timeouts, reassembly } = conntrack;
    const add = (name: string, setting: Setting): void => {
      this.settings.set(name, setting);
    };
    const number = (name: string, min: number, max: number, get: () => number, set?: (value: number) => void): void =>
      add(`${NETFILTER}nf_conntrack_${name}`, { min, max, get, set });
    const flag = <K extends string>(name: string, target: Record<K, boolean>, field: K): void =>
      number(
        name,
        0,
        1,
        () => Number(target[field]),
        (value) => {
          target[field] = value !== 0;
        },
      );
    const timeout = (name: string, table: Int32Array, index: number): void =>
      number(
        name,
        0,
        MAX_SECONDS,
        () => Math.floor(table[index] / 1000),
        (value) => {
          table[index] = value * 1000;
        },
      );

    number(
      "max",
      0,
      INT_MAX,
      () => options.max,
      (value) => conntrack.setMax(value),
    );
    add("net.nf_conntrack_max", {
      min: 0,
      max: INT_MAX,
      get: () => options.max,
      set: (value) => conntrack.setMax(value),
    });
    number("count", 0, INT_MAX, () => conntrack.count);
    number(
      "buckets",
      1,
      INT_MAX,
      () => options.buckets,
      (value) => {
        options.buckets = value;
      },
    );
    number(
      "expect_max",
      1,
      INT_MAX,
      () => conntrack.expectations.max,
      (value) => {
        conntrack.expectations.max = value;
      },
    );
    number(
      "events",
      0,
      2,
      () => options.events,
      (value) => {
        options.events = value as 0 | 1 | 2;
      },
    );
    flag("checksum", options, "checksum");
    flag("acct", options, "acct");
    flag("timestamp", options, "timestamp");
    flag("tcp_loose", options, "tcpLoose");
    flag("tcp_be_liberal", options, "tcpBeLiberal");
    flag("tcp_ignore_invalid_rst", options, "tcpIgnoreInvalidRst");
    number(
      "tcp_max_retrans",
      0,
      255,
      () => options.tcpMaxRetrans,
      (value) => {
        options.tcpMaxRetrans = value;
      },
    );
    for (const [i, state] of TCP_STATES.entries()) timeout(`tcp_timeout_${state}`, timeouts.tcp, i + 1);
    timeout("tcp_timeout_max_retrans", timeouts.tcp, TCP_RETRANS);
    timeout("tcp_timeout_unacknowledged", timeouts.tcp, TCP_UNACK);
    timeout("udp_timeout", timeouts.udp, UNREPLIED);
    timeout("udp_timeout_stream", timeouts.udp, REPLIED);
    timeout("gre_timeout", timeouts.gre, UNREPLIED);
    timeout("gre_timeout_stream", timeouts.gre, REPLIED);
    timeout("icmp_timeout", timeouts.icmp, TIMEOUT);
    timeout("icmpv6_timeout", timeouts.icmpv6, TIMEOUT);
    timeout("generic_timeout", timeouts.generic, TIMEOUT);
    for (const [i, state] of SCTP_STATES.entries()) timeout(`sctp_timeout_${state}`, timeouts.sctp, i + 1);
    for (const [i, state] of DCCP_STATES.entries()) timeout(`dccp_timeout_${state}`, timeouts.dccp, i + 1);

    for (const [prefix, limits, time] of [
      ["net.ipv4.ipfrag_", reassembly.limits[0], "time"],
      [`${NETFILTER}nf_conntrack_frag6_`, reassembly.limits[1], "timeout"],
    ] as const) {
      add(`${prefix}${time}`, {
        min: 0,
        max: MAX_SECONDS,
        get: () => limits.timeout / 1000,
        set: (value) => {
          limits.timeout = value * 1000;
        },
      });
      add(`${prefix}high_thresh`, {
        min: 0,
        max: INT_MAX,
        get: () => limits.high,
        set: (value) => {
          limits.high = value;
        },
      });
    }
    add("net.ipv4.ipfrag_max_dist", {
      min: 0,
      max: INT_MAX,
      get: () => reassembly.maxDistance,
      set: (value) => {
        reassembly.maxDistance = value;
      },
    });
  }

  /** All names, sorted. */
  names(): string[] {
    return [...this.settings.keys()].sort();
  }

  /** @throws Errno ENOENT */
  get(name: string): number {
    return this.find(name).get();
  }

  /** @throws Errno ENOENT; EACCES if it can only be read; EINVAL if the value is no whole number or out of range */
  set(name: string, value: number | string): void {
    const setting = this.find(name);
    if (setting.set === undefined) throw new Errno(EACCES, `${name} can only be read`);
    const wanted = typeof value === "number" ? value : /^\s*\d+\s*$/.test(value) ? Number(value) : Number.NaN;
    if (!Number.isInteger(wanted) || wanted < setting.min || wanted > setting.max) {
      throw new Errno(EINVAL, `${name} takes whole numbers from ${setting.min} to ${setting.max}, not ${value}`);
    }
    setting.set(wanted);
  }

  /** Names may be written with slashes, as sysctl(8) allows. */
  private find(name: string): Setting {
    const setting = this.settings.get(name.replaceAll("/", "."));
    if (setting === undefined) throw new Errno(ENOENT, `no setting ${name}`);
    return setting;
  }
}

/** In the order of enum tcp_conntrack, from SYN_SENT. */
const TCP_STATES = [
  "syn_sent",
  "syn_recv",
  "established",
  "fin_wait",
  "close_wait",
  "last_ack",
  "time_wait",
  "close",
] as const;

/** In the order of enum sctp_conntrack, from CLOSED. */
const SCTP_STATES = [
  "closed",
  "cookie_wait",
  "cookie_echoed",
  "established",
  "shutdown_sent",
  "shutdown_recd",
  "shutdown_ack_sent",
  "heartbeat_sent",
] as const;

/** In the order of enum ct_dccp_states, from REQUEST. */
const DCCP_STATES = ["request", "respond", "partopen", "open", "closereq", "closing", "timewait"] as const;
