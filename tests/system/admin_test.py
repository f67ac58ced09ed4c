#!/usr/bin/env python3
"""The admin socket and parkwayctl: every command, on a daemon that serves."""

import json
import os
import random
import re
import signal
import socket
import subprocess
import threading
import time

from lib import net, places, story
from lib.admin import Admin, everything, parkwayctl
from lib.crowd import Crowd
from lib.daemon import PATIENCE, Parkway
from lib.process import run, until

WORKERS = (1, 4)


class Server:
    """Echoes what it is told, on a thread per connection; `flood` makes it talk without end."""

    def __init__(self, port=None):
        self.sock = socket.socket()
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.sock.bind(("127.0.0.1", port or net.free_port()))
        self.sock.listen(1024)
        self.port = self.sock.getsockname()[1]
        self.address = f"127.0.0.1:{self.port}"
        self.accepted = 0
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self):
        while True:
            try:
                client, _ = self.sock.accept()
            except OSError:
                return
            self.accepted += 1
            threading.Thread(target=self._talk, args=(client,), daemon=True).start()

    @staticmethod
    def _talk(client):
        with client:
            try:
                while True:
                    data = client.recv(4096)
                    if not data:
                        return
                    if data == b"flood":
                        while True:
                            client.sendall(bytes(65536))
                    client.sendall(data)
            except OSError:
                return

    def close(self):
        self.sock.shutdown(socket.SHUT_RDWR)
        self.sock.close()
        self._thread.join(5)


class AdminStory(story.Story):

    def parkway(self, *flags, threads=1):
        """A daemon with listener `web` before upstream `app`, and its `admin`."""
        listen = f"127.0.0.1:{net.free_port()}"
        path = os.path.join(self.folder(), "admin.sock")
        parkway = Parkway.from_flags(
            [f"--threads={threads}", f"--admin_socket={path}", "--drain_timeout=100ms",
             f"--listen=name=web addr={listen} upstream=app", *flags, *places.extra_flags()],
            listen)
        parkway.listen = listen
        parkway.port = int(listen.rsplit(":", 1)[1])
        parkway.admin = Admin(path)
        return self.started(parkway)

    def two(self, *flags, threads=1, keys=""):
        """The same before servers a and b."""
        self.a, self.b = self.started(Server()), self.started(Server())
        return self.parkway("--upstream=name=app balance=round_robin",
                            f"--server=upstream=app name=a addr={self.a.address} {keys}",
                            f"--server=upstream=app name=b addr={self.b.address} {keys}",
                            *flags, threads=threads)

    def client(self, parkway, talk=b"hello", source=None):
        """A connection that has been answered through the daemon."""
        sock = self.started(socket.socket())
        sock.settimeout(PATIENCE)
        if source:
            sock.bind((source, 0))
        sock.connect(("127.0.0.1", parkway.port))
        sock.sendall(talk)
        self.assertEqual(sock.recv(len(talk)), talk)
        return sock

    def still_works(self, sock):
        sock.sendall(b"still there?")
        self.assertEqual(sock.recv(100), b"still there?")

    def was_reset(self, sock):
        with self.assertRaises(ConnectionResetError):
            sock.recv(1)

    def busy(self, parkway, server):
        return parkway.admin.server(f"app/{server}")["active"]


