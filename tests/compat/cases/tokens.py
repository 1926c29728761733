"""Where a token is looked for, and whom it lets in."""

import wire
from cases.common import REFUSED, Mark, greeted, served_here, visit
from nodes import Node, echo
from observation import ANY, D
from registry import case
from tenant import Tenant

UNKNOWN = "00000000-0000-4000-8000-000000000000"


@case()
def in_the_query(side):
    return visit(side)


@case()
def the_last_one_of_several(side):
    return visit(side, path=f"/?token={UNKNOWN}&a=b&token={{token}}")


@case(differs=REFUSED)
def the_first_one_of_several(side):
    return visit(side, path=f"/?token={{token}}&token={UNKNOWN}", log=True)


@case()
def percent_encoded(side):
    return visit(side, path=lambda token: "/websockify?to%6ben=" + token.replace("-", "%2d"))


@case()
def before_a_fragment(side):
    return visit(side, path="/?token={token}#token=none")


@case(differs=REFUSED)
def in_a_fragment(side):
    return visit(side, path="/#?token={token}", log=True)


@case(differs=REFUSED)
def name_in_upper_case(side):
    return visit(side, path="/?Token={token}", log=True)


@case()
def in_a_cookie(side):
    return visit(side, path="/websockify", fields=[("Cookie", "token={token}")])


@case()
def in_the_last_cookie(side):
    return visit(side, path="/websockify", fields=[("Cookie", f"token={UNKNOWN}; other=1; token={{token}}")])


@case()
def in_a_quoted_cookie(side):
    return visit(side, path="/websockify", fields=[("Cookie", 'a=b; token="{token}"')])


@case()
def beside_a_malformed_cookie(side):
    mark = Mark(side, "serial")
    seen = visit(side, path="/websockify", fields=[("Cookie", "a/b=c; token={token}")])
    return {**seen, "warns": bool(mark.wait_for("WARNING .*Found malformed cookie"))}


@case(differs=REFUSED)
def query_beats_cookie(side):
    return visit(side, path=f"/?token={UNKNOWN}", fields=[("Cookie", "token={token}")], log=True)


@case(differs=served_here("D21"))
def nested_in_the_path_parameter(side):
    return visit(side, path="/?path=%3Ftoken%3D{token}", log=False)


@case(differs=REFUSED)
def missing(side):
    return visit(side, path="/websockify", log=True)


@case(differs=REFUSED)
def unknown(side):
    return visit(side, token=UNKNOWN, log=True)


@case(differs=REFUSED)
def expired(side):
    return visit(side, mint={"ttl": -1}, log=True)


@case(differs=REFUSED)
def of_a_deleted_instance(side):
    return visit(side, mint={"instance": "deleted"}, log=True)


@case(differs=REFUSED)
def of_an_instance_without_a_host(side):
    return visit(side, mint={"instance": "homeless"}, log=True)


@case(differs=REFUSED)
def whose_port_the_compute_node_denies(side):
    return visit(side, mint={"instance": "false"}, log=True)


@case(differs=REFUSED)
def whose_check_raises(side):
    return visit(side, mint={"instance": "raises"}, log=False)


@case(differs={**REFUSED, "reason": D("D41", "Timed out waiting for a reply", ANY)})
def whose_check_is_never_answered(side):
    seen = visit(side, mint={"instance": "never"}, log=True)
    seen["reason"] = seen["reason"].split(" to message ID")[0]
    return seen


@case(differs={"end": D("D23", "close 1000, eof", "close, eof"), "frames": D("D23", ["binary hello"], []),
               "node": D("D23", [""], "not contacted")})
def of_another_console_type(side):
    return visit(side, kind="serial", mint={"console_type": "spice-html5"}, log=False)


@case()
def for_several_sessions_at_once(side):
    """The second session starts while the first one lives."""
    with Node(echo) as node:
        token = side.world.token("serial", node.port)
        with Tenant(side.port("serial"), f"/?token={token}") as first:
            first.wait_for("binary hello")
            with Tenant(side.port("serial"), f"/?token={token}") as second:
                greeted(second)
                seen = second.seen()
            first.binary(b"still here")
            seen["the first"] = first.next()
        seen["nodes"] = sorted(node.seen()["node"])
    return seen


@case(differs={**REFUSED, "reason": D("D41", "[Errno 111] ECONNREFUSED", ANY)})
def target_that_is_not_there(side):
    """A valid token for a port that nobody listens on."""
    with Node(echo) as gone:
        port = gone.port
    return visit(side, token=side.world.token("serial", port), log=True)


@case(differs={**REFUSED, "reason": D("D80", "[Errno -8] Servname not supported for ai_socktype", ANY)})
def of_a_spice_console_that_listens_for_tls_alone(side):
    return visit(side, kind="spice", token=side.world.token("spice", -1, tls_port=5901), log=True)


@case(differs={
    "frames": D("D20", ['hellosecond'], ['hellofirstsecond']),
    "node": D("D20", ['second'], ['firstsecond']),
})
def bytes_behind_the_request(side):
    """A frame that comes in one segment with the opening handshake."""

    def drive(tenant):
        if tenant.next().startswith("binary hello"):
            tenant.binary(b"second")
            while not tenant.next().endswith("second"):
                pass
            # However the bytes were cut into messages.
            tenant.frames = ["".join(frame.removeprefix("binary ") for frame in tenant.frames)]
            tenant.send_frame(8)

    return visit(side, drive=drive, extra=wire.frame(2, b"first"))
