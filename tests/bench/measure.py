"""What is measured and how: the loads of `run` and `compare`, and one measurement of each."""

import json
import os
import re
import subprocess
import time

from harness import (
    LISTEN, UPSTREAM, Failure, Proxy, count_calls, free_place, idle_point, is_listening, run_load,
    start, until)
from peers import Setup

FAR_UPSTREAM = "10.99.0.2:8000"

# kind: what one operation is. load: arguments of loadgen; wrk: connections instead.
# threads: also measured with more than one thread. splice: peers that differ only by splicing are
# told apart. peers: those that take part, where it is not all. calls: operations of the run that
# counts system calls.
LOADS = {
    "keepalive16": {"kind": "request", "title": "keep-alive, 16 connections (wrk)", "wrk": 16,
                    "quick": False},
    "keepalive128": {"kind": "request", "title": "keep-alive, 128 connections (wrk)", "wrk": 128,
                     "threads": True},
    "keepalive1024": {"kind": "request", "title": "keep-alive, 1,024 connections (wrk)",
                      "wrk": 1024, "quick": False},
    "pingpong64": {"kind": "request", "title": "request and response of 64 B, 16 connections",
                   "load": ["--pingpong=16", "--size=64"], "calls": ("requests", 20000)},
    "pingpong16k": {"kind": "request", "title": "request and response of 16 KiB, 16 connections",
                    "load": ["--pingpong=16", "--size=16384"]},
    "short": {"kind": "connection", "title": "short connections, 16 at once",
              "load": ["--short=16"], "threads": True, "calls": ("requests", 8000)},
    "far": {"kind": "connection", "title": "short connections, server 0.2 ms away",
            "load": ["--short=16"], "far": True, "calls": ("requests", 3000)},
    "log": {"kind": "connection", "title": "short connections, with a log line each and with metrics",
            "load": ["--short=16"], "peers": ("parkway", "parkway-log", "parkway-metrics")},
    "bulk1": {"kind": "gb", "title": "bulk, 1 stream", "load": ["--down=1"], "splice": True,
              "calls": ("bytes", 4_000_000_000)},
    "bulk8": {"kind": "gb", "title": "bulk, 8 streams", "load": ["--down=8"], "splice": True,
              "threads": True},
    "both1": {"kind": "gb", "title": "bulk both ways, 1 connection", "load": ["--both=1"],
              "splice": True, "quick": False},
    "both8": {"kind": "gb", "title": "bulk both ways, 8 connections", "load": ["--both=8"],
              "splice": True},
    "unix1": {"kind": "gb", "title": "bulk, 1 stream, unix sockets on both sides",
              "load": ["--down=1"], "unix": True},
    "mixed": {"kind": "mixed", "title": "mixed: 8 bulk streams beside 16 ping-pong connections",
              "load": ["--down=8", "--pingpong=16", "--size=64", "--think_us=2000",
                       "--histogram=1"], "splice": True, "threads": True},
    "storm": {"kind": "storm", "title": "accept storm: a backlog of 3,000", "storm": 3000},
    "idle": {"kind": "idle", "title": "idle connections", "idle": [1000, 3000, 9000]},
    # No peer takes part, and no socket (growth.cc).
    "growth": {"kind": "growth", "title": "growth: a worker on a simulated kernel",
               "growth": [1000, 10_000, 100_000, 1_000_000]},
}

# --- Measuring ---------------------------------------------------------------------------------


