"""Attacks on the door, by hand-written client of an EchoProtocol server: `intruder.py ATTACK SOCKET [ARGUMENT …]`.

Tells what it saw, as JSON. docs/transport.md describes the records.
"""
import array
import ctypes
import errno
import json
import os
import resource
import socket
import struct
import sys

MAGIC, CONTROL, DATA, GENERIC = 0x314D4B4E, 0, 1, 16
SEND, BIND, JOIN, OPTION, FORCE, FIND = 1, 3, 4, 6, 7, 8
ECHO, MULTICAST, PRIVILEGED = 16, 18, 19
REQUEST, ACK = 1, 4
NOBODY = 65534
SO_COOKIE = 57
PROOF, SELF = 4, 8


def name(number):
    return errno.errorcode.get(number, "OK") if number >= 0 else str(number)


def dial():
    s = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    s.connect(PATH)
    s.settimeout(20)
    return s


def greet(s, kind, pid=0, cookie=0, flags=0, fds=()):
    record = struct.pack("IHHIIIIII", MAGIC, 1, kind, GENERIC, pid, cookie & 0xFFFFFFFF, cookie >> 32, 0, flags)
    s.sendmsg([record], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else [])
    return struct.unpack("IIII", s.recv(64))


class Channels:
    """A netlink socket's data channel, and a control channel."""

    def __init__(self, fds=(), flags=0, control=None):
        self.data = dial()
        answer = greet(self.data, DATA, os.getpid(), flags=flags, fds=fds)
        assert answer[0] == 0, answer
        self.id = answer[2:]
        self.control = dial()
        answer = greet(self.control, CONTROL, flags=flags, fds=control or fds)
        assert answer[0] == 0, answer

    def ask(self, op, a=0, b=0, payload=b"", control=None, fds=()):
        control = control or self.control
        record = struct.pack("IIIIII", op, *self.id, a & 0xFFFFFFFF, b & 0xFFFFFFFF, 0) + payload
        control.sendmsg([record], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else [])
        return struct.unpack("IIII", control.recv(1 << 16)[:16])

    def reply(self):
        """Errno of the NLMSG_ERROR that waits; None: nothing waits."""
        self.data.settimeout(0.2)
        try:
            return name(-struct.unpack_from("i", self.data.recv(1 << 16), 16)[0])
        except TimeoutError:
            return None

    def privileged(self):
        """What the server says to a request for which it asks CAP_NET_ADMIN."""
        self.ask(SEND, payload=message(PRIVILEGED))
        return self.reply()


def asked(kind=17):
    """A NETLINK_ROUTE socket with the kernel's answer to RTM_DELLINK (17) or RTM_GETLINK (18) of no link."""
    s = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0)
    s.send(struct.pack("IHHII", 32, kind, REQUEST | ACK, 1, 0) + bytes(16))
    return s


def proved():
    """Channels that prove what we may do."""
    with asked() as data, asked() as control:
        return Channels(fds=[data.fileno()], flags=PROOF, control=[control.fileno()])


def message(kind, *words):
    return struct.pack("IHHII", 16 + 4 * len(words), kind, REQUEST | ACK, 1, 0) + struct.pack(f"{len(words)}I", *words)


def become_nobody():
    os.setgroups([])
    os.setresgid(NOBODY, NOBODY, NOBODY)
    os.setresuid(NOBODY, NOBODY, NOBODY)


