"""Writes records with the real oslo.log, for comparison with ours.

Standard input: one JSON object a line, {"options", "config", "records", "program"}: either values of oslo.log's
options or the path of a logging configuration file. Standard output: one JSON object a line, {"error"}, once all is
written. Each case runs in a process of its own, since Python's logging is global.

A record is {"name", "level", "message", "request", "instance_uuid"}. With "syslog" in a case the answer holds the
datagrams that arrived at /dev/log, which is made for that: the caller gives this process a /dev of its own.
"""

import json
import logging
import os
import socket
import sys
import warnings

warnings.simplefilter("ignore")

from nova import context as nova_context  # noqa: E402
from oslo_config import cfg  # noqa: E402
from oslo_context import context as oslo_context  # noqa: E402
from oslo_log import log  # noqa: E402


def write(case):
    conf = cfg.ConfigOpts()
    log.register_options(conf)
    conf([], project="nova", prog=case["program"])
    for name, value in case["options"].items():
        conf.set_override(name, value)
    if case.get("config"):
        conf.set_override("log_config_append", case["config"])
    log.setup(conf, "nova", "34.0.0", fix_eventlet=False)
    for record in case["records"]:
        extra = {}
        if record["instance_uuid"]:
            extra["instance_uuid"] = record["instance_uuid"]
        if record["request"]:
            nova_context.get_admin_context()
        elif hasattr(oslo_context._request_store, "context"):
            del oslo_context._request_store.context
        logger = log.getLogger(record["name"])
        logger.log(getattr(logging, record["level"]), record["message"], **extra)
    logging.shutdown()


def answer(case):
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        error = None
        datagrams = []
        try:
            os.close(reader)
            if case.get("syslog"):
                daemon = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
                daemon.bind("/dev/log")
                daemon.setblocking(False)
            write(case)
            if case.get("syslog"):
                datagrams = [daemon.recv(65536).decode() for _ in case["records"]]
        except Exception as problem:
            error = str(problem)
        os.write(writer, json.dumps({"error": error, "datagrams": datagrams}).encode())
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as pipe:
        text = pipe.read()
    os.waitpid(child, 0)
    return text.decode()


def main():
    for line in sys.stdin:
        print(answer(json.loads(line)), flush=True)


if __name__ == "__main__":
    main()
