"""The network that the tests run in: ports, addresses, and places that do not answer."""

import os
import random
import shutil
import socket
import subprocess
import sys

from . import process

_ISOLATED = "PARKWAY_TEST_ISOLATED"


def isolate():
    """Runs this program again in network and process namespaces of its own, if root.

    The TIME_WAITs and ports of other tests are not seen, reno replaces a default that paces on
    loopback, and whatever the program leaves running ends with it.
    """
    if os.environ.get(_ISOLATED):
        subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
        sysctl("net.ipv4.tcp_congestion_control", "reno")
        return
    if os.geteuid() == 0 and shutil.which("unshare"):
        os.environ[_ISOLATED] = "1"
        sys.stdout.flush()
        os.execvp("unshare", ["unshare", "--net", "--pid", "--fork", "--kill-child",
                              "--mount-proc", sys.executable, *sys.argv])


def isolated():
    return bool(os.environ.get(_ISOLATED))


def sysctl(name, value=None):
    path = "/proc/sys/" + name.replace(".", "/")
    if value is not None:
        with open(path, "w", encoding="ascii") as file:
            file.write(str(value))
    with open(path, encoding="ascii") as file:
        return file.read().strip()


def small_socket_buffers():
    """Lets no socket of this namespace queue more than 256 KiB, so that pipes fill quickly."""
    sysctl("net.ipv4.tcp_wmem", "4096 16384 262144")
    sysctl("net.ipv4.tcp_rmem", "4096 131072 262144")


_given = set()


def free_port():
    """A TCP port that nobody listens on, outside the range that connect() draws from, and that was
    not given before: who asked for it may listen on it only later."""
    while True:
        port = random.randrange(10_000, 30_000)
        if port in _given:
            continue
        with socket.socket(socket.AF_INET6, socket.SOCK_STREAM) as probe:
            try:
                probe.bind(("::", port))
                _given.add(port)
                return port
            except OSError:
                continue


class BlackHole:
    """An address where connect() hangs: a listener whose queue is full drops every SYN."""

    def __init__(self, host="127.0.0.1", port=None):
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._listener = socket.socket(family)
        if family == socket.AF_INET6:
            self._listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        self._listener.bind((host, port or free_port()))
        self._listener.listen(0)
        self.port = self._listener.getsockname()[1]
        self.address = f"[{host}]:{self.port}" if ":" in host else f"{host}:{self.port}"
        self._fillers = []
        for _ in range(3):  # one or two are queued, the rest hang as we want them to
            filler = socket.socket(family)
            filler.setblocking(False)
            filler.connect_ex((host, self.port))
            self._fillers.append(filler)
        # Whoever came before that would get in.
        process.until(self._full, 20, "the queue is full")

    def _full(self):
        """Of a listener, what it has received is the length of its queue."""
        table = "tcp6" if self._listener.family == socket.AF_INET6 else "tcp"
        with open(f"/proc/net/{table}", encoding="ascii") as file:
            for fields in (line.split() for line in list(file)[1:]):
                if fields[3] == "0A" and int(fields[1].rsplit(":", 1)[1], 16) == self.port:
                    return int(fields[4].split(":")[1], 16) > 0
        return False

    def answers(self):
        """Whether a connect gets through after all: the test of the trap itself."""
        with socket.socket(self._listener.family) as probe:
            probe.settimeout(0.3)
            return probe.connect_ex(self._listener.getsockname()[:2]) == 0

    def close(self):
        self._listener.close()
        for filler in self._fillers:
            filler.close()


def cut_off(address):
    """Drops every packet to `address` (IPv4, of this namespace's loopback) from now on."""
    rules = subprocess.run(["ip", "rule"], check=True, capture_output=True, text=True).stdout
    if "100:\tfrom all lookup local" not in rules:
        for rule in ("add pref 100 lookup local", "del pref 0"):
            subprocess.run(["ip", "rule", *rule.split()], check=True)
    subprocess.run(["ip", "rule", "add", "pref", "10", "to", address, "blackhole"], check=True)
    subprocess.run(["ip", "route", "flush", "cache"], check=False, capture_output=True)


def reconnect(address):
    subprocess.run(["ip", "rule", "del", "pref", "10", "to", address], check=True)
