#!/usr/bin/env python3
"""Records test/fixtures/ctnetlink-6.18.json.gz: requests of NETLINK_NETFILTER and what the running kernel answers.

In a network namespace of its own, random requests of the subsystems conntrack, expectations and timeout policies are sent,
with attributes drawn from small pools so that many hit what is there; noted are errno, the answers, and the events of all
groups. Root; nothing outside that namespace is touched.

usage: ctnetlink.py [FILE [SEED [SCRIPTS [REQUESTS]]]]
"""
import ctypes
import gzip
import json
import os
import random
import socket
import struct
import subprocess
import sys

NESTED = 0x8000
REQUEST, ACK, ECHO, DUMP, EXCL, CREATE, REPLACE = 1, 4, 8, 0x300, 0x200, 0x400, 0x100
IPV4, IPV6 = 2, 10


def attr(kind, payload):
    data = struct.pack("=HH", 4 + len(payload), kind) + payload
    return data + bytes(-len(data) % 4)


def nest(kind, *parts, flag=NESTED):
    return attr(kind | flag, b"".join(parts))


def be32(kind, value):
    return attr(kind, struct.pack("!I", value & 0xFFFFFFFF))


def be16(kind, value):
    return attr(kind, struct.pack("!H", value & 0xFFFF))


def u8(kind, value):
    return attr(kind, bytes([value & 255]))


def ip(*addresses, mask=False):
    v6 = ":" in addresses[0]
    base = 3 if v6 else 1
    family = socket.AF_INET6 if v6 else socket.AF_INET
    return nest(1, *(attr(base + i, socket.inet_pton(family, a)) for i, a in enumerate(addresses)))


def tuple_(kind, src, dst, proto, a, b, zone=None):
    if proto in (1, 58):
        base = 4 if proto == 1 else 7
        l4 = [u8(1, proto), be16(base, a), u8(base + 1, b >> 8), u8(base + 2, b & 255)]
    elif proto in (6, 17, 132, 136, 47, 33):
        l4 = [u8(1, proto), be16(2, a), be16(3, b)]
    else:
        l4 = [u8(1, proto)]
    parts = [ip(src, dst), nest(2, *l4)]
    if zone is not None:
        parts.append(be16(3, zone))
    return nest(kind, *parts)


