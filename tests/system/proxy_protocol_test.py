#!/usr/bin/env python3
"""PROXY headers in and out, who is let in, and where first bytes lead: seen from both ends."""

import select
import socket
import struct
import subprocess
import time

from lib import net, story
from lib.daemon import PATIENCE, Parkway
from lib.process import Process, until
from lib.programs import listens, program, tcp_listens

TRUST = "proxy_trusted=0.0.0.0/0,::/0"
V2 = b"\r\n\r\n\x00\r\nQUIT\n"


def v2_header(source, port, destination, to_port, tlvs=b""):
    body = socket.inet_aton(source) + socket.inet_aton(destination)
    body += struct.pack("!HH", port, to_port) + tlvs
    return V2 + b"\x21\x11" + struct.pack("!H", len(body)) + body


class Listening:
    """A server that takes what comes."""

    def __init__(self):
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.socket.settimeout(PATIENCE)
        self.port = self.socket.getsockname()[1]
        self.address = f"127.0.0.1:{self.port}"

    def accept(self):
        connection, _ = self.socket.accept()
        connection.settimeout(PATIENCE)
        return connection

    def stop(self):
        self.socket.close()

    close = stop


def read_all(connection, size):
    got = b""
    while len(got) < size:
        piece = connection.recv(size - len(got))
        if not piece:
            break
        got += piece
    return got


def read_until(connection, end):
    got = b""
    while not got.endswith(end):
        piece = connection.recv(1000)
        if not piece:
            raise AssertionError(f"{got} and no {end}")
        got += piece
    return got


class Front(story.Story):
    threads = 1

    def setUp(self):
        self.server = Listening()
        self.addCleanup(self.server.close)
        self.address = f"127.0.0.1:{net.free_port()}"

    def parkway(self, keys="", upstream="", *more, threads=None):
        flags = [f"--listen={self.address} name=web {keys}",
                 f"--upstream={self.server.address} name=app {upstream}",
                 f"--threads={threads or self.threads}", "--drain_timeout=200ms", *more]
        return self.started(Parkway.from_flags(flags, self.address))

    def client(self, data=b"", source="127.0.0.1"):
        host, port = self.address.rsplit(":", 1)
        client = socket.create_connection((host, int(port)), PATIENCE, (source, 0))
        client.settimeout(PATIENCE)
        self.addCleanup(client.close)
        if data:
            client.sendall(data)
        return client

    def assert_refused(self, parkway, cause, data=b"", source="127.0.0.1"):
        """A reset, which may come before connect() returns, and a line that tells the cause."""
        with self.assertRaises((ConnectionResetError, BrokenPipeError)):
            client = self.client(data, source)
            while client.recv(1000):
                pass
        until(lambda: any(line["cause"] == cause for line in parkway.closing_lines()), PATIENCE,
              f"a closing line with {cause}")


