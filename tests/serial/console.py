"""console.py URL TEXT ANSWER: types TEXT and Enter into a serial console, and waits for ANSWER.

What the console says is printed. Status 1 when ANSWER has not come after a minute. Needs the package
websocket-client. TEXT goes out as one binary message in three fragments with a ping between them, which few
clients do and all may (RFC 6455 section 5.4).
"""

import sys
import time

import websocket
from websocket import ABNF

TIME = 60


def main(url, text, answer):
    # The subprotocols that Nova's guides and Horizon's page ask for.
    console = websocket.create_connection(url, timeout=TIME, subprotocols=["binary", "base64"])
    line = text.encode() + b"\r"
    third = max(1, len(line) // 3)
    console.send_frame(ABNF.create_frame(line[:third], ABNF.OPCODE_BINARY, 0))
    console.ping(b"between")
    console.send_frame(ABNF.create_frame(line[third : 2 * third], ABNF.OPCODE_CONT, 0))
    console.send_frame(ABNF.create_frame(line[2 * third :], ABNF.OPCODE_CONT, 1))
    seen, ponged = b"", False
    until = time.monotonic() + TIME
    while answer.encode() not in seen or not ponged:
        if time.monotonic() > until:
            sys.exit(f"console.py: no {answer!r} in {seen!r}")
        frame = console.recv_frame()
        if frame.opcode == ABNF.OPCODE_PONG:
            ponged = frame.data == b"between"
        elif frame.opcode == ABNF.OPCODE_BINARY:
            seen += frame.data
        elif frame.opcode != ABNF.OPCODE_PING:
            sys.exit(f"console.py: a frame with opcode {frame.opcode} after {seen!r}")
    print(seen.decode(errors="replace"))
    console.close()


try:
    main(*sys.argv[1:])
except (OSError, websocket.WebSocketException) as error:
    sys.exit(f"console.py: {error}")
