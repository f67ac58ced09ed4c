"""One thread of a process that gets no turn, as if its processor had been taken away."""

import ctypes
import os

_SEIZE, _INTERRUPT, _DETACH = 0x4206, 0x4207, 17
_WALL = 0x40000000
_libc = ctypes.CDLL(None, use_errno=True)
_libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]


def _ptrace(request, thread):
    if _libc.ptrace(request, thread, None, None) < 0:
        raise OSError(ctypes.get_errno(), f"ptrace {request:#x} of {thread}")


class HeldThread:
    """The thread called `name` of process `pid` stands still from here until close()."""

    def __init__(self, pid, name):
        for task in os.listdir(f"/proc/{pid}/task"):
            with open(f"/proc/{pid}/task/{task}/comm", encoding="ascii") as file:
                if file.read().strip() == name:
                    self._thread = int(task)
        _ptrace(_SEIZE, self._thread)
        _ptrace(_INTERRUPT, self._thread)
        os.waitpid(self._thread, _WALL)

    def close(self):
        if self._thread is not None:
            _ptrace(_DETACH, self._thread)
        self._thread = None
