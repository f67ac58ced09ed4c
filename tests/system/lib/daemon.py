"""The daemon under test: started, listening, watched, ended."""

from . import logline, places, procfs
from .process import Process, until

PATIENCE = 15 * places.PATIENCE


def flag_list(flags):
    """{'idle_timeout': '1s'} -> ['--idle_timeout=1s']."""
    return [f"--{name}={value}" for name, value in flags.items()]


class Parkway(Process):
    """`parkway --listen=... --upstream=... FLAGS`, ready when the constructor returns."""

    def __init__(self, listen, upstream, *, ready=True, stderr=None, rlimit_nofile=None, **flags):
        upstreams = [upstream] if isinstance(upstream, str) else upstream
        flags.setdefault("threads", 1)
        argv = [f"--listen={listen}", f"--upstream={','.join(upstreams)}"] + flag_list(flags)
        argv += places.extra_flags()
        self._start(argv, listen if ready else None, stderr=stderr, rlimit_nofile=rlimit_nofile)

    @classmethod
    def from_flags(cls, flags, listen, before=()):
        """The same by flags as they are, perhaps under another program (`before`)."""
        self = cls.__new__(cls)
        self._start(flags, listen, before)
        return self

    def _start(self, flags, listen, before=(), **options):
        super().__init__([*before, places.parkway_binary(), *flags], **options)
        if listen:
            self._wait_until_ready(listen)

    def _wait_until_ready(self, listen):
        if listen.startswith("unix:"):
            wanted = ("unix", listen[len("unix:"):])
        else:
            wanted = ("tcp", int(listen.rsplit(":", 1)[1]))

        def ready():
            if not self.running():
                raise AssertionError(f"{self} ended with {self.child.returncode} at start:\n"
                                     f"{self.stderr()}")
            try:
                listening = wanted in procfs.listens(self.pid)
            except FileNotFoundError:  # it has just ended: the next look says what it wrote
                return False
            # A line may come before: of a name without an address, of a server that is down.
            started = not self._reader or any("started: pid=" in line for line in self.lines)
            return listening and started

        until(ready, PATIENCE, f"{self} listens on {listen} and has written its start line")

    def closing_line(self, client=None, seconds=PATIENCE, since=0):
        """The fields of the line about the closed connection of `client` ("127.0.0.1:4711")."""

        def matches(line):
            return logline.is_closing(line) and (
                client is None or client in logline.fields(line).values())

        line = self.wait_line(matches, seconds, f"a closing line for client {client}", since)
        return logline.fields(line)

    def closing_lines(self, since=0):
        lines = list(self.lines)[since:]
        return [logline.fields(line) for line in lines if logline.is_closing(line)]

    def statistics(self, seconds=PATIENCE):
        """The numbers of the next --stats_interval line that is written from now on."""
        written = len(self.lines)

        def fresh():
            for line in self.lines[written:]:
                if logline.is_statistics(line):
                    return logline.numbers(line)
            return None

        return until(fresh, seconds, f"{self} writes a line of statistics:\n{self.stderr()}")

    def settled(self, condition, what, seconds=PATIENCE):
        """Statistics that meet `condition(numbers)`; fails showing the last ones."""
        last = {}

        def met():
            last.update(self.statistics())
            return condition(last)

        try:
            until(met, seconds, what)
        except AssertionError as error:
            raise AssertionError(f"{error}; last: {last}") from None
        return last

    def finish(self, seconds=None):
        """SIGTERM, and fails unless it ends with 0."""
        self.child.terminate()
        code = self.wait(seconds or PATIENCE)
        if code != 0:
            raise AssertionError(f"{self} ended with {code}:\n{self.stderr()}")
