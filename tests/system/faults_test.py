#!/usr/bin/env python3
"""Things go wrong: servers that refuse, hang or die, clients that never read, descriptors that run
out. Nothing hangs, nothing spins, and everything recovers.
"""

import socket
import time

from lib import logline, net, places, procfs, story
from lib.crowd import Crowd
from lib.daemon import PATIENCE, Parkway
from lib.peer import FIN, RST, Link, Server, connect
from lib.process import run, until

CALM = 0.05  # of one processor


class Faults(story.Story):

    def setUp(self):
        net.small_socket_buffers()
        self.listen = f"127.0.0.1:{net.free_port()}"

    def parkway(self, upstream, **flags):
        flags.setdefault("stats_interval", "200ms")
        return self.started(Parkway(self.listen, upstream, **flags))

    def clients(self):
        return self.started(Crowd("clients", self.listen))

    def echo(self):
        address = f"127.0.0.1:{net.free_port()}"
        return address, self.started(Crowd("echo", address))

    def assert_calm(self, parkway, seconds=3):
        if places.optimised():
            share = procfs.cpu_share(parkway.pid, seconds)
            self.assertLess(share, CALM, f"{parkway} spins")
        else:
            time.sleep(seconds)

    def assert_clean(self, parkway):
        """Nothing is left of all that: no connection, stack, buffer, pipe."""
        parkway.settled(lambda n: not any(n[name] for name in (
            "connections", "stacks", "buffers", "pipes")), "nothing is in use any more", 30)


