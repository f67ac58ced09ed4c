#!/usr/bin/env python3
"""Reads every #include of poller/, config/ and proxy/ and holds them to the plan of the house.

Rules (a room is a header with its source: poller/socket.h and poller/socket.cc are one)
  ring     no rooms include each other, directly or in a circle
  layer    config/ includes only config/; poller/ only poller/; proxy/ all three; nobody tests/
  root     a file of our own is included by its path from the top ("poller/task.h")
  kernel   proxy/ never includes <sys/epoll.h>; what runs on a worker includes no header that
           exists for system calls, clocks or locks, and calls none that a header with needed
           constants brings along: those are in poller/kernel.h and clock.h
  top      the top level holds the planned names and dot files, nothing else

The tests plant each violation in a tree of its own and demand that it is found; the last ones
read the real tree.
"""

import os
import re
import sys
import tempfile
import unittest

sys.path.append(os.path.join(os.path.dirname(os.path.realpath(__file__)), ".."))
import cases  # noqa: E402  (of tests/)

LAYERS = {
    "poller": {"poller"},
    "config": {"config"},
    "proxy": {"poller", "config", "proxy"},
}

TOP = {"BUILD.bazel", "WORKSPACE", "README.md", "LICENSE", "poller", "config", "proxy", "deploy",
       "tests"}

# Rooms of proxy/ that have threads of their own or run before and after the workers.
OFF_WORKER = ("proxy/main", "proxy/process", "proxy/crew", "proxy/obey_signal",
              "proxy/collect_source", "proxy/system/",
              "proxy/admin/", "proxy/observe/", "proxy/upstream/resolver",
              "proxy/handover/sender", "proxy/handover/receiver")

NEVER_IN_PROXY = {"sys/epoll.h"}
NEVER_ON_A_WORKER = {
    "chrono", "condition_variable", "fcntl.h", "mutex", "poll.h", "pthread.h", "semaphore",
    "signal.h", "sys/eventfd.h", "sys/ioctl.h", "sys/select.h", "sys/sendfile.h",
    "sys/signalfd.h", "sys/stat.h", "sys/syscall.h", "sys/time.h", "sys/timerfd.h", "thread",
    "time.h", "ctime", "unistd.h",
}
# Our own functions begin with a capital, so a lower-case one of these is the C library's.
_CALL = re.compile(
    r"(?<![\w.>:])(?:::)?(mmap|munmap|madvise|mprotect|accept4?|bind|listen|connect|recv|recvfrom|"
    r"recvmsg|recvmmsg|send|sendto|sendmsg|sendmmsg|getsockopt|setsockopt|getpeername|getsockname|"
    r"readv|writev|splice|ioctl|fcntl|epoll_\w+|clock_gettime|setrlimit|prlimit)\s*\((?!\s*\))")

_INCLUDE = re.compile(r'^[ \t]*#[ \t]*include[ \t]*(?:"([^"]+)"|<([^>]+)>)', re.MULTILINE)
_COMMENT = re.compile(r"/\*.*?\*/|//[^\n]*", re.DOTALL)


def room(path):
    return os.path.splitext(path)[0]


def sources(root):
    """{file: text without comments} of every header and source of the three layers."""
    found = {}
    for top in LAYERS:
        for folder, _, names in os.walk(os.path.join(root, top)):
            for name in names:
                if not name.endswith((".h", ".cc")):
                    continue
                path = os.path.join(folder, name)
                with open(path, encoding="utf-8") as file:
                    found[os.path.relpath(path, root)] = _COMMENT.sub("", file.read())
    return found


def includes_of(text):
    """[(name, quoted), ...] in the order of the file."""
    return [(match[1] or match[2], match[1] is not None) for match in _INCLUDE.finditer(text)]


def rings(edges):
    """Circles of {room: {rooms it includes}}: each as a sorted list of its rooms (Tarjan)."""
    index, low, stack, on_stack, found = {}, {}, [], set(), []

    def visit(node):
        index[node] = low[node] = len(index)
        stack.append(node)
        on_stack.add(node)
        for target in sorted(edges.get(node, ())):
            if target not in index:
                visit(target)
                low[node] = min(low[node], low[target])
            elif target in on_stack:
                low[node] = min(low[node], index[target])
        if low[node] == index[node]:
            circle = []
            while True:
                member = stack.pop()
                on_stack.discard(member)
                circle.append(member)
                if member == node:
                    break
            if len(circle) > 1:
                found.append(sorted(circle))

    for node in sorted(edges):
        if node not in index:
            visit(node)
    return found


def check_includes(root):
    """One line per violation: "rule: file: what"."""
    bad = []
    edges = {}
    for path, text in sorted(sources(root).items()):
        layer = path.split(os.sep)[0]
        on_worker = layer == "proxy" and not path.startswith(OFF_WORKER)
        for name, quoted in includes_of(text):
            top = name.split("/")[0]
            ours = top in LAYERS or top in ("tests", "deploy")
            if ours:
                if top not in LAYERS[layer]:
                    bad.append(f"layer: {path}: {layer}/ must not include {name}")
                if room(name) != room(path):
                    edges.setdefault(room(path), set()).add(room(name))
            elif quoted and (os.path.exists(os.path.join(root, os.path.dirname(path), name))):
                bad.append(f'root: {path}: include "{name}" by its path from the top')
            if layer == "proxy" and name in NEVER_IN_PROXY:
                bad.append(f"kernel: {path}: <{name}> belongs to poller/")
            if on_worker and name in NEVER_ON_A_WORKER:
                bad.append(f"kernel: {path}: <{name}> on a worker; use poller/kernel.h or clock.h")
        if on_worker:
            bad.extend(f"kernel: {path}: calls {match[1]}() past poller/kernel.h"
                       for match in _CALL.finditer(text))
    bad.extend("ring: " + " <-> ".join(circle) for circle in rings(edges))
    return bad


