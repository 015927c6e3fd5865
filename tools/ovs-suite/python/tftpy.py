"""A TFTP server under the names by which the suite's test-l7.py asks for one; Debian packages no server in Python.

Reads (RFC 1350) of files under one directory, in octets, one transfer after another. Options are not answered, so a client
that offers some (RFC 2347) goes on without.
"""

import os
import socket
import struct

RRQ, DATA, ACK, ERROR = 1, 3, 4, 5
NOT_FOUND, ILLEGAL = 1, 4
BLOCK = 512
TIMEOUT = 1
TRIES = 5


class TftpShared:
    DEF_TFTP_PORT = 69


class TftpServer:
    def __init__(self, tftproot):
        self.root = os.path.realpath(tftproot)

    def listen(self, ip, port):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as requests:
            requests.bind((ip, port))
            while True:
                request, client = requests.recvfrom(2048)
                # A port of its own for every transfer: that is what makes TFTP need a conntrack helper.
                with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as transfer:
                    transfer.connect(client)
                    transfer.settimeout(TIMEOUT)
                    self.answer(transfer, request)

    def answer(self, transfer, request):
        if len(request) < 4 or struct.unpack("!H", request[:2])[0] != RRQ:
            return fail(transfer, ILLEGAL)
        path = os.path.realpath(os.path.join(self.root, request[2:].split(b"\0")[0].decode()))
        if os.path.dirname(path) != self.root or not os.path.isfile(path):
            return fail(transfer, NOT_FOUND)
        with open(path, "rb") as file:
            number = 1
            while True:
                block = file.read(BLOCK)
                if not send(transfer, number & 0xFFFF, block) or len(block) < BLOCK:
                    return
                number += 1


def fail(transfer, code):
    transfer.send(struct.pack("!HH", ERROR, code) + b"\0")


def send(transfer, number, block):
    """Sends a block until it is acknowledged; false when the client is gone."""
    for _ in range(TRIES):
        try:
            transfer.send(struct.pack("!HH", DATA, number) + block)
            while True:
                answer = transfer.recv(2048)
                if answer[:4] == struct.pack("!HH", ACK, number):
                    return True
                if answer[:2] == struct.pack("!H", ERROR):
                    return False
        except (socket.timeout, ConnectionRefusedError):
            pass
    return False