class ProxyHeader(Front):

    def test_what_came_in_goes_out_in_one_piece_with_the_first_bytes(self):
        for threads in (1, 4):
            for version, sent in (("v1", b"PROXY TCP4 192.0.2.1 192.0.2.2 1111 2222\r\n"),
                                  ("v2", v2_header("192.0.2.1", 1111, "192.0.2.2", 2222))):
                parkway = self.parkway(f"accept_proxy=on {TRUST}", f"send_proxy={version}",
                                       threads=threads)
                client = self.client(v2_header("192.0.2.1", 1111, "192.0.2.2", 2222) + b"hello")
                at_server = self.server.accept()
                time.sleep(0.1)
                self.assertEqual(at_server.recv(1000), sent + b"hello")
                client.close()
                at_server.close()
                line = parkway.closing_line("192.0.2.1:1111")
                self.assertEqual(line["bytes_in"], "5")
                parkway.finish()

    def test_a_header_may_come_byte_by_byte(self):
        self.parkway(f"accept_proxy=on {TRUST}")
        client = self.client()
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in b"PROXY TCP4 192.0.2.1 192.0.2.2 1111 2222\r\nhello":
            client.sendall(bytes([byte]))
        self.assertEqual(read_all(self.server.accept(), 5), b"hello")

    def test_without_a_header_that_is_one_the_client_is_reset(self):
        for data, cause, timeout in ((b"GET / HTTP/1.1\r\n\r\n", "proxy_header_bad", "60s"),
                                     (b"PROXY TCP4 nonsense\r\n", "proxy_header_bad", "60s"),
                                     (b"PROXY", "preread_timeout", "300ms")):
            parkway = self.parkway(f"accept_proxy=on {TRUST} proxy_protocol_timeout={timeout}")
            self.assert_refused(parkway, cause, data)
            parkway.finish()

    def test_only_the_trusted_may_send_one(self):
        header = b"PROXY TCP4 192.0.2.1 192.0.2.2 1111 2222\r\n"
        parkway = self.parkway("accept_proxy=on proxy_trusted=127.0.0.2")
        self.assert_refused(parkway, "denied", header + b"hello")
        self.client(header + b"hello", source="127.0.0.2")
        self.assertEqual(read_all(self.server.accept(), 5), b"hello")
        parkway.stop()
        # Optional: of others it is data.
        optional = "accept_proxy=optional proxy_trusted=127.0.0.2 proxy_protocol_timeout="
        parkway = self.parkway(optional + "60s")
        self.client(header + b"hello")
        self.assertEqual(read_all(self.server.accept(), len(header) + 5), header + b"hello")
        self.client(header + b"hello", source="127.0.0.2")
        self.assertEqual(read_all(self.server.accept(), 5), b"hello")
        parkway.stop()
        self.parkway(optional + "200ms")
        silent = self.client(source="127.0.0.2")
        at_server = self.server.accept()
        at_server.sendall(b"220 hello\r\n")
        self.assertEqual(silent.recv(100), b"220 hello\r\n")

    def test_tlvs_pass_and_are_added(self):
        self.parkway(f"accept_proxy=on {TRUST}",
                     "send_proxy=v2 proxy_tlv=pass:0xEA,set:0xE0=text,unique_id,crc32c")
        tlv = b"\xea\x00\x02ab\xeb\x00\x02cd"
        self.client(v2_header("192.0.2.1", 1, "192.0.2.2", 2, tlv) + b"x")
        at_server = self.server.accept()
        head = read_all(at_server, 16)
        body = read_all(at_server, struct.unpack("!H", head[14:])[0])
        tlvs, rest = [], body[12:]
        while rest:
            kind, size = struct.unpack("!BH", rest[:3])
            tlvs.append((kind, rest[3:3 + size]))
            rest = rest[3 + size:]
        self.assertEqual([kind for kind, _ in tlvs], [0xEA, 0xE0, 0x05, 0x03])
        self.assertEqual([value for _, value in tlvs[:2]], [b"ab", b"text"])
        self.assertEqual([len(value) for _, value in tlvs[2:]], [32, 4])

    def haproxy(self, text):
        path = f"{self.folder()}/haproxy.cfg"
        with open(path, "w", encoding="utf-8") as file:
            file.write("defaults\n mode tcp\n timeout connect 5s\n timeout client 9s\n"
                       f" timeout server 9s\n{text}")
        return self.started(Process([program("haproxy"), "-db", "-q", "-f", path]))

    def test_haproxy_both_ways(self):
        for version, word in (("v1", "send-proxy"), ("v2", "send-proxy-v2")):
            front, back = (f"127.0.0.1:{net.free_port()}" for _ in range(2))
            haproxy = self.haproxy(
                f"listen front\n bind {front}\n server a {self.address} {word}\n"
                f"listen back\n bind {back} accept-proxy\n"
                f" server a {self.server.address} {word}\n")
            # Who connected to find out would be led to the server, some time.
            until(lambda: listens(haproxy, front, back), PATIENCE, "haproxy listens")
            parkway = self.started(Parkway.from_flags(
                [f"--listen={self.address} accept_proxy=on {TRUST}",
                 f"--upstream={back} send_proxy={version}"], self.address))
            host, port = front.rsplit(":", 1)
            client = socket.create_connection((host, int(port)), PATIENCE)
            name = "%s %d" % client.getsockname()
            client.sendall(b"hello")
            at_server = self.server.accept()
            got = read_until(at_server, b"hello")
            if version == "v1":
                host, port = name.split()
                self.assertIn(f"PROXY TCP4 {host} 127.0.0.1 {port} ".encode(), got)
            else:
                self.assertEqual(struct.unpack("!H", got[24:26])[0], client.getsockname()[1])
            client.close()
            at_server.close()
            parkway.closing_line(name.replace(" ", ":"))
            parkway.finish()
            haproxy.stop()

    def test_nginx_both_ways(self):
        own = self.folder()
        front, back = (f"127.0.0.1:{net.free_port()}" for _ in range(2))
        path = f"{own}/nginx.conf"
        with open(path, "w", encoding="utf-8") as file:
            file.write(f"daemon off;\nmaster_process off;\npid {own}/pid;\nerror_log {own}/error.log;\n"
                       "include /etc/nginx/modules-enabled/*.conf;\nevents {}\nstream {\n"
                       f" server {{ listen {front}; proxy_protocol on; proxy_pass {self.address}; }}\n"
                       f" server {{ listen {back} proxy_protocol; proxy_protocol on;\n"
                       f"  set_real_ip_from 127.0.0.1; proxy_pass {self.server.address}; }}\n}}\n")
        nginx = self.started(Process([program("nginx"), "-e", f"{own}/error.log", "-c", path]))
        until(lambda: listens(nginx, front, back), PATIENCE, "nginx listens")
        parkway = self.started(Parkway.from_flags(
            [f"--listen={self.address} accept_proxy=on {TRUST}",
             f"--upstream={back} send_proxy=v1"], self.address))
        host, port = front.rsplit(":", 1)
        client = socket.create_connection((host, int(port)), PATIENCE)
        client.sendall(b"hello")
        at_server = self.server.accept()
        got = read_until(at_server, b"hello")
        name = client.getsockname()
        self.assertIn(f"PROXY TCP4 {name[0]} ".encode(), got)
        client.close()
        at_server.close()
        parkway.closing_line("%s:%d" % name)


