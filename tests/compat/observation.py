"""What a case says it saw: how two answers are compared, and what is taken out of them first.

A case answers a dictionary of named fields. Both sides' answers go through the rules below; then each field must
be equal, unless the case declares `differs[field] = D(id, nova, ours)`: then both values must be those, so that a
listed difference that is gone, or has changed, is a failure too.
"""

import re

# A field that an answer does not have.
ABSENT = None


class Anything:
    """Equal to every value but an absent one: for what cannot be foretold, such as a random id."""

    def __eq__(self, other):
        return other is not ABSENT

    def __repr__(self):
        return "anything"


ANY = Anything()


class D:
    """One field's deliberate difference, which docs/COMPATIBILITY.md lists under `number`."""

    def __init__(self, number, nova=ABSENT, ours=ABSENT):
        self.number, self.nova, self.ours = number, nova, ours


# The normaliser: every rule, and nothing is changed beside it. Ports and directories are those of the run.
RULES = [
    ("log time and process", r"\b\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3} \d+ ", "<time> <pid> "),
    ("access time", r"\[\d\d/\w{3}/\d{4} \d\d:\d\d:\d\d\]", "[<time>]"),
    ("HTTP date", r"\w{3}, \d\d \w{3} \d{4} \d\d:\d\d:\d\d GMT", "<date>"),
    ("request id", r"\breq-[0-9a-f]{8}-[0-9a-f-]{27}", "<request>"),
    ("uuid", r"\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", "<uuid>"),
    ("session number", r"(?m)(^|\] ) {0,2}\d+: ", r"\1N: "),
    ("object number and times of a token", r"\b(id=|(?:created_at|updated_at|expires)=)[^,)]+", r"\1<value>"),
    ("exception class before the last line of a traceback", r"^(?:[a-z_]+\.)+\w+: |^\w+Error: ", ""),
    ("directory", None, "<dir>"),
    ("port", None, "<port>"),
]
assert len(RULES) <= 10


def normalise(value, directory, ports):
    """`value` with every rule applied to every text in it."""
    if isinstance(value, dict):
        return {key: normalise(part, directory, ports) for key, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [normalise(part, directory, ports) for part in value]
    if not isinstance(value, str):
        return value
    for name, pattern, replacement in RULES:
        if name == "directory":
            value = re.sub(re.escape(directory) + r"(?:/(?:nova|ours)(?=/))?", replacement, value)
        elif name == "port":
            value = re.sub(r"(?<![\d.])(?:" + "|".join(map(str, sorted(ports))) + r")(?!\d)", replacement, value)
        else:
            value = re.sub(pattern, replacement, value)
    return value


class Verdict:
    """How the two answers of one case compare: `wrong` says what is not as declared, `seen` which differences are."""

    def __init__(self, case, nova, ours):
        self.wrong, self.seen = [], set()
        for field in sorted({*nova, *ours, *case.differs}):
            one, other = nova.get(field, ABSENT), ours.get(field, ABSENT)
            declared = case.differs.get(field)
            if declared is None:
                if one != other:
                    self.wrong.append(f"{field}: Nova {one!r}, consolegate {other!r}")
            elif one == other:
                self.wrong.append(f"{field}: {declared.number} is gone, both answer {one!r}")
            elif declared.nova != one or declared.ours != other:
                self.wrong.append(
                    f"{field}: {declared.number} says Nova {declared.nova!r}, consolegate {declared.ours!r}; "
                    f"found {one!r} and {other!r}")
            else:
                self.seen.add(declared.number)
