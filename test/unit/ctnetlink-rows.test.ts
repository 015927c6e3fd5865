import { beforeEach, describe, expect, it } from "vitest";
import { E } from "../../src/conntrack/layout.ts";
import { kernelProfile } from "../../src/core/kernel-profile.ts";
import { nest } from "../../src/kernel/ctnetlink/tuple.ts";
import { PairSocket } from "../../src/netlink/pair.ts";
import { MessageWriter } from "../../src/netlink/writer.ts";
import * as errno from "../../src/uapi/errno.ts";
import {
  NETLINK_NETFILTER,
  NLM_F_ACK,
  NLM_F_CREATE,
  NLM_F_DUMP,
  NLM_F_DUMP_FILTERED,
  NLM_F_EXCL,
  NLM_F_MULTI,
  NLM_F_REPLACE,
  NLM_F_REQUEST,
} from "../../src/uapi/netlink.ts";
import * as nf from "../../src/uapi/nfnetlink.ts";
import { AF_INET, AF_INET6 } from "../../src/uapi/socket.ts";
import {
  ethernet,
  frame,
  icmp,
  icmpv6,
  ipv4,
  ipv6,
  sctp,
  sctpChunk,
  TCP_SYN,
  tcp,
  udp,
  unhex,
} from "../support/frames.ts";
import { all, be16, be32, NfLab, type Put, put, receive, text, tuple } from "../support/nfnetlink.ts";

/** Rows of spec/ctnetlink one by one, written down as bytes. */

const CT = 0x100;
const EXP = 0x200;
const TIMEOUT = 0x800;

let net: NfLab;
beforeEach(() => {
  net = new NfLab();
});

const commit = (bytes: Uint8Array, zone = 0): void => {
  net.lab.send(bytes, { commit: true, zone });
};
const onlyRecord = () => {
  const { messages } = net.request(CT | 1, NLM_F_DUMP);
  expect(messages).toHaveLength(1);
  return messages[0];
};
const hexOf = (type: number): string | undefined => onlyRecord().attributes.get(type)?.hex;

describe("transport", () => {
  it("N-001, N-002: protocol 12; subsystem << 8 | message", () => {
    expect(NETLINK_NETFILTER).toBe(12);
    commit(frame(ethernet(), ipv4(), udp()));
    // A dump on a socket of protocol 12 sees the connection; the bus of this lab has no other protocol.
    const twelve = new PairSocket(net.bus, 12);
    expect(net.request(CT | 1, NLM_F_DUMP, undefined, 0, 0, twelve).messages).toHaveLength(1);
    for (const protocol of [11, 13]) {
      expect(() => new PairSocket(net.bus, protocol)).toThrow(
        expect.objectContaining({ errno: errno.EPROTONOSUPPORT }),
      );
    }
    expect(onlyRecord().type).toBe(0x0100);
    net.request(TIMEOUT, NLM_F_CREATE | NLM_F_ACK, policy("a", 17));
    expect(net.request(TIMEOUT | 1, NLM_F_DUMP).messages[0].type).toBe(0x0800);
  });

  it("N-010: nests carry NLA_F_NESTED, others do not", () => {
    commit(frame(ethernet(), ipv4(), tcp({ flags: TCP_SYN })));
    const { attributes } = onlyRecord();
    expect(attributes.get(nf.CTA_TUPLE_ORIG)?.raw).toBe(0x8001);
    expect(attributes.get(nf.CTA_PROTOINFO)?.raw).toBe(0x8004);
    expect(attributes.get(nf.CTA_STATUS)?.raw).toBe(3);
    // Inside too: TUPLE_ORIG { IP { V4_SRC, V4_DST }, PROTO { … } }.
    expect(attributes.get(nf.CTA_TUPLE_ORIG)?.hex.slice(0, 8)).toBe("14000180");
  });

  it("N-014: a second dump on the socket while the first is read gives EBUSY", () => {
    for (let port = 1; port <= 400; port++) commit(frame(ethernet(), ipv4(), udp({ src: port })));
    const writer = new MessageWriter();
    for (let i = 0; i < 2; i++) {
      const at = writer.beginMessage(CT | 1, NLM_F_REQUEST | NLM_F_DUMP, 42 + i, 0);
      writer.rawU32(0);
      writer.endMessage(at);
    }
    net.socket.send(writer.finish());
    expect(receive(net.socket).errors).toEqual([errno.EBUSY, 0]);
  });

  it("N-015: groups 1 to 3 of connections, 4 to 6 of expectations", () => {
    const sockets = [1, 2, 3, 4, 5, 6].map((group) => net.listen(group));
    net.lab.send(rrq(), { commit: true, helper: "tftp" });
    net.lab.send(rrq(), { commit: true, mark: 7 });
    net.request(CT | 2, NLM_F_ACK);
    const types = sockets.map((socket) => receive(socket).messages.map(({ type }) => type));
    expect(types[0]).toEqual([0x100]);
    expect(types[1]).toEqual([0x100]);
    expect(types[2]).toEqual([0x102]);
    expect(types[3]).toContain(0x200);
    expect(types[4]).toEqual([]);
    expect(types[5]).toContain(0x202);
  });

  it("N-017: batch messages are no subsystem of ctnetlink", () => {
    for (const type of [0x10, 0x11]) expect(net.request(type, NLM_F_ACK).error).toBe(errno.EINVAL);
  });
});

