#!/usr/bin/env python3
"""Asks a kernel's openvswitch.ko about flow keys.

usage: keys.py QUESTIONS ANSWERS     (as root, where the module is loaded and no datapath exists)

QUESTIONS is a JSON list, ANSWERS gets a list of the same length:

  {"op": "execute", "key": HEX, "frame": HEX}  OVS_PACKET_CMD_EXECUTE with a userspace action
                                               -> KEY of the upcall as HEX, or the negative errno
  {"op": "receive", "frame": HEX}              the frame enters by port 1, no flow matches
                                               -> KEY of the MISS as HEX, or null when nothing comes up
  {"op": "flow", "key": HEX, "mask": HEX|null} OVS_FLOW_CMD_NEW with echo
                                               -> [KEY, MASK] of the answer, or the negative errno
  {"op": "get", "key": HEX}                    OVS_FLOW_CMD_GET -> the negative errno (-ENOENT: the key was understood)
  {"op": "masks", "flows": [[KEY, MASK], …]}   -> number of distinct masks once all are installed
  {"op": "hash", "key", "frame", "hash": N, "alg": N, "basis": N} EXECUTE with OVS_PACKET_ATTR_HASH, actions HASH,
                                               USERSPACE -> KEY of the upcall

KEY and MASK are contents of the nested attributes. PAD attributes, which some machines put before 64-bit values, are
taken out, as x86-64 has none.
"""
import json
import select
import socket
import struct
import subprocess
import sys

NLM_F_REQUEST, NLM_F_ACK, NLM_F_ECHO, NLM_F_CREATE, NLM_F_DUMP = 1, 4, 8, 0x400, 0x300
KEY_TUNNEL, TUNNEL_PAD = 16, 14


def attr(kind, payload=b""):
    return struct.pack("=HH", 4 + len(payload), kind) + payload + b"\0" * (-len(payload) % 4)


def attrs(data):
    found, at = [], 0
    while at + 4 <= len(data):
        size, kind = struct.unpack_from("=HH", data, at)
        if size < 4:
            break
        found.append((kind & 0x3FFF, data[at + 4 : at + size]))
        at += (size + 3) & ~3
    return found


def without_pad(key):
    out = b""
    for kind, payload in attrs(key):
        if kind == KEY_TUNNEL:
            payload = b"".join(attr(k, p) for k, p in attrs(payload) if k != TUNNEL_PAD)
        out += attr(kind, payload)
    return out


class Netlink:
    def __init__(self):
        self.socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 16)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        self.socket.bind((0, 0))
        self.pid = self.socket.getsockname()[0]
        self.sequence = 0

    def send(self, family, command, version, body, flags):
        self.sequence += 1
        size = 20 + len(body)
        self.socket.send(
            struct.pack("=IHHIIBBH", size, family, NLM_F_REQUEST | flags, self.sequence, 0, command, version, 0) + body
        )

    def messages(self, timeout=0.0):
        """One datagram's messages as (type, sequence, rest); none when nothing comes in time."""
        if not select.select([self.socket], [], [], timeout)[0]:
            return []
        data, found = self.socket.recv(1 << 17), []
        while len(data) >= 16:
            size, kind, _, sequence, _ = struct.unpack_from("=IHHII", data)
            found.append((kind, sequence, data[16:size]))
            data = data[(size + 3) & ~3 :]
        return found

    def request(self, family, command, version, body, flags=0):
        """Sends with ACK; returns (errno, list of answers without genlmsghdr)."""
        self.send(family, command, version, body, flags | NLM_F_ACK)
        answers = []
        while True:
            for kind, sequence, rest in self.messages(5):
                if sequence != self.sequence:
                    continue
                if kind == 2:
                    return struct.unpack_from("=i", rest)[0], answers
                answers.append(rest[4:])

    def family(self, name):
        _, answers = self.request(16, 3, 1, attr(2, name.encode() + b"\0"))
        return dict((k, p) for k, p in attrs(answers[0]))[1][0] | dict(attrs(answers[0]))[1][1] << 8


