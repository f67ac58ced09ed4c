"""The admin socket of a daemon, asked by parkwayctl and by bare sockets."""

import json
import os
import socket
import subprocess

from . import places
from .process import run

PATIENCE = 15 * places.PATIENCE


def parkwayctl():
    """The program beside the daemon under test."""
    name = os.environ.get("PARKWAYCTL_BINARY")
    return name or os.path.join(os.path.dirname(places.parkway_binary()), "admin", "parkwayctl")


class Admin:
    """Commands to the daemon whose socket is `path`."""

    def __init__(self, path):
        self.path = path

    def run(self, *words, options=(), check=False):
        """(exit code, stdout, stderr) of parkwayctl."""
        line = words[0].split() if len(words) == 1 else list(words)
        return run([parkwayctl(), f"--socket={self.path}", *options, *line], PATIENCE, check=check)

    def do(self, line):
        """The answer of a command that must be done."""
        return self.run(line, check=True)[1]

    def refused(self, line, code=1):
        """What stderr says of a command that must end with `code`."""
        got, out, err = self.run(line)
        if got != code:
            raise AssertionError(f"{line}: exit {got}, not {code}\n{out}{err}")
        return err

    def json(self, line):
        return json.loads(self.run(*line.split(), options=["--json"], check=True)[1])

    def begin(self, *words, **options):
        """parkwayctl as a process that goes on."""
        return subprocess.Popen([parkwayctl(), f"--socket={self.path}", *words],
                                stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                                **options)

    # --- What stands in tables ---

    def server(self, name):
        """The numbers of UPSTREAM/SERVER."""
        upstream, server = name.split("/", 1)
        for one in self.json("show servers"):
            if one["name"] == upstream:
                for found in one["servers"]:
                    if found["name"] == server:
                        return found
        raise AssertionError(f"there is no server {name}")

    def listener(self, name):
        for one in self.json("show listeners"):
            if one["name"] == name:
                return one
        raise AssertionError(f"there is no listener {name}")

    def conns(self, *conditions):
        return json.loads(self.run("show", "conns", *conditions, options=["--json"],
                                   check=True)[1])

    # --- Bare sockets ---

    def connect(self):
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        sock.settimeout(PATIENCE)
        sock.connect(self.path)
        return sock

    def say(self, text):
        """All that a client that says `text` hears until it is closed."""
        with self.connect() as sock:
            sock.sendall(text.encode() if isinstance(text, str) else text)
            return everything(sock)


def everything(sock):
    heard = b""
    while True:
        try:
            data = sock.recv(65536)
        except ConnectionResetError:
            break
        if not data:
            break
        heard += data
    return heard.decode("utf-8", "replace")
