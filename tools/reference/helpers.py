#!/usr/bin/env python3
"""Records test/fixtures/helpers-6.18.json.gz: dialogues through the conntrack helpers of the running kernel.

A router (a network namespace with nftables rules that set helper and NAT) stands between a client side `a` and a server
side `b`; both ends are this program with raw sockets, so that every byte is its own. After each packet it notes what came
out at the other side and the expectations as ctnetlink dumps them. Root, iproute2, nftables; nothing outside two
namespaces of its own is touched.

usage: helpers.py [FILE [GENERATOR ...]]
"""
import ctypes
import gzip
import json
import os
import random
import select
import socket
import struct
import subprocess
import sys
import time

PREFIX = f"nkh{os.getpid()}"
ROUTER, ENDS = PREFIX + "r", PREFIX + "e"
CLIENT, SERVER, SNAT, VIRTUAL, THIRD = "10.0.0.1", "10.1.0.2", "10.1.0.100", "10.0.0.200", "10.1.0.9"
CLIENT6, SERVER6, SNAT6, VIRTUAL6, THIRD6 = "fd00::1", "fd01::2", "fd01::100", "fd00::200", "fd01::9"
TCP, UDP, GRE = 6, 17, 47
FIN, SYN, RST, PSH, ACK = 1, 2, 4, 8, 16


def sh(command):
    subprocess.run(command, shell=True, check=True)


def enter(name):
    with open(f"/run/netns/{name}") as f:
        if ctypes.CDLL(None, use_errno=True).setns(f.fileno(), 0x40000000) != 0:
            raise OSError(ctypes.get_errno(), "setns")


def checksum(data):
    if len(data) % 2:
        data += b"\0"
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total > 0xFFFF:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def ip_packet(src, dst, proto, payload):
    """An IP packet whose transport checksum stands right."""
    v6 = ":" in src
    family = socket.AF_INET6 if v6 else socket.AF_INET
    s, d = socket.inet_pton(family, src), socket.inet_pton(family, dst)
    if proto in (TCP, UDP):
        pseudo = s + d + (struct.pack("!IHBB", len(payload), 0, 0, proto) if v6 else struct.pack("!BBH", 0, proto, len(payload)))
        at = 16 if proto == TCP else 6
        payload = payload[:at] + struct.pack("!H", checksum(pseudo + payload) or 0xFFFF) + payload[at + 2 :]
    if v6:
        return struct.pack("!IHBB", 6 << 28, len(payload), proto, 64) + s + d + payload
    head = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(payload), 1, 0x4000, 64, proto, 0) + s + d
    return head[:10] + struct.pack("!H", checksum(head)) + head[12:] + payload


class Netfilter:
    """Raw NETLINK_NETFILTER in the router's namespace."""

    def __init__(self):
        self.socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 12)
        self.socket.bind((0, 0))

    def dump(self, kind):
        self.socket.send(struct.pack("=IHHII", 20, kind, 0x301, 1, 0) + bytes(4))
        records = []
        while True:
            data = self.socket.recv(1 << 16)
            while data:
                size, message = struct.unpack_from("=IH", data)
                if message in (2, 3):
                    return records
                records.append(data[20:size].hex())
                data = data[(size + 3) & ~3 :]


class Lab:
    def __init__(self):
        for name in (ROUTER, ENDS):
            sh(f"ip netns add {name}")
        for side in "ab":
            sh(f"ip -n {ROUTER} link add {side}0 address 02:00:00:00:00:0{side} type veth peer name {side}1 netns {ENDS} address 02:00:00:00:01:0{side}")
            sh(f"ip netns exec {ENDS} sysctl -qw net.ipv6.conf.{side}1.disable_ipv6=1")
            sh(f"ip -n {ENDS} link set {side}1 arp off up")
            sh(f"ip netns exec {ROUTER} ethtool -K {side}0 tx off rx off gro off gso off tso off >/dev/null")
            sh(f"ip netns exec {ENDS} ethtool -K {side}1 tx off rx off gro off gso off tso off >/dev/null")
            sh(f"ip -n {ROUTER} link set {side}0 up")
        sh(f"ip netns exec {ROUTER} sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1 net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.all.send_redirects=0 net.netfilter.nf_conntrack_acct=0")
        sh(f"ip -n {ROUTER} address add 10.0.0.254/24 dev a0 && ip -n {ROUTER} address add 10.1.0.254/24 dev b0")
        sh(f"ip -n {ROUTER} address add fd00::fe/64 dev a0 nodad && ip -n {ROUTER} address add fd01::fe/64 dev b0 nodad")
        for side, addresses in (("a", (CLIENT, CLIENT6)), ("b", (SERVER, SERVER6, SNAT, SNAT6, THIRD, THIRD6))):
            for address in addresses:
                sh(f"ip -n {ROUTER} neigh replace {address} lladdr 02:00:00:00:01:0{side} dev {side}0")
        enter(ROUTER)
        self.netfilter = Netfilter()
        self.nft_namespace = ROUTER
        enter(ENDS)
        self.sockets = {}
        for side in "ab":
            s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
            s.bind((f"{side}1", 3))
            self.sockets[side] = s
        time.sleep(0.3)

    def rules(self, helper, proto, port, nat, v6):
        family = "ip6" if v6 else "ip"
        server, snat, virtual = (SERVER6, SNAT6, VIRTUAL6) if v6 else (SERVER, SNAT, VIRTUAL)
        text = "flush ruleset\n" + f"table {family} t {{\n"
        name = {6: "tcp", 17: "udp"}[proto]
        if helper:
            text += f'  ct helper h {{ type "{helper}" protocol {name}; }}\n'
            text += f"  chain help {{ type filter hook prerouting priority 0;\n    {name} dport {port} ct helper set \"h\"\n  }}\n"
        text += "  chain seen { type filter hook forward priority 0;\n    ct state new accept\n  }\n"
        if nat == "snat":
            text += f"  chain post {{ type nat hook postrouting priority 100;\n    oifname b0 snat to {snat}\n  }}\n"
        elif nat == "dnat":
            text += f"  chain pre {{ type nat hook prerouting priority -100;\n    {family} daddr {virtual} dnat to {server}\n  }}\n"
        text += "}\n"
        subprocess.run(["ip", "netns", "exec", ROUTER, "nft", "-f", "-"], input=text.encode(), check=True)
        sh(f"ip netns exec {ROUTER} conntrack -F >/dev/null 2>&1")

    def drain(self):
        for s in self.sockets.values():
            while select.select([s], [], [], 0)[0]:
                s.recv(1 << 16)

    def through(self, side, packet):
        """Sends an IP packet from a side. @returns what comes out at the other, or None"""
        self.drain()
        other = "b" if side == "a" else "a"
        ether = struct.pack("!6s6sH", bytes.fromhex(f"02000000000{side}"), bytes.fromhex(f"02000000010{side}"), 0x86DD if packet[0] >> 4 == 6 else 0x0800)
        self.sockets[side].send(ether + packet)
        end = time.time() + 0.15
        while time.time() < end:
            ready = select.select([self.sockets[other]], [], [], max(0, end - time.time()))[0]
            if not ready:
                return None
            data, address = self.sockets[other].recvfrom(1 << 16)
            if address[2] == 4:
                continue
            inner = data[14:]
            proto = inner[9] if inner[0] >> 4 == 4 else inner[6]
            if proto not in (TCP, UDP, GRE):
                continue
            size = struct.unpack_from("!H", inner, 2)[0] if inner[0] >> 4 == 4 else 40 + struct.unpack_from("!H", inner, 4)[0]
            return inner[:size]
        return None

    def close(self):
        for name in (ROUTER, ENDS):
            subprocess.run(["ip", "netns", "del", name])


