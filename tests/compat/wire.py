"""A client that sees bytes: HTTP answers, WebSocket frames, and how a connection ends."""

import base64
import hashlib
import os
import socket
import ssl
import struct

# Longer than either side ever takes, even on a loaded machine.
SECONDS_MAX = 30

KEY = "dGhlIHNhbXBsZSBub25jZQ=="  # RFC 6455 section 1.3
OPCODES = {0: "continuation", 1: "text", 2: "binary", 8: "close", 9: "ping", 10: "pong"}


class Wire:
    """One connection to a proxy."""

    def __init__(self, port, host="127.0.0.1", tls=None):
        self.socket = socket.create_connection((host, port), timeout=SECONDS_MAX)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if tls is not None:
            self.socket = tls.wrap_socket(self.socket)
        self.buffer = b""
        self.ended = None  # "eof" or "reset" once it is

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def send(self, data):
        """A peer that has closed already is seen when reading."""
        try:
            self.socket.sendall(data)
        except (BrokenPipeError, ConnectionResetError):
            pass

    def fill(self):
        """Reads once; False when the connection is over."""
        if self.ended:
            return False
        try:
            data = self.socket.recv(65536)
        except (ConnectionResetError, ssl.SSLError):
            self.ended = "reset"
            return False
        if not data:
            self.ended = "eof"
        self.buffer += data
        return bool(data)

    def exactly(self, count):
        while len(self.buffer) < count:
            if not self.fill():
                raise Ended(self.ended)
        taken, self.buffer = self.buffer[:count], self.buffer[count:]
        return taken

    def until(self, mark):
        while mark not in self.buffer:
            if not self.fill():
                raise Ended(self.ended)
        taken, self.buffer = self.buffer.split(mark, 1)
        return taken

    def rest(self):
        """Everything up to the end of the connection, and how it ended."""
        while self.fill():
            pass
        taken, self.buffer = self.buffer, b""
        return taken, self.ended

    def shut_down(self):
        try:
            self.socket.shutdown(socket.SHUT_WR)
        except OSError:
            pass

    def reset(self):
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()

    def close(self):
        self.socket.close()


class Ended(Exception):
    """The connection was over before what was expected came."""


def head(wire):
    """The status line and the fields of an answer: names in the order they came, values by lower-case name."""
    lines = wire.until(b"\r\n\r\n").decode("latin-1").split("\r\n")
    fields = {}
    for line in lines[1:]:
        name, _, value = line.partition(":")
        fields.setdefault(name.lower(), value.strip())
    return lines[0], fields


def answer(wire, method="GET"):
    """One HTTP answer as the fields of an observation; `end` tells when the server ended instead."""
    try:
        status, fields = head(wire)
    except Ended as how:
        # An answer in the manner of HTTP/0.9, or none.
        text, wire.buffer = wire.buffer.decode("latin-1"), b""
        return {"end": str(how), **({"text": text} if text else {})}
    version, code, phrase = (status.split(" ", 2) + [""])[:3]
    seen = {"status": f"{version} {code}", "phrase": phrase, **{f"header {name}": value for name, value in fields.items()}}
    has_body = method != "HEAD" and code not in ("304", "100", "101")
    if has_body and "content-length" in fields:
        body = wire.exactly(int(fields["content-length"]))
        seen["body"] = body.decode("latin-1")
    return seen


def exchange(port, *requests, tls=None):
    """Sends requests on one connection, each after the last one's answer; the last connection state as `then`."""
    answers = []
    with Wire(port, tls=tls) as wire:
        for request in requests:
            wire.send(request)
            answers.append(answer(wire, request.split(b" ", 1)[0].decode("latin-1")))
            if "end" in answers[-1]:
                break
        return answers, wire_state(wire)


def wire_state(wire):
    """Whether the server keeps the connection, without waiting: asked with one more request."""
    if wire.ended:
        return "closed"
    wire.send(b"HEAD /probe-of-keep-alive HTTP/1.1\r\nHost: probe\r\n\r\n")
    try:
        head(wire)
        return "kept"
    except Ended:
        return "closed"


def accept_of(key):
    return base64.b64encode(hashlib.sha1((key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11").encode()).digest()).decode()


def frame(opcode, payload=b"", fin=True, mask=True, rsv=0):
    first = (0x80 if fin else 0) | rsv << 4 | opcode
    length = len(payload)
    if length < 126:
        size = struct.pack("!BB", first, (0x80 if mask else 0) | length)
    elif length < 65536:
        size = struct.pack("!BBH", first, (0x80 if mask else 0) | 126, length)
    else:
        size = struct.pack("!BBQ", first, (0x80 if mask else 0) | 127, length)
    if not mask:
        return size + payload
    key = os.urandom(4)
    return size + key + bytes(byte ^ key[at % 4] for at, byte in enumerate(payload))


def described(first, payload):
    """A frame in words: `binary abc`, `close 1000 Target closed`, `pong`."""
    opcode = first & 0x0F
    words = [OPCODES.get(opcode, f"opcode {opcode}")]
    if first & 0x70:
        words.append(f"rsv {first >> 4 & 7}")
    if not first & 0x80:
        words.append("unfinished")
    if opcode == 8 and len(payload) >= 2:
        words += [str(struct.unpack("!H", payload[:2])[0]), payload[2:].decode("utf-8", "replace")]
    elif payload:
        words.append(payload.decode("latin-1").encode("unicode_escape").decode())
    return " ".join(word for word in words if word)