class Shows(AdminStory):

    def test_everything_is_shown_as_text_and_as_json(self):
        for threads in WORKERS:
            parkway = self.two(threads=threads)
            clients = [self.client(parkway) for _ in range(6)]
            admin = parkway.admin
            info = admin.json("show info")
            self.assertEqual((info["connections"], info["accepted"], info["threads"]),
                             (6, 6, threads))
            self.assertEqual(info["pid"], parkway.pid)
            text = dict(re.findall(r"^(\S+): (.*)$", admin.do("show info"), re.M))
            self.assertEqual((text["Name"], text["CurrConns"], text["Pid"]),
                             ("Parkway", "6", str(parkway.pid)))
            web = admin.listener("web")
            self.assertEqual((web["state"], web["active"], web["total"]), ("accepting", 6, 6))
            self.assertEqual((web["received_bytes"], web["sent_bytes"]), (30, 30),
                             "totals advance while connections live")
            for name in "ab":
                server = admin.server(f"app/{name}")
                self.assertEqual((server["state"], server["active"], server["received_bytes"]),
                                 ("up", 3, 15))
            rows = admin.json("show threads")
            self.assertEqual(len(rows), threads)
            self.assertEqual(sum(row["connections"] for row in rows), 6)
            self.assertTrue(all(row["answered"] for row in rows))
            limits = admin.json("show limits")
            self.assertEqual(limits["connections"]["used"], 6)
            self.assertEqual(admin.json("show dns"), [])
            self.assertEqual(admin.json("show drains"), [])
            self.assertEqual(admin.json("show config --runtime"), [])
            self.assertEqual(admin.json("show version")["name"], "parkway")
            for what in ("info", "stat", "conns", "servers", "listeners", "threads", "dns",
                         "config", "limits", "drains", "version"):
                self.assertTrue(admin.do(f"show {what}").strip(), what)
                admin.json(f"show {what}")
            self.assertEqual(len(clients), 6)
            parkway.finish()

    def test_stat_has_haproxys_columns_and_rows(self):
        folder = self.folder()
        config, theirs = os.path.join(folder, "haproxy.cfg"), os.path.join(folder, "haproxy.sock")
        port = net.free_port()
        with open(config, "w", encoding="ascii") as file:
            file.write(f"global\n  stats socket {theirs} mode 600\n"
                       "defaults\n  mode tcp\n  timeout connect 1s\n  timeout client 1s\n"
                       f"  timeout server 1s\nfrontend web\n  bind 127.0.0.1:{port}\n"
                       "  default_backend app\nbackend app\n  server a 127.0.0.1:9\n")
        haproxy = subprocess.Popen(["haproxy", "-db", "-f", config], stderr=subprocess.DEVNULL)
        self.addCleanup(haproxy.wait)
        self.addCleanup(haproxy.terminate)
        until(lambda: os.path.exists(theirs), PATIENCE, "HAProxy listens")
        header = Admin(theirs).say("show stat\n").splitlines()[0]
        parkway = self.two()
        self.client(parkway)
        lines = parkway.admin.say("show stat\n").splitlines()
        self.assertTrue(header.startswith(lines[0]),
                        "HAProxy has more columns, of its modules, and ours in the same order")
        columns = lines[0].removeprefix("# ").split(",")
        rows = [dict(zip(columns, line.split(","))) for line in lines[1:] if line]
        self.assertEqual([(row["pxname"], row["svname"], row["type"]) for row in rows],
                         [("web", "FRONTEND", "0"), ("app", "a", "2"), ("app", "b", "2"),
                          ("app", "BACKEND", "1")])
        self.assertEqual([row["scur"] for row in rows], ["1", "1", "0", "1"])
        self.assertEqual([row["status"] for row in rows], ["OPEN", "no check", "no check", "UP"])
        self.assertEqual((rows[0]["bin"], rows[0]["bout"]), ("5", "5"))

    def test_help_and_what_is_not_understood(self):
        parkway = self.two()
        admin = parkway.admin
        table = dict(line.split("\t") for line in admin.do("--commands").splitlines())
        text = admin.say("help\n")
        for name in table:
            self.assertIn(name, text)
        self.assertIn("did you mean show info?", admin.refused("show inof", 2))
        self.assertIn("is no weight", admin.refused("server weight app/a many", 2))
        self.assertIn("not understood here", admin.refused("show info please", 2))
        self.assertIn("there is no server \"app/z\"", admin.refused("server weight app/z 1"))
        self.assertIn("there is no upstream \"x\"", admin.refused("server weight x/a 1"))
        self.assertIn("there is no listener", admin.refused("listener pause x"))
        code, _, err = run([parkwayctl(), "--socket=/nowhere/admin.sock", "show", "info"],
                           check=False)
        self.assertEqual(code, 1)
        self.assertIn("cannot connect to /nowhere/admin.sock: No such file", err)
        self.assertEqual(run([parkwayctl()], check=False)[0], 2)
        self.assertEqual(run([parkwayctl(), "--frobnicate"], check=False)[0], 2)
        self.assertIn("parkwayctl [--socket=PATH]", run([parkwayctl(), "--help"])[1])
        self.assertIn("server drain", run([parkwayctl(), "--man"])[1])

    def test_a_daemon_that_does_not_answer_is_a_timeout(self):
        parkway = self.two()
        parkway.signal(signal.SIGSTOP)
        try:
            code, _, err = parkway.admin.run("show info", options=["--timeout=300ms"])
        finally:
            parkway.signal(signal.SIGCONT)
        self.assertEqual(code, 3)
        self.assertIn("no answer in time: 300ms have passed", err)

    def test_who_changed_what_is_in_the_log(self):
        parkway = self.two()
        parkway.admin.do("server weight app/a 5")
        line = parkway.wait_line(lambda line: "server weight app/a 5" in line, PATIENCE, "it")
        self.assertRegex(line, rf"admin: pid=\d+ uid={os.getuid()} gid={os.getgid()}: server "
                               r"weight app/a 5: done")

    def test_completion_knows_commands_and_names(self):
        parkway = self.two()
        script = os.path.join(places.ROOT, "deploy", "parkwayctl.bash-completion")
        try_it = r'''
            PATH=$1:$PATH; source "$2"
            COMP_LINE=$3; COMP_POINT=${#3}; read -r -a COMP_WORDS <<<"$3"
            [[ $3 == *" " ]] && COMP_WORDS+=("")
            COMP_CWORD=$((${#COMP_WORDS[@]} - 1)); _parkwayctl; echo "${COMPREPLY[*]}"'''

        def complete(line):
            return run(["bash", "-c", try_it, "bash", os.path.dirname(parkwayctl()), script,
                        line])[1].split()

        self.assertIn("reload", complete("parkwayctl re"))
        self.assertEqual(complete("parkwayctl listener "), ["pause", "resume"])
        ours = f"parkwayctl --socket={parkway.admin.path}"
        self.assertEqual(complete(f"{ours} server drain "), ["app/a", "app/b", "--over"][2:] +
                         ["app/a", "app/b"])
        self.assertEqual(complete(f"{ours} listener pause "), ["web"])


