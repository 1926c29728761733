"""TLS towards the browser, on the port that serves plain text too."""

import re
import shutil
import socket
import ssl

from cases.common import get, request
from registry import case
from sides import until
from tenant import upgrade_request
from wire import Wire, answer


def client(version=None):
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    if version:
        context.minimum_version = context.maximum_version = version
    return context


def listening(side, *arguments, **how):
    launched = side.launch(["--config-file", side.world.empty_conf, "--web", side.world.web, *arguments], **how)
    launched.starts = launched.listening()
    return launched


def certified(side, name="server"):
    return ["--cert", str(side.world.directory / f"{name}.pem"), "--key", str(side.world.directory / f"{name}.key")]


def over_tls(port, version=None, data=None):
    """The answer to one request over TLS, and the protocol; or that there was no handshake."""
    try:
        with Wire(port, tls=client(version)) as wire:
            wire.send(data or request("/app.js", method="HEAD"))
            seen = answer(wire, "HEAD")
            return {"status": seen.get("status"), "protocol": wire.socket.version()}
    except (ssl.SSLError, ConnectionError):
        return {"no handshake": True}


def served_by(port):
    """The common name of the certificate that a handshake shows."""
    try:
        with Wire(port, tls=client()) as wire:
            der = wire.socket.getpeercert(binary_form=True)
    except (ssl.SSLError, ConnectionError):
        return "no handshake"
    return re.search(rb"name-[a-z]+", der).group(0).decode()


@case()
def beside_plain_text(side):
    """Both on one port, told apart by the first byte."""
    launched = listening(side, *certified(side))
    side.standing["passing"] = launched
    try:
        plain = get(side, "/app.js", kind="passing", method="HEAD")["status"]
        return {"plain": plain, **over_tls(launched.port)}
    finally:
        launched.stop()


@case()
def only(side):
    """With ssl_only plain text gets no answer."""
    launched = listening(side, "--ssl_only", *certified(side))
    try:
        if not launched.starts:
            return {"starts": False}
        with Wire(launched.port) as wire:
            wire.send(request("/app.js"))
            plain = wire.rest()[0].decode()
        return {"plain": plain, **over_tls(launched.port),
                "said": launched.says("non-SSL connection received but disallowed")}
    finally:
        launched.stop()


@case()
def upgrade(side):
    launched = listening(side, *certified(side))
    try:
        return over_tls(launched.port, data=upgrade_request("/?token=x"))
    finally:
        launched.stop()


@case()
def without_certificate(side):
    """A TLS client is closed, and plain text is served on."""
    launched = listening(side, "--cert", "/nowhere/cert.pem")
    side.standing["passing"] = launched
    try:
        seen = over_tls(launched.port)
        plain = get(side, "/app.js", kind="passing", method="HEAD")["status"]
        return {**seen, "plain": plain,
                "said": launched.says("SSL connection but '/nowhere/cert.pem' not found")}
    finally:
        launched.stop()


@case()
def end_in_the_handshake(side):
    """A hello that does not come whole: one line, with the address in front."""
    launched = listening(side, *certified(side))
    try:
        with Wire(launched.port) as wire:
            wire.send(bytes([22, 3, 1, 0, 200, 1]))
            wire.socket.shutdown(socket.SHUT_WR)
            wire.rest()
        launched.says("EOF occurred in violation of protocol")
        return {"said": bool(re.search(r"127\.0\.0\.1: .*EOF occurred in violation of protocol", launched.out()))}
    finally:
        launched.stop()


@case()
def renewed_certificate(side):
    """A certificate that is copied over the old one is used by the next handshake."""
    own = side.directory / "renewed"
    own.mkdir()

    def put(name):
        for suffix in (".key", ".pem"):
            shutil.copyfile(side.world.directory / (name + suffix), own / ("server" + suffix))

    put("server")
    launched = listening(side, "--cert", str(own / "server.pem"), "--key", str(own / "server.key"))
    try:
        before = served_by(launched.port)
        put("other")
        # At most one look at the files in a second is a promise of ours, Nova looks each time.
        if before != "no handshake":
            until(lambda: served_by(launched.port) != before, "renewed certificate", 20)
        return {"before": before, "after": served_by(launched.port)}
    finally:
        launched.stop()


@case()
def minimum_version(side):
    conf = side.directory / "tls13.conf"
    conf.write_text("[console]\nssl_minimum_version = tlsv1_3\n")
    launched = listening(side, *certified(side), "--config-file", str(conf))
    try:
        return {"1.2": over_tls(launched.port, ssl.TLSVersion.TLSv1_2),
                "1.3": over_tls(launched.port, ssl.TLSVersion.TLSv1_3)}
    finally:
        launched.stop()
