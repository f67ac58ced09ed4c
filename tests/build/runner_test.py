#!/usr/bin/env python3
"""The runner of all tests counts what ran, names what failed, and never calls nothing a success."""

import io
import json
import os
import subprocess
import sys
import tempfile
import time
import unittest

HERE = os.path.dirname(os.path.realpath(__file__))
sys.path.insert(0, HERE)

import runner  # noqa: E402  (Bazel runs this file through a link)
from runner import Outcome  # noqa: E402

sys.path.append(os.path.join(HERE, ".."))
import cases  # noqa: E402  (of tests/)

GOOGLETEST = """<?xml version="1.0" encoding="UTF-8"?>
<testsuites tests="5" failures="1" disabled="1" errors="0" name="AllTests">
  <testsuite name="PollDescTest" tests="4">
    <testcase name="T1_Parks" status="run" result="completed" classname="PollDescTest" />
    <testcase name="T2_Wakes" status="run" result="completed" classname="PollDescTest">
      <failure message="x" type="">x</failure>
      <failure message="y" type="">y</failure>
    </testcase>
    <testcase name="T3_Needs" status="run" result="skipped" classname="PollDescTest">
      <skipped message="no"/>
    </testcase>
    <testcase name="DISABLED_T4" status="notrun" result="suppressed" classname="PollDescTest" />
  </testsuite>
  <testsuite name="Wheel/WheelTest"><testcase name="Turns/0" status="run" result="completed"
    classname="Wheel/WheelTest" /></testsuite>
</testsuites>
"""
# What Bazel writes for a test that writes no report of its own.
PLAIN = """<?xml version="1.0" encoding="UTF-8"?>
<testsuites><testsuite name="tests/build/x" tests="1" failures="0" errors="0">
<testcase name="tests/build/x" status="run" duration="1" time="1"></testcase>
<system-out>RESULT passed=99 failed=0</system-out></testsuite></testsuites>
"""


def setUpModule():
    """What failing runs leave behind for their reader is not left behind by these."""
    folder = tempfile.TemporaryDirectory()
    tempfile.tempdir = folder.name
    unittest.addModuleCleanup(folder.cleanup)


class Lines(unittest.TestCase):
    def test_results_are_summed_and_failures_named(self):
        self.assertEqual(Outcome(7, ["Storm.test_a"]), runner.from_lines(
            "noise\nRESULT passed=3 failed=0\nFAILED Storm.test_a\nRESULT passed=4 failed=1\n"))

    def test_a_failure_without_a_name_is_still_a_failure(self):
        self.assertEqual(Outcome(3, ["(not named)", "(not named)"]),
                         runner.from_lines("RESULT passed=3 failed=2\n"))

    def test_pass_and_fail_lines_count_where_there_is_no_result(self):
        self.assertEqual(Outcome(2, ["block.pml: deadlock"]), runner.from_lines(
            "PASS commit.pml\nPASSED? no\nFAIL block.pml: deadlock\nPASS wake.pml\n"))

    def test_the_total_of_a_program_that_runs_others_is_the_last_word(self):
        self.assertEqual(Outcome(7, ["b: Storm.a", "c: no result"], 3), runner.from_lines(
            "FAIL: a (__main__.Storm)\nFAILED Storm.a\nRESULT passed=7 failed=1 skipped=3\n"
            "FAIL b: Storm.a\nFAIL c: no result\n7 passed, 2 failed\n"))

    def test_other_text_says_nothing(self):
        self.assertIsNone(runner.from_lines("all is well\n"))


