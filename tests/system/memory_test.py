#!/usr/bin/env python3
"""What a connection costs in memory, and what a burst leaves behind: nothing.

The clients and the servers are processes of their own, so that all that grows in the daemon is the
daemon's. Private bytes are what it wrote: Anonymous of smaps_rollup (it forks nobody).
"""

import unittest

from lib import net, places, procfs, story
from lib.crowd import Crowd
from lib.daemon import Parkway
from lib.process import until

PAIRS = 9000
BLOCKED = 4000
MOST_BURSTS = 4
WORKERS = 2
PER_PAIR = 512
WARM_STACKS = 64 * 64 * 1024 * WORKERS  # kWarmStacks of kStackSlotBytes, per worker
BLOCKED_BYTES = 64 * 1024


@unittest.skipUnless(places.optimised(), "bars of memory hold for the optimised build")
class Memory(story.Story):

    def setUp(self):
        net.small_socket_buffers()
        self.listen = f"127.0.0.1:{net.free_port()}"
        self.clients = self.started(Crowd("clients", self.listen))

    def parkway(self, upstream, **flags):
        return self.started(Parkway(self.listen, upstream, threads=WORKERS,
                                    stats_interval="200ms", rlimit_nofile=20_000, **flags))

    def quiet(self, parkway, connections=0):
        """Statistics once nothing is under way any more, and some seconds after that: by then idle
        stacks have given their memory back."""
        numbers = parkway.settled(
            lambda n: n["connections"] == connections and not n["stacks"] and not n["buffers"],
            f"{connections} connections, and no stack and no buffer in use", 30)
        for _ in range(12):
            numbers = parkway.statistics()
        return numbers

    def test_an_idle_pair_costs_512_bytes_and_two_descriptors(self):
        address = f"127.0.0.1:{net.free_port()}"
        servers = self.started(Crowd("echo", address))
        parkway = self.parkway(address)

        def opened(count):
            self.assertEqual(self.clients.ask("open", count), {"connected": count})
            self.assertEqual(self.clients.ask("exchange", 32), count)

        # What every process pays once is paid here.
        opened(500)
        self.clients.ask("close")
        self.quiet(parkway)
        before, fds = procfs.private_bytes(parkway.pid), procfs.descriptors(parkway.pid)

        opened(PAIRS)
        numbers = self.quiet(parkway, PAIRS)
        held = procfs.private_bytes(parkway.pid) - before
        print(f"\n  {PAIRS} idle pairs: {held / PAIRS:.0f} private bytes each", end="")
        self.assertEqual(servers.ask("count"), PAIRS)
        self.assertLessEqual(held, PER_PAIR * PAIRS)
        self.assertEqual(procfs.descriptors(parkway.pid) - fds, 2 * PAIRS)
        self.assertEqual(numbers["stacks"], 0)

        # They are idle, not dead.
        self.assertEqual(self.clients.ask("exchange", 100), PAIRS)
        self.clients.ask("close")
        self.quiet(parkway)
        self.assertEqual(procfs.descriptors(parkway.pid), fds)
        parkway.finish()

    def bursts(self, parkway, pairs, burst):
        """What is left after a `burst()` is bounded, and soon one more adds nothing.

        Not always the second: how many stacks and tables are in use at once, and stay warm, is luck
        until a burst has had the most. A leak grows each time."""
        self.quiet(parkway)
        start = procfs.private_bytes(parkway.pid)
        fds = procfs.descriptors(parkway.pid)
        burst()
        self.quiet(parkway)
        first = procfs.private_bytes(parkway.pid)
        self.assertLessEqual(first - start, PER_PAIR * pairs + WARM_STACKS)
        left = [first]
        while len(left) == 1 or (left[-1] > left[-2] * 1.02 and len(left) < MOST_BURSTS):
            burst()
            self.quiet(parkway)
            left.append(procfs.private_bytes(parkway.pid))
        print(f"\n  start {start >> 10} KiB, after each burst "
              f"{', '.join(str(bytes_ >> 10) for bytes_ in left)} KiB", end="")
        self.assertLessEqual(left[-1], left[-2] * 1.02)
        self.assertLessEqual(left[-1] - start, PER_PAIR * pairs + WARM_STACKS)
        self.assertEqual(procfs.descriptors(parkway.pid), fds)

    def test_nine_thousand_connects_into_a_black_hole_leave_nothing(self):
        hole = self.started(net.BlackHole())
        self.assertFalse(hole.answers())
        # Long enough for all to wait at once however busy the machine is: both bursts are the same.
        parkway = self.parkway(hole.address, connect_timeout="15s")

        def burst():
            self.assertEqual(self.clients.ask("open", PAIRS), {"connected": PAIRS})
            numbers = parkway.settled(lambda n: n["connections"] == PAIRS,
                                      "all of them wait at once")
            peak = procfs.private_bytes(parkway.pid)
            print(f"\n  {numbers['connections']} wait: {numbers['stacks']} stacks, {peak >> 10} KiB",
                  end="")
            self.assertEqual(self.clients.ask("endings"), {"FIN": 0, "RST": PAIRS, "open": 0})

        self.bursts(parkway, PAIRS, burst)
        parkway.finish()

    def test_four_thousand_clients_that_never_read_leave_nothing(self):
        # The kernel's buffers are not what is measured here: small ones fill sooner.
        for name in ("tcp_wmem", "tcp_rmem"):
            net.sysctl(f"net.ipv4.{name}", "4096 16384 32768")
        address = f"127.0.0.1:{net.free_port()}"
        servers = self.started(Crowd("flood", address))
        # Without lines for them: a worker's ring for these, 4,096 places, is touched as they come and
        # stays, and 4,000 connections would each time fill another half of it.
        parkway = self.parkway(address, access_log="off")
        blocked = []

        def standstill(count):
            before = servers.ask("numbers")
            parkway.statistics()
            # Whoever is only kept from the processor does not wait.
            waits = (procfs.waits_in_epoll(servers.pid, servers.pid)
                     and procfs.at_rest(parkway.pid))
            numbers = parkway.statistics()
            after = servers.ask("numbers")
            return (after["open"] == count and before["sent"] == after["sent"] and waits
                    and not numbers["stacks"])

        def blocked_by(count):
            self.assertEqual(self.clients.ask("open", count), {"connected": count})
            until(lambda: standstill(count), 60, "the servers can send nothing more")

        def burst():
            before = procfs.private_bytes(parkway.pid)
            blocked_by(BLOCKED)
            numbers = parkway.statistics()
            held = procfs.private_bytes(parkway.pid) - before
            print(f"\n  blocked: {held // BLOCKED} private bytes each, {numbers['buffers']} "
                  f"buffers of {numbers['buffer_bytes'] >> 10} KiB", end="")
            blocked.append((numbers, held))
            share = procfs.cpu_share(parkway.pid, 1)
            self.assertLess(share, 0.05, "a blocked direction costs no processor time")
            self.clients.ask("reset")

        # Once before it counts: what stays for good is there then.
        blocked_by(BLOCKED)
        self.clients.ask("reset")
        self.bursts(parkway, BLOCKED, burst)
        for numbers, held in blocked:
            self.assertEqual(numbers["stacks"], 0)
            self.assertLessEqual(numbers["buffer_bytes"], BLOCKED * BLOCKED_BYTES)
            self.assertLessEqual(held, BLOCKED * (BLOCKED_BYTES + PER_PAIR) + WARM_STACKS)
        parkway.finish()


if __name__ == "__main__":
    story.main()
