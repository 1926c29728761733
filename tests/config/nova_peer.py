"""Reads configurations with Nova's own options through the real oslo.config, for comparison with ours.

Standard input: one JSON object a line, {"program", "argv", "environment", "directory"}.
Standard output: first {"group.name": [[group, name], ..]}, the names of every option. Then one JSON object a line:
  {"status", "stderr"} where the program ends before any option is read, else
  {"status": 0, "deprecations": [..], "options": {"group.name": {"value": ..} or {"error": ..}}},
  the latter with "deprecations" of its own where reading it gave any.
"""

import contextlib
import io
import json
import logging
import os
import sys

os.environ["OS_NOVA_DISABLE_EVENTLET_PATCHING"] = "1"  # Threads suffice; and see the import below.

from nova.cmd import baseproxy  # noqa: F401 - first, as Nova's programs have it
import nova.conf
from nova import config
from nova.conf import serial_console
from nova.conf import spice
from nova.conf import vnc
from oslo_config import cfg
from oslo_log import versionutils
from oslo_messaging import opts as messaging
from oslo_reports import opts as reports

# What nova/cmd/{novncproxy,spicehtml5proxy,serialproxy}.py do before they parse.
PROGRAMS = {
    "nova-novncproxy": (vnc, "/usr/share/novnc"),
    "nova-spicehtml5proxy": (spice, None),
    "nova-serialproxy": (serial_console, None),
}

# oslo.log would report deprecations through its own machinery, which needs to be set up.
cfg.oslo_log = None


class Lines(logging.Handler):
    """Keeps the messages of oslo.config's logger."""

    def __init__(self):
        super().__init__()
        self.lines = []

    def emit(self, record):
        self.lines.append(record.getMessage())

    def take(self):
        lines, self.lines = self.lines, []
        return lines


def register():
    """What the libraries register once they are used."""
    config.log.register_options(nova.conf.CONF)
    versionutils.register_options()
    config.set_lib_defaults()  # Before the next line makes copies.
    for group, options in [*messaging.list_opts(), *reports.list_opts()]:
        nova.conf.CONF.register_opts(options, group=group)


def options(conf):
    yield from (("DEFAULT", name, info) for name, info in conf._opts.items())
    for group in conf._groups.values():
        yield from ((group.name, name, info) for name, info in group._opts.items())


def known(conf):
    """The names under which files may have each option, the current one first."""
    names = {}
    for group, name, info in options(conf):
        old = [
            # oslo_config/cfg.py, Opt._get_from_namespace
            [(one.group or group), (one.name or name).replace("-", "_")]
            for one in info["opt"].deprecated_opts
        ]
        names[f"{group}.{name}"] = [[group, name], *old]
    return names


def read(conf, program, argv, kept):
    module, web = PROGRAMS[program]
    module.register_cli_opts(conf)
    if program != "nova-spicehtml5proxy":
        conf.set_default("web", web)
    config.parse_args([program, *argv], configure_db=False, init_rpc=False, prog=program)
    deprecations, results = kept.take(), {}
    for group, name, info in list(options(conf)):
        try:
            owner = conf if group == "DEFAULT" else conf[group]
            result = {"value": owner[name]}
        except Exception as error:  # Nova would log it and end, where it reads the option.
            result = {"error": f"{error}"}
        if lines := kept.take():
            result["deprecations"] = lines
        results[f"{group}.{name}"] = result
    return {"status": 0, "deprecations": deprecations, "options": results}


def answer(case):
    os.environ.clear()
    os.environ.update(case["environment"])
    os.chdir(case["directory"])
    logger, kept = logging.getLogger("oslo_config.cfg"), Lines()
    logger.addHandler(kept)
    logger.propagate = False
    stdout, stderr = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(stdout), contextlib.redirect_stderr(stderr):
        try:
            return read(nova.conf.CONF, case["program"], case["argv"], kept)
        except SystemExit as stop:
            status = stop.code or 0
        except Exception as error:  # A traceback and status 1, in Nova.
            status = 1
            stderr.write(f"{error}\n")
    return {"status": status, "stderr": stderr.getvalue()}


def apart(work, *arguments):
    """The result of `work` in a process of its own, as one line: what it does to options stays there."""
    readable, writable = os.pipe()
    child = os.fork()
    if child == 0:
        status = 1
        try:
            os.close(readable)
            with os.fdopen(writable, "w") as pipe:
                pipe.write(json.dumps(work(*arguments)))
            status = 0
        finally:
            os._exit(status)
    os.close(writable)
    with os.fdopen(readable) as pipe:
        line = pipe.read()
    _, status = os.waitpid(child, 0)
    if status != 0:
        raise SystemExit(f"a case failed: {arguments}")
    return line


def main():
    register()
    print(json.dumps(known(nova.conf.CONF)), flush=True)
    for line in sys.stdin:
        print(apart(answer, json.loads(line)), flush=True)


if __name__ == "__main__":
    main()