class Generator:
    def __init__(self, rng):
        self.rng = rng

    def flow(self):
        """(family, proto, original, reply) from a small pool."""
        rng = self.rng
        v6 = rng.random() < 0.25
        proto = rng.choice((6, 6, 17, 17, 58 if v6 else 1, 132, 47, 99))
        a, b = (("fd00::1", "fd00::2") if v6 else ("10.0.0.1", "10.0.0.2"))
        x, y = rng.choice((1000, 1001)), 2000
        if proto in (1, 58):
            request, answer = (0x800, 0) if proto == 1 else (0x8000, 0x8100)
            return (IPV6 if v6 else IPV4), proto, (a, b, proto, x, request), (b, a, proto, x, answer)
        if proto == 99:
            x = y = 0
        reply = (b, a, proto, y, x)
        if rng.random() < 0.1:
            reply = (b, "fd00::9" if v6 else "10.0.0.9", proto, y, x)
        return (IPV6 if v6 else IPV4), proto, (a, b, proto, x, y), reply

    def maybe(self, chance, value):
        return value() if self.rng.random() < chance else b""

    def labels(self, kind):
        rng = self.rng
        return attr(kind, bytes(rng.choice((0, 0, 1, 255)) for _ in range(rng.choice((16, 16, 16, 8, 4, 3, 0, 20)))))

    def protoinfo(self, proto):
        rng = self.rng
        kind = {6: 1, 132: 3}.get(proto, 1)
        if rng.random() < 0.1:
            kind = rng.choice((1, 2, 3))
        if kind == 3:
            inner = self.maybe(0.8, lambda: u8(1, rng.randrange(9))) + self.maybe(0.8, lambda: be32(2, 7)) + self.maybe(0.8, lambda: be32(3, 8))
        else:
            inner = self.maybe(0.8, lambda: u8(1, rng.randrange(10)))
            inner += self.maybe(0.3, lambda: u8(2, rng.choice((0, 7, 14, 20)))) + self.maybe(0.3, lambda: u8(3, 3))
            inner += self.maybe(0.4, lambda: attr(4, bytes((rng.randrange(64), 0xFF)))) + self.maybe(0.4, lambda: attr(5, bytes((rng.randrange(64), 0x0F))))
        return nest(4, nest(kind, inner))

    def status(self):
        rng = self.rng
        return rng.choice((0, 8, 8, 0xA, 0xE, 0xC, 0x400, 0x408, 1, 9, 0x200, 0x1C0, 0x2008, 0x18E, 0xFFFFFFFF))

    def connection(self):
        """A request of subsystem 1: (type, flags, family, version, attributes)."""
        rng = self.rng
        family, proto, original, reply = self.flow()
        zone = lambda: be16(18, rng.choice((0, 0, 5, 5, 7)))
        command = rng.choice((0, 0, 0, 0, 1, 1, 1, 2, 3, 5))
        flags = ACK | rng.choice((0, 0, ECHO))
        version = 0
        tuples = self.maybe(0.92, lambda: tuple_(1, *original, zone=rng.choice((None,) * 8 + (0, 5)))) + self.maybe(0.7, lambda: tuple_(2, *reply))
        body = tuples + self.maybe(0.4, zone)
        if command == 0:
            flags |= rng.choice((CREATE, CREATE, CREATE, CREATE | EXCL, 0, 0, EXCL))
            body += self.maybe(0.85, lambda: be32(7, rng.choice((60, 600, 3000, 0xFFFFFFFF))))
            body += self.maybe(0.3, lambda: be32(3, self.status()))
            body += self.maybe(0.3, lambda: self.protoinfo(proto))
            body += self.maybe(0.3, lambda: be32(8, rng.choice((0, 1, 0xFF00))) + self.maybe(0.4, lambda: be32(21, rng.choice((0xFF, 0xFFFF)))))
            body += self.maybe(0.25, lambda: self.labels(22) + self.maybe(0.4, lambda: self.labels(23)))
            body += self.maybe(0.3, lambda: nest(5, self.maybe(0.95, lambda: attr(1, rng.choice((b"ftp\0", b"tftp\0", b"sip\0", b"irc\0", b"none\0", b"\0", b"ftp", b"averylonghelpername\0", b"pptp\0")))), self.maybe(0.2, lambda: attr(2, b""))))
            body += self.maybe(0.08, lambda: tuple_(14, *self.flow()[2]))
            body += self.maybe(0.1, lambda: nest(rng.choice((15, 16)), self.maybe(0.9, lambda: be32(1, 100)), self.maybe(0.9, lambda: be32(2, 5)), self.maybe(0.9, lambda: be32(3, 10))))
            body += self.maybe(0.04, lambda: nest(rng.choice((6, 13)), attr(1, socket.inet_aton("10.0.0.77"))))
        elif command in (1, 3):
            if rng.random() < 0.6:
                flags = flags & ~ACK | DUMP
                body = self.filters()
                if rng.random() < 0.5:
                    family = 0
        elif command == 2:
            if rng.random() < 0.15:
                body = self.filters()
                version = rng.choice((0, 0, 1))
                if rng.random() < 0.5:
                    family = 0
        return 0x100 | command, flags, family, version, body

    def filters(self):
        rng = self.rng
        body = self.maybe(0.3, lambda: be16(18, rng.choice((0, 5, 9))))
        body += self.maybe(0.3, lambda: be32(8, rng.choice((0, 1, 0xFF00)))) + self.maybe(0.2, lambda: be32(21, rng.choice((0xFF, 0xFFFFFFFF, 0))))
        body += self.maybe(0.2, lambda: be32(3, rng.choice((8, 0, 0xA)))) + self.maybe(0.15, lambda: be32(26, rng.choice((8, 0xFFFFFFFF, 0))))
        if rng.random() < 0.3:
            _, _, original, reply = self.flow()
            flags = lambda: struct.pack("=I", rng.choice((0, 3, 1, 2, 8, 0x3B, 0x38, 0x10, 0xFFF, 0x1000, 0x1C0, 4, 0x3F)))
            body += self.maybe(0.9, lambda: tuple_(1, *original)) + self.maybe(0.6, lambda: tuple_(2, *reply))
            body += nest(25, self.maybe(0.9, lambda: attr(1, flags())), self.maybe(0.5, lambda: attr(2, flags())), self.maybe(0.05, lambda: attr(3, b"")), flag=rng.choice((NESTED,) * 9 + (0,)))
        return body

    def expectation(self):
        rng = self.rng
        family, proto, original, reply = self.flow()
        if rng.random() < 0.8:
            family, proto = IPV4, 6
            original, reply = ("10.0.0.1", "10.0.0.2", 6, 1000, 2000), ("10.0.0.2", "10.0.0.1", 6, 2000, 1000)
        command = rng.choice((0, 0, 0, 0, 1, 1, 2, 3))
        flags = ACK | rng.choice((0, ECHO))
        v6 = family == IPV6
        any_, full = ("::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff") if v6 else ("0.0.0.0", "255.255.255.255")
        if proto not in (6, 17, 132):
            proto = 6
        peer = "fd00::2" if v6 else "10.0.0.2"
        to = "fd00::1" if v6 else "10.0.0.1"
        port = rng.choice((5000, 5001, 5002))
        expect = self.maybe(0.92, lambda: tuple_(2, rng.choice((peer, any_)), to, proto, rng.choice((0, 0, 20)), port))
        body = expect + self.maybe(0.2, lambda: be16(7, rng.choice((0, 5))))
        if command == 0:
            flags |= rng.choice((CREATE, CREATE, CREATE, CREATE | EXCL, 0))
            body += self.maybe(0.95, lambda: tuple_(3, rng.choice((full, any_, full)), full, proto, rng.choice((0, 65535)), 65535))
            body += self.maybe(0.95, lambda: tuple_(1, *original))
            body += self.maybe(0.6, lambda: be32(4, rng.choice((50, 100))))
            body += self.maybe(0.3, lambda: be32(8, rng.choice((0, 1, 2, 3, 4, 7, 16))))
            body += self.maybe(0.2, lambda: be32(9, rng.choice((0, 1, 4))))
            body += self.maybe(0.2, lambda: nest(10, self.maybe(0.9, lambda: be32(1, rng.choice((0, 1, 2)))), self.maybe(0.9, lambda: tuple_(2, "fd00::7" if v6 else "10.0.0.7", any_, proto, 77, 0))))
            body += self.maybe(0.2, lambda: attr(11, rng.choice((b"nat-follow-master\0", b"sip\0", b"none\0", b"sip"))))
            body += self.maybe(0.1, lambda: attr(6, b"ftp\0"))
        elif command == 1:
            if rng.random() < 0.6:
                flags = flags & ~ACK | DUMP
                body = self.maybe(0.4, lambda: tuple_(1, *original))
                if body and rng.random() < 0.9:
                    flags |= ACK
            else:
                body += self.maybe(0.2, lambda: tuple_(1, *original))
        elif command == 2 and rng.random() < 0.3:
            body = self.maybe(0.7, lambda: attr(6, rng.choice((b"ftp\0", b"sip\0", b"x\0"))))
        elif command == 3:
            flags = flags & ~ACK | DUMP
        return 0x200 | command, flags, family, 0, body

    def timeout(self):
        rng = self.rng
        command = rng.choice((0, 0, 0, 1, 1, 2, 3, 4))
        flags = ACK
        proto = rng.choice((6, 17, 1, 58, 132, 136, 47, 99, 255))
        body = self.maybe(0.9, lambda: attr(1, rng.choice((b"a\0", b"b\0", b"c\0", b"x" * 31 + b"\0", b"x" * 32 + b"\0", b"a"))))
        if command in (0, 3, 4):
            body += self.maybe(0.95, lambda: be16(2, rng.choice((2, 10)))) + self.maybe(0.95, lambda: u8(3, proto))
            body += self.maybe(0.95, lambda: nest(4, *(be32(rng.randrange(13), rng.choice((1, 77, 100000))) for _ in range(rng.randrange(5)))))
        if command == 0:
            flags |= rng.choice((CREATE, CREATE | REPLACE, CREATE | EXCL, 0, REPLACE))
        if command == 1 and rng.random() < 0.5:
            flags, body = DUMP, b""
        if command == 2 and rng.random() < 0.1:
            body = b""
        return 0x800 | command, flags, 0, 0, body

    def masters(self):
        """Connections that expectations can belong to."""
        for zone, helper in ((0, b"ftp\0"), (5, b"sip\0")):
            original, reply = ("10.0.0.1", "10.0.0.2", 6, 1000, 2000), ("10.0.0.2", "10.0.0.1", 6, 2000, 1000)
            body = tuple_(1, *original) + tuple_(2, *reply) + be16(18, zone) + be32(7, 600) + nest(5, attr(1, helper))
            yield 0x100, ACK | CREATE, IPV4, 0, body

    def request(self):
        kind = self.rng.random()
        one = self.connection() if kind < 0.6 else self.expectation() if kind < 0.85 else self.timeout()
        if self.rng.random() < 0.03:
            body = bytearray(one[4])
            if body:
                body[self.rng.randrange(len(body))] = self.rng.randrange(256)
            one = (*one[:4], bytes(body))
        return one


