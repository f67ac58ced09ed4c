"""Stories with a bound on how long something takes: the bound holds where the machine lets those who
take part run. told_in_time() measures whether it did.
"""

import os
import threading
import time

from . import net, process

_STEP = 0.02


def _processes():
    """Who takes part: all that this namespace has, or what the test has started."""
    if net.isolated():
        return [int(name) for name in os.listdir("/proc") if name.isdecimal()]
    return [os.getpid(), *(one.pid for one in list(process._alive))]


def _waited():
    """{thread: seconds in which it could have run, and had no processor}."""
    found = {}
    for pid in _processes():
        try:
            for task in os.listdir(f"/proc/{pid}/task"):
                with open(f"/proc/{pid}/task/{task}/schedstat", encoding="ascii") as file:
                    found[pid, task] = int(file.read().split()[1]) / 1e9
        except (FileNotFoundError, ProcessLookupError):
            continue  # it has ended
    return found


class Stalls:
    """While it is entered: the longest time that somebody was kept from running."""

    def __init__(self):
        self.longest = 0.0
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._over.set()
        self._thread.join()

    def _watch(self):
        looked, waited = time.monotonic(), _waited()
        over = False
        while not over:
            over = self._over.wait(_STEP)
            now, next_waited = time.monotonic(), _waited()
            # Its own lateness is that of its process, or that of the whole machine.
            late = [next_waited[who] - waited.get(who, 0.0) for who in next_waited]
            self.longest = max([self.longest, now - looked - _STEP, *late])
            looked, waited = time.monotonic(), next_waited


def told_in_time(tell, slack, times=5):
    """Tells `tell()`, whose bounds on time leave the machine `slack` seconds. Where it fails, and
    somebody was kept from running for longer than that, it says nothing of the daemon: it is told
    again, `times` in all."""
    for turn in range(1, times + 1):
        with Stalls() as stalls:
            try:
                return tell()
            except (AssertionError, OSError) as error:
                failed = error
        if turn == times or stalls.longest < slack:
            raise AssertionError(f"{failed} (somebody was kept from running for "
                                 f"{stalls.longest:.3f} s)") from failed
        print(f"\n  told again: somebody was kept from running for {stalls.longest:.3f} s", end="")
    return None
