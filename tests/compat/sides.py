"""The two sides: Nova's programs and ours, started the same way."""

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

from wire import SECONDS_MAX, Wire

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = Path(os.environ.get("CONSOLEGATE_BIN", ROOT / "target/release/consolegate"))
HERE = Path(__file__).resolve().parent

PORT_FLAG = {
    "nova-novncproxy": "--vnc-novncproxy_port",
    "nova-spicehtml5proxy": "--spice-html5proxy_port",
    "nova-serialproxy": "--serial_console-serialproxy_port",
}
PROGRAMS = {"novnc": "nova-novncproxy", "spice": "nova-spicehtml5proxy", "serial": "nova-serialproxy"}

_ports_lock = threading.Lock()
_ports = set()


def free_port():
    """A port that nobody listens on, below the range that the kernel hands to clients."""
    with _ports_lock:
        for port in range(12000 + os.getpid() % 7000, 32000):
            if port in _ports:
                continue
            with socket.socket() as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                try:
                    probe.bind(("", port))
                except OSError:
                    continue
            _ports.add(port)
            return port
    raise RuntimeError("no free port")


def note_port(port):
    """A port that was found otherwise, and stands in answers too."""
    with _ports_lock:
        _ports.add(port)


def given_ports():
    with _ports_lock:
        return set(_ports)


def until(condition, what, seconds=SECONDS_MAX):
    """Waits for something that announces itself nowhere."""
    end = time.monotonic() + seconds
    while not (found := condition()):
        if time.monotonic() > end:
            raise TimeoutError(f"no {what} in {seconds} s")
        time.sleep(0.02)
    return found


