"""The packages under test, and the same ones in a later version."""

import functools
import subprocess

from host import BASE, ROOT

LATER = "0.1.0+later"


@functools.cache
def packages(version=None):
    """By name; of the version in Cargo.toml unless another is given."""
    out = ROOT / "target/package" / (version or "current")
    words = [ROOT / "scripts/package", out] + ([version] if version else [])
    lines = subprocess.run(words, check=True, capture_output=True, text=True).stdout.split()
    return {line.rsplit("/", 1)[-1].split("_")[0]: ROOT / line for line in lines}


def ours(version=None):
    return packages(version)["consolegate"]


def debians():
    """Debian's nova-consoleproxy, as it was installed in the kept root."""
    [package] = (BASE / "var/cache/apt/archives").glob("nova-consoleproxy_*.deb")
    return package
