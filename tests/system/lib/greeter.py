"""Servers that say who they are, and clients that want to know."""

import socket

from . import places
from .talker import Talker

PATIENCE = 15 * places.PATIENCE


class Greeter(Talker):
    """Says its address to whoever connects, and then what it hears."""

    def __init__(self, host, port):
        super().__init__(host, port, greeting=lambda client: f"{client.getsockname()[0]}\n".encode())


class Connection:
    """One client: who answered it, and whether it still gets answers."""

    def __init__(self, listen):
        host, port = listen.rsplit(":", 1)
        self.sock = socket.create_connection((host, int(port)), timeout=PATIENCE)
        self._file = self.sock.makefile("rb")
        self.server = self._file.readline().decode().strip()

    def name(self):
        """As the log has it."""
        host, port = self.sock.getsockname()[:2]
        return f"{host}:{port}"

    def lives(self):
        try:
            self.sock.sendall(b"still there\n")
            return self._file.readline() == b"still there\n"
        except OSError:
            return False

    def close(self):
        self._file.close()
        self.sock.close()
