#!/usr/bin/env python3
"""The service in a real systemd, from its first boot on: started, reloaded, watched, crashed,
stopped, with sockets of its own and with those of systemd."""

import ctypes
import glob
import os
import pwd
import re
import signal
import socket
import subprocess
import threading
import time

from lib import container, net, programs, story, systemd
from lib.named import Named, ask
from lib.process import Process, run, until
from lib.systemd import PATIENCE, main_pid, show, systemctl

CAP_NET_BIND_SERVICE = 1 << 10
EX_OSERR, EX_CONFIG = 71, 78


def prepare(folder):
    """An image with the service installed and enabled, which has never booted."""
    container.install(folder)
    container.binary_for("usr/sbin/parkway", folder)
    files = container.files_of(folder)
    wants = os.path.join(folder, "wants")
    os.makedirs(wants)
    os.symlink("/lib/systemd/system/parkway.service", os.path.join(wants, "parkway.service"))
    return [*files, (wants, "/etc/systemd/system/multi-user.target.wants")]


def status_of(pid):
    """/proc/PID/status as {field: words}."""
    with open(f"/proc/{pid}/status", encoding="ascii") as file:
        return {name: rest.split() for name, _, rest in
                (line.partition(":") for line in file)}


class Thread:
    """One thread of another process, stopped as by a fault while the others go on."""

    SEIZE, INTERRUPT, DETACH = 0x4206, 0x4207, 17
    ALL = 0x40000000  # __WALL

    def __init__(self, tid):
        self._tid = tid
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p,
                                      ctypes.c_void_p]
        for request in (self.SEIZE, self.INTERRUPT):
            if self._libc.ptrace(request, tid, None, None) != 0:
                raise OSError(ctypes.get_errno(), "ptrace")
        os.waitpid(tid, self.ALL)

    def ended(self):
        """Whether it was killed; its process ends only when that was asked for."""
        try:
            return os.waitpid(self._tid, os.WNOHANG | self.ALL)[0] != 0
        except ChildProcessError:
            return True

    def close(self):
        self._libc.ptrace(self.DETACH, self._tid, None, None)


class Client:
    """Goes on talking through one connection until it is asked how it went."""

    def __init__(self, address):
        self.sock, self.server = ask(address)
        self.turns = 0
        self.error = None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._talk, daemon=True)
        self._thread.start()

    def _talk(self):
        try:
            while not self._stop.is_set():
                text = f"turn {self.turns}".encode()
                self.sock.sendall(text)
                answer = b""
                while len(answer) < len(text):
                    data = self.sock.recv(len(text) - len(answer))
                    if not data:
                        raise ConnectionError("it was closed")
                    answer += data
                if answer != text:
                    raise ConnectionError(f"{answer} for {text}")
                self.turns += 1
                self._stop.wait(0.005)
        except OSError as error:
            self.error = error

    def went_well(self):
        before = self.turns
        until(lambda: self.error or self.turns > before + 2, PATIENCE, "the stream goes on")
        return self.error is None

    def close(self):
        self._stop.set()
        self._thread.join(PATIENCE)
        self.sock.close()


class Service(story.Story):
    def setUp(self):
        self.cursor = systemd.cursor()
        self.addCleanup(self.show_what_was_said)

    def show_what_was_said(self):
        outcome = getattr(self, "_outcome", None)
        if outcome is not None and not outcome.success:
            print(systemd.said(since=self.cursor))

    def said(self):
        return systemd.said(since=self.cursor)

    def server(self, name="a"):
        port = net.free_port()
        self.started(Named(name, f"127.0.0.1:{port}"))
        return port

    def start(self, *lines):
        """The service with this configuration, ready."""
        systemd.configure(*lines)
        systemctl("reset-failed", "parkway.service", check=False)
        systemctl("restart", "parkway.service")

    def start_simple(self, port=None, *more):
        port = port or net.free_port()
        self.start(f"--listen=name=web addr=127.0.0.1:{port} upstream=app",
                   f"--upstream=name=app servers=127.0.0.1:{self.server()}", *more)
        return port


