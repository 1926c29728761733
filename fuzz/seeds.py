#!/usr/bin/env python3
"""Writes the seeds of the fuzz targets from the test vectors under tests/data.

What stands in front of a seed's bytes is what its target expects there: see the invariants' entry points.
"""

import json
import pathlib
import re

ROOT = pathlib.Path(__file__).resolve().parent.parent


def write(target, name, seed):
    folder = ROOT / "fuzz" / "corpus" / target
    folder.mkdir(parents=True, exist_ok=True)
    slug = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")
    (folder / slug).write_bytes(seed)


def main():
    vectors = json.loads((ROOT / "tests/data/websocket/framer.json").read_text())
    for case in vectors["cases"]:
        # No read plan: everything in one read.
        write("deframer", case["name"], b"\0" + bytes.fromhex(case["hex"]))
    vectors = json.loads((ROOT / "tests/data/websocket/upgrade.json").read_text())
    for case in vectors["cases"]:
        if case["request_hex"]:
            # Four lengths of reads, each one less than the length.
            write("request", case["name"], b"\xff\x07\x00\x3f" + bytes.fromhex(case["request_hex"]))
    vectors = json.loads((ROOT / "tests/data/rfb/nova-security-proxy.json").read_text())
    for case in vectors["cases"]:
        tenant = bytes.fromhex("".join(case["client_sends"]))
        write("negotiation", case["name"], b"\0" + chunks(0x80, bytes.fromhex(case["server_sends"])) + chunks(0, tenant))


def chunks(side, stream):
    """The stream in chunks of at most 100 bytes, each behind its side and length."""
    pieces = (stream[at : at + 100] for at in range(0, len(stream), 100))
    return b"".join(bytes([side | len(piece)]) + piece for piece in pieces)


if __name__ == "__main__":
    main()
