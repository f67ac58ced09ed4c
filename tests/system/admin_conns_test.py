#!/usr/bin/env python3
"""Connections by the admin socket, listed and killed; clients of it that mean ill, or break."""

import json
import os
import random
import re
import socket
import threading
import time

from lib import net, places, story
from lib.admin import Admin, everything
from lib.admin_story import WORKERS, AdminStory
from lib.crowd import Crowd
from lib.daemon import PATIENCE, Parkway
from lib.process import until


class Conns(AdminStory):

    def cause_of(self, parkway, client):
        return parkway.closing_line("%s:%d" % client.getsockname())["cause"]

    def test_connections_are_listed_by_what_they_are(self):
        for threads in WORKERS:
            parkway = self.two(threads=threads)
            admin = parkway.admin
            clients = [self.client(parkway) for _ in range(8)]
            rows = admin.conns()
            self.assertEqual({row["client"] for row in rows},
                             {"%s:%d" % client.getsockname() for client in clients})
            self.assertEqual(len({row["id"] for row in rows}), 8)
            for row in rows:
                self.assertEqual((row["listener"], row["upstream"], row["state"]),
                                 ("web", "app", "open"))
                self.assertEqual((row["from_client_bytes"], row["from_server_bytes"]), (5, 5))
                for side in ("client_side", "server_side"):
                    self.assertGreater(row[side]["window_bytes"], 0)
            self.assertEqual(len(admin.conns("server=app/a")), 4)
            self.assertEqual(len(admin.conns("server=app/a", "limit=3")), 3)
            self.assertEqual(len(admin.conns("upstream=app", "listener=web")), 8)
            self.assertEqual(admin.conns("bytes>1KiB"), [])
            self.assertEqual(admin.conns("src=192.0.2.0/24"), [])
            self.assertEqual(len(admin.conns("src=127.0.0.0/8,192.0.2.1")), 8)
            self.assertEqual(admin.conns("idle>1h"), [])
            self.assertEqual(admin.conns("state=queued"), [])
            clients[0].sendall(bytes(2000))
            until(lambda: len(admin.conns("bytes>2000B")) == 1, PATIENCE, "counts are live")
            self.assertIn("is no state", admin.refused("show conns state=sleepy"))
            self.assertIn("there is no listener", admin.refused("show conns listener=x"))
            parkway.finish()

    def test_a_connection_that_is_stuck_is_explained(self):
        for threads in WORKERS:
            parkway = self.two(threads=threads)
            stuck = self.started(socket.create_connection(("127.0.0.1", parkway.port)))
            stuck.sendall(b"flood")
            rows = until(lambda: [row for row in parkway.admin.conns()
                                  if row["pending_to_client_bytes"] > 0
                                  and row["client_side"]["window_bytes"] == 0],
                         PATIENCE, "it is blocked")
            text = parkway.admin.do(f"show conn {rows[0]['id']}")
            self.assertRegex(text, r"server->client blocked \S+: client receive window closed, "
                                   r"[\d.]+ [KM]iB pending")
            self.assertRegex(text, r"client->server waits for the client, which last said "
                                   r"something \S+ ago")
            self.assertRegex(text, rf"client 127.0.0.1:\d+ to {re.escape(parkway.listen)}")
            as_json = parkway.admin.json(f"show conn {rows[0]['id']}")
            self.assertIn("client receive window closed", as_json["server_to_client"])
            self.assertIn("there is no open connection", parkway.admin.refused("show conn 99"))
            parkway.admin.do(f"conn kill {rows[0]['id']}")

    def test_connections_are_killed_by_id_source_and_server(self):
        for threads in WORKERS:
            parkway = self.two(threads=threads)
            admin = parkway.admin
            one, two, three = (self.client(parkway, source=f"127.0.0.{i}") for i in (2, 3, 4))
            victim = [row for row in admin.conns() if row["client"].startswith("127.0.0.2:")][0]
            self.assertIn("1 connection killed", admin.do(f"conn kill {victim['id']}"))
            self.was_reset(one)
            self.assertEqual(self.cause_of(parkway, one), "admin_kill")
            self.assertIn("no open connection", admin.refused(f"conn kill {victim['id']}"))
            self.assertIn("1 connection killed", admin.do("conn kill src=127.0.0.3/32"))
            self.was_reset(two)
            self.assertEqual(self.cause_of(parkway, two), "admin_kill")
            self.still_works(three)
            more = [self.client(parkway) for _ in range(10)]
            busy = self.busy(parkway, "a")
            self.assertIn(f"{busy} connection", admin.do("conn kill server=app/a"))
            until(lambda: self.busy(parkway, "a") == 0, PATIENCE, "a has nobody")
            self.assertEqual(len(admin.conns()), 11 - busy)
            self.assertIn("0 connections killed", admin.do("conn kill src=192.0.2.0/24"))
            self.assertIn("which ones?", admin.refused("conn kill", 2))
            self.assertEqual(len(more), 10)
            parkway.finish()

    def test_thousands_are_listed_under_load_and_nobody_waits(self):
        listen = f"127.0.0.1:{net.free_port()}"
        servers = self.started(Crowd("echo", f"127.0.0.1:{net.free_port()}"))
        path = os.path.join(self.folder(), "admin.sock")
        parkway = self.started(Parkway.from_flags(
            ["--threads=2", f"--admin_socket={path}", f"--listen=name=web addr={listen}",
             f"--upstream=name=app servers={servers.address}"], listen))
        admin = Admin(path)
        clients = self.started(Crowd("clients", listen))
        count = places.count("admin_connections")
        clients.ask("open", count)
        until(lambda: admin.json("show info")["connections"] == count, 60, "all are in")
        # Somebody talks all the time; how long one answer takes at most, alone and beside lists.
        talker = self.started(socket.create_connection(
            (listen.rsplit(":", 1)[0], int(listen.rsplit(":", 1)[1]))))
        talker.settimeout(PATIENCE)

        def slowest(while_running):
            worst, rounds = 0.0, 0
            while True:  # once in any case
                start = time.monotonic()
                talker.sendall(b"x")
                self.assertEqual(talker.recv(1), b"x")
                worst, rounds = max(worst, time.monotonic() - start), rounds + 1
                if not while_running():
                    return worst, rounds

        lists = [admin.begin("--json", "show", "conns") for _ in range(3)]
        outputs = []
        readers = [threading.Thread(target=lambda child=child: outputs.append(
            child.communicate()[0])) for child in lists]
        for reader in readers:
            reader.start()
        _, rounds = slowest(lambda: any(reader.is_alive() for reader in readers))
        for reader in readers:
            reader.join()
        print(f"\n  {rounds} answers meanwhile", end="")
        for output in outputs:
            rows = json.loads(output)
            self.assertEqual(len({row["id"] for row in rows}), len(rows), "nobody twice")
            self.assertGreaterEqual(len(rows), count)
        # One that does not read its list holds up neither the next one nor the worker.
        lazy = admin.connect()
        lazy.sendall(b"--json show conns\n")
        self.assertGreaterEqual(len(admin.conns()), count)
        self.assertEqual(slowest(iter([True] * 99 + [False]).__next__)[1], 100)
        rest = everything(lazy)
        self.assertGreaterEqual(len(json.loads(rest)), count, "it was only waiting")
        lazy.close()
        self.assertEqual(admin.do("conn kill listener=web"), f"{count + 1} connections killed\n")
        parkway.finish()


