#!/usr/bin/env python3
"""How connections end: what the other side must see, and what the log must say.

One story per cell of {FIN, RST, idle timeout, half-close timeout, write error, network error} x
{client, server} x {nothing pending, bytes pending}; the table is in tests/system/README.md. In a
name the side is the one that acts (FIN, RST) or on whose side the trouble is (timeouts, errors).
Every cell runs on a fresh connection and on one that has just moved several MiB each way.
"""

import signal
import socket
import time

from lib import net, procfs, story
from lib.daemon import PATIENCE, Parkway
from lib.peer import FIN, RST, Link, Server, connect
from lib.process import until
from lib.stalls import told_in_time

WARM = {"fresh": 16, "bulk": 6 << 20}
SIDES = ("client", "server")


def other(side):
    return "server" if side == "client" else "client"


class Closing(story.Story):
    FLAGS = {}
    SLACK = None  # seconds that the timeouts of FLAGS leave the machine between two steps

    @classmethod
    def setUpClass(cls):
        net.small_socket_buffers()
        cls.server = Server()
        cls.listen = f"127.0.0.1:{net.free_port()}"
        cls.parkway = Parkway(cls.listen, cls.server.address, **cls.FLAGS)

    @classmethod
    def tearDownClass(cls):
        cls.parkway.finish()
        cls.server.close()

    def link(self, warm=16, **options):
        # A port may have been another connection's before: its line is not this one's.
        since = len(self.parkway.lines)
        link = Link(self.listen, self.server, warm=warm, **options)
        link.since = since
        self.addCleanup(link.close)
        return link

    def fill(self, peer, parkway=None):
        """Fills the way from `peer` until nobody takes a byte more. That nobody does for a while may
        mean that the daemon has no processor: it must have done all that it could."""
        pid = (parkway or self.parkway).pid
        peer.fill()
        while True:
            until(lambda: procfs.workers_wait(pid), PATIENCE, "the worker waits")
            before = peer.sent
            peer.fill(quiet=0.05)
            if peer.sent == before:
                return

    def assert_logged(self, link, *causes, seconds=10):
        """Exactly one line for this connection, with one of `causes`; returns it."""
        line = self.parkway.closing_line(link.client.address, seconds, link.since)
        self.assertIn(line["cause"], causes, line)
        return line

    def assert_session_over(self, link, *causes):
        line = self.assert_logged(link, *causes)
        same = [l for l in self.parkway.closing_lines(link.since) if link.client.address in l.values()]
        self.assertEqual(len(same), 1, "one line per connection")
        return line


def each(prepare=WARM, sides=SIDES):
    """Makes one test per side and kind of connection out of `test_...(self, side, warm)`."""

    def decorate(function):
        function.cells = [(side, kind) for side in sides for kind in prepare]
        return function

    return decorate


def spread(cls):
    for name, function in list(vars(cls).items()):
        for side, kind in getattr(function, "cells", ()):

            def cell(self, function=function, side=side, kind=kind):
                if self.SLACK:
                    told_in_time(lambda: function(self, side, WARM[kind]), self.SLACK)
                else:
                    function(self, side, WARM[kind])

            setattr(cls, f"test_{side}_{name}_on_a_{kind}_connection", cell)
    return cls


