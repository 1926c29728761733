"""Who answers to the names in /usr/bin, in whatever order the packages come and go."""

import contextlib

from built import LATER, debians, ours
from host import NAMES, THEIRS, Host, differences
from registry import case, same

PAGE = "/usr/share/man/man1/nova-novncproxy.1.gz"


def answers_ours(host):
    """Every name is ours, and says so."""
    version = host.run("dpkg-query --show --showformat='${Version}' consolegate").split("+")[0]
    for name in NAMES:
        same(name, host.run(f"readlink -f /usr/bin/{name}"), "/usr/bin/consolegate")
        same(f"{name} --version", host.run(f"{name} --version"), version)
        same(f"page of {name}", host.run(f"readlink -f /usr/share/man/man1/{name}.1.gz"),
             "/usr/share/man/man1/consolegate.1.gz")


def keeps_theirs(host, originals):
    """Debian's programs lie aside, unchanged, and are offered."""
    for name in NAMES:
        same(f"kept {name}", host.read(f"{THEIRS}/{name}"), originals[f"/usr/bin/{name}"])
        offered = host.run(f"update-alternatives --list {name}").split()
        same(f"offered as {name}", offered, [f"/usr/lib/consolegate/{name}", f"{THEIRS}/{name}"])
    same("kept page", host.read("/usr/share/man/man1/nova-novncproxy.python.1.gz"), originals[PAGE])
    same("audit", host.run("dpkg --audit"), "")


def originals(host):
    return {path: host.read(path) for path in [PAGE] + [f"/usr/bin/{name}" for name in NAMES]}


# What dpkg keeps of a removed package for purging it: its configuration files, and how to.
KEPT = {"etc/logrotate.d/consolegate", "var/lib/dpkg/info/consolegate.list", "var/lib/dpkg/info/consolegate.postrm"}


@contextlib.contextmanager
def leaves_no_trace(host):
    """Whatever is done to the host in between, without our package it is as it was."""
    before = host.tree()
    yield
    host.run("dpkg --remove consolegate")
    after = host.tree()
    for path in KEPT:
        assert path in after, f"{path} is not kept"
        del after[path]
    state = [line for line in after["dpkg"].splitlines() if line.startswith("consolegate ")]
    same("state", [line.split()[-1] for line in state], ["rc"])
    same("traces", differences(dict(before, dpkg=after["dpkg"]), after), [])
    host.run("dpkg --purge consolegate")
    same("traces", differences(before, host.tree()), [])


@case
def over_debians():
    """Installed over Debian's package, and removed again."""
    with Host() as host:
        theirs = originals(host)
        with leaves_no_trace(host):
            host.install(ours())
            answers_ours(host)
            keeps_theirs(host, theirs)
        same("programs", originals(host), theirs)
        assert "26." in host.run("nova-novncproxy --version 2>/dev/null"), "Debian's program does not run"


@case
def purged():
    """At once, instead of removed first."""
    with Host() as host:
        before = host.tree()
        host.install(ours())
        host.run("dpkg --purge consolegate")
        same("traces", differences(before, host.tree()), [])


@case
def before_debians():
    """Installed before Debian's package, which then finds its place taken."""
    with Host() as host:
        theirs = originals(host)
        with leaves_no_trace(host):
            host.run("dpkg --remove nova-consoleproxy")
            host.install(ours())
            answers_ours(host)
            for name in NAMES:
                same(name, host.run(f"update-alternatives --list {name}"), f"/usr/lib/consolegate/{name}")
            host.install(debians())
            answers_ours(host)
            keeps_theirs(host, theirs)


@case
def together():
    """Both in one run of dpkg."""
    with Host() as host:
        theirs = originals(host)
        host.run("dpkg --remove nova-consoleproxy")
        host.install(debians(), ours())
        answers_ours(host)
        keeps_theirs(host, theirs)


@case
def ours_upgraded():
    """An upgrade of ours changes neither what is aside nor what the operator chose."""
    with Host() as host:
        theirs = originals(host)
        with leaves_no_trace(host):
            host.install(ours())
            host.run(f"update-alternatives --set nova-serialproxy {THEIRS}/nova-serialproxy")
            host.install(ours(LATER))
            same("choice", host.run("readlink -f /usr/bin/nova-serialproxy"), f"{THEIRS}/nova-serialproxy")
            host.run("update-alternatives --auto nova-serialproxy")
            answers_ours(host)
            keeps_theirs(host, theirs)
            host.install(ours())
            answers_ours(host)


@case
def debians_upgraded():
    """Debian's package, installed again, as an upgrade does."""
    with Host() as host:
        theirs = originals(host)
        with leaves_no_trace(host):
            host.install(ours())
            (host.root / "usr/lib/consolegate/python/nova-novncproxy").write_text("of a former version\n")
            host.install(debians())
            answers_ours(host)
            keeps_theirs(host, theirs)


@case
def debians_removed():
    """Debian's package goes first; then its programs are no longer offered, and nothing of either is left."""
    with Host() as host:
        host.install(ours())
        host.run("dpkg --remove nova-consoleproxy")
        answers_ours(host)
        for name in NAMES:
            same(name, host.run(f"update-alternatives --list {name}"), f"/usr/lib/consolegate/{name}")
        host.run("dpkg --purge consolegate")
        for path in [PAGE, "/usr/lib/consolegate"] + [f"/usr/bin/{name}" for name in NAMES]:
            assert not host.exists(path), f"{path} is left"
        same("diversions", [line for line in host.run("dpkg-divert --list").splitlines() if "nova" in line], [])


@case
def switched_back():
    """One command goes back to Python's program and its page, and one forth again."""
    with Host() as host:
        theirs = originals(host)
        host.install(ours())
        host.run(f"update-alternatives --set nova-novncproxy {THEIRS}/nova-novncproxy")
        same("program", host.read(host.run("readlink -f /usr/bin/nova-novncproxy")), theirs["/usr/bin/nova-novncproxy"])
        same("page", host.read(host.run(f"readlink -f {PAGE}")), theirs[PAGE])
        version = host.run("nova-novncproxy --version 2>/dev/null")
        assert version.startswith("26."), version
        same("the others", host.run("readlink -f /usr/bin/nova-serialproxy"), "/usr/bin/consolegate")
        host.run("update-alternatives --auto nova-novncproxy")
        answers_ours(host)


@case
def another_owners_program():
    """What stands in /usr/bin without a package, as pip puts it there, is kept and given back too."""
    with Host() as host:
        host.run("dpkg --purge nova-consoleproxy")
        program = host.root / "usr/bin/nova-novncproxy"
        program.write_text("#!/bin/sh\necho of another owner\n")
        program.chmod(0o755)
        with leaves_no_trace(host):
            host.install(ours())
            answers_ours(host)
            same("kept", host.run(f"{THEIRS}/nova-novncproxy"), "of another owner")
