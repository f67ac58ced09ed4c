"""How a test program in Python runs its cases, and says how it went in a form that a script reads.

    sys.path.append(os.path.join(ROOT, "tests"))
    import cases
    ...
    if __name__ == "__main__":
        cases.main()

Last line: RESULT passed=N failed=M, and skipped=K where any were; before it, a line FAILED name for
each that failed. Ends with 0 only if something ran and nothing failed.
"""

import sys
import time
import unittest


class _Result(unittest.TextTestResult):
    def __init__(self, *arguments, **options):
        super().__init__(*arguments, **options)
        self.passed, self.bad = 0, []

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

    def _note(self, test):
        name = self.getDescription(test)
        if name not in self.bad:
            self.bad.append(name)


def _flat(suite):
    for test in suite:
        if isinstance(test, unittest.TestSuite):
            yield from _flat(test)
        else:
            yield test


def main():
    """Runs every case of the calling program, or those with a part of their name in its arguments,
    and ends it."""
    sys.stdout.reconfigure(line_buffering=True)
    suite = unittest.defaultTestLoader.loadTestsFromModule(sys.modules["__main__"])
    names = [a for a in sys.argv[1:] if not a.startswith("-")]
    if names:
        suite = unittest.TestSuite(
            test for test in _flat(suite) if any(name in test.id() for name in names))
    runner = unittest.TextTestRunner(sys.stdout, verbosity=2, resultclass=_Result)
    result = runner.run(suite)
    for name in result.bad:
        print(f"FAILED {name}")
    skipped = f" skipped={len(result.skipped)}" if result.skipped else ""
    print(f"RESULT passed={result.passed} failed={len(result.bad)}{skipped}")
    nothing_ran = not result.passed and not result.skipped
    sys.exit(1 if result.bad or nothing_ran else 0)
