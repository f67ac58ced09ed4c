#!/usr/bin/env python3
"""Options of sockets: each is seen by getsockopt on a live connection of the daemon, on the side
that the flags say, by one worker and by four."""

import os
import signal
import socket
import subprocess
import threading

from lib import net, places, sockets, story
from lib.daemon import PATIENCE, Parkway
from lib.process import Process, until

TCP_INFO_OPTIONS = 5  # tcpi_options of struct tcp_info
TCPI_OPT_SYN_DATA = 32
MSG_FASTOPEN = 0x20000000
IPPROTO_MPTCP = 262
IP_FREEBIND, IP_TRANSPARENT = 15, 19
IPV6_TCLASS, IPV6_TRANSPARENT = 67, 75
SO_MARK, SO_PROTOCOL, SO_BINDTODEVICE, SO_BUF_LOCK, SO_BUSY_POLL = 36, 38, 25, 72, 46
TCP_USER_TIMEOUT, TCP_CONGESTION, TCP_FASTOPEN, TCP_NOTSENT_LOWAT = 18, 13, 23, 25
TCP_DEFER_ACCEPT = 9


class Echo:
    """A server that sends back what it gets."""

    def __init__(self, family=socket.AF_INET, fast_open=0, protocol=0):
        self._listener = socket.socket(family, socket.SOCK_STREAM, protocol)
        self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if fast_open:
            self._listener.setsockopt(socket.IPPROTO_TCP, TCP_FASTOPEN, fast_open)
        self._listener.bind(("::1" if family == socket.AF_INET6 else "127.0.0.1", net.free_port()))
        self._listener.listen(64)
        self.port = self._listener.getsockname()[1]
        host = "[::1]" if family == socket.AF_INET6 else "127.0.0.1"
        self.address = f"{host}:{self.port}"
        self.peers = []
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            try:
                sock, peer = self._listener.accept()
            except OSError:
                return
            self.peers.append(peer[0])
            threading.Thread(target=self._serve, args=(sock,), daemon=True).start()

    @staticmethod
    def _serve(sock):
        try:
            while data := sock.recv(65536):
                sock.sendall(data)
            sock.close()
        except OSError:
            pass

    def close(self):
        self._listener.close()


class Greeter(Echo):
    """A server that says something before it is asked."""

    @staticmethod
    def _serve(sock):
        sock.sendall(b"welcome\n")
        Echo._serve(sock)


def exact(sock, size):
    data = b""
    while len(data) < size:
        more = sock.recv(size - len(data))
        if not more:
            break
        data += more
    return data


def keepalive(sock):
    """(idle, interval, probes), or None where there is none."""
    if sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 0:
        return None
    return tuple(sock.getsockopt(socket.IPPROTO_TCP, option) for option in
                 (socket.TCP_KEEPIDLE, socket.TCP_KEEPINTVL, socket.TCP_KEEPCNT))


def name_of(sock, level, option):
    return sock.getsockopt(level, option, 16).rstrip(b"\0").decode()


def has_syn_data(sock):
    return bool(sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 104)[TCP_INFO_OPTIONS]
                & TCPI_OPT_SYN_DATA)