class Launched:
    """A program that was started, with its output in files."""

    def __init__(self, pid, poll, out, err, port):
        self.pid, self.poll = pid, poll
        self.out_path, self.err_path, self.port = out, err, port
        self.ended = None

    def status(self):
        """The status once it has ended."""
        if self.ended is None:
            self.ended = self.poll()
        return self.ended

    def wait(self):
        until(lambda: self.status() is not None, "end of the program")
        return self.ended

    def listening(self):
        """Waits until it takes connections or has ended: whether it takes them."""

        def found():
            if self.status() is not None:
                return "ended"
            with socket.socket() as probe:
                return "listening" if probe.connect_ex(("127.0.0.1", self.port)) == 0 else None

        return until(found, "listening program") == "listening"

    def serving(self):
        """Waits until it serves, when its signal handlers are in place too, or has ended."""
        if not self.listening():
            return False
        with Wire(self.port) as wire:
            wire.send(b"HEAD / HTTP/1.1\r\nHost: probe\r\nConnection: close\r\n\r\n")
            wire.rest()
        return True

    def out(self):
        # The writer of our log rests a little behind each burst of lines.
        time.sleep(0.02)
        return self.out_path.read_text(errors="replace")

    def says(self, text, seconds=10):
        """Whether its log holds this. A line may come later than what its cause looks like from outside."""
        try:
            return bool(until(lambda: text in self.out(), f"log line {text!r}", seconds))
        except TimeoutError:
            return False

    def err(self):
        return self.err_path.read_text(errors="replace")

    def signal(self, number):
        os.kill(self.pid, number)

    def stop(self):
        """Ends it and what it has forked, which has the process group of the same number."""
        if self.status() is None:
            self.signal(signal.SIGTERM)
            try:
                until(lambda: self.status() is not None, "end of the program", 20)
            except TimeoutError:
                pass
        try:
            os.killpg(self.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        if self.status() is None:
            self.wait()


class Side:
    """One implementation. `launch` starts a program of it; `port` is that of a program that runs all the time."""

    def __init__(self, name, world):
        self.name, self.world = name, world
        self.directory = world.directory / name
        self.directory.mkdir()
        self.launched, self.standing = [], {}
        self.count = 0
        self.case = "standing"  # the one that runs

    def environment(self, extra=None):
        home = self.directory / "home"
        home.mkdir(exist_ok=True)
        return {"PATH": os.environ["PATH"], "HOME": str(home), "LANG": "C.UTF-8", "TZ": "UTC",
                "PYTHONWARNINGS": "ignore", **(extra or {})}

    def launch(self, arguments=(), program="nova-novncproxy", env=None, cwd=None, port=None):
        """Starts `program` with `arguments`, and with a free port unless one is given or `port` is False."""
        self.count += 1
        base = self.directory / f"{self.case.replace('::', '.')}-{self.count}"
        out, err = base.with_suffix(".out"), base.with_suffix(".err")
        arguments = [str(argument) for argument in arguments]
        if port is None:
            port = free_port()
            arguments += [PORT_FLAG[program], str(port)]
        cwd = Path(cwd or self.directory)
        pid, poll = self.start(program, arguments, self.environment(env), cwd, out, err)
        launched = Launched(pid, poll, out, err, port)
        self.launched.append(launched)
        return launched

    def spawn(self, argv, env, cwd, out, err):
        with open(out, "wb") as stdout, open(err, "wb") as stderr:
            process = subprocess.Popen(argv, env=env, cwd=cwd, stdin=subprocess.DEVNULL, stdout=stdout, stderr=stderr,
                                       start_new_session=True)
        return process.pid, process.poll

    def run(self, arguments=(), **how):
        """Runs a program that ends by itself."""
        launched = self.launch(arguments, port=how.pop("port", False), **how)
        launched.wait()
        return launched

    def stand(self):
        """Starts the programs that serve all the time, with the world's nova.conf."""
        for kind, program in PROGRAMS.items():
            web = [] if kind == "serial" else ["--web", str(self.world.web)]
            self.standing[kind] = self.launch_standing(
                ["--config-file", str(self.world.conf), *web], program=program)
        for kind, launched in self.standing.items():
            if not launched.listening():
                raise RuntimeError(f"{self.name}'s {kind} proxy does not start: {launched.err()}{launched.out()}")

    def launch_standing(self, arguments, program):
        return self.launch(arguments, program=program)

    def port(self, kind):
        return self.standing[kind].port

    def close(self):
        with contextlib.ExitStack() as end:
            for launched in self.launched:
                end.callback(launched.stop)

    def shown(self):
        """What its programs wrote of the world's secrets: file and line, the secret itself left out."""
        found = []
        for path in sorted(self.directory.rglob("*")):
            if not path.is_file() or path.is_symlink() or path.suffix not in (".out", ".err", ".log"):
                continue
            for number, line in enumerate(path.read_text(errors="replace").splitlines(), 1):
                for secret in self.world.secrets:
                    if secret in line:
                        found.append(f"{path.name}:{number}: {line.replace(secret, '<secret>')}")
        return found


class Ours(Side):
    def __init__(self, world):
        super().__init__("ours", world)
        self.bin = self.directory / "bin"
        self.bin.mkdir()
        for program in PROGRAMS.values():
            (self.bin / program).symlink_to(PROGRAM)

    def start(self, program, arguments, env, cwd, out, err):
        sandbox = os.environ.get("CONSOLEGATE_TEST_SANDBOX")
        env = {"OS_CONSOLEGATE__SANDBOX": sandbox, **env} if sandbox else env
        return self.spawn([str(self.bin / program), *arguments], env, cwd, out, err)


class Nova(Side):
    """The console scripts that pip installed run all the time; what is started in passing comes from a zygote."""

    def __init__(self, world):
        super().__init__("nova", world)
        self.scripts = Path(sys.executable).parent
        self.asking = threading.Lock()  # an interrupted run asks from two threads
        # oslo.log takes the program's name from the file that Python was started with.
        named = self.directory / "zygote/nova-novncproxy"
        named.parent.mkdir()
        named.symlink_to(HERE / "zygote.py")
        with open(self.directory / "zygote.err", "wb") as stderr:
            self.zygote = subprocess.Popen([sys.executable, "-B", str(named)], stdin=subprocess.PIPE,
                                           stdout=subprocess.PIPE, stderr=stderr, env=self.environment(),
                                           start_new_session=True)

    def ask(self, order):
        with self.asking:
            self.zygote.stdin.write(json.dumps(order).encode() + b"\n")
            self.zygote.stdin.flush()
            line = self.zygote.stdout.readline()
        if not line:
            raise RuntimeError("Nova's zygote has ended")
        return json.loads(line)

    def start(self, program, arguments, env, cwd, out, err):
        if program != "nova-novncproxy":
            return self.spawn([str(self.scripts / program), *arguments], env, cwd, out, err)
        pid = self.ask({"argv": [str(self.scripts / program), *arguments], "env": env, "cwd": str(cwd),
                        "out": str(out), "err": str(err)})
        return pid, lambda: self.ask({"poll": pid})

    def launch_standing(self, arguments, program):
        port = free_port()
        base = self.directory / f"standing-{program}"
        out, err = base.with_suffix(".out"), base.with_suffix(".err")
        argv = [str(self.scripts / program), *arguments, PORT_FLAG[program], str(port)]
        pid, poll = self.spawn(argv, self.environment(), self.directory, out, err)
        launched = Launched(pid, poll, out, err, port)
        self.launched.append(launched)
        return launched

    def close(self):
        try:
            super().close()
        finally:
            self.zygote.stdin.close()
            self.zygote.wait()


def executable_or_exit():
    if not PROGRAM.exists():
        sys.exit(f"{PROGRAM} is missing: cargo build --release")
    if shutil.which("openssl") is None:
        sys.exit("openssl is missing: scripts/install")