class Play:
    """One dialogue: what is sent, as the ends see it, and what is recorded."""

    def __init__(self, lab, name, helper, proto, port, nat=None, v6=False):
        self.lab, self.steps = lab, []
        self.record = {"name": name, "helper": helper, "proto": proto, "port": port, "nat": nat, "v6": v6, "steps": self.steps}
        self.client, self.server = (CLIENT6, SERVER6) if v6 else (CLIENT, SERVER)
        # How each side calls the other.
        self.peer = {
            "a": (VIRTUAL6 if v6 else VIRTUAL) if nat == "dnat" else self.server,
            "b": (SNAT6 if v6 else SNAT) if nat == "snat" else self.client,
        }
        self.own = {"a": self.client, "b": self.server}
        lab.rules(helper, proto, port, nat, v6)
        self.port = port
        self.streams = {}

    def send(self, side, proto, payload):
        packet = ip_packet(self.own[side], self.peer[side], proto, payload)
        out = self.lab.through(side, packet)
        self.steps.append(
            {
                "from": side,
                "in": packet.hex(),
                "out": out.hex() if out else None,
                "expect": sorted(self.lab.netfilter.dump(0x0201)),
                "table": sorted(self.lab.netfilter.dump(0x0101)),
            }
        )
        return out

    def udp(self, side, sport, dport, payload):
        return self.send(side, UDP, struct.pack("!HHHH", sport, dport, 8 + len(payload), 0) + payload)

    def tcp(self, side, sport, dport, flags, payload=b"", seq=None):
        """Numbers follow what each end has sent and seen. Ports are those of the client's connection, as `side` sees them."""
        key = (sport, dport) if side == "a" else (dport, sport)
        state = self.streams.setdefault(key, {"a": [1000, 0], "b": [5000, 0]})
        own = state[side]
        number = own[0] if seq is None else seq
        segment = struct.pack("!HHIIBBHHH", sport, dport, number & 0xFFFFFFFF, own[1] if flags & ACK else 0, 0x50, flags, 60000, 0, 0) + payload
        out = self.send(side, TCP, segment)
        if seq is None:
            own[0] = number + len(payload) + (1 if flags & (SYN | FIN) else 0)
        if out:
            head = 40 if out[0] >> 4 == 6 else 20
            got_seq = struct.unpack_from("!I", out, head + 4)[0]
            data = out[head + (out[head + 12] >> 4) * 4 :]
            other = state["b" if side == "a" else "a"]
            other[1] = got_seq + len(data) + (1 if flags & (SYN | FIN) else 0)
        return out

    def open(self, sport=4000):
        self.tcp("a", sport, self.port, SYN)
        self.tcp("b", self.port, sport, SYN | ACK)
        self.tcp("a", sport, self.port, ACK)

    def say(self, side, payload, sport=4000):
        if isinstance(payload, str):
            payload = payload.encode("latin1")
        ports = (sport, self.port) if side == "a" else (self.port, sport)
        return self.tcp(side, *ports, PSH | ACK, payload)


def comma(address, port):
    return address.replace(".", ",") + f",{port >> 8},{port & 255}"


def ftp(lab):
    for nat in (None, "snat", "dnat"):
        p = Play(lab, f"ftp: active and passive, nat {nat}", "ftp", TCP, 21, nat)
        p.open()
        p.say("b", "220 ready\r\n")
        p.say("a", "USER me\r\n")
        p.say("b", "331 password\r\n")
        p.say("a", f"PORT {comma(CLIENT, 20000)}\r\n")
        p.say("b", "200 ok\r\n")
        p.tcp("b", 20, 20000, SYN)
        p.tcp("a", 20000, 20, SYN | ACK)
        p.say("a", f"EPRT |1|{CLIENT}|20001|\r\n")
        p.say("b", "200 ok\r\n")
        p.say("a", "PASV\r\n")
        p.say("b", f"227 Entering Passive Mode ({comma(SERVER, 30000)})\r\n")
        p.tcp("a", 4001, 30000, SYN)
        p.say("a", "EPSV\r\n")
        p.say("b", "229 Extended (|||30001|)\r\n")
        p.tcp("a", 4002, 30001, SYN)
        yield p
    for nat in (None, "snat", "dnat"):
        p = Play(lab, f"ftp: IPv6, nat {nat}", "ftp", TCP, 21, nat, True)
        p.open()
        p.say("b", "220 ready\r\n")
        p.say("a", "NOOP\r\n")
        p.say("a", f"EPRT |2|{CLIENT6}|20001|\r\n")
        p.say("b", "200 ok\r\n")
        p.tcp("b", 20, 20001, SYN)
        p.say("a", "EPSV\r\n")
        p.say("b", "229 Extended (|||30001|)\r\n")
        p.tcp("a", 4002, 30001, SYN)
        yield p
    p = Play(lab, "ftp: split, repeated, retransmitted, odd commands", "ftp", TCP, 21, "snat")
    p.open()
    p.say("b", "220 ready\r\n")
    p.say("a", "NOOP\r\n")
    p.say("a", "PORT 10,0,0")
    p.say("a", "NOOP\r\n")
    for line in ("PORT 10,0,0,1,78,32\r\n",) * 2 + (
        "port 10,0,0,1,78,33\r\n", "PORT 10,0,0,9,78,33\r\n", "PORT  10,0,0,1,78,34\r\n", "PORT 10,0,0,1,78,35 \r\n",
        "EPRT |1|10.0.0.1|0|\r\n", "EPRT |3|10.0.0.1|5|\r\n", "EPRT !1!10.0.0.1!20002!\r\n", "EPRT |1|10.0.0.1|99999|\r\n",
        "PORT 10,0,0,1,0,0\r\n", "PORT 266,0,0,1,1,1\r\n", "PORT\r\n", "PORT 10,0,0,1,1,2,3\r\n", "XPORT 10,0,0,1,1,2\r\n",
    ):
        p.say("a", line)
        p.say("b", "200 ok\r\n")
    for line in ("227 no numbers\r\n", "227 10,1,0,2,7,7\r\n", "227 x 10,1,0,2,7,7", "\r\n", "229 (|||1234|)\r\n", "229 (||1234|)\r\n", "229 |||\r\n", "229 (|||12345|)\r\n"):
        p.say("b", line)
    yield p


def tftp(lab):
    for nat, v6 in ((None, False), ("snat", False), ("dnat", False), ("snat", True)):
        p = Play(lab, f"tftp: nat {nat}{', IPv6' if v6 else ''}", "tftp", UDP, 69, nat, v6)
        p.udp("a", 3000, 69, b"\0\1file\0octet\0")
        p.udp("b", 5555, 3000, b"\0\3\0\1data")
        p.udp("a", 3000, 5555, b"\0\4\0\1")
        p.udp("a", 3001, 69, b"\0\2file\0octet\0")
        p.udp("a", 3002, 69, b"\0\3")
        p.udp("a", 3003, 69, b"\0")
        yield p


