"""A tenant: opens a WebSocket as a browser does, and writes down every frame until the connection is over."""

import struct

import wire

# Of the opening answer only this is compared in every case; `upgrade` looks at all of it.
GREETED = "HTTP/1.1 101"


def upgrade_request(path="/", host="127.0.0.1", fields=(), key=wire.KEY, version="13", upgrade="websocket",
                    connection="Upgrade", protocol="HTTP/1.1", method="GET"):
    """An opening handshake; a part that is None is left out."""
    lines = [f"{method} {path} {protocol}"]
    for name, value in (("Host", host), ("Upgrade", upgrade), ("Connection", connection),
                        ("Sec-WebSocket-Key", key), ("Sec-WebSocket-Version", version)):
        if value is not None:
            lines.append(f"{name}: {value}")
    lines += [f"{name}: {value}" for name, value in fields]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


class Tenant(wire.Wire):
    """A WebSocket after its opening handshake, whatever the answer was."""

    def __init__(self, port, path="/", tls=None, extra=b"", **parts):
        super().__init__(port, tls=tls)
        self.send(upgrade_request(path, **parts) + extra)
        self.opening = wire.answer(self)
        self.frames = []

    def send_frame(self, opcode, payload=b"", **how):
        self.send(wire.frame(opcode, payload, **how))

    def binary(self, payload):
        self.send_frame(2, payload)

    def next(self):
        """The next frame in words, kept in `frames`; "" when the connection is over."""
        try:
            first, second = self.exactly(2)
            length = second & 0x7F
            if length == 126:
                length, = struct.unpack("!H", self.exactly(2))
            elif length == 127:
                length, = struct.unpack("!Q", self.exactly(8))
            self.frames.append(wire.described(first, self.exactly(length)))
            if self.frames[-1].startswith("close"):
                # A Close is answered by FIN alone: Nova waits for a word about some of its own, and resets on others.
                self.shut_down()
        except wire.Ended:
            return ""
        return self.frames[-1]

    def wait_for(self, words):
        """Reads frames until one is `words`."""
        while (found := self.next()) != words:
            if not found:
                raise wire.Ended(f"{self.ended} before {words!r}, after {self.frames}")

    def seen(self):
        """Reads to the end. `frames` holds all frames but a Close at the end, which is in `end`."""
        while self.opening.get("status") == GREETED and self.next():
            pass
        self.rest()
        end = self.ended
        frames = list(self.frames)
        if frames and frames[-1].startswith("close"):
            end = f"{frames.pop()}, {end}"
        return {"opening": self.opening.get("status", self.opening), "frames": frames, "end": end}
