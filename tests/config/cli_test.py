#!/usr/bin/env python3
"""What the daemon itself prints and returns for bad flags, --check and the like.

Each bad flag gives one clear line on stderr, exit 78 at start and 1 with --check, and nothing is
ever bound. The texts are tested one by one in load_test.cc; here it is main() that is tested.
"""

import os
import subprocess
import sys
import tempfile
import unittest

sys.path.append(os.path.join(os.path.dirname(os.path.realpath(__file__)), ".."))
import cases  # noqa: E402  (of tests/)

PARKWAY = os.path.abspath("proxy/parkway")
GOOD = ["--listen=:8080", "--upstream=127.0.0.1:9000"]


def parkway(*arguments, cwd=None, env=None):
    return subprocess.run([PARKWAY, *arguments], cwd=cwd, env=env, stdin=subprocess.DEVNULL,
                          capture_output=True, text=True, timeout=60, check=False)


class Flags(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = folder.name

    def write(self, name, data):
        with open(os.path.join(self.folder, name), "wb") as file:
            file.write(data)

    def refused(self, *arguments):
        """The one line; the same with --check, but for the exit code."""
        start = parkway(*arguments, cwd=self.folder)
        check = parkway(*arguments, "--check", cwd=self.folder)
        self.assertEqual((78, 1), (start.returncode, check.returncode), start.stderr)
        self.assertEqual(start.stderr, check.stderr)
        self.assertEqual("", start.stdout + check.stdout)
        lines = start.stderr.splitlines()
        self.assertEqual(1, len(lines), start.stderr)
        self.assertTrue(lines[0].startswith("parkway: "), lines[0])
        return lines[0].removeprefix("parkway: ")

    def test_a_port_above_65535(self):
        self.assertIn("--listen: \"99999\" is not a port",
                      self.refused("--listen=:99999", GOOD[1]))

    def test_nonsense_as_an_address(self):
        self.assertIn("--listen: \"nonsense\" is not an address",
                      self.refused("--listen=nonsense", GOOD[1]))

    def test_a_duration_without_a_unit(self):
        self.assertIn("--idle_timeout: \"5\" has no unit; a duration needs a unit, such as 5s",
                      self.refused(*GOOD, "--idle_timeout=5"))

    def test_a_negative_duration(self):
        self.assertIn("--idle_timeout: \"-1s\" is negative",
                      self.refused(*GOOD, "--idle_timeout=-1s"))

    def test_an_unknown_flag(self):
        self.assertIn("--thread: there is no such flag; see --help (did you mean --threads?)",
                      self.refused(*GOOD, "--thread=4"))

    def test_a_flags_file_that_is_a_directory(self):
        self.assertIn("it is a directory", self.refused(*GOOD, "--flagfile=."))

    def test_a_flags_file_that_is_missing(self):
        self.assertIn("\"gone\" cannot be read: No such file or directory",
                      self.refused(*GOOD, "-c", "gone"))

    def test_a_flags_file_that_is_not_utf8(self):
        self.write("a", b"# fine\n--threads=\xff\n")
        self.assertTrue(self.refused(*GOOD, "-c", "a").startswith("a:2:11: the byte "))

    def test_a_flags_file_that_includes_itself(self):
        self.write("a", b"--flagfile=a\n")
        self.assertEqual("a:1:12: --flagfile: \"a\" includes itself; remove this line",
                         self.refused(*GOOD, "-c", "a"))

    def test_a_line_without_dashes(self):
        self.write("a", b"threads=4\n")
        self.assertTrue(self.refused(*GOOD, "-c", "a").startswith(
            "a:1:1: \"threads=4\" does not begin with --"))

    def test_the_same_scalar_twice(self):
        self.write("a", b"--threads=4\n--threads=4\n")
        self.assertTrue(self.refused(*GOOD, "-c", "a").startswith(
            "a:2:1: --threads: it was set already at a:1:1"))

    def test_an_upstream_that_is_the_listener(self):
        self.assertIn("is our own listener :8080",
                      self.refused("--listen=:8080", "--upstream=127.0.0.1:8080"))

    def test_nothing_to_do(self):
        self.assertIn("for example --listen=:8080 --upstream=127.0.0.1:9000", self.refused())

    def test_all_errors_of_a_file_are_told_at_once(self):
        self.write("a", b"--threads=x\n--idle_timeout=5\n--listen=:0\n")
        result = parkway("-c", "a", "--upstream=127.0.0.1:1", cwd=self.folder)
        self.assertEqual(78, result.returncode)
        self.assertEqual(["a:1:11", "a:2:16", "a:3:10"],
                         [line.removeprefix("parkway: ").split(": ")[0]
                          for line in result.stderr.splitlines()])

    def test_check_says_that_all_is_right_and_binds_nothing(self):
        result = parkway(*GOOD, "-t")
        self.assertEqual((0, "the configuration is valid\n", ""),
                         (result.returncode, result.stdout, result.stderr))

    def test_explain_says_what_follows_for_the_limit_that_is_given(self):
        result = parkway(*GOOD, "-t", "--explain", "--nofile=20000", "--threads=1")
        self.assertEqual((0, ""), (result.returncode, result.stderr))
        self.assertIn("descriptors: 20000 allowed", result.stdout)
        self.assertRegex(result.stdout, r"local ports: \d+-\d+ ")
        self.assertTrue(result.stdout.endswith("the configuration is valid\n"))
        result = parkway(*GOOD, "-t", "--nofile=20000", "--max_connections=20000")
        self.assertEqual(1, result.returncode)
        self.assertIn("the hard limit is 20000", result.stderr)

    def test_a_scalar_of_a_file_that_the_command_line_sets_is_a_warning(self):
        self.write("a", b"--threads=2\n")
        result = parkway(*GOOD, "--check", "-c", "a", "--threads=3", cwd=self.folder)
        self.assertEqual(0, result.returncode)
        self.assertEqual("parkway: warning: a:1:1: --threads: it has no effect: the command line "
                         "sets it to 3\n", result.stderr)

    def test_what_is_dumped_dumps_to_itself(self):
        self.write("a", b"--upstream=name=app servers=unix:/x\n--listen=[0::0]:080\n"
                        b"--idle_timeout=60m\n--threads=3\n--drain_timeout=90s\n")
        first = parkway("-c", "a", "-T", cwd=self.folder)
        self.assertEqual("--drain_timeout=1m30s\n--threads=3\n--listen=[::]:80\n"
                         "--upstream=unix:/x name=app\n", first.stdout)
        self.write("b", first.stdout.encode())
        self.assertEqual(first.stdout, parkway("-f", "b", "-T", cwd=self.folder).stdout)

    def test_help_and_version_succeed_and_show_none_of_the_libraries(self):
        for flag in ("--help", "-h"):
            result = parkway(flag)
            self.assertEqual((0, ""), (result.returncode, result.stderr))
            self.assertIn("--idle_timeout=DURATION|off  (default 1h)", result.stdout)
            for name in ("logtostderr", "tab_completion", "stderrthreshold"):
                self.assertNotIn(name, result.stdout)
        for flag in ("--version", "-V"):
            result = parkway(flag)
            self.assertEqual((0, ""), (result.returncode, result.stderr))
            self.assertRegex(result.stdout, r"^parkway \d+\.\d+")

    def test_flags_of_the_libraries_are_unknown(self):
        for flag in ("--logtostderr=1", "--stderrthreshold=0", "--helpfull"):
            self.assertIn("there is no such flag", self.refused(*GOOD, flag))

    def test_the_environment_is_read_where_it_is_asked_for(self):
        env = dict(os.environ, FLAGS_listen=":8080", FLAGS_threads="x")
        result = parkway("--fromenv=listen", GOOD[1], "--dump_config", env=env)
        self.assertEqual("--listen=:8080\n--upstream=127.0.0.1:9000\n", result.stdout)
        result = parkway(*GOOD, "--fromenv=threads", env=env)
        self.assertEqual(78, result.returncode)
        self.assertIn("FLAGS_threads: --threads: \"x\" is not a number", result.stderr)


if __name__ == "__main__":
    cases.main()
