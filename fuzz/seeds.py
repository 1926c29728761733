#!/usr/bin/env python3
"""Writes the seeds of the fuzz targets from the test vectors under tests/data.

What stands in front of a seed's bytes is what its target expects there: see the invariants' entry points.
"""

import json
import pathlib
import re
import struct
import zlib

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
    rfb()
    passwords_and_old_versions()
    encoder()
    proxy_header()
    session()
    slow_path()


def rfb():
    """A byte that says which schemes are listed, then chunks; for one side alone, how it is cut and its bytes."""
    vectors = json.loads((ROOT / "tests/data/rfb/nova-security-proxy.json").read_text())
    for case in vectors["cases"]:
        compute = bytes.fromhex(case["server_sends"])
        tenant = bytes.fromhex("".join(case["client_sends"]))
        write("negotiation", case["name"], schemes(compute) + chunks(0x80, compute) + chunks(0, tenant))
        write("rfb_compute", case["name"], schemes(compute) + b"\x7f" + compute)
        write("rfb_tenant", case["name"], b"\0\x7f" + tenant)
    seen = set()
    for path in sorted((ROOT / "tests/data/rfb").glob("qemu-*.json")):
        # What runs inside TLS as well: to the handshake that is one stream. Many conversations begin alike.
        steps = [step for step in json.loads(path.read_text())["steps"] if "hex" in step]
        said = {way: bytes.fromhex("".join(s["hex"] for s in steps if s["dir"] == way))[:100] for way in ("s2c", "c2s")}
        for target, stream in (
            ("rfb_compute", schemes(said["s2c"]) + b"\x07" + said["s2c"]),
            ("rfb_tenant", b"\0\x01" + said["c2s"]),
        ):
            if (target, stream) not in seen:
                write(target, path.stem, stream)
            seen.add((target, stream))


def passwords_and_old_versions():
    """Compute nodes that want a password or speak an older RFB, and an operator who allows all of that."""
    # All that may be allowed, with None and with VeNCrypt and None: the last quarter of twenty.
    allowed, with_vencrypt = 15, 16
    challenge, accepted = b"sixteen bytes---", b"\0\0\0\0"
    tenant = b"RFB 003.008\n\x01\x01"
    for number, (name, first, compute) in enumerate((
        ("vnc password", allowed, b"RFB 003.008\n\x01\x02" + challenge + accepted),
        ("x509 vnc", with_vencrypt, b"RFB 003.008\n\x01\x13\0\x02\0\x01\0\0\x01\x05\x01" + challenge + accepted),
        ("rfb 3 3", allowed, b"RFB 003.003\n\0\0\0\x01"),
        ("rfb 3 3 vnc password", allowed, b"RFB 003.003\n\0\0\0\x02" + challenge + accepted),
        ("rfb 3 7", allowed, b"RFB 003.007\n\x01\x01"),
        ("rfb 3 7 vnc password", allowed, b"RFB 003.007\n\x01\x02" + challenge + accepted),
        ("rfb 3 8", allowed, b"RFB 003.008\n\x01\x01" + accepted),
    ), 1):
        write("negotiation", name, bytes([first]) + chunks(0x80, compute + b"screen") + chunks(0, tenant + b"keys"))
        write("rfb_compute", name, bytes([first]) + b"\x7f" + compute + b"screen")
        write("rfb_tenant", name, bytes([first + 20 * number]) + b"\x7f" + tenant + b"keys")


def schemes(compute):
    """VeNCrypt before None where the compute node offers it."""
    return b"\1" if b"\x13" in compute[12:16] else b"\0"


def encoder():
    """A frame is six bytes (kind, length, key) and its payload."""
    key = b"\x37\xfa\x21\x3d"
    write("encoder", "binary", b"\0" + b"\x01\x05" + key + b"hello")
    write("encoder", "fragments and a ping", b"\x01\x03" + b"\x11\x03" + key + b"abc" + b"\x00\x02" + key + b"hi" + b"\x01\x03" + key + b"def")
    write("encoder", "longer", b"\0" + b"\x09\xff" + key + bytes(range(256)) + bytes(44))
    write("encoder", "pings and a close", b"\0" + b"\x10ping\x10pong\x02\x19reason\x02\x10late\x02\x03")


