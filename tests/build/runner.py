"""Runs the parts of the test suite one after another and counts test cases: see ./tests/run.

A part is a function that runs commands and returns an Outcome. What counts as a test case:
  a GoogleTest program    each case in its XML report
  our Python and shell    what its last line "N passed, M failed" says, or the sum of its lines
                          "RESULT passed=N failed=M", or its lines "PASS name" and "FAIL name";
                          failures are named by lines "FAIL name" or "FAILED name"
  any other Bazel test    one
  a build                 one; each target that does not build is a failure
  a tool over files       one for each file
What ends badly and names no failure is a failure itself, and so is what ends well and ran nothing.
"""

import argparse
import collections
import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import urllib.parse
import xml.etree.ElementTree

ROOT = os.path.realpath(os.path.join(os.path.dirname(os.path.realpath(__file__)), "..", ".."))
PATIENCE = 15 * 60  # seconds that one command may take
_TAIL = 60  # lines of a failed part's output that are shown
_REASON = 8  # lines of what one failed test case said that are shown again at the end

# The daemon under a sanitizer gets what .bazelrc gives to unit tests.
SANITIZER_OPTIONS = {
    "asan": {"ASAN_OPTIONS": "detect_stack_use_after_return=0:detect_leaks=1",
             "UBSAN_OPTIONS": "print_stacktrace=1"},
    "tsan": {"TSAN_OPTIONS": "halt_on_error=1:second_deadlock_stack=1"},
}


class Outcome:
    """What a part came to: how many test cases passed or were skipped, and who failed."""

    def __init__(self, passed=0, failed=(), skipped=0):
        self.passed, self.failed, self.skipped = passed, list(failed), skipped

    def __add__(self, other):
        return Outcome(self.passed + other.passed, self.failed + other.failed,
                       self.skipped + other.skipped)

    def __repr__(self):
        return f"Outcome({self.passed}, {self.failed}, {self.skipped})"

    def __eq__(self, other):
        return repr(self) == repr(other)

    def judged(self, code, what):
        """With the exit code of the program that it was read from."""
        if code != 0 and not self.failed:
            return self + Outcome(failed=[f"{what} (ended with {code})"])
        if code == 0 and not self.passed and not self.failed and not self.skipped:
            return self + Outcome(failed=[f"{what} (ran nothing)"])
        return self


# ---- Reading reports ----------------------------------------------------------------------------

_TOTAL = re.compile(r"^(\d+) passed, (\d+) failed\s*$", re.MULTILINE)
_RESULT = re.compile(r"^RESULT passed=(\d+) failed=(\d+)(?: skipped=(\d+))?\s*$", re.MULTILINE)
_PASS = re.compile(r"^PASS \S", re.MULTILINE)
_FAIL = re.compile(r"^FAIL (\S.*?)\s*$", re.MULTILINE)  # "FAIL: " is a heading of unittest
_FAILED = re.compile(r"^FAILED (\S.*?)\s*$", re.MULTILINE)


def read_text(path):
    with open(path, encoding="utf-8", errors="replace") as file:
        return file.read()


def from_lines(text):
    """The Outcome that a program of ours writes as lines, or None where there is none."""
    totals, results = _TOTAL.findall(text), _RESULT.findall(text)
    # A program that runs others repeats their names in a form of its own.
    names = _FAIL.findall(text) or _FAILED.findall(text)
    passed, failed, skipped = len(_PASS.findall(text)), len(names), 0
    if results:
        passed, failed, skipped = (sum(int(result[i] or 0) for result in results) for i in range(3))
    if totals:
        passed, failed = (int(number) for number in totals[-1])
    if not results and not totals and not passed and not failed:
        return None
    names = names[:failed]
    return Outcome(passed, names + ["(not named)"] * (failed - len(names)), skipped)


def from_googletest(text):
    """The Outcome in GoogleTest's XML report, or None if `text` is not one."""
    try:
        tree = xml.etree.ElementTree.fromstring(text)
    except xml.etree.ElementTree.ParseError:
        return None
    if tree.tag != "testsuites" or tree.get("name") != "AllTests":
        return None
    outcome = Outcome()
    for case in tree.iter("testcase"):
        name = f"{case.get('classname')}.{case.get('name')}"
        if case.get("status") == "notrun" or case.get("result") == "skipped":
            outcome.skipped += 1
        elif case.find("failure") is not None or case.find("error") is not None:
            outcome.failed.append(name)
        else:
            outcome.passed += 1
    return outcome


