#!/usr/bin/env python3
"""The Debian package in a real systemd: installed, upgraded, removed and purged."""

import os
import pwd
import stat
import subprocess
import sys

from lib import container, story, systemd
from lib.process import run
from lib.systemd import FLAGS, main_pid, show, systemctl

PACKAGES = "/srv/parkway/packages"


def prepare(folder):
    """The package, and the same again with a later version."""
    environment = dict(os.environ, DEB_BUILD_OPTIONS="noautodbgsym")
    done = subprocess.run(
        [os.path.join(container.places.ROOT, "deploy", "package"), f"--output={folder}"],
        env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        text=True, check=False)
    if done.returncode:
        sys.exit(f"deploy/package failed:\n{done.stderr}")
    first = done.stdout.strip()
    tree = os.path.join(folder, "tree")
    run(["dpkg-deb", "--raw-extract", first, tree])
    control = os.path.join(tree, "DEBIAN", "control")
    with open(control, encoding="utf-8") as file:
        text = file.read()
    with open(control, "w", encoding="utf-8") as file:
        file.write(text.replace("\nVersion: ", "\nVersion: 99."))
    later = os.path.join(folder, "later.deb")
    run(["dpkg-deb", "--root-owner-group", "--build", tree, later])
    return [(first, f"{PACKAGES}/parkway.deb"), (later, f"{PACKAGES}/later.deb")]


def dpkg(*arguments):
    run(["dpkg", "--force-unsafe-io", *arguments], env=dict(os.environ, DEBIAN_FRONTEND="noninteractive"))


def left_of_it():
    """Paths with its name where a package and a service leave theirs."""
    _, out, _ = run(["find", "/etc", "/usr", "/var", "/run", "-xdev", "-name", "*parkway*"])
    return sorted(out.splitlines())


class Package(story.Story):
    def test_lintian_finds_no_error(self):
        code, out, err = run(["lintian", "--fail-on=error", "--allow-root",
                              f"{PACKAGES}/parkway.deb"], check=False)
        self.assertEqual(0, code, out + err)

    def test_it_is_installed_upgraded_removed_and_purged(self):
        # What keeps packages from starting services is this machine's, not a server's.
        if os.path.exists("/usr/sbin/policy-rc.d"):
            os.remove("/usr/sbin/policy-rc.d")
        # The index of all manual pages of this system is made anew after each step otherwise.
        run(["rm", "-f", "/var/lib/man-db/auto-update"])
        before = left_of_it()

        dpkg("--install", f"{PACKAGES}/parkway.deb")
        self.assertEqual("active", show("ActiveState"))
        self.assertEqual("enabled", show("UnitFileState"))
        self.assertEqual("disabled", show("UnitFileState", "parkway.socket"))
        info = os.stat(FLAGS)
        parkway = pwd.getpwnam("parkway")
        self.assertEqual((0o640, 0, parkway.pw_gid),
                         (stat.S_IMODE(info.st_mode), info.st_uid, info.st_gid))
        run(["parkwayctl", "show", "version"])
        run(["man", "--where", "parkway.flags"])

        with open(FLAGS, "a", encoding="utf-8") as file:
            file.write("--idle_timeout=7m\n")
        os.chmod(FLAGS, 0o644)
        pid = main_pid()
        systemctl("reload", "parkway.service")
        self.assertEqual(pid, main_pid())
        dpkg("--install", f"{PACKAGES}/later.deb")
        self.assertEqual("active", show("ActiveState"))
        self.assertNotEqual(pid, main_pid())
        with open(FLAGS, encoding="utf-8") as file:
            self.assertIn("--idle_timeout=7m", file.read())

        dpkg("--remove", "parkway")
        self.assertEqual("inactive", show("ActiveState"))
        self.assertFalse(os.path.exists("/usr/sbin/parkway"))
        self.assertTrue(os.path.exists(FLAGS))

        dpkg("--install", f"{PACKAGES}/parkway.deb")
        self.assertEqual("active", show("ActiveState"))
        dpkg("--purge", "parkway")
        self.assertEqual("inactive", show("ActiveState"))
        systemctl("daemon-reload")
        self.assertEqual("not-found", show("LoadState"))
        self.assertEqual(before, left_of_it())
        self.assertTrue(systemd.said())


if __name__ == "__main__":
    container.enter(prepare)
    story.main()
