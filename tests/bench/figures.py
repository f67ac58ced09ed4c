"""The figures that tests/bench/run has measured, by load and peer."""

import statistics

# Metric: (title, digits, better). The first of a kind is the one that counts most.
METRICS = {
    "request": [("cpu_us", "CPU us per request", 2, "low"), ("rate", "requests/s", 0, "high"),
                ("p50_us", "p50 us", 0, "low"), ("p99_us", "p99 us", 0, "low"),
                ("p999_us", "p99.9 us", 0, "low")],
    "connection": [("cpu_us", "CPU us per connection", 1, "low"),
                   ("rate", "connections/s", 0, "high"), ("p50_us", "p50 us", 0, "low"),
                   ("p99_us", "p99 us", 0, "low"), ("p999_us", "p99.9 us", 0, "low")],
    "gb": [("cpu_s_per_gb", "CPU s per GB", 4, "low"), ("gb_per_s", "GB/s", 2, "high")],
    "mixed": [("p99_us", "p99 us of the ping-pong", 0, "low"), ("gb_per_s", "GB/s", 2, "high"),
              ("cpu_s_per_gb", "CPU s per GB", 4, "low"), ("p50_us", "p50 us", 0, "low"),
              ("p999_us", "p99.9 us", 0, "low")],
    "storm": [("cpu_us", "CPU us per connection", 1, "low"), ("rate", "connections/s", 0, "high")],
    "idle": [("private_bytes_each", "private bytes per connection", 0, "low"),
             ("kernel_bytes_each", "kernel slab bytes per connection (load included)", 0, "low"),
             ("descriptors_each", "descriptors per connection", 1, "low"),
             ("held", "connections held", 0, "high")],
    "growth": [],
}


def number(value, digits):
    return f"{value:,.{digits}f}"


class Figures:
    """(threads, load, peer) -> metric -> the values of the rounds."""

    def __init__(self, results):
        self.results = results
        self.values = {}
        self.histograms = {}
        self.points = {}
        self.growth = None
        for entry in results["measured"]:
            key = (entry["threads"], entry["load"], entry["peer"])
            for metric, value in entry["figures"].items():
                if metric == "histogram":
                    pooled = self.histograms.setdefault(key, {})
                    for latency, count in value:
                        pooled[latency] = pooled.get(latency, 0) + count
                elif metric == "points":
                    self.points[key] = value
                elif metric == "growth":
                    self.growth = value
                else:
                    self.values.setdefault(key, {}).setdefault(metric, []).append(value)

    def median(self, threads, load, peer, metric):
        values = self.values.get((threads, load, peer), {}).get(metric)
        return statistics.median(values) if values else None

    def cell(self, threads, load, peer, metric, digits, best):
        values = self.values.get((threads, load, peer), {}).get(metric)
        if not values:
            return "-"
        middle = number(statistics.median(values), digits)
        if best:
            middle = f"**{middle}**"
        if len(values) == 1:
            return middle
        return f"{middle} ({number(min(values), digits)}..{number(max(values), digits)})"


def growth_slope(growth):
    """Bytes that one more session takes."""
    first, last = growth["points"][0], growth["points"][-1]
    return (last["bytes"] - first["bytes"]) / max(1, last["sessions"] - first["sessions"])