def interrupted_case(log):
    """The GoogleTest case that began and did not end: the one that a crash belongs to."""
    began = re.findall(r"^\[ RUN      \] (\S+)", log, re.MULTILINE)
    return began[-1] if began and f" {began[-1]} (" not in log else None


def from_target(label, status, log, report):
    """The Outcome of one Bazel test (or one shard of it) from its log and XML report."""
    outcome = from_googletest(report)
    if outcome is None:
        outcome = from_lines(log)
    if outcome is None:
        outcome = Outcome(1 if status == "PASSED" else 0)
    outcome.failed = [f"{label} {name}" for name in outcome.failed]
    if status not in ("PASSED", "FLAKY") and not outcome.failed:
        case = interrupted_case(log)
        outcome.failed.append(f"{label} {case} ({status})" if case else f"{label} ({status})")
    return outcome.judged(0, label)


def from_events(lines):
    """(Outcome of all tests, labels that do not build) from Bazel's build events, JSON lines."""
    tests, results, unbuilt = set(), collections.OrderedDict(), []
    for line in lines:
        try:
            event = json.loads(line)
        except ValueError:  # Bazel was killed in the middle of a line
            continue
        what = event["id"]
        if "testSize" in event.get("configured", {}):
            tests.add(what["targetConfigured"]["label"])
        elif "targetCompleted" in what and not event.get("completed", {}).get("success"):
            unbuilt.append(what["targetCompleted"]["label"])
        elif "testResult" in event:
            # Of several attempts the last one counts.
            key = (what["testResult"]["label"], what["testResult"].get("shard", 1),
                   what["testResult"].get("run", 1))
            results[key] = event["testResult"]
    outcome = Outcome()
    for (label, _, _), result in results.items():
        files = {"test.log": "", "test.xml": ""}
        for output in result.get("testActionOutput", []):
            path = urllib.parse.unquote(urllib.parse.urlparse(output.get("uri", "")).path)
            if output["name"] in files and os.path.exists(path):
                files[output["name"]] = read_text(path)
        outcome += from_target(label, result["status"], files["test.log"], files["test.xml"])
    ran = {label for label, _, _ in results}
    # A test that does not build fails as a test; the rest of a broken build has no test cases.
    outcome.failed += [f"{label} (did not run)" for label in sorted(tests - ran)]
    return outcome, [label for label in unbuilt if label not in tests | ran]


def reason(text, failure):
    """What unittest said of `failure` in `text`: the end of its traceback, as lines."""
    name = failure.rsplit(" ", 1)[-1]
    # Of a story told several times (subTest), its parameters follow the name.
    head = rf"^(?:FAIL|ERROR): {re.escape(name)}(?: [^\n]*)?\n-+\n"
    block = re.search(rf"{head}(.*?)(?=\n\n[=-]{{20}}|\Z)", text, re.MULTILINE | re.DOTALL)
    return block.group(1).split("\n")[-_REASON:] if block else []


# ---- Running ------------------------------------------------------------------------------------

class Progress:
    """Says what is going on: in place on a terminal, a line now and then elsewhere."""

    def __init__(self, stream, every=30):
        self.stream, self.every = stream, every
        self.in_place = stream.isatty()
        self.last = time.monotonic()

    def line(self, text):
        self._clear()
        print(text, file=self.stream, flush=True)
        self.last = time.monotonic()

    def now(self, text):
        if self.in_place:
            width = shutil.get_terminal_size().columns - 1
            self._clear()
            self.stream.write(text[:width])
            self.stream.flush()
        elif time.monotonic() - self.last >= self.every:
            self.line(text[:150])

    def _clear(self):
        if self.in_place:
            self.stream.write("\r\033[K")


def clock(seconds):
    return f"{int(seconds) // 60}:{int(seconds) % 60:02}"


def last_line(path):
    with open(path, "rb") as file:
        file.seek(max(0, os.path.getsize(path) - 1000))
        lines = file.read().decode(errors="replace").split("\n")
    return next((line.strip() for line in reversed(lines) if line.strip()), "")


