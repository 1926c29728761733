"""The measures, and how they are taken: every proxy in every round, in a new order each time."""

import json
import os
import random
import subprocess
import sys
import time

import cloud
import peers

KIB = 1024
LOAD = peers.ROOT / "target/release/examples/load"

# A run whose proxy hangs is given up after this, and counts as a failure of that proxy.
RUN_SECONDS_MAX = 180


class Measure:
    """One thing that is measured: a mode of the load generator and its options."""

    def __init__(self, key, title, mode, fresh=False, group=peers.PLAIN, special=None, without=(), only=(), times=1,
                 **options):
        self.key, self.title, self.mode, self.options = key, title, mode, options
        self.fresh = fresh  # on processes that have served nobody yet
        self.group = group  # of the peers of that group, and of no others
        self.special = special or {}  # options of single proxies
        self.without = without  # proxies it is not taken of
        self.only = only  # the only ones it is taken of, if there are any
        self.times = times  # how often in each round: short ones that the machine disturbs

    def takes(self, peer):
        return peer.group == self.group and peer.name not in self.without and (not self.only or peer.name in self.only)

    def argv(self, peer):
        options = {**self.options, **self.special.get(peer.name, {})}
        words = [w for key, value in options.items() for w in (f"--{key.replace('_', '-')}", str(value))]
        return [str(LOAD), self.mode, *words, *peer.load_options()]


def measures(quick):
    millis, warm = (150, 50) if quick else (800, 200)
    found = []
    sizes = [16, 64] if quick else [1, 16, 64, 256]
    for mode, title in (("s2c", "server to client"), ("c2s", "client to server")):
        for size in sizes:
            # Of these ratios are taken: single runs of one program differ by half.
            found.append(Measure(f"{mode}-{size}k", f"{title}, {size} KiB writes", mode,
                                 times=3 if (mode, size, quick) == ("s2c", 64, False) else 1,
                                 bytes=size * KIB, sessions=1, millis=millis, warm_ms=warm))
    # A write for each of them would measure the client's system calls.
    found.append(Measure("c2s-64b", "client to server, 64-byte frames, 64 in a write", "c2s",
                         bytes=64, batch=64, sessions=1, millis=millis, warm_ms=warm))
    many = 4 if quick else 16
    found.append(Measure("s2c-64k-many", f"server to client, {many} sessions, 64 KiB writes", "s2c", times=1 if quick else 5,
                         bytes=64 * KIB, sessions=many, millis=millis, warm_ms=warm))
    echo = 200 if quick else 2000
    found.append(Measure("echo-1", "1 session, one after the other", "echo", sessions=1, rate=0, millis=echo,
                         times=1 if quick else 3))
    # What it costs besides to wake tenant and compute node on this machine.
    found.append(Measure("echo-1-asleep", "1 session, tenant and compute node asleep between messages", "echo", sessions=1,
                         rate=0, asleep="true", millis=echo, times=1 if quick else 3,
                         only=("epoll", "uring", "haproxy-copy", "websockify")))
    for sessions, rate in ((20, 500),) if quick else ((100, 2000), (1000, 4000)):
        # A pause of the machine is in the p99 of a short run.
        found.append(Measure(f"echo-{sessions}", f"{sessions} sessions, {rate} messages a second", "echo",
                             sessions=sessions, rate=rate, millis=3 * echo if sessions == 1000 else echo))
    live, rate = (20, 500) if quick else (100, 2000)
    # websockify goes on reading what a client that never reads is to get: it cannot be stalled.
    found.append(Measure("echo-stalled", f"{live} sessions, {rate} messages a second, beside a client that never reads",
                         "echo", sessions=live, rate=rate, millis=echo, stalled=1,
                         without=("websockify",)))
    # By turns with the same sessions alone: who is idle may not cost those who are not.
    idle, (live, rate) = (100, (20, 500)) if quick else (8500, (1000, 4000))
    found.append(Measure("echo-idle", f"{live} sessions, {rate} messages a second, beside {idle} idle ones", "echo",
                         sessions=live, rate=rate, millis=echo, idle=idle, only=("epoll", "uring")))
    found.append(Measure("conn", "set-ups", "conn", millis=max(millis, 400), warm_ms=warm))
    few = {"sessions": 10 if quick else 30}
    # What a process allocates once, for a burst of them, is much beside sessions as small as consolegate's.
    ours = {"sessions": 100 if quick else 8000}
    found.append(Measure("idle", "idle sessions", "idle", fresh=True,
                         special={"websockify": few, "epoll": ours, "uring": ours},
                         sessions=100 if quick else 1000, millis=300, warm_ms=200))
    # Nova sets up two or three a second, so that a window of a second would measure nothing.
    found.append(Measure("conn-checked", "set-ups with all checks", "conn", group=peers.CHECKED,
                         millis=3000 if quick else 8000, warm_ms=1000))
    few = {"sessions": 3 if quick else 10}
    found.append(Measure("idle-checked", "idle sessions with all checks", "idle", fresh=True, group=peers.CHECKED,
                         special={"nova": few}, sessions=100 if quick else 1000, millis=300, warm_ms=200))
    found += [
        Measure("c2s-64k-checked", "client to server, 64 KiB frames, through Nova's proxy", "c2s", group=peers.CHECKED,
                bytes=64 * KIB, sessions=1, millis=millis, warm_ms=warm),
        Measure("c2s-64b-checked", "client to server, 64-byte frames, 64 in a write, through Nova's proxy", "c2s",
                group=peers.CHECKED, bytes=64, batch=64, sessions=1, millis=millis, warm_ms=warm),
        Measure("s2c-64k-checked", "server to client, 64 KiB writes, through Nova's proxy", "s2c", group=peers.CHECKED,
                bytes=64 * KIB, sessions=1, millis=millis, warm_ms=warm),
    ]
    # Each of Nova's thirty takes a third of a second to set up.
    for key, title, asleep in (("echo-30-checked", "", "false"),
                               ("echo-30-asleep-checked", ", tenants and compute node asleep between messages", "true")):
        found.append(Measure(key, f"30 sessions, 500 messages a second, through Nova's proxy{title}", "echo",
                             group=peers.CHECKED, sessions=5 if quick else 30, rate=500, asleep=asleep, millis=echo,
                             times=1 if quick else 2))
    found += [
        # Row 8 is a difference of two measures.
        Measure("s2c-64k-tls", "server to client under TLS 1.3, 64 KiB writes", "s2c", group=peers.TLS,
                bytes=64 * KIB, sessions=1, millis=millis, warm_ms=warm, times=1 if quick else 3),
        Measure("idle-tls", "idle sessions under TLS 1.3", "idle", fresh=True, group=peers.TLS,
                sessions=100 if quick else 1000, millis=300, warm_ms=200),
    ]
    return found


