#!/usr/bin/env python3
"""Servers by name: a real name server whose answers change, files of servers, and what becomes of
connections."""

import collections
import os
import signal
import socket
import time

from lib import net, places, procfs, story
from lib.admin import Admin
from lib.daemon import PATIENCE, Parkway
from lib.greeter import Connection, Greeter
from lib.nameserver import Dnsmasq
from lib.process import run, until

WORKERS = (1, 4)


class Names(story.Story):
    threads = 1

    def setUp(self):
        self.port = net.free_port()
        self.work = self.folder()

    def servers(self, *numbers):
        """Greeters at 127.0.0.N, all on the same port."""
        return [self.started(Greeter(f"127.0.0.{number}", self.port)) for number in numbers]

    def dns(self, hosts, **options):
        return self.started(Dnsmasq(self.work, hosts, **options))

    def parkway(self, dns, flags, threads=None, ready=True):
        listen = f"127.0.0.1:{net.free_port()}"
        flags = [f"--listen={listen}", f"--threads={threads or self.threads}", "--dns_max_ttl=1s",
                 "--dns_min_ttl=100ms", "--dns_timeout=500ms",
                 *([f"--dns_servers={dns.address}"] if dns else []), *flags]
        parkway = Parkway.from_flags(flags, listen if ready else None)
        parkway.listen = listen
        return self.started(parkway)

    def write(self, text):
        path = os.path.join(self.work, "servers")
        with open(path + ".new", "w", encoding="ascii") as file:
            file.write(text)
        os.rename(path + ".new", path)
        return path

    def lines(self, *numbers):
        return "".join(f"--server=name=s{n} addr=127.0.0.{n}:{self.port}\n" for n in numbers)

    def answered(self, parkway):
        """Who answers a new client; nobody: an empty name."""
        try:
            connection = Connection(parkway.listen)
        except OSError:
            return ""
        try:
            return connection.server
        finally:
            connection.close()

    def spread(self, parkway, clients=40):
        return collections.Counter(self.answered(parkway) for _ in range(clients))

    def becomes(self, parkway, hosts, seconds=PATIENCE):
        wanted = {f"127.0.0.{number}" for number in hosts}
        until(lambda: set(self.spread(parkway, 20)) == wanted, seconds,
              lambda: f"clients are answered by {wanted}, and not by {set(self.spread(parkway))}:\n"
                      f"{parkway.stderr()}")