class Runner:
    """Runs commands for one part, with their output in one file."""

    def __init__(self, part, folder, progress):
        self.part, self.progress = part, progress
        self.log = os.path.join(folder, part + ".log")
        self.events = os.path.join(folder, part + ".events")
        self.start = time.monotonic()
        open(self.log, "w", encoding="utf-8").close()

    def run(self, argv, environment=None):
        """(exit code, output). A command that outlives PATIENCE is ended and has failed."""
        begin = os.path.getsize(self.log)
        with open(self.log, "ab") as log:
            # In a session of its own: what Ctrl-C does to it is decided here.
            child = subprocess.Popen(argv, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=log,
                                     stderr=subprocess.STDOUT, start_new_session=True,
                                     env={**os.environ, **(environment or {})})
            try:
                end = time.monotonic() + PATIENCE
                while child.poll() is None:
                    if time.monotonic() > end:
                        log.write(f"\nended after {clock(PATIENCE)}: {argv}\n".encode())
                        break
                    self.progress.now(f"{self.part} {clock(time.monotonic() - self.start)}  "
                                      f"{last_line(self.log)}")
                    try:
                        child.wait(0.5)
                    except subprocess.TimeoutExpired:
                        pass
            finally:
                stop(child)
        with open(self.log, "rb") as log:
            log.seek(begin)
            return child.returncode, log.read().decode(errors="replace")

    def bazel(self, command, config, *arguments):
        """(exit code, test outcome, labels that do not build)."""
        open(self.events, "w", encoding="utf-8").close()
        code, _ = self.run([
            *bazel_command(config), command, *bazel_options(config),
            f"--build_event_json_file={self.events}", *arguments])
        with open(self.events, encoding="utf-8", errors="replace") as lines:
            return (code, *from_events(lines))


def stop(child):
    """Ends a child that still runs, kindly first."""
    for number, patience in ((signal.SIGINT, 20), (signal.SIGTERM, 10), (signal.SIGKILL, 10)):
        if child.poll() is not None:
            return
        try:
            os.killpg(child.pid, number)
            child.wait(patience)
        except (ProcessLookupError, subprocess.TimeoutExpired):
            pass


# What is built while others wait has a server and a place of its own, so that tests which build
# something themselves do not wait for it.
BESIDE = ("clang", "asan", "tsan")


def bazel_command(config="opt"):
    command = os.environ.get("PARKWAY_BAZEL", "bazel").split()
    return [*command, f"--output_base={place_beside()}"] if config in BESIDE else command


def place_beside():
    cache = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    tree = hashlib.sha256(ROOT.encode()).hexdigest()[:16]
    return os.path.join(cache, "bazel", f"parkway-{tree}")


class Beside:
    """While it is entered, the builds of later parts go on at the lowest priority: a system test
    mostly waits. What is not done at its end is done by its own part."""

    def __init__(self, builds, log):
        self.log = log
        self.argvs = [[*bazel_command(config), "build", *bazel_options(config), "--", *targets]
                      for config, targets in builds]
        self.thread = threading.Thread(target=self._run)
        self.child, self.ended = None, False

    def __enter__(self):
        if self.argvs:
            self._end_server()  # one that is left over has the usual priority
            self.thread.start()
        return self

    def __exit__(self, *_):
        self.ended = True
        if not self.argvs:
            return
        while self.thread.is_alive():
            child = self.child
            if child is not None:
                stop(child)
            self.thread.join(0.1)
        self._end_server()  # it has the priority that it was started with

    def _end_server(self):
        subprocess.run([*self.argvs[0][:self.argvs[0].index("build")], "shutdown"], cwd=ROOT,
                       check=False, capture_output=True)

    def _run(self):
        for argv in self.argvs:
            if self.ended:
                return
            with open(self.log, "ab") as log:
                self.child = subprocess.Popen(["nice", "-n", "19", *argv], cwd=ROOT,
                                              stdin=subprocess.DEVNULL, stdout=log,
                                              stderr=subprocess.STDOUT, start_new_session=True)
                # What fails here is told by its own part.
                self.child.wait()


def bazel_options(config):
    # The links in this folder are those of the builds that a user makes.
    links = ["--symlink_prefix=/"] if config in BESIDE else []
    return [f"--config={config}", *links, "--jobs=2", "--keep_going", "--curses=no", "--color=no",
            "--show_progress_rate_limit=5"]


def bazel_bin(config):
    return subprocess.run([*bazel_command(config), "info", f"--config={config}", "bazel-bin"], cwd=ROOT,
                          check=True, capture_output=True, text=True).stdout.strip()


def plain_addresses():
    """The sanitizers of Debian 12 die where the kernel scatters addresses over more than 28 bits."""
    try:
        bits = int(read_text("/proc/sys/vm/mmap_rnd_bits"))
    except (OSError, ValueError):
        return []
    return ["setarch", os.uname().machine, "--addr-no-randomize"] if bits > 28 else []