class Changes(AdminStory):

    def test_a_drained_server_finishes_what_it_has_and_gets_nobody_new(self):
        for threads in WORKERS:
            parkway = self.two(threads=threads)
            clients = [self.client(parkway) for _ in range(4)]
            before = self.a.accepted
            parkway.admin.do("server drain app/a")
            self.assertEqual(parkway.admin.server("app/a")["state"], "drain")
            for _ in range(10):
                self.client(parkway).close()
            self.assertEqual(self.a.accepted, before)
            for client in clients:
                self.still_works(client)
            parkway.admin.do("server ready app/a")
            for _ in range(10):
                self.client(parkway).close()
            self.assertGreater(self.a.accepted, before)
            parkway.finish()

    def test_weight_zero_and_down_give_it_nobody(self):
        for threads in WORKERS:
            parkway = self.two(threads=threads)
            for change, back in (("server weight app/a 0", "server weight app/a 1"),
                                 ("server down app/a", "server ready app/a")):
                parkway.admin.do(change)
                before = self.a.accepted
                for _ in range(10):
                    self.client(parkway).close()
                self.assertEqual(self.a.accepted, before, change)
                parkway.admin.do(back)
            for _ in range(10):
                self.client(parkway).close()
            self.assertGreater(self.a.accepted, before)
            parkway.finish()

    def test_weights_divide_what_comes(self):
        parkway = self.two()
        parkway.admin.do("server weight app/a 3")
        a, b = self.a.accepted, self.b.accepted
        for _ in range(40):
            self.client(parkway).close()
        self.assertEqual((self.a.accepted - a, self.b.accepted - b), (30, 10))

    def test_max_conns_holds_from_now_on(self):
        for threads in WORKERS:
            parkway = self.two(threads=threads)
            parkway.admin.do("server down app/b")
            parkway.admin.do("server max_conns app/a 3")
            clients = [self.client(parkway) for _ in range(3)]
            queued = self.started(socket.create_connection(("127.0.0.1", parkway.port)))
            queued.settimeout(PATIENCE)
            queued.sendall(b"waits")
            until(lambda: parkway.admin.conns("state=queued"), PATIENCE, "one stands in line")
            self.assertEqual(self.busy(parkway, "a"), 3)
            parkway.admin.do("server max_conns app/a 4")
            self.assertEqual(queued.recv(5), b"waits", "there is room now")
            for client in clients:
                self.still_works(client)
            parkway.finish()

    def test_servers_come_and_go(self):
        for threads in WORKERS:
            parkway = self.two(threads=threads)
            c = self.started(Server())
            admin = parkway.admin
            admin.do(f"server add app/c addr={c.address} weight=2")
            self.assertEqual(admin.server("app/c")["weight"], 2)
            for _ in range(8):
                self.client(parkway).close()
            self.assertGreater(c.accepted, 0)
            stays = None
            while stays is None:
                client = self.client(parkway)
                if self.busy(parkway, "c"):
                    stays = client
            self.assertIn(f"server add: {c.address} is in upstream app twice",
                          admin.refused(f"server add app/d addr={c.address}"))
            self.assertIn("a second server of app is called c",
                          admin.refused("server add app/c addr=127.0.0.1:9"))
            self.assertIn("server app/c added: name=c", admin.do("show config --runtime"))
            admin.do("server del app/c")
            before = c.accepted
            for _ in range(9):
                self.client(parkway).close()
            self.assertEqual(c.accepted, before)
            self.still_works(stays)
            self.assertEqual(admin.json("show config --runtime"), [])
            admin.do("server del app/b")
            before = self.b.accepted
            for _ in range(4):
                self.client(parkway).close()
            self.assertEqual(self.b.accepted, before)
            self.assertIn("server app/b removed", admin.do("show config --runtime"))
            parkway.finish()

    def test_a_paused_listener_lets_nobody_in_and_loses_nobody(self):
        for threads in WORKERS:
            parkway = self.two(threads=threads)
            parkway.admin.do("listener pause web")
            until(lambda: parkway.admin.listener("web")["state"] == "paused", PATIENCE, "it")
            self.assertIn("listener web paused", parkway.admin.do("show config --runtime"))
            waits = self.started(socket.create_connection(("127.0.0.1", parkway.port)))
            waits.settimeout(0.3)
            waits.sendall(b"hello")
            with self.assertRaises(TimeoutError):
                waits.recv(5)
            self.assertEqual(parkway.admin.json("show conns"), [])
            parkway.admin.do("listener resume web")
            waits.settimeout(PATIENCE)
            self.assertEqual(waits.recv(5), b"hello")
            parkway.finish()

    def test_what_was_changed_survives_a_reload_and_is_forgotten_when_asked(self):
        folder = self.folder()
        flags = os.path.join(folder, "parkway.flags")
        self.a, self.b = self.started(Server()), self.started(Server())
        listen = f"127.0.0.1:{net.free_port()}"

        def write(weight):
            with open(flags, "w", encoding="ascii") as file:
                file.write(f"--listen=name=web addr={listen} upstream=app\n"
                           "--upstream=name=app balance=round_robin\n"
                           f"--server=upstream=app name=a addr={self.a.address} weight={weight}\n"
                           f"--server=upstream=app name=b addr={self.b.address}\n")

        write(1)
        path = os.path.join(folder, "admin.sock")
        parkway = self.started(Parkway.from_flags(
            [f"--flagfile={flags}", f"--admin_socket={path}", "--threads=2"], listen))
        admin = Admin(path)
        admin.do("server weight app/a 7")
        admin.do("server drain app/b")
        admin.do("listener pause web")
        admin.do("reload --wait")
        self.assertEqual((admin.server("app/a")["weight"], admin.server("app/b")["state"],
                          admin.listener("web")["state"]), (7, "drain", "paused"))
        self.assertEqual(len(admin.json("show config --runtime")), 3)
        write(2)
        self.assertIn("weight", admin.do("reload --dry_run"))
        self.assertEqual(admin.server("app/a")["weight"], 7, "nothing was changed")
        admin.do("reload --wait")
        self.assertEqual((admin.server("app/a")["weight"], admin.server("app/b")["state"]),
                         (2, "drain"), "the file says something new of this one key")
        admin.do("reload --wait --reset_runtime")
        self.assertEqual((admin.server("app/b")["state"], admin.listener("web")["state"]),
                         ("up", "accepting"))
        self.assertEqual(admin.json("show config --runtime"), [])
        with open(flags, "a", encoding="ascii") as file:
            file.write("--nonsense=1\n")
        self.assertIn("nonsense", admin.refused("reload --wait"))
        info = admin.json("show info")
        self.assertFalse(info["config"]["last_reload_successful"])
        self.assertIn("nonsense", admin.do("show config"))
        parkway.finish()

    def test_log_level_hides_lines(self):
        parkway = self.two()
        parkway.admin.do("set log_level warning")
        parkway.admin.do("server weight app/a 2")
        parkway.admin.do("set log_level info")
        parkway.admin.do("server weight app/a 3")
        parkway.wait_line(lambda line: "server weight app/a 3" in line, PATIENCE, "it")
        self.assertFalse([line for line in parkway.lines if "server weight app/a 2" in line])
        self.assertIn("info, warning or error", parkway.admin.refused("set log_level loud"))


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
        until(lambda: admin.json("show info")["connections"] == count, PATIENCE, "all are in")
        # Somebody talks all the time; how long one answer takes at most, alone and beside lists.
        talker = self.started(socket.create_connection(
            (listen.rsplit(":", 1)[0], int(listen.rsplit(":", 1)[1]))))
        talker.settimeout(PATIENCE)

        def slowest(while_running):
            worst, rounds = 0.0, 0
            while while_running():
                start = time.monotonic()
                talker.sendall(b"x")
                self.assertEqual(talker.recv(1), b"x")
                worst, rounds = max(worst, time.monotonic() - start), rounds + 1
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
        self.assertGreater(rounds, 0)
        for output in outputs:
            rows = json.loads(output)
            self.assertEqual(len({row["id"] for row in rows}), len(rows), "nobody twice")
            self.assertGreaterEqual(len(rows), count)
        # One that does not read its list holds up neither the next one nor the worker.
        lazy = admin.connect()
        lazy.sendall(b"--json show conns\n")
        self.assertGreaterEqual(len(admin.conns()), count)
        self.assertEqual(slowest(iter([True] * 100 + [False]).__next__)[1], 100)
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