class Clients(AdminStory):
    """Those that mean ill, or break."""

    def test_floods_garbage_and_stalls_harm_nobody(self):
        for threads in WORKERS:
            parkway = self.two(threads=threads)
            admin = parkway.admin
            rng = random.Random(20261127)
            stalled = [admin.connect() for _ in range(20)]
            for sock in stalled[:10]:
                sock.sendall(b"show in")  # and no more
            for sock in stalled[10:]:
                sock.sendall(b"prompt\nshow stat\n" * 50)  # and never reads
            for _ in range(100):
                with admin.connect() as sock:
                    try:
                        sock.sendall(rng.randbytes(rng.randrange(1, 9000)))
                        if rng.random() < 0.5:
                            sock.sendall(b"\n")
                            everything(sock)
                    except (BrokenPipeError, ConnectionResetError):
                        pass  # it was told what is wrong, and closed
            client = self.client(parkway)
            self.assertEqual(admin.json("show info")["connections"], 1)
            self.still_works(client)
            idle = [admin.connect() for _ in range(100)]
            self.assertEqual(admin.json("show info")["connections"], 1,
                             "one that idles gives its place to one that asks")
            for sock in stalled + idle:
                sock.close()
            self.still_works(client)
            parkway.finish()

    def test_a_stop_does_not_wait_for_clients_of_the_admin_socket(self):
        parkway = self.two()
        socks = [parkway.admin.connect() for _ in range(5)]
        socks[0].sendall(b"prompt\n")
        socks[1].sendall(b"--framed drain --wait --over 1h\n")
        start = time.monotonic()
        parkway.finish()
        self.assertLess(time.monotonic() - start, PATIENCE)
        self.assertFalse(os.path.exists(parkway.admin.path))
        for sock in socks:
            sock.close()

    def test_the_socket_of_one_that_died_is_taken_over_and_of_one_that_lives_is_not(self):
        parkway = self.two()
        again = Parkway.from_flags(
            [f"--admin_socket={parkway.admin.path}",
             f"--listen=127.0.0.1:{net.free_port()}", f"--upstream={self.a.address}"], None)
        self.assertEqual(again.wait(PATIENCE), 71)
        self.assertIn("another process listens there", again.stderr())
        self.assertTrue(parkway.admin.json("show info"))
        parkway.child.kill()
        parkway.wait(PATIENCE)
        self.assertTrue(os.path.exists(parkway.admin.path))
        listen = f"127.0.0.1:{net.free_port()}"
        heir = self.started(Parkway.from_flags(
            [f"--admin_socket={parkway.admin.path}", f"--listen={listen}",
             f"--upstream={self.a.address}"], listen))
        self.assertEqual(parkway.admin.json("show info")["pid"], heir.pid)
        self.assertEqual(os.stat(parkway.admin.path).st_mode & 0o777, 0o660)
        heir.finish()


if __name__ == "__main__":
    story.main()
