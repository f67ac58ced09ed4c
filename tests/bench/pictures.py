"""Pictures (SVG) of what tests/bench/run has measured."""

import math

from figures import METRICS, growth_slope, number

COLOURS = {"parkway": "#c0392b", "haproxy": "#2c6fbb", "haproxy-splice": "#7fb3e6",
           "nginx": "#2e8b57", "go": "#17a2b8", "socket-proxyd": "#8e6bbf", "floor": "#888888",
           "direct": "#bbbbbb"}
SPARE_COLOURS = ["#d98324", "#5d4037", "#ad1457", "#827717"]


class Svg:
    def __init__(self, width, height, title):
        self.width, self.height = width, height
        self.parts = []
        self.text(width / 2, 24, title, size=16, anchor="middle", weight="bold")

    def text(self, x, y, content, size=12, anchor="start", weight="normal", colour="#222"):
        content = str(content).replace("&", "&amp;").replace("<", "&lt;")
        self.parts.append(f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" fill="{colour}" '
                          f'text-anchor="{anchor}" font-weight="{weight}">{content}</text>')

    def line(self, x1, y1, x2, y2, colour="#ccc", width=1.0, dash=""):
        dash = f' stroke-dasharray="{dash}"' if dash else ""
        self.parts.append(f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" '
                          f'stroke="{colour}" stroke-width="{width}"{dash}/>')

    def box(self, x, y, width, height, colour):
        self.parts.append(f'<rect x="{x:.1f}" y="{y:.1f}" width="{max(width, 0.5):.1f}" '
                          f'height="{height:.1f}" fill="{colour}"/>')

    def path(self, points, colour, width=2.0):
        text = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        self.parts.append(f'<polyline points="{text}" fill="none" stroke="{colour}" '
                          f'stroke-width="{width}"/>')

    def save(self, path):
        with open(path, "w", encoding="utf-8") as file:
            file.write(f'<svg xmlns="http://www.w3.org/2000/svg" width="{self.width}" '
                       f'height="{self.height}" font-family="sans-serif">'
                       f'<rect width="100%" height="100%" fill="white"/>\n')
            file.write("\n".join(self.parts) + "\n</svg>\n")


def colour_of(peer, peers):
    if peer in COLOURS:
        return COLOURS[peer]
    own = [name for name in peers if name not in COLOURS]
    return SPARE_COLOURS[own.index(peer) % len(SPARE_COLOURS)]


def legend(svg, peers, all_peers, y):
    x = 60.0
    for peer in peers:
        svg.box(x, y - 9, 12, 10, colour_of(peer, all_peers))
        svg.text(x + 16, y, peer)
        x += 34 + 7.2 * len(peer)


def bars(path, title, note, groups, peers, all_peers, mark=None):
    """groups: [(name, {peer: (length, label)})]; horizontal bars."""
    rows = sum(len(values) for _, values in groups)
    height = 90 + rows * 15 + len(groups) * 24
    svg = Svg(900, height, title)
    svg.text(450, 42, note, size=11, anchor="middle", colour="#666")
    legend(svg, peers, all_peers, 64)
    left, right = 190, 760
    longest = max(length for _, values in groups for length, _ in values.values())
    scale = (right - left) / min(longest, 4.0 if mark else longest)
    y = 88.0
    for name, values in groups:
        svg.text(left - 8, y + 8 + len(values) * 7.5, name, anchor="end")
        for peer, (length, label) in values.items():
            width = min(length * scale, right - left)
            svg.box(left, y, width, 12, colour_of(peer, all_peers))
            cut = " (bar cut)" if length * scale > right - left + 1 else ""
            svg.text(left + width + 4, y + 10, label + cut, size=10)
            y += 15
        y += 24
    if mark:
        svg.line(left + mark * scale, 78, left + mark * scale, y - 18, "#2c6fbb", 1, "4 3")
    svg.save(path)