def in_child(act):
    """What a child saw."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            seen = act()
        except BaseException as problem:  # A child must not go on as its parent.
            seen = repr(problem)
        os.write(write, json.dumps(seen).encode())
        os._exit(0)
    os.close(write)
    with os.fdopen(read) as answer:
        seen = json.load(answer)
    os.waitpid(child, 0)
    return seen


def race():
    become_nobody()
    before = Channels().privileged()
    data, control = (socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) for _ in range(2))
    read, write = os.pipe()
    # The server is stopped meanwhile: it looks when all has happened.
    print("stop", flush=True)
    sys.stdin.readline()
    child = os.fork()
    if child == 0:
        data.connect(PATH)
        control.connect(PATH)
        os.dup2(read, 0)
        nothing = os.open("/dev/null", os.O_WRONLY)
        os.dup2(nothing, 1)
        os.dup2(nothing, 2)
        os.execv("/usr/bin/passwd", ["passwd"])
    status = ""
    while "Name:\tpasswd" not in status or f"Uid:\t{NOBODY}\t0" not in status:
        with open(f"/proc/{child}/status") as file:
            status = file.read()
    print("go on", flush=True)
    sys.stdin.readline()
    s = Channels.__new__(Channels)
    s.data, s.control = data, control
    answer = greet(data, DATA, child)
    s.id = answer[2:]
    greet(control, CONTROL)
    after = s.privileged()
    os.close(write)
    os.waitpid(child, 0)
    return {"before": before, "set-user-id": after}


def options():
    s = Channels()
    seen = {"unknown": name(s.ask(OPTION, 99, 1)[0]), "known": name(s.ask(OPTION, 11, 1)[0])}
    bound = s.ask(BIND)
    seen["bind"] = name(bound[0])
    seen["echo"] = name(s.ask(SEND, payload=message(ECHO, 7))[0])
    return seen


def leak():
    """Sockets in groups whose bind fails, closed; then others on the numbers that are free again."""
    old = [Channels() for _ in range(20)]
    for s in old:
        for group in (5, 6):
            s.ask(OPTION, 1, group)
        s.ask(OPTION, 99, 1)
        s.ask(BIND)
    # Data channels last: their numbers are taken first.
    for s in old:
        s.control.close()
    Channels()
    for s in old:
        s.data.close()
    Channels()
    new = [Channels() for _ in range(20)]
    for s in new:
        assert s.ask(BIND)[0] == 0
    sender = Channels()
    for group in (5, 6):
        sender.ask(SEND, payload=message(MULTICAST, group, 1, 4))
    return {"reached": sum(s.reply() is not None for s in new)}


def drop():
    s = proved()
    seen = {"root": s.privileged()}

    def nobody():
        become_nobody()
        s.data.send(message(PRIVILEGED))
        seen = {"written to the data channel": s.reply()}
        seen["request on root's channel"] = s.privileged()
        mine = dial()
        greet(mine, CONTROL)
        s.ask(SEND, payload=message(PRIVILEGED), control=mine)
        seen["request on a channel of its own"] = s.reply()
        seen["receive buffer by force"] = name(s.ask(FORCE, 1 << 24, 1)[0])
        return seen

    seen.update(in_child(nobody))
    seen["root again"] = s.privileged()
    become_nobody()
    seen["the same process, nobody now"] = s.privileged()
    return seen


def find():
    """A root program's socket: who holds its descriptor, with the same rights, finds it; nobody else does."""
    s = proved()
    cookie = struct.unpack("Q", s.data.getsockopt(socket.SOL_SOCKET, SO_COOKIE, 8))[0]
    mine = dial()
    own = dial()
    seen = {}
    with asked() as allowed:
        assert greet(mine, DATA, flags=PROOF | SELF, fds=[allowed.fileno(), mine.fileno()])[0] == 0
    answer = s.ask(FIND, fds=[mine.fileno()])
    seen["held"] = name(answer[0])
    seen["by its cookie"] = name(s.ask(FIND, cookie & 0xFFFFFFFF, cookie >> 32)[0])
    seen["held, but no channel"] = name(s.ask(FIND, fds=[0])[0])
    # Somebody who claims the number that a socket will have.
    claimed = dial()
    greet(claimed, DATA, cookie=struct.unpack("Q", own.getsockopt(socket.SOL_SOCKET, SO_COOKIE, 8))[0])
    with asked() as allowed:
        hello = greet(own, DATA, flags=PROOF | SELF, fds=[allowed.fileno(), own.fileno()])
    seen["claimed by another"] = "itself" if s.ask(FIND, fds=[own.fileno()])[2:] == hello[2:] else "the other"

    def nobody():
        become_nobody()
        other = Channels()
        return name(other.ask(FIND, fds=[mine.fileno()])[0])

    def without():
        powerless()
        return name(Channels().ask(FIND, fds=[mine.fileno()])[0])

    seen["held by another user"] = in_child(nobody)
    seen["held by root without capabilities"] = in_child(without)
    return seen


def proof():
    """What a hello may bring in place of proof."""
    def of(*fds):
        return Channels(fds=[fd.fileno() for fd in fds], flags=PROOF).privileged()

    def nobody():
        become_nobody()
        with open("/dev/zero") as zero, open("/etc/passwd") as file:
            pair = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
            return {
                "nothing": of(),
                "a device": of(zero),
                "a file": of(file),
                "a socket": of(pair[0]),
                "netlink, nothing asked": of(socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0)),
                "netlink, refused": of(asked()),
                "netlink, another request": of(asked(18)),
                "two": of(asked(), asked()),
            }

    def namespace():
        become_nobody()
        if LIBC.unshare(0x10000000 | 0x40000000) != 0:
            return "no user namespaces"
        return of(asked())

    seen = in_child(nobody)
    seen["of a namespace of its own"] = in_child(namespace)
    seen["netlink, allowed"] = proved().privileged()
    return seen


def no_room(server):
    """The server has no descriptor left for what a hello brings."""
    server = int(server)
    before = resource.prlimit(server, resource.RLIMIT_NOFILE)
    early = dial()
    Channels()  # Connections are accepted in their order: so is the one before.
    with asked() as allowed:
        resource.prlimit(server, resource.RLIMIT_NOFILE, (1, before[1]))
        try:
            refused = name(greet(early, DATA, flags=PROOF, fds=[allowed.fileno()])[0])
        finally:
            resource.prlimit(server, resource.RLIMIT_NOFILE, before)
    return {"no room": refused, "afterwards": proved().privileged()}


def crowd(bound):
    """Nobody opens as many connections as there are; with a bound of so many for a user."""
    def nobody():
        become_nobody()
        held, refused = [], None
        while refused is None and len(held) < 4 * int(bound):
            s = dial()
            try:
                answer = name(greet(s, DATA)[0])
            except (ConnectionError, struct.error) as problem:
                answer = repr(problem)
            if answer == "OK":
                held.append(s)
            else:
                refused = answer
        # Root is served meanwhile, by a process that nobody cannot keep away.
        print("root?", flush=True)
        sys.stdin.readline()
        held.pop().close()
        for _ in range(1000):
            with dial() as s:
                if greet(s, DATA)[0] == 0:
                    return [len(held) + 1, refused, "room again"]
        return [len(held) + 1, refused, "no room"]
    return {"nobody": in_child(nobody), "root": proved().privileged()}


def silent():
    """A connection without a hello is closed by the server; nobody's hello that comes in time is not."""
    s, held = dial(), Channels()
    return {"silent": s.recv(64).hex(), "held": held.privileged() is not None}


def root():
    """Root that brings no proof."""
    return {"root": Channels().privileged(), "root without capabilities": in_child(powerless)}


def powerless():
    header, none = struct.pack("Ii", 0x20080522, 0), bytes(24)
    assert LIBC.capset(header, none) == 0
    return Channels().privileged()


ATTACK, PATH = sys.argv[1:3]
LIBC = ctypes.CDLL(None, use_errno=True)
print(json.dumps(globals()[ATTACK](*sys.argv[3:])), flush=True)