class AfterBoot(Service):
    """Runs first: others change what the boot has made."""

    def test_it_runs_since_a_fresh_boot(self):
        systemd.wait("ActiveState", "active")
        self.assertEqual("0", show("NRestarts"))
        until(lambda: systemctl("is-system-running", check=False)[1].strip() == "running", PATIENCE,
              "all has been started")
        user = pwd.getpwnam("parkway")
        state = status_of(main_pid())
        self.assertEqual([str(user.pw_uid)] * 4, state["Uid"])
        self.assertEqual([str(user.pw_gid)] * 4, state["Gid"])
        with open("/etc/parkway/parkway.flags", encoding="utf-8") as file:
            listen = re.search(r"--listen=.*addr=127\.0\.0\.1:(\d+)", file.read())
        self.started(Named("first", "127.0.0.1:9000"))
        sock, name = ask(("127.0.0.1", int(listen[1])))
        self.addCleanup(sock.close)
        self.assertEqual("first", name)
        until(lambda: systemd.status() == "1 connection, 1 of 1 server up, generation 1", PATIENCE,
              "the status counts it")
        _, out, _ = run(["parkwayctl", "show", "version"])
        self.assertIn("0.", out)


class Starting(Service):
    def test_the_units_are_as_systemd_wants_them(self):
        for unit in ("parkway.service", "parkway.socket"):
            run(["systemd-analyze", "verify", "--recursive-errors=yes",
                 f"/lib/systemd/system/{unit}"])

    def test_port_443_needs_no_root(self):
        self.start("--listen=name=web addr=:443 upstream=app",
                   f"--upstream=name=app servers=127.0.0.1:{self.server('tls')}")
        state = status_of(main_pid())
        self.assertNotEqual("0", state["Uid"][0])
        self.assertEqual(CAP_NET_BIND_SERVICE, int(state["CapEff"][0], 16))
        self.assertEqual("1", state["NoNewPrivs"][0])
        self.assertEqual("2", state["Seccomp"][0])
        for address in (("127.0.0.1", 443), ("::1", 443)):
            sock, name = ask(address)
            sock.close()
            self.assertEqual("tls", name)

    def test_ready_waits_until_each_server_was_asked(self):
        dead = net.free_port()
        self.start(f"--listen=127.0.0.1:{net.free_port()}",
                   f"--upstream=127.0.0.1:{self.server()},127.0.0.1:{dead} health=tcp")
        self.assertEqual("0 connections, 1 of 2 servers up, generation 1", systemd.status())

    def test_a_configuration_that_is_refused_is_not_tried_again(self):
        systemd.configure("--listen=127.0.0.1:1234", "--upstreem=127.0.0.1:1")
        code, _ = systemctl("restart", "parkway.service", check=False)
        self.assertNotEqual(0, code)
        systemd.wait("ActiveState", "failed")
        self.assertEqual(str(EX_CONFIG), show("ExecMainStatus"))
        self.assertEqual("0", show("NRestarts"))
        self.assertIn("/etc/parkway/parkway.flags:2:1: --upstreem: there is no such flag",
                      self.said())

    def test_an_address_in_use_is_tried_again_until_it_is_free(self):
        with socket.socket() as holder:
            holder.bind(("127.0.0.1", net.free_port()))
            holder.listen()
            port = holder.getsockname()[1]
            systemd.configure(f"--listen=127.0.0.1:{port}",
                              f"--upstream=127.0.0.1:{self.server('late')}")
            self.assertNotEqual(0, systemctl("restart", "parkway.service", check=False)[0])
            until(lambda: int(show("NRestarts")) >= 2, PATIENCE, "it is tried again")
            self.assertIn(f"cannot listen on 127.0.0.1:{port}: Address already in use", self.said())
        systemd.wait("ActiveState", "active")
        sock, name = ask(("127.0.0.1", port))
        sock.close()
        self.assertEqual("late", name)


