#!/usr/bin/env python3
"""How long a connection may be silent, how long it may last, and how fast it may go.

Each story on one worker and on four, copying and through pipes.
"""

import threading
import time

from lib import net, story
from lib.daemon import PATIENCE, Parkway
from lib.peer import FIN, RST, Link, Server, connect
from lib.stalls import told_in_time

WAYS = [{"threads": threads, "splice": splice} for threads in (1, 4) for splice in ("off", "on")]


class Times(story.Story):

    def setUp(self):
        self.server = self.started(Server())
        self.listen = f"127.0.0.1:{net.free_port()}"

    def each_way(self, tell, *, slack=None, **flags):
        """Tells the story `tell(daemon)` for each way of moving bytes; `slack`: the seconds that its
        times leave the machine."""
        for way in WAYS:
            with self.subTest(**way):
                parkway = Parkway(self.listen, self.server.address, drain_timeout="500ms",
                                  **way, **flags)
                try:
                    if slack:
                        told_in_time(lambda parkway=parkway: tell(parkway), slack)
                    else:
                        tell(parkway)
                    parkway.finish()
                finally:
                    parkway.stop()

    def link(self, parkway, **options):
        link = Link(self.listen, self.server, **options)
        self.addCleanup(link.close)
        link.since = len(parkway.lines)
        return link

    def closed(self, parkway, link):
        return parkway.closing_line(link.client.address, since=link.since)

    def seconds(self, line):
        return float(line["duration"].rstrip("s"))

    def test_a_silent_connection_is_that_of_the_side_with_the_shorter_time(self):
        for flag, cause in (("client_idle_timeout", "client_timeout"),
                            ("server_idle_timeout", "server_timeout")):
            def tell(parkway):
                link = self.link(parkway)
                self.assertEqual(link.client.ending(), FIN)
                self.assertEqual(link.server.ending(), FIN)
                line = self.closed(parkway, link)
                self.assertEqual(line["cause"], cause)
                self.assertGreaterEqual(self.seconds(line), 1)

            self.each_way(tell, slack=0.3, **{flag: "1s"})

    def test_a_long_way_down_keeps_both_sides_busy(self):
        def tell(parkway):
            link = self.link(parkway)
            for _ in range(8):
                link.server.send(1000)
                link.client.receive(1000)
                time.sleep(0.25)  # as a slow server would
            self.assertFalse(link.client.readable(0), "it is still open after two seconds")
            link.server.finish()
            self.assertEqual(link.client.ending(), FIN)
            link.client.finish()
            self.assertEqual(self.closed(parkway, link)["cause"], "server_fin")

        self.each_way(tell, slack=0.2, client_idle_timeout="1s", server_idle_timeout="1s")

    def test_while_half_closed_only_the_half_close_timeout_counts(self):
        def tell(parkway):
            link = self.link(parkway)
            link.client.finish()
            self.assertEqual(link.server.ending(), FIN)
            self.assertEqual(link.client.ending(), FIN)
            line = self.closed(parkway, link)
            self.assertEqual(line["cause"], "half_close_timeout")
            self.assertGreaterEqual(self.seconds(line), 1.5)

        self.each_way(tell, slack=0.1, client_idle_timeout="500ms", server_idle_timeout="500ms",
                      idle_timeout="500ms", half_close_timeout="1500ms")

    def test_a_life_ends_however_busy_it_is_and_not_all_at_once(self):
        def tell(parkway):
            links = [self.link(parkway) for _ in range(12)]
            stop = threading.Event()

            def talk():
                while not stop.wait(0.05):
                    for link in links:
                        try:
                            link.client.sock.send(b"x")
                        except OSError:
                            pass  # it has ended

            talker = threading.Thread(target=talk)
            talker.start()
            try:
                lines = [self.closed(parkway, link) for link in links]
            finally:
                stop.set()
                talker.join()
            self.assertEqual({line["cause"] for line in lines}, {"lifetime"})
            lives = [self.seconds(line) for line in lines]
            self.assertGreaterEqual(min(lives), 1)
            self.assertLessEqual(max(lives), 2.5)
            self.assertGreater(max(lives) - min(lives), 0.2, "spread by the jitter")

        self.each_way(tell, slack=0.1, max_lifetime="2s", max_lifetime_jitter="50%")

    def test_rates_are_kept_in_each_direction(self):
        up, down, seconds = 400_000, 4_000_000, 3

        def carried(parkway):
            """How long that many seconds' worth took each way."""
            link = self.link(parkway)
            start = time.monotonic()
            took = {}

            def carry(name, sender, receiver, size):
                def send():
                    sender.send(size, 60)

                sending = threading.Thread(target=send)
                sending.start()
                receiver.receive(size, 60)
                took[name] = time.monotonic() - start
                sending.join()

            ways = [threading.Thread(target=carry, args=args) for args in (
                ("up", link.client, link.server, up * seconds),
                ("down", link.server, link.client, down * seconds))]
            for way in ways:
                way.start()
            for way in ways:
                way.join()
            link.close()
            print(f"\n  {seconds} s worth took {took['up']:.3f} s up, {took['down']:.3f} s down",
                  end="")
            # But for a burst of a tenth of a second never faster.
            self.assertGreater(min(took.values()), seconds * 0.95, took)
            return took

        def tell(parkway):
            # Slower it may be on a machine that has no time for these clients, but not each time.
            for attempt in range(4):
                took = carried(parkway)
                if max(took.values()) < seconds * 1.15:
                    return
            self.fail(f"slower than the rate, {attempt + 1} times: {took}")

        self.each_way(tell, rate_up=f"{up}B/s", rate_down=f"{down}B/s")

    def test_ends_reach_a_direction_that_waits_for_its_rate(self):
        def tell(parkway):
            for ending in ("client", "server"):
                link = self.link(parkway)
                link.client.fill(quiet=0.1, at_most=1 << 30)
                start = time.monotonic()
                if ending == "client":
                    link.client.reset()
                    self.assertEqual(link.server.ending(), RST)
                    self.assertEqual(self.closed(parkway, link)["cause"], "client_rst")
                    # What the queues held was not lost at a kilobyte a second.
                    self.assertGreater(link.server.received, 4096)
                else:
                    link.server.reset()
                    self.assertEqual(self.closed(parkway, link)["cause"], "server_rst")
                self.assertLess(time.monotonic() - start, PATIENCE)

        self.each_way(tell, rate_up="1KiB/s")

    def test_a_rate_costs_no_processor_time_while_it_waits(self):
        from lib import procfs  # pylint: disable=import-outside-toplevel
        def tell(parkway):
            links = [self.link(parkway) for _ in range(20)]
            for link in links:
                link.client.fill(quiet=0.02)
            self.assertLess(procfs.cpu_share(parkway.pid, 2), 0.1)
            for link in links:
                link.close()

        self.each_way(tell, rate_up="1KiB/s", rate_down="1KiB/s")

    def test_a_connection_of_its_own_does_not_wait_for_the_rate_of_another(self):
        def tell(parkway):
            slow = self.link(parkway)
            slow.server.fill(quiet=0.1)
            other = connect(self.listen)
            self.addCleanup(other.close)
            start = time.monotonic()
            other.send(8)
            answering = self.server.accept()
            self.addCleanup(answering.close)
            answering.receive(8)
            answering.send(1000)
            other.receive(1000)
            self.assertLess(time.monotonic() - start, 0.5)
            slow.close()

        self.each_way(tell, slack=0.1, rate_down="100KiB/s")

if __name__ == "__main__":
    story.main()
