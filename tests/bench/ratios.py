"""Parkway beside the floor and beside the best peer, round by round.

A machine has faster and slower minutes (its clock, its neighbours), which are common to all who are
measured in one round and not to the rounds. So the figures of two are compared within each round
first, and the ratios are what the median is taken of.
"""

import statistics

SUBJECT = "parkway"


def by_round(results):
    """(threads, load, metric) -> peer -> round -> value"""
    values = {}
    for entry in results["measured"]:
        for metric, value in entry["figures"].items():
            if isinstance(value, (int, float)):
                key = (entry["threads"], entry["load"], metric)
                values.setdefault(key, {}).setdefault(entry["peer"], {})[entry["round"]] = value
    return values


def ratios_to(of_peer, subject):
    """The ratios of the rounds that both have."""
    return [subject[number] / value for number, value in of_peer.items()
            if value > 0 and number in subject]


def cell(ratios):
    if not ratios:
        return "-"
    middle = f"{statistics.median(ratios):.3f}"
    return middle if len(ratios) == 1 else f"{middle} ({min(ratios):.3f}..{max(ratios):.3f})"


def table(results, metrics_of_kind):
    """Markdown rows; the first metrics of a load are its cost and its rate."""
    values = by_round(results)
    rows = ["| load | threads | figure | to the floor | to the best peer | which |",
            "|---|--:|---|--:|--:|---|"]
    for threads in sorted({entry["threads"] for entry in results["measured"]}):
        for load, about in results["loads"].items():
            for metric, title, _, better in metrics_of_kind[about["kind"]][:2]:
                of_peers = values.get((threads, load, metric), {})
                subject = of_peers.get(SUBJECT)
                if not subject:
                    continue
                peers = {peer: ratios_to(of_peer, subject) for peer, of_peer in of_peers.items()
                         if not peer.startswith(SUBJECT) and peer not in results["references"]}
                peers = {peer: ratios for peer, ratios in peers.items() if ratios}
                hardest = max if better == "low" else min
                best = hardest(peers, key=lambda peer: statistics.median(peers[peer]), default=None)
                floor = ratios_to(of_peers.get("floor", {}), subject)
                rows.append(f"| {load} | {threads} | {title} | {cell(floor)} | "
                            f"{cell(peers.get(best))} | {best or '-'} |")
    return rows if len(rows) > 2 else []
