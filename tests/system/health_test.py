#!/usr/bin/env python3
"""Active health checks: real servers that go and come, and what becomes of clients and the log."""

import re
import signal
import socket
import time

from lib import net, story
from lib.admin import Admin
from lib.daemon import PATIENCE, Parkway
from lib.peer import RST, connect
from lib.process import run, until
from lib.programs import MariaDb, Postgres, Redis, program
from lib.talker import Answerer

FAST = ["--health_interval=100ms", "--health_timeout=1s"]
WORKERS = (1, 4)


class Health(story.Story):
    threads = 1

    def parkway(self, flags, threads=None):
        listen = f"127.0.0.1:{net.free_port()}"
        flags = [flag.format(listen=listen) for flag in flags]
        threads = threads or self.threads
        parkway = Parkway.from_flags([f"--threads={threads}", *FAST, *flags], listen)
        parkway.listen = listen
        return self.started(parkway)

    def transition(self, parkway, state, server, *, after=0, seconds=PATIENCE):
        """The first line from number `after` on that says `server` is `state`."""

        def find():
            for line in list(parkway.lines)[after:]:
                if re.search(rf"server {re.escape(server)} is {state}\b", line):
                    return line
            return None

        return until(find, seconds, f"{server} is {state}:\n{parkway.stderr()}")

    def talk(self, parkway, expected):
        client = self.started(
            socket.create_connection(("127.0.0.1", int(parkway.listen.rsplit(":", 1)[1])), 10))
        client.settimeout(10)
        client.sendall(b"?")
        self.assertEqual(client.recv(1), expected)
        return client

    def transitions(self, parkway):
        return [line for line in parkway.lines if re.search(r" is (UP|DOWN): ", line)]


