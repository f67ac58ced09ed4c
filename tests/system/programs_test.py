#!/usr/bin/env python3
"""Real programs through the daemon, over IPv4, IPv6 and a unix socket on either side."""

import hashlib
import os
import random
import subprocess

from lib import net, story
from lib.daemon import Parkway
from lib.process import run
from lib.programs import Nginx, Postgres, Redis, program

FILE_BYTES = 1 << 30
COPY_BYTES = 200 << 20


class Programs(story.Story):
    """`front` is where the client connects, `back` how the daemon reaches the server."""

    def before(self, back, listen, **flags):
        parkway = self.started(Parkway(listen, back, threads=2, **flags))
        self.addCleanup(self._all_ended_well, parkway)
        return listen

    def _all_ended_well(self, parkway):
        parkway.finish()
        causes = {line["cause"] for line in parkway.closing_lines()}
        self.assertLessEqual(causes, {"client_fin", "server_fin"}, parkway.stderr())


def ipv4():
    return f"127.0.0.1:{net.free_port()}"


def ipv6():
    return f"[::1]:{net.free_port()}"


class NginxToCurl(Programs):

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        folder = story.folder_of(cls)
        cls.sum = cls.make(os.path.join(folder, "big"))
        cls.nginx = Nginx(folder, folder)
        cls.addClassCleanup(cls.nginx.stop)

    @staticmethod
    def make(path):
        """A file in which no two MiB are alike; its SHA-256."""
        digest, block = hashlib.sha256(), bytearray(random.Random(1).randbytes(1 << 20))
        with open(path, "wb") as file:
            for number in range(FILE_BYTES >> 20):
                block[:4] = number.to_bytes(4, "big")
                digest.update(block)
                file.write(block)
        return digest.hexdigest()

    def assert_fetched(self, *where):
        with subprocess.Popen([program("curl"), "-sS", "--fail", "--speed-limit", "1",
                               "--speed-time", "30", *where],
                              stdout=subprocess.PIPE) as curl:
            out = subprocess.run(["sha256sum"], stdin=curl.stdout, capture_output=True, text=True,
                                 check=True, timeout=300).stdout
        self.assertEqual(curl.returncode, 0)
        self.assertEqual(out.split()[0], self.sum)

    def test_a_gibibyte_arrives_whole_over_ipv4(self):
        listen = self.before(self.nginx.ipv4, ipv4())
        self.assert_fetched(f"http://{listen}/big")

    def test_a_gibibyte_arrives_whole_over_ipv6(self):
        listen = self.before(self.nginx.ipv6, ipv6())
        self.assert_fetched(f"http://{listen}/big")

    def test_a_gibibyte_arrives_whole_over_unix_sockets(self):
        listen = self.before(self.nginx.unix, f"unix:{self.folder()}/front.sock")
        self.assert_fetched("--unix-socket", listen.removeprefix("unix:"), "http://any/big")

    def test_from_an_ipv6_client_to_a_unix_socket_and_back_through_a_second_daemon(self):
        inner = self.before(self.nginx.unix, f"unix:@parkway-test-{os.getpid()}")
        listen = self.before(inner, ipv6())
        self.assert_fetched(f"http://{listen}/big")


class RedisBenchmark(Programs):

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.redis = Redis(story.folder_of(cls))
        cls.addClassCleanup(cls.redis.stop)

    def assert_benchmarked(self, *where):
        _, out, err = run([program("redis-benchmark"), *where, "-P", "16", "-c", "50", "-n",
                           "100000", "-d", "100", "-q", "-t", "set,get,lpush,lrange_100"], 60)
        self.assertNotIn("Error", out + err)
        self.assertEqual(out.count("requests per second"), 5, out + err)

    def assert_kept(self, *where):
        """Values of every size come back as they went in."""
        cli = [program("redis-cli"), *where]
        for size in (0, 1, 1460, 65_536, 5_000_000):
            value = random.Random(size).randbytes(size).hex()[:size].encode()
            done = subprocess.run([*cli, "-x", "set", "key"], input=value, capture_output=True,
                                  check=True, timeout=20)
            self.assertEqual(done.stdout, b"OK\n")
            done = subprocess.run([*cli, "--no-raw", "get", "key"], capture_output=True, check=True,
                                  timeout=20)
            self.assertEqual(done.stdout.strip(), b'"' + value + b'"')

    def test_pipelines_run_over_ipv4(self):
        where = self.before(self.redis.ipv4, ipv4()).split(":")
        self.assert_kept("-h", where[0], "-p", where[1])
        self.assert_benchmarked("-h", where[0], "-p", where[1])

    def test_pipelines_run_over_ipv6(self):
        port = self.before(self.redis.ipv6, ipv6()).rsplit(":", 1)[1]
        self.assert_kept("-h", "::1", "-p", port)
        self.assert_benchmarked("-h", "::1", "-p", port)

    def test_pipelines_run_over_unix_sockets(self):
        path = f"{self.folder()}/front.sock"
        self.before(self.redis.unix, f"unix:{path}")
        self.assert_kept("-s", path)
        self.assert_benchmarked("-s", path)


