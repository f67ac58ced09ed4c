"""Processes, their figures, and the network namespace they run in: what `run` and `compare` share."""

import ctypes
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))

LISTEN = "127.0.0.1:7000"
UPSTREAM = "127.0.0.1:8000"


def die_with_parent():
    PR_SET_PDEATHSIG = 1
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


# Proxies and loads run before everything else on the machine (SCHED_FIFO): see compare.
realtime = False


def start(argv, cpus=None, **options):
    def prepare():
        die_with_parent()
        if realtime:
            os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(10))
        if cpus:
            os.sched_setaffinity(0, cpus)
    return subprocess.Popen(argv, preexec_fn=prepare, **options)


def tree(pid):
    """The process and its descendants, those that live."""
    found = [pid]
    for parent in found:
        try:
            for thread in os.listdir(f"/proc/{parent}/task"):
                with open(f"/proc/{parent}/task/{thread}/children", encoding="ascii") as file:
                    found += [int(child) for child in file.read().split()]
        except (FileNotFoundError, ProcessLookupError):
            pass
    return found


def until(condition, seconds, what):
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise Failure(f"not within {seconds} s: {what}")
        time.sleep(0.01)


class Failure(Exception):
    """A measurement that could not be made; it is reported as such, and the others go on."""


def is_listening(listen):
    if listen.startswith("unix:"):
        with open("/proc/self/net/unix", encoding="ascii", errors="replace") as file:
            # HAProxy binds to another name and renames it.
            return os.path.exists(listen[5:]) and any(
                line.split()[-1].startswith(listen[5:]) and line.split()[3] == "00010000"
                for line in file)
    port = int(listen.rsplit(":", 1)[1])
    for name in ("/proc/self/net/tcp", "/proc/self/net/tcp6"):
        with open(name, encoding="ascii") as file:
            for line in list(file)[1:]:
                fields = line.split()
                if fields[3] == "0A" and int(fields[1].rsplit(":", 1)[1], 16) == port:
                    return True
    return False


class Proxy:
    """A running proxy; `direct` is one that is not there."""

    def __init__(self, peer, setup, cpus, patience=5):
        self.peer = peer
        self.setup = setup
        self.child = None
        self.pids = []
        self.target = setup.upstream
        if peer.command is None:
            return
        self.target = setup.listen
        if setup.listen.startswith("unix:") and os.path.exists(setup.listen[5:]):
            os.unlink(setup.listen[5:])
        argv = peer.command(setup)
        options = {}
        sock = None
        if peer.launcher:
            sock = peer.launcher(setup.listen)
            argv = [arg.replace("{fd}", str(sock.fileno())) for arg in argv]
            options["pass_fds"] = [sock.fileno()]
        self.errors = tempfile.TemporaryFile()
        self.child = start(argv, cpus, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                           stderr=self.errors, **options)
        if sock:
            sock.close()
        try:
            until(self.ready, patience, f"{peer.name} listens")
        except Failure:
            self.stop()
            raise
        self.pids = tree(self.child.pid)

    def ready(self):
        if self.child.poll() is not None:
            self.errors.seek(0)
            raise Failure(f"{self.peer.name} ended with {self.child.returncode}: "
                          f"{self.errors.read().decode(errors='replace')[-500:]}")
        if not is_listening(self.setup.listen):
            return False
        if self.peer.name == "nginx":
            return len(tree(self.child.pid)) == 1 + self.setup.threads
        if self.peer.launcher:
            with open(f"/proc/{self.child.pid}/comm", encoding="ascii") as file:
                return file.read().startswith("systemd")
        return True

    def stop(self):
        if self.child is None:
            return
        for pid in tree(self.child.pid):
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        self.child.wait()
        until(lambda: not is_listening(self.setup.listen) or self.setup.listen.startswith("unix:"),
              5, f"the port of {self.peer.name} is free")

    def cpu_seconds(self):
        # CLOCK_PROCESS_CPUTIME_ID of another process: nanoseconds, ended threads included.
        return sum(time.clock_gettime(((~pid) << 3) | 2) for pid in self.pids)

    def private_bytes(self):
        kilobytes = 0
        for pid in self.pids:
            with open(f"/proc/{pid}/smaps_rollup", encoding="ascii") as file:
                for line in file:
                    if line.startswith("Private_"):
                        kilobytes += int(line.split()[1])
        return kilobytes * 1024

    def descriptors(self):
        return sum(len(os.listdir(f"/proc/{pid}/fd")) for pid in self.pids)

