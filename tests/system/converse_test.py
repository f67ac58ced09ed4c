#!/usr/bin/env python3
"""Random conversations between TCP and unix sockets, while the configuration changes: every byte
arrives once and in order, every FIN and RST where it belongs, nothing hangs, nothing is left."""

import itertools
import os
import random
import signal
import threading
import time

from lib import net, places, procfs, story
from lib.converse import Conversations
from lib.daemon import PATIENCE, Parkway
from lib.process import until

CLIENTS = 16
RELOAD_SECONDS = 0.3
KEPT = 2 * 8 + 1  # of a worker: pipes for the next bulk (kIdlePipes), and the timer of its sleeps


class Converse(story.Story):

    def setUp(self):
        # Others are drawn with another seed.
        self.seed = int(os.environ.get("PARKWAY_SEED", "1"))
        self.conversations = self.started(Conversations(self.seed))
        self.path = self.folder()
        self.flags = os.path.join(self.path, "parkway.flags")
        self.tcp = [net.free_port() for _ in range(3)]
        self.servers = [net.free_port() for _ in range(2)]
        for port in self.servers:
            self.conversations.serve(("127.0.0.1", port))
        self.conversations.serve(f"{self.path}/server.sock")
        # Even numbers are conversations over TCP alone.
        unix = itertools.cycle([("127.0.0.1", self.tcp[1]), f"{self.path}/to-tcp.sock",
                                f"{self.path}/to-unix.sock"])
        self.addresses = (lambda number: ("127.0.0.1", self.tcp[0]) if number % 2 == 0
                          else next(unix))

    def write_flags(self, number):
        """A configuration that is not the one before; whoever converses is to notice nothing."""
        draw = random.Random(f"{self.seed} {number}")
        balance = draw.choice(["p2c", "round_robin", "least_conn", "random", "source_hash"])
        lines = [f"--listen=name=tcp addr=127.0.0.1:{self.tcp[0]} upstream=tcp",
                 f"--listen=name=tcp-unix addr=127.0.0.1:{self.tcp[1]} upstream=unix",
                 f"--listen=name=unix-tcp addr=unix:{self.path}/to-tcp.sock upstream=tcp",
                 f"--listen=name=unix addr=unix:{self.path}/to-unix.sock upstream=unix",
                 f"--upstream=name=tcp balance={balance}",
                 "--upstream=name=unix",
                 f"--server=upstream=tcp name=stays addr=127.0.0.1:{self.servers[0]} "
                 f"weight={draw.randrange(1, 9)}",
                 f"--server=upstream=unix name=unix addr=unix:{self.path}/server.sock"]
        if draw.random() < 0.7:
            lines.append(f"--server=upstream=tcp name=goes-{number % 4} on_remove=keep "
                         f"addr=127.0.0.1:{self.servers[1]}")
        if draw.random() < 0.5:
            lines.append(f"--listen=name=other addr=127.0.0.1:{self.tcp[2]} upstream=tcp")
        with open(self.flags + ".new", "w", encoding="ascii") as file:
            file.write("\n".join(lines) + "\n")
        os.rename(self.flags + ".new", self.flags)

    def test_whatever_two_programs_say_arrives_while_the_configuration_changes(self, threads=1):
        self.write_flags(0)
        parkway = self.started(Parkway.from_flags(
            ["-c", self.flags, f"--threads={threads}", "--stats_interval=100ms",
             *places.extra_flags()], f"127.0.0.1:{self.tcp[0]}"))
        fds = procfs.descriptors(parkway.pid)
        wanted = places.count("conversations")
        numbers = iter(range(wanted))
        lock = threading.Lock()

        def client():
            while not self.conversations.faults:
                with lock:
                    number = next(numbers, None)
                    if number is None:
                        return
                    address = self.addresses(number)
                self.conversations.hold(address, number)

        clients = [threading.Thread(target=client) for _ in range(CLIENTS)]
        for thread in clients:
            thread.start()
        reloads = 0
        while any(thread.is_alive() for thread in clients):
            time.sleep(RELOAD_SECONDS)
            reloads += 1
            self.write_flags(reloads)
            parkway.child.send_signal(signal.SIGHUP)
        self.assertEqual(self.conversations.faults, [])
        parkway.settled(lambda n: n["connections"] == 0 and not n["buffers"] and not n["stacks"],
                        "nobody is connected, and nothing is held for anybody")
        self.assertEqual(self.conversations.faults, [], "servers hear the end a moment later")
        print(f"\n  {self.conversations.ended} ends, {reloads} reloads", end="")
        self.assertGreaterEqual(self.conversations.ended, wanted)
        self.write_flags(0)
        parkway.child.send_signal(signal.SIGHUP)
        until(lambda: procfs.descriptors(parkway.pid) <= fds + KEPT * threads, PATIENCE,
              "no descriptor is left behind but what workers keep")
        parkway.finish()

    def test_so_it_does_with_three_workers(self):
        self.test_whatever_two_programs_say_arrives_while_the_configuration_changes(threads=3)


if __name__ == "__main__":
    story.main()
