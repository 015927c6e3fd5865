#!/usr/bin/env python3
"""Records what a kernel's openvswitch.ko says about action lists and does with packets.

usage: actions.py DIRECTORY [SEED [COUNT]]     (as root, where the module is loaded and no datapath exists)

Writes into DIRECTORY
  actions-6.12.json.gz  {"keys": [KEY…], "lists": [[key index, ACTIONS, errno or dumped ACTIONS]…],
                      "sizes": [[key index, piece, most of them in one CLONE]…]}: OVS_FLOW_CMD_NEW with echo, the flow's
                      key matched exactly
  execute-6.12.json.gz  {"packets": [[KEY, FRAME]…], "runs": [[packet index, mru, ACTIONS, errno, EVENTS]…]}:
                      OVS_PACKET_CMD_EXECUTE. EVENTS in order: ["up", command, KEY, FRAME, LEN or 0, USERDATA or ""],
                      and for frames that left by port 2 ["out", FRAME] at the end.

All byte strings are hexadecimal. PAD attributes, which some machines put before 64-bit values, are taken out, as x86-64 has
none. The lists come from a seeded generator: a second recording asks the same questions. COUNT random ones are added to those
written here.
"""
import gzip
import json
import os
import random
import socket
import struct
import subprocess
import sys

from ovsnl import NLM_F_CREATE, NLM_F_ECHO, NLM_F_EXCL, Genl, attr, attrs

# OVS_ACTION_ATTR_*
(OUTPUT, USERSPACE, SET, PUSH_VLAN, POP_VLAN, SAMPLE, RECIRC, HASH, PUSH_MPLS, POP_MPLS, SET_MASKED, CT, TRUNC, PUSH_ETH,
 POP_ETH, CT_CLEAR, PUSH_NSH, POP_NSH, METER, CLONE, CHECK_PKT_LEN, ADD_MPLS, DEC_TTL, DROP, PSAMPLE) = range(1, 26)
# OVS_KEY_ATTR_*
(K_ENCAP, K_PRIORITY, K_IN_PORT, K_ETHERNET, K_VLAN, K_ETHERTYPE, K_IPV4, K_IPV6, K_TCP, K_UDP, K_ICMP, K_ICMPV6, K_ARP,
 K_ND, K_SKB_MARK, K_TUNNEL, K_SCTP, K_TCP_FLAGS, K_DP_HASH, K_RECIRC_ID, K_MPLS, K_CT_STATE, K_CT_ZONE, K_CT_MARK,
 K_CT_LABELS, K_ORIG4, K_ORIG6, K_NSH) = range(1, 29)
NESTED = 0x8000

SEED = int(sys.argv[2]) if len(sys.argv) > 2 else 612
COUNT = int(sys.argv[3]) if len(sys.argv) > 3 else 2800

u8 = lambda v: bytes([v & 255])
u16 = lambda v: struct.pack("=H", v & 0xFFFF)
u32 = lambda v: struct.pack("=I", v & 0xFFFFFFFF)
b16 = lambda v: struct.pack(">H", v & 0xFFFF)
b32 = lambda v: struct.pack(">I", v & 0xFFFFFFFF)
IP6_A = bytes.fromhex("fd00000000000000000000000000000a")
IP6_B = bytes.fromhex("fd00000000000000000000000000000b")
MAC_A, MAC_B = bytes.fromhex("02000000000a"), bytes.fromhex("02000000000b")


# Frames