class Ending(Service):
    def test_a_stop_waits_for_open_connections_and_says_so(self):
        port = self.start_simple()
        pid = main_pid()
        client = self.started(Client(("127.0.0.1", port)))
        systemctl("stop", "--no-block", "parkway.service")
        until(lambda: re.fullmatch(r"Stopping: 1 connection left, at most \d+s more",
                                   systemd.status()), PATIENCE, "the status says how far it is")
        self.assertEqual("deactivating", show("ActiveState"))
        self.assertTrue(client.went_well())
        until(lambda: self.is_refused(port), PATIENCE, "nobody else is let in")
        self.assertTrue(client.went_well())
        self.assertEqual(pid, main_pid())
        client.close()
        systemd.wait("ActiveState", "inactive")
        self.assertEqual("success", show("Result"))

    def test_the_status_says_how_far_a_paced_drain_is(self):
        port = self.start_simple()
        clients = [self.started(Client(("127.0.0.1", port))) for _ in range(4)]
        run(["parkwayctl", "drain", "--percent", "50", "--over", "1h"])
        until(lambda: re.fullmatch("4 connections, 1 of 1 server up, generation 1; draining 50 % of "
                                   "all: 2 of 2 left", systemd.status()), PATIENCE,
              "the status says how far it is")
        for client in clients:
            self.assertTrue(client.went_well())
            client.close()
        until(lambda: systemd.status().startswith("0 connections"), PATIENCE, "they have gone")

    def is_refused(self, port):
        try:
            socket.create_connection(("127.0.0.1", port), PATIENCE).close()
        except ConnectionRefusedError:
            return True
        return False

    def test_a_stop_may_take_longer_than_systemd_would_wait(self):
        self.addCleanup(systemd.drop_in("[Service]\nTimeoutStopSec=1s\n"))
        port = self.start_simple(None, "--drain_timeout=1h")
        client = self.started(Client(("127.0.0.1", port)))
        systemctl("stop", "--no-block", "parkway.service")
        systemd.wait("ActiveState", "deactivating")
        began = time.monotonic()
        until(lambda: time.monotonic() > began + 2.5, PATIENCE, "the time that systemd gives passes")
        self.assertTrue(client.went_well())
        client.close()
        systemd.wait("ActiveState", "inactive")
        self.assertEqual("success", show("Result"))

    def test_a_crash_leaves_a_core_and_is_followed_by_a_start(self):
        port = self.start_simple()
        pid = main_pid()
        os.kill(pid, 11)
        until(lambda: main_pid() not in (0, pid) and show("ActiveState") == "active", PATIENCE,
              "it runs again")
        self.assertEqual("1", show("NRestarts"))
        sock, name = ask(("127.0.0.1", port))
        sock.close()
        self.assertEqual("a", name)
        self.look_for_a_core()

    def look_for_a_core(self):
        with open("/proc/sys/kernel/core_pattern", encoding="ascii") as file:
            pattern = file.read().strip()
        if not pattern.startswith(("/", "|")):
            cores = glob.glob(f"/var/lib/parkway/{pattern}*")
            self.assertTrue(cores, "there is a core")
            for core in cores:
                os.remove(core)

    def test_the_watchdog_ends_it_when_one_worker_is_stuck(self):
        # A thread that is only kept from the processor is not stuck for so long.
        self.addCleanup(systemd.drop_in("[Service]\nWatchdogSec=3s\n"))
        port = self.start_simple(None, "--threads=2")
        pid = main_pid()
        tids = [int(os.path.basename(os.path.dirname(path)))
                for path in glob.glob(f"/proc/{pid}/task/*/comm")
                if self.text(path).startswith("worker-")]
        self.assertEqual(2, len(tids))
        # Idle workers beat, for longer than the watchdog would wait.
        began = time.monotonic()
        until(lambda: time.monotonic() > began + 4, PATIENCE, "more than the watchdog passes")
        self.assertEqual(pid, main_pid())
        stuck = self.started(Thread(tids[1]))
        until(stuck.ended, PATIENCE, "it is ended")
        until(lambda: main_pid() not in (0, pid) and show("ActiveState") == "active", PATIENCE,
              "it is started again")
        said = self.said()
        self.assertIn("Watchdog timeout (limit 3s)!", said)
        self.assertRegex(said, r"Main process exited, code=(dumped|killed), status=6/ABRT")
        sock, name = ask(("127.0.0.1", port))
        sock.close()
        self.assertEqual("a", name)
        self.look_for_a_core()

    def text(self, path):
        with open(path, encoding="ascii") as file:
            return file.read()


