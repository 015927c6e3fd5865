#!/usr/bin/env python3
"""Records how a kernel's openvswitch.ko looks flows up: what its counters say after every flow, packet and sorting of masks.

usage: flow_table.py FILE [SEED]     (as root, where the module is loaded, no datapath exists and there is one processor)

FILE gets {"rounds": [[operation, …], …]}; all masks have been sorted since the last packet when a round ends. Operations:

  ["put", GROUP, BITS, VALUE]           OVS_FLOW_CMD_NEW: IPv4 protocol GROUP and the first BITS of the destination VALUE
  ["del", GROUP, BITS, VALUE]
  ["flush"]
  ["cache", SIZE]                       OVS_DP_CMD_SET of MASKS_CACHE_SIZE
  ["packet", GROUP, VALUE, HASH, ID]    OVS_PACKET_CMD_EXECUTE with HASH (0 = none, with the cache off only) and the action RECIRC(ID)

each followed by [n_hit, n_missed, n_mask_hit, n_cache_hit, n_masks, n_flows] as a last element. A mask belongs to one GROUP, so
no two flows match the same packet.
"""
import gzip
import json
import random
import struct
import sys
import time

from ovsnl import NLM_F_ECHO, Genl, attr, attrs

u32 = lambda value: struct.pack("=I", value & 0xFFFFFFFF)
ETHERTYPE = attr(6, b"\x08\x00")
# The module's 4 s, and a tick until its timer is set again.
INTERVAL = 4.01


def frame(group, value):
    header = struct.pack(">BBHHHBBHI", 0x45, 0, 20, 0, 0, 64, group, 0, 0x0A000001) + struct.pack(">I", value)
    total = sum(struct.unpack(">10H", header))
    total = (total & 0xFFFF) + (total >> 16)
    return bytes(12) + b"\x08\x00" + header[:10] + struct.pack(">H", ~total & 0xFFFF) + header[12:]


def ipv4(group, value):
    return attr(7, bytes(4) + struct.pack(">I", value) + bytes([group, 0, 0, 0]))


class Table:
    def __init__(self):
        self.nl = Genl()
        error, replies = self.nl.call(
            "ovs_datapath", 1, u32(0), attr(1, b"nkft\0") + attr(2, u32(0)) + attr(5, u32(0)), NLM_F_ECHO, version=2
        )
        assert error == 0, error
        self.dp = replies[0][20:24]
        self.unseen = [0, 0, 0, 0]

    def flow(self, command, group, bits, value):
        prefix = (0xFFFFFFFF << (32 - bits)) & 0xFFFFFFFF
        key = attr(4, bytes(12)) + ETHERTYPE
        body = attr(1, key + ipv4(group, value & prefix))
        if command == 1:
            body += attr(7, attr(6, b"\xff\xff") + ipv4(255, prefix)) + attr(2)
        error, _ = self.nl.call("ovs_flow", command, self.dp, body)
        assert error == 0, (error, command, group, bits, value)

    def run(self, kind, *arguments):
        if kind == "put":
            self.flow(1, *arguments)
        elif kind == "del":
            self.flow(2, *arguments)
        elif kind == "flush":
            assert self.nl.call("ovs_flow", 2, self.dp, b"")[0] == 0
        elif kind == "cache":
            assert self.nl.call("ovs_datapath", 4, self.dp, attr(5, u32(0)) + attr(7, u32(arguments[0])), version=2)[0] == 0
        elif kind == "packet":
            group, value, number, recirc = arguments
            body = attr(1, frame(group, value)) + attr(2, attr(3, u32(0))) + attr(3, attr(7, u32(recirc)))
            if number:
                body += attr(11, struct.pack("=Q", number | 3 << 32))
            error, _ = self.nl.call("ovs_packet", 3, self.dp, body)
            assert error == 0, error
        counters = self.counters()
        return [kind, *arguments, [count - unseen for count, unseen in zip(counters, self.unseen + [0, 0])]]

    def counters(self):
        _, replies = self.nl.call("ovs_datapath", 3, self.dp, b"", version=2)
        found = dict(attrs(replies[0][24:]))
        hit, missed, _, flows = struct.unpack("=4Q", found[3])
        mask_hit, masks, _, cache_hit = struct.unpack_from("=QIIQ", found[4])
        return [hit, missed, mask_hit, cache_hit, masks, flows]

    def sorted_at(self):
        """Waits until masks are sorted, and tells when that was: a flow behind an idle mask takes one probe less."""
        self.run("flush")
        self.run("cache", 0)
        self.run("put", 151, 8, 0)
        self.run("put", 152, 8, 0)
        while True:
            before = self.counters()[2]
            self.run("packet", 152, 5, 0, 0)
            if self.counters()[2] - before == 1:
                return time.monotonic()


