"""RFB security between the tenant, the proxy and the compute node, byte by byte."""

import struct
import time

from cases.common import visit
from nodes import VERSION, rfb, says
from observation import D
from registry import case

NONE = b"\x01"
RFB_38 = "binary RFB 003.008\\n"


def reason_of(text):
    return struct.pack("!I", len(text)) + text


def leave(tenant):
    """Waits for the node's greeting, if it comes to that, and leaves."""
    while tenant.next() != "binary hello":
        if tenant.frames[-1].startswith("close") or tenant.ended:
            return
    tenant.send_frame(8)


def handshake(version=VERSION, choice=NONE, then=leave):
    """A tenant that answers the version and the security types with what it is told, then does `then`."""

    def drive(tenant):
        # Whoever sends on when the other has had enough gets a reset.
        if tenant.next() != RFB_38:
            return
        tenant.binary(version)
        if tenant.next() != "binary \\x01\\x01":
            return
        tenant.binary(choice)
        then(tenant)

    return drive


def chat(tenant):
    """Reads up to the node's greeting, has one word echoed, and leaves."""
    tenant.wait_for("binary hello")
    tenant.binary(b"word")
    tenant.wait_for("binary word")
    tenant.send_frame(8)


def negotiate(side, script, drive=None, log=True):
    return visit(side, kind="novnc", script=script, drive=drive or handshake(), log=log)


def with_result(result=b"\0\0\0\0", version=VERSION, types=NONE):
    """A server that waits with its greeting until the tenant has SecurityResult: two messages, however fast."""

    def then(console):
        console.read(1)
        console.send(b"hello")
        console.read(4)
        console.send(b"word")
        console.drain()

    return rfb(version, types, result, then)


def init_and_chat(tenant):
    tenant.wait_for("binary \\x00\\x00\\x00\\x00")
    tenant.binary(b"\x01")
    chat(tenant)


@case(differs={
    "frames": D("D42", ['binary RFB 003.008\\n', 'binary \\x01\\x01', 'binary', 'binary \\x00\\x00\\x00\\x00', 'binary hello', 'binary word'], ['binary RFB 003.008\\n', 'binary \\x01\\x01', 'binary \\x00\\x00\\x00\\x00', 'binary hello', 'binary word']),
})
def no_authentication(side):
    """The whole handshake: versions, one type, SecurityResult, then bytes both ways."""
    return negotiate(side, with_result(), handshake(then=init_and_chat), log=False)


@case(differs={
    "frames": D("D42", ['binary RFB 003.008\\n', 'binary \\x01\\x01', 'binary', 'binary \\x00\\x00\\x00\\x00', 'binary hello', 'binary word'], ['binary RFB 003.008\\n', 'binary \\x01\\x01', 'binary \\x00\\x00\\x00\\x00', 'binary hello', 'binary word']),
})
def none_among_other_types(side):
    return negotiate(side, with_result(types=b"\x02\x01"), handshake(then=init_and_chat), log=False)


@case(differs={
    "frames": D("D42", ['binary RFB 003.008\\n', 'binary \\x01\\x01', 'binary', 'binary \\x00\\x00\\x00\\x00', 'binary hello', 'binary word'], ['binary RFB 003.008\\n', 'binary \\x01\\x01', 'binary \\x00\\x00\\x00\\x00', 'binary hello', 'binary word']),
})
def version_in_two_messages(side):
    """The tenant's version may come in pieces."""

    def drive(tenant):
        tenant.wait_for(RFB_38)
        tenant.binary(b"RFB 003")
        tenant.binary(b".008\n")
        tenant.next()
        tenant.binary(NONE)
        init_and_chat(tenant)

    return negotiate(side, with_result(), drive, log=False)


@case(differs={
    "frames": D("D42", ['binary'], []),
    "reason": D("D43", 'Failed to negotiate security type with server: Security proxying requires RFB protocol version 3.8, but server sent RFB 003.003', 'Failed to negotiate security type with server: compute offered RFB 003.003, only 003.008 is proxied'),
})
def server_with_rfb_3_3(side):
    return negotiate(side, says(b"RFB 003.003\n"))


