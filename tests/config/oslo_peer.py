"""Reads configurations with the real oslo.config, for comparison with ours.

Standard input: one JSON object a line, {"program", "argv", "environment", "directory"}.
Standard output: one JSON object a line, {"status", "stderr", "values"}; values maps
"group.name" to the effective value.

The options are registered as Nova registers them: nova/conf/, oslo_log/_options.py.
"""

import contextlib
import copy
import io
import json
import os
import sys

from oslo_config import cfg
from oslo_config import types
from oslo_db import options as database
from oslo_log import _options as log
from oslo_log import versionutils
from oslo_messaging import opts as messaging
from oslo_reports import opts as reports

# oslo.log would report deprecations through its own machinery, which needs to be set up.
cfg.oslo_log = None


def default_options(program):
    web = {
        "nova-novncproxy": "/usr/share/novnc",
        "nova-spicehtml5proxy": "/usr/share/spice-html5",
        "nova-serialproxy": None,
    }[program]
    return [
        cfg.BoolOpt("debug", short="d", default=False),
        cfg.StrOpt("log-config-append", deprecated_name="log-config"),
        cfg.StrOpt("log-date-format", default="%Y-%m-%d %H:%M:%S"),
        cfg.StrOpt("log-file", deprecated_name="logfile"),
        cfg.StrOpt("log-dir", deprecated_name="logdir"),
        cfg.BoolOpt("use-syslog", default=False),
        cfg.BoolOpt("use-journal", default=False),
        cfg.StrOpt("syslog-log-facility", default="LOG_USER"),
        cfg.BoolOpt("use-json", default=False),
        cfg.StrOpt("record"),
        cfg.BoolOpt("daemon", default=False),
        cfg.BoolOpt("ssl_only", default=False),
        cfg.BoolOpt("source_is_ipv6", default=False),
        cfg.StrOpt("cert", default="self.pem"),
        cfg.StrOpt("key"),
        cfg.StrOpt("web", default=web),
    ]


GROUP_OPTIONS = {
    "nova-novncproxy": (
        "vnc",
        [
            cfg.StrOpt("novncproxy_host", default="0.0.0.0", deprecated_group="DEFAULT"),
            cfg.PortOpt("novncproxy_port", default=6080, deprecated_group="DEFAULT"),
            cfg.ListOpt(
                "auth_schemes",
                item_type=types.String(choices=("none", "vencrypt")),
                default=["none"],
            ),
            cfg.StrOpt("vencrypt_client_key"),
            cfg.StrOpt("vencrypt_client_cert"),
            cfg.StrOpt("vencrypt_ca_certs"),
        ],
    ),
    "nova-spicehtml5proxy": (
        "spice",
        [
            cfg.HostAddressOpt("html5proxy_host", default="0.0.0.0"),
            cfg.PortOpt("html5proxy_port", default=6082),
        ],
    ),
    "nova-serialproxy": (
        "serial_console",
        [
            cfg.StrOpt("serialproxy_host", default="0.0.0.0"),
            cfg.PortOpt("serialproxy_port", default=6083),
        ],
    ),
}


def log_options():
    """oslo.log's own, with the levels that nova/config.py adds."""
    options = copy.deepcopy(
        log.generic_log_opts + log.log_opts + versionutils.deprecated_opts
    )
    for option in options:
        if option.name == "default_log_levels":
            option.default = log.DEFAULT_LOG_LEVELS + [
                "glanceclient=WARN",
                "oslo.privsep.daemon=INFO",
            ]
    return options


def rabbit_options():
    """oslo.messaging's own, but for two whose defaults are the machine's."""
    options = copy.deepcopy(dict(messaging.list_opts())["oslo_messaging_rabbit"])
    return [option for option in options if option.name not in ("hostname", "processname")]


FILE_OPTIONS = [
    *(("oslo_messaging_rabbit", option) for option in rabbit_options()),
    # With the default that nova/config.py sets.
    ("DEFAULT", cfg.StrOpt("control_exchange", default="nova")),
    ("DEFAULT", cfg.BoolOpt("rpc_ping_enabled", default=False)),
    ("upgrade_levels", cfg.StrOpt("compute")),
    *(("DEFAULT", option) for option in log_options()),
    *(("oslo_reports", option) for option in copy.deepcopy(reports.list_opts()[0][1])),
    ("DEFAULT", cfg.StrOpt("transport_url", default="rabbit://", secret=True)),
    ("DEFAULT", cfg.IntOpt("rpc_response_timeout", default=60)),
    (
        "DEFAULT",
        cfg.StrOpt(
            "concurrency_backend",
            default="auto",
            choices=["auto", "threading", "eventlet"],
        ),
    ),
    (
        "console",
        cfg.ListOpt(
            "allowed_origins",
            default=[],
            deprecated_group="DEFAULT",
            deprecated_name="console_allowed_origins",
        ),
    ),
    ("console", cfg.StrOpt("ssl_ciphers")),
    (
        "console",
        cfg.StrOpt(
            "ssl_minimum_version",
            default="default",
            choices=["default", "tlsv1_1", "tlsv1_2", "tlsv1_3"],
        ),
    ),
    ("consoleauth", cfg.BoolOpt("enforce_session_timeout", default=False)),
    (
        "database",
        cfg.StrOpt(
            "connection",
            secret=True,
            deprecated_opts=[
                cfg.DeprecatedOpt("sql_connection", group="DEFAULT"),
                cfg.DeprecatedOpt("sql_connection", group="DATABASE"),
                cfg.DeprecatedOpt("connection", group="sql"),
            ],
        ),
    ),
    # The releases before have more old names for the one above.
    *(("database", opt) for opt in database.database_opts if opt.name != "connection"),
]


def read(program, argv):
    conf = cfg.ConfigOpts()
    # oslo.config registers this one by itself.
    names = [("DEFAULT", "shell_completion")]
    conf.register_cli_opts(default_options(program))
    names += [("DEFAULT", opt.dest) for opt in default_options(program)]
    group, options = GROUP_OPTIONS[program]
    conf.register_cli_opts(options, group=group)
    names += [(group, opt.dest) for opt in options]
    for group, option in FILE_OPTIONS:
        conf.register_opt(option, group=None if group == "DEFAULT" else group)
        names.append((group, option.dest))
    conf(argv, project="nova", prog=program, version="34.0.0")
    values = {}
    for group, name in names:
        owner = conf if group == "DEFAULT" else conf[group]
        values[f"{group}.{name}"] = owner[name]
    return values


def answer(case):
    os.environ.clear()
    os.environ.update(case["environment"])
    os.chdir(case["directory"])
    stdout, stderr = io.StringIO(), io.StringIO()
    status, values = 0, None
    with contextlib.redirect_stdout(stdout), contextlib.redirect_stderr(stderr):
        try:
            values = read(case["program"], case["argv"])
        except SystemExit as stop:
            status = stop.code or 0
        except Exception as error:  # A traceback and status 1, in Nova.
            status = 1
            stderr.write(f"{error}\n")
    return {"status": status, "stderr": stderr.getvalue(), "values": values}


def main():
    for line in sys.stdin:
        print(json.dumps(answer(json.loads(line))), flush=True)


if __name__ == "__main__":
    main()
