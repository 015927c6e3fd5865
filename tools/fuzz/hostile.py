"""A hostile client of the server's socket (docs/transport.md): `hostile.py SOCKET SEED SECONDS`.

Connections that say hello or don't, requests right and wrong, datagrams on data channels, descriptors of all kinds, and
mailboxes whose every word is written over while they are polled. Prints how many records it has sent and words it has
written, as JSON. That the server ends a connection is its right; that nobody answers any more is the caller's to see.
"""
import array
import fcntl
import json
import mmap
import os
import random
import socket
import struct
import sys
import threading
import time

PATH, SEED, SECONDS = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])
MAGIC, GENERIC, NETFILTER = 0x314D4B4E, 16, 12
BOX, LOOKING, STATE, LENGTH, RECORD = 65536, 0, 64, 68, 88
rng = random.Random(SEED)
end = time.monotonic() + SECONDS
counts = {"records": 0, "words": 0, "connections": 0}


def number():
    return rng.choice([rng.getrandbits(32), rng.randrange(16), rng.randrange(70), 0, 1, 0xFFFFFFFF, 0x7FFFFFFF, 16, 65536])


def garbage(most):
    return rng.randbytes(rng.choice([0, 1, 3, 4, 15, 16, 17, 31, 32, 33, rng.randrange(most)]))


def descriptors():
    """Of what a client has: pipes, files, sockets of any family, /dev/null, a proof, the same again."""
    made = []
    for _ in range(rng.randrange(1, 5)):
        kind = rng.randrange(6)
        if kind == 0:
            made += os.pipe()
        elif kind == 1:
            made.append(os.open("/dev/null", os.O_RDWR))
        elif kind == 2:
            made += [end.detach() for end in socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)]
        elif kind == 3:
            s = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0)
            s.send(struct.pack("IHHII", 32, rng.choice([17, 18, 16]), 5, 1, 0) + bytes(16))
            made.append(s.detach())
        elif kind == 4:
            made.append(os.memfd_create("x"))
        else:
            made.append(socket.socket(socket.AF_INET, socket.SOCK_DGRAM).detach())
    return made


def send(s, record, fds=()):
    counts["records"] += 1
    ancillary = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
    try:
        s.sendmsg([record], ancillary, socket.MSG_DONTWAIT)
    except (BlockingIOError, BrokenPipeError, ConnectionResetError, OSError):
        return False
    return True


def receive(s, wait=0.02):
    """A record and its descriptors; (None, []) where none comes or the connection has ended."""
    s.settimeout(wait)
    try:
        data, fds, _, _ = socket.recv_fds(s, 70000, 4)
        return data or None, fds
    except OSError:
        return None, []


def message():
    body = bytearray(rng.randbytes(rng.randrange(0, 80)))
    for at in range(0, len(body) - 4, 8):
        struct.pack_into("HH", body, at, rng.choice([8, 8, 8, 4, 5, rng.randrange(80)]), rng.randrange(16))
    head = bytes([rng.randrange(6), rng.choice([1, 2, 0])]) + bytes(2) + struct.pack("i", rng.choice([0, 50, -1]))
    length = 16 + len(head) + len(body)
    kind = rng.choice([16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 0x100, 0x101, 0x102, 0x200, 0x800, rng.randrange(65536)])
    lie = rng.choice([0] * 12 + [-30, 30, 1])
    flags = rng.choice([1, 5, 0x301, 0x305, rng.randrange(65536)])
    return struct.pack("IHHII", max(0, length + lie), kind, flags, number(), 0) + head + bytes(body) + bytes(-length & 3)


