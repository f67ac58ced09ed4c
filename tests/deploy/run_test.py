#!/usr/bin/env python3
"""deploy/run: what it installs, starts, measures and leaves behind.

The packages, Bazel and wrk are programs of this test, and so is the daemon where it must fail;
nginx, the processes and the signals are real.
"""

import glob
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import unittest

sys.path.append(os.path.join(os.path.dirname(os.path.realpath(__file__)), ".."))
import cases  # noqa: E402  (of tests/)

ROOT = os.path.realpath(os.path.join(os.path.dirname(os.path.realpath(__file__)), "..", ".."))

ALL_INSTALLED = f"""#!/bin/sh
awk 'NF && $1 !~ /^#/ {{ print $2, "installed" }}' {ROOT}/deploy/packages
"""
BAZEL = """#!/bin/sh
echo "$@" >> FOLDER/bazel.calls
[ "$1" != info ] || echo FOLDER/bin
"""
# Passes bytes both ways between --listen and --upstream.
DAEMON = """#!/usr/bin/env python3
import signal, socket, sys, threading
open("FOLDER/daemon.flags", "w").write(" ".join(sys.argv[1:]))
flags = dict(flag[2:].split("=", 1) for flag in sys.argv[1:])
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
address = lambda text: (text.rsplit(":", 1)[0], int(text.rsplit(":", 1)[1]))
def carry(source, sink):
    while data := source.recv(65536):
        sink.sendall(data)
    sink.shutdown(socket.SHUT_WR)
listener = socket.create_server(address(flags["listen"]))
while True:
    client, _ = listener.accept()
    server = socket.create_connection(address(flags["upstream"]))
    for ends in (client, server), (server, client):
        threading.Thread(target=carry, args=ends, daemon=True).start()
"""
GOOD_WRK = """#!/bin/sh
cat <<END
Running 10s test @ $5
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency     1.50ms    2.00ms  10.00ms   90.00%
    Req/Sec    50.00k     1.00k   60.00k    90.00%
  Latency Distribution
     50%    1.20ms
     99%    6.10ms
  1000 requests in 10.00s, 1.00MB read
Requests/sec:    100.00
Transfer/sec:    100.00KB
END
"""
BAD_WRK = GOOD_WRK.replace("Requests/sec:", "EXTRA\nRequests/sec:")


def eventually(condition, what, seconds=20):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        found = condition()
        if found:
            return found
        time.sleep(0.02)
    raise AssertionError(f"not within {seconds} s: {what}")


