"""The relay: frames, bytes, and how a session ends."""

import wire
from cases.common import close_frame, visit
from nodes import Console, echo, says
from observation import D
from registry import case


def talk(*frames):
    """After the greeting, sends frames of (opcode, payload, how) and reads an answer to each, then leaves."""

    def drive(tenant):
        tenant.wait_for("binary hello")
        for opcode, payload, how in frames:
            tenant.send_frame(opcode, payload, **how)
            if how.get("fin", True) and tenant.next().startswith("close"):
                return
        tenant.send_frame(8, close_frame(1000))

    return drive


@case()
def bytes_both_ways(side):
    return visit(side, drive=talk((2, b"one", {}), (2, bytes(range(256)), {}), (2, b"three", {})))


@case()
def spice(side):
    return visit(side, kind="spice", drive=talk((2, b"REDQ", {})))


@case()
def fragmented_message(side):
    def drive(tenant):
        tenant.wait_for("binary hello")
        for opcode, payload, fin in ((2, b"a", False), (0, b"b", False), (0, b"c", True)):
            tenant.send_frame(opcode, payload, fin=fin)
        seen = ""
        while not seen.endswith("c"):
            seen += tenant.next().removeprefix("binary ")
        tenant.frames[1:] = [seen]
        tenant.send_frame(8)

    return visit(side, drive=drive)


@case()
def empty_message(side):
    """It reaches nobody; the next one does."""

    def drive(tenant):
        tenant.wait_for("binary hello")
        tenant.send_frame(2)
        tenant.binary(b"x")
        tenant.wait_for("binary x")
        tenant.send_frame(8)

    return visit(side, drive=drive)


@case(differs={
    "end": D("D25", 'close 1003 Unsupported: Text frames are not supported, eof', 'close 1000, eof'),
    "frames": D("D25", ['binary hello'], ['binary hello', 'binary text']),
    "node": D("D25", [''], ['text']),
})
def text_on_a_serial_console(side):
    return visit(side, drive=talk((1, b"text", {})))


@case(differs={
    "end": D("D47", 'close 1003 Unsupported: Text frames are not supported, eof', 'close 1003, eof'),
})
def text_on_a_spice_console(side):
    return visit(side, kind="spice", drive=talk((1, b"text", {})))


@case(differs={
    "end": D("D47", 'close 1002 Procotol error: Frame not masked, eof', 'close 1002, eof'),
})
def frame_without_mask(side):
    return visit(side, drive=talk((2, b"bare", {"mask": False})))


@case(differs={
    "end": D("D47", 'close 1002 Procotol error: Unexpected continuation frame, eof', 'close 1002, eof'),
})
def stray_continuation(side):
    return visit(side, drive=talk((0, b"stray", {})))


@case(differs={
    "end": D("D47", 'close 1002 Procotol error: Unexpected new frame, eof', 'close 1002, eof'),
    "node": D("D27", [''], ['a']),
})
def message_within_a_message(side):
    return visit(side, script=says(b"hello"), drive=talk((2, b"a", {"fin": False}), (2, b"b", {})))


@case(differs={
    "end": D("D48", 'close 1003 Unsupported: Unknown opcode 0x03, eof', 'close 1002, eof'),
})
def reserved_opcode(side):
    return visit(side, drive=talk((3, b"", {})))


@case(differs={
    "end": D("D48", 'close 1003 Unsupported: Fragmented ping, eof', 'close 1002, eof'),
})
def fragmented_ping(side):
    def drive(tenant):
        tenant.wait_for("binary hello")
        tenant.send_frame(9, b"p", fin=False)

    return visit(side, drive=drive)


@case(differs={
    "end": D("D48", 'close 1000, eof', 'close 1002, eof'),
    "frames": D("D48", ['binary hello', 'binary rsv'], ['binary hello']),
    "node": D("D48", ['rsv'], ['']),
})
def reserved_bits(side):
    return visit(side, drive=talk((2, b"rsv", {"rsv": 4})))


@case()
def ping(side):
    """A pong is ignored, a ping is answered with the same payload."""

    def drive(tenant):
        tenant.wait_for("binary hello")
        tenant.send_frame(10, b"nobody asked")
        tenant.send_frame(9, b"payload")
        tenant.next()
        tenant.send_frame(8, close_frame(1000, b"bye"))

    return visit(side, drive=drive)


@case()
def close_with_a_code(side):
    return visit(side, drive=lambda tenant: (tenant.wait_for("binary hello"),
                                             tenant.send_frame(8, close_frame(4001, b"because"))))


@case()
def close_without_a_code(side):
    return visit(side, drive=lambda tenant: (tenant.wait_for("binary hello"), tenant.send_frame(8)))


@case(differs={
    "end": D("D48", 'close, eof', 'close 1002, eof'),
})
def close_of_one_byte(side):
    return visit(side, drive=lambda tenant: (tenant.wait_for("binary hello"), tenant.send_frame(8, b"x")))


@case(differs={
    "end": D("D48", 'close 1002 Procotol error: Invalid UTF-8 in close, eof', 'close 1007, eof'),
})
def close_with_a_broken_reason(side):
    return visit(side, drive=lambda tenant: (tenant.wait_for("binary hello"),
                                             tenant.send_frame(8, close_frame(1000, b"\xff"))))


@case()
def bytes_before_a_close(side):
    """What was sent before the Close still reaches the node."""

    def drive(tenant):
        tenant.wait_for("binary hello")
        tenant.send(wire.frame(2, b"last words") + wire.frame(8, close_frame(1000)))

    return visit(side, script=says(b"hello"), drive=drive)


@case()
def node_ends(side):
    """Its last bytes come first, then Close 1000."""
    return visit(side, script=says(b"last words", "close"), drive=lambda tenant: None)


@case(differs={
    "end": D("D49", 'close 1000 Target closed, eof', 'close 1011 Target failed, eof'),
})
def node_resets(side):
    def drive(tenant):
        tenant.wait_for("binary hello")
        tenant.binary(b"now")

    return visit(side, script=says(b"hello", "reset"), drive=drive)


@case()
def tenant_vanishes(side):
    """FIN without Close: the node's connection ends."""
    def drive(tenant):
        tenant.wait_for("binary hello")
        tenant.shut_down()

    return visit(side, drive=drive)


@case()
def tenant_resets(side):
    ends = []

    def script(console):
        echo(console)
        ends.append(console.end)

    def drive(tenant):
        tenant.wait_for("binary hello")
        tenant.reset()
        tenant.ended = "gone"

    seen = visit(side, script=script, drive=drive)
    return {"node": seen["node"], "node ended": len(ends)}


def tunnel(answer):
    """A console behind an HTTP proxy: reads the CONNECT request, answers, greets."""

    def script(console):
        while b"\r\n\r\n" not in console.received:
            if not console.once():
                return
        console.send(answer)
        Console.drain(console)

    return script


@case()
def internal_access_path(side):
    """The console's first bytes, behind the answer in one segment, are not lost."""
    return visit(side, script=tunnel(b"HTTP/1.1 200 Connection established\r\nX: y\r\n\r\nhello"),
                 mint={"path": "/console?ref=1"})


@case(differs={
    "end": D("D01", 'eof', 'close, eof'),
    "reason": D("D41", 'Invalid Connection Info', 'Invalid Connection Info: compute refused CONNECT'),
})
def internal_access_path_refused(side):
    return visit(side, script=tunnel(b"HTTP/1.1 403 Forbidden\r\n\r\n"), mint={"path": "/console"}, log=True)