@spread
class Fins(Closing):
    """A FIN: half of the connection ends, after its last byte; the other half goes on."""

    @each()
    def fin_with_nothing_pending_leaves_the_other_direction_open(self, side, warm):
        link = self.link(warm)
        acting, seeing = link.side(side)
        acting.finish()
        self.assertEqual(seeing.ending(), FIN)
        seeing.send(100_000)  # the other half still carries
        acting.receive(100_000)
        acting.sees_nothing(0.05)
        seeing.finish()
        self.assertEqual(acting.ending(), FIN)
        self.assert_session_over(link, f"{side}_fin")

    @each()
    def fin_behind_pending_bytes_comes_after_the_last_of_them(self, side, warm):
        link = self.link(warm)
        acting, seeing = link.side(side)
        acting.fill()
        acting.finish()
        self.assertEqual(seeing.ending(), FIN)
        self.assertEqual(seeing.received, acting.sent)
        seeing.finish()
        self.assertEqual(acting.ending(), FIN)
        self.assert_session_over(link, f"{side}_fin")

    @each()
    def fin_while_bytes_to_it_are_pending_still_gets_them_all(self, side, warm):
        link = self.link(warm)
        acting, seeing = link.side(side)
        seeing.fill()
        acting.finish()
        self.assertEqual(seeing.ending(), FIN)
        seeing.finish()
        self.assertEqual(acting.ending(), FIN)
        self.assertEqual(acting.received, seeing.sent)
        self.assert_session_over(link, f"{side}_fin")

    @each()
    def close_with_everything_read_is_a_fin_too(self, side, warm):
        link = self.link(warm)
        acting, seeing = link.side(side)
        acting.send(5)
        acting.leave()
        self.assertEqual(seeing.ending(), FIN)
        self.assertEqual(seeing.received, acting.sent)
        seeing.leave()
        self.assert_session_over(link, f"{side}_fin")

    @each(prepare=["fresh"], sides=["client"])
    def fin_without_a_byte_sent_reaches_a_server_that_speaks_first(self, _side, _warm):
        client = self.started(connect(self.listen))
        client.finish()
        server = self.started(self.server.accept())
        self.assertEqual(server.ending(), FIN)
        server.send(1000)
        server.finish()
        self.assertEqual(client.ending(), FIN)
        self.assertEqual(client.received, 1000)

    def test_both_fins_at_once_end_it_without_a_loss(self):
        for _ in range(50):
            link = self.link()
            link.client.send(3000)
            link.server.send(3000)
            link.client.finish()
            link.server.finish()
            self.assertEqual(link.server.ending(), FIN)
            self.assertEqual(link.client.ending(), FIN)
            self.assertEqual(link.server.received, link.client.sent)
            self.assertEqual(link.client.received, link.server.sent)
            self.assert_session_over(link, "client_fin", "server_fin")

    def test_the_line_counts_the_bytes_both_ways(self):
        link = self.link()
        link.client.send(1234)
        link.server.receive(1234)
        link.server.send(77)
        link.client.receive(77)
        link.client.leave()
        self.assertEqual(link.server.ending(), FIN)
        link.server.leave()
        line = self.assert_session_over(link, "client_fin")
        self.assertIn(str(1234 + 16), line.values(), line)
        self.assertIn(str(77 + 16), line.values(), line)
        self.assertIn(self.server.address, line.values(), line)


