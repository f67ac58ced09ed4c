#!/usr/bin/env python3
"""The end of the daemon, and the beginning of the next one: nobody who got in is thrown out."""

import collections
import os
import re
import signal
import socket
import subprocess
import threading
import time
import unittest

from lib import net, places, procfs, story
from lib.crowd import Crowd
from lib.daemon import PATIENCE, Parkway
from lib.held_thread import HeldThread
from lib.peer import FIN, Link, Server, connect
from lib.process import Process, until
from lib.programs import program

ROUNDS = 8 if places.optimised() else 3


class Stop(story.Story):

    def setUp(self):
        self.server = self.started(Server())
        self.listen = f"127.0.0.1:{net.free_port()}"

    def parkway(self, **flags):
        return self.started(Parkway(self.listen, self.server.address, **flags))

    def link(self):
        link = Link(self.listen, self.server)
        self.addCleanup(link.close)
        return link

    def forget_probes(self):
        """Accepts and drops what no client of this test opened for its own sake."""
        self.server.sock.settimeout(0.3)
        try:
            while True:
                self.server.accept().close()
        except TimeoutError:
            self.server.sock.settimeout(20)

    def forget_one_probe(self, parkway):
        """The same, however late the only client that the daemon has had so far is led to the server."""
        def ended():
            try:
                self.server.accept().close()
            except TimeoutError:
                pass
            return parkway.closing_lines()

        self.server.sock.settimeout(0.1)
        until(ended, PATIENCE, "the connection of the probe has ended")
        self.server.sock.settimeout(20)

    def refused(self, address=None):
        """Whether nobody listens there any more."""
        try:
            connect(address or self.listen).close()
        except OSError:
            return True
        return False


