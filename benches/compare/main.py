"""compare [--quick] [--rounds N] [--only MEASURE,...] [--variants PROXY,...] [--list]

Compares consolegate with other proxies on this machine and writes docs/PERFORMANCE.md; the raw rounds are kept
in target/compare. --quick takes one short round to test the comparison itself; it, --only and --variants leave
docs/PERFORMANCE.md alone and write target/compare/PERFORMANCE.md. Plots go beside the report. The last line is "N passed,
N failed, N skipped": runs that gave figures, runs of consolegate that did not, and runs of others that did not. The
status is 1 if any of consolegate's failed, or if a whole comparison missed a hold (row 10's tail aside).
"""

import datetime
import json
import os
import platform
import signal
import statistics
import subprocess
import sys
import time
from pathlib import Path

import peers
import report
import rounds

OUT = peers.ROOT / "target/compare"


def arguments(words):
    chosen = {"quick": False, "rounds": None, "only": set(), "variants": set(), "list": False}
    words = iter(words)
    for word in words:
        name = word.removeprefix("--")
        if name in ("quick", "list"):
            chosen[name] = True
        elif name in ("only", "variants"):
            chosen[name] = set(next(words, "").split(","))
        elif name == "rounds":
            chosen[name] = int(next(words, "0"))
        else:
            sys.exit(__doc__)
    chosen["rounds"] = chosen["rounds"] or (1 if chosen["quick"] else 5)
    return chosen


def step_bench(quick, times):
    """The lines that the last of so many step benches prints, and the rows of all: the medians."""
    taken = [one_step_bench(quick) for _ in range(times)]
    values = {}
    for _, rows in taken:
        for row in rows:
            values.setdefault((row["row"], row["engine"], row["what"]), []).append(row["value"])
    lines, rows = taken[-1]
    return lines, [{**row, "value": statistics.median(values[row["row"], row["engine"], row["what"]])} for row in rows]


def one_step_bench(quick):
    """The lines that the step bench prints, and its rows."""
    argv = ["cargo", "bench", "--quiet", "--locked", "--bench", "steps", "--"]
    done = subprocess.run([*argv, *(["--quick"] if quick else [])], cwd=peers.ROOT, capture_output=True, text=True,
                          preexec_fn=lambda: os.sched_setaffinity(0, peers.PROXY_CPU))
    lines = done.stdout.splitlines()
    if done.returncode != 0:
        print(f"compare: the step bench failed: {done.stderr[-500:]}", file=sys.stderr)
    found = [json.loads(line.removeprefix("JSON ")) for line in lines if line.startswith("JSON ")]
    return [line for line in lines if not line.startswith("JSON ")], found


def main():
    chosen = arguments(sys.argv[1:])
    if chosen["list"]:
        print("measures:", "steps", *(m.key for m in rounds.measures(chosen["quick"])))
        print("variants:", *(p.name for p in rounds.all_peers()))
        return 0
    # So that an interrupted run still ends what it started.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    begun, date = time.monotonic(), datetime.datetime.now().astimezone()
    OUT.mkdir(parents=True, exist_ok=True)
    # Fifteen seconds each, and what differs between processes is in the median.
    steps_per_round = 1 if chosen["quick"] else 2
    wants_steps = not chosen["only"] or "steps" in chosen["only"]
    comparison = rounds.Comparison(chosen["quick"], chosen["rounds"], chosen["variants"], chosen["only"])
    steps, step_rows = step_bench(chosen["quick"], steps_per_round * comparison.rounds) if wants_steps else ([], [])
    try:
        comparison.start()
        comparison.verify()
        comparison.run()
    finally:
        comparison.stop()
        stamp = date.strftime("%Y%m%d-%H%M%S")
        about = {
            "date": date.isoformat(timespec="seconds"),
            "command": " ".join(["scripts/compare", *sys.argv[1:]]),
            "rounds": comparison.rounds,
            "took": f"{(time.monotonic() - begun) / 60:.0f} minutes",
            "kernel": f"{platform.system()} {platform.release()}",
            "machine": f"{report.cpu_model()}, {os.cpu_count()} CPUs",
            "load average at the end": " ".join(f"{value:.2f}" for value in os.getloadavg()),
            "congestion control": Path("/proc/sys/net/ipv4/tcp_congestion_control").read_text().strip(),
            "CPU is read from": "cgroup v2 cpu.stat" if comparison.parent else "schedstat and cutime",
            "order": f"seed {comparison.seed}",
            **peers.versions(),
        }
        kept = {"about": about, "unavailable": comparison.unavailable, "verified": comparison.verified,
                "runs": comparison.raw, "steps": step_rows}
        (OUT / f"rounds-{stamp}.json").write_text(json.dumps(kept, indent=1))
    result = report.Report(about, comparison.measures, comparison.peers, comparison.raw, steps, step_rows,
                           comparison.unavailable, comparison.verified)
    partial = chosen["quick"] or chosen["only"] or chosen["variants"]
    path = OUT / "PERFORMANCE.md" if partial else peers.ROOT / "docs/PERFORMANCE.md"
    path.parent.mkdir(exist_ok=True)
    path.write_text(result.text())
    (path.parent / report.PLOTS).mkdir(exist_ok=True)
    for name, (_, svg) in result.plots.items():
        (path.parent / report.PLOTS / name).write_text(svg)
    print(f"compare: {path.relative_to(peers.ROOT)}, raw rounds in target/compare/rounds-{stamp}.json")
    ours = {peer.name for peer in comparison.peers if peer.kind == peers.OURS}
    results = [(run["peer"] in ours, run) for run in comparison.raw]
    results += [(name in ours, result) for name, result in comparison.verified.items()]
    failed = sum(own and "failed" in result for own, result in results)
    # What others cannot do is a finding, and in the report.
    skipped = sum(not own and "failed" in result for own, result in results) + len(comparison.unavailable)
    passed = sum("failed" not in result for _, result in results)
    failed += (wants_steps and not step_rows) + (not ours and not chosen["variants"])
    missed = [] if partial else result.missed()
    for row in missed:
        print(f"compare: row {row.number}, {row.engine}, {row.what}: {row.verdict()}", file=sys.stderr)
    print(f"{passed} passed, {failed} failed, {skipped} skipped")
    # A part of the measures, or a quick look at them, holds nothing to account.
    return 1 if failed or missed else 0


if __name__ == "__main__":
    sys.exit(main())