def irc(lab):
    ip = struct.unpack("!I", socket.inet_aton(CLIENT))[0]
    public = struct.unpack("!I", socket.inet_aton(SNAT))[0]
    for nat in (None, "snat", "dnat"):
        p = Play(lab, f"irc: nat {nat}", "irc", TCP, 6667, nat)
        p.open()
        p.say("a", "NICK me\r\n")
        for command in ("SEND file", "CHAT chat", "MOVE x", "TSEND y", "SCHAT z"):
            p.say("a", f"PRIVMSG you :\x01DCC {command} {ip} 2500 99\x01\r\n")
        p.tcp("b", 7777, 2500, SYN)
        for line in (
            f"PRIVMSG you :\x01DCC SEND f {public} 2600 1\x01\r\n",
            f"PRIVMSG you :\x01DCC SEND f {ip + 1} 2601 1\x01\r\n",
            f"PRIVMSG you :\x01DCC SEND f {ip} 0 1\x01\r\n",
            f"PRIVMSG you :\x01DCC SEND f {ip}   2602 1\x01\r\n",
            f" \r\nprivmsg you :\x01DCC SEND f {ip} 2603\x01\r\n",
            f"PRIVMSG you :\x01DCC SEND f {ip + 4294967296} 2604\x01\n",
            f"PRIVMSG you : :\x01DCC SEND f {ip} 2605\x01\r\n",
            f"PRIVMSG you :hello, world, and more to read here\r\n",
            f"PRIVMSG you :\x01DCC NONE :\x01DCC SEND f {ip} 2606\x01\r\n",
            f"NOTICE you :\x01DCC SEND f {ip} 2607\x01\r\n",
            f"PRIVMSG you :\x01DCC SEND f {ip} 2608\x01",
            f"PRIVMSG you :\x01DCC SEND f {ip}\x01\r\n",
            f"PRIVMSG you :\x01DCC SEND {'f' * 40}\r\n",
        ):
            p.say("a", line)
        p.say("b", f"PRIVMSG you :\x01DCC SEND f {ip} 2700 1\x01\r\n")
        yield p


def amanda(lab):
    for nat, v6 in ((None, False), ("snat", False), ("dnat", False), ("snat", True)):
        p = Play(lab, f"amanda: nat {nat}{', IPv6' if v6 else ''}", "amanda", UDP, 10080, nat, v6)
        p.udp("a", 850, 10080, b"SERVICE sendbackup CONNECT DATA 1 \n")
        p.udp("b", 10080, 850, b"Amanda 2.5 REP HANDLE 1\nCONNECT DATA 1024 MESG 1025 INDEX 11026\nOPTIONS ;\n")
        p.tcp("a", 851, 1024, SYN)
        p.tcp("a", 852, 11026, SYN)
        for line in (b"CONNECT STATE 5\n", b"CONNECT DATA 0 MESG 7\n", b"CONNECT DATA 99999 MESG 123456\n", b"CONNECT DATA 12", b"CONNECT DATA \n", b"CONNECT MESG 1 DATA 2\n", b"CONNECT  DATA9\nDATA 5\n", b"x"):
            p.udp("b", 10080, 850, line)
        p.udp("b", 10080, 850, b"")
        yield p


def sane(lab):
    for nat, v6 in ((None, False), (None, True), ("snat", False)):
        p = Play(lab, f"sane: nat {nat}{', IPv6' if v6 else ''}", "sane", TCP, 6566, nat, v6)
        p.open()
        p.say("a", struct.pack("!II", 0, 0))
        p.say("b", struct.pack("!IHH", 0, 0, 1111))
        p.say("a", struct.pack("!II", 7, 0))
        p.say("b", struct.pack("!IHH", 0, 0, 40000) + bytes(4))
        p.tcp("a", 4001, 40000, SYN)
        for answer in (struct.pack("!IHH", 1, 0, 40001), struct.pack("!IHH", 0, 1, 40002), b"abc", struct.pack("!IHH", 0, 0, 40003)):
            p.say("a", struct.pack("!II", 7, 0))
            p.say("b", answer)
        p.say("a", struct.pack("!III", 7, 0, 0))
        p.say("b", struct.pack("!IHH", 0, 0, 40004))
        yield p


def pptp(lab):
    def control(kind, body, size):
        body = body + bytes(size - len(body))
        return struct.pack("!HHIHH", 12 + len(body), 1, 0x1A2B3C4D, kind, 0) + body

    start = control(1, struct.pack("!HH", 0x100, 0), 144)
    started = control(2, struct.pack("!HBB", 0x100, 1, 0), 144)
    for nat in (None, "snat", "dnat"):
        p = Play(lab, f"pptp: outgoing call, nat {nat}", "pptp", TCP, 1723, nat)
        p.open()
        p.say("a", control(7, struct.pack("!HH", 0x11, 1), 156))
        p.say("a", start)
        p.say("b", started)
        p.say("a", control(7, struct.pack("!HH", 0x11, 1), 156))
        asked = 0x11 if nat is None else 4000
        p.say("b", control(8, struct.pack("!HHBB", 0x22, asked + 1, 1, 0), 20))
        p.say("b", control(8, struct.pack("!HHBB", 0x22, asked, 1, 0), 20))
        p.say("b", control(8, struct.pack("!HHBB", 0x22, asked, 1, 0), 20))
        gre = lambda call: struct.pack("!HHHHI", 0x3001, 0x880B, 4, call, 1) + b"data"
        for side in "ab" if nat != "dnat" else "ba":
            p.send(side, GRE, gre(0x22 if side == "a" else asked))
        p.send("a", GRE, gre(0x22))
        p.send("a", GRE, gre(0x99))
        p.send("a", GRE, struct.pack("!HH", 0, 0x800) + bytes(20))
        p.say("a", control(15, struct.pack("!H", 0x22), 12))
        p.say("b", control(15, struct.pack("!H", asked), 12))
        p.say("a", control(12, struct.pack("!H", 0x11), 4))
        p.say("b", control(13, struct.pack("!H", 0x22), 136))
        p.say("a", control(3, b"\1", 4))
        p.say("b", control(4, b"\1", 4))
        yield p
        p = Play(lab, f"pptp: incoming call, nat {nat}", "pptp", TCP, 1723, nat)
        p.open()
        p.say("a", start)
        p.say("b", started)
        p.say("b", control(9, struct.pack("!HH", 0x33, 1), 208))
        p.say("a", control(10, struct.pack("!HHBB", 0x44, 0x33, 1, 0), 12))
        p.say("b", control(11, struct.pack("!HH", 0x44, 0), 16))
        p.send("b", GRE, gre(0x44))
        p.send("a", GRE, gre(0x33))
        p.say("b", control(14, struct.pack("!H", 0x44), 28))
        p.say("b", control(99, b"", 4))
        p.say("a", control(10, b"", 3))
        p.say("a", b"short")
        yield p


