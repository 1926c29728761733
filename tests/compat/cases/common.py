"""What cases share: one HTTP request, and one session between a tenant and a node."""

import re

import wire
from nodes import Node, echo
from observation import D
from sides import until
from tenant import Tenant


def request(target, method="GET", fields=(), version="HTTP/1.1", host="127.0.0.1", end="\r\n"):
    lines = [f"{method} {target} {version}"]
    if host is not None:
        lines.append(f"Host: {host}")
    lines += [f"{name}: {value}" for name, value in fields]
    return (end.join(lines) + end + end).encode("latin-1")


def get(side, target, kind="novnc", **parts):
    """One request and its answer. `then` says what became of the connection."""
    return raw(side, request(target, **parts), kind=kind)


def raw(side, *requests, kind="novnc"):
    """Requests as they are, one after the other; the last answer."""
    answers, then = wire.exchange(side.port(kind), *requests)
    return {**answers[-1], "then": then}


def close_frame(code, reason=b""):
    return code.to_bytes(2, "big") + reason


def greeted(tenant):
    """Waits for the node's greeting and leaves; a session that is refused has none."""
    if tenant.next() == "binary hello":
        tenant.send_frame(8, close_frame(1000))


def visit(side, kind="serial", script=echo, drive=greeted, path="/?token={token}", mint=None, fields=(), token=None,
          log=False, **parts):
    """One session. `{token}` in `path` and `fields` is a token for the node, minted as `mint` says, or `token`.

    With `log`, `reason` is what the log says about its end.
    """
    mark = Mark(side, kind)
    with Node(script) as node:
        if token is None:
            token = side.world.token(kind, node.port, **(mint or {}))
        fields = [(name, value.replace("{token}", token)) for name, value in fields]
        path = path(token) if callable(path) else path.replace("{token}", token)
        with Tenant(side.port(kind), path, fields=fields, **parts) as tenant:
            drive(tenant)
            seen = tenant.seen()
        seen.update(node.seen())
    if log:
        seen["reason"] = mark.reason()
    return seen


class Mark:
    """A place in a standing program's log."""

    # Whose line it is: the process (Nova's, one a session) and the context (ours, with an id for each session).
    WHO = r"^\S+ \S+ (\d+ )\w+ \S+ (\[.*?\]) "

    def __init__(self, side, kind="novnc"):
        self.launched = side.standing[kind]
        before = self.launched.out()
        self.at = len(before)
        self.earlier = set(re.findall(self.WHO, before, re.MULTILINE))

    def text(self):
        return self.launched.out()[self.at:]

    def wait_for(self, pattern):
        """The first match after this place."""
        return until(lambda: re.search(pattern, self.text(), re.MULTILINE), f"log line {pattern!r}")

    def reason(self):
        """Why the session after this place failed. One before it may still be writing its own reason."""
        pattern = self.WHO + r".*handler exception: (.*)$"

        def found():
            lines = re.finditer(pattern, self.text(), re.MULTILINE)
            return next((line for line in lines if line.group(1, 2) not in self.earlier), None)

        return until(found, "log line of a handler exception").group(3)


# How a session that is refused ends.
REFUSED = {"end": D("D01", "eof", "close, eof")}


def served_here(number):
    """A session that is refused by Nova alone."""
    return {"end": D(number, "eof", "close 1000, eof"), "frames": D(number, [], ["binary hello"]),
            "node": D(number, "not contacted", [""])}
