"""Our own units, and what else the package gives a host with systemd: under a systemd that runs."""

import contextlib
import ctypes
import gzip
import socket
import threading
import time

from booted import Booted
from built import LATER, ours
from console import Browser, configure, guest, see, token
from host import NAMES, Host, wait_for
from registry import Skip, case, same
from serving import PORTS, served

UNITS = {name: f"consolegate-{name.removeprefix('nova-')}.service" for name in NAMES}
NOVNC = UNITS["nova-novncproxy"]

# Of 10, which is a unit without any confinement. What is left is that it speaks to the network, as user nova.
EXPOSURE_MAX = 1.8


def log_of(host, name):
    return host.read(f"/var/log/consolegate/{name}.log").decode()


def drop_in(host, unit, line):
    host.run(f"mkdir /etc/systemd/system/{unit}.d")
    (host.root / f"etc/systemd/system/{unit}.d/test.conf").write_text(f"[Service]\n{line}\n")
    host.run("systemctl daemon-reload")


def has_io_uring():
    return ctypes.CDLL(None).syscall(425, 1, bytes(120)) != -1


@case
def units_verify():
    """systemd finds no fault with them, and what they name is there."""
    with Host() as host:
        host.install(ours())
        for unit in UNITS.values():
            same(f"said of {unit}", host.run(f"systemd-analyze verify --man=yes --recursive-errors=no {unit} 2>&1"), "")
            host.run(f"systemd-analyze security --offline=true --threshold={int(EXPOSURE_MAX * 10)} {unit}")


@case
def nothing_is_started_or_enabled():
    """A boot with both packages runs what it ran without ours."""
    def running(*packages):
        host = Booted("multi-user.target")
        if packages:
            host.install(*packages)
        with host:
            wait_for("the end of the start", lambda: host.state("multi-user.target") == "active")
            listing = "systemctl list-units --plain --no-legend --state=active,failed 'nova-*' 'consolegate-*'"
            return host.run(listing + " | cut -d' ' -f1")
    before = running()
    assert "nova-spicehtml5proxy.service" in before, before
    same("active", running(ours()), before)


def serve_under_systemd(name, engine):
    if engine == "io_uring" and not has_io_uring():
        raise Skip("the kernel has no io_uring, or allows none")
    with Booted() as host:
        host.install(ours())
        configure(host, f"io_engine = {engine}\n")
        host.start_unit(UNITS[name])
        same("answer", served(host, name), f"{405 if name == 'nova-serialproxy' else 200} WebSockify consolegate")
        pid = host.property(UNITS[name], "MainPID")
        same("executable", host.run(f"readlink /proc/{pid}/exe"), "/usr/bin/consolegate")
        same("user", host.run(f"stat --format=%U:%G /proc/{pid}"), "nova:nova")
        status = dict(line.split(":\t", 1) for line in host.run(f"cat /proc/{pid}/status").splitlines())
        for field, expected in {"CapEff": "0" * 16, "CapBnd": "0" * 16, "NoNewPrivs": "1", "Seccomp": "2"}.items():
            same(field, status[field].strip(), expected)
        assert f"workers on {engine}" in log_of(host, name), log_of(host, name)
        same("admin socket", host.run(f"curl --silent --unix-socket /run/nova/{name}.sock http://localhost/healthcheck"), "OK")
        if name == "nova-novncproxy":
            see(host)
        host.run(f"systemctl stop {UNITS[name]}")
        same("result", host.property(UNITS[name], "Result"), "success")
        # The one is what `configure` asks for.
        faults = [line for line in log_of(host, name).splitlines() if " INFO " not in line and "port_check = off" not in line]
        same("faults", faults, [])
        same("log", host.run(f"stat --format='%U %a' /var/log/consolegate /var/log/consolegate/{name}.log"),
             "nova 750\nnova 640")


@case
def novnc_on_io_uring():
    serve_under_systemd("nova-novncproxy", "io_uring")


@case
def novnc_on_epoll():
    serve_under_systemd("nova-novncproxy", "epoll")


@case
def spice_on_io_uring():
    serve_under_systemd("nova-spicehtml5proxy", "io_uring")


@case
def serial_on_io_uring():
    serve_under_systemd("nova-serialproxy", "io_uring")