class Reason(unittest.TestCase):
    SAID = "\n".join([
        "Story.test_one ... FAIL", "Story.test_two ... ERROR", "", "=" * 70, "ERROR: Story.test_two",
        "-" * 70, "Traceback:", "  somewhere", "OSError: no", "", "=" * 70, "FAIL: Story.test_one",
        "-" * 70, *(f"frame {number}" for number in range(20)), "AssertionError: 1 != 2", "",
        "-" * 70, "Ran 2 tests", "RESULT passed=0 failed=2", ""])

    def test_the_end_of_what_unittest_said_is_shown_again(self):
        self.assertEqual(runner.reason(self.SAID, "file: Story.test_two"),
                         ["Traceback:", "  somewhere", "OSError: no"])
        said = runner.reason(self.SAID, "file: Story.test_one")
        self.assertEqual((len(said), said[-1]), (8, "AssertionError: 1 != 2"))

    def test_of_a_story_told_several_times_the_first_that_failed(self):
        said = self.SAID.replace("FAIL: Story.test_one", "FAIL: Story.test_one (most=16)")
        self.assertEqual(runner.reason(said, "file: Story.test_one")[-1], "AssertionError: 1 != 2")
        self.assertEqual(runner.reason(said, "file: Story.test_on"), [])

    def test_others_have_none(self):
        self.assertEqual(runner.reason(self.SAID, "file: Story.test_three"), [])


class GoogleTest(unittest.TestCase):
    def test_each_case_counts_once(self):
        self.assertEqual(Outcome(2, ["PollDescTest.T2_Wakes"], 2),
                         runner.from_googletest(GOOGLETEST))

    def test_other_reports_are_not_taken_for_it(self):
        self.assertIsNone(runner.from_googletest(PLAIN))
        self.assertIsNone(runner.from_googletest(""))
        self.assertIsNone(runner.from_googletest(GOOGLETEST[:200]))


class Target(unittest.TestCase):
    def test_a_googletest_program_counts_its_cases(self):
        self.assertEqual(Outcome(2, ["//t:a PollDescTest.T2_Wakes"], 2),
                         runner.from_target("//t:a", "FAILED", "", GOOGLETEST))

    def test_a_program_of_ours_counts_by_its_lines(self):
        self.assertEqual(Outcome(5), runner.from_target(
            "//t:a", "PASSED", "RESULT passed=5 failed=0\n", PLAIN))

    def test_any_other_counts_one(self):
        self.assertEqual(Outcome(1), runner.from_target("//t:a", "PASSED", "fine\n", PLAIN))
        self.assertEqual(Outcome(0, ["//t:a (TIMEOUT)"]),
                         runner.from_target("//t:a", "TIMEOUT", "", ""))

    def test_a_crash_is_named_by_the_case_that_it_happened_in(self):
        log = "[ RUN      ] A.One\n[       OK ] A.One (0 ms)\n[ RUN      ] A.Two\nSegmentation\n"
        self.assertEqual(Outcome(0, ["//t:a A.Two (FAILED)"]),
                         runner.from_target("//t:a", "FAILED", log, PLAIN))

    def test_a_leak_found_after_the_last_case_fails_the_target(self):
        report = GOOGLETEST.replace("<failure", "<note").replace("</failure", "</note")
        log = "[ RUN      ] A.One\n[       OK ] A.One (0 ms)\n==1==ERROR: LeakSanitizer\n"
        self.assertEqual(Outcome(3, ["//t:a (FAILED)"], 2),
                         runner.from_target("//t:a", "FAILED", log, report))

    def test_a_program_without_cases_fails(self):
        self.assertEqual(Outcome(0, ["//t:a (ran nothing)"]), runner.from_target(
            "//t:a", "PASSED", "", '<testsuites name="AllTests"></testsuites>'))


def configured(label):
    return {"id": {"targetConfigured": {"label": label}}, "configured": {"testSize": "SMALL"}}


def completed(label, good):
    return {"id": {"targetCompleted": {"label": label}},
            **({"completed": {"success": True}} if good else {"completed": {}})}


def result(label, status, attempt=1, shard=1):
    return {"id": {"testResult": {"label": label, "run": 1, "shard": shard, "attempt": attempt}},
            "testResult": {"status": status, "testActionOutput": []}}


