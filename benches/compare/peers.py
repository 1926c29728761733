"""The proxies that are compared: how each is started privately, measured as a whole tree, and ended."""

import os
import resource
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = Path(os.environ.get("CONSOLEGATE_BIN", ROOT / "target/release/consolegate"))
PYTHON = ROOT / "target/test-python/bin/python"

# The load generator has the first CPU, the proxy the second. With one CPU they share it.
CPUS = sorted(os.sched_getaffinity(0))
LOAD_CPU = {CPUS[0]}
PROXY_CPU = {CPUS[1] if len(CPUS) > 1 else CPUS[0]}

PLAIN, TLS, CHECKED = "plain", "tls", "checked"

OURS = "ours"
TCP = "tcp"
WEBSOCKET = "websocket"


class Unavailable(Exception):
    """A peer that this machine cannot run; the report says why."""


def free_port():
    """A port that nobody listens on, below the range that the kernel hands to clients."""
    for port in range(20000 + os.getpid() % 5000, 32000):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        if port not in free_port.given:
            free_port.given.add(port)
            return port
    raise RuntimeError("no free port")


free_port.given = set()


def cgroup_parent():
    """A directory of cgroup version 2 that we may make children in, or None.

    Its cpu.stat is there without any controller, and counts processes that have exited too.
    """
    for line in Path("/proc/mounts").read_text().splitlines():
        _, mount, kind, *_ = line.split()
        if kind != "cgroup2":
            continue
        own = [l[3:] for l in Path("/proc/self/cgroup").read_text().splitlines() if l.startswith("0::")]
        parent = Path(mount) / (own[0].lstrip("/") if own else "")
        probe = parent / f"consolegate-probe-{os.getpid()}"
        try:
            probe.mkdir()
            usable = "usage_usec" in (probe / "cpu.stat").read_text()
            with subprocess.Popen(["sleep", "5"]) as sleeper:
                try:
                    (probe / "cgroup.procs").write_text(str(sleeper.pid))
                finally:
                    sleeper.kill()
            return parent if usable else None
        except OSError:
            continue
        finally:
            if probe.exists():
                remove_cgroup(probe)
    return None


def remove_cgroup(path):
    for _ in range(100):
        try:
            path.rmdir()
            return
        except OSError:
            time.sleep(0.05)


