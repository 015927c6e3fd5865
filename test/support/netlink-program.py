"""A program that knows nothing of nokmod: what it observes of a NETLINK_GENERIC socket, as JSON.

Run once on the machine's kernel and once under `nokmod exec`, it must observe the same. Only nlctrl is asked, which both
have. Port ids are told relative to the process id, or as 0 or "other".
"""
import ctypes
import errno
import fcntl
import json
import os
import select
import socket
import struct
import subprocess
import sys
import threading

GENERIC, SOL_NETLINK = 16, 270
ADD_MEMBERSHIP, PKTINFO, NO_ENOBUFS, LIST_MEMBERSHIPS, CAP_ACK, EXT_ACK = 1, 3, 5, 9, 10, 11
SO_PROTOCOL, SO_DOMAIN, SO_RCVBUFFORCE = 38, 39, 33
REQUEST, ACK, DUMP = 1, 4, 0x300
libc = ctypes.CDLL(None, use_errno=True)
seen = {}


def name_of(error):
    return errno.errorcode.get(error.errno, str(error.errno)) if error.errno else type(error).__name__


def observe(name, action):
    try:
        seen[name] = action()
    except OSError as error:
        seen[name] = name_of(error)


def message(seq=1, flags=REQUEST, name=b"nlctrl\0", kind=16, command=3):
    attribute = b"" if name is None else struct.pack("HH", 4 + len(name), 2) + name + bytes(-len(name) % 4)
    body = struct.pack("BBH", command, 1, 0) + attribute
    return struct.pack("IHHII", 16 + len(body), kind, flags, seq, 0) + body


def headers(datagram):
    """(type, seq) of the messages in a datagram; an error's code too."""
    found, at = [], 0
    while at + 16 <= len(datagram):
        length, kind, _, seq, _ = struct.unpack_from("IHHII", datagram, at)
        found.append([kind, seq] + ([struct.unpack_from("i", datagram, at + 16)[0]] if kind in (2, 3) else []))
        at += (length + 3) & ~3
    return found


def opened(kind=socket.SOCK_RAW):
    return socket.socket(socket.AF_NETLINK, kind, GENERIC)


def bound(kind=socket.SOCK_RAW):
    s = opened(kind)
    s.connect((0, 0))
    return s


def relative(address):
    pid, groups = address
    return [0 if pid == 0 else "pid" if pid == os.getpid() else "other", groups]


def ask(s, seq=1, **rest):
    s.send(message(seq, **rest))
    return headers(s.recv(65536, socket.MSG_DONTWAIT))


def option(s, name, level=SOL_NETLINK):
    return s.getsockopt(level, name)


# The socket's own properties.
s = opened()
observe("domain", lambda: option(s, SO_DOMAIN, socket.SOL_SOCKET))
observe("type", lambda: option(s, socket.SO_TYPE, socket.SOL_SOCKET))
observe("type dgram", lambda: option(opened(socket.SOCK_DGRAM), socket.SO_TYPE, socket.SOL_SOCKET))
observe("protocol", lambda: option(s, SO_PROTOCOL, socket.SOL_SOCKET))
observe("stream", lambda: bool(opened(socket.SOCK_STREAM)))
observe("name before bind", lambda: relative(s.getsockname()))
observe("peer", lambda: relative(s.getpeername()))
observe("empty queue", lambda: len(s.recv(100, socket.MSG_DONTWAIT)))
observe("bind", lambda: s.bind((0, 0)))
observe("name after bind", lambda: relative(s.getsockname()))
observe("bind again", lambda: s.bind((os.getpid() + 1, 0)))
observe("bind same", lambda: s.bind((s.getsockname()[0], 0)))
observe("bind taken", lambda: opened().bind((s.getsockname()[0], 0)))
other = opened()
observe("second bind", lambda: other.bind((0, 0)))
observe("second name", lambda: relative(other.getsockname()))
other.close()
chosen = opened()
observe("chosen bind", lambda: chosen.bind((0x12345678, 0)))
observe("chosen name", lambda: chosen.getsockname()[0])
chosen.close()
observe("chosen again", lambda: opened().bind((0x12345678, 0)))
observe("short address", lambda: libc.bind(s.fileno(), struct.pack("HHI", 16, 0, 0), 8) or ctypes.get_errno())
observe("shutdown", lambda: s.shutdown(socket.SHUT_RDWR))
observe("listen", lambda: s.listen(1))
observe("listing of nothing", lambda: s.getsockopt(SOL_NETLINK, LIST_MEMBERSHIPS, 4).hex())
observe("get bad option", lambda: option(s, 99))
observe("set bad option", lambda: s.setsockopt(SOL_NETLINK, 99, 1))
observe("join 0", lambda: s.setsockopt(SOL_NETLINK, ADD_MEMBERSHIP, 0))
observe("join too high", lambda: s.setsockopt(SOL_NETLINK, ADD_MEMBERSHIP, 100000))
for flag in (PKTINFO, NO_ENOBUFS, CAP_ACK, EXT_ACK):
    observe(f"option {flag} off", lambda: option(s, flag))
    observe(f"set {flag}", lambda: s.setsockopt(SOL_NETLINK, flag, 1))
    observe(f"option {flag} on", lambda: option(s, flag))