class Events(unittest.TestCase):
    def read(self, *events):
        return runner.from_events([json.dumps(event) for event in events])

    def test_every_shard_counts_and_the_last_attempt_of_each(self):
        outcome, unbuilt = self.read(
            configured("//t:a"), result("//t:a", "FAILED", 1), result("//t:a", "PASSED", 2),
            result("//t:a", "PASSED", 1, shard=2), completed("//t:a", True))
        self.assertEqual((Outcome(2), []), (outcome, unbuilt))

    def test_a_test_that_does_not_build_is_named(self):
        outcome, unbuilt = self.read(
            configured("//t:a"), configured("//t:b"), completed("//p:lib", False),
            completed("//t:a", False), completed("//t:b", True), result("//t:b", "PASSED"))
        self.assertEqual((Outcome(1, ["//t:a (did not run)"]), ["//p:lib"]), (outcome, unbuilt))

    def test_a_torn_last_line_is_no_obstacle(self):
        lines = [json.dumps(configured("//t:a")), json.dumps(result("//t:a", "PASSED"))[:30]]
        self.assertEqual(Outcome(0, ["//t:a (did not run)"]), runner.from_events(lines)[0])


class Whole(unittest.TestCase):
    """Parts of commands: what is printed at the end, and the exit code."""

    def run_parts(self, **parts):
        stream = io.StringIO()
        code = runner.run(parts, stream)
        return code, stream.getvalue().rstrip("\n").split("\n")

    def shell(self, text):
        def part(part_runner):
            code, output = part_runner.run(["sh", "-c", text])
            return (runner.from_lines(output) or Outcome()).judged(code, "sh")
        return part

    def test_all_well(self):
        code, lines = self.run_parts(a=self.shell("echo PASS x; echo PASS y"),
                                     b=self.shell("echo RESULT passed=3 failed=0"))
        self.assertEqual((0, "5 passed, 0 failed"), (code, lines[-1]))

    def test_a_failing_part_is_named_and_the_others_still_run(self):
        code, lines = self.run_parts(a=self.shell("echo oh; echo FAIL x"),
                                     b=self.shell("echo PASS y"))
        self.assertEqual((1, "1 passed, 1 failed"), (code, lines[-1]))
        self.assertIn("FAILED a: x", lines)
        self.assertIn("    oh", lines)

    def test_an_exit_code_fails_a_part_whose_lines_do_not(self):
        code, lines = self.run_parts(a=self.shell("echo PASS x; exit 3"))
        self.assertEqual((1, "1 passed, 1 failed"), (code, lines[-1]))
        self.assertIn("FAILED a: sh (ended with 3)", lines)

    def test_nothing_run_is_a_failure(self):
        code, lines = self.run_parts(a=self.shell("true"))
        self.assertEqual((1, "0 passed, 1 failed"), (code, lines[-1]))
        self.assertIn("FAILED a: sh (ran nothing)", lines)
        code, lines = self.run_parts(a=lambda _: Outcome(skipped=4))
        self.assertEqual((1, "0 passed, 0 failed"), (code, lines[-1]))
        self.assertEqual(1, self.run_parts()[0])

    def test_a_missing_script_or_program_is_a_failure(self):
        code, lines = self.run_parts(a=runner.script("tests/no/such"),
                                     b=lambda part: part.run(["/no/such"]))
        self.assertEqual((1, "0 passed, 2 failed"), (code, lines[-1]))
        self.assertIn("FAILED a: tests/no/such (is not there)", lines)

    def test_a_command_that_hangs_is_ended_and_fails(self):
        before, runner.PATIENCE = runner.PATIENCE, 0
        try:
            code, lines = self.run_parts(a=self.shell("echo PASS x; exec sleep 1000"))
        finally:
            runner.PATIENCE = before
        self.assertEqual(1, code)
        self.assertTrue(any(line.startswith("FAILED a: sh (ended with -") for line in lines), lines)