class Drain(Stop):

    def test_with_nobody_there_it_ends_at_once_with_0(self):
        for number in (signal.SIGTERM, signal.SIGINT):
            parkway = self.parkway(threads=2, drain_timeout="1h")
            parkway.signal(number)
            self.assertEqual(parkway.wait(PATIENCE), 0)

    def test_open_connections_go_on_and_new_ones_are_refused(self):
        parkway = self.parkway(threads=2)
        links = [self.link() for _ in range(4)]
        parkway.signal(signal.SIGTERM)
        until(self.refused, PATIENCE, "new connections are refused")
        self.forget_probes()
        for link in links:
            link.client.send(50_000)
            link.server.receive(50_000)
            link.server.send(70_000)
            link.client.receive(70_000)
        self.assertTrue(parkway.running())
        for link in links:
            link.client.finish()
            self.assertEqual(link.server.ending(), FIN)
            link.server.finish()
            self.assertEqual(link.client.ending(), FIN)
        self.assertEqual(parkway.wait(PATIENCE), 0)

    def test_drain_timeout_is_kept_and_the_exit_code_is_0(self):
        parkway = self.parkway(threads=2, drain_timeout="1500ms")
        link = self.link()
        start = time.monotonic()
        parkway.signal(signal.SIGTERM)
        self.assertEqual(link.client.ending(PATIENCE), FIN)
        self.assertGreater(time.monotonic() - start, 1.4)
        self.assertEqual(parkway.wait(PATIENCE), 0)
        self.assertEqual(parkway.closing_line(link.client.address)["cause"], "drain")

    def test_a_second_signal_ends_it_at_once_with_0(self):
        for second in (signal.SIGTERM, signal.SIGINT):
            self.forget_probes()
            parkway = self.parkway(threads=2, drain_timeout="1h")
            links = [self.link() for _ in range(20)]
            parkway.signal(signal.SIGTERM)
            until(self.refused, PATIENCE, "it drains")
            self.forget_probes()
            self.assertTrue(parkway.running())
            parkway.signal(second)
            self.assertEqual(parkway.wait(PATIENCE), 0)
            for link in links:
                self.assertEqual(parkway.closing_line(link.client.address)["cause"], "drain")

    def test_sigquit_has_no_deadline_and_a_term_after_it_ends_it_at_once(self):
        parkway = self.parkway(threads=2, drain_timeout="300ms")
        link = self.link()
        parkway.signal(signal.SIGQUIT)
        until(self.refused, PATIENCE, "it drains")
        link.client.sees_nothing(0.6)
        link.client.send(1000)
        link.server.receive(1000)
        parkway.signal(signal.SIGTERM)
        self.assertEqual(parkway.wait(PATIENCE), 0)
        self.assertEqual(parkway.closing_line(link.client.address)["cause"], "drain")

    def let_in(self, waiting, seconds):
        """The server's end of one that has sent `waiting` bytes, or None if the proxy takes nobody."""
        self.server.sock.settimeout(seconds)
        try:
            accepted = self.started(self.server.accept())
            accepted.receive(waiting)
            return accepted
        except TimeoutError:
            return None
        finally:
            self.server.sock.settimeout(20)

    def test_listeners_pause_and_resume_by_signals_of_a_process_without_a_terminal(self):
        for threads in (1, 4):
            parkway = self.started(Parkway.from_flags(
                [f"--listen={self.listen}", f"--upstream={self.server.address}",
                 f"--threads={threads}", "--drain_timeout=100ms"], self.listen,
                before=("setsid",)))
            for number in (signal.SIGTTOU, signal.SIGWINCH):
                served = self.link()
                said = len(parkway.lines)
                parkway.signal(number)
                parkway.wait_line(lambda line: "listeners pause" in line, PATIENCE,
                                  "that listeners pause", since=said)

                def paused():
                    # By the kernel, into the backlog; the first may still have been let in.
                    waiting = self.started(connect(self.listen))
                    waiting.send(7)
                    return self.let_in(7, 0.3) is None

                until(paused, PATIENCE, "nobody is let in")
                served.client.send(9)
                served.server.receive(9)
                parkway.signal(signal.SIGTTIN)
                self.assertIsNotNone(self.let_in(7, PATIENCE))
            parkway.finish()

    def test_a_connect_under_way_is_finished_or_ends_with_the_drain(self):
        hole = self.started(net.BlackHole())
        self.assertFalse(hole.answers())
        parkway = self.started(Parkway(self.listen, hole.address, connect_timeout="60s",
                                       drain_timeout="500ms"))
        client = self.started(connect(self.listen))
        client.send(10)
        client.sees_nothing(0.2)
        parkway.signal(signal.SIGTERM)
        self.assertEqual(parkway.wait(PATIENCE), 0)
        client.hung_up(5)
        self.assertEqual(parkway.closing_line(client.address)["cause"], "drain")

    def test_a_unix_path_is_removed_and_taken_again(self):
        path = f"{self.folder()}/front.sock"
        self.listen = f"unix:{path}"
        for _ in range(3):
            parkway = self.parkway()
            client = self.started(connect(self.listen))
            client.send(5)
            server = self.started(self.server.accept())
            server.receive(5)
            client.close()
            server.close()
            parkway.finish()
            with self.assertRaises(FileNotFoundError):
                connect(self.listen)
        killed = self.parkway()
        killed.signal(signal.SIGKILL)
        killed.wait(PATIENCE)  # its path is still there, and nobody listens
        self.parkway().finish()

    def test_a_unix_path_that_is_somebody_elses_by_now_stays(self):
        path = f"{self.folder()}/front.sock"
        self.listen = f"unix:{path}"
        parkway = self.parkway()
        other = self.started(socket.socket(socket.AF_UNIX))
        other.bind(f"{path}.new")
        other.listen()
        os.rename(f"{path}.new", path)
        parkway.finish()
        connect(self.listen).close()