class Questions:
    """A random script: what is put is remembered, so that nothing is put twice or removed in vain."""

    def __init__(self, seed):
        self.random = random.Random(seed)
        self.flows = []
        self.hashes = [self.random.getrandbits(32) or 1 for _ in range(40)]

    def group_of(self, bits):
        return 150 + bits

    def put(self, bits, value):
        flow = [self.group_of(bits), bits, (value << (32 - bits)) & 0xFFFFFFFF]
        if flow in self.flows:
            return None
        self.flows.append(flow)
        return ["put", *flow]

    def packet(self, numbers, recircs):
        pick = self.random
        if self.flows and pick.random() < 0.85:
            group, bits, value = pick.choice(self.flows)
            value |= pick.getrandbits(32) >> bits
        else:
            group, value = self.group_of(pick.randrange(8, 33)), pick.getrandbits(32)
        return ["packet", group, value, pick.choice(numbers), pick.choice(recircs)]

    def round(self, number):
        pick = self.random
        kinds = number % 5
        script = []
        if kinds == 0:
            self.flows = []
            script += [["flush"], ["cache", 0]]
            # Round 5: as many masks as make the module's array of them grow twice.
            for bits in range(8, 33) if number % 10 == 5 else pick.sample(range(8, 33), pick.randrange(2, 12)):
                for value in range(pick.randrange(1, 4)):
                    script.append(self.put(bits, value + 1))
        script.append(["cache", pick.choice([0, 1, 2, 4, 16, 256, 256, 256, 4096])])
        numbers = self.hashes[: (40, 1, 3, 12, 40)[kinds]]
        for _ in range(160):
            dice = pick.random()
            if dice < 0.06:
                script.append(self.put(pick.randrange(8, 33), pick.randrange(1, 6)))
            elif dice < 0.11 and self.flows:
                script.append(["del", *self.flows.pop(pick.randrange(len(self.flows)))])
            elif dice < 0.115:
                script.append(["cache", pick.choice([0, 4, 256])])
            else:
                script.append(self.packet(numbers, [0, 0, 1, 7]))
        # Which mask stands where: one packet for each, with the caches off.
        script.append(["cache", 0])
        for _ in range(2):
            # Counted as it stands, so that after sorting some masks have been used as often as others.
            for bits in pick.sample(range(8, 33), 8):
                flow = next((flow for flow in self.flows if flow[1] == bits), None)
                if flow is not None:
                    script += [["packet", flow[0], flow[2], 0, 0]] * pick.randrange(0, 3)
        return [step for step in script if step is not None]

    def places(self):
        seen = {}
        for flow in self.flows:
            seen.setdefault(flow[1], flow)
        return [["cache", 0]] + [["packet", flow[0], flow[2], 0, 0] for flow in seen.values()]


def main(path, seed, count=30):
    table = Table()
    questions = Questions(seed)
    rounds = []
    for number in range(count):
        if number % 5 == 0:
            before = table.counters()[:4]
            at = table.sorted_at()
            # What it took to find out is not told.
            table.unseen = [old + new - last for old, new, last in zip(table.unseen, table.counters(), before)]
        script = (questions.places() if number % 5 else []) + questions.round(number)
        rounds.append([table.run(*step) for step in script])
        assert time.monotonic() < at + INTERVAL - 0.5, "a round takes too long"
        at += INTERVAL
        time.sleep(max(0, at + 0.3 - time.monotonic()))
    with open(path, "wb") as file, gzip.GzipFile("", "wb", 9, file, 0) as packed:
        packed.write((json.dumps({"rounds": rounds}, separators=(",", ":")) + "\n").encode())


main(sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 612)