class Answers(Names):

    def test_each_address_is_a_server_and_changes_are_followed(self):
        for threads in WORKERS:
            with self.subTest(threads=threads):
                self.setUp()
                self.servers(2, 3, 4)
                dns = self.dns({"app.test": ["127.0.0.2", "127.0.0.3"]})
                admin = Admin(os.path.join(self.work, "admin"))
                parkway = self.parkway(dns, [f"--upstream=app.test:{self.port}",
                                             f"--admin_socket={admin.path}",
                                             "--balance=round_robin"], threads)
                self.assertEqual({"127.0.0.2": 20, "127.0.0.3": 20}, self.spread(parkway, 40))
                upstream, = admin.json("show servers")
                name, = upstream["names"]
                self.assertEqual((f"app.test:{self.port}", 2, 2, 40),
                                 (name["name"], name["servers"], name["servers_up"], name["total"]))
                self.assertEqual([20, 20], [one["total"] for one in upstream["servers"]])
                known, = admin.json("show dns")
                self.assertEqual("app.test", known["name"])
                self.assertLess(known["age_s"], PATIENCE)
                self.assertRegex(admin.do("show dns"), r"app\.test +[0-9.]+m?s ")
                dns.set({"app.test": ["127.0.0.3", "127.0.0.4"]})
                self.becomes(parkway, [3, 4])
                self.assertEqual(0, parkway.stop())
                self.doCleanups()

    def test_the_time_to_live_is_honoured(self):
        self.servers(2)
        dns = self.dns({"app.test": ["127.0.0.2"]}, ttl=2)
        began = time.monotonic()
        # A question is not asked again because the name server takes its time.
        parkway = self.parkway(
            dns, [f"--upstream=app.test:{self.port} dns_max_ttl=1h dns_timeout=60s"])
        self.assertEqual("127.0.0.2", self.answered(parkway))
        until(lambda: dns.asked("app.test") >= 3, PATIENCE, "it is asked twice more")
        self.assertGreater(time.monotonic() - began, 2 * 2 - 0.5)

    def test_an_answer_of_two_hundred_addresses_comes_over_tcp(self):
        self.started(Greeter("0.0.0.0", self.port))
        hosts = [f"127.1.0.{n}" for n in range(1, 201)]
        dns = self.dns({"app.test": hosts})
        parkway = self.parkway(dns, [f"--upstream=app.test:{self.port} balance=round_robin"])
        self.assertEqual({host: 1 for host in hosts}, self.spread(parkway, 200))

    def test_a_dead_name_server_changes_nothing_and_is_said(self):
        for threads in WORKERS:
            with self.subTest(threads=threads):
                self.setUp()
                self.servers(2, 3)
                dns = self.dns({"app.test": ["127.0.0.2"]})
                parkway = self.parkway(dns, [f"--upstream=app.test:{self.port}"], threads)
                self.assertEqual("127.0.0.2", self.answered(parkway))
                dns.stop()
                parkway.wait_line(
                    lambda line: "name app.test: " in line and "the last answer is kept" in line,
                    PATIENCE, "that the name server is gone")
                self.assertEqual("127.0.0.2", self.answered(parkway))
                self.dns({"app.test": ["127.0.0.3"]}, port=dns.port)
                parkway.wait_line(lambda line: "name app.test: answered again" in line, PATIENCE,
                                  "that it is back")
                self.becomes(parkway, [3])
                self.doCleanups()

    def test_services_say_port_priority_and_weight(self):
        for threads in WORKERS:
            with self.subTest(threads=threads):
                self.setUp()
                self.servers(2, 3, 4)
                dns = self.dns(
                    {"a.test": ["127.0.0.2"], "b.test": ["127.0.0.3"], "c.test": ["127.0.0.4"]},
                    flags=[f"--srv-host=_db._tcp.test,{host}.test,{self.port},{priority},{weight}"
                           for host, priority, weight in
                           (("a", 1, 30), ("b", 1, 10), ("c", 2, 50))])
                parkway = self.parkway(
                    dns, ["--upstream=name=db servers=srv:_db._tcp.test balance=round_robin"],
                    threads)
                self.assertEqual({"127.0.0.2": 30, "127.0.0.3": 10}, self.spread(parkway, 40))
                self.doCleanups()

    def test_a_silent_ipv6_costs_a_client_the_delay_and_no_more(self):
        if not os.path.exists("/proc/net/if_inet6"):
            self.skipTest("no IPv6 here")
        self.started(net.BlackHole("::1", self.port))
        self.servers(2)
        dns = self.dns({"app.test": ["127.0.0.2", "::1"]})
        # A check or a client that waited for the silent one would do so for an hour.
        checks = ("health=tcp health_interval=100ms health_timeout=1h fall=1 health_initial=down "
                  "connect_timeout=1h")
        for threads in WORKERS:
            with self.subTest(threads=threads):
                parkway = self.parkway(
                    dns, [f"--upstream=app.test:{self.port} resolve=one {checks}"], threads)
                parkway.wait_line(lambda line: "is UP" in line, PATIENCE, "that a check passed")
                began = time.monotonic()
                self.assertEqual("127.0.0.2", self.answered(parkway))
                self.assertGreater(time.monotonic() - began, 0.2)
                self.assertEqual({"127.0.0.2": 5}, self.spread(parkway, 5))
                self.assertNotIn("is DOWN", parkway.stderr())


