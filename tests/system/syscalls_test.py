#!/usr/bin/env python3
"""How many system calls a request costs, counted by strace.

The least that a proxy can do for a request on a kept connection is a read and a write each way,
and its share of two waits for 16 connections: 4.125 calls.
"""

import re
import signal
import socket
import time
import unittest

from lib import net, places, story
from lib.daemon import Parkway
from lib.process import Process
from lib.programs import Nginx, Wrk, program

CONNECTIONS = 16


class Strace(Process):
    """Counts the calls of all threads of `pid` from its construction to counts()."""

    def __init__(self, pid, folder):
        self.path = f"{folder}/strace-{pid}-{time.monotonic_ns()}"
        super().__init__([program("strace"), "-f", "-c", "-U", "name,calls", "-o", self.path,
                          "-p", str(pid)])
        self.wait_line(lambda line: "attached" in line, 10, "that it is attached")

    def counts(self):
        """{call: how often}, and no longer."""
        self.signal(signal.SIGINT)
        self.wait(10)
        with open(self.path, encoding="ascii") as file:
            found = re.findall(r"^\s*(\w+)\s+(\d+)\s*$", file.read(), re.MULTILINE)
        return {name: int(calls) for name, calls in found if name != "total"}


@unittest.skipUnless(places.optimised(), "the number of calls is that of the optimised build")
class SystemCalls(story.Story):

    def setUp(self):
        self.own = self.folder()
        self.nginx = self.started(Nginx(self.own, self.own))
        self.listen = f"127.0.0.1:{net.free_port()}"
        self.asked = 0
        self.parkway = self.started(Parkway(self.listen, self.nginx.ipv4, threads=1))

    def served(self):
        """How many requests nginx has answered, but for our own, once none is under way."""
        last = None
        while True:
            self.asked += 1
            now = self.nginx.requests() - self.asked
            if now == last:
                return now
            last = now

    def show(self, what, counts, of):
        parts = ", ".join(f"{name} {calls / of:.3f}" for name, calls in
                          sorted(counts.items(), key=lambda item: -item[1]) if calls / of > 0.0005)
        print(f"\n  {sum(counts.values()) / of:.3f} calls per {what}: {parts}", end="")

    def test_a_request_on_a_kept_connection_takes_four_and_a_share_of_the_waiting(self):
        load = self.started(Process([program("wrk"), "-t1", f"-c{CONNECTIONS}", "-d60s",
                                     f"http://{self.listen}/small"]))
        time.sleep(2.5)  # every connection is made, and its options are set
        # Nobody asks while the counts begin and end, however long that takes.
        load.pause()
        strace = Strace(self.parkway.pid, self.own)
        before = self.served()
        load.go_on()
        time.sleep(3)
        load.pause()
        requests = self.served() - before
        counts = strace.counts()
        load.go_on()
        load.stop()
        # Two writes are one request; nginx is the witness that they are.
        writes = sum(counts.get(name, 0) for name in ("sendto", "write", "writev", "sendmsg"))
        self.assertGreater(requests, 1000)
        self.assertAlmostEqual(writes / (2 * requests), 1, delta=0.02)
        requests = writes / 2
        self.show("request", counts, requests)
        self.assertLessEqual(sum(counts.values()) / requests, 4.2, counts)
        self.assertEqual(counts.get("epoll_ctl", 0), 0, "registered once for life")
        # The log's writer wakes a few times a second; no message wakes anybody.
        self.assertLess(counts.get("futex", 0), 100, counts)

    def test_a_short_connection_takes_at_most_sixteen(self):
        strace = Strace(self.parkway.pid, self.own)
        before = self.nginx.requests()
        wrk = Wrk(self.listen, 3, threads=1, connections=CONNECTIONS, close=True)
        connections = self.nginx.requests() - before - 1
        counts = strace.counts()
        self.show("connection", counts, connections)
        self.assertEqual(wrk.failures(), [], wrk.text)
        self.assertGreater(connections, 500)
        self.assertLessEqual(sum(counts.values()) / connections, 16, counts)
        # One registration of each of its two sockets. wrk connects once more before it begins, to see
        # whether it can, and leaves all of its connections unanswered at the end.
        self.assertLessEqual(counts.get("epoll_ctl", 0), 2 * (connections + CONNECTIONS + 1))

    def test_a_client_that_speaks_after_it_was_accepted_costs_nothing_besides(self):
        # Under strace, above, a client has always spoken by then; without it hardly ever.
        listen = f"127.0.0.1:{net.free_port()}"
        port = net.free_port()  # none that a connect could take for its own end
        server = socket.create_server(("127.0.0.1", port))
        self.addCleanup(server.close)
        server.settimeout(10)
        parkway = self.started(Parkway(listen, f"127.0.0.1:{port}", threads=1, access_log="off"))

        def exchange():
            host, port = listen.rsplit(":", 1)
            with socket.create_connection((host, int(port)), timeout=10) as client:
                connection, _ = server.accept()  # so the client's is accepted as well
                with connection:
                    connection.settimeout(10)
                    client.sendall(b"q" * 64)
                    self.assertEqual(connection.recv(100), b"q" * 64)
                    connection.sendall(b"a" * 64)
                    connection.shutdown(socket.SHUT_WR)
                    self.assertEqual(client.recv(100), b"a" * 64)
                    self.assertEqual(client.recv(100), b"")

        for _ in range(8):
            exchange()  # it learns that it is in vain to ask at once
        connections = 64
        strace = Strace(parkway.pid, self.own)
        for _ in range(connections):
            exchange()
        counts = strace.counts()
        self.show("connection of who speaks late", counts, connections)
        # accept4, socket, connect, two epoll_ctl, three reads and two writes, shutdown, close; a
        # fourth read where the FIN came behind the answer, and one early in 16.
        waits = counts.pop("epoll_pwait2")
        self.assertLessEqual(waits / connections, 6.5, counts)
        self.assertLessEqual(sum(counts.values()) / connections, 13.5, counts)
        self.assertLessEqual(counts["accept4"] / connections, 1.2, "one that comes alone, one call")
        for name in ("getpeername", "getsockopt", "setsockopt"):
            self.assertLessEqual(counts.get(name, 0), 2, counts)

    def test_metrics_ask_the_kernel_about_one_short_connection_in_thirty_two(self):
        listen, http = (f"127.0.0.1:{net.free_port()}" for _ in range(2))
        parkway = self.started(Parkway(listen, self.nginx.ipv4, threads=1, access_log="off",
                                       http=http))
        strace = Strace(parkway.pid, self.own)
        before = self.nginx.requests()
        Wrk(listen, 3, threads=1, connections=CONNECTIONS, close=True)
        connections = self.nginx.requests() - before - 1
        counts = strace.counts()
        self.show("connection with metrics on", counts, connections)
        # A connect that had to be waited for, on a busy machine, asks for its error and its peer.
        asked = counts["getsockopt"] - counts.get("getpeername", 0)
        self.assertAlmostEqual(asked / connections, 2 / 32, delta=0.02)


if __name__ == "__main__":
    story.main()
