#!/usr/bin/env python3
"""Several listeners and upstreams, each with settings of its own, by one worker and by four."""

import os
import pwd
import re
import socket
import stat
import subprocess
import time

from lib import net, procfs, story
from lib.daemon import PATIENCE, Parkway
from lib.named import Named, ask
from lib.process import until


def free_ports(count):
    """The first of so many ports in a row that nobody listens on."""
    while True:
        first = net.free_port()
        probes = []
        try:
            for port in range(first, first + count):
                probes.append(socket.socket())
                probes[-1].bind(("0.0.0.0", port))
            return first
        except OSError:
            continue
        finally:
            for probe in probes:
                probe.close()


class Listeners:
    """The stories; told by each class below with another number of workers."""

    threads = 1

    def start(self, lines, listen):
        path = os.path.join(self.own, "parkway.flags")
        with open(path, "w", encoding="ascii") as file:
            file.write("\n".join(lines) + "\n")
        return self.started(
            Parkway.from_flags(["-c", path, f"--threads={self.threads}"], listen))

    def setUp(self):
        self.own = self.folder()

    def server(self, name, address=None):
        address = address or f"127.0.0.1:{net.free_port()}"
        self.started(Named(name, address))
        return address

    def answer(self, address):
        sock, name = ask(address)
        sock.close()
        return name

    def stays(self, address):
        sock, name = ask(address)
        self.addCleanup(sock.close)
        return name

    def test_each_listener_goes_to_its_upstream(self):
        web, sql = net.free_port(), net.free_port()
        path = os.path.join(self.own, "sql.sock")
        a, b = self.server("a"), self.server("b")
        c = self.server("c", f"unix:{self.own}/c.sock")
        self.start([f"--server=upstream=app name=second addr={b}",
                    f"--listen=name=web addr=127.0.0.1:{web} upstream=app",
                    f"--listen=127.0.0.1:{sql},unix:{path} upstream=db",
                    f"--upstream={a} name=app",
                    "--upstream=name=db",
                    f"--server={c} upstream=db"], f"127.0.0.1:{sql}")
        # Of two that are alike one is drawn: the second client goes to the other, for the first stays.
        self.assertEqual({self.stays(("127.0.0.1", web)) for _ in range(8)}, {"a", "b"})
        self.assertEqual({self.answer(("127.0.0.1", sql)) for _ in range(4)}, {"c"})
        self.assertEqual({self.answer(path) for _ in range(4)}, {"c"})

    def test_the_log_names_listener_upstream_and_server(self):
        port = net.free_port()
        a = self.server("a")
        parkway = self.start([f"--listen=name=web addr=127.0.0.1:{port} upstream=app",
                              f"--upstream={a} name=app",
                              f"--upstream={a} name=other"], f"127.0.0.1:{port}")
        self.answer(("127.0.0.1", port))
        line = parkway.closing_line()
        self.assertEqual((line["listener"], line["upstream"], line["server"]), ("web", "app", a))

    def test_each_line_has_its_own_timeouts(self):
        short, long = net.free_port(), net.free_port()
        a = self.server("a")
        parkway = self.start(["--idle_timeout=1h",
                              f"--listen=127.0.0.1:{short} name=short idle_timeout=300ms",
                              f"--listen=127.0.0.1:{long}",
                              f"--upstream={a}"], f"127.0.0.1:{long}")
        patient, _ = ask(("127.0.0.1", long))
        begin = time.monotonic()
        hasty, _ = ask(("127.0.0.1", short))
        self.assertEqual(hasty.recv(1), b"")
        self.assertGreater(time.monotonic() - begin, 0.2)
        self.assertEqual(parkway.closing_line()["listener"], "short")
        patient.sendall(b"x")
        self.assertEqual(patient.recv(1), b"x")
        patient.close()

    def test_a_server_has_its_own_connect_timeout(self):
        port = net.free_port()
        hole, alive = self.started(net.BlackHole()), self.server("alive")
        self.start(["--connect_timeout=1h",
                    f"--listen=127.0.0.1:{port}",
                    "--upstream=name=app connect_timeout=30m",
                    f"--server={hole.address} connect_timeout=200ms",
                    f"--server={alive}"], f"127.0.0.1:{port}")
        self.assertEqual({self.answer(("127.0.0.1", port)) for _ in range(4)}, {"alive"})

    def test_a_line_has_its_own_socket_options(self):
        plain, small = net.free_port(), net.free_port()
        a = self.server("a")
        self.start(["--congestion=reno",
                    f"--listen=127.0.0.1:{plain}",
                    f"--listen=127.0.0.1:{small} sndbuf=8KiB",
                    f"--upstream={a} sndbuf=16KiB"], f"127.0.0.1:{small}")
        skmem = {}
        for port in (plain, small):
            sock, _ = ask(("127.0.0.1", port))
            self.addCleanup(sock.close)
            skmem[port] = self.send_buffer(f"127.0.0.1:{port}")
        # The kernel doubles what it is told.
        self.assertEqual(skmem[small], 16384)
        self.assertNotEqual(skmem[plain], 16384)
        self.assertEqual(self.send_buffer(None, a), 32768)

    def send_buffer(self, source, destination=None):
        """tb of an established socket, as ss shows it."""
        out = subprocess.run(["ss", "-Htnmi", "state", "established"], check=True,
                             capture_output=True, text=True).stdout
        for line, more in zip(out.splitlines()[::2], out.splitlines()[1::2]):
            fields = line.split()
            if (source and fields[2] == source) or (destination and fields[3] == destination):
                return int(re.search(r"tb(\d+)", more)[1])
        self.fail(f"no socket of {source or destination} in\n{out}")

    def test_a_range_of_ports_goes_to_the_same_port_or_one_beside(self):
        fixed = self.server("fixed")
        first = free_ports(12)
        for port in (first, first + 2):
            self.server(f"same{port}", f"127.0.0.2:{port}")
        self.server("beside", f"127.0.0.2:{first + 7}")
        parkway = self.start([f"--listen=127.0.0.1:{first}-{first + 2} upstream=same name=range",
                              f"--listen=127.0.0.1:{first + 4}-{first + 5} upstream=beside",
                              f"--listen=127.0.0.1:{first + 8}-{first + 11} upstream=fixed",
                              "--upstream=127.0.0.2 name=same",
                              "--upstream=127.0.0.2:+2 name=beside",
                              f"--upstream={fixed} name=fixed"], f"127.0.0.1:{first + 11}")
        self.assertEqual(self.answer(("127.0.0.1", first)), f"same{first}")
        self.assertEqual(parkway.closing_line()["server"], f"127.0.0.2:{first}")
        self.assertEqual(self.answer(("127.0.0.1", first + 2)), f"same{first + 2}")
        self.assertEqual(self.answer(("127.0.0.1", first + 5)), "beside")
        self.assertEqual({self.answer(("127.0.0.1", first + i)) for i in (8, 9, 10, 11)},
                         {"fixed"})

    def test_ipv6_alone_leaves_ipv4_to_another_listener(self):
        port = net.free_port()
        six, four = self.server("six"), self.server("four")
        self.start([f"--listen=[::]:{port} v6only upstream=six",
                    f"--listen=0.0.0.0:{port} upstream=four",
                    f"--upstream={six} name=six", f"--upstream={four} name=four"],
                   f"127.0.0.1:{port}")
        self.assertEqual(self.answer(("127.0.0.1", port)), "four")
        self.assertEqual(self.answer(("::1", port)), "six")

    def test_an_address_and_a_wildcard_share_a_port_and_the_address_comes_first(self):
        port = net.free_port()
        near, far = self.server("near"), self.server("far")
        lines = [f"--listen=name=near addr=127.0.0.1:{port} upstream=near",
                 f"--listen=name=far addr=0.0.0.0:{port} upstream=far",
                 f"--upstream={near} name=near", f"--upstream={far} name=far"]
        for lines in (lines, [lines[1], lines[0], *lines[2:]]):
            parkway = self.start(lines, f"127.0.0.1:{port}")
            for _ in range(8):
                self.assertEqual(self.answer(("127.0.0.1", port)), "near")
                self.assertEqual(self.answer(("127.0.0.2", port)), "far")
            # Another daemon takes no part of it.
            for address in ("127.0.0.1", "127.0.0.2", "0.0.0.0"):
                other = self.started(Parkway.from_flags(
                    [f"--listen={address}:{port}", f"--upstream={near}",
                     f"--threads={self.threads}"], None))
                self.assertEqual(71, other.wait(PATIENCE))
                self.assertIn("another process has it", other.stderr())
            parkway.finish()

    def test_a_unix_socket_has_its_mode_and_owner(self):
        a = self.server("a")
        root = os.geteuid() == 0
        owner = pwd.getpwnam("daemon") if root else pwd.getpwuid(os.geteuid())
        lines = [f"--listen=unix:{self.own}/x mode=0640"
                 + (" owner=daemon:daemon" if root else ""),
                 f"--listen=unix:{self.own}/y", f"--upstream={a}"]
        old = os.umask(0o077)
        try:
            self.start(lines, f"unix:{self.own}/y")
        finally:
            os.umask(old)
        found = os.stat(os.path.join(self.own, "x"))
        self.assertEqual(stat.S_IMODE(found.st_mode), 0o640)
        self.assertEqual(found.st_uid, owner.pw_uid)
        if root:
            self.assertEqual(found.st_gid, owner.pw_gid)
        self.assertEqual(stat.S_IMODE(os.stat(os.path.join(self.own, "y")).st_mode), 0o666)

    def test_many_listeners_and_upstreams_start_at_once(self):
        # The servers first: one of them could else take a port of the hundred.
        servers = [self.server(f"s{i}") for i in range(4)]
        first = free_ports(100)
        lines = [f"--listen=127.0.0.1:{first + i} upstream=u{i}" for i in range(100)]
        lines += [f"--upstream={servers[i % 4]} name=u{i}" for i in range(100)]
        parkway = self.start(lines, f"127.0.0.1:{first + 99}")
        until(lambda: len([1 for kind, port in procfs.listens(parkway.pid)
                           if kind == "tcp" and first <= port < first + 100]) == 100,
              PATIENCE, "all listen")
        for i in (0, 1, 50, 99):
            self.assertEqual(self.answer(("127.0.0.1", first + i)), f"s{i % 4}")


class OneWorker(Listeners, story.Story):
    threads = 1


class FourWorkers(Listeners, story.Story):
    threads = 4


if __name__ == "__main__":
    story.main()