class Peer:
    """One proxy. `command` gives the argv, from its directory, its port and the compute node's port.

    Each takes part in the measures of its group alone: PLAIN; TLS, where the tenants speak it; CHECKED, where a
    database and a bus are asked about every token (see cloud.py).
    """

    def __init__(self, name, label, kind, command, group=PLAIN):
        self.name, self.label, self.kind, self.group = name, label, kind, group
        self.command = command
        self.upgrade = None if kind == TCP else "/"
        self.process = self.cgroup = self.directory = None
        self.port = None

    def start(self, compute_port, parent):
        self.port = free_port()
        self.directory = Path(tempfile.mkdtemp(prefix=f"compare-{self.name}-"))
        argv = self.command(self, compute_port)
        if parent:
            self.cgroup = parent / f"consolegate-compare-{os.getpid()}-{self.name}"
            self.cgroup.mkdir(exist_ok=True)

        def prepare():
            os.sched_setaffinity(0, PROXY_CPU)
            most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
            resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
            if self.cgroup:
                (self.cgroup / "cgroup.procs").write_text(str(os.getpid()))

        with open(self.directory / "log", "wb") as log:
            self.process = subprocess.Popen(
                argv, cwd=self.directory, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                start_new_session=True, preexec_fn=prepare,
            )
        # Nova's proxy imports for seconds, and for many where the machine is busy.
        for _ in range(2400):
            if self.process.poll() is not None:
                raise Unavailable(self.last_words() or f"it ended with status {self.process.returncode}")
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    time.sleep(0.2)
                    self.rest = self.tree_size()
                    return
            time.sleep(0.05)
        raise Unavailable("it did not listen in time")

    def last_words(self):
        lines = (self.directory / "log").read_text(errors="replace").strip().splitlines()
        return lines[-1][-300:] if lines else ""

    def tree_size(self):
        if self.cgroup:
            return len((self.cgroup / "cgroup.procs").read_text().split())
        listing = subprocess.run(["ps", "-o", "pid=", "-s", str(self.process.pid)], capture_output=True, text=True)
        return len(listing.stdout.split())

    def settle(self):
        """Waits until the processes of the last run's sessions are gone."""
        for _ in range(600):
            if self.tree_size() <= self.rest:
                return
            time.sleep(0.1)

    def stop(self):
        if self.process and self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(5)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        if self.process:
            try:  # its children, in the session that was made for it
                os.killpg(self.process.pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        if self.cgroup:
            try:
                (self.cgroup / "cgroup.kill").write_text("1")
            except OSError:
                pass
            remove_cgroup(self.cgroup)
        if self.directory:
            shutil.rmtree(self.directory, ignore_errors=True)
        self.process = self.cgroup = self.directory = None

    def load_options(self):
        options = ["--target", str(self.port), "--pid", str(self.process.pid)]
        if self.cgroup:
            options += ["--cgroup", str(self.cgroup)]
        if self.upgrade:
            options += ["--upgrade", self.upgrade]
        if self.group == TLS:
            options += ["--tls", "true"]
        return options


def consolegate(io_engine, splice, tls=False):
    def command(peer, compute_port):
        database = f"sqlite:///{peer.directory}/cell.sqlite"
        (peer.directory / "nova.conf").write_text(
            ("[DEFAULT]\ncert = {}\nkey = {}\n".format(*certificate(peer)) if tls else "")
            + f"[serial_console]\nserialproxy_host = 127.0.0.1\nserialproxy_port = {peer.port}\n"
            f"[database]\nconnection = {database}\n"
            # What 20,000 descriptors allow, without the twentieth that is kept back: 9,500 sessions are measured.
            f"[consolegate]\nport_check = off\nworkers = 1\nsessions_max = 9600\nio_engine = {io_engine}\n"
            + ("" if splice else "splice_from_bytes = 0\n")
        )
        token = subprocess.run(
            [PROGRAM, "token", "create", "--init", "--database", database, "--type", "serial",
             "--host", "127.0.0.1", "--port", str(compute_port), "--ttl", "36000",
             "--instance", "11111111-2222-3333-4444-555555555555",
             "--base-url", f"ws://127.0.0.1:{peer.port}/"],
            check=True, capture_output=True, text=True,
        ).stdout.strip()[-36:]
        peer.upgrade = f"/?token={token}"
        name = peer.directory / "nova-serialproxy"
        name.symlink_to(PROGRAM)
        return [str(name), "--config-file", "nova.conf"]

    return command


def certificate(peer):
    """The paths of a certificate and its key, P-256 as most have today."""
    cert, key = peer.directory / "cert.pem", peer.directory / "key.pem"
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
                    "-subj", "/CN=localhost", "-days", "2", "-keyout", str(key), "-out", str(cert)],
                   check=True, capture_output=True)
    return cert, key


def haproxy(extra_global="", extra="", tls=False):
    def command(peer, compute_port):
        listener = ""
        if tls:
            both = peer.directory / "both.pem"
            both.write_text("".join(path.read_text() for path in certificate(peer)))
            listener = f" ssl crt {both} ssl-min-ver TLSv1.3"
        (peer.directory / "haproxy.cfg").write_text(
            f"global\n  nbthread 1\n  maxconn 4000\n{extra_global}"
            "defaults\n  mode tcp\n  timeout connect 10s\n  timeout client 1h\n  timeout server 1h\n"
            f"{extra}listen console\n  bind 127.0.0.1:{peer.port}{listener}\n  server node 127.0.0.1:{compute_port}\n"
        )
        return [found("haproxy"), "-db", "-f", "haproxy.cfg"]

    return command


def nginx(peer, compute_port):
    return nginx_stream(peer, compute_port)


def nginx_tls(peer, compute_port):
    cert, key = certificate(peer)
    return nginx_stream(peer, compute_port, " ssl",
                        f"ssl_certificate {cert}; ssl_certificate_key {key}; ssl_protocols TLSv1.3; ")