def proxy_header():
    v2 = b"\r\n\r\n\0\r\nQUIT\n"
    write("proxy_header", "v1 tcp4", b"PROXY TCP4 203.0.113.9 192.0.2.1 40000 6080\r\nGET / HTTP/1.1\r\n")
    write("proxy_header", "v1 tcp6", b"PROXY TCP6 2001:db8::9 2001:db8::1 40000 6080\r\n")
    write("proxy_header", "v1 unknown", b"PROXY UNKNOWN ffff::1 x\r\n")
    write("proxy_header", "v2 tcp4", v2 + b"\x21\x11\0\x0c" + bytes([203, 0, 113, 9, 192, 0, 2, 1, 0x9c, 0x40, 0x17, 0xc0]) + b"GET")
    write("proxy_header", "v2 tcp6", v2 + b"\x21\x21\0\x24" + bytes(36))
    write("proxy_header", "v2 local", v2 + b"\x20\0\0\0")
    write("proxy_header", "v2 tlv", v2 + b"\x21\x11\0\x13" + bytes(12) + b"\x04\0\x04abcd")
    write("proxy_header", "v2 of version 3", v2 + b"\x31\x11\0\x0c" + bytes(12))


def session():
    """A byte of settings, then steps: see `World::step`."""
    def sends(side, data):
        return b"".join(bytes([side, len(data[at : at + 255])]) + data[at : at + 255] for at in range(0, len(data), 255))

    head = (
        b"GET /websockify?token=ab5a1e5e-70c0-4e11-9a55-5ec2e7ab1e00 HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\n"
        b"Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
    )
    masked = lambda first, data: bytes([first, 0x80 | len(data), 0, 0, 0, 0]) + data
    proxy = b"PROXY TCP4 203.0.113.9 192.0.2.1 40000 6080\r\n"
    # Written by the kernel; the token is good; its name is one address; connected.
    opened = b"\x06\x08\x08\x09"
    rfb = (
        sends(0x80, b"RFB 003.008\n") + b"\x06\x86\x06" + sends(0x80, b"\x01\x01")
        + sends(0, masked(0x82, b"RFB 003.008\n")) + b"\x06\x06\x86" + sends(0, masked(0x82, b"\x01"))
        + b"\x86\x06" + sends(0x80, b"\0\0\0\0") + b"\x06\x06"
    )
    relay = sends(0, masked(0x82, b"keys")) + b"\x86" + sends(0x80, b"screen") + b"\x06" + sends(0, masked(0x89, b"p")) + b"\x06"
    splice = b"".join(sends(0x80 | 0x10, b"x" * 200) + b"\x06" for _ in range(6))
    close = sends(0, masked(0x88, b"\x03\xe8")) + b"\x86\x06\x0a\x8a"
    upgrade = lambda settings, front=b"": bytes([settings]) + sends(0, front + head) + opened
    write("session", "vnc", upgrade(0) + rfb + relay + close)
    write("session", "vnc bulk", upgrade(0) + rfb + splice + b"\x8a\x06\x0a")
    write("session", "spice", upgrade(1) + relay + splice + close)
    write("session", "serial with pings", upgrade(0x4a) + relay + b"\x7d\x7d\x7d\x0f\x06" + close)
    write("session", "behind a proxy", upgrade(0x21, proxy) + relay + close)
    write("session", "page", bytes([0]) + sends(0, b"GET /vnc.html HTTP/1.1\r\nHost: h\r\n\r\n") + b"\x08\x06\x08\x06\x08\x06\x0a")
    write("session", "refused token", bytes([4]) + sends(0, head) + b"\x06\x38\x06\x0a")
    write("session", "unreachable", bytes([5]) + sends(0, head) + b"\x06\x08\x08\x39\x06\x0a")
    hello = bytes.fromhex("160301002d010000290303") + bytes(32) + bytes.fromhex("00000213010100")
    answer = bytes.fromhex("160303002a020000260303") + b"\x07" * 32 + bytes.fromhex("0013010000")
    vencrypt = sends(0x80, b"RFB 003.008\n\x01\x13") + sends(0, masked(0x82, b"RFB 003.008\n")) + b"\x86\x06\x06"
    vencrypt += sends(0, masked(0x82, b"\x01")) + b"\x86" + sends(0x80, b"\0\2") + b"\x86" + sends(0x80, b"\0\1\0\0\1\4") + b"\x86"
    write("session", "vencrypt", upgrade(3) + vencrypt + sends(0x80, b"\1" + answer) + b"\x86\x86\x06\x06\x0a")
    write("session", "vencrypt garbage", upgrade(3) + vencrypt + sends(0x80, b"\1") + b"\x86" + sends(0x80, b"RFB 003.008\n") + b"\x86\x06\x0a")
    write("session", "spice tls", upgrade(0x81) + b"\x86" + sends(0x80, answer) + b"\x86\x06\x0a\x8a")
    write("session", "tenant tls", bytes([0]) + sends(0, hello[:20]) + sends(0, hello[20:]) + b"\x06\x06\x0a")
    beyond_nova(sends, upgrade, masked, relay + close)
    real_tls(sends, head, masked, vencrypt)
    write("session", "tunnel", bytes([1]) + sends(0, head) + b"\x06\x18\x08\x09\x86" + sends(0x80, b"HTTP/1.1 200 OK\r\n\r\nRFB") + relay)


