"""Medians over the rounds, ratios inside them, and the ratios that this project holds itself to."""

from statistics import median


class Figures:
    """Looks figures up in the raw rounds."""

    def __init__(self, raw):
        self.by_key = {}
        for run in raw:
            if "failed" not in run:
                self.by_key.setdefault((run["measure"], run["peer"]), {})[run["round"], run.get("repeat", 0)] = run

    def values(self, measure, peer, field):
        rounds = self.by_key.get((measure, peer), {})
        return {number: run[field] for number, run in rounds.items() if field in run}

    def median(self, measure, peer, field):
        values = self.values(measure, peer, field)
        return median(values.values()) if values else None

    def spread(self, measure, peer, field):
        values = self.values(measure, peer, field).values()
        return (min(values), max(values)) if values else None

    def ratio(self, measure, ours, theirs, field):
        """The median of the rounds' ratios: what slowed a whole round down is not in it."""
        one, other = self.values(measure, ours, field), self.values(measure, theirs, field)
        ratios = [one[number] / other[number] for number in one if other.get(number)]
        return median(ratios) if ratios else None

    def excess(self, more, less, floor, field):
        """The median of the rounds' (more - less) / floor, each of them a measure and a proxy."""
        one, other, base = (self.values(*pair, field) for pair in (more, less, floor))
        found = [(one[number] - other[number]) / base[number] for number in one if number in other and base.get(number)]
        return median(found) if found else None

    def quotient(self, measure, other, peer, field):
        """The median of the rounds' ratios of two measures of one proxy."""
        one, two = self.values(measure, peer, field), self.values(other, peer, field)
        ratios = [one[number] / two[number] for number in one if two.get(number)]
        return median(ratios) if ratios else None


class Row:
    """One ratio with its bounds. `more` is true where more is better. `beside` is what the row beside this one is held to."""

    def __init__(self, number, what, engine, value, hold, stretch=None, more=False, form="{:.2f}", beside=None):
        self.number, self.what, self.engine = number, what, engine
        self.value, self.hold, self.stretch, self.more, self.form, self.beside = value, hold, stretch, more, form, beside

    def meets(self, bound):
        return self.value >= bound if self.more else self.value <= bound

    def verdict(self):
        if self.value is None:
            return "not measured"
        if self.stretch is not None and self.meets(self.stretch):
            return "stretch"
        if self.hold is None:
            return "shown"
        return "held" if self.meets(self.hold) else "NOT HELD"

    def bound(self, bound):
        if bound is None:
            return ""
        return ("≥ " if self.more else "≤ ") + self.form.format(bound)

    def shown(self):
        return "" if self.value is None else self.form.format(self.value)


ENGINES = (("epoll", "epoll"), ("uring", "io_uring"))


