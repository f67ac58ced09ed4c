#!/usr/bin/env python3
"""The access log: HAProxy's line beside ours for the same connection, and who was slow."""

import os
import re
import socket
import subprocess
import threading
import time
import unittest

from lib import net, procfs, programs, story
from lib.admin import Admin
from lib.daemon import PATIENCE, Parkway, flag_list
from lib.peer import FIN, RST, Peer, Server, connect
from lib.process import Process, until
from lib.stalls import told_in_time
from lib.syslog import Collector

# HAProxy's option tcplog.
TCPLOG = re.compile(
    r"(?P<client>\S+) \[(?P<date>[^]]+)\] (?P<frontend>\S+) (?P<backend>[^/ ]+)/(?P<server>\S+) "
    r"(?P<Tw>-?\d+)/(?P<Tc>-?\d+)/(?P<Tt>\d+) (?P<bytes>\d+) (?P<state>..) "
    r"(?P<actconn>\d+)/(?P<feconn>\d+)/(?P<beconn>\d+)/(?P<srvconn>\d+)/(?P<retries>\+?\d+) "
    r"(?P<srv_queue>\d+)/(?P<backend_queue>\d+)(?: |$)")


class Haproxy(Process):
    """The configuration of `Both`, in HAProxy's words."""

    def __init__(self, folder, log, admin, places_of):
        config = (f"global\n  log {log} local0\n  maxconn 1000\n"
                  f"  stats socket {admin} mode 600\n") + """
defaults
  mode tcp
  log global
  option tcplog
  timeout connect 1s
  timeout client 3s
  timeout server 3s
"""
        for name, (port, server, extra, retries, queue) in places_of.items():
            config += f"""
frontend {name}
  bind 127.0.0.1:{port}
  default_backend b_{name}
backend b_{name}
  retries {retries}
  timeout queue {queue}
  server s1 {server} {extra}
"""
        path = os.path.join(folder, "haproxy.cfg")
        with open(path, "w", encoding="ascii") as file:
            file.write(config)
        super().__init__([programs.program("haproxy"), "-db", "-f", path])
        wanted = {("tcp", port) for port, *_ in places_of.values()}
        # Without a connection: that would have a line.
        until(lambda: wanted <= set(procfs.listens(self.pid)), 15, "haproxy listens")