def csum(data):
    if len(data) & 1:
        data += b"\0"
    total = sum(struct.unpack(">%dH" % (len(data) // 2), data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def eth(kind, rest):
    return MAC_B + MAC_A + b16(kind) + rest


def vlan(tci, kind, rest):
    return b16(tci) + b16(kind) + rest


def ip4(proto, rest, frag=0, options=b"", ttl=64, tos=0):
    head = bytearray(struct.pack(">BBHHHBBH4s4s", 0x45 + len(options) // 4, tos, 20 + len(options) + len(rest), 7, frag, ttl,
                                 proto, 0, bytes([10, 0, 0, 1]), bytes([10, 0, 0, 2])) + options)
    head[10:12] = b16(csum(bytes(head)))
    return bytes(head) + rest


def ip6(proto, rest, hops=64, tclass=0, label=0x12345):
    return struct.pack(">IHBB", 6 << 28 | tclass << 20 | label, len(rest), proto, hops) + IP6_A + IP6_B + rest


def pseudo(version, proto, length):
    if version == 4:
        return bytes([10, 0, 0, 1, 10, 0, 0, 2, 0, proto]) + b16(length)
    return IP6_A + IP6_B + struct.pack(">II", length, proto)


def summed(version, proto, data, at):
    data = bytearray(data)
    value = csum(pseudo(version, proto, len(data)) + bytes(data))
    data[at : at + 2] = b16(value or (0xFFFF if proto == 17 else 0))
    return bytes(data)


def tcp(version=4, payload=b"hello, world"):
    return summed(version, 6, struct.pack(">HHIIBBHHH", 1000, 80, 1, 2, 0x50, 0x18, 1024, 0, 0) + payload, 16)


def udp(version=4, payload=b"datagram", zero=False):
    data = struct.pack(">HHHH", 2000, 53, 8 + len(payload), 0) + payload
    return data if zero else summed(version, 17, data, 6)


def icmp(payload=b"ping"):
    data = bytearray(struct.pack(">BBHHH", 8, 0, 0, 1, 1) + payload)
    data[2:4] = b16(csum(bytes(data)))
    return bytes(data)


def icmp6(payload=b"ping"):
    return summed(6, 58, struct.pack(">BBHHH", 128, 0, 0, 1, 1) + payload, 2)


def crc32c(data):
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def sctp(payload=b"\x00\x03\x00\x08data"):
    data = struct.pack(">HHII", 3000, 5000, 9, 0) + payload
    return data[:8] + struct.pack("<I", crc32c(data)) + data[12:]


def lse(label, bottom=0, ttl=64):
    return b32(label << 12 | bottom << 8 | ttl)


def nsh_frame(next_proto, rest, context=bytes(16)):
    return b16(0x0FC0 | (8 + len(context)) // 4) + bytes([1, next_proto]) + b32(0x112233FF) + context + rest


ARP = struct.pack(">HHBBH6s4s6s4s", 1, 0x0800, 6, 4, 1, MAC_A, bytes([10, 0, 0, 1]), bytes(6), bytes([10, 0, 0, 2]))
ROUTED = ip6(43, bytes([6, 2, 4, 1, 0, 0, 0, 0]) + IP6_A + tcp(6))
NS = ip6(58, summed(6, 58, bytes([135, 0, 0, 0, 0, 0, 0, 0]) + IP6_B + bytes([1, 1]) + MAC_A, 2), hops=255)


# Keys of flows

def key(in_port=1, ethernet=True, kind=None, body=b""):
    parts = attr(K_RECIRC_ID, u32(0)) + attr(K_IN_PORT, u32(in_port))
    if ethernet:
        parts += attr(K_ETHERNET, MAC_A + MAC_B)
    if kind is not None:
        parts += attr(K_ETHERTYPE, b16(kind))
    return parts + body


def k_ip4(proto, frag=0, ports=True):
    body = attr(K_IPV4, bytes([10, 0, 0, 1, 10, 0, 0, 2, proto, 0, 64, frag]))
    if frag != 2 and ports:
        body += {6: attr(K_TCP, b16(1000) + b16(80)) + attr(K_TCP_FLAGS, b16(0)), 17: attr(K_UDP, b16(2000) + b16(53)),
                 132: attr(K_SCTP, b16(3000) + b16(5000)), 1: attr(K_ICMP, b"\x08\0")}.get(proto, b"")
    return body


def k_ip6(proto, frag=0):
    body = attr(K_IPV6, IP6_A + IP6_B + b32(0x12345) + bytes([proto, 0, 64, frag]))
    return body + {6: attr(K_TCP, b16(1000) + b16(80)) + attr(K_TCP_FLAGS, b16(0)), 17: attr(K_UDP, b16(2000) + b16(53)),
                   132: attr(K_SCTP, b16(3000) + b16(5000)), 58: attr(K_ICMPV6, b"\x80\0")}.get(proto, b"")


def k_vlan(tpid, tci, inner):
    return attr(K_VLAN, b16(tci)) + attr(K_ENCAP, inner)


def k_nsh(next_proto, md=1):
    return attr(K_NSH, attr(1, bytes([0, 63, md, next_proto]) + b32(0x112233FF)) + (attr(2, bytes(16)) if md == 1 else b""))


TYPE_IP4 = attr(K_ETHERTYPE, b16(0x0800))
KEYS = {
    "tcp4": key(kind=0x0800, body=k_ip4(6)),
    "udp4": key(kind=0x0800, body=k_ip4(17)),
    "sctp4": key(kind=0x0800, body=k_ip4(132)),
    "icmp4": key(kind=0x0800, body=k_ip4(1)),
    "first4": key(kind=0x0800, body=k_ip4(6, 1)),
    "later4": key(kind=0x0800, body=k_ip4(6, 2)),
    "tcp6": key(kind=0x86DD, body=k_ip6(6)),
    "udp6": key(kind=0x86DD, body=k_ip6(17)),
    "sctp6": key(kind=0x86DD, body=k_ip6(132)),
    "icmp6": key(kind=0x86DD, body=k_ip6(58)),
    "arp": key(kind=0x0806, body=attr(K_ARP, bytes([10, 0, 0, 1, 10, 0, 0, 2, 0, 1]) + MAC_A + bytes(8))),
    "rarp": key(kind=0x8035, body=attr(K_ARP, bytes([10, 0, 0, 1, 10, 0, 0, 2, 0, 3]) + MAC_A + bytes(8))),
    "vlan": key(kind=0x8100, body=k_vlan(0x8100, 0x1005, TYPE_IP4 + k_ip4(6))),
    "qinq": key(kind=0x88A8, body=k_vlan(0x88A8, 0x1005, attr(K_ETHERTYPE, b16(0x8100)) + k_vlan(0x8100, 0x1006, TYPE_IP4 + k_ip4(17)))),
    "mpls1": key(kind=0x8847, body=attr(K_MPLS, lse(16, 1))),
    "mpls2": key(kind=0x8847, body=attr(K_MPLS, lse(16) + lse(17, 1))),
    "mpls3": key(kind=0x8848, body=attr(K_MPLS, lse(16) + lse(17) + lse(18, 1))),
    "nsh_ip4": key(ethernet=False, kind=0x894F, body=k_nsh(1)),
    "nsh_eth": key(ethernet=False, kind=0x894F, body=k_nsh(3)),
    "nsh_none": key(ethernet=False, kind=0x894F, body=k_nsh(0)),
    "nsh_mpls": key(ethernet=True, kind=0x894F, body=k_nsh(5, 2)),
    "nsh_six": key(ethernet=True, kind=0x894F, body=k_nsh(6)),
    "llc": key(),
    "other": key(kind=0x88CC),
    "l3_ip4": key(ethernet=False, kind=0x0800, body=k_ip4(6)),
    "l3_ip6": key(ethernet=False, kind=0x86DD, body=k_ip6(17)),
    "l3_mpls": key(ethernet=False, kind=0x8847, body=attr(K_MPLS, lse(16, 1))),
    "l3_other": key(ethernet=False, kind=0x88CC),
}


# Actions

def set_(kind, value):
    return attr(SET, attr(kind, value))


def masked(kind, value, mask):
    value = bytes(a & b for a, b in zip(value, mask))
    return attr(SET_MASKED, attr(kind, value + mask))


def userspace(pid, *more):
    return attr(USERSPACE, attr(1, u32(pid)) + b"".join(more))


def sample(probability, actions):
    return attr(SAMPLE, attr(1, u32(probability)) + attr(2, actions))


def check(length, greater, less):
    return attr(CHECK_PKT_LEN, attr(1, u16(length)) + attr(2, greater) + attr(3, less))


def dec_ttl(actions):
    return attr(DEC_TTL, attr(1, actions))


def push_nsh(next_proto=0, context=bytes(range(16)), md=1, flags=0, ttl=63):
    return attr(PUSH_NSH, attr(K_NSH, attr(1, bytes([flags, ttl, md, next_proto]) + b32(0xAABBCC01)) + attr(1 + md, context)))


def nest_clones(depth, inner=b""):
    for _ in range(depth):
        inner = attr(CLONE, inner)
    return inner


def out(port=2):
    return attr(OUTPUT, u32(port))


V4 = lambda proto, frag=0: bytes([192, 168, 0, 1, 192, 168, 0, 2, proto, 0x2E, 9, frag])
V6 = lambda proto, frag=0, label=0xABCDE: IP6_B + IP6_A + b32(label) + bytes([proto, 0x2E, 9, frag])
TUN4 = attr(0, bytes(7) + b"\x07") + attr(2, bytes([1, 2, 3, 4])) + attr(4, u8(64))


def action_questions(pid):
    """(key name, list): every row of spec/actions sections 1 to 4 and spec/conntrack sections 1 and 2, and neighbours."""
    q = []

    def ask(names, *lists):
        for name in names.split():
            for actions in lists:
                q.append((name, actions))

    ask("tcp4", b"", b"\0", b"\0\0\0", b"\0\0\0\0", out() + b"\0", out() + b"\0\0\0", out() + b"\x03\0\x01\0", attr(0), attr(26), attr(27, u32(1)),
        attr(100), b"\x40\0\x01\0" + u32(1), attr(OUTPUT | NESTED, u32(2)), attr(POP_VLAN | NESTED))
    lengths = {OUTPUT: 4, PUSH_VLAN: 4, POP_VLAN: 0, RECIRC: 4, HASH: 8, PUSH_MPLS: 8, POP_MPLS: 2, TRUNC: 4, PUSH_ETH: 12,
               POP_ETH: 0, CT_CLEAR: 0, POP_NSH: 0, METER: 4, ADD_MPLS: 8, DROP: 4}
    good = {PUSH_VLAN: b"\x81\0\x10\x05", HASH: bytes(8), PUSH_MPLS: lse(5, 1) + b"\x88\x47\0\0", POP_MPLS: b"\x08\0",
            TRUNC: u32(64), ADD_MPLS: lse(5, 1) + b"\x88\x47" + u16(1), OUTPUT: u32(2)}
    for kind, length in lengths.items():
        for size in sorted({0, 1, 2, 3, 4, 5, 8, 11, 12, 13, 16, length}):
            ask("tcp4", attr(kind, (good.get(kind, b"") + bytes(20))[:size]))
        for name in KEYS:
            ask(name, attr(kind, (good.get(kind, b"") + bytes(20))[:length]))
    for port in (0, 1, 2, 77, 65534, 65535, 65536, 0xFFFFFFFF):
        ask("tcp4", out(port))
    # Nesting
    for depth in (1, 10, 15, 16, 17, 18):
        ask("tcp4", nest_clones(depth), nest_clones(depth, out()))
        inner = out()
        for _ in range(depth):
            inner = sample(1, inner)
        ask("tcp4", inner)
    # USERSPACE
    ask("tcp4", userspace(pid), userspace(0), attr(USERSPACE), attr(USERSPACE, attr(2, b"abc")), attr(USERSPACE, attr(1, u16(5))),
        attr(USERSPACE, attr(1, b"")), attr(USERSPACE, attr(1, u32(5) + u32(0))), userspace(5, attr(2)), userspace(5, attr(2, b"abcde")),
        userspace(5, attr(2, bytes(300))), userspace(5, attr(3, u32(3))), userspace(5, attr(3, u16(3))), userspace(5, attr(3)),
        userspace(5, attr(4)), userspace(5, attr(4, b"xyz")), userspace(5, attr(5, b"later")), userspace(5, attr(0, b"zero")),
        userspace(5, attr(77, b"unknown!")), userspace(5, attr(1, u32(0))), userspace(0, attr(1, u32(9))), userspace(5, b"\x01"),
        userspace(5, b"\0\0\0\0"), userspace(5, b"\x03\0\x02\0"), userspace(5, b"\xff\0\x02\0"), attr(USERSPACE, attr(1 | NESTED, u32(5))),
        attr(USERSPACE | NESTED, attr(1, u32(5)) + attr(2 | NESTED, b"x")), attr(USERSPACE, attr(1, u32(5)) + attr(2, b"abc")[:7]))
    # TRUNC, HASH
    for n in (0, 13, 14, 15, 65535, 0xFFFFFFFF):
        ask("tcp4 l3_ip4", attr(TRUNC, u32(n)))
    for alg in (0, 1, 2, 0xFFFFFFFF):
        ask("tcp4 llc", attr(HASH, u32(alg) + u32(77)))
    # VLAN
    for tpid in (0x8100, 0x88A8, 0x9100, 0x0800, 0):
        for tci in (0x1000, 0x1FFF, 0xF005, 0x0005, 0):
            ask("tcp4", attr(PUSH_VLAN, b16(tpid) + b16(tci)))
    tag = attr(PUSH_VLAN, b"\x81\0\x10\x05")
    ask("tcp4 vlan qinq l3_ip4 llc", tag + tag + tag, attr(POP_VLAN), attr(POP_VLAN) * 3, tag + attr(POP_VLAN) + out())
    # MPLS
    push = attr(PUSH_MPLS, lse(5, 1) + b"\x88\x47\0\0")
    pushm = attr(PUSH_MPLS, lse(5, 0) + b"\x88\x48\0\0")
    pop4, popm, popt = attr(POP_MPLS, b"\x08\0"), attr(POP_MPLS, b"\x88\x47"), attr(POP_MPLS, b"\x65\x58")
    add3, add2 = attr(ADD_MPLS, lse(5, 1) + b"\x88\x47" + u16(1)), attr(ADD_MPLS, lse(5, 1) + b"\x88\x47" + u16(0))
    setm = set_(K_MPLS, lse(99, 1))
    for name in KEYS:
        ask(name, push, push + pushm + setm, push + pop4 + set_(K_IPV4, V4(6)), popm, popm + popm, popm + popm + popm, popt, popm + setm,
            popm + popm + setm, pop4 + setm, add3, add2, add2 + push, add2 + add2 + popm + popm, add2 + popt, add2 + popt + setm, add2 + popm + popt,
            add2 + set_(K_ETHERNET, MAC_A + MAC_B), add2 + attr(PUSH_ETH, MAC_A + MAC_B), tag + push, attr(POP_VLAN) + push, add3 + popt, setm,
            attr(CLONE, add2 + push) + set_(K_ETHERNET, MAC_A + MAC_B))
    ask("tcp4", attr(PUSH_MPLS, lse(5) + b"\x08\0\0\0"), attr(ADD_MPLS, lse(5) + b"\x08\0" + u16(1)), attr(ADD_MPLS, lse(5) + b"\x88\x47" + u16(2)),
        attr(ADD_MPLS, lse(5) + b"\x88\x47" + u16(3)), attr(PUSH_MPLS, lse(5) + b"\x88\x47\xff\xff"))
    # SET and SET_MASKED
    values = {K_PRIORITY: u32(5), K_IN_PORT: u32(1), K_ETHERNET: MAC_A + MAC_B, K_VLAN: b16(0x1005), K_ETHERTYPE: b16(0x800), K_IPV4: V4(6),
              K_IPV6: V6(6), K_TCP: b16(1) + b16(2), K_UDP: b16(1) + b16(2), K_ICMP: b"\0\0", K_ICMPV6: b"\0\0", K_ARP: bytes(24),
              K_ND: bytes(28), K_SKB_MARK: u32(7), K_SCTP: b16(1) + b16(2), K_TCP_FLAGS: b16(2), K_DP_HASH: u32(9), K_RECIRC_ID: u32(3),
              K_MPLS: lse(7, 1), K_CT_STATE: u32(1), K_CT_ZONE: u16(1), K_CT_MARK: u32(1), K_CT_LABELS: bytes(15) + b"\x01", K_ORIG4: bytes(16),
              K_ORIG6: bytes(40), K_NSH: attr(1, bytes(8)), K_ENCAP: b"", 0: b"", 29: u32(0), 30: bytes(8), 31: b"", 32: u16(0), 33: u32(0)}
    for kind, value in values.items():
        for name in KEYS:
            ask(name, set_(kind, value))
            limit = b"\xff" * len(value)
            if kind == K_IPV4:
                limit = limit[:8] + b"\0\xff\xff\0"
            if kind == K_IPV6:
                limit = limit[:32] + b"\0\x0f\xff\xff\0\xff\xff\0"
            ask(name, masked(kind, value, limit))
        ask("tcp4", masked(kind, value, bytes(len(value))), set_(kind, value + b"\0"), set_(kind, value[:-1]), set_(kind, value * 2),
            attr(SET_MASKED, attr(kind, value)), attr(SET_MASKED, attr(kind, value + bytes([255] * len(value)) + b"\0")),
            attr(SET_MASKED, attr(kind, value + bytes(len(value)))), attr(SET, attr(kind | NESTED, value)), attr(SET_MASKED, attr(kind | NESTED, value + b"\xff" * len(value))))
    for proto in (6, 17, 0):
        for frag in (0, 1, 2):
            ask("tcp4 udp4 first4 later4", set_(K_IPV4, V4(proto, frag)))
            ask("tcp6 udp6", set_(K_IPV6, V6(proto, frag)))
    for label in (0x100000, 0xFFFFFFFF, 0xFFFFF):
        ask("tcp6", set_(K_IPV6, V6(6, 0, label)), masked(K_IPV6, V6(0, 0, label), bytes(32) + b32(label) + bytes(4)))
    ask("tcp4", masked(K_IPV4, V4(6), bytes(8) + b"\xff\0\0\0"), masked(K_IPV4, V4(6), bytes(11) + b"\xff"), masked(K_IPV4, V4(6), bytes(8) + b"\0\xfc\0\0"),
        attr(SET), attr(SET, b"\0\0"), attr(SET, attr(K_SKB_MARK, u32(1)) * 2), attr(SET, attr(K_SKB_MARK, u32(1)) + b"\0"), attr(SET, b"\x05\0\x0f\0\x01"),
        attr(SET, b"\x20\0\x0f\0" + u32(1)), attr(SET_MASKED), attr(SET_MASKED, attr(K_SKB_MARK)), attr(SET, attr(K_ICMP, b"\0\0")[:6]),
        attr(SET_MASKED, attr(K_SKB_MARK, bytes(9))), attr(SET_MASKED, attr(K_SKB_MARK, bytes(10))), attr(SET_MASKED, attr(K_SKB_MARK, bytes(7))),
        attr(SET_MASKED, attr(K_SKB_MARK, b"\x01\0\0\0\xfe\xff\xff\xff")))
    ask("mpls2 mpls3", set_(K_MPLS, b""), set_(K_MPLS, lse(1) + lse(2, 1)), set_(K_MPLS, b"\0\0"), attr(SET_MASKED, attr(K_MPLS, bytes(16))),
        masked(K_MPLS, lse(7, 1), b32(0xFFFFF000)), set_(K_MPLS, lse(1) + lse(2) + lse(3, 1)))
    # SET TUNNEL
    dst, ttl = attr(2, bytes([1, 2, 3, 4])), attr(4, u8(64))
    dst6 = attr(13, IP6_B)
    gopt = lambda *o: attr(8, b"".join(o))
    ask("tcp4 llc", *(attr(SET, attr(K_TUNNEL, t)) for t in (
        b"", dst, ttl, dst + ttl, TUN4, dst6 + ttl, attr(12, IP6_A) + ttl, attr(13, bytes(16)) + ttl, dst + dst6 + ttl, attr(2, bytes(4)) + ttl,
        TUN4 + attr(3, u8(0)), TUN4 + attr(3, u8(5)), TUN4 + attr(5) + attr(6) + attr(7), TUN4 + attr(9, b16(1)) + attr(10, b16(2)), TUN4 + attr(9, b16(0)),
        TUN4 + attr(1, bytes([9, 9, 9, 9])), TUN4 + attr(1, bytes(4)), attr(12, IP6_A) + dst6 + ttl + attr(0, bytes(8)), TUN4 + attr(14), TUN4 + attr(14, u32(0)),
        attr(16), attr(16) + attr(0, bytes(7) + b"\x01"), attr(16) + ttl, attr(16) + attr(4, u8(0)), attr(16) + dst, attr(16) + attr(5), attr(16) + attr(2, bytes(4)),
        TUN4 + gopt(), TUN4 + gopt(b16(1) + b"\x05\x01" + bytes(4)), TUN4 + gopt(b16(1) + b"\x85\x02" + bytes(8)), TUN4 + gopt(b16(1) + b"\x05\x02" + bytes(4)),
        TUN4 + gopt(b16(1) + b"\x05\x00", b16(2) + b"\x06\x01" + bytes(range(4))), TUN4 + gopt(bytes(3)), TUN4 + gopt(bytes(124)), TUN4 + gopt(bytes(252)), TUN4 + gopt(bytes(256)),
        TUN4 + gopt(b16(1) + b"\x05\xe1" + bytes(4)), TUN4 + attr(11, attr(1, u32(77))), TUN4 + attr(11), TUN4 + attr(11, attr(2, u32(1))), TUN4 + attr(11, attr(1, u16(1))), TUN4 + attr(15, bytes(range(1, 13))),
        TUN4 + attr(15, b""), TUN4 + attr(15, bytes(255)), TUN4 + attr(15, bytes(256)), TUN4 + attr(11, attr(1, u32(7))) + gopt(), TUN4 + attr(17), TUN4 + b"\0", TUN4 + attr(4, u8(9)) + attr(2, bytes([4, 3, 2, 1])),
        TUN4 + attr(0, bytes(4)), attr(0, bytes(8)) + dst + attr(4, u8(0)), dst6 + ttl + attr(15, bytes(12)), TUN4 + attr(7) + gopt(bytes(4)))))
    ask("tcp4", attr(SET_MASKED, attr(K_TUNNEL, TUN4)), attr(SET_MASKED, attr(K_TUNNEL, TUN4 + TUN4)), attr(SET, attr(K_TUNNEL, TUN4)) * 2 + out())
    # SAMPLE, CLONE, CHECK_PKT_LEN, DEC_TTL
    p, a = attr(1, u32(1 << 30)), attr(2, out())
    ask("tcp4", attr(SAMPLE, p + a), attr(SAMPLE, a + p), attr(SAMPLE, p), attr(SAMPLE, a), attr(SAMPLE), attr(SAMPLE, p + p + a), attr(SAMPLE, p + a + a), attr(SAMPLE, p + a + attr(3, u32(1))),
        attr(SAMPLE, p + a + attr(0)), attr(SAMPLE, attr(1, u16(1)) + a), attr(SAMPLE, attr(1, bytes(8)) + a), attr(SAMPLE, p + attr(2)), attr(SAMPLE, p + attr(2, b"\0")), attr(SAMPLE, p + attr(2, bytes(3))),
        attr(SAMPLE, p + attr(2, bytes(4))), attr(SAMPLE, p + a + b"\0"), attr(SAMPLE, p + attr(2, b"\0")[:5]), attr(SAMPLE, p + attr(2, attr(POP_MPLS, b"\x08\0")[:6])), attr(SAMPLE | NESTED, p + attr(2 | NESTED, out())), attr(SAMPLE, p + a) + out(3), attr(SAMPLE, p + attr(2, tag)) + out(),
        attr(SAMPLE, attr(1, u32(0)) + a), attr(SAMPLE, attr(1, u32(0xFFFFFFFF)) + a),
        attr(CLONE), attr(CLONE, b"\0"), attr(CLONE, bytes(3)), attr(CLONE, bytes(4)), attr(CLONE, out()), attr(CLONE, out()) + out(), attr(CLONE | NESTED, out()), attr(CLONE, attr(DROP, u32(0))), attr(CLONE, attr(DROP, u32(0)) + out()),
        attr(CLONE, attr(DROP, u32(0))) + out(), attr(DROP, u32(0)) + out(), out() + attr(DROP, u32(3)), attr(CLONE, tag + attr(POP_VLAN)), attr(CLONE, attr(POP_ETH)) + attr(POP_ETH), attr(POP_ETH) + attr(CLONE, attr(PUSH_ETH, MAC_A + MAC_B)),
        attr(POP_ETH) + attr(CLONE, attr(POP_ETH)), attr(POP_ETH) + attr(PUSH_ETH, MAC_A + MAC_B), attr(POP_ETH) + attr(POP_ETH), tag + attr(POP_ETH), attr(POP_ETH) + tag, attr(CLONE, tag) + attr(POP_ETH), tag + attr(CLONE, attr(POP_ETH)))
    n, g, l = attr(1, u16(100)), attr(2, out()), attr(3, tag)
    ask("tcp4", *(attr(CHECK_PKT_LEN, c) for c in (n + g + l, l + g + n, n + g, n + l, g + l, attr(1, u16(0)) + g + l, attr(1, u8(1)) + g + l, attr(1, u32(70000)) + g + l, attr(1) + g + l,
        n + attr(2) + attr(3), n + attr(2, b"\0") + l, n + g + attr(3, bytes(3)), n + g + l + attr(4, u32(1)), n + g + l + attr(0), n + g + l + b"\0", n + n + g + g + l + l, n + attr(2 | NESTED, out()) + attr(3 | NESTED, out()),
        n + attr(2, bytes(4)) + l, attr(1 | NESTED, u16(100)) + g + l, n + attr(2, attr(POP_MPLS, b"\x08\0")) + l, b"", attr(1, u16(65535)) + g + l)))
    ask("tcp4", *(attr(DEC_TTL, c) for c in (attr(1), attr(1, out()), b"", attr(1) + attr(1), attr(1) + attr(0), attr(0), attr(2), attr(1) + attr(2, b"x"), attr(2) + attr(1, out()), attr(1, b"\0"), attr(1, bytes(4)),
        attr(1) + b"\0", attr(1, b"\0")[:5], attr(1, bytes(3)), attr(2, b"xyz")[:7], attr(1) + attr(2, b"x")[:5], attr(1 | NESTED, out()), attr(1, userspace(5)))))
    ask("arp llc tcp6 mpls1 l3_ip4 l3_other", attr(DEC_TTL, attr(1, out())), attr(CHECK_PKT_LEN, n + g + l), sample(7, tag), attr(CLONE, attr(POP_ETH)))
    # PSAMPLE
    gr = attr(1, u32(9))
    for flag in (0, NESTED):
        ask("tcp4", *(attr(PSAMPLE | flag, c) for c in (gr, b"", gr + attr(2, b"cookie"), gr + attr(2), gr + attr(2, bytes(16)), gr + attr(2, bytes(17)), attr(2, b"abc"), gr + attr(3, u32(1)), gr + attr(0), attr(1, u16(1)), attr(1, bytes(8)),
            gr + b"\0", attr(1 | NESTED, u32(9)), gr + attr(2 | NESTED, b"abcd"), gr + gr, attr(1 | 0x4000, u32(9)))))
    # NSH
    base = attr(1, bytes([0, 63, 1, 0]) + b32(0xAABBCC01))
    base2 = attr(1, bytes([0, 63, 2, 0]) + b32(0xAABBCC01))
    md1, md2 = attr(2, bytes(range(16))), attr(3, bytes(range(8)))
    for name in KEYS:
        ask(name, push_nsh(), attr(POP_NSH), attr(POP_NSH) + attr(PUSH_ETH, MAC_A + MAC_B), push_nsh() + attr(POP_NSH), push_nsh() + push_nsh(), push_nsh() + attr(PUSH_ETH, MAC_A + MAC_B) + out(), attr(POP_NSH) + attr(POP_ETH),
            push_nsh() + set_(K_IPV4, V4(6)), attr(PUSH_ETH, MAC_A + MAC_B), attr(POP_ETH), attr(CT_CLEAR))
    N = lambda c: attr(PUSH_NSH, attr(K_NSH, c))
    ask("tcp4 llc", N(base + md1), N(md1 + base), N(base + md2), N(base2 + md2), N(base2 + md1), N(base), N(md1), N(base + md1 + md2), N(base + md1 + md1), N(base + base + md1), N(base + md1 + attr(4, u32(1))), N(base + md1 + attr(0)), N(base + md1 + b"\0"), N(b""),
        N(base2 + attr(3)), N(base2 + attr(3, bytes(1))), N(base2 + attr(3, bytes(5))), N(base2 + attr(3, bytes(248))), N(base2 + attr(3, bytes(249))), N(base2 + attr(3, bytes(252))), N(base + attr(2, bytes(12))), N(attr(1, bytes(4)) + md1),
        attr(PUSH_NSH), attr(PUSH_NSH, b"\0\0"), attr(PUSH_NSH, attr(K_NSH, base + md1) * 2), attr(PUSH_NSH, attr(K_TCP, base + md1)), attr(PUSH_NSH, attr(K_NSH, base + md1) + attr(K_TCP, u32(0))), attr(PUSH_NSH, attr(K_NSH | NESTED, base + md1)), attr(PUSH_NSH, attr(K_NSH, base + md1) + b"\0"),
        attr(PUSH_NSH, b"\xff\0\x1c\0" + base + md1), N(attr(1, bytes([3, 63, 3, 0]) + b32(1)) + md1), N(base2 + md2 + md2), N(attr(1 | NESTED, bytes([0, 63, 1, 0]) + b32(1)) + md1))
    # CT
    commit, force, zone = attr(1), attr(7), attr(2, u16(5))
    mark = attr(3, u32(5) + u32(15))
    labels = attr(4, bytes(15) + b"\x01" + bytes(15) + b"\x03")
    src, ipmin, ipmax = attr(1), attr(3, bytes([1, 1, 1, 1])), attr(4, bytes([1, 1, 1, 9]))
    nat = lambda *o: attr(6, b"".join(o))
    cts = [b"", commit, force, zone, commit + force, force + commit, commit + zone, zone + commit + mark, mark + commit, mark, mark + zone, attr(3, u32(5) + u32(0)) + commit, commit + attr(3, u32(255) + u32(15)), labels + commit, labels, commit + attr(4, bytes(32)),
           commit + attr(4, b"\xff" * 16 + bytes(15) + b"\x01"), attr(1, b"\0"), attr(2, u8(1)), attr(2, u32(1)), attr(3, u32(1)), attr(4, bytes(16)), attr(0), attr(10), attr(77), commit + b"\0", zone + attr(2, u16(9)), attr(2, u16(0)), attr(2, u16(65535)),
           commit + mark + attr(3, u32(1) + u32(1)), attr(8, u32(0x201)), commit + attr(8, u32(0)), attr(8, u16(1)), commit + attr(9, b"policy\0"), attr(9, b"policy\0"), attr(9, b"policy"), attr(9, b"a\0b\0"), attr(9, b"\0"), attr(9, b""), attr(9, bytes(32)), attr(9, bytes(33)),
           commit + attr(9, b"abcdefghijklmnopqrstuvwxyzabcde\0"), attr(5, b"ftp\0"), commit + attr(5, b"ftp\0"), commit + attr(5, b"ftp"), commit + attr(5, b"nosuch\0"), commit + attr(5, b"\0"), commit + attr(5, b""), commit + attr(5, b"ftp\0xx"), commit + attr(5, b"tftp\0"), commit + attr(5, b"ftp" + bytes(13)), commit + attr(5, b"ftp" + bytes(14)),
           commit + attr(5, b"ftp\0") + nat(src), commit + attr(5, b"tftp\0") + nat(), attr(9, b"longername\0") + attr(9, b"x\0"), commit + force + mark + labels + attr(5, b"ftp\0") + attr(8, u32(7)) + attr(9, b"t\0") + zone + nat(src, ipmin, attr(5, u16(10)), attr(6, u16(20)), attr(7), attr(8), attr(9)),
           nat(), commit + nat(), nat() + commit, nat(src) + commit, nat(src), commit + nat(src), commit + nat(attr(2)), force + nat(src), commit + nat(src, src), commit + nat(src, attr(2)), commit + nat(ipmin), nat(attr(7)), nat(ipmin), commit + nat(src, ipmin), commit + nat(ipmin, src), commit + nat(src, ipmin, ipmax),
           commit + nat(src, ipmax), commit + nat(src, ipmax, ipmin), commit + nat(src, ipmin, attr(4, bytes([1, 1, 1, 1]))), commit + nat(src, attr(3, bytes([9, 9, 9, 9])), ipmax), commit + nat(src, attr(3, bytes(4))), commit + nat(src, attr(3, bytes(16))), commit + nat(src, attr(3, IP6_A), attr(4, IP6_B)), commit + nat(src, attr(3, bytes(3))),
           commit + nat(src, attr(5, u16(10))), commit + nat(src, attr(6, u16(20))), commit + nat(src, attr(5, u16(10)), attr(6, u16(10))), commit + nat(src, attr(5, u16(30)), attr(6, u16(20))), commit + nat(src, attr(5, u16(0))), commit + nat(src, attr(5, u32(0))), commit + nat(src, attr(5, u8(0))), commit + nat(attr(2), attr(7)), commit + nat(src, attr(8)), commit + nat(src, attr(9)),
           commit + nat(src, attr(8), attr(9), attr(7)), commit + nat(src, attr(7, b"x")), commit + nat(src, attr(10)), commit + nat(src, attr(0)), commit + nat(src) + nat(src), commit + nat() + nat(src), commit + nat(src) + nat(), nat() + nat(), commit + nat() + nat(), commit + nat(src, b"\0"), commit + nat(src, bytes(2)), commit + nat(attr(1) * 30), commit + nat(src, *[ipmin] * 11), commit + nat(src, *[ipmin] * 12),
           nat() + mark + commit, commit + nat(src, ipmin) + nat(ipmax), attr(1 | NESTED), attr(6 | NESTED, b"") + commit, commit + nat(src, attr(3, IP6_A)), commit + nat(src, attr(4, IP6_A)), commit + nat(attr(7), src)]
    ask("tcp4 tcp6 udp4", *(attr(CT, c) for c in cts))
    for name in KEYS:
        ask(name, attr(CT), attr(CT, commit), push + attr(CT), attr(POP_VLAN) + attr(CT), attr(CT | NESTED, commit + zone))
    # Random lists out of these
    rng = random.Random(SEED)
    parts = [a for _, a in q if len(a) < 80]
    for _ in range(COUNT // 4):
        actions = b"".join(rng.choice(parts) for _ in range(rng.randint(2, 4)))
        wrap = rng.random()
        if wrap < 0.2:
            actions = attr(CLONE, actions) + rng.choice(parts)
        elif wrap < 0.35:
            actions = sample(rng.getrandbits(32), actions)
        elif wrap < 0.5:
            actions = check(rng.randint(1, 1500), actions, rng.choice(parts))
        elif wrap < 0.6:
            actions = dec_ttl(actions)
        q.append((rng.choice(list(KEYS)), actions))
    return q


# Packets and lists to execute

def packets():
    meta = attr(K_IN_PORT, u32(1))
    l2 = meta + attr(K_ETHERNET, MAC_A + MAC_B)
    l3 = lambda kind: meta + attr(K_ETHERTYPE, b16(kind))
    frame = {
        "tcp4": eth(0x800, ip4(6, tcp())),
        "udp4": eth(0x800, ip4(17, udp())),
        "udp4_zero": eth(0x800, ip4(17, udp(zero=True))),
        "sctp4": eth(0x800, ip4(132, sctp())),
        "sctp4_bad": eth(0x800, ip4(132, sctp()[:8] + b"\1\2\3\4" + sctp()[12:])),
        "icmp4": eth(0x800, ip4(1, icmp())),
        "pad4": eth(0x800, ip4(6, tcp(payload=b""))) + bytes(6),
        "opts4": eth(0x800, ip4(17, udp(), options=bytes([7, 7, 4, 0, 0, 0, 0, 0]))),
        "first4": eth(0x800, ip4(17, udp(payload=bytes(24)), frag=0x2000)),
        "later4": eth(0x800, ip4(6, bytes(range(40)), frag=0x2005)),
        "short4": eth(0x800, ip4(6, tcp()[:12])),
        "ttl1": eth(0x800, ip4(17, udp(), ttl=1)),
        "ttl0": eth(0x800, ip4(17, udp(), ttl=0)),
        "tcp6": eth(0x86DD, ip6(6, tcp(6))),
        "udp6": eth(0x86DD, ip6(17, udp(6))),
        "icmp6": eth(0x86DD, ip6(58, icmp6())),
        "ns6": eth(0x86DD, NS),
        "route6": eth(0x86DD, ROUTED),
        "later6": eth(0x86DD, ip6(44, bytes([6, 0, 0, 9, 0, 0, 0, 1]) + bytes(range(40)))),
        "first6": eth(0x86DD, ip6(44, bytes([17, 0, 0, 1, 0, 0, 0, 1]) + udp(6, bytes(16)))),
        "hop1": eth(0x86DD, ip6(17, udp(6), hops=1)),
        "vlan": eth(0x8100, vlan(0x6005, 0x800, ip4(6, tcp()))),
        "qinq": eth(0x88A8, vlan(5, 0x8100, vlan(6, 0x800, ip4(17, udp())))),
        "triple": eth(0x88A8, vlan(5, 0x8100, vlan(6, 0x8100, vlan(7, 0x86DD, ip6(17, udp(6)))))),
        "vlan_mpls": eth(0x8100, vlan(5, 0x8847, lse(16, 1) + ip4(6, tcp()))),
        "mpls1": eth(0x8847, lse(16, 1) + ip4(6, tcp())),
        "mpls2": eth(0x8847, lse(16) + lse(17, 1) + ip6(6, tcp(6))),
        "mpls_eth": eth(0x8847, lse(16, 1) + eth(0x800, ip4(6, tcp()))),
        "arp": eth(0x806, ARP),
        "nsh": eth(0x894F, nsh_frame(1, ip4(6, tcp()))),
        "llc": eth(30, b"\x42\x42\x03" + bytes(27)),
        "other": eth(0x88CC, bytes(20)),
    }
    found = [(name, l2, data) for name, data in frame.items()]
    found += [
        ("l3_ip4", l3(0x800), ip4(6, tcp())),
        ("l3_ip6", l3(0x86DD), ip6(17, udp(6))),
        ("l3_mpls", l3(0x8847), lse(16, 1) + ip4(6, tcp())),
        ("l3_mpls_eth", l3(0x8847), lse(16, 1) + eth(0x800, ip4(6, tcp()))),
        ("l3_mpls_vlan", l3(0x8847), lse(16, 1) + eth(0x8100, vlan(9, 0x800, ip4(6, tcp())))),
        ("l3_nsh_ip4", l3(0x894F), nsh_frame(1, ip4(6, tcp()))),
        ("l3_nsh_eth", l3(0x894F), nsh_frame(3, eth(0x800, ip4(6, tcp())))),
        ("l3_nsh_vlan", l3(0x894F), nsh_frame(3, eth(0x8100, vlan(9, 0x800, ip4(6, tcp()))))),
        ("l3_nsh_nsh", l3(0x894F), nsh_frame(4, nsh_frame(1, ip4(6, tcp())))),
        ("l3_nsh_mpls", l3(0x894F), nsh_frame(5, lse(16, 1) + ip4(6, tcp()), context=bytes(16))),
        ("l3_nsh_bad", l3(0x894F), nsh_frame(1, ip4(6, tcp())[:6])),
        ("marked", l2 + attr(K_SKB_MARK, u32(0xF0F0)) + attr(K_PRIORITY, u32(3)) + attr(K_CT_STATE, u32(0x22)) + attr(K_CT_ZONE, u16(4)) + attr(K_CT_MARK, u32(9)), frame["udp4"]),
    ]
    return found


def execute_questions(pid):
    """(packet index, mru, list)"""
    q = []
    names = [name for name, _, _ in packets()]
    up = userspace(pid, attr(2, b"a"))
    up2 = userspace(pid, attr(2, b"b"))
    tag, stag = attr(PUSH_VLAN, b"\x81\0\x30\x09"), attr(PUSH_VLAN, b"\x88\xa8\x10\x0a")
    untag = attr(POP_VLAN)
    push, pushm = attr(PUSH_MPLS, lse(5, 1, 60) + b"\x88\x47\0\0"), attr(PUSH_MPLS, lse(6, 0, 61) + b"\x88\x48\0\0")
    add2, add3 = attr(ADD_MPLS, lse(7, 1) + b"\x88\x47" + u16(0)), attr(ADD_MPLS, lse(8, 1) + b"\x88\x47" + u16(1))
    pops = [attr(POP_MPLS, b16(t)) for t in (0x800, 0x86DD, 0x8847, 0x6558, 0x1234)]
    recirc = attr(RECIRC, u32(7))
    eth_in, eth_out = attr(PUSH_ETH, bytes.fromhex("020202020202040404040404")), attr(POP_ETH)
    sets = [set_(K_ETHERNET, bytes.fromhex("0e0000000001") + bytes.fromhex("0e0000000002")), masked(K_ETHERNET, b"\xaa" * 12, bytes(3) + b"\xff" * 4 + b"\x0f" + bytes(4)),
            masked(K_IPV4, V4(0), b"\xff" * 4 + bytes(8)), masked(K_IPV4, V4(0), bytes(4) + b"\0\0\xff\xff" + bytes(4)), masked(K_IPV4, V4(0), bytes(9) + b"\xfc\0\0"), masked(K_IPV4, V4(0), bytes(10) + b"\xff\0"),
            masked(K_IPV4, V4(0), b"\xff" * 8 + b"\0\xff\xff\0"), masked(K_IPV4, bytes([10, 0, 0, 1, 10, 0, 0, 2, 0, 0, 64, 0]), b"\xff" * 8 + b"\0\xff\xff\0"), masked(K_IPV4, bytes(12), bytes(8) + b"\0\xff\xff\0"),
            masked(K_IPV6, V6(0), b"\xff" * 16 + bytes(24)), masked(K_IPV6, V6(0), bytes(16) + b"\xff" * 16 + bytes(8)), masked(K_IPV6, V6(0), bytes(15) + b"\xff" * 2 + bytes(23)), masked(K_IPV6, V6(0), bytes(32) + b32(0xFFFFF) + b"\0\xff\xff\0"),
            masked(K_IPV6, V6(0), bytes(32) + b32(0x00FF0) + b"\0\x0f\0\0"), masked(K_IPV6, V6(0), b"\xff" * 32 + b32(0xFFFFF) + b"\0\xff\xff\0"),
            set_(K_TCP, b16(4444) + b16(5555)), masked(K_TCP, b16(0x1200) + b16(0), b16(0xFF00) + b16(0)), set_(K_TCP, b16(1000) + b16(80)),
            set_(K_UDP, b16(4444) + b16(5555)), masked(K_UDP, b16(0) + b16(0x34), b16(0) + b16(0xFF)), set_(K_UDP, b16(2000) + b16(53)), masked(K_UDP, bytes(4), bytes(4)), set_(K_SCTP, b16(4444) + b16(5555)), masked(K_SCTP, b16(7) + b16(0), b16(0xFF) + b16(0)),
            set_(K_MPLS, lse(77, 1, 33)), masked(K_MPLS, lse(0xFFFFF, 0, 9), b32(0xFF)), set_(K_SKB_MARK, u32(0x1234)), masked(K_SKB_MARK, u32(0xFF), u32(0xF0F)), set_(K_PRIORITY, u32(9)), set_(K_CT_MARK, u32(1)), set_(K_CT_LABELS, bytes(16)), attr(SET, attr(K_TUNNEL, TUN4))]
    simple = sets + [tag, stag, untag, push, pushm, add2, add3, *pops, eth_in, eth_out, push_nsh(), push_nsh(2, bytes(range(5)), 2), push_nsh(7, bytes(range(12)), 2, 1, 5), attr(POP_NSH), attr(CT_CLEAR), attr(TRUNC, u32(20)), attr(TRUNC, u32(50)),
                     dec_ttl(b""), dec_ttl(up2), attr(METER, u32(99)), sample(0, up2), sample(0xFFFFFFFF, up2), attr(CLONE)]
    fixed = [b"", out(), up, up + out(), out() + up, attr(TRUNC, u32(14)) + up, attr(TRUNC, u32(16)) + out(), attr(TRUNC, u32(14)) + push + out(), attr(TRUNC, u32(20)) + out() + up + out(), attr(TRUNC, u32(20)) + up + out() + up, attr(DROP, u32(1)), out() + attr(DROP, u32(0)), recirc, recirc + up, recirc + recirc,
             tag + stag + up + recirc, tag + stag + untag + up + recirc, untag + up + recirc, untag + untag + up + recirc, untag + untag + untag + untag + up, tag + untag + up + recirc, tag + tag + sets[0] + up + out(), tag + out() + untag + out() + up,
             tag + stag + sets[6] + up, tag + stag + dec_ttl(b"") + up + recirc, untag + sets[6] + dec_ttl(b"") + up + recirc, stag + push + up, tag + stag + untag + untag + sets[6] + sets[15] + sets[18] + up + recirc,
             push + up + recirc, push + pushm + sets[24] + up + recirc, push + pops[0] + up + recirc, add2 + up + recirc, add2 + pops[3] + up + recirc, add2 + eth_in + up + recirc, add2 + push + up + recirc, pops[0] + up + recirc, pops[3] + up + recirc, pops[4] + up + recirc,
             eth_out + up + recirc, eth_out + eth_in + up + recirc, eth_out + out() + up, eth_out + push + up + recirc, push_nsh() + up + recirc, push_nsh() + eth_in + up + recirc, push_nsh() + attr(POP_NSH) + up, attr(POP_NSH) + up + recirc, attr(POP_NSH) + eth_in + up + recirc,
             tag + push_nsh() + up + recirc, tag + add2 + up + recirc, tag + add2 + eth_in + up,
             attr(CLONE, tag + up) + up2, attr(CLONE, sets[0] + out()) + out() + up, attr(CLONE, attr(CLONE, attr(CLONE, attr(CLONE, attr(CLONE, sets[0] + up) + sets[1] + up2) + up) + up2) + up) + up2 + out(),
             attr(CLONE, sets[0] + recirc) + up + recirc, attr(CLONE, attr(CLONE, attr(CLONE, attr(CLONE, sets[0] + recirc) + recirc) + recirc) + recirc) + up2, sample(0xFFFFFFFF, sets[0] + up) + up2, sample(0xFFFFFFFF, out()) + out() + up,
             b"".join(recirc for _ in range(12)) + up, *(b"".join(attr(CLONE, nest_clones(3, sets[0] + userspace(pid, attr(2, bytes([i]))))) for i in range(12)) + up for _ in range(1)),
             nest_clones(5, sets[0] + up) + up2, nest_clones(3, push + recirc) + up2, push + attr(CLONE, recirc) + up, push + attr(CLONE, up + recirc) + up2 + recirc, attr(CLONE, set_(K_CT_MARK, u32(1))) + up, attr(CLONE, sets[0] + attr(CLONE, sets[1] + set_(K_CT_MARK, u32(1)))) + up,
             attr(TRUNC, u32(20)) + attr(CLONE, up) + up2, attr(CLONE, attr(TRUNC, u32(20)) + up) + up2, attr(CLONE, attr(TRUNC, u32(20))) + up2, attr(TRUNC, u32(20)) + attr(CLONE, sets[0] + out()) + out() + out(), attr(TRUNC, u32(20)) + recirc + up,
             dec_ttl(up) + up2, dec_ttl(b"") + up, dec_ttl(sets[0] + up) + recirc, attr(CLONE, dec_ttl(up)) + up2, dec_ttl(b"") * 3 + up, check(60, sets[0] + up, tag + up2), check(60, up, up2) + recirc + out(), check(70, tag + up, b"") + up2, check(66, up, up2), check(65, up, up2), check(67, up, up2),
             check(74, up, up2) + sets[0] + up, check(1, tag + set_(K_CT_MARK, u32(1)), b"") + up, userspace(pid, attr(4)) , tag + attr(CLONE, out() + userspace(pid, attr(4)) + sets[0]) + userspace(pid, attr(4)), attr(CT_CLEAR) + up, sets[26] + sets[28] + up + recirc, sets[31] + up + out(),
             attr(CT_CLEAR) + recirc]
    for i, _ in enumerate(names):
        for actions in fixed + [s + up + recirc for s in simple] + [out() + s + out() + up for s in sets]:
            q.append((i, 0, actions))
    for mru in (40, 46, 52, 53, 100, 1500):
        for name in ("tcp4", "vlan", "qinq", "l3_ip4"):
            q.append((names.index(name), mru, check(66, up, up2)))
            q.append((names.index(name), mru, check(52, up, up2)))
    rng = random.Random(SEED + 1)
    for _ in range(COUNT):
        actions = b""
        for _ in range(rng.randint(2, 6)):
            kind = rng.random()
            if kind < 0.75:
                actions += rng.choice(simple)
            elif kind < 0.85:
                actions += attr(CLONE, rng.choice(simple) + rng.choice(simple) + up2)
            elif kind < 0.9:
                actions += check(rng.randint(40, 100), rng.choice(simple) + up2, rng.choice(simple))
            elif kind < 0.95:
                actions += out()
            else:
                actions += rng.choice([up, recirc])
        q.append((rng.randrange(len(names)), 0, actions + up + recirc))
    return q


# Asking

def strip_pads(actions, kind=None):
    """Takes PAD attributes out of SET{TUNNEL} in dumped actions."""
    result = b""
    for what, body in attrs(actions):
        if what == SET:
            (inner, value), *_ = attrs(body)
            if inner == K_TUNNEL:
                value = b"".join(attr(k, v) for k, v in attrs(value) if k != 14)
                body = attr(inner, value)
        elif what == CLONE:
            body = strip_pads(body)
        elif what == SAMPLE:
            body = b"".join(attr(k, strip_pads(v) if k == 2 else v) for k, v in attrs(body))
        elif what == CHECK_PKT_LEN:
            body = b"".join(attr(k, v if k == 1 else strip_pads(v)) for k, v in attrs(body))
        elif what == DEC_TTL:
            body = b"".join(attr(k, strip_pads(v)) for k, v in attrs(body))
        result += attr(what, body)
    return result


def record_actions(nl, dp, pid):
    keys = list(KEYS)
    lists = []
    for name, actions in action_questions(pid):
        if len(actions) > 65000:
            continue
        body = attr(1, KEYS[name]) + attr(2, actions)
        error, replies = nl.call("ovs_flow", 1, dp, body, NLM_F_CREATE | NLM_F_EXCL | NLM_F_ECHO)
        answer = error
        if error == 0:
            answer = strip_pads(dict(attrs(replies[0][24:]))[2]).hex()
            removed, _ = nl.call("ovs_flow", 2, dp, attr(1, KEYS[name]))
            assert removed == 0, removed
        lists.append([keys.index(name), actions.hex(), answer])
    return {"keys": [KEYS[k].hex() for k in keys], "lists": lists, "sizes": record_sizes(nl, dp)}


def record_sizes(nl, dp):
    """How many times a piece fits into one CLONE: the module's own form of a list is larger than what came."""
    body = lambda piece, count: attr(CLONE, piece * count)
    pieces = [attr(CT), set_(K_SKB_MARK, u32(1)), set_(K_IPV6, V6(6)), attr(CLONE), sample(1, b""), check(9, b"", b""), dec_ttl(b""), attr(SET, attr(K_TUNNEL, TUN4)), attr(CLONE, out()), out()]
    answers = []
    for piece in pieces:
        name = "tcp6" if piece == pieces[2] else "tcp4"
        low, high = 0, 65520 // len(piece)
        while low < high:
            middle = (low + high + 1) // 2
            error, _ = nl.call("ovs_flow", 1, dp, attr(1, KEYS[name]) + attr(2, body(piece, middle)), NLM_F_CREATE | NLM_F_EXCL)
            if error == 0:
                nl.call("ovs_flow", 2, dp, attr(1, KEYS[name]))
                low = middle
            else:
                assert error == 90, (error, piece.hex(), middle)
                high = middle - 1
        answers.append([list(KEYS).index(name), piece.hex(), low])
    return answers


def replay_pid(hex_text, pid):
    """Port ids differ from run to run: a fixed one stands in the recording."""
    return hex_text.replace(attr(1, u32(pid)).hex(), attr(1, u32(0x50494400)).hex())


def captured(sock):
    """Frames that came out, with a tag that the device carries beside the frame put back."""
    frames = []
    while True:
        try:
            data, ancillary, _, address = sock.recvmsg(1 << 16, 1024, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return frames
        if address[2] == 4:
            continue
        for level, kind, value in ancillary:
            if level == 263 and kind == 8:
                status, _, _, _, _, tci, tpid = struct.unpack("=IIIHHHH", value[:20])
                if status & 0x10:
                    data = data[:12] + b16(tpid if status & 0x40 else 0x8100) + b16(tci) + data[12:]
        frames.append(data.hex())


def record_execute(nl, dp, pid, capture):
    found = packets()
    runs = []
    for index, mru, actions in execute_questions(pid):
        _, meta, frame = found[index]
        body = attr(1, frame) + attr(2, meta) + attr(3, actions)
        if mru:
            body += attr(9, u16(mru))
        error, messages = nl.call("ovs_packet", 3, dp, body)
        events = []
        for message in messages + nl.drain():
            parts = dict(attrs(message[24:]))
            length = struct.unpack("=I", parts[10])[0] if 10 in parts else 0
            event = ["up", message[16], parts[2].hex(), parts[1].hex(), length, parts.get(4, b"").hex()]
            if 3 in parts:
                event.append(replay_pid(strip_pads(parts[3]).hex(), pid))
            events.append(event)
        events += [["out", data] for data in captured(capture)]
        runs.append([index, mru, replay_pid(actions.hex(), pid), error, events])
    return {"packets": [[meta.hex(), frame.hex()] for _, meta, frame in found], "runs": runs}


def main(directory):
    nl = Genl()
    pid = nl.pid
    for pair in ("1", "2"):
        subprocess.check_call(["ip", "link", "add", f"nka{pair}", "type", "veth", "peer", "name", f"nkb{pair}"])
        for side in "ab":
            with open(f"/proc/sys/net/ipv6/conf/nk{side}{pair}/disable_ipv6", "w") as control:
                control.write("1")
            subprocess.check_call(["ip", "link", "set", f"nk{side}{pair}", "up", "arp", "off"])
    error, replies = nl.call("ovs_datapath", 1, struct.pack("=I", 0), attr(1, b"nkdp\0") + attr(2, u32(pid)) + attr(5, u32(1)), NLM_F_ECHO, version=2)
    assert error == 0, error
    dp = replies[0][20:24]
    for number in (1, 2):
        body = attr(1, u32(number)) + attr(2, u32(1)) + attr(3, f"nka{number}".encode() + b"\0") + attr(5, u32(pid))
        error, _ = nl.call("ovs_vport", 1, dp, body)
        assert error == 0, error
    nl.drain()
    capture = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
    capture.bind(("nkb2", 3))
    capture.setsockopt(263, 8, 1)
    capture.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
    captured(capture)
    for name, data in (("actions", record_actions(nl, dp, pid)), ("execute", record_execute(nl, dp, pid, capture))):
        text = json.dumps(data, separators=(",", ":")) + "\n"
        path = os.path.join(directory, f"{name}-6.12.json.gz")
        with open(path, "wb") as file, gzip.GzipFile("", "wb", 9, file, 0) as packed:
            packed.write(text.encode())


main(sys.argv[1])
