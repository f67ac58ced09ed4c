"""A real name server with records that a test changes: Debian's dnsmasq."""

import os
import signal
import socket

from . import net
from .process import Process, until
from .programs import program


class Dnsmasq(Process):
    """Answers for *.test from `hosts`, {name: [addresses]}, which set() replaces."""

    def __init__(self, folder, hosts, *, ttl=1, flags=(), port=None):
        self.port = port or net.free_port()
        self.address = f"127.0.0.1:{self.port}"
        self._hosts = os.path.join(folder, f"hosts-{self.port}")
        self._write(hosts)
        self._marks = 0
        super().__init__([
            program("dnsmasq"), "--keep-in-foreground", "--conf-file=/dev/null", "--pid-file=",
            "--user=root", "--no-resolv", "--no-hosts", f"--addn-hosts={self._hosts}",
            f"--port={self.port}", "--listen-address=127.0.0.1", "--bind-interfaces",
            f"--local-ttl={ttl}", "--local=/test/", "--log-queries", "--log-facility=-", *flags])
        until(self._answers, 10, f"{self} answers:\n{self.stderr()}")

    def _write(self, hosts):
        with open(self._hosts + ".new", "w", encoding="ascii") as file:
            for name, addresses in hosts.items():
                file.writelines(f"{address} {name}\n" for address in addresses)
        os.rename(self._hosts + ".new", self._hosts)

    def _answers(self):
        # The question for the root's name servers, which it refuses: that is an answer.
        question = bytes.fromhex("123401000001000000000000" "00" "00020001")
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asker:
            asker.settimeout(0.2)
            try:
                asker.sendto(question, ("127.0.0.1", self.port))
                return asker.recv(512)[:2] == question[:2]
            except OSError:
                return False

    def set(self, hosts):
        """From its next answer on."""
        seen = len(self.lines)
        self._write(hosts)
        self.signal(signal.SIGHUP)
        self.wait_line(lambda line: "read " in line and self._hosts in line, 10,
                       "that it has read its hosts again", since=seen)

    def asked(self, name, kind="A"):
        """How often it was asked that, by all who had asked before this call."""
        self._marks += 1
        mark = f"mark-{self._marks}"
        question = (bytes.fromhex("123501000001000000000000") + bytes([len(mark)]) + mark.encode()
                    + bytes.fromhex("04" "74657374" "00" "00010001"))
        # It takes questions, and says so, one after the other.
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asker:
            asker.sendto(question, ("127.0.0.1", self.port))
            self.wait_line(lambda line: f"query[A] {mark}.test " in line, 10,
                           "that it was asked for a mark")
        return sum(f"query[{kind}] {name} " in line for line in list(self.lines))