class Admission(Front):

    def test_allow_and_deny_by_the_longest_prefix_and_by_the_headers_address(self):
        path = f"{self.folder()}/list"
        with open(path, "w", encoding="utf-8") as file:
            file.write("127.0.0.0/8 # all of us\n")
        parkway = self.parkway(f"allow=@{path} deny=127.0.0.3")
        self.client(b"a", source="127.0.0.2")
        self.assertEqual(self.server.accept().recv(1), b"a")
        self.assert_refused(parkway, "denied", source="127.0.0.3")
        parkway.stop()
        parkway = self.parkway(f"accept_proxy=on {TRUST} deny=192.0.2.0/24")
        self.assert_refused(parkway, "denied", b"PROXY TCP4 192.0.2.1 192.0.2.2 1111 2222\r\n")
        parkway.stop()
        parkway = self.parkway("deny=127.0.0.1 dry_run=on")
        self.client(b"a")
        self.assertEqual(self.server.accept().recv(1), b"a")
        parkway.wait_line(lambda line: "dry_run" in line and "cause=denied" in line, PATIENCE,
                          "a line about whom it would have refused")

    def test_a_listener_has_a_limit_of_its_own(self):
        for threads in (1, 4):
            parkway = self.parkway("max_connections=2 policy=reject", threads=threads)
            clients = [self.client(b"a"), self.client(b"a")]
            held = [self.server.accept(), self.server.accept()]
            self.assert_refused(parkway, "limit_listener")
            for each in clients + held:
                each.close()
            parkway.finish()

            parkway = self.parkway("max_connections=2", threads=threads)
            clients = [self.client(b"a"), self.client(b"a")]
            held = [self.server.accept(), self.server.accept()]
            waiting = self.client(b"b")
            waiting.settimeout(0.3)
            with self.assertRaises(TimeoutError):
                waiting.recv(1)
            clients[0].close()
            held[0].close()
            third = self.server.accept()
            self.assertEqual(third.recv(1), b"b")
            for each in (clients[1], held[1], waiting, third):
                each.close()
            parkway.finish()

    def test_a_source_has_limits(self):
        for threads in (1, 4):
            parkway = self.parkway("max_connections_per_source=2", threads=threads)
            clients = [self.client(b"a"), self.client(b"a")]
            held = [self.server.accept(), self.server.accept()]
            self.assert_refused(parkway, "limit_source")
            other = self.client(b"a", source="127.0.0.2")
            held.append(self.server.accept())
            for each in clients + held + [other]:
                each.close()
            parkway.finish()

    def test_a_source_has_a_rate(self):
        for threads in (1, 4):
            parkway = self.parkway("accept_rate_per_source=5/s", threads=threads)
            start = time.monotonic()
            waiting, refused, let_in = [], 0, []
            for _ in range(60):
                try:
                    waiting.append(self.client())
                except ConnectionResetError:
                    refused += 1
            while refused + len(let_in) < 60:
                ready, _, _ = select.select([self.server.socket, *waiting], [], [], PATIENCE)
                self.assertTrue(ready, "each is refused or let in")
                for one in ready:
                    if one is self.server.socket:
                        let_in.append(self.started(self.server.accept()))
                        continue
                    with self.assertRaises(ConnectionResetError):
                        one.recv(1)
                    waiting.remove(one)
                    refused += 1
            self.assertGreaterEqual(len(let_in), 5)
            self.assertLessEqual(len(let_in), 5 + 5 * (time.monotonic() - start) + 1)
            parkway.stop()

    def test_accept_rate_is_that_of_the_process(self):
        for threads in (1, 4):
            parkway = self.parkway("accept_rate=10/s", "", "--stats_interval=100ms",
                                   threads=threads)
            start = time.monotonic()
            clients = [self.client() for _ in range(25)]
            until(lambda: parkway.statistics()["accepted"] >= 25, 5 * PATIENCE, "all are accepted")
            self.assertGreater(time.monotonic() - start, 1.3, "10 at once, then 10 a second")
            for client in clients:
                client.close()
            parkway.stop()