def beyond_nova(sends, upgrade, masked, console):
    """Compute nodes that want a password or speak an older RFB, and an operator who allows both."""
    challenge, accepted = sends(0x80, b"sixteen bytes---"), sends(0x80, b"\0\0\0\0")
    tenant = sends(0, masked(0x82, b"RFB 003.008\n")) + b"\x06\x86\x06" + sends(0, masked(0x82, b"\x01")) + b"\x86\x06"
    for name, version, types, result in (
        ("vnc password", b"8", b"\x01\x02", challenge + b"\x86" + accepted),
        ("vnc password refused", b"8", b"\x01\x02", challenge + b"\x86" + sends(0x80, b"\0\0\0\1\0\0\0\2no")),
        ("rfb 3 3", b"3", b"\0\0\0\x01", b""),
        ("rfb 3 3 vnc password", b"3", b"\0\0\0\x02", challenge + b"\x86" + accepted),
        ("rfb 3 7", b"7", b"\x01\x01", b""),
        ("rfb 3 7 vnc password", b"7", b"\x01\x02", challenge + b"\x86" + accepted),
    ):
        compute = sends(0x80, b"RFB 003.00" + version + b"\n") + b"\x06\x86\x06" + sends(0x80, types) + b"\x86\x06"
        # The compute node's result may come before or behind the tenant's choice, and what is impossible is skipped.
        write("session", name, upgrade(0x80) + compute + tenant + result + b"\x86\x06\x86\x06" + console)


def real_tls(sends, head, masked, vencrypt):
    """Peers that are real TLS connections. What is impossible in a schedule is skipped, so all is delivered again and again."""
    start, end, broken = (lambda side: bytes([side | 0x1e])), (lambda side: bytes([side | 0x2e])), b"\x02\x05\x17\x03\x03\xff\xff"
    deliver = lambda pieces: b"".join(b"\x01" + bytes([n]) + b"\x06\x81" + bytes([n]) + b"\x86" for n in pieces)
    all_of_it = deliver([0, 0, 0])
    answers = b"\x08" + all_of_it + b"\x08" + all_of_it + b"\x09"
    keys, screen, close = sends(0, masked(0x82, b"keys")), sends(0x80, b"screen"), sends(0, masked(0x88, b"\x03\xe8"))
    for name, settings, sides in (("tenant", 1, [0]), ("compute", 0x82, [0x80]), ("both", 0x81, [0, 0x80]), ("both serial", 0x82, [0, 0x80])):
        begin = lambda by: bytes([settings]) + b"".join(map(start, sides)) + by + sends(0, head) + by + answers + by
        write("session", f"real tls {name}", begin(all_of_it) + keys + screen + all_of_it + close + all_of_it + b"\x0a\x8a")
        write("session", f"real tls {name} in pieces", begin(deliver([1, 1, 3, 5, 200, 255, 255, 100, 255, 255, 0, 0])) + keys + screen + deliver([1] * 40 + [0, 0]) + end(0) + end(0x80) + all_of_it)
        write("session", f"real tls {name} broken", begin(all_of_it) + keys + screen + broken + all_of_it + b"\x8a")
    # The answer to the sub-type is delivered, and then the node is a real one.
    secured = sends(0x80, b"\1") + start(0x80) + all_of_it + sends(0x80, b"\0\0\0\0") + all_of_it
    with_password = secured.replace(sends(0x80, b"\0\0\0\0"), sends(0x80, b"sixteen bytes---") + all_of_it + sends(0x80, b"\0\0\0\0"))
    upgraded = bytes([3]) + sends(0, head) + b"\x06\x08\x08\x09"
    x509_vnc = bytes([0x83]) + upgraded[1:] + vencrypt.replace(b"\0\1\0\0\1\4", b"\0\1\0\0\1\5")
    write("session", "real tls x509 vnc", x509_vnc + with_password + keys + screen + all_of_it + close + all_of_it + b"\x0a\x8a")
    write("session", "real tls vencrypt", upgraded + vencrypt + secured + keys + screen + all_of_it + close + all_of_it + b"\x0a\x8a")


