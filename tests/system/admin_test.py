#!/usr/bin/env python3
"""The admin socket and parkwayctl: what is shown, and what is changed, on a daemon that serves."""

import os
import re
import signal
import socket
import subprocess

from lib import net, places, story
from lib.admin import Admin, parkwayctl
from lib.admin_story import WORKERS, AdminStory
from lib.daemon import PATIENCE, Parkway
from lib.process import run, until
from lib.talker import Talker


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
            self.assertEqual((text["PipesUsed"], text["node"]), ("0", socket.gethostname()))
            self.assertGreater(int(text["Maxpipes"]), 0)
            self.assertRegex(text["Release_date"], r"^\d{4}/\d\d/\d\d$")
            # What a worker has not told in time is missing from what is shown.
            until(lambda: all(row["answered"] for row in admin.json("show threads"))
                  and admin.listener("web")["sent_bytes"] == 30, PATIENCE, "each worker answers")
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

        def listens():
            with socket.socket(socket.AF_UNIX) as sock:
                return sock.connect_ex(theirs) == 0

        # The path is there before.
        until(listens, PATIENCE, "HAProxy listens")
        header = Admin(theirs).say("show stat\n").splitlines()[0]
        parkway = self.two()
        self.client(parkway)
        until(lambda: parkway.admin.listener("web")["sent_bytes"] == 5, PATIENCE, "it is counted")
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
        parkway.pause()
        try:
            code, _, err = parkway.admin.run("show info", options=["--timeout=300ms"])
        finally:
            parkway.go_on()
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
            c = self.started(Talker())
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
            # Who resumes all listeners does not mean the one that an operator has paused.
            for number in (signal.SIGTTOU, signal.SIGTTIN):
                said = len(parkway.lines)
                parkway.signal(number)
                line = parkway.wait_line(lambda line: "listeners " in line, PATIENCE, "the signal",
                                         since=said)
            self.assertIn("but for those that an operator has paused: web", line)
            with self.assertRaises(TimeoutError):
                waits.recv(5)
            self.assertEqual(parkway.admin.listener("web")["state"], "paused")
            parkway.admin.do("listener resume web")
            waits.settimeout(PATIENCE)
            self.assertEqual(waits.recv(5), b"hello")
            parkway.finish()

    def test_what_was_changed_survives_a_reload_and_is_forgotten_when_asked(self):
        folder = self.folder()
        flags = os.path.join(folder, "parkway.flags")
        self.a, self.b = self.started(Talker()), self.started(Talker())
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
        # The level of the moment counts, not that of when the line is written.
        hidden = "set log_level warning; server weight app/a 2; set log_level info; "
        self.assertEqual(parkway.admin.say(hidden * 20 + "\n").count("weight"), 20)
        parkway.admin.do("server weight app/a 4")
        parkway.wait_line(lambda line: "server weight app/a 4" in line, PATIENCE, "it")
        self.assertFalse([line for line in parkway.lines if "server weight app/a 2" in line])
        self.assertIn("info, warning or error", parkway.admin.refused("set log_level loud"))

    def test_log_level_hides_no_line_of_its_own_level(self):
        listen, folder = f"127.0.0.1:{net.free_port()}", self.folder()
        flags, path = os.path.join(folder, "parkway.flags"), os.path.join(folder, "admin.sock")
        with open(flags, "w", encoding="ascii") as file:
            file.write(f"--listen={listen}\n--upstream=127.0.0.1:1\n")
        parkway = self.started(Parkway.from_flags(
            [f"--flagfile={flags}", f"--admin_socket={path}", "--threads=1"], listen))
        admin = Admin(path)
        with open(flags, "a", encoding="ascii") as file:
            file.write("--nonsense=1\n")
        for level in ("warning", "error"):
            begin = len(parkway.lines)
            admin.do(f"set log_level {level}")
            admin.refused("reload --wait")
            parkway.wait_line(lambda line: "ERROR: reload: refused" in line, PATIENCE,
                              f"that a reload was refused, at level {level}", begin)
        parkway.finish()


if __name__ == "__main__":
    story.main()
