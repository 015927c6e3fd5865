"""UDP round trips. `stream.py echo PORT` answers every datagram. `stream.py send ADDRESS PORT INTERVAL_MS` sends numbered
datagrams from one source port, and prints a line for each answer: its number, when it was sent (ms since 1970), and after how
many ms the answer came. Ends when its standard input does."""
import select
import socket
import struct
import sys
import time

s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
if sys.argv[1] == "echo":
    s.bind(("", int(sys.argv[2])))
    print("ready", flush=True)
    while True:
        ready, _, _ = select.select([s, sys.stdin], [], [])
        if sys.stdin in ready:
            break
        data, source = s.recvfrom(2048)
        s.sendto(data, source)
else:
    s.connect((sys.argv[2], int(sys.argv[3])))
    s.setblocking(False)
    interval = float(sys.argv[4]) / 1000
    number, due = 0, time.monotonic()
    while True:
        ready, _, _ = select.select([s, sys.stdin], [], [], max(0, due - time.monotonic()))
        if sys.stdin in ready:
            break
        if s in ready:
            try:
                while True:
                    n, sent = struct.unpack("!Qd", s.recv(2048))
                    now = time.time()
                    print(n, round(sent * 1000, 1), round((now - sent) * 1000, 2), flush=True)
            except (BlockingIOError, ConnectionRefusedError):
                pass
        if time.monotonic() >= due:
            try:
                s.send(struct.pack("!Qd", number, time.time()))
            except OSError:
                pass  # ENETUNREACH, ENOBUFS: counts as lost.
            number += 1
            due = max(due + interval, time.monotonic() - 1)
