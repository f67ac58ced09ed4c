#!/usr/bin/env python3
"""The log: one line per connection, nothing lost unsaid, and nobody ever waits for its reader."""

import os
import signal
import time
import unittest

from lib import logline, net, places, procfs, story
from lib.crowd import Crowd
from lib.daemon import PATIENCE, Parkway
from lib.process import until


class Log(story.Story):

    def setUp(self):
        self.listen = f"127.0.0.1:{net.free_port()}"
        self.upstream = f"127.0.0.1:{net.free_port()}"
        self.servers = self.started(Crowd("echo", self.upstream))
        self.clients = self.started(Crowd("clients", self.listen))

    def unread(self, **flags):
        """(a daemon whose stderr is a pipe that nobody reads, the end to read from)."""
        reader, writer = os.pipe()
        parkway = self.started(Parkway(self.listen, self.upstream, stderr=writer, **flags))
        os.close(writer)
        self.addCleanup(os.close, reader)
        return parkway, reader

    def test_nobody_reads_stderr_and_traffic_goes_on(self):
        parkway, reader = self.unread(threads=2, stats_interval="200ms")
        count = places.count("log_flood_connections")
        start = time.monotonic()
        self.assertEqual(self.clients.ask("rounds", count, 100), count)
        took = time.monotonic() - start
        if places.optimised():
            share = procfs.cpu_share(parkway.pid, 1)
            self.assertLess(share, 0.05, "a writer that is stuck does not spin")

        # Whoever reads again finds lines that are whole, and how many are missing.
        lines, rest = [], b""
        os.set_blocking(reader, False)

        def read():
            nonlocal rest
            try:
                while data := os.read(reader, 65536):
                    *whole, rest = (rest + data).split(b"\n")
                    lines.extend(line.decode() for line in whole)
            except BlockingIOError:
                pass
            written = sum(logline.is_closing(line) for line in lines)
            numbers = [logline.numbers(line) for line in lines if logline.is_statistics(line)]
            return any(written + n["log_dropped"] == n["closed"] == count for n in numbers)

        try:
            until(read, 4 * PATIENCE, "lines and losses add up to the connections")
        except AssertionError:
            numbers = [line for line in lines if logline.is_statistics(line)]
            written = sum(logline.is_closing(line) for line in lines)
            self.fail(f"{count} connections, {written} lines, last: {numbers[-1:]}")
        written = sum(logline.is_closing(line) for line in lines)
        print(f"\n  {count} connections in {took:.1f} s: {written} lines, {count - written} counted "
              "as lost", end="")
        self.assertLess(written, count)
        for line in lines:
            if logline.is_closing(line):
                self.assertLessEqual({"client", "listener", "upstream", "server", "bytes_in",
                                      "bytes_out", "duration", "cause"},
                                     logline.fields(line).keys(), line)
        parkway.finish()

    def test_it_ends_in_time_though_nobody_reads_stderr(self):
        pidfile = os.path.join(self.folder(), "parkway.pid")
        parkway, _reader = self.unread(pidfile=pidfile)
        self.assertTrue(os.path.exists(pidfile))
        self.assertEqual(self.clients.ask("rounds", 1000, 10), 1000)
        parkway.signal(signal.SIGTERM)
        self.assertEqual(parkway.wait(PATIENCE), 0)
        self.assertFalse(os.path.exists(pidfile), "it names a process that is no more")

    def test_nobody_is_there_to_read_stderr_any_more(self):
        reader, writer = os.pipe()
        parkway = self.started(Parkway(self.listen, self.upstream, stderr=writer))
        os.close(writer)
        os.close(reader)
        self.assertEqual(self.clients.ask("rounds", 300, 10), 300)
        parkway.finish()

    @unittest.skipUnless(os.path.exists("/dev/full"), "there is no /dev/full")
    def test_a_full_disk_below_stderr_harms_no_connection(self):
        with open("/dev/full", "wb") as full:
            parkway = self.started(Parkway(self.listen, self.upstream, stderr=full))
        self.assertEqual(self.clients.ask("rounds", 300, 10), 300)
        parkway.finish()

    def test_a_line_for_each_and_nothing_lost_when_somebody_reads(self):
        parkway = self.started(Parkway(self.listen, self.upstream, threads=2,
                                       stats_interval="200ms"))
        self.assertEqual(self.clients.ask("open", 500), {"connected": 500})
        self.assertEqual(self.clients.ask("exchange", 77), 500)
        self.clients.ask("close")
        until(lambda: len(parkway.closing_lines()) == 500, PATIENCE, "500 lines")
        lines = parkway.closing_lines()
        self.assertEqual(len({line["client"] for line in lines}), 500)
        for line in lines:
            self.assertEqual((line["bytes_in"], line["bytes_out"], line["cause"], line["server"]),
                             ("77", "77", "client_fin", self.upstream), line)
        self.assertEqual(parkway.statistics()["log_dropped"], 0)
        parkway.finish()
        self.assertEqual(len(parkway.closing_lines()), 500)

    def test_access_log_off_means_no_line(self):
        parkway = self.started(Parkway(self.listen, self.upstream, access_log="off"))
        self.assertEqual(self.clients.ask("rounds", 100, 10), 100)
        parkway.finish()
        self.assertEqual(parkway.closing_lines(), [])

    def test_the_last_connections_are_logged_before_it_ends(self):
        parkway = self.started(Parkway(self.listen, self.upstream, threads=2,
                                       drain_timeout="300ms"))
        self.assertEqual(self.clients.ask("open", 300), {"connected": 300})
        self.assertEqual(self.clients.ask("exchange", 10), 300)
        parkway.finish()
        self.assertEqual(len(parkway.closing_lines()), 300)

    def test_the_start_line_names_version_pid_workers_listeners_and_limits(self):
        parkway = self.started(Parkway(self.listen, self.upstream, threads=3))
        start = parkway.wait_line(lambda line: "started" in line, PATIENCE, "its start line")
        for part in (f"pid={parkway.pid}", "workers=3", f"listeners={self.listen}",
                     "max_connections=", "nofile="):
            self.assertIn(part, start)
        self.assertRegex(start, r"parkway \d+\.\d+")
        parkway.finish()


if __name__ == "__main__":
    story.main()
