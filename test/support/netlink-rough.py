"""Clients that behave badly, by name; the server's others must notice nothing. Prints what was seen."""
import array
import errno
import os
import select
import signal
import socket
import struct
import subprocess
import sys
import threading
import time

GENERIC = 16


def message(seq=1, flags=1, name=b"nlctrl\0", kind=16, command=3):
    attribute = b"" if name is None else struct.pack("HH", 4 + len(name), 2) + name + bytes(-len(name) % 4)
    body = struct.pack("BBH", command, 1, 0) + attribute
    return struct.pack("IHHII", 16 + len(body), kind, flags, seq, 0) + body


def opened():
    s = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, GENERIC)
    s.bind((0, 0))
    return s


def ask(s, seq=1):
    s.send(message(seq))
    data = s.recv(65536, socket.MSG_DONTWAIT)
    return struct.unpack_from("I", data, 8)[0]


def thousand():
    """1,000 sockets at once, each with a port id of its own, each answered."""
    import resource
    resource.setrlimit(resource.RLIMIT_NOFILE, (4096, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
    sockets = [opened() for _ in range(1000)]
    answers = [ask(s, n) for n, s in enumerate(sockets)]
    return [answers == list(range(1000)), len({s.getsockname()[0] for s in sockets})]


def handed():
    """A socket handed over by SCM_RIGHTS is one in the other process too, which no fork has made."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    program = f"""
import os, socket, struct, sys
channel = socket.socket(fileno={theirs.fileno()})
_, fds, _, _ = socket.recv_fds(channel, 10, 1)
s = socket.socket(fileno=fds[0])
print(s.family == socket.AF_NETLINK, s.getsockname()[0], flush=True)
s.send(bytes.fromhex("{message(77).hex()}"))
print(struct.unpack_from("I", s.recv(65536, socket.MSG_DONTWAIT), 8)[0], flush=True)
"""
    child = subprocess.Popen([sys.executable, "-c", program], pass_fds=[theirs.fileno()], stdout=subprocess.PIPE, text=True)
    s = opened()
    number = s.getsockname()[0]
    socket.send_fds(ours, [b"x"], [s.fileno()])
    s.close()  # The child's is the last one.
    family, name, seq = child.communicate(timeout=20)[0].split()
    return [family, int(name) == number, int(seq)]


def forking():
    """Forks while threads send: neither side takes the other's answers."""
    stop, failures = threading.Event(), []

    def work(n):
        s = opened()
        seq = 0
        while not stop.is_set():
            seq += 1
            if ask(s, seq) != seq:
                failures.append(n)

    pool = [threading.Thread(target=work, args=(n,)) for n in range(3)]
    for thread in pool:
        thread.start()
    children = []
    for n in range(30):
        child = os.fork()
        if child == 0:
            s = opened()
            os._exit(0 if all(ask(s, seq) == seq for seq in range(5)) else 1)
        children.append(os.waitpid(child, 0)[1])
    stop.set()
    for thread in pool:
        thread.join()
    return [failures, set(children) == {0}]


def killed():
    """Killed in the middle of a dump and of a batch."""
    for n in range(20):
        child = os.fork()
        if child == 0:
            s = opened()
            while True:
                s.send(message(1, 0x301, None) + message(2) * 50)
        time.sleep(0.01 + n / 1000)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    return ask(opened(), 9)


def flood():
    """Never reads; its answers are lost, and it is told once."""
    s = opened()
    for seq in range(20000):
        s.send(message(seq))
    got, lost = 0, 0
    while True:
        try:
            s.recv(65536, socket.MSG_DONTWAIT)
            got += 1
        except OSError as error:
            if error.errno == errno.EAGAIN:
                if not select.select([s], [], [], 0.3)[0]:
                    break
            else:
                lost += error.errno == errno.ENOBUFS
    return [0 < got < 20000, lost, ask(s, 5)]


def raw(kind, first=None):
    """A connection without the library."""
    s = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    s.connect(os.environ["NOKMOD_SOCKET"])
    s.settimeout(5)
    s.send(first or struct.pack("IHHIIIIII", 0x314D4B4E, 1, kind, GENERIC, os.getpid(), 0, 0, 65536, 0))
    return s


def garbage():
    """On both channels, after a proper hello and instead of one."""
    seen = set()
    state = 12345
    for n in range(300):
        state = (state * 1103515245 + 12345) & 0x7FFFFFFF
        noise = (state.to_bytes(4, "little") * 64)[: state % 200 + 1]
        s = raw(n % 2, noise if n % 3 == 0 else None)
        try:
            answer = s.recv(100)
            seen.add(len(answer))
            if answer and n % 3:
                s.send(noise)
                if n % 2 == 0:
                    seen.add(len(s.recv(100)))
                s.send(bytes(100000))
        except (ConnectionError, BrokenPipeError):
            seen.add("closed")
        s.close()
    return [ask(opened(), 6), bool(seen)]


def stalled():
    """Sends requests on a control channel and never takes an answer; others are served meanwhile."""
    s = raw(0)
    s.recv(100)
    s.setblocking(False)
    request = struct.pack("IIIIII", 99, 0, 0, 0, 0, 0)
    sent = 0
    try:
        while sent < 100000:
            s.send(request)
            sent += 1
    except (BlockingIOError, BrokenPipeError, ConnectionError):
        pass
    other = opened()
    answers = [ask(other, n) for n in range(200)]
    return [sent > 0, answers == list(range(200))]


def raw_fork():
    """A child that no handler is told of: by the bare system call (_Fork)."""
    import ctypes
    libc = ctypes.CDLL(None)
    s = opened()
    ask(s, 1)  # There is a control channel now.
    reader, writer = os.pipe()
    child = libc._Fork()
    if child == 0:
        os.write(writer, struct.pack("II", ask(s, 21), ask(opened(), 22)))
        os._exit(0)
    os.waitpid(child, 0)
    return [list(struct.unpack("II", os.read(reader, 8))), ask(s, 23)]


def hidden_numbers():
    """Sockets of this process that the program has not opened: /proc shows them."""
    numbers = {int(name) for name in os.listdir("/proc/self/fd")}
    return sorted(n for n in numbers if n >= 600 and os.path.exists(f"/proc/self/fd/{n}"))


def bare_close():
    """The hidden descriptor is closed by bare system calls; then a file of the program's own takes its number."""
    import ctypes
    libc = ctypes.CDLL(None)
    close, dup2, close_range = 3, 33, 436  # x86-64
    s = opened()
    seen = [ask(s, 31)]
    [number] = hidden_numbers()
    libc.syscall(close, number)
    seen.append(ask(s, 32))
    libc.syscall(close_range, 600, 0xFFFFFFFF, 0)
    seen += [ask(s, 33), ask(opened(), 34)]
    [number] = hidden_numbers()
    file = os.open("/dev/null", os.O_RDONLY)
    libc.syscall(dup2, file, number)
    seen += [ask(s, 35), os.path.samestat(os.fstat(number), os.fstat(file))]
    return seen


def unprivileged():
    """Names of the datapaths, and what comes of making one."""
    s = opened()
    s.send(message(1, name=b"ovs_datapath\0"))
    reply = s.recv(65536)
    family = next(reply[at + 4] | reply[at + 5] << 8 for at in range(20, 60, 4) if reply[at : at + 4] == b"\6\0\1\0")
    s.send(struct.pack("IHHIIBBHI", 24, family, 0x301, 2, 0, 3, 2, 0, 0))
    names = s.recv(65536)
    s.recv(65536)
    body = struct.pack("BBHI", 1, 2, 0, 0) + struct.pack("HH4s", 8, 1, b"dp1\0") + struct.pack("HHI", 8, 2, 0)
    s.send(struct.pack("IHHII", 16 + len(body), family, 5, 3, 0) + body)
    return [b"dp0" in names, errno.errorcode[-struct.unpack_from("i", s.recv(65536), 16)[0]]]


def execute():
    """An OVS_PACKET_CMD_EXECUTE of 65,000 bytes of packet to a datapath's local port: no answer without ACK, and 0 with."""
    s = opened()
    s.send(message(1, name=b"ovs_packet\0"))
    reply = s.recv(65536)
    family = next(reply[at + 4] | reply[at + 5] << 8 for at in range(20, 60, 4) if reply[at : at + 4] == b"\6\0\1\0")
    frame = bytes(12) + b"\x88\xb5" + bytes(65000)
    attributes = struct.pack("HH", 4 + len(frame), 1) + frame + bytes(-len(frame) % 4)
    key = struct.pack("HHI", 8, 19, 0)
    attributes += struct.pack("HH", 4 + len(key), 2) + key
    output = struct.pack("HHI", 8, 1, 0)
    attributes += struct.pack("HH", 4 + len(output), 3) + output
    body = struct.pack("BBHi", 3, 1, 0, socket.if_nametoindex("dp0")) + attributes
    s.send(struct.pack("IHHII", 16 + len(body), family, 5, 7, 0) + body)
    return struct.unpack_from("i", s.recv(70000), 16)[0]


print(globals()[sys.argv[1]]())