def snmp(lab):
    def ber(tag, *parts):
        body = b"".join(parts)
        return bytes([tag, len(body)]) + body if len(body) < 128 else bytes([tag, 0x81, len(body)]) + body

    def message(pdu, *values, version=1):
        bindings = b"".join(ber(0x30, ber(6, b"\x2b\6\1"), value) for value in values)
        return ber(0x30, ber(2, bytes([version])), ber(4, b"public"), ber(pdu, ber(2, b"\1"), ber(2, b"\0"), ber(2, b"\0"), ber(0x30, bindings)))

    client, public, server = (socket.inet_aton(a) for a in (CLIENT, SNAT, SERVER))
    for nat in (None, "snat", "dnat"):
        p = Play(lab, f"snmp: nat {nat}", "snmp", UDP, 161, nat)
        own = ber(0x40, client)
        p.udp("a", 3000, 161, message(0xA0, ber(5)))
        p.udp("b", 161, 3000, message(0xA2, own))
        p.udp("b", 161, 3000, message(0xA2, ber(2, b"\1"), own, ber(4, b"x"), own, ber(0x40, server), ber(0x43, b"\1\2"), ber(0x80)))
        p.udp("b", 161, 3000, message(0xA2, ber(0x40, public)))
        p.udp("a", 3000, 161, message(0xA3, own))
        p.udp("a", 3000, 161, message(0xA3, own, version=3))
        p.udp("b", 161, 3000, b"\x30\x03\x02\x01\x01")
        p.udp("b", 161, 3000, b"rubbish")
        p.udp("b", 161, 3000, message(0xA2, ber(0x40, b"\1\2\3")))
        yield p


def sdp(address, port, media="audio", extra="", own=None):
    kind = "IP6" if ":" in address else "IP4"
    lines = ["v=0", f"o=me 1 1 IN {kind} {address}", "s=-", f"c=IN {kind} {address}", "t=0 0", f"m={media} {port} RTP/AVP 0"]
    if own:
        lines.append(f"c=IN {kind} {own}")
    return "\r\n".join(lines) + "\r\n" + extra


def sip_message(first, headers, body=""):
    lines = [first] + headers + [f"Content-Length: {len(body)}"]
    return "\r\n".join(lines) + "\r\n\r\n" + body


def sip(lab):
    for transport, nat, v6 in (("UDP", None, False), ("UDP", "snat", False), ("UDP", "dnat", False), ("UDP", "snat", True), ("UDP", None, True), ("TCP", None, False), ("TCP", "snat", False), ("TCP", "dnat", True)):
        p = Play(lab, f"sip: {transport}, nat {nat}{', IPv6' if v6 else ''}", "sip", TCP if transport == "TCP" else UDP, 5060, nat, v6)
        uri = lambda address: f"[{address}]" if v6 else address
        client, server, to, back = uri(p.client), uri(p.server), uri(p.peer["a"]), uri(p.peer["b"])
        if transport == "TCP":
            p.open(5060)
            say = lambda side, message: p.say(side, message, 5060)
        else:
            say = lambda side, message: p.udp(side, 5060, 5060, message.encode("latin1"))

        def via(address, extra=""):
            return f"Via: SIP/2.0/{transport} {address}:5060;branch=z9{extra}"

        ids = ["Call-ID: 1@me", "Max-Forwards: 70"]
        say("a", sip_message(f"REGISTER sip:{to} SIP/2.0", [via(client, ";rport"), f"From: <sip:me@{to}>;tag=1", f"To: <sip:me@{to}>", "CSeq: 1 REGISTER", f"Contact: <sip:me@{client}:5060>;expires=3600", "Expires: 1800"] + ids))
        say("b", sip_message("SIP/2.0 100 Trying", [via(back, f";received={p.peer['b']};rport=5060"), "CSeq: 1 REGISTER"] + ids))
        say("b", sip_message("SIP/2.0 200 OK", [via(back, f";received={p.peer['b']};rport=5060"), "CSeq: 1 REGISTER", f"Contact: <sip:me@{back}:5060>;expires=600, <sip:other@{server}:5070>"] + ids))
        body = sdp(p.client, 40000)
        call = [f"From: \"Me\" <sip:me@{client}:5060>;tag=2", f"To: <sip:you@{to}:5060>"]
        say("a", sip_message(f"INVITE sip:you@{to}:5060 SIP/2.0", [via(client), "CSeq: 2 INVITE", f"Contact: <sip:me@{client}:5060>", "Content-Type: application/sdp"] + call + ids, body))
        answer = sdp(p.server, 50000, extra="m=video 50002 RTP/AVP 31\r\n")
        say("b", sip_message("SIP/2.0 180 Ringing", [via(back), "CSeq: 2 INVITE", f"Contact: <sip:you@{server}:5060>"] + ids))
        say("b", sip_message("SIP/2.0 200 OK", [via(back), "CSeq: 2 INVITE", f"Contact: <sip:you@{server}:5060>", "Content-Type: application/sdp"] + ids, answer))
        say("a", sip_message(f"ACK sip:you@{to}:5060 SIP/2.0", [via(client), "CSeq: 2 ACK"] + call + ids))
        p.udp("a", 40000, 50000, b"rtp")
        p.udp("b", 50001, 40001, b"rtcp")
        if nat != "snat":
            p.udp("b", 50002, 40002, b"video")
        # Again with other media, an address of its own, a port that is off, one that is wrong.
        for cseq, media in enumerate((sdp(p.client, 40010, own=p.client), sdp(p.client, 0, extra="m=audio 40020 RTP/AVP 0\r\n"), sdp(p.client, 40030, "image"), sdp(p.client, 40041), sdp(p.client, 700), sdp(p.client, 99999), sdp("fd00::99" if v6 else "10.0.0.99", 40050), sdp(p.client, 40060, "text", "m=video 40070 x\r\nm=audio 40072 x\r\nm=image 40074 x\r\nm=audio 40076 x\r\n"), "v=0\r\nm=audio 40080 RTP/AVP 0\r\n"), 3):
            say("a", sip_message(f"INVITE sip:you@{to}:5060 SIP/2.0", [via(client), f"CSeq: {cseq} INVITE", f"m: <sip:me@{client}:5060>", "Content-Type: application/sdp"] + call + ids, media))
        say("b", sip_message("SIP/2.0 486 Busy", [via(back), "CSeq: 10 INVITE"] + ids))
        say("b", sip_message("SIP/2.0 486 Busy", [via(back), "CSeq: 11 INVITE"] + ids))
        say("a", sip_message(f"UPDATE sip:you@{to}:5060 SIP/2.0", [via(client), "CSeq: 20 UPDATE"] + ids, sdp(p.client, 40100)))
        say("a", sip_message(f"BYE sip:you@{to}:5060 SIP/2.0", [via(client), "CSeq: 21 BYE"] + ids))
        for message in ("SIP/2.0 abc nothing\r\n\r\n", "SIP/2.0 200 no cseq\r\n\r\n", f"INVITE sip:{to} SIP/2.0\r\nno: cseq\r\n\r\n", "OPTIONS sip:x SIP/2.0\r\n\r\n", "\r\n\r\n", "keep-alive"):
            say("a", message)
        # Called by the registrar's side, and registered elsewhere.
        say("b", sip_message(f"INVITE sip:me@{back}:5060 SIP/2.0", [via(server), "CSeq: 30 INVITE", f"Contact: <sip:you@{server}:5060>"] + ids, sdp(p.server, 50100)))
        say("a", sip_message(f"REGISTER sip:{to} SIP/2.0", [via(client), "CSeq: 31 REGISTER", f"Contact: <sip:me@{client}:5071;transport={transport.lower()}>;expires=60"] + ids))
        say("b", sip_message("SIP/2.0 200 OK", [via(back), "CSeq: 31 REGISTER", f"Contact:\r\n <sip:me@{back}:5071>\r\n ;expires=0"] + ids))
        say("a", sip_message(f"REGISTER sip:{to} SIP/2.0", [via(client), "CSeq: 32 REGISTER", f"Contact: <sip:me@{client}:5060>;expires=60"] + ids))
        say("b", sip_message("SIP/2.0 401 No", [via(back), "CSeq: 32 REGISTER"] + ids))
        yield p
    p = Play(lab, "sip: telephone that sends from a high port", "sip", UDP, 5060, "snat")
    p.udp("a", 49152, 5060, sip_message("OPTIONS sip:10.1.0.2 SIP/2.0", ["Via: SIP/2.0/UDP 10.0.0.1:5060;branch=1", "CSeq: 1 OPTIONS"]).encode())
    p.udp("b", 5060, 49152, sip_message("SIP/2.0 200 OK", ["Via: SIP/2.0/UDP 10.0.0.1:5060;branch=1", "CSeq: 1 OPTIONS", "To: <sip:x@10.1.0.100:49152>"]).encode())
    yield p


