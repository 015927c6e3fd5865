#!/usr/bin/env python3
"""Records how a kernel's openvswitch.ko meters packets: what a meter tells after every packet.

usage: meters.py FILE [SEED]     (as root, where the module is loaded and no datapath exists)

FILE gets {"meters": [{"kbps", "type", "rate", "burst", "bands", "steps": [[LENGTH, USED, PACKETS, BYTES, BAND PACKETS,
BAND BYTES], ...]}]}. Packets come by OVS_PACKET_CMD_EXECUTE with the meter's action, at times as they fall; USED, in
milliseconds from the meter being made, is the meter's own: it tells when the module saw the packet.
"""
import gzip
import json
import random
import struct
import sys
import time

from ovsnl import NLM_F_ECHO, Genl, attr, attrs

u32 = lambda value: struct.pack("=I", value & 0xFFFFFFFF)
METER_ID = 7

# kbps, band type, rate, burst; a None for no band at all
CASES = [
    (False, 1, 100, 100),
    (False, 1, 100, 1),
    (False, 1, 1000, 20),
    (False, 1, 1, 3),
    (False, 1, 7, 2),
    (False, 1, 0xFFFFFFFF, 1),
    (False, 1, 500, 0),
    (False, 7, 50, 5),
    (True, 1, 1000, 1),
    (True, 1, 1000, 12),
    (True, 1, 8, 8),
    (True, 1, 64, 3),
    (True, 1, 100000, 100),
    (True, 1, 1, 1),
    (True, 1, 0xFFFFFFFF, 0xFFFFFFFF),
    (True, 1, 3000000, 5000000),
    (True, 0, 10, 10),
    None,
]


def frame(length):
    return (bytes(12) + b"\x88\xb5" + bytes(1500))[:length]


class Meter:
    def __init__(self, nl, dp, case):
        self.nl, self.dp = nl, dp
        bands = b""
        if case is not None:
            kbps, kind, rate, burst = case
            bands = attr(0, attr(1, u32(kind)) + attr(2, u32(rate)) + attr(3, u32(burst)))
        flag = attr(2) if case is not None and kbps else b""
        errno, _ = nl.call("ovs_meter", 2, dp, attr(1, u32(METER_ID)) + flag + attr(4, bands))
        assert errno == 0, errno

    def tell(self):
        errno, (reply,) = self.nl.call("ovs_meter", 4, self.dp, attr(1, u32(METER_ID)))
        assert errno == 0, errno
        values = dict(attrs(reply[24:]))
        packets, size = struct.unpack("=QQ", values[3])
        band = [0, 0]
        for _, inner in attrs(values[4]):
            band = list(struct.unpack("=QQ", dict(attrs(inner))[4]))
        return struct.unpack("=Q", values[5])[0], [packets, size, *band]

    def packet(self, length):
        body = attr(1, frame(length)) + attr(2, attr(3, u32(0))) + attr(3, attr(19, u32(METER_ID)))
        errno, _ = self.nl.call("ovs_packet", 3, self.dp, body)
        assert errno == 0, errno


def main(path, seed=1):
    rng = random.Random(int(seed))
    nl = Genl()
    _, replies = nl.call("ovs_datapath", 1, bytes(4), attr(1, b"meters0\0") + attr(2, u32(0)), NLM_F_ECHO, 2)
    dp = replies[0][20:24]
    meters = []
    for case in CASES:
        meter = Meter(nl, dp, case)
        start, _ = meter.tell()
        steps = []
        for _ in range(60):
            length = rng.choice([14, 60, 60, 100, 125, 126, 512, 1000, 1514])
            pause = rng.choice([0, 0, 0, 0, 0.0005, 0.001, 0.003, 0.01, 0.03, 0.1])
            time.sleep(pause)
            meter.packet(length)
            used, counts = meter.tell()
            steps.append([length, used - start, *counts])
        kbps, kind, rate, burst = case or (False, 0, 0, 0)
        meters.append({"kbps": kbps, "type": kind, "rate": rate, "burst": burst, "bands": int(case is not None), "steps": steps})
    nl.call("ovs_datapath", 2, dp, b"", 0, 2)
    with gzip.open(path, "wt") as file:
        json.dump({"meters": meters}, file)


if __name__ == "__main__":
    main(*sys.argv[1:])
