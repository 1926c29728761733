"""The table of cases. A case is a function of nothing that raises AssertionError when it does not hold."""

CASES = []


class Skip(Exception):
    """The kernel does not let a case run; says why."""


def case(function):
    CASES.append(function)
    return function


def same(what, got, expected):
    assert got == expected, f"{what}: {got!r}, not {expected!r}"
