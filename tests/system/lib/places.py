"""Where the programs under test are, and how large a test may be.

PARKWAY_BINARY   the daemon; otherwise bazel-bin/proxy/parkway of this tree
PARKWAY_FLAGS    more flags for every daemon that is started with a listener and an upstream
PARKWAY_FLAVOUR  opt (default), asan or tsan: which build PARKWAY_BINARY is

Bars of memory, processor time and system calls hold for the optimised build only; the other two
run the same stories with the counts of their column in tests/scale.def.
"""

import os

import scale

ROOT = os.path.realpath(os.path.join(os.path.dirname(__file__), "..", "..", ".."))
FLAVOUR = scale.FLAVOUR

# How much longer than the optimised build a reaction may take before it counts as a hang.
PATIENCE = {"opt": 1, "asan": 3, "tsan": 5}[FLAVOUR]


def count(name):
    """How many of `name` a test uses with this daemon: from the one table, tests/scale.def."""
    return scale.count(name)


def optimised():
    return FLAVOUR == "opt"


def extra_flags():
    return os.environ.get("PARKWAY_FLAGS", "").split()


def parkway_binary():
    path = os.environ.get("PARKWAY_BINARY") or os.path.join(ROOT, "bazel-bin", "proxy", "parkway")
    if not os.access(path, os.X_OK):
        raise SystemExit(f"no daemon at {path}: build //proxy:parkway or set PARKWAY_BINARY")
    return os.path.abspath(path)
