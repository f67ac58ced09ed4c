#!/usr/bin/env python3
"""Keys that no other story is about, each seen to do what it says, by one worker and by four."""

import os
import re
import signal
import socket
import time

from lib import net, places, story
from lib.admin import Admin
from lib.daemon import PATIENCE, Parkway
from lib.greeter import Connection, Greeter
from lib.nameserver import Dnsmasq
from lib.process import Process, until
from lib.programs import program

WORKERS = (1, 4)
QUESTION_A = bytes((0, 1, 0, 1))


class Trace(Process):
    """What a worker calls: accepts and waits, in their order."""

    def __init__(self, pid, folder):
        self.path = f"{folder}/trace"
        super().__init__([program("strace"), "-f", "-e", "trace=accept4,epoll_wait,epoll_pwait,"
                          "epoll_pwait2", "-o", self.path, "-p", str(pid)])
        self.wait_line(lambda line: "attached" in line, PATIENCE, "that it is attached")

    def longest_run(self):
        """Most connections that one thread took without a wait between them."""
        self.signal(signal.SIGINT)
        self.wait(PATIENCE)
        runs, longest = {}, 0
        with open(self.path, encoding="ascii") as file:
            for thread, call in re.findall(r"^(\d+) +(.*)$", file.read(), re.MULTILINE):
                if "epoll" in call:
                    runs[thread] = 0
                elif re.search(r"accept4.*= \d+$", call):
                    runs[thread] = runs.get(thread, 0) + 1
                    longest = max(longest, runs[thread])
        return longest


class Keys(story.Story):

    def setUp(self):
        self.work = self.folder()
        self.port = net.free_port()
        self.listen = f"127.0.0.1:{net.free_port()}"

    def with_workers(self):
        for threads in WORKERS:
            with self.subTest(threads=threads):
                self.setUp()
                yield threads
                self.doCleanups()

    def greeter(self, host):
        return self.started(Greeter(host, self.port))

    def parkway(self, threads, *flags):
        self.admin = Admin(os.path.join(self.folder(), "admin"))
        self.path = os.path.join(self.work, "flags")
        self.write(*flags)
        return self.started(Parkway.from_flags(
            [f"--flagfile={self.path}", f"--threads={threads}",
             f"--admin_socket={self.admin.path}", "--drain_timeout=200ms"], self.listen))

    def write(self, *flags):
        with open(self.path, "w", encoding="ascii") as file:
            file.write("".join(f"{flag}\n" for flag in flags))

    def reload(self, parkway, *flags):
        self.write(*flags)
        said = len(parkway.lines)
        parkway.signal(signal.SIGHUP)
        parkway.wait_line(lambda line: "reload: " in line and "unchanged" in line, PATIENCE,
                          "that it has reloaded", since=said)

    def answered(self, listen=None):
        connection = self.started(Connection(listen or self.listen))
        return connection.server


class Accepting(Keys):

    def test_max_accepts_per_wakeup_bounds_what_is_accepted_before_a_look_around(self):
        for most in (1, 4, 16):
            with self.subTest(most=most):
                self.setUp()
                self.greeter("127.0.0.2")
                parkway = self.parkway(1, f"--listen={self.listen}",
                                       f"--upstream=127.0.0.2:{self.port}",
                                       f"--max_accepts_per_wakeup={most}")
                parkway.pause()
                host, port = self.listen.split(":")
                clients = []
                for _ in range(64):
                    client = self.started(socket.create_connection((host, int(port)), PATIENCE))
                    clients.append(client)
                trace = self.started(Trace(parkway.pid, self.work))
                parkway.go_on()
                for client in clients:
                    self.assertEqual(b"127.0.0.2\n", client.recv(100))
                self.assertEqual(most, trace.longest_run())
                self.doCleanups()

    def test_without_accept_balance_who_accepted_keeps_it(self):
        self.greeter("127.0.0.2")
        for balance, workers in (("off", 1), ("auto", 4)):
            with self.subTest(accept_balance=balance):
                self.listen = f"127.0.0.1:{net.free_port()}"
                self.parkway(4, f"--listen={self.listen}", f"--upstream=127.0.0.2:{self.port}",
                             "--reuseport=off", f"--accept_balance={balance}")
                for _ in range(40):
                    self.answered()
                counts = [one["connections"] for one in self.admin.json("show threads")]
                self.assertEqual(40, sum(counts))
                self.assertEqual(workers, sum(count > 0 for count in counts), counts)

    def test_cpu_affinity_gives_each_worker_its_cpu(self):
        self.greeter("127.0.0.2")
        cpus = sorted(os.sched_getaffinity(0))
        for affinity, allowed in (("auto", cpus), (str(cpus[-1]), cpus[-1:])):
            with self.subTest(cpu_affinity=affinity):
                self.listen = f"127.0.0.1:{net.free_port()}"
                parkway = self.parkway(4, f"--listen={self.listen}",
                                       f"--upstream=127.0.0.2:{self.port}",
                                       f"--cpu_affinity={affinity}")
                threads = [os.sched_getaffinity(int(tid))
                           for tid in os.listdir(f"/proc/{parkway.pid}/task")]
                alone = [cpus for cpus in threads if len(cpus) == 1]
                self.assertGreaterEqual(len(alone), 4, threads)
                self.assertEqual(set(allowed), set().union(*alone))

    def test_connections_of_a_listener_that_a_reload_removes_stay_end_slowly_or_end(self):
        for threads in self.with_workers():
            self.greeter("127.0.0.2")
            rest = [f"--listen={self.listen} upstream=app",
                    f"--upstream=name=app servers=127.0.0.2:{self.port}"]
            others = {how: f"127.0.0.1:{net.free_port()}" for how in ("keep", "close", "drain:1s")}
            parkway = self.parkway(threads, *rest, *(
                f"--listen=name=l{i} addr={addr} upstream=app on_listener_remove={how}"
                for i, (how, addr) in enumerate(others.items())))
            clients = {how: [self.started(Connection(addr)) for _ in range(8)]
                       for how, addr in others.items()}
            began = time.monotonic()
            self.reload(parkway, *rest)
            for client in clients["close"]:
                until(lambda client=client: not client.lives(), PATIENCE, "it is closed")
            for client in clients["drain:1s"]:
                client.sock.settimeout(PATIENCE)
                self.assertEqual(b"", client.sock.recv(1))
            self.assertGreater(time.monotonic() - began, 0.5)
            for client in clients["keep"]:
                self.assertTrue(client.lives())