class Starts(Names):

    def silent(self):
        """A name server that hears and says nothing, and its address."""
        hole = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.addCleanup(hole.close)
        hole.settimeout(PATIENCE)
        hole.bind(("127.0.0.1", 0))
        return hole, f"127.0.0.1:{hole.getsockname()[1]}"

    def test_a_start_waits_for_names_and_goes_on_without_them(self):
        self.servers(2)
        dns = self.dns({})
        parkway = self.parkway(dns, [f"--upstream=app.test:{self.port}"])
        parkway.wait_line(lambda line: "app.test has no address" in line, PATIENCE, "what is missing")
        self.assertEqual("", self.answered(parkway))
        dns.set({"app.test": ["127.0.0.2"]})
        self.becomes(parkway, [2])

    def test_a_start_that_is_to_fail_does(self):
        dns = self.dns({})
        parkway = self.parkway(dns, [f"--upstream=app.test:{self.port} dns_init=fail"], ready=False)
        self.assertEqual(71, parkway.wait(PATIENCE))
        self.assertIn("app.test has no address", parkway.stderr())

    def test_a_start_does_not_wait_for_a_lazy_name(self):
        upstream = f"--upstream=app.test:{self.port} connect_timeout=60s dns_timeout=60s"
        began = time.monotonic()
        self.parkway(None, [f"{upstream} dns_init=lazy dns_servers={self.silent()[1]}"])
        self.assertLess(time.monotonic() - began, 30)
        # And one that waits can be told to end.
        hole, address = self.silent()
        waits = self.parkway(None, [f"{upstream} dns_servers={address}"], ready=False)
        self.assertTrue(hole.recv(512), "a question")
        waits.signal(signal.SIGTERM)
        self.assertEqual(0, waits.wait(PATIENCE))

    def test_a_check_asks_nobody(self):
        hole, address = self.silent()
        hole.setblocking(False)
        code, _, _ = run([places.parkway_binary(), "--listen=:1", "--upstream=app.test:80 dns_init=fail",
                          f"--dns_servers={address}", "--check"])
        self.assertEqual(0, code)
        self.assertRaises(BlockingIOError, hole.recv, 512)


class Removals(Names):

    def removed(self, threads, on_remove):
        """A daemon, and a client whose server has left DNS."""
        self.setUp()
        self.servers(2, 3)
        dns = self.dns({"app.test": ["127.0.0.2"]})
        parkway = self.parkway(
            dns, [f"--upstream=app.test:{self.port} on_remove={on_remove}"], threads)
        client = self.started(Connection(parkway.listen))
        self.assertEqual("127.0.0.2", client.server)
        dns.set({"app.test": ["127.0.0.3"]})
        self.becomes(parkway, [3])
        return parkway, client

    def test_keep(self):
        for threads in WORKERS:
            with self.subTest(threads=threads):
                _, client = self.removed(threads, "keep")
                time.sleep(0.3)
                self.assertTrue(client.lives())
                self.doCleanups()

    def test_close(self):
        for threads in WORKERS:
            with self.subTest(threads=threads):
                _, client = self.removed(threads, "close")
                until(lambda: not client.lives(), PATIENCE, "the client is cut off")
                self.doCleanups()

    def test_drain(self):
        for threads in WORKERS:
            with self.subTest(threads=threads):
                began = time.monotonic()
                parkway, client = self.removed(threads, "drain:1s")
                until(lambda: not client.lives(), PATIENCE, "the client is cut off")
                # The only one, and at the end of the time.
                self.assertGreater(time.monotonic() - began, 0.9)
                self.assertEqual("127.0.0.3", self.answered(parkway))
                self.doCleanups()


