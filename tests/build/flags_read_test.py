#!/usr/bin/env python3
"""No flag is without effect: each member that a row of the table of flags sets is read by the daemon.

The rows are in config/flag_rows_*.cc, as `&Scalars::NAME`; read means that proxy/ has `.NAME`. The
first test plants a flag that nobody reads and demands that it is found; the second reads the real
tree.
"""

import glob
import os
import re
import sys
import tempfile
import unittest

sys.path.append(os.path.join(os.path.dirname(os.path.realpath(__file__)), ".."))
import cases  # noqa: E402  (of tests/)


def text_of(root, pattern):
    texts = []
    for path in sorted(glob.glob(os.path.join(root, pattern), recursive=True)):
        with open(path, encoding="utf-8") as file:
            texts.append(file.read())
    return "\n".join(texts)


def unread(root):
    """Members that rows set and that proxy/ never reads."""
    rows = text_of(root, "config/flag_rows*.cc")
    daemon = text_of(root, "proxy/**/*.cc") + text_of(root, "proxy/**/*.h")
    members = set(re.findall(r"&Scalars::(\w+)", rows))
    return sorted(member for member in members if not re.search(rf"(?:\.|->){member}\b", daemon))


class Flags(unittest.TestCase):

    def test_a_flag_that_nobody_reads_is_found(self):
        with tempfile.TemporaryDirectory() as root:
            os.makedirs(os.path.join(root, "config"))
            os.makedirs(os.path.join(root, "proxy", "inner"))
            with open(os.path.join(root, "config", "flag_rows_x.cc"), "w", encoding="utf-8") as file:
                file.write("{&Scalars::used, 1}, {&Scalars::unused}, {&Scalars::use}")
            with open(os.path.join(root, "proxy", "inner", "a.cc"), "w", encoding="utf-8") as file:
                file.write("x = settings.used; y = unused;")
            self.assertEqual(["unused", "use"], unread(root))

    def test_each_flag_is_read_by_the_daemon(self):
        root = os.path.dirname(os.path.dirname(os.path.dirname(os.path.realpath(__file__))))
        self.assertGreater(len(re.findall(r"&Scalars::", text_of(root, "config/flag_rows*.cc"))), 100)
        self.assertEqual([], unread(root))


if __name__ == "__main__":
    cases.main()