def check_top(root):
    """One line per name at the top that is not in the plan; bazel's links are not looked at."""
    return [f"top: {name} is not part of the plan" for name in sorted(os.listdir(root))
            if name not in TOP and not name.startswith((".", "bazel-"))]


class Planted(unittest.TestCase):
    """Each rule finds its violation, and nothing in a tree that has none."""

    def check(self, files):
        with tempfile.TemporaryDirectory() as root:
            for path, text in files.items():
                full = os.path.join(root, path)
                os.makedirs(os.path.dirname(full), exist_ok=True)
                with open(full, "w", encoding="utf-8") as file:
                    file.write(text)
            return check_includes(root) + check_top(root)

    def test_a_sound_tree_passes(self):
        self.assertEqual([], self.check({
            "poller/kernel.h": "#include <sys/epoll.h>\n#include <unistd.h>\n",
            "poller/socket.h": '#include "poller/kernel.h"\n',
            "poller/socket.cc": '#include "poller/socket.h"\n#include "absl/time/time.h"\n',
            "config/value.h": "#include <string>\n",
            "proxy/worker.cc": '#include "poller/socket.h"\n#include "config/value.h"\n',
            "proxy/process.cc": '#include "proxy/worker.h"\n#include <unistd.h>\n',
            "proxy/worker.h": '// #include "proxy/process.h"\n/*\n#include "proxy/main.h"\n*/\n',
            "README.md": "",
            ".bazelrc": "",
        }))

    def test_two_headers_that_include_each_other_are_a_ring(self):
        self.assertEqual(["ring: poller/a <-> poller/b"], self.check({
            "poller/a.h": '#include "poller/b.h"\n',
            "poller/b.h": '#include "poller/a.h"\n',
        }))

    def test_a_ring_through_a_source_is_found(self):
        self.assertEqual(["ring: proxy/a <-> proxy/core/c <-> proxy/session/b"], self.check({
            "proxy/a.h": '#include "proxy/session/b.h"\n',
            "proxy/session/b.h": "",
            "proxy/session/b.cc": ' # include "proxy/core/c.h"\n',
            "proxy/core/c.cc": '#include "proxy/a.h"\n',
        }))

    def test_the_engine_does_not_know_the_configuration_or_the_proxy(self):
        bad = self.check({"poller/a.h": '#include "config/x.h"\n#include <proxy/y.h>\n'})
        self.assertEqual(["layer: poller/a.h: poller/ must not include config/x.h",
                          "layer: poller/a.h: poller/ must not include proxy/y.h"], bad)

    def test_the_configuration_does_not_know_the_engine_or_the_proxy(self):
        bad = self.check({"config/a.cc": '#include "poller/x.h"\n#include "proxy/y.h"\n'})
        self.assertEqual(["layer: config/a.cc: config/ must not include poller/x.h",
                          "layer: config/a.cc: config/ must not include proxy/y.h"], bad)

    def test_nothing_includes_the_tests(self):
        self.assertEqual(["layer: proxy/a.cc: proxy/ must not include tests/scale.h"],
                         self.check({"proxy/a.cc": '#include "tests/scale.h"\n'}))

    def test_an_include_beside_the_file_is_named_from_the_top(self):
        self.assertEqual(['root: poller/a.cc: include "a.h" by its path from the top'],
                         self.check({"poller/a.cc": '#include "a.h"\n', "poller/a.h": ""}))

    def test_the_proxy_does_not_touch_epoll_anywhere(self):
        self.assertEqual(["kernel: proxy/process.cc: <sys/epoll.h> belongs to poller/"],
                         self.check({"proxy/process.cc": "#include <sys/epoll.h>\n"}))

    def test_a_worker_makes_no_system_call_of_its_own(self):
        bad = self.check({"proxy/session/relay.cc": "#include <unistd.h>\n#include <chrono>\n"})
        self.assertEqual(2, len(bad), bad)
        self.assertTrue(all(line.startswith("kernel: proxy/session/relay.cc") for line in bad))

    def test_a_worker_calls_the_kernel_by_our_names_only(self):
        bad = self.check({"proxy/session/relay.cc": """
            #include <sys/socket.h>
            // setsockopt(fd, ...) in a comment is no call, nor are these:
            int a = kernel::recv(fd); b.send(x); c->send(x); int listen() const; Presend(x);
            ssize_t n = ::recv(fd, data, size, 0);
            if (madvise(place, size, MADV_DONTNEED) != 0) {}
        """})
        self.assertEqual(["kernel: proxy/session/relay.cc: calls recv() past poller/kernel.h",
                          "kernel: proxy/session/relay.cc: calls madvise() past poller/kernel.h"],
                         bad)

    def test_an_unplanned_name_at_the_top_is_found(self):
        self.assertEqual(["top: notes.txt is not part of the plan"],
                         self.check({"notes.txt": "", "poller/a.h": ""}))


class House(unittest.TestCase):
    """The real tree. This file is reached by a link, so its true place leads to the root."""

    def setUp(self):
        self.root = os.path.realpath(os.path.join(os.path.dirname(os.path.realpath(__file__)),
                                                  "..", ".."))
        self.assertTrue(os.path.exists(os.path.join(self.root, "WORKSPACE")), self.root)

    def test_includes_keep_the_plan(self):
        self.assertIn("poller/kernel.h", sources(self.root))
        self.assertEqual([], check_includes(self.root))

    def test_the_top_level_holds_the_planned_names(self):
        self.assertEqual([], check_top(self.root))


if __name__ == "__main__":
    cases.main()