def mutated(lab):
    """Messages with random bytes changed, taken out, doubled and moved: what exactly is still understood."""
    client, server, snat = CLIENT, SERVER, SNAT
    seeds = {
        ("sip", UDP, 5060): [
            sip_message(f"INVITE sip:you@{server}:5060 SIP/2.0", [f"Via: SIP/2.0/UDP {client}:5060;maddr={client};received={server};rport=5060", "CSeq: 2 INVITE", f"Contact: <sip:me@{client}:5060>,<sip:x@{client}:5060>", f"f: <sip:me@{client}:5060>", f"t: <sip:you@{server}:5060>"], sdp(client, 40000, own=client)),
            sip_message(f"REGISTER sip:{server} SIP/2.0", [f"Via: SIP/2.0/UDP {client}:5060", "CSeq: 1 REGISTER", f"Contact: <sip:me@{client}:5060;transport=udp>;expires=3600", "Expires: 60"]),
        ],
        ("amanda", UDP, 10080): ["REP\nCONNECT DATA 1024 MESG 1025 INDEX 11026 STATE 7\nOPTIONS ;\n"],
        ("tftp", UDP, 69): ["\0\1file\0octet\0"],
        ("irc", TCP, 6667): [f"PRIVMSG you :\x01DCC SEND file {struct.unpack('!I', socket.inet_aton(client))[0]} 2500 99\x01\r\n"],
        ("ftp", TCP, 21): [f"PORT {comma(client, 20000)}\r\n", f"EPRT |1|{client}|20001|\r\n"],
    }
    answers = {("ftp", TCP, 21): [f"227 Entering Passive Mode ({comma(server, 30000)})\r\n", "229 Extended (|||30001|)\r\n"]}
    for (helper, proto, port), texts in seeds.items():
        for nat in (None, "snat"):
            rng = random.Random(f"{helper} {nat}")
            p = Play(lab, f"{helper}: 60 mutated messages, nat {nat}", helper, proto, port, nat)
            if proto == TCP:
                p.open(5060)
                for side in "ba":
                    p.say(side, "hello\r\n", 5060)
            else:
                p.udp("a", 5060, port, b"hello")
            for i in range(60):
                side = "a"
                message = rng.choice(texts)
                if helper == "amanda":
                    side = "b"
                elif helper == "ftp" and rng.random() < 0.5:
                    side, message = "b", rng.choice(answers[helper, proto, port])
                message = mutate(rng, message)
                if proto == TCP:
                    p.say(side, message, 5060)
                    # A line that is dropped or cut leaves no end of line: the next begins one anyway.
                    if helper == "ftp" and not message.endswith("\n"):
                        p.say(side, "\r\n", 5060)
                else:
                    p.udp(side, *((5060, port) if side == "a" else (port, 5060)), message.encode("latin1"))
            yield p


def mutate(rng, text):
    for _ in range(rng.choice((0, 1, 1, 1, 2, 3, 6))):
        at = rng.randrange(len(text) + 1)
        size = rng.choice((1, 1, 1, 2, 5, 20))
        kind = rng.randrange(5)
        if kind == 0:
            text = text[:at] + rng.choice("0123456789:;,.@<>[]() \t\r\n|\x01aZ\xe9") + text[at + 1 :]
        elif kind == 1:
            text = text[:at] + text[at + size :]
        elif kind == 2:
            text = text[: at + size] + text[at:]
        elif kind == 3:
            text = text[:at] + rng.choice(("\r\n ", "\n", " ", ",", "99999", "::", "10.0.0.1", "sip:", "\x01DCC ")) + text[at:]
        else:
            text = text[:at] if rng.random() < 0.3 else text[:at] + text[at : at + size].swapcase() + text[at + size :]
        if not text:
            text = "x"
    return text


class Per:
    """Writes aligned packed encoding (X.691), bit by bit."""

    def __init__(self):
        self.bits_ = []

    def bits(self, *pairs):
        """Pairs of value and width."""
        for value, width in zip(pairs[::2], pairs[1::2]):
            self.bits_ += [value >> (width - 1 - i) & 1 for i in range(width)]
        return self

    def raw(self, data):
        """Aligned bytes."""
        self.bits_ += [0] * (-len(self.bits_) % 8)
        return self.bits(int.from_bytes(data, "big"), 8 * len(data)) if data else self

    def open(self, data):
        return self.raw(bytes([len(data)]) if len(data) < 128 else struct.pack("!H", 0x8000 | len(data))).raw(data)

    def oid(self):
        return self.raw(b"\x06\x00\x08\x91\x4a\x00\x04")

    def address(self, text, port):
        """TransportAddress of H.225.0."""
        if ":" in text:
            return self.bits(0, 1, 3, 3, 0, 1).raw(socket.inet_pton(socket.AF_INET6, text) + struct.pack("!H", port))
        return self.bits(0, 1, 0, 3).raw(socket.inet_aton(text) + struct.pack("!H", port))

    def addresses(self, *list):
        self.raw(bytes([len(list)]))
        for text, port in list:
            self.address(text, port)
        return self

    def media(self, text, port):
        """TransportAddress of H.245, unicast."""
        if ":" in text:
            return self.bits(0, 1, 0, 1, 0, 1, 2, 3, 0, 1).raw(socket.inet_pton(socket.AF_INET6, text) + struct.pack("!H", port))
        return self.bits(0, 1, 0, 1, 0, 1, 0, 3, 0, 1).raw(socket.inet_aton(text) + struct.pack("!H", port))

    def endpoint(self, full=False):
        """EndpointType: a terminal; or one with vendor, gateway and its protocols."""
        if not full:
            return self.bits(0, 1, 0b000001, 6, 0, 2, 0, 2)
        self.bits(0, 1, 0b010100, 6).vendor(True)
        self.bits(0, 1, 0b10, 2).raw(b"\x02").bits(0, 1, 5, 4, 0, 2, 0, 1, 8, 4, 0, 2)
        return self.bits(1, 1, 0, 1)

    def vendor(self, full=False):
        self.bits(0, 1, 0b11 if full else 0, 2, 0, 1).raw(b"\xb5\x00\x12\x34")
        return self.raw(b"\x03soft").raw(b"\x021.0") if full else self

    def aliases(self):
        self.raw(b"\x02").bits(0, 1, 0, 1, 3, 7).raw(b"\x45\x67")
        return self.bits(0, 1, 1, 1).raw(b"\x01\0m\0e")

    def name(self):
        """GatekeeperIdentifier, EndpointIdentifier."""
        return self.bits(1, 7).raw(b"\0g\0k")

    def extensions(self, known, parts):
        """Bitmap of `known` extensions and those that are there, by number."""
        self.bits(known - 1, 7)
        for i in range(known):
            self.bits(1 if i in parts else 0, 1)
        self.raw(b"")
        for i in sorted(parts):
            self.open(parts[i])
        return self

    @property
    def data(self):
        bits = self.bits_ + [0] * (-len(self.bits_) % 8)
        return bytes(int("".join(map(str, bits[i : i + 8])), 2) for i in range(0, len(bits), 8))