def rows(figures, steps, skipped):
    """The rows that are measured end to end, then those of the step bench."""
    found = []
    for engine, name in ENGINES:
        if engine in skipped:
            continue

        def add(number, what, measure, theirs, field, hold, stretch=None, ours=engine, **how):
            value = figures.ratio(measure, ours, theirs, field)
            found.append(Row(number, what, name, value, hold, stretch, **how))

        cpu, speed = "cpu_s_per_gb", "mb_per_s"
        one, many = "s2c-64k", "s2c-64k-many"
        copy = f"{engine}-copy"
        add("1", "bulk s2c, CPU against HAProxy splice with a 1 MiB pipe", one, "haproxy-1m", cpu, 1.15, 1.0)
        add("1", "the same, many sessions", many, "haproxy-1m", cpu, 1.15, 1.0)
        add("1b", "bulk s2c, CPU against HAProxy splice as shipped", one, "haproxy-splice", cpu, 1.0, 0.9)
        add("1b", "the same, many sessions", many, "haproxy-splice", cpu, 0.75, 0.6)
        add("2", "bulk s2c, throughput against HAProxy splice with a 1 MiB pipe", one, "haproxy-1m", speed,
            0.9, 1.0, more=True)
        add("2", "the same, many sessions", many, "haproxy-1m", speed, 0.9, 1.0, more=True)
        add("3", "copy path, CPU against HAProxy copy", one, "haproxy-copy", cpu, 0.75, 0.6, ours=copy)
        for measure, label in (("echo-1", "1 session"), ("echo-1000", "1,000 sessions")):
            add("9", f"echo, {label}, CPU against HAProxy", measure, "haproxy-copy", "cpu_us_per_echo", 1.0, 0.9)
        tls = f"{engine}-tls"
        add("7", "TLS 1.3 bulk s2c, CPU against HAProxy ssl", "s2c-64k-tls", "haproxy-tls", cpu, 0.65, 0.55, ours=tls)
        add("7", "TLS 1.3 bulk s2c, CPU against nginx stream ssl", "s2c-64k-tls", "nginx-tls", cpu, 0.70, 0.60, ours=tls)
        found.append(Row("8", "TLS bulk minus plain copy, CPU against AES-256-GCM alone", name,
                         figures.excess(("s2c-64k-tls", tls), (one, copy), ("seal", "aws-lc-rs"), cpu), 2.5, 2.0))
        found.append(Row("13", "idle TLS session, bytes of process memory", name,
                         figures.median("idle-tls", tls, "bytes_each"), 10_240, 9_216, form="{:.0f}"))
        add("9b", "echo, 1 session, p50 against HAProxy", "echo-1", "haproxy-copy", "p50_us", 1.05, 0.95)
        asleep = "echo-1-asleep"
        add("9c", "echo, 1 session, peers asleep between, CPU against HAProxy", asleep, "haproxy-copy", "cpu_us_per_echo", None,
            beside=1.0)
        add("9c", "echo, 1 session, peers asleep between, p50 against HAProxy", asleep, "haproxy-copy", "p50_us", None, beside=1.05)
        add("10", "echo, 1,000 sessions, p99.9 against HAProxy", "echo-1000", "haproxy-copy", "p999_us", 1.2, 1.0)
        found.append(Row("12", "idle session, bytes of process memory", name,
                         figures.median("idle", engine, "bytes_each"), 1024, 512, form="{:.0f}"))
        add("14", "set-up, CPU against websockify", "conn", "websockify", "cpu_us_each", 1 / 15, 1 / 20,
            form="{:.4f}")
        add("15", "set-ups per second against websockify", "conn", "websockify", "per_s", 25, 35, more=True,
            form="{:.1f}")
        add("16", "bulk s2c, CPU against websockify, splice", one, "websockify", cpu, 0.40, 0.33)
        add("16", "bulk s2c, CPU against websockify, copy", one, "websockify", cpu, 0.60, ours=copy)
        add("17", "bulk c2s 16 KiB, CPU against websockify", "c2s-16k", "websockify", cpu, 1 / 5, form="{:.4f}")
        add("17", "bulk c2s 64 bytes, CPU against websockify", "c2s-64b", "websockify", cpu, 1 / 500,
            form="{:.5f}")
        add("18", "echo, CPU against websockify", "echo-1", "websockify", "cpu_us_per_echo", 0.5)
        add("18", "echo, p50 against websockify", "echo-1", "websockify", "p50_us", 0.75)
        add("18b", "echo, peers asleep between, CPU against websockify", asleep, "websockify", "cpu_us_per_echo", None, beside=0.5)
        add("18b", "echo, peers asleep between, p50 against websockify", asleep, "websockify", "p50_us", None, beside=0.75)
        add("19", "memory per session against websockify", "idle", "websockify", "bytes_each", 1 / 1000,
            form="{:.5f}")
        checked = f"checked-{engine}"
        add("21", "set-up with all checks, CPU against Nova", "conn-checked", "nova", "cpu_us_each", 1 / 100, 1 / 200,
            ours=checked, form="{:.5f}")
        add("21", "set-ups with all checks per second against Nova", "conn-checked", "nova", "per_s", 25, 50,
            ours=checked, more=True, form="{:.1f}")
        add("22", "memory per idle session against Nova", "idle-checked", "nova", "bytes_each", 1 / 10000,
            ours=checked, form="{:.7f}")
        add("23", "bulk c2s 64 KiB, CPU against Nova", "c2s-64k-checked", "nova", cpu, 1 / 8, ours=checked, form="{:.4f}")
        add("23", "bulk c2s 64 bytes, CPU against Nova", "c2s-64b-checked", "nova", cpu, 1 / 30, ours=checked,
            form="{:.5f}")
        add("24", "bulk s2c, CPU against Nova", "s2c-64k-checked", "nova", cpu, 1 / 4, ours=checked)
        add("25", "echo, 30 sessions, p50 against Nova", "echo-30-checked", "nova", "p50_us", 1 / 3, ours=checked)
        add("25b", "echo, 30 sessions, peers asleep between, p50 against Nova", "echo-30-asleep-checked", "nova", "p50_us", None,
            ours=checked, beside=1 / 3)
        # Of each quarter of a second: a pause of the machine is in a whole run's p99.
        found.append(Row("26", "echo, 1,000 sessions, p99 beside 8,500 idle ones against without them", name,
                         figures.median("echo-idle", engine, "p99_times_alone"), 1.5))
        found.append(Row("20", "context switches per GB, bulk s2c", name,
                         figures.median(one, engine, "switches_per_gb"), 6000, form="{:.0f}"))
    for row in steps:
        found.append(Row(row["row"], row["what"], row["engine"], row["value"], row["hold"], row["stretch"],
                         form="{:.0f}" if row["hold"] and row["hold"] >= 100 else "{:.2f}"))
    order = {row.number: index for index, row in enumerate(found)}
    return sorted(found, key=lambda row: (number_of(row.number), row.number, order[row.number]))


def number_of(text):
    return int("".join(c for c in text if c.isdigit()))


# Fields that a person compares, the unit's name, and whether more is better.
COMPARED = (
    ("mb_per_s", "MB/s", True),
    ("cpu_s_per_gb", "CPU-s/GB", False),
    ("p50_us", "p50", False),
    ("p99_us", "p99", False),
    ("p999_us", "p99.9", False),
    ("cpu_us_per_echo", "CPU per echo", False),
    ("per_s", "set-ups per second", True),
    ("cpu_us_each", "CPU per set-up", False),
    ("bytes_each", "memory per idle session", False),
    ("switches_per_gb", "context switches per GB", False),
)


def beaten(figures, measures, ours, theirs):
    """Every figure in which one of `theirs` did better than `ours` by more than 5 %: (measure, unit, peer, ratio)."""
    found = []
    for measure in measures:
        for field, unit, more in COMPARED:
            for peer in theirs:
                ratio = figures.ratio(measure.key, ours, peer.name, field)
                if ratio is not None and (ratio < 1 / 1.05 if more else ratio > 1.05):
                    found.append((measure, unit, peer, ratio))
    return found
