"""test-package [TEXT...]

Installs, upgrades, removes and uses the packages on a real Debian with its own nova-consoleproxy. Runs the cases whose
names contain one of the texts, or all. Prints a line for each; the last line is "N passed, N failed, N skipped".
"""

import sys
import time
import traceback

from registry import CASES, Skip

import diverting  # noqa: F401 registers its cases
import migrating  # noqa: F401
import serving  # noqa: F401
import units  # noqa: F401


def main(texts):
    passed = failed = skipped = 0
    for case in CASES:
        name = f"{case.__module__}::{case.__name__}"
        if texts and not any(text in name for text in texts):
            continue
        started = time.monotonic()
        try:
            case()
        except Skip as reason:
            skipped += 1
            print(f"!! skipped {name}: {reason}")
        except Exception as error:
            failed += 1
            print(f"FAILED {name}")
            if isinstance(error, AssertionError):
                print(error)
            traceback.print_exc(file=sys.stdout)
        else:
            passed += 1
            print(f"ok     {name} ({time.monotonic() - started:.1f} s)")
        sys.stdout.flush()
    print(f"{passed} passed, {failed} failed, {skipped} skipped")
    return failed != 0


sys.exit(main(sys.argv[1:]))
