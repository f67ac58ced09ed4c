"""A systemd of the test's own: the file runs again inside a container that has booted one.

Everything there can be broken: it is a copy-on-write view of this machine, gone afterwards.
"""

import os
import shutil
import subprocess
import sys
import tempfile

from . import places

_INSIDE = "PARKWAY_TEST_CONTAINER"
HERE = os.path.dirname(os.path.dirname(os.path.realpath(__file__)))
# Where the tests are inside: this tree may be on a file system that is not in view there.
_TESTS = "/srv/parkway/tests"
CANNOT_START = 125


def inside():
    return bool(os.environ.get(_INSIDE))


def binary_for(path, folder):
    """The daemon under test instead of the one that was installed below `folder`."""
    if os.environ.get("PARKWAY_BINARY"):
        shutil.copy(os.environ["PARKWAY_BINARY"], os.path.join(folder, path))


def install(folder):
    """What deploy/install installs, below `folder`."""
    done = subprocess.run([os.path.join(places.ROOT, "deploy", "install"), f"--destdir={folder}"],
                          stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True, check=False)
    if done.returncode:
        sys.exit(f"deploy/install failed:\n{done.stdout}")


def files_of(folder):
    """[(source, destination)] of all files and links below `folder`."""
    found = []
    for at, _, names in os.walk(folder):
        for name in names:
            path = os.path.join(at, name)
            found.append((path, "/" + os.path.relpath(path, folder)))
    return found


def enter(prepare):
    """Outside: runs this program in a container and ends as it did. Inside: returns at once.

    `prepare(folder)` returns [(source, destination)] of files that are there before the boot; it may
    put them into `folder`, which is removed afterwards.
    """
    if inside():
        return
    if os.geteuid() != 0:
        _skip("a container needs root")
    for argument in sys.argv[1:]:
        if argument.startswith("--parkway="):
            os.environ["PARKWAY_BINARY"] = os.path.abspath(argument.partition("=")[2])
    with tempfile.TemporaryDirectory(prefix="parkway-container-") as folder:
        copies = prepare(folder)
        copies += [(HERE, f"{_TESTS}/system")]
        copies += [(os.path.join(places.ROOT, "tests", name), f"{_TESTS}/{name}")
                   for name in ("scale.py", "scale.def", "cases.py")]
        command = [os.path.join(HERE, "with-systemd")]
        for source, destination in copies:
            command += ["--copy", f"{source}:{destination}"]
        program = f"{_TESTS}/system/{os.path.basename(sys.argv[0])}"
        environment = dict(os.environ, PARKWAY_TEST_ISOLATED="1", **{_INSIDE: "1"})
        environment.pop("PARKWAY_BINARY", None)
        arguments = [a for a in sys.argv[1:] if not a.startswith("--parkway=")]
        done = subprocess.run([*command, "--", "python3", program, *arguments], env=environment,
                              stderr=subprocess.PIPE, text=True, check=False)
    if done.returncode == CANNOT_START:
        _skip(done.stderr.strip() or "the container does not start")
    sys.stderr.write(done.stderr)
    sys.exit(done.returncode)


def _skip(reason):
    print(f"skipped: {reason}")
    print("RESULT passed=0 failed=0")
    sys.exit(0)