@spread
class Resets(Closing):
    """A RST: the other side gets one too, after what could still be delivered."""

    FLAGS = {"delayed_close": "500ms"}

    @each()
    def reset_with_nothing_pending_is_a_reset_on_the_other_side(self, side, warm):
        link = self.link(warm)
        acting, seeing = link.side(side)
        acting.reset()
        self.assertEqual(seeing.ending(), RST)
        self.assert_session_over(link, f"{side}_rst")

    @each()
    def reset_behind_pending_bytes_comes_after_what_had_arrived(self, side, warm):
        link = self.link(warm)
        acting, seeing = link.side(side)
        lost_at_most = acting.fill()
        acting.reset()
        self.assertEqual(seeing.ending(), RST)
        self.assertGreaterEqual(seeing.received, acting.sent - lost_at_most)
        self.assertLessEqual(seeing.received, acting.sent)
        self.assert_session_over(link, f"{side}_rst")

    @each()
    def reset_behind_a_few_bytes_delivers_them_first(self, side, warm):
        for size in (1, 1000, 40_000):
            link = self.link(warm if size == 1 else 16)
            acting, seeing = link.side(side)
            acting.send(size)
            while acting.unacknowledged():
                time.sleep(0.001)
            acting.reset()
            self.assertEqual(seeing.ending(), RST)
            self.assertEqual(seeing.received, acting.sent)
            self.assert_session_over(link, f"{side}_rst")

    @each()
    def reset_behind_bytes_that_nobody_takes_waits_for_delayed_close_only(self, side, warm):
        link = self.link(warm)
        acting, seeing = link.side(side)
        self.fill(acting)
        acting.reset()
        seeing.hung_up(5)  # not a byte was read: 500 ms must be the end of patience
        self.assertEqual(seeing.ending(), RST)
        self.assertLess(seeing.received, acting.sent)
        self.assert_session_over(link, f"{side}_rst")

    @each()
    def reset_while_bytes_to_it_are_pending_is_a_reset_on_the_other_side(self, side, warm):
        link = self.link(warm)
        acting, seeing = link.side(side)
        seeing.fill()
        acting.reset()
        seeing.hung_up(5)
        self.assertEqual(seeing.ending(), RST)
        self.assert_session_over(link, f"{side}_rst")

    @each()
    def reset_of_the_open_half_after_the_other_sent_fin(self, side, warm):
        link = self.link(warm)
        acting, seeing = link.side(side)
        seeing.finish()
        self.assertEqual(acting.ending(), FIN)
        acting.send(1000)
        seeing.receive(1000)
        acting.reset()
        self.assertEqual(seeing.ending(), RST)
        self.assert_session_over(link, f"{side}_rst")

    @each()
    def reset_after_its_own_fin(self, side, warm):
        link = self.link(warm)
        acting, seeing = link.side(side)
        acting.finish()
        self.assertEqual(seeing.ending(), FIN)
        acting.reset()
        seeing.hung_up(5)
        self.assert_session_over(link, f"{side}_rst")

    def test_a_client_that_resets_while_it_is_connected_ends_the_attempt(self):
        hole = self.started(net.BlackHole())
        self.assertFalse(hole.answers())
        listen = f"127.0.0.1:{net.free_port()}"
        parkway = self.started(Parkway(listen, hole.address, connect_timeout="30s"))
        client = connect(listen)
        client.send(100)
        client.reset()
        line = parkway.closing_line(client.address)
        self.assertEqual(line["cause"], "client_rst", line)

    def test_a_hundred_resets_in_a_row_are_a_hundred_resets(self):
        for turn in range(100):
            link = self.link()
            acting, seeing = link.side(SIDES[turn % 2])
            acting.reset()
            self.assertEqual(seeing.ending(), RST, f"turn {turn}")


@spread
class IdleTimeouts(Closing):
    """Nothing moves for idle_timeout: a FIN where nothing was lost, a RST where bytes are."""

    FLAGS = {"idle_timeout": "700ms", "delayed_close": "200ms"}
    SLACK = 0.15

    @each(sides=["client"])
    def and_server_idle_with_nothing_pending_both_see_a_fin(self, _side, warm):
        link = self.link(warm)
        self.assertEqual(link.client.ending(5), FIN)
        self.assertEqual(link.server.ending(5), FIN)
        self.assert_session_over(link, "idle")

    @each()
    def idle_with_bytes_to_it_pending_resets_both(self, side, warm):
        link = self.link(warm)
        slow, sending = link.side(side)
        self.fill(sending)
        slow.hung_up(5)
        sending.hung_up(5)
        self.assertEqual(slow.ending(), RST)
        self.assertLess(slow.received, sending.sent)
        self.assert_session_over(link, "idle")

    @each(prepare=["fresh"])
    def that_sends_now_and_then_keeps_both_directions_alive(self, side, warm):
        link = self.link(warm)
        acting, seeing = link.side(side)
        for _ in range(6):
            seeing.sees_nothing(0.3)
            acting.send(1)
            seeing.receive(1)
        self.assertEqual(seeing.ending(5), FIN)
        self.assert_session_over(link, "idle")


