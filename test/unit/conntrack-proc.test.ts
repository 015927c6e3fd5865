import { describe, expect, it } from "vitest";
import { ConntrackClient } from "../../src/client/conntrack.ts";
import { formatProc } from "../../src/client/proc.ts";
import { ConntrackSysctl } from "../../src/conntrack/sysctl.ts";
import { nest } from "../../src/kernel/ctnetlink/tuple.ts";
import { PairSocket } from "../../src/netlink/pair.ts";
import { NLM_F_ACK, NLM_F_CREATE } from "../../src/uapi/netlink.ts";
import * as nf from "../../src/uapi/nfnetlink.ts";
import { ethernet, frame, ipv4, udp } from "../support/frames.ts";
import { all, be16, be32, NfLab, type Put, put, tuple } from "../support/nfnetlink.ts";

/** Lines of /proc/net/nf_conntrack of Linux 6.18, nf_conntrack_acct=1, entries made by conntrack -I. */
const LINES = [
  "ipv4     2 sctp     132 60 ESTABLISHED src=10.0.0.1 dst=10.0.0.2 sport=1 dport=2 packets=0 bytes=0 [UNREPLIED] src=10.0.0.2 dst=10.0.0.1 sport=2 dport=1 packets=0 bytes=0 mark=0 zone=0 use=2",
  "ipv4     2 udplite  136 60 src=10.0.0.1 dst=10.0.0.2 sport=1 dport=2 packets=0 bytes=0 [UNREPLIED] src=10.0.0.2 dst=10.0.0.1 sport=2 dport=1 packets=0 bytes=0 mark=0 zone=0 use=2",
  "ipv4     2 icmp     1 60 src=10.0.0.1 dst=10.0.0.2 type=8 code=0 id=77 packets=0 bytes=0 [UNREPLIED] src=10.0.0.2 dst=10.0.0.1 type=0 code=0 id=77 packets=0 bytes=0 mark=0 zone=0 use=2",
  "ipv4     2 tcp      6 600 ESTABLISHED src=10.0.0.1 dst=10.0.0.2 sport=1 dport=2 packets=0 bytes=0 src=10.0.0.2 dst=10.0.0.1 sport=2 dport=1 packets=0 bytes=0 [ASSURED] mark=5 zone=0 use=2",
  "ipv4     2 udp      17 60 src=10.0.0.1 dst=10.0.0.2 sport=1 dport=2 packets=0 bytes=0 [UNREPLIED] src=10.0.0.2 dst=10.0.0.1 sport=2 dport=1 packets=0 bytes=0 mark=0 zone=9 use=2",
  "ipv4     2 unknown  2 60 src=10.0.0.1 dst=10.0.0.2 packets=0 bytes=0 [UNREPLIED] src=10.0.0.2 dst=10.0.0.1 packets=0 bytes=0 mark=0 zone=0 use=2",
  "ipv4     2 unknown  89 60 src=10.0.0.1 dst=10.0.0.2 packets=0 bytes=0 [UNREPLIED] src=10.0.0.2 dst=10.0.0.1 packets=0 bytes=0 mark=0 zone=0 use=2",
];

describe("what /proc shows", () => {
  it("N-150: a line for each connection", () => {
    const net = new NfLab(undefined, { acct: true });
    const make = (proto: number, a: number, b: number, more: Put, seconds = 60): void => {
      const icmp = proto === 1;
      const body = all(
        put(nf.CTA_TUPLE_ORIG, tuple("10.0.0.1", a, "10.0.0.2", icmp ? 0x800 : b, proto)),
        put(nf.CTA_TUPLE_REPLY, tuple("10.0.0.2", icmp ? a : b, "10.0.0.1", icmp ? 0 : a, proto)),
        be32(nf.CTA_TIMEOUT, seconds),
        more,
      );
      expect(net.request(0x100, NLM_F_CREATE | NLM_F_ACK, body, 2).error).toBe(0);
    };
    const info =
      (kind: number, state: number, tags: boolean): Put =>
      (writer) => {
        const outer = nest(writer, nf.CTA_PROTOINFO);
        const inner = nest(writer, kind);
        writer.u8(1, state);
        if (tags) for (const type of [2, 3]) writer.be32(type, type);
        writer.endNest(inner);
        writer.endNest(outer);
      };
    const none: Put = () => {};
    make(132, 1, 2, info(nf.CTA_PROTOINFO_SCTP, nf.SCTP_CONNTRACK_ESTABLISHED, true));
    make(136, 1, 2, none);
    make(1, 77, 0, none);
    const established = info(nf.CTA_PROTOINFO_TCP, nf.TCP_CONNTRACK_ESTABLISHED, false);
    make(6, 1, 2, all(established, be32(nf.CTA_STATUS, 14), be32(nf.CTA_MARK, 5)), 600);
    make(17, 1, 2, be16(nf.CTA_ZONE, 9));
    make(2, 0, 0, none);
    make(89, 0, 0, none);
    const client = new ConntrackClient({ open: (protocol) => new PairSocket(net.bus, protocol) });
    expect([...client.connections()].map(formatProc)).toEqual(LINES);
    client.close();
  });

  it("N-150: IPv6 addresses in full; GRE with its keys", () => {
    const one = { protocol: 47, sourcePort: 1, destinationPort: 34, icmp: null };
    const line = formatProc({
      family: 10,
      original: { ...one, src: "fd00::1", dst: "::ffff:1.2.3.4" },
      reply: { ...one, src: "1:2:3:4:5:6:7:8", dst: "::" },
      zone: 0,
      replyZone: 0,
      status: 10,
      timeout: 29,
      mark: -1,
      labels: null,
      id: 1,
      use: 1,
      state: null,
      tcpFlags: null,
      vtags: null,
      helper: null,
      counters: null,
      master: null,
    });
    expect(line).toBe(
      "ipv6     10 gre      47 29 timeout=30, stream_timeout=180 src=fd00:0000:0000:0000:0000:0000:0000:0001 dst=0000:0000:0000:0000:0000:ffff:0102:0304 srckey=0x1 dstkey=0x22 src=0001:0002:0003:0004:0005:0006:0007:0008 dst=0000:0000:0000:0000:0000:0000:0000:0000 srckey=0x1 dstkey=0x22 mark=4294967295 zone=0 use=2",
    );
  });

  it("N-148: count, limit and buckets", () => {
    const { lab } = new NfLab();
    const sysctl = new ConntrackSysctl(lab.conntrack);
    const names = ["count", "max", "buckets"].map((name) => `net.netfilter.nf_conntrack_${name}`);
    const values = (): unknown[] => names.map((name) => sysctl.get(name));
    expect(values()).toEqual([0, 4096, 262144]);
    lab.send(frame(ethernet(), ipv4(), udp()), { commit: true });
    sysctl.set(names[1], 5000);
    expect(values()).toEqual([1, 5000, 262144]);
  });
});
