"""Raw generic netlink to the openvswitch module: just enough to record what it answers."""
import socket
import struct

NLM_F_REQUEST, NLM_F_ACK, NLM_F_ECHO, NLM_F_CREATE, NLM_F_EXCL = 1, 4, 8, 0x400, 0x200
NLMSG_ERROR = 2


def attr(kind, payload=b""):
    """One attribute, padded to 4 bytes."""
    head = struct.pack("=HH", 4 + len(payload), kind)
    return head + payload + bytes(-len(payload) % 4)


def attrs(data):
    """Top-level attributes of data as (type without flags, payload)."""
    at = 0
    while at + 4 <= len(data):
        size, kind = struct.unpack_from("=HH", data, at)
        if size < 4 or at + size > len(data):
            break
        yield kind & 0x3FFF, data[at + 4 : at + size]
        at += (size + 3) & ~3


class Genl:
    """A generic netlink socket."""

    def __init__(self):
        self.sock = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 16)
        self.sock.bind((0, 0))
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
        self.pid = self.sock.getsockname()[0]
        self.seq = 0
        self.families = {}

    def family(self, name):
        if name not in self.families:
            _, replies = self.call(16, 3, b"", attr(2, name.encode() + b"\0"), version=2)
            self.families[name] = struct.unpack("=H", dict(attrs(replies[0][20:]))[1])[0]
        return self.families[name]

    def call(self, family, command, header, body, flags=0, version=1):
        """Sends one request. Returns (errno, messages that came before the acknowledgement)."""
        if isinstance(family, str):
            family = self.family(family)
        self.seq += 1
        body = struct.pack("=BBH", command, version, 0) + header + body
        self.sock.send(
            struct.pack("=IHHII", 16 + len(body), family, NLM_F_REQUEST | NLM_F_ACK | flags, self.seq, self.pid) + body
        )
        replies = []
        while True:
            data = self.sock.recv(1 << 20)
            while len(data) >= 16:
                size, kind, _, seq, _ = struct.unpack_from("=IHHII", data)
                message, data = data[:size], data[(size + 3) & ~3 :]
                if kind == NLMSG_ERROR and seq == self.seq:
                    return -struct.unpack_from("=i", message, 16)[0], replies
                replies.append(message)

    def drain(self):
        """Datagrams that are waiting."""
        found = []
        while True:
            try:
                found.append(self.sock.recv(1 << 20, socket.MSG_DONTWAIT))
            except BlockingIOError:
                return found
