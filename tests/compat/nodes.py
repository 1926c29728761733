"""Compute nodes: small TCP servers whose console does what a case needs, and that remember what they got."""

import socket
import struct
import threading

from sides import note_port
from wire import SECONDS_MAX

VERSION = b"RFB 003.008\n"


class Console:
    """The connection of a proxy to a node, as a node's script sees it."""

    def __init__(self, connection):
        self.connection = connection
        self.received = b""
        self.end = None

    def send(self, data):
        try:
            self.connection.sendall(data)
        except OSError:
            pass

    def read(self, count):
        """Up to `count` bytes, fewer at the end."""
        taken = b""
        while len(taken) < count:
            data = self.once(count - len(taken))
            if not data:
                break
            taken += data
        return taken

    def once(self, most=65536):
        try:
            data = self.connection.recv(most)
        except OSError:
            self.end = "reset"
            return b""
        if not data:
            self.end = "eof"
        self.received += data
        return data

    def drain(self):
        while self.once():
            pass

    def reset(self):
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


class Node:
    """A listening console. `script` runs for each connection; without one the node greets with nothing and reads."""

    def __init__(self, script=None):
        self.script = script or Console.drain
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        note_port(self.port)
        self.consoles, self.threads = [], []
        self.acceptor = threading.Thread(target=self.accept, daemon=True)
        self.acceptor.start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        try:
            self.listener.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self.listener.close()
        for console in self.consoles:
            try:
                console.connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
        for thread in [self.acceptor, *self.threads]:
            thread.join(SECONDS_MAX)

    def accept(self):
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            connection.settimeout(SECONDS_MAX)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            console = Console(connection)
            self.consoles.append(console)
            thread = threading.Thread(target=self.serve, args=(console,), daemon=True)
            self.threads.append(thread)
            thread.start()

    def serve(self, console):
        with console.connection:
            self.script(console)

    def seen(self):
        """What the node got, when its connections are over: the fields of an observation."""
        if not self.consoles:
            return {"node": "not contacted"}
        for thread in self.threads:
            thread.join(SECONDS_MAX)
        return {"node": [console.received.decode("latin-1").encode("unicode_escape").decode()
                         for console in self.consoles]}


def echo(console):
    """Greets, then sends back whatever comes."""
    console.send(b"hello")
    while data := console.once():
        console.send(data)


def says(data, then="drain"):
    """Sends `data` and ends: at once ("close"), by a reset, or when the proxy does ("drain")."""

    def script(console):
        console.send(data)
        if then == "drain":
            console.drain()
        elif then == "reset":
            console.once()
            console.reset()

    return script


def rfb(version=VERSION, types=b"\x01", result=b"\0\0\0\0", then=echo):
    """An RFB server without authentication, up to SecurityResult; then another script."""

    def script(console):
        console.send(version)
        console.read(12)
        console.send(bytes([len(types)]) + types)
        if console.read(1) in (b"", b"\0"):
            console.drain()
            return
        console.send(result)
        then(console)

    return script
