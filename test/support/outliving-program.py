"""A program that knows nothing of nokmod and lives on when the server dies and comes back: what it observes, a line each."""
import errno, os, select, socket, struct, sys, time
def opened(pid):
    s = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 16)
    s.bind((pid, 0))
    return s
def receive(s, flags=socket.MSG_DONTWAIT):
    try: return len(s.recv(65536, flags))
    except OSError as e: return errno.errorcode[e.errno]
request = struct.pack("IHHII", 32, 16, 1, 1, 0) + struct.pack("BBH", 3, 1, 0) + struct.pack("HH", 11, 2) + b"nlctrl\0\0"
s, asking = opened(0x11223344), opened(0x11223345)
s.setsockopt(270, 1, 16) # nlctrl's group
edge, level = select.epoll(), select.epoll()
edge.register(s, select.EPOLLIN | select.EPOLLET)
level.register(s, select.EPOLLIN)
print("ready", flush=True)
select.select([s], [], [])
print(receive(s), receive(s), select.select([s], [], [], 0.2)[0] == [])
edge.poll(0); print(level.poll(0) == [])
try: asking.send(request)
except OSError as e: print(errno.errorcode[e.errno], flush=True)
print(len(level.poll(20)), len(edge.poll(20)))
while (got := receive(s)) == "EAGAIN": time.sleep(0.01)
print(got, receive(s))
asking.send(request)
print(receive(asking) > 100, receive(s))
s.send(request)
print(len(edge.poll(1)), len(level.poll(1)), receive(s) > 100)
print(s.getsockname()[0] == 0x11223344, s.getsockopt(270, 9, 4).hex(), flush=True)
