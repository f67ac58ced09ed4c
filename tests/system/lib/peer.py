"""The two ends of a proxied connection, exact about how they end and what they see."""

import fcntl
import os
import select
import socket
import struct
import time

from . import net
from .process import deadline

SIOCOUTQ, FIONREAD = 0x5411, 0x541B
FIN, RST = "FIN", "RST"
_PERIOD = 251 * 4093  # prime factors: no lost or doubled buffer hides behind a repetition
_TABLE = (bytes(range(251)) * 4093)
_TABLE = bytes(b ^ ((i // 251) & 0xFF) for i, b in enumerate(_TABLE))
_TABLE += _TABLE[:1 << 17]


def pattern(offset, size):
    """The bytes that every stream of these tests carries at [offset, offset + size)."""
    parts = []
    while size:
        at = offset % _PERIOD
        part = _TABLE[at:at + min(size, 1 << 17)]
        parts.append(part)
        offset += len(part)
        size -= len(part)
    return b"".join(parts)


class Peer:
    """One end: sends the pattern, checks what it receives against it."""

    def __init__(self, sock, name):
        self.sock = sock
        self.name = name
        self.sent = 0
        self.received = 0
        sock.setblocking(False)

    @property
    def address(self):
        """Its own address as the daemon's log writes it; known also after the end."""
        return self._address

    def remember_address(self):
        host, port = self.sock.getsockname()[:2]
        self._address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"

    def _ready(self, events, seconds):
        poll = select.poll()
        poll.register(self.sock, events)
        return bool(poll.poll(int(seconds * 1000)))

    def send(self, size, seconds=20):
        """Sends `size` bytes, waiting for the other side as long as it takes."""
        left, end = deadline(seconds), self.sent + size
        while self.sent < end:
            try:
                self.sent += self.sock.send(pattern(self.sent, min(end - self.sent, 65536)))
            except BlockingIOError:
                if not self._ready(select.POLLOUT, left()):
                    raise AssertionError(f"{self.name} is stuck after {self.sent} bytes") from None

    def fill(self, quiet=0.25, at_most=64 << 20):
        """Sends until nobody takes a byte for `quiet` seconds; returns what is not acknowledged."""
        start = self.sent
        while True:
            try:
                self.sent += self.sock.send(pattern(self.sent, 65536))
            except BlockingIOError:
                if not self._ready(select.POLLOUT, quiet):
                    return self.unacknowledged()
            if self.sent - start > at_most:
                raise AssertionError(f"{self.name} sent {at_most} bytes to a peer that never reads")

    def unacknowledged(self):
        answer = fcntl.ioctl(self.sock, SIOCOUTQ, struct.pack("i", 0))
        return struct.unpack("i", answer)[0]

    def receive(self, size, seconds=20):
        """Receives exactly `size` more bytes, each the right one."""
        ending = self._read(self.received + size, seconds)
        if ending is not None:
            raise AssertionError(f"{self.name} wanted {size} bytes, saw {ending} "
                                 f"after {self.received} in all")

    def ending(self, seconds=20):
        """Reads to the end: FIN or RST. `received` then says how much came before it."""
        ending = self._read(None, seconds)
        return ending

    def _read(self, until_received, seconds):
        left = deadline(seconds)
        while until_received is None or self.received < until_received:
            want = 65536 if until_received is None else min(65536, until_received - self.received)
            try:
                data = self.sock.recv(want)
            except BlockingIOError:
                if not left() or not self._ready(select.POLLIN, left()):
                    raise AssertionError(
                        f"{self.name} saw neither data nor an end within {seconds} s, after "
                        f"{self.received} bytes") from None
                continue
            except ConnectionResetError:
                return RST
            if not data:
                return FIN
            if data != pattern(self.received, len(data)):
                raise AssertionError(f"{self.name} received wrong bytes within "
                                     f"{self.received}..{self.received + len(data)}")
            self.received += len(data)
        return None

    def sees_nothing(self, seconds):
        """Fails if an end or a byte arrives within `seconds`."""
        if self._ready(select.POLLIN | select.POLLRDHUP, seconds):
            raise AssertionError(f"{self.name} saw something within {seconds} s: "
                                 f"{self.sock.recv(16)!r}")

    def readable(self, seconds):
        return self._ready(select.POLLIN, seconds)

    def queued(self):
        """How many bytes could be received now; 1 where only an end could."""
        answer = fcntl.ioctl(self.sock, FIONREAD, struct.pack("i", 0))
        return struct.unpack("i", answer)[0] or 1

    def hung_up(self, seconds=20):
        """Waits for a reset without reading a byte of what is queued."""
        left = deadline(seconds)
        poll = select.poll()
        poll.register(self.sock, 0)  # ERR and HUP are always reported
        if not poll.poll(int(left() * 1000)):
            raise AssertionError(f"{self.name} was not reset within {seconds} s")

    def next_write_is_reset(self, seconds=20):
        """Writes until told that nobody is there."""
        left = deadline(seconds)
        while left():
            try:
                self.sock.send(b"x")
            except (ConnectionResetError, BrokenPipeError):
                return
            time.sleep(0.01)
        raise AssertionError(f"{self.name} could write for {seconds} s to nobody")

    def finish(self):
        """FIN: nothing more will be sent; still reads."""
        self.sock.shutdown(socket.SHUT_WR)

    def leave(self):
        """close(): a FIN now, and a RST for whatever still arrives."""
        self.sock.close()

    def reset(self):
        """RST, now."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()

    def urgent(self, byte):
        self.sock.send(byte, socket.MSG_OOB)

    def close(self):
        self.sock.close()


def move(sender, receiver, size, seconds=30):
    """Sends `size` bytes from one to the other, however little fits in between."""
    left, end = deadline(seconds), sender.sent + size
    while receiver.received < end:
        if sender.sent < end:
            try:
                sender.sent += sender.sock.send(
                    pattern(sender.sent, min(end - sender.sent, 65536)))
            except BlockingIOError:
                pass
        if receiver.readable(0.0 if sender.sent < end else left()):
            receiver.receive(min(65536, end - receiver.received, receiver.queued()))
        elif not left():
            raise AssertionError(f"{receiver.name} has {receiver.received} of {end} bytes")


class Server:
    """A listener of the test's own behind the daemon; gives the other end of each connection."""

    def __init__(self, address=None, backlog=1024):
        if address is None:
            address = f"127.0.0.1:{net.free_port()}"
        self.address = address
        if address.startswith("unix:"):
            self.sock = socket.socket(socket.AF_UNIX)
            self.sock.bind(unix_name(address))
        else:
            host, port = address.rsplit(":", 1)
            family = socket.AF_INET6 if ":" in host else socket.AF_INET
            self.sock = socket.socket(family)
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            self.sock.bind((host.strip("[]"), int(port)))
        self.sock.listen(backlog)
        self.sock.settimeout(20)

    def accept(self):
        return Peer(self.sock.accept()[0], "server")

    def close(self):
        self.sock.close()


def unix_name(address):
    """unix:PATH or unix:@NAME as bind() and connect() want it."""
    path = address[len("unix:"):]
    return "\0" + path[1:] if path.startswith("@") else path


def connect(address, name="client", source=None, seconds=20):
    """A client of the daemon at `address` ("127.0.0.1:80", "[::1]:80", "unix:PATH")."""
    if address.startswith("unix:"):
        sock = socket.socket(socket.AF_UNIX)
        sock.settimeout(seconds)
        sock.connect(unix_name(address))
        peer = Peer(sock, name)
        peer._address = "unix:"
        return peer
    host, port = address.rsplit(":", 1)
    sock = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    sock.settimeout(seconds)
    if source:
        sock.bind((source, 0))
    sock.connect((host.strip("[]"), int(port)))
    peer = Peer(sock, name)
    peer.remember_address()
    return peer


class Link:
    """One proxied connection: `client` and `server`, established end to end by a few bytes."""

    def __init__(self, daemon_address, server, warm=16, **options):
        self.client = connect(daemon_address, **options)
        self.client.send(1)
        self.server = server.accept()
        self.server.receive(1)
        move(self.server, self.client, warm)
        move(self.client, self.server, warm - 1)

    def side(self, name):
        """(that one, the other one)."""
        if name == "client":
            return self.client, self.server
        return self.server, self.client

    def close(self):
        self.client.close()
        self.server.close()


def unlink_if_there(path):
    try:
        os.unlink(path)
    except FileNotFoundError:
        pass