class Journal(Service):
    def test_each_line_has_its_fields(self):
        dead = net.free_port()
        port = net.free_port()
        self.start(f"--listen=name=web addr=127.0.0.1:{port} upstream=app",
                   f"--upstream=name=app servers=127.0.0.1:{self.server()},127.0.0.1:{dead} "
                   "health=tcp")
        pid = main_pid()

        def said():
            # The journal takes lines a little after they were written.
            found = [entry for entry in systemd.entries(since=self.cursor)
                     if entry.get("_PID") == str(pid)]
            texts = "\n".join(entry["MESSAGE"] for entry in found)
            return found if " is DOWN" in texts and "started: pid=" in texts else None

        entries = until(said, PATIENCE, "the check's line is in the journal")
        for entry in entries:
            self.assertEqual("parkway", entry["SYSLOG_IDENTIFIER"])
            self.assertEqual("parkway.service", entry["_SYSTEMD_UNIT"])
        by_text = {entry["MESSAGE"]: entry for entry in entries}
        started = next(text for text in by_text if "started: pid=" in text)
        self.assertRegex(started, r"^parkway \S+ started: pid=")
        self.assertEqual("6", by_text[started]["PRIORITY"])
        down = next(text for text in by_text if f"127.0.0.1:{dead} is DOWN" in text)
        self.assertRegex(down, "^upstream app server ")
        self.assertEqual("4", by_text[down]["PRIORITY"])
        self.assertEqual(f"app/127.0.0.1:{dead}", by_text[down]["L4_SERVER"])
        # A connection's end, by fields that `journalctl L4_CAUSE=...` finds.
        sock, _ = ask(("127.0.0.1", port))
        sock.close()
        ended = until(lambda: [entry for entry in systemd.entries(since=self.cursor)
                               if "L4_CONN_ID" in entry], PATIENCE, "its line is in the journal")[0]
        self.assertIn("cause=", ended["MESSAGE"])
        self.assertEqual("web", ended["L4_LISTENER"])
        self.assertIn(f"cause={ended['L4_CAUSE']}", ended["MESSAGE"])
        self.assertRegex(ended["L4_SERVER"], r"^app/127\.0\.0\.1:\d+$")
        self.assertEqual(("parkway", "parkway.service", "6"),
                         (ended["SYSLOG_IDENTIFIER"], ended["_SYSTEMD_UNIT"], ended["PRIORITY"]))


class Logs(Service):
    FILE = "/var/log/parkway/access.log"

    def lines(self, path):
        if not os.path.exists(path):
            return []
        with open(path, encoding="utf-8") as file:
            return file.read().splitlines()

    def test_logrotate_moves_a_file_and_the_daemon_opens_another(self):
        port = self.start_simple(None, f"--access_log=file:{self.FILE}")
        for _ in range(2):
            sock, _ = ask(("127.0.0.1", port))
            sock.close()
            until(lambda: len(self.lines(self.FILE)) == 1, PATIENCE, "a line in the file")
            run([programs.program("logrotate"), "--force", "/etc/logrotate.d/parkway"])
            self.assertEqual(1, len(self.lines(self.FILE + ".1")))
            until(lambda: self.lines(self.FILE) == [] and "reopened" in self.said(), PATIENCE,
                  "it is opened anew")
            self.cursor = systemd.cursor()
        info = os.stat(self.FILE)
        self.assertEqual((0o640, pwd.getpwnam("parkway").pw_uid),
                         (info.st_mode & 0o777, info.st_uid))


