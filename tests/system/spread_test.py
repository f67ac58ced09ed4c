#!/usr/bin/env python3
"""Connections spread to the least loaded worker, whoever accepts them."""

import os
import re

from lib import net, procfs, story
from lib.crowd import Crowd
from lib.daemon import PATIENCE, Parkway
from lib.process import until

WORKERS = 4


def sockets_per_worker(pid):
    """How many descriptors the epoll instance of each worker watches, by what the kernel tells."""
    found = []
    for fd in os.listdir(f"/proc/{pid}/fd"):
        try:
            if os.readlink(f"/proc/{pid}/fd/{fd}") != "anon_inode:[eventpoll]":
                continue
            with open(f"/proc/{pid}/fdinfo/{fd}", encoding="ascii") as file:
                watched = re.findall(r"^tfd:\s*(\d+)", file.read(), re.MULTILINE)
            # The control thread has one too, which hears of signals.
            if "anon_inode:[signalfd]" not in [os.readlink(f"/proc/{pid}/fd/{other}")
                                               for other in watched]:
                found.append(len(watched))
        except FileNotFoundError:
            continue
    return sorted(found)


class Spread(story.Story):

    def assert_spread(self, listen, front=None):
        upstream = f"127.0.0.1:{net.free_port()}"
        self.started(Crowd("echo", upstream))
        parkway = self.started(Parkway(listen, upstream, threads=WORKERS))

        def at_rest():
            return procfs.workers_wait(parkway.pid)

        until(at_rest, PATIENCE, "every worker waits")
        nobody = sockets_per_worker(parkway.pid)
        self.assertEqual(len(nobody), WORKERS)
        # A worker that accepts watches one socket more than one that does not.
        accepting = nobody[-1] - nobody[0]
        self.assertLessEqual(accepting, 1)

        crowds = [self.started(Crowd("clients", front or listen)) for _ in range(3)]

        def connections():
            # One that accepts may be counted as half a connection.
            return [(watched - nobody[0]) / 2 for watched in sockets_per_worker(parkway.pid)]

        def assert_even(clients):
            found = connections()
            self.assertLessEqual(found[-1] - found[0], 1 + accepting / 2, found)
            self.assertAlmostEqual(sum(found), clients, delta=WORKERS / 2)

        # Long connections, all at once.
        self.assertEqual(crowds[0].ask("open", 16), {"connected": 16})
        self.assertEqual(crowds[0].ask("exchange", 100), 16)
        assert_even(16)
        # Some more, one after another, on top of those.
        for _ in range(7):
            self.assertEqual(crowds[1].ask("open", 1), {"connected": 1})
            self.assertEqual(crowds[1].ask("exchange", 100, 60), crowds[1].ask("count"))
        assert_even(23)
        # Short ones meanwhile count only while they live.
        self.assertEqual(crowds[2].ask("rounds", 200, 10), 200)
        crowds[1].ask("close")
        self.assertEqual(crowds[0].ask("exchange", 100), 16)
        crowds[0].ask("close")
        # A worker closes the sockets of a connection before it counts it as gone.
        until(lambda: sum(connections()) < 1 and at_rest(), PATIENCE, "those have ended")
        self.assertEqual(crowds[2].ask("open", 16), {"connected": 16})
        self.assertEqual(crowds[2].ask("exchange", 100), 16)
        assert_even(16)
        crowds[2].ask("close")
        parkway.finish()

    def test_sixteen_long_connections_over_four_workers_on_ipv4(self):
        self.assert_spread(f"127.0.0.1:{net.free_port()}")

    def test_sixteen_long_connections_over_four_workers_on_a_wildcard(self):
        port = net.free_port()
        self.assert_spread(f":{port}", f"[::1]:{port}")

    def test_sixteen_long_connections_over_four_workers_on_a_unix_path(self):
        self.assert_spread(f"unix:{self.folder()}/front.sock")

    def test_sixteen_long_connections_over_four_workers_on_an_abstract_name(self):
        self.assert_spread(f"unix:@parkway-test-{os.getpid()}-{net.free_port()}")


if __name__ == "__main__":
    story.main()