describe("messages", () => {
  it("N-018, N-019, N-020, N-022, N-023: create, get, delete, statistics", () => {
    const both = all(
      put(nf.CTA_TUPLE_ORIG, tuple("10.0.0.1", 1, "10.0.0.2", 2)),
      put(nf.CTA_TUPLE_REPLY, tuple("10.0.0.2", 2, "10.0.0.1", 1)),
    );
    expect(net.request(CT, NLM_F_CREATE | NLM_F_ACK, all(both, be32(nf.CTA_TIMEOUT, 60)), AF_INET).error).toBe(0);
    expect(net.request(CT | 1, NLM_F_ACK, both, AF_INET).messages).toHaveLength(1);
    const [statistics] = net.request(CT | 5, NLM_F_ACK).messages;
    expect([statistics.type, statistics.attributes.get(1)?.hex, statistics.attributes.get(2)?.hex]).toEqual([
      0x105,
      "00000001",
      "00001000",
    ]);
    const perCpu = net.request(CT | 4, NLM_F_DUMP).messages;
    expect(perCpu.map(({ type, resId }) => [type, resId])).toEqual([[0x104, 0]]);
    expect([...perCpu[0].attributes.keys()]).toEqual([2, 4, 8, 9, 10, 11, 12, 13, 14, 15]);
    expect(net.request(CT | 2, NLM_F_ACK, both, AF_INET).error).toBe(0);
    expect(net.lab.conntrack.count).toBe(0);
  });
});

