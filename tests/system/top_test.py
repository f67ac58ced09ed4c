#!/usr/bin/env python3
"""`parkwayctl top`: the live view, on a terminal (tmux's) and elsewhere."""

import re

from lib import story
from lib.admin import parkwayctl
from lib.admin_story import AdminStory
from lib.daemon import PATIENCE, Parkway
from lib.process import run, until


class Top(AdminStory):
    """The live view, on a terminal (tmux's) and elsewhere."""

    def tmux(self, *arguments):
        return run(["tmux", "-S", self.socket, *arguments])[1]

    def terminal(self, columns, rows, command):
        """A terminal of its own on which `command` runs."""
        self.socket = f"{self.folder()}/tmux.sock"
        self.tmux("-f", "/dev/null", "new-session", "-d", "-s", "top", "-x", str(columns),
                  "-y", str(rows), command)
        self.addCleanup(run, ["tmux", "-S", self.socket, "kill-server"], check=False)

    def shows(self, *patterns):
        """Until all of that is to be seen at once."""
        missing = []

        def seen():
            screen = self.screen()
            missing[:] = [pattern for pattern in patterns if not re.search(pattern, screen)]
            return not missing

        until(seen, PATIENCE, lambda: f"{missing} on the screen\n{self.screen()}")

    def screen(self):
        return self.tmux("capture-pane", "-p", "-t", "top")

    def test_it_shows_what_happens_follows_the_window_and_leaves_on_q(self):
        parkway = self.two()
        clients = [self.client(parkway) for _ in range(5)]
        self.terminal(100, 30,
                      f"PS1='done ' sh -c '{parkwayctl()} --socket={parkway.admin.path} top "
                      "--interval=100ms; echo ended with $?; cat'")
        self.shows(r"connections 5/\d+ +new \d", r"(?m)^web +accepting +5 ",
                   r"(?m)^app/a +up +[23] ", r"(?m)^SLOWEST +CLIENT ",
                   rf"127\.0\.0\.1:{clients[0].getsockname()[1]}\b")
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
        self.shows("ended with 0")
        self.assertNotIn("connections", self.screen(), "the screen is as it was before")

    def test_a_daemon_that_goes_is_said_and_found_again(self):
        parkway = self.two()
        self.terminal(120, 30,
                      f"{parkwayctl()} --socket={parkway.admin.path} top --interval=100ms")
        until(lambda: f"pid {parkway.pid}" in self.screen(), PATIENCE, "the numbers")
        parkway.finish()
        until(lambda: "no new numbers: cannot connect" in self.screen(), PATIENCE, "it is gone")
        heir = self.started(Parkway.from_flags(
            [f"--admin_socket={parkway.admin.path}", f"--listen={parkway.listen}",
             f"--upstream={self.a.address}"], parkway.listen))
        self.shows(rf"(?s)\A(?!.*no new).*\bpid {heir.pid}\b")

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