def slow_path():
    """nova.conf, URLs and messages; in front of some a byte for the program, the compression or the pieces."""
    write("config", "vnc", b"\0[DEFAULT]\ntransport_url = rabbit://nova:pa55word@ctl/\n[vnc]\nnovncproxy_port = 6080\nauth_schemes = none,vencrypt\n[database]\nconnection = mysql+pymysql://nova:pa55word@db/nova\n")
    write("config", "references", b"\1[DEFAULT]\nmy_ip = 192.0.2.1\nhost = ${my_ip}\n[spice]\nhtml5proxy_host = $DEFAULT.my_ip\nhtml5proxy_port = \"6082\"\n")
    write("config", "continued", b"\2[console]\nallowed_origins = a,\n  b,\n\tc\n\n# x\n; y\nname: value\n")
    write("config", "line", b"\0--config-file\n/etc/nova/nova.conf\n--vnc-novncproxy_port=1\n--nodebug\n--mode\nserial")
    write("config", "bounds", b"\0[consolegate]\nsessions_max = 10\nhead_timeout_ms = 99999999999999999999\n")

    for name, url in {
        "sqlite": "sqlite:////var/lib/nova/nova.sqlite?timeout=3",
        "mysql": "mysql+pymysql://nova:pa55word-long-one@db:3306/nova?charset=utf8&ssl_ca=/ca.pem",
        "postgres": "postgresql+psycopg2://nova:p%40ss@[2001:db8::1]:5432/nova?sslmode=verify-full",
        "rabbit": "rabbit://nova:pa55word-long-one@a:5671,nova:x@[2001:db8::1]:5672/cell%2F1?ssl=1&ssl=2",
        "parts": "nova:pa55word-long-one@host:1/name?key=value+%2b",
        "odd": "@:@[:/?&=%",
    }.items():
        write("urls", name, url.encode())

    inner = lambda **fields: json.dumps({"oslo.version": "2.0", "oslo.message": json.dumps(fields)}).encode()
    reply = inner(_msg_id="a" * 32, _unique_id="b" * 32, result=True, failure=None, ending=True)
    failure = json.dumps({"class": "UnsupportedVersion", "module": "oslo_messaging.rpc.dispatcher", "message": "no"})
    write("messages", "true", b"\2" + reply)
    write("messages", "failure", b"\2" + inner(_msg_id="a" * 32, result=None, failure=failure, ending=True))
    write("messages", "keep alive", b"\2" + inner(_msg_id="a" * 32, result=None, failure=None, ending=False))
    write("messages", "bare", b"\2" + json.dumps({"_msg_id": "c", "result": 1, "ending": True}).encode())
    write("messages", "deflated", b"\0" + zlib.compress(reply))
    frame = lambda kind, payload: bytes([kind, 0, 0]) + struct.pack(">I", len(payload)) + payload + b"\xce"
    tune = frame(1, b"\0\x0a\0\x1e" + struct.pack(">HIH", 2047, 131072, 60))
    header = frame(2, struct.pack(">HHQ", 60, 0, 200) + b"\0\0")
    write("messages", "frames", b"\x16" + tune + frame(1, b"\0\x0a\0\x29\0") + header + frame(3, b"x" * 40) + frame(8, b""))
    write("messages", "long frame", b"\x0a\3\0\0\xff\xff\xff\xff")


def chunks(side, stream):
    """The stream in chunks of at most 100 bytes, each behind its side and length."""
    pieces = (stream[at : at + 100] for at in range(0, len(stream), 100))
    return b"".join(bytes([side | len(piece)]) + piece for piece in pieces)


if __name__ == "__main__":
    main()