class Reloading(Service):
    def test_a_good_one_changes_what_differs_and_nothing_else(self):
        first, second = net.free_port(), net.free_port()
        old, new = self.server("old"), self.server("new")
        self.start(f"--listen=name=web addr=127.0.0.1:{first} upstream=app",
                   f"--upstream=name=app servers=127.0.0.1:{old}")
        pid = main_pid()
        client = self.started(Client(("127.0.0.1", first)))
        systemd.configure(f"--listen=name=web addr=127.0.0.1:{first} upstream=app",
                          f"--listen=name=more addr=127.0.0.1:{second} upstream=other",
                          f"--upstream=name=app servers=127.0.0.1:{old}",
                          f"--upstream=name=other servers=127.0.0.1:{new}")
        systemctl("reload", "parkway.service")
        self.assertEqual(pid, main_pid())
        sock, name = ask(("127.0.0.1", second))
        sock.close()
        self.assertEqual("new", name)
        self.assertTrue(client.went_well())
        self.assertEqual("running", show("SubState"))
        until(lambda: systemd.status().endswith("2 of 2 servers up, generation 2"), PATIENCE,
              "the status says so")

    def test_a_bad_one_fails_with_the_reason_and_the_service_goes_on(self):
        port = self.start_simple()
        pid = main_pid()
        client = self.started(Client(("127.0.0.1", port)))
        systemd.configure(f"--listen=name=web addr=127.0.0.1:{port} upstream=nobody",
                          "--upstream=name=app servers=127.0.0.1:1")
        code, said = systemctl("reload", "parkway.service", check=False)
        self.assertNotEqual(0, code, said)
        self.assertIn('there is no upstream "nobody"', self.said())
        self.assertEqual(pid, main_pid())
        self.assertEqual("active", show("ActiveState"))
        self.assertEqual("running", show("SubState"))
        self.assertTrue(client.went_well())
        until(lambda: "last reload refused: " in systemd.status() and "nobody" in systemd.status(),
              PATIENCE, "the status says why")
        # What is right again is applied, and the status forgets it.
        systemd.configure(f"--listen=name=web addr=127.0.0.1:{port} upstream=app",
                          f"--upstream=name=app servers=127.0.0.1:{self.server('mended')}")
        systemctl("reload", "parkway.service")
        sock, name = ask(("127.0.0.1", port))
        sock.close()
        self.assertEqual("mended", name)
        until(lambda: "refused" not in systemd.status(), PATIENCE, "the status forgets it")


