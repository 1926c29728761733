"""docs/MIGRATION.md: its blocks, taken out of it and run in their order, and who serves after each."""

import json
import os
import shutil
import subprocess

import document
from booted import Booted
from built import ours
from console import configure, see, token
from host import NAMES, ROOT, wait_for
from registry import case, same
from serving import answer, choose

# Where the operator stands, with what the page's commands take from there.
FOLDER = "/srv"
OURS, PYTHON = "WebSockify consolegate", "WebSockify Python/3."


def prepare(host):
    """Python's own proxy serves, on a host that has a cell database with tokens."""
    choose(host, "nova-novncproxy")
    configure(host)
    executable = os.environ["CONSOLEGATE_BIN"]
    for place in ("target/release/consolegate", "consolegate"):
        path = host.root / FOLDER.strip("/") / place
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(executable, path)
    shutil.copy(ours(), host.root / FOLDER.strip("/"))
    token(host, f"{FOLDER}/consolegate")


def expect(host, server, what):
    """The proxy that serves noVNC's page on 6080 is this one; ours admits to a console too."""
    def answered():
        got = answer(host, 6080, "/vnc_lite.html")
        return got and got.startswith(f"200 {server}")
    try:
        wait_for(server, answered, seconds=120)
    except AssertionError as error:
        raise AssertionError(f"{what}: {error}; got {answer(host, 6080, '/vnc_lite.html')}") from error
    if server == OURS:
        see(host)


def follow(host, section, *servers):
    """Runs the section's blocks, and looks after each who serves."""
    blocks = document.blocks("MIGRATION.md", section, "sh")
    same(f"blocks of {section}", len(blocks), len(servers))
    for block, server in zip(blocks, servers):
        host.run(f"cd {FOLDER}\n{block}")
        expect(host, server, block)


@case
def debians_section():
    """In, back for one name, forth, to our own unit and back, and back for good."""
    with Booted() as host:
        prepare(host)
        host.start_unit("nova-novncproxy")
        expect(host, PYTHON, "at first")
        follow(host, "Debian", PYTHON, OURS, PYTHON, OURS)
        follow(host, "Units of our own", OURS, OURS)
        same("unit", host.state("nova-novncproxy"), "active")
        follow(host, "Back for good", PYTHON)
        for name in NAMES:
            same("owner", host.run(f"dpkg --search /usr/bin/{name}"), f"nova-consoleproxy: /usr/bin/{name}")
        same("changed files", host.run("dpkg --verify nova-consoleproxy"), "")


@case
def drop_in_of_our_units():
    """What it says that it allows: a port below 1024, recordings and a key elsewhere."""
    unit = "consolegate-novncproxy.service"
    [drop_in] = document.blocks("MIGRATION.md", "Units of our own", "ini")
    with Booted() as host:
        prepare(host)
        host.install(ours())
        options = [line.removeprefix("# ") for line in drop_in.splitlines() if line.startswith("# ")]
        same("options", len(options), 3)
        with open(host.root / "etc/nova/nova.conf", "a") as conf:
            conf.write("".join(option.replace("] ", "]\n", 1) + "\n" for option in options))
            conf.write("[DEFAULT]\ncert = /etc/ssl/console.pem\n")
        pair = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "30", "-subj", "/CN=localhost"]
        subprocess.run(["openssl", "req", "-x509", *pair, "-keyout", host.root / "root/key", "-out", host.root / "etc/ssl/console.pem"],
                       check=True, capture_output=True)
        host.run("groupadd --system ssl-cert; install -d -m 710 -g ssl-cert /etc/ssl/private; "
                 "install -D -m 640 -g ssl-cert /root/key /etc/ssl/private/console.key; "
                 "install -d -o nova /srv/recordings; chmod 644 /etc/ssl/console.pem")
        host.run(f"systemctl start {unit}", status=1)
        (host.root / f"etc/systemd/system/{unit}.d").mkdir()
        (host.root / f"etc/systemd/system/{unit}.d/local.conf").write_text(drop_in)
        host.run(f"systemctl stop {unit}; systemctl daemon-reload")
        host.start_unit(unit)
        page = host.run("curl --silent --cacert /etc/ssl/console.pem --write-out '%{http_code}' -o /dev/null https://localhost/vnc_lite.html")
        same("page", page, "200")
        see(host, 443)
        recorded = wait_for("a recording", lambda: list((host.root / "srv/recordings").iterdir()))
        same("recordings", len(recorded), 1)


