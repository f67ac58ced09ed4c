"""Conversations drawn at random. Both ends know by a conversation's number, which the client says
first, what each says, how fast, and how it ends; each checks every byte, and the end, of the other."""

import itertools
import random
import socket
import struct
import threading
import time

from . import places
from .peer import FIN, RST, pattern
from .process import deadline

CLIENT, SERVER = "client", "server"
SECONDS = 60 * places.PATIENCE
MOST_PIECES = 300  # that are sent with a call each
MOST_PAUSES = 100
_NUMBER = struct.Struct("!Q")


class Part:
    """What one end does."""

    def __init__(self, draw):
        self.bytes = draw.choice([0, 1, 10, 100, 5000, 65536, 131072, 300_000, 2_000_000,
                                  draw.randrange(200_000)])
        self.piece = max(draw.choice([1, 7, 100, 1460, 16384, 65536, 1_000_000]),
                         self.bytes // MOST_PIECES)
        self.begins_after = draw.choice([0, 0, 0.005, 0.05])
        self.pause = draw.choice([0, 0, 0, 0.001, 0.003])
        self.reads = draw.choice([100, 4096, 65536, 1_000_000])
        self.read_pause = draw.choice([0, 0, 0, 0.002])
        # Of a client. One that shrinks once bytes flow makes the kernel wait 0.2 s for each segment.
        self.receive_buffer = draw.choice([0, 0, 20_000, 100_000])
        self.fin_is_last = False  # it says FIN only when it has heard the other's
        self.resets_at = None     # after so many bytes


class Conversation:

    def __init__(self, seed, number):
        draw = random.Random(f"{seed} {number}")
        self.number = number
        self.parts = {CLIENT: Part(draw), SERVER: Part(draw)}
        last = draw.choice([None, CLIENT, SERVER])
        if last:
            self.parts[last].fin_is_last = True
        if draw.random() < 0.25:
            part = self.parts[draw.choice([CLIENT, SERVER])]
            part.resets_at = draw.randrange(part.bytes + 1)

    def __str__(self):
        return f"{self.number}: " + ", ".join(f"{who} {vars(part)}"
                                              for who, part in self.parts.items())


class End:
    """One end of a conversation on a connected socket; `faults` are what went otherwise."""

    def __init__(self, sock, conversation, who):
        self.sock = sock
        self.mine = conversation.parts[who]
        self.others = conversation.parts[SERVER if who == CLIENT else CLIENT]
        self.faults = []
        self.received = 0
        self._heard_all = threading.Event()
        self._sending = self._reading = None  # how that ended
        sock.settimeout(SECONDS)

    def run(self, tells_resets):
        """`tells_resets`: the other end's reset must be seen, for neither way is a unix socket, which
        has a RST only for what was not read."""
        sender = threading.Thread(target=self._send)
        sender.start()
        self._receive()
        self._heard_all.set()
        sender.join()
        self.sock.close()
        if self.mine.resets_at is None:
            self._judge(tells_resets)

    def _send(self):
        try:
            time.sleep(self.mine.begins_after)
            end = self.mine.bytes if self.mine.resets_at is None else self.mine.resets_at
            sent = 0
            while sent < end:
                size = min(self.mine.piece, end - sent)
                self.sock.sendall(pattern(sent, size))
                sent += size
                time.sleep(self.mine.pause)
            if self.mine.resets_at is not None:
                self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                self._sending = RST
                self.sock.shutdown(socket.SHUT_RD)  # who reads closes it
                return
            if self.mine.fin_is_last:
                self._heard_all.wait(SECONDS)
            self.sock.shutdown(socket.SHUT_WR)
            self._sending = FIN
        except OSError as error:
            self._sending = error

    def _receive(self):
        try:
            for reads in itertools.count():
                if reads < MOST_PAUSES:
                    time.sleep(self.mine.read_pause)
                data = self.sock.recv(self.mine.reads)
                if self._sending == RST:
                    return
                if not data:
                    self._reading = FIN
                    return
                if data != pattern(self.received, len(data)):
                    self.faults.append(f"wrong bytes in [{self.received}, +{len(data)})")
                    return
                self.received += len(data)
        except OSError as error:
            self._reading = error

    def _judge(self, tells_resets):
        went = (f"sending: {self._sending!r}, receiving: {self._reading!r}, "
                f"{self.received} of {self.others.bytes} bytes")
        hangs = any(isinstance(how, TimeoutError) and how.errno is None
                    for how in (self._sending, self._reading))
        if self.others.resets_at is None:
            if (self._sending, self._reading, self.received) != (FIN, FIN, self.others.bytes):
                self.faults.append(went)
        elif hangs:
            self.faults.append(f"hangs; {went}")
        elif tells_resets and (self._sending, self._reading) == (FIN, FIN):
            # A socket tells of a RST once, whoever comes first.
            if self.received < self.others.bytes:
                self.faults.append(f"took a RST for a FIN; {went}")


class Conversations:
    """Servers at TCP and unix addresses, and clients, of conversations of one seed."""

    def __init__(self, seed):
        self.seed = seed
        self.faults = []
        self.ended = 0
        self._lock = threading.Lock()
        self._listeners = []

    def serve(self, address):
        """`address`: ("127.0.0.1", port), or the path of a unix socket."""
        listener = socket.socket(socket.AF_UNIX if isinstance(address, str) else socket.AF_INET)
        listener.bind(address)
        listener.listen(1024)
        self._listeners.append(listener)
        threading.Thread(target=self._accept, args=(listener,), daemon=True).start()

    def _accept(self, listener):
        while True:
            try:
                sock, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=self._answer, args=(sock,), daemon=True).start()

    def _answer(self, sock):
        sock.settimeout(SECONDS)
        try:
            said = sock.recv(_NUMBER.size, socket.MSG_WAITALL)
        except OSError:
            said = b""
        if len(said) < _NUMBER.size:  # it was reset as it began
            sock.close()
            return
        self._run(sock, _NUMBER.unpack(said)[0], SERVER)

    def hold(self, address, number):
        """One conversation, to its end."""
        sock = socket.socket(socket.AF_UNIX if isinstance(address, str) else socket.AF_INET)
        sock.settimeout(SECONDS)
        small = Conversation(self.seed, number).parts[CLIENT].receive_buffer
        if small:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, small)
        left = deadline(SECONDS)
        try:
            while True:
                try:
                    sock.connect(address)
                    break
                except BlockingIOError:  # the backlog of a unix socket is full
                    if not left():
                        raise
                    time.sleep(0.01)
            sock.sendall(_NUMBER.pack(number))
        except OSError as error:
            sock.close()
            self._note(number, CLIENT, [f"connecting: {error!r}"])
            return
        self._run(sock, number, CLIENT)

    def _run(self, sock, number, who):
        conversation = Conversation(self.seed, number)
        end = End(sock, conversation, who)
        end.run(tells_resets=number % 2 == 0)
        self._note(number, who, end.faults)

    def _note(self, number, who, faults):
        with self._lock:
            self.ended += 1
            self.faults += [f"{who} of {Conversation(self.seed, number)}: {fault}"
                            for fault in faults]

    def close(self):
        for listener in self._listeners:
            listener.shutdown(socket.SHUT_RDWR)
            listener.close()