def ras(number):
    return Per().bits(0, 1, number, 5)


def grq(at):
    return ras(0).bits(0, 1, 0, 4).raw(b"\0\1").oid().address(*at).endpoint().data


def gcf(at):
    return ras(1).bits(0, 1, 0b01, 2).raw(b"\0\1").oid().name().address(*at).data


def rrq(calls, own, life=None, full=False, more=True):
    m = ras(3).bits(1 if life else 0, 1, 0b011 if full else 0, 3).raw(b"\0\2").oid().bits(1, 1)
    m.addresses(*calls).addresses(*own).endpoint(full)
    if full:
        m.aliases().name()
    m.vendor(full)
    if life:
        parts = {1: seconds(life)}
        if more:
            parts[5] = b"\x80"
            parts[6] = b"\x02\0a\0b"
        m.extensions(12, parts)
    return m.data


def seconds(value):
    size = max(1, (value - 1).bit_length() + 7 >> 3)
    return Per().bits(size - 1, 2).raw((value - 1).to_bytes(size, "big")).data


def rcf(calls, life=None, more=True):
    m = ras(4).bits(1 if life else 0, 1, 0, 3).raw(b"\0\2").oid().addresses(*calls).name()
    if life:
        m.extensions(7, {1: seconds(life), 5: b"\x80"} if more else {1: seconds(life)})
    return m.data


def urq(calls):
    return ras(6).bits(0, 1, 0b001, 3).raw(b"\0\3").addresses(*calls).name().data


def arq(called=None, caller=None):
    m = ras(9).bits(0, 1, 0b0100000 | (0b0010000 if called else 0) | (0b0000100 if caller else 0), 7).raw(b"\0\4").bits(0, 1, 0, 2).name().aliases()
    if called:
        m.address(*called)
    m.aliases()
    if caller:
        m.address(*caller)
    return m.bits(1, 2).raw(b"\x05\0").raw(b"\0\7").raw(bytes(16)).bits(0, 2).data


def acf(at):
    return ras(10).bits(0, 1, 0, 2).raw(b"\0\4").bits(1, 2).raw(b"\x05\0").bits(0, 1, 1, 1).address(*at).data


def lrq(at):
    return ras(18).bits(0, 1, 0, 2).raw(b"\0\5").aliases().address(*at).data


def lcf(call, own):
    return ras(19).bits(0, 1, 0, 1).raw(b"\0\5").address(*call).address(*own).data


def irr(own, calls):
    return ras(22).bits(0, 1, 0, 3).raw(b"\0\6").endpoint().name().address(*own).addresses(*calls).data


def q931(kind, information, reference=b"\x12\x34"):
    element = b"\x05" + information
    body = b"\x08" + bytes([len(reference)]) + reference + bytes([kind]) + b"\x04\x03\x88\xc0\xa5" + b"\x7e" + struct.pack("!H", len(element)) + element
    return tpkt(body)


def tpkt(body):
    return struct.pack("!BBH", 3, 0, 4 + len(body)) + body


def uuie(number, message, control=(), extended=False):
    """H323-UserInformation; `message` writes the body."""
    m = Per().bits(0, 1, 0, 1, 1 if control else 0, 1, 0, 1)
    if extended:
        m.bits(1, 1, number, 7).open(message(Per()).data)
    else:
        message(m.bits(0, 1, number, 3))
    if control:
        m.extensions(3, {1: b"\x80", 2: control_list(control)})
    return m.data


def control_list(items):
    m = Per().raw(bytes([len(items)]))
    for item in items:
        m.open(item)
    return m.data


def setup(control=None, called=None, caller=None, fast=(), full=False):
    def write(m):
        extended = bool(caller or fast)
        m.bits(1 if extended else 0, 1, (1 if control else 0) << 6 | (0b0110100 if full else 0) | (0b0001000 if called else 0) | (1 if full else 0), 7).oid()
        if control:
            m.address(*control)
        if full:
            m.aliases()
        m.endpoint(full)
        if full:
            m.aliases()
        if called:
            m.address(*called)
        if full:
            m.aliases()
        m.bits(0, 1).raw(bytes(16)).bits(0, 1, 0, 2)
        if full:
            m.bits(0, 1, 0b1010101, 7, 0, 1, 0b11, 2)
        m.bits(0, 1, 0, 2)
        if extended:
            parts = {2: b"\0" + bytes(16), 7: b"\x80"}
            if caller:
                parts[0] = Per().address(*caller).data
            if fast:
                parts[6] = control_list(fast)
            m.extensions(9, parts)
        return m

    return write


def plain(control, fast=(), middle=None):
    """CallProceeding, Alerting (endpoint first) and Connect."""

    def write(m):
        m.bits(1 if fast else 0, 1, 1 if control else 0, 1).oid()
        if middle is None:
            m.endpoint()
        if control:
            m.address(*control)
        if middle is not None:
            m.endpoint().raw(middle)
        if fast:
            m.extensions(6, {0: b"\0" + bytes(16), 4: control_list(fast)})
        return m

    return write


def facility(reason, alternative=None, control=None, fast=()):
    def write(m):
        m.bits(1 if control or fast else 0, 1, (1 if alternative else 0) << 2, 3).oid()
        if alternative:
            m.address(*alternative)
        if reason < 4:
            m.bits(0, 1, reason, 2)
        else:
            m.bits(1, 1, reason - 4, 7).open(b"")
        parts = {0: b"\0" + bytes(16)}
        if control:
            parts[6] = Per().address(*control).data
        if fast:
            parts[7] = control_list(fast)
        if control or fast:
            m.extensions(9, parts)
        return m

    return write


