"""The installed program at work, started as Debian starts it."""

import subprocess

from built import ours
from host import NAMES, THEIRS, Host, wait_for
from registry import case, same

PORTS = {"nova-novncproxy": 6080, "nova-spicehtml5proxy": 6082, "nova-serialproxy": 6083}
# What Debian's init scripts ask for before they start either.
TYPES = {"nova-novncproxy": "novnc", "nova-spicehtml5proxy": "spicehtml5", "nova-serialproxy": "novnc"}


def choose(host, name):
    host.run(f"sed -i 's/^NOVA_CONSOLE_PROXY_TYPE=.*/NOVA_CONSOLE_PROXY_TYPE={TYPES[name]}/' /etc/default/nova-consoleproxy")


def answer(host, port, path):
    """Status and Server field of a GET; None while nobody listens."""
    words = ["curl", "--silent", "--show-error", "--output", "/dev/null", "--write-out", "%{http_code} %header{server}",
             f"http://127.0.0.1:{port}{path}"]
    done = subprocess.run(host.enter("root", *words), capture_output=True, text=True, timeout=60)
    return done.stdout.strip() if done.returncode == 0 else None


def served(host, name):
    path = {"nova-novncproxy": "/vnc_lite.html", "nova-spicehtml5proxy": "/spice_auto.html"}.get(name, "/")
    return wait_for(f"{name} to listen", lambda: answer(host, PORTS[name], path))


def start_by_script(name):
    """As its unit does: the init script's own command line, as user nova."""
    with Host() as host:
        host.install(ours())
        choose(host, name)
        host.run("install -d -o nova -g nova /run/nova /run/lock/nova")
        line = host.run(f"/etc/init.d/{name} show-args")
        log = f"/var/log/nova/{name}.log"
        same("command line", line, f"/usr/bin/{name} --config-file=/etc/nova/nova.conf --log-file={log}")
        process = host.start(f"cd; exec /etc/init.d/{name} systemd-start", user="nova")
        expected = "405" if name == "nova-serialproxy" else "200"
        same("answer", served(host, name), f"{expected} WebSockify consolegate")
        same("executable", host.run(f"readlink /proc/{process.pid}/exe"), "/usr/bin/consolegate")
        same("comm", host.run(f"cat /proc/{process.pid}/comm"), name[:15])
        same("command line", host.run(f"tr '\\0' ' ' </proc/{process.pid}/cmdline"), line)
        assert host.exists(f"/run/nova/{name}.sock"), "no admin socket"
        assert b" INFO nova" in host.read(log), "nothing is logged"
        process.terminate()
        same("status", process.wait(timeout=60), 0)


@case
def novnc_by_its_script():
    start_by_script("nova-novncproxy")


@case
def spice_by_its_script():
    start_by_script("nova-spicehtml5proxy")


@case
def serial_by_its_script():
    start_by_script("nova-serialproxy")


@case
def started_and_stopped_by_init():
    """Without systemd: start-stop-daemon, which backgrounds the program, keeps its pid and finds it by its name."""
    with Host() as host:
        host.install(ours())
        choose(host, "nova-novncproxy")
        host.run("/etc/init.d/nova-novncproxy start")
        same("answer", served(host, "nova-novncproxy"), "200 WebSockify consolegate")
        pid = host.run("cat /run/nova/nova-novncproxy.pid")
        same("executable", host.run(f"readlink /proc/{pid}/exe"), "/usr/bin/consolegate")
        host.run("/etc/init.d/nova-novncproxy status")
        host.run("/etc/init.d/nova-novncproxy restart")
        same("answer", served(host, "nova-novncproxy"), "200 WebSockify consolegate")
        host.run("/etc/init.d/nova-novncproxy stop")
        same("answer", answer(host, 6080, "/"), None)


@case
def logs_rotated_by_debians_rule():
    """nova-common's own logrotate rule copies and truncates; the program writes on in the same file."""
    with Host() as host:
        host.install(ours())
        choose(host, "nova-novncproxy")
        host.run("/etc/init.d/nova-novncproxy start")
        served(host, "nova-novncproxy")
        log = "/var/log/nova/nova-novncproxy.log"
        wait_for("the log", lambda: host.exists(log) and host.read(log))
        host.run("logrotate --force /etc/logrotate.conf")
        same("emptied", host.read(log), b"")
        host.run("/etc/init.d/nova-novncproxy stop")
        assert host.read(log).startswith(b"20"), "the lines after the rotation are not where they belong"
        assert b"INFO" in host.read(f"{log}.1"), "the lines before the rotation are lost"


@case
def manual_page_names_every_flag():
    """In one direction: what --help of any of the programs shows."""
    with Host() as host:
        host.install(ours())
        page = host.read("/usr/share/man/man1/consolegate.1.gz")
        page = subprocess.run(["gzip", "-dc"], input=page, capture_output=True, check=True).stdout.decode()
        page = page.replace("\\-", "-")
        flags = set()
        for name in NAMES:
            usage = host.run(f"{name} --help").split("\noptions:")[0]
            flags |= {word.strip("[]") for word in usage.split() if word.startswith("[-")}
        assert len(flags) > 20, flags
        same("flags without a word", sorted(flag for flag in flags if flag not in page), [])
