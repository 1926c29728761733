"""The command line: what is printed, what starts, and with which status it ends."""

import re
import signal
import socket

from cases.common import get
from observation import ANY, D
from registry import case
from sides import free_port

# Lines of our settings that are not Nova's.
WORKERS = {"workers": D("D39", ours=ANY)}


def outcome(launched):
    """Status and the last line that it says on stderr, for a program that ended by itself."""
    lines = [line for line in launched.err().splitlines() if line.strip()]
    more = lines.pop() if lines and lines[-1].startswith("(option ") else None
    return {"status": launched.ended, "says": lines[-1] if lines else "", **({"more": more} if more else {})}


def started(side, arguments, **how):
    """The settings that the program announces, and how SIGTERM ends it; or why it did not start."""
    launched = side.launch(arguments, **how)
    if not launched.serving():
        return {**outcome(launched), **announced(launched)}
    launched.signal(signal.SIGTERM)
    return {"status": launched.wait(), **announced(launched)}


def announced(launched):
    lines = re.findall(r"\] {3}- (.*)$", launched.out(), re.MULTILINE)
    seen = {"workers": [line for line in lines if " workers on " in line],
            "tls": [line for line in lines if "SSL/TLS" in line]}
    seen = {name: found[0] for name, found in seen.items() if found}
    return {**seen, "settings": [line for line in lines if line not in seen.values()]} if lines else {}


@case()
def version(side):
    """--version prints one line, and that to stdout."""
    launched = side.run(["--version"])
    return {"status": launched.ended, "lines": len(launched.out().splitlines()), "stderr": launched.err(),
            "form": bool(re.fullmatch(r"\d+\.\d+\.\d+\n", launched.out()))}


@case(differs={flag: D("D03", ours="listed") for flag in ("--check", "--mode")})
def help_lists_every_flag(side):
    """--help lists the same flags on both sides."""
    launched = side.run(["--help"])
    return {"status": launched.ended, **{flag: "listed" for flag in re.findall(r"--[\w-]+", launched.out())}}


@case(differs={"bash": D("D55", [1, False], [0, True]), "zsh": D("D55", [1, False], [0, True])})
def shell_completion(side):
    """Statuses, and whether a script for the program comes out."""
    seen = {}
    for shell, mark in (("bash", "complete -F "), ("zsh", "#compdef ")):
        launched = side.run(["--shell_completion", shell])
        seen[shell] = [launched.ended, mark in launched.out()]
    return seen


@case()
def shell_completion_for_another_shell(side):
    return outcome(side.run(["--shell_completion", "fish"]))


@case()
def unknown_flag(side):
    return outcome(side.run(["--config-file", side.world.empty_conf, "--bogus"]))


@case()
def dashes_are_no_underscores(side):
    return outcome(side.run(["--config-file", side.world.empty_conf, "--ssl-only"]))


@case()
def ambiguous_prefix(side):
    return outcome(side.run(["--config-file", side.world.empty_conf, "--vnc-novnc", "1"]))


@case(differs=WORKERS)
def unambiguous_prefix(side):
    return started(side, ["--config-file", side.world.empty_conf, "--vnc-novncproxy_h", "127.0.0.1",
                          f"--we={side.world.web}"])


@case(differs=WORKERS)
def flag_with_equals_sign(side):
    return started(side, [f"--config-file={side.world.empty_conf}", "--vnc-novncproxy_host=127.0.0.1", "--web="])


@case()
def switch_takes_no_value(side):
    return outcome(side.run(["--config-file", side.world.empty_conf, "--daemon=true"]))


@case(differs=WORKERS)
def inverse_switches(side):
    """A later --noX takes an earlier --X back."""
    return started(side, ["--config-file", side.world.empty_conf, "--ssl_only", "--nossl_only", "--daemon", "--nodaemon",
                          "--source_is_ipv6", "--nosource_is_ipv6", "-d", "--nodebug", "--web", ""])


@case()
def missing_config_file(side):
    return outcome(side.run(["--config-file", f"{side.world.directory}/nowhere.conf"]))


@case()
def missing_config_dir(side):
    return outcome(side.run(["--config-dir", f"{side.world.directory}/nowhere.d"]))


@case()
def port_out_of_range(side):
    return outcome(side.run(["--config-file", side.world.empty_conf, "--vnc-novncproxy_port", "99999"]))


@case()
def unknown_auth_scheme(side):
    return outcome(side.run(["--config-file", side.world.empty_conf, "--vnc-auth_schemes", "foo"]))


@case()
def tls_only_without_certificate(side):
    return outcome(side.run(["--config-file", side.world.empty_conf, "--ssl_only", "--cert", "/nowhere/cert.pem"]))


@case()
def missing_web_root(side):
    return outcome(side.run(["--config-file", side.world.empty_conf, "--web", "/nowhere/web"]))


@case()
def web_root_that_is_empty_is_none(side):
    """--web "" disables the web server."""
    launched = side.launch(["--config-file", side.world.empty_conf, "--web", ""])
    launched.serving()
    side.standing["passing"] = launched
    try:
        return {"status": get(side, "/", kind="passing")["status"]}
    finally:
        launched.stop()


@case(differs={"level": D("D05", "INFO", "ERROR"), "status": D("D05", 0, 1)})
def port_in_use(side):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        launched = side.run(["--config-file", side.world.empty_conf, "--web", "", "--vnc-novncproxy_host", "127.0.0.1",
                             "--vnc-novncproxy_port", str(taken.getsockname()[1])])
    line = re.search(r" (INFO|ERROR) .*ing socket failed: ", launched.out())
    return {"status": launched.ended, "level": line and line.group(1)}


@case(differs=WORKERS)
def ipv6_literal(side):
    """`::` is listened on without source_is_ipv6, and takes IPv4 too."""
    return started(side, ["--config-file", side.world.empty_conf, "--web", "", "--vnc-novncproxy_host", "::"])


@case()
def restart_over_time_wait(side):
    """The same port again, right after this side closed a connection on it."""
    port = free_port()
    arguments = ["--config-file", side.world.empty_conf, "--web", "", "--vnc-novncproxy_port", port]
    seen = []
    for _ in range(2):
        launched = side.launch(arguments, port=port)
        seen.append(launched.serving())
        launched.stop()
    return {"served": seen}


@case(differs={**WORKERS, "status": D("D04", 2, 0), "settings": D("D04", ours=ANY),
               "tls": D("D04", ours=ANY), "says": D("D04", "nova-novncproxy: error: unrecognized arguments: --novncproxy_host 127.0.0.1")})
def spelling_of_old_releases(side):
    """--novncproxy_host was the flag until Liberty."""
    return started(side, ["--config-file", side.world.empty_conf, "--web", "", "--novncproxy_host", "127.0.0.1"])


@case()
def interrupt_ends_it(side):
    launched = side.launch(["--config-file", side.world.empty_conf, "--web", ""])
    launched.serving()
    launched.signal(signal.SIGINT)
    return {"status": launched.wait(), "said": "In exit" in launched.out()}


@case(differs={"status": D("D07", -1, 0)})
def hangup(side):
    """SIGHUP: does the process outlive it?"""
    launched = side.launch(["--config-file", side.world.empty_conf, "--web", ""])
    launched.serving()
    launched.signal(signal.SIGHUP)
    launched.signal(signal.SIGTERM)
    return {"status": launched.wait()}
