#!/usr/bin/env python3
"""Where lines of the access log go and which are left out, at the start and over reloads; lines of
connections that go on."""

import json
import os
import signal
import socket
import time

from lib import logline, net, procfs, story
from lib.daemon import Parkway
from lib.nameserver import Dnsmasq
from lib.peer import FIN, RST, Server, connect
from lib.process import run, until
from lib.syslog import RFC3164, Collector


class Logged(story.Story):

    def setUp(self):
        self.server = self.started(Server())
        self.listen = f"127.0.0.1:{net.free_port()}"

    def parkway(self, **flags):
        return self.started(Parkway(self.listen, self.server.address, **flags))

    def rounds(self, count, said=5):
        for _ in range(count):
            client = connect(self.listen)
            server = self.server.accept()
            if said:
                client.send(said)
                server.receive(said)
            client.finish()
            server.ending()
            server.close()
            client.ending()
            client.close()


class Sinks(Logged):

    def test_a_file_is_begun_again_after_logrotate_has_renamed_it(self):
        folder = self.folder()
        path = f"{folder}/access.log"
        parkway = self.parkway(access_log=f"file:{path}", threads=4)

        def lines(of):
            with open(of, encoding="ascii") as file:
                return [logline.fields(line) for line in file]

        self.rounds(20)
        until(lambda: len(lines(path)) == 20, 20, "the first lines are written")
        os.rename(path, f"{path}.1")
        self.rounds(5)
        until(lambda: len(lines(f"{path}.1")) == 25, 20, "it goes on in the renamed file")
        parkway.signal(signal.SIGUSR1)
        until(lambda: os.path.exists(path), 20, "a new file is begun")
        self.rounds(20)
        until(lambda: len(lines(path)) == 20, 20, "and has the lines that follow")
        self.assertEqual(len(lines(f"{path}.1")), 25)
        self.assertEqual({line["cause"] for line in lines(path)}, {"client_fin"})
        self.assertFalse(parkway.closing_lines(), "stderr has none of them")
        # A folder that is gone: it goes on where it was.
        os.rename(folder, f"{folder}.gone")
        self.addCleanup(os.rename, f"{folder}.gone", folder)
        parkway.signal(signal.SIGUSR1)
        parkway.wait_line(lambda line: "cannot open" in line and "goes on where it was" in line,
                          20, "that it cannot be opened")
        self.rounds(3)
        until(lambda: len(lines(f"{folder}.gone/access.log")) == 23, 20, "it goes on")
        parkway.finish()

    def test_a_file_that_cannot_be_opened_keeps_it_from_starting(self):
        parkway = self.started(Parkway(self.listen, self.server.address, ready=False,
                                       access_log="file:/nowhere/access.log"))
        self.assertEqual(parkway.wait(20), 71)
        self.assertIn("access_log: cannot open /nowhere/access.log: No such file or directory",
                      parkway.stderr())

    def test_stdout(self):
        parkway = self.parkway(access_log="stdout")
        self.rounds(3)
        parkway.finish()
        lines = parkway.stdout().splitlines()
        self.assertEqual([logline.fields(line)["cause"] for line in lines], ["client_fin"] * 3)

    def test_syslog_over_udp_with_a_facility(self):
        log = self.started(Collector())
        parkway = self.parkway(access_log=f"syslog:{log.address}", log_facility="local3")
        self.rounds(3)
        for number in range(3):
            self.assertIn("cause=client_fin", log.next_line(number))
        match = RFC3164.fullmatch(log.messages[0])
        self.assertEqual((match["pri"], match["who"]), (str(19 * 8 + 6), "parkway"))
        parkway.finish()

    def test_nobody_takes_the_lines_and_traffic_goes_on(self):
        folder = self.folder()
        parkway = self.parkway(access_log=f"unix:{folder}/log.sock", stats_interval="200ms")
        parkway.wait_line(lambda line: "access_log: cannot send" in line, 20, "what is wrong")
        self.rounds(10)
        parkway.settled(lambda n: n["log_dropped"] == 10, "ten lines are counted as lost")
        log = self.started(Collector(f"{folder}/log.sock"))

        def arrived():
            self.rounds(1)
            return log.messages

        until(arrived, 20, "whoever listens later gets the lines that follow")
        parkway.finish()

    def test_a_silent_name_server_costs_lines_and_nothing_else(self):
        if not net.isolated():
            self.skipTest("/etc/resolv.conf is everybody's")
        folder = self.folder()
        with open(f"{folder}/resolv.conf", "w", encoding="ascii") as file:
            file.write("nameserver 127.0.0.1\noptions timeout:1 attempts:30\n")
        run(["mount", "--bind", f"{folder}/resolv.conf", "/etc/resolv.conf"])
        self.addCleanup(run, ["umount", "/etc/resolv.conf"])
        log = self.started(Collector())
        port = log.address.rpartition(":")[2]
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
            silent.bind(("127.0.0.1", 53))
            parkway = self.parkway(access_log=f"syslog:logs.test:{port}", stats_interval="200ms")
            parkway.wait_line(lambda line: "syslog host logs.test: no name server answers" in line,
                              20, "what is wrong")
            self.rounds(3)
            parkway.settled(lambda n: n["log_dropped"] == 3, "three lines are counted as lost")
        self.started(Dnsmasq(folder, {"logs.test": ["127.0.0.1"]}, port=53))

        def arrived():
            self.rounds(1)
            return log.messages

        until(arrived, 20, "they go to the host once it has an address")
        parkway.finish()

    def test_those_that_said_nothing_or_ended_in_order_may_be_left_out(self):
        parkway = self.parkway(log_skip="null")
        self.rounds(5, said=0)
        self.rounds(2)
        parkway.finish()
        self.assertEqual(len(parkway.closing_lines()), 2)
        parkway = self.parkway(log_skip="normal")
        self.rounds(5)
        client = connect(self.listen)
        client.send(1)
        server = self.server.accept()
        server.receive(1)
        client.reset()
        self.assertEqual(server.ending(), RST)
        parkway.finish()
        self.assertEqual([line["cause"] for line in parkway.closing_lines()], ["client_rst"])

    def test_one_of_so_many(self):
        parkway = self.parkway(log_sample=10)
        self.rounds(300)
        parkway.finish()
        # 30 of them; this many or few once in a hundred thousand runs.
        self.assertGreater(len(parkway.closing_lines()), 8)
        self.assertLess(len(parkway.closing_lines()), 60)

    def test_json_says_all_that_is_known(self):
        address = f"127.0.0.1:{net.free_port()}"
        log = self.started(Collector())
        parkway = self.started(Parkway.from_flags(
            [f"--listen=name=web addr={address} upstream=app accept_proxy=on "
             "proxy_trusted=127.0.0.0/8", "--upstream=name=app",
             f"--server=upstream=app name=one addr={self.server.address}",
             f"--access_log=syslog:{log.address}", "--log_format=json", "--threads=4"], address))
        client = connect(address)
        client.sock.send(b"PROXY TCP4 203.0.113.9 198.51.100.7 4711 443\r\n" + b"\x00\x01\x02")
        server = self.server.accept()
        source = server.sock.getpeername()
        self.addCleanup(server.close)
        server.receive(3)
        time.sleep(0.6)  # longer than all else, so that this is what took the time
        server.send(100)
        client.receive(100)
        server.finish()
        self.assertEqual(client.ending(), FIN)
        client.close()
        line = json.loads(log.next_line(0))
        expected = {
            "event": "close", "listener": "web", "client_addr": "203.0.113.9", "client_port": 4711,
            "local_addr": address, "proxy_addr": client.address, "upstream": "app",
            "server": "one", "server_addr": self.server.address,
            "source_addr": f"{source[0]}:{source[1]}", "attempts": 1, "queue_ms": 0,
            "bytes_in": 3, "bytes_out": 100, "cause": "server_fin", "ha_state": "--",
            "first_closer": "server", "unsent_bytes": 0, "limited_by": "server_app",
            "client_retrans": 0, "server_retrans": 0, "actconn": 1, "feconn": 1, "beconn": 0,
            "srvconn": 0, "retries": 0, "backend_queue": 0, "spliced_bytes": 0}
        self.assertEqual({key: line.get(key) for key in expected}, expected)
        self.assertRegex(line["ts"], r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z$")
        self.assertRegex(line["conn_id"], r"^\d+$")
        self.assertIn(line["thread"], range(4))
        self.assertGreaterEqual(line["config_generation"], 1)
        self.assertGreaterEqual(line["first_byte_ms"], 600)
        self.assertGreaterEqual(line["duration_ms"], line["first_byte_ms"])
        self.assertGreater(line["client_rtt_us"], 0)
        # It was connected before the server took its time.
        self.assertLessEqual(line["connect_ms"], line["first_byte_ms"] - 599)
        parkway.finish()


class Reloaded(Logged):
    """The log follows a reload in the running process, from one connection to the next."""

    def setUp(self):
        super().setUp()
        self.path = f"{self.folder()}/parkway.flags"

    def write(self, *lines):
        with open(self.path, "w", encoding="ascii") as file:
            file.write("".join(f"{line}\n" for line in lines))

    def start(self, *lines, threads=1):
        self.write(*lines)
        return self.started(Parkway.from_flags(
            [f"--listen=name=web addr={self.listen} upstream=app", f"--threads={threads}",
             f"--upstream=name=app servers={self.server.address}", f"--flagfile={self.path}"],
            self.listen))

    def reload(self, parkway, *lines):
        # A client sees its end a moment before the connection has a line.
        until(lambda: procfs.workers_wait(parkway.pid), 20, "what was begun is done")
        self.write(*lines)
        said = len(parkway.lines)
        parkway.signal(signal.SIGHUP)
        return parkway.wait_line(
            lambda line: "reload: " in line and ("ERROR" in line or "unchanged" in line), 20,
            "what became of the reload", since=said)

    def lines(self, path, count):
        """All that is in `path` once there are `count`."""

        def read():
            if not os.path.exists(path):
                return None
            with open(path, encoding="ascii") as file:
                text = file.read()
            return text.splitlines() if text.count("\n") == count else None

        return until(read, 20, f"{path} has {count} lines")

    def test_where_it_goes_what_it_looks_like_and_what_is_left_out(self):
        for threads in (1, 4):
            folder = self.folder()
            one, two = f"{folder}/one.log", f"{folder}/two.log"
            parkway = self.start(f"--access_log=file:{one}", threads=threads)
            self.rounds(3)
            line = self.reload(parkway, f"--access_log=file:{two}")
            self.assertIn(f"~access_log: file:{one} -> file:{two}", line)
            self.rounds(3)
            self.lines(two, 3)
            self.assertEqual([logline.fields(line)["cause"] for line in self.lines(one, 3)],
                             ["client_fin"] * 3)
            # The file stays open, and its lines look different from here on.
            self.reload(parkway, f"--access_log=file:{two}", "--log_format=json")
            self.rounds(2)
            causes = [json.loads(line)["cause"] for line in self.lines(two, 5)[3:]]
            self.assertEqual(causes, ["client_fin"] * 2)
            self.reload(parkway, f"--access_log=file:{two}", "--log_format=json",
                        "--log_skip=normal")
            self.rounds(4)
            client = connect(self.listen)
            client.send(1)
            server = self.server.accept()
            server.receive(1)
            client.reset()
            server.ending()
            self.assertEqual(json.loads(self.lines(two, 6)[-1])["cause"], "client_rst")
            # To nowhere, and to stderr.
            self.reload(parkway, "--access_log=off")
            self.rounds(2)
            self.reload(parkway, "--access_log=stderr")
            self.rounds(1)
            parkway.finish()
            self.assertEqual(len(parkway.closing_lines()), 1)
            self.lines(two, 6)

    def test_a_connection_has_lines_when_it_begins_and_while_it_goes_on_if_asked_for(self):
        for threads in (1, 4):
            path = f"{self.folder()}/events.log"
            on = [f"--access_log=file:{path}", "--log_format=json", "--log_events=open,connect",
                  "--log_progress=1s"]
            parkway = self.start(*on, threads=threads)
            client = connect(self.listen)
            server = self.server.accept()
            client.send(3000)
            server.receive(3000)

            def of(event):
                with open(path, encoding="ascii") as file:
                    found = [json.loads(line) for line in file if line.endswith("\n")]
                return [one for one in found if one["event"] == event]

            def goes_on():
                told = of("progress")
                return told if len(told) > 1 and told[-1]["bytes_in"] == 3000 else None

            twice = until(goes_on, 20, "it goes on")
            client.finish()
            server.ending()
            server.close()
            client.ending()
            client.close()
            close = until(lambda: of("close"), 20, "it ends")[0]
            opened, reached = of("open"), of("connect")
            self.assertEqual((len(opened), len(reached)), (1, 1))
            self.assertEqual({one["conn_id"] for one in opened + reached + twice},
                             {close["conn_id"]})
            self.assertEqual(opened[0]["listener"], "web")
            self.assertEqual(opened[0]["client_port"], close["client_port"])
            self.assertEqual(reached[0]["server_addr"], self.server.address)
            self.assertGreaterEqual(twice[0]["duration_ms"], 1000)
            self.assertLess(opened[0]["ts"], close["ts"])
            # And no more when it is asked for no more; nor does one who has been refused begin.
            self.reload(parkway, *on[:2])
            self.rounds(2)
            until(lambda: len(of("close")) == 3, 20, "two more end")
            self.assertEqual((len(of("open")), len(of("connect"))), (1, 1))
            said = len(parkway.lines)
            self.reload(parkway, on[0], *on[2:])
            parkway.wait_line(lambda line: "--log_events: only lines of JSON say" in line, 20,
                              "that there are none", since=said)
            parkway.finish()

    def test_a_file_that_cannot_be_opened_refuses_the_reload(self):
        folder = self.folder()
        one = f"{folder}/one.log"
        parkway = self.start(f"--access_log=file:{one}")
        self.rounds(1)
        line = self.reload(parkway, "--access_log=file:/nowhere/access.log", "--log_format=json",
                           "--max_connections=77")
        self.assertIn("ERROR: reload: refused, the configuration stays as it is: access_log: "
                      "cannot open /nowhere/access.log: No such file or directory", line)
        self.rounds(1)
        # Nothing else of that file holds either.
        self.assertEqual([logline.fields(line)["cause"] for line in self.lines(one, 2)],
                         ["client_fin"] * 2)
        line = self.reload(parkway, f"--access_log=file:{one}", "--max_connections=77")
        self.assertIn("~max_connections", line)
        self.rounds(1)
        self.lines(one, 3)
        parkway.finish()


if __name__ == "__main__":
    story.main()
