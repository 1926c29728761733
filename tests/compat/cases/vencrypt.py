"""VeNCrypt to the compute node: certificates of both ends, and what the tenant sees when they will not do."""

import contextlib
import ssl
import subprocess

from cases.common import visit
from cases.rfb import chat, handshake
from nodes import VERSION
from observation import D
from registry import case


def openssl(*arguments):
    subprocess.run(["openssl", *map(str, arguments)], check=True, capture_output=True)


def pki(side):
    """An authority, a node's certificate for another host, a client's; and an authority that signed neither."""
    folder = side.directory / "vencrypt"
    if folder.exists():
        return folder
    folder.mkdir()
    for authority in ("ca", "foreign"):
        openssl("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "30", "-subj", f"/CN={authority}",
                "-keyout", folder / f"{authority}.key", "-out", folder / f"{authority}.pem")
    for name, purpose in (("node", "serverAuth"), ("client", "clientAuth")):
        extensions = folder / f"{name}.ext"
        extensions.write_text(f"basicConstraints=CA:FALSE\nextendedKeyUsage={purpose}\nsubjectAltName=DNS:elsewhere\n")
        openssl("req", "-new", "-newkey", "rsa:2048", "-nodes", "-subj", f"/CN={name}",
                "-keyout", folder / f"{name}.key", "-out", folder / f"{name}.csr")
        openssl("x509", "-req", "-in", folder / f"{name}.csr", "-CA", folder / "ca.pem", "-CAkey", folder / "ca.key",
                "-CAcreateserial", "-days", "30", "-extfile", extensions, "-out", folder / f"{name}.pem")
    return folder


def node(folder, wants_certificate=True):
    """A server that speaks VeNCrypt alone, then greets, echoes a word and reads."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "node.pem", folder / "node.key")
    if wants_certificate:
        context.load_verify_locations(folder / "ca.pem")
        context.verify_mode = ssl.CERT_REQUIRED

    def script(console):
        for said, answered in ((VERSION, 12), (b"\x01\x13", 1), (b"\0\2", 2), (b"\0\x01\0\0\x01\x04", 4)):
            console.send(said)
            if len(console.read(answered)) < answered:
                return
        console.send(b"\x01")
        try:
            console.connection = context.wrap_socket(console.connection, server_side=True)
        except OSError:
            console.received += b"no TLS"
            return
        with console.connection:
            console.send(b"\0\0\0\0")
            if console.read(1):
                console.send(b"hello")
                console.read(4)
                console.send(b"word")
                console.drain()

    return script


def use(tenant):
    """Uses the console, if it comes to that."""
    while tenant.next() != "binary \\x00\\x00\\x00\\x00":
        if tenant.ended or tenant.frames[-1].startswith("close"):
            return
    tenant.binary(b"\x01")
    chat(tenant)


def negotiate(side, script, authority="ca", client=True, log=False):
    folder = pki(side)
    pair = ["--vnc-vencrypt_client_cert", folder / "client.pem", "--vnc-vencrypt_client_key", folder / "client.key"]
    launched = side.launch(["--config-file", side.world.conf, "--web", side.world.web,
                            "--vnc-auth_schemes", "vencrypt", "--vnc-vencrypt_ca_certs", folder / f"{authority}.pem",
                            *(pair if client else [])])
    with contextlib.ExitStack() as end:
        end.callback(launched.stop)
        if not launched.listening():
            return {"starts": False}
        end.callback(side.standing.__setitem__, "novnc", side.standing["novnc"])
        side.standing["novnc"] = launched
        return visit(side, kind="novnc", script=script(folder), drive=handshake(then=use), log=log)


@case(differs={
    "frames": D("D42", ['binary RFB 003.008\\n', 'binary \\x01\\x01', 'binary', 'binary \\x00\\x00\\x00\\x00', 'binary hello', 'binary word'], ['binary RFB 003.008\\n', 'binary \\x01\\x01', 'binary \\x00\\x00\\x00\\x00', 'binary hello', 'binary word']),
})
def x509none(side):
    """Both ends show a certificate of the authority; the node's is for another host."""
    return negotiate(side, node)


@case(differs={
    "frames": D("D42", ['binary RFB 003.008\\n', 'binary \\x01\\x01', 'binary \\x00\\x00\\x00\\x01\\x00\\x00\\x00(Unable to negotiate security with server', 'binary'], ['binary RFB 003.008\\n', 'binary \\x01\\x01', 'binary \\x00\\x00\\x00\\x01\\x00\\x00\\x00(Unable to negotiate security with server']),
    "reason": D("D43", '[Errno 9] Bad file descriptor', 'Failed to negotiate security type with server: TLS with compute failed: invalid peer certificate: UnknownIssuer'),
})
def unknown_authority(side):
    return negotiate(side, node, authority="foreign", log=True)


@case(differs={
    "end": D("D59", 'eof', 'close, eof'),
    "frames": D("D59", ['binary RFB 003.008\\n', 'binary \\x01\\x01'], ['binary RFB 003.008\\n', 'binary \\x01\\x01', 'binary \\x00\\x00\\x00\\x00', 'binary hello', 'binary word']),
    "node": D("D59", ['RFB 003.008\\n\\x13\\x00\\x02\\x00\\x00\\x01\\x04no TLS'], ['RFB 003.008\\n\\x13\\x00\\x02\\x00\\x00\\x01\\x04\\x01word']),
})
def without_a_client_certificate(side):
    return negotiate(side, lambda folder: node(folder, wants_certificate=False), client=False)
