"""A server that says who it is, and asking one."""

import socket

from .daemon import PATIENCE
from .talker import Talker


class Named(Talker):
    """A server that sends its name, then what it gets."""

    def __init__(self, name, address):
        self.name = name
        host, port = (address, None) if address.startswith("unix:") else address.rsplit(":", 1)
        super().__init__(host, port and int(port), greeting=name.encode() + b"\n")


def ask(address, seconds=PATIENCE):
    """(the socket, the name of the server that answered)."""
    if isinstance(address, str):
        sock = socket.socket(socket.AF_UNIX)
    else:
        sock = socket.socket(socket.AF_INET6 if ":" in address[0] else socket.AF_INET)
    sock.settimeout(seconds)
    sock.connect(address)
    name = b""
    while not name.endswith(b"\n"):
        data = sock.recv(1)
        if not data:
            break
        name += data
    return sock, name.decode().strip()
