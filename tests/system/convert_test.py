#!/usr/bin/env python3
"""Configurations of other proxies, as the other proxies accept them, run here by what they become."""

import glob
import http.server
import os
import re
import socket
import threading

from lib import net, places, sockets, story
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
            try:
                self._greet(link)
            except OSError:
                pass  # who only looked whether somebody listens has left

    def _greet(self, link):
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


class PatroniApi:
    """What Patroni says over HTTP of a server: 200 if it is the primary, else 503."""

    def __init__(self, port):
        self.primary = False
        api = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def answer(self):
                self.send_response(200 if api.primary else 503)
                self.end_headers()

            do_GET = do_OPTIONS = answer

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", port), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def close(self):
        self.server.shutdown()
        self.server.server_close()


class Dovecot(Process):
    """An IMAP server that wants a PROXY header."""

    def __init__(self, folder, port):
        self.folder = folder
        os.chmod(folder, 0o755)
        for name in ("run", "mail"):
            os.makedirs(f"{folder}/{name}")
        os.chmod(f"{folder}/mail", 0o777)
        with open(f"{folder}/dovecot.conf", "w", encoding="ascii") as file:
            file.write(f"""
base_dir = {folder}/run
log_path = {folder}/log
protocols = imap
listen = 127.0.0.1
ssl = no
disable_plaintext_auth = no
haproxy_trusted_networks = 127.0.0.0/8
passdb {{
  driver = static
  args = password=secret
}}
userdb {{
  driver = static
  args = uid=nobody gid=nogroup home={folder}/mail/%u
}}
first_valid_uid = 1
mail_location = maildir:~/Maildir
service imap-login {{
  inet_listener imap {{
    port = {port}
    haproxy = yes
  }}
  inet_listener imaps {{
    port = 0
  }}
}}
""")
        super().__init__([program("dovecot"), "-F", "-c", f"{folder}/dovecot.conf"])
        until(lambda: tcp_listens(f"127.0.0.1:{port}"), 20, "Dovecot listens")

    def log(self):
        with open(f"{self.folder}/log", encoding="utf-8") as file:
            return file.read()


