#!/usr/bin/env python3
"""Configurations of other proxies, as the other proxies accept them, run here by what they become."""

import glob
import os
import re
import socket
import threading

from lib import net, places, story
from lib.daemon import Parkway
from lib.process import Process, run, until
from lib.programs import Haproxy, Postgres, program, tcp_listens

FILES = os.path.join(os.path.dirname(os.path.realpath(__file__)), "..", "config", "convert")


def kind_of(path):
    return os.path.basename(path).split(".")[1]


class Greeter:
    """Reads a PROXY header, and greets its client by the name that the header gives it."""

    def __init__(self, port, version):
        self.version = version
        self.socket = socket.create_server(("127.0.0.1", port))
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self):
        while True:
            try:
                link, _ = self.socket.accept()
            except OSError:
                return
            with link, link.makefile("rb") as file:
                if self.version == 1:
                    words = file.readline().split()
                    known = words[:2] == [b"PROXY", b"TCP4"]
                    port = int(words[4]) if known else 0
                else:
                    known = file.read(12) == b"\r\n\r\n\0\r\nQUIT\n"
                    rest = file.read(4)
                    body = file.read(int.from_bytes(rest[2:], "big"))
                    port = int.from_bytes(body[8:10], "big") if known else 0
                link.sendall(b"* OK %d\r\n" % port)

    def close(self):
        self.socket.close()


class Convert(story.Story):

    def convert(self, path, code=None):
        """What it becomes, as a file that --check accepts."""
        found, out, err = run([places.parkway_binary(), "convert", kind_of(path), path],
                              check=False)
        self.assertIn(found, (0, 1), err)
        self.assertEqual(found == 1, "# not carried over: " in out, out)
        if code is not None:
            self.assertEqual(found, code, out)
        flags = os.path.join(self.folder(), "parkway.flags")
        with open(flags, "w", encoding="utf-8") as file:
            file.write(out)
        run([places.parkway_binary(), "--check", "-c", flags])
        return flags

    def placed(self, name):
        """The file with free ports for its own (those of five digits), and those ports."""
        with open(os.path.join(FILES, name), encoding="utf-8") as file:
            text = file.read()
        ports = {old: str(net.free_port()) for old in sorted(set(re.findall(r"\b1\d{4}\b", text)))}
        path = os.path.join(self.folder(), name)
        with open(path, "w", encoding="utf-8") as file:
            file.write(re.sub(r"\b1\d{4}\b", lambda match: ports[match[0]], text))
        return path, ports

    def started_from(self, name, listen, code=None):
        path, ports = self.placed(name)
        flags = self.convert(path, code)
        return ports, lambda: self.started(Parkway.from_flags(
            [f"--flagfile={flags}", *places.extra_flags()], f"127.0.0.1:{ports[listen]}"))

    def test_files_that_the_other_proxy_accepts_become_files_that_are_accepted(self):
        paths = sorted(glob.glob(f"{FILES}/*.cfg"))
        self.assertGreaterEqual(len(paths), 6)
        for path in paths:
            if kind_of(path) == "haproxy":
                run([program("haproxy"), "-c", "-f", path])
            elif kind_of(path) == "nginx":
                run([program("nginx"), "-t", "-e", "stderr", "-c", os.path.realpath(path)])
            self.convert(path)

    def test_all_of_a_simple_file_is_carried_over(self):
        self.convert(f"{FILES}/simple.nginx.cfg", 0)

    def test_a_postgres_cluster_behind_haproxy(self):
        ports, start = self.started_from("postgres.haproxy.cfg", "15000")
        server = self.started(Postgres(self.folder()))
        # Of the two servers in the file one is there, the other is not.
        relay = self.started(Parkway(f"127.0.0.1:{ports['15432']}", server.ipv4))
        parkway = start()
        for listen in ("15000", "15001", "15002"):
            for _ in range(4):
                _, out, _ = run([program("psql"), "-h", "127.0.0.1", "-p", ports[listen], "-U",
                                 "postgres", "-Atc", "select 6 * 7"])
                self.assertEqual(out.strip(), "42")
        parkway.finish()
        relay.finish()

    def test_a_router_of_tls_by_name_from_nginx(self):
        ports, start = self.started_from("router.nginx.cfg", "18443")
        folder = self.folder()
        for origin, port in (("app", ports["19443"]), ("wild", ports["19444"])):
            files = ["-keyout", f"{folder}/{origin}.key", "-out", f"{folder}/{origin}.crt"]
            run([program("openssl"), "req", "-x509", "-newkey", "ec", "-pkeyopt",
                 "ec_paramgen_curve:P-256", "-nodes", "-days", "2", "-subj", f"/CN={origin}",
                 *files])
            self.started(Process([program("openssl"), "s_server", "-accept", f"127.0.0.1:{port}",
                                  "-key", files[1], "-cert", files[3], "-www"]))
            until(lambda port=port: tcp_listens(f"127.0.0.1:{port}"), 15, "the origin listens")
        parkway = start()
        for name, origin in (("app.example.org", "app"), ("x.example.net", "wild"),
                             ("a.b.example.net", "wild"), ("example.com", "app")):
            _, out, _ = run(["sh", "-c", f"{program('openssl')} s_client -connect "
                             f"127.0.0.1:{ports['18443']} -servername {name} </dev/null"],
                            check=False)
            self.assertRegex(out, rf"subject=CN ?= ?{origin}\b")
        parkway.finish()

    def test_mail_behind_a_balancer_that_says_who_the_client_is(self):
        ports, start = self.started_from("mail.haproxy.cfg", "10143", 0)
        self.started(Greeter(int(ports["11143"]), 2))
        self.started(Greeter(int(ports["11025"]), 1))
        parkway = start()
        for listen in ("10143", "10025"):
            before = self.started(Haproxy(f"127.0.0.1:{ports[listen]} send-proxy", self.folder(),
                                          1))
            host, port = before.address.split(":")
            with socket.create_connection((host, int(port)), timeout=15) as link:
                self.assertEqual(link.makefile("rb").readline(),
                                 b"* OK %d\r\n" % link.getsockname()[1])
        parkway.finish()


if __name__ == "__main__":
    story.main()