class BesideHaproxy(story.Story):
    """The same connection through both, and both lines field by field."""

    def setUp(self):
        self.server = self.started(Server())
        self.hole = self.started(net.BlackHole())
        dead = f"127.0.0.1:{net.free_port()}"
        # name: (server, HAProxy's words, ours, retries, how long to wait in line)
        kinds = {
            "normal": (self.server.address, "", "", 2, "1s"),
            "refused": (dead, "", "", 2, "1s"),
            "timeout": (self.hole.address, "", "", 0, "1s"),
            "nobody": (dead, "disabled", "state=down", 2, "1s"),
            "queue": (self.server.address, "maxconn 1", "max_conns=1", 2, "1s"),
            "line": (self.server.address, "maxconn 1", "max_conns=1", 2, "30s"),
        }
        folder = self.folder()
        self.ports = [{name: net.free_port() for name in kinds} for _ in range(2)]
        self.logs = [self.started(Collector(f"{folder}/{name}.sock")) for name in ("ha", "pw")]
        self.admins = [Admin(f"{folder}/{name}-admin.sock") for name in ("ha", "pw")]
        self.started(Haproxy(folder, self.logs[0].address, self.admins[0].path, {
            name: (self.ports[0][name], server, extra, retries, queue)
            for name, (server, extra, _, retries, queue) in kinds.items()}))
        flags = flag_list({"threads": 4, "access_log": f"unix:{self.logs[1].address}",
                           "log_format": "tcplog", "idle_timeout": "3s", "connect_timeout": "1s",
                           "all_down": "close", "connect_attempts": 3, "passive_fails": 0,
                           "admin_socket": self.admins[1].path})
        for name, (server, _, extra, _, queue) in kinds.items():
            flags += [f"--listen=name={name} addr=127.0.0.1:{self.ports[1][name]} "
                      f"upstream=b_{name}", f"--upstream=name=b_{name} queue_timeout={queue}",
                      f"--server=upstream=b_{name} name=s1 addr={server} {extra}".strip()]
        self.parkway = self.started(
            Parkway.from_flags(flags, f"127.0.0.1:{self.ports[1]['normal']}"))

    def both(self, tell):
        """Tells `tell(address of a place by name)` through each; compares the lines of the clients
        that it returns. HAProxy says other things too, and others have lines of their own."""
        found = []
        for ports, log, self.admin in zip(self.ports, self.logs, self.admins):
            since = len(log.messages)
            client = tell(lambda name, ports=ports: f"127.0.0.1:{ports[name]}")
            line = log.line_that_begins(client.address + " ", since)
            match = TCPLOG.match(line)
            self.assertTrue(match, line)
            found.append((match.groupdict(), line))
        (theirs, their_line), (ours, our_line) = found
        for fields in (theirs, ours):
            self.assertRegex(fields.pop("client"), r"^127\.0\.0\.1:\d+$")
            self.assertRegex(fields.pop("date"), r"^\d\d/[A-Z][a-z]{2}/\d{4}:\d\d:\d\d:\d\d\.\d{3}$")
            # Times aside; but what never was is -1.
            for name in ("Tw", "Tc", "Tt"):
                fields[name] = "-1" if fields[name] == "-1" else "some"
        self.assertEqual(ours, theirs, f"\n{their_line}\n{our_line}")
        print(f"\n  {their_line}\n  {our_line}", end="")
        return ours

    def connect(self, address):
        """Its address is known though it be reset at once."""
        host, port = address.rsplit(":", 1)
        client = Peer(socket.create_server(("127.0.0.1", 0)), "client")
        client.remember_address()
        client.sock.close()
        client.sock = socket.socket()
        client.sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        own_host, own_port = client.address.rsplit(":", 1)
        client.sock.bind((own_host, int(own_port)))
        try:
            client.sock.connect((host, int(port)))
        except ConnectionResetError:
            pass
        client.sock.setblocking(False)
        self.addCleanup(client.close)
        return client

    def in_line(self, backend):
        """How many wait there for a server, of whom both() has its turn."""
        lines = self.admin.say("show stat\n").splitlines()
        columns = lines[0].removeprefix("# ").split(",")
        rows = [dict(zip(columns, line.split(","))) for line in lines[1:] if line]
        return sum(int(row["qcur"] or 0) for row in rows
                   if row["pxname"] == backend and row["svname"] == "BACKEND")

    def link(self, address):
        client = self.connect(address)
        client.send(5)
        server = self.server.accept()
        self.addCleanup(server.close)
        server.receive(5)
        server.send(1000)
        client.receive(1000)
        return client, server

    def test_a_client_that_ends_in_order(self):
        def tell(address):
            client, server = self.link(address("normal"))
            client.finish()
            server.ending()
            server.close()
            client.ending()
            return client

        self.assertEqual(self.both(tell)["state"], "--")

    def test_a_server_that_ends_in_order(self):
        def tell(address):
            client, server = self.link(address("normal"))
            server.finish()
            client.ending()
            client.close()
            return client

        self.assertEqual(self.both(tell)["state"], "--")

    def test_a_client_that_resets(self):
        def tell(address):
            client, _ = self.link(address("normal"))
            client.reset()
            return client

        self.assertEqual(self.both(tell)["state"], "CD")

    def test_a_server_that_resets(self):
        def tell(address):
            client, server = self.link(address("normal"))
            server.reset()
            client.ending()
            return client

        self.assertEqual(self.both(tell)["state"], "SD")

    def test_a_server_that_refuses(self):
        def tell(address):
            client = self.connect(address("refused"))
            self.assertIn(client.ending(), (FIN, RST))
            return client

        fields = self.both(tell)
        self.assertEqual((fields["state"], fields["retries"]), ("SC", "2"))

    def test_a_server_that_does_not_answer(self):
        def tell(address):
            client = self.connect(address("timeout"))
            self.assertIn(client.ending(), (FIN, RST))
            return client

        self.assertEqual(self.both(tell)["state"], "sC")

    def test_a_connection_that_falls_silent(self):
        def tell(address):
            client, _ = self.link(address("normal"))
            client.ending()
            return client

        self.assertEqual(self.both(tell)["state"], "cD")

    def test_no_server(self):
        def tell(address):
            client = self.connect(address("nobody"))
            self.assertIn(client.ending(), (FIN, RST))
            return client

        fields = self.both(tell)
        self.assertEqual((fields["state"], fields["server"]), ("SC", "<NOSRV>"))

    def test_a_client_that_waits_too_long_for_a_server(self):
        def tell(address):
            self.link(address("queue"))  # is there until both lines are written
            client = self.connect(address("queue"))
            client.ending()
            return client

        self.assertEqual(self.both(tell)["state"], "sQ")

    def test_a_client_that_waits_for_a_server_and_gets_it(self):
        def tell(address):
            holder, _ = self.link(address("line"))
            waits = self.connect(address("line"))
            waits.send(5)
            until(lambda: self.in_line("b_line") == 1, PATIENCE, "it stands in line")
            holder.reset()
            server = self.server.accept()
            self.addCleanup(server.close)
            server.receive(5)
            waits.finish()
            server.ending()
            server.close()
            waits.ending()
            return waits

        fields = self.both(tell)
        self.assertEqual(fields["state"], "--")

    def test_others_that_are_open_are_counted(self):
        def tell(address):
            for _ in range(3):
                self.link(address("normal"))  # are there until both lines are written
            client, server = self.link(address("normal"))
            client.finish()
            server.ending()
            server.close()
            client.ending()
            return client

        fields = self.both(tell)
        self.assertEqual((fields["feconn"], fields["beconn"], fields["srvconn"]), ("4", "3", "3"))


