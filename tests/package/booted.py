"""A host that has been booted: a real systemd is the first of its processes, in namespaces as a container has them."""

import contextlib
import os
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

from host import ENVIRONMENT, Host, becoming, mount, wait_for
from registry import Skip

# Arguments: the root, the unit to boot into. What systemd finds mounted it leaves alone, and the kernel's settings and
# devices are not for it to change.
BOOT = """
cd "$1"
mount -t proc proc proc
mount --bind proc/sys proc/sys
mount -o remount,bind,ro proc/sys
mount -t tmpfs -o mode=755 sys sys
mkdir -p sys/fs/cgroup
mount -t cgroup2 cgroup sys/fs/cgroup
mount -o remount,ro sys
mount -t tmpfs -o mode=755 dev dev
for device in null zero full random urandom tty; do
    touch "dev/$device"
    mount --bind "/dev/$device" "dev/$device"
done
mkdir dev/shm dev/pts
mount -t devpts -o newinstance,ptmxmode=666 devpts dev/pts
ln -s pts/ptmx dev/ptmx
mount -t tmpfs tmp tmp
mkdir -p mnt/former
pivot_root . mnt/former
umount --lazy /mnt/former
exec env -i container=test PATH=/usr/sbin:/usr/bin:/sbin:/bin /lib/systemd/systemd --system "--unit=$2" </dev/null
"""


class Booted(Host):
    """Boots when it is entered; what is installed before that, the boot finds. Then commands run in its namespaces.
    The network is that of the suite."""

    def __init__(self, unit="basic.target"):
        super().__init__()
        self.unit = unit
        self.manager = None
        self.cgroups = Path(tempfile.mkdtemp(prefix="cgroups-"))
        self.cgroup = None

    def __enter__(self):
        try:
            self.boot()
        except BaseException:
            self.__exit__()
            raise
        return self

    def boot(self):
        try:
            mount("cgroup2", self.cgroups, "-t", "cgroup2")
            self.cgroup = self.cgroups / f"package-test-{time.monotonic_ns()}"
            self.cgroup.mkdir()
        except (OSError, subprocess.CalledProcessError) as reason:
            raise Skip(f"systemd needs cgroups of version 2: {reason}") from reason
        script = 'echo $$ >"$1/cgroup.procs"; exec unshare --mount --pid --cgroup --ipc --uts --fork --kill-child ' \
                 'sh -euc "$2" boot "$3" "$4"'
        process = subprocess.Popen(["sh", "-euc", script, "boot", self.cgroup, BOOT, self.root, self.unit],
                                   stdin=subprocess.DEVNULL)
        self.started.append(process)
        self.manager = wait_for("the first process", lambda: child_of(process.pid))
        wait_for("systemd", lambda: os.readlink(f"/proc/{self.manager}/exe").endswith("/systemd"))
        wait_for("systemd to answer", lambda: self.state("basic.target") == "active")

    def __exit__(self, *_):
        super().__exit__()
        if self.cgroup and self.cgroup.exists():
            # From the innermost; the kernel needs a moment to see that they are empty.
            for folder, _, _ in os.walk(self.cgroup, topdown=False):
                wait_for("an empty cgroup", lambda folder=folder: removed(folder))
        subprocess.run(["umount", self.cgroups], check=False, capture_output=True)
        shutil.rmtree(self.cgroups, ignore_errors=True)

    def enter(self, user, *command):
        if self.manager is None:
            return super().enter(user, *command)
        words = ["nsenter", "--target", str(self.manager), "--mount", "--pid", "--cgroup", "--ipc", "--uts"]
        return words + ENVIRONMENT + becoming(user) + list(command)

    def install(self, *packages):
        """As from a folder of the operator's: /tmp is mounted inside alone."""
        for package in packages:
            shutil.copy(package, self.root / "root")
        self.run("dpkg --install " + " ".join(f"/root/{package.name}" for package in packages))

    def state(self, unit):
        """Its ActiveState: active, inactive, failed, activating."""
        done = subprocess.run(self.enter("root", "systemctl", "is-active", unit), capture_output=True, text=True, timeout=60)
        return done.stdout.strip()

    def property(self, unit, name):
        return self.run(f"systemctl show --property={name} --value {unit}")

    def start_unit(self, unit):
        """Starts it and waits until it says that it is ready."""
        done = subprocess.run(self.enter("root", "systemctl", "start", unit), capture_output=True, text=True, timeout=120)
        said = "" if done.returncode == 0 else self.run(f"journalctl --no-pager --unit={unit}")
        assert done.returncode == 0, f"{unit}: {done.stderr}\n{said}"


def child_of(pid):
    for entry in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            if int(entry.read_text().rpartition(")")[2].split()[1]) == pid:
                return int(entry.parent.name)
    return None


def removed(folder):
    try:
        os.rmdir(folder)
    except OSError:
        return not os.path.exists(folder)
    return True