class Sockets(Service):
    def passed(self, name, port):
        """systemd listens for the listener of this name."""
        self.addCleanup(systemd.unit_file(
            "parkway-story.socket",
            f"[Socket]\nService=parkway.service\nFileDescriptorName={name}\n"
            f"ListenStream=127.0.0.1:{port}\nBacklog=4096\n"))
        self.addCleanup(systemctl, "stop", "parkway-story.socket")
        systemctl("stop", "parkway.service")
        systemctl("reset-failed", "parkway.service", check=False)
        systemctl("start", "parkway-story.socket")

    def test_the_first_connection_starts_it_without_privileges(self):
        port = 444
        self.addCleanup(systemd.drop_in("[Service]\nAmbientCapabilities=\n"
                                        "CapabilityBoundingSet=\n"))
        self.passed("web", port)
        systemd.configure("--listen=name=web upstream=app",
                          f"--upstream=name=app servers=127.0.0.1:{self.server('here')}")
        self.assertEqual("inactive", show("ActiveState"))
        sock, name = ask(("127.0.0.1", port))
        sock.close()
        self.assertEqual("here", name)
        systemd.wait("ActiveState", "active")
        self.assertEqual(0, int(status_of(main_pid())["CapEff"][0], 16))

    def test_connections_of_one_socket_go_to_all_workers(self):
        port = net.free_port()
        self.passed("web", port)
        systemd.configure("--threads=2", "--listen=name=web upstream=app",
                          f"--upstream=name=app servers=127.0.0.1:{self.server()}")
        socks = [ask(("127.0.0.1", port))[0] for _ in range(40)]
        for sock in socks:
            self.addCleanup(sock.close)
        _, out, _ = run(["parkwayctl", "show", "threads"])
        rows = [line.split() for line in out.splitlines()]
        column = next(i for i, word in enumerate(rows[0]) if word.lower().startswith("conn"))
        counts = sorted(int(row[column]) for row in rows[1:] if row and row[0].isdigit())
        self.assertEqual([20, 20], counts, out)

    def test_a_restart_loses_no_connection(self):
        port = net.free_port()
        nginx = self.started(programs.Nginx(self.folder(), self.folder()))
        self.passed("web", port)
        systemd.configure("--access_log=off", "--listen=name=web upstream=app",
                          f"--upstream=name=app servers={nginx.ipv4}")
        systemctl("start", "parkway.service")
        wrk = self.started(Process([programs.program("wrk"), "-t1", "-c16", "-d300s",
                                    f"--timeout={programs.LONGEST_REQUEST}s", "-H", "Connection: close", f"http://127.0.0.1:{port}/small"]))
        for _ in range(3):
            pid = main_pid()
            before = nginx.requests()
            until(lambda b=before: nginx.requests() > b + 100, PATIENCE, "requests get through")
            systemctl("restart", "parkway.service")
            self.assertNotEqual(pid, main_pid())
        wrk.signal(signal.SIGINT)  # it ends, and says how it went
        self.assertEqual(0, wrk.wait(30))
        out = wrk.stdout()
        self.assertGreater(int(re.search(r"(\d+) requests in", out)[1]), 300, out)
        self.assertNotIn("Socket errors", out)
        self.assertNotIn("Non-2xx", out)

    def test_a_reload_keeps_the_sockets_and_must_not_leave_one_unclaimed(self):
        port = net.free_port()
        self.passed("web", port)
        systemd.configure("--listen=name=web upstream=app",
                          f"--upstream=name=app servers=127.0.0.1:{self.server('old')}")
        client = self.started(Client(("127.0.0.1", port)))
        # A reload of a unit that is still starting would be one with its start.
        systemd.wait("ActiveState", "active")
        pid = main_pid()
        systemd.configure("--listen=name=web upstream=app",
                          f"--upstream=name=app servers=127.0.0.1:{self.server('new')}")
        systemctl("reload", "parkway.service")
        sock, name = ask(("127.0.0.1", port))
        sock.close()
        self.assertEqual("new", name)
        systemd.configure("--listen=name=shop addr=127.0.0.1:4320", "--upstream=127.0.0.1:1")
        self.assertNotEqual(0, systemctl("reload", "parkway.service", check=False)[0])
        self.assertIn("a socket called web was passed to us", self.said())
        sock, name = ask(("127.0.0.1", port))
        sock.close()
        self.assertEqual("new", name)
        self.assertTrue(client.went_well())
        self.assertEqual(pid, main_pid())

    def test_a_socket_that_no_listener_claims_is_refused(self):
        port = net.free_port()
        self.passed("shop", port)
        systemd.configure("--listen=name=web addr=127.0.0.1:4321", "--upstream=127.0.0.1:1")
        self.assertNotEqual(0, systemctl("start", "parkway.service", check=False)[0])
        systemd.wait("ActiveState", "failed")
        self.assertEqual(str(EX_CONFIG), show("ExecMainStatus"))
        self.assertIn(f"a socket called shop was passed to us, which listens on 127.0.0.1:{port}, "
                      "and there is no listener name=shop", self.said())

    def test_a_socket_elsewhere_than_its_listener_is_refused(self):
        port, other = net.free_port(), net.free_port()
        self.passed("web", port)
        systemd.configure(f"--listen=name=web addr=127.0.0.1:{other}", "--upstream=127.0.0.1:1")
        self.assertNotEqual(0, systemctl("start", "parkway.service", check=False)[0])
        systemd.wait("ActiveState", "failed")
        self.assertEqual(str(EX_CONFIG), show("ExecMainStatus"))
        self.assertIn(f"the socket web that was passed to us listens on 127.0.0.1:{port}, and the "
                      f"listener web on 127.0.0.1:{other}", self.said())

    def test_units_of_socket_proxyd_run_it(self):
        port, own = net.free_port(), "/run/systemd-socket-proxyd"
        os.symlink("/usr/sbin/parkway", own)
        self.addCleanup(os.remove, own)
        self.addCleanup(systemd.unit_file(
            "story-proxy.socket", f"[Socket]\nListenStream=127.0.0.1:{port}\n"))
        self.addCleanup(systemctl, "stop", "story-proxy.socket")
        self.addCleanup(systemd.unit_file(
            "story-proxy.service",
            "[Unit]\nRequires=story-proxy.socket\n"
            "[Service]\nType=notify\n"
            f"ExecStart={own} --connections-max=2 --exit-idle-time=1s "
            f"127.0.0.1:{self.server('behind')}\nPrivateTmp=yes\nPrivateNetwork=no\n"))
        systemctl("start", "story-proxy.socket")
        for _ in range(2):
            first, name = ask(("127.0.0.1", port))
            self.assertEqual("behind", name)
            second, name = ask(("127.0.0.1", port))
            self.assertEqual("behind", name)
            # The reset may be there before connect() has returned.
            with self.assertRaises(ConnectionResetError):
                with socket.create_connection(("127.0.0.1", port), PATIENCE) as third:
                    third.recv(1)
            first.close()
            second.close()
            # Idle, it ends; the next connection starts it again.
            systemd.wait("ActiveState", "inactive", "story-proxy.service")
            self.assertEqual("success", show("Result", "story-proxy.service"))
        self.assertEqual("active", show("ActiveState", "story-proxy.socket"))