class Kernel:
    def __init__(self):
        name = f"nkc{os.getpid()}"
        self.name = name
        subprocess.run(["ip", "netns", "add", name], check=True)
        with open(f"/run/netns/{name}") as f:
            if ctypes.CDLL(None, use_errno=True).setns(f.fileno(), 0x40000000) != 0:
                raise OSError(ctypes.get_errno(), "setns")
        # Labels exist once somebody uses them.
        subprocess.run(["nft", "-f", "-"], input=b"table ip t { chain c { ct label set 1; }; }", check=True)
        self.request_socket = self.socket()
        self.event_socket = self.socket()
        for group in range(1, 7):
            self.event_socket.setsockopt(270, 1, group)
        self.event_socket.setblocking(False)

    def socket(self):
        s = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 12)
        s.bind((0, 0))
        s.settimeout(0.3)
        return s

    def request(self, kind, flags, family, version, body):
        message = struct.pack("=IHHII", 20 + len(body), kind, REQUEST | flags, 7, 0) + bytes((family, version, 0, 0)) + body
        self.request_socket.send(message)
        own = self.request_socket.getsockname()[0]
        answers, errno, done = [], None, False
        while not done:
            try:
                data = self.request_socket.recv(1 << 16)
            except TimeoutError:
                break
            while data:
                size, what, what_flags, seq, port = struct.unpack_from("=IHHII", data)
                if what in (2, 3):
                    errno = -struct.unpack_from("=i", data, 16)[0] if size >= 20 else 0
                    done = True
                else:
                    answers.append([what, what_flags, seq, port == own, data[16:size].hex()])
                data = data[(size + 3) & ~3 :]
        events = []
        while True:
            try:
                data = self.event_socket.recv(1 << 16)
            except BlockingIOError:
                break
            size, what, what_flags, seq, port = struct.unpack_from("=IHHII", data)
            events.append([what, what_flags, seq, port == own, data[16:size].hex()])
        return {"type": kind, "flags": flags, "family": family, "version": version, "body": body.hex(), "errno": errno, "answers": answers, "events": events}

    def close(self):
        subprocess.run(["ip", "netns", "del", self.name])