class Servers(Keys):

    def test_a_server_is_checked_at_the_address_that_is_said(self):
        for threads in self.with_workers():
            self.greeter("127.0.0.2")
            parkway = self.parkway(
                threads, f"--listen={self.listen}", f"--upstream=127.0.0.2:{self.port} health=tcp "
                "health_addr=127.0.0.3 health_interval=100ms")
            parkway.wait_line(lambda line: "is DOWN" in line, PATIENCE, "that the check fails")
            self.greeter("127.0.0.3")
            parkway.wait_line(lambda line: "is UP" in line, PATIENCE, "that a check passed")
            self.assertEqual("127.0.0.2", self.answered())

    def test_the_other_family_is_tried_after_the_delay_that_is_said(self):
        if not os.path.exists("/proc/net/if_inet6"):
            self.skipTest("no IPv6 here")
        self.started(net.BlackHole("::1", self.port))
        self.greeter("127.0.0.2")
        dns = self.started(Dnsmasq(self.work, {"app.test": ["127.0.0.2", "::1"]}))
        for threads in WORKERS:
            with self.subTest(threads=threads):
                self.listen = f"127.0.0.1:{net.free_port()}"
                self.parkway(threads, f"--listen={self.listen}", f"--dns_servers={dns.address}",
                             f"--upstream=app.test:{self.port} resolve=one "
                             "happy_eyeballs_delay=700ms")
                began = time.monotonic()
                self.assertEqual("127.0.0.2", self.answered())
                self.assertGreater(time.monotonic() - began, 0.65)