def u32(kind, value):
    return attr(kind, struct.pack("=I", value))


def main():
    with open(sys.argv[1]) as source:
        questions = json.load(source)
    with open("/proc/sys/net/ipv6/conf/all/disable_ipv6", "w") as knob:
        knob.write("1")
    with open("/proc/sys/net/ipv6/conf/default/disable_ipv6", "w") as knob:
        knob.write("1")
    subprocess.run("ip link add nkref0 type veth peer name nkref1", shell=True, check=True)
    subprocess.run("ip link set nkref0 up; ip link set nkref1 up", shell=True, check=True)

    control, upcalls = Netlink(), Netlink()
    datapath, vport, flow, packet = (
        control.family(name) for name in ("ovs_datapath", "ovs_vport", "ovs_flow", "ovs_packet")
    )
    error, answers = control.request(
        datapath, 1, 2, struct.pack("=I", 0) + attr(1, b"nkref\0") + u32(2, 0) + u32(5, 0), NLM_F_ECHO
    )
    assert error == 0, error
    dp = struct.unpack_from("=I", answers[0])[0]
    header = struct.pack("=I", dp)
    error, _ = control.request(
        vport, 1, 1, header + u32(1, 1) + u32(2, 1) + attr(3, b"nkref0\0") + u32(5, upcalls.pid)
    )
    assert error == 0, error
    wire = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
    wire.bind(("nkref1", 0))

    def upcall(timeout):
        for _, _, rest in upcalls.messages(timeout):
            found = dict(attrs(rest[8:]))
            return found
        return None

    while upcall(0.3):
        pass

    def execute(question, extra=b"", before=b""):
        actions = before + attr(2, u32(1, upcalls.pid) + attr(2, b"reference"))
        body = header + attr(1, bytes.fromhex(question["frame"])) + attr(2, bytes.fromhex(question["key"]))
        error, _ = control.request(packet, 3, 1, body + attr(3, actions) + extra)
        found = upcall(0 if error else 1)
        if error:
            return error
        return without_pad(found[2]).hex()

    def flush():
        control.request(flow, 2, 1, header)

    def answer(question):
        op = question["op"]
        if op == "execute":
            return execute(question)
        if op == "hash":
            return execute(
                question,
                attr(11, struct.pack("=Q", question["hash"])),
                attr(8, struct.pack("=II", question["alg"], question["basis"])),
            )
        if op == "receive":
            wire.send(bytes.fromhex(question["frame"]))
            found = upcall(0.003)
            if found is None:
                return None
            if found[1].hex() != question["frame"]:
                return {"key": without_pad(found[2]).hex(), "packet": found[1].hex()}
            return without_pad(found[2]).hex()
        if op == "get":
            return control.request(flow, 3, 1, header + attr(1, bytes.fromhex(question["key"])))[0]
        if op == "flow":
            body = header + attr(1, bytes.fromhex(question["key"]))
            if question["mask"] is not None:
                body += attr(7, bytes.fromhex(question["mask"]))
            error, answers = control.request(flow, 1, 1, body + attr(2), NLM_F_ECHO | NLM_F_CREATE)
            if error:
                return error
            flush()
            found = dict(attrs(answers[0][4:]))
            return [without_pad(found[1]).hex(), without_pad(found[7]).hex()]
        if op == "masks":
            for key, mask in question["flows"]:
                body = header + attr(1, bytes.fromhex(key))
                if mask is not None:
                    body += attr(7, bytes.fromhex(mask))
                error, _ = control.request(flow, 1, 1, body + attr(2), NLM_F_CREATE)
                if error:
                    flush()
                    return error
            _, answers = control.request(datapath, 3, 2, header)
            flush()
            stats = dict(attrs(answers[0][4:]))[4]
            return struct.unpack_from("=QI", stats)[1]
        raise ValueError(op)

    results = [answer(question) for question in questions]
    with open(sys.argv[2], "w") as target:
        json.dump(results, target)


main()
