"""What stories of the admin socket share: a server that talks, a daemon with an admin socket."""

import os
import socket
import threading

from . import net, places, story
from .admin import Admin
from .daemon import PATIENCE, Parkway

WORKERS = (1, 4)


class Server:
    """Echoes what it is told, on a thread per connection; `flood` makes it talk without end."""

    def __init__(self, port=None):
        self.sock = socket.socket()
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.sock.bind(("127.0.0.1", port or net.free_port()))
        self.sock.listen(1024)
        self.port = self.sock.getsockname()[1]
        self.address = f"127.0.0.1:{self.port}"
        self.accepted = 0
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self):
        while True:
            try:
                client, _ = self.sock.accept()
            except OSError:
                return
            self.accepted += 1
            threading.Thread(target=self._talk, args=(client,), daemon=True).start()

    @staticmethod
    def _talk(client):
        with client:
            try:
                while True:
                    data = client.recv(4096)
                    if not data:
                        return
                    if data == b"flood":
                        while True:
                            client.sendall(bytes(65536))
                    client.sendall(data)
            except OSError:
                return

    def close(self):
        self.sock.shutdown(socket.SHUT_RDWR)
        self.sock.close()
        self._thread.join(5)


class AdminStory(story.Story):

    def parkway(self, *flags, threads=1):
        """A daemon with listener `web` before upstream `app`, and its `admin`."""
        listen = f"127.0.0.1:{net.free_port()}"
        path = os.path.join(self.folder(), "admin.sock")
        parkway = Parkway.from_flags(
            [f"--threads={threads}", f"--admin_socket={path}", "--drain_timeout=100ms",
             f"--listen=name=web addr={listen} upstream=app", *flags, *places.extra_flags()],
            listen)
        parkway.listen = listen
        parkway.port = int(listen.rsplit(":", 1)[1])
        parkway.admin = Admin(path)
        return self.started(parkway)

    def two(self, *flags, threads=1, keys=""):
        """The same before servers a and b."""
        self.a, self.b = self.started(Server()), self.started(Server())
        return self.parkway("--upstream=name=app balance=round_robin",
                            f"--server=upstream=app name=a addr={self.a.address} {keys}",
                            f"--server=upstream=app name=b addr={self.b.address} {keys}",
                            *flags, threads=threads)

    def client(self, parkway, talk=b"hello", source=None):
        """A connection that has been answered through the daemon."""
        sock = self.started(socket.socket())
        sock.settimeout(PATIENCE)
        if source:
            sock.bind((source, 0))
        sock.connect(("127.0.0.1", parkway.port))
        sock.sendall(talk)
        self.assertEqual(sock.recv(len(talk)), talk)
        return sock

    def still_works(self, sock):
        sock.sendall(b"still there?")
        self.assertEqual(sock.recv(100), b"still there?")

    def was_reset(self, sock):
        with self.assertRaises(ConnectionResetError):
            sock.recv(1)

    def busy(self, parkway, server):
        return parkway.admin.server(f"app/{server}")["active"]