class Alone(story.Story):
    """Without a service manager."""

    def test_it_becomes_a_user_once_it_listens_and_writes_its_number(self):
        folder = self.folder()
        os.chmod(folder, 0o755)
        port, pidfile = 445, os.path.join(folder, "parkway.pid")
        server = self.started(Named("a", f"127.0.0.1:{net.free_port()}"))
        parkway = self.started(Process(
            ["/usr/sbin/parkway", f"--listen=127.0.0.1:{port}",
             f"--upstream={server.address}", "--user=nobody", f"--pidfile={pidfile}"]))
        sock = until(lambda: self.connected(port), PATIENCE, "it listens")
        sock.close()
        parkway.wait_line(lambda line: "started: pid=" in line, PATIENCE, "that it started")
        nobody = pwd.getpwnam("nobody")
        for field, number in (("Uid", nobody.pw_uid), ("Gid", nobody.pw_gid)):
            self.assertEqual([str(number)] * 4, status_of(parkway.pid)[field])
        self.assertEqual(0, int(status_of(parkway.pid)["CapEff"][0], 16))
        with open(pidfile, encoding="ascii") as file:
            self.assertEqual(f"{parkway.pid}\n", file.read())
        self.assertEqual(0, parkway.stop())
        # The folder is root's, so what is left is empty.
        self.assertEqual(0, os.path.getsize(pidfile))

    def connected(self, port):
        try:
            return socket.create_connection(("127.0.0.1", port), PATIENCE)
        except ConnectionRefusedError:
            return None

    def test_a_user_that_is_none_of_this_machine_is_said(self):
        done = subprocess.run(["/usr/sbin/parkway", "--listen=127.0.0.1:4322",
                               "--upstream=127.0.0.1:1", "--user=nosuchuser"],
                              capture_output=True, text=True, timeout=30, check=False)
        self.assertIn(done.returncode, (EX_OSERR, EX_CONFIG))
        self.assertIn("nosuchuser", done.stderr)


if __name__ == "__main__":
    container.enter(prepare)
    story.main()
