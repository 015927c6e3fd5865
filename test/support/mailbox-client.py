"""The client's end of a mailbox (docs/transport.md), by hand: `mailbox-client.py SOCKET SERVER SEED`. What it saw, as JSON.

SERVER: the server's process id. The two run on processors of their own.
"""
import fcntl
import json
import mmap
import os
import random
import socket
import struct
import sys
import time

FREE, POSTED, TAKEN, AWAITED, ANSWERED = range(5)
LOOKING, STATE, LENGTH, ANSWER, RECORD = 0, 64, 68, 72, 88
BYTES, MAGIC, CONTROL, DATA, MAILBOX = 65536, 0x314D4B4E, 0, 1, 2
SEND, BIND, GENERIC, UNICAST = 1, 3, 16, 20
NOWHERE = 1 << 20
F_GET_SEALS, SEALS = 1034, 1 | 2 | 4  # SEAL, SHRINK, GROW
# A request about a socket that there is not.
REQUEST = struct.pack("IIIIII", 1, 1, 2, 0, 0, NOWHERE)
seen = {}


def connect(flags):
    s = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    s.connect(sys.argv[1])
    s.send(struct.pack("IHHIIIIII", MAGIC, 1, CONTROL, 0, 0, 0, 0, 0, flags))
    answer, fds, _, _ = socket.recv_fds(s, 64, 4)
    assert struct.unpack("IIII", answer) == (0, 0, 1, 0), answer
    return s, fds


def ask():
    control.send(REQUEST)
    return struct.unpack("I", control.recv(64)[:4])[0]


def word(at):
    return struct.unpack_from("I", box, at)[0]


def post(length, record, state=POSTED):
    """Once the server looks. False if it has stopped meanwhile."""
    while word(LOOKING) == 0:
        ask()
    box[RECORD : RECORD + len(record)] = record
    struct.pack_into("I", box, LENGTH, length)
    struct.pack_into("I", box, STATE, state)
    while word(STATE) in (POSTED, TAKEN):
        if word(LOOKING) == 0:
            time.sleep(0.001)
            if word(STATE) == POSTED:
                struct.pack_into("I", box, STATE, FREE)
                return False
    return True


processors = sorted(os.sched_getaffinity(0))
os.sched_setaffinity(int(sys.argv[2]), processors[:1])
os.sched_setaffinity(0, processors[1:])

plain, none = connect(0)
seen["descriptors unless asked for"] = len(none)
plain.close()

control, [memory] = connect(MAILBOX)
seen["bytes"] = os.fstat(memory).st_size
seen["sealed"] = fcntl.fcntl(memory, F_GET_SEALS) & SEALS == SEALS
try:
    os.ftruncate(memory, 0)
    seen["cut off"] = True
except PermissionError:
    seen["cut off"] = False
box = mmap.mmap(memory, BYTES)
os.close(memory)
seen["looks at first"] = word(LOOKING)

# Requests that follow closely upon one another are looked for; a posted one is answered in place.
answers = set()
posted = 0
while posted < 100:
    if post(len(REQUEST), REQUEST):
        answers.add((word(STATE), word(ANSWER)))
        posted += 1
seen["answers"] = sorted(answers)

# Nothing but what is posted is taken.
while not post(len(REQUEST), REQUEST, AWAITED):
    pass
seen["not posted"] = word(STATE)
struct.pack_into("I", box, STATE, FREE)

# Whose patience is over before the answer is there gets it by the socket: a request for 20,000 messages to oneself.
data = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
data.connect(sys.argv[1])
data.send(struct.pack("IHHIIIIII", MAGIC, 1, DATA, GENERIC, 0, 0, 0, 0, 0))
ids = struct.unpack("IIII", data.recv(64))[2:]
control.send(struct.pack("IIIIII", BIND, *ids, 0, 0, NOWHERE))
port = struct.unpack("IIII", control.recv(64))[2]
message = struct.pack("IHHII", 28, UNICAST, 1, 0, 0) + struct.pack("III", port, 20000, 4)
record = struct.pack("IIIIII", SEND, *ids, 0, 0, NOWHERE) + message
control.settimeout(10)
while True:
    while word(LOOKING) == 0:
        ask()
    box[RECORD : RECORD + len(record)] = record
    struct.pack_into("I", box, LENGTH, len(record))
    struct.pack_into("I", box, STATE, POSTED)
    end = time.monotonic() + 0.01
    while word(STATE) == POSTED and time.monotonic() < end:
        pass
    if word(STATE) == TAKEN:
        break
    struct.pack_into("I", box, STATE, FREE)
struct.pack_into("I", box, STATE, AWAITED)
seen["awaited"] = struct.unpack("IIII", control.recv(64))[0], word(STATE)
data.close()

# Lengths that are none.
wrong = set()
for length in (0, 1, 23, BYTES - RECORD + 1, 1 << 31, 0xFFFFFFFF):
    while not post(length, b"\xff" * 64):
        pass
    wrong.add(word(ANSWER))
seen["wrong lengths"] = sorted(wrong)

# Anything at all, written while the server looks.
chance = random.Random(int(sys.argv[3]))
control.setblocking(False)
for _ in range(5000):
    start = chance.choice((STATE, LENGTH, ANSWER, RECORD, chance.randrange(BYTES - 4)))
    garbage = chance.randbytes(min(BYTES - start, chance.choice((1, 4, 24, 64, 4096))))
    box[start : start + len(garbage)] = garbage
    struct.pack_into("I", box, STATE, chance.choice((POSTED, POSTED, TAKEN, AWAITED, 77)))
    if chance.random() < 0.2:
        control.send(REQUEST)
    # Who lets answers pile up is hung up on.
    try:
        while control.recv(64):
            pass
    except BlockingIOError:
        pass
time.sleep(0.05)
print(json.dumps(seen), flush=True)
os.sched_setaffinity(int(sys.argv[2]), processors)
# The end comes in the middle of one.
struct.pack_into("I", box, STATE, POSTED)
os._exit(0)