@case
def reloaded_restarted_upgraded_and_removed():
    """A reload keeps the process and a crash brings another; an upgrade leaves it alone, removing the package ends it."""
    with Booted() as host:
        host.install(ours())
        configure(host)
        host.run(f"systemctl enable --now {NOVNC}")
        pid = host.property(NOVNC, "MainPID")
        host.run(f"systemctl reload {NOVNC}")
        wait_for("the reload", lambda: "SIGHUP" in log_of(host, "nova-novncproxy"))
        host.install(ours(LATER))
        same("process", host.property(NOVNC, "MainPID"), pid)
        host.run(f"kill -KILL {pid}")
        wait_for("another process", lambda: host.property(NOVNC, "MainPID") not in (pid, "0"))
        same("answer", served(host, "nova-novncproxy"), "200 WebSockify consolegate")
        host.run("dpkg --remove consolegate")
        same("load state", host.property(NOVNC, "LoadState"), "not-found")
        same("state", host.state(NOVNC), "inactive")
        assert not host.exists(f"/etc/systemd/system/multi-user.target.wants/{NOVNC}"), "it is still enabled"


@case
def watched():
    """A process that hangs is replaced; one that lives says so. With less patience than the unit has."""
    with Booted() as host:
        host.install(ours())
        configure(host)
        drop_in(host, NOVNC, "WatchdogSec=8")
        host.start_unit(NOVNC)
        pid, heard = host.property(NOVNC, "MainPID"), host.property(NOVNC, "WatchdogTimestampMonotonic")
        wait_for("a sign of life", lambda: host.property(NOVNC, "WatchdogTimestampMonotonic") != heard)
        host.run(f"kill -STOP {pid}")
        wait_for("another process", lambda: host.property(NOVNC, "MainPID") not in (pid, "0"))
        assert "watchdog timeout" in host.run(f"journalctl --no-pager --unit={NOVNC}").lower(), "something else ended it"
        same("answer", served(host, "nova-novncproxy"), "200 WebSockify consolegate")


@case
def drained():
    """A stop waits for the open session for as long as drain_timeout says, though the unit's patience is shorter."""
    with Booted() as host:
        host.install(ours())
        configure(host, "drain_timeout = 300\n")
        drop_in(host, NOVNC, "TimeoutStopSec=3")
        host.start_unit(NOVNC)
        qemu = guest()
        try:
            browser = Browser(PORTS["nova-novncproxy"], token(host))
            browser.screens_name()
            host.run(f"systemctl stop --no-block {NOVNC}")
            wait_for("its end", lambda: host.state(NOVNC) == "deactivating")
            time.sleep(7)  # Twice what the unit alone would give it.
            same("state", host.state(NOVNC), "deactivating")
            browser.stream.close()
        finally:
            qemu.kill()
            qemu.wait()
        wait_for("the end", lambda: host.state(NOVNC) == "inactive")
        same("result", host.property(NOVNC, "Result"), "success")


@case
def of_two_units_for_one_port_one_runs():
    """Ours and Debian's stop each other, whichever comes last."""
    theirs = "nova-spicehtml5proxy.service"
    ours_too = UNITS["nova-spicehtml5proxy"]
    with Booted() as host:
        host.install(ours())
        for starts, stops in [(theirs, ours_too), (ours_too, theirs), (theirs, ours_too)]:
            host.start_unit(starts)
            served(host, "nova-spicehtml5proxy")
            same("states", (host.state(starts), host.state(stops)), ("active", "inactive"))


@case
def without_novas_packages():
    """On a host that has none of Nova, not even its user: an operator's nova.conf is all that the unit needs."""
    with Booted() as host:
        host.run("dpkg --purge --force-depends nova-consoleproxy nova-common python3-nova 2>&1")
        host.run("if id nova; then userdel nova; fi; rm -rf /etc/nova /var/lib/nova /var/log/nova /run/nova")
        host.install(ours())
        same("user", host.run("getent passwd nova | cut -d: -f6"), "/var/lib/nova")
        host.run("install -d -o nova /etc/nova /var/lib/nova")
        configure(host)
        host.start_unit(NOVNC)
        same("answer", served(host, "nova-novncproxy"), "200 WebSockify consolegate")
        see(host)