class WhoWasSlow(story.Story):
    SLACK = 0.1  # seconds: who has no processor for longer is the slow one

    def setUp(self):
        self.server = self.started(Server())
        self.listen = f"127.0.0.1:{net.free_port()}"

    def told(self, tell, **flags):
        """What the line says of a connection of which `tell(client, server)` is the story."""
        parkway = self.started(Parkway(self.listen, self.server.address, threads=1, **flags))
        client = connect(self.listen)
        client.send(1)
        server = self.server.accept()
        server.receive(1)
        tell(client, server)
        for peer in (server, client):
            peer.close()
        line = parkway.closing_line(client.address)
        parkway.finish()
        print(f"\n  limited_by={line['limited_by']} client_rtt={line['client_rtt']} "
              f"client_retrans={line['client_retrans']} server_rtt={line['server_rtt']} "
              f"server_retrans={line['server_retrans']}", end="")
        return line

    def carry(self, sender, receiver, size):
        thread = threading.Thread(target=sender.send, args=(size, 120))
        thread.start()
        receiver.receive(size, 120)
        thread.join()

    def test_a_receiver_that_stalls(self):
        net.small_socket_buffers()

        def down(client, server):
            server.fill(quiet=1.5)

        self.assertEqual(self.told(down)["limited_by"], "client_window")

        def up(client, server):
            client.fill(quiet=1.5)

        self.assertEqual(self.told(up)["limited_by"], "server_window")

    def test_a_server_that_thinks(self):
        def answers(client, server):
            time.sleep(1)
            server.send(1000)
            client.receive(1000)

        self.assertEqual(self.told(answers)["limited_by"], "server_app")

        def trickles(client, server):
            for _ in range(10):
                time.sleep(0.1)
                server.send(1000)
                client.receive(1000)

        self.assertEqual(self.told(trickles)["limited_by"], "server_app")

        def never(client, server):
            time.sleep(1)

        self.assertEqual(self.told(never)["limited_by"], "server_app")

    def test_a_client_that_thinks(self):
        def asks(client, server):
            for _ in range(3):
                server.send(100)
                client.receive(100)
                time.sleep(0.4)
                client.send(100)
                server.receive(100)
            server.send(100)
            client.receive(100)

        self.assertEqual(self.told(asks)["limited_by"], "client_app")

    def test_a_rate_of_ours(self):
        def down(client, server):
            self.carry(server, client, 400_000)

        told_in_time(lambda: self.assertEqual(
            self.told(down, rate_down="200KiB/s")["limited_by"], "proxy"), self.SLACK)

    @unittest.skipUnless(net.isolated(), "needs a network namespace of its own")
    def test_a_network_that_loses_packets(self):
        port = self.listen.rsplit(":", 1)[1]
        behind = self.server.address.rsplit(":", 1)[1]
        nft = programs.program("nft")

        def rules(text):
            subprocess.run([nft, "-f", "-"], input=text, check=True, text=True)

        def lossy(match):
            # The large ones: those with data.
            rules(f"""
table ip lossy
delete table ip lossy
table ip lossy {{
  chain out {{
    type filter hook input priority 0
    tcp {match} meta length > 1000 numgen random mod 100 < 20 counter drop
  }}
}}
""")

        def lost():
            text = subprocess.run([nft, "list", "table", "ip", "lossy"], check=True, text=True,
                                  capture_output=True).stdout
            return int(re.search(r"counter packets (\d+)", text)[1])

        # To the client.
        lossy(f"sport {port}")

        def down(client, server):
            # Faster than the daemon, that its window be open.
            def send():
                server.sock.setblocking(True)
                server.sock.sendall(bytes(10_000_000))

            sending = threading.Thread(target=send)
            sending.start()
            client.sock.setblocking(True)
            room = memoryview(bytearray(1 << 20))
            left = 10_000_000
            while left:
                left -= client.sock.recv_into(room)
            sending.join()

        def to_client():
            line = self.told(down)
            self.assertEqual(line["limited_by"], "network")
            self.assertGreater(int(line["client_retrans"]), 4)
            # Where nothing is lost a busy machine may be late with a packet once in a while.
            self.assertLess(int(line["server_retrans"]), int(line["client_retrans"]) / 2)

        told_in_time(to_client, self.SLACK)
        # From the server: it shows in the order of what comes, and not in what we send again.
        lossy(f"sport {behind}")

        def from_server():
            before = lost()
            line = self.told(down)
            self.assertEqual(line["limited_by"], "network")
            self.assertLess(int(line["client_retrans"]), (lost() - before) / 2)

        told_in_time(from_server, self.SLACK)


if __name__ == "__main__":
    story.main()
