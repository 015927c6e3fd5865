#!/usr/bin/env python3
"""Records what a kernel's tunnel devices under openvswitch.ko send and take.

usage: tunnels.py FILE     (as root, where the module is loaded and no datapath exists)

Writes FILE, gzipped: {"ports": {name: {"mtu", "reply": attributes of the answer to VPORT_NEW or null}},
"links": {name: [ifi_type, ifi_flags, IFLA_LINKINFO]}, "made": [[name, body of an RTM_NEWLINK, errno, IFLA_LINKINFO or null]…],
"send": [{"port", "tunnel": content of OVS_KEY_ATTR_TUNNEL, "key", "frame", "errno", "out": [frame…], "ups": [[KEY, PACKET]…],
"stats": [8 counters' changes]}…], "egress": [{"port", "tunnel", "frame", "key", "egress": EGRESS_TUN_KEY or null}…],
"receive": [{"frame", "ups", "out", "stats": {port: changes}}…]}.
The underlay is a veth of MTU 1500 with 10.9.0.1/24, fd09::1/64; 10.9.0.2 and fd09::2 are at its other end. All byte strings
are hexadecimal; PAD attributes are taken out, as x86-64 has none.
"""
import fcntl
import gzip
import json
import socket
import struct
import subprocess
import sys
import time

from ovsnl import NLM_F_ECHO, Genl, attr, attrs

NESTED = 0x8000
u8 = lambda v: bytes([v & 255])
u16 = lambda v: struct.pack("=H", v & 0xFFFF)
u32 = lambda v: struct.pack("=I", v & 0xFFFFFFFF)
b16 = lambda v: struct.pack(">H", v & 0xFFFF)
b32 = lambda v: struct.pack(">I", v & 0xFFFFFFFF)
b64 = lambda v: struct.pack(">Q", v)
MAC_A, MAC_B = bytes.fromhex("02000000000a"), bytes.fromhex("02000000000b")
NEAR, FAR = bytes.fromhex("020000000901"), bytes.fromhex("020000000902")
DEVICES = {
    "strictvx": "vxlan external dstport 4791",
    "strictge": "geneve external dstport 6082",
    "span": "erspan external",
    "gre6": "ip6gretap external",
    "span6": "ip6erspan external",
    "l3gre": "gre external",
    "gpe": "vxlan external gpe dstport 4792 udp6zerocsumrx",
    "strictgpe": "vxlan external gpe dstport 4793 srcport 40000 40100",
    "bareip": "bareudp dstport 6636 ethertype ipv4 multiproto srcportmin 49153",
    "bareip4": "bareudp dstport 6637 ethertype ipv4",
    "barempls": "bareudp dstport 6635 ethertype mpls_uc multiproto",
    "barempls1": "bareudp dstport 6638 ethertype mpls_uc",
    "barensh": "bareudp dstport 6639 ethertype 0x894f",
}
# Devices without Ethernet header, and what they carry.
BARE = {
    "l3gre": (0x0800, 0x86DD),
    "gpe": (0x0800, 0x86DD, 0x8847, 0x894F),
    "strictgpe": (0x0800,),
    "bareip": (0x0800, 0x86DD),
    "bareip4": (0x0800,),
    "barempls": (0x8847, 0x8848),
    "barempls1": (0x8847,),
    "barensh": (0x894F,),
}


def run(text):
    return subprocess.run(text.split(), check=True, capture_output=True, text=True).stdout


# Frames