class Echo:
    """Sends back what it gets once."""

    def __init__(self, port):
        self.peers = []
        self.socket = socket.create_server(("127.0.0.1", port))
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self):
        while True:
            try:
                link, peer = self.socket.accept()
            except OSError:
                return
            self.peers.append(peer[0])
            with link:
                link.sendall(link.recv(100))

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

    def started_from(self, name, listen, code=None, more=()):
        path, ports = self.placed(name)
        flags = self.convert(path, code)
        return ports, lambda: self.started(Parkway.from_flags(
            [f"--flagfile={flags}", *more, *places.extra_flags()],
            f"127.0.0.1:{ports[listen]}"))

    def test_files_that_the_other_proxy_accepts_become_files_that_are_accepted(self):
        paths = sorted(glob.glob(f"{FILES}/*.cfg"))
        self.assertGreaterEqual(len(paths), 9)
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

    def test_patroni_says_which_server_of_a_cluster_is_written_to(self):
        ports, start = self.started_from("patroni.haproxy.cfg", "15000",
                                         more=["--access_log=stderr", "--log_format=kv"])
        server = self.started(Postgres(self.folder()))
        server_ports = {"a": ports["15432"], "b": ports["15433"]}
        nodes = {}
        for name, sql, api in (("a", "15432", "18008"), ("b", "15433", "18009")):
            self.started(Parkway(f"127.0.0.1:{ports[sql]}", server.ipv4))
            nodes[name] = self.started(PatroniApi(int(ports[api])))
        nodes["a"].primary = True
        parkway = start()

        def at(name):
            """A session through the daemon, which is at that server."""
            psql = ["-h", "127.0.0.1", "-p", ports["15000"], "-U", "postgres", "-Atc"]
            code, out, _ = run([program("psql"), *psql, "select 6 * 7"], check=False)
            line = parkway.closing_lines()[-1:] if code == 0 and out.strip() == "42" else []
            return bool(line) and line[0]["server"] == f"127.0.0.1:{server_ports[name]}"

        until(lambda: at("a"), 30, "the primary is found")
        held = self.started(Process(
            [program("psql"), "-h", "127.0.0.1", "-p", ports["15000"], "-U", "postgres", "-Atc",
             "select pg_sleep(60)"]))
        sleeping = ["-h", "127.0.0.1", "-p", str(server.port), "-U", "postgres", "-Atc",
                    "select count(*) from pg_stat_activity where query = 'select pg_sleep(60)'"]
        until(lambda: run([program("psql"), *sleeping])[1].strip() == "1", 30, "it is served by a")
        nodes["a"].primary, nodes["b"].primary = False, True
        until(lambda: at("b"), 30, "the new primary is found")
        # on-marked-down shutdown-sessions
        self.assertNotEqual(held.wait(30), 0)
        parkway.finish()

    def origins(self, ports):
        """TLS servers that are known by their certificates."""
        folder = self.folder()
        for origin, port in ports:
            files = ["-keyout", f"{folder}/{origin}.key", "-out", f"{folder}/{origin}.crt"]
            run([program("openssl"), "req", "-x509", "-newkey", "ec", "-pkeyopt",
                 "ec_paramgen_curve:P-256", "-nodes", "-days", "2", "-subj", f"/CN={origin}",
                 *files])
            self.started(Process([program("openssl"), "s_server", "-accept", f"127.0.0.1:{port}",
                                  "-key", files[1], "-cert", files[3], "-www"]))
            until(lambda port=port: tcp_listens(f"127.0.0.1:{port}"), 15, "the origin listens")

    def subject(self, port, name):
        _, out, _ = run(["sh", "-c", f"{program('openssl')} s_client -connect "
                         f"127.0.0.1:{port} -servername {name} </dev/null"], check=False)
        found = re.search(r"subject=CN ?= ?(\w+)", out)
        return found and found[1]

    def test_a_whole_nginx_that_routes_tls_to_origins_with_names(self):
        ports, start = self.started_from("streams.nginx.cfg", "18443", 1,
                                         ["--user=off", "--pidfile=off", "--access_log=stderr",
                                          "--log_format=kv"])
        self.origins([("web", ports["19446"]), ("mail", ports["19444"]),
                      ("apps", ports["19445"])])
        parkway = start()
        # One server of web is not there.
        for name, origin in (("mail.example.org", "mail"), ("a.apps.example.org", "apps"),
                             ("apps.example.org", "apps"), ("example.com", "web"),
                             ("www.example.org", "web"), ("example.org", "web")):
            self.assertEqual(self.subject(ports["18443"], name), origin, name)
        near = self.started(sockets.one(parkway.pid, sockets.listening(int(ports["18443"]))))
        # "30m::10" of so_keepalive leaves the interval to the kernel.
        self.assertEqual([near.getsockopt(socket.IPPROTO_TCP, option) for option in
                          (socket.TCP_KEEPIDLE, socket.TCP_KEEPINTVL, socket.TCP_KEEPCNT)],
                         [1800, 75, 10])
        parkway.finish()

    def test_imap_of_dovecot_that_is_told_who_the_client_is(self):
        ports, start = self.started_from("dovecot.haproxy.cfg", "10143", 1,
                                         ["--user=off", "--pidfile=off", "--access_log=stderr",
                                          "--log_format=kv"])
        dovecot = self.started(Dovecot(self.folder(), int(ports["11143"])))
        self.started(Greeter(int(ports["11025"]), 1))
        parkway = start()
        with socket.create_connection(("127.0.0.1", int(ports["10143"])), 20,
                                      source_address=("127.0.0.9", 0)) as link, \
                link.makefile("rwb") as file:
            self.assertTrue(file.readline().startswith(b"* OK"))
            file.write(b"a login somebody secret\r\n")
            file.flush()
            self.assertTrue(file.readline().startswith(b"a OK"), dovecot.log())
            file.write(b"b logout\r\n")
            file.flush()
        until(lambda: "user=<somebody>" in dovecot.log() and "rip=127.0.0.9" in dovecot.log(), 15,
              "Dovecot knows the client's address")
        with socket.create_connection(("127.0.0.1", int(ports["10025"])), 20) as link:
            # It defers who says nothing.
            link.sendall(b"ehlo x\r\n")
            self.assertEqual(link.makefile("rb").readline(), b"* OK %d\r\n" % link.getsockname()[1])
        parkway.finish()

    def test_forwards_of_rinetd(self):
        ports, start = self.started_from("forwards.rinetd.cfg", "18080", 0)
        web = self.started(Echo(int(ports["19080"])))
        self.started(Echo(int(ports["19081"])))
        parkway = start()
        self.assertEqual(self.echoed(ports["18080"]), b"hello")
        # Its source=, and who may come in by it.
        self.assertEqual(self.echoed(ports["18081"]), b"hello")
        self.assertEqual(self.echoed(ports["18081"], "127.0.0.9"), b"")
        self.assertEqual(web.peers, ["127.0.0.1"])
        parkway.finish()

    def echoed(self, port, source="127.0.0.1"):
        # Who is denied is reset, which connect itself may see.
        try:
            with socket.create_connection(("127.0.0.1", int(port)), 20,
                                          source_address=(source, 0)) as link:
                link.sendall(b"hello")
                return link.recv(100)
        except (BrokenPipeError, ConnectionResetError):
            return b""

    def test_a_router_of_tls_by_name_from_nginx(self):
        ports, start = self.started_from("router.nginx.cfg", "18443",
                                         more=["--pidfile=off"])
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
