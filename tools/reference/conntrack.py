#!/usr/bin/env python3
"""Plays packet scripts through the ct action of a kernel's openvswitch.ko and records what comes of them.

usage: conntrack.py FILE [SEED [COUNT]]     (as root, where the module is loaded and no datapath exists)

COUNT random scripts of each kind are added to those written here.

Writes FILE, gzipped: {"scripts": [{"name", "sysctl": {name: value}, "limits": [[zone, limit]…], "policies": [hex…], "steps": [STEP…]}…]}.
STEP: {"frame": hex, or "resume": true for the packet and key of the last upcall; "wait": seconds slept before; "ct": [hex…], the
payloads of OVS_ACTION_ATTR_CT, executed one after the other with an upcall after each; "errno"; "ups": [[KEY, PACKET]…];
"dump", "expect": attributes of each record of a ctnetlink dump; "events": [[type, flags, attributes]…]; "delete": attributes of
a CT_DELETE sent before}. All byte strings are hexadecimal; PAD attributes are taken out, as x86-64 has none.
"""
import gzip
import json
import random
import socket
import struct
import subprocess
import sys
import time

from ovsnl import NLM_F_ECHO, Genl, attr, attrs

SEED = int(sys.argv[2]) if len(sys.argv) > 2 else 612
COUNT = int(sys.argv[3]) if len(sys.argv) > 3 else 30

USERSPACE, CT = 2, 12
NESTED = 0x8000
u8 = lambda v: bytes([v & 255])
u16 = lambda v: struct.pack("=H", v & 0xFFFF)
u32 = lambda v: struct.pack("=I", v & 0xFFFFFFFF)
b16 = lambda v: struct.pack(">H", v & 0xFFFF)
b32 = lambda v: struct.pack(">I", v & 0xFFFFFFFF)
MAC_A, MAC_B = bytes.fromhex("02000000000a"), bytes.fromhex("02000000000b")


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


def ip(src, dst, proto, rest, ident=7, frag=0, pad=b""):
    if ":" in src:
        return MAC_B + MAC_A + b16(0x86DD) + struct.pack(">IHBB", 6 << 28, len(rest), proto, 64) + addr(src) + addr(dst) + rest + pad
    head = bytearray(struct.pack(">BBHHHBBH4s4s", 0x45, 0, 20 + len(rest), ident, frag, 64, proto, 0, addr(src), addr(dst)))
    head[10:12] = b16(csum(bytes(head)))
    return MAC_B + MAC_A + b16(0x800) + bytes(head) + rest + pad


def pseudo(src, dst, proto, length):
    if ":" in src:
        return addr(src) + addr(dst) + struct.pack(">II", length, proto)
    return addr(src) + addr(dst) + struct.pack(">HH", proto, length)


def summed(src, dst, proto, data, at):
    data = bytearray(data)
    value = csum(pseudo(src, dst, proto, len(data)) + bytes(data))
    data[at : at + 2] = b16(value or (0xFFFF if proto == 17 else 0))
    return bytes(data)


F, S, R, P, K, U = 1, 2, 4, 8, 16, 32