class Files(Names):

    def flags_of(self, name, servers_file):
        """The path of a flags file that says where the servers of upstream `name` are."""
        path = os.path.join(self.work, "flags")
        with open(path, "w", encoding="ascii") as file:
            file.write(f"--upstream=name={name} servers_file={servers_file}\n")
        return path

    def test_a_file_of_servers_is_followed_and_a_bad_one_is_told(self):
        for threads in WORKERS:
            with self.subTest(threads=threads):
                self.setUp()
                self.servers(2, 3, 4)
                path = self.write(self.lines(2))
                admin = Admin(os.path.join(self.work, "admin"))
                parkway = self.parkway(None, [f"--upstream=name=app servers_file={path}",
                                              f"--admin_socket={admin.path}"], threads)
                self.assertEqual({"127.0.0.2": 10}, self.spread(parkway, 10))
                self.write(self.lines(3, 4))
                self.becomes(parkway, [3, 4])
                self.write(self.lines(2) + "--server=name=s9 addr=nonsense:port\n")
                parkway.wait_line(lambda line: f"{path}:2:" in line and "are kept" in line,
                                  PATIENCE, "what is wrong with it")
                file = admin.json("show servers")[0]["servers_file"]
                self.assertEqual((path, 2), (file["path"], file["servers"]))
                self.assertIn(f"{path}:2:", file["error"])
                self.assertIn(path, admin.do("show dns"))
                self.becomes(parkway, [3, 4])
                self.write(self.lines(4))
                self.becomes(parkway, [4])
                self.doCleanups()

    def test_a_file_that_comes_later_is_found(self):
        self.servers(2)
        path = os.path.join(self.work, "later", "servers")
        parkway = self.parkway(None, [f"--upstream=name=app servers_file={path}"])
        self.assertEqual("", self.answered(parkway))
        os.mkdir(os.path.dirname(path))
        os.rename(self.write(self.lines(2)), path)
        self.becomes(parkway, [2])

    def without(self, path, how):
        """Takes the file away, in one of the ways in which nothing can be read of it."""
        os.unlink(path)
        if how == "a pipe":
            os.mkfifo(path)
        elif how == "a directory":
            os.mkdir(path)

    def test_a_reload_keeps_the_servers_of_a_file_that_cannot_be_read(self):
        for how in ("missing", "a pipe", "a directory"):
            with self.subTest(how=how):
                self.setUp()
                self.servers(2, 3)
                path = self.write(self.lines(2))
                admin = Admin(os.path.join(self.work, "admin"))
                flags = self.flags_of("app", path)
                parkway = self.parkway(None, [f"--flagfile={flags}", f"--admin_socket={admin.path}",
                                              "--balance=round_robin"])
                self.write(self.lines(2, 3))
                self.becomes(parkway, [2, 3])
                admin.do("server weight app/s3 0")
                self.becomes(parkway, [2])
                self.without(path, how)
                parkway.wait_line(lambda line: "its 2 servers are kept" in line, PATIENCE,
                                  "that it cannot be read")
                for _ in range(2):
                    self.assertEqual("=2 unchanged", admin.do("reload --wait").strip())
                parkway.wait_line(lambda line: "reload: warning: " in line and
                                  "the 2 servers that it had last are kept" in line, PATIENCE,
                                  "that they are kept")
                self.assertNotIn("has no servers", parkway.stderr())
                self.assertEqual({"127.0.0.2": 10}, self.spread(parkway, 10))
                self.assertEqual(0, admin.server("app/s3")["weight"], "what was changed holds")
                # They are those of the file, whatever the upstream is called.
                self.flags_of("other", path)
                self.assertIn("+upstream other (2 servers)", admin.do("reload --wait"))
                self.assertEqual({"127.0.0.2": 5, "127.0.0.3": 5}, self.spread(parkway, 10))
                if how == "a directory":
                    os.rmdir(path)
                self.write(self.lines(3))
                self.becomes(parkway, [3])
                self.doCleanups()

    def test_a_reload_beside_a_file_that_is_wrong_is_refused(self):
        self.servers(2)
        path = self.write(self.lines(2))
        admin = Admin(os.path.join(self.work, "admin"))
        parkway = self.parkway(None, [f"--upstream=name=app servers_file={path}",
                                      f"--admin_socket={admin.path}"])
        self.write("nonsense\n")
        self.assertIn(f"{path}:1:1:", admin.refused("reload --wait"))
        self.assertEqual("127.0.0.2", self.answered(parkway))

    def test_a_reload_to_another_file_keeps_nothing_of_the_first(self):
        self.servers(2)
        path = self.write(self.lines(2))
        admin = Admin(os.path.join(self.work, "admin"))
        flags = self.flags_of("app", path)
        parkway = self.parkway(None, [f"--flagfile={flags}", f"--admin_socket={admin.path}"])
        self.assertEqual("127.0.0.2", self.answered(parkway))
        self.flags_of("app", path + ".other")
        self.assertIn("-1 server", admin.do("reload --wait"))
        parkway.wait_line(lambda line: "it has no servers until the file is there" in line, PATIENCE,
                          "that it has none")
        self.assertEqual("", self.answered(parkway))

    def test_names_in_a_file_are_asked_for(self):
        self.servers(2)
        dns = self.dns({"app.test": ["127.0.0.2"]})
        path = self.write("")
        parkway = self.parkway(dns, [f"--upstream=name=app servers_file={path}"])
        self.write(f"--server=name=a addr=app.test:{self.port}\n")
        self.becomes(parkway, [2])


