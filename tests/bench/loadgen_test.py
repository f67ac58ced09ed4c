#!/usr/bin/env python3
"""The load generator is satisfied by an honest proxy and sees through every other."""

import asyncio
import json
import os
import random
import socket
import subprocess
import sys
import threading
import unittest

LOADGEN = os.path.join(os.environ.get("TEST_SRCDIR", "bazel-bin"),
                       os.environ.get("TEST_WORKSPACE", ""), "tests/bench/loadgen")


def free_port():
    """None that a connect takes for its own end before somebody listens there."""
    while True:
        with socket.socket() as sock:
            try:
                sock.bind(("127.0.0.1", random.randrange(10_000, 30_000)))
                return sock.getsockname()[1]
            except OSError:
                continue


class Honest:
    """Passes everything on, unchanged and in order."""

    def __init__(self):
        self.upstream_port = free_port()
        self.loop = asyncio.new_event_loop()
        server = self.loop.run_until_complete(
            asyncio.start_server(self.serve, "127.0.0.1", 0))
        self.port = server.sockets[0].getsockname()[1]
        self.thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self.thread.start()

    def change(self, data, seen, to_server):
        """What is passed on of `data`, after `seen` bytes in this direction."""
        del seen, to_server
        return data

    async def serve(self, reader, writer):
        try:
            upstream = await asyncio.open_connection("127.0.0.1", self.upstream_port)
        except OSError:
            writer.close()
            return
        await asyncio.gather(self.pump(reader, upstream[1], True),
                             self.pump(upstream[0], writer, False))

    async def pump(self, reader, writer, to_server):
        seen = 0
        try:
            while data := await reader.read(65536):
                writer.write(self.change(data, seen, to_server))
                seen += len(data)
                await writer.drain()
        except OSError:
            pass
        writer.close()


class Flipping(Honest):
    def __init__(self, to_server):
        super().__init__()
        self.to_server = to_server

    def change(self, data, seen, to_server):
        place = 5000 - seen
        if to_server != self.to_server or not 0 <= place < len(data):
            return data
        return data[:place] + bytes([data[place] ^ 1]) + data[place + 1:]


class Losing(Honest):
    """Loses the end of one read in the middle of the stream."""

    def change(self, data, seen, to_server):
        return data[:-1] if not to_server and seen <= 5000 < seen + len(data) else data


class Repeating(Honest):
    """Says the very same bytes twice."""

    def change(self, data, seen, to_server):
        return data + data if not to_server and seen <= 5000 < seen + len(data) else data


class LosingSilently(Honest):
    """Swallows what comes late, so that nothing wrong ever arrives."""

    def change(self, data, seen, to_server):
        return b"" if to_server and seen > 300_000 else data


def run(proxy, *load):
    return subprocess.run(
        [LOADGEN, "run", f"--serve=127.0.0.1:{proxy.upstream_port}",
         f"--to=127.0.0.1:{proxy.port}", f"--pids={os.getpid()}", *load],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        timeout=100, check=False)


class LoadgenTest(unittest.TestCase):
    def assert_wrong(self, proxy, *load):
        done = run(proxy, *load)
        self.assertEqual(done.returncode, 1, done.stdout)
        self.assertIn("loadgen:", done.stderr)

    def test_an_honest_proxy_passes_every_load_and_the_figures_add_up(self):
        proxy = Honest()
        for load in (["--pingpong=4", "--requests=500"], ["--short=4", "--requests=100"],
                     ["--up=2", "--bytes=20000000"], ["--down=2", "--bytes=20000000"],
                     ["--both=2", "--bytes=20000000"],
                     ["--down=1", "--pingpong=2", "--think_us=500", "--requests=200"]):
            done = run(proxy, *load)
            self.assertEqual(done.returncode, 0, f"{load}: {done.stderr}")
            figures = json.loads(done.stdout)
            wanted = int(load[-1].split("=")[1])
            self.assertGreaterEqual(figures["bytes" if "bytes" in load[-1] else "requests"], wanted)
            self.assertGreater(figures["cpu_ns"], 0)
            if "--pingpong=4" in load:
                self.assertLessEqual(0 < figures["p50_us"], figures["p99_us"])
                self.assertLessEqual(figures["p99_us"], figures["max_us"] * 1.02)

    def test_a_flipped_bit_is_seen_in_both_directions(self):
        self.assert_wrong(Flipping(False), "--down=1", "--bytes=10000000")
        self.assert_wrong(Flipping(True), "--up=1", "--bytes=10000000")
        self.assert_wrong(Flipping(False), "--pingpong=1", "--requests=1000")
        self.assert_wrong(Flipping(True), "--pingpong=1", "--requests=1000")

    def test_lost_and_repeated_bytes_are_seen(self):
        self.assert_wrong(Losing(), "--down=1", "--bytes=10000000")
        self.assert_wrong(Repeating(), "--down=1", "--bytes=10000000")

    def test_bytes_that_never_arrive_are_missed_at_the_end(self):
        self.assert_wrong(LosingSilently(), "--up=1", "--bytes=10000000")


if __name__ == "__main__":
    unittest.main(argv=[sys.argv[0], "-v"])