def files(matches):
    """Paths from the root of all files of ours that `matches(path)` accepts."""
    found = []
    for folder, folders, names in os.walk(ROOT):
        folders[:] = sorted(name for name in folders
                            if name != ".git" and not (folder == ROOT and name.startswith("bazel-")))
        paths = [os.path.relpath(os.path.join(folder, name), ROOT) for name in sorted(names)]
        found += [path for path in paths if not os.path.islink(os.path.join(ROOT, path))
                  and matches(path)]
    return found


# ---- The parts ----------------------------------------------------------------------------------

def check_format(runner):
    paths = files(lambda path: path.endswith((".h", ".cc")))
    code, output = runner.run(["clang-format", "--dry-run", "-Werror", *paths])
    bad = sorted(set(re.findall(r"^(\S+?):\d+:\d+: error", output, re.MULTILINE)))
    return Outcome(len(paths) - len(bad), bad).judged(code, "clang-format")


def is_script(path):
    if path.endswith(".sh"):
        return True
    with open(os.path.join(ROOT, path), "rb") as file:
        return bool(re.match(rb"#!\S*[/ ](?:env )?(?:ba)?sh\b|# shellcheck shell=",
                             file.readline(200)))


def check_scripts(runner):
    outcome = Outcome()
    for path in files(is_script):
        code, _ = runner.run(["shellcheck", "--external-sources", path])
        outcome += Outcome(failed=[path]) if code else Outcome(1)
    return outcome


def build(config, *targets):
    def part(runner):
        code, _, unbuilt = runner.bazel("build", config, "--", *targets)
        return Outcome(0 if code else 1, unbuilt).judged(code, f"bazel build --config={config}")
    return part


def test(config, *targets):
    def part(runner):
        under = plain_addresses() if config in SANITIZER_OPTIONS else []
        options = ["--run_under=" + " ".join(under)] if under else []
        code, outcome, unbuilt = runner.bazel("test", config, *options, "--", *targets)
        outcome.failed += [f"{label} (does not build)" for label in unbuilt]
        return outcome.judged(code, f"bazel test --config={config}")
    return part


# What system tests drive: the daemon, the program that talks to it, and what loads it.
DAEMON = ("//proxy:parkway", "//proxy/admin:parkwayctl", "//tests/bench:loadgen")


def script(path, *arguments, flavour=None, one=False, beside=()):
    """A part that is a program of ours; with `flavour`, one that needs that build of the daemon;
    with `one`, one that is a single test case; `beside`: (config, targets) that are built as far as
    time allows while it runs."""
    def part(runner):
        if not os.access(os.path.join(ROOT, path), os.X_OK):
            return Outcome(failed=[f"{path} (is not there)"])
        environment, under = {}, []
        if flavour:
            code, _, unbuilt = runner.bazel("build", flavour, "--", *DAEMON)
            if code:
                return Outcome(failed=unbuilt).judged(code, "bazel build")
            folder = bazel_bin(flavour)
            environment = {"PARKWAY_BINARY": os.path.join(folder, "proxy", "parkway"),
                           "PARKWAY_LOADGEN": os.path.join(folder, "tests", "bench", "loadgen"),
                           "PARKWAY_FLAVOUR": flavour, **SANITIZER_OPTIONS.get(flavour, {})}
            under = plain_addresses() if flavour in SANITIZER_OPTIONS else []
        with Beside(beside, runner.log + ".beside"):
            code, output = runner.run([*under, os.path.join(ROOT, path), *arguments], environment)
        outcome = Outcome(1 - bool(code)) if one else from_lines(output) or Outcome()
        return outcome.judged(code, path)
    return part


# Not "//...": that follows the links of a Bazel that was started elsewhere (a moved folder).
EVERYTHING = [f"//{room}/..." for room in ("config", "deploy", "poller", "proxy", "tests")]

# Benchmarks are judged optimised, and scripts are the same in every build.
SANITIZED = ["//tests/..."] + [f"-//tests/{room}/..." for room in ("bench", "deploy")
                               if os.path.exists(os.path.join(ROOT, "tests", room))]

LATER = [("clang", EVERYTHING), ("asan", [*SANITIZED, "//proxy:parkway"]),
         ("tsan", [*SANITIZED, "//proxy:parkway"])]

