"""Servers on threads: they greet, answer or echo, and note who came and how they went.

    echo = Talker()                                  # says again what it hears; b"flood" never ends
    named = Talker(greeting=b"a\\n")                  # greets first
    checked = Talker(greeting=b"+OK", answer=b"bye") # answers the first words, and nothing else
"""

import socket
import threading

from . import net

BACKLOG = 1024
BITE = 65536


class Talker:
    """`greeting`: bytes, or what makes them of the socket of a client; `answer`: None is an echo.
    Both may be changed at any time."""

    def __init__(self, host="127.0.0.1", port=None, *, greeting=b"", answer=None, seconds=None):
        self.greeting, self.answer, self._seconds = greeting, answer, seconds
        if host.startswith("unix:"):
            self.sock = socket.socket(socket.AF_UNIX)
            self.sock.bind(host[len("unix:"):])
            self.address = host
        else:
            self.sock = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            self.sock.bind((host, port or net.free_port()))
            self.port = self.sock.getsockname()[1]
            self.address = f"[{host}]:{self.port}" if ":" in host else f"{host}:{self.port}"
        self.sock.listen(BACKLOG)
        self.endings, self.heard, self.accepted = [], [], 0
        self._stopping = False
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self):
        while True:
            try:
                client, _ = self.sock.accept()
            except OSError:
                return
            if self._stopping:
                client.close()
                return
            self.accepted += 1
            threading.Thread(target=self._talk, args=(client,), daemon=True).start()

    def _talk(self, client):
        heard = b""
        with client:
            client.settimeout(self._seconds)
            try:
                greeting = self.greeting
                client.sendall(greeting(client) if callable(greeting) else greeting)
                while data := client.recv(BITE):
                    self._reply(client, data, not heard)
                    # What an echo has heard may be without end.
                    if self.answer is not None or not heard:
                        heard += data
                self.endings.append("FIN")
            except OSError as error:
                self.endings.append(type(error).__name__)
            self.heard.append(heard)

    def _reply(self, client, data, first):
        if self.answer is not None:
            if first:
                client.sendall(self.answer)
            return
        while data == b"flood":
            client.sendall(bytes(BITE))
        client.sendall(data)

    def close(self):
        self._stopping = True
        self.sock.shutdown(socket.SHUT_RDWR)
        self.sock.close()
        self._thread.join(5)


class Answerer(Talker):
    """Greets, answers the first words, and notes how clients end."""

    def __init__(self, greeting=b"", answer=b"", port=None):
        super().__init__(port=port, greeting=greeting, answer=answer, seconds=20)
