"""A test file's frame: what its stories are made of, and main(), which runs them in a network of their
own and says how it went as tests/cases.py does.
"""

import os
import signal
import sys
import tempfile
import unittest

import cases

from . import net


class Story(unittest.TestCase):
    """A test case that cleans up what it started, last first."""

    maxDiff = None

    def started(self, thing):
        """Ends `thing` (anything with stop() or close()) when the test is over."""
        self.addCleanup(getattr(thing, "stop", None) or thing.close)
        return thing

    def folder(self):
        folder = tempfile.TemporaryDirectory(prefix="parkway-test-")
        self.addCleanup(folder.cleanup)
        return folder.name


def with_four_workers(*classes):
    """The stories of `classes` that have no `threads` of their own, and so are told with those of
    their class, which are 4 in the one returned."""
    told = type("WithFourWorkers", classes, {"threads": 4, "__module__": classes[0].__module__})
    for name in dir(told):
        if name.startswith("test_") and "threads" in getattr(told, name).__code__.co_varnames:
            setattr(told, name, None)
    return told


def folder_of(cls):
    """A folder for all tests of the class `cls`."""
    folder = tempfile.TemporaryDirectory(prefix="parkway-test-")
    cls.addClassCleanup(folder.cleanup)
    return folder.name


def main():
    """Runs every story of the calling program, or those named in its arguments.

    --parkway=PATH is the daemon under test, as PARKWAY_BINARY in the environment is.
    """
    for argument in sys.argv[1:]:
        if argument.startswith("--parkway="):
            os.environ["PARKWAY_BINARY"] = os.path.abspath(argument.partition("=")[2])
    net.isolate()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    cases.main()