class Servers(Faults):

    def test_many_clients_of_a_server_that_refuses_are_all_reset(self):
        parkway = self.parkway(f"127.0.0.1:{net.free_port()}", threads=2)
        clients, count = self.clients(), places.count("hanging_connects")
        told = clients.ask("open", count)
        clients.ask("endings")
        # A RST may be there before the client has looked whether it is connected.
        self.assertLessEqual(set(told), {"connected", "ECONNRESET"}, told)
        self.assertEqual(sum(told.values()), count)
        self.assert_clean(parkway)
        until(lambda: len(parkway.closing_lines()) == count, PATIENCE, "a line for each")
        self.assertEqual({line["cause"] for line in parkway.closing_lines()}, {"connect_refused"})
        parkway.finish()

    def test_many_clients_of_a_server_that_hangs_are_reset_in_time(self):
        hole = self.started(net.BlackHole())
        self.assertFalse(hole.answers())
        parkway = self.parkway(hole.address, connect_timeout="3s", connect_attempts=1)
        clients, count = self.clients(), places.count("hanging_connects")
        start = time.monotonic()
        self.assertEqual(clients.ask("open", count), {"connected": count})
        parkway.settled(lambda n: n["connections"] == count, "all are accepted")
        self.assert_calm(parkway, 1)
        self.assertEqual(clients.ask("endings"), {"FIN": 0, "RST": count, "open": 0})
        took = time.monotonic() - start
        self.assertGreater(took, 2.9)
        self.assertLess(took, 3 + PATIENCE)
        self.assert_clean(parkway)
        parkway.finish()

    def test_a_server_that_dies_takes_its_connections_along_and_no_others(self):
        dying_address, dying = self.echo()
        other_address, other = self.echo()
        parkway = self.parkway([dying_address, other_address], threads=2)
        clients = self.clients()
        self.assertEqual(clients.ask("open", 200), {"connected": 200})
        self.assertEqual(clients.ask("exchange", 1000), 200)
        # Workers that choose at the same time may choose the same.
        left = other.ask("count")
        self.assertAlmostEqual(left, 100, delta=4)
        dying.stop()  # SIGKILL: the kernel ends its half of the connections
        until(lambda: parkway.statistics()["connections"] == left
              or clients.ask("exchange", 10) == left, PATIENCE, "those of the other server work")
        self.assertEqual(clients.ask("exchange", 1000), left)
        # And the next ones all find the server that is left.
        more = self.clients()
        self.assertEqual(more.ask("open", 50), {"connected": 50})
        self.assertEqual(more.ask("exchange", 1000), 50)
        clients.ask("close")
        more.ask("close")
        self.assert_clean(parkway)
        parkway.finish()

    def test_a_server_killed_in_the_middle_of_a_stream_ends_it_at_the_client(self):
        address = f"127.0.0.1:{net.free_port()}"
        flood = self.started(Crowd("flood", address))
        parkway = self.parkway(address)
        client = self.started(connect(self.listen))
        received = 0
        client.sock.settimeout(20)
        while received < 8 << 20:
            received += len(client.sock.recv(65536))
        flood.stop()
        try:
            while client.sock.recv(65536):
                pass
        except ConnectionResetError:
            pass
        client.close()
        self.assertIn(parkway.closing_line(client.address)["cause"], ("server_fin", "server_rst"))
        self.assert_clean(parkway)
        parkway.finish()

    def test_a_dead_local_port_does_not_become_a_connection_to_itself(self):
        for host in ("127.0.0.1", "0.0.0.0", "[::]"):
            with self.subTest(host):
                self.setUp()
                self.dead_local_port(host)
                self.doCleanups()

    def dead_local_port(self, server):
        port = net.free_port()
        drawn = net.sysctl("net.ipv4.ip_local_port_range")
        net.sysctl("net.ipv4.ip_local_port_range", f"{port} {port}")
        self.addCleanup(net.sysctl, "net.ipv4.ip_local_port_range", drawn)
        parkway = self.parkway(f"{server}:{port}")
        sock_port = net.free_port()
        with socket.socket() as sock:
            sock.bind(("127.0.0.1", sock_port))
            sock.settimeout(10)
            host, listen_port = self.listen.split(":")
            with self.assertRaises(ConnectionResetError):
                sock.connect((host, int(listen_port)))
                sock.send(b"anybody there?")
                self.assertEqual(sock.recv(100), b"the right answer")
        line = parkway.closing_line(f"127.0.0.1:{sock_port}")
        self.assertIn(line["cause"], ("connect_refused", "local_port_exhausted"))

    def test_what_a_client_said_does_not_go_into_a_connection_to_itself(self):
        port, client_port = net.free_port(), net.free_port()
        drawn = net.sysctl("net.ipv4.ip_local_port_range")
        net.sysctl("net.ipv4.ip_local_port_range", f"{port} {port}")
        self.addCleanup(net.sysctl, "net.ipv4.ip_local_port_range", drawn)
        path = f"{self.folder()}/alive"
        server = self.started(socket.socket(socket.AF_UNIX))
        server.bind(path)
        server.listen()
        server.settimeout(PATIENCE)
        parkway = self.started(Parkway.from_flags(
            [f"--listen={self.listen}", "--upstream=name=app balance=first",
             f"--server=name=dead addr=127.0.0.1:{port}",
             f"--server=name=alive addr=unix:{path}"], self.listen))
        client = self.started(socket.socket())
        client.bind(("127.0.0.1", client_port))
        host, listen_port = self.listen.split(":")
        # It has spoken when it is accepted.
        parkway.pause()
        client.connect((host, int(listen_port)))
        client.sendall(b"for a server")
        parkway.go_on()
        accepted = self.started(server.accept()[0])
        accepted.settimeout(PATIENCE)
        self.assertEqual(accepted.recv(100), b"for a server")


    def test_a_client_in_line_costs_nothing_while_another_server_is_ejected_and_down(self):
        fails, full = self.started(Server()), self.started(Server())
        parkway = self.started(Parkway.from_flags(
            [f"--listen={self.listen}", "--upstream=name=app balance=first queue_timeout=off",
             f"--server=name=fails addr={fails.address} health=tcp health_interval=2s fall=2 "
             "passive_fails=1 ejection_time=1s",
             f"--server=name=full addr={full.address} max_conns=1", "--drain_timeout=200ms"],
            self.listen))
        fails.accept().close()  # its first check, which alone says that it is up
        fails.close()
        for _ in range(2):
            self.started(connect(self.listen))
        for what in ("fails: ejected", "fails is DOWN"):
            parkway.wait_line(lambda line, what=what: what in line, PATIENCE, what)
        # Until the time of its ejection is over, whether that was its first or its second.
        time.sleep(2)
        self.assert_calm(parkway)