class Returns(Names):
    """A server that takes connections again loses none of them to a drain that began before."""

    def setUp(self):
        super().setUp()
        self.servers(2, 3)
        self.path = self.write(self.lines(2))
        self.admin = Admin(os.path.join(self.work, "admin"))

    def begun(self):
        return self.parkway(None, [
            f"--upstream=name=app servers_file={self.path} on_remove=drain:5s balance=first",
            f"--admin_socket={self.admin.path}"])

    def has(self, *numbers):
        """Whether these servers are there."""
        upstream, = self.admin.json("show servers")
        return [one["name"] for one in upstream["servers"]] == [f"s{n}" for n in numbers]

    def two(self):
        self.write(self.lines(2, 3))
        until(lambda: self.has(2, 3), PATIENCE, "the other one is there")

    def keeps(self, parkway):
        """Whoever connects now is there after all drains have ended."""
        self.becomes(parkway, [2])
        client = self.started(Connection(parkway.listen))
        until(lambda: all(one["ended"] for one in self.admin.json("show drains")), PATIENCE,
              "the drains have ended")
        self.assertTrue(client.lives())

    def test_a_server_that_is_in_its_file_again(self):
        parkway = self.begun()
        client = self.started(Connection(parkway.listen))
        self.write(self.lines(3))
        self.becomes(parkway, [3])
        self.assertTrue(client.lives())
        self.assertEqual(1, len(self.admin.json("show drains")))
        self.write(self.lines(2))
        self.keeps(parkway)

    def test_a_server_that_an_operator_makes_ready_again(self):
        parkway = self.begun()
        self.two()
        self.started(Connection(parkway.listen))
        self.admin.do("server drain app/s2 --over 5s")
        self.becomes(parkway, [3])
        self.admin.do("server ready app/s2")
        self.keeps(parkway)

    def test_a_server_that_was_down_until_its_checks_ended(self):
        path = os.path.join(self.work, "flags")

        def write(keys):
            with open(path, "w", encoding="ascii") as file:
                file.write(f"--upstream=name=app servers_file={self.path} {keys}\n")

        write(f"health=tcp health_port={net.free_port()} health_interval=100ms on_down=drain:5s")
        parkway = self.parkway(None, [f"--flagfile={path}", f"--admin_socket={self.admin.path}"],
                               ready=False)
        until(lambda: ("unix", self.admin.path) in procfs.listens(parkway.pid), PATIENCE,
              "its admin socket is there")
        until(lambda: self.admin.json("show drains"), PATIENCE, "its clients are to go")
        write("health=off")
        self.admin.do("reload")
        self.keeps(parkway)

    def test_what_an_operator_changed_of_a_file_outlives_a_reload(self):
        self.begun()
        self.two()
        self.admin.do("server weight app/s3 7")
        self.admin.do("reload")
        self.assertEqual(7, self.admin.server("app/s3")["weight"])
        self.admin.do("server del app/s3")
        self.admin.do("reload")
        self.assertTrue(self.has(2))


class Reloads(Names):

    def test_a_reload_asks_for_new_names_first_and_keeps_the_others(self):
        for threads in WORKERS:
            with self.subTest(threads=threads):
                self.setUp()
                self.servers(2, 3)
                dns = self.dns({"a.test": ["127.0.0.2"], "b.test": ["127.0.0.3"]})
                path = os.path.join(self.work, "flags")

                def write(*names):
                    with open(path, "w", encoding="ascii") as file:
                        file.write("".join(f"--server={name}:{self.port} dns_max_ttl=1h "
                                           "dns_min_ttl=1m\n" for name in names))

                write("a.test")
                parkway = self.parkway(dns, ["--upstream=name=app dns_timeout=60s",
                                             f"--flagfile={path}"], threads)
                self.assertEqual({"127.0.0.2": 5}, self.spread(parkway, 5))
                write("a.test", "b.test")
                parkway.signal(signal.SIGHUP)
                self.becomes(parkway, [2, 3])
                self.assertEqual(1, dns.asked("a.test"))
                # From the first client on: nobody finds no server.
                write("b.test")
                parkway.signal(signal.SIGHUP)
                until(lambda: self.answered(parkway) == "127.0.0.3", PATIENCE, "b alone")
                self.becomes(parkway, [3])
                self.assertEqual(1, dns.asked("b.test"))
                self.doCleanups()


WithFourWorkers = story.with_four_workers(Answers, Starts, Files)


class ReturnsWithFourWorkers(Returns):
    threads = 4


if __name__ == "__main__":
    story.main()
