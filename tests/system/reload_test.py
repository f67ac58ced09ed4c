#!/usr/bin/env python3
"""Reloads in the running process: nothing is touched that did not change, and what is wrong changes
nothing."""

import json
import os
import random
import select
import selectors
import signal
import socket
import sys
import threading
import time

from lib import net, places, procfs, story
from lib.admin import Admin, everything
from lib.crowd import Crowd
from lib.daemon import PATIENCE, Parkway
from lib.peer import Link, Server, connect
from lib.process import until
from lib.programs import Nginx, Wrk
from lib.talker import Talker

STREAMS = 500 if places.optimised() else 60
RELOADS = 200 if places.optimised() else 40


class Streams:
    """Connections to an echo server, each of which compares every byte that comes back."""

    def __init__(self, address, count):
        host, port = address.rsplit(":", 1)
        self.wrong = []
        self.bytes = 0
        self.stopping = False
        self.selector = selectors.DefaultSelector()
        self.rest = {}
        for number in range(count):
            sock = socket.create_connection((host, int(port)), PATIENCE)
            sock.setblocking(False)
            self.rest[sock] = b""
            self.selector.register(sock, selectors.EVENT_READ, number)
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self):
        source = random.Random(7)
        while not self.stopping:
            for sock in self.rest:
                if not self.rest[sock]:
                    self.rest[sock] = source.randbytes(512)
                    sock.send(self.rest[sock])
            end = time.monotonic() + 0.25
            while (left := end - time.monotonic()) > 0:
                for key, _ in self.selector.select(left):
                    self._compare(key.fileobj, key.data)

    def _compare(self, sock, number):
        try:
            data = sock.recv(4096)
        except OSError as error:
            data = str(error).encode()
        if data and self.rest[sock].startswith(data):
            self.rest[sock] = self.rest[sock][len(data):]
            self.bytes += len(data)
        else:
            self.wrong.append((number, data[:60]))
            self.selector.unregister(sock)

    def close(self):
        self.stopping = True
        self.thread.join()
        for sock in self.rest:
            sock.close()


class Comers:
    """Clients of an echo, one after the other, and what went wrong with one; to connect takes one
    SYN."""

    RETRANSMITTED = slice(100, 104)  # tcpi_total_retrans

    def __init__(self, address):
        host, port = address.rsplit(":", 1)
        self.address = (host, int(port))
        self.done, self.wrong, self.stopping = 0, [], False
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self):
        while not self.stopping and not self.wrong:
            try:
                with socket.create_connection(self.address, PATIENCE) as sock:
                    info = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 104)
                    again = int.from_bytes(info[self.RETRANSMITTED], sys.byteorder)
                    sock.sendall(b"hello")
                    heard = sock.recv(5, socket.MSG_WAITALL)
                if again or heard != b"hello":
                    self.wrong.append((self.done, f"{again} retransmitted, heard {heard}"))
            except OSError as error:
                self.wrong.append((self.done, str(error)))
            self.done += 1

    def close(self):
        self.stopping = True
        self.thread.join()