# AES-256-GCM without any proxy, on the proxies' CPU: the floor under TLS.
SEAL = Measure("seal", "sealing records of 16 KiB in place", "seal", bytes=16 * KIB, millis=200)
CIPHER = "aws-lc-rs"


def all_peers():
    return [*peers.all_peers(), *cloud.all_peers()]


def run_load(measure, peer, compute_port):
    """The figures of one run, or {"failed": why}."""
    argv = [*measure.argv(peer), "--listen", str(compute_port)]
    try:
        done = subprocess.run(
            argv, capture_output=True, text=True, timeout=RUN_SECONDS_MAX,
            preexec_fn=lambda: os.sched_setaffinity(0, peers.LOAD_CPU),
        )
    except subprocess.TimeoutExpired:
        return {"failed": f"no end after {RUN_SECONDS_MAX} s"}
    if done.returncode != 0:
        why = done.stderr.strip()[-300:] or f"status {done.returncode}"
        return {"failed": f"{why}; {peer.label} last said: {peer.last_words()}"}
    return json.loads(done.stdout)


class Comparison:
    """All rounds of all measures. `raw` is what is kept."""

    def __init__(self, quick, rounds, variants, keys):
        self.rounds, self.quick = rounds, quick
        self.compute_port = peers.free_port()
        self.parent = peers.cgroup_parent()
        self.measures = [m for m in measures(quick) if not keys or m.key in keys]
        self.peers = [p for p in all_peers()
                      if any(m.takes(p) for m in self.measures) and (not variants or p.name in variants)]
        self.unavailable, self.verified, self.raw = {}, {}, []
        self.seed = random.randrange(1 << 32)
        self.random = random.Random(self.seed)

    def start(self):
        for peer in list(self.peers):
            try:
                peer.start(self.compute_port, self.parent)
            except (peers.Unavailable, subprocess.CalledProcessError, OSError) as why:
                print(f"compare: without {peer.label}: {why}", flush=True)
                self.unavailable[peer.name] = str(why)
                peer.stop()
                self.peers.remove(peer)

    def stop(self):
        for peer in self.peers:
            peer.stop()
        cloud.CLOUD.stop()

    def verify(self):
        """Before anything is measured, every byte is compared once through every proxy."""
        sessions, size = (4, 1 << 20) if self.quick else (16, 8 << 20)
        check = Measure("verify", "", "verify", sessions=sessions, bytes=size)
        for peer in self.peers:
            self.verified[peer.name] = run_load(check, peer, self.compute_port)
            peer.settle()
            print(f"compare: every byte through {peer.label}: {self.verified[peer.name]}", flush=True)

    def run(self):
        for number in range(1, self.rounds + 1):
            begun = time.monotonic()
            for measure in self.measures:
                order = [peer for peer in self.peers if measure.takes(peer)]
                for repeat in range(measure.times):
                    self.random.shuffle(order)
                    for peer in order:
                        self.one(number, repeat, measure, peer)
            if any(peer.group == peers.TLS for peer in self.peers):
                self.seal(number)
            print(f"compare: round {number} of {self.rounds} took {time.monotonic() - begun:.0f} s", flush=True)

    def seal(self, number):
        done = subprocess.run([str(LOAD), SEAL.mode, "--bytes", str(SEAL.options["bytes"]), "--millis", str(SEAL.options["millis"])],
                              capture_output=True, text=True, check=True,
                              preexec_fn=lambda: os.sched_setaffinity(0, peers.PROXY_CPU))
        self.raw.append({"round": number, "measure": SEAL.key, "peer": CIPHER, **json.loads(done.stdout)})

    def one(self, number, repeat, measure, peer):
        if measure.fresh:
            peer.stop()
            peer.start(self.compute_port, self.parent)
        figures = run_load(measure, peer, self.compute_port)
        peer.settle()
        if "failed" in figures:
            print(f"compare: {measure.key} {peer.name}: {figures['failed']}", file=sys.stderr, flush=True)
        self.raw.append({"round": number, "repeat": repeat, "measure": measure.key, "peer": peer.name,
                         "load": os.getloadavg()[0], **figures})
