"""The real programs behind and before the daemon, each with a folder and ports of its own."""

import glob
import os
import re
import shutil
import signal

from . import net, procfs
from .process import Process, run, until


LONGEST_REQUEST = 15


def tcp_listens(address):
    """Whether somebody accepts at host:port."""
    import socket  # pylint: disable=import-outside-toplevel
    host, port = address.rsplit(":", 1)
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.settimeout(1)
        return probe.connect_ex((host.strip("[]"), int(port))) == 0


def listens(process, *addresses):
    """Whether the process itself listens at each: nobody has to connect to find out."""
    wanted = {("unix", address[len("unix:"):]) if address.startswith("unix:")
              else ("tcp", int(address.rsplit(":", 1)[1])) for address in addresses}
    return wanted <= procfs.listens(process.pid)


def program(name):
    """Its path, also where /usr/sbin is not searched."""
    found = shutil.which(name, path=os.environ.get("PATH", "") + ":/usr/sbin:/usr/local/sbin")
    if not found:
        raise AssertionError(f"{name} is not installed: deploy/packages lists what is needed")
    return found


class Nginx(Process):
    """Serves `folder` over IPv4, IPv6 and a unix socket; /status counts the requests."""

    CONFIG = """
daemon off; master_process on; worker_processes {workers}; pid {own}/nginx.pid; {user}
error_log {own}/error.log; worker_rlimit_nofile 8192;
events {{ worker_connections 4096; }}
http {{
  access_log off; sendfile on; keepalive_requests 1000000000; types {{ }}
  client_body_temp_path {own}/a; proxy_temp_path {own}/b; fastcgi_temp_path {own}/c;
  uwsgi_temp_path {own}/d; scgi_temp_path {own}/e;
  server {{
    listen 127.0.0.1:{port} backlog=4096; listen [::1]:{port}; listen unix:{own}/nginx.sock;
    root {folder};
    location = /small {{ return 200 "{small}"; }}
    location = /status {{ stub_status; }}
  }}
}}
"""
    SMALL = "x" * 600

    def __init__(self, folder, own, workers=1):
        self.port = net.free_port()
        self.ipv4 = f"127.0.0.1:{self.port}"
        self.ipv6 = f"[::1]:{self.port}"
        self.unix = f"unix:{own}/nginx.sock"
        config = os.path.join(own, "nginx.conf")
        with open(config, "w", encoding="ascii") as file:
            file.write(self.CONFIG.format(
                workers=workers, own=own, folder=folder, port=self.port, small=self.SMALL,
                user="user root;" if os.geteuid() == 0 else ""))
        super().__init__([program("nginx"), "-e", f"{own}/error.log", "-c", config])
        until(lambda: listens(self, self.ipv4, self.ipv6, self.unix), 15, "nginx listens")

    def requests(self):
        """How many requests it has answered so far, this one included."""
        _, text, _ = run([program("curl"), "-sS", f"http://{self.ipv4}/status"])
        return int(re.search(r"\n\s*\d+\s+\d+\s+(\d+)", text)[1])


class Haproxy(Process):
    """In TCP mode, in front of `upstream`."""

    CONFIG = """
global
  maxconn 4096
  nbthread {threads}
defaults
  mode tcp
  timeout connect 5s
  timeout client 60s
  timeout server 60s
listen all
  bind 127.0.0.1:{port} backlog 4096
  server one {upstream}
"""

    def __init__(self, upstream, own, threads):
        self.address = f"127.0.0.1:{net.free_port()}"
        config = os.path.join(own, "haproxy.cfg")
        with open(config, "w", encoding="ascii") as file:
            file.write(self.CONFIG.format(threads=threads, port=self.address.rsplit(":", 1)[1],
                                          upstream=upstream))
        super().__init__([program("haproxy"), "-db", "-f", config])
        until(lambda: tcp_listens(self.address), 15, "haproxy listens")


