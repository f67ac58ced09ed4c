"""What stories of the admin socket share: a daemon with one, before servers that talk."""

import os
import socket

from . import net, places, story
from .admin import Admin
from .daemon import PATIENCE, Parkway
from .talker import Talker

WORKERS = (1, 4)


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
        self.a, self.b = self.started(Talker()), self.started(Talker())
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
