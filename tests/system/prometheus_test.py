#!/usr/bin/env python3
"""A real Prometheus scrapes the daemon, counts what was really made, and alerts by our rules."""

import json
import os
import socket
import urllib.parse
import urllib.request

from lib import net, places, story
from lib.daemon import PATIENCE, Parkway
from lib.process import Process, run, until
from lib.programs import program
from http_test import Echo, exchange, turned_away

HERE = os.path.dirname(os.path.realpath(__file__))
DEPLOY = os.path.join(HERE, "..", "..", "deploy")
RULES = os.path.join(DEPLOY, "alerts.yml")

CONFIG = """
global: {{scrape_interval: 500ms, scrape_timeout: 500ms, evaluation_interval: 500ms}}
rule_files: [{rules}]
scrape_configs:
  - job_name: parkway
    static_configs: [{{targets: ["{target}"]}}]
"""


class Prometheus(Process):
    def __init__(self, folder, target):
        self.address = f"127.0.0.1:{net.free_port()}"
        config = os.path.join(folder, "prometheus.yml")
        with open(config, "w", encoding="ascii") as file:
            file.write(CONFIG.format(rules=os.path.realpath(RULES), target=target))
        super().__init__([program("prometheus"), f"--config.file={config}",
                          f"--storage.tsdb.path={folder}/data",
                          f"--web.listen-address={self.address}"])
        until(self._is_ready, 30 * places.PATIENCE, "Prometheus is ready")

    def _is_ready(self):
        try:
            return self._get("/-/ready") is not None
        except OSError:
            return False

    def _get(self, path):
        with urllib.request.urlopen(f"http://{self.address}{path}", timeout=10) as response:
            return response.read()

    def query(self, expression):
        """[(labels, value)] as of now."""
        path = "/api/v1/query?" + urllib.parse.urlencode({"query": expression})
        found = json.loads(self._get(path))["data"]["result"]
        return [(one["metric"], float(one["value"][1])) for one in found]

    def number(self, expression):
        return sum(value for _, value in self.query(expression))

    def alerts(self):
        """{name: state} of those that are pending or firing."""
        return {alert["labels"]["alertname"]: alert["state"]
                for alert in json.loads(self._get("/api/v1/alerts"))["data"]["alerts"]}

    def rules(self):
        groups = json.loads(self._get("/api/v1/rules"))["data"]["groups"]
        return [rule for group in groups for rule in group["rules"]]


class WithPrometheus(story.Story):
    def test_the_rules_are_sound(self):
        _, out, _ = run([program("promtool"), "check", "rules", RULES])
        self.assertRegex(out, r"SUCCESS: \d+ rules found")

    def test_it_counts_what_was_made_and_alerts_when_no_server_is_left(self):
        server = self.started(Echo())
        dead = f"127.0.0.1:{net.free_port()}"
        http = f"127.0.0.1:{net.free_port()}"
        web, sql = (f"127.0.0.1:{net.free_port()}" for _ in range(2))
        daemon = self.started(Parkway.from_flags(
            [f"--http={http}", "--threads=2", "--access_log=off", "--health_interval=100ms",
             f"--listen=name=web addr={web} upstream=app", "--upstream=name=app",
             f"--server=upstream=app name=a addr={server.address}",
             f"--listen=name=sql addr={sql} upstream=db", "--upstream=name=db health=tcp",
             f"--server=upstream=db name=gone addr={dead}", *places.extra_flags()], web))
        prometheus = self.started(Prometheus(self.folder(), http))
        for _ in range(123):
            exchange(web, b"w" * 1000)
        for _ in range(9):
            turned_away(sql)
        with socket.create_connection(web.split(":")) as open_one:
            open_one.sendall(b"!")
            open_one.recv(1)
            until(lambda: prometheus.number('parkway_connections_total{listener="web"}') == 124,
                  PATIENCE, "it has counted all connections")
            # Of a scrape that took too long there is nothing, until the next one.
            for expression, wanted in (
                    ('parkway_connections_active{listener="web"}', 1),
                    ('parkway_connections_closed_total{listener="web",cause="client_fin"}', 123),
                    ("parkway_sent_bytes_total", 123_001),
                    ("parkway_upstream_received_bytes_total", 123_001),
                    ("histogram_quantile(0.5, sum by (le) "
                     "(parkway_upstream_connect_seconds_bucket)) < bool 5", 1)):
                until(lambda e=expression, w=wanted: prometheus.number(e) == w, PATIENCE,
                      f"{expression} is {wanted}")
        until(lambda: prometheus.number('parkway_connections_closed_total{listener="sql"}') == 9,
              PATIENCE, "those who found no server are counted too")
        # The rule waits for a quarter of a minute before it fires.
        until(lambda: prometheus.alerts().get("ParkwayUpstreamDown") == "firing",
              45 * places.PATIENCE, f"the alert fires; there is {prometheus.alerts()}")
        # Such a scrape makes one pending, too.
        until(lambda: "ParkwayDown" not in prometheus.alerts(), PATIENCE, "it is seen to run")
        self.assertNotIn("ParkwayReloadRefused", prometheus.alerts())
        self.assertEqual([rule["name"] for rule in prometheus.rules() if rule["health"] != "ok"], [],
                         "every rule can be evaluated")
        daemon.finish()
        until(lambda: prometheus.alerts().get("ParkwayDown") == "pending", PATIENCE,
              "that it is gone is seen")

    def test_the_dashboard_asks_for_what_there_is(self):
        """Each metric that Grafana's dashboard and the rules name is one of ours."""
        server = self.started(Echo())
        http, web = (f"127.0.0.1:{net.free_port()}" for _ in range(2))
        self.started(Parkway.from_flags(
            [f"--http={http}", f"--listen=name=web addr={web} upstream=app", "--upstream=name=app",
             f"--server=upstream=app name=a addr={server.address}", *places.extra_flags()], web))
        exchange(web, b"x")
        with urllib.request.urlopen(f"http://{http}/metrics", timeout=10) as response:
            text = response.read().decode()
        # Those that have lines only once something has happened, or a name is asked for.
        seldom = {"parkway_accept_errors_total", "parkway_dns_age_seconds"}
        with open(os.path.join(DEPLOY, "grafana.json"), encoding="utf-8") as file:
            board = file.read()
        json.loads(board)
        with open(RULES, encoding="utf-8") as file:
            words = set(_words(board)) | set(_words(file.read()))
        self.assertGreater(len(words), 20)
        # The rules speak of one in a comment by the name of the histogram.
        known = {line.split("{")[0].split(" ")[0] for line in text.splitlines()}
        known |= {line.split(" ")[2] for line in text.splitlines() if line.startswith("# TYPE")}
        self.assertEqual(sorted(words - seldom - known), [])


def _words(text):
    word = ""
    for c in text + " ":
        if c.isalnum() or c == "_":
            word += c
        else:
            if word.startswith("parkway_"):
                yield word
            word = ""


if __name__ == "__main__":
    story.main()