def nginx_stream(peer, compute_port, listener="", options=""):
    module = Path("/usr/lib/nginx/modules/ngx_stream_module.so")
    (peer.directory / "nginx.conf").write_text(
        (f"load_module {module};\n" if module.exists() else "")
        + ("user root;\n" if os.geteuid() == 0 else "")
        + "daemon off;\nworker_processes 1;\npid nginx.pid;\nerror_log stderr;\nworker_rlimit_nofile 16384;\n"
        "events { worker_connections 8192; }\n"
        f"stream {{ server {{ listen 127.0.0.1:{peer.port}{listener}; {options}proxy_pass 127.0.0.1:{compute_port}; }} }}\n"
    )
    return [found("nginx"), "-p", f"{peer.directory}/", "-e", "stderr", "-c", "nginx.conf"]


def websockify(peer, compute_port):
    if not PYTHON.exists():
        raise Unavailable("target/test-python is missing: scripts/install")
    return [str(PYTHON), "-m", "websockify", f"127.0.0.1:{peer.port}", f"127.0.0.1:{compute_port}"]


def websocat(peer, compute_port):
    # Without --exit-on-eof it leaks the sockets of ended sessions, as it says itself.
    return [found("websocat"), "--exit-on-eof", "--binary", f"ws-l:127.0.0.1:{peer.port}", f"tcp:127.0.0.1:{compute_port}"]


def found(program):
    path = shutil.which(program, path=f"{os.environ['PATH']}:/usr/sbin:{Path.home()}/.cargo/bin")
    if not path:
        raise Unavailable(f"{program} is not installed: scripts/install compare")
    return path


SPLICE = "  option splice-response\n  option splice-request\n"


def all_peers():
    return [
        Peer("epoll", "consolegate epoll", OURS, consolegate("epoll", True)),
        Peer("epoll-copy", "consolegate epoll, splice off", OURS, consolegate("epoll", False)),
        Peer("uring", "consolegate io_uring", OURS, consolegate("io_uring", True)),
        Peer("uring-copy", "consolegate io_uring, splice off", OURS, consolegate("io_uring", False)),
        Peer("haproxy-copy", "HAProxy tcp", TCP, haproxy()),
        Peer("haproxy-splice", "HAProxy tcp, splice", TCP, haproxy(extra=SPLICE)),
        Peer("haproxy-1m", "HAProxy tcp, splice, 1 MiB pipe", TCP,
             haproxy("  tune.pipesize 1048576\n", SPLICE)),
        Peer("nginx", "nginx stream", TCP, nginx),
        Peer("websockify", "websockify", WEBSOCKET, websockify),
        Peer("websocat", "websocat", WEBSOCKET, websocat),
        Peer("epoll-tls", "consolegate epoll, TLS", OURS, consolegate("epoll", True, tls=True), TLS),
        Peer("uring-tls", "consolegate io_uring, TLS", OURS, consolegate("io_uring", True, tls=True), TLS),
        Peer("haproxy-tls", "HAProxy tcp, ssl", TCP, haproxy(tls=True), TLS),
        Peer("nginx-tls", "nginx stream, ssl", TCP, nginx_tls, TLS),
    ]


def first_line(*argv):
    try:
        done = subprocess.run(argv, capture_output=True, text=True)
        return (done.stdout or done.stderr).strip().splitlines()[0]
    except (OSError, IndexError):
        return "not there"


def versions():
    packages = "import importlib.metadata as m, sys; print('websockify', m.version('websockify'), 'and nova', " \
               "m.version('nova'), 'on Python', sys.version.split()[0], 'with numpy', m.version('numpy'))"
    search = f"{os.environ['PATH']}:/usr/sbin:{Path.home()}/.cargo/bin"
    return {
        "consolegate": first_line("git", "-C", str(ROOT), "describe", "--always", "--dirty", "--exclude=*"),
        "HAProxy": first_line(shutil.which("haproxy", path=search) or "haproxy", "-v"),
        "nginx": first_line(shutil.which("nginx", path=search) or "nginx", "-v"),
        "websockify and Nova": first_line(str(PYTHON), "-c", packages),
        "websocat": first_line(shutil.which("websocat", path=search) or "websocat", "--version"),
        "compiler": first_line("rustc", "--version"),
    }
