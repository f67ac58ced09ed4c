#!/usr/bin/env python3
"""What systemd says of the shipped units without running them, and man of the pages."""

import os
import re
import shutil
import subprocess
import sys
import tempfile
import unittest

sys.path.append(os.path.join(os.path.dirname(os.path.realpath(__file__)), ".."))
import cases  # noqa: E402  (of tests/)

# The exposure that `systemd-analyze security` may find: 10 is everything, 0 nothing.
MOST_EXPOSURE = 2.0


def said_by(*argv, **options):
    done = subprocess.run(argv, capture_output=True, text=True, check=False, **options)
    return done.returncode, done.stdout, done.stderr


class Unit(unittest.TestCase):
    def setUp(self):
        if not shutil.which("systemd-analyze"):
            self.skipTest("no systemd-analyze (Debian package systemd)")

    def exposure(self, path):
        code, out, err = said_by("systemd-analyze", "security", "--offline=true", "--no-pager", path)
        self.assertEqual("", err, f"systemd-analyze complains (exit {code})")
        return float(re.search(r"Overall exposure level for \S+: ([\d.]+)", out).group(1))

    def test_the_service_exposes_little(self):
        self.assertLessEqual(self.exposure("deploy/parkway.service"), MOST_EXPOSURE)

    def test_the_score_is_of_what_the_unit_says(self):
        with tempfile.TemporaryDirectory() as folder:
            bare = os.path.join(folder, "bare.service")
            with open("deploy/parkway.service", encoding="utf-8") as unit, \
                    open(bare, "w", encoding="utf-8") as out:
                out.writelines(line for line in unit if not re.match(
                    "Protect|Restrict|Private|NoNew|Capab|SystemCall|User=|Group=", line))
            self.assertGreater(self.exposure(bare), 6.0)

    def test_the_socket_names_its_listener(self):
        with open("deploy/parkway.socket", encoding="utf-8") as unit:
            self.assertRegex(unit.read(), r"(?m)^FileDescriptorName=web$")


class ManPages(unittest.TestCase):
    PAGES = ("parkway.8", "parkwayctl.1", "parkway.flags.5")

    def page(self, name):
        code, out, err = said_by(
            "man", "--warnings", "--local-file", os.path.join("deploy/man", name),
            env={"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8", "MANWIDTH": "100"})
        self.assertEqual((0, ""), (code, err))
        return out

    def setUp(self):
        if not shutil.which("man"):
            self.skipTest("no man (Debian package man-db)")

    def test_they_are_set_without_a_warning(self):
        for name in self.PAGES:
            text = self.page(name)
            for heading in ("NAME", "DESCRIPTION", "SEE ALSO"):
                self.assertRegex(text, rf"(?m)^{heading}$", name)

    def test_every_command_is_in_the_page_of_parkwayctl(self):
        _, table, _ = said_by("proxy/admin/parkwayctl", "--commands")
        commands = [line.split("\t")[0] for line in table.splitlines()]
        self.assertGreater(len(commands), 20)
        page = self.page("parkwayctl.1")
        self.assertEqual([], [name for name in commands
                              if not re.search(r"(?m)^ +" + name.replace(" ", " +") + r"\b", page)])

    def test_every_flag_of_the_help_is_in_one_of_them(self):
        _, help_text, _ = said_by("proxy/parkway", "--help")
        flags = set(re.findall(r"(?m)^  (?:-\w, )*(--\w+)", help_text))
        self.assertGreater(len(flags), 50)
        pages = "".join(self.page(name) for name in self.PAGES)
        described = set(re.findall(r"(?m)^ +(?:-\w, )*(--\w+)", pages))
        self.assertEqual(set(), flags - described)


if __name__ == "__main__":
    cases.main()
