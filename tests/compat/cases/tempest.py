"""Tempest's own noVNC console test, through each proxy to a real QEMU."""

import contextlib
import shutil
import socket
import subprocess
import sys
from pathlib import Path

from registry import case
from sides import free_port, until

PROGRAM = Path(__file__).resolve().parent.parent / "tempest_console.py"
# Port of a VNC display of number 0.
VNC_BASE = 5900


@contextlib.contextmanager
def qemu():
    """A guest that does nothing, with its screen on a VNC port."""
    port = free_port()
    process = subprocess.Popen(
        [shutil.which("qemu-system-x86_64") or "qemu-system-x86_64", "-nodefaults", "-display", "none", "-S", "-m", "16",
         "-accel", "tcg", "-vnc", f"127.0.0.1:{port - VNC_BASE}"],
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def listens():
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", port)) == 0

    try:
        until(lambda: process.poll() is not None or listens(), "VNC server of QEMU")
        yield port
    finally:
        process.kill()
        process.wait()


@case()
def novnc_console_test(side):
    """test_novnc and test_novnc_bad_token: the page, the upgrade, RFB up to ServerInit, and a bad token."""
    with qemu() as port:
        token = side.world.token("novnc", port)
        url = f"http://127.0.0.1:{side.port('novnc')}/novnc/vnc_lite.html?path=%3Ftoken%3D{token}"
        done = subprocess.run([sys.executable, "-B", str(PROGRAM), url], capture_output=True, text=True, timeout=300)
    failures = [line for line in done.stderr.splitlines() if "Error" in line or line.startswith("FAIL")]
    return {"status": done.returncode, "says": done.stdout.strip(), "failures": failures}
