#!/usr/bin/env python3
"""The dashboard in a real Chromium: it shows the right numbers, in colours that can be read.

PARKWAY_SCREENSHOTS=FOLDER keeps a picture of each size and colour scheme.
"""

import os
import socket

from lib import net, places, story
from lib.browser import CONTRASTS, Browser
from lib.daemon import PATIENCE, Parkway
from lib.process import until
from lib.programs import Wrk
from http_test import Echo, exchange
from lib.programs import Nginx

LEAST_CONTRAST = 4.5
NARROW = 390


class Dashboard(story.Story):
    def scene(self):
        """A daemon with something to show: two listeners, servers up and away, connections."""
        folder = self.folder()
        nginx = self.started(Nginx(folder, folder))
        echo = self.started(Echo())
        self.web, self.sql, self.http = (f"127.0.0.1:{net.free_port()}" for _ in range(3))
        daemon = self.started(Parkway.from_flags(
            [f"--http={self.http}", "--threads=2", "--access_log=off", "--health_interval=200ms",
             "--fall=1", f"--listen=name=web addr={self.web} upstream=app",
             f"--listen=name=sql addr={self.sql} upstream=db", "--upstream=name=app health=tcp",
             f"--server=upstream=app name=good addr={nginx.ipv4}",
             f"--server=upstream=app name=lost addr=127.0.0.1:{net.free_port()}",
             "--upstream=name=db", f"--server=upstream=db name=one addr={echo.address}",
             *places.extra_flags()], self.web))
        for _ in range(25):
            client = socket.create_connection(self.sql.split(":"))
            self.addCleanup(client.close)
            client.sendall(b"hello")
            client.recv(5)
        return daemon

    def browser(self, **options):
        return self.started(Browser(self.folder(), **options))

    def keep(self, browser, name):
        folder = os.environ.get("PARKWAY_SCREENSHOTS")
        if folder:
            browser.screenshot(os.path.join(folder, name + ".png"))

    def drawn(self, browser):
        browser.open(f"http://{self.http}/")
        until(lambda: browser.text("#state") == "ready", PATIENCE, "the page says that it is ready")

    def test_it_shows_the_right_numbers_under_load_and_by_itself(self):
        self.scene()
        browser = self.browser()
        self.drawn(browser)
        shown = lambda selector: browser.text(selector) or ""
        until(lambda: shown("#tiles .tile:nth-child(1) .value") == "25", PATIENCE,
              "25 connections are open")
        self.assertIn("25", shown("#connections-key"))
        rows = browser.run("return [...document.querySelectorAll('#listeners tbody tr')]"
                           ".map(row => [...row.cells].map(cell => cell.innerText))")
        self.assertEqual([row[0].split("\n")[0] for row in rows], ["web", "sql"])
        self.assertEqual(rows[1][2:4], ["25", "25"])
        until(lambda: "unhealthy" in shown("#upstreams"), PATIENCE, "the lost server is seen")
        self.assertIn("1 of 2", shown("#upstreams section:nth-child(1) .facts"))
        self.assertIn("one", shown("#upstreams section:nth-child(2)"))
        self.assertEqual(shown("#tiles .tile:nth-child(5) .value"), "2of 3")
        self.assertEqual(len(browser.run("return [...document.querySelectorAll('.thread')]")), 2)
        self.assertIn("127.0.0.1:", shown("#slowest"))
        # Under load, without a reload of the page.
        wrk = Wrk(self.web, 5, threads=1, connections=20)
        self.assertEqual(wrk.failures(), [])
        accepted = lambda: browser.run(
            "return document.querySelector('#listeners tbody tr').cells[3].innerText")
        until(lambda: accepted() not in ("", "0"), PATIENCE, "what wrk did is counted")
        until(lambda: browser.run("return fetch('/api/status').then(r => r.json())")["process"]["sent"]
              > wrk.requests * len("x" * 600), PATIENCE, "bytes")
        until(lambda: browser.run("return document.querySelectorAll('#throughput path').length") >= 4,
              PATIENCE, "throughput is drawn")
        self.assertEqual(browser.console(), [])
        self.assertEqual(browser.run(
            "return performance.getEntriesByType('resource').map(e => new URL(e.name).host)"
            ".filter(host => host !== location.host)"), [], "nothing comes from anywhere else")

    def test_it_can_be_read_in_both_colours_and_on_a_phone(self):
        self.scene()
        exchange(self.sql, b"and one that has ended")
        for dark in (False, True):
            browser = self.browser(dark=dark)
            self.drawn(browser)
            until(lambda: "unhealthy" in (browser.text("#upstreams") or ""), PATIENCE, "all is shown")
            for width in (1400, NARROW):
                if width == NARROW:
                    browser.resize(NARROW, 2400)
                until(lambda: browser.run("return innerWidth") == width, PATIENCE, f"{width} wide")
                # As it looks while the pointer is on a plot, too.
                browser.run("document.getElementById('connections').dispatchEvent(new PointerEvent("
                            "'pointermove', {clientX: document.getElementById('connections')"
                            ".getBoundingClientRect().right - 7}))")
                contrasts = browser.run(CONTRASTS)
                self.assertGreater(len(contrasts), 60)
                poor = [(text, round(contrast, 2)) for text, contrast in contrasts
                        if contrast < LEAST_CONTRAST]
                self.assertEqual(poor, [], f"dark={dark}, {width} wide")
                self.assertLessEqual(browser.run("return document.documentElement.scrollWidth"),
                                     width, "nothing sticks out")
                self.keep(browser, f"{'dark' if dark else 'light'}-{width}")
            self.assertEqual(browser.console(), [])
            browser.stop()

    def test_it_says_when_the_daemon_is_gone_and_when_it_is_back(self):
        daemon = self.scene()
        browser = self.browser()
        self.drawn(browser)
        daemon.pause()
        self.addCleanup(daemon.go_on)
        until(lambda: browser.text("#state") == "no answer", 20 * places.PATIENCE,
              "the page says that nobody answers")
        self.assertIn("What is shown is as of", browser.text("#notice"))
        self.keep(browser, "gone")
        daemon.go_on()
        until(lambda: browser.text("#state") == "ready", 20 * places.PATIENCE, "it is back")


if __name__ == "__main__":
    story.main()