class Bench:
    def __init__(self, args, tools, folder):
        self.args = args
        self.tools = tools
        self.folder = folder
        self.far = None
        self.cpus = sorted(os.sched_getaffinity(0))

    def pinning(self, threads):
        """(CPUs of the proxy, CPUs of the load)"""
        if len(self.cpus) > threads:
            return set(self.cpus[:threads]), set(self.cpus[threads:])
        return None, None

    def setup(self, load, threads):
        if load.get("unix"):
            return Setup(threads, f"unix:{self.folder}/proxy.sock",
                         f"unix:{self.folder}/server.sock", self.folder, self.tools)
        return Setup(threads, LISTEN, FAR_UPSTREAM if load.get("far") else UPSTREAM, self.folder,
                     self.tools)

    def loadgen(self, proxy, load, cpus, *more):
        """Runs the load to its end; its figures."""
        argv = [self.tools["loadgen"], "run", f"--to={proxy.target}", *more]
        if not load.get("far"):
            argv.append(f"--serve={free_place(proxy.setup.upstream)}")
        if proxy.pids:
            argv.append(f"--pids={','.join(map(str, proxy.pids))}")
        return run_load(argv, cpus)

    def measure(self, name, peer, threads):
        """One figure of one peer: {metric: value}."""
        load = LOADS[name]
        proxy_cpus, load_cpus = self.pinning(threads)
        if load.get("far"):
            self.need_far(load_cpus)
        if "growth" in load:
            return self.growth(load)
        if "idle" in load:
            return self.idle(load, peer, threads)
        proxy = Proxy(peer, self.setup(load, threads), proxy_cpus)
        try:
            if "wrk" in load:
                return self.wrk(load, proxy, load_cpus)
            if "storm" in load:
                figures = self.loadgen(proxy, load, load_cpus, f"--storm={load['storm']}",
                                       "--size=64")
            else:
                figures = self.loadgen(proxy, load, load_cpus, *load["load"],
                                       f"--warmup={self.args.warmup}",
                                       f"--seconds={self.args.seconds}")
        finally:
            proxy.stop()
        return digest(load["kind"], figures, proxy.child is not None)

    def wrk(self, load, proxy, cpus):
        server = start([self.tools["loadgen"], "serve", f"--listen={proxy.setup.upstream}"], cpus)
        try:
            until(lambda: is_listening(proxy.setup.upstream), 5, "the server listens")
            host, port = proxy.target.rsplit(":", 1)
            cpu = proxy.cpu_seconds()
            child = start(["wrk", "-t1", f"-c{load['wrk']}", f"-d{max(1, round(self.args.seconds))}",
                           "--latency", f"http://{host}:{port}/"], cpus, stdout=subprocess.PIPE,
                          text=True)
            output, _ = child.communicate(timeout=60)
            cpu = proxy.cpu_seconds() - cpu
        finally:
            server.kill()
            server.wait()
        done = re.search(r"(\d+) requests in ([\d.]+)s", output)
        if child.returncode != 0 or not done or int(done[1]) == 0 or "Socket errors" in output:
            raise Failure("wrk: " + output.strip()[-300:])
        figures = {"rate": int(done[1]) / float(done[2])}
        if proxy.child:
            figures["cpu_us"] = cpu * 1e6 / int(done[1])
        for percent, metric in (("50%", "p50_us"), ("99%", "p99_us")):
            found = re.search(rf"{percent}\s+([\d.]+)(us|ms|s)\b", output)
            figures[metric] = float(found[1]) * {"us": 1, "ms": 1e3, "s": 1e6}[found[2]]
        return figures

    def growth(self, load):
        counts = load["growth"][:3] if self.args.quick else load["growth"]
        cpus, _ = self.pinning(1)
        child = start([self.tools["growth"], str(self.args.rounds), *map(str, counts)], cpus,
                      stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        try:
            output, errors = child.communicate(timeout=60 + 60 * self.args.rounds)
        except subprocess.TimeoutExpired:
            child.kill()
            child.communicate()
            raise Failure("the measurement of growth did not end") from None
        if child.returncode != 0:
            raise Failure(errors.strip()[-300:] or f"growth: exit code {child.returncode}")
        return {"growth": json.loads(output)}

    def idle(self, load, peer, threads):
        points = []
        counts = load["idle"]
        if self.args.quick:
            counts = counts[:2]
        for count in counts:
            proxy_cpus, load_cpus = self.pinning(threads)
            proxy = Proxy(peer, self.setup(load, threads), proxy_cpus)
            try:
                points.append(idle_point(self.tools["loadgen"], proxy, load_cpus, count))
            except Failure as failure:
                if len(points) < 2:
                    raise
                points.append({"connections": count, "failure": str(failure)})
            finally:
                proxy.stop()
        good = [point for point in points if "failure" not in point]
        first, last = good[0], good[-1]
        span = last["connections"] - first["connections"]
        figures = {"points": points, "held": last["connections"]}
        for metric in ("private_bytes", "kernel_bytes", "descriptors"):
            # The slope: what one more connection costs, whatever a proxy has set aside beforehand.
            figures[f"{metric}_each"] = (last[metric] - first[metric]) / span
        return figures

    def calls(self, name, peer):
        """System calls of one operation, counted by strace in a run of its own."""
        load = LOADS[name]
        what, count = load["calls"]
        if self.args.quick:
            count //= 4
        proxy_cpus, load_cpus = self.pinning(1)
        if load.get("far"):
            self.need_far(load_cpus)
        proxy = Proxy(peer, self.setup(load, 1), proxy_cpus)
        try:
            figures, table = count_calls(
                proxy.pids, self.folder, load_cpus,
                lambda: self.loadgen(proxy, load, load_cpus, *load["load"], f"--{what}={count}"))
        finally:
            proxy.stop()
        done = figures[what] / (1e9 if what == "bytes" else 1)
        return {"calls": sum(table.values()) / done,
                "by_name": {key: value / done for key, value in table.items()}}

    def need_far(self, cpus):
        """The server 0.2 ms away: another namespace behind a link that delays."""
        if self.far:
            return
        space = start(["unshare", "--net", "sh", "-c", "ip link set lo up; exec sleep infinity"],
                      cpus)
        own = os.readlink("/proc/self/ns/net")
        until(lambda: os.readlink(f"/proc/{space.pid}/ns/net") != own, 5, "a second namespace")
        link = start([self.tools["delay_link"], f"--far_pid={space.pid}", "--delay_us=100"], cpus,
                     stdout=subprocess.PIPE, text=True)
        if link.stdout.readline() != "READY\n":
            raise Failure("delay_link did not start")
        server = start(["nsenter", "--net", "--target", str(space.pid), self.tools["loadgen"],
                        "serve", f"--listen={FAR_UPSTREAM}"], cpus)
        time.sleep(0.3)
        self.far = [server, link, space]

    def close(self):
        for child in self.far or []:
            child.kill()
            child.wait()


def digest(kind, figures, has_proxy):
    """What loadgen says, as what is reported."""
    seconds = figures["seconds"]
    gigabytes = figures["bytes"] / 1e9
    cpu = figures["cpu_ns"] / 1e9
    out = {}
    if kind in ("request", "connection", "storm"):
        count = figures["requests"]
        if count == 0:
            raise Failure("nothing was answered")
        out["rate"] = count / seconds
        if has_proxy:
            out["cpu_us"] = cpu * 1e6 / count
    if kind in ("gb", "mixed"):
        out["gb_per_s"] = gigabytes / seconds
        if has_proxy:
            out["cpu_s_per_gb"] = cpu / gigabytes
    if kind in ("request", "connection", "mixed"):
        for metric in ("p50_us", "p99_us", "p999_us"):
            out[metric] = figures[metric]
    if "histogram" in figures:
        out["histogram"] = figures["histogram"]
    return out