@spread
class HalfCloseTimeouts(Closing):
    """One side has sent its FIN and the other stays silent for half_close_timeout."""

    FLAGS = {"half_close_timeout": "1100ms", "idle_timeout": "2200ms", "delayed_close": "200ms"}
    SLACK = 0.25

    @each()
    def half_closed_with_nothing_pending_sees_a_fin_in_the_end(self, side, warm):
        link = self.link(warm)
        acting, seeing = link.side(side)
        acting.finish()
        self.assertEqual(seeing.ending(), FIN)
        self.assertEqual(acting.ending(5), FIN)
        seeing.next_write_is_reset(5)
        self.assert_session_over(link, "half_close_timeout")

    @each()
    def half_closed_behind_bytes_that_nobody_takes_is_reset(self, side, warm):
        link = self.link(warm)
        acting, seeing = link.side(side)
        self.fill(acting)
        acting.finish()
        seeing.hung_up(5)
        acting.hung_up(5)
        self.assertEqual(seeing.ending(), RST)
        self.assertLess(seeing.received, acting.sent)
        self.assertEqual(acting.ending(), RST)
        # The FIN waits behind bytes for which the proxy has no room: it may not know of it yet.
        self.assert_session_over(link, "half_close_timeout", "idle")

    @each()
    def half_closed_that_does_not_take_what_the_other_sends_is_reset(self, side, warm):
        link = self.link(warm)
        acting, seeing = link.side(side)
        acting.finish()
        self.assertEqual(seeing.ending(), FIN)
        self.fill(seeing)
        seeing.hung_up(5)
        acting.hung_up(5)
        self.assertEqual(acting.ending(), RST)
        self.assertLess(acting.received, seeing.sent)
        self.assert_session_over(link, "half_close_timeout")

    @each(prepare=["fresh"])
    def half_closed_goes_on_while_the_other_half_moves(self, side, warm):
        link = self.link(warm)
        acting, seeing = link.side(side)
        acting.finish()
        self.assertEqual(seeing.ending(), FIN)
        for _ in range(6):
            acting.sees_nothing(0.3)
            seeing.send(1)
            acting.receive(1)
        seeing.finish()
        self.assertEqual(acting.ending(), FIN)
        self.assert_session_over(link, f"{side}_fin")


@spread
class WriteErrors(Closing):
    """A side closed its socket, and the other goes on sending: what it sends meets a RST."""

    @each()
    def gone_when_the_other_sends_resets_the_sender(self, side, warm):
        link = self.link(warm)
        gone, sending = link.side(side)
        gone.leave()
        self.assertEqual(sending.ending(), FIN)
        sending.next_write_is_reset()
        self.assert_session_over(link, f"{side}_rst")

    @each()
    def gone_with_bytes_to_it_pending_resets_the_sender(self, side, warm):
        link = self.link(warm)
        gone, sending = link.side(side)
        sending.fill()
        self.assertTrue(gone.readable(20))
        gone.leave()  # unread bytes: the kernel makes this a RST at once
        sending.hung_up(5)
        self.assertEqual(sending.ending(), RST)
        self.assert_session_over(link, f"{side}_rst")