def ticks_log(low, high):
    power = math.floor(math.log10(low))
    while 10 ** power <= high * 1.0001:
        for step in (1, 2, 5):
            value = step * 10 ** power
            if low * 0.999 <= value <= high * 1.001:
                yield value
        power += 1


def latency_picture(figures, peers, path):
    """Of `mixed`: the latency at each quantile, both axes logarithmic."""
    curves = {}
    for peer in peers:
        histogram = figures.histograms.get((1, "mixed", peer))
        if not histogram:
            continue
        total, seen, curve = sum(histogram.values()), 0, []
        for latency, count in sorted(histogram.items()):
            seen += count
            rest = max(1 - seen / total, 1 / total)
            curve.append((rest, max(latency, 1)))
        curves[peer] = curve
    if not curves:
        return False
    svg = Svg(900, 500, "mixed: latency of 64 B ping-pong beside 8 bulk streams, 1 thread")
    legend(svg, list(curves), peers, 50)
    left, right, top, bottom = 80, 860, 70, 450
    low = min(point[1] for curve in curves.values() for point in curve)
    high = max(point[1] for curve in curves.values() for point in curve if point[0] >= 0.0009)
    deepest = 1e-4

    def x_of(rest):
        return left + (right - left) * min(1, math.log10(max(rest, deepest)) / math.log10(deepest))

    def y_of(latency):
        span = math.log10(high / low) or 1
        return bottom - (bottom - top) * min(1.02, math.log10(latency / low) / span)

    for latency in ticks_log(low, high):
        svg.line(left, y_of(latency), right, y_of(latency))
        svg.text(left - 6, y_of(latency) + 4, f"{latency:,.0f} us", size=11, anchor="end")
    for name, rest in (("p0", 1), ("p50", 0.5), ("p90", 0.1), ("p99", 0.01), ("p99.9", 0.001),
                       ("p99.99", 1e-4)):
        svg.line(x_of(rest), top, x_of(rest), bottom)
        svg.text(x_of(rest), bottom + 18, name, size=11, anchor="middle")
    for peer, curve in curves.items():
        svg.path([(x_of(rest), y_of(latency)) for rest, latency in curve if rest >= deepest],
                 colour_of(peer, peers), 3 if peer == "parkway" else 1.6)
    svg.save(path)
    return True


def memory_picture(figures, peers, path):
    curves = {}
    for peer in peers:
        points = [(p["connections"], p["private_bytes"] / 1e6)
                  for p in figures.points.get((1, "idle", peer), []) if "failure" not in p]
        if len(points) > 1:
            curves[peer] = points
    if not curves:
        return False
    svg = Svg(900, 460, "private memory against idle connections")
    legend(svg, list(curves), peers, 50)
    left, right, top, bottom = 80, 860, 70, 410
    widest = max(x for curve in curves.values() for x, _ in curve)
    highest = max(y for curve in curves.values() for _, y in curve)
    for i in range(6):
        y = bottom - (bottom - top) * i / 5
        svg.line(left, y, right, y)
        svg.text(left - 6, y + 4, f"{highest * i / 5:.1f} MB", size=11, anchor="end")
        x = left + (right - left) * i / 5
        svg.text(x, bottom + 18, f"{widest * i / 5:,.0f}", size=11, anchor="middle")
    for peer, curve in curves.items():
        svg.path([(left + (right - left) * x / widest, bottom - (bottom - top) * y / highest)
                  for x, y in curve], colour_of(peer, peers), 3 if peer == "parkway" else 1.6)
    svg.save(path)
    return True