@case
def users_and_folders():
    """sysusers and tmpfiles on a root that has neither, and on one that has both."""
    with Host() as host:
        host.install(ours())
        host.run("mkdir -p /tmp/empty/etc && systemd-sysusers --root=/tmp/empty /usr/lib/sysusers.d/consolegate.conf")
        user = host.read("/tmp/empty/etc/passwd").decode()
        assert user.startswith("nova:x:") and user.endswith(":OpenStack Compute:/var/lib/nova:/usr/sbin/nologin\n"), user
        assert host.read("/tmp/empty/etc/group").startswith(b"nova:x:"), "no group"
        host.run("mkdir -p /tmp/empty/usr/lib && cp -a /usr/lib/tmpfiles.d /tmp/empty/usr/lib/")
        host.run("systemd-tmpfiles --root=/tmp/empty --create consolegate.conf")
        uid = user.split(":")[2]
        same("folder", host.run("stat --format='%u %a' /tmp/empty/run/nova"), f"{uid} 755")
        before = host.read("/etc/passwd"), host.read("/etc/group")
        host.run("systemd-sysusers consolegate.conf && systemd-tmpfiles --create consolegate.conf")
        same("users", (host.read("/etc/passwd"), host.read("/etc/group")), before)
        same("folder", host.run("stat --format='%U:%G %a' /run/nova"), "nova:nova 755")


def load(until):
    """Asks, one connection after the other, until told otherwise."""
    while not until.is_set():
        with contextlib.closing(socket.create_connection(("127.0.0.1", PORTS["nova-serialproxy"]), timeout=60)) as stream:
            stream.sendall(b"GET /x HTTP/1.0\r\n\r\n")
            while stream.recv(4096):
                pass


@case
def rotated_by_our_rule():
    """The real logrotate, again and again under load: each connection's last line is there once."""
    with Booted() as host:
        host.install(ours())
        name = "nova-serialproxy"
        same("faults", host.run("logrotate --debug /etc/logrotate.d/consolegate 2>&1 | grep -i error || true"), "")
        configure(host, "[DEFAULT]\ndebug = true\n")
        host.start_unit(UNITS[name])
        served(host, name)
        done = threading.Event()
        loads = [threading.Thread(target=load, args=(done,)) for _ in range(2)]
        for thread in loads:
            thread.start()
        path = f"/var/log/consolegate/{name}.log"
        for _ in range(12):
            wait_for("lines", lambda: host.exists(path) and b"connection closed" in host.read(path))
            host.run("logrotate --force /etc/logrotate.conf")
        done.set()
        for thread in loads:
            thread.join()
        host.run(f"systemctl stop {UNITS[name]}")
        files = sorted((host.root / "var/log/consolegate").iterdir())
        assert len(files) == 13, files
        texts = [gzip.decompress(file.read_bytes()) if file.suffix == ".gz" else file.read_bytes() for file in files]
        closed = [line.split(b": connection closed")[0].rsplit(b" ", 1)[-1]
                  for text in texts for line in text.splitlines() if b": connection closed" in line]
        assert any(b" SIGUSR1 received" in text for text in texts), "the rule's signal never came"
        numbers = sorted(map(int, closed))
        assert len(numbers) > 100, f"{len(numbers)} connections"
        same("numbers", numbers, list(range(1, len(numbers) + 1)))


@case
def shells_complete():
    """By the files that the package has, found as bash-completion and zsh find them."""
    with Host() as host:
        host.install(ours())
        for name in NAMES:
            offered = host.run(
                f"""bash -ec '. /usr/share/bash-completion/bash_completion; _completion_loader {name} || [ $? = 124 ]
                spec=$(complete -p {name}); spec=${{spec#* -F }}
                COMP_WORDS=({name} --ssl) COMP_CWORD=1; "${{spec%% *}}"; echo "${{COMPREPLY[@]}}"'""")
            same(f"bash: {name}", offered, "--ssl_only")
            found = host.run(f"zsh -fec 'autoload -Uz compinit; compinit -D; echo $_comps[{name}]; autoload +X _{name}; "
                             f"whence -w _{name}'")
            same(f"zsh: {name}", found, f"_{name}\n_{name}: function")
