"""docs/COMPATIBILITY.md as the run needs it: the ids of the deliberate differences that its cases show."""

import re
from pathlib import Path

DOCUMENT = Path(__file__).resolve().parents[2] / "docs/COMPATIBILITY.md"


def listed(text=None):
    """The ids whose row names a case of this run."""
    text = DOCUMENT.read_text() if text is None else text
    rows = (line for line in text.splitlines() if re.match(r"\| D\d+ \|", line))
    return {row.split("|")[1].strip() for row in rows if "compat::" in row}


def check(cases, seen, text=None):
    """What is wrong between the document and a full run: a list of sentences."""
    ids = listed(text)
    wrong = [f"{number} is listed in docs/COMPATIBILITY.md, and no case shows it" for number in sorted(ids - seen)]
    wrong += [f"{number} was seen, and docs/COMPATIBILITY.md does not list it" for number in sorted(seen - ids)]
    return wrong
