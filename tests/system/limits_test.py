#!/usr/bin/env python3
"""What holds clients off, and how they are told: memory that is short, receivers that take nothing,
clients that say nothing, and how those see it that are turned away."""

import contextlib
import os
import resource
import selectors
import signal
import socket
import threading

from lib import net, procfs, story
from lib.admin import Admin
from lib.daemon import PATIENCE, Parkway
from lib.greeter import Connection, Greeter
from lib.process import until

WORKERS = (1, 4)


class Flood:
    """Sends to each client as much as it takes, without an end, and reads nothing."""

    def __init__(self, address):
        host, port = address.rsplit(":", 1)
        self.sock = socket.socket()
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 16384)
        self.sock.bind((host, int(port)))
        self.sock.listen(1024)
        self.accepted = 0
        self._wake, self._woken = socket.socketpair()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self):
        select = selectors.DefaultSelector()
        select.register(self.sock, selectors.EVENT_READ)
        select.register(self._woken, selectors.EVENT_READ)
        while True:
            for key, _ in select.select():
                if key.fileobj is self._woken:
                    for one in list(select.get_map().values()):
                        one.fileobj.close()
                    return
                if key.fileobj is self.sock:
                    client, _ = self.sock.accept()
                    client.setblocking(False)
                    self.accepted += 1
                    select.register(client, selectors.EVENT_WRITE)
                    continue
                try:
                    key.fileobj.send(bytes(65536))
                except BlockingIOError:
                    pass
                except OSError:
                    select.unregister(key.fileobj)
                    key.fileobj.close()

    def close(self):
        self._wake.send(b"x")
        self._thread.join(5)
        self._wake.close()


class Limits(story.Story):

    def setUp(self):
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        self.addCleanup(resource.setrlimit, resource.RLIMIT_NOFILE, (soft, hard))
        self.work = self.folder()
        self.listen = f"127.0.0.1:{net.free_port()}"
        self.server = f"127.0.0.1:{net.free_port()}"
        self.admin = Admin(os.path.join(self.work, "admin"))

    def parkway(self, threads, *flags):
        return self.started(Parkway.from_flags(
            [f"--listen={self.listen}", f"--upstream={self.server}", f"--threads={threads}",
             f"--admin_socket={self.admin.path}", *flags], self.listen))

    def each(self, tell):
        for threads in WORKERS:
            with self.subTest(threads=threads):
                self.setUp()
                tell(threads)
                self.doCleanups()

    def client(self, rcvbuf=None):
        client = self.started(socket.socket())
        if rcvbuf:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, rcvbuf)
        client.settimeout(PATIENCE)
        host, port = self.listen.rsplit(":", 1)
        client.connect((host, int(port)))
        return client

    def connections(self):
        return self.admin.json("show info")["connections"]

    def name(self, client):
        host, port = client.getsockname()
        return f"{host}:{port}"