describe("attributes", () => {
  it("N-026, N-027, N-029: tuples of IPv4 and TCP", () => {
    commit(
      frame(ethernet(), ipv4({ src: "1.2.3.4", dst: "5.6.7.8" }), tcp({ src: 0x1122, dst: 0x3344, flags: TCP_SYN })),
    );
    const ip = (a: string, b: string): string => `1400018008000100${a}08000200${b}`;
    const proto = (a: string, b: string): string => `1c000280050001000600000006000200${a}000006000300${b}0000`;
    expect(hexOf(nf.CTA_TUPLE_ORIG)).toBe(ip("01020304", "05060708") + proto("1122", "3344"));
    expect(hexOf(nf.CTA_TUPLE_REPLY)).toBe(ip("05060708", "01020304") + proto("3344", "1122"));
  });

  it("N-027, N-028: IPv6 addresses; id, type and code of ICMPv6", () => {
    commit(frame(ethernet(), ipv6({ src: "fd00::1", dst: "fd00::2" }), icmpv6({ type: 128, rest: 0x1234_0001 })));
    const orig = hexOf(nf.CTA_TUPLE_ORIG) ?? "";
    expect(orig).toContain(`14000300fd00${"0".repeat(26)}01`.slice(0, 20));
    expect(orig).toContain(`14000400fd00${"0".repeat(27)}2`);
    expect(orig.slice(-64)).toContain("0600070012340000");
    expect(orig).toContain("0500080080000000");
    expect(orig).toContain("0500090000000000");
  });

  it("N-028, N-029: ICMP has id, type and code; unknown protocols the number alone", () => {
    commit(frame(ethernet(), ipv4(), icmp({ type: 8, rest: 0x1234_0001 })));
    expect(hexOf(nf.CTA_TUPLE_ORIG)?.slice(40)).toBe(
      "24000280050001000100000006000400123400000500050008000000050006000000" + "0000",
    );
    net.request(CT | 2, NLM_F_ACK);
    commit(frame(ethernet(), ipv4({ proto: 89 }), new Uint8Array(8)));
    expect(hexOf(nf.CTA_TUPLE_ORIG)?.slice(40)).toBe("0c0002800500010059000000");
  });

  it("N-030, N-035, N-036, N-038, N-039, N-040, N-042, N-049: status, time left, mark, references, id, zone", () => {
    net.lab.send(frame(ethernet(), ipv4(), udp()), { commit: true, zone: 5, mark: 0x1020304 });
    const { attributes } = onlyRecord();
    expect(attributes.get(nf.CTA_STATUS)?.hex).toBe("00000008");
    expect(attributes.get(nf.CTA_MARK)?.hex).toBe("01020304");
    expect(attributes.get(nf.CTA_TIMEOUT)?.hex).toBe("0000001e");
    expect(attributes.get(nf.CTA_USE)?.hex).toBe("00000001");
    expect(attributes.get(nf.CTA_ID)?.hex).toMatch(/^[0-9a-f]{8}$/);
    expect(attributes.get(nf.CTA_ZONE)?.hex).toBe("0005");
    const id = attributes.get(nf.CTA_ID)?.hex;
    net.lab.clock.advance(2000);
    expect(hexOf(nf.CTA_ID)).toBe(id);
    expect(hexOf(nf.CTA_TIMEOUT)).toBe("0000001c");
    const bits = [
      nf.IPS_EXPECTED,
      nf.IPS_SEEN_REPLY,
      nf.IPS_ASSURED,
      nf.IPS_CONFIRMED,
      nf.IPS_SRC_NAT,
      nf.IPS_DST_NAT,
      nf.IPS_SEQ_ADJUST,
      nf.IPS_SRC_NAT_DONE,
      nf.IPS_DST_NAT_DONE,
      nf.IPS_DYING,
      nf.IPS_FIXED_TIMEOUT,
      nf.IPS_TEMPLATE,
      nf.IPS_UNTRACKED,
      nf.IPS_HELPER,
      nf.IPS_OFFLOAD,
    ];
    expect(bits).toEqual(bits.map((_, i) => 1 << i));
  });

  it("N-031, N-032, N-050, N-052: state, scales and flags of TCP", () => {
    const options = Uint8Array.of(3, 3, 7, 4, 2, 0, 0, 0);
    commit(frame(ethernet(), ipv4(), tcp({ flags: TCP_SYN, options })));
    // TCP { STATE SYN_SENT, WSCALE_ORIG 7, WSCALE_REPLY 0, FLAGS_ORIG { scale | SACK, mask 0 }, FLAGS_REPLY }.
    expect(hexOf(nf.CTA_PROTOINFO)).toBe(
      "2c000180" +
        "0500010001000000" +
        "0500020007000000" +
        "0500030000000000" +
        "0600040003000000" +
        "0600050000000000",
    );
    expect([
      nf.IP_CT_TCP_FLAG_WINDOW_SCALE,
      nf.IP_CT_TCP_FLAG_SACK_PERM,
      nf.IP_CT_TCP_FLAG_CLOSE_INIT,
      nf.IP_CT_TCP_FLAG_BE_LIBERAL,
      nf.IP_CT_TCP_FLAG_DATA_UNACKNOWLEDGED,
      nf.IP_CT_TCP_FLAG_MAXACK_SET,
    ]).toEqual([1, 2, 4, 8, 0x10, 0x20]);
    expect([nf.TCP_CONNTRACK_NONE, nf.TCP_CONNTRACK_SYN_SENT, nf.TCP_CONNTRACK_SYN_SENT2]).toEqual([0, 1, 9]);
  });

  it("N-031, N-051: state and tags of SCTP", () => {
    commit(frame(ethernet(), ipv4(), sctp({ tag: 0 }), sctpChunk(1, 0, unhex("1122334400010000 0001 0001 00000001"))));
    // SCTP { STATE CLOSED, VTAG_ORIG 0, VTAG_REPLY: the tag that INIT asks for }.
    expect(hexOf(nf.CTA_PROTOINFO)).toBe("1c000380" + "0500010001000000" + "0800020000000000" + "0800030011223344");
    expect([nf.SCTP_CONNTRACK_CLOSED, nf.SCTP_CONNTRACK_COOKIE_WAIT, nf.SCTP_CONNTRACK_HEARTBEAT_SENT]).toEqual([
      1, 2, 8,
    ]);
  });

  it("N-031, N-096: state, role and handshake number of DCCP, as given to a new entry", () => {
    const info =
      (state: number, role?: number): Put =>
      (writer) => {
        const outer = nest(writer, nf.CTA_PROTOINFO);
        const inner = nest(writer, nf.CTA_PROTOINFO_DCCP);
        writer.u8(nf.CTA_PROTOINFO_DCCP_STATE, state);
        if (role !== undefined) writer.u8(nf.CTA_PROTOINFO_DCCP_ROLE, role);
        writer.be64(nf.CTA_PROTOINFO_DCCP_HANDSHAKE_SEQ, 0x0102_0304_0506);
        writer.endNest(inner);
        writer.endNest(outer);
      };
    const create = (what: Put): number => {
      const body = all(
        put(nf.CTA_TUPLE_ORIG, tuple("10.0.0.1", 1, "10.0.0.2", 2, 33)),
        put(nf.CTA_TUPLE_REPLY, tuple("10.0.0.2", 2, "10.0.0.1", 1, 33)),
        be32(nf.CTA_TIMEOUT, 60),
        what,
      );
      return net.request(CT, NLM_F_CREATE | NLM_F_ACK, body, AF_INET).error;
    };
    for (const wrong of [info(8, 0), info(1, 2), info(1)]) expect(create(wrong)).toBe(errno.EINVAL);
    expect(create(info(4, 1))).toBe(0);
    expect(hexOf(nf.CTA_PROTOINFO)).toBe(
      "20000280" + "0500010004000000" + "0500020001000000" + "0c0003000000010203040506",
    );
  });

  it("N-033, N-040: name of the helper; the master's tuple in an expected entry", () => {
    net.lab.send(rrq(), { commit: true, helper: "tftp" });
    expect(hexOf(nf.CTA_HELP)).toBe("090001007466747000000000");
    net.lab.send(frame(ethernet(), ipv4({ src: "10.0.0.2", dst: "10.0.0.1" }), udp({ src: 5000, dst: 1000 })), {
      commit: true,
    });
    const { messages } = net.request(CT | 1, NLM_F_DUMP);
    const child = messages.find(({ attributes }) => attributes.has(nf.CTA_TUPLE_MASTER));
    const master = messages.find(({ attributes }) => attributes.has(nf.CTA_HELP));
    expect(child?.attributes.get(nf.CTA_TUPLE_MASTER)?.hex).toBe(master?.attributes.get(nf.CTA_TUPLE_ORIG)?.hex);
    expect(master?.attributes.get(nf.CTA_USE)?.hex).toBe("00000002");
  });

  it("N-036, N-096: the mark changes under its mask", () => {
    const orig = tuple("10.0.0.1", 1000, "10.0.0.2", 2000);
    net.lab.send(frame(ethernet(), ipv4(), udp()), { commit: true, mark: 0xff00 });
    const change = all(put(nf.CTA_TUPLE_ORIG, orig), be32(nf.CTA_MARK, 0x11), be32(nf.CTA_MARK_MASK, 0xff));
    expect(net.request(CT, NLM_F_ACK, change, AF_INET).error).toBe(0);
    expect(hexOf(nf.CTA_MARK)).toBe("0000ff11");
  });

  it("N-037: counters as 64 bits, packets and bytes", () => {
    net = new NfLab(undefined, { acct: true });
    commit(frame(ethernet(), ipv4(), udp()));
    const length = frame(ethernet(), ipv4(), udp()).length - 14;
    const bytes = length.toString(16).padStart(16, "0");
    expect(hexOf(nf.CTA_COUNTERS_ORIG)).toBe(`0c000100${"0".repeat(15)}10c000200${bytes}`);
    expect(hexOf(nf.CTA_COUNTERS_REPLY)).toBe(`0c000100${"0".repeat(16)}0c000200${"0".repeat(16)}`);
  });

  it("N-043, N-046: no security context and no SYN proxy here", () => {
    commit(frame(ethernet(), ipv4(), tcp({ flags: TCP_SYN })));
    expect(onlyRecord().attributes.has(nf.CTA_SECCTX)).toBe(false);
    expect(onlyRecord().attributes.has(nf.CTA_SYNPROXY)).toBe(false);
  });

  it("N-045: labels are 16 bytes, changed under their mask", () => {
    net.lab.send(frame(ethernet(), ipv4(), udp()), { commit: true, labels: [1, 2, 3, 4] });
    expect(hexOf(nf.CTA_LABELS)).toBe("00000001000000020000000300000004");
    const orig = tuple("10.0.0.1", 1000, "10.0.0.2", 2000);
    const words =
      (type: number, ...values: number[]) =>
      (writer: MessageWriter) => {
        const to = writer.attr(type, 16);
        for (const [i, value] of values.entries()) writer.view.setUint32(to + i * 4, value);
      };
    const change = all(
      put(nf.CTA_TUPLE_ORIG, orig),
      words(nf.CTA_LABELS, 0, 0, 0, 0xf0),
      words(nf.CTA_LABELS_MASK, 0, 0, 0, 0xff),
    );
    expect(net.request(CT, NLM_F_ACK, change, AF_INET).error).toBe(0);
    expect(hexOf(nf.CTA_LABELS)).toBe("000000010000000200000003000000f0");
  });

  it("N-047, N-048: FILTER must be marked as a nest; STATUS_MASK chooses the bits", () => {
    commit(frame(ethernet(), ipv4(), udp()));
    const filter = (type: number) => (writer: MessageWriter) => {
      const inner = writer.nest(type);
      writer.u32(nf.CTA_FILTER_ORIG_FLAGS, 1);
      writer.endNest(inner);
    };
    const orig = put(nf.CTA_TUPLE_ORIG, tuple("10.0.0.1", 0, "10.0.0.2", 0));
    expect(net.request(CT | 1, NLM_F_DUMP, all(orig, filter(0x8000 | nf.CTA_FILTER)), AF_INET).messages).toHaveLength(
      1,
    );
    expect(net.request(CT | 1, NLM_F_DUMP, all(orig, filter(nf.CTA_FILTER)), AF_INET).error).toBe(errno.EINVAL);
    const status = (value: number, mask: number) => all(be32(nf.CTA_STATUS, value), be32(nf.CTA_STATUS_MASK, mask));
    expect(net.request(CT | 1, NLM_F_DUMP, status(0, nf.IPS_ASSURED)).messages).toHaveLength(1);
    expect(net.request(CT | 1, NLM_F_DUMP, status(0, nf.IPS_CONFIRMED)).messages).toHaveLength(0);
  });
});

