#!/usr/bin/env python3
"""HTTP: metrics that equal what really happened, readiness, liveness, and clients that are slow."""

import os
import signal
import socket
import subprocess
import threading
import time

from lib import http, net, places, story
from lib.daemon import PATIENCE, Parkway
from lib.http import Metrics
from lib.process import run, until
from lib.programs import Nginx, Wrk, program
from lib.talker import Answerer


class Http(story.Story):
    def daemon(self, lines, listen, *, threads=1, more=()):
        self.http = f"127.0.0.1:{net.free_port()}"
        flags = [f"--http={self.http}", f"--threads={threads}", "--access_log=off", *more, *lines]
        return self.started(Parkway.from_flags(flags + places.extra_flags(), listen))

    def simple(self, upstream, **options):
        listen = f"127.0.0.1:{net.free_port()}"
        lines = [f"--listen=name=web addr={listen} upstream=app", "--upstream=name=app",
                 f"--server=upstream=app name=a addr={upstream}"]
        return self.daemon(lines, listen, **options), listen

    def ready(self, listener=None):
        code, body, _ = http.get(self.http, "/ready" + (f"?listener={listener}" if listener else ""))
        return code, body.splitlines()

    # --- What it says ---

    def test_what_is_there_and_what_is_not(self):
        server = self.started(Echo())
        self.simple(server.address)
        self.assertEqual(self.ready(), (200, ["ready"]))
        self.assertEqual(http.get(self.http, "/live")[:2], (200, "alive\n"))
        code, body, headers = http.get(self.http, "/")
        self.assertEqual(code, 200)
        self.assertIn("<title>Parkway</title>", body)
        self.assertIn("default-src 'none'", headers["Content-Security-Policy"])
        self.assertEqual(http.get(self.http, "/nothing")[0], 404)
        status = http.status(self.http)
        self.assertEqual(status["listeners"][0]["name"], "web")
        code, body, headers = http.get(self.http, "/metrics")
        self.assertTrue(headers["Content-Type"].startswith("text/plain; version=0.0.4"))

    def test_metrics_are_clean_under_promtool(self):
        server = self.started(Echo())
        _, listen = self.simple(server.address)
        exchange(listen, b"hello")
        text = Metrics(self.http).text
        checked = subprocess.run([program("promtool"), "check", "metrics"], input=text, text=True,
                                 capture_output=True, check=False)
        self.assertEqual((checked.returncode, checked.stdout, checked.stderr), (0, "", ""))

    def test_compression_is_for_those_who_ask(self):
        server = self.started(Echo())
        self.simple(server.address)
        _, text, _ = run([program("curl"), "-sS", "-D", "-", "-o", "/dev/null", "--compressed",
                          f"http://{self.http}/metrics"])
        self.assertIn("Content-Encoding: gzip", text)
        _, _, headers = http.get(self.http, "/metrics", headers={"Accept-Encoding": "br"})
        self.assertIsNone(headers["Content-Encoding"])

    # --- Counts ---

    def test_counts_equal_the_connections_that_were_made(self):
        for threads in (1, 4):
            server = self.started(Echo())
            dead = f"127.0.0.1:{net.free_port()}"
            web, sql = (f"127.0.0.1:{net.free_port()}" for _ in range(2))
            self.daemon([f"--listen=name=web addr={web} upstream=app",
                         f"--listen=name=sql addr={sql} upstream=db",
                         "--upstream=name=app", f"--server=upstream=app name=a addr={server.address}",
                         "--upstream=name=db", f"--server=upstream=db name=x addr={dead}"],
                        web, threads=threads)
            before = Metrics(self.http)
            self.assertEqual(before.value("connections_total"), 0)
            for i in range(40):
                exchange(web, b"x" * (100 + i))
            for _ in range(7):
                reset(web)
            for _ in range(5):
                turned_away(sql)
            until(lambda: Metrics(self.http).value("connections_active") == 0, PATIENCE,
                  "all connections have ended")
            after = Metrics(self.http)
            self.assertEqual(after.value("connections_total", listener="web"), 47)
            self.assertEqual(after.value("connections_total", listener="sql"), 5)
            closed = "connections_closed_total"
            self.assertEqual(after.value(closed, listener="web", upstream="app", cause="client_fin"),
                             40)
            self.assertEqual(after.value(closed, listener="web", cause="client_rst"), 7)
            self.assertEqual(after.value(closed, listener="sql", upstream="db",
                                         cause="connect_refused"), 5)
            self.assertEqual(after.value(closed), 52)
            sent = sum(100 + i for i in range(40)) + 7
            for name in ("received_bytes_total", "sent_bytes_total"):
                self.assertEqual(after.value(name, listener="web"), sent, name)
                self.assertEqual(after.value("upstream_" + name, upstream="app", server="a"), sent)
            attempts = after.value("upstream_connect_attempts_total", server="x")
            self.assertEqual(attempts, after.value("upstream_connect_errors_total", server="x",
                                                   cause="connect_refused"))
            self.assertGreaterEqual(attempts, 5)
            self.assertEqual(after.value("upstream_connections_total", server="a"), 47)
            self.assertEqual(after.value("upstream_connect_seconds_count", server="a"), 47)
            self.assertEqual(after.value("connection_duration_seconds_count", listener="web"), 47)
            self.assertEqual(after.value("thread_accepts_total"), 52)

    def test_totals_advance_while_a_connection_lives(self):
        server = self.started(Echo())
        _, listen = self.simple(server.address)
        with socket.create_connection(listen.split(":")) as client:
            moved = 0
            for size in (1000, 50_000, 7):
                client.sendall(b"y" * size)
                read(client, size)
                moved += size
                until(lambda: Metrics(self.http).value("sent_bytes_total") == moved, PATIENCE,
                      f"{moved} bytes are counted while the connection is open")
                self.assertEqual(Metrics(self.http).value("upstream_sent_bytes_total"), moved)
            self.assertEqual(Metrics(self.http).value("connections_active", listener="web"), 1)
            self.assertEqual(Metrics(self.http).value("upstream_connections_active", server="a"), 1)
        until(lambda: Metrics(self.http).value("connections_active") == 0, PATIENCE, "it has ended")
        self.assertEqual(Metrics(self.http).value("sent_bytes_total"), moved)

    def test_counts_go_on_over_a_reload_and_a_refused_one_is_told(self):
        server = self.started(Echo())
        web, sql = (f"127.0.0.1:{net.free_port()}" for _ in range(2))
        path = os.path.join(self.folder(), "parkway.flags")

        def configure(*lines):
            with open(path, "w", encoding="ascii") as file:
                file.write("\n".join(lines))

        app = ["--upstream=name=app", f"--server=upstream=app name=a addr={server.address}"]
        both = [f"--listen=name={name} addr={addr} upstream=app"
                for name, addr in (("web", web), ("sql", sql))]
        configure(*both, *app)
        daemon = self.daemon(["-c", path], web)
        exchange(web, b"before")
        with socket.create_connection(sql.split(":")) as client:
            client.sendall(b"x")
            read(client, 1)
            configure(both[0], *app)
            daemon.signal(signal.SIGHUP)
            until(lambda: Metrics(self.http).value("config_generation") == 2, PATIENCE, "it is new")
            self.assertEqual(Metrics(self.http).value("config_last_reload_successful"), 1)
            self.assertEqual(Metrics(self.http).value("connections_active", listener="sql"), 1,
                             "the listener has gone, its connection goes on")
            self.assertEqual(self.ready(), (200, ["ready"]))
        until(lambda: not Metrics(self.http).values("connections_active", listener="sql"), PATIENCE,
              "nobody is left of it")
        exchange(web, b"after")
        until(lambda: Metrics(self.http).value("connections_closed_total", listener="web") == 2,
              PATIENCE, "both connections of the listener that stayed are counted")
        configure("--listen=name=web addr=nonsense upstream=app", *app)
        daemon.signal(signal.SIGHUP)
        until(lambda: Metrics(self.http).value("config_last_reload_successful") == 0, PATIENCE,
              "the refusal is told")
        self.assertEqual(Metrics(self.http).value("config_generation"), 2)
        self.assertEqual(Metrics(self.http).value("config_reloads_total", result="refused"), 1)
        self.assertIn("nonsense", http.status(self.http)["process"]["reload"]["error"])
        self.assertEqual(self.ready()[0], 200, "what was in force is in force")

    def test_bytes_that_went_through_pipes_are_counted(self):
        server = self.started(Echo())
        _, listen = self.simple(server.address, more=["--splice=on"])
        exchange(listen, b"p" * 100_000)
        until(lambda: 100_000 < Metrics(self.http).value("splice_bytes_total") <= 200_000, PATIENCE,
              "but for the first ones they all did")

    def test_a_connection_whose_receiver_stalls_is_the_slowest(self):
        server = self.started(Echo())
        _, listen = self.simple(server.address)
        with socket.create_connection(listen.split(":")):
            stalled = socket.socket()
            stalled.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            stalled.connect(("127.0.0.1", int(listen.rsplit(":", 1)[1])))
            stalled.setblocking(False)
            self.addCleanup(stalled.close)
            address = "%s:%d" % stalled.getsockname()

            def is_seen():
                try:
                    stalled.send(b"z" * 65536)
                except BlockingIOError:
                    pass
                slowest = http.status(self.http)["slowest"]
                return len(slowest) == 2 and slowest[0]["waiting"] > 0 and slowest[0]

            slow = until(is_seen, PATIENCE, "bytes wait for a client that does not read")
            self.assertEqual((slow["client"], slow["server"]), (address, "a"))
            # A page that got here by a trick of somebody's DNS learns no addresses.
            _, body, _ = http.get(self.http, "/api/status", headers={"Host": "evil.example"})
            self.assertNotIn(address, body)

    # --- Readiness ---

    def test_ready_says_why_not(self):
        good, other = Answerer(), Answerer()
        self.addCleanup(good.sock.close)
        web, sql = (f"127.0.0.1:{net.free_port()}" for _ in range(2))
        daemon = self.daemon(
            ["--health=tcp", "--health_interval=100ms", "--fall=1", "--rise=1",
             f"--listen=name=web addr={web} upstream=app",
             f"--listen=name=sql addr={sql} upstream=db",
             "--upstream=name=app", f"--server=upstream=app name=a addr={good.address}",
             "--upstream=name=db", f"--server=upstream=db name=b addr={other.address}",
             "--upstream=name=unused", f"--server=upstream=unused name=c addr=127.0.0.1:{net.free_port()}"],
            web)
        until(lambda: self.ready() == (200, ["ready"]), PATIENCE,
              "it is ready, though an upstream that nobody is led to has no server")
        other.sock.shutdown(socket.SHUT_RDWR)
        other.sock.close()
        until(lambda: self.ready() == (503, ["upstream db: none of 1 servers takes connections"]),
              PATIENCE, "the dead server is told")
        self.assertEqual(self.ready("web")[0], 200)
        self.assertEqual(self.ready("sql")[0], 503)
        self.assertEqual(self.ready("nix"), (503, ["listener nix: there is none of this name"]))
        self.assertEqual(Metrics(self.http).value("server_up", upstream="db", server="b"), 0)
        self.assertEqual(Metrics(self.http).value("server_state", server="b", state="unhealthy"), 1)
        back = Answerer(port=other.port)
        self.addCleanup(back.sock.close)
        until(lambda: self.ready()[0] == 200, PATIENCE, "it is ready again")
        with socket.create_connection(web.split(":")) as client:
            client.sendall(b"hello")
            until(lambda: Metrics(self.http).value("connections_active") == 1, PATIENCE, "it is in")
            daemon.signal(signal.SIGTERM)
            code, reasons = until(lambda: self.ready()[0] == 503 and self.ready(), PATIENCE,
                                  "a stop is told while connections are left")
            self.assertIn("the process is stopping, 1 connections are left", reasons)
            self.assertIn("listener web is draining", reasons)
            self.assertEqual(http.get(self.http, "/live")[0], 200)
        self.assertEqual(daemon.wait(PATIENCE), 0)

    # --- Clients that are slow, or not allowed ---

    def test_slow_clients_do_not_starve_ready(self):
        server = self.started(Echo())
        _, listen = self.simple(server.address)
        slow = []
        for i in range(300):
            client = socket.create_connection(self.http.split(":"))
            self.addCleanup(client.close)
            # Some begin a request, some ask for much and read none of it.
            client.sendall(b"G" if i % 2 else b"GET /api/status HTTP/1.1\r\nHost: x\r\n\r\n")
            slow.append(client)
        for _ in range(50):
            began = time.monotonic()
            self.assertEqual(self.ready()[0], 200)
            self.assertLess(time.monotonic() - began, 2 * places.PATIENCE)
        exchange(listen, b"served meanwhile")
        # Who never ends its request is let go.
        slow[-1].settimeout(10 * places.PATIENCE)
        self.assertEqual(slow[-1].recv(100), b"")

    def test_nonsense_is_answered_and_harms_nobody(self):
        server = self.started(Echo())
        daemon, _ = self.simple(server.address)
        for nonsense in (b"\x16\x03\x01\x02\x00\x01\r\n\r\n", b"GET\r\n\r\n", b"\r\n\r\n",
                         b"GET / HTTP/9.9\r\n\r\n", b"POST /metrics HTTP/1.1\r\n"
                         b"Content-Length: 99999999999\r\n\r\n", b"A" * 20_000,
                         b"GET /../../etc/passwd HTTP/1.1\r\n\r\n"):
            with socket.create_connection(self.http.split(":")) as client:
                client.settimeout(PATIENCE)
                try:
                    client.sendall(nonsense)
                    answer = client.recv(65536)
                except ConnectionResetError:
                    answer = b""
                self.assertNotIn(b"root:", answer)
                self.assertFalse(answer.startswith(b"HTTP/1.1 200"), answer)
        self.assertEqual(self.ready()[0], 200)
        self.assertTrue(daemon.running())

    def test_beyond_loopback_only_those_who_are_allowed(self):
        if not net.isolated():
            self.skipTest("needs a network namespace of its own")
        for address in ("192.0.2.1", "198.51.100.1"):
            run(["ip", "addr", "add", f"{address}/32", "dev", "lo"])
            self.addCleanup(run, ["ip", "addr", "del", f"{address}/32", "dev", "lo"])
        server = self.started(Echo())
        listen, port = f"127.0.0.1:{net.free_port()}", net.free_port()
        flags = [f"--listen={listen}", f"--upstream={server.address}", f"--http=192.0.2.1:{port}"]
        refused = run([places.parkway_binary(), *flags], check=False)
        self.assertEqual(refused[0], 78)
        self.assertIn("http_allow", refused[2])
        path = f"{self.folder()}/parkway.flags"

        def write(allowed):
            with open(path, "w", encoding="ascii") as file:
                file.write(f"--http_allow={allowed}\n")

        write("192.0.2.0/24")
        parkway = self.started(Parkway.from_flags(flags + [f"--flagfile={path}"], listen))
        asked = lambda source: http.get(f"192.0.2.1:{port}", "/ready", source=source)[:2]
        self.assertEqual(asked("192.0.2.1"), (200, "ready\n"))
        code, body = asked("198.51.100.1")
        self.assertEqual(code, 403)
        self.assertIn("http_allow", body)
        # A reload changes who.
        write("198.51.100.0/24")
        said = len(parkway.lines)
        parkway.signal(signal.SIGHUP)
        parkway.wait_line(lambda line: "~http_allow: 192.0.2.0/24 -> 198.51.100.0/24" in line,
                          PATIENCE, "the difference", since=said)
        until(lambda: asked("198.51.100.1")[0] == 200, PATIENCE, "others may ask")
        self.assertEqual(asked("192.0.2.1")[0], 403)

    def test_an_address_that_is_taken_is_told_and_nothing_starts(self):
        server = self.started(Echo())
        taken = socket.create_server(("127.0.0.1", net.free_port()))
        self.addCleanup(taken.close)
        address = "%s:%d" % taken.getsockname()
        code, _, err = run([places.parkway_binary(), f"--listen=127.0.0.1:{net.free_port()}",
                            f"--upstream={server.address}", f"--http={address}"], check=False)
        self.assertEqual(code, 71)
        self.assertIn(f"http: cannot listen on {address}: Address already in use", err)

    # --- Much to tell ---

    def test_ten_thousand_servers_hold_no_worker_up(self):
        server = self.started(Echo())
        folder = self.folder()
        nginx = self.started(Nginx(folder, folder))
        listen, busy = (f"127.0.0.1:{net.free_port()}" for _ in range(2))
        lines = []
        for i in range(1000):
            lines.append(f"--upstream=name=pool{i}")
            lines += [f"--server=upstream=pool{i} name=s{j} addr=127.{1 + i // 250}.{i % 250}.{1 + j}:9"
                      for j in range(9)]
            lines.append(f"--server=upstream=pool{i} name=up addr={server.address}")
        flags = os.path.join(folder, "parkway.flags")
        with open(flags, "w", encoding="ascii") as file:
            file.write("\n".join(lines + [f"--listen=name=web addr={listen} upstream=only",
                                          f"--listen=name=busy addr={busy} upstream=busy",
                                          f"--upstream=name=busy servers={nginx.ipv4}",
                                          "--upstream=name=only",
                                          f"--server=upstream=only name=a addr={server.address}"]))
        daemon = self.daemon(["-c", flags], listen, threads=2)
        connections = 2000
        for _ in range(connections):
            client = socket.create_connection(listen.split(":"))
            self.addCleanup(client.close)
        until(lambda: Metrics(self.http).value("upstream_connect_seconds_count", server="a")
              == connections, 60, "all are connected, with their server too")
        metrics = Metrics(self.http)
        self.assertEqual(len(metrics.values("upstream_servers")), 1_002)
        self.assertEqual(len(metrics.values("server_up")), 10_002)
        # Nothing moves: what the workers' threads run now is for us.
        rounds = 10
        before = cpu_of_workers(daemon.pid)
        for _ in range(rounds):
            Metrics(self.http)
        for thread, after in cpu_of_workers(daemon.pid).items():
            each_ms = (after - before[thread]) / rounds / 1e6
            print(f"[scrape] {thread}: {each_ms:.3f} ms of a worker each")
            self.assertLess(each_ms, 1)
        self.assertEqual(http.get(self.http, "/ready?listener=web")[0], 200)
        self.under_load(daemon, busy)

    def under_load(self, daemon, busy):
        """How long turns of the workers take while all of that is scraped and requests come. One may
        be longer than a millisecond where the kernel took the processor away in its middle, which
        it counts; a scrape adds none."""
        load = threading.Thread(target=Wrk, args=(busy, 3),
                                kwargs={"threads": 1, "connections": 32})
        load.start()
        scrapes = 0
        before, taken = Metrics(self.http), preempted(daemon.pid)
        while load.is_alive():
            Metrics(self.http)
            scrapes += 1
        after, taken = Metrics(self.http), preempted(daemon.pid) - taken
        turns, long_turns = 0, 0
        for thread in ("0", "1"):
            counted = [after.value("turn_seconds_" + what, thread=thread, **le)
                       - before.value("turn_seconds_" + what, thread=thread, **le)
                       for what, le in (("count", {}), ("bucket", {"le": "0.001"}))]
            turns += counted[0]
            long_turns += counted[0] - counted[1]
            print(f"[scrape] thread {thread}: {counted[0]:.0f} turns timed in {scrapes} scrapes, "
                  f"{counted[0] - counted[1]:.0f} over 1 ms, the longest "
                  f"{1e3 * after.value('thread_longest_turn_seconds', thread=thread):.3f} ms")
        print(f"[scrape] the kernel took the processor away {taken} times")
        self.assertGreaterEqual(turns, 2 * scrapes)
        self.assertLessEqual(long_turns, taken + scrapes / 2)


