"""The sockets of another process, as they are: their options, asked of the kernel."""

import ctypes
import os
import socket

_PIDFD_GETFD = 438
_libc = ctypes.CDLL(None, use_errno=True)


def of_process(pid):
    """Each socket of the process, as one of our own. They are the caller's to close."""
    pidfd = os.pidfd_open(pid)
    found = []
    try:
        for name in os.listdir(f"/proc/{pid}/fd"):
            try:
                if not os.readlink(f"/proc/{pid}/fd/{name}").startswith("socket:"):
                    continue
            except FileNotFoundError:
                continue
            fd = _libc.syscall(_PIDFD_GETFD, pidfd, int(name), 0)
            if fd < 0:
                if ctypes.get_errno() == 9:  # EBADF: it was closed meanwhile
                    continue
                raise OSError(ctypes.get_errno(), "pidfd_getfd")
            found.append(socket.socket(fileno=fd))
    finally:
        os.close(pidfd)
    return found


def one(pid, wanted):
    """The socket for which `wanted` holds, or None."""
    found = None
    for sock in of_process(pid):
        try:
            right = found is None and wanted(sock)
        except OSError:
            right = False
        if right:
            found = sock
        else:
            sock.close()
    return found


def listening(port):
    def wanted(sock):
        return (sock.family in (socket.AF_INET, socket.AF_INET6)
                and sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN) == 1
                and sock.getsockname()[1] == port)
    return wanted


def connected_to(port):
    """One whose other end has this port."""
    def wanted(sock):
        return (sock.family in (socket.AF_INET, socket.AF_INET6)
                and sock.getpeername()[1] == port)
    return wanted
