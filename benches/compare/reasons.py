"""Why a figure is not what it is to be, by row and engine; printed beside the figure wherever it misses its bound."""

# What holds on both engines.
BOTH = {
    "1": "what is left is the kernel's splicing and the tenant's TCP, which HAProxy pays as well; the steps of two sockets, "
         "the frame's header and the pool of pipes are this program's part",
    "2": "the worker's one processor is full, so that a step's cost is its speed: see row 1",
    "3": "copying in and out is most of it and the same for both; buffers that begin in the middle of a page took away "
         "what chance alignment cost",
    "4": "a session's part as in row 6, and ten bytes more, for which the kernel may need one more page",
    "5": "unmasking 16 KiB takes about half a microsecond; the rest is as in row 6",
    "6": "what a session does with an event, some 0.3 us, is spread flat over some thirty functions, none of which is in "
         "the cache any more when the kernel has done its part",
    "8": "the difference of two measures, each with the machine's noise, in units of a third; behind AES it is rustls' copies and "
         "buffers, and the tenant's TCP for the records' overhead",
    "9": "with one system call to wait and two to relay, what is left is the kernel's TCP and the worker's own wake-up, which "
         "are the same for all",
    "9b": "two wake-ups of the proxy's idle processor are most of an echo, and the same for all",
    "10": "the last thousandth of an echo is the machine's own pauses; HAProxy's differs as much from round to round",
    "11": "at 4 KiB and more the kernel walks through the ring's buffers, where epoll's one buffer stays in the cache; saved "
          "system calls are the gain of small sizes",
    "12": "of those, the session's own state is 216 bytes at most, and the engine's two sockets, the timer's place and the row "
          "of the admin listing most of the rest",
    "13": "rustls keeps most of it: its buffers are empty at rest, its secrets and state machines are not",
    "15": "half of a set-up's CPU is the worker's, mostly TCP in the kernel: accepting, connecting and closing both ends; the "
          "rest is the look-up in SQLite, on a thread of its own, and the threads' wake-ups of each other on the one CPU",
    "16": "nine tenths of it is the kernel's, as in rows 1 and 3, and websockify's copying is the kernel's too",
    "18": "the kernel's TCP and the proxy's own wake-ups are nine tenths of an echo here; websockify pays the same and Python "
          "on top",
    "25": "two wake-ups of the proxy's idle processor are in an echo on either side of the ratio; spinning before sleep would "
          "hide them, at the price of a processor",
    "26": "the machine's own pauses are most of a p99 here: taken by turns of two seconds, ratios of 0.5 and of 2.1 follow each "
          "other; an echo's median grows by 1 to 6 %, its CPU by 3 to 9 %",
}

ASLEEP = "two more wake-ups of an idle processor, 25 to 50 us each here, which the proxy causes on either side of the ratio"

# ("3", "io_uring"): "one sentence, with what was tried and what it brought"
REASONS = {}


def reason(row):
    by_number = BOTH.get(row.number) or BOTH.get(row.number.rstrip("b"))
    return REASONS.get((row.number, row.engine)) or by_number or "no reason is known yet"
