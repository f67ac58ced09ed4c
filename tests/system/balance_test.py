#!/usr/bin/env python3
"""Upstreams: which server is next, who waits, and what becomes of servers that fail.

Each story is told with one worker and with four: what decides is the process's, not a worker's.
"""

import collections
import os
import selectors
import socket
import threading
import time
import unittest

from lib import net, story
from lib.admin import Admin
from lib.daemon import PATIENCE, Parkway
from lib.process import until

WORKERS = (1, 4)


class Origin:
    """A server that greets whoever connects with its name, and keeps it until it leaves."""

    def __init__(self, name, port=None):
        self.name = name
        self.port = port or net.free_port()
        self.address = f"127.0.0.1:{self.port}"
        self.open, self.most, self.served = 0, 0, 0
        self.sources = []
        self._listener = socket.socket()
        self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._listener.bind(("127.0.0.1", self.port))
        self._listener.listen(1024)
        self._listener.setblocking(False)
        self._wake, self._woken = socket.socketpair()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self):
        with selectors.DefaultSelector() as selector:
            selector.register(self._listener, selectors.EVENT_READ)
            selector.register(self._woken, selectors.EVENT_READ)
            clients = set()
            while True:
                ready = [key.fileobj for key, _ in selector.select()]
                # Who leaves makes room for who comes.
                for sock in ready:
                    if sock in clients:
                        try:
                            data = sock.recv(4096)
                        except OSError:
                            data = b""
                        if not data:
                            selector.unregister(sock)
                            clients.discard(sock)
                            sock.close()
                            self.open -= 1
                        else:
                            sock.sendall(data)
                if self._woken in ready:
                    for sock in clients:
                        sock.close()
                    self._listener.close()
                    return
                if self._listener in ready:
                    sock, peer = self._listener.accept()
                    selector.register(sock, selectors.EVENT_READ)
                    clients.add(sock)
                    self.sources.append(peer[0])
                    self.served += 1
                    self.open += 1
                    self.most = max(self.most, self.open)
                    sock.sendall(self.name.encode() + b"\n")

    def stop(self):
        if self._thread.is_alive():
            self._wake.send(b"x")
            self._thread.join()


class Client:
    """A connection through the daemon."""

    def __init__(self, listen, source=None, later=False):
        host, port = listen.rsplit(":", 1)
        self.sock = socket.socket()
        # A name before it connects: the connection may be over when connect() returns.
        self.sock.bind((source or "127.0.0.1", 0))
        self.name = "%s:%d" % self.sock.getsockname()
        self.to = (host, int(port))
        if not later:
            self.connect()

    def connect(self):
        self.sock.settimeout(PATIENCE)
        try:
            self.sock.connect(self.to)
        except ConnectionResetError:
            pass  # greeting() finds it

    def greeting(self, seconds=PATIENCE):
        """The name of the server; None: the connection ended instead."""
        self.sock.settimeout(seconds)
        try:
            return self.sock.recv(100).decode().strip() or None
        except OSError as error:
            if isinstance(error, TimeoutError):
                raise
            return None

    def waits(self, seconds=0.3):
        self.sock.settimeout(seconds)
        try:
            self.sock.recv(100)
        except TimeoutError:
            return True
        except ConnectionResetError:
            return False
        return False

    def close(self):
        self.sock.close()


