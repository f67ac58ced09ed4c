"""Many connections at once, held by a process of their own: neither end counts in the daemon's
descriptors or memory, nor in the test's.

    clients = Crowd("clients", listen)       clients.ask("open", 9000)
    servers = Crowd("echo", address)         servers.ask("count")

Run as a program it is that process: commands come as JSON lines on stdin, and each is answered by
one line on stdout.
"""

import errno
import json
import os
import select
import socket
import struct
import subprocess
import sys
import time

ROLES = ("clients", "echo", "flood", "hold")


class Crowd:
    """The test's handle of such a process."""

    def __init__(self, role, address):
        assert role in ROLES, role
        self.role, self.address = role, address
        self._child = subprocess.Popen([sys.executable, os.path.realpath(__file__), role, address],
                                       stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self._answer()  # it is ready

    @property
    def pid(self):
        return self._child.pid

    def begin(self, command, *arguments):
        """Gives an order without waiting for the answer."""
        self._child.stdin.write(json.dumps([command, *arguments]) + "\n")
        self._child.stdin.flush()

    def _answer(self):
        line = self._child.stdout.readline()
        if not line:
            raise AssertionError(f"the process of {self.role} has ended")
        answer = json.loads(line)
        if isinstance(answer, dict) and "failed" in answer:
            raise AssertionError(f"{self.role} of {self.address}: {answer['failed']}")
        return answer

    end = _answer

    def ask(self, command, *arguments):
        self.begin(command, *arguments)
        return self._answer()

    def stop(self):
        """Ends the process; its kernel ends the connections."""
        self._child.kill()
        self._child.wait()
        self._child.stdin.close()
        self._child.stdout.close()


# ---- The process itself --------------------------------------------------------------------------


def _socket_for(address):
    """(socket, the address in the form of connect() and bind())."""
    if address.startswith("unix:"):
        path = address[len("unix:"):]
        return socket.socket(socket.AF_UNIX), "\0" + path[1:] if path.startswith("@") else path
    host, port = address.rsplit(":", 1)
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    return socket.socket(family), (host.strip("[]"), int(port))


class Clients:
    """The clients' side: open, talk, leave."""

    def __init__(self, address):
        self.address = address
        self.open_ones = []

    def _poll(self, waiting, events, handle, seconds):
        """Calls handle(sock) for each that is ready until it says True; returns who is left."""
        epoll = select.epoll()
        by_fd = {sock.fileno(): sock for sock in waiting}
        for fd in by_fd:
            epoll.register(fd, events)
        end = time.monotonic() + seconds
        while by_fd and time.monotonic() < end:
            for fd, _ in epoll.poll(0.2, 1024):
                if fd in by_fd and handle(by_fd[fd]):
                    if by_fd[fd].fileno() >= 0:  # what is closed has left the set by itself
                        epoll.unregister(fd)
                    del by_fd[fd]
        epoll.close()
        return list(by_fd.values())

    def open(self, count, seconds=60):
        """Opens `count` at once; {"connected": n, "refused": n, ...}."""
        begun, told = [], {"connected": 0}
        for _ in range(count):
            sock, target = _socket_for(self.address)
            if sock.family == socket.AF_UNIX:
                sock.settimeout(seconds)
                sock.connect(target)
                sock.setblocking(False)
                begun.append(sock)
                continue
            sock.setblocking(False)
            error = sock.connect_ex(target)
            if error not in (0, errno.EINPROGRESS):
                raise OSError(error, os.strerror(error))
            begun.append(sock)

        def connected(sock):
            error = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            name = "connected" if not error else errno.errorcode[error]
            told[name] = told.get(name, 0) + 1
            if error:
                sock.close()
            else:
                self.open_ones.append(sock)
            return True

        for sock in self._poll(begun, select.EPOLLOUT, connected, seconds):
            told["hanging"] = told.get("hanging", 0) + 1
            sock.close()
        return told

    def exchange(self, size, seconds=60, at_most=None):
        """Each of the open ones sends `size` bytes and gets them back; how many did."""
        missing = {}
        asked = self.open_ones if at_most is None else self.open_ones[:at_most]
        message = bytes(i & 0xFF for i in range(size))
        for sock in asked:
            try:
                sock.send(message)
            except OSError:
                continue
            missing[sock] = size
        done = 0

        def received(sock):
            nonlocal done
            try:
                data = sock.recv(missing[sock])
            except BlockingIOError:
                return False
            except OSError:
                return True
            if not data or data != message[size - missing[sock]:][:len(data)]:
                return True
            missing[sock] -= len(data)
            done += not missing[sock]
            return not missing[sock]

        self._poll(list(missing), select.EPOLLIN, received, seconds)
        return done

    def serve_and_leave(self, seconds):
        """All send a byte; who gets it back leaves. How many did within `seconds`."""
        served = 0
        for sock in self.open_ones:
            try:
                sock.send(b"?")
            except OSError:
                pass  # found below

        def answered(sock):
            nonlocal served
            try:
                served += sock.recv(1) == b"?"
            except BlockingIOError:
                return False
            except OSError:
                pass
            sock.close()
            return True

        self.open_ones = self._poll(self.open_ones, select.EPOLLIN, answered, seconds)
        return served

    def endings(self, seconds=60):
        """Waits until each open one has ended: {"FIN": n, "RST": n, "open": n}; closes them."""
        told = {"FIN": 0, "RST": 0, "open": 0}

        def read(sock):
            try:
                data = sock.recv(65536)
            except BlockingIOError:
                return False
            except OSError:
                told["RST"] += 1
                return True
            if not data:
                told["FIN"] += 1
            return not data

        told["open"] = len(self._poll(self.open_ones, select.EPOLLIN, read, seconds))
        self.close()
        return told

    def rounds(self, count, size):
        """`count` connections one after another: connect, exchange, close. How many worked."""
        worked = 0
        for _ in range(count):
            sock, target = _socket_for(self.address)
            with sock:
                sock.settimeout(20)
                try:
                    sock.connect(target)
                    sock.sendall(bytes(size))
                    left = size
                    while left:
                        data = sock.recv(left)
                        if not data:
                            break
                        left -= len(data)
                    worked += not left
                except OSError:
                    pass
        return worked

    def storm(self, at_once, seconds):
        """Connects, exchanges and closes as fast as it can, `at_once` at a time, until refused.

        What happened to whom: "served"; "refused" before the handshake was done; or, after it,
        "reset" and "closed", which must not happen to anybody.
        """
        told = {"served": 0, "refused": 0, "reset": 0, "closed": 0, "hanging": 0}
        epoll, socks, ready = select.epoll(), {}, set()
        end = time.monotonic() + seconds

        def begin():
            sock, target = _socket_for(self.address)
            sock.setblocking(False)
            error = sock.connect_ex(target)
            if error not in (0, errno.EINPROGRESS):
                told["refused"] += 1
                sock.close()
                return
            socks[sock.fileno()] = sock
            epoll.register(sock.fileno(), select.EPOLLOUT)

        def over(fd, how):
            told[how] += 1
            epoll.unregister(fd)
            ready.discard(fd)
            socks.pop(fd).close()
            if not told["refused"] and time.monotonic() < end:
                begin()

        for _ in range(at_once):
            begin()
        while socks and time.monotonic() < end + 10:
            for fd, _ in epoll.poll(0.2, 256):
                sock = socks[fd]
                try:
                    if fd not in ready:
                        error = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
                        if error:
                            over(fd, "refused" if error == errno.ECONNREFUSED else "reset")
                            continue
                        ready.add(fd)
                        sock.send(b"hello")
                        epoll.modify(fd, select.EPOLLIN)
                        continue
                    over(fd, "served" if sock.recv(5) else "closed")
                except BlockingIOError:
                    continue
                except OSError:
                    over(fd, "reset")
        told["hanging"] = len(socks)
        for sock in socks.values():
            sock.close()
        return told

    def volley(self, count, seconds):
        """Connects `count` times, evenly over `seconds`, waiting for nobody; then everyone sends,
        and wants it back. What happened to whom, as for storm().
        """
        told = {"served": 0, "refused": 0, "reset": 0, "closed": 0, "hanging": 0}
        begun, start = [], time.monotonic()
        for number in range(count):
            while time.monotonic() - start < number * seconds / count:
                pass  # a sleep would be too long
            sock, target = _socket_for(self.address)
            sock.setblocking(False)
            error = sock.connect_ex(target)
            if error in (0, errno.EINPROGRESS):
                begun.append(sock)
            else:
                told["refused"] += 1
                sock.close()
        asked = set()

        def handle(sock):
            try:
                if sock not in asked:
                    error = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
                    if error == errno.ECONNREFUSED:
                        told["refused"] += 1
                        sock.close()
                        return True
                    asked.add(sock)
                    if error:
                        raise OSError(error, os.strerror(error))
                    sock.send(b"hello")
                told["served" if sock.recv(5) else "closed"] += 1
            except BlockingIOError:
                return False
            except OSError:
                told["reset"] += 1
            sock.close()
            return True

        left = self._poll(begun, select.EPOLLIN | select.EPOLLOUT | select.EPOLLET, handle, 20)
        told["hanging"] = len(left)
        for sock in left:
            sock.close()
        return told

    def close(self, count=None):
        count = len(self.open_ones) if count is None else count
        for sock in self.open_ones[:count]:
            sock.close()
        del self.open_ones[:count]
        return count

    def reset(self):
        for sock in self.open_ones:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        return self.close()

    def count(self):
        return len(self.open_ones)


class Servers:
    """The servers' side. echo: sends back; flood: sends for ever; hold: neither reads nor sends."""

    def __init__(self, role, address):
        self.role = role
        self.listener, target = _socket_for(address)
        self.listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.listener.bind(target)
        self.listener.listen(4096)
        self.listener.setblocking(False)
        self.epoll = select.epoll()
        self.epoll.register(self.listener.fileno(), select.EPOLLIN)
        self.epoll.register(0, select.EPOLLIN)
        self.socks, self.rests = {}, {}
        self.sent = self.accepted = 0
        self.block = bytes(65536)

    def serve(self):
        while True:
            for fd, events in self.epoll.poll(-1, 1024):
                if fd == 0:
                    line = sys.stdin.readline()
                    if not line:
                        return
                    _obey(self, line)
                elif fd == self.listener.fileno():
                    self._accept()
                elif fd in self.socks:
                    try:
                        self._handle(fd, self.socks[fd], events)
                    except BlockingIOError:
                        pass
                    except OSError:
                        self._forget(fd)

    def _accept(self):
        for _ in range(256):
            try:
                sock, _ = self.listener.accept()
            except OSError:
                return
            self.accepted += 1
            sock.setblocking(False)
            self.socks[sock.fileno()] = sock
            events = {"echo": select.EPOLLIN, "flood": select.EPOLLOUT,
                      "hold": select.EPOLLRDHUP}[self.role]
            self.epoll.register(sock.fileno(), events)

    def _forget(self, fd):
        self.epoll.unregister(fd)
        self.rests.pop(fd, None)
        self.socks.pop(fd).close()

    def _handle(self, fd, sock, events):
        if self.role == "flood":
            self.sent += sock.send(self.block)
        elif self.role == "hold":
            self._forget(fd)
        elif events & select.EPOLLOUT:
            rest = self.rests[fd]
            rest = rest[sock.send(rest):]
            self.rests[fd] = rest
            if not rest:
                self.epoll.modify(fd, select.EPOLLIN)
        else:
            data = sock.recv(65536)
            if not data:
                self._forget(fd)
                return
            try:
                sent = sock.send(data)
            except BlockingIOError:
                sent = 0
            if sent < len(data):
                self.rests[fd] = data[sent:]
                self.epoll.modify(fd, select.EPOLLOUT)

    def count(self):
        return len(self.socks)

    def numbers(self):
        return {"open": len(self.socks), "accepted": self.accepted, "sent": self.sent}

    def drop(self):
        """Ends all its connections."""
        fds = list(self.socks)
        for fd in fds:
            self._forget(fd)
        return len(fds)


def _obey(target, line):
    command, *arguments = json.loads(line)
    try:
        answer = getattr(target, command)(*arguments)
    except Exception as error:  # pylint: disable=broad-except
        answer = {"failed": f"{command}: {error!r}"}
    _say(answer)


def _say(answer):
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.stdout.flush()


def main():
    role, address = sys.argv[1:]
    if role == "clients":
        clients = Clients(address)
        _say("ready")
        for line in sys.stdin:
            _obey(clients, line)
    else:
        servers = Servers(role, address)
        _say("ready")
        servers.serve()


if __name__ == "__main__":
    main()
