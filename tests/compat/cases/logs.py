"""What is logged, where, and in which form."""

import re
import signal

from cases.command_line import WORKERS
from cases.common import Mark, get, visit
from observation import D
from registry import case
from tenant import Tenant


def messages(text):
    """Level, logger, context and message of each line in oslo.log's form; other lines as they are."""
    found = []
    for line in text.splitlines():
        parts = re.fullmatch(r"(?P<start>\S+ \S+ \d+) (?P<level>[A-Z]+) (?P<name>\S+) \[(?P<context>[^]]*)\] (?P<text>.*)",
                             line)
        found.append([parts["level"], parts["name"], parts["context"], parts["text"]] if parts else line)
    return found


def settings_lines(launched):
    """The lines from `WebSocket server settings:` to the end of the listing."""
    lines = [line for line in messages(launched.out()) if isinstance(line, list)]
    return [line for line in lines if line[3].startswith(("WebSocket server", "  - ", "In exit"))]


def passing(side, arguments, **how):
    launched = side.launch(["--config-file", side.world.empty_conf, *arguments], **how)
    launched.serving()
    launched.signal(signal.SIGTERM)
    launched.wait()
    return launched


@case(differs=WORKERS)
def start_and_end(side):
    """The settings, line by line."""
    launched = passing(side, ["--web", side.world.web, "--cert", "/nowhere.pem"])
    lines = settings_lines(launched)
    other = {"workers": [line[3] for line in lines if " workers on " in line[3]],
             "tls": [line[3] for line in lines if "SSL/TLS" in line[3]]}
    other = {name: found[0].removeprefix("  - ") for name, found in other.items() if found}
    lines = [line for line in lines if line[3].removeprefix("  - ") not in other.values()]
    return {**other, "lines": lines, "stderr": launched.err()}


@case()
def form_of_a_line(side):
    launched = passing(side, ["--web", ""])
    first = next(line for line in launched.out().splitlines() if "WebSocket server settings" in line)
    return {"line": first}


@case()
def date_format(side):
    launched = passing(side, ["--web", "", "--log-date-format", "%d/%m"])
    first = next(line for line in launched.out().splitlines() if "WebSocket server settings" in line)
    return {"form": bool(re.match(r"\d\d/\d\d\.\d{3} \d+ INFO ", first))}


@case()
def file_instead_of_stdout(side):
    side.count += 1
    path = side.directory / f"{side.count}.log"
    launched = passing(side, ["--web", "", "--log-file", path.name, "--log-dir", str(side.directory)])
    return {"stdout": launched.out(), "file": "WebSocket server settings:" in path.read_text()}


@case()
def directory_alone(side):
    """--log-dir alone: the program's name with .log."""
    launched = passing(side, ["--web", "", "--log-dir", str(side.directory)])
    path = side.directory / "nova-novncproxy.log"
    return {"stdout": launched.out(), "file": path.exists() and "WebSocket server settings:" in path.read_text()}


@case(differs={
    "line 1": D("D53", ['INFO', 'nova.console.websocketproxy', '-', "127.0.0.1 - - [<time>] 127.0.0.1: Path: '/?token=<uuid>'"], ['INFO', 'nova.console.websocketproxy', '-', "127.0.0.1 - - [<time>] 127.0.0.1: Path: '/?token=***'"]),
    "line 2": D("D53", ['INFO', 'nova.console.websocketproxy', 'None <request> - - - - - -', "N: connect info: ConsoleAuthToken(access_url_base='ws://127.0.0.1:6083/',console_type='serial',created_at=<value>,expires=<value>,host='127.0.0.1',id=<value>,instance_uuid=<uuid>,internal_access_path=None,port=<port>,tls_port=None,token='***',updated_at=<value>)"], ['INFO', 'nova.console.websocketproxy', 'None <request> - - - - - -', "N: connect info: ConsoleAuthToken(access_url_base='ws://127.0.0.1:6083/',console_type='serial',host='127.0.0.1',instance_uuid=<uuid>,internal_access_path=None,port=<port>,token='***')"]),
    "more": D("D53", 0, 2),
})
def session(side):
    """Every line of one good session; `more` are those behind `connecting to`."""
    mark = Mark(side, "serial")
    visit(side)
    mark.wait_for("console relay ended" if side.name == "ours" else "connecting to: ")
    # The first session of all has lines about the database and the bus too.
    lines = [line for line in messages(mark.text()) if line[1] == "nova.console.websocketproxy"]
    last = next(number for number, line in enumerate(lines) if "connecting to: " in line[3])
    return {**{f"line {number}": line for number, line in enumerate(lines[:last + 1])}, "more": len(lines) - last - 1}


@case(differs={
    "logged": D("D22", True, False),
})
def the_token_is_not_logged(side):
    mark = Mark(side, "serial")
    tokens = []
    visit(side, path=lambda token: tokens.append(token) or f"/?token={token}")
    # The last line of all: what came later would be taken for the next case's.
    mark.wait_for("console relay ended" if side.name == "ours" else "connecting to: ")
    return {"logged": tokens[0] in mark.text()}


@case()
def refused_session(side):
    mark = Mark(side, "serial")
    with Tenant(side.port("serial"), "/") as tenant:
        tenant.seen()
    mark.wait_for("handler exception: ")
    lines = [line for line in messages(mark.text()) if isinstance(line, list)]
    return {f"line {number}": line for number, line in enumerate(lines)}


@case(differs={
    "logged": D("D52", True, False),
})
def missing_file(side):
    """An error answer is logged with its code."""
    mark = Mark(side)
    get(side, "/not-there")
    return {"logged": bool(re.search("code 404, message File not found", mark.text()))}