@spread
class NetworkErrors(Closing):
    """The way to a side is lost: what was sent there is not acknowledged until TCP gives up."""

    FLAGS = {"delayed_close": "200ms"}

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        net.sysctl("net.ipv4.tcp_retries2", 2)  # gives up after some 2 s instead of 15 minutes
        cls.far_server = Server(f"127.0.0.66:{net.free_port()}")
        cls.far_listen = f"127.0.0.1:{net.free_port()}"
        cls.far_parkway = Parkway(cls.far_listen, cls.far_server.address, **cls.FLAGS)

    @classmethod
    def tearDownClass(cls):
        cls.far_parkway.stop()
        cls.far_server.close()
        super().tearDownClass()

    def far_link(self, side):
        """A link whose `side` is at an address of its own, which can be cut off."""
        if side == "client":
            return self.link(source="127.0.0.77"), "127.0.0.77", self.parkway
        link = Link(self.far_listen, self.far_server)
        self.addCleanup(link.close)
        return link, "127.0.0.66", self.far_parkway

    def lose(self, address):
        net.cut_off(address)
        self.addCleanup(net.reconnect, address)

    @each(prepare=["fresh"])
    def lost_with_bytes_to_it_pending_resets_the_sender(self, side, _warm):
        link, address, parkway = self.far_link(side)
        _lost, sending = link.side(side)
        self.lose(address)
        sending.fill()
        sending.hung_up(30)
        self.assertEqual(sending.ending(), RST)
        line = parkway.closing_line(link.client.address)
        self.assertEqual(line["cause"], f"{side}_net_error", line)

    @each(prepare=["fresh"])
    def lost_with_its_last_message_under_way_resets_the_sender(self, side, _warm):
        link, address, parkway = self.far_link(side)
        _lost, sending = link.side(side)
        self.lose(address)
        sending.send(10)
        self.assertEqual(sending.ending(30), RST)
        line = parkway.closing_line(link.client.address)
        self.assertEqual(line["cause"], f"{side}_net_error", line)


class ConnectErrors(Closing):
    """The server cannot be reached: the client gets a RST, and the log says why."""

    def started_before(self, upstream, **flags):
        listen = f"127.0.0.1:{net.free_port()}"
        return listen, self.started(Parkway(listen, upstream, **flags))

    def test_refused_is_a_reset_and_connect_refused(self):
        listen, parkway = self.started_before(f"127.0.0.1:{net.free_port()}")
        ending, address = reset_while_or_after_connecting(listen, early=0)
        self.assertEqual(ending, RST)
        self.assertEqual(parkway.closing_line(address)["cause"], "connect_refused")

    def test_refused_with_early_bytes_is_a_reset_too(self):
        listen, parkway = self.started_before(f"127.0.0.1:{net.free_port()}")
        addresses = []
        for _ in range(100):
            ending, address = reset_while_or_after_connecting(listen, early=1000)
            self.assertEqual(ending, RST)
            addresses.append(address)
        for address in addresses:
            self.assertEqual(parkway.closing_line(address)["cause"], "connect_refused")

    def test_no_answer_is_a_reset_after_connect_timeout(self):
        hole = self.started(net.BlackHole())
        self.assertFalse(hole.answers())
        listen, parkway = self.started_before(hole.address, connect_timeout="500ms")
        start = time.monotonic()
        client = self.started(connect(listen))
        client.send(10)
        self.assertEqual(client.ending(10), RST)
        self.assertGreater(time.monotonic() - start, 0.45)
        self.assertEqual(parkway.closing_line(client.address)["cause"], "connect_timeout")

    def test_the_next_server_of_the_list_gets_the_early_bytes(self):
        dead = [f"127.0.0.1:{net.free_port()}" for _ in range(2)]
        listen, parkway = self.started_before([*dead, self.server.address])
        for _ in range(9):  # whichever of the three is first
            client = self.started(connect(listen))
            client.send(5000)
            server = self.started(self.server.accept())
            server.receive(5000)
            server.send(50)
            client.receive(50)
            client.leave()
            self.assertEqual(server.ending(), FIN)
            server.leave()
            line = parkway.closing_line(client.address)
            self.assertEqual(line["cause"], "client_fin")
            self.assertIn(self.server.address, line.values(), line)

    def test_after_a_server_that_hangs_the_next_one_is_tried(self):
        hole = self.started(net.BlackHole())
        listen, _ = self.started_before([hole.address, self.server.address],
                                        connect_timeout="500ms")
        for _ in range(4):
            client = self.started(connect(listen))
            client.send(70_000)
            server = self.started(self.server.accept())
            server.receive(70_000)