observe("receive buffer", lambda: option(s, socket.SO_RCVBUF, socket.SOL_SOCKET))
observe("set buffer", lambda: s.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 4 << 20))
observe("larger buffer", lambda: option(s, socket.SO_RCVBUF, socket.SOL_SOCKET))

# Requests and what comes of them: a send is synchronous.
s = bound()
observe("reply", lambda: ask(s, 7))
observe("reply and ack", lambda: [ask(s, 8, flags=REQUEST | ACK), headers(s.recv(65536, socket.MSG_DONTWAIT))])
observe("no family", lambda: ask(s, 9, name=b"ovs_nosuch\0"))
observe("no type", lambda: ask(s, 10, kind=0x7ff0))
observe("two in one", lambda: [s.send(message(1) + message(2)), [headers(s.recv(65536)) for _ in range(2)]][1])
observe("sendmsg", lambda: [s.sendmsg([message(1), message(2)[:20], message(2)[20:]]), len(s.recv(9)) and headers(s.recv(65536))][1])
observe("write, read", lambda: [os.write(s.fileno(), message(3)), headers(os.read(s.fileno(), 65536))][1])
observe("to the kernel", lambda: [s.sendto(message(4), (0, 0)), headers(s.recv(65536))][1])
observe("to nobody", lambda: s.sendto(message(4), (0x7fffffff, 0)))
observe("sender", lambda: [s.send(message()), list(s.recvfrom(65536)[1])][1])
observe("sender of recvmsg", lambda: [s.send(message()), list(s.recvmsg(65536)[3])][1])
observe("cut off", lambda: [s.send(message()), s.recvmsg(20)[2] & socket.MSG_TRUNC != 0][1])
observe("length of cut off", lambda: [s.send(message()), s.recv_into(bytearray(20), 20)][1])
observe("true length", lambda: [s.send(message()), s.recv_into(bytearray(65536), 65536, socket.MSG_TRUNC) > 20][1])
observe("peek", lambda: [s.send(message(5)), headers(s.recv(65536, socket.MSG_PEEK)), headers(s.recv(65536))][1:])
observe("empty again", lambda: s.recv(1, socket.MSG_DONTWAIT))
observe("nothing to poll", lambda: select.select([s], [], [], 0)[0] == [])
observe("poll", lambda: [s.send(message()), select.select([s], [s], [], 1)[0] == [s], len(s.recv(65536)) > 0][1:])
observe("out of band", lambda: s.send(message(), socket.MSG_OOB))
observe("too long", lambda: s.send(bytes(300000)))
s.settimeout(0.05)
observe("timeout", lambda: s.recv(10))
s.settimeout(None)
s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("ll", 0, 50000))
observe("SO_RCVTIMEO", lambda: s.recv(10))
s.setblocking(False)
observe("non-blocking", lambda: s.recv(10))
s.setblocking(True)


# A dump never runs dry.
def dumped():
    s.send(message(20, flags=REQUEST | DUMP, name=None))
    kinds = set()
    while True:
        for kind, seq, *_ in headers(s.recv(8192, socket.MSG_DONTWAIT)):
            kinds.add((kind, seq))
            if kind == 3:
                return sorted(kinds)


observe("dump", dumped)