# name: (what it does, how), the cheap ones first.
PARTS = {
    "format": ("clang-format over all headers and sources", check_format),
    "shellcheck": ("shellcheck over all scripts", check_scripts),
    "model": ("the Spin models, and their broken variants", script("tests/model/run")),
    "build": ("everything, as the unit tests need it", build("checked", *EVERYTHING)),
    "unit": ("unit tests and simulation, optimised, with checks", test("checked", "//tests/...")),
    "opt": ("the daemon as it is shipped, and what drives it",
            build("opt", *DAEMON, "//tests/bench/...")),
    "system": ("real programs and sockets, the optimised daemon",
               script("tests/system/run", flavour="opt", beside=LATER)),
    "clang": ("everything with clang: thread safety, layers", build("clang", *EVERYTHING)),
    "asan": ("unit tests and simulation with ASan and UBSan",
             test("asan", *SANITIZED, "//proxy:parkway")),
    "system-asan": ("the data path's system tests with ASan and UBSan",
                    script("tests/system/run", flavour="asan", beside=LATER[-1:])),
    "tsan": ("unit tests and simulation with TSan", test("tsan", *SANITIZED, "//proxy:parkway")),
    "system-tsan": ("the data path's system tests with TSan",
                    script("tests/system/run", flavour="tsan")),
}

# Only when named.
MORE = {
    "mutants": ("plants faults and shows which test catches each", script("tests/mutants/run")),
    "bench": ("one short round of the benchmarks beside the peers",
              script("tests/bench/run", "--quick", one=True)),
}


def run_part(name, how, folder, progress):
    runner = Runner(name, folder, progress)
    progress.line(f"==== {name}")
    try:
        outcome = how(runner).judged(0, name)
    except (OSError, subprocess.CalledProcessError, ValueError, KeyError) as error:
        outcome = Outcome(failed=[f"{name}: {error}"])
    took = clock(time.monotonic() - runner.start)
    if outcome.failed:
        with open(runner.log, encoding="utf-8", errors="replace") as log:
            for line in collections.deque(log, _TAIL):
                progress.line("    " + line.rstrip("\n"))
    skipped = f", {outcome.skipped} skipped" if outcome.skipped else ""
    progress.line(f"==== {name}: {outcome.passed} passed, {len(outcome.failed)} failed{skipped} "
                  f"in {took}")
    return outcome, took


def run(parts, stream):
    """Runs {name: how} and returns the exit code."""
    progress = Progress(stream)
    folder = tempfile.mkdtemp(prefix="parkway-tests.")
    start = time.monotonic()
    try:
        rows = [(name, *run_part(name, how, folder, progress)) for name, how in parts.items()]
    except KeyboardInterrupt:
        shutil.rmtree(folder)
        raise
    total = Outcome()
    progress.line("")
    for name, outcome, took in rows:
        total += outcome
        progress.line(f"{name:12} {outcome.passed:6} passed {len(outcome.failed):5} failed "
                      f"{outcome.skipped:5} skipped {took:>7}")
    for name, outcome, _ in rows:
        said = read_text(os.path.join(folder, name + ".log")) if outcome.failed else ""
        for failure in outcome.failed:
            progress.line(f"FAILED {name}: {failure}")
            for line in reason(said, failure):
                progress.line(f"    {line[:300]}")
    bad = bool(total.failed) or not total.passed
    if bad:
        progress.line(f"all output: {folder}")
    else:
        shutil.rmtree(folder)
    progress.line(f"took {clock(time.monotonic() - start)}")
    progress.line(f"{total.passed} passed, {len(total.failed)} failed")
    return 1 if bad else 0


def main(arguments):
    width = max(map(len, [*PARTS, *MORE]))
    listed = "".join(f"  {name:{width}}  {what}\n" for name, (what, _) in PARTS.items())
    more = "".join(f"  {name:{width}}  {what}\n" for name, (what, _) in MORE.items())
    parser = argparse.ArgumentParser(
        prog="tests/run", formatter_class=argparse.RawDescriptionHelpFormatter,
        description="Runs the tests: all parts, or those named.",
        epilog=f"parts:\n{listed}\nonly when named:\n{more}")
    parser.add_argument("part", nargs="*")
    names = parser.parse_args(arguments).part or list(PARTS)
    every = {**PARTS, **MORE}
    unknown = [name for name in names if name not in every]
    if unknown:
        parser.error(f"no such part: {', '.join(unknown)}; there are {', '.join(every)}")

    def leave(*_):
        raise KeyboardInterrupt
    signal.signal(signal.SIGTERM, leave)
    try:
        return run({name: every[name][1] for name in names}, sys.stdout)
    except KeyboardInterrupt:
        print("\nstopped", flush=True)
        return 130


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