class PostgresTools(Programs):

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.postgres = Postgres(story.folder_of(cls))
        cls.addClassCleanup(cls.postgres.stop)
        cls.own = story.folder_of(cls)
        cls.lines = os.path.join(cls.own, "lines")
        digest, rows = hashlib.sha256(), random.Random(2)
        pool = [rows.randbytes(499).hex() for _ in range(64)]
        with open(cls.lines, "wb") as file:
            for number in range(COPY_BYTES // 1009):
                line = f"{number:09}\t{pool[number % 64]}\n".encode()
                digest.update(line)
                file.write(line)
        cls.sum = digest.hexdigest()

    def where(self, back, front):
        """The daemon between, and the environment that leads psql and pgbench to it."""
        listen = self.before(back, front)
        if listen.startswith("unix:"):
            host, port = os.path.dirname(listen[5:]), listen.rsplit(".", 1)[1]
        else:
            host, port = listen.rsplit(":", 1)
        return {**os.environ, "PGHOST": host.strip("[]"), "PGPORT": port, "PGUSER": "postgres",
                "PGDATABASE": "postgres", "PGSSLMODE": "disable", "PGCONNECT_TIMEOUT": "20"}

    def assert_copied(self, environment):
        """200 MB in and 200 MB out; what comes out is what went in."""

        def psql(command, **options):
            return subprocess.run([program("psql"), "-X", "-q", "-v", "ON_ERROR_STOP=1", "-c",
                                   command], env=environment, check=True, timeout=120, **options)

        psql("CREATE UNLOGGED TABLE rows (number int, text text); "
             "ALTER TABLE rows ALTER text SET STORAGE PLAIN")
        self.addCleanup(psql, "DROP TABLE rows")
        psql(f"\\copy rows FROM '{self.lines}'")
        back = os.path.join(self.own, "back")
        psql(f"\\copy (SELECT lpad(number::text, 9, '0'), text FROM rows) TO '{back}'")
        _, out, _ = run(["sha256sum", back], 60)
        self.assertEqual(out.split()[0], self.sum)
        self.assertGreaterEqual(os.path.getsize(back), COPY_BYTES - 2000)

    def assert_benchmarked(self, environment):
        def pgbench(*arguments):
            _, out, err = run([program("pgbench"), *arguments], 60, env=environment)
            self.assertNotIn("aborted", out + err)
            return out

        pgbench("-i", "-s", "1", "-q")
        out = pgbench("-c", "8", "-j", "2", "-t", "200", "-M", "prepared")
        self.assertIn("1600/1600", out)
        out = pgbench("-C", "-c", "4", "-t", "25", "-S")  # a connection per transaction
        self.assertIn("100/100", out)

    def test_copy_and_pgbench_over_ipv4(self):
        environment = self.where(self.postgres.ipv4, ipv4())
        self.assert_copied(environment)
        self.assert_benchmarked(environment)

    def test_copy_and_pgbench_over_ipv6(self):
        environment = self.where(self.postgres.ipv6, ipv6())
        self.assert_copied(environment)
        self.assert_benchmarked(environment)

    def test_copy_and_pgbench_over_unix_sockets(self):
        # The port in the name is what makes libpq look for a socket of this name.
        environment = self.where(self.postgres.unix, f"unix:{self.folder()}/.s.PGSQL.5432")
        self.assert_copied(environment)
        self.assert_benchmarked(environment)


if __name__ == "__main__":
    story.main()