class Storm(Stop):

    def assert_nobody_reset(self, listen, rounds, order, front=None, prepare=lambda parkway: None):
        """SIGTERM while clients pour in, and a new daemon at once, on the same port."""
        upstream = f"127.0.0.1:{net.free_port()}"
        self.started(Crowd("echo", upstream))
        threads = places.count("storm_workers")
        crowds = [self.started(Crowd("clients", front or listen)) for _ in range(2)]
        total, causes = {}, collections.Counter()
        for turn in range(rounds):
            # A line for nobody, if all goes well. A drain with an end would in its course end those
            # who have said nothing for a second: on a busy machine these clients are among them.
            parkway = self.started(Parkway(listen, upstream, threads=threads, log_skip="normal",
                                           drain_timeout="0"))
            prepare(parkway)
            for crowd in crowds:
                crowd.begin(*order)
            time.sleep(0.1 + 0.01 * turn)
            parkway.signal(signal.SIGTERM)
            self.assertEqual(parkway.wait(PATIENCE), 0)
            for crowd in crowds:
                for what, count in crowd.end().items():
                    total[what] = total.get(what, 0) + count
            causes.update(line["cause"] for line in parkway.closing_lines())
        print(f"\n  {rounds} rounds: {total}", end="")
        self.assertGreater(total["served"], 20)
        self.assertGreater(total["refused"], 0)
        self.assertEqual((total["reset"], total["closed"], total["hanging"]), (0, 0, 0),
                         (total, causes))

    def volley(self):
        """More than the daemon accepts, so that its queues are full when it closes them."""
        return "volley", places.count("storm_clients") // 2, 0.6

    def test_nobody_whose_handshake_was_done_is_reset_in_a_volley_over_ipv4(self):
        self.assert_nobody_reset(f"127.0.0.1:{net.free_port()}", ROUNDS, self.volley())

    def test_nobody_whose_handshake_was_done_is_reset_in_a_volley_over_ipv6(self):
        self.assert_nobody_reset(f"[::1]:{net.free_port()}", 3, self.volley())

    @unittest.skipUnless(places.optimised(), "LeakSanitizer does not bear a tracer")
    def test_nobody_whose_handshake_was_done_is_reset_though_the_close_comes_late(self):
        """What is a few microseconds wide otherwise: between the last accept and the close."""

        def prepare(parkway):
            tracer = self.started(Process([
                program("strace"), "-f", "-qq", "-o", "/dev/null", "-p", str(parkway.pid), "-e",
                "trace=close", "-e", "inject=close:delay_enter=2000"], stderr=subprocess.DEVNULL))
            until(lambda: procfs.traced(parkway.pid), PATIENCE, f"{tracer} is attached")

        self.assert_nobody_reset(f"127.0.0.1:{net.free_port()}", 3, self.volley(), prepare=prepare)

    def test_nobody_whose_handshake_was_done_is_reset_while_others_come_and_go(self):
        port = net.free_port()
        self.assert_nobody_reset(f":{port}", 4, ("storm", 60, 20), f"127.0.0.1:{port}")


