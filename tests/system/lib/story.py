"""A test file's frame: runs its stories and says how it went in a form that a script can read.

Last line: RESULT passed=N failed=M; before it, a line FAILED name for each that did.
"""

import os
import signal
import sys
import tempfile
import time
import unittest

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


class _Result(unittest.TextTestResult):
    def __init__(self, *arguments, **options):
        super().__init__(*arguments, **options)
        self.passed, self.bad, self.skips = 0, [], []

    def getDescription(self, test):
        return test.id().removeprefix("__main__.")

    def startTest(self, test):
        super().startTest(test)
        self._start = time.monotonic()

    def _took(self):
        self.stream.write(f"  {time.monotonic() - self._start:.1f} s  ")

    def addSuccess(self, test):
        self._took()
        super().addSuccess(test)
        self.passed += 1

    def addFailure(self, test, err):
        super().addFailure(test, err)
        self._note(test)

    def addError(self, test, err):
        super().addError(test, err)
        self._note(test)

    def addSubTest(self, test, subtest, err):
        super().addSubTest(test, subtest, err)
        if err is not None:
            self._note(test)

    def addSkip(self, test, reason):
        super().addSkip(test, reason)
        self.skips.append(test)

    def _note(self, test):
        name = self.getDescription(test)
        if name not in self.bad:
            self.bad.append(name)


def main():
    """Runs every story of the calling program, or those named in its arguments.

    --parkway=PATH is the daemon under test, as PARKWAY_BINARY in the environment is.
    """
    for argument in sys.argv[1:]:
        if argument.startswith("--parkway="):
            os.environ["PARKWAY_BINARY"] = os.path.abspath(argument.partition("=")[2])
    net.isolate()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    sys.stdout.reconfigure(line_buffering=True)
    loader = unittest.defaultTestLoader
    module = sys.modules["__main__"]
    names = [a for a in sys.argv[1:] if not a.startswith("-")]
    if names:
        suite = unittest.TestSuite(
            test for test in _flat(loader.loadTestsFromModule(module))
            if any(name in test.id() for name in names))
    else:
        suite = loader.loadTestsFromModule(module)
    runner = unittest.TextTestRunner(sys.stdout, verbosity=2, resultclass=_Result)
    result = runner.run(suite)
    for name in result.bad:
        print(f"FAILED {name}")
    print(f"RESULT passed={result.passed} failed={len(result.bad)}")
    nothing_ran = not result.passed and not result.skips
    sys.exit(1 if result.bad or nothing_ran else 0)


def _flat(suite):
    for test in suite:
        if isinstance(test, unittest.TestSuite):
            yield from _flat(test)
        else:
            yield test