def growth_picture(growth, path):
    """CPU of a request and memory against sessions, side by side."""
    if not growth or len(growth["points"]) < 2:
        return False
    points = growth["points"]
    svg = Svg(900, 480, "growth: what a session costs among N")
    few = f"{growth['active']:,} active"
    curves = (("few_ns", few, "#c0392b", 3), ("bare_few_ns", f"{few}, bare memory", "#e6a79f", 1.6),
              ("all_ns", "all N active", "#2c6fbb", 3),
              ("bare_all_ns", "all N active, bare memory", "#7fb3e6", 1.6))
    x = 60.0
    for _, name, colour, _ in curves:
        svg.box(x, 41, 12, 10, colour)
        svg.text(x + 16, 50, name)
        x += 40 + 6.6 * len(name)
    top, bottom = 90, 430
    first, last = points[0]["sessions"], points[-1]["sessions"]

    def axes(left, right, title, low, high, unit):
        def place(sessions, value):
            along = math.log(sessions / first) / math.log(last / first)
            above = math.log(value / low) / math.log(high / low)
            return left + (right - left) * along, bottom - (bottom - top) * above

        svg.text((left + right) / 2, 78, title, anchor="middle", colour="#666")
        for value in ticks_log(low, high):
            _, y = place(first, value)
            svg.line(left, y, right, y)
            svg.text(left - 6, y + 4, f"{value:,.10g} {unit}", size=11, anchor="end")
        for point in points:
            x, _ = place(point["sessions"], low)
            svg.line(x, top, x, bottom)
            svg.text(x, bottom + 18, f"{point['sessions']:,}", size=11, anchor="middle")
        return place

    values = [point[metric]["median"] for point in points for metric, *_ in curves]
    place = axes(80, 430, "CPU of a request", min(values) * 0.8, max(values) * 1.2, "ns")
    for metric, _, colour, width in curves:
        svg.path([place(p["sessions"], p[metric]["median"]) for p in points], colour, width)
    megabytes = [point["bytes"] / 1e6 for point in points]
    place = axes(540, 870, f"memory: {growth_slope(growth):.0f} bytes for each session more",
                 megabytes[0] * 0.8, megabytes[-1] * 1.2, "MB")
    svg.path([place(p["sessions"], p["bytes"] / 1e6) for p in points], COLOURS["parkway"], 3)
    svg.save(path)
    return True


def ratio_picture(figures, results, path):
    groups = []
    for load, about in results["loads"].items():
        if about["kind"] == "growth":
            continue
        metric = METRICS[about["kind"]][0][0]
        base = figures.median(1, load, "haproxy", metric)
        if not base:
            continue
        values = {}
        for peer in results["peers"]:
            value = figures.median(1, load, peer, metric)
            if value is not None and peer not in ("haproxy", "direct"):
                values[peer] = (value / base, f"{value / base:.2f}")
        if values:
            groups.append((load, values))
    if not groups:
        return False
    shown = [peer for peer in results["peers"] if any(peer in values for _, values in groups)]
    bars(path, "CPU (idle: memory; mixed: p99) relative to HAProxy, 1 thread: shorter is better",
         "dashed: HAProxy = 1", groups, shown, results["peers"], mark=1.0)
    return True


def threads_picture(figures, results, path):
    threads_used = sorted({key[0] for key in figures.values})
    if len(threads_used) < 2:
        return False
    groups = []
    for load, about in results["loads"].items():
        rates = [metric for metric in METRICS[about["kind"]] if metric[3] == "high"]
        if not rates or about["kind"] == "idle":
            continue
        metric, title, digits, _ = rates[0]
        numbers = {(threads, peer): figures.median(threads, load, peer, metric)
                   for threads in threads_used for peer in results["peers"]}
        if not any(numbers.get((threads_used[-1], peer)) for peer in results["peers"]):
            continue
        longest = max(value for value in numbers.values() if value)
        for threads in threads_used:
            values = {peer: (numbers[threads, peer] / longest,
                             f"{number(numbers[threads, peer], digits)} {title}")
                      for peer in results["peers"] if numbers.get((threads, peer))}
            groups.append((f"{load}, {threads} thread{'s' if threads > 1 else ''}", values))
    if not groups:
        return False
    shown = [peer for peer in results["peers"] if any(peer in values for _, values in groups)]
    bars(path, "throughput against threads", "each load to its own scale", groups, shown,
         results["peers"])
    return True