describe("get, dump, delete", () => {
  it("N-066, N-055: a zone in the tuple counts for that direction, and not beside another", () => {
    const orig = tuple("10.0.0.1", 1, "10.0.0.2", 2);
    const zoned = (type: number, zone: number) => (writer: MessageWriter) => {
      const outer = nest(writer, type);
      const inner = new MessageWriter();
      put(type, orig)(inner);
      const body = inner.finish();
      writer.bytes.set(body.subarray(4), writer.reserve(body.length - 4));
      writer.be16(nf.CTA_TUPLE_ZONE, zone);
      writer.endNest(outer);
    };
    commit(frame(ethernet(), ipv4(), udp({ src: 1, dst: 2 })), 5);
    expect(net.request(CT | 1, NLM_F_ACK, zoned(nf.CTA_TUPLE_ORIG, 5), AF_INET).messages).toHaveLength(1);
    const both = all(zoned(nf.CTA_TUPLE_ORIG, 5), be16(nf.CTA_ZONE, 5));
    expect(net.request(CT | 1, NLM_F_ACK, both, AF_INET).error).toBe(errno.EINVAL);
    expect(onlyRecord().attributes.get(nf.CTA_TUPLE_ORIG)?.hex).not.toContain("06000300" + "00050000");
  });

  it("N-072, N-084, N-155, N-157: kernels before 6.8 do not look at the zone", () => {
    for (const [release, listed, left] of [
      ["6.1", 2, 0],
      ["6.6", 2, 0],
      ["6.12", 1, 1],
      ["6.18", 1, 1],
    ] as const) {
      net = new NfLab(kernelProfile(release));
      commit(frame(ethernet(), ipv4(), udp()), 1);
      commit(frame(ethernet(), ipv4(), udp()), 2);
      const { messages } = net.request(CT | 1, NLM_F_DUMP, be16(nf.CTA_ZONE, 1));
      expect(messages).toHaveLength(listed);
      expect(messages[0].flags).toBe(listed === 1 ? NLM_F_MULTI | NLM_F_DUMP_FILTERED : NLM_F_MULTI);
      expect(net.request(CT | 2, NLM_F_ACK, be16(nf.CTA_ZONE, 1)).error).toBe(0);
      expect(net.lab.conntrack.count).toBe(left);
    }
  });

  it("N-074: kernels before the correction list IPv6 addresses that differ", () => {
    for (const [release, sources] of [
      ["6.1", ["fd00::9"]],
      ["6.12", ["fd00::1"]],
    ] as const) {
      net = new NfLab(kernelProfile(release));
      for (const src of ["fd00::1", "fd00::9"]) commit(frame(ethernet(), ipv6({ src, dst: "fd00::2" }), udp()));
      const body = (writer: MessageWriter): void => {
        put(nf.CTA_TUPLE_ORIG, tuple("fd00::1", 0, "fd00::2", 0))(writer);
        const inner = nest(writer, nf.CTA_FILTER);
        writer.u32(nf.CTA_FILTER_ORIG_FLAGS, 1);
        writer.endNest(inner);
      };
      const { messages } = net.request(CT | 1, NLM_F_DUMP, body, AF_INET6);
      const found = messages.map(({ attributes }) => attributes.get(nf.CTA_TUPLE_ORIG)?.hex.slice(16, 48));
      expect(found).toEqual(sources.map((src) => `fd00${src.slice(-1).padStart(28, "0")}`));
    }
  });

  it("N-085: flush with FILTER", () => {
    for (const [release, error, left] of [
      ["6.1", errno.EOPNOTSUPP, 2],
      ["6.12", 0, 1],
    ] as const) {
      net = new NfLab(kernelProfile(release));
      for (const src of ["10.0.0.1", "10.0.0.9"]) commit(frame(ethernet(), ipv4({ src }), udp()));
      const filter = (writer: MessageWriter): void => {
        const inner = nest(writer, nf.CTA_FILTER);
        writer.u32(nf.CTA_FILTER_ORIG_FLAGS, 1);
        writer.endNest(inner);
      };
      const body =
        release === "6.1" ? filter : all(put(nf.CTA_TUPLE_ORIG, tuple("10.0.0.1", 0, "10.0.0.2", 0)), filter);
      expect(net.request(CT | 2, NLM_F_ACK, body, AF_INET).error).toBe(error);
      expect(net.lab.conntrack.count).toBe(left);
    }
  });

  it("N-078: the loser of a clash is in no list, though answers find it", () => {
    const { lab } = net;
    commit(frame(ethernet(), ipv4(), udp()));
    const [slot] = lab.slots;
    lab.conntrack.table.words[slot * E.WORDS + E.STATUS] |= nf.IPS_UNTRACKED;
    expect(net.request(CT | 1, NLM_F_DUMP).messages).toEqual([]);
  });

  it("N-079: one namespace's entries are not another's", () => {
    const other = new NfLab();
    commit(frame(ethernet(), ipv4(), udp()));
    expect(other.request(CT | 1, NLM_F_DUMP).messages).toEqual([]);
    other.request(CT | 2, NLM_F_ACK);
    expect(net.lab.conntrack.count).toBe(1);
  });

  it("N-087: children survive their master", () => {
    net.lab.send(rrq(), { commit: true, helper: "tftp" });
    net.lab.send(frame(ethernet(), ipv4({ src: "10.0.0.2", dst: "10.0.0.1" }), udp({ src: 5000, dst: 1000 })), {
      commit: true,
    });
    const master = put(nf.CTA_TUPLE_ORIG, tuple("10.0.0.1", 1000, "10.0.0.2", 69));
    expect(net.request(CT | 2, NLM_F_ACK, master, AF_INET).error).toBe(0);
    net.lab.end();
    // It still says whose child it is.
    expect(hexOf(nf.CTA_TUPLE_MASTER)).toContain("0600030000450000");
  });
});