class Memory(Limits):

    def short(self):
        return self.admin.json("show limits")["memory"]["short"]

    def fill(self, until_what, most=6000):
        clients = []
        while not until_what():
            self.assertLess(len(clients), most, "memory is never short")
            for _ in range(25):
                clients.append(self.client(rcvbuf=4096))
        return clients

    def test_nobody_is_accepted_while_memory_is_short_and_then_they_are(self):
        self.each(self.pauses)

    def pauses(self, threads):
        self.started(Flood(self.server))
        parkway = self.parkway(threads, "--memory_limit=16MiB", "--access_log=off")
        clients = self.fill(self.short)
        parkway.wait_line(lambda line: "WARNING: memory: " in line, PATIENCE, "that memory is short")
        self.assertGreaterEqual(self.admin.json("show limits")["memory"]["pauses"], 1)
        # Before it in the line, should there be room for a moment.
        clients += [self.client(rcvbuf=4096) for _ in range(100)]
        late = self.client()
        late.settimeout(1)
        with self.assertRaises(TimeoutError):
            late.recv(1)
        for client in clients[len(clients) // 4:]:
            client.close()
        # Those who came before the daemon looked have to go first, however many they are by then.
        late.settimeout(4 * PATIENCE)
        self.assertEqual(1, len(late.recv(1)), "it is served when there is memory again")
        parkway.wait_line(lambda line: "accepting again" in line, PATIENCE, "that it is over")

    def test_those_that_were_idle_longest_are_ended_when_it_is_nearly_used_up(self):
        self.each(self.sheds)

    def sheds(self, threads):
        self.started(Flood(self.server))
        flags = os.path.join(self.work, "flags")

        def write(limit):
            with open(flags, "w", encoding="ascii") as file:
                file.write(f"--memory_limit={limit}\n")

        write("24MiB")
        parkway = self.parkway(threads, f"--flagfile={flags}")
        clients = self.fill(self.short)
        write("16MiB")
        parkway.signal(signal.SIGHUP)
        closed = parkway.wait_line(lambda line: "cause=limit_memory" in line, PATIENCE,
                                   "that a client is ended for memory")
        self.assertTrue(closed)

        def enough():
            memory = self.admin.json("show limits")["memory"]
            return memory["most"] == 16 << 20 and memory["used"] < memory["most"] * 95 // 100

        # From there on nobody is ended, though nobody is accepted either. Of those that are left 5 %
        # are ended in a second, so that it takes 45 s until only one of ten is there.
        until(enough, 4 * PATIENCE, lambda: "below 95 %: " + str(self.admin.json("show limits")))
        ended = sum(line["cause"] == "limit_memory" for line in parkway.closing_lines())
        print(f"{threads} workers: {ended} of {len(clients)} ended")
        self.assertLess(ended, len(clients) * 9 // 10, "not more than need be")


class Stalls(Limits):

    def test_who_takes_nothing_is_closed_and_who_is_silent_is_not(self):
        self.each(self.stalls)

    def stalls(self, threads):
        self.started(Flood(self.server))
        parkway = self.parkway(threads, "--write_stall_timeout=1s")
        stuck = self.client(rcvbuf=4096)
        line = parkway.closing_line(self.name(stuck))
        self.assertEqual("client_timeout", line["cause"])

    def test_a_server_that_takes_nothing_is_left(self):
        self.each(self.server_stalls)

    def server_stalls(self, threads):
        deaf = self.started(socket.socket())
        deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        host, port = self.server.rsplit(":", 1)
        deaf.bind((host, int(port)))
        deaf.listen(8)
        parkway = self.parkway(threads, "--write_stall_timeout=1s")
        silent = self.client()
        sends = self.client()
        with contextlib.suppress(OSError):
            while True:
                sends.sendall(bytes(65536))
        line = parkway.closing_line(self.name(sends))
        self.assertEqual("server_timeout", line["cause"])
        # The line comes a moment before it is counted as gone.
        until(lambda: self.connections() <= 1, PATIENCE, "it is gone")
        self.assertEqual(1, self.connections(), "the silent one is there")
        silent.close()


class FirstWords(Limits):

    def test_a_server_is_connected_when_the_client_has_spoken(self):
        self.each(self.spoken)

    def spoken(self, threads):
        flood = self.started(Flood(self.server))
        parkway = self.parkway(threads, "--connect_on=data", "--preread_timeout=2s")
        silent, leaves = self.client(), self.client()
        leaves.shutdown(socket.SHUT_WR)
        self.assertEqual("client_fin", parkway.closing_line(self.name(leaves))["cause"])
        speaks = self.client()
        speaks.sendall(b"hello")
        self.assertTrue(speaks.recv(1))
        self.assertEqual(1, flood.accepted)
        self.assertEqual("preread_timeout", parkway.closing_line(self.name(silent))["cause"])
        self.assertEqual(1, flood.accepted)

    def test_a_client_that_speaks_and_is_reset_at_once_wants_no_server(self):
        flood = self.started(Flood(self.server))
        parkway = self.parkway(1, "--connect_on=data", "--preread_timeout=60s",
                               "--stats_interval=100ms")
        client = self.client()
        name = self.name(client)
        parkway.settled(lambda n: n["connections"] == 1, "it is there")
        until(lambda: procfs.workers_wait(parkway.pid), PATIENCE, "it is waited for")
        # One event tells of both.
        parkway.pause()
        client.sendall(b"hello")
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        client.close()
        parkway.go_on()
        self.assertEqual("client_rst", parkway.closing_line(name)["cause"])
        self.assertEqual(0, flood.accepted)


class Rejections(Limits):

    def sees(self, seconds):
        """What becomes of a new client within that time."""
        client = self.started(socket.socket())
        client.settimeout(seconds)
        host, port = self.listen.rsplit(":", 1)
        try:
            client.connect((host, int(port)))
            return "fin" if client.recv(1) == b"" else "bytes"
        except ConnectionResetError:
            return "rst"
        except TimeoutError:
            return "nothing"

    def test_each_way_to_turn_somebody_away(self):
        self.each(self.ways)

    def ways(self, threads):
        host, port = self.server.rsplit(":", 1)
        self.started(Greeter(host, int(port)))
        ways = {"rst": "rst", "fin": "fin"}
        if os.geteuid() == 0:
            ways["drop"] = "nothing"
        for limit in ("deny=127.0.0.0/8", "max_connections_per_source=1",
                      "max_connections=1 policy=reject"):
            for way, seen in ways.items():
                listen = f"127.0.0.1:{net.free_port()}"
                self.listen = listen
                parkway = Parkway.from_flags(
                    [f"--listen={listen} {limit} reject={way}", f"--upstream={self.server}",
                     f"--threads={threads}"], listen)
                if "deny" not in limit:
                    first = Connection(listen)
                self.assertEqual(seen, self.sees(1 if way == "drop" else PATIENCE),
                                 f"{limit} reject={way}")
                self.assertIn(parkway.closing_line()["cause"],
                              ("denied", "limit_source", "limit_listener"))
                if "deny" not in limit:
                    self.assertTrue(first.lives())
                    first.close()
                self.assertEqual(0, parkway.stop())


class Sockets(Limits):

    def listening(self, parkway):
        port = int(self.listen.rsplit(":", 1)[1])
        with open(f"/proc/{parkway.pid}/net/tcp", encoding="ascii") as file:
            return sum(line.split()[1].endswith(f":{port:04X}") and line.split()[3] == "0A"
                       for line in file.readlines()[1:])

    def test_one_socket_serves_all_workers(self):
        for reuseport, threads, sockets in (("on", 1, 1), ("on", 4, 4), ("off", 1, 1), ("off", 4, 1)):
            with self.subTest(reuseport=reuseport, threads=threads):
                self.setUp()
                host, port = self.server.rsplit(":", 1)
                self.started(Greeter(host, int(port)))
                parkway = self.parkway(threads, f"--reuseport={reuseport}")
                self.assertEqual(sockets, self.listening(parkway))
                held = [self.started(Connection(self.listen)) for _ in range(40)]
                self.assertTrue(all(one.lives() for one in held))
                self.assertEqual([40 // threads] * threads,
                                 [one["connections"] for one in self.admin.json("show threads")])
                self.doCleanups()


if __name__ == "__main__":
    story.main()
