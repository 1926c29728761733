"""A console behind the proxy: a real QEMU, and a browser's part of a session."""

import base64
import os
import socket
import struct
import subprocess

from host import wait_for

# The suite has a network of its own.
DISPLAY = 7
INSTANCE = "11111111-2222-3333-4444-555555555555"


def guest():
    """A QEMU that has stopped at its first instruction, with a screen; to be killed."""
    words = ["qemu-system-x86_64", "-accel", "tcg", "-m", "16", "-nodefaults", "-vga", "std", "-display", "none", "-S"]
    process = subprocess.Popen(words + ["-name", "instance-0000002a", "-vnc", f"127.0.0.1:{DISPLAY}"],
                               stdin=subprocess.DEVNULL)
    wait_for("QEMU to listen", lambda: can_connect(5900 + DISPLAY))
    return process


def can_connect(port):
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def token(host, program="consolegate"):
    """A token for the guest's screen, made by nova in the database that `configure` names."""
    place = f"--host 127.0.0.1 --port {5900 + DISPLAY} --instance {INSTANCE}"
    line = f"{program} token create --init --database sqlite:////var/lib/nova/cell.sqlite --type novnc {place}"
    return host.run(line, user="nova")[-36:]


def configure(host, text=""):
    """Adds a cell database, and `text` behind an option of ours, to Debian's nova.conf."""
    with open(host.root / "etc/nova/nova.conf", "a") as conf:
        conf.write("\n[database]\nconnection = sqlite:////var/lib/nova/cell.sqlite\n[consolegate]\nport_check = off\n" + text)


def see(host, port=6080):
    """A session with the guest's screen, from its token on."""
    qemu = guest()
    try:
        name = Browser(port, token(host)).screens_name()
        assert name == "QEMU (instance-0000002a)", name
    finally:
        qemu.kill()
        qemu.wait()


class Browser:
    def __init__(self, port, token):
        self.stream = socket.create_connection(("127.0.0.1", port), timeout=60)
        self.received = b""
        key = base64.b64encode(os.urandom(16)).decode()
        self.stream.sendall(f"GET /?token={token} HTTP/1.1\r\nHost: console\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                            f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n".encode())
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            head += self.stream.recv(1)
        assert head.startswith(b"HTTP/1.1 101 "), head

    def screens_name(self):
        """Negotiates RFB and returns what the hypervisor calls its screen."""
        assert self.bytes(12) == b"RFB 003.008\n"
        self.send(b"RFB 003.008\n")
        assert self.bytes(2) == b"\x01\x01"
        self.send(b"\x01")
        assert self.bytes(4) == bytes(4)
        self.send(b"\x01")
        return self.bytes(struct.unpack(">20xI", self.bytes(24))[0]).decode()

    def send(self, payload):
        mask = os.urandom(4)
        masked = bytes(byte ^ mask[at % 4] for at, byte in enumerate(payload))
        self.stream.sendall(bytes([0x82, 0x80 | len(payload)]) + mask + masked)

    def bytes(self, count):
        """The next bytes, whatever frames they come in."""
        while len(self.received) < count:
            first, length = self.exactly(2)
            assert first == 0x82, f"opcode {first:#x}"
            if length == 126:
                [length] = struct.unpack(">H", self.exactly(2))
            self.received += self.exactly(length)
        found, self.received = self.received[:count], self.received[count:]
        return found

    def exactly(self, count):
        found = b""
        while len(found) < count:
            piece = self.stream.recv(count - len(found))
            assert piece, "the proxy ended the session"
            found += piece
        return found