describe("events", () => {
  it("N-109: what happens to an entry is told at the next commit or lookup, in one message", () => {
    const listener = net.listen(1, 2, 3);
    commit(frame(ethernet(), ipv4(), udp()));
    expect(receive(listener).messages).toHaveLength(1);
    // Reply seen: remembered while the reply is tracked, and told by the same ct.
    net.lab.send(frame(ethernet(), ipv4({ src: "10.0.0.2", dst: "10.0.0.1" }), udp({ src: 2000, dst: 1000 })), {});
    const { messages } = receive(listener);
    expect(messages.map(({ type, flags }) => [type, flags])).toEqual([[0x100, 0]]);
    expect(messages[0].attributes.get(nf.CTA_STATUS)?.hex).toBe("0000000a");
  });

  it("N-112: NEW carries the mark and the labels that were committed with it", () => {
    const listener = net.listen(1);
    net.lab.send(frame(ethernet(), ipv4(), udp()), { commit: true, mark: 9, labels: [0, 0, 0, 7] });
    const [{ attributes }] = receive(listener).messages;
    expect(attributes.get(nf.CTA_MARK)?.hex).toBe("00000009");
    expect(attributes.get(nf.CTA_LABELS)?.hex).toBe("00000000000000000000000000000007");
  });
});

