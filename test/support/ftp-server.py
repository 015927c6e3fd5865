"""An FTP server (RFC 959, RFC 2428) and a TFTP server (RFC 1350) with one file, for tests of the helpers.

usage: ftp-server.py ADDRESS; prints "ready", and a line for each data connection: how, and from whom.
"""
import socket
import struct
import sys
import threading

BODY = b"a file for everybody\n" * 500


def session(control, address):
    own = control.getsockname()
    target = listener = None
    stream = control.makefile("rb")
    say = lambda text: control.sendall(text.encode() + b"\r\n")
    say("220 ready")
    while line := stream.readline():
        command, _, argument = line.decode().strip().partition(" ")
        command = command.upper()
        if command == "USER":
            say("331 password")
        elif command == "PASS":
            say("230 welcome")
        elif command == "PWD":
            say('257 "/"')
        elif command in ("TYPE", "CWD"):
            say("200 ok")
        elif command == "SIZE":
            say(f"213 {len(BODY)}")
        elif command in ("PASV", "EPSV"):
            listener = socket.create_server((own[0], 0), family=control.family)
            port = listener.getsockname()[1]
            if command == "PASV":
                say(f"227 Entering Passive Mode ({own[0].replace('.', ',')},{port >> 8},{port & 255})")
            else:
                say(f"229 Entering Extended Passive Mode (|||{port}|)")
        elif command == "PORT":
            numbers = argument.split(",")
            target = (".".join(numbers[:4]), int(numbers[4]) << 8 | int(numbers[5]))
            say("200 ok")
        elif command == "EPRT":
            _, _, host, port, _ = argument.split(argument[0])
            target = (host, int(port))
            say("200 ok")
        elif command == "RETR":
            say("150 here it comes")
            if listener:
                data, peer = listener.accept()
                how = "passive"
                listener.close()
            else:
                data = socket.create_connection(target, timeout=5, source_address=(own[0], 0))
                peer, how = data.getpeername(), "active"
            print(f"{how} {peer[0]}", flush=True)
            data.sendall(BODY)
            data.close()
            target = listener = None
            say("226 done")
        elif command == "QUIT":
            say("221 bye")
            break
        else:
            say("502 no")
    control.close()


def tftp(server):
    while True:
        request, peer = server.recvfrom(2000)
        if request[:2] != b"\0\1":
            continue
        data = socket.socket(server.family, socket.SOCK_DGRAM)
        data.bind((server.getsockname()[0], 0))
        data.settimeout(5)
        print(f"tftp {peer[0]}", flush=True)
        block = 1
        while True:
            piece = BODY[(block - 1) * 512 : block * 512]
            data.sendto(struct.pack("!HH", 3, block) + piece, peer)
            data.recvfrom(2000)
            if len(piece) < 512:
                break
            block += 1


def main():
    address = sys.argv[1]
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    datagrams = socket.socket(family, socket.SOCK_DGRAM)
    datagrams.bind((address, 69))
    threading.Thread(target=tftp, args=(datagrams,), daemon=True).start()
    server = socket.create_server((address, 21), family=family)
    print("ready", flush=True)
    while True:
        threading.Thread(target=session, args=server.accept(), daemon=True).start()


main()