# --- Loads -------------------------------------------------------------------------------------


def free_place(place):
    """The same address, without the socket file of an earlier server."""
    if place.startswith("unix:") and os.path.exists(place[5:]):
        os.unlink(place[5:])
    return place


def run_load(argv, cpus):
    """Runs loadgen to its end; its figures."""
    child = start(argv, cpus, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                  stderr=subprocess.PIPE, text=True)
    try:
        output, errors = child.communicate(timeout=90)
    except subprocess.TimeoutExpired:
        child.kill()
        child.communicate()
        raise Failure("the load did not end in 90 s") from None
    if child.returncode != 0:
        raise Failure(errors.strip()[-300:] or f"loadgen: exit code {child.returncode}")
    return json.loads(output)


def idle_point(loadgen, proxy, cpus, count):
    """What `count` connections hold that exchanged one message and wait."""
    before = kernel_bytes()
    argv = [loadgen, "run", f"--to={proxy.target}", f"--idle={count}",
            f"--serve={free_place(proxy.setup.upstream)}"]
    child = start(argv, cpus, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                  stderr=subprocess.PIPE, text=True)
    try:
        if child.stdout.readline() != "READY\n":
            raise Failure(f"{count} idle connections: {child.stderr.read().strip()[-200:]}")
        time.sleep(0.3)
        point = {"connections": count, "kernel_bytes": kernel_bytes() - before,
                 "private_bytes": proxy.private_bytes(), "descriptors": proxy.descriptors()}
        _, errors = child.communicate("go on\n", timeout=60)
        if child.returncode != 0:
            raise Failure(f"{count} idle connections do not go on: {errors.strip()[-200:]}")
        return point
    finally:
        if child.poll() is None:
            child.kill()
            child.wait()


def count_calls(pids, folder, cpus, load):
    """What load() returns, and how often the processes made which system call meanwhile."""
    path = os.path.join(folder, "strace")
    tracer = start(["strace", "-f", "-c", "-o", path,
                    *(arg for pid in pids for arg in ("-p", str(pid)))],
                   cpus, stderr=subprocess.DEVNULL)
    try:
        until(lambda: all(is_traced(pid) for pid in pids), 5, "strace is attached")
        figures = load()
    finally:
        tracer.send_signal(signal.SIGINT)
        tracer.wait(10)
    table = {}
    with open(path, encoding="ascii") as file:
        for line in file:
            fields = line.split()
            if len(fields) >= 5 and fields[0][0].isdigit():
                table[fields[-1]] = int(fields[3])
    table.pop("total")
    return figures, dict(sorted(table.items(), key=lambda item: -item[1]))


def is_traced(pid):
    for thread in os.listdir(f"/proc/{pid}/task"):
        with open(f"/proc/{pid}/task/{thread}/status", encoding="ascii") as file:
            if re.search(r"^TracerPid:\s*0$", file.read(), re.MULTILINE):
                return False
    return True


def kernel_bytes():
    with open("/proc/meminfo", encoding="ascii") as file:
        fields = dict(line.split(":") for line in file)
    return int(fields["Slab"].split()[0]) * 1024


# --- The namespace -----------------------------------------------------------------------------


def sysctl(name, value, needed=False):
    try:
        with open("/proc/sys/" + name.replace(".", "/"), "w", encoding="ascii") as file:
            file.write(value)
    except OSError as error:
        if needed:
            raise
        print(f"{name}: {error}", file=sys.stderr)


def prepare_namespace():
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    # Default congestion controls that pace (BBR) blur every bulk figure on loopback.
    sysctl("net.ipv4.tcp_congestion_control", "reno", needed=True)
    sysctl("net.core.somaxconn", "65535")
    sysctl("net.ipv4.tcp_max_syn_backlog", "65535")
    # Short connections use up ports: all of them, and again within a second.
    sysctl("net.ipv4.ip_local_port_range", "10000 65535")
    sysctl("net.ipv4.tcp_tw_reuse", "1")