class Names(Keys):

    def test_one_family_is_asked_where_one_is_wanted(self):
        for threads in self.with_workers():
            self.greeter("127.0.0.2")
            dns = self.started(Dnsmasq(self.work, {"app.test": ["127.0.0.2", "::1"]}))
            for family, asked, not_asked in (("v4", "A", "AAAA"), ("v6", "AAAA", "A")):
                self.listen = f"127.0.0.1:{net.free_port()}"
                before = dns.asked("app.test", not_asked)
                self.parkway(threads, f"--listen={self.listen}", f"--dns_servers={dns.address}",
                             f"--upstream=app.test:{self.port}", f"--dns_family={family}").stop()
                self.assertGreater(dns.asked("app.test", asked), 0)
                self.assertEqual(before, dns.asked("app.test", not_asked))

    def test_a_silent_name_server_is_asked_as_often_as_is_said(self):
        for threads in self.with_workers():
            for attempts in (1, 4):
                # The next round begins half a second after the line about this one: who is kept from
                # looking for as long sees some of it, too, and looks again.
                asked = [self.asked_of_silence(threads, attempts)]
                while asked[-1] != attempts and len(asked) < 4:
                    asked.append(self.asked_of_silence(threads, attempts))
                self.assertEqual(attempts, asked[-1], asked)

    def asked_of_silence(self, threads, attempts):
        """How often a name server that says nothing is asked in the first round."""
        silent = self.started(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        silent.bind(("127.0.0.1", 0))
        self.listen = f"127.0.0.1:{net.free_port()}"
        parkway = self.parkway(
            threads, f"--listen={self.listen}", f"--upstream=app.test:{self.port}",
            f"--dns_servers=127.0.0.1:{silent.getsockname()[1]}", "--dns_timeout=50ms",
            f"--dns_attempts={attempts}", "--dns_family=v4", "--dns_init=lazy")
        parkway.wait_line(lambda line: "app.test: A: timeout" in line, PATIENCE,
                          "that nobody answers")
        silent.setblocking(False)
        asked = 0
        try:
            while question := silent.recv(512):
                asked += question.endswith(QUESTION_A) or QUESTION_A in question
        except BlockingIOError:
            pass
        parkway.stop()
        return asked


class FirstBytes(Keys):

    def test_at_preread_bytes_what_is_known_by_then_decides(self):
        # A TLS record of a ClientHello that is longer than what is read of it.
        hello = bytes((22, 3, 1, 0x0f, 0xff, 1, 0, 0x0f, 0xfb, 3, 3)) + bytes(2048)
        for threads in self.with_workers():
            self.greeter("127.0.0.2")
            self.greeter("127.0.0.3")
            self.parkway(
                threads, f"--listen=name=web addr={self.listen} upstream=any preread_timeout=60s "
                "preread_bytes=1KiB", f"--upstream=name=any servers=127.0.0.2:{self.port}",
                f"--upstream=name=www servers=127.0.0.3:{self.port}",
                "--route=listen=web sni=www.test upstream=www")
            host, port = self.listen.split(":")
            client = self.started(socket.create_connection((host, int(port)), PATIENCE))
            client.sendall(hello[:600])
            client.settimeout(0.3)
            with self.assertRaises(TimeoutError):
                client.recv(100)
            client.settimeout(PATIENCE)
            client.sendall(hello[600:])
            self.assertEqual(b"127.0.0.2\n", client.recv(10))
            got = b""
            while len(got) < len(hello):
                got += client.recv(4096)
            self.assertEqual(hello, got)


class Many(Keys):
    """10,000 servers in 1,000 upstreams."""

    UPSTREAMS, SERVERS, LISTENERS = 1000, 10, 10

    def address(self, upstream, server, turn=0):
        n = upstream * self.SERVERS + server
        return f"127.{1 + n // 40000 + 100 * turn}.{n // 200 % 200}.{1 + n % 200}"

    def flags(self, turns):
        """`turns`: how often all servers of an upstream were replaced, where they were."""
        lines = []
        for u in range(self.UPSTREAMS):
            lines.append(f"--upstream=name=u{u}")
            lines += [f"--server=upstream=u{u} name=s{s} "
                      f"addr={self.address(u, s, turns.get(u, 0))}:{self.port}"
                      for s in range(self.SERVERS)]
        step = self.UPSTREAMS // self.LISTENERS
        lines += [f"--listen=addr={listen} upstream=u{i * step}"
                  for i, listen in enumerate(self.listens)]
        return lines

    def test_each_goes_where_it_should_and_a_reload_of_one_disturbs_nobody(self):
        step = self.UPSTREAMS // self.LISTENERS
        for threads in self.with_workers():
            self.greeter("0.0.0.0")
            self.listens = [f"127.0.0.1:{net.free_port()}" for _ in range(self.LISTENERS)]
            self.listen = self.listens[-1]
            parkway = self.parkway(threads, *self.flags({}))
            check = Process([places.parkway_binary(), "--check", f"--flagfile={self.path}"])
            self.assertEqual(0, self.started(check).wait(PATIENCE))
            shown = self.admin.json("show servers")
            self.assertEqual({f"u{u}" for u in range(self.UPSTREAMS)},
                             {upstream["name"] for upstream in shown})
            self.assertEqual(self.UPSTREAMS * self.SERVERS,
                             sum(len(upstream["servers"]) for upstream in shown))
            kept = []
            for i, listen in enumerate(self.listens):
                allowed = {self.address(i * step, s) for s in range(self.SERVERS)}
                for _ in range(4):
                    kept.append(self.started(Connection(listen)))
                    self.assertIn(kept[-1].server, allowed)
            self.reload(parkway, *self.flags({0: 1}))
            self.assertIn(self.answered(self.listens[0]),
                          {self.address(0, s, 1) for s in range(self.SERVERS)})
            self.assertIn(self.answered(self.listens[1]),
                          {self.address(step, s) for s in range(self.SERVERS)})
            for connection in kept:
                self.assertTrue(connection.lives())
            self.assertEqual(0, parkway.stop())
            causes = {line["cause"] for line in parkway.closing_lines()}
            self.assertEqual({"drain"}, causes)


if __name__ == "__main__":
    story.main()