class Echo:
    """A server that says again what it hears."""

    def __init__(self):
        self.child = subprocess.Popen(
            ["python3", "-c", """
import asyncio, sys
async def talk(reader, writer):
    try:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    except ConnectionError:
        pass
    writer.close()
async def main():
    server = await asyncio.start_server(talk, "127.0.0.1", 0, backlog=4096)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()
asyncio.run(main())
"""], stdout=subprocess.PIPE, text=True)
        self.address = f"127.0.0.1:{int(self.child.stdout.readline())}"

    def stop(self):
        self.child.kill()
        self.child.wait()
        self.child.stdout.close()


def read(client, size):
    while size > 0:
        data = client.recv(65536)
        if not data:
            raise AssertionError(f"{size} bytes are missing")
        size -= len(data)


def exchange(listen, words):
    with socket.create_connection(listen.split(":"), timeout=PATIENCE) as client:
        client.sendall(words)
        read(client, len(words))
        client.shutdown(socket.SHUT_WR)
        if client.recv(1):
            raise AssertionError("more came back than was said")


def turned_away(listen):
    try:
        with socket.create_connection(listen.split(":"), timeout=PATIENCE) as client:
            data = client.recv(1)
    except ConnectionResetError:
        return
    if data:
        raise AssertionError(f"somebody said {data}")


def reset(listen):
    client = socket.create_connection(listen.split(":"), timeout=PATIENCE)
    client.sendall(b"r")
    client.recv(1)
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    client.close()


def preempted(pid):
    """How often the workers' threads lost the processor while they could have run on."""
    count = 0
    for thread in os.listdir(f"/proc/{pid}/task"):
        with open(f"/proc/{pid}/task/{thread}/status", encoding="ascii") as file:
            fields = dict(line.split(":", 1) for line in file)
        if fields["Name"].strip().startswith("worker-"):
            count += int(fields["nonvoluntary_ctxt_switches"])
    return count


def cpu_of_workers(pid):
    """{thread's name: nanoseconds that it ran}."""
    found = {}
    for thread in os.listdir(f"/proc/{pid}/task"):
        with open(f"/proc/{pid}/task/{thread}/comm", encoding="ascii") as file:
            name = file.read().strip()
        if name.startswith("worker-"):
            with open(f"/proc/{pid}/task/{thread}/schedstat", encoding="ascii") as file:
                found[name] = int(file.read().split()[0])
    return found


if __name__ == "__main__":
    story.main()