class Bazel(unittest.TestCase):
    """With a program in Bazel's place that writes events and ends with a code of its own."""

    def run_with(self, code, *events):
        with tempfile.TemporaryDirectory() as folder:
            bazel = os.path.join(folder, "bazel")
            with open(bazel, "w", encoding="utf-8") as file:
                file.write("#!/bin/sh\nfor a; do case $a in --build_event_json_file=*)\n"
                           "cat > \"${a#*=}\" <<'END'\n"
                           + "".join(json.dumps(event) + "\n" for event in events)
                           + f"END\n;; esac; done\nexit {code}\n")
            os.chmod(bazel, 0o755)
            os.environ["PARKWAY_BAZEL"] = bazel
            stream = io.StringIO()
            try:
                status = runner.run({"unit": runner.test("checked", "//t/..."),
                                     "clang": runner.build("clang", "//...")}, stream)
            finally:
                del os.environ["PARKWAY_BAZEL"]
            return status, stream.getvalue().rstrip("\n").split("\n")

    def test_tests_count_and_a_build_is_one(self):
        code, lines = self.run_with(0, configured("//t:a"), result("//t:a", "PASSED"))
        self.assertEqual((0, "2 passed, 0 failed"), (code, lines[-1]))

    def test_a_failed_test_is_named(self):
        code, lines = self.run_with(3, configured("//t:a"), result("//t:a", "FAILED"),
                                    configured("//t:b"), result("//t:b", "PASSED"))
        self.assertEqual(1, code)
        self.assertIn("FAILED unit: //t:a (FAILED)", lines)

    def test_what_does_not_build_is_named(self):
        code, lines = self.run_with(1, completed("//p:lib", False))
        self.assertEqual((1, "0 passed, 2 failed"), (code, lines[-1]))
        self.assertIn("FAILED unit: //p:lib (does not build)", lines)
        self.assertIn("FAILED clang: //p:lib", lines)

    def test_no_events_at_all_is_a_failure(self):
        code, lines = self.run_with(0)
        self.assertEqual(1, code)
        self.assertIn("FAILED unit: bazel test --config=checked (ran nothing)", lines)
        code, lines = self.run_with(37)
        self.assertEqual((1, "0 passed, 2 failed"), (code, lines[-1]))


class Beside(unittest.TestCase):
    """With a program in Bazel's place that says how it was called, and builds for ever."""

    def test_later_builds_go_on_at_the_lowest_priority_and_end_with_the_part(self):
        with tempfile.TemporaryDirectory() as folder:
            bazel, said = os.path.join(folder, "bazel"), os.path.join(folder, "said")
            with open(bazel, "w", encoding="utf-8") as file:
                file.write(f'#!/bin/sh\necho "$(nice) $*" >>{said}\n'
                           'case $* in *" build "*) exec sleep 1000 ;; esac\n')
            os.chmod(bazel, 0o755)
            os.environ["PARKWAY_BAZEL"] = bazel
            try:
                with runner.Beside([("asan", ["//a"]), ("tsan", ["//b"])], os.devnull) as beside:
                    end = time.monotonic() + 20
                    while beside.child is None and time.monotonic() < end:
                        time.sleep(0.01)
                    while " build " not in runner.read_text(said) and time.monotonic() < end:
                        time.sleep(0.01)
            finally:
                del os.environ["PARKWAY_BAZEL"]
            self.assertIsNotNone(beside.child.returncode)
            lines = runner.read_text(said).splitlines()
        place = f"--output_base={runner.place_beside()}"
        self.assertEqual([f"{place} shutdown", f"{place} shutdown"],
                         [line.split(" ", 1)[1] for line in (lines[0], lines[-1])])
        self.assertEqual(3, len(lines), lines)
        self.assertRegex(lines[1], f"^19 {place} build --config=asan .* -- //a$")


class CommandLine(unittest.TestCase):
    def test_an_unknown_part_is_refused_with_those_that_exist(self):
        ended = subprocess.run([sys.executable, os.path.join(HERE, "runner.py"), "units"],
                               capture_output=True, text=True, check=False)
        self.assertEqual(2, ended.returncode)
        self.assertIn("no such part: units; there are format, shellcheck", ended.stderr)


if __name__ == "__main__":
    cases.main()