describe("expectations from user space", () => {
  const master = tuple("10.0.0.1", 1000, "10.0.0.2", 21, 6);
  const expected = tuple("10.0.0.2", 0, "10.0.0.1", 5000, 6);
  const mask = tuple("255.255.255.255", 0, "255.255.255.255", 0xffff, 6);
  const parts = all(
    put(nf.CTA_EXPECT_TUPLE, expected),
    put(nf.CTA_EXPECT_MASK, mask),
    put(nf.CTA_EXPECT_MASTER, master),
  );
  const makeMaster = (helper?: string): void => {
    const body = all(
      put(nf.CTA_TUPLE_ORIG, master),
      put(nf.CTA_TUPLE_REPLY, tuple("10.0.0.2", 21, "10.0.0.1", 1000, 6)),
      be32(nf.CTA_TIMEOUT, 600),
      (writer) => {
        if (helper === undefined) return;
        const inner = nest(writer, nf.CTA_HELP);
        writer.string(nf.CTA_HELP_NAME, helper);
        writer.endNest(inner);
      },
    );
    expect(net.request(CT, NLM_F_CREATE | NLM_F_ACK, body, AF_INET).error).toBe(0);
  };

  it("N-121: what it needs, and what it says when that is not there", () => {
    const create = NLM_F_CREATE | NLM_F_ACK;
    expect(net.request(EXP, create, put(nf.CTA_EXPECT_TUPLE, expected), AF_INET).error).toBe(errno.EINVAL);
    expect(net.request(EXP, NLM_F_ACK, parts, AF_INET).error).toBe(errno.ENOENT);
    expect(net.request(EXP, create, parts, AF_INET).error).toBe(errno.ENOENT);
    makeMaster();
    expect(net.request(EXP, create, parts, AF_INET).error).toBe(errno.EOPNOTSUPP);
    net.request(CT | 2, NLM_F_ACK);
    makeMaster("ftp");
    expect(net.request(EXP, create, parts, AF_INET).error).toBe(0);
    expect(net.request(EXP, create | NLM_F_EXCL, parts, AF_INET).error).toBe(errno.EEXIST);
    // Its connection is related, as if the helper had expected it.
    const data = frame(
      ethernet(),
      ipv4({ src: "10.0.0.2", dst: "10.0.0.1" }),
      tcp({ src: 20, dst: 5000, flags: TCP_SYN }),
    );
    expect(net.lab.send(data, { commit: true }).state).toBe("new|rel|trk");
  });

  it("N-121, N-122: a timeout changes one that is there; its event names the requester", () => {
    makeMaster("ftp");
    const listener = net.listen(4);
    net.request(EXP, NLM_F_CREATE | NLM_F_ACK, parts, AF_INET);
    const [event] = receive(listener).messages;
    expect([event.type, event.flags, event.portId]).toEqual([0x200, NLM_F_CREATE | NLM_F_EXCL, net.socket.portId]);
    const more = all(parts, be32(nf.CTA_EXPECT_TIMEOUT, 1000));
    expect(net.request(EXP, NLM_F_ACK, more, AF_INET).error).toBe(0);
    const [record] = net.request(EXP | 1, NLM_F_DUMP).messages;
    expect(record.attributes.get(nf.CTA_EXPECT_TIMEOUT)?.hex).toBe("000003e8");
  });

  it("N-123: flags PERMANENT and INACTIVE count, USERSPACE is not kept, others are refused", () => {
    makeMaster("ftp");
    const create = (flags: number) =>
      net.request(EXP, NLM_F_CREATE | NLM_F_ACK, all(parts, be32(nf.CTA_EXPECT_FLAGS, flags)), AF_INET).error;
    expect(create(8)).toBe(errno.EINVAL);
    expect(create(7)).toBe(0);
    const [record] = net.request(EXP | 1, NLM_F_DUMP).messages;
    expect(record.attributes.get(nf.CTA_EXPECT_FLAGS)?.hex).toBe("00000003");
    const data = frame(
      ethernet(),
      ipv4({ src: "10.0.0.2", dst: "10.0.0.1" }),
      tcp({ src: 20, dst: 5000, flags: TCP_SYN }),
    );
    expect(net.lab.send(data, { commit: true }).state).toBe("new|trk");
    expect(net.request(EXP | 1, NLM_F_DUMP).messages).toHaveLength(1);
    // Permanent: met twice. It ends with its time all the same.
    net.request(EXP | 2, NLM_F_ACK);
    expect(create(1)).toBe(0);
    for (const src of [21, 22]) {
      const bytes = frame(
        ethernet(),
        ipv4({ src: "10.0.0.2", dst: "10.0.0.1" }),
        tcp({ src, dst: 5000, flags: TCP_SYN }),
      );
      expect(net.lab.send(bytes, { commit: true }).state).toBe("new|rel|trk");
    }
    net.lab.clock.advance(300_001);
    expect(net.request(EXP | 1, NLM_F_DUMP).messages).toEqual([]);
  });
});

