"""One ordinary process that a test starts, watches and ends, by its own id."""

import atexit
import os
import signal
import subprocess
import tempfile
import threading
import time

from lib import procfs

_alive = []


def deadline(seconds):
    """A function that says how much of `seconds` is left, and never less than 0."""
    end = time.monotonic() + seconds
    return lambda: max(0.0, end - time.monotonic())


def until(condition, seconds, what):
    """Waits until `condition()` is true and returns its value; fails naming `what` (or what that
    returns)."""
    left = deadline(seconds)
    while True:
        value = condition()
        if value:
            return value
        if not left():
            raise AssertionError(f"after {seconds} s still not: {what() if callable(what) else what}")
        time.sleep(0.01)


class Process:
    """A child whose output is kept: `lines` of stderr, and stdout where it is not a file."""

    def __init__(self, argv, *, cwd=None, env=None, user=None, stderr=None, stdin=False,
                 rlimit_nofile=None):
        self.argv = [str(a) for a in argv]
        if rlimit_nofile:
            self.argv = ["prlimit", f"--nofile={rlimit_nofile}", "--"] + self.argv
        self._new_line = threading.Condition()
        self.lines = []
        self._out = tempfile.TemporaryFile()
        self.child = subprocess.Popen(
            self.argv, cwd=cwd, env=env, user=user, stdout=self._out,
            stdin=subprocess.PIPE if stdin else subprocess.DEVNULL,
            stderr=subprocess.PIPE if stderr is None else stderr)
        _alive.append(self)
        self._reader = None
        if stderr is None:
            self._reader = threading.Thread(target=self._collect, daemon=True)
            self._reader.start()

    @property
    def pid(self):
        return self.child.pid

    def _collect(self):
        with self.child.stderr as pipe:
            for raw in pipe:
                with self._new_line:
                    self.lines.append(raw.decode("utf-8", "replace").rstrip("\n"))
                    self._new_line.notify_all()

    def wait_line(self, matches, seconds, what, since=0):
        """The first line of stderr, from number `since` on, for which `matches(line)` holds."""
        left = deadline(seconds)
        seen = since
        with self._new_line:
            while True:
                for line in self.lines[seen:]:
                    seen += 1
                    if matches(line):
                        return line
                if not left() or (self.child.poll() is not None and not self._reader.is_alive()):
                    raise AssertionError(f"{self} never wrote {what}; it wrote:\n{self.stderr()}")
                self._new_line.wait(min(0.1, left()))

    def stderr(self):
        return "\n".join(self.lines[-40:])

    def stdout(self):
        self._out.seek(0)
        return self._out.read().decode("utf-8", "replace")

    def running(self):
        return self.child.poll() is None

    def signal(self, number):
        self.child.send_signal(number)

    def pause(self):
        """Holds it until `go_on`: each of its threads stands still when this returns, so nothing that
        is done from here on is seen before."""
        self.signal(signal.SIGSTOP)
        until(lambda: procfs.stopped(self.pid), 10, f"{self} stands still")

    def go_on(self):
        self.signal(signal.SIGCONT)

    def wait(self, seconds):
        """The exit code; fails if it is still running then."""
        try:
            code = self.child.wait(seconds)
        except subprocess.TimeoutExpired:
            raise AssertionError(
                f"{self} still runs after {seconds} s; it wrote:\n{self.stderr()}") from None
        if self._reader:
            self._reader.join(5)
        if self in _alive:
            _alive.remove(self)
        return code

    def stop(self, seconds=10):
        """Asks it to end, and ends it; returns the exit code."""
        if self.running():
            self.child.terminate()
            try:
                self.child.wait(seconds)
            except subprocess.TimeoutExpired:
                self.child.kill()
        if self.child.stdin:
            self.child.stdin.close()
        return self.wait(10)

    def __str__(self):
        return f"{os.path.basename(self.argv[0])}[{self.pid}]"


def run(argv, seconds=60, check=True, **options):
    """Runs to the end; returns (exit code, stdout, stderr)."""
    try:
        done = subprocess.run([str(a) for a in argv], capture_output=True, timeout=seconds,
                              check=False, **options)
    except subprocess.TimeoutExpired as error:
        raise AssertionError(f"{argv[0]} still runs after {seconds} s: {error.stderr}") from None
    out = done.stdout.decode("utf-8", "replace")
    err = done.stderr.decode("utf-8", "replace")
    if check and done.returncode != 0:
        raise AssertionError(f"{' '.join(map(str, argv))}: exit {done.returncode}\n{out}\n{err}")
    return done.returncode, out, err


@atexit.register
def _end_all():
    for process in list(_alive):
        if process.running():
            process.child.kill()
            process.child.wait()
