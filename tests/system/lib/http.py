"""What the daemon says over HTTP."""

import http.client
import json
import re


def get(address, path, seconds=10, headers=None, source=None):
    """(status, body as text, headers) of one request to "IP:PORT"."""
    host, port = address.rsplit(":", 1)
    connection = http.client.HTTPConnection(host.strip("[]"), int(port), timeout=seconds,
                                            source_address=(source, 0) if source else None)
    try:
        connection.request("GET", path, headers=headers or {})
        response = connection.getresponse()
        body = response.read().decode()
        return response.status, body, response.headers
    finally:
        connection.close()


def status(address):
    code, body, _ = get(address, "/api/status")
    if code != 200:
        raise AssertionError(f"/api/status: {code}: {body}")
    return json.loads(body)


_LINE = re.compile(r'^([a-z_]+)(?:\{(.*)\})? (\S+)$')
_LABEL = re.compile(r'([a-z_]+)="((?:[^"\\]|\\.)*)"')


class Metrics:
    """One scrape: value("connections_total", listener="web"), sums over labels that are not named."""

    def __init__(self, address):
        code, self.text, self.headers = get(address, "/metrics", seconds=60)
        if code != 200:
            raise AssertionError(f"/metrics: {code}: {self.text[:500]}")
        self.samples = []
        for line in self.text.splitlines():
            if line.startswith("#"):
                continue
            match = _LINE.match(line)
            if not match:
                raise AssertionError(f"not a line of metrics: {line}")
            labels = dict(_LABEL.findall(match[2] or ""))
            self.samples.append((match[1], labels, float(match[3])))

    def values(self, name, **labels):
        return [value for known, has, value in self.samples
                if known == "parkway_" + name
                and all(has.get(key) == wanted for key, wanted in labels.items())]

    def value(self, name, **labels):
        return sum(self.values(name, **labels))
