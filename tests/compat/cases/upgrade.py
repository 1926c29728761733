"""The opening handshake: whole answers, before any token is looked at."""

from cases.answers import SERVER, accepted_here, accepted_there, not_allowed, page
from observation import D
from registry import case
from tenant import Tenant

VERSION = {"header sec-websocket-version": D("D18", ours="13")}


def opening(side, kind="novnc", **parts):
    """The answer, header by header. Then the tenant leaves; without a token the session is refused anyway."""
    with Tenant(side.port(kind), **parts) as tenant:
        return tenant.opening


@case(differs=SERVER)
def accepted(side):
    return opening(side)


@case(differs=SERVER)
def on_any_path(side):
    return opening(side, path="/app.js?x=y")


@case(differs=SERVER)
def upgrade_in_any_case(side):
    return opening(side, upgrade="WebSocket")


@case(differs=SERVER)
def without_connection_field(side):
    return opening(side, connection=None)


@case(differs=SERVER)
def connection_with_more_words(side):
    return opening(side, connection="keep-alive, Upgrade")


@case(differs=accepted_here("D33", "HTTP/1.1 200", "OK", None, "text/css", **{"header last-modified": D("D33", "<date>")}))
def upgrade_to_a_list(side):
    return opening(side, path="/style.css", upgrade="websocket, h2c")


@case(differs=not_allowed("POST"))
def by_post(side):
    return opening(side, method="POST")


@case(differs=SERVER)
def http_1_0(side):
    return opening(side, protocol="HTTP/1.0")


@case(differs={**page("Missing Sec-WebSocket-Version header", "Bad Request"), **VERSION})
def version_missing(side):
    return opening(side, version=None)


@case(differs={**page("Unsupported protocol version 12", "Upgrade Required", "D18"), **VERSION, "header upgrade": D("D18", ours="websocket"),
               "status": D("D18", "HTTP/1.1 400", "HTTP/1.1 426"), "header connection": D("D18", "close", "close, Upgrade")})
def version_12(side):
    return opening(side, version="12")


@case(differs=SERVER)
def version_8(side):
    return opening(side, version="8")


@case(differs=SERVER)
def version_7(side):
    return opening(side, version="7")


@case(differs={**page("Unsupported protocol version x", "Bad Request"), **VERSION})
def version_that_is_no_number(side):
    return opening(side, version="x")


@case(differs=page("Missing Sec-WebSocket-Key header", "Bad Request"))
def key_missing(side):
    return opening(side, key=None)


@case(differs=accepted_there("D32"))
def key_of_another_length(side):
    return opening(side, key="c2hvcnQ=")


@case(differs=SERVER)
def protocol_binary(side):
    return opening(side, fields=[("Sec-WebSocket-Protocol", "binary")])


@case(differs=SERVER)
def protocol_binary_first(side):
    return opening(side, fields=[("Sec-WebSocket-Protocol", "binary, base64")])


@case(differs=SERVER)
def protocol_binary_last(side):
    return opening(side, fields=[("Sec-WebSocket-Protocol", "base64,binary")])


@case(differs=accepted_here("D19", "HTTP/1.1 400", "Invalid protocol selected",
                                   **{"header sec-websocket-protocol": D("D19", ours="binary")}))
def protocol_binary_behind_a_space(side):
    return opening(side, fields=[("Sec-WebSocket-Protocol", "base64, binary")])


@case(differs=SERVER)
def protocol_empty(side):
    return opening(side, fields=[("Sec-WebSocket-Protocol", "")])


@case(differs=page("Invalid protocol selected", "Bad Request"))
def protocol_unknown(side):
    return opening(side, fields=[("Sec-WebSocket-Protocol", "chat")])


@case(differs=page("Invalid protocol selected", "Bad Request"))
def protocol_in_upper_case(side):
    return opening(side, fields=[("Sec-WebSocket-Protocol", "Binary")])


@case(differs=SERVER)
def extensions_are_not_negotiated(side):
    return opening(side, fields=[("Sec-WebSocket-Extensions", "permessage-deflate; client_max_window_bits")])


@case(differs=SERVER)
def serial_proxy(side):
    return opening(side, kind="serial")
