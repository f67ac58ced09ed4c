"""Where the programs under test are, and how large a test may be.

PARKWAY_BINARY   the daemon; otherwise bazel-bin/proxy/parkway of this tree
PARKWAY_LOADGEN  the load generator; otherwise the one beside that daemon's bazel-bin
PARKWAY_FLAVOUR  opt (default), asan or tsan: which build PARKWAY_BINARY is

Bars of memory, processor time and system calls hold for the optimised build only; the other two
run the same stories with the counts of their column.
"""

import os

ROOT = os.path.realpath(os.path.join(os.path.dirname(__file__), "..", "..", ".."))
FLAVOUR = os.environ.get("PARKWAY_FLAVOUR", "opt")

# The sanitizers' counts stay below 1,000 stacks: TSan dies above 8,128 fibers.
_COUNTS = {
    #                           opt    asan   tsan
    "storm_clients":         (20_000, 4_000, 2_000),
    "storm_workers":              (4,     2,     2),
    "starved_clients":        (2_000,   600,   400),
    "hanging_connects":         (500,   200,   200),
    "idle_pairs":             (9_000,   900,   400),
    "silent_readers":         (4_000,   400,   200),
    "unix_connections":          (64,    32,    32),
    "log_flood_connections": (20_000, 3_000, 2_000),
    "bulk_bytes":      (256 << 20, 32 << 20, 16 << 20),
    # How much longer than the optimised build a reaction may take before it counts as a hang.
    "patience":                   (1,     3,     5),
}


def count(name):
    """How many of `name` a test uses in this flavour."""
    return _COUNTS[name][("opt", "asan", "tsan").index(FLAVOUR)]


def optimised():
    return FLAVOUR == "opt"


def parkway_binary():
    path = os.environ.get("PARKWAY_BINARY") or os.path.join(ROOT, "bazel-bin", "proxy", "parkway")
    if not os.access(path, os.X_OK):
        raise SystemExit(f"no daemon at {path}: build //proxy:parkway or set PARKWAY_BINARY")
    return os.path.abspath(path)


def built(package, name, variable):
    """A helper program: named by the environment, or from the same bazel-bin as the daemon."""
    named = os.environ.get(variable)
    beside = os.path.join(os.path.dirname(os.path.dirname(parkway_binary())), package, name)
    here = os.path.join(ROOT, "bazel-bin", package, name)
    for path in [named] if named else [beside, here]:
        if os.access(path, os.X_OK):
            return os.path.abspath(path)
    raise SystemExit(f"no {name}: build //{package}:{name} or set {variable}")


def loadgen_binary():
    return built("tests/bench", "loadgen", "PARKWAY_LOADGEN")