def tcp(src, sport, dst, dport, flags, seq=0, ack=0, win=65535, opts=b"", data=b"", bad=False):
    opts += bytes(-len(opts) % 4)
    segment = struct.pack(">HHIIBBHHH", sport, dport, seq & 0xFFFFFFFF, ack & 0xFFFFFFFF, (5 + len(opts) // 4) << 4, flags, win, 0, 0) + opts + data
    segment = summed(src, dst, 6, segment, 16)
    if bad:
        segment = segment[:16] + bytes([segment[16] ^ 1]) + segment[17:]
    return ip(src, dst, 6, segment)


def udp(src, sport, dst, dport, data=b"hello", length=None, zero=False, bad=False, proto=17, pad=b"", summed_as=None, cover=None):
    datagram = struct.pack(">HHHH", sport, dport, 8 + len(data) if length is None else length, 0) + data
    if not zero:
        whole = len(datagram)
        part = bytearray(datagram[:cover])
        part[6:8] = b16(csum(pseudo(src, dst, summed_as or proto, whole) + bytes(part)) or 0xFFFF)
        datagram = bytes(part) + (datagram[cover:] if cover else b"")
    if bad:
        datagram = datagram[:6] + bytes([datagram[6] ^ 1]) + datagram[7:]
    return ip(src, dst, proto, datagram, pad=pad)


def icmp(src, dst, kind, code=0, rest=0x00070001, data=b"ping", bad=False):
    message = bytearray(struct.pack(">BBHI", kind, code, 0, rest) + data)
    if ":" in src:
        message = bytearray(summed(src, dst, 58, bytes(message), 2))
    else:
        message[2:4] = b16(csum(bytes(message)))
    if bad:
        message[2] ^= 1
    return ip(src, dst, 58 if ":" in src else 1, bytes(message))


def crc32c(data):
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def chunk(kind, flags=0, body=b""):
    return struct.pack(">BBH", kind, flags, 4 + len(body)) + body + bytes(-len(body) % 4)


def sctp(src, sport, dst, dport, tag, *chunks, bad=False):
    data = struct.pack(">HHII", sport, dport, tag, 0) + b"".join(chunks)
    crc = crc32c(data) ^ (1 if bad else 0)
    return ip(src, dst, 132, data[:8] + struct.pack("<I", crc) + data[12:])


def dccp_packet(src, sport, dst, dport, kind, seq, ack, bad=0):
    """DCCP with long sequence numbers; what else a type carries is left out."""
    rest = b"" if ack is None else struct.pack(">HHI", 0, ack >> 32, ack & 0xFFFFFFFF)
    rest += b32(0) if kind in (0, 1, 7) else b""
    data = struct.pack(">HHBBHBBHI", sport, dport, (16 + len(rest)) // 4, 0, 0, kind << 1 | 1, 0, seq >> 32, seq & 0xFFFFFFFF) + rest
    value = csum(pseudo(src, dst, 33, len(data)) + data) ^ bad
    return data[:6] + b16(value) + data[8:]


def init(tag):
    return struct.pack(">IIHHI", tag, 65535, 1, 1, 1)


def fragments(frame, size):
    """An IPv4 frame in pieces of at most size payload bytes."""
    head, rest = frame[14:34], frame[34:]
    pieces = []
    for at in range(0, len(rest), size):
        part = rest[at : at + size]
        h = bytearray(head)
        h[2:4] = b16(20 + len(part))
        h[6:8] = b16((0x2000 if at + size < len(rest) else 0) | at >> 3)
        h[10:12] = b"\0\0"
        h[10:12] = b16(csum(bytes(h)))
        pieces.append(frame[:14] + bytes(h) + part)
    return pieces


def fragments6(frame, size, ident=9):
    rest = frame[54:]
    pieces = []
    for at in range(0, len(rest), size):
        part = rest[at : at + size]
        head = bytes([frame[20], 0]) + b16(at | (1 if at + size < len(rest) else 0)) + b32(ident)
        pieces.append(frame[:18] + b16(8 + len(part)) + bytes([44]) + frame[21:54] + head + part)
    return pieces


# The ct action

def nat(kind=None, lo=None, hi=None, port=None, port_hi=None, persistent=False, hash_=False):
    body = b""
    if kind:
        body += attr({"src": 1, "dst": 2}[kind])
    if lo:
        body += attr(3, addr(lo))
    if hi:
        body += attr(4, addr(hi))
    if port is not None:
        body += attr(5, u16(port))
    if port_hi is not None:
        body += attr(6, u16(port_hi))
    if persistent:
        body += attr(7)
    if hash_:
        body += attr(8)
    return body


def ct(commit=False, force=False, zone=0, mark=None, mask=0xFFFFFFFF, labels=None, labels_mask=b"\xff" * 16, helper=None, nat_=None,
       eventmask=None, timeout=None):
    body = b""
    if commit:
        body += attr(1)
    if force:
        body += attr(7)
    body += attr(2, u16(zone))
    if mark is not None:
        body += attr(3, u32(mark) + u32(mask))
    if labels is not None:
        body += attr(4, labels + labels_mask)
    if helper:
        body += attr(5, helper.encode() + b"\0")
    if eventmask is not None:
        body += attr(8, u32(eventmask))
    if timeout:
        body += attr(9, timeout.encode() + b"\0")
    if nat_ is not None:
        body += attr(6 | NESTED, nat_)
    return body


class Script:
    """Collects steps; a bare ct is the default action."""

    def __init__(self, name, **sysctl):
        self.name, self.sysctl, self.steps, self.limits, self.policies = name, sysctl, [], [], []

    # GRE is left out: a kernel without the PPTP helper, as the recorded one, knows it as "other protocol" only.

    def __call__(self, frame, *actions, wait=0, delete=None):
        self.steps.append({"frame": frame.hex(), "ct": [a.hex() for a in actions or (ct(),)], "wait": wait, "delete": delete})
        return self

    def resume(self, *actions, wait=0, delete=None):
        self.steps.append({"resume": True, "ct": [a.hex() for a in actions or (ct(),)], "wait": wait, "delete": delete})
        return self


A, B = "10.1.1.1", "10.1.2.2"
A6, B6 = "fd01::1", "fd02::2"
COMMIT = ct(commit=True)


def tcp_pair(sport=1000, dport=80, a=A, b=B, back=None):
    """(to, from): segments of a connection."""
    to = lambda flags, seq=0, ack=0, **o: tcp(a, sport, b, dport, flags, seq, ack, **o)
    fro = lambda flags, seq=0, ack=0, **o: tcp(b, dport, back or a, sport, flags, seq, ack, **o)
    return to, fro


WS7, SACKOK, MSS = b"\x03\x03\x07\x01", b"\x04\x02\x01\x01", b"\x02\x04\x05\xb4"


def established(s, to, fro, opts=b"", commit=COMMIT, after=ct()):
    s(to(S, 100, opts=opts), commit)(fro(S | K, 500, 101, opts=opts), after)(to(K, 101, 501), after)
    return s


def build():
    scripts = []

    def new(name, **sysctl):
        scripts.append(Script(name, **sysctl))
        return scripts[-1]

    to, fro = tcp_pair()
    s = new("tcp: open, data, close by the client, reopen")
    established(s, to, fro)
    s(to(P | K, 101, 501, data=b"x" * 10))(fro(K, 501, 111))(fro(P | K, 501, 111, data=b"y" * 100))(to(K, 111, 601))
    s(to(F | K, 111, 601))(fro(K, 601, 112))(fro(F | K, 601, 112))(to(K, 112, 602))(to(K, 112, 602))
    s(to(S, 9000), COMMIT)(fro(S | K, 7000, 9001))(to(K, 9001, 7001))

    s = new("tcp: close by the server, late FIN, SYN on TIME_WAIT without commit")
    established(s, to, fro)
    s(fro(F | K, 501, 101))(to(K, 101, 502))(to(F | K, 101, 502))(fro(K, 502, 102))(to(F | K, 101, 502))(fro(F | K, 501, 101))(to(S, 5000))(to(S, 5000), COMMIT)

    s = new("tcp: both close at once")
    established(s, to, fro)
    s(to(F | K, 101, 501))(fro(F | K, 501, 101))(to(K, 102, 502))(fro(K, 502, 102))

    s = new("tcp: retransmissions shorten the timeout")
    established(s, to, fro)
    for _ in range(5):
        s(to(P | K, 101, 501, data=b"abc"))
    s(fro(K, 501, 104))(fro(K, 501, 104))(fro(K, 501, 104))(fro(K, 501, 104))(fro(K, 501, 104))

    s = new("tcp: SYN retransmitted, SYN/ACK retransmitted, early data")
    s(to(S, 100), COMMIT)(to(S, 100), COMMIT)(to(S, 200))(fro(S | K, 500, 201))(fro(S | K, 500, 201))(fro(S | K, 600, 201))(to(K, 201, 501))(fro(S | K, 500, 201))(to(K, 201, 601))(to(P | K, 201, 501, data=b"hello"))

    s = new("tcp: RST answers SYN")
    s(to(S, 100), COMMIT)(fro(R | K, 0, 101))(fro(R | K, 0, 101))
    s = new("tcp: RST by the client after SYN")
    s(to(S, 100), COMMIT)(to(R, 101))(to(S, 300), COMMIT)
    s = new("tcp: RST of an established connection: exact, old, ahead")
    established(s, to, fro)
    s(to(P | K, 101, 501, data=b"12345"))(fro(K, 501, 106))(fro(R, 400))(to(R, 100))(fro(R, 505))(fro(R, 501))(to(S, 900))
    s = new("tcp: RST part of a train")
    established(s, to, fro)
    s(to(P | K, 101, 501, data=b"12345"))(fro(K, 501, 106))(fro(P | K, 501, 106, data=b"abcdef"))(fro(R, 507))
    s = new("tcp: picked up in the middle")
    s(to(K, 5000, 6000), COMMIT)(to(P | K, 5000, 6000, data=b"xx"))(fro(K, 6000, 5002))(to(K, 5002, 6000))(to(P | K, 900000, 1, data=b"far"))(fro(F | K, 6000, 5002))
    s = new("tcp: picked up by a reply", tcp_loose=1)
    s(fro(P | K, 6000, 5000, data=b"reply"), COMMIT)(to(K, 5000, 6005))(fro(K, 6005, 5000))
    s = new("tcp: no picking up", tcp_loose=0)
    s(to(K, 5000, 6000), COMMIT)(to(S, 100), COMMIT)(fro(S | K, 500, 101))
    s = new("tcp: nothing else begins a connection")
    for flags in (S | K, F | K, R, R | K, F, 0, P, U, S | F, S | R, F | R | K, S | U, K | U, F | K | U, S | 0x40 | 0x80, K | P | 0xC0):
        s(to(flags, 10, 20), COMMIT)
        if flags in (S | U, K | U, S | 0xC0, K | P | 0xC0):
            s(fro(R | K, 20, 11))
    s = new("tcp: window")
    established(s, to, fro)
    s(to(P | K, 101 + 65536, 501, data=b"z"))(to(P | K, 101, 501, data=b"z"))(fro(K, 501, 90000))(fro(K, 501, 102))(to(K, 102, 9000))(to(P | K, 102 - 70000, 501, data=b"o"))(to(K, 102, 501 - 66001))(to(K, 102, 501 - 67000))
    s = new("tcp: window before it is assured")
    s(to(S, 100, win=1000), COMMIT)(fro(S | K, 500, 101, win=2000))(to(P | K, 101 + 3000, 501, data=b"z" * 10))(to(P | K, 101, 501, data=b"z" * 2500))(to(P | K, 2601, 501, data=b"q"))(fro(K, 501, 101, win=100))(fro(P | K, 501, 101, data=b"w" * 1200))(to(K, 101, 5000, win=1000))(to(K, 101, 501, win=1000))
    s = new("tcp: window, liberal", tcp_be_liberal=1)
    s(to(S, 100, win=1000), COMMIT)(fro(S | K, 500, 101, win=2000))(to(P | K, 101 + 30000, 501, data=b"z" * 10))(fro(K, 501, 99999))(to(K, 101, 501, win=1000))
    s = new("tcp: window scale and SACK")
    established(s, to, fro, opts=MSS + SACKOK + WS7)
    sack = lambda *edges: b"\x01\x01\x05" + u8(2 + 4 * len(edges)) + b"".join(b32(e) for e in edges)
    s(to(P | K, 101, 501, win=512, data=b"d" * 100))(fro(K, 501, 101, win=300, opts=sack(151, 201)))(to(P | K, 201, 501, win=512, data=b"d" * 1000))(fro(K, 501, 201, win=0))(to(P | K, 1201, 501, win=512, data=b"!"))(fro(K, 501, 1201, win=200, opts=sack(900000, 900100)))(fro(K, 501, 1202))
    s = new("tcp: scale offered by one side only")
    s(to(S, 100, opts=WS7), COMMIT)(fro(S | K, 500, 101))(to(K, 101, 501, win=10))(to(P | K, 101, 501, data=b"e", win=10))(fro(K, 501, 102, win=20))
    s = new("tcp: scale above 14, odd options")
    s(to(S, 100, opts=b"\x03\x03\x1f\x01" + b"\x63\x04\xaa\xbb" + b"\x04\x02"), COMMIT)(fro(S | K, 500, 101, opts=b"\x03\x03\x0f\x00"))(to(K, 101, 501))
    s = new("tcp: truncated options")
    s(to(S, 100, opts=b"\x03\x01\x00\x00"), COMMIT)(fro(S | K, 500, 101, opts=b"\x01\x01\x01\x03"))(to(K, 101, 501, opts=b"\x05\x0c\x00\x00"))
    s = new("tcp: simultaneous open")
    s(to(S, 100), COMMIT)(fro(S, 500))(to(S | K, 100, 501))(fro(S | K, 500, 101))(to(K, 101, 501))(fro(K, 501, 101))
    s = new("tcp: simultaneous open, ACK from the other side first")
    s(to(S, 100), COMMIT)(fro(S, 500))(fro(S, 500))(fro(S | K, 500, 101))(fro(K, 501, 101))(to(K, 101, 501))
    s = new("tcp: SYN into an established connection, answered: resynchronised")
    established(s, to, fro, opts=WS7)
    s(to(S, 70000, opts=WS7 + SACKOK))(fro(S | K, 90000, 70001, opts=WS7))(to(K, 70001, 90001))(fro(K, 90001, 70001))
    s = new("tcp: SYN into an established connection, answered by a challenge ACK and RST")
    established(s, to, fro)
    s(to(S, 70000))(fro(K, 501, 101))(to(R, 101))
    s = new("tcp: challenge ACK in LAST_ACK")
    established(s, to, fro)
    s(to(F | K, 101, 501))(fro(F | K, 501, 102))(to(S, 80000))(fro(K, 502, 102))(to(K, 102, 502))
    s = new("tcp: half-open, answered by ACK, then RST")
    s(to(S, 100), COMMIT)(fro(K, 4000, 5000))(to(R, 5000))(to(S, 100))
    s = new("tcp: half-open, RST with the ACK's number not matching")
    s(to(S, 100), COMMIT)(fro(K, 4000, 5000))(to(R, 6000))
    s = new("tcp: zero window")
    established(s, to, fro)
    s(fro(K, 501, 101, win=0))(to(P | K, 101, 501, data=b"p"))(fro(K, 501, 101, win=0))(fro(K, 501, 102, win=5000))
    s = new("tcp: unacknowledged data")
    established(s, to, fro)
    s(to(P | K, 101, 501, data=b"p" * 20))(fro(K, 501, 111))(fro(K, 501, 121))
    s = new("tcp: FIN and RST out of the window from both sides")
    established(s, to, fro)
    s(to(F | K, 500000, 501))(fro(R, 900000))(fro(F | K, 900000, 101))(to(R, 500000))
    s = new("tcp: bad headers")
    s(to(S, 100, bad=True), COMMIT)(ip(A, B, 6, to(S, 1)[34:44]), COMMIT)(ip(A, B, 6, to(S, 1)[34:46] + b"\x40" + to(S, 1)[47:]), COMMIT)(ip(A, B, 6, to(S, 1)[34:46] + b"\xf0" + to(S, 1)[47:]), COMMIT)
    s = new("tcp: keepalive of a picked-up connection")
    s(to(K, 999, 2000), COMMIT)(fro(K, 2000, 1000))(to(K, 999, 2000))(fro(K, 2000, 1000))(fro(P | K, 2000, 1000, data=b"a"))
    s = new("tcp: RST with sequence 0")
    s(to(S, 100), COMMIT)(fro(S | K, 500, 101))(fro(R, 0))(to(K, 101, 501))(to(S, 5), COMMIT)
    s = new("tcp: ignored invalid RST", tcp_ignore_invalid_rst=1)
    established(s, to, fro)
    s(fro(R, 100))(to(K, 101, 501))
    s = new("tcp: SYN on CLOSE after RST by the same side, by the other side")
    established(s, to, fro)
    s(to(R, 101))(to(S, 1000), COMMIT)(fro(S | K, 3000, 1001))(to(K, 1001, 3001))(fro(R, 3001))(to(S, 2000), COMMIT)(fro(S | K, 4000, 2001))
    s = new("tcp: IPv6 and NAT with translated ports and options")
    to6, _ = tcp_pair(a=A6, b=B6)
    _, fro6 = tcp_pair(a="fd09::5", b=B6, sport=4321)
    s(to6(S, 100, opts=MSS), ct(commit=True, zone=5, nat_=nat("src", "fd09::5", port=4321)))(fro6(S | K, 500, 101), ct(zone=5, nat_=nat()))(to6(P | K, 101, 501, data=b"data"), ct(zone=5, nat_=nat()))

    up = lambda **o: udp(A, 1000, B, 53, **o)
    down = lambda **o: udp(B, 53, A, 1000, **o)
    s = new("udp: unreplied, replied, stream", acct=1)
    s(up(), COMMIT)(up())(down())(up())(up(), wait=2.2)(down())
    s = new("udp: header and checksum")
    s(up(length=7), COMMIT)(up(length=100), COMMIT)(up(bad=True), COMMIT)(up(zero=True), COMMIT)(down(zero=True, length=9))(down(bad=True))
    s = new("udp: lookup only, commit, commit again with a mark")
    s(up())(up(), ct(), COMMIT)(up(), ct(commit=True, mark=7))(down(), ct(commit=True, mark=0x1100, mask=0xFF00))(down(), ct(commit=True, mark=0x1107))
    s = new("udp: Ethernet padding is cut off")
    s(udp(A, 1, B, 2, data=b"", pad=bytes(18)), COMMIT)
    s = new("labels")
    lab = bytes(range(16))
    s(up(), ct(commit=True, labels=lab))(up(), ct(commit=True, labels=b"\xff" * 16, labels_mask=b"\x0f" + bytes(15)))(down(), ct(commit=True, labels=bytes(15) + b"\x01", labels_mask=bytes(15) + b"\x03"))(down())
    s = new("labels and marks outside their masks")
    s(up(), ct(commit=True, mark=0xFFFF, mask=0xFF, labels=b"\xff" * 16, labels_mask=b"\x01" + bytes(15)))(up(), ct(commit=True, mark=0xF0000, mask=0xF))
    s = new("eventmask")
    s(up(), ct(commit=True, eventmask=0x487))(down())(up(), ct(commit=True, mark=3))(udp(A, 5, B, 6), ct(commit=True, eventmask=0))(udp(B, 6, A, 5))
    s = new("zones")
    s(up(), ct(zone=1, commit=True, mark=1), ct(zone=2, commit=True, mark=2), ct(zone=1))(down(), ct(zone=2), ct(zone=1), ct(zone=3))(up(), ct(zone=65535, commit=True))
    s = new("force")
    s(up(), COMMIT)(down(), ct(force=True))(up())(down())(down(), ct(), ct(force=True))(up(), ct(force=True))
    s = new("force with a key that was tracked")
    s(up(), COMMIT)(down()).resume(ct(force=True, zone=0))(up())
    s = new("upcall and back: counted once", acct=1)
    s(up(), COMMIT)(up()).resume().resume(ct(zone=1))(down()).resume()(down(), ct(), ct()).resume()
    s = new("upcall and back: gone meanwhile")
    s(up(), COMMIT)(down()).resume(delete="all").resume(COMMIT)
    s = new("upcall and back: a new connection, committed meanwhile", acct=1)
    s(up()).resume(COMMIT)(up(data=b"other")).resume(COMMIT)
    s = new("upcall and back: translated", acct=1)
    nated = udp(B, 53, "192.0.2.1", 1000)
    s(up(), ct(commit=True, nat_=nat("src", "192.0.2.1")))(up(), ct(nat_=nat())).resume().resume(ct(nat_=nat()))(nated, ct(nat_=nat())).resume(ct()).resume(ct(nat_=nat()))(nated, ct(nat_=nat()), ct(), ct(nat_=nat())).resume(ct(nat_=nat()), delete="all")
    s = new("upcall and back: another zone")
    s(up(), ct(commit=True, zone=1, nat_=nat("src", "192.0.2.1"))).resume(ct(zone=2, commit=True, nat_=nat("src", "192.0.2.77"))).resume(ct(zone=1))
    s = new("acct and invalid packets", acct=1)
    s(up(), COMMIT)(down())(up(bad=True))(icmp(A, B, 0), COMMIT)

    s = new("icmp: echo and its reply")
    s(icmp(A, B, 8), COMMIT)(icmp(B, A, 0))(icmp(A, B, 8))(icmp(B, A, 0, rest=0x00080001))(icmp(A, B, 8, rest=0x00080001), COMMIT)
    s = new("icmp: what begins a connection")
    for kind in (0, 3, 5, 8, 9, 10, 13, 14, 15, 16, 17, 18, 19, 30, 255):
        s(icmp(A, B, kind), COMMIT)
    s(icmp(A, B, 8, bad=True), COMMIT)(icmp(B, A, 14))(icmp(B, A, 16))(icmp(B, A, 18))
    s = new("icmp: errors")
    inner = up()[14:]
    s(up(), COMMIT)(icmp("10.9.9.9", A, 3, 3, 0, inner))(icmp("10.9.9.9", B, 3, 3, 0, inner))(icmp("10.9.9.9", A, 3, 3, 0, inner[:28]))(icmp("10.9.9.9", A, 3, 3, 0, inner[:23]))(icmp("10.9.9.9", A, 3, 3, 0, inner[:19]))(icmp("10.9.9.9", A, 3, 3, 0, down()[14:]))(down())(icmp("10.9.9.9", B, 11, 0, 0, down()[14:]))(icmp("10.9.9.9", A, 5, 1, 0x0A010101, inner))(icmp("10.9.9.9", A, 4, 0, 0, inner))(icmp("10.9.9.9", A, 3, 3, 0, udp(A, 1, B, 2)[14:]), COMMIT)(icmp("10.9.9.9", A, 3, 3, 0, inner), COMMIT)
    s = new("icmp: error about an echo")
    s(icmp(A, B, 8), COMMIT)(icmp("10.9.9.9", A, 3, 1, 0, icmp(A, B, 8)[14:]))
    s = new("icmp: echo translated by id")
    s(icmp(A, B, 8), ct(commit=True, nat_=nat("src", "192.0.2.1", port=99)))(icmp(B, "192.0.2.1", 0, rest=0x00630001), ct(nat_=nat()))(icmp("10.9.9.9", "192.0.2.1", 3, 1, 0, icmp("192.0.2.1", B, 8, rest=0x00630001)[14:]), ct(nat_=nat()))
    s = new("icmpv6")
    s(icmp(A6, B6, 128), COMMIT)(icmp(B6, A6, 129))(icmp(A6, B6, 129, rest=5), COMMIT)(icmp(A6, B6, 139), COMMIT)(icmp(A6, B6, 140, rest=6), COMMIT)(icmp(A6, B6, 128, bad=True), COMMIT)
    for kind in (130, 131, 132, 133, 134, 135, 136, 137, 138, 143, 151, 152, 153):
        s(icmp(A6, B6, kind, data=bytes(40)), ct(commit=True, zone=3))
    s(udp(A6, 1000, B6, 53), COMMIT)(icmp("fd09::9", A6, 1, 4, 0, udp(A6, 1000, B6, 53)[14:]))(icmp("fd09::9", A6, 2, 0, 1280, udp(A6, 1, B6, 53)[14:]))
    s = new("icmp: error through NAT")
    there = ct(commit=True, nat_=nat("src", "192.0.2.1", port=5555))
    s(up(), there)(icmp("10.9.9.9", "192.0.2.1", 3, 3, 0, udp("192.0.2.1", 5555, B, 53)[14:]), ct(nat_=nat()))(icmp("10.9.9.9", B, 3, 3, 0, udp(B, 53, A, 1000)[14:]), ct(nat_=nat()))(icmp("10.9.9.9", B, 3, 3, 0, udp(B, 53, A, 1000)[14:]), ct(commit=True, nat_=nat()))(icmp("10.9.9.9", "192.0.2.1", 5, 0, 0x0A000001, udp("192.0.2.1", 5555, B, 53)[14:]), ct(nat_=nat()))(icmp("10.9.9.9", "192.0.2.1", 3, 3, 0, udp("192.0.2.1", 5555, B, 53)[14:42]), ct(nat_=nat("src", "1.2.3.4"), commit=True))
    s = new("icmpv6: error through NAT")
    s(udp(A6, 1000, B6, 53), ct(commit=True, nat_=nat("src", "fd09::1", port=5555)))(icmp("fd09::9", "fd09::1", 1, 4, 0, udp("fd09::1", 5555, B6, 53)[14:]), ct(nat_=nat()))(icmp("fd09::9", B6, 1, 4, 0, udp(B6, 53, A6, 1000)[14:]), ct(commit=True, nat_=nat()))
    s = new("icmp: error through destination NAT, TCP inside")
    s(to(S, 1), ct(commit=True, nat_=nat("dst", "192.0.2.8", port=8080)))(icmp("10.9.9.9", A, 3, 3, 0, tcp(A, 1000, "192.0.2.8", 8080, S, 1)[14:]), ct(nat_=nat()))(icmp("10.9.9.9", A, 3, 3, 0, tcp(A, 1000, "192.0.2.8", 8080, S, 1)[14:42]), ct(nat_=nat()))

    s = new("nat: source range, many clients and servers")
    for i in range(1, 13):
        s(udp(f"10.1.1.{i}", 1000 + i, B if i % 2 else "10.1.2.3", 53), ct(commit=True, zone=1, nat_=nat("src", "10.1.1.240", "10.1.1.255")))
    s(udp("10.1.1.1", 2000, B, 53), ct(commit=True, zone=1, nat_=nat("src", "10.1.1.240", "10.1.1.255")))(udp("10.1.1.1", 2000, B, 54), ct(commit=True, zone=2, nat_=nat("src", "10.1.1.240", "10.1.1.255")))(udp("10.1.1.1", 2000, "10.1.2.9", 54), ct(commit=True, zone=1, nat_=nat("src", "10.1.1.240", "10.1.1.255")))
    s = new("nat: source range, persistent")
    for i in range(1, 7):
        s(udp(f"10.1.1.{i}", 1000, f"10.1.2.{i}", 53), ct(commit=True, nat_=nat("src", "10.1.1.240", "10.1.3.7", persistent=True)))(udp(f"10.1.1.{i}", 1001, f"10.1.3.{i}", 53), ct(commit=True, nat_=nat("src", "10.1.1.240", "10.1.3.7", persistent=True)))
    s = new("nat: IPv6 range")
    for i in range(1, 7):
        s(udp(f"fd01::{i}", 1000, B6, 53), ct(commit=True, nat_=nat("src", "fd09::10", "fd09::ff:20")))(udp(f"fd01::{i}", 1001, B6, 53), ct(commit=True, nat_=nat("src", "fd09:0:0:1::10", "fd09:0:0:3::20", persistent=True)))
    s = new("nat: destination range")
    for i in range(1, 9):
        s(udp(f"10.1.1.{i}", 1000, "10.9.0.1", 53), ct(commit=True, nat_=nat("dst", "10.1.2.1", "10.1.2.4")))(tcp(f"10.1.1.{i}", 1000, "10.9.0.1", 80, S, 1), ct(commit=True, zone=4, nat_=nat("dst", "10.1.2.1", "10.1.2.4", port=8080)))
    s = new("nat: already in the range")
    s(udp("10.1.1.241", 1000, B, 53), ct(commit=True, nat_=nat("src", "10.1.1.240", "10.1.1.255")))(udp("10.1.1.242", 1000, B, 53), ct(commit=True, nat_=nat("src", "10.1.1.240", "10.1.1.255", port=900, port_hi=1100)))(udp("10.1.1.9", 1000, B, 53), ct(commit=True, nat_=nat("src", "10.1.1.5", port=900, port_hi=1100)))
    s = new("nat: the same source keeps its mapping")
    s(udp("10.1.1.1", 1000, B, 53), ct(commit=True, nat_=nat("src", "192.0.2.7")))(udp("10.1.1.1", 1000, "10.1.2.3", 53), ct(commit=True, nat_=nat("src", "192.0.2.1", "192.0.2.9")))(udp("10.1.1.1", 1000, "10.1.2.4", 53), ct(commit=True, nat_=nat("src", "192.0.2.1", "192.0.2.6")))
    s = new("nat: single port taken: kept, confirm fails")
    one = ct(commit=True, nat_=nat("src", "192.0.2.1", port=7000))
    s(udp("10.1.1.1", 1000, B, 53), one)(udp("10.1.1.2", 1000, B, 53), one)(tcp("10.1.1.1", 1000, B, 80, S, 1), one)(tcp("10.1.1.2", 1000, B, 80, S, 1), one)(tcp("10.1.1.2", 1000, B, 81, S, 1), one)
    s = new("nat: null bindings")
    s(up(), ct(commit=True, nat_=nat("src")))(down(), ct(nat_=nat()))(udp(A, 1001, B, 53), ct(commit=True, nat_=nat("dst")))(udp(B, 53, A, 1001), ct(nat_=nat()))(udp(A, 1002, B, 53), ct(commit=True, nat_=nat("src", port=99)))
    s = new("nat: destination port, and back")
    s(to(S, 100), ct(commit=True, nat_=nat("dst", "192.0.2.8", port=8080)))(tcp("192.0.2.8", 8080, A, 1000, S | K, 500, 101), ct(nat_=nat()))(to(K, 101, 501), ct(nat_=nat()))(to(K, 101, 501))(to(K, 101, 501), ct(nat_=nat("dst", "1.1.1.1")))(tcp("192.0.2.8", 8080, A, 1000, K, 501, 101), ct(commit=True, nat_=nat("src", "7.7.7.7")))
    s = new("nat: destination, then source, in one zone and in two")
    s(up(), ct(commit=True, zone=1, nat_=nat("dst", "192.0.2.8")), ct(commit=True, zone=1, mark=5, nat_=nat("src", "192.0.2.9")), ct(commit=True, zone=2, nat_=nat("src", "192.0.2.10")))(udp("192.0.2.8", 53, "192.0.2.10", 1000), ct(zone=2, nat_=nat()), ct(zone=1, nat_=nat()))
    s = new("nat: bare, of new and of untranslated connections")
    s(up(), ct(nat_=nat()))(up(), ct(commit=True, nat_=nat()))(down(), ct(nat_=nat()))(up(), ct(nat_=nat("src", "192.0.2.1"), commit=True))(down(), ct(nat_=nat("src", "192.0.2.1"), commit=True))
    s = new("nat: of a confirmed connection that is still new")
    s(up(), COMMIT)(up(), ct(commit=True, nat_=nat("src", "192.0.2.1")))(up(), ct(commit=True, nat_=nat("dst", "192.0.2.1")))
    s = new("nat: second packet of a new translated connection")
    s(up(), ct(commit=True, nat_=nat("src", "192.0.2.1")))(up(), ct(commit=True, nat_=nat("src", "192.0.2.99")))(up(), ct(nat_=nat()))(up())
    s = new("nat: UDP without checksum, UDPLite, generic")
    src = lambda address: ct(commit=True, nat_=nat("src", address))
    s(up(zero=True), src("192.0.2.1"))(udp(A, 7, B, 8, proto=136, length=0), src("192.0.2.1"))(ip(A, B, 89, b"ospf...."), src("192.0.2.1"))(ip(B, "192.0.2.1", 89, b"back...."), ct(nat_=nat()))

    s = new("other protocols", acct=1)
    s(ip(A, B, 89, b"ospf"), COMMIT)(ip(B, A, 89, b"ospf"))(ip(A, B, 50, b"esp"), COMMIT)(udp(A, 1, B, 2, proto=136, length=0), COMMIT)(udp(B, 2, A, 1, proto=136, length=8))(udp(A, 1, B, 2, proto=136, length=99))(udp(A, 1, B, 2, proto=136, zero=True))(udp(B, 2, A, 1, proto=136, length=0))

    s = new("udplite: the pseudo header of UDP")
    lite = lambda a, p, b, q, **o: udp(a, p, b, q, proto=136, summed_as=17, **o)
    s(lite(A, 1, B, 2, length=0), COMMIT)(lite(B, 2, A, 1, length=8, cover=8))(lite(A, 1, B, 2, length=10, cover=10))(lite(A, 1, B, 2, length=7))(lite(A, 1, B, 2, length=14))(lite(A6, 1, B6, 2, length=0), COMMIT)(lite(A, 7, B, 8, length=0), ct(commit=True, nat_=nat("src", "192.0.2.1")))
    s = new("sctp: association")
    sto = lambda tag, *c, **o: sctp(A, 1000, B, 2000, tag, *c, **o)
    sfro = lambda tag, *c, **o: sctp(B, 2000, A, 1000, tag, *c, **o)
    s(sto(0, chunk(1, 0, init(0x11))), COMMIT)(sfro(0x11, chunk(2, 0, init(0x22))))(sto(0x22, chunk(10, 0, b"cook")))(sfro(0x11, chunk(11)))(sto(0x22, chunk(0, 3, bytes(16))))(sfro(0x11, chunk(3, 0, bytes(12))))(sto(0x99, chunk(0, 3, bytes(16))))(sto(0x22, chunk(4, 0, b"beat")))(sfro(0x11, chunk(5, 0, b"beat")))(sto(0x22, chunk(7, 0, bytes(4))))(sfro(0x11, chunk(8)))(sto(0x22, chunk(14)))
    s = new("sctp: what begins an association")
    for kind in range(0, 15):
        s(sto(0 if kind == 1 else 5, chunk(kind, 0, init(3))), COMMIT)
        s(sfro(5, chunk(6)), ct(), delete="all")
    s(sto(7, chunk(1, 0, init(3))), COMMIT)(sto(0, chunk(1, 0, b"")), COMMIT)(sto(0, chunk(1, 0, init(3)), chunk(0)), COMMIT)(sto(0), COMMIT)(sto(0, b"\x01\0\0\0"), COMMIT)(sto(0, chunk(1, 0, init(3)), bad=True), COMMIT)
    s = new("sctp: abort, restart, heartbeat on another path")
    s(sto(0, chunk(1, 0, init(0x11))), COMMIT)(sto(0, chunk(1, 0, init(0x12))))(sfro(0x12, chunk(2, 0, init(0x22))))(sfro(0x12, chunk(6)))(sto(0, chunk(1, 0, init(0x13))))(sfro(0x13, chunk(6, 1)))(sctp(A, 5, B, 6, 77, chunk(4, 0, b"beat")), COMMIT)(sctp(B, 6, A, 5, 88, chunk(5, 0, b"beat")))(sctp(A, 5, B, 6, 77, chunk(0, 3, bytes(16))))(sctp(A, 5, B, 6, 78, chunk(4, 0, b"beat")))(sctp(B, 6, A, 5, 79, chunk(5, 0, b"beat")))
    s = new("sctp: translated")
    s(sto(0, chunk(1, 0, init(0x11))), ct(commit=True, nat_=nat("src", "192.0.2.1", port=999)))(sctp(B, 2000, "192.0.2.1", 999, 0x11, chunk(2, 0, init(0x22))), ct(nat_=nat()))

    s = new("fragments of IPv4")
    whole = udp(A, 1000, B, 53, data=bytes(range(256)) * 2)
    one, two, three = fragments(whole, 200)
    s(one, ct(commit=True, zone=1))(two, ct(commit=True, zone=1))(three, ct(commit=True, zone=1), ct(zone=1), ct(zone=2))(three)(two)(one)
    s = new("fragments of IPv4, translated")
    s(two, ct(commit=True, nat_=nat("src", "192.0.2.1")))(three, ct(commit=True, nat_=nat("src", "192.0.2.1")))(one, ct(commit=True, nat_=nat("src", "192.0.2.1")))
    s = new("fragments of IPv6")
    pieces = fragments6(udp(A6, 1000, B6, 53, data=bytes(range(256)) * 2), 200)
    for piece in pieces:
        s(piece, ct(commit=True, nat_=nat("src", "fd09::1")))

    s = new("limits")
    s.limits = [[3, 2], [-1, 1]]
    for i in range(4):
        s(udp(A, 1000 + i, B, 53), ct(commit=True, zone=3))
    s(udp(A, 1000, B, 53), ct(commit=True, zone=3))(udp(A, 1, B, 53), ct(commit=True, zone=4))(udp(A, 2, B, 53), ct(commit=True, zone=4), wait=0.1)(udp(A, 2, B, 53), ct(zone=4))(udp(A, 2, B, 53), ct(commit=True, zone=4), delete="all", wait=0.1)
    s = new("timeout policy")
    s.policies = [(attr(1, b"quick\0") + attr(2, b16(2)) + attr(3, u8(17)) + attr(4 | NESTED, attr(1, b32(7)) + attr(2, b32(8)))).hex()]
    s(up(), ct(commit=True, timeout="quick"))(down(), ct(timeout="quick"))(udp(A, 3, B, 4), ct(commit=True, timeout="nosuch"))

    rrq = lambda sport=1000, data=b"\0\1file\0octet\0": udp(A, sport, B, 69, data=data)
    s = new("tftp: no commit, no expectation")
    s(rrq(), ct(helper="tftp"))(rrq(), ct(commit=True, helper="tftp"))(udp(B, 3333, A, 1000, data=b"\0\3\0\1data"))(udp(B, 3333, A, 1000, data=b"\0\3\0\1data"), COMMIT)(udp(A, 1000, B, 3333, data=b"\0\4\0\1"))(rrq(), ct(helper="tftp"))
    s = new("tftp: translated, mark and labels inherited")
    s(rrq(), ct(commit=True, helper="tftp", mark=9, labels=lab, nat_=nat("src", "192.0.2.1")))(udp(B, 3333, "192.0.2.1", 1000, data=b"\0\3\0\1data"), ct(nat_=nat()))(udp(B, 3333, "192.0.2.1", 1000, data=b"\0\3\0\1data"), ct(commit=True, nat_=nat()))(udp(A, 1000, B, 3333, data=b"\0\4\0\1"), ct(nat_=nat()))(udp(B, 3333, "192.0.2.1", 1000, data=b"\0\3\0\2data"), ct(nat_=nat()))
    s = new("tftp: master deleted, not a request, second request replaces the first")
    s(rrq(data=b"\0\4\0\1"), ct(commit=True, helper="tftp"))(rrq())(rrq(), ct(helper="tftp"))(rrq(data=b"\0\2out\0octet\0"))(rrq(sport=1001), ct(commit=True, helper="tftp"), delete="all")(rrq(sport=1002), COMMIT)(rrq(sport=1002), ct(commit=True, helper="tftp"))

    to, fro = tcp_pair(dport=21)
    ftp_commit = ct(commit=True, helper="ftp")

    def ftp(s, commit, after, back=A, peer=None):
        _, f2 = tcp_pair(dport=21, back=back)
        s(to(S, 100), commit)(f2(S | K, 500, 101), after)(to(K, 101, 501), after)
        s(f2(P | K, 501, 101, data=b"220 hi\r\n"), after)(to(K, 101, 509), after)
        return f2

    s = new("ftp: PORT")
    ftp(s, ftp_commit, ct())
    s(to(P | K, 101, 509, data=b"USER a\r\n"))(to(P | K, 109, 509, data=b"PORT 10,1,1,1,7,208\r\n"))(tcp(B, 20, A, 2000, S, 1))(tcp(B, 20, A, 2000, S, 1), COMMIT)(tcp(A, 2000, B, 20, S | K, 9, 2))(to(P | K, 130, 509, data=b"PORT 10,1,1,9,7,208\r\n"))(to(P | K, 151, 509, data=b"PORT 10,1,1,1,7"))
    s = new("ftp: PASV")
    ftp(s, ftp_commit, ct())
    s(to(P | K, 101, 509, data=b"PASV\r\n"))(fro(P | K, 509, 107, data=b"227 Entering Passive Mode (10,1,2,2,19,137).\r\n"))(tcp(A, 4000, B, 5001, S, 1), COMMIT)(tcp(B, 5001, A, 4000, S | K, 3, 2))
    s = new("ftp: EPRT and EPSV")
    ftp(s, ftp_commit, ct())
    s(to(P | K, 101, 509, data=b"EPRT |1|10.1.1.1|2001|\r\n"))(to(P | K, 125, 509, data=b"EPSV\r\n"))(fro(P | K, 509, 131, data=b"229 Entering Extended Passive Mode (|||5002|)\r\n"))(tcp(A, 4000, B, 5002, S, 1), COMMIT)
    s = new("ftp: PORT translated, the payload shrinks or grows, numbers follow")
    back = "192.0.2.111"
    natc = ct(commit=True, helper="ftp", nat_=nat("src", back))
    after = ct(nat_=nat())
    f2 = ftp(s, natc, after, back=back)
    s(to(P | K, 101, 509, data=b"USER a\r\n"), after)(to(P | K, 109, 509, data=b"PORT 10,1,1,1,7,208\r\n"), after)(f2(K, 509, 109 + 23), after)(f2(P | K, 509, 109 + 23, data=b"200 ok\r\n"), after)(to(P | K, 130, 517, data=b"LIST\r\n"), after)(tcp(B, 20, back, 2000, S, 1), ct(nat_=nat(), commit=True))(tcp(A, 2000, B, 20, S | K, 9, 2), after)(f2(K, 517, 138, opts=b"\x01\x01\x05\x0a" + b32(133) + b32(138)), after)
    s = new("ftp: PASV through destination NAT")
    dnat = ct(commit=True, helper="ftp", nat_=nat("dst", "192.0.2.50"))
    f3 = lambda flags, seq, ack, **o: tcp("192.0.2.50", 21, A, 1000, flags, seq, ack, **o)
    s(to(S, 100), dnat)(f3(S | K, 500, 101), after)(to(K, 101, 501), after)(f3(P | K, 501, 101, data=b"220 hi\r\n"), after)(to(P | K, 101, 509, data=b"PASV\r\n"), after)(f3(P | K, 509, 107, data=b"227 Entering Passive Mode (192,0,2,50,19,137).\r\n"), after)(tcp(A, 4000, B, 5001, S, 1), ct(commit=True, nat_=nat()))(tcp("192.0.2.50", 5001, A, 4000, S | K, 1, 2), after)
    s = new("ftp: IPv6 EPRT translated")
    to6, fro6 = tcp_pair(dport=21, a=A6, b=B6, back="fd09::1:1")
    s(to6(S, 100), ct(commit=True, helper="ftp", nat_=nat("src", "fd09::1:1")))(fro6(S | K, 500, 101), after)(to6(K, 101, 501), after)(fro6(P | K, 501, 101, data=b"220 hi\r\n"), after)(to6(P | K, 101, 509, data=b"NOOP\r\n"), after)(to6(P | K, 107, 509, data=b"EPRT |2|fd01::1|2001|\r\n"), after)
    s = new("ftp: commit first, helper too late")
    s(to(S, 100), COMMIT)(fro(S | K, 500, 101), ct(commit=True, helper="ftp"))(to(K, 101, 501), ct(helper="ftp"))
    s = new("ftp: looked up with a helper, committed without")
    s(to(S, 100), ct(helper="ftp"), COMMIT)(udp(A, 9, B, 69), ct(helper="tftp", commit=True), ct(helper="ftp"))

    s = new("sctp: shut down by the other side, errors and echoes from it")
    s(sto(0, chunk(1, 0, init(0x11))), COMMIT)(sfro(0x11, chunk(2, 0, init(0x22))))(sto(0x22, chunk(10, 0, b"cook")))(sfro(0x11, chunk(11)))(sfro(0x11, chunk(7, 0, bytes(4))))(sto(0x22, chunk(8)))(sfro(0x11, chunk(14)))
    s(sctp(A, 3, B, 4, 0, chunk(1, 0, init(0x31))), COMMIT)(sctp(B, 4, A, 3, 0x31, chunk(2, 0, init(0x32))))(sctp(A, 3, B, 4, 0x32, chunk(10, 0, b"cook")))(sctp(B, 4, A, 3, 0x31, chunk(9)))
    s(sctp(A, 5, B, 6, 0, chunk(1, 0, init(0x41))), COMMIT)(sctp(B, 6, A, 5, 0x41, chunk(2, 0, init(0x42))))(sctp(B, 6, A, 5, 0x41, chunk(10, 0, b"cook")))(sctp(A, 5, B, 6, 0x42, chunk(11)))
    s = new("cached: another helper, none, another timeout", acct=1)
    s.policies = [(attr(1, b"quick\0") + attr(2, b16(2)) + attr(3, u8(17)) + attr(4 | NESTED, attr(1, b32(7)) + attr(2, b32(8)))).hex()]
    s(up(), COMMIT)(up(), ct(), ct(helper="tftp"), ct(timeout="quick"))(rrq(), ct(commit=True, helper="tftp"))(rrq(), ct(), ct(helper="tftp"), ct(helper="sip"))
    s(udp(A, 9, B, 10), ct(commit=True, timeout="quick"))(udp(A, 9, B, 10), ct(), ct(timeout="quick"), ct(timeout="nosuch"))
    s = new("timeout policy of another protocol, another family")
    s.policies = [(attr(1, b"quick\0") + attr(2, b16(2)) + attr(3, u8(17)) + attr(4 | NESTED, attr(1, b32(7)) + attr(2, b32(8)))).hex()]
    s(tcp(A, 1, B, 2, S, 5), ct(commit=True, timeout="quick"))(udp(A6, 1, B6, 2), ct(commit=True, timeout="quick"))(udp(A, 1, B, 2), ct(timeout="quick"), ct(commit=True))
    s = new("nat: destination ports are tried in order")
    for i in range(1, 5):
        s(udp(A, 1000, f"10.3.0.{i}", 53), ct(commit=True, nat_=nat("dst", "192.0.2.8", port=100, port_hi=103)))
    s(udp(A, 1000, "10.3.0.9", 102), ct(commit=True, zone=1, nat_=nat("dst", "192.0.2.8", port=100, port_hi=103)))
    s = new("nat: hairpin")
    inward, outward = ct(zone=1, nat_=nat()), ct(zone=2, nat_=nat())
    s(udp(A, 1000, "192.0.2.1", 53), ct(commit=True, zone=1, nat_=nat("dst", "10.1.1.2")), ct(commit=True, zone=2, nat_=nat("src", "192.0.2.1")))
    s(udp("10.1.1.2", 53, "192.0.2.1", 1000), outward, inward)(udp(A, 1000, "192.0.2.1", 53), inward, outward)
    s = new("nat: port 0")
    s(up(), ct(commit=True, nat_=nat("src", "192.0.2.1", port=0)))(udp(A, 1001, B, 53), ct(commit=True, nat_=nat("src", "192.0.2.1", port=0)))(udp(B, 53, "192.0.2.1", 0), ct(nat_=nat()))
    s = new("helpers: none by port, none for errors, none of the wrong protocol")
    s(rrq(), COMMIT)(rrq(sport=1001), ct(commit=True, helper="tftp", nat_=nat("src", "192.0.2.1")))(icmp("10.9.9.9", "192.0.2.1", 3, 3, 0, udp("192.0.2.1", 1001, B, 69)[14:]), ct(nat_=nat()))(rrq(sport=1002), ct(commit=True, helper="TFTP"))(to(S, 5), ct(commit=True, helper="tftp"))
    s = new("headers that cannot be read")
    s(ip(A, B, 17, b"\0\1"), COMMIT)(ip(A, B, 17, b""), COMMIT)(ip(A, B, 1, b"\x08\0\0"), COMMIT)(ip(A, B, 132, b"\0\1\0\2\0"), COMMIT)(ip(A6, B6, 0, b"\x11\xff" + bytes(6)), COMMIT)(ip(A6, B6, 60, b"\x11\0" + bytes(6) + udp(A6, 1, B6, 2)[54:]), COMMIT)(udp(A6, 1, B6, 2))(ip(A6, B6, 59, b""), COMMIT)(ip(A, B, 17, udp(A, 3, B, 4)[34:], frag=0x4000), COMMIT)
    dccp = lambda a, p, b, q, kind, seq, ack=None, bad=0: ip(a, b, 33, dccp_packet(a, p, b, q, kind, seq, ack, bad))
    s = new("dccp: open and close")
    s(dccp(A, 1, B, 2, 0, 100), COMMIT)(dccp(B, 2, A, 1, 1, 500, 100))(dccp(A, 1, B, 2, 3, 101, 500))(dccp(A, 1, B, 2, 4, 102, 500))(dccp(B, 2, A, 1, 4, 501, 102))(dccp(B, 2, A, 1, 5, 502, 102))(dccp(A, 1, B, 2, 6, 103, 502))(dccp(B, 2, A, 1, 7, 503, 103))(dccp(A, 1, B, 2, 0, 900), COMMIT)
    s = new("dccp: what begins a connection")
    for kind in range(0, 12):
        s(dccp(A, 10 + kind, B, 2, kind, 100, 5), COMMIT)
    s(dccp(A, 50, B, 2, 0, 100, None, 1), COMMIT)(ip(A, B, 33, b"\0\1\0\2\3"), COMMIT)
    return scripts


# Random scripts, from a seed: a second recording asks the same questions.

def random_tcp(rng, name):
    """Two ends that talk more or less as TCP does."""
    s = Script(name, **rng.choice([{}, {}, {}, {"tcp_be_liberal": 1}, {"tcp_loose": 0}, {"tcp_ignore_invalid_rst": 1}, {"acct": 1}]))
    address = rng.choice([None, None, "192.0.2.1"])
    commit = ct(commit=True, nat_=nat("src", address, port=4000)) if address else COMMIT
    after = ct(nat_=nat()) if address else ct()
    seqs, sent = [rng.choice([100, 0xFFFFFF00, rng.getrandbits(32)]) for _ in range(2)], [0, 0]
    opts = lambda: rng.choice([b"", b"", WS7, SACKOK + WS7, MSS + SACKOK, b"\x03\x03\x0e\x00"])
    wins = [rng.choice([65535, 8000, 500]) for _ in range(2)]

    def segment(side, flags, seq, ack, o=b"", length=0, action=None, win=None):
        make = (lambda *a, **k: tcp(A, 1000, B, 80, *a, **k)) if side == 0 else (lambda *a, **k: tcp(B, 80, address or A, 4000 if address else 1000, *a, **k))
        s(make(flags, seq, ack, win=wins[side] if win is None else win, opts=o, data=b"x" * length), action or (commit if side == 0 else after))

    style = rng.random()
    if style < 0.7:
        segment(0, S, seqs[0], 0, opts())
        seqs[0] += 1
        if rng.random() < 0.9:
            segment(1, S | K, seqs[1], seqs[0], opts())
            seqs[1] += 1
            segment(0, K, seqs[0], seqs[1])
    for _ in range(rng.randint(10, 30)):
        side = rng.randrange(2)
        kind = rng.random()
        seq, ack, length = seqs[side], seqs[1 - side], rng.choice([0, 0, 1, 10, 500])
        flags = K
        if kind < 0.10:
            flags = F | K
        elif kind < 0.16:
            flags = rng.choice([R, R | K])
        elif kind < 0.24:
            flags = rng.choice([S, S | K])
        elif kind < 0.26:
            flags = rng.getrandbits(8)
        if rng.random() < 0.25:
            seq += rng.choice([-1, 1, -10, 10, -500, 500, -70000, 70000, 1 << 31, -seq])
        if rng.random() < 0.25:
            ack += rng.choice([-1, 1, -10, 10, -500, 500, -65999, -66001, 70000, -ack])
        if rng.random() < 0.1:
            wins[side] = rng.choice([0, 1, 100, 65535])
        o = b""
        if rng.random() < 0.1:
            edge = seqs[1 - side] + rng.choice([-5, 0, 5, 100])
            o = b"\x01\x01\x05\x0a" + b32(edge - 3) + b32(edge)
        elif flags & S:
            o = opts()
        if flags & (S | R):
            length = 0
        segment(side, flags, seq, ack, o, length, rng.choice([None, None, None, ct() if not address else after]))
        if seq == seqs[side] and rng.random() < 0.8:
            seqs[side] += length + (flags & F) + ((flags & S) >> 1)
    return s


def random_sctp(rng, name):
    s = Script(name)
    tags = [0x11, 0x22]
    s(sctp(A, 1, B, 2, 0, chunk(1, 0, init(tags[1]))), COMMIT)
    order = [(1, 2, init(tags[0])), (0, 10, b"cook"), (1, 11, b"")]
    for side, kind, body in order[: rng.randint(0, 3)]:
        s(sctp(*((A, 1, B, 2) if side == 0 else (B, 2, A, 1)), tags[side], chunk(kind, 0, body)))
    for _ in range(rng.randint(5, 20)):
        side = rng.randrange(2)
        tag = rng.choice([tags[side]] * 5 + [tags[1 - side], 0, 0x99])
        chunks = []
        for _ in range(rng.choice([1, 1, 1, 2, 3])):
            kind = rng.choice([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 14, 0x80, 12])
            body = init(rng.choice(tags + [0x33])) if kind in (1, 2) else b"body"
            chunks.append(chunk(kind, rng.getrandbits(1), body))
        s(sctp(*((A, 1, B, 2) if side == 0 else (B, 2, A, 1)), tag, *chunks), rng.choice([ct(), ct(), COMMIT]))
    return s


def random_dccp(rng, name):
    """Packets of a connection in and out of order, of all types."""
    s = Script(name, acct=rng.getrandbits(1))
    packet = lambda side, kind, seq, ack: ip(*((A, B) if side == 0 else (B, A)), 33, dccp_packet(*((A, 1, B, 2) if side == 0 else (B, 2, A, 1)), kind, seq, ack, 0))
    order = [(0, 0, None), (1, 1, 100), (0, 3, 200), (1, 4, 101), (0, 4, 201), (0, 6, 202), (1, 7, 103)]
    for side, kind, ack in order[: rng.randint(1, len(order))]:
        s(packet(side, kind, 100 + 100 * side, ack), COMMIT if side == 0 else ct())
    for _ in range(rng.randint(5, 25)):
        s(packet(rng.randrange(2), rng.choice(list(range(10)) + [0, 1, 3, 4, 10, 15]), rng.choice([100, 200, 300]), rng.choice([100, 200, 200, 300])), rng.choice([ct(), ct(), COMMIT]))
    return s


# Of the mixes. Whatever the kernel picks by chance is hardly ever one of them.
PORTS = (40001, 40002, 40003)


def random_mix(rng, name):
    """Several hosts, zones, translations and ways back from user space; no choice that the kernel makes at random."""
    s = Script(name, acct=rng.getrandbits(1))
    hosts = [f"10.1.1.{i}" for i in range(1, 5)] + ["192.0.2.1", "192.0.2.2"]

    def action():
        zone = rng.randrange(3)
        what = rng.random()
        if what < 0.3:
            return ct(zone=zone, nat_=rng.choice([None, nat()]))
        if what < 0.4:
            return ct(zone=zone, force=True, mark=rng.choice([None, 5]))
        n = rng.choice([None, nat(), nat("src", rng.choice(hosts)), nat("dst", rng.choice(hosts)), nat("src", "192.0.2.0", "192.0.2.15"),
                        nat("dst", "10.1.1.1", "10.1.1.4"), nat("dst", rng.choice(hosts), port=rng.choice(PORTS)), nat("src", rng.choice(hosts), port=rng.choice(PORTS))])
        return ct(zone=zone, commit=True, nat_=n, mark=rng.choice([None, rng.randrange(4)]), mask=rng.choice([3, 0xFFFFFFFF]),
                  labels=rng.choice([None, None, bytes([rng.randrange(256)]) + bytes(15)]))

    for _ in range(rng.randint(10, 30)):
        if s.steps and rng.random() < 0.25:
            s.resume(*(action() for _ in range(rng.choice([1, 1, 2]))))
            continue
        a, b = rng.choice(hosts), rng.choice(hosts)
        p, q = rng.choice(PORTS), rng.choice(PORTS)
        kind = rng.random()
        if kind < 0.5:
            frame = udp(a, p, b, q, zero=rng.random() < 0.2)
        elif kind < 0.7:
            frame = icmp(a, b, rng.choice([8, 0]), rest=p << 16 | 1)
        elif kind < 0.85:
            inner = rng.choice([udp(b, p, rng.choice(hosts), q), icmp(b, rng.choice(hosts), 8, rest=p << 16), tcp(b, p, rng.choice(hosts), q, S, 1)])[14:]
            frame = icmp(a, b, rng.choice([3, 11, 12, 5]), 1, 0, inner)
        else:
            frame = tcp(a, p, b, q, rng.choice([S, K, S | K]), 1, 1)
        s(frame, *(action() for _ in range(rng.choice([1, 1, 1, 2]))))
    return s


def extended(frame, kind):
    """An IPv6 frame with one more header in front of the others: options, or a routing header with nothing left to visit."""
    header = bytes([frame[20], 0]) + (b"\1\4\0\0\0\0" if kind != 43 else bytes(6))
    return frame[:18] + b16(struct.unpack_from(">H", frame, 18)[0] + 8) + bytes([kind]) + frame[21:54] + header + frame[54:]


def random_six(rng, name):
    """As random_mix(), over IPv6 and all protocols, with ports fixed so that no choice is random."""
    s = Script(name, acct=rng.getrandbits(1))
    hosts = [f"fd01::{i}" for i in range(1, 4)] + ["fd09::1", "fd09::2"]

    def action():
        zone = rng.randrange(2)
        what = rng.random()
        if what < 0.35:
            return ct(zone=zone, nat_=rng.choice([None, nat()]))
        if what < 0.45:
            return ct(zone=zone, force=True, labels=rng.choice([None, bytes(15) + b"\x05"]))
        one, port = rng.choice(hosts), rng.choice(PORTS)
        n = rng.choice([None, nat(), nat("src", one, port=port), nat("dst", one, port=port), nat("dst", one), nat("src", "fd09::10", "fd09::4:20", port=port)])
        return ct(zone=zone, commit=True, nat_=n, mark=rng.choice([None, rng.randrange(4)]), mask=rng.choice([3, 0xFFFFFFFF]),
                  eventmask=rng.choice([None, None, rng.getrandbits(11)]))

    for _ in range(rng.randint(10, 30)):
        if s.steps and rng.random() < 0.25:
            s.resume(*(action() for _ in range(rng.choice([1, 1, 2]))))
            continue
        a, b = rng.choice(hosts), rng.choice(hosts)
        p, q = rng.choice(PORTS), rng.choice(PORTS)
        kind = rng.random()
        if kind < 0.3:
            frame = udp(a, p, b, q)
        elif kind < 0.4:
            frame = udp(a, p, b, q, proto=136, summed_as=17, length=rng.choice([0, 8, 13, 99]))
        elif kind < 0.55:
            frame = icmp(a, b, rng.choice([128, 129, 139, 140]), rest=p << 16 | 1)
        elif kind < 0.7:
            inner = rng.choice([udp(b, p, rng.choice(hosts), q), icmp(b, rng.choice(hosts), 128, rest=p << 16), tcp(b, p, rng.choice(hosts), q, S, 1)])[14:]
            if rng.random() < 0.3:
                inner = extended(bytes(14) + inner, 60)[14:]
            frame = icmp(a, b, rng.choice([1, 2, 3, 4, 137, 0, 127]), 0, 1280, inner[: rng.choice([60, 60, 48, 47, 39])])
        elif kind < 0.8:
            frame = sctp(a, p, b, q, rng.choice([0, 5]), chunk(rng.choice([1, 2, 4, 10]), 0, init(5)))
        elif kind < 0.85:
            frame = ip(a, b, 89, b"ospf....")
        else:
            frame = tcp(a, p, b, q, rng.choice([S, K, S | K, F | K, R]), 1, 1)
        for _ in range(rng.choice([0, 0, 0, 0, 0, 1, 1, 2])):
            frame = extended(frame, rng.choice([0, 43, 60, 60]))
        s(frame, *(action() for _ in range(rng.choice([1, 1, 1, 2]))))
    return s


def random_fragments(rng, name):
    """Datagrams in pieces that come late, twice, in any order, torn and overlapping."""
    s = Script(name)
    six = rng.getrandbits(1)
    a, b = (A6, B6) if six else (A, B)
    waiting = []
    for _ in range(rng.randint(1, 4)):
        data = bytes(rng.getrandbits(8) for _ in range(rng.choice([40, 200, 777, 1500])))
        port = rng.randint(1, 3)
        whole = rng.choice([udp(a, port, b, 7, data=data), udp(b, 7, a, port, data=data), udp(a, port, b, 7, data=data, zero=not six),
                            icmp(a, b, 128 if six else 8, rest=port << 16, data=data)])
        # What one script leaves incomplete must not meet the next one's.
        ident = 2 * int(name.split()[-1]) + rng.randint(1, 2)
        size = rng.choice([8, 64, 200, 600])
        if len(data) / size > 30:
            size = 200
        if six:
            pieces = fragments6(whole, size, ident)
        else:
            whole = bytearray(whole)
            whole[18:20] = b16(ident)
            whole[20] = rng.choice([0, 0, 0x40])
            pieces = [bytearray(piece) for piece in fragments(bytes(whole), size)]
            for piece in pieces:
                if rng.random() < 0.1:
                    piece[20] |= 0x40
                if rng.random() < 0.1:
                    piece[15] |= rng.randint(1, 3)
                piece[24:26] = b"\0\0"
                piece[24:26] = b16(csum(bytes(piece[14:34])))
            pieces = [bytes(piece) for piece in pieces]
        style = rng.random()
        if style < 0.4:
            rng.shuffle(pieces)
        elif style < 0.5:
            pieces.reverse()
        if rng.random() < 0.3:
            pieces.insert(rng.randrange(len(pieces)), rng.choice(pieces))
        if rng.random() < 0.3:
            torn = bytearray(rng.choice(pieces))
            where = 56 if six else 20
            torn[where : where + 2] = b16((struct.unpack_from(">H", torn, where)[0] + rng.choice([-1, 1, 8, -8, 32, 0x1FFF])) & 0xFFFF)
            if not six:
                torn[24:26] = b"\0\0"
                torn[24:26] = b16(csum(bytes(torn[14:34])))
            pieces.insert(rng.randrange(len(pieces)), bytes(torn))
        if rng.random() < 0.15:
            del pieces[rng.randrange(len(pieces))]
        waiting.append(pieces)
    public = "fd09::1" if six else "192.0.2.1"
    choices = [COMMIT, ct(), ct(zone=1, commit=True), ct(commit=True, nat_=nat("src", public, port=2)), ct(nat_=nat())]
    usual = rng.choice(choices)
    while any(waiting):
        pieces = rng.choice([p for p in waiting if p])
        s(pieces.pop(0), rng.choice([usual] * 6 + choices), *([ct(zone=rng.randrange(2))] if rng.random() < 0.2 else []))
        if s.steps and rng.random() < 0.05:
            s(udp(a, 1, b, 7))
    return s


def random_ftp(rng, name):
    """A control connection that announces data connections, some of which come."""
    s = Script(name, acct=rng.getrandbits(1))
    six = rng.random() < 0.3
    a, b = (A6, B6) if six else (A, B)
    translated = rng.choice([None, "src", "dst"])
    public = ("fd09::5" if translated == "src" else "fd09::6") if six else ("192.0.2.5" if translated == "src" else "192.0.2.111")
    client = public if translated == "src" else a
    server = public if translated == "dst" else b
    first = ct(commit=True, helper="ftp", nat_=nat(translated, public) if translated else None, mark=rng.choice([None, 7]), labels=rng.choice([None, b"\x03" + bytes(15)]))
    after = ct(nat_=nat()) if translated else ct(helper=rng.choice([None, "ftp"]))
    seqs, shift = [101, 501], 0
    s(tcp(a, 1000, b, 21, S, 100), first)(tcp(server, 21, client, 1000, S | K, 500, 101), after)(tcp(a, 1000, b, 21, K, 101, 501), after)

    def say(side, data, action=None):
        seq, ack = seqs[side], seqs[1 - side]
        make = (lambda *x, **o: tcp(a, 1000, b, 21, *x, **o)) if side == 0 else (lambda *x, **o: tcp(server, 21, client, 1000, *x, **o))
        parts = [data]
        if len(data) > 4 and rng.random() < 0.2:
            cut = rng.randrange(1, len(data))
            parts = [data[:cut], data[cut:]]
        for part in parts:
            s(make(P | K, seq, ack + (shift if side else 0), data=part), action or after)
            if rng.random() < 0.15:
                s(make(P | K, seq, ack + (shift if side else 0), data=part), action or after)
            seq += len(part)
        seqs[side] = seq

    say(1, b"220 hi\r\n")
    for _ in range(rng.randint(2, 8)):
        port = rng.randint(1024, 65000)
        dotted = lambda host: ",".join(str(v) for v in addr(host)) if not six else "1,2,3,4"
        ports = f"{port >> 8},{port & 255}"
        teller = rng.choice([a, a, a, "10.1.1.77" if not six else "fd01::77"])
        kind = rng.randrange(7)
        if kind == 0:
            say(0, rng.choice([b"PORT ", b"port ", b"PORT  "]) + f"{dotted(teller)},{ports}\r\n".encode())
        elif kind == 1:
            say(0, f"EPRT |{2 if six else 1}|{teller}|{port}|\r\n".encode())
        elif kind == 2:
            say(0, b"PASV\r\n")
            say(1, rng.choice(["227 Entering Passive Mode ({}).\r\n", "227 ok {}\r\n", "227 =({}\r\n"]).format(f"{dotted(server)},{ports}").encode())
        elif kind == 3:
            say(0, b"EPSV\r\n")
            say(1, f"229 Extended ({rng.choice(['|||', '!!!'])}{port}{rng.choice('|!')})\r\n".encode())
        elif kind == 4:
            say(0, rng.choice([b"USER x\r\n", b"NOOP\r\n", b"PORT 1,2\r\n", b"PORT 999,1,1,1,1,1\r\n", b"PO", b"\r\n", b"EPRT |1|\r\n"]))
        elif kind == 5:
            say(1, rng.choice([b"200 ok\r\n", b"227 no numbers\r\n", b"229 (|||x|)\r\n", b"227 1,2,3", b"230-more\r\n227 x\r\n"]))
        shift = rng.choice([shift, shift, shift + 2, shift - 2])
        if kind in (0, 1) and rng.random() < 0.7:
            s(tcp(server, 20, client, port, S, 1), rng.choice([COMMIT, ct(), ct(commit=True, nat_=nat())]))(tcp(a, port, b, 20, S | K, 9, 2), after)
        elif kind in (2, 3) and rng.random() < 0.7:
            s(tcp(a, 4000, b, port, S, 1), rng.choice([COMMIT, ct(), ct(commit=True, nat_=nat())]))(tcp(server, port, client, 4000, S | K, 9, 2), after)
        if rng.random() < 0.1:
            s(tcp(a, 1000, b, 21, K, seqs[0], seqs[1]), after, delete="all")
            break
    return s


def random_parse(rng, name):
    """Attributes of the action in any order, number and length: what is refused, and what comes of the rest."""
    s = Script(name)
    sizes = {1: 0, 2: 2, 3: 8, 4: 32, 5: 4, 6: 0, 7: 0, 8: 4, 9: 4}
    nat_sizes = {1: 0, 2: 0, 3: 4, 4: 4, 5: 2, 6: 2, 7: 0, 8: 0, 9: 0}

    def value(kind, size):
        if kind == 5:
            return rng.choice([b"ftp\0", b"tftp\0", b"ftp", b"\0", b"FTP\0", b"a" * 15 + b"\0", b"a" * 16, b"a" * 16 + b"\0", b"tftp\0\0\0"])
        if kind == 9:
            return rng.choice([b"nope\0", b"nope", b"a" * 31 + b"\0", b"a" * 32, b"a" * 33, b""])
        return bytes(rng.choice([0, 0, 1, 255]) for _ in range(max(0, size + rng.choice([0] * 12 + [-1, 1, 4]))))

    def nest():
        body = b""
        for _ in range(rng.choice([0, 1, 1, 2, 3, 4])):
            kind = rng.choice([1, 2, 3, 4, 5, 6, 7, 8, 9] * 3 + [0, 10])
            if kind in (6, 8, 9) and 5 not in dict(attrs(body)):
                body += attr(5, u16(2))
            size = max(0, nat_sizes.get(kind, 0) + rng.choice([0] * 12 + [-1, 1, 12]))
            data = addr(f"192.0.2.{rng.randint(1, 9)}")[:size] + bytes(max(0, size - 4)) if kind in (3, 4) else u16(2)[:size] + bytes(max(0, size - 2))
            body += attr(kind, data)
        return body

    def action():
        body = b""
        for _ in range(rng.choice([0, 1, 1, 2, 3, 4, 5])):
            kind = rng.choice([1, 1, 2, 3, 4, 5, 6, 6, 7, 8, 9] * 3 + [0, 10, 11])
            if kind == 6:
                body += attr(rng.choice([6, 6 | NESTED]), nest())
            else:
                body += attr(kind, u16(rng.randrange(3)) if kind == 2 and rng.random() < 0.9 else value(kind, sizes.get(kind, 0)))
        return body + rng.choice([b""] * 9 + [b"\0", b"\0\0\0", b"\4\0"])

    for i in range(25):
        frame = rng.choice([udp(A, 1 + i, B, 3), udp(A6, 1 + i, B6, 3), tcp(A, 1 + i, B, 3, S, 1), udp(B, 3, A, 1 + rng.randrange(i + 1))])
        s(frame, action())
    return s


# Playing

class Nfnl:
    """A ctnetlink socket."""

    def __init__(self, *groups):
        self.sock = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 12)
        self.sock.bind((0, 0))
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
        for group in groups:
            self.sock.setsockopt(270, 1, group)
        self.seq = 0

    def request(self, kind, flags, body=b"", family=0):
        """(errno, [attributes…]) of a request."""
        self.seq += 1
        message = struct.pack("=IHHII", 20 + len(body), kind, 1 | flags, self.seq, 0) + struct.pack(">BBH", family, 0, 0) + body
        self.sock.send(message)
        records = []
        while True:
            data = self.sock.recv(1 << 20)
            while len(data) >= 16:
                size, reply, _, seq, _ = struct.unpack_from("=IHHII", data)
                one, data = data[:size], data[(size + 3) & ~3 :]
                if seq != self.seq:
                    continue
                if reply in (2, 3):
                    return (-struct.unpack_from("=i", one, 16)[0], records)
                records.append(unpadded(one[20:]))

    def drain(self):
        found = []
        while True:
            try:
                data = self.sock.recv(1 << 20, socket.MSG_DONTWAIT)
            except BlockingIOError:
                return found
            while len(data) >= 16:
                size, kind, flags, _, _ = struct.unpack_from("=IHHII", data)
                one, data = data[:size], data[(size + 3) & ~3 :]
                found.append([kind, flags, unpadded(one[20:])])


def unpadded(data):
    """Attributes without the PAD of 64-bit counters."""
    result = b""
    at = 0
    while at + 4 <= len(data):
        size, kind = struct.unpack_from("=HH", data, at)
        payload = data[at + 4 : at + size]
        if kind & 0x3FFF in (9, 10) and kind & NESTED:
            payload = without_pads(payload)
        result += attr(kind, payload)
        at += (size + 3) & ~3
    return result.hex()


def without_pads(data):
    result = b""
    at = 0
    while at + 4 <= len(data):
        size, kind = struct.unpack_from("=HH", data, at)
        if kind != 5:
            result += attr(kind, data[at + 4 : at + size])
        at += (size + 3) & ~3
    return result


def sysctl(name, value):
    with open(f"/proc/sys/net/netfilter/nf_conntrack_{name}", "w") as file:
        file.write(str(value))


def nested(data, *kinds):
    """Payload of an attribute some nests down, or nothing."""
    for kind in kinds:
        data = dict(attrs(data)).get(kind, b"")
    return data


def has_random_port(step):
    """Whether the kernel picked a port or id by chance: scripts of kinds where it can use PORTS themselves."""
    for record in step["dump"]:
        for side in (1, 2):
            for kind, value in attrs(nested(bytes.fromhex(record), side, 2)):
                if kind in (2, 3, 4, 7) and struct.unpack(">H", value)[0] not in (0, *PORTS):
                    return True
    return False


DEFAULTS = {"acct": 0, "tcp_loose": 1, "tcp_be_liberal": 0, "tcp_ignore_invalid_rst": 0}


def play(nl, dp, script, ctl, listener):
    ctl.request(0x0102, 4)
    for name, value in {**DEFAULTS, **script.sysctl}.items():
        sysctl(name, value)
    if script.limits:
        body = b"".join(struct.pack("=iII", zone, limit, 0) for zone, limit in script.limits)
        assert nl.call("ovs_ct_limit", 1, dp, attr(1 | NESTED, body))[0] == 0
    for policy in script.policies:
        assert ctl.request(0x0800, 4 | 0x400, bytes.fromhex(policy))[0] == 0
    nl.drain()
    listener.drain()
    last = None
    for step in script.steps:
        if step["wait"]:
            time.sleep(step["wait"])
        if step["delete"]:
            ctl.request(0x0102, 4)
        if step.get("resume"):
            key, packet = last
        else:
            packet = bytes.fromhex(step["frame"])
            ether = packet[12:14]
            body = (attr(7, packet[26:34] + bytes([packet[23], 0, 64, 0])) if ether == b"\x08\0" else
                    attr(8, packet[22:54] + bytes(4) + bytes([packet[20], 0, 64, 0])))
            key = attr(3, u32(0)) + attr(4, packet[6:12] + packet[:6]) + attr(6, ether) + body
        actions = b"".join(
            attr(CT | NESTED, bytes.fromhex(a)) + attr(USERSPACE | NESTED, attr(1, u32(nl.pid))) for a in step["ct"]
        )
        body = attr(1, packet) + attr(2 | NESTED, key) + attr(3 | NESTED, actions)
        step["errno"], messages = nl.call("ovs_packet", 3, dp, body)
        step["ups"] = []
        for datagram in messages + nl.drain():
            found = dict(attrs(datagram[24:]))
            last = (found[2], found[1])
            step["ups"].append([found[2].hex(), found[1].hex(), struct.unpack("=H", found[9])[0] if 9 in found else 0])
        _, step["dump"] = ctl.request(0x0101, 0x300)
        _, step["expect"] = ctl.request(0x0201, 0x300)
        step["events"] = listener.drain()
        if script.name.startswith(("random mix", "random six")) and has_random_port(step):
            del script.steps[script.steps.index(step) :]
            break
    if script.limits:
        body = b"".join(struct.pack("=iII", zone, 0, 0) for zone, _ in script.limits)
        nl.call("ovs_ct_limit", 2, dp, attr(1 | NESTED, body))
    if script.policies:
        ctl.request(0x0802, 4)
    return {"name": script.name, "sysctl": script.sysctl, "limits": script.limits, "policies": script.policies, "steps": script.steps}


def main(path):
    nl = Genl()
    error, replies = nl.call("ovs_datapath", 1, struct.pack("=I", 0), attr(1, b"nkct\0") + attr(2, u32(nl.pid)) + attr(5, u32(1)), NLM_F_ECHO, version=2)
    assert error == 0, error
    dp = replies[0][20:24]
    nl.drain()
    ctl, listener = Nfnl(), Nfnl(1, 2, 3, 4, 6)
    for timeout in ("net/ipv4/ipfrag_time", "net/netfilter/nf_conntrack_frag6_timeout"):
        with open("/proc/sys/" + timeout, "w") as file:
            file.write("2")
    rng = random.Random(SEED)
    scripts = build()
    for make in (random_tcp, random_sctp, random_dccp, random_mix, random_six, random_fragments, random_ftp, random_parse):
        scripts += [make(rng, f"random {make.__name__[7:]} {i}") for i in range(COUNT)]
    recorded = [play(nl, dp, script, ctl, listener) for script in scripts]
    for script in recorded:
        for step in script["steps"]:
            for name in ("wait", "delete"):
                if not step[name]:
                    del step[name]
    with open(path, "wb") as file, gzip.GzipFile("", "wb", 9, file, 0) as packed:
        packed.write((json.dumps({"scripts": recorded}, separators=(",", ":")) + "\n").encode())
    print(len(recorded), "scripts,", sum(len(s["steps"]) for s in recorded), "steps")


main(sys.argv[1])
