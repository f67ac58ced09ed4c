"""Tables and pictures from what tests/bench/run has measured.

    python3 tests/bench/report.py tests/bench/results     writes them again from results.json
"""

import json
import os
import sys

import pictures
import ratios
from figures import METRICS, Figures, growth_slope, number


def markdown(results, drawn):
    figures = Figures(results)
    peers = results["peers"]
    machine = results["machine"]
    lines = ["# Parkway beside its peers", ""]
    lines += [f"- {name}: {value}" for name, value in machine.items()]
    lines += ["", f"{results['rounds']} rounds of {results['seconds']} s, interleaved; each figure "
              "is the median (lowest..highest), the best peer in bold. CPU is that of the proxy "
              "alone. `floor` and `direct` are references, not peers. How: tests/bench/README.md.",
              ""]
    lines += [f"![{title}]({name})" for name, title in drawn]
    threads_used = sorted({entry["threads"] for entry in results["measured"]})
    for threads in threads_used:
        lines += ["", f"## {threads} thread{'s' if threads > 1 else ''}"]
        for load, about in results["loads"].items():
            if about["kind"] == "growth":
                if threads == 1 and figures.growth:
                    lines += ["", f"### {about['title']}", "", *growth_table(figures.growth)]
                continue
            rows = table(figures, threads, load, about, peers, results["references"])
            if rows:
                lines += ["", f"### {about['title']}", "", *rows]
    compared = ratios.table(results, METRICS)
    if compared:
        lines += ["", "## Parkway to the floor and to the best peer, round by round", "",
                  "Median (lowest..highest) of the ratios of the rounds; lower is better for CPU, "
                  "bytes and microseconds, higher for rates.", "", *compared]
    if results["calls"]:
        lines += ["", "## System calls", "", *calls_table(results)]
    if results["failures"]:
        lines += ["", "## What could not be measured", ""]
        for entry in results["failures"]:
            why = " ".join(entry["why"].split())
            lines.append(f"- {entry['load']}, {entry['peer']}, {entry['threads']} thread(s), "
                         f"round {entry['round']}: {why}")
    return "\n".join(lines) + "\n"


def table(figures, threads, load, about, peers, references):
    metrics = METRICS[about["kind"]]
    shown = [peer for peer in peers if (threads, load, peer) in figures.values]
    if not shown:
        return []
    rows = ["| | " + " | ".join(title for _, title, _, _ in metrics) + " |",
            "|---|" + "--:|" * len(metrics)]
    best = {}
    for metric, _, _, better in metrics:
        values = {peer: figures.median(threads, load, peer, metric) for peer in shown
                  if peer not in references}
        values = {peer: value for peer, value in values.items() if value is not None}
        if values:
            best[metric] = (min if better == "low" else max)(values, key=values.get)
    for peer in shown:
        cells = [figures.cell(threads, load, peer, metric, digits, best.get(metric) == peer)
                 for metric, _, digits, _ in metrics]
        rows.append(f"| {peer} | " + " | ".join(cells) + " |")
    return rows


GROWTH_ROWS = (("few_ns", "{active} active among N"), ("bare_few_ns", "the same visits in bare memory"),
               ("all_ns", "all N active"), ("bare_all_ns", "the same visits in bare memory"))


def growth_table(growth):
    points = growth["points"]
    rows = ["| sessions | " + " | ".join(number(p["sessions"], 0) for p in points) + " |",
            "|---|" + "--:|" * len(points)]
    for metric, title in GROWTH_ROWS:
        cells = [f"{number(p[metric]['median'], 0)} ({number(p[metric]['low'], 0)}.."
                 f"{number(p[metric]['high'], 0)})" for p in points]
        title = title.format(active=number(growth["active"], 0))
        rows.append(f"| CPU ns per request, {title} | " + " | ".join(cells) + " |")
    rows.append("| memory, MB | " +
                " | ".join(number(p["bytes"] / 1e6, 2) for p in points) + " |")
    ratio = points[-1]["few_ns"]["median"] / points[0]["few_ns"]["median"]
    rows += ["", f"{growth['active']:,} active: {ratio:.2f} times the first at the last. Each "
             f"session more takes {growth_slope(growth):.0f} bytes."]
    return rows


def calls_table(results):
    loads = list(dict.fromkeys(entry["load"] for entry in results["calls"]))
    by_key = {(entry["load"], entry["peer"]): entry for entry in results["calls"]}
    units = {"request": "request", "connection": "connection", "gb": "GB"}
    titles = [f"{results['loads'][load]['title']}: calls/{units[results['loads'][load]['kind']]}"
              for load in loads]
    rows = ["| | " + " | ".join(titles) + " |", "|---|" + "--:|" * len(loads)]
    for peer in results["peers"]:
        if not any((load, peer) in by_key for load in loads):
            continue
        cells = []
        for load in loads:
            entry = by_key.get((load, peer))
            cells.append(number(entry["calls"], 0 if entry["calls"] > 1000 else 2)
                         if entry else "-")
        rows.append(f"| {peer} | " + " | ".join(cells) + " |")
    rows += ["", "Parkway's, by name:", ""]
    for load in loads:
        entry = by_key.get((load, "parkway"))
        if entry:
            names = ", ".join(f"{name} {value:,.2f}" for name, value in entry["by_name"].items()
                              if value >= 0.005)
            rows.append(f"- {load}: {names}")
    return rows


def write(results, output):
    """Writes everything into `output`; the tables as text."""
    figures = Figures(results)
    drawn = []
    for name, title, draw in (
            ("ratio.svg", "Relative to HAProxy",
             lambda path: pictures.ratio_picture(figures, results, path)),
            ("mixed.svg", "Latency of mixed",
             lambda path: pictures.latency_picture(figures, results["peers"], path)),
            ("memory.svg", "Memory of idle connections",
             lambda path: pictures.memory_picture(figures, results["peers"], path)),
            ("growth.svg", "Growth with the number of sessions",
             lambda path: pictures.growth_picture(figures.growth, path)),
            ("threads.svg", "Throughput against threads",
             lambda path: pictures.threads_picture(figures, results, path))):
        path = os.path.join(output, name)
        if draw(path):
            drawn.append((name, title))
        elif os.path.exists(path):
            os.unlink(path)  # of an earlier run
    with open(os.path.join(output, "results.json"), "w", encoding="utf-8") as file:
        json.dump(results, file, indent=1)
    text = markdown(results, drawn)
    with open(os.path.join(output, "results.md"), "w", encoding="utf-8") as file:
        file.write(text)
    return text


if __name__ == "__main__":
    with open(os.path.join(sys.argv[1], "results.json"), encoding="utf-8") as saved:
        print(write(json.load(saved), sys.argv[1]))
