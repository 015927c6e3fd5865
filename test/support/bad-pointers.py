"""Calls on a netlink socket with pointers to memory that is not there, or that may only be read. Prints a line for each:
its name, what it returned and its errno. The kernel's own sockets and those of `nokmod exec` must print the same.

    bad-pointers.py PROTOCOL
"""
import ctypes
import errno
import mmap
import os
import socket
import struct
import sys

PROTOCOL = int(sys.argv[1])
SOL_NETLINK, NETLINK_EXT_ACK = 270, 11
PAGE = mmap.PAGESIZE
libc = ctypes.CDLL(None, use_errno=True)
libc.mmap.restype = ctypes.c_void_p
libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long]
for name in ("send", "sendto", "write", "sendmsg", "recv", "recvfrom", "recvmsg", "read", "readv", "writev"):
    getattr(libc, name).restype = ctypes.c_ssize_t


def pages(count, protection):
    return libc.mmap(None, count * PAGE, protection, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS, -1, 0)


def protect(at, protection):
    assert libc.mprotect(ctypes.c_void_p(at), PAGE, protection) == 0


READ, WRITE, NONE = mmap.PROT_READ, mmap.PROT_WRITE, 0
# Three pages: one that may be used, one that may only be read, one that may not be touched.
USABLE = pages(3, READ | WRITE)
READ_ONLY, UNTOUCHABLE = USABLE + PAGE, USABLE + 2 * PAGE
# A NULL pointer, memory that nobody has mapped, memory without access, and what begins well and ends in that.
BAD = {"null": 0, "low": 64, "none": UNTOUCHABLE, "edge": UNTOUCHABLE - 4, "kernel": 0xFFFF_8000_0000_0000}


def message():
    attribute = struct.pack("HH", 11, 2) + b"nlctrl\0\0"
    body = struct.pack("BBH", 3, 1, 0) + attribute
    return struct.pack("IHHII", 16 + len(body), 16, 1, 7, 0) + body


def put(at, data):
    ctypes.memmove(at, data, len(data))
    return at


put(READ_ONLY, message())
put(UNTOUCHABLE - 16, bytes(16))
protect(READ_ONLY, READ)
protect(UNTOUCHABLE, NONE)

P = ctypes.c_void_p
size = ctypes.c_size_t


def iovec(base, length):
    return struct.pack("PN", base, length)


def header(name=0, name_length=0, parts=0, count=0):
    return struct.pack("PIxxxxPNPNixxxx", name, name_length, parts, count, 0, 0, 0)


def opened():
    s = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, PROTOCOL)
    s.bind((0, 0))
    s.setblocking(False)
    return s


def say(name, call):
    s = opened()
    # Something to receive.
    s.send(message())
    ctypes.set_errno(0)
    result = call(s.fileno())
    print(name, result, errno.errorcode.get(ctypes.get_errno(), 0) if result < 0 else 0, flush=True)
    s.close()


request = put(USABLE, message())
length = len(message())
fresh = USABLE + 512
for kind, bad in BAD.items():
    say(f"send {kind}", lambda fd: libc.send(fd, P(bad), size(length), 0))
    say(f"write {kind}", lambda fd: libc.write(fd, P(bad), size(length)))
    say(f"sendto to {kind}", lambda fd: libc.sendto(fd, P(request), size(length), 0, P(bad), 12) if bad else 0)
    say(f"sendmsg {kind}", lambda fd: libc.sendmsg(fd, P(bad), 0))
    say(f"sendmsg list {kind}", lambda fd: libc.sendmsg(fd, P(put(fresh, header(parts=bad, count=1))), 0))
    say(f"sendmsg part {kind}", lambda fd: libc.sendmsg(
        fd, P(put(fresh, header(parts=put(fresh + 64, iovec(bad, length)), count=1))), 0))
    say(f"sendmsg name {kind}", lambda fd: libc.sendmsg(
        fd, P(put(fresh, header(bad, 12, put(fresh + 64, iovec(request, length)), 1))), 0))
    say(f"writev {kind}", lambda fd: libc.writev(fd, P(bad), 1))
    say(f"sendmmsg {kind}", lambda fd: libc.sendmmsg(fd, P(bad), 1, 0))
    say(f"bind {kind}", lambda fd: libc.bind(fd, P(bad), 12))
    say(f"connect {kind}", lambda fd: libc.connect(fd, P(bad), 12))
    say(f"setsockopt {kind}", lambda fd: libc.setsockopt(fd, SOL_NETLINK, NETLINK_EXT_ACK, P(bad), 4 + 4 * (bad == 0)))
    say(f"setsockopt buffer {kind}", lambda fd: libc.setsockopt(fd, socket.SOL_SOCKET, socket.SO_RCVBUF, P(bad), 4))
    for writable, to in (("", bad), (" read-only", READ_ONLY)):
        say(f"recv {kind}{writable}", lambda fd: libc.recv(fd, P(to), size(200), 0))
        say(f"read {kind}{writable}", lambda fd: libc.read(fd, P(to), size(200)))
        say(f"recvmsg {kind}{writable}", lambda fd: libc.recvmsg(fd, P(to), 0))
        say(f"readv {kind}{writable}", lambda fd: libc.readv(fd, P(bad), 1))
        say(f"recvmsg part {kind}{writable}", lambda fd: libc.recvmsg(
            fd, P(put(fresh, header(parts=put(fresh + 64, iovec(to, 200)), count=1))), 0))
        say(f"getsockname {kind}{writable}", lambda fd: libc.getsockname(fd, P(to), P(put(fresh, struct.pack("I", 12)))))
        say(f"getsockname length {kind}{writable}", lambda fd: libc.getsockname(fd, P(fresh + 64), P(to)))
        say(f"getpeername {kind}{writable}", lambda fd: libc.getpeername(fd, P(to), P(put(fresh, struct.pack("I", 12)))))
        for level, option in ((SOL_NETLINK, NETLINK_EXT_ACK), (socket.SOL_SOCKET, socket.SO_TYPE)):
            say(f"getsockopt {level} {kind}{writable}", lambda fd: libc.getsockopt(
                fd, level, option, P(to), P(put(fresh, struct.pack("I", 4)))))
            say(f"getsockopt length {level} {kind}{writable}", lambda fd: libc.getsockopt(
                fd, level, option, P(fresh + 64), P(to)))
    say(f"stat {kind}", lambda fd: libc.access(P(bad), 0))
say("too many parts", lambda fd: libc.sendmsg(fd, P(put(fresh, header(parts=request, count=1025))), 0))
say("negative part", lambda fd: libc.sendmsg(
    fd, P(put(fresh, header(parts=put(fresh + 64, iovec(request, 2**64 - 1)), count=1))), 0))
s = opened()
s.send(message())
print("afterwards", struct.unpack_from("I", s.recv(65536), 8)[0])