describe("timeout policies", () => {
  const dataOf = (proto: number): string | undefined => {
    expect(net.request(TIMEOUT, NLM_F_CREATE | NLM_F_REPLACE | NLM_F_ACK, policy(`p${proto}`, proto)).error).toBe(0);
    const { messages } = net.request(TIMEOUT | 1, NLM_F_ACK, text(nf.CTA_TIMEOUT_NAME, `p${proto}`));
    expect(messages[0].type).toBe(0x800);
    return messages[0].attributes.get(nf.CTA_TIMEOUT_DATA)?.hex;
  };
  const seconds = (...values: number[]): string =>
    values
      .map((value, i) => `0800${(i + 1).toString(16).padStart(2, "0")}00${value.toString(16).padStart(8, "0")}`)
      .join("");

  it("N-128, N-129, N-138: one timeout of ICMP and others, one for each state of SCTP; answers are TIMEOUT_NEW", () => {
    expect(dataOf(1)).toBe(seconds(30));
    expect(dataOf(58)).toBe(seconds(30));
    expect(dataOf(255)).toBe(seconds(600));
    // A ninth, of a state that is not used any more, is always 0.
    expect(dataOf(132)).toBe(seconds(10, 3, 3, 210, 3, 3, 3, 30, 0));
  });

  it("UDP and UDPLite share their defaults", () => {
    expect(net.request(TIMEOUT | 3, NLM_F_ACK, policy("x", 17, 77)).error).toBe(0);
    expect(dataOf(136)).toBe(seconds(77, 120));
  });

  it("N-143, N-144: policies as ovs-vswitchd keeps them", () => {
    const names = ["ovs_tp_0_tcp4", "ovs_tp_0_udp6", "ovs_tp_0_icmp4", "ovs_tp_0_icmpv6"];
    for (const [i, name] of names.entries()) {
      const proto = [6, 17, 1, 58][i];
      for (let again = 0; again < 2; again++) {
        expect(net.request(TIMEOUT, NLM_F_CREATE | NLM_F_REPLACE | NLM_F_ACK, policy(name, proto, 5)).error).toBe(0);
      }
    }
    const listed = net.request(TIMEOUT | 1, NLM_F_DUMP).messages;
    expect(listed.map(({ attributes }) => Buffer.from(attributes.get(1)?.hex ?? "", "hex").toString())).toEqual(
      names.map((name) => `${name}\0`),
    );
    expect(net.request(TIMEOUT | 2, NLM_F_ACK, text(nf.CTA_TIMEOUT_NAME, names[0])).error).toBe(0);
    expect(net.request(TIMEOUT | 2, NLM_F_ACK, text(nf.CTA_TIMEOUT_NAME, names[0])).error).toBe(errno.ENOENT);
    // A subsystem that is not there, as cttimeout without its module.
    expect(net.request(9 << 8, NLM_F_ACK).error).toBe(errno.EINVAL);
  });
});

