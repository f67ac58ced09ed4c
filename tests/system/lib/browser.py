"""A headless Chromium, driven by WebDriver as chromedriver speaks it: HTTP and JSON."""

import base64
import json
import tempfile
import urllib.error
import urllib.request

from . import net, places, procfs
from .process import Process, until
from .programs import program


class Browser(Process):
    def __init__(self, folder, *, dark=False, width=1400, height=1200):
        self.url = f"http://127.0.0.1:{net.free_port()}"
        self.session = None
        self._profile = tempfile.mkdtemp(dir=folder)
        super().__init__([program("chromedriver"), "--port=" + self.url.rsplit(":", 1)[1]])
        until(self._listens, 20 * places.PATIENCE, "chromedriver answers")
        arguments = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic",
                     "--no-first-run", "--disable-background-networking", "--disable-dev-shm-usage",
                     "--disable-component-update", "--disable-sync", "--hide-scrollbars",
                     f"--window-size={width},{height}",
                     f"--blink-settings=preferredColorScheme={0 if dark else 1}",
                     f"--user-data-dir={self._profile}"]
        wanted = {"browserName": "chrome", "goog:loggingPrefs": {"browser": "ALL"},
                  "goog:chromeOptions": {"args": arguments, "binary": program("chromium")}}
        self.session = self._ask("POST", "/session",
                                 {"capabilities": {"alwaysMatch": wanted}})["sessionId"]

    def _listens(self):
        try:
            return self._ask("GET", "/status")["ready"]
        except OSError:
            return False

    def _ask(self, method, path, body=None):
        if self.session:
            path = f"/session/{self.session}{path}"
        request = urllib.request.Request(
            self.url + path, method=method, headers={"Content-Type": "application/json"},
            data=None if body is None else json.dumps(body).encode())
        try:
            with urllib.request.urlopen(request, timeout=60) as response:
                return json.load(response)["value"]
        except urllib.error.HTTPError as error:
            raise AssertionError(f"{method} {path}: {error.read().decode()}") from None

    def open(self, url):
        self._ask("POST", "/url", {"url": url})

    def run(self, script, *arguments):
        """What a script of the page returns."""
        return self._ask("POST", "/execute/sync", {"script": script, "args": list(arguments)})

    def text(self, selector):
        return self.run("const e = document.querySelector(arguments[0]); "
                        "return e ? e.innerText : null", selector)

    def console(self):
        """What the page has complained of since the last call."""
        return [line["message"] for line in self._ask("POST", "/se/log", {"type": "browser"})
                if line["level"] in ("SEVERE", "WARNING")]

    def resize(self, width, height):
        """As a telephone would have it: windows are never so narrow."""
        self._ask("POST", "/goog/cdp/execute", {
            "cmd": "Emulation.setDeviceMetricsOverride",
            "params": {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": True}})

    def screenshot(self, path):
        with open(path, "wb") as file:
            file.write(base64.b64decode(self._ask("GET", "/screenshot")))

    def stop(self, *arguments):
        if self.session:
            try:
                self._ask("DELETE", "")
            except (OSError, AssertionError):
                pass
            self.session = None
        code = super().stop(*arguments)
        # Its folder is removed next, and nobody may write there meanwhile.
        until(lambda: not procfs.with_argument(self._profile), 20 * places.PATIENCE,
              "Chromium has ended")
        return code


# For each piece of text that is seen: the contrast of its colour with what is behind it.
CONTRASTS = """
const canvas = document.createElement('canvas').getContext('2d', {willReadFrequently: true});
function colour(text) {
  canvas.clearRect(0, 0, 1, 1);
  canvas.fillStyle = text;
  canvas.fillRect(0, 0, 1, 1);
  const [r, g, b, a] = canvas.getImageData(0, 0, 1, 1).data;
  return [r, g, b, a / 255];
}
function over(top, below) { return [0, 1, 2].map(i => top[i] * top[3] + below[i] * (1 - top[3])).concat(1); }
function behind(element) {
  const layers = [];
  for (let e = element; e; e = e.parentElement) layers.push(colour(getComputedStyle(e).backgroundColor));
  return layers.reverse().reduce((below, layer) => over(layer, below), [255, 255, 255, 1]);
}
function light([r, g, b]) {
  const [x, y, z] = [r, g, b].map(v => { v /= 255; return v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4; });
  return 0.2126 * x + 0.7152 * y + 0.0722 * z;
}
const found = [];
const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
while (walk.nextNode()) {
  const element = walk.currentNode.parentElement;
  if (!walk.currentNode.data.trim() || !element.getClientRects().length) continue;
  if (['SCRIPT', 'STYLE'].includes(element.tagName)) continue;
  const style = getComputedStyle(element);
  const ink = element instanceof SVGElement ? style.fill : style.color;
  const below = behind(element instanceof SVGElement ? element.closest('div') : element);
  const a = light(over(colour(ink), below)), b = light(below);
  found.push([walk.currentNode.data.trim(), (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05)]);
}
return found;
"""
