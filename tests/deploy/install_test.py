#!/usr/bin/env python3
"""deploy/install: what it puts where, what it leaves alone, and that it takes away what it brought.

The packages and Bazel are programs of this test, and so is what would have been built.
"""

import os
import stat
import subprocess
import sys
import tempfile
import unittest

sys.path.append(os.path.join(os.path.dirname(os.path.realpath(__file__)), ".."))
import cases  # noqa: E402  (of tests/)

ROOT = os.path.realpath(os.path.join(os.path.dirname(os.path.realpath(__file__)), "..", ".."))
BUILT = ("proxy/parkway", "proxy/admin/parkwayctl", "deploy/man/parkway.8",
         "deploy/man/parkwayctl.1", "deploy/man/parkway.flags.5")
CONFIG = "/etc/parkway/parkway.flags"


class DeployInstall(unittest.TestCase):
    def setUp(self):
        temporary = tempfile.TemporaryDirectory()
        self.addCleanup(temporary.cleanup)
        self.folder = temporary.name
        self.target = os.path.join(self.folder, "target")
        for path in BUILT:
            self.write(f"built/{path}", path)
        self.program("dpkg-query", f"awk 'NF && $1 !~ /^#/ {{ print $2, \"installed\" }}' "
                                   f"{ROOT}/deploy/packages\n")
        self.program("bazel", f'[ "$1" != info ] || echo {self.folder}/built\n')
        self.environment = {**os.environ, "PARKWAY_BAZEL": os.path.join(self.folder, "bazel"),
                            "PATH": self.folder + ":/usr/sbin:/usr/bin:/sbin:/bin"}

    def write(self, name, text):
        path = os.path.join(self.folder, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)

    def program(self, name, text):
        self.write(name, "#!/bin/sh\n" + text)
        os.chmod(os.path.join(self.folder, name), 0o755)

    def install(self, *flags, code=0):
        done = subprocess.run([os.path.join(ROOT, "deploy", "install"), *flags], cwd="/",
                              env=self.environment, stdin=subprocess.DEVNULL, text=True,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
        self.assertEqual(code, done.returncode, done.stdout)
        return done.stdout

    def files(self):
        return {os.path.join(at, name).removeprefix(self.target)
                for at, _, names in os.walk(self.target) for name in names}

    def test_regular_files_go_where_they_belong_and_go_again_but_for_the_configuration(self):
        into = f"--destdir={self.target}"
        self.assertIn("installed below", self.install(into))
        there = self.files()
        for path, mode in (("/usr/sbin/parkway", 0o755), ("/usr/bin/parkwayctl", 0o755),
                           ("/lib/systemd/system/parkway.service", 0o644),
                           ("/lib/systemd/system/parkway.socket", 0o644),
                           ("/usr/share/doc/parkway/examples/parkway.flags", 0o644),
                           ("/usr/share/man/man5/parkway.flags.5", 0o644),
                           ("/usr/share/man/man8/parkway.8", 0o644), (CONFIG, 0o640)):
            info = os.lstat(self.target + path)
            self.assertTrue(stat.S_ISREG(info.st_mode), path)
            self.assertEqual(mode, stat.S_IMODE(info.st_mode), path)
        # A configuration that is there is the operator's.
        with open(self.target + CONFIG, "w", encoding="utf-8") as file:
            file.write("--listen=:1\n")
        self.install(into)
        with open(self.target + CONFIG, encoding="utf-8") as file:
            self.assertEqual("--listen=:1\n", file.read())
        self.assertEqual(there, self.files())
        self.assertIn("left alone: /etc/parkway", self.install(into, "--uninstall"))
        self.assertEqual({CONFIG}, self.files())
        self.install(into, "--uninstall")  # and once more is no error

    def test_what_it_does_not_know_is_refused_with_its_usage(self):
        self.assertIn("--destdir=DIR", self.install("--destdir", code=2))
        self.assertEqual(set(), self.files())


if __name__ == "__main__":
    cases.main()
