"""Readings of a live process from /proc."""

import os
import re
import time


def cpu_seconds(pid):
    """Processor time of all its threads so far, in seconds, to the nanosecond."""
    total = 0
    for task in os.listdir(f"/proc/{pid}/task"):
        try:
            with open(f"/proc/{pid}/task/{task}/schedstat", encoding="ascii") as file:
                total += int(file.read().split()[0])
        except FileNotFoundError:
            pass  # the thread ended meanwhile
    return total / 1e9


def cpu_share(pid, seconds):
    """The share of one processor that it uses over `seconds` from now."""
    before, start = cpu_seconds(pid), time.monotonic()
    time.sleep(seconds)
    return (cpu_seconds(pid) - before) / (time.monotonic() - start)


def private_bytes(pid):
    """Memory that is its own: what it wrote. Pages of the program's file would count as private or
    as shared by how many processes happen to run it, and as dirty when it was built just now."""
    with open(f"/proc/{pid}/smaps_rollup", encoding="ascii") as file:
        return sum(int(line.split()[1]) * 1024 for line in file
                   if line.startswith("Anonymous:"))


def descriptors(pid):
    return len(os.listdir(f"/proc/{pid}/fd"))


def threads(pid):
    return len(os.listdir(f"/proc/{pid}/task"))


def traced(pid):
    """Whether each of its threads has a tracer."""
    for task in os.listdir(f"/proc/{pid}/task"):
        with open(f"/proc/{pid}/task/{task}/status", encoding="ascii") as file:
            if "TracerPid:\t0\n" in file.read():
                return False
    return True


def stopped(pid):
    """Whether each of its threads has obeyed a SIGSTOP."""
    for task in os.listdir(f"/proc/{pid}/task"):
        try:
            with open(f"/proc/{pid}/task/{task}/stat", encoding="ascii") as file:
                if file.read().rpartition(")")[2].split()[0] != "T":
                    return False
        except FileNotFoundError:  # It ended instead; whether it was the last to move is not known.
            return False
    return True


def waits_in_epoll(pid, task):
    """Whether that thread of the process has nothing to do."""
    with open(f"/proc/{pid}/task/{task}/wchan", encoding="ascii") as file:
        return bool(re.search("epoll|ep_poll", file.read()))


def waits_in(pid):
    """What the main thread waits for in the kernel."""
    with open(f"/proc/{pid}/task/{pid}/wchan", encoding="ascii") as file:
        return file.read()


def workers_wait(pid):
    """Whether each worker waits in epoll: what they began is done, down to the last count."""
    waiting = []
    for task in os.listdir(f"/proc/{pid}/task"):
        with open(f"/proc/{pid}/task/{task}/comm", encoding="ascii") as file:
            if not file.read().startswith("worker-"):
                continue
        waiting.append(waits_in_epoll(pid, task))
    return bool(waiting) and all(waiting)


def at_rest(pid):
    """Whether its first thread and then each of its workers wait in epoll: all that was begun is done,
    and what the first has told the others has arrived."""
    return waits_in_epoll(pid, pid) and workers_wait(pid)


def with_argument(text):
    """Who has `text` in its command line."""
    found = []
    for name in os.listdir("/proc"):
        try:
            with open(f"/proc/{name}/cmdline", "rb") as file:
                if name.isdecimal() and text.encode() in file.read():
                    found.append(int(name))
        except OSError:
            pass  # no process, or one that has ended
    return found


def soft_nofile(pid):
    with open(f"/proc/{pid}/limits", encoding="ascii") as file:
        for line in file:
            if line.startswith("Max open files"):
                return int(line.split()[3])
    raise AssertionError(f"no limit of open files for {pid}")


def _socket_inodes(pid):
    inodes = set()
    for fd in os.listdir(f"/proc/{pid}/fd"):
        try:
            target = os.readlink(f"/proc/{pid}/fd/{fd}")
        except FileNotFoundError:
            continue
        if target.startswith("socket:["):
            inodes.add(int(target[8:-1]))
    return inodes


def listens(pid):
    """What it listens on: {('tcp', port), ('unix', path), ...}."""
    inodes = _socket_inodes(pid)
    found = set()
    for table in ("tcp", "tcp6"):
        try:
            with open(f"/proc/{pid}/net/{table}", encoding="ascii") as file:
                for fields in (line.split() for line in list(file)[1:]):
                    if fields[3] == "0A" and int(fields[9]) in inodes:
                        found.add(("tcp", int(fields[1].rsplit(":", 1)[1], 16)))
        except FileNotFoundError:
            pass  # no IPv6 here
    with open(f"/proc/{pid}/net/unix", encoding="utf-8", errors="replace") as file:
        for fields in (line.split() for line in list(file)[1:]):
            if int(fields[3], 16) & 0x10000 and int(fields[6]) in inodes and len(fields) > 7:
                found.add(("unix", fields[7]))
    return found


def blocks(pid, number):
    """Whether the process's first thread has blocked the signal: it takes it by a descriptor."""
    with open(f"/proc/{pid}/status", encoding="ascii") as file:
        mask = next(line.split()[1] for line in file if line.startswith("SigBlk:"))
    return bool(int(mask, 16) >> (number - 1) & 1)
