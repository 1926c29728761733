"""A Debian host to install on: a writable layer over the kept root, with /proc, /dev and /run of its own.

The suite runs in namespaces of its own (see main.py), so what a case starts listens beside nobody and ends with it.
"""

import contextlib
import hashlib
import os
import shutil
import signal
import stat
import subprocess
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
BASE = ROOT / "target/package/root"
NAMES = ["nova-novncproxy", "nova-spicehtml5proxy", "nova-serialproxy"]
THEIRS = "/usr/lib/consolegate/python"

# As a login of root's has it.
ENVIRONMENT = ["env", "-i", "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C",
               "DEBIAN_FRONTEND=noninteractive"]

# What every installation writes into, whoever's it is: logs, caches, dpkg's own copies of its state.
IGNORED = ("dev", "proc", "sys", "run", "tmp", "var/log", "var/cache", "var/lib/apt")
IGNORED_FILES = {"var/lib/dpkg/status", "var/lib/dpkg/lock", "var/lib/dpkg/triggers/Lock"}


class Host:
    def __init__(self):
        self.layers = Path(tempfile.mkdtemp(prefix="host-"))
        mount("tmpfs", self.layers, "-t", "tmpfs")
        for name in ("upper", "work", "merged"):
            (self.layers / name).mkdir()
        self.root = self.layers / "merged"
        options = f"lowerdir={BASE},upperdir={self.layers}/upper,workdir={self.layers}/work"
        mount("overlay", self.root, "-t", "overlay", "-o", options)
        mount("proc", self.root / "proc", "-t", "proc")
        mount("tmpfs", self.root / "run", "-t", "tmpfs", "-o", "mode=755")
        (self.root / "run/lock").mkdir()
        for device in ("null", "zero", "urandom", "random"):
            (self.root / "dev" / device).touch()
            mount(f"/dev/{device}", self.root / "dev" / device, "--bind")
        self.started = []

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for process in self.started:
            process.kill()
            process.wait()
        # Daemons that left us.
        for pid in self.processes():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        subprocess.run(["umount", "--recursive", "--lazy", self.layers], check=True)
        shutil.rmtree(self.layers)

    def run(self, command, status=0, user="root"):
        """Runs a line of shell on the host and returns its standard output; its status has to be this."""
        done = subprocess.run(self.enter(user, "sh", "-ec", command), capture_output=True, text=True, timeout=120)
        assert done.returncode == status, f"{command}: status {done.returncode}\n{done.stdout}{done.stderr}"
        return done.stdout.strip()

    def start(self, command, user):
        """Starts a line of shell in place, as a service manager does: its pid is that of what it executes."""
        process = subprocess.Popen(self.enter(user, "sh", "-c", command), stdin=subprocess.DEVNULL)
        self.started.append(process)
        return process

    def enter(self, user, *command):
        return ENVIRONMENT + ["chroot", str(self.root)] + becoming(user) + list(command)

    def processes(self):
        """The pids of what runs on this host."""
        found = []
        for entry in Path("/proc").glob("[0-9]*"):
            try:
                if os.readlink(entry / "root") == str(self.root):
                    found.append(int(entry.name))
            except OSError:
                continue  # it has just ended
        return found

    def install(self, *packages):
        for package in packages:
            shutil.copy(package, self.root / "tmp")
        self.run("dpkg --install " + " ".join(f"/tmp/{package.name}" for package in packages))

    def read(self, path):
        return (self.root / path.lstrip("/")).read_bytes()

    def exists(self, path):
        return os.path.lexists(self.root / path.lstrip("/"))

    def tree(self):
        """Every path of the host with its kind, mode, owner and content, and what dpkg knows of packages."""
        found = {}
        for folder, folders, files in os.walk(self.root):
            inner = os.path.relpath(folder, self.root)
            folders[:] = [name for name in folders if os.path.normpath(f"{inner}/{name}") not in IGNORED]
            for name in folders + files:
                path = os.path.normpath(f"{inner}/{name}")
                if path not in IGNORED_FILES and not path.endswith("-old"):
                    found[path] = self.entry(path)
        found["dpkg"] = self.run("dpkg-query --show --showformat='${Package} ${Version} ${db:Status-Abbrev}\\n'")
        found["diversions"] = self.run("dpkg-divert --list")
        found["alternatives"] = self.run("update-alternatives --get-selections")
        return found

    def entry(self, path):
        path = self.root / path
        info = path.lstat()
        content = None
        if stat.S_ISLNK(info.st_mode):
            content = os.readlink(path)
        elif stat.S_ISREG(info.st_mode):
            content = digest(path, info)
        return info.st_mode, info.st_uid, info.st_gid, content


def becoming(user):
    return [] if user == "root" else ["setpriv", f"--reuid={user}", f"--regid={user}", "--init-groups"]


# Most files are those of the kept root, seen again and again.
DIGESTS = {}


def digest(path, info):
    key = (info.st_dev, info.st_ino, info.st_mtime_ns, info.st_ctime_ns, info.st_size)
    if key not in DIGESTS:
        DIGESTS[key] = hashlib.sha256(path.read_bytes()).hexdigest()
    return DIGESTS[key]


def mount(source, target, *options):
    subprocess.run(["mount", *options, source, target], check=True)


def differences(before, after):
    """What differs between two trees, in words."""
    found = []
    for path in sorted(before.keys() | after.keys()):
        if before.get(path) != after.get(path):
            found.append(f"{path}: {before.get(path)} became {after.get(path)}")
    return found


def wait_for(what, condition, seconds=60):
    until = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        assert time.monotonic() < until, f"waited in vain for {what}"
        time.sleep(0.05)
