"""compat [--only TEXT,...] [--side nova|ours] [--database mariadb|sqlite] [--list]

Runs one script of observations against Nova's own console proxies and ours, with the same nova.conf, the same cell
database, message bus and compute nodes, and compares what each side answers. The deliberate differences are exactly
those of docs/COMPATIBILITY.md: another one fails the run, and so does one that is gone. Prints a line for each case;
the last line is "N passed, N failed, N skipped". Raw answers are kept in target/compat.

--only runs the cases whose name contains one of the texts, and leaves the check of the document out. --side runs
one side alone and prints its answers. --database chooses the cell database of both sides.
"""

import contextlib
import json
import shutil
import signal
import sys
import tempfile
import threading
import time
import traceback
from pathlib import Path

import sides
import table
from observation import Verdict, normalise
from registry import CASES
from sides import ROOT, Nova, Ours

OUT = ROOT / "target/compat"


def arguments(words):
    chosen = {"only": [], "side": None, "database": "mariadb", "list": False}
    words = iter(words)
    for word in words:
        if word == "--list":
            chosen["list"] = True
        elif word == "--only":
            chosen["only"] = next(words, "").split(",")
        elif word in ("--side", "--database"):
            chosen[word[2:]] = next(words, "")
        else:
            sys.exit(__doc__)
    return chosen


class Run(threading.Thread):
    """All cases on one side. The other side runs beside it, on its own ports."""

    def __init__(self, side, cases):
        # An interrupted run does not wait for it.
        super().__init__(name=side.name, daemon=True)
        self.side, self.cases = side, cases
        self.answers, self.seconds = {}, {}
        self.failed = None

    def run(self):
        try:
            self.side.stand()
            for case in self.cases:
                begun, self.side.case = time.monotonic(), case.id
                try:
                    self.answers[case.id] = case.observe(self.side)
                except Exception as why:
                    self.answers[case.id] = {"exception": f"{type(why).__name__}: {why}",
                                             "at": traceback.format_exc()}
                self.seconds[case.id] = round(time.monotonic() - begun, 2)
        except Exception as why:
            self.failed = f"{type(why).__name__}: {why}"

    def result(self, case):
        return normalise(self.answers.get(case.id, {"exception": self.failed}), str(self.side.world.directory),
                         sides.given_ports() | {53})


def compare(cases, nova, ours, whole):
    """Prints a line for each case; returns how many passed and failed."""
    passed = failed = 0
    seen = set()
    for case in cases:
        verdict = Verdict(case, nova.result(case), ours.result(case))
        seen |= verdict.seen
        broken = [f"{run.side.name}: {run.result(case)['exception']}" for run in (nova, ours)
                  if "exception" in run.result(case)]
        if verdict.wrong or broken:
            failed += 1
            print(f"FAILED {case.id}")
            print("\n".join(f"       {line}" for line in broken or verdict.wrong), flush=True)
        else:
            passed += 1
            print(f"ok     {case.id}" + (f" (differs: {', '.join(sorted(verdict.seen))})" if verdict.seen else ""))
    if whole:
        for wrong in table.check(cases, seen):
            failed += 1
            print(f"FAILED {wrong}")
    return passed, failed


def keep(runs, cases):
    OUT.mkdir(parents=True, exist_ok=True)
    for run in runs:
        kept = {case.id: {"answer": run.answers.get(case.id), "normalised": run.result(case),
                          "seconds": run.seconds.get(case.id)} for case in cases}
        (OUT / f"{run.side.name}.json").write_text(json.dumps(kept, indent=1))
        logs = OUT / run.side.name
        shutil.rmtree(logs, ignore_errors=True)
        shutil.copytree(run.side.directory, logs, symlinks=True, ignore=shutil.ignore_patterns("bin", "*.key"))


def main():
    import cases  # noqa: F401  the modules register what they hold

    chosen = arguments(sys.argv[1:])
    selected = [case for case in CASES if not chosen["only"] or any(text in case.id for text in chosen["only"])]
    if not selected:
        sys.exit(f"compat: no case's name contains {' or '.join(chosen['only'])}; --list shows them")
    if chosen["list"]:
        print("\n".join(f"{case.id:50} {case.about.splitlines()[0] if case.about else ''}" for case in selected))
        return 0
    sides.executable_or_exit()
    from world import World  # imports Nova, which takes seconds

    # So that an interrupted run still ends what it started.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    begun = time.monotonic()
    directory = Path(tempfile.mkdtemp(prefix="consolegate-compat-"))
    directory.chmod(0o755)
    # Each of these happens at the end, whatever became of the others.
    with contextlib.ExitStack() as end:
        end.callback(shutil.rmtree, directory, ignore_errors=True)
        world = World(directory, chosen["database"])
        end.callback(world.close)
        world.start()
        print(f"compat: database and bus are there after {time.monotonic() - begun:.0f} s", flush=True)
        runs = []
        for kind in (Nova, Ours):
            if chosen["side"] in (None, kind.__name__.lower()):
                side = kind(world)
                end.callback(side.close)
                runs.append(Run(side, selected))
        end.callback(keep, runs, selected)
        for run in runs:
            run.start()
        for run in runs:
            run.join()
        # While their directories are there.
        planted = runs[-1].side.directory / "planted.out"
        planted.write_text(f"a line with {world.token('novnc', 1)}\n")
        assert runs[-1].side.shown(), "the search finds nothing"
        planted.unlink()
        shown = [run.side.shown() for run in runs]
    if len(runs) == 1:
        print(json.dumps({case.id: runs[0].result(case) for case in selected}, indent=1))
        passed, failed = len(runs[0].answers), 0
    else:
        passed, failed = compare(selected, *runs, whole=not chosen["only"])
        nova, ours = shown
        print(f"compat: {len(world.secrets)} secrets: in {len(nova)} lines of Nova's logs, in {len(ours)} of ours")
        if ours:
            failed += 1
            print("\n".join(["FAILED no secret is logged", *ours]))
        else:
            passed += 1
    print(f"compat: {len(selected)} cases on both sides in {time.monotonic() - begun:.0f} s, raw answers in target/compat")
    print(f"{passed} passed, {failed} failed, 0 skipped")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
