#!/usr/bin/env python3
"""`parkwayctl top`: the live view, on a terminal (tmux's) and elsewhere."""

import os
import re

from lib import story
from lib.admin import parkwayctl
from lib.admin_story import AdminStory
from lib.daemon import PATIENCE, Parkway
from lib.process import run, until


class Top(AdminStory):
    """The live view, on a terminal (tmux's) and elsewhere."""

    def tmux(self, *arguments):
        return run(["tmux", "-L", self.socket, *arguments])[1]

    def screen(self):
        return self.tmux("capture-pane", "-p", "-t", "top")

    def test_it_shows_what_happens_follows_the_window_and_leaves_on_q(self):
        parkway = self.two()
        clients = [self.client(parkway) for _ in range(5)]
        self.socket = f"parkway-{os.getpid()}-{parkway.pid}"
        self.tmux("-f", "/dev/null", "new-session", "-d", "-s", "top", "-x", "100", "-y", "30",
                  f"PS1='done ' sh -c '{parkwayctl()} --socket={parkway.admin.path} top "
                  "--interval=100ms; echo ended with $?; cat'")
        self.addCleanup(run, ["tmux", "-L", self.socket, "kill-server"], check=False)
        until(lambda: re.search(r"connections 5/\d+ +new \d", self.screen()), PATIENCE,
              "the numbers")
        screen = self.screen()
        self.assertRegex(screen, r"(?m)^web +accepting +5 ")
        self.assertRegex(screen, r"(?m)^app/a +up +[23] ")
        self.assertRegex(screen, r"(?m)^SLOWEST +CLIENT ")
        self.assertRegex(screen, rf"127\.0\.0\.1:{clients[0].getsockname()[1]}\b")
        clients.pop().close()
        until(lambda: "connections 4/" in self.screen(), PATIENCE, "it follows")
        parkway.admin.do("server drain app/b")
        until(lambda: re.search(r"(?m)^app/b +drain ", self.screen()), PATIENCE, "the state")
        self.tmux("resize-window", "-t", "top", "-x", "50", "-y", "12")

        def fits():
            lines = self.screen().rstrip("\n").split("\n")
            return (len(lines) <= 12 and max(map(len, lines)) <= 50 and
                    lines[0].startswith("parkway ") and "connections 4/" in lines[1])

        until(fits, PATIENCE, f"the smaller window\n{self.screen()}")
        self.tmux("send-keys", "-t", "top", "x")
        self.assertNotIn("ended with", self.screen(), "only q ends it")
        self.tmux("send-keys", "-t", "top", "q")
        until(lambda: "ended with 0" in self.screen(), PATIENCE, "q ends it")
        self.assertNotIn("connections", self.screen(), "the screen is as it was before")

    def test_a_daemon_that_goes_is_said_and_found_again(self):
        parkway = self.two()
        self.socket = f"parkway-{os.getpid()}-{parkway.pid}"
        self.tmux("-f", "/dev/null", "new-session", "-d", "-s", "top", "-x", "120", "-y", "30",
                  f"{parkwayctl()} --socket={parkway.admin.path} top --interval=100ms")
        self.addCleanup(run, ["tmux", "-L", self.socket, "kill-server"], check=False)
        until(lambda: f"pid {parkway.pid}" in self.screen(), PATIENCE, "the numbers")
        parkway.finish()
        until(lambda: "no new numbers: cannot connect" in self.screen(), PATIENCE, "it is gone")
        heir = self.started(Parkway.from_flags(
            [f"--admin_socket={parkway.admin.path}", f"--listen={parkway.listen}",
             f"--upstream={self.a.address}"], parkway.listen))
        until(lambda: f"pid {heir.pid}" in self.screen() and "no new" not in self.screen(),
              PATIENCE, "the next one")

    def test_elsewhere_it_writes_lines(self):
        parkway = self.two()
        self.client(parkway)
        text = run([parkwayctl(), f"--socket={parkway.admin.path}", "top", "--interval=50ms",
                    "--count=2"])[1]
        self.assertEqual(len(re.findall(r"(?m)^connections 1/", text)), 2)
        self.assertNotIn("\x1b", text)
        self.assertRegex(text, r"(?m)^app/a +up ")
        code, _, err = parkway.admin.run("top --interval=5")
        self.assertEqual(code, 2)
        self.assertIn("--interval", err)


if __name__ == "__main__":
    story.main()