@case(differs={
    "end": D("D44", 'close 1000, eof', 'close, eof'),
    "frames": D("D44", ['binary'], ['binary RFB 003.008\\n', 'binary \\x01\\x01', 'binary \\x00\\x00\\x00\\x00', 'binary hello']),
    "node": D("D44", [''], ['RFB 003.008\\n\\x01']),
})
def server_with_rfb_3_889(side):
    return negotiate(side, rfb(b"RFB 003.889\n"), log=False)


@case(differs={
    "end": D("D45", 'eof', 'close 1000, eof'),
})
def server_that_is_none(side):
    return negotiate(side, says(b"SSH-2.0-OpenSSH_9\r\n"), log=False)


@case(differs={
    "end": D("D45", 'eof', 'close 1000, eof'),
})
def server_that_ends_at_once(side):
    return negotiate(side, says(b"", "close"), log=False)


@case(differs={
    "end": D("D31", 'eof', 'close, eof'),
    "frames": D("D31", [], ['binary RFB 003.008\\n', 'binary \\x01\\x01', 'binary \\x00\\x00\\x00\\x00', 'binary hello']),
    "node": D("D31", [''], ['RFB 003.008\\n\\x01']),
})
def server_whose_version_comes_in_two_segments(side):
    def script(console):
        console.send(VERSION[:5])
        time.sleep(0.2)  # so that they are two
        rfb(VERSION[5:])(console)

    return negotiate(side, script, log=False)


@case(differs={
    "frames": D("D42", ['binary RFB 003.008\\n', 'binary'], ['binary RFB 003.008\\n']),
    "reason": D("D43", 'Failed to negotiate security type with server: Security proxying requires RFB protocol version 3.8, but tenant asked for RFB 003.003', 'Failed to negotiate security type with server: tenant requested RFB 003.003, only 003.008 is proxied'),
})
def tenant_with_rfb_3_3(side):
    return negotiate(side, rfb(), handshake(version=b"RFB 003.003\n"))


@case(differs={
    "end": D("D45", 'eof', 'close 1000, eof'),
})
def tenant_that_does_not_speak_rfb(side):
    return negotiate(side, rfb(), handshake(version=b"\xff" * 12), log=False)


@case(differs={
    "frames": D("D42", ['binary RFB 003.008\\n', 'binary \\x00\\x00\\x00\\x00\\x10Too many clients', 'binary'], ['binary RFB 003.008\\n', 'binary \\x00\\x00\\x00\\x00\\x10Too many clients']),
    "reason": D("D43", "Failed to negotiate security type with server: b'Too many clients'", 'Failed to negotiate security type with server: compute refused the connection: "Too many clients"'),
})
def server_refuses_with_a_reason(side):
    """The reason goes on to the tenant."""
    return negotiate(side, says(VERSION + b"\0" + reason_of(b"Too many clients")))


@case(differs={
    "frames": D("D42", ['binary RFB 003.008\\n', 'binary \\x00\\x00\\x00\\x01\\x00rrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrr', 'binary'], ['binary RFB 003.008\\n', 'binary \\x00\\x00\\x00\\x01\\x00rrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrr']),
})
def server_refuses_with_a_reason_of_256_bytes(side):
    return negotiate(side, says(VERSION + b"\0" + reason_of(256 * b"r")), log=False)


@case(differs={
    "frames": D("D42", ['binary RFB 003.008\\n', 'binary \\x00\\x00\\x00\\x00(Unable to negotiate security with server', 'binary'], ['binary RFB 003.008\\n', 'binary \\x00\\x00\\x00\\x00(Unable to negotiate security with server']),
})
def server_refuses_with_too_long_a_reason(side):
    return negotiate(side, says(VERSION + b"\0" + reason_of(257 * b"r")), log=False)