def main():
    target = sys.argv[1] if len(sys.argv) > 1 else os.path.join(os.path.dirname(__file__), "../../test/fixtures/ctnetlink-6.18.json.gz")
    seed = int(sys.argv[2]) if len(sys.argv) > 2 else 1
    scripts = int(sys.argv[3]) if len(sys.argv) > 3 else 12
    count = int(sys.argv[4]) if len(sys.argv) > 4 else 120
    recorded = []
    for script in range(scripts):
        generator = Generator(random.Random(seed * 1000 + script))
        requests = []
        while len(requests) < count:
            if len(requests) % 15 == 0:
                requests += generator.masters()
            requests.append(generator.request())
        child_r, child_w = os.pipe()
        pid = os.fork()
        if pid == 0:
            kernel = Kernel()
            try:
                steps = [kernel.request(*request) for request in requests]
            finally:
                kernel.close()
            with os.fdopen(child_w, "w") as out:
                json.dump(steps, out)
            os._exit(0)
        os.close(child_w)
        with os.fdopen(child_r) as source:
            steps = json.load(source)
        os.waitpid(pid, 0)
        recorded.append({"name": f"seed {seed * 1000 + script}", "steps": steps})
    text = json.dumps({"kernel": os.uname().release, "scripts": recorded}, separators=(",", ":"))
    with open(target, "wb") as raw, gzip.GzipFile("", "wb", 9, raw, mtime=0) as file:
        file.write(text.encode())
    print(f"{scripts} scripts, {sum(len(one['steps']) for one in recorded)} requests")


if __name__ == "__main__":
    main()