class Tcp(Health):

    def test_a_server_that_refuses_gets_nobody_until_it_is_back(self):
        for threads in WORKERS:
            a, b = Answerer(answer=b"a"), self.started(Answerer(answer=b"b"))
            parkway = self.parkway(
                ["--listen={listen}", f"--upstream={b.address}", "--health=tcp", "--fall=2",
                 f"--server=addr={a.address} name=a"], threads)
            a.close()
            line = self.transition(parkway, "DOWN", "a")
            self.assertRegex(line, r"WARNING: upstream default server a is DOWN: L4CON "
                                   r"\(Connection refused\) from .*; was up .*; 1 of 2 servers up")
            for _ in range(10):
                self.talk(parkway, b"b").close()
            until(lambda: len(parkway.closing_lines()) == 10, PATIENCE, "ten lines")
            self.assertEqual({line["attempts"] for line in parkway.closing_lines()}, {"1"})
            self.started(Answerer(answer=b"a", port=a.port))
            line = self.transition(parkway, "UP", "a")
            self.assertRegex(line, r"NOTICE: .* a is UP: L4OK .*, 2 in a row; was down for "
                                   r"\d+\.\d{3}s; 2 of 2 servers up")
            self.assertEqual(len(self.transitions(parkway)), 2)
            parkway.finish()

    def test_servers_see_the_checks_end_with_a_fin_and_not_more_often_than_asked(self):
        for threads in WORKERS:
            start = time.monotonic()
            server = self.started(Answerer(greeting=b"220 mail.example.org ESMTP\r\n"))
            parkway = self.parkway(
                ["--listen={listen} upstream=one", f"--upstream=name=one servers={server.address}",
                 f"--upstream=name=two servers={server.address}", "--health=tcp",
                 "--health_interval=200ms"], threads)
            until(lambda: len(server.endings) >= 3, PATIENCE, "three checks")
            seen = server.accepted
            time.sleep(2)
            # From the beginning: what is late in being accepted was made before.
            self.assertLessEqual(server.accepted, (time.monotonic() - start) / 0.18 + 2,
                                 "one check for two upstreams and all workers")
            self.assertGreaterEqual(server.accepted - seen, 2)
            parkway.finish()
            self.assertEqual(set(server.endings), {"FIN"})

    def test_health_close_rst_resets(self):
        server = self.started(Answerer())
        parkway = self.parkway(["--listen={listen}", f"--upstream={server.address}",
                                "--health=tcp", "--health_close=rst"])
        until(lambda: "ConnectionResetError" in server.endings, PATIENCE, "a check ends by RST")
        parkway.finish()

    def test_a_server_that_wants_a_proxy_header_gets_one_that_says_local(self):
        for version, header in (("v1", b"PROXY UNKNOWN\r\n"),
                                ("v2", b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0")):
            server = self.started(Answerer())
            parkway = self.parkway(["--listen={listen}", f"--upstream={server.address}",
                                    "--health=tcp", f"--send_proxy={version}"])
            until(lambda: server.heard, PATIENCE, "a check")
            self.assertEqual(server.heard[0], header)
            parkway.finish()

    def test_clients_that_get_through_are_as_good_as_checks(self):
        server = self.started(Answerer(answer=b"x"))
        parkway = self.parkway(["--listen={listen}", f"--upstream={server.address}",
                                "--health=tcp", "--health_interval=1s"])
        until(lambda: server.accepted >= 1, PATIENCE, "the first check")
        clients, accepted = 0, server.accepted
        end, last, owed = time.monotonic() + 4, time.monotonic(), 1
        while time.monotonic() < end:
            with socket.create_connection(("127.0.0.1", int(parkway.listen.rsplit(":", 1)[1])),
                                          5) as client:
                client.sendall(b"?")
                self.assertEqual(client.recv(1), b"x")
            clients += 1
            # While nobody came for an interval, there was a check for each.
            now = time.monotonic()
            owed += int((now - last) / 0.9)
            last = now
            time.sleep(0.05)
        self.assertLessEqual(server.accepted - accepted - clients, owed, "checks beside the clients")
        parkway.finish()

    def test_health_initial_down_serves_nobody_before_the_first_check(self):
        hole = self.started(net.BlackHole())
        parkway = self.parkway(["--listen={listen}", f"--upstream={hole.address}", "--health=tcp",
                                "--health_initial=down"])
        try:
            self.assertEqual(self.started(connect(parkway.listen)).ending(), RST)
        except ConnectionResetError:
            pass  # before connect() had returned
        self.assertEqual(parkway.closing_line()["cause"], "no_server")
        parkway.finish()

    def test_a_stop_does_not_wait_for_a_check_that_hangs(self):
        hole = self.started(net.BlackHole())
        parkway = self.parkway(["--listen={listen}", f"--upstream={hole.address}", "--health=tcp",
                                "--health_timeout=1h"], 4)
        time.sleep(0.3)
        parkway.finish()


class Sessions(Health):

    def served(self, *flags, threads=None):
        """A server, and the daemon before it."""
        server = Answerer(answer=b"s")
        parkway = self.parkway(["--listen={listen}", "--upstream=name=app", "--health=tcp",
                                "--fall=2", *flags, f"--server=addr={server.address} name=s"],
                               threads)
        return server, parkway

    def test_on_down_close_ends_the_connections_of_who_went(self):
        for threads in WORKERS:
            server, parkway = self.served("--on_down=close", threads=threads)
            clients = [self.talk(parkway, b"s") for _ in range(8)]
            server.close()  # it accepts no more; its connections stay
            self.transition(parkway, "DOWN", "s")
            for client in clients:
                self.assertEqual(client.recv(1), b"")
            until(lambda: len(parkway.closing_lines()) == 8, PATIENCE, "eight lines")
            self.assertEqual({line["cause"] for line in parkway.closing_lines()}, {"server_down"})
            parkway.finish()

    def test_on_down_keep_leaves_them(self):
        server, parkway = self.served()
        client = self.talk(parkway, b"s")
        server.close()
        self.transition(parkway, "DOWN", "s")
        client.settimeout(0.5)
        with self.assertRaises(TimeoutError):
            client.recv(1)

    def test_on_down_drain_gives_them_time(self):
        server, parkway = self.served("--on_down=drain:1s")
        client = self.talk(parkway, b"s")
        start = time.monotonic()
        server.close()
        self.transition(parkway, "DOWN", "s")
        client.settimeout(PATIENCE)
        self.assertEqual(client.recv(1), b"")
        self.assertGreater(time.monotonic() - start, 0.9)

    def test_a_drain_of_who_went_is_told_of_like_any_other_and_ends_when_it_is_back(self):
        for threads in WORKERS:
            path = f"{self.folder()}/admin.sock"
            server, parkway = self.served("--on_down=drain:1h", f"--admin_socket={path}",
                                          threads=threads)
            admin = Admin(path)
            clients = [self.talk(parkway, b"s") for _ in range(3)]
            self.assertEqual(admin.json("show drains"), [])
            server.close()
            drain = until(lambda: [one for one in admin.json("show drains") if one["total"] == 3],
                          PATIENCE, "the drain is listed")[0]
            self.assertEqual((drain["what"], drain["left"], drain["ended"], drain["over_s"]),
                             ("server app/s, which is down", 3, False, 3600))
            self.assertTrue(admin.json("show info")["draining"])
            self.assertFalse(admin.json("show info")["stopping"])
            # What was begun for a server that is down ends nobody of one that is up.
            self.started(Answerer(answer=b"s", port=server.port))
            self.transition(parkway, "UP", "s")
            until(lambda: admin.json("show drains")[0]["ended"], PATIENCE, "the drain is over")
            self.assertFalse(admin.json("show info")["draining"])
            for client in clients:
                client.settimeout(0.1)
                with self.assertRaises(TimeoutError):
                    client.recv(1)
            parkway.signal(signal.SIGTERM)
            until(lambda: admin.json("show drains")[-1]["what"] == "stop", PATIENCE,
                  "the stop is a drain, too")
            parkway.signal(signal.SIGTERM)
            self.assertEqual(parkway.wait(PATIENCE), 0)

    def pair(self, flag, threads):
        """A primary and a backup, the daemon before them."""
        primary, backup = Answerer(answer=b"p"), self.started(Answerer(answer=b"b"))
        parkway = self.parkway(
            ["--listen={listen}", "--upstream=name=app", "--health=tcp", "--fall=2", flag,
             f"--server=addr={primary.address} name=primary",
             f"--server=addr={backup.address} name=backup backup"], threads)
        return primary, backup, parkway

    def test_on_up_close_ends_those_on_backups_when_a_primary_is_back(self):
        for threads in WORKERS:
            primary, _, parkway = self.pair("--on_up=close", threads)
            primary.close()
            self.transition(parkway, "DOWN", "primary")
            clients = [self.talk(parkway, b"b") for _ in range(4)]
            self.started(Answerer(answer=b"p", port=primary.port))
            self.transition(parkway, "UP", "primary")
            for client in clients:
                self.assertEqual(client.recv(1), b"")
            until(lambda: len(parkway.closing_lines()) == 4, PATIENCE, "four lines")
            self.assertEqual({line["cause"] for line in parkway.closing_lines()}, {"primary_back"})
            self.talk(parkway, b"p").close()
            parkway.finish()


class Recipes(Health):
    """Those of deploy/README.md, with the real programs."""

    def redis(self):
        return self.started(Redis(self.folder()))

    def cli(self, redis, *words):
        return run([program("redis-cli"), "-p", redis.port, *words])[1].strip()

    def test_redis_role_follows_the_master(self):
        a, b = self.redis(), self.redis()
        self.cli(b, "replicaof", "127.0.0.1", a.port)
        parkway = self.parkway(
            ["--listen={listen}",
             "--upstream=name=redis health=send_expect health_send=ROLE\\r\\n "
             "health_expect=*3\\r\\n$6\\r\\nmaster on_down=close",
             f"--server=addr={a.ipv4} name=a", f"--server=addr={b.ipv4} name=b"])
        line = self.transition(parkway, "DOWN", "b")
        self.assertIn("L7RSP \"*5\\r\\n$5\\r\\nslave\\r\\n", line)
        port = parkway.listen.rsplit(":", 1)[1]
        for _ in range(5):
            self.assertEqual(run([program("redis-cli"), "-p", port, "set", "x", "1"])[1].strip(),
                             "OK")
        client = self.started(socket.create_connection(("127.0.0.1", int(port)), PATIENCE))
        client.sendall(b"PING\r\n")
        self.assertEqual(client.recv(100), b"+PONG\r\n")
        seen = len(parkway.lines)
        self.cli(b, "replicaof", "no", "one")
        self.cli(a, "replicaof", "127.0.0.1", b.port)
        self.transition(parkway, "UP", "b", after=seen)
        self.transition(parkway, "DOWN", "a", after=seen)
        self.assertEqual(client.recv(1), b"")
        for _ in range(5):
            run([program("redis-cli"), "-p", port, "set", "y", "2"])
        self.assertEqual(self.cli(b, "get", "y"), "2")
        parkway.finish()

    def test_redis_ping(self):
        redis = self.redis()
        parkway = self.parkway(
            ["--listen={listen}", f"--upstream=servers={redis.ipv4} health=send_expect "
             "health_initial=down health_send=PING\\r\\n health_expect=+PONG"])
        self.assertRegex(self.transition(parkway, "UP", redis.ipv4), "L7OK")
        redis.stop()
        self.transition(parkway, "DOWN", redis.ipv4)

    def test_postgresql(self):
        postgres = self.started(Postgres(self.folder()))
        # StartupMessage of protocol 3.0 for the user "postgres".
        message = (r"\x00\x00\x00\x17\x00\x03\x00\x00user\x00postgres\x00\x00")
        parkway = self.parkway(
            ["--listen={listen}", f"--upstream=servers={postgres.ipv4} health=send_expect "
             f"health_initial=down health_send={message} health_expect=R"])
        self.assertRegex(self.transition(parkway, "UP", postgres.ipv4), "L7OK")
        port = parkway.listen.rsplit(":", 1)[1]
        self.assertIn("1", run([f"{postgres.bin}/psql", "-h", "127.0.0.1", "-p", port, "-U",
                                "postgres", "-Atc", "select 1"])[1])
        postgres.stop()
        # It refuses, or it still tells that it shuts down.
        self.assertRegex(self.transition(parkway, "DOWN", postgres.ipv4), r'L4CON|L7RSP "E')

    def test_mariadb_by_its_greeting(self):
        own = self.folder()
        mariadb = self.started(MariaDb(own))
        parkway = self.parkway(
            ["--listen={listen}", f"--upstream=servers={mariadb.ipv4} health=send_expect "
             "health_initial=down health_expect=~mysql_native"])
        self.assertRegex(self.transition(parkway, "UP", mariadb.ipv4), "L7OK")
        host, port = parkway.listen.rsplit(":", 1)
        with socket.create_connection((host, int(port)), PATIENCE) as client:
            self.assertIn(b"MariaDB", client.recv(200))
        mariadb.stop()
        self.assertRegex(self.transition(parkway, "DOWN", mariadb.ipv4), "L4CON")

    def test_http_on_another_port_as_patroni_has_it(self):
        status = [b"HTTP/1.0 200 OK\r\n\r\n{}", b"HTTP/1.0 503 Service Unavailable\r\n\r\n{}"]
        server, patroni = self.started(Answerer(answer=b"x")), self.started(Answerer())
        patroni.answer = status[0]
        parkway = self.parkway(
            ["--listen={listen}",
             f"--upstream=servers={server.address} health=send_expect health_port={patroni.port} "
             "health_send=\"GET /primary HTTP/1.0\\r\\n\\r\\n\" health_expect=\"HTTP/1.0 200\" "
             "health_initial=down"])
        self.transition(parkway, "UP", server.address)
        patroni.answer = status[1]
        self.assertIn('L7RSP "HTTP/1.0 503 Ser" from 127.0.0.1:' + str(patroni.port),
                      self.transition(parkway, "DOWN", server.address))
        self.assertEqual(server.accepted, 0, "the other port is asked, and it alone")
        self.assertIn(b"GET /primary HTTP/1.0\r\n\r\n", patroni.heard)

    def test_smtp_by_its_greeting(self):
        server = self.started(Answerer(greeting=b"220 mail.example.org ESMTP\r\n"))
        parkway = self.parkway(
            ["--listen={listen}", f"--upstream={server.address}", "--health=send_expect",
             "--health_expect=220 ", "--health_initial=down"])
        self.transition(parkway, "UP", server.address)
        server.greeting = b"421 too busy\r\n"
        self.assertIn('L7RSP "421 too busy', self.transition(parkway, "DOWN", server.address))
        self.assertEqual(set(server.endings), {"FIN"})


WithFourWorkers = story.with_four_workers(Tcp, Sessions, Recipes)

if __name__ == "__main__":
    story.main()