class DeployRun(unittest.TestCase):
    def setUp(self):
        temporary = tempfile.TemporaryDirectory()
        self.addCleanup(temporary.cleanup)
        self.folder = temporary.name
        os.chmod(self.folder, 0o755)
        os.makedirs(self.path("bin/proxy"))
        os.makedirs(self.path("tmp"))
        os.chmod(self.path("tmp"), 0o755)
        self.program("dpkg-query", ALL_INSTALLED)
        self.program("bazel", BAZEL)
        self.program("bin/proxy/parkway", DAEMON)
        self.environment = {**os.environ, "PARKWAY_BAZEL": self.path("bazel"),
                            "TMPDIR": self.path("tmp"),
                            "PATH": self.folder + ":/usr/sbin:/usr/bin:/sbin:/bin"}

    def path(self, name):
        return os.path.join(self.folder, name)

    def text(self, name):
        with open(self.path(name), encoding="utf-8") as file:
            return file.read()

    def program(self, name, text):
        with open(self.path(name), "w", encoding="utf-8") as file:
            file.write(text.replace("FOLDER", self.folder))
        os.chmod(self.path(name), 0o755)

    def start(self, *flags):
        child = subprocess.Popen([os.path.join(ROOT, "deploy", "run"), *flags], cwd="/",
                                 env=self.environment, stdout=subprocess.PIPE,
                                 stderr=subprocess.STDOUT, text=True, start_new_session=True)
        self.addCleanup(child.stdout.close)
        self.addCleanup(child.wait)
        self.addCleanup(lambda: child.poll() is None and child.terminate())
        return child

    def run_it(self, *flags):
        child = self.start(*flags)
        output, _ = child.communicate(timeout=60)
        return child.returncode, output

    def demo(self):
        """(child, port of the daemon, port of nginx, what it has said) of a running demonstration."""
        child = self.start()
        said = []
        threading.Thread(target=lambda: said.extend(child.stdout), daemon=True).start()
        eventually(lambda: any("Ctrl-C ends both" in line for line in said), said)
        listen, server = re.search(r"listens on 127.0.0.1:(\d+); behind it is nginx on "
                                   r"127.0.0.1:(\d+)", "".join(said)).groups()
        return child, int(listen), int(server), said

    def left_over(self):
        """Processes that have our folder in their command line, and what is left in it."""
        found = os.listdir(self.path("tmp"))
        for path in glob.glob("/proc/[0-9]*/cmdline"):
            try:
                with open(path, "rb") as file:
                    line = file.read().decode(errors="replace")
            except OSError:
                continue
            if self.folder in line:
                found.append(line.replace("\0", " "))
        return found

    def test_with_flags_it_becomes_the_daemon(self):
        self.program("bin/proxy/parkway", '#!/bin/sh\necho "I am $$: $*"\nexit 78\n')
        child = self.start("--listen=nonsense", "--threads=2")
        output, _ = child.communicate(timeout=60)
        self.assertEqual(78, child.returncode)
        self.assertIn(f"I am {child.pid}: --listen=nonsense --threads=2\n", output)
        self.assertEqual("build --config=opt //proxy:parkway\ninfo --config=opt bazel-bin\n",
                         self.text("bazel.calls"))

    def test_what_does_not_build_is_not_run(self):
        self.program("bazel", "#!/bin/sh\necho no such file >&2\nexit 1\n")
        code, output = self.run_it("--listen=:1")
        self.assertEqual(1, code)
        self.assertEqual("no such file\nerror: parkway does not build", output[-44:].strip())

    def test_the_demonstration_serves_both_ways_and_ends_without_a_trace(self):
        for number in (signal.SIGINT, signal.SIGTERM):
            child, listen, server, said = self.demo()
            for port in (listen, server):
                with socket.create_connection(("127.0.0.1", port), timeout=10) as sock:
                    sock.sendall(b"GET / HTTP/1.0\r\n\r\n")
                    answer = b"".join(iter(lambda s=sock: s.recv(4096), b""))
                self.assertIn(b"200 OK", answer)
                self.assertIn(b"Hello from nginx", answer)
            child.send_signal(number)
            self.assertEqual(0, child.wait(20), said)
            self.assertEqual([], self.left_over())

    def test_the_children_end_even_if_the_shell_is_killed(self):
        child, listen, _, _ = self.demo()
        child.kill()
        child.wait(20)
        eventually(lambda: self.left_over() == os.listdir(self.path("tmp")), "all ended")
        with self.assertRaises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", listen), timeout=10)

    def test_a_daemon_that_dies_ends_the_demonstration_with_a_reason(self):
        child, _, _, said = self.demo()
        flags = self.text("daemon.flags").split()[0]
        pids = [int(path.split("/")[2]) for path in glob.glob("/proc/[0-9]*/cmdline")
                if self.is_daemon(path, flags)]
        self.assertEqual(1, len(pids), pids)
        os.kill(pids[0], signal.SIGKILL)
        self.assertEqual(1, child.wait(20))
        eventually(lambda: any("has ended by itself" in line for line in said), said)
        self.assertEqual([], self.left_over())

    def is_daemon(self, path, flag):
        try:
            with open(path, "rb") as file:
                line = file.read().decode(errors="replace")
        except OSError:
            return False
        return self.folder in line and flag in line

    def test_a_daemon_that_does_not_start_is_said(self):
        self.program("bin/proxy/parkway", "#!/bin/sh\necho the reason >&2\nexit 71\n")
        self.program("wrk", GOOD_WRK)
        for flags in ((), ("--wrk",)):
            code, output = self.run_it(*flags)
            self.assertEqual(1, code)
            self.assertIn("the reason\n", output)
            self.assertIn("error: parkway does not start\n", output)
            self.assertEqual([], self.left_over())

    def test_wrk_shows_both_results_side_by_side(self):
        self.program("wrk", GOOD_WRK)
        code, output = self.run_it("--wrk", "--threads=3")
        self.assertEqual(0, code, output)
        self.assertRegex(output, r"(?m)^ +nginx direct +via parkway$")
        self.assertRegex(output, r"(?m)^requests +1000 +1000$")
        self.assertRegex(output, r"(?m)^requests/s +100.00 +100.00$")
        self.assertRegex(output, r"(?m)^latency, mean +1.50ms +1.50ms$")
        self.assertRegex(output, r"(?m)^latency, 99 % +6.10ms +6.10ms$")
        self.assertRegex(output, r"(?m)^failed requests +0 +0$")
        self.assertTrue(self.text("daemon.flags").endswith("--threads=3"))
        self.assertEqual([], self.left_over())

    def test_a_failed_request_fails_the_measurement(self):
        for extra, failed in (("  Socket errors: connect 1, read 2, write 3, timeout 4", 10),
                              ("  Non-2xx or 3xx responses: 7", 7)):
            self.program("wrk", BAD_WRK.replace("EXTRA", extra))
            code, output = self.run_it("--wrk")
            self.assertEqual(1, code)
            self.assertRegex(output, rf"(?m)^failed requests +{failed} +{failed}$")
            self.assertIn("error: requests failed\n", output)

    def test_no_requests_at_all_fail_the_measurement(self):
        self.program("wrk", GOOD_WRK.replace("1000 requests", "0 requests"))
        code, output = self.run_it("--wrk")
        self.assertEqual(1, code)
        self.assertIn("error: wrk made no requests\n", output)
        self.program("wrk", "#!/bin/sh\necho wrk is ill\nexit 1\n")
        code, output = self.run_it("--wrk")
        self.assertEqual(1, code)
        self.assertIn("wrk is ill\n", output)

    def test_missing_packages_are_named_and_installed_together(self):
        self.program("dpkg-query", ALL_INSTALLED.replace("print $2", "if ($2 !~ /^(g\\+\\+|wrk|"
                     "spin)$/) print $2"))
        self.program("apt-get", '#!/bin/sh\necho "$@" >> FOLDER/apt.calls\n')
        self.program("sudo", '#!/bin/sh\nexec "$@"\n')
        self.program("bin/proxy/parkway", "#!/bin/sh\n")
        code, output = self.run_it("--version")
        self.assertEqual(0, code, output)
        self.assertIn("installing Debian packages: g++\n", output)
        self.assertEqual("update\ninstall -y --no-install-recommends g++\n",
                         self.text("apt.calls"))
        self.program("apt-get", "#!/bin/sh\necho E: no network\nexit 100\n")
        code, output = self.run_it("--wrk")
        self.assertEqual(1, code)
        self.assertIn("installing Debian packages: g++ wrk\n", output)
        self.assertIn("E: no network\nerror: apt-get could not install them", output)

    def test_neither_root_nor_sudo_is_one_clear_line(self):
        self.program("dpkg-query", "#!/bin/sh\necho g++ installed\n")
        # A path with what the script needs and no sudo.
        os.makedirs(self.path("path"))
        for name in ("bash", "dirname", "awk", "comm", "sort", "sh", "env", "mktemp"):
            os.symlink(f"/usr/bin/{name}", self.path(f"path/{name}"))
        self.program("path/apt-get", "#!/bin/sh\nexit 1\n")
        os.symlink(self.path("dpkg-query"), self.path("path/dpkg-query"))
        command = ["/usr/bin/bash", os.path.join(ROOT, "deploy", "run"), "--version"]
        if os.geteuid() == 0:
            command = ["/usr/bin/setpriv", "--reuid=65534", "--clear-groups", *command]
        if subprocess.run([*command[:-3], "/usr/bin/test", "-r", command[-2]],
                          check=False).returncode:
            self.skipTest("this tree is not readable for others")
        ended = subprocess.run(command, env={"PATH": self.path("path")}, capture_output=True,
                               text=True, check=False)
        self.assertEqual(1, ended.returncode)
        self.assertRegex(ended.stderr, r"\Aerror: missing packages, and neither root nor sudo to "
                                       r"install them: bazel-bootstrap .*\n\Z")


if __name__ == "__main__":
    cases.main()
