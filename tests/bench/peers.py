"""The proxies that are measured: how each is started, as its own documentation recommends."""

import argparse
import os
import pwd
import socket

SOCKET_PROXYD = "/lib/systemd/systemd-socket-proxyd"
NGINX_MODULE = "/usr/lib/nginx/modules/ngx_stream_module.so"


class Peer:
    """One way to start a proxy. `command(setup)` gives argv; see Setup."""

    def __init__(self, name, command, splices=False, takes_unix=True, launcher=None,
                 only_named=False):
        self.name = name
        self.command = command
        self.splices = splices  # differs from another peer only where splicing matters
        self.takes_unix = takes_unix
        self.launcher = launcher
        self.only_named = only_named  # takes part where a load names it, and nowhere else


class Setup:
    """What a proxy is started with."""

    def __init__(self, threads, listen, upstream, folder, tools):
        self.threads = threads
        self.listen = listen
        self.upstream = upstream
        self.folder = folder
        self.tools = tools

    def write(self, name, text):
        path = os.path.join(self.folder, name)
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)
        return path


def parkway(setup, program=None):
    return [program or setup.tools["parkway"], f"--listen={setup.listen}", f"--upstream={setup.upstream}",
            f"--threads={setup.threads}", "--access_log=off", "--max_connections=9500"]


def parkway_with(*flags):
    def command(setup):
        return parkway(setup) + [flag.replace("{folder}", setup.folder) for flag in flags]

    return command


def floor(setup):
    unix = setup.listen.startswith("unix:")
    return ([setup.tools["floor"], f"--listen={setup.listen}", f"--upstream={setup.upstream}",
             f"--threads={setup.threads}"] + ([] if unix else ["--splice"]))


def haproxy(options, maxconn):
    def command(setup):
        def place(text):
            return text.replace("unix:", "unix@")

        path = setup.write("haproxy.cfg", f"""
global
    nbthread {setup.threads}
    maxconn {maxconn}
defaults
    mode tcp
    timeout connect 5s
    timeout client 1h
    timeout server 1h
{options}
frontend in
    bind {place(setup.listen)} backlog 8192
    default_backend out
backend out
    server s {place(setup.upstream)}
""")
        return ["haproxy", "-db", "-q", "-f", path]

    return command


def nginx(setup):
    reuse = " reuseport" if setup.threads > 1 and not setup.listen.startswith("unix:") else ""
    path = setup.write("nginx.conf", f"""
load_module {NGINX_MODULE};
daemon off;
user {pwd.getpwuid(os.getuid()).pw_name};
pid {setup.folder}/nginx.pid;
error_log stderr crit;
worker_processes {setup.threads};
worker_rlimit_nofile 20000;
events {{ worker_connections 19900; }}
stream {{
    upstream out {{ server {setup.upstream}; }}
    server {{
        listen {setup.listen} backlog=8192{reuse};
        proxy_pass out;
        proxy_timeout 1h;
    }}
}}
""")
    return ["nginx", "-p", setup.folder, "-c", path, "-e", "stderr"]


def go_proxy(setup):
    return ["env", f"GOMAXPROCS={setup.threads}", setup.tools["go_proxy"], setup.listen,
            setup.upstream]


def socket_proxyd(setup):
    upstream = setup.upstream.removeprefix("unix:")
    return ["sh", "-c", 'exec 3<&"$0" && export LISTEN_FDS=1 LISTEN_PID=$$ && exec "$@"',
            "{fd}", SOCKET_PROXYD, "--connections-max=20000", upstream]


def listening_socket(listen):
    """What systemd would hand over."""
    if listen.startswith("unix:"):
        sock = socket.socket(socket.AF_UNIX)
        sock.bind(listen[len("unix:"):])
    else:
        sock = socket.socket()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        host, port = listen.rsplit(":", 1)
        sock.bind((host, int(port)))
    sock.listen(8192)
    return sock


def own_peer(text):
    name, _, command = text.partition("=")
    if not command or "{listen}" not in command or "{upstream}" not in command:
        raise argparse.ArgumentTypeError("NAME=COMMAND with {listen} and {upstream} in it")

    def build(setup):
        return ["sh", "-c", "exec " + command.format(
            listen=setup.listen, upstream=setup.upstream, threads=setup.threads)]

    return Peer(name, build, splices=False, takes_unix=False)


PEERS = {peer.name: peer for peer in (
    Peer("parkway", parkway),
    # Beside itself: what a line for each connection costs, and what serving metrics does.
    Peer("parkway-log", parkway_with("--access_log=file:{folder}/access.log"), only_named=True),
    Peer("parkway-metrics", parkway_with("--http=127.0.0.1:7001"), only_named=True),
    Peer("haproxy", haproxy("", 9800)),
    # It sets descriptors aside for its pipes.
    Peer("haproxy-splice", haproxy("    option splice-auto", 4000), splices=True),
    Peer("nginx", nginx),
    Peer("go", go_proxy),
    Peer("socket-proxyd", socket_proxyd, launcher=listening_socket),
    Peer("floor", floor),
    Peer("direct", None),
)}