class Top(AdminStory):
    """The live view, on a terminal (tmux's) and elsewhere."""

    def tmux(self, *arguments):
        return run(["tmux", "-L", self.socket, *arguments])[1]

    def screen(self):
        return self.tmux("capture-pane", "-p", "-t", "top")

    def test_it_shows_what_happens_follows_the_window_and_leaves_on_q(self):
        parkway = self.two()
        clients = [self.client(parkway) for _ in range(5)]
        self.socket = f"parkway-{os.getpid()}-{parkway.pid}"
        self.tmux("-f", "/dev/null", "new-session", "-d", "-s", "top", "-x", "100", "-y", "30",
                  f"PS1='done ' sh -c '{parkwayctl()} --socket={parkway.admin.path} top "
                  "--interval=100ms; echo ended with $?; cat'")
        self.addCleanup(run, ["tmux", "-L", self.socket, "kill-server"], check=False)
        until(lambda: re.search(r"connections 5/\d+ +new \d", self.screen()), PATIENCE,
              "the numbers")
        screen = self.screen()
        self.assertRegex(screen, r"(?m)^web +accepting +5 ")
        self.assertRegex(screen, r"(?m)^app/a +up +[23] ")
        self.assertRegex(screen, r"(?m)^SLOWEST +CLIENT ")
        self.assertRegex(screen, rf"127\.0\.0\.1:{clients[0].getsockname()[1]}\b")
        clients.pop().close()
        until(lambda: "connections 4/" in self.screen(), PATIENCE, "it follows")
        parkway.admin.do("server drain app/b")
        until(lambda: re.search(r"(?m)^app/b +drain ", self.screen()), PATIENCE, "the state")
        self.tmux("resize-window", "-t", "top", "-x", "50", "-y", "12")

        def fits():
            lines = self.screen().rstrip("\n").split("\n")
            return (len(lines) <= 12 and max(map(len, lines)) <= 50 and
                    lines[0].startswith("parkway ") and "connections 4/" in lines[1])

        until(fits, PATIENCE, f"the smaller window\n{self.screen()}")
        self.tmux("send-keys", "-t", "top", "x")
        self.assertNotIn("ended with", self.screen(), "only q ends it")
        self.tmux("send-keys", "-t", "top", "q")
        until(lambda: "ended with 0" in self.screen(), PATIENCE, "q ends it")
        self.assertNotIn("connections", self.screen(), "the screen is as it was before")

    def test_a_daemon_that_goes_is_said_and_found_again(self):
        parkway = self.two()
        self.socket = f"parkway-{os.getpid()}-{parkway.pid}"
        self.tmux("-f", "/dev/null", "new-session", "-d", "-s", "top", "-x", "120", "-y", "30",
                  f"{parkwayctl()} --socket={parkway.admin.path} top --interval=100ms")
        self.addCleanup(run, ["tmux", "-L", self.socket, "kill-server"], check=False)
        until(lambda: f"pid {parkway.pid}" in self.screen(), PATIENCE, "the numbers")
        parkway.finish()
        until(lambda: "no new numbers: cannot connect" in self.screen(), PATIENCE, "it is gone")
        heir = self.started(Parkway.from_flags(
            [f"--admin_socket={parkway.admin.path}", f"--listen={parkway.listen}",
             f"--upstream={self.a.address}"], parkway.listen))
        until(lambda: f"pid {heir.pid}" in self.screen() and "no new" not in self.screen(),
              PATIENCE, "the next one")

    def test_elsewhere_it_writes_lines(self):
        parkway = self.two()
        self.client(parkway)
        text = run([parkwayctl(), f"--socket={parkway.admin.path}", "top", "--interval=50ms",
                    "--count=2"])[1]
        self.assertEqual(len(re.findall(r"(?m)^connections 1/", text)), 2)
        self.assertNotIn("\x1b", text)
        self.assertRegex(text, r"(?m)^app/a +up ")
        code, _, err = parkway.admin.run("top --interval=5")
        self.assertEqual(code, 2)
        self.assertIn("--interval", err)


if __name__ == "__main__":
    story.main()
