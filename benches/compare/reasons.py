"""Why a figure is not what it is to be, by row and engine; printed beside the figure wherever it misses its bound."""

# ("3", "io_uring"): "one sentence, with what was tried and what it brought"
REASONS = {}


def reason(row):
    return REASONS.get((row.number, row.engine), "no reason is known yet")
