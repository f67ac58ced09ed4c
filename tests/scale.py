"""The counts of tests/scale.def for a program in Python: scale.count("storm_clients").

PARKWAY_FLAVOUR says which build of the daemon is tested: opt (also without it), asan or tsan.
"""

import os
import re

FLAVOUR = os.environ.get("PARKWAY_FLAVOUR", "opt")
_TABLE = os.path.join(os.path.dirname(os.path.realpath(__file__)), "scale.def")
_ROW = re.compile(r"^PARKWAY_SCALE\((\w+),\s*(\d+),\s*(\d+),\s*(\d+)\)$")


def read(path=_TABLE):
    """{name: (optimised, asan, tsan)}; a row that does not have the form ends the program."""
    rows = {}
    with open(path, encoding="utf-8") as file:
        for number, line in enumerate(file, 1):
            line = line.strip()
            if not line or line.startswith("//"):
                continue
            match = _ROW.match(line)
            if not match or match[1] in rows:
                raise SystemExit(f"{path}:{number}: not a new row of the table: {line}")
            rows[match[1]] = tuple(int(value) for value in match.groups()[1:])
    return rows


def count(name):
    """How many of `name` a test uses in this flavour."""
    return read()[name][("opt", "asan", "tsan").index(FLAVOUR)]
