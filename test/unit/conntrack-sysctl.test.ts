import { describe, expect, it } from "vitest";
import { ConntrackSysctl } from "../../src/conntrack/sysctl.ts";
import type { Errno } from "../../src/core/errors.ts";
import { MemoryPorts } from "../../src/port/memory/ports.ts";
import { Nokmod } from "../../src/runtime/nokmod.ts";
import { EACCES, EINVAL, ENOENT } from "../../src/uapi/errno.ts";
import { CtLab } from "../support/conntrack.ts";
import { ethernet, fragmentIpv4, frame, icmp, icmpv6, ipv4, ipv6, tcp, udp } from "../support/frames.ts";

const errno = (act: () => void): number => {
  try {
    act();
  } catch (error) {
    return (error as Errno).errno;
  }
  return 0;
};

const NF = "net.netfilter.nf_conntrack_";

describe("settings by their sysctl names", () => {
  it("every name of nf_conntrack_standalone but those without effect here, with the kernel's values", () => {
    const sysctl = new ConntrackSysctl(new CtLab({ max: 262144 }).conntrack);
    const values = Object.fromEntries(sysctl.names().map((name) => [name, sysctl.get(name)]));
    expect(values).toEqual({
      "net.ipv4.ipfrag_high_thresh": 4194304,
      "net.ipv4.ipfrag_max_dist": 64,
      "net.ipv4.ipfrag_time": 30,
      [`${NF}acct`]: 0,
      [`${NF}buckets`]: 262144,
      [`${NF}checksum`]: 1,
      [`${NF}count`]: 0,
      [`${NF}dccp_timeout_closereq`]: 64,
      [`${NF}dccp_timeout_closing`]: 64,
      [`${NF}dccp_timeout_open`]: 43200,
      [`${NF}dccp_timeout_partopen`]: 480,
      [`${NF}dccp_timeout_request`]: 240,
      [`${NF}dccp_timeout_respond`]: 480,
      [`${NF}dccp_timeout_timewait`]: 240,
      [`${NF}events`]: 1,
      [`${NF}expect_max`]: 4096,
      [`${NF}frag6_high_thresh`]: 4194304,
      [`${NF}frag6_timeout`]: 60,
      [`${NF}generic_timeout`]: 600,
      [`${NF}gre_timeout`]: 30,
      [`${NF}gre_timeout_stream`]: 180,
      [`${NF}icmp_timeout`]: 30,
      [`${NF}icmpv6_timeout`]: 30,
      [`${NF}max`]: 262144,
      [`${NF}sctp_timeout_closed`]: 10,
      [`${NF}sctp_timeout_cookie_echoed`]: 3,
      [`${NF}sctp_timeout_cookie_wait`]: 3,
      [`${NF}sctp_timeout_established`]: 210,
      [`${NF}sctp_timeout_heartbeat_sent`]: 30,
      [`${NF}sctp_timeout_shutdown_ack_sent`]: 3,
      [`${NF}sctp_timeout_shutdown_recd`]: 3,
      [`${NF}sctp_timeout_shutdown_sent`]: 3,
      [`${NF}tcp_be_liberal`]: 0,
      [`${NF}tcp_ignore_invalid_rst`]: 0,
      [`${NF}tcp_loose`]: 1,
      [`${NF}tcp_max_retrans`]: 3,
      [`${NF}tcp_timeout_close`]: 10,
      [`${NF}tcp_timeout_close_wait`]: 60,
      [`${NF}tcp_timeout_established`]: 432000,
      [`${NF}tcp_timeout_fin_wait`]: 120,
      [`${NF}tcp_timeout_last_ack`]: 30,
      [`${NF}tcp_timeout_max_retrans`]: 300,
      [`${NF}tcp_timeout_syn_recv`]: 60,
      [`${NF}tcp_timeout_syn_sent`]: 120,
      [`${NF}tcp_timeout_time_wait`]: 120,
      [`${NF}tcp_timeout_unacknowledged`]: 300,
      [`${NF}timestamp`]: 0,
      [`${NF}udp_timeout`]: 30,
      [`${NF}udp_timeout_stream`]: 120,
      "net.nf_conntrack_max": 262144,
    });
  });

  it("what makes no sense is refused and changes nothing", () => {
    const sysctl = new ConntrackSysctl(new CtLab().conntrack);
    expect(errno(() => sysctl.set(`${NF}nosuch`, 1))).toBe(ENOENT);
    expect(errno(() => sysctl.get("nf_conntrack_max"))).toBe(ENOENT);
    expect(errno(() => sysctl.set(`${NF}count`, 1))).toBe(EACCES);
    for (const value of [2, -1, 0.5, Number.NaN, "yes", "", "1e0", "0x1"]) {
      expect(
        errno(() => sysctl.set(`${NF}acct`, value)),
        String(value),
      ).toBe(EINVAL);
    }
    expect(errno(() => sysctl.set(`${NF}tcp_timeout_close`, 3_000_000))).toBe(EINVAL);
    expect(sysctl.get(`${NF}acct`)).toBe(0);
    sysctl.set("net/netfilter/nf_conntrack_acct", " 1 ");
    expect(sysctl.get(`${NF}acct`)).toBe(1);
  });

  it("C-262: each timeout is the one that a new entry of its protocol gets", () => {
    const A = "10.0.0.1";
    const B = "10.0.0.2";
    const to = (o: object): Uint8Array => frame(ethernet(), ipv4({ src: A, dst: B }), tcp(o));
    const from = (o: object): Uint8Array =>
      frame(ethernet(), ipv4({ src: B, dst: A }), tcp({ src: 2000, dst: 1000, ...o }));
    const first: [string, Uint8Array][] = [
      ["tcp_timeout_syn_sent", to({ flags: 2 })],
      ["udp_timeout", frame(ethernet(), ipv4(), udp())],
      ["icmp_timeout", frame(ethernet(), ipv4(), icmp({ type: 8 }))],
      ["icmpv6_timeout", frame(ethernet(), ipv6(), icmpv6({ type: 128 }))],
      ["generic_timeout", frame(ethernet(), ipv4({ proto: 89 }), "ospf")],
      ["gre_timeout", frame(ethernet(), ipv4({ proto: 47 }), Uint8Array.from([0, 0, 8, 0]))],
    ];
    for (const [name, bytes] of first) {
      const lab = new CtLab();
      new ConntrackSysctl(lab.conntrack).set(NF + name, 77);
      lab.send(bytes, { commit: true });
      expect(lab.left(), name).toBe(77);
    }
    const lab = new CtLab();
    const sysctl = new ConntrackSysctl(lab.conntrack);
    const states: [string, Uint8Array][] = [
      ["syn_sent", to({ flags: 2, seq: 100 })],
      ["syn_recv", from({ flags: 0x12, seq: 500, ack: 101 })],
      ["established", to({ flags: 0x10, seq: 101, ack: 501 })],
      ["fin_wait", to({ flags: 0x11, seq: 101, ack: 501 })],
      ["close_wait", from({ flags: 0x10, seq: 501, ack: 102 })],
      ["last_ack", from({ flags: 0x11, seq: 501, ack: 102 })],
      ["time_wait", to({ flags: 0x10, seq: 102, ack: 502 })],
      ["close", from({ flags: 4, seq: 502 })],
    ];
    for (const [i, [state, bytes]] of states.entries()) {
      sysctl.set(`${NF}tcp_timeout_${state}`, 1000 + i);
      sysctl.set(`${NF}tcp_timeout_unacknowledged`, 5000);
      sysctl.set(`${NF}tcp_timeout_max_retrans`, 5000);
      lab.send(bytes, { commit: true });
      expect(lab.left(), state).toBe(1000 + i);
    }
  });

  it("C-256: a limit of 0 is no limit", () => {
    const lab = new CtLab({ max: 16 });
    new ConntrackSysctl(lab.conntrack).set("net.nf_conntrack_max", 0);
    const { words } = lab.conntrack.table;
    for (let i = 0; i < 20_000; i++) {
      const bytes = frame(ethernet(), ipv4({ src: `10.1.${i >> 8}.${i & 255}` }), udp({ src: i + 1 }));
      expect(lab.send(bytes, { commit: true }).error).toBe(0);
    }
    expect(lab.conntrack.count).toBe(20_000);
    // The table is never copied, which would hold packets up.
    expect(lab.conntrack.table.words).toBe(words);
    const again = frame(ethernet(), ipv4({ src: "10.1.0.7" }), udp({ src: 8 }));
    expect(lab.send(again).packet.ct).toBe(lab.slots[7]);
  });

  it("C-070: fragments' time and memory", () => {
    const pieces = fragmentIpv4(frame(ethernet(), ipv4(), udp(), "x".repeat(3000)), 1400);
    const lab = new CtLab();
    const sysctl = new ConntrackSysctl(lab.conntrack);
    sysctl.set("net.ipv4.ipfrag_time", 5);
    lab.send(pieces[0]);
    lab.clock.advance(5001);
    expect(pieces.slice(1).map((piece) => lab.send(piece).error)).toEqual([-115, -115]);
    sysctl.set("net.ipv4.ipfrag_high_thresh", 1);
    expect(lab.send(pieces[0]).error).toBe(-12);
  });

  it("a Nokmod takes them as an option, and while it runs", () => {
    const nokmod = new Nokmod({ ports: new MemoryPorts(), tickInterval: 0, sysctl: { [`${NF}tcp_be_liberal`]: "1" } });
    expect(nokmod.conntrack.options.tcpBeLiberal).toBe(true);
    nokmod.sysctl.set(`${NF}tcp_be_liberal`, 0);
    expect(nokmod.conntrack.options.tcpBeLiberal).toBe(false);
    nokmod.close();
    const bad = { [`${NF}acct`]: 7 };
    expect(errno(() => new Nokmod({ ports: new MemoryPorts(), tickInterval: 0, sysctl: bad }))).toBe(EINVAL);
  });
});