def progress(control=None, fast=(), secured=False):
    def write(m):
        m.bits(0, 1, (1 if control else 0) << 4 | (0b01110 if secured else 0) | (1 if fast else 0), 5).oid().endpoint()
        if control:
            m.address(*control)
        m.bits(0, 1).raw(bytes(16))
        if secured:
            m.bits(0, 1, 2, 2, 0, 1, 0, 1).bits(*(0, 1, 1, 2) * 3)
            m.raw(b"\1").bits(0, 1, 0b11011100, 8).oid().bits(3, 2).raw(b"\1\2\3\4").bits(0, 7).raw(b"\0p").bits(5, 7).raw(bytes(13)).raw(b"\2\7\7").bits(0, 1).oid().open(b"cert")
            m.raw(b"\2").bits(0, 1, 0, 3).bits(0, 1, 0, 1, 0, 7).raw(b"\x10").bits(0, 2).raw(b"\7").oid().bits(0, 1, 0, 2).raw(b"\x0c").bits(0xABC, 12)
            m.bits(0, 1, 7, 3, 0, 1, 3, 2).oid().bits(0, 1, 0b10, 2).raw(b"\1\5").open(b"secret")
        if fast:
            m.raw(control_list(fast))
        return m

    return write


def channel_parameters(m, media=None, rtcp=None, silence=False):
    """H2250LogicalChannelParameters."""
    m.bits(0, 1, (1 if media else 0) << 7 | (1 if rtcp else 0) << 5 | (1 if silence else 0) << 3, 10).raw(b"\1")
    if media:
        m.media(*media)
    if rtcp:
        m.media(*rtcp)
    return m.bits(1, 1) if silence else m


def audio(m):
    return m.bits(0, 1, 3, 3, 0, 1, 1, 4).raw(b"\x13")


def video(m):
    m.bits(0, 1, 2, 3, 0, 1, 1, 3, 0, 1, 0b11, 2, 1, 2, 1, 2, 0, 1).raw(b"\x12\x34")
    return m.bits(0, 1)


def olc(media=None, rtcp=None, reverse=None, stack=None, kind=audio, silence=False):
    """OpenLogicalChannel, as fastStart has it."""
    m = Per().bits(1 if stack else 0, 1, 1 if reverse else 0, 1).raw(b"\0\x64").bits(0, 1, 0, 1)
    kind(m)
    if media or rtcp:
        m.bits(1, 1, 0, 7).open(channel_parameters(Per(), media, rtcp, silence).data)
    else:
        m.bits(1, 1, 1, 7).open(b"")
    if reverse:
        m.bits(0, 1, 1, 1)
        audio(m).bits(1, 1, 0, 7).open(channel_parameters(Per(), *reverse).data)
    if stack:
        m.extensions(1, {0: separate(stack)})
    return m.data


def separate(stack):
    return Per().bits(0, 1, 0b10, 2, 0, 1, 0, 1, 0, 1, 2, 2).media(*stack).bits(0, 1).data


def t120(m):
    return m.bits(0, 1, 4, 3, 0, 1, 0, 1, 1, 4, 1, 1, 3, 7).open(b"").bits(2, 2).raw(b"\1\0\0")


def h245_open(*args, **named):
    return Per().bits(0, 1, 0, 2, 0, 1, 3, 4).raw(olc(*args, **named)).data


def h245_ack(media=None, rtcp=None, reverse=None, stack=None):
    m = Per().bits(0, 1, 1, 2, 0, 1, 5, 5).bits(1, 1, 1 if reverse else 0, 1).raw(b"\0\x64")
    if reverse:
        m.bits(0, 1, 0b01, 2).raw(b"\0\x65").bits(1, 1, 0, 7).open(channel_parameters(Per(), *reverse).data)
    ack = Per().bits(0, 1, 0, 1, 0b01000 | (1 if media else 0) << 2 | (1 if rtcp else 0) << 1, 5, 0, 8)
    if media:
        ack.media(*media)
    if rtcp:
        ack.media(*rtcp)
    parts = {1: ack.data}
    if stack:
        parts[0] = separate(stack)
    return m.extensions(2, parts).data


SETUP, PROCEEDING, CONNECT, ALERTING, FACILITY, PROGRESS = 0x05, 0x02, 0x07, 0x01, 0x62, 0x03


def h323_ras(lab):
    for nat, v6 in ((None, False), ("snat", False), ("dnat", False), (None, True), ("snat", True)):
        p = Play(lab, f"h323: registration, nat {nat}{', IPv6' if v6 else ''}", "RAS", UDP, 1719, nat, v6)
        client, server, to, back = p.client, p.server, p.peer["a"], p.peer["b"]
        other = THIRD6 if v6 else THIRD
        loop = "::1" if v6 else "127.0.0.1"
        a = lambda message: p.udp("a", 3000, 1719, message)
        b = lambda message: p.udp("b", 1719, 3000, message)
        a(grq((client, 3000)))
        b(gcf((server, 1719)))
        b(gcf((server, 1729)))
        b(gcf((other, 1719)))
        a(rrq([(client, 1720)], [(client, 3000)]))
        b(rcf([(back, 1720)]))
        b(rcf([(back, 1720)], 500))
        a(rrq([(client, 1720)], [(client, 3000)], 1000, True))
        a(rrq([(client, 1720)], [(client, 3000)], 70000, more=False))
        b(rcf([(back, 1720)], 70, more=False))
        b(rcf([(back, 1720)], 66))
        a(rrq([(loop, 1720), (client, 1721)], [(client, 3001), (client, 3000)], 60))
        b(rcf([(loop, 1), (back, 1721)]))
        a(arq((client, 1721)))
        a(arq((client, 1), (client, 1721)))
        a(arq(None, (client, 4444)))
        a(arq((server, 1720), (server, 1)))
        a(irr((client, 3000), [(loop, 5), (client, 1721)]))
        a(lrq((client, 3000)))
        a(urq([(client, 1721)]))
        b(acf((server, 1720)))
        b(acf((back, 1720)))
        b(acf((other, 1722)))
        b(lcf((other, 1723), (server, 1719)))
        p.tcp("a", 4001, 1722, SYN)
        a(rrq([(other, 1720)], [(other, 3000)]))
        a(rrq([], []))
        a(rrq([(client, 0)], [(client, 0)]))
        for cut in (1, 2, 9, 20, 33, 40):
            a(rrq([(client, 1724)], [(client, 3000)], 90)[:-cut])
        b(b"\x12\0\0")
        a(b"\x80\0")
        a(b"")
        yield p


