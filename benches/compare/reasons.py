"""Why a figure is not what it is to be, by row and engine; printed beside the figure wherever it misses its bound."""

# ("3", "io_uring"): "one sentence, with what was tried and what it brought"
REASONS = {
    **{("5", engine): "the raw relay's sockets have answered once, as a session's have, and put off acknowledgements since: "
                      "that made it 3 us cheaper. Of the 2.3 us between the two, one is as in row 6, and the rest is "
                      "unmasking" for engine in ("epoll", "io_uring")},
    **{("6", engine): "about one microsecond of a step is this program's own code, as perf shows spread flat over some "
                      "thirty functions, none of which is in the cache any more when the kernel has done its part"
       for engine in ("epoll", "io_uring")},
    **{("15", engine): "two thirds of a set-up's CPU are the worker's, mostly TCP in the kernel: accepting, connecting and "
                       "closing both ends; the rest is the look-up in SQLite, on a thread of its own, and the threads' "
                       "wake-ups of each other on the one CPU" for engine in ("epoll", "io_uring")},
}


def reason(row):
    return REASONS.get((row.number, row.engine), "no reason is known yet")
