"""A socket that takes syslog, as the access log sends it."""

import re
import socket
import threading

from . import places
from .process import until

RFC3164 = re.compile(r"<(?P<pri>\d+)>[A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d (?P<who>\w+)\[\d+\]: "
                     r"(?P<line>.*)", re.S)


class Collector:
    """A socket that takes syslog, and the lines that came."""

    def __init__(self, path=None):
        self.sock = socket.socket(socket.AF_UNIX if path else socket.AF_INET, socket.SOCK_DGRAM)
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        self.sock.bind(path or ("127.0.0.1", 0))
        self.address = path or f"127.0.0.1:{self.sock.getsockname()[1]}"
        self.messages = []
        self._thread = threading.Thread(target=self._collect, daemon=True)
        self._thread.start()

    def _collect(self):
        while True:
            message = self.sock.recv(8192)
            if not message:  # from close()
                return
            self.messages.append(message.decode())

    def next_line(self, since, seconds=20):
        """The text of message number `since`, which may be still to come."""
        until(lambda: len(self.messages) > since, seconds * places.PATIENCE, "a line of the log")
        return self._text(since)

    def line_that_begins(self, start, since, seconds=20):
        """The text of the first message from number `since` on that begins with `start`."""
        def found():
            texts = [self._text(number) for number in range(since, len(self.messages))]
            return next((text for text in texts if text.startswith(start)), None)
        return until(found, seconds * places.PATIENCE,
                     lambda: f"a line that begins with {start!r} among {self.messages[since:]}")

    def _text(self, number):
        match = RFC3164.fullmatch(self.messages[number])
        assert match, self.messages[number]
        return match["line"].strip()

    def close(self):
        with socket.socket(self.sock.family, socket.SOCK_DGRAM) as last:
            last.sendto(b"", self.sock.getsockname())
        self._thread.join()
        self.sock.close()