@case(differs={
    "frames": D("D42", ['binary RFB 003.008\\n', 'binary \\x01\\x01', 'binary \\x00\\x00\\x00\\x01\\x00\\x00\\x00,Only the security type 1 (NONE) is supported', 'binary'], ['binary RFB 003.008\\n', 'binary \\x01\\x01', 'binary \\x00\\x00\\x00\\x01\\x00\\x00\\x00,Only the security type 1 (NONE) is supported']),
    "reason": D("D43", 'Failed to negotiate security type with server: Client requested a security type other than 1 (NONE): 2 (VNC)', 'Failed to negotiate security type with server: tenant chose the security type 2 (VNC), only 1 (NONE) was offered'),
})
def tenant_chooses_another_type(side):
    return negotiate(side, rfb(), handshake(choice=b"\x02"))


@case(differs={
    "end": D("D45", 'eof', 'close 1000, eof'),
})
def tenant_chooses_an_unknown_type(side):
    return negotiate(side, rfb(), handshake(choice=b"\x63"), log=False)


@case(differs={
    "frames": D("D42", ['binary RFB 003.008\\n', 'binary \\x01\\x01', 'binary \\x00\\x00\\x00\\x01\\x00\\x00\\x00(Unable to negotiate security with server', 'binary'], ['binary RFB 003.008\\n', 'binary \\x01\\x01', 'binary \\x00\\x00\\x00\\x01\\x00\\x00\\x00(Unable to negotiate security with server']),
    "reason": D("D43", "Failed to negotiate security type with server: No compute auth available: No matching auth scheme: allowed types: '1', desired types: '2'", 'Failed to negotiate security type with server: compute offered the security types 2 (VNC); usable from auth_schemes: 1 (NONE)'),
})
def no_common_type(side):
    """The tenant learns no detail."""
    return negotiate(side, rfb(types=b"\x02"))


@case(differs={
    "end": D("D29", 'eof', 'close, eof'),
    "frames": D("D29", ['binary RFB 003.008\\n'], ['binary RFB 003.008\\n', 'binary \\x01\\x01', 'binary \\x00\\x00\\x00\\x00', 'binary hello', 'binary word']),
    "node": D("D29", ['RFB 003.008\\n'], ['RFB 003.008\\n\\x01\\x01word']),
})
def unknown_type_offered(side):
    return negotiate(side, with_result(types=b"\x81\x01"), handshake(then=init_and_chat), log=False)


@case(differs={
    "end": D("D46", 'close, eof', 'close 1000, eof'),
    "frames": D("D42", ['binary RFB 003.008\\n', 'binary \\x01\\x01', 'binary', 'binary \\x00\\x00\\x00\\x01\\x00\\x00\\x00\\x02no'], ['binary RFB 003.008\\n', 'binary \\x01\\x01', 'binary \\x00\\x00\\x00\\x01\\x00\\x00\\x00\\x02no']),
})
def security_result_that_fails(side):
    """It is the server's, and is passed on unchanged with its reason."""
    def then(console):
        console.drain()

    return negotiate(side, rfb(result=b"\0\0\0\x01" + reason_of(b"no"), then=then),
                     handshake(then=lambda tenant: (tenant.next(), tenant.next(), tenant.send_frame(8))), log=False)


@case(differs={
    "frames": D("D30", ['binary RFB 003.008\\n', 'binary \\x01\\x01', 'binary \\x01', 'binary \\x00\\x00\\x00\\x00', 'binary got ?'], ['binary RFB 003.008\\n', 'binary \\x01\\x01', 'binary \\x00\\x00\\x00\\x00', 'binary got \\x01']),
    "node": D("D30", ['RFB 003.008\\n\\x01?'], ['RFB 003.008\\n\\x01\\x01?']),
})
def early_bytes(side):
    """ClientInit in one frame with the choice of a type."""

    def drive(tenant):
        tenant.next()
        tenant.binary(VERSION)
        tenant.next()
        tenant.binary(NONE + b"\x01")
        tenant.wait_for("binary \\x00\\x00\\x00\\x00")
        tenant.binary(b"?")
        tenant.next()
        tenant.send_frame(8)

    def then(console):
        console.send(b"got " + console.read(1))
        console.drain()

    return negotiate(side, rfb(then=then), drive, log=False)