class Clients(Faults):

    def test_clients_that_never_read_cost_no_processor_time_and_harm_nobody(self):
        address = f"127.0.0.1:{net.free_port()}"
        flood = self.started(Crowd("flood", address))
        parkway = self.parkway(address)
        clients, count = self.clients(), places.count("silent_readers")
        self.assertEqual(clients.ask("open", count), {"connected": count})

        def standstill():
            before = flood.ask("numbers")
            time.sleep(0.3)
            after = flood.ask("numbers")
            return after["open"] == count and before["sent"] == after["sent"]

        until(standstill, 60, "the servers can send nothing more")
        self.assert_calm(parkway, 2)
        numbers = parkway.statistics()
        self.assertEqual(numbers["stacks"], 0)
        self.assertLessEqual(numbers["buffer_bytes"], count * 64 * 1024)
        # Who reads is served as if nobody else were there.
        reader = self.started(connect(self.listen))
        reader.sock.settimeout(20)
        received = 0
        while received < 16 << 20:
            received += len(reader.sock.recv(65536))
        reader.close()
        clients.ask("reset")
        self.assert_clean(parkway)
        parkway.finish()

    def test_a_slow_reader_gets_every_byte_in_the_end(self):
        server = self.started(Server())
        self.parkway(server.address)
        link = Link(self.listen, server)
        self.addCleanup(link.close)
        sent = link.server.fill()
        self.assertGreater(sent, 0)
        link.server.finish()
        self.assertEqual(link.client.ending(), FIN)
        self.assertEqual(link.client.received, link.server.sent)

    def test_a_client_killed_in_the_middle_resets_or_ends_the_server_side(self):
        server = self.started(Server())
        parkway = self.parkway(server.address)
        for _ in range(20):
            link = Link(self.listen, server)
            link.server.fill(quiet=0.05)
            self.assertTrue(link.client.readable(20))
            link.client.close()  # with bytes unread: what a kernel does for one that was killed
            link.server.hung_up(10)
            self.assertEqual(link.server.ending(), RST)
            link.close()
        self.assert_clean(parkway)
        parkway.finish()


def trouble(lines):
    """The lines that are neither about a connection nor numbers."""
    return [line for line in lines
            if not logline.is_closing(line) and not logline.is_statistics(line)]


