#!/usr/bin/env python3
"""Connections end one after the other, evenly over the time given: idle ones first, busy ones last."""

import re
import selectors
import signal
import socket
import threading
import time

from lib import net, places, story
from lib.admin import Admin
from lib.crowd import Crowd
from lib.daemon import PATIENCE, Parkway
from lib.process import until
from lib.stalls import told_in_time

IDLE = 5000 if places.optimised() else 400
BUSY = 50 if places.optimised() else 10
OVER = 12
SLACK = 0.2  # seconds: a third of what the stories allow an end to be late


class Clients:
    """Connections that are watched for their end; some of them say something all the time."""

    def __init__(self, address):
        host, port = address.rsplit(":", 1)
        self.address = (host, int(port))
        self.socks = []
        self.ended = {}  # socket: when
        self.selector = selectors.DefaultSelector()
        self.stopping = False

    def open(self, count):
        opened = []
        for _ in range(count):
            sock = socket.create_connection(self.address, PATIENCE)
            sock.setblocking(False)
            self.selector.register(sock, selectors.EVENT_READ)
            opened.append(sock)
        self.socks += opened
        return opened

    def talk(self, busy):
        def run():
            while not self.stopping:
                for sock in busy:
                    if sock not in self.ended:
                        try:
                            sock.send(b"x" * 64)
                        except OSError:
                            pass
                time.sleep(0.02)

        threading.Thread(target=run, daemon=True).start()

    def watch(self, seconds, enough):
        """Notes who ends, until `enough` have or the time is over."""
        end = time.monotonic() + seconds
        while len(self.ended) < enough and time.monotonic() < end:
            for key, _ in self.selector.select(0.05):
                try:
                    data = key.fileobj.recv(65536)
                except BlockingIOError:
                    continue
                except OSError:
                    data = b""
                if not data:
                    self.ended[key.fileobj] = time.monotonic()
                    self.selector.unregister(key.fileobj)

    def close(self):
        self.stopping = True
        for sock in self.socks:
            sock.close()