def h323_call(lab):
    for nat, v6 in ((None, False), ("snat", False), ("dnat", False), (None, True), ("snat", True)):
        v = ", IPv6" if v6 else ""
        p = Play(lab, f"h323: call, nat {nat}{v}", "Q.931", TCP, 1720, nat, v6)
        client, server, to, back = p.client, p.server, p.peer["a"], p.peer["b"]
        other = THIRD6 if v6 else THIRD
        p.open()
        fast = [olc((client, 5000), (client, 5001)), olc(None, (client, 5003), ((client, 5002), (client, 5003)), kind=video), olc((client, 5005), silence=True)]
        p.say("a", q931(SETUP, uuie(0, setup((client, 6000), (to, 1720), (client, 4000), fast))))
        p.say("a", q931(SETUP, uuie(0, setup(None, (other, 5), (other, 6), [olc((client, 5010), (client, 5011))], full=True))))
        p.say("b", q931(PROCEEDING, uuie(1, plain((server, 6100)))))
        p.say("b", q931(ALERTING, uuie(3, plain((server, 6100), [olc((server, 5100), (server, 5101))]))))
        p.say("b", q931(CONNECT, uuie(2, plain((server, 6101), [olc((server, 5102), (server, 5103))], middle=bytes(16)))))
        p.tcp("a", 4500, 6101, SYN)
        p.tcp("b", 6101, 4500, SYN | ACK)
        p.tcp("a", 4500, 6101, ACK)
        # What comes on this connection is not recorded: here its helper is called, in a datapath it is not.
        say = lambda side, *signals: p.say(side, q931(FACILITY, uuie(6, facility(3), signals)))
        say("a", h245_open((client, 5200), (client, 5201)))
        say("a", h245_open(None, (client, 5203)), b"\x00\x01", h245_open((client, 5204)))
        say("b", h245_ack((server, 5300), (server, 5301)))
        say("b", h245_ack(None, (server, 5303), ((server, 5304), None)))
        say("a", h245_open(kind=t120, stack=(client, 1503)))
        say("b", h245_ack(stack=(server, 1503)))
        p.tcp("a", 4600, 1503, SYN)
        if not (nat and v6):
            p.tcp("b", 4600, 1503, SYN)
        say("a", *[h245_open((client, 5206 + 2 * i)) for i in range(6)])
        p.udp("a", 5000, 5100, b"rtp")
        if not (nat and v6):
            p.udp("b", 5101, 5001, b"rtcp")
        p.say("b", q931(PROGRESS, uuie(0, progress((server, 6102), [olc((server, 5106), (server, 5107))], True), extended=True)))
        p.say("b", q931(PROGRESS, uuie(0, progress((server, 6103)), extended=True)))
        p.say("a", q931(FACILITY, uuie(6, facility(5, None, (client, 6001), [olc((client, 5020), (client, 5021))]))))
        p.say("b", q931(FACILITY, uuie(6, facility(1, (other, 1720)))))
        p.say("b", q931(FACILITY, uuie(6, facility(2, (other, 1721)))))
        p.say("b", q931(FACILITY, uuie(6, facility(1, (client, 1722)))))
        p.say("b", q931(FACILITY, uuie(6, facility(1, ("fd00::9" if v6 else "10.0.0.9", 1723)))))
        p.say("a", q931(FACILITY, uuie(6, facility(3), [h245_open((client, 5030), (client, 5031)), h245_ack((client, 5032))])))
        p.tcp("a", 4700, 1720, SYN)
        yield p
        p = Play(lab, f"h323: odd calls, nat {nat}{v}", "Q.931", TCP, 1720, nat, v6)
        p.open()
        good = q931(SETUP, uuie(0, setup((client, 6000), None, None, [olc((client, 5000), (client, 5001))])))
        for cut in (1, 3, 8, 20, 31, 60):
            p.say("a", tpkt(good[4:-cut]))
        p.say("a", b"\x03\0\0\4" + good)
        p.say("a", good[:3])
        p.say("a", good[:4])
        p.say("a", good[4:] + b"trailing")
        p.say("a", q931(SETUP, uuie(0, setup((other, 6000), None, None, [olc((other, 5000), (other, 5001))]))))
        p.say("a", q931(SETUP, uuie(0, setup((client, 0), None, None, [olc((client, 1), (client, 0))]))))
        p.say("a", tpkt(b"\x09" + good[5:]))
        p.say("a", tpkt(b"\x08\x02\0\0\x05\x7e\0\0"))
        p.say("a", tpkt(b"\x08\x02\0\0\x05\x7e\0\1\x05"))
        p.say("a", tpkt(b"\x08\xff"))
        p.say("a", q931(SETUP, uuie(0, setup((client, 6010), None, None, [olc((client, 5100 + 2 * i)) for i in range(12)]))))
        p.say("b", q931(CONNECT, uuie(2, plain((client, 6000), middle=bytes(16)))))
        yield p


def h323_mutated(lab):
    """Messages with random bits changed, cut and longer."""
    for helper, proto, port in (("RAS", UDP, 1719), ("Q.931", TCP, 1720)):
        for nat in (None, "snat"):
            rng = random.Random(f"{helper} {nat}")
            p = Play(lab, f"h323: 120 mutated messages of {helper}, nat {nat}", helper, proto, port, nat)
            c, s = CLIENT, SERVER
            if proto == TCP:
                p.open(5060)
                seeds = [
                    q931(SETUP, uuie(0, setup((c, 6000), (s, 1720), (c, 5060), [olc((c, 5000), (c, 5001)), olc((c, 5002), silence=True, kind=video)], full=True))),
                    q931(CONNECT, uuie(2, plain((c, 6001), [olc((c, 5004), None, ((c, 5006), (c, 5007)))], middle=bytes(16)), [h245_open((c, 5008)), h245_open(kind=t120, stack=(c, 1503))])),
                    q931(PROGRESS, uuie(0, progress((c, 6002), [olc((c, 5010))], True), extended=True)),
                    q931(FACILITY, uuie(6, facility(5, None, (c, 6003), [olc((c, 5012))]), [h245_ack((c, 5014), (c, 5015), ((c, 5016), None))])),
                ]
            else:
                seeds = [rrq([(c, 1720), (c, 1721)], [(c, 3000), (c, 5060)], 90, True), gcf((c, 1800)), acf((s, 1720)), acf((c, 1723)), lcf((c, 1724), (c, 1719)), irr((c, 5060), [(c, 1720)]), arq((c, 1720), (c, 1725)), grq((c, 5060))]
            for _ in range(120):
                message = bytearray(rng.choice(seeds))
                for _ in range(rng.choice((0, 1, 1, 1, 2, 3))):
                    at = rng.randrange(4 if proto == TCP else 0, len(message))
                    kind = rng.randrange(6)
                    if kind < 3:
                        message[at] ^= 1 << rng.randrange(8)
                    elif kind == 3:
                        message[at] = rng.randrange(256)
                    elif kind == 4:
                        del message[at : at + rng.choice((1, 2, 4))]
                    else:
                        message[at:at] = rng.randbytes(rng.choice((1, 2, 4)))
                    if len(message) < 6:
                        break
                if proto == TCP:
                    message[2:4] = struct.pack("!H", len(message))
                    p.say("a", bytes(message), 5060)
                else:
                    p.udp("a", 5060, port, bytes(message))
            yield p


GENERATORS = [ftp, tftp, irc, amanda, sane, pptp, snmp, sip, mutated, h323_ras, h323_call, h323_mutated]


def main():
    target = sys.argv[1] if len(sys.argv) > 1 else os.path.join(os.path.dirname(__file__), "../../test/fixtures/helpers-6.18.json.gz")
    lab = Lab()
    plays = []
    try:
        wanted = sys.argv[2:]
        for generator in GENERATORS:
            if wanted and generator.__name__ not in wanted:
                continue
            for play in generator(lab):
                plays.append(play.record)
    finally:
        lab.close()
    text = json.dumps({"kernel": os.uname().release, "plays": plays}, separators=(",", ":"))
    with open(target, "wb") as raw, gzip.GzipFile("", "wb", 9, raw, mtime=0) as file:
        file.write(text.encode())
    print(f"{len(plays)} dialogues, {sum(len(play['steps']) for play in plays)} packets")


if __name__ == "__main__":
    main()
