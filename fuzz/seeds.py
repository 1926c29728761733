#!/usr/bin/env python3
"""Writes the seeds of the fuzz targets from the test vectors under tests/data.

A seed is the read plan (one zero byte: everything in one read, see invariants/split.rs) and the stream.
"""

import json
import pathlib
import re

ROOT = pathlib.Path(__file__).resolve().parent.parent


def write(target, name, stream):
    folder = ROOT / "fuzz" / "corpus" / target
    folder.mkdir(parents=True, exist_ok=True)
    slug = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")
    (folder / slug).write_bytes(b"\0" + stream)


def main():
    vectors = json.loads((ROOT / "tests/data/websocket/framer.json").read_text())
    for case in vectors["cases"]:
        write("deframer", case["name"], bytes.fromhex(case["hex"]))


if __name__ == "__main__":
    main()