class Client:
    def __init__(self):
        counts["connections"] += 1
        self.s = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.s.settimeout(2)
        self.box = None
        self.id = (number(), number())
        self.s.connect(PATH)
        self.kind = rng.randrange(2)
        if rng.randrange(12) == 0:
            send(self.s, garbage(200) or b"x")
            return
        protocol = rng.choice([GENERIC, GENERIC, NETFILTER, number()])
        flags = rng.choice([0, 2, 2, 2, 4, 8, 12, rng.getrandbits(5), number()])
        fds = descriptors() if flags & 12 or rng.randrange(10) == 0 else []
        hello = struct.pack("IHHIIIIII", MAGIC, 1, self.kind, protocol, number(), 0, 0, rng.choice([4096, number()]), flags)
        if rng.randrange(15) == 0:
            hello = hello[: rng.randrange(1, 32)]
        send(self.s, hello, fds)
        for fd in fds:
            os.close(fd)
        answer, got = receive(self.s, 0.5)
        if answer is not None and len(answer) == 16:
            self.id = struct.unpack("IIII", answer)[2:]
        for fd in got:
            if self.box is None and os.fstat(fd).st_size == BOX:
                self.box = mmap.mmap(fd, BOX)
                # The seals have to hold.
                for act in (lambda: os.ftruncate(fd, 0), lambda: fcntl.fcntl(fd, 1033, 0)):
                    try:
                        act()
                    except OSError:
                        pass
            os.close(fd)

    def request(self, ids):
        op = rng.choice([1, 1, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 0, 13, number()])
        low, high = rng.choice(ids) if rng.randrange(6) else (number(), number())
        payload = b"".join(message() for _ in range(rng.choice([1, 1, 1, 2, 40]))) if op == 1 else garbage(300)
        if op == 11:
            payload = b"".join(struct.pack("I", number()) for _ in range(rng.randrange(600)))
        if rng.randrange(40) == 0:
            payload += bytes(rng.randrange(200000))
        record = struct.pack("IIIIII", op, low, high, number(), number(), rng.choice([0, 1 << 20, number()])) + payload
        return record if rng.randrange(20) else record[: rng.randrange(1, len(record))]

    def act(self, ids):
        if self.kind == 1:
            send(self.s, message() if rng.randrange(5) else garbage(500) or b"x", descriptors() if rng.randrange(30) == 0 else ())
            return receive(self.s, 0.001)[0] is not None or True
        record = self.request(ids)
        if self.box is not None and rng.randrange(3) == 0:
            self.box[RECORD : RECORD + min(len(record), BOX - RECORD)] = record[: BOX - RECORD]
            struct.pack_into("I", self.box, LENGTH, rng.choice([len(record), number()]))
            struct.pack_into("I", self.box, STATE, rng.choice([1, 1, 1, 2, 3, 4, number()]))
            counts["words"] += 3
        fds = descriptors() if rng.randrange(25) == 0 else []
        alive = send(self.s, record, fds)
        for fd in fds:
            os.close(fd)
        receive(self.s, rng.choice([0, 0.001, 0.02]))
        return alive


def scribble(boxes, stop):
    mine = random.Random(SEED + 1)
    while not stop.is_set():
        for box in list(boxes):
            for _ in range(50):
                at = mine.choice([LOOKING, STATE, STATE, STATE, LENGTH, LENGTH, RECORD, RECORD + 4 * mine.randrange(60)])
                struct.pack_into("I", box, at, mine.choice([mine.getrandbits(32), 1, 1, 2, 24, 65448, 65449, 3, 4]))
                counts["words"] += 1
        time.sleep(0.0005)


clients, ids, boxes, stop = [], [(0, 0)], [], threading.Event()
writer = threading.Thread(target=scribble, args=(boxes, stop))
writer.start()
try:
    while time.monotonic() < end:
        if len(clients) < 12 or rng.randrange(40) == 0:
            try:
                client = Client()
            except OSError:
                # Over a bound of connections.
                time.sleep(0.005)
                continue
            clients.append(client)
            ids.append(client.id)
            if client.box is not None:
                boxes.append(client.box)
        while len(clients) > 30 or len(boxes) > 10:
            old = clients.pop(0)
            if old.box in boxes:
                boxes.remove(old.box)
            old.s.close()
        ids = ids[-40:]
        client = rng.choice(clients)
        if not client.act(ids):
            clients.remove(client)
            if client.box in boxes:
                boxes.remove(client.box)
            client.s.close()
finally:
    stop.set()
    writer.join()
print(json.dumps(counts))