def csum(data):
    if len(data) & 1:
        data += b"\0"
    total = sum(struct.unpack(">%dH" % (len(data) // 2), data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def addr(text):
    return socket.inet_pton(socket.AF_INET6 if ":" in text else socket.AF_INET, text)


def ip4(src, dst, proto, rest, tos=0, ttl=64, frag=0, ident=7):
    head = bytearray(struct.pack(">BBHHHBBH4s4s", 0x45, tos, 20 + len(rest), ident, frag, ttl, proto, 0, addr(src), addr(dst)))
    head[10:12] = b16(csum(bytes(head)))
    return bytes(head) + rest


def ip6(src, dst, proto, rest, tclass=0, hop=64, label=0):
    return struct.pack(">IHBB", 6 << 28 | tclass << 20 | label, len(rest), proto, hop) + addr(src) + addr(dst) + rest


def udp(src, dst, sport, dport, data, check=True):
    """`check`: True = right, False = none, else a number."""
    rest = struct.pack(">HHHH", sport, dport, 8 + len(data), 0) + data
    pseudo = addr(src) + addr(dst) + struct.pack(">II", len(rest), 17)
    value = (csum(pseudo + rest) or 0xFFFF) if check is True else int(check)
    return rest[:6] + b16(value) + rest[8:]


def eth(kind, rest, tag=b"", dst=MAC_B, src=MAC_A):
    return dst + src + tag + b16(kind) + rest


def inner4(size=40, tos=0, ttl=33, frag=0, tag=b""):
    return eth(0x0800, ip4("1.1.1.1", "1.1.1.2", 17, udp("1.1.1.1", "1.1.1.2", 1000, 2000, bytes(i & 255 for i in range(size))), tos, ttl, frag), tag)


def inner6(size=40, tclass=0, hop=44, tag=b""):
    return eth(0x86DD, ip6("fd01::1", "fd01::2", 17, udp("fd01::1", "fd01::2", 1000, 2000, bytes(size)), tclass, hop), tag)


ARP = eth(0x0806, bytes.fromhex("0001080006040001") + MAC_A + addr("1.1.1.1") + bytes(6) + addr("1.1.1.2"))
TAG = bytes.fromhex("8100") + b16(0x6005)


def gre(kind, rest, key=None, seq=None, check=None):
    flags = (0x2000 if key is not None else 0) | (0x1000 if seq is not None else 0) | (0x8000 if check is not None else 0)
    tail = (b32(key) if key is not None else b"") + (b32(seq) if seq is not None else b"")
    if check is None:
        return b16(flags) + b16(kind) + tail + rest
    whole = b16(flags) + b16(kind) + bytes(4) + tail + rest
    return whole[:4] + b16(csum(whole) if check is True else check) + whole[6:]


def vxlan(vni, rest, flags=0x08000000, low=0):
    return b32(flags) + b32(vni << 8 | low) + rest


def geneve(vni, rest, options=b"", first=None, flags=0, kind=0x6558):
    return u8(len(options) // 4 if first is None else first) + u8(flags) + b16(kind) + b32(vni << 8) + options + rest


def outer4(proto, rest, **more):
    return eth(0x0800, ip4("10.9.0.2", "10.9.0.1", proto, rest, **more), b"", NEAR, FAR)


def outer6(proto, rest, **more):
    return eth(0x86DD, ip6("fd09::2", "fd09::1", proto, rest, **more), b"", NEAR, FAR)


def udp4(port, rest, check=False, sport=50000, **more):
    return outer4(17, udp("10.9.0.2", "10.9.0.1", sport, port, rest, check), **more)


def udp6(port, rest, check=True, sport=50000, **more):
    return outer6(17, udp("fd09::2", "fd09::1", sport, port, rest, check), **more)


# Tunnel keys

def key(dst="10.9.0.2", src=None, ident=None, ttl=64, tos=None, df=False, check=False, oam=False, sport=None, dport=None, options=b""):
    six = ":" in dst
    out = b"" if ident is None else attr(0, b64(ident))
    if src is not None:
        out += attr(12 if six else 1, addr(src))
    out += attr(13 if six else 2, addr(dst))
    if tos is not None:
        out += attr(3, u8(tos))
    out += attr(4, u8(ttl))
    out += (attr(5) if df else b"") + (attr(6) if check else b"") + (attr(7) if oam else b"")
    out += b"" if sport is None else attr(9, b16(sport))
    out += b"" if dport is None else attr(10, b16(dport))
    return out + options


GBP = lambda value: attr(11 | NESTED, attr(1, u32(value)))
OPT = lambda data: attr(8, data)
SPAN1 = lambda index: attr(15, u32(1) + b32(index) + bytes(4))
SPAN2 = lambda direction, hwid: attr(15, u32(2) + bytes(4) + bytes(2) + u8(hwid >> 4 & 3) + u8((hwid & 15) << 4 | direction << 3))
OPTION1 = bytes.fromhex("0102800111223344")
OPTION2 = bytes.fromhex("01020301aabbccdd")


LABEL = b32(0x12345 << 12 | 0x1FF)
NSH = bytes.fromhex("0fc20203") + b32(0x12345678) + bytes(16)


def payload(kind, size=40, tos=0, **more):
    """A packet of that ethertype without Ethernet header."""
    if kind == 0x86DD:
        return inner6(size, tclass=tos)[14:]
    packet = inner4(size, tos=tos, **more)
    return {0x0800: packet[14:], 0x8847: LABEL + packet[14:], 0x8848: LABEL + packet[14:], 0x894F: NSH + packet, 0x0806: ARP[14:]}[kind]


def bare_cases():
    """(port, tunnel, packet, its ethertype or None for a frame)"""
    cases = []
    for port, kinds in BARE.items():
        for six in (False, True):
            far, near = ("fd09::2", "fd09::1") if six else ("10.9.0.2", "10.9.0.1")
            k = lambda **more: key(far, **{"ident": 0x123456, **more})
            for kind in (0x0800, 0x86DD, 0x8847, 0x8848, 0x894F, 0x0806):
                packet = payload(kind)
                cases += [(port, one, packet, kind) for one in (k(), k(ttl=0, tos=1), k(check=True), k(tos=0xBB))]
            cases += [(port, one, frame, None) for one in (k(), k(ttl=0, tos=1)) for frame in (inner4(tos=2), inner6(tclass=2), ARP, inner4(tag=TAG), inner6(tag=TAG), ARP[:14])]
            if port == "l3gre":
                continue
            kind = kinds[0]
            packet = payload(kind)
            cases += [(port, one, packet, kind) for one in (k(ident=None), k(ident=0), k(ident=0xFFFFFFFFFFFFFFFF), k(src=near))]
            cases += [(port, k(ttl=ttl), packet, kind) for ttl in (1, 255)]
            cases += [(port, k(tos=tos), packet, kind) for tos in (0, 1, 2, 3, 0x10)]
            for tos in (0, 0xB8, 1):
                cases += [(port, k(tos=tos), payload(one, tos=within), one) for one in kinds for within in (1, 2, 3, 0x29, 0xFF)]
            cases += [(port, one, packet, kind) for one in (k(df=True), k(oam=True), k(sport=1234, dport=5678), k(check=True, df=True, tos=0x28, ttl=9))]
            cases += [(port, k(check=True), payload(kind, 41), kind)]
            for size in (1300, 1372, 1380, 1390, 1398, 1402, 1408, 1414, 1422, 1424, 1428, 1430, 1436, 1444, 1472, 1500, 2500):
                for df in (False, True):
                    cases += [(port, k(df=df), payload(one, size), one) for one in kinds]
                    cases += [(port, k(df=df), payload(kind, size, frag=0x4000), kind), (port, k(df=df), inner4(size, frag=0x4000), None)]
            cases += [(port, key("10.9.0.2" if six else "fd09::2", ident=1), packet, kind), (port, None, packet, kind)]
            cases += [(port, key("10.77.0.1" if not six else "fd77::1", ident=1), packet, kind)]
            cases += [(port, k(src="fd55::5" if six else "10.55.0.5"), packet, kind)]
            cases += [(port, k(options=options), packet, kind) for options in (GBP(0x1234), OPT(OPTION1), SPAN1(7))]
            cases += [(port, k(), packet[:size], kind) for size in (1, 4, 12, 19)]
    return cases


def send_cases():
    """(port, tunnel, frame)"""
    cases = []
    kinds = ["vxlan", "gbp", "geneve", "gre", "span", "l3gre"]
    for port in kinds:
        for six in (False, True):
            far, near = ("fd09::2", "fd09::1") if six else ("10.9.0.2", "10.9.0.1")
            if six and port in ("gre", "span", "l3gre"):
                port = {"gre": "gre6", "span": "span6", "l3gre": "l3gre"}[port]
            extra = SPAN1(0x12345) if port.startswith("span") else b""
            k = lambda **more: key(far, **{"ident": 0x123456, "options": extra, **more})
            frame = inner4()[14:] if port == "l3gre" else inner4()
            if port == "l3gre" and six:
                cases.append((port, k(), frame))
                continue
            cases += [(port, k(), frame), (port, k(ident=None), frame), (port, k(ident=0), frame)]
            cases += [(port, k(ident=0xFFFFFFFFFFFFFFFF), frame), (port, k(src=near), frame)]
            cases += [(port, k(ttl=ttl), frame) for ttl in (0, 1, 255)]
            if port != "l3gre":
                cases += [(port, k(ttl=0), other) for other in (inner6(), ARP, inner4(tag=TAG), inner6(tag=TAG))]
            cases += [(port, k(tos=tos), frame) for tos in (0, 1, 2, 3, 0x10, 0xB8, 0xBB)]
            shorn = lambda whole: whole[14:] if port == "l3gre" else whole
            for tos in (0, 0xB8, 1):
                cases += [(port, k(tos=tos), shorn(inner4(tos=inner))) for inner in (1, 2, 3, 0x29, 0xFF)]
                cases += [(port, k(tos=tos), shorn(inner6(tclass=inner))) for inner in (1, 2, 3, 0x29, 0xFF)]
            cases += [(port, k(df=True), frame), (port, k(check=True), frame), (port, k(check=True), shorn(inner4(41)))]
            cases += [(port, k(oam=True), frame), (port, k(sport=1234, dport=5678), frame)]
            cases += [(port, k(check=True, df=True, tos=0x28, ttl=9), shorn(inner6()))]
            if port != "l3gre":
                cases += [(port, k(), inner4(tag=TAG, tos=3)), (port, k(), ARP), (port, k(tos=1), inner4(tag=TAG, tos=0x42))]
                cases += [(port, k(check=True), ARP[:41])]
                cases += [(port, k(), inner4()[:size]) for size in (14, 33)] + [(port, k(), inner6()[:size]) for size in (14, 53)]
                cases += [(port, k(), inner4(tag=TAG)[:size]) for size in (18, 37)] + [(port, k(), ARP[:14])]
            for size in (1300, 1372, 1380, 1390, 1398, 1402, 1408, 1414, 1422, 1424, 1430, 1444, 1472, 1500, 2500):
                for df in (False, True):
                    cases += [(port, k(df=df), shorn(inner4(size))), (port, k(df=df), shorn(inner4(size, frag=0x4000)))]
                    cases += [(port, k(df=df), shorn(inner6(size)))]
            other = key("10.9.0.2" if six else "fd09::2", ident=1, options=extra)
            cases += [(port, other, frame), (port, None, frame)]
            cases += [(port, key("10.77.0.1" if not six else "fd77::1", ident=1, options=extra), frame)]
            cases += [(port, k(src="fd55::5" if six else "10.55.0.5"), frame)]
            cases += [(port, attr(0, b64(5)) + attr(16), frame)]
            cases += [(port, k(options=GBP(0x1234)), frame), (port, k(options=GBP(0x00480FFF)), frame)]
            cases += [(port, k(options=GBP(0xFFFFFFFF)), frame), (port, k(options=GBP(0)), frame)]
            cases += [(port, k(options=OPT(OPTION1)), frame), (port, k(options=OPT(OPTION2 * 3)), frame)]
            cases += [(port, k(options=OPT((OPTION1[:3] + u8(31) + bytes(124)) * 1), check=True), frame)]
            if port.startswith("span"):
                cases += [(port, k(options=SPAN1(index)), frame) for index in (0, 0xFFFFF, 0xFFFFFFFF)]
                cases += [(port, k(options=SPAN2(*pair)), frame) for pair in ((0, 0), (1, 0), (0, 63), (1, 0x2A))]
                for options in (SPAN1(7), SPAN2(1, 5), b"", attr(15, u32(3) + bytes(8)), attr(15, u32(0) + bytes(8)), attr(15, u32(1))):
                    cases += [(port, k(options=options), other) for other in (inner4(tos=0xE0), inner6(tclass=0xA0), ARP, inner4(tag=TAG, tos=0x60), inner6(tag=TAG), inner4(1472))]
    return cases


def receive_cases():
    cases = []
    for port, check in ((4789, False), (4790, False), (4791, False), (4789, True), (4789, 0x1111)):
        for wrap in (udp4, udp6):
            w = lambda rest, port=port, check=check, wrap=wrap, **more: cases.append(wrap(port, rest, check, **more))
            w(vxlan(0x123456, inner4()))
            if check is not False and check is not True:
                continue
            w(vxlan(0, inner4()))
            w(vxlan(0xFFFFFF, inner4(), low=1))
            for flags in (0, 0x88000000, 0x08000001, 0x08800000, 0x80000000, 0x0C000000):
                w(vxlan(5, inner4(), flags))
            for low in (0, 0x1234, 0xFFFF, 0x480077, 0x400077, 0x80077, 0xFF0077):
                w(vxlan(5, inner4(), 0x88000000 | low))
            w(vxlan(5, inner4(tag=TAG)))
            w(vxlan(5, inner4()[:13]))
            w(vxlan(5, inner4()[:14]))
            w(vxlan(5, inner4()[:20]))
            w(vxlan(5, b""))
            w(b"\x08\0\0\0")
    for port, check in ((6081, False), (6082, False), (6081, True), (6081, 0x1111)):
        for wrap in (udp4, udp6):
            w = lambda rest, port=port, check=check, wrap=wrap, **more: cases.append(wrap(port, rest, check, **more))
            w(geneve(0x123456, inner4()))
            if check is not False and check is not True:
                continue
            w(geneve(5, inner4(), OPTION1))
            w(geneve(5, inner4(), OPTION1 + OPTION2, flags=0x40))
            w(geneve(5, inner4(), flags=0x80))
            w(geneve(5, inner4(), flags=0xFF))
            w(geneve(5, inner4(), OPTION1[:3] + u8(30) + bytes(120)))
            w(geneve(5, inner4(), OPTION1[:3] + u8(3) + bytes(4)))
            w(geneve(5, inner4(), bytes(252)))
            w(geneve(5, inner4(), first=0x41))
            w(geneve(5, inner4(), first=0x80))
            w(geneve(5, inner4(), first=63))
            w(geneve(5, inner4()[14:], kind=0x0800))
            w(geneve(5, inner4(tag=TAG)))
            w(geneve(5, inner4()[:13]))
            w(b"\0\0\x65\x58")
    for port, check in ((4792, False), (4793, False), (4792, True), (4792, 0x1111)):
        for wrap in (udp4, udp6):
            w = lambda rest, port=port, check=check, wrap=wrap, **more: cases.append(wrap(port, rest, check, **more))
            w(vxlan(0x123456, payload(0x0800), 0x0C000001))
            if check is not False and check is not True:
                continue
            for kind, number in ((0x0800, 1), (0x86DD, 2), (0x894F, 4), (0x8847, 5)):
                w(vxlan(5, payload(kind), 0x0C000000 | number))
                # An upcall with a packet of no bytes is a BUG() there.
                for size in (0, 3, 4, 19, 20, 39)[kind == 0x8847:]:
                    w(vxlan(5, payload(kind)[:size], 0x0C000000 | number))
            for frame in (inner4(), inner6(), ARP, inner4(tag=TAG), inner4()[:14], inner4()[:13], b""):
                w(vxlan(5, frame, 0x0C000003))
            for number in (0, 6, 0x7F, 0xFF):
                w(vxlan(5, payload(0x0800), 0x0C000000 | number))
            for flags in (0x08000001, 0x04000001, 0x0D000001, 0x0E000001, 0x1C000001, 0x2C000001, 0x4C000001, 0x8C000001, 0x0C000101, 0x0C800001):
                w(vxlan(5, payload(0x0800), flags))
            w(vxlan(5, payload(0x0800), 0x0C000001, low=1))
            w(vxlan(5, payload(0x8848), 0x0C000005))
            w(b"\x0c\0\0\1")
    group4 = lambda port, rest: eth(0x0800, ip4("10.9.0.2", "224.0.0.1", 17, udp("10.9.0.2", "224.0.0.1", 50000, port, rest, False)), b"", bytes.fromhex("01005e000001"), FAR)
    group6 = lambda port, rest: eth(0x86DD, ip6("fd09::2", "ff02::1", 17, udp("fd09::2", "ff02::1", 50000, port, rest)), b"", bytes.fromhex("333300000001"), FAR)
    for port in (6635, 6636, 6637, 6638, 6639):
        for wrap, check in ((udp4, False), (udp4, True), (udp4, 0x1111), (udp6, True), (udp6, False), (udp6, 0x1111)):
            for kind in (0x0800, 0x86DD, 0x8847, 0x894F):
                cases.append(wrap(port, payload(kind), check))
                if check is True:
                    cases += [wrap(port, payload(kind)[:size], check) for size in (1, 3, 4, 8, 19, 20, 39)]
            cases += [wrap(port, b"", check)] if port not in (6635, 6638) else []
            cases += [wrap(port, b"\x50" + bytes(40), check), wrap(port, inner4(), check)]
        for kind in (0x0800, 0x86DD, 0x8847):
            cases += [group4(port, payload(kind)), group6(port, payload(kind))]
    for wrap in (
        lambda kind, tos, within: udp4(4792, vxlan(5, payload(kind, tos=within), 0x0C000001 if kind == 0x0800 else 0x0C000002), tos=tos),
        lambda kind, tos, within: udp6(4792, vxlan(5, payload(kind, tos=within), 0x0C000001 if kind == 0x0800 else 0x0C000002), tclass=tos),
        lambda kind, tos, within: udp4(4792, vxlan(5, (inner4(tos=within) if kind == 0x0800 else inner6(tclass=within)), 0x0C000003), tos=tos),
        lambda kind, tos, within: udp4(6636, payload(kind, tos=within), tos=tos),
        lambda kind, tos, within: udp6(6636, payload(kind, tos=within), tclass=tos),
        lambda kind, tos, within: udp4(6635, LABEL + payload(kind, tos=within), tos=tos),
    ):
        for tos in range(4):
            cases += [wrap(kind, tos | 0x20, within) for within in range(4) for kind in (0x0800, 0x86DD)]
    for wrap, proto in ((outer4, 47), (outer6, 47)):
        w = lambda rest, wrap=wrap, **more: cases.append(wrap(47, rest, **more))
        w(gre(0x6558, inner4()))
        w(gre(0x6558, inner4(), key=0xABCDEF01))
        w(gre(0x6558, inner4(), key=0))
        w(gre(0x6558, inner4(), seq=9))
        w(gre(0x6558, inner4(), check=True))
        w(gre(0x6558, inner4(), check=0x1234))
        w(gre(0x6558, inner4(41), key=7, seq=9, check=True))
        w(gre(0x6558, inner4(tag=TAG)))
        w(gre(0x6558, inner4()[:13]))
        w(gre(0x0800, inner4()[14:], key=3))
        w(gre(0x86DD, inner6()[14:], key=3))
        w(gre(0x8847, b"\0\0\x11\x40" + inner4()[14:], key=3))
        w(b"\x40\0\x65\x58" + bytes(4) + inner4())
        w(b"\0\1\x65\x58" + inner4())
        w(b"\x20\0\x65\x58")
        w(b"\0\0\x65")
        session = lambda ver, ident, cos=0, en=0, t=0, vlan=0: b16(ver << 12 | vlan) + b16(cos << 13 | en << 11 | t << 10 | ident)
        w(gre(0x88BE, session(1, 0x155) + b32(0x12345) + inner4(), seq=1))
        w(gre(0x88BE, session(1, 0x3FF, 5, 3, 1, 0xABC) + b32(0xFFFFFFFF) + inner4(), seq=2))
        w(gre(0x88BE, session(1, 1) + b32(3) + inner4(), seq=3, key=9))
        w(gre(0x88BE, session(1, 1) + b32(3) + inner4()))
        w(gre(0x88BE, inner4()))
        w(gre(0x22EB, session(2, 0x155) + b32(99) + b16(5) + b16(0x80A8) + inner4(), seq=1))
        w(gre(0x22EB, session(2, 0x155, 1, 2, 1, 5) + b32(99) + b16(5) + b16(0xFFFF) + inner4(), seq=1))
        w(gre(0x22EB, session(3, 0x155) + b32(99) + b16(5) + b16(0x80A8) + inner4(), seq=1))
        w(gre(0x88BE, session(2, 0x155) + b32(99) + b16(5) + b16(0x80A8) + inner4(), seq=1))
        w(gre(0x22EB, session(1, 0x155) + b32(99) + inner4(), seq=1))
        w(gre(0x22EB, session(2, 0x155), seq=1))
    everything = (
        lambda inner, **more: udp4(4789, vxlan(5, inner), **more),
        lambda inner, **more: udp4(6081, geneve(5, inner), **more),
        lambda inner, **more: outer4(47, gre(0x6558, inner, key=5), **more),
        lambda inner, **more: outer4(47, gre(0x88BE, b"\x10\0\0\5" + b32(1) + inner, seq=1), **more),
    )
    for wrap in everything:
        for tos in range(4):
            for inner in (inner4, lambda tos: inner4(tos=tos, tag=TAG)):
                cases += [wrap(inner(tos=ecn), tos=tos | 0x20) for ecn in range(4)]
            cases += [wrap(inner6(tclass=ecn), tos=tos | 0x20) for ecn in range(4)]
            cases.append(wrap(ARP, tos=tos))
        cases += [wrap(inner4(), frag=0x4000), wrap(inner4(), ttl=1), wrap(inner4(), ident=0)]
        cases.append(wrap(inner4() + bytes(30)))
    everything = (
        lambda inner, **more: udp6(4789, vxlan(5, inner), **more),
        lambda inner, **more: udp6(6081, geneve(5, inner), **more),
        lambda inner, **more: outer6(47, gre(0x6558, inner, key=5), **more),
        lambda inner, **more: outer6(47, gre(0x88BE, b"\x10\0\0\5" + b32(1) + inner, seq=1), **more),
    )
    for wrap in everything:
        for tos in range(4):
            cases += [wrap(inner4(tos=ecn), tclass=tos | 0x20) for ecn in range(4)]
            cases += [wrap(inner6(tclass=ecn), tclass=tos | 0x20) for ecn in range(4)]
        cases += [wrap(inner4(), hop=1), wrap(inner4(), label=0x12345), wrap(inner4(), sport=1) if wrap is everything[0] else wrap(inner4())]
    # The tunnel's payload is longer than the datagram says, and shorter.
    whole = vxlan(5, inner4())
    cases.append(outer4(17, b16(50000) + b16(4789) + b16(8 + len(whole) - 4) + b16(0) + whole))
    cases.append(outer4(17, b16(50000) + b16(4789) + b16(8 + len(whole) + 4) + b16(0) + whole))
    cases.append(udp4(4789, whole) + bytes(6))
    return cases


def main():
    run("ip link add u0 address %s type veth peer name u1 address %s" % (NEAR.hex(":"), FAR.hex(":")))
    open("/proc/sys/net/ipv6/conf/u0/accept_dad", "w").write("0")
    for text in ("link set u0 up", "link set u1 up", "addr add 10.9.0.1/24 dev u0", "addr add fd09::1/64 dev u0 nodad"):
        run("ip " + text)
    open("/proc/sys/net/ipv6/conf/u1/disable_ipv6", "w").write("1")
    run("ip neigh replace 10.9.0.2 lladdr %s dev u0 nud permanent" % FAR.hex(":"))
    run("ip neigh replace fd09::2 lladdr %s dev u0 nud permanent" % FAR.hex(":"))
    # Checksums are to be written, not left to the device: ETHTOOL_STXCSUM.
    plain = socket.socket()
    value = bytearray(struct.pack("=II", 0x17, 0))
    import array
    box = array.array("B", value)
    fcntl.ioctl(plain, 0x8946, struct.pack("16sQ8x", b"u0", box.buffer_info()[0]))
    wire = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
    wire.setsockopt(263, 23, 1)
    wire.bind(("u1", 3))
    time.sleep(0.5)

    route = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0)
    made = []

    def link(kind, flags, body):
        """Sends a link message; its errno, and ifinfomsg and attributes of the answer."""
        route.send(struct.pack("=IHHII", 16 + len(body), kind, flags, 1, 0) + body)
        data = route.recv(65536)
        if struct.unpack_from("=H", data, 4)[0] == 2:
            return -struct.unpack_from("=i", data, 16)[0], b""
        return 0, data[16:]

    def link_info(name):
        _, told = link(18, 1, bytes(16) + attr(3, name.encode() + b"\0"))
        kind, _, flags = struct.unpack_from("=HiI", told, 2)
        return kind, flags, dict(attrs(told[16:]))[18].hex()

    def make(name, linkinfo):
        body = bytes(16) + attr(3, name.encode() + b"\0") + linkinfo
        error, _ = link(16, 0x605, body)
        made.append([name, body.hex(), error, None if error else link_info(name)[2]])
        if not error:
            link(17, 5, bytes(16) + attr(3, name.encode() + b"\0"))

    info = lambda kind, data: attr(18, attr(1, kind.encode() + b"\0") + (b"" if data is None else attr(2, data)))
    bare = lambda port, kind, *more: attr(1, b16(port)) + attr(2, b16(kind)) + b"".join(more)
    vx = lambda *more: attr(7, u8(0)) + attr(25, u8(1)) + b"".join(more)
    for data in (
        None, b"", attr(1, b16(7000)), attr(2, b16(0x0800)), bare(7000, 0x0800), bare(7000, 0x894F, attr(4)), bare(7000, 0x86DD, attr(4)),
        bare(7000, 0x8847, attr(4), attr(3, u16(1000))), bare(7000, 0x8848), attr(1, b"x") + attr(2, b16(0x0800)), bare(0, 0),
        bare(7000, 0x0800, attr(4, b"x")), bare(7000, 0x0800, attr(9, b"x")), bare(7000, 0x0800, attr(3, b"x")),
        attr(1, b16(7000)) + attr(2, b"x"),
    ):
        make("b0", info("bareudp", data))
    for data in (
        vx(attr(27), attr(15, b16(7000)), attr(20, u8(1))), vx(attr(27)), attr(25, u8(1)) + attr(27), vx(attr(27), attr(23)),
        *(vx(attr(27), attr(kind, u8(1))) for kind in (11, 12, 13, 14, 18, 19, 20, 21, 22, 28, 31)), vx(attr(27), attr(24)),
        vx(attr(15, b16(7001)), attr(23), attr(20, u8(5)), attr(5, u8(9))), vx(attr(27), attr(15, b"x")), vx(attr(27, b"x")),
        vx(attr(27), attr(15, b16(7000)), attr(18, u8(1)), attr(10, b16(100) + b16(200))), vx(), attr(25, u8(1)),
        vx(attr(10, b16(200) + b16(100))),
    ):
        make("v0", info("vxlan", data))
    make("g0", info("geneve", attr(5, b16(7002)) + attr(6) + attr(10, u8(1))))
    make("g0", info("geneve", attr(6)))
    for kind in ("gre", "gretap", "ip6gretap", "erspan", "ip6erspan"):
        make("g0", info(kind, attr(18)))
    genl, upcalls = Genl(), Genl()
    genl.call("ovs_datapath", 1, u32(0), attr(1, b"dp0\0") + attr(2, u32(0)), version=2)
    dp = u32(socket.if_nametoindex("dp0"))
    ports, numbers = {}, {}

    def add(name, kind, options=None):
        body = attr(3, name.encode() + b"\0") + attr(2, u32(kind)) + attr(5, u32(upcalls.pid))
        body += b"" if options is None else attr(4, options)
        error, replies = genl.call("ovs_vport", 1, dp, body, NLM_F_ECHO)
        if error:
            raise OSError(error, name)
        found = dict(attrs(replies[0][24:]))
        numbers[name] = struct.unpack("=I", found[1])[0]
        reply = b"".join(attr(t, b"" if t in (6, 10) else v) for t, v in attrs(replies[0][24:]) if t not in (1, 5, 7, 8))
        mtu = int(open("/sys/class/net/%s/mtu" % name).read())
        kinds = run("ip -d -o link show " + name)
        ports[name] = {"type": kind, "mtu": mtu, "reply": reply.hex(), "link": kinds}
        return error

    add("vxlan", 4, attr(1, u16(4789)))
    add("gbp", 4, attr(1, u16(4790)) + attr(2, attr(1)))
    add("geneve", 5, attr(1, u16(6081)))
    add("gre", 3)
    for name, text in DEVICES.items():
        run("ip link add %s mtu 1500 type %s" % (name, text))
        open("/proc/sys/net/ipv6/conf/%s/disable_ipv6" % name, "w").write("1")
        run("ip link set %s mtu 60000 up" % name if not name.startswith("span") else "ip link set %s up" % name)
        add(name, 1)
    links = {name: link_info(name) for name in numbers}
    make("b0", info("bareudp", bare(6636, 0x8847)))
    make("g0", info("geneve", attr(6)))
    refused = {}
    for name, kind, options in (
        ("a", 4, None), ("a", 5, None), ("a", 4, b""), ("a", 4, attr(1, u32(1))), ("a", 4, attr(1, u16(4789))),
        ("a", 4, attr(1, u16(4790))), ("a", 4, attr(1, u16(4789)) + attr(2, attr(1))), ("a", 5, attr(1, u16(6081))),
        ("a", 5, attr(1, u16(4789))), ("vxlan", 4, attr(1, u16(5000))), ("a", 3, None), ("a", 4, attr(1, u16(5001)) + attr(2)),
        ("a", 4, attr(1, u16(5002)) + attr(2, attr(1, b"x"))), ("a", 4, attr(1, u16(5003)) + attr(2, attr(2))),
        ("a", 4, attr(1, u16(5004)) + attr(3)), ("u1", 4, attr(1, u16(5005))), ("a", 4, attr(1, u16(0))), ("a", 5, attr(1, u16(0))),
        ("a", 3, attr(1, u16(1))), ("a", 5, attr(1, u16(5006)) + attr(2, attr(1))), ("a/b", 3, None), ("dp0", 5, attr(1, u16(5007))),
    ):
        body = attr(3, name.encode() + b"\0") + attr(2, u32(kind)) + attr(5, u32(upcalls.pid))
        body += b"" if options is None else attr(4, options)
        error, replies = genl.call("ovs_vport", 1, dp, body, NLM_F_ECHO)
        options_back = None
        if not error:
            found = dict(attrs(replies[0][24:]))
            options_back = found[4].hex() if 4 in found else None
            genl.call("ovs_vport", 2, dp, attr(3, name.encode() + b"\0"))
        refused[json.dumps([name, kind, None if options is None else options.hex()])] = [error, options_back]

    # A port is asked for its counters as they are now.
    def stats(name):
        _, replies = genl.call("ovs_vport", 3, dp, attr(3, name.encode() + b"\0"))
        return struct.unpack("=8Q", dict(attrs(replies[0][24:]))[6])

    def ups():
        time.sleep(0.002)
        found = []
        for data in upcalls.drain():
            parts = dict(attrs(data[24:]))
            clean = b"".join(
                attr(t, b"".join(attr(s, w) for s, w in attrs(v) if s != 14) if t == 16 else v) for t, v in attrs(parts[2])
            )
            found.append([clean.hex(), parts[1].hex()])
        return found

    def wired():
        found = []
        while True:
            try:
                frame = wire.recv(70000, socket.MSG_DONTWAIT)
            except BlockingIOError:
                return found
            if not (frame[12:14] == b"\x86\xdd" and frame[20] in (0, 58)):
                found.append(frame.hex())

    time.sleep(3)
    ups(), wired()
    result = {"ports": ports, "numbers": numbers, "links": links, "made": made, "refused": refused, "send": [], "egress": [], "receive": []}

    def execute(frame, kind, actions):
        """`kind`: ethertype of a packet without Ethernet header, None for a frame."""
        meta = attr(4, bytes(12)) + attr(6, frame[12:14]) if kind is None else attr(6, b16(kind))
        error, _ = genl.call("ovs_packet", 3, dp, attr(2, meta) + attr(1, frame) + attr(3, actions))
        return meta, error

    kind_of = lambda port, packet: None if port not in BARE else 0x0800 if packet[0] >> 4 == 4 else 0x86DD
    for port, tunnel, frame, kind in [(*case, kind_of(case[0], case[2])) for case in send_cases()] + bare_cases():
        before = stats(port)
        actions = b"" if tunnel is None else attr(3 | NESTED, attr(16 | NESTED, tunnel))
        meta, error = execute(frame, kind, actions + attr(1, u32(numbers[port])))
        up = ups()
        after = stats(port)
        result["send"].append({
            "port": port, "tunnel": None if tunnel is None else tunnel.hex(), "key": meta.hex(), "frame": frame.hex(), "errno": error,
            "out": wired(), "ups": up, "stats": [b - a for a, b in zip(before, after)],
        })
        # Routes learn nothing from one case for the next.
        run("ip route flush cache")
    for port in numbers:
        for tunnel in (key(ident=5), key(ident=5, src="10.9.0.1", dport=77, sport=88, check=True), key("fd09::2", ident=5), None, key("10.77.0.1", ident=5), key(ident=5, options=OPT(OPTION1)), attr(0, b64(5)) + attr(16)):
            kind = BARE.get(port, (None,))[0]
            frame = inner4() if kind is None else payload(kind)
            actions = b"" if tunnel is None else attr(3 | NESTED, attr(16 | NESTED, tunnel))
            user = attr(2 | NESTED, attr(1, u32(upcalls.pid)) + attr(3, u32(numbers[port])) + attr(2, b"cookie"))
            meta, error = execute(frame, kind, actions + user)
            time.sleep(0.002)
            found = []
            for data in upcalls.drain():
                parts = list(attrs(data[24:]))
                egress = dict(parts).get(5)
                clean = None if egress is None else b"".join(attr(s, w) for s, w in attrs(egress) if s != 14).hex()
                found.append([[t for t, _ in parts if t], clean])
            result["egress"].append({"port": port, "tunnel": None if tunnel is None else tunnel.hex(), "frame": frame.hex(), "key": meta.hex(), "ups": found})
    for frame in receive_cases():
        before = {name: stats(name) for name in numbers}
        wire.send(frame)
        up = ups()
        changes = {}
        for name in numbers:
            change = [b - a for a, b in zip(before[name], stats(name))]
            if any(change):
                changes[name] = change
        result["receive"].append({"frame": frame.hex(), "ups": up, "stats": changes, "out": wired()})
    with gzip.open(sys.argv[1], "wt") as target:
        json.dump(result, target)
    print(len(result["send"]), "sent", len(result["receive"]), "received")


main()