class Paced(story.Story):

    def setUp(self):
        self.upstream = f"127.0.0.1:{net.free_port()}"
        self.started(Crowd("echo", self.upstream))
        self.listen = f"127.0.0.1:{net.free_port()}"

    def clients(self):
        return self.started(Clients(self.listen))

    def assert_even(self, times, begun, over):
        """At no moment more than 6 % of them before or behind an even pace, none before it began,
        and no tenth of the time without its share. (That we see an end late on a busy machine moves
        it from one tenth to the next, which says nothing of the pace.)"""
        self.assertGreaterEqual(min(times), begun)
        tenths = [0] * 11
        for when in times:
            tenths[min(int((when - begun) / over * 10), 10)] += 1
        print(f"  ends in each tenth of {over} s: {tenths}", end=" ")
        for number, when in enumerate(sorted(times)):
            self.assertAlmostEqual(number / len(times), (when - begun) / over, delta=0.06)
        share = len(times) / 10
        for count in tenths[:9]:
            self.assertGreater(count, 0.4 * share)
            self.assertLess(count, 1.6 * share)

    def test_a_stop_ends_idle_connections_evenly_and_busy_ones_last(self):
        told_in_time(self.stop_under_load, SLACK)

    def stop_under_load(self):
        self.listen = f"127.0.0.1:{net.free_port()}"
        parkway = self.started(Parkway(self.listen, self.upstream, threads=2, access_log="off",
                                       drain_timeout=f"{OVER}s"))
        clients = self.clients()
        try:
            busy = clients.open(BUSY)
            idle = clients.open(IDLE)
            clients.talk(busy)
            clients.watch(1, 1)
            self.assertEqual(len(clients.ended), 0)
            begun = time.monotonic()
            parkway.signal(signal.SIGTERM)
            clients.watch(3 * OVER, IDLE + BUSY)
        finally:
            clients.close()
        self.assertEqual(len(clients.ended), IDLE + BUSY)
        self.assert_even([clients.ended[sock] for sock in idle + busy], begun, OVER)
        last_idle = sorted(clients.ended[sock] for sock in idle)[int(0.98 * IDLE)]
        self.assertGreater(min(clients.ended[sock] for sock in busy), last_idle - 0.1 * OVER)
        self.assertEqual(parkway.wait(PATIENCE), 0)

    def test_one_connection_alone_has_all_of_the_time(self):
        parkway = self.started(Parkway(self.listen, self.upstream, threads=1,
                                       drain_timeout="2s"))
        clients = self.clients()
        clients.open(1)
        until(lambda: parkway.running(), PATIENCE, "it runs")
        begun = time.monotonic()
        parkway.signal(signal.SIGTERM)
        clients.watch(PATIENCE, 1)
        self.assertEqual(len(clients.ended), 1)
        self.assertGreater(list(clients.ended.values())[0] - begun, 1.9)
        self.assertEqual(parkway.wait(PATIENCE), 0)

    def test_a_part_of_all_ends_while_others_come_and_whoever_waits_sees_how_far_it_is(self):
        path = f"{self.folder()}/admin.sock"
        parkway = self.started(Parkway(self.listen, self.upstream, threads=4, access_log="off",
                                       admin_socket=path, stats_interval="100ms"))
        admin = Admin(path)
        clients = self.clients()
        clients.open(41)
        parkway.settled(lambda n: n["connections"] == 41, "all are connected")
        begun = time.monotonic()
        waiting = admin.begin("drain", "--percent", "25", "--over", "2s", "--wait")
        drain = until(lambda: admin.json("show drains"), PATIENCE, "it has begun")[-1]
        self.assertEqual((drain["what"], drain["over_s"]), ("25 % of all", 2))
        total = drain["total"]
        self.assertEqual(total, 11, "a quarter of 41 of all workers together, rounded up")
        # Those that come meanwhile are none of its.
        clients.open(5)
        clients.watch(PATIENCE, total)
        out, err = waiting.communicate(timeout=PATIENCE)
        self.assertEqual((waiting.returncode, err), (0, ""))
        self.assertGreater(time.monotonic() - begun, 1.9)
        clients.watch(0.5, total + 1)
        self.assertEqual(len(clients.ended), total)
        # Elsewhere than on a terminal: plain lines, the last of which says that none is left.
        lines = out.splitlines()
        self.assertEqual(lines[0], "draining 25 % of all over 2s")
        pattern = re.compile(r" *(\d+)%  25 % of all: (\d+) connections? left, \S+ of 2\S*")
        seen = [pattern.fullmatch(line) for line in lines[1:]]
        self.assertTrue(all(seen), out)
        self.assertGreaterEqual(len(seen), 2)
        left = [int(match[2]) for match in seen]
        self.assertEqual(left, sorted(left, reverse=True))
        self.assertEqual((seen[-1][1], left[-1]), ("100", 0))
        # Nothing can be waited for of what is refused.
        self.assertIn("--percent", admin.refused("drain --percent 101 --wait", code=2))
        self.assertEqual([one["ended"] for one in admin.json("show drains")], [True])
        clients.close()
        parkway.finish()

    def reload_without_a_server(self, on_remove, threads):
        """Seconds until each of 20 connections of a server that a reload removed has ended."""
        other = f"127.0.0.1:{net.free_port()}"
        self.started(Crowd("echo", other))
        path = f"{self.folder()}/parkway.flags"

        def write(servers):
            with open(path, "w", encoding="utf-8") as file:
                file.write(f"--listen=name=web addr={self.listen} upstream=app\n"
                           f"--upstream=name=app on_remove={on_remove}\n")
                for name, address in servers:
                    file.write(f"--server=upstream=app name={name} addr={address}\n")

        write([("a", self.upstream)])
        parkway = self.started(Parkway.from_flags([f"--flagfile={path}", f"--threads={threads}"],
                                                  self.listen))
        clients = self.clients()
        clients.open(20)
        clients.watch(0.5, 1)
        write([("b", other)])
        said = len(parkway.lines)
        begun = time.monotonic()
        parkway.signal(signal.SIGHUP)
        parkway.wait_line(lambda line: "+1 server, -1 server" in line, PATIENCE, "the difference",
                          since=said)
        clients.watch(4, 20)
        times = sorted(when - begun for when in clients.ended.values())
        clients.close()
        parkway.finish(2 * PATIENCE)
        return times

    def test_a_server_that_a_reload_removes_keeps_drains_or_closes_its_connections(self):

        def keeps(times):
            self.assertEqual(times, [])

        def closes(times):
            self.assertEqual(len(times), 20)
            self.assertLess(times[-1], 1)

        def drains(times):
            self.assertEqual(len(times), 20)
            self.assertLess(times[0], 1)
            self.assertGreater(times[-1], 1.7)
            self.assertLess(times[10], 1.7)

        def tell(on_remove, threads, judge):
            self.listen = f"127.0.0.1:{net.free_port()}"
            judge(self.reload_without_a_server(on_remove, threads))

        for threads in (1, 4):
            for told in (("keep", threads, keeps), ("close", threads, closes),
                         ("drain:2s", threads, drains)):
                told_in_time(lambda told=told: tell(*told), SLACK)


if __name__ == "__main__":
    story.main()