class Wrk:
    """The result of one run of wrk."""

    def __init__(self, address, seconds, *, threads=2, connections=128, close=False):
        # What takes longer than the timeout it counts as failed; on a busy machine 2 s are nothing.
        argv = [program("wrk"), f"-t{threads}", f"-c{connections}", f"-d{seconds}s", "--latency",
                f"--timeout={LONGEST_REQUEST}s"]
        if close:
            argv += ["-H", "Connection: close"]
        _, self.text, _ = run(argv + [f"http://{address}/small"], seconds + 30)
        self.requests = int(re.search(r"(\d+) requests in", self.text)[1])
        self.rate = float(re.search(r"Requests/sec:\s*([\d.]+)", self.text)[1])
        self.p99 = re.search(r"99%\s*(\S+)", self.text)[1]
        # wrk prints these lines only where there were any.
        self.socket_errors = re.search(r"Socket errors: (.*)", self.text)
        self.bad_status = re.search(r"Non-2xx or 3xx responses: (\d+)", self.text)

    def failures(self):
        return [match[0] for match in (self.socket_errors, self.bad_status) if match]


class Redis(Process):
    def __init__(self, own):
        self.port = net.free_port()
        self.ipv4 = f"127.0.0.1:{self.port}"
        self.ipv6 = f"[::1]:{self.port}"
        self.unix = f"unix:{own}/redis.sock"
        super().__init__([program("redis-server"), "--port", self.port, "--bind", "127.0.0.1",
                          "::1", "--unixsocket", f"{own}/redis.sock", "--save", "", "--dir", own,
                          "--appendonly", "no", "--protected-mode", "no"])
        until(lambda: listens(self, self.ipv4, self.ipv6, self.unix), 15, "redis listens")


class MariaDb(Process):
    """Without tables of its own, and so without passwords."""

    def __init__(self, own, port=None):
        self.port = port or net.free_port()
        self.ipv4 = f"127.0.0.1:{self.port}"
        data = os.path.join(own, "data")
        os.makedirs(data, exist_ok=True)
        super().__init__([program("mariadbd"), "--no-defaults", "--user=root", f"--datadir={data}",
                          "--skip-grant-tables", "--skip-innodb",
                          "--default-storage-engine=Aria", "--bind-address=127.0.0.1",
                          f"--port={self.port}", f"--socket={own}/socket",
                          f"--pid-file={own}/pid"], cwd=own)
        until(lambda: tcp_listens(self.ipv4), 30, f"MariaDB listens:\n{self.stderr()}")


class Postgres(Process):
    """A cluster of its own; the user and the database are called postgres."""

    def __init__(self, own):
        self.bin = max(glob.glob("/usr/lib/postgresql/*/bin"), default="",
                       key=lambda path: int(path.split("/")[4]))
        if not self.bin:
            raise AssertionError("PostgreSQL is not installed")
        self.port = net.free_port()
        self.ipv4 = f"127.0.0.1:{self.port}"
        self.ipv6 = f"[::1]:{self.port}"
        self.unix = f"unix:{own}/.s.PGSQL.{self.port}"
        data = os.path.join(own, "data")
        user = "postgres" if os.geteuid() == 0 else None  # it refuses to run as root
        if user:
            shutil.chown(own, user)
        run([f"{self.bin}/initdb", "-D", data, "-U", "postgres", "-A", "trust", "--no-sync",
             "--no-locale", "-E", "UTF8"], cwd=own, user=user)
        settings = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off",
                    "listen_addresses": "127.0.0.1,::1", "port": self.port,
                    "unix_socket_directories": own, "max_wal_size": "4GB",
                    "autovacuum": "off", "wal_level": "minimal", "max_wal_senders": 0}
        options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        super().__init__([f"{self.bin}/postgres", "-D", data, *options], cwd=own, user=user)
        until(lambda: tcp_listens(self.ipv4), 30, "PostgreSQL listens")
        until(lambda: run([f"{self.bin}/pg_isready", "-h", "127.0.0.1", "-p", self.port],
                          check=False)[0] == 0, 30, "PostgreSQL is ready")

    def stop(self, seconds=20):
        if self.running():
            self.signal(signal.SIGINT)  # its fast way: sessions are ended
        return self.wait(seconds)