@case
def without_a_package():
    """The page's first blocks."""
    install, check = document.blocks("MIGRATION.md", "Swapping in, and back", "sh")
    with Booted() as host:
        prepare(host)
        host.run(f"cd {FOLDER}\n{install}")
        lines = host.run(f"cd {FOLDER}\n{check}").splitlines()
        assert len(lines) > 5 and all(line.startswith("ok ") for line in lines), lines
        same("program", host.run("readlink -f $(command -v nova-novncproxy)"), "/usr/local/bin/consolegate")


def add_unit(host, name, start):
    (host.root / f"etc/systemd/system/{name}.service").write_text(
        f"[Service]\nUser=nova\nEnvironment=OPTIONS=\nExecStart={start}\n")
    host.run("systemctl daemon-reload")
    host.start_unit(name)
    expect(host, PYTHON, "at first")


@case
def rdos_section():
    """On a unit of RDO's name and with its command line; the program behind it is Debian's."""
    with Booted() as host:
        prepare(host)
        add_unit(host, "openstack-nova-novncproxy", "/usr/bin/nova-novncproxy --web /usr/share/novnc/ $OPTIONS")
        follow(host, "RDO", OURS, PYTHON)


@case
def openstack_ansibles_section():
    """On a virtual environment that holds Debian's program."""
    with Booted() as host:
        prepare(host)
        venv = virtual_environment(host, "/openstack/venvs/nova-31.0.0")
        add_unit(host, "nova-novncproxy", f"{venv}/bin/nova-novncproxy --config-file /etc/nova/nova.conf")
        follow(host, "openstack-ansible", OURS, PYTHON)


def virtual_environment(host, path):
    host.run(f"mkdir -p {path}/bin && cp /usr/bin/nova-novncproxy {path}/bin/")
    return path


@case
def images_section():
    """The image's steps, and the command that each system starts in it."""
    section = "kolla and openstack-helm"
    [recipe] = document.blocks("MIGRATION.md", section, "dockerfile")
    steps = [line.split(" ", 1) for line in recipe.splitlines()]
    same("steps", [step for step, _ in steps], ["ARG", "FROM", "USER", "COPY", "RUN", "USER"])
    commands = {
        "/var/lib/kolla/venv": "nova-novncproxy",
        "/var/lib/openstack": "nova-novncproxy --config-file /etc/nova/nova.conf --config-file /tmp/pod-shared/nova-vnc.ini",
    }
    for path, command in commands.items():
        with Booted() as host:
            prepare(host)
            inside = f"PATH={virtual_environment(host, path)}/bin:$PATH; cd {FOLDER}\n"
            host.run("mkdir /tmp/pod-shared && printf '[vnc]\\n' >/tmp/pod-shared/nova-vnc.ini")
            host.start(f"{inside}exec {command}", user="nova")
            expect(host, PYTHON, "at first")
            # One of them may be the child that has just answered, and be gone by then.
            host.run("kill $(pidof -x nova-novncproxy) || true")
            wait_for("the end", lambda: answer(host, 6080, "/") is None)
            for step, words in steps:
                if step == "COPY":
                    host.run(f"{inside}cp {words}")
                elif step == "RUN":
                    host.run(f"{inside}{words}")
            host.start(f"{inside}exec {command}", user="nova")
            expect(host, OURS, recipe)


@case
def files_of_the_page_are_yaml():
    """As Python's parser reads them, that of both systems."""
    read = "import json, sys, yaml; print(json.dumps(yaml.safe_load(sys.stdin)))"
    python = os.environ.get("CONSOLEGATE_TEST_PYTHON", ROOT / "target/test-python/bin/python")
    found = [json.loads(subprocess.run([python, "-c", read], input=block, text=True, capture_output=True, check=True).stdout)
             for block in document.blocks("MIGRATION.md", "kolla and openstack-helm", "yaml")]
    image = "registry.example/nova-novncproxy:consolegate"
    same("files", found, [{"nova_novncproxy_image_full": image}, {"images": {"tags": {"nova_novncproxy": image}}}])