class Again(Stop):

    def test_a_restart_among_hundreds_of_time_waits_binds_at_once(self):
        upstream = f"127.0.0.1:{net.free_port()}"
        servers = self.started(Crowd("echo", upstream))
        clients = self.started(Crowd("clients", self.listen))
        for _ in range(3):
            parkway = self.started(Parkway(self.listen, upstream, threads=2))
            self.assertEqual(clients.ask("open", 200), {"connected": 200})
            self.assertEqual(clients.ask("exchange", 10), 200)
            servers.ask("drop")  # the FIN comes from behind, so the daemon closes first
            self.assertEqual(clients.ask("endings"), {"FIN": 200, "RST": 0, "open": 0})
            parkway.finish()
            self.assertGreater(time_waits(self.listen), 100)

    def assert_second_is_refused(self, listen, said, **flags):
        first = self.parkway(threads=2)
        second = self.started(Parkway(listen, self.server.address, ready=False, **flags))
        self.assertEqual(second.wait(PATIENCE), 71)
        self.assertEqual(len(second.lines), 1, second.stderr())
        self.assertIn(said, second.lines[0])
        self.assertRegex(second.lines[0], re.compile("address already in use", re.IGNORECASE))
        if listen.startswith("unix:"):
            self.forget_one_probe(first)  # whether somebody listens there
        # It did not take a single connection from the first.
        for _ in range(20):
            self.link().close()
        first.finish()

    def test_a_second_one_on_the_same_port_ends_with_71_and_names_the_address(self):
        for threads in (1, 2):
            self.assert_second_is_refused(self.listen, self.listen, threads=threads)

    def test_a_second_one_on_the_wildcard_of_the_port_ends_with_71_too(self):
        port = self.listen.rsplit(":", 1)[1]
        self.assert_second_is_refused(f"0.0.0.0:{port}", port)

    def test_a_second_one_on_the_same_unix_path_ends_with_71_too(self):
        path = f"{self.folder()}/front.sock"
        self.listen = f"unix:{path}"
        self.assert_second_is_refused(self.listen, path)

    def test_an_address_that_is_not_ours_ends_with_71_and_the_reason(self):
        parkway = self.started(Parkway("192.0.2.1:80", self.server.address, ready=False))
        self.assertEqual(parkway.wait(PATIENCE), 71)
        self.assertEqual(len(parkway.lines), 1, parkway.stderr())
        self.assertIn("192.0.2.1:80", parkway.lines[0])
        self.assertIn("Cannot assign requested address", parkway.lines[0])

    def test_a_folder_that_is_not_there_ends_with_71_and_the_reason(self):
        parkway = self.started(Parkway("unix:/nowhere/at/all.sock", self.server.address,
                                       ready=False))
        self.assertEqual(parkway.wait(PATIENCE), 71)
        self.assertEqual(len(parkway.lines), 1, parkway.stderr())
        self.assertIn("/nowhere/at/all.sock", parkway.lines[0])
        self.assertIn("No such file or directory", parkway.lines[0])

    def test_a_start_that_fails_late_ends_with_71_though_somebody_was_let_in(self):
        host, port = self.listen.rsplit(":", 1)
        hole, done, socks = self.started(net.BlackHole()), threading.Event(), []

        def knock():
            while not done.is_set():
                if len(socks) >= 100:  # a start that takes its time would let thousands knock
                    time.sleep(0.001)
                    continue
                try:
                    socks.append(socket.create_connection((host, int(port)), PATIENCE))
                except OSError:
                    time.sleep(0.001)

        client = threading.Thread(target=knock)
        client.start()
        try:
            for _ in range(20):
                parkway = self.started(Parkway(self.listen, hole.address, ready=False,
                                               admin_socket="/nowhere/at/all.sock"))
                self.assertEqual(parkway.wait(PATIENCE), 71, parkway.stderr())
                while socks:
                    socks.pop().close()
        finally:
            done.set()
            client.join()
            for sock in socks:
                sock.close()

    def test_what_a_worker_has_no_turn_to_end_is_left_to_the_kernel(self):
        hole = self.started(net.BlackHole())
        parkway = self.started(Parkway(self.listen, hole.address, stats_interval="200ms",
                                       access_log="off"))
        host, port = self.listen.rsplit(":", 1)
        # More than a turn of a worker goes through, so that the last one leaves some.
        clients = [self.started(socket.create_connection((host, int(port)), PATIENCE))
                   for _ in range(800)]
        parkway.settled(lambda n: n["connections"] == len(clients), "all have been let in")
        held = self.started(HeldThread(parkway.pid, "worker-0"))
        for _ in range(2):
            said = len(parkway.lines)
            parkway.signal(signal.SIGTERM)
            parkway.wait_line(lambda line: "signal" in line, PATIENCE, "it has heard", since=said)
        until(lambda: "futex" in procfs.waits_in(parkway.pid), 3 * PATIENCE,
              "it waits for nothing but the end of its worker")
        held.close()
        self.assertEqual(parkway.wait(PATIENCE), 0, parkway.stderr())
        self.assertTrue([line for line in parkway.lines if "connections have not ended" in line])

    def test_a_file_that_is_no_socket_is_left_alone(self):
        path = f"{self.folder()}/precious"
        with open(path, "w", encoding="ascii") as file:
            file.write("keep me")
        parkway = self.started(Parkway(f"unix:{path}", self.server.address, ready=False))
        self.assertEqual(parkway.wait(PATIENCE), 71)
        with open(path, encoding="ascii") as file:
            self.assertEqual(file.read(), "keep me")


def time_waits(address):
    """How many TIME_WAITs of this port the kernel keeps."""
    port = f":{int(address.rsplit(':', 1)[1]):04X}"
    with open("/proc/self/net/tcp", encoding="ascii") as file:
        rows = [line.split() for line in file][1:]
    return sum(row[1].endswith(port) and row[3] == "06" for row in rows)


if __name__ == "__main__":
    story.main()