class Balancing(story.Story):

    def origins(self, count):
        return [self.started(Origin(f"s{i}")) for i in range(count)]

    def parkway(self, servers, threads, upstream="", **flags):
        """`servers`: addresses, each perhaps with keys behind it."""
        self.listen = f"127.0.0.1:{net.free_port()}"
        argv = [f"--listen={self.listen}", f"--upstream=name=app {upstream}",
                f"--threads={threads}"]
        for i, server in enumerate(servers):
            argv.append(f"--server=name=s{i} addr={server}")
        argv += [f"--{name}={value}" for name, value in flags.items()]
        return self.started(Parkway.from_flags(argv, self.listen))

    def with_queue(self, servers, threads, upstream="", **flags):
        """The same, of which queued() knows who waits."""
        path = f"{self.folder()}/admin.sock"
        self.admin = Admin(path)
        return self.parkway(servers, threads, upstream, admin_socket=path, **flags)

    def queued(self, count):
        """Until so many stand in line."""
        until(lambda: len(self.admin.conns("state=queued")) == count, PATIENCE,
              f"{count} stand in line")

    def client(self, source=None):
        return self.started(Client(self.listen, source))

    def visit(self, source=None):
        """The server that one short connection had."""
        client = Client(self.listen, source)
        try:
            return client.greeting()
        finally:
            client.close()

    def with_workers(self):
        """Tells what follows with each number of workers."""
        for threads in WORKERS:
            yield threads
            self.doCleanups()

    def settle(self, origins):
        until(lambda: not any(o.open for o in origins), PATIENCE, "everybody has left")

    # ---- Which is next

    def test_round_robin_is_exact_by_weight(self):
        for threads in self.with_workers():
            origins = self.origins(3)
            self.parkway([f"{origins[0].address} weight=3", f"{origins[1].address}",
                          f"{origins[2].address} weight=0"], threads, "balance=round_robin")
            visits = [self.visit() for _ in range(40)]
            self.assertEqual(collections.Counter(visits), {"s0": 30, "s1": 10})
            for i in range(0, 40, 4):
                self.assertEqual(visits[i:i + 4].count("s0"), 3)

    def test_random_follows_the_weights(self):
        for threads in self.with_workers():
            origins = self.origins(2)
            self.parkway([f"{origins[0].address} weight=3", origins[1].address], threads,
                         "balance=random")
            count = collections.Counter(self.visit() for _ in range(1200))["s0"]
            # Five standard deviations of a binomial.
            self.assertAlmostEqual(count, 900, delta=75)

    def test_least_connections_and_two_choices_keep_servers_even(self):
        for balance in ("least_conn", "p2c"):
            for threads in self.with_workers():
                origins = self.origins(3)
                self.parkway([f"{origins[0].address} weight=2", origins[1].address,
                              origins[2].address], threads, f"balance={balance}")
                clients = [self.client() for _ in range(400)]
                for client in clients:
                    self.assertIsNotNone(client.greeting())
                held = [o.open for o in origins]
                self.assertEqual(sum(held), 400)
                self.assertAlmostEqual(held[0], 200, delta=8, msg=f"{balance}: {held}")
                self.assertAlmostEqual(held[1], 100, delta=6, msg=f"{balance}: {held}")

    def test_p2c_is_what_nobody_asked_for(self):
        for threads in self.with_workers():
            origins = self.origins(2)
            self.parkway([o.address for o in origins], threads)
            clients = [self.client() for _ in range(100)]
            for client in clients:
                client.greeting()
            self.assertAlmostEqual(origins[0].open, 50, delta=3)

    def test_a_source_stays_with_its_server_and_two_daemons_agree(self):
        for threads in self.with_workers():
            origins = self.origins(4)
            self.parkway([o.address for o in origins], threads, "balance=source_hash")
            sources = [f"127.1.{i}.7" for i in range(60)]
            first = {source: self.visit(source) for source in sources}
            self.assertEqual(len(set(first.values())), 4)
            self.assertEqual({source: self.visit(source) for source in sources}, first)
            # Another daemon that reads its servers in another order, with one of them drained.
            servers = [f"{o.address} name={o.name}" for o in origins]
            listen = f"127.0.0.1:{net.free_port()}"
            argv = [f"--listen={listen}", "--upstream=name=app balance=source_hash"]
            argv += [f"--server={s}" + (" state=drain" if s.endswith("s2") else "")
                     for s in reversed(servers)]
            self.started(Parkway.from_flags(argv, listen))
            self.listen = listen
            for source, server in first.items():
                now = self.visit(source)
                if server == "s2":
                    self.assertNotEqual(now, "s2")
                else:
                    self.assertEqual(now, server)

    def test_hash_balance_factor_bounds_what_one_source_puts_on_its_server(self):
        for threads in self.with_workers():
            origins = self.origins(3)
            self.parkway([o.address for o in origins], threads,
                         "balance=source_hash hash_balance_factor=120%")
            for _ in range(90):
                self.client().greeting()
            self.assertEqual(sum(o.open for o in origins), 90)
            # Workers that choose at the same time may each add one.
            self.assertLessEqual(max(o.open for o in origins), 36 + threads - 1)

    def test_first_fills_one_after_the_other(self):
        for threads in self.with_workers():
            origins = self.origins(3)
            self.parkway([f"{origins[0].address} max_conns=2", f"{origins[1].address} max_conns=1",
                          origins[2].address], threads, "balance=first")
            self.assertEqual([self.client().greeting() for _ in range(5)],
                             ["s0", "s0", "s1", "s2", "s2"])

    def test_least_time_among_servers_that_are_as_quick_goes_by_connections(self):
        for threads in self.with_workers():
            origins = self.origins(2)
            self.parkway([o.address for o in origins], threads, "balance=least_time")
            clients = [self.client() for _ in range(60)]
            for client in clients:
                self.assertIsNotNone(client.greeting())
            self.assertEqual(sum(o.open for o in origins), 60)
            self.assertGreater(min(o.open for o in origins), 5)

    # ---- Who takes connections

    def test_drained_and_down_servers_get_nothing_and_backups_wait_for_all_others_to_fail(self):
        for threads in self.with_workers():
            origins = self.origins(5)
            self.parkway([f"{origins[0].address} state=drain", f"{origins[1].address} state=down",
                          origins[2].address, f"{origins[3].address} backup",
                          f"{origins[4].address} priority=2"], threads, "passive_fails=2")
            self.assertEqual({self.visit() for _ in range(30)}, {"s2"})
            self.settle(origins)
            origins[2].stop()
            self.assertEqual({self.visit() for _ in range(30)}, {"s3"})
            self.settle(origins)
            origins[3].stop()
            self.assertEqual({self.visit() for _ in range(30)}, {"s4"})

    def test_a_client_of_a_dead_server_gets_another_one_and_the_log_counts_attempts(self):
        for threads in self.with_workers():
            origins = self.origins(3)
            origins[0].stop()
            origins[1].stop()
            parkway = self.parkway([o.address for o in origins], threads,
                                   "balance=round_robin passive_fails=off")
            for _ in range(12):
                client = self.client()
                self.assertEqual(client.greeting(), "s2")
                client.close()
                line = parkway.closing_line(client.name)
                self.assertEqual(line["server"], origins[2].address)
                self.assertLessEqual(int(line["attempts"]), 3)

    def test_connect_attempts_bounds_them_with_a_pause_before_the_third(self):
        for threads in self.with_workers():
            dead = [f"127.0.0.1:{net.free_port()}" for _ in range(5)]
            parkway = self.parkway(dead, threads, passive_fails="off", connect_attempts=4)
            start = time.monotonic()
            client = self.client()
            self.assertIsNone(client.greeting())
            # At least half of 50 and of 100 ms.
            self.assertGreater(time.monotonic() - start, 0.07)
            line = parkway.closing_line(client.name)
            self.assertEqual((line["attempts"], line["cause"]), ("4", "connect_refused"))

    def test_nobody_is_up_and_all_down_says_what_becomes_of_the_client(self):
        for all_down, cause in (("close", "no_server"), ("try_all", "no_server"),
                                ("hold", "queue_timeout")):
            for threads in self.with_workers():
                origins = self.origins(1)
                parkway = self.parkway([f"{origins[0].address} state=down"], threads,
                                       f"all_down={all_down} queue_timeout=300ms")
                client = self.client()
                self.assertIsNone(client.greeting())
                line = parkway.closing_line(client.name)
                self.assertEqual((line["cause"], line["attempts"], line["server"]),
                                 (cause, "0", "-"))

    # ---- max_conns and the queue

    def test_max_conns_is_exact_over_all_workers_and_nobody_is_forgotten(self):
        for threads in self.with_workers():
            origins = self.origins(2)
            parkway = self.parkway([o.address for o in origins], threads, "queue_timeout=60s",
                                   max_conns=3)
            waiting = [self.client() for _ in range(120)]
            with selectors.DefaultSelector() as selector:
                for client in waiting:
                    selector.register(client.sock, selectors.EVENT_READ, client)
                served = 0
                while served < len(waiting):
                    ready = selector.select(PATIENCE)
                    self.assertTrue(ready, f"{len(waiting) - served} wait for ever")
                    for key, _ in ready:
                        self.assertIsNotNone(key.data.greeting())
                        selector.unregister(key.data.sock)
                        key.data.close()
                        served += 1
            self.assertEqual(max(o.most for o in origins), 3)
            self.assertEqual(sum(o.served for o in origins), 120)
            until(lambda: len(parkway.closing_lines()) == 120, PATIENCE, "all have a line")

    def test_held_connections_never_exceed_max_conns(self):
        for threads in self.with_workers():
            origins = self.origins(2)
            self.parkway([f"{origins[0].address} max_conns=5", f"{origins[1].address} max_conns=7"],
                         threads)
            clients = [self.client() for _ in range(20)]
            until(lambda: sum(o.open for o in origins) == 12, PATIENCE, "all slots are taken")
            time.sleep(0.2)
            self.assertEqual([o.open for o in origins], [5, 7])
            for client in clients:
                client.close()

    def test_who_waits_is_served_in_the_order_of_coming(self):
        for threads in self.with_workers():
            origins = self.origins(1)
            self.with_queue([f"{origins[0].address} max_conns=1"], threads, "queue_timeout=off")
            clients = [self.client()]
            self.assertEqual(clients[0].greeting(), "s0")
            for place in range(1, 6):
                clients.append(self.client())
                # Workers are threads: who came first must have arrived first.
                self.queued(place)
            # The third one leaves.
            clients.pop(2).close()
            self.queued(4)
            for before, client in zip(clients, clients[1:]):
                before.close()
                self.assertEqual(client.greeting(), "s0")
                for other in clients[clients.index(client) + 1:]:
                    self.assertTrue(other.waits(0.02))

    def test_what_a_waiting_client_said_is_delivered_when_its_turn_comes(self):
        for threads in self.with_workers():
            origins = self.origins(1)
            self.parkway([f"{origins[0].address} max_conns=1"], threads)
            first, second = self.client(), None
            self.assertEqual(first.greeting(), "s0")
            second = self.client()
            second.sock.sendall(b"early ")
            time.sleep(0.1)
            second.sock.sendall(b"words")
            # The end of its side is no leaving: it said something and wants an answer.
            second.sock.shutdown(socket.SHUT_WR)
            time.sleep(0.1)
            first.close()
            second.sock.settimeout(PATIENCE)
            got = b""
            while data := second.sock.recv(100):
                got += data
            self.assertEqual(got, b"s0\nearly words")

    def test_what_it_said_before_and_in_line_is_delivered_though_its_first_server_refused(self):
        for threads in self.with_workers():
            origins = self.origins(2)
            origins[0].stop()
            parkway = self.parkway([origins[0].address, f"{origins[1].address} max_conns=1"],
                                   threads, "balance=first passive_fails=off")
            first = self.client()
            self.assertEqual(first.greeting(), "s1")
            # Both are there before it is accepted, so that its bytes are read for the server that
            # refuses.
            parkway.pause()
            second = self.client()
            second.sock.sendall(b"early ")
            parkway.go_on()
            self.assertTrue(second.waits())
            second.sock.sendall(b"later")
            self.assertTrue(second.waits())
            first.close()
            second.sock.settimeout(PATIENCE)
            got = b""
            while len(got) < len(b"s1\nearly later"):
                got += second.sock.recv(100)
            self.assertEqual(got, b"s1\nearly later")

    def test_waiting_holds_no_stack_and_a_client_that_leaves_is_dropped(self):
        for threads in self.with_workers():
            origins = self.origins(1)
            parkway = self.parkway([f"{origins[0].address} max_conns=1"], threads,
                                   "queue_timeout=off", stats_interval="100ms")
            first = self.client()
            self.assertEqual(first.greeting(), "s0")
            # The worker may still be about to park who has just been served.
            parkway.settled(lambda n: n["connections"] == 1 and n["stacks"] == 0, "one is served")
            waiting = [self.client() for _ in range(50)]
            parkway.settled(lambda n: n["connections"] == 51 and n["stacks"] == 0,
                            "all are here, and nobody holds a stack")
            for client in waiting[:25]:
                client.close()
            for i, client in enumerate(waiting[25:]):
                # What it has said is still there to be read when the reset comes.
                if i % 2 == 0:
                    client.sock.sendall(b"is it my turn?")
                client.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER,
                                       b"\1\0\0\0\0\0\0\0")
                client.close()
            parkway.settled(lambda n: n["connections"] == 1, "all who waited are gone")
            until(lambda: len(parkway.closing_lines()) == 50, PATIENCE, "all have a line")
            causes = collections.Counter(line["cause"] for line in parkway.closing_lines())
            self.assertEqual(causes, {"client_fin": 25, "client_rst": 25})

    def test_queue_max_and_queue_timeout_end_with_causes_of_their_own(self):
        for threads in self.with_workers():
            origins = self.origins(1)
            parkway = self.with_queue([f"{origins[0].address} max_conns=1"], threads,
                                      "queue_max=2 queue_timeout=2s")
            first = self.client()
            self.assertEqual(first.greeting(), "s0")
            start = time.monotonic()
            waiting = [self.client(), self.client()]
            self.queued(2)
            too_many = self.client()
            self.assertIsNone(too_many.greeting())
            self.assertEqual(parkway.closing_line(too_many.name)["cause"], "queue_full")
            for client in waiting:
                self.assertIsNone(client.greeting())
                self.assertEqual(parkway.closing_line(client.name)["cause"], "queue_timeout")
            self.assertGreater(time.monotonic() - start, 1.95)

    # ---- Servers that fail

    def test_a_server_that_refuses_is_ejected_and_comes_back_with_a_line_each(self):
        for threads in self.with_workers():
            origins = self.origins(2)
            port = origins[0].port
            origins[0].stop()
            parkway = self.parkway([o.address for o in origins], threads, "balance=round_robin",
                                   passive_fails=3, ejection_time="3s")
            for _ in range(20):
                self.assertEqual(self.visit(), "s1")
            line = parkway.wait_line(lambda l: "ejected" in l, PATIENCE, "it is ejected")
            self.assertIn("upstream app server s0: ejected for 3s after 3 failed connects", line)
            self.assertIn("refused", line)
            until(lambda: len(parkway.closing_lines()) == 20, PATIENCE, "all have a line")
            # Three clients began with it; on a machine that is very slow it came back meanwhile.
            attempts = sum(int(l["attempts"]) for l in parkway.closing_lines())
            self.assertLessEqual(attempts, 20 + 3 + 2)
            self.started(Origin("s0", port))
            until(lambda: self.visit() == "s0", PATIENCE, "it is back")
            parkway.wait_line(lambda l: "server s0: takes connections again, after" in l,
                              PATIENCE, "a line says so")
            self.assertLessEqual(len([l for l in parkway.lines if "ejected" in l]), 2)

    def test_max_ejection_percent_of_none_and_passive_fails_of_off_eject_nobody(self):
        for setting in ("max_ejection_percent=0%", "passive_fails=off"):
            for threads in self.with_workers():
                origins = self.origins(2)
                origins[0].stop()
                parkway = self.parkway([o.address for o in origins], threads,
                                       f"balance=round_robin {setting}")
                for _ in range(30):
                    self.assertEqual(self.visit(), "s1")
                until(lambda: len(parkway.closing_lines()) == 30, PATIENCE, "all have a line")
                self.assertEqual([l for l in parkway.lines if "ejected" in l], [])
                attempts = sum(int(l["attempts"]) for l in parkway.closing_lines())
                self.assertEqual(attempts, 45, "every second one began with the dead server")

    def test_panic_threshold_counts_all_as_up_again(self):
        for threads in self.with_workers():
            origins = self.origins(4)
            for origin in origins[:3]:
                origin.stop()
            parkway = self.parkway([o.address for o in origins], threads,
                                   "balance=round_robin max_ejection_percent=100% passive_fails=1 "
                                   "panic_threshold=50% connect_attempts=4")
            for _ in range(12):
                self.assertEqual(self.visit(), "s3")
            until(lambda: len(parkway.closing_lines()) == 12, PATIENCE, "all have a line")
            ejected = lambda: len([l for l in parkway.lines if "ejected" in l])
            until(lambda: ejected() >= 3, PATIENCE, "all three are ejected")
            self.assertEqual(ejected(), 3)
            last = [int(l["attempts"]) for l in parkway.closing_lines()[-4:]]
            self.assertGreater(max(last), 1, "one up of four is too few: all are tried")

    def test_slow_start_gives_a_server_that_returns_a_small_share_at_first(self):
        for threads in self.with_workers():
            origins = self.origins(2)
            port = origins[0].port
            origins[0].stop()
            parkway = self.parkway([f"{origins[0].address} slow_start=1h", origins[1].address],
                                   threads, "balance=random passive_fails=2 ejection_time=500ms")
            for _ in range(20):
                self.visit()
            parkway.wait_line(lambda l: "ejected" in l, PATIENCE, "it is ejected")
            back = self.started(Origin("s0", port))
            until(lambda: self.visit() and [l for l in parkway.lines if "again" in l], PATIENCE,
                  "it is back")
            before = back.served
            for _ in range(300):
                self.visit()
            self.assertLess(back.served - before, 30)

    # ---- Local addresses

    def test_source_addresses_are_taken_in_turn(self):
        for threads in self.with_workers():
            origins = self.origins(2)
            self.parkway([origins[0].address, f"{origins[1].address} source=127.0.0.9"], threads,
                         "balance=round_robin source=127.0.0.5,::1,127.0.0.6")
            for _ in range(40):
                self.visit()
            found = collections.Counter(origins[0].sources)
            self.assertEqual(found, {"127.0.0.5": 10, "127.0.0.6": 10})
            self.assertEqual(set(origins[1].sources), {"127.0.0.9"})

    @unittest.skipUnless(net.isolated() or os.geteuid() == 0, "needs a network of its own")
    def test_more_source_addresses_are_more_ports_and_none_left_is_not_the_servers_fault(self):
        ports = net.sysctl("net.ipv4.ip_local_port_range")
        self.addCleanup(net.sysctl, "net.ipv4.ip_local_port_range", ports)
        for threads in self.with_workers():
            origins = self.origins(1)
            parkway = self.parkway([origins[0].address], threads,
                                   "source=127.0.0.5,127.0.0.6 passive_fails=1 "
                                   "max_ejection_percent=100%")
            # The clients' own ports are not of this range.
            clients = [self.started(Client(self.listen, later=True)) for _ in range(21)]
            net.sysctl("net.ipv4.ip_local_port_range", "9000 9009")
            for client in clients:
                client.connect()
            greetings = [client.greeting() for client in clients]
            net.sysctl("net.ipv4.ip_local_port_range", ports)
            self.assertEqual(greetings.count("s0"), 20, "ten ports of two addresses")
            lost = clients[greetings.index(None)]
            self.assertEqual(parkway.closing_line(lost.name)["cause"], "local_port_exhausted")
            self.assertEqual([l for l in parkway.lines if "ejected" in l], [])
            for client in clients:
                client.close()
            self.settle(origins)


if __name__ == "__main__":
    story.main()
