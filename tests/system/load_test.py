#!/usr/bin/env python3
"""nginx behind the daemon under wrk's load: nothing fails, and this is what it costs.

The rates are shown beside those of nginx itself and of HAProxy in TCP mode, taken in turns in the
same run; none is a condition. PARKWAY_LOAD_SECONDS makes the runs longer.
"""

import os

from lib import net, story
from lib.daemon import Parkway
from lib.programs import Haproxy, Nginx, Wrk

SECONDS = int(os.environ.get("PARKWAY_LOAD_SECONDS", "5"))
THREADS = 2


class Load(story.Story):

    def setUp(self):
        own = self.folder()
        self.nginx = self.started(Nginx(own, own, workers=2))
        self.haproxy = self.started(Haproxy(self.nginx.ipv4, own, THREADS))
        self.listen = f"127.0.0.1:{net.free_port()}"
        # The others write no line for a connection either.
        self.parkway = self.started(Parkway(self.listen, self.nginx.ipv4, threads=THREADS,
                                            access_log="off", stats_interval="1s"))

    def compare(self, close):
        print(f"\n  {'':10} {'requests/s':>11} {'99 %':>9}   wrk -t2 -c128 -d{SECONDS}s"
              f"{' Connection: close' if close else ''}")
        for name, address in (("direct", self.nginx.ipv4), ("haproxy", self.haproxy.address),
                              ("parkway", self.listen)):
            wrk = Wrk(address, SECONDS, close=close)
            print(f"  {name:10} {wrk.rate:11.0f} {wrk.p99:>9}   {', '.join(wrk.failures())}")
            if name == "parkway":
                self.assertEqual(wrk.failures(), [], wrk.text)
                self.assertGreater(wrk.requests, 0)
        self.parkway.settled(lambda n: not any(n[name] for name in (
            "connections", "stacks", "buffers", "pipes")), "nothing is left of it")
        self.parkway.finish()

    def test_nothing_fails_on_connections_that_are_kept(self):
        self.compare(close=False)

    def test_nothing_fails_on_a_connection_per_request(self):
        self.compare(close=True)


if __name__ == "__main__":
    story.main()