describe("what lib/netlink-conntrack.c of OVS asks for", () => {
  it("N-151, N-152, N-153: a dump with a zone; the attributes that its policy wants", () => {
    commit(frame(ethernet(), ipv4(), udp()), 3);
    commit(frame(ethernet(), ipv6(), tcp({ flags: TCP_SYN })), 4);
    const { messages } = net.request(CT | 1, NLM_F_DUMP, be16(nf.CTA_ZONE, 3));
    expect(messages).toHaveLength(1);
    for (const { type, attributes } of net.request(CT | 1, NLM_F_DUMP).messages) {
      expect(type).toBe(CT);
      for (const wanted of [nf.CTA_TUPLE_ORIG, nf.CTA_TUPLE_REPLY, nf.CTA_ID, nf.CTA_STATUS]) {
        expect(attributes.has(wanted)).toBe(true);
      }
    }
  });

  it("N-154, N-155, N-156: flush of all, of a zone in both ways, by tuple", () => {
    const start = (): void => {
      for (const zone of [1, 2]) commit(frame(ethernet(), ipv4(), udp()), zone);
    };
    start();
    expect(net.request(CT | 2, NLM_F_ACK).error).toBe(0);
    expect(net.lab.conntrack.count).toBe(0);
    start();
    expect(net.request(CT | 2, NLM_F_ACK, be16(nf.CTA_ZONE, 1)).error).toBe(0);
    expect(net.lab.conntrack.count).toBe(1);
    // As for older kernels: each entry of a dump by tuple, zone and id.
    const [record] = net.request(CT | 1, NLM_F_DUMP).messages;
    const raw = (type: number) => (writer: MessageWriter) => {
      const found = record.attributes.get(type);
      const bytes = Buffer.from(found?.hex ?? "", "hex");
      writer.bytes.set(bytes, writer.attr(found?.raw ?? 0, bytes.length));
    };
    const one = all(raw(nf.CTA_TUPLE_ORIG), raw(nf.CTA_ZONE), raw(nf.CTA_ID));
    expect(net.request(CT | 2, NLM_F_ACK, one, AF_INET).error).toBe(0);
    expect(net.request(CT | 2, NLM_F_ACK, one, AF_INET).error).toBe(errno.ENOENT);
  });

  it("N-158, N-149: limits of connections are no message of ctnetlink", () => {
    for (let command = 8; command < 12; command++)
      expect(net.request(CT | command, NLM_F_ACK).error).toBe(errno.EINVAL);
  });
});

const rrq = (): Uint8Array =>
  frame(ethernet(), ipv4(), udp({ src: 1000, dst: 69 }), Uint8Array.of(0, 1, 102, 0, 111, 99, 116, 101, 116, 0));

function policy(name: string, proto: number, first?: number) {
  return all(
    text(nf.CTA_TIMEOUT_NAME, name),
    be16(nf.CTA_TIMEOUT_L3PROTO, 2),
    (writer) => writer.u8(nf.CTA_TIMEOUT_L4PROTO, proto),
    (writer) => {
      const inner = nest(writer, nf.CTA_TIMEOUT_DATA);
      if (first !== undefined) writer.be32(1, first);
      writer.endNest(inner);
    },
  );
}