class Reload(story.Story):

    def setUp(self):
        self.path = f"{self.folder()}/parkway.flags"
        self.listen = f"127.0.0.1:{net.free_port()}"
        self.servers = [self.started(Server()) for _ in range(2)]

    def write(self, *lines):
        with open(self.path + ".new", "w", encoding="utf-8") as file:
            file.write("".join(f"{line}\n" for line in lines))
        os.rename(self.path + ".new", self.path)

    def start(self, threads, *lines, wait=None):
        self.write(*lines)
        return self.started(Parkway.from_flags(
            [f"--flagfile={self.path}", f"--threads={threads}", "--drain_timeout=200ms"],
            wait or self.listen))

    def reload(self, parkway, *lines):
        self.write(*lines)
        said = len(parkway.lines)
        parkway.signal(signal.SIGHUP)
        return parkway.wait_line(
            lambda line: "ERROR: reload: " in line or
            ("] reload: " in line and "unchanged" in line),
            PATIENCE, "what became of the reload", since=said)

    def via(self, address, server):
        """Whether a connection to `address` reaches `server`; otherwise it is reset, now or later."""
        try:
            client = self.started(connect(address))
            client.send(5)
        except (ConnectionResetError, BrokenPipeError):
            return False
        ready, _, _ = select.select([server.sock, client.sock], [], [], PATIENCE)
        if server.sock not in ready:
            return False
        accepted = self.started(server.accept())
        accepted.receive(5)
        return True

    def test_servers_and_listeners_come_and_go_and_connections_stay(self):
        for threads in (1, 4):
            other = f"127.0.0.1:{net.free_port()}"
            one, two = (server.address for server in self.servers)
            parkway = self.start(threads, f"--listen=name=web addr={self.listen} upstream=app",
                                 f"--upstream=name=app servers={one}")
            link = Link(self.listen, self.servers[0])
            line = self.reload(parkway,
                               f"--listen=name=web addr={self.listen},{other} upstream=app",
                               "--upstream=name=app balance=random",
                               f"--server=upstream=app name=b addr={two}")
            self.assertIn("~listener web: addr", line)
            self.assertIn("~upstream app: +1 server, -1 server, balance p2c -> random", line)
            self.assertTrue(self.via(self.listen, self.servers[1]))
            self.assertTrue(self.via(other, self.servers[1]))
            link.client.send(70_000)
            link.server.receive(70_000)
            # The listener keeps its socket though it is called otherwise, and the other one goes.
            line = self.reload(parkway, f"--listen=name=front addr={self.listen} upstream=app",
                               f"--upstream=name=app servers={one}")
            self.assertIn("+listener front", line)
            self.assertIn("-listener web", line)
            self.assertTrue(self.via(self.listen, self.servers[0]))
            # Who connected to find out might still be led to the server.
            until(lambda: ("tcp", int(other.rsplit(":", 1)[1])) not in procfs.listens(parkway.pid),
                  PATIENCE, f"{other} is closed")
            link.server.send(70_000)
            link.client.receive(70_000)
            link.close()
            parkway.finish()

    def wait_queued(self, admin, upstream):
        """One stands in line."""
        until(lambda: {one["name"]: one["queue_length"] for one in
                       admin.json("show servers")}.get(upstream) == 1, PATIENCE, "it stands in line")

    def test_a_named_server_whose_address_changes_keeps_its_numbers_and_its_connections(self):
        places_of = [f"127.0.0.1:{net.free_port()}" for _ in range(2)]
        servers = [self.started(Crowd("echo", address)) for address in places_of]
        control = f"{self.folder()}/control.sock"

        def lines(address):
            return (f"--listen=name=web addr={self.listen} upstream=app",
                    "--upstream=name=app health=tcp health_interval=100ms",
                    f"--server=upstream=app name=a addr={address}", f"--admin_socket={control}")

        for threads in (1, 4):
            parkway = self.start(threads, *lines(places_of[0]))
            admin = Admin(control)
            stays = self.started(Crowd("clients", self.listen))
            self.assertEqual(stays.ask("open", 20), {"connected": 20})
            self.assertEqual(stays.ask("exchange", 1000), 20)
            row = admin.server("app/a")
            self.assertEqual((row["address"], row["state"], row["active"], row["total"]),
                             (places_of[0], "up", 20, 20))
            said = len(parkway.lines)
            self.reload(parkway, *lines(places_of[1]))
            row = admin.server("app/a")
            self.assertEqual((row["address"], row["active"], row["total"]), (places_of[1], 20, 20))
            # Who is connected stays where he is.
            self.assertEqual(stays.ask("exchange", 1000), 20)
            self.assertGreaterEqual(admin.server("app/a")["received_bytes"], 20 * 2000)
            # Others go to the new place.
            comes = self.started(Crowd("clients", self.listen))
            until(lambda comes=comes: comes.ask("open", 5) == {"connected": 5}
                  and comes.ask("exchange", 10) == comes.ask("count"), PATIENCE,
                  "others are served")
            self.assertGreaterEqual(servers[1].ask("count"), 5)
            # Its state there is found out anew: it was up, and nobody is there any more.
            servers[1].stop()
            parkway.wait_line(
                lambda line: "server a is DOWN" in line and places_of[1] in line, PATIENCE,
                "its checks go to the new place", since=said)
            self.assertEqual(stays.ask("exchange", 1000), 20)
            servers[1] = self.started(Crowd("echo", places_of[1]))
            for crowd in (stays, comes):
                crowd.ask("close")
            parkway.finish()

    def test_who_waits_in_line_goes_where_his_listener_leads_now(self):
        one, two = (server.address for server in self.servers)
        path = f"{self.folder()}/access.log"
        admin = Admin(f"{self.folder()}/admin.sock")
        rest = (f"--access_log=file:{path}", "--log_format=json", f"--admin_socket={admin.path}")
        for threads in (1, 4):
            listen = f"--listen=name=web addr={self.listen} upstream="
            parkway = self.start(
                threads, f"{listen}app", "--upstream=name=app queue_timeout=30s",
                f"--server=upstream=app name=a addr={one} max_conns=1", *rest)
            first = Link(self.listen, self.servers[0])
            waits = self.started(connect(self.listen))
            waits.send(5)
            self.wait_queued(admin, "app")
            waits.sees_nothing(0.2)
            self.reload(parkway, f"{listen}other", f"--upstream=name=other servers={two}", *rest)
            server = self.started(self.servers[1].accept())
            server.receive(5)
            server.send(9)
            waits.receive(9)
            first.client.send(70_000)
            first.server.receive(70_000)
            first.close()
            waits.sees_nothing(0.2)
            waits.close()
            parkway.finish()
            with open(path, encoding="utf-8") as file:
                told = [json.loads(line) for line in file]
            os.remove(path)
            self.assertEqual(sorted(line["upstream"] for line in told), ["app", "other"])
            line, = (line for line in told if line["upstream"] == "other")
            self.assertGreaterEqual(line["queue_ms"], 200)
            # From there on it was served.
            self.assertLessEqual(line["queue_ms"], line["duration_ms"] - 200)

    def test_who_waits_in_line_gets_his_turn_though_attempts_are_fewer_now(self):
        dead = f"127.0.0.1:{net.free_port()}"
        admin = Admin(f"{self.folder()}/admin.sock")
        lines = (f"--listen={self.listen}", f"--admin_socket={admin.path}",
                 "--upstream=name=app balance=first queue_timeout=30s passive_fails=off",
                 f"--server=name=dead addr={dead}",
                 f"--server=name=full addr={self.servers[0].address} max_conns=1")
        parkway = self.start(1, *lines)
        first = Link(self.listen, self.servers[0])
        waits = self.started(connect(self.listen))
        waits.send(5)
        # It has made one attempt, at the dead one.
        self.wait_queued(admin, "app")
        self.reload(parkway, *lines, "--connect_attempts=1")
        first.close()
        server = self.started(self.servers[0].accept())
        server.receive(5)
        server.send(9)
        waits.receive(9)
        waits.close()
        parkway.finish()

    def test_a_port_that_comes_back_at_once_is_listened_on_again(self):
        for threads in (1, 4):
            back = f"127.0.0.1:{net.free_port()}"
            lines = [f"--listen=name=web addr={self.listen} upstream=app",
                     f"--upstream=name=app servers={self.servers[0].address}"]
            more = f"--listen=name=more addr={back} upstream=app"
            # Everybody, or another name: the same port, though not the same address.
            every = f"--listen=name=every addr=0.0.0.0:{back.rsplit(':', 1)[1]} upstream=app"
            parkway = self.start(threads, *lines, more)
            for again in (more, more, every, more):
                self.assertNotIn("ERROR", self.reload(parkway, *lines))
                self.assertNotIn("ERROR", self.reload(parkway, *lines, again))
                self.assertTrue(self.via(back, self.servers[0]))
            # It does not wait for who has the port for good.
            self.reload(parkway, *lines)
            host, port = back.rsplit(":", 1)
            until(lambda: ("tcp", int(port)) not in procfs.listens(parkway.pid), PATIENCE,
                  f"{back} is closed")
            taken = self.started(socket.create_server((host, int(port))))
            self.assertIn("another process has it", self.reload(parkway, *lines, more))
            taken.close()
            # A stop does not wait for a reload that waits, either.
            self.reload(parkway, *lines, more)
            self.reload(parkway, *lines)
            self.write(*lines, more)
            parkway.signal(signal.SIGHUP)
            parkway.finish()

    def test_a_listener_moves_between_an_address_and_all_and_nobody_waits(self):
        for threads, keys in ((1, ""), (4, ""), (4, "reuseport=off")):
            with self.subTest(threads=threads, keys=keys):
                echo = self.started(Talker())
                host, port = self.listen.rsplit(":", 1)

                def at(address, echo=echo, port=port, keys=keys):
                    return (f"--listen=name=web addr={address}:{port} upstream=app {keys}",
                            f"--upstream=name=app servers={echo.address}")

                addresses = ["0.0.0.0", host, "", "0.0.0.0", "", host]
                parkway = self.start(threads, *at(host))
                comers = self.started(Comers(self.listen))
                for address in addresses:
                    since = comers.done
                    self.assertNotIn("ERROR", self.reload(parkway, *at(address)))
                    until(lambda since=since: comers.done > since + 20 or comers.wrong, PATIENCE,
                          f"clients come and go at {address}:{port}")
                self.assertEqual([], comers.wrong)
                comers.close()
                parkway.finish()

    def test_a_signal_while_it_waits_for_names_at_its_start_is_for_later(self):
        deaf = self.started(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        deaf.bind(("127.0.0.1", 0))
        self.write(f"--listen=name=web addr={self.listen} upstream=app",
                   f"--upstream=name=app servers={self.servers[0].address},never.example:80 "
                   f"dns_init=wait connect_timeout={3 * places.PATIENCE}s "
                   f"dns_servers=127.0.0.1:{deaf.getsockname()[1]}")
        parkway = self.started(Parkway.from_flags(
            [f"--flagfile={self.path}", "--threads=2", "--drain_timeout=200ms"], None))
        until(lambda: procfs.blocks(parkway.pid, signal.SIGHUP), PATIENCE, "it takes signals")
        deaf.settimeout(PATIENCE)
        deaf.recv(512)  # it has asked for the name
        for number in (signal.SIGUSR1, signal.SIGHUP):
            parkway.signal(number)
        heard = parkway.wait_line(lambda line: "signal Hangup: reload" in line, PATIENCE, "it hears")
        parkway.wait_line(lambda line: "reload: =2 unchanged" in line, PATIENCE, "it reloads")
        started, = (line for line in parkway.lines if "started: pid=" in line)
        self.assertLess(parkway.lines.index(heard), parkway.lines.index(started), "it heard first")
        self.assertTrue(self.via(self.listen, self.servers[0]))
        parkway.finish()

    def test_what_is_wrong_changes_nothing_and_is_told(self):
        one, two = (server.address for server in self.servers)
        good = (f"--listen=name=web addr={self.listen} upstream=app",
                f"--upstream=name=app servers={one}")
        parkway = self.start(2, *good)
        line = self.reload(parkway, *good, "--idle_timeoot=1h")
        self.assertIn("ERROR: reload: refused, the configuration stays as it is", line)
        self.assertIn("idle_timeout", line)
        # A port that another process has: nothing else of that file is applied either.
        taken = self.started(Server())
        line = self.reload(parkway, f"--listen=name=web addr={self.listen},{taken.address} "
                           "upstream=app", f"--upstream=name=app servers={two}")
        self.assertIn("another process has it", line)
        self.assertTrue(self.via(self.listen, self.servers[0]))
        # What a restart alone can change is a warning, and the rest is applied.
        said = len(parkway.lines)
        line = self.reload(parkway, *good, "--cpu_affinity=auto")
        parkway.wait_line(lambda l: "WARNING: cpu_affinity: off -> auto" in l, PATIENCE,
                          "a warning", since=said)
        # And again, though the last reload has heard of it: it still holds.
        said = len(parkway.lines)
        line = self.reload(parkway, *good, "--cpu_affinity=auto")
        parkway.wait_line(lambda l: "WARNING: cpu_affinity: off -> auto" in l, PATIENCE,
                          "the same warning", since=said)
        self.assertIn("ERROR", self.reload(parkway, *good, "--cpu_affinity=auto",
                                           "--reload_strict=on"))
        line = self.reload(parkway, *good, f"--pidfile={self.path}.pid",
                           "--cpu_affinity=auto", "--reload_strict=on")
        self.assertIn("only a restart can change", line)
        parkway.finish()

    def test_a_service_manager_that_does_not_read_keeps_nobody_waiting(self):
        path = f"{self.folder()}/notify"
        manager, others = (self.started(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM))
                           for _ in range(2))
        manager.bind(path)
        others.setblocking(False)
        with self.assertRaises(BlockingIOError):
            while True:
                others.sendto(b"X", path)
        admin = Admin(f"{self.folder()}/admin")
        self.write(f"--listen=name=web addr={self.listen} upstream=app",
                   f"--upstream=name=app servers={self.servers[0].address}")
        parkway = self.started(Parkway.from_flags(
            [f"--flagfile={self.path}", "--threads=2", "--drain_timeout=200ms",
             f"--admin_socket={admin.path}"],
            self.listen, before=["env", f"NOTIFY_SOCKET={path}"]))
        parkway.wait_line(lambda line: "service manager: cannot tell READY=1 " in line, PATIENCE,
                          "that nobody reads")
        for _ in range(3):
            self.assertEqual("=2 unchanged", admin.do("reload --wait").strip())
        self.assertTrue(self.via(self.listen, self.servers[0]))
        # Once it reads it hears all that happened.
        manager.settimeout(PATIENCE)
        heard = []
        while sum(b"READY=1" in one for one in heard) < 4:
            heard.append(manager.recv(4096))
        self.assertEqual(3, sum(b"RELOADING=1" in one for one in heard))
        self.assertEqual(1, parkway.stderr().count("cannot tell"))
        parkway.finish()

    def test_changed_limits_count_those_who_are_there(self):
        for threads in (1, 4):
            server = self.servers[0]
            lines = [f"--upstream=name=app servers={server.address}"]
            parkway = self.start(threads, f"--listen=name=web addr={self.listen} upstream=app",
                                 *lines)
            links = [Link(self.listen, server) for _ in range(4)]
            self.reload(parkway, f"--listen=name=web addr={self.listen} upstream=app "
                        "max_connections=4 policy=reject", *lines)
            try:
                connect(self.listen).close()
            except ConnectionResetError:
                pass
            self.assertEqual(parkway.closing_line()["cause"], "limit_listener")
            links.pop().close()
            until(lambda: self.via(self.listen, server), PATIENCE, "a place is free again")
            self.reload(parkway, f"--listen=name=web addr={self.listen} upstream=app", *lines)
            for _ in range(4):
                self.assertTrue(self.via(self.listen, server))
            for link in links:
                link.close()
            parkway.finish()

    def test_a_listener_that_was_paused_and_removed_comes_back_as_another(self):
        path = f"{self.folder()}/admin.sock"
        lines = (f"--upstream=name=app servers={self.servers[0].address}",
                 f"--admin_socket={path}",
                 f"--listen=name=other addr=127.0.0.1:{net.free_port()} upstream=app")
        web = f"--listen=name=web addr={self.listen} upstream=app"
        parkway = self.start(1, web, *lines)
        admin = Admin(path)
        admin.do("listener pause web")
        self.reload(parkway, *lines)
        self.assertEqual([], admin.json("show config --runtime"))
        self.reload(parkway, web, *lines)
        until(lambda: admin.listener("web")["state"] == "accepting", PATIENCE, "it accepts")
        parkway.finish()

    def test_those_who_ask_meanwhile_share_a_round(self):
        path = f"{self.folder()}/admin.sock"
        parkway = self.start(2, f"--listen=name=web addr={self.listen} upstream=app",
                             f"--upstream=name=app servers={self.servers[0].address}",
                             f"--admin_socket={path}")
        admin = Admin(path)
        # Twenty ask while it cannot answer: what they say is there when it looks.
        parkway.pause()
        asking = []
        for _ in range(20):
            sock = self.started(admin.connect())
            sock.sendall(b"reload --wait\n")
            sock.shutdown(socket.SHUT_WR)
            asking.append(sock)
        parkway.go_on()
        for sock in asking:
            self.assertIn("=2 unchanged", everything(sock))
        rounds = admin.json("show info")["config"]["reloads"]
        self.assertGreaterEqual(rounds, 1)
        self.assertLess(rounds, 10, "rounds for twenty who asked at once")
        parkway.finish()

    def test_200_reloads_under_load_fail_nobody_and_leave_nothing_behind(self):
        own = self.folder()
        nginx = self.started(Nginx(own, own, workers=1))
        echo = f"127.0.0.1:{net.free_port()}"
        self.started(Crowd("echo", echo))
        streams_at = f"127.0.0.1:{net.free_port()}"
        ports = [net.free_port() for _ in range(6)]

        def lines(number):
            # Servers, weights, balance, a listener and limits are different each time. A port comes
            # back after its old socket is closed for good: until then it is still ours.
            return [
                "--access_log=off",
                f"--listen=name=web{number % 2} addr={self.listen} upstream=app "
                f"idle_timeout={60 + number % 3}m",
                f"--listen=name=streams addr={streams_at} upstream=echo "
                f"max_connections={1000 + number % 2}",
                f"--listen=name=more addr=127.0.0.1:{ports[number % 6]} upstream=app",
                f"--upstream=name=app balance={('p2c', 'random', 'least_conn')[number % 3]}",
                f"--server=upstream=app name=a addr={nginx.ipv4} weight={1 + number % 4}",
            ] + [f"--server=upstream=app name=s{number % 5} addr=127.0.0.2:{nginx.ipv4.rsplit(':', 1)[1]} "
                 "weight=0"] + [f"--upstream=name=echo servers={echo}"]

        parkway = self.start(2, *lines(0))
        streams = self.started(Streams(streams_at, STREAMS))
        wrk = {}

        def load():
            wrk["kept"] = Wrk(self.listen, RELOADS // 10 + 4, threads=1, connections=32)

        def load_short():
            wrk["short"] = Wrk(self.listen, RELOADS // 10 + 4, threads=1, connections=16,
                               close=True)

        loads = [threading.Thread(target=run) for run in (load, load_short)]
        for one in loads:
            one.start()
        time.sleep(1)
        first = None
        applied = refused = 0
        for number in range(1, RELOADS + 1):
            bad = number % 4 == 0
            began = time.monotonic()
            line = self.reload(parkway, *lines(number), *(["--bogus=1"] if bad else []))
            if bad:
                refused += "ERROR: reload: refused" in line
            else:
                applied += "] reload: " in line
                self.assertIn("] reload: ", line, f"reload {number}")
            if number == RELOADS // 4:
                first = (procfs.private_bytes(parkway.pid), procfs.threads(parkway.pid),
                         procfs.descriptors(parkway.pid))
            time.sleep(max(0.0, began + 0.1 - time.monotonic()))
        self.assertEqual((applied, refused), (RELOADS - RELOADS // 4, RELOADS // 4))
        for one in loads:
            one.join()
        for name, result in wrk.items():
            print(f"  {name}: {result.rate:.0f} requests/s", end="")
            self.assertEqual(result.failures(), [], result.text)
        self.assertEqual(streams.wrong, [])
        self.assertGreater(streams.bytes, STREAMS * 512 * 4)
        last = (procfs.private_bytes(parkway.pid), procfs.threads(parkway.pid))
        print(f"; {applied} applied, {refused} refused; private {first[0]} -> {last[0]} bytes",
              end=" ")
        self.assertEqual(last[1], first[1])
        self.assertLess(last[0], first[0] * 1.1 + 2_000_000)
        streams.close()
        until(lambda: procfs.descriptors(parkway.pid) < 40, PATIENCE, "no descriptor is left behind")
        parkway.finish()


if __name__ == "__main__":
    story.main()