# A reader that does not read is told once that messages were lost.
def overrun():
    t = bound()
    t.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    for seq in range(200):
        t.send(message(seq))
    events, last = [], None
    while last != "EAGAIN" or select.select([t], [], [], 0.3)[0]:
        try:
            t.recv(65536, socket.MSG_DONTWAIT)
            last = "data"
        except OSError as error:
            last = name_of(error)
        if last not in events or last == "ENOBUFS":
            events.append(last)
    return [sorted(events), ask(t, 5)]


observe("overrun", overrun)

# Descriptors.
copy = os.dup(s.fileno())
observe("dup", lambda: [os.write(copy, message(30)), headers(s.recv(65536))][1])
high = fcntl.fcntl(s.fileno(), fcntl.F_DUPFD_CLOEXEC, 200)
observe("F_DUPFD", lambda: [os.write(high, message(31)), headers(os.read(copy, 65536))][1])
os.dup2(high, 201)
os.close(copy)
os.close(high)
observe("dup2", lambda: [os.write(201, message(32)), headers(os.read(201, 65536))][1])
onto = os.open("/dev/null", os.O_RDWR)
os.dup2(onto, 201)
observe("overwritten", lambda: [os.write(201, b"abc"), os.read(201, 10).decode()])
t = bound()
observe("last close frees the port id", lambda: [t.getsockname()[0], t.close(), opened().bind((t and 0x23456789, 0))][1:])
number = bound().detach()
os.close(number)
reused = os.open("/dev/null", os.O_RDWR)
observe("reused number", lambda: [reused == number, os.write(reused, b"x")])
os.close(reused)


def in_child(action):
    """Result of an action in a child made by fork()."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            result = json.dumps(action())
        except OSError as error:
            result = json.dumps(name_of(error))
        os.write(writer, result.encode())
        os._exit(0)
    os.close(writer)
    os.waitpid(child, 0)
    result = os.read(reader, 65536).decode()
    os.close(reader)
    return json.loads(result or '"died"')


observe("the child's use of it", lambda: in_child(lambda: ask(s, 40)))
observe("the child's own", lambda: in_child(lambda: [relative(bound().getsockname()), ask(bound(), 41)]))
observe("after the child", lambda: ask(s, 42))
observe("sent by the child, read here", lambda: [in_child(lambda: s.send(message(43)) > 0), headers(s.recv(65536))])
observe("vfork", lambda: [subprocess.run(["/bin/true"], close_fds=True).returncode, ask(s, 44)])
program = "import os,sys; fd=int(sys.argv[1]); os.write(fd, bytes.fromhex(sys.argv[2])); print(os.read(fd,65536)[4:6].hex())"
os.set_inheritable(s.fileno(), True)
observe("exec", lambda: subprocess.run([sys.executable, "-c", program, str(s.fileno()), message(45).hex()], pass_fds=[s.fileno()],
                                       capture_output=True, text=True).stdout.strip())
observe("after exec", lambda: ask(s, 46))


# Threads, each with a socket and with a common one.
def threads():
    failures = []

    def work(n):
        mine = bound()
        for seq in range(100):
            if ask(mine, n * 1000 + seq) != [[16, n * 1000 + seq]]:
                failures.append(n)
        mine.close()

    pool = [threading.Thread(target=work, args=(n,)) for n in range(4)]
    for thread in pool:
        thread.start()
    for thread in pool:
        thread.join()
    return failures


observe("threads", threads)


def blocked():
    t = bound()
    got = []
    thread = threading.Thread(target=lambda: got.append(headers(t.recv(65536))))
    thread.start()
    thread.join(0.05)
    t.send(message(50))
    thread.join(2)
    return got


observe("a reader that waits", blocked)


# Numbers that the program never opened stay where they are.
def swept():
    t = bound()
    for fd in range(t.fileno() + 1, 1024):
        try:
            os.close(fd)
        except OSError:
            pass
    first = ask(t, 60)
    os.closerange(t.fileno() + 1, 1024)
    second = ask(t, 61)
    os.closerange(t.fileno(), t.fileno() + 1)
    return [first, second, ask(bound(), 62)]


observe("all descriptors closed", lambda: in_child(swept))
json.dump(seen, sys.stdout, indent=1)
