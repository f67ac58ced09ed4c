#!/usr/bin/env python3
"""The frame of these stories: what fails is counted and named, wherever in a story it failed."""

import os
import subprocess
import sys

from lib import story

FILE = '''
import sys
sys.path.insert(0, {here!r})
from lib import story


class Told(story.Story):
    def test_well(self):
        pass

    def test_badly_in_two_of_three_parts(self):
        for part in range(3):
            with self.subTest(part=part):
                self.assertEqual(part, 1)

    def test_badly(self):
        self.fail("so")


story.main()
'''


class Frame(story.Story):

    def test_each_story_that_fails_is_counted_once_and_named(self):
        path = os.path.join(self.folder(), "told_test.py")
        with open(path, "w", encoding="ascii") as file:
            file.write(FILE.format(here=os.path.dirname(os.path.realpath(__file__))))
        done = subprocess.run([sys.executable, path], capture_output=True, text=True, check=False)
        self.assertEqual(done.stdout.splitlines()[-3:], [
            "FAILED Told.test_badly", "FAILED Told.test_badly_in_two_of_three_parts",
            "RESULT passed=1 failed=2"])
        self.assertEqual(done.returncode, 1)


if __name__ == "__main__":
    story.main()