class Descriptors(Faults):
    """Descriptors run out: accepting pauses, the backlog queues, and it goes on by itself."""

    def starved(self, clients_count):
        """A daemon whose limit falls to 64 while it runs, and then a crowd."""
        address, servers = self.echo()
        parkway = self.parkway(address, threads=2, access_log="off")
        early = self.clients()
        self.assertEqual(early.ask("open", 5), {"connected": 5})
        self.assertEqual(early.ask("exchange", 10), 5)
        hard = 4096
        run(["prlimit", f"--pid={parkway.pid}", f"--nofile=64:{hard}"])
        crowd = self.clients()
        told = crowd.ask("open", clients_count)
        self.assertTrue(parkway.running(), parkway.stderr())
        # The first may find the last descriptor gone between its accept and its connect.
        self.assertLessEqual(told.pop("ECONNRESET", 0), 64)
        self.assertEqual(set(told), {"connected"}, told)
        written, start = len(trouble(parkway.lines)), time.monotonic()
        self.assert_calm(parkway, 4)
        lines = trouble(parkway.lines)[written:]
        # One a second for each worker's listener.
        self.assertLessEqual(len(lines), 2 * (time.monotonic() - start + 1), "\n".join(lines))
        self.assertLessEqual(procfs.descriptors(parkway.pid), 64)
        # Nobody was turned away, and who was there before is not disturbed.
        self.assertEqual(early.ask("exchange", 1000), 5)
        return parkway, servers, early, crowd, hard, told["connected"]

    def test_two_thousand_clients_at_a_limit_of_64_are_served_when_it_rises_again(self):
        count = places.count("starved_clients")
        parkway, servers, early, crowd, hard, queued = self.starved(count)
        self.assertLess(servers.ask("count"), 64)
        run(["prlimit", f"--pid={parkway.pid}", f"--nofile={hard}:{hard}"])
        # As many as the descriptors allow, or all: some may have been reset after they connected.
        enough = min(queued - 64, hard // 2 - 100)
        until(lambda: servers.ask("count") >= enough, 30, "all of them are served")
        early.ask("close")
        self.assertGreaterEqual(crowd.ask("exchange", 100, 5), enough)
        crowd.ask("close")
        self.assert_clean(parkway)
        parkway.finish()

    def test_two_thousand_clients_at_a_limit_of_64_are_served_as_others_leave(self):
        count = places.count("starved_clients")
        parkway, _servers, early, crowd, _hard, _queued = self.starved(count)
        early.ask("close")
        # Those that were accepted get their answer; they leave, and make room for the next.
        start = time.monotonic()
        served = crowd.ask("serve_and_leave", 40 * places.PATIENCE)
        print(f"\n  {served} of {count} in {time.monotonic() - start:.1f} s", end="")
        self.assertGreaterEqual(served, count - 64)
        self.assert_calm(parkway, 1)
        crowd.ask("close")
        self.assert_clean(parkway)
        parkway.finish()

    def test_a_start_under_a_hard_limit_of_64_serves_a_few_at_a_time(self):
        address, servers = self.echo()
        parkway = self.parkway(address, threads=2, rlimit_nofile=64)
        start_line = logline.numbers(parkway.wait_line(
            lambda line: "max_connections=" in line, PATIENCE, "a start line"))
        self.assertLessEqual(2 * start_line["max_connections"], 64)
        self.assertGreater(start_line["max_connections"], 8)
        crowd = self.clients()
        self.assertEqual(crowd.ask("open", 300), {"connected": 300})
        self.assert_calm(parkway, 2)
        # The limit is known and kept: there is nothing to complain of.
        self.assertEqual([line for line in parkway.lines if "Too many open files" in line], [])
        self.assertLessEqual(servers.ask("count"), start_line["max_connections"])
        self.assertEqual(crowd.ask("serve_and_leave", 40 * places.PATIENCE), 300)
        self.assert_clean(parkway)
        parkway.finish()

    def test_max_connections_is_kept_exactly_and_the_rest_waits(self):
        address, servers = self.echo()
        parkway = self.parkway(address, threads=2, max_connections=10)
        crowd = self.clients()
        self.assertEqual(crowd.ask("open", 50), {"connected": 50})
        until(lambda: servers.ask("count") == 10, PATIENCE, "ten are served")
        self.assert_calm(parkway, 1)
        self.assertEqual(servers.ask("count"), 10)
        self.assertEqual(parkway.statistics()["connections"], 10)
        self.assertEqual(crowd.ask("serve_and_leave", 20 * places.PATIENCE), 50)
        parkway.finish()

    def test_sigstop_and_sigcont_change_nothing(self):
        address, _servers = self.echo()
        parkway = self.parkway(address, threads=2)
        clients = self.clients()
        self.assertEqual(clients.ask("open", 20), {"connected": 20})
        self.assertEqual(clients.ask("exchange", 10), 20)
        parkway.pause()
        clients.begin("exchange", 5000)
        time.sleep(0.5)
        parkway.go_on()
        self.assertEqual(clients.end(), 20)
        clients.ask("close")
        self.assert_clean(parkway)
        parkway.finish()


if __name__ == "__main__":
    story.main()
