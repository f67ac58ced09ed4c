"""A server that says who it is, and asking one."""

import socket
import threading

from .daemon import PATIENCE


class Named:
    """A server that sends its name and the port it listens on, then what it gets."""

    def __init__(self, name, address):
        self.name = name
        if address.startswith("unix:"):
            self._listener = socket.socket(socket.AF_UNIX)
            self._listener.bind(address[len("unix:"):])
        else:
            host, port = address.rsplit(":", 1)
            self._listener = socket.socket()
            self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            self._listener.bind((host, int(port)))
        self._listener.listen(64)
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(sock,), daemon=True).start()

    def _serve(self, sock):
        with sock:
            try:
                sock.sendall(self.name.encode() + b"\n")
                while data := sock.recv(65536):
                    sock.sendall(data)
            except OSError:
                pass

    def close(self):
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()


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
