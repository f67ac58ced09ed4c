"""Servers that say who they are, and clients that want to know."""

import socket
import threading

from . import places

PATIENCE = 15 * places.PATIENCE


class Greeter:
    """Says its address to whoever connects, and then what it hears."""

    def __init__(self, host, port):
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self.sock = socket.socket(family)
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.sock.bind((host, port))
        self.sock.listen(64)
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self):
        while True:
            try:
                client, _ = self.sock.accept()
            except OSError:
                return
            threading.Thread(target=self._talk, args=(client,), daemon=True).start()

    def _talk(self, client):
        with client:
            try:
                client.sendall(f"{client.getsockname()[0]}\n".encode())
                while data := client.recv(4096):
                    client.sendall(data)
            except OSError:
                pass

    def close(self):
        self.sock.shutdown(socket.SHUT_RDWR)
        self.sock.close()
        self._thread.join(5)


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