class Routing(Front):

    def origin(self, name):
        own = self.folder()
        subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout",
                        f"{own}/{name}.key", "-out", f"{own}/{name}.crt", "-days", "2", "-subj",
                        f"/CN={name}"], check=True, capture_output=True)
        address = f"127.0.0.1:{net.free_port()}"
        self.started(Process(["openssl", "s_server", "-accept", address, "-www", "-alpn",
                              "h2,http/1.1", "-key", f"{own}/{name}.key", "-cert",
                              f"{own}/{name}.crt"]))
        until(lambda: tcp_listens(address), PATIENCE, f"{name} listens")
        return address

    def subject(self, *arguments):
        done = subprocess.run(["openssl", "s_client", "-connect", self.address, *arguments],
                              input=b"", capture_output=True, timeout=4 * PATIENCE, check=False)
        for line in done.stdout.decode(errors="replace").splitlines():
            if line.startswith("subject="):
                return line.split("=")[-1].strip()
        return None

    def test_real_clients_reach_the_origin_that_they_ask_for(self):
        one, two = self.origin("one"), self.origin("two")

        def routing(timeout):
            return self.started(Parkway.from_flags(
                [f"--listen={self.address} name=web preread_timeout={timeout}",
                 f"--upstream={one} name=one", f"--upstream={two} name=two",
                 f"--upstream={self.server.address} name=plain",
                 "--route=sni=*.one.test upstream=one", "--route=sni=two.test upstream=two",
                 "--route=alpn=acme upstream=two", "--route=protocol=ssh upstream=plain",
                 f"--threads={threads}"], self.address))

        for threads in (1, 4):
            parkway = routing("60s")
            self.assertEqual(self.subject("-servername", "www.one.test"), "one")
            self.assertEqual(self.subject("-servername", "TWO.test"), "two")
            self.assertEqual(self.subject("-noservername", "-alpn", "acme,h2"), "two")
            self.assertIsNone(self.subject("-servername", "three.test"))
            host, port = self.address.rsplit(":", 1)
            for name, seen in (("a.one.test", 0), ("three.test", 35)):
                done = subprocess.run(
                    ["curl", "-sk", "--http1.1", "-o", "/dev/null", "--resolve",
                     f"{name}:{port}:{host}", f"https://{name}:{port}/"], check=False,
                    timeout=4 * PATIENCE)
                self.assertEqual(done.returncode, seen)
            self.client(b"SSH-2.0-test\r\n")
            self.assertEqual(read_all(self.server.accept(), 14), b"SSH-2.0-test\r\n")
            self.assert_refused(parkway, "no_route", b"EHLO there\r\n")
            parkway.stop()
            parkway = routing("300ms")
            self.assert_refused(parkway, "preread_timeout")
            parkway.stop()


WithFourWorkers = story.with_four_workers(ProxyHeader, Admission)

if __name__ == "__main__":
    story.main()