class Options:
    """The stories; told by each class below with another number of workers."""

    threads = 1

    def start(self, lines, port, before=()):
        self.path = os.path.join(self.folder(), "parkway.flags")
        with open(self.path, "w", encoding="ascii") as file:
            file.write("\n".join(lines) + "\n")
        self.parkway = self.started(Parkway.from_flags(
            ["-c", self.path, f"--threads={self.threads}"], f"127.0.0.1:{port}", before))
        return self.parkway

    def client(self, port, host="127.0.0.1", protocol=0):
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        sock = self.started(socket.socket(family, socket.SOCK_STREAM, protocol))
        sock.settimeout(PATIENCE)
        sock.connect((host, port))
        sock.sendall(b"hello")
        self.assertEqual(exact(sock, 5), b"hello")
        return sock

    def sides(self, client, server):
        """The daemon's sockets of a connection: the client's side and the server's."""
        mine = sockets.one(self.parkway.pid, sockets.connected_to(client.getsockname()[1]))
        theirs = sockets.one(self.parkway.pid, sockets.connected_to(server.port))
        self.assertIsNotNone(mine)
        self.assertIsNotNone(theirs)
        return self.started(mine), self.started(theirs)

    def refused(self, flags, before=()):
        """What the daemon says that does not start for want of something on this machine."""
        daemon = self.started(Process([*before, places.parkway_binary(), *flags]))
        self.assertEqual(daemon.wait(PATIENCE), 71, daemon.stderr())
        return daemon.stderr()

    def test_both_sides_have_keepalive_unless_told_otherwise(self):
        echo, port = self.started(Echo()), net.free_port()
        self.start([f"--listen=127.0.0.1:{port}", f"--upstream={echo.address}"], port)
        near, far = self.sides(self.client(port), echo)
        self.assertEqual(keepalive(near), (60, 10, 3))
        # No call is spent on a connection that is short.
        until(lambda: keepalive(far) == (60, 10, 3), PATIENCE + 10, "the server's side is tuned")

    def test_a_line_has_keepalive_of_its_own(self):
        echo, port = self.started(Echo()), net.free_port()
        self.start([f"--listen=127.0.0.1:{port} keepalive=off", "--keepalive=8s:4s:2",
                    f"--upstream={echo.address}"], port)
        near, far = self.sides(self.client(port), echo)
        self.assertIsNone(keepalive(near))
        self.assertEqual(keepalive(far), (8, 4, 2))

    def test_a_scalar_is_for_both_sides_and_a_line_for_one(self):
        echo, other, port = self.started(Echo()), self.started(Echo()), net.free_port()
        far_port = net.free_port()
        self.start([
            "--tcp_user_timeout=30s", "--dscp=46", "--mark=0x11", "--congestion=reno",
            "--device=lo",
            f"--listen=name=a addr=127.0.0.1:{port} upstream=a tcp_user_timeout=7s mark=0x12",
            f"--listen=name=b addr=127.0.0.1:{far_port} upstream=b",
            f"--upstream=name=a dscp=10 servers={echo.address}",
            "--upstream=name=b congestion=cubic tcp_user_timeout=9s",
            f"--server=upstream=b addr={other.address} dscp=off mark=off device=off "
            "tcp_user_timeout=1500ms"], port)

        def seen(sock):
            return (sock.getsockopt(socket.IPPROTO_TCP, TCP_USER_TIMEOUT),
                    sock.getsockopt(socket.IPPROTO_IP, socket.IP_TOS) >> 2,
                    sock.getsockopt(socket.SOL_SOCKET, SO_MARK),
                    name_of(sock, socket.IPPROTO_TCP, TCP_CONGESTION),
                    name_of(sock, socket.SOL_SOCKET, SO_BINDTODEVICE))

        near, far = self.sides(self.client(port), echo)
        self.assertEqual(seen(near), (7000, 46, 0x12, "reno", "lo"))
        self.assertEqual(seen(far), (30_000, 10, 0x11, "reno", "lo"))
        near, far = self.sides(self.client(far_port), other)
        self.assertEqual(seen(near), (30_000, 46, 0x11, "reno", "lo"))
        self.assertEqual(seen(far), (1500, 0, 0, "cubic", ""))

    def test_buffers_are_those_of_their_side(self):
        echo, port = self.started(Echo()), net.free_port()
        self.start([f"--listen=127.0.0.1:{port} rcvbuf=40KiB notsent_lowat=16KiB",
                    f"--upstream={echo.address} sndbuf=50KiB"], port)
        near, far = self.sides(self.client(port), echo)
        # The kernel doubles them for its own needs.
        self.assertEqual(near.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF), 80 << 10)
        self.assertEqual(near.getsockopt(socket.IPPROTO_TCP, TCP_NOTSENT_LOWAT), 16 << 10)
        self.assertEqual(far.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF), 100 << 10)
        self.assertNotEqual(far.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF), 80 << 10)

    def test_busy_poll_is_that_of_its_side(self):
        echo, port = self.started(Echo()), net.free_port()
        self.start([f"--listen=127.0.0.1:{port} busy_poll=50us",
                    f"--upstream={echo.address} busy_poll=70us"], port)
        near, far = self.sides(self.client(port), echo)
        self.assertEqual(near.getsockopt(socket.SOL_SOCKET, SO_BUSY_POLL), 50)
        self.assertEqual(far.getsockopt(socket.SOL_SOCKET, SO_BUSY_POLL), 70)

    def test_what_a_reload_says_no_more_is_the_kernels_own_again(self):
        echo, port = self.started(Echo()), net.free_port()
        plain = f"127.0.0.1:{net.free_port()}"
        rest = [f"--listen=name=plain addr={plain} upstream=app keepalive=off",
                f"--upstream=name=app servers={echo.address}"]

        def web(keys):
            return f"--listen=name=web addr=127.0.0.1:{port} upstream=app {keys}"

        def reload(*lines):
            said = len(self.parkway.lines)
            with open(self.path, "w", encoding="ascii") as file:
                file.write("\n".join(lines) + "\n")
            self.parkway.signal(signal.SIGHUP)
            return self.parkway.wait_line(
                lambda line: "reload: " in line and ("ERROR" in line or "unchanged" in line),
                PATIENCE, "what became of the reload", since=said)

        def seen(sock):
            tcp, ip = socket.IPPROTO_TCP, socket.IPPROTO_IP
            return (sock.getsockopt(socket.SOL_SOCKET, SO_MARK),
                    name_of(sock, socket.SOL_SOCKET, SO_BINDTODEVICE),
                    sock.getsockopt(ip, socket.IP_TOS), keepalive(sock),
                    name_of(sock, tcp, TCP_CONGESTION), sock.getsockopt(tcp, TCP_USER_TIMEOUT),
                    sock.getsockopt(tcp, TCP_NOTSENT_LOWAT),
                    sock.getsockopt(socket.SOL_SOCKET, SO_BUF_LOCK))

        self.start([web("mark=0x11 device=lo dscp=46 congestion=reno tcp_user_timeout=7s "
                        "notsent_lowat=16KiB rcvbuf=40KiB sndbuf=50KiB defer_accept=5s tfo=9"),
                    *rest], port)
        near, _ = self.sides(self.client(port), echo)
        self.assertEqual(seen(near), (0x11, "lo", 46 << 2, (60, 10, 3), "reno", 7000, 16 << 10, 3))
        line = reload(web("keepalive=off"), *rest)
        self.assertIn("tcp_user_timeout 7s -> off", line)
        other, _ = self.sides(self.client(int(plain.rsplit(":", 1)[1])), echo)
        now, _ = self.sides(self.client(port), echo)
        self.assertEqual(seen(now), seen(other))
        self.assertEqual(seen(now)[:4] + seen(now)[5:], (0, "", 0, None, 0, 0, 0))
        listener = self.started(sockets.one(self.parkway.pid, sockets.listening(port)))
        self.assertEqual(listener.getsockopt(socket.IPPROTO_TCP, TCP_FASTOPEN), 0)
        self.assertEqual(listener.getsockopt(socket.IPPROTO_TCP, TCP_DEFER_ACCEPT), 0)
        # What only a socket that is not bound yet can be told is refused, and nothing has changed.
        for key in ("freebind", "mptcp", "transparent"):
            line = reload(web(f"{key} mark=0x12"), *rest)
            self.assertIn(f"ERROR: reload: refused, the configuration stays as it is: listener "
                          f"web: {key} of 127.0.0.1:{port} cannot change while it is listened on; "
                          "restart for it", line)
        now, _ = self.sides(self.client(port), echo)
        self.assertEqual(seen(now), seen(other))

    def test_dscp_is_of_ipv6_too(self):
        echo, port = self.started(Echo(socket.AF_INET6)), net.free_port()
        self.start(["--dscp=34", f"--listen=:{port}", f"--upstream={echo.address}"], port)
        near, far = self.sides(self.client(port, "::1"), echo)
        for sock in (near, far):
            self.assertEqual(sock.getsockopt(socket.IPPROTO_IPV6, IPV6_TCLASS) >> 2, 34)
        near, _ = self.sides(self.client(port), echo)
        self.assertEqual(near.getsockopt(socket.IPPROTO_IP, socket.IP_TOS) >> 2, 34)

    def test_who_says_nothing_is_not_accepted_yet(self):
        echo, port = self.started(Echo()), net.free_port()
        self.start([f"--listen=127.0.0.1:{port} defer_accept=30s", f"--upstream={echo.address}"],
                   port)
        listener = self.started(sockets.one(self.parkway.pid, sockets.listening(port)))
        self.assertGreaterEqual(
            listener.getsockopt(socket.IPPROTO_TCP, socket.TCP_DEFER_ACCEPT), 30)
        silent = self.started(socket.create_connection(("127.0.0.1", port), PATIENCE))
        # A later one that speaks is served, so the silent one was passed over.
        self.client(port)
        self.assertIsNone(sockets.one(self.parkway.pid,
                                      sockets.connected_to(silent.getsockname()[1])))
        silent.sendall(b"hello")
        self.assertEqual(exact(silent, 5), b"hello")

    def test_an_address_that_is_not_here_yet_can_be_listened_on(self):
        echo, port = self.started(Echo()), net.free_port()
        upstream = f"--upstream={echo.address}"
        self.assertIn(f"cannot listen on 192.0.2.77:{port}: Cannot assign requested address",
                      self.refused([f"--listen=192.0.2.77:{port}", upstream]))
        self.start([f"--listen=127.0.0.1:{port},192.0.2.77:{port} freebind", upstream], port)
        subprocess.run(["ip", "addr", "add", "192.0.2.77/32", "dev", "lo"], check=True)
        self.addCleanup(subprocess.run, ["ip", "addr", "del", "192.0.2.77/32", "dev", "lo"],
                        check=True)
        self.client(port, "192.0.2.77")
        listener = self.started(sockets.one(self.parkway.pid, sockets.listening(port)))
        self.assertEqual(listener.getsockopt(socket.IPPROTO_IP, IP_FREEBIND), 1)

    def test_connections_to_others_are_taken_where_they_are_routed_here(self):
        echo, port = self.started(Echo(socket.AF_INET6)), net.free_port()
        self.start([f"--listen=name=v4 addr=127.0.0.1:{port},198.51.100.9:{port} transparent",
                    f"--listen=name=v6 addr=[2001:db8:7::9]:{port} transparent",
                    f"--upstream={echo.address}"], port)
        for family, prefix in (("-4", "198.51.100.0/24"), ("-6", "2001:db8:7::/64")):
            route = ["ip", family, "route", "add", "local", prefix, "dev", "lo"]
            subprocess.run(route, check=True)
            self.addCleanup(subprocess.run, ["ip", family, "route", "del", *route[4:]], check=True)
        for host, level, option in (("198.51.100.9", socket.IPPROTO_IP, IP_TRANSPARENT),
                                    ("2001:db8:7::9", socket.IPPROTO_IPV6, IPV6_TRANSPARENT)):
            near, _ = self.sides(self.client(port, host), echo)
            self.assertEqual(near.getsockname()[0], host)
            self.assertEqual(near.getsockopt(level, option), 1)

    def test_first_bytes_of_a_client_come_with_the_syn(self):
        net.sysctl("net.ipv4.tcp_fastopen", 3)
        echo, port = self.started(Echo()), net.free_port()
        self.start([f"--listen=127.0.0.1:{port} tfo=64", f"--upstream={echo.address}"], port)
        listener = self.started(sockets.one(self.parkway.pid, sockets.listening(port)))
        self.assertEqual(listener.getsockopt(socket.IPPROTO_TCP, TCP_FASTOPEN), 64)
        for cookie_is_known in (False, True):
            sock = self.started(socket.socket())
            sock.sendto(b"hello", MSG_FASTOPEN, ("127.0.0.1", port))
            sock.settimeout(PATIENCE)
            self.assertEqual(exact(sock, 5), b"hello")
            near, _ = self.sides(sock, echo)
            # The kernel may have one from before.
            if cookie_is_known:
                self.assertTrue(has_syn_data(near))

    def test_first_bytes_go_to_a_server_with_the_syn(self):
        net.sysctl("net.ipv4.tcp_fastopen", 3)
        echo, port, refuses = self.started(Echo(fast_open=64)), net.free_port(), net.free_port()
        self.start([f"--listen=127.0.0.1:{port} upstream=app",
                    f"--listen=127.0.0.1:{net.free_port()} upstream=idle accept_proxy=off",
                    "--upstream=name=app balance=first tfo=1 passive_fails=off",
                    f"--server=upstream=app addr=127.0.0.1:{refuses}",
                    f"--server=upstream=app addr={echo.address}",
                    f"--upstream=name=idle servers={echo.address}"], port)
        data = bytes(range(256)) * 12
        for cookie_is_known in (False, True, True):
            # Whether the client has spoken before the daemon looks is a race: with the first bytes
            # in the SYN of a client it has.
            sock = self.started(socket.socket())
            sock.sendto(data, MSG_FASTOPEN, ("127.0.0.1", port))
            sock.settimeout(PATIENCE)
            self.assertEqual(exact(sock, len(data)), data)
            _, far = self.sides(sock, echo)
            if cookie_is_known:
                self.assertTrue(has_syn_data(far))
            sock.sendall(b"more")
            self.assertEqual(exact(sock, 4), b"more")
            # Else the next look might find this connection.
            sock.close()
            until(lambda: sockets.one(self.parkway.pid, sockets.connected_to(echo.port)) is None,
                  PATIENCE, "the daemon closes the server's side")

    def test_a_server_that_speaks_first_is_not_waited_for(self):
        net.sysctl("net.ipv4.tcp_fastopen", 3)
        greeter, port = self.started(Greeter()), net.free_port()
        self.start([f"--listen=127.0.0.1:{port}", f"--upstream={greeter.address} tfo=1"], port)
        for _ in range(3):
            sock = self.started(socket.create_connection(("127.0.0.1", port), PATIENCE))
            self.assertEqual(exact(sock, 8), b"welcome\n")

    def test_multipath_tcp_is_spoken_with_who_speaks_it(self):
        echo, port = self.started(Echo(protocol=IPPROTO_MPTCP)), net.free_port()
        self.start(["--mptcp=on", f"--listen=127.0.0.1:{port}", f"--upstream={echo.address}"], port)
        client = self.client(port, protocol=IPPROTO_MPTCP)
        near, far = self.sides(client, echo)
        for sock in (near, far):
            self.assertEqual(sock.getsockopt(socket.SOL_SOCKET, SO_PROTOCOL), IPPROTO_MPTCP)
        self.assertEqual(keepalive(near), (60, 10, 3))
        # Ours would keep them open when the daemon closes its own.
        near.close()
        far.close()
        block = os.urandom(8 << 20)
        threading.Thread(target=client.sendall, args=(block,), daemon=True).start()
        self.assertEqual(exact(client, len(block)), block)
        client.shutdown(socket.SHUT_WR)
        self.assertEqual(client.recv(1), b"")
        # And TCP with who does not.
        near, _ = self.sides(self.client(port), echo)
        self.assertEqual(near.getsockopt(socket.SOL_SOCKET, SO_PROTOCOL), socket.IPPROTO_TCP)

    def test_what_the_kernel_refuses_is_said_with_the_capability(self):
        listen = f"--listen=127.0.0.1:{net.free_port()}"
        upstream = "--upstream=name=app servers=127.0.0.1:9"
        without = ("setpriv", "--bounding-set=-net_admin,-net_raw", "--inh-caps=-all")
        self.assertIn("listener 127.0.0.1:", self.refused([listen + " mark=1", upstream], without))
        self.assertIn("the kernel refuses mark: Operation not permitted; that needs CAP_NET_ADMIN",
                      self.refused([listen + " mark=1", upstream], without))
        self.assertIn("server app/127.0.0.1:9: the kernel refuses mark: Operation not permitted; "
                      "that needs CAP_NET_ADMIN",
                      self.refused([listen, upstream + " mark=1"], without))
        self.assertIn("the kernel refuses transparent: Operation not permitted; that needs "
                      "CAP_NET_ADMIN or CAP_NET_RAW",
                      self.refused([listen + " transparent", upstream], without))
        self.assertIn("the kernel refuses device: No such device",
                      self.refused([listen + " device=nosuch0", upstream]))
        self.assertIn("server app/127.0.0.1:9: the kernel refuses congestion: "
                      "No such file or directory",
                      self.refused([listen, upstream + " congestion=nosuch"]))

    def test_multipath_tcp_that_is_off_is_refused(self):
        net.sysctl("net.mptcp.enabled", 0)
        self.addCleanup(net.sysctl, "net.mptcp.enabled", 1)
        listen = f"--listen=127.0.0.1:{net.free_port()}"
        upstream = "--upstream=name=app servers=127.0.0.1:9"
        self.assertIn("the kernel refuses mptcp: Protocol not",
                      self.refused([listen + " mptcp", upstream]))
        self.assertIn("server app/127.0.0.1:9: the kernel refuses mptcp: Protocol not",
                      self.refused([listen, upstream + " mptcp"]))

    def test_a_check_goes_the_way_that_connections_go(self):
        """Packets without the mark go nowhere."""
        echo, port = self.started(Echo()), net.free_port()
        rules = subprocess.run(["ip", "rule"], check=True, capture_output=True, text=True).stdout
        if "100:\tfrom all lookup local" not in rules:
            for rule in ("add pref 100 lookup local", "del pref 0"):
                subprocess.run(["ip", "rule", *rule.split()], check=True)
        for rule in ("pref 10 from 127.0.0.9 fwmark 0x21 lookup local",
                     "pref 11 from 127.0.0.9 blackhole"):
            subprocess.run(["ip", "rule", "add", *rule.split()], check=True)
            self.addCleanup(subprocess.run, ["ip", "rule", "del", *rule.split()], check=True)
        self.start([f"--listen=127.0.0.1:{port}",
                    f"--upstream={echo.address} mark=0x21 source=127.0.0.9 health=tcp "
                    "health_interval=100ms health_initial=down fall=1"], port)
        self.parkway.wait_line(lambda line: "is UP: L4OK" in line, PATIENCE, "checks succeed")
        until(lambda: echo.peers, PATIENCE, "the server has seen one")
        self.assertEqual(echo.peers[0], "127.0.0.9")
        self.client(port)


class OneWorker(Options, story.Story):
    threads = 1


class FourWorkers(Options, story.Story):
    threads = 4


if __name__ == "__main__":
    story.main()