class Drains(Closing):
    """SIGTERM and drain_timeout: what is still open ends with the cause drain."""

    def drained(self, prepare, drain_timeout="500ms"):
        listen = f"127.0.0.1:{net.free_port()}"
        parkway = self.started(
            Parkway(listen, self.server.address, drain_timeout=drain_timeout,
                    delayed_close="200ms"))
        link = Link(listen, self.server)
        self.addCleanup(link.close)
        prepare(link, parkway)
        parkway.signal(signal.SIGTERM)
        return link, parkway

    def assert_drained(self, link, parkway):
        self.assertEqual(parkway.wait(15), 0)
        self.assertEqual(parkway.closing_line(link.client.address)["cause"], "drain")

    def test_with_nothing_pending_both_see_a_fin(self):
        link, parkway = self.drained(lambda *_: None)
        self.assertEqual(link.client.ending(10), FIN)
        self.assertEqual(link.server.ending(10), FIN)
        self.assert_drained(link, parkway)

    def test_with_bytes_pending_both_are_reset(self):
        for side in SIDES:
            link, parkway = self.drained(
                lambda link, parkway, side=side: self.fill(link.side(side)[0], parkway))
            link.client.hung_up(10)
            link.server.hung_up(10)
            self.assertEqual(link.side(side)[1].ending(), RST)
            self.assert_drained(link, parkway)

    def test_a_connection_that_ends_in_time_ends_as_always(self):
        # Of one connection: it ends when all of that time is over.
        link, parkway = self.drained(lambda *_: None, drain_timeout="60s")
        link.client.send(1000)
        link.server.receive(1000)
        link.client.finish()
        self.assertEqual(link.server.ending(), FIN)
        link.server.finish()
        self.assertEqual(link.client.ending(), FIN)
        self.assertEqual(parkway.wait(15), 0)
        self.assertEqual(parkway.closing_line(link.client.address)["cause"], "client_fin")


class UrgentData(Closing):
    """TCP's urgent byte is carried in its place in the stream, and nothing ends because of it."""

    def test_an_urgent_byte_passes_in_line_both_ways(self):
        for side in SIDES:
            for warm in WARM.values():
                link = self.link(warm)
                acting, seeing = link.side(side)
                for turn in range(20):
                    acting.sock.send(b"before")
                    acting.urgent(b"!")
                    acting.sock.send(b"after")
                    self.assertEqual(_exactly(seeing, 12), b"before!after", f"turn {turn}")
                acting.leave()
                self.assertEqual(seeing.ending(), FIN)
                seeing.leave()
                self.assert_session_over(link, f"{side}_fin")

    def test_an_urgent_byte_alone_wakes_the_relay(self):
        link = self.link()
        link.client.urgent(b"A")
        self.assertEqual(_exactly(link.server, 1), b"A")
        link.client.urgent(b"B")
        link.client.finish()
        self.assertEqual(_exactly(link.server, 1), b"B")
        self.assertEqual(link.server.ending(), FIN)


def reset_while_or_after_connecting(listen, early):
    """(how it ended, the client's address): the RST may be faster than connect() returns."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{sock.getsockname()[1]}"
        sock.settimeout(10)
        host, port = listen.rsplit(":", 1)
        try:
            sock.connect((host, int(port)))
            sock.sendall(bytes(early))
            return (FIN if sock.recv(1) == b"" else "data"), address
        except (ConnectionResetError, BrokenPipeError):
            return RST, address


def _exactly(peer, size):
    peer.sock.settimeout(10)
    data = b""
    while len(data) < size:
        part = peer.sock.recv(size - len(data))
        if not part:
            break
        data += part
    peer.sock.setblocking(False)
    return data


if __name__ == "__main__":
    story.main()
