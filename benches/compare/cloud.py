"""Peers that check every token as in a cloud: cell database, instance, and the port check over the message bus.

All of them, Nova's own proxy too, share one cell database, one RabbitMQ and one compute node, which run on the load
generator's CPU.
"""

import json
import os
import subprocess

import peers

# The cell database: what clouds run.
DATABASE = "mariadb"
# Longer than a comparison takes.
TOKEN_SECONDS = 36_000


class Cloud:
    """tests/compat/cloud.py, started with the first peer that needs it."""

    def __init__(self):
        self.process = self.conf = None

    def start(self):
        if self.process:
            return
        if not peers.PYTHON.exists():
            raise peers.Unavailable("target/test-python is missing: scripts/install compare")
        self.process = subprocess.Popen(
            [str(peers.PYTHON), "-B", str(peers.ROOT / "tests/compat/cloud.py"), DATABASE], stdin=subprocess.PIPE,
            stdout=subprocess.PIPE, text=True, bufsize=1, start_new_session=True,
            preexec_fn=lambda: os.sched_setaffinity(0, peers.LOAD_CPU),
        )
        self.conf = json.loads(self.answer())["conf"]

    def answer(self):
        line = self.process.stdout.readline()
        if not line:
            raise peers.Unavailable("the database, the bus or the compute node did not start")
        return line

    def token(self, port):
        self.process.stdin.write(json.dumps(["serial", port, TOKEN_SECONDS]) + "\n")
        return json.loads(self.answer())

    def stop(self):
        if self.process:
            self.process.stdin.close()
            self.process.wait()
            self.process = None


CLOUD = Cloud()


def arguments(peer, compute_port, *more_files):
    """The command line behind the program's name, the same for everybody."""
    CLOUD.start()
    peer.upgrade = f"/?token={CLOUD.token(compute_port)}"
    files = [word for path in (CLOUD.conf, *more_files) for word in ("--config-file", str(path))]
    return [*files, "--serial_console-serialproxy_host", "127.0.0.1", "--serial_console-serialproxy_port", str(peer.port)]


def nova(peer, compute_port):
    return [str(peers.PYTHON.with_name("nova-serialproxy")), *arguments(peer, compute_port)]


def consolegate(io_engine):
    def command(peer, compute_port):
        (peer.directory / "own.conf").write_text(f"[consolegate]\nworkers = 1\nio_engine = {io_engine}\n")
        name = peer.directory / "nova-serialproxy"
        name.symlink_to(peers.PROGRAM)
        return [str(name), *arguments(peer, compute_port, "own.conf")]

    return command


def all_peers():
    return [
        peers.Peer("checked-epoll", "consolegate epoll, all checks", peers.OURS, consolegate("epoll"), peers.CHECKED),
        peers.Peer("checked-uring", "consolegate io_uring, all checks", peers.OURS, consolegate("io_uring"), peers.CHECKED),
        peers.Peer("nova", "nova-serialproxy of Nova, all checks", peers.WEBSOCKET, nova, peers.CHECKED),
    ]
