"""Nova's own nova-novncproxy, imported once and forked for each start: importing it takes seconds.

    zygote.py

Reads one JSON object a line and answers each with one line of JSON.

    {"argv": [...], "env": {...}, "cwd": DIR, "out": FILE, "err": FILE}   start it, answer its process id
    {"poll": PID}                                                          answer its status once it has ended, or null

What happens in a child is what happens in the console script: `nova.monkey_patch` reads the configuration files
named in argv, then `nova.cmd.novncproxy.main` runs.
"""

import json
import os
import signal
import sys

# The originals, since Nova replaces what these modules hold by green ones when it is imported.
fork, read, waitpid, close = os.fork, os.read, os.waitpid, os.close

sys.argv = ["nova-novncproxy"]
from nova import monkey_patch  # noqa: E402
from nova.cmd import novncproxy  # noqa: E402


def lines():
    """Standard input, unbuffered, so that no child has a part of it."""
    buffer = b""
    while chunk := read(0, 65536):
        buffer += chunk
        while b"\n" in buffer:
            line, buffer = buffer.split(b"\n", 1)
            yield json.loads(line)


def say(value):
    os.write(1, json.dumps(value).encode() + b"\n")


def become(order):
    """Makes this child look as if it had been started from a shell."""
    os.setsid()
    os.chdir(order["cwd"])
    os.environ.clear()
    os.environ.update(order["env"])
    nothing = os.open(os.devnull, os.O_RDONLY)
    out = os.open(order["out"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
    err = os.open(order["err"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
    for number, descriptor in enumerate((nothing, out, err)):
        os.dup2(descriptor, number)
        close(descriptor)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    sys.argv = order["argv"]


def main():
    for order in lines():
        if "poll" in order:
            pid, status = waitpid(order["poll"], os.WNOHANG)
            say(os.waitstatus_to_exitcode(status) if pid else None)
            continue
        pid = fork()
        if pid == 0:
            become(order)
            return True
        say(pid)
    return False


if __name__ == "__main__" and main():
    # Out here, an exception or an exit ends the process as it ends the console script.
    monkey_patch._get_concurrency_from_config()
    sys.exit(novncproxy.main())
