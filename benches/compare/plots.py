"""Plots of one comparison, as SVG without any library: lines over a logarithmic or even axis."""

import math
from html import escape

import peers

WIDTH, HEIGHT = 760, 420
LEFT, RIGHT, TOP, BOTTOM = 70, 230, 40, 50
# Told apart by people who see few colours; dashed from the eleventh on.
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#000000", "#999999", "#7f4fc9", "#8c6d31")


def place(value, low, high, start, end, log):
    if log:
        value, low, high = math.log10(value), math.log10(low), math.log10(high)
    return start + (end - start) * (value - low) / ((high - low) or 1)


def ticks(low, high, log):
    if log:
        found = [10.0 ** power for power in range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)]
        return [tick for tick in found if low <= tick <= high]
    step = 10 ** math.floor(math.log10((high - low) or 1))
    step = next(step * part for part in (0.1, 0.2, 0.5, 1, 2) if (high - low) / (step * part) <= 10)
    return [step * number for number in range(math.ceil(low / step), math.floor(high / step) + 1)]


def number(value):
    if value >= 1e6:
        return f"{value / 1e6:g}M"
    return f"{value / 1e3:g}k" if value >= 1e4 else f"{value:g}"


def plot(title, x_title, y_title, series, x_log=False, y_log=False, x_ticks=None):
    """An SVG of `series`: label -> [(x, y)]. `x_ticks`: [(x, text)] where the axis has words."""
    series = {label: [(x, y) for x, y in points if not (x_log and x <= 0 or y_log and y <= 0)]
              for label, points in series.items()}
    series = {label: points for label, points in series.items() if points}
    if not series:
        return None
    xs = [x for points in series.values() for x, _ in points]
    ys = [y for points in series.values() for _, y in points]
    x_low, x_high = min(xs), max(xs)
    y_low, y_high = (10 ** math.floor(math.log10(min(ys))), 10 ** math.ceil(math.log10(max(ys)))) if y_log else (0, max(ys) * 1.05)

    def at(x, y):
        return (place(x, x_low, x_high, LEFT, WIDTH - RIGHT, x_log), place(y, y_low, y_high, HEIGHT - BOTTOM, TOP, y_log))

    out = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" font-size="12">',
           f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
           f'<text x="{LEFT}" y="22" font-size="15">{escape(title)}</text>',
           f'<text x="{(LEFT + WIDTH - RIGHT) / 2:.0f}" y="{HEIGHT - 10}" text-anchor="middle">{escape(x_title)}</text>',
           f'<text transform="translate(16,{(TOP + HEIGHT - BOTTOM) / 2:.0f}) rotate(-90)" text-anchor="middle">{escape(y_title)}</text>']
    for y in ticks(y_low, y_high, y_log):
        _, up = at(x_low, y)
        out.append(f'<path d="M{LEFT} {up:.1f}H{WIDTH - RIGHT}" stroke="#ddd"/>'
                   f'<text x="{LEFT - 6}" y="{up + 4:.1f}" text-anchor="end">{number(y)}</text>')
    for x, text in x_ticks or [(x, number(x)) for x in ticks(x_low, x_high, x_log)]:
        along, _ = at(x, y_high)
        out.append(f'<path d="M{along:.1f} {TOP}V{HEIGHT - BOTTOM}" stroke="#eee"/>'
                   f'<text x="{along:.1f}" y="{HEIGHT - BOTTOM + 16}" text-anchor="middle">{escape(text)}</text>')
    for index, (label, points) in enumerate(series.items()):
        colour, dash = COLOURS[index % len(COLOURS)], "" if index < len(COLOURS) else ' stroke-dasharray="6 3"'
        path = "L".join(f"{x:.1f} {y:.1f}" for x, y in (at(*point) for point in points))
        down = TOP + 8 + 18 * index
        out.append(f'<path d="M{path}" fill="none" stroke="{colour}" stroke-width="2"{dash}/>')
        out += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="2.5" fill="{colour}"/>' for x, y in (at(*point) for point in points)]
        out.append(f'<path d="M{WIDTH - RIGHT + 10} {down}h22" stroke="{colour}" stroke-width="2"{dash}/>'
                   f'<text x="{WIDTH - RIGHT + 38}" y="{down + 4}">{escape(label)}</text>')
    return "\n".join([*out, "</svg>"]) + "\n"


def middle_lines(figures, measure, compared, field):
    """Each proxy's line of that field, point by point the median of the rounds."""
    found = {}
    for peer in compared:
        lines = list(figures.values(measure, peer.name, field).values())
        if lines:
            found[peer.label] = [tuple(sorted(column)[len(column) // 2] for column in zip(*points))
                                 for points in zip(*lines)]
    return found


def all_plots(figures, measures, compared):
    """File name -> (what it shows, SVG)."""
    found = {}

    def add(name, what, svg):
        if svg:
            found[name] = (what, svg)

    keys = {measure.key: measure for measure in measures}
    # Ours with splicing off is for row 3 alone.
    compared = [peer for peer in compared if not peer.name.endswith("-copy") or peer.kind != peers.OURS]
    plain = [peer for peer in compared if peer.group == peers.PLAIN]
    for key in ("echo-1000", "echo-20"):
        if key in keys:
            # As far from 1 as a quantile is, so that the tail has room.
            lines = {label: [(1 / (1 - quantile), us) for quantile, us in points]
                     for label, points in middle_lines(figures, key, plain, "distribution").items()}
            words = [(2, "50 %"), (10, "90 %"), (100, "99 %"), (1000, "99.9 %"), (10000, "99.99 %")]
            title = f"Latency of an echo: {keys[key].title}"
            add("latency.svg", title, plot(title, "quantile", "microseconds", lines, True, True, words))
            break
    lines = {label: points for key in ("idle", "idle-tls", "idle-checked") if key in keys
             for label, points in middle_lines(figures, key, compared, "curve").items()}
    title = "Memory of the proxy's processes by idle sessions"
    add("memory.svg", title, plot(title, "sessions", "bytes", lines, True, True))
    sizes = sorted((measure.options["bytes"], key) for key, measure in keys.items()
                   if measure.mode == "s2c" and measure.group == peers.PLAIN and measure.options["sessions"] == 1)
    lines = {peer.label: [(size, figures.median(key, peer.name, "cpu_s_per_gb")) for size, key in sizes
                          if figures.median(key, peer.name, "cpu_s_per_gb")] for peer in plain}
    title = "CPU of bulk from server to client, by the size of the server's writes"
    words = [(size, f"{size // 1024} KiB") for size, _ in sizes]
    add("cpu.svg", title, plot(title, "bytes in a write", "CPU seconds per GB", lines, True, True, words))
    return found
