"use strict";
// Asks /api/status every two seconds and draws what it says. Names come from configurations, so
// everything is put in as text, never as markup.
(() => {
const EVERY_MS = 2000;
const STEPS = 180;
const MISSES_UNTIL_GONE = 2;
const SVG = "http://www.w3.org/2000/svg";

const $ = (id) => document.getElementById(id);
function make(space, tag, attributes, children) {
  const element = space ? document.createElementNS(space, tag) : document.createElement(tag);
  for (const [name, value] of Object.entries(attributes || {})) {
    if (value !== undefined && value !== null) element.setAttribute(name, value);
  }
  for (const child of children.flat()) {
    if (child !== undefined && child !== null) element.append(child);
  }
  return element;
}
const h = (tag, attributes, ...children) => make(null, tag, attributes, children);
const s = (tag, attributes, ...children) => make(SVG, tag, attributes, children);

// --- Numbers as people read them ---

function count(n) {
  if (n === null || n === undefined) return "–";
  if (n >= 1e9) return (n / 1e9).toFixed(1) + " G";
  if (n >= 1e7) return (n / 1e6).toFixed(1) + " M";
  if (n >= 1e5) return (n / 1e3).toFixed(0) + " k";
  if (n >= 100 || Number.isInteger(n)) return Math.round(n).toLocaleString("en-US");
  return n.toFixed(n >= 10 ? 1 : 2);
}
function bytes(n) {
  if (n === null || n === undefined) return ["–", ""];
  const units = ["B", "KB", "MB", "GB", "TB", "PB"];
  let unit = 0;
  while (n >= 1000 && unit < units.length - 1) { n /= 1000; ++unit; }
  return [unit === 0 ? Math.round(n).toString() : n.toFixed(n >= 100 ? 0 : n >= 10 ? 1 : 2), units[unit]];
}
const size = (n) => bytes(n).join(" ").trim();
const rate = (n) => size(n) + "/s";
function time(seconds) {
  if (seconds === null || seconds === undefined) return "–";
  if (seconds === 0) return "0";
  if (seconds < 0.001) return Math.round(seconds * 1e6) + " µs";
  if (seconds < 0.1) return (seconds * 1e3).toFixed(seconds < 0.01 ? 1 : 0) + " ms";
  if (seconds < 1) return (seconds * 1e3).toFixed(0) + " ms";
  if (seconds < 60) return seconds.toFixed(seconds < 10 ? 1 : 0) + " s";
  if (seconds < 3600) return Math.floor(seconds / 60) + " min";
  if (seconds < 86400) return Math.floor(seconds / 3600) + " h " + Math.floor(seconds % 3600 / 60) + " min";
  return Math.floor(seconds / 86400) + " d " + Math.floor(seconds % 86400 / 3600) + " h";
}
const clock = (unix) => new Date(unix * 1000).toLocaleTimeString([], {hour12: false});
const percent = (part) => (100 * part).toFixed(part < 0.1 ? 1 : 0) + " %";
const plural = (n, one) => count(n) + " " + one + (n === 1 ? "" : "s");

// --- Plots ---

// The next round number at or above.
function ceiling(value) {
  if (value <= 0) return 1;
  const power = Math.pow(10, Math.floor(Math.log10(value)));
  for (const step of [1, 2, 2.5, 5, 10]) if (step * power >= value) return step * power;
  return 10 * power;
}
const aligned = (values) => Array(Math.max(0, STEPS - values.length)).fill(null).concat(values);

const tenths = (n) => Math.round(n * 10) / 10;

// Smooth enough to look at, and never beyond the values themselves.
function line(points) {
  let path = "";
  points.forEach(([x, y], i) => {
    if (i === 0) { path = `M${x},${y}`; return; }
    const [px, py] = points[i - 1];
    const middle = tenths((px + x) / 2);
    path += `C${middle},${py} ${middle},${y} ${x},${y}`;
  });
  return path;
}

class Plot {
  // series: [{name, color, fill, down}]; `down`: drawn below the line of zero.
  constructor(box, series, format) {
    this.box = box;
    this.series = series;
    this.format = format;
    this.values = series.map(() => []);
    this.svg = s("svg", {role: "img"});
    this.tip = h("div", {class: "tip", hidden: ""});
    box.replaceChildren(this.svg, this.tip);
    box.addEventListener("pointermove", (event) => this.point(event));
    box.addEventListener("pointerleave", () => { this.at = null; this.draw(); });
    new ResizeObserver(() => this.draw()).observe(box);
  }
  update(values, step, last, label) {
    this.values = values.map(aligned);
    this.step = step;
    this.last = last;
    this.svg.setAttribute("aria-label", label);
    this.draw();
  }
  point(event) {
    const box = this.box.getBoundingClientRect();
    this.at = event.clientX - box.left;
    this.draw();
  }
  draw() {
    const width = this.box.clientWidth, height = this.box.clientHeight;
    if (!width || !this.step) return;
    const left = 58, right = 6, top = 8, bottom = 22;
    const mirrored = this.series.some((one) => one.down);
    const highest = (down) => ceiling(Math.max(0, ...this.values.flatMap(
        (values, i) => !!this.series[i].down === down ? values.map((v) => v || 0) : [])));
    const up = highest(false), below = mirrored ? highest(true) : 0;
    const most = mirrored ? Math.max(up, below) : up;
    const x = (i) => left + (width - left - right) * i / (STEPS - 1);
    const y = (v) => {
      const inner = height - top - bottom;
      return mirrored ? top + inner * (1 - v / most) / 2 : top + inner * (1 - v / most);
    };
    const parts = [];
    const ticks = mirrored ? [most, most / 2, 0, -most / 2, -most] : [most, most / 2, 0];
    for (const tick of ticks) {
      parts.push(s("line", {class: tick === 0 ? "zero" : "rule", x1: left, x2: width - right, y1: y(tick), y2: y(tick)}));
      parts.push(s("text", {x: left - 8, y: y(tick) + 4, "text-anchor": "end"}, this.format(Math.abs(tick))));
    }
    const minutes = STEPS * this.step / 60;
    for (const [part, words] of [[0, `−${minutes} min`], [1 / 3, `−${minutes * 2 / 3} min`], [2 / 3, `−${minutes / 3} min`], [1, "now"]]) {
      parts.push(s("text", {x: left + (width - left - right) * part, y: height - 4,
                            "text-anchor": part === 0 ? "start" : part === 1 ? "end" : "middle"}, words));
    }
    this.values.forEach((values, k) => {
      const one = this.series[k];
      const points = [];
      values.forEach((v, i) => { if (v !== null) points.push([tenths(x(i)), tenths(y(one.down ? -v : v))]); });
      if (!points.length) return;
      const path = line(points);
      if (one.fill) {
        parts.push(s("path", {d: `${path}L${points[points.length - 1][0]},${y(0)}L${points[0][0]},${y(0)}Z`, style: `fill:var(${one.fill})`}));
      }
      parts.push(s("path", {d: path, fill: "none", style: `stroke:var(${one.color})`, "stroke-width": 2, "stroke-linejoin": "round", "stroke-linecap": "round"}));
    });
    this.show(parts, x, y, width, left, right, top, height - bottom);
    this.svg.replaceChildren(...parts);
  }
  // What was where the pointer is.
  show(parts, x, y, width, left, right, top, bottom) {
    const i = this.at === null || this.at === undefined ? -1 :
        Math.round((this.at - left) / (width - left - right) * (STEPS - 1));
    const known = i >= 0 && i < STEPS && this.values.some((values) => values[i] !== null && values[i] !== undefined);
    this.tip.hidden = !known;
    if (!known) return;
    parts.push(s("line", {class: "cross", x1: x(i), x2: x(i), y1: top, y2: bottom}));
    const rows = this.series.map((one, k) => {
      const value = this.values[k][i];
      if (value === null) return null;
      parts.push(s("circle", {cx: x(i), cy: y(one.down ? -value : value), r: 3.5, style: `fill:var(${one.color})`}));
      return h("div", {}, h("i", {style: `background:var(${one.color})`}), one.name, h("b", {}, this.format(value)));
    });
    this.tip.replaceChildren(h("div", {}, clock(this.last - (STEPS - 1 - i) * this.step)), ...rows.filter((row) => row));
    const half = i > STEPS / 2;
    this.tip.style.left = half ? "" : x(i) + 12 + "px";
    this.tip.style.right = half ? width - x(i) + 12 + "px" : "";
  }
}

function spark(values, color) {
  const all = aligned(values || []).slice(-90), most = Math.max(1e-9, ...all.map((v) => v || 0));
  const points = [];
  all.forEach((v, i) => { if (v !== null) points.push([tenths(i * 130 / 89), tenths(26 - 23 * v / most)]); });
  const drawing = s("svg", {class: "spark", viewBox: "0 0 130 28", "aria-hidden": "true"});
  if (points.length > 1) {
    const path = line(points);
    drawing.append(s("path", {d: `${path}L${points[points.length - 1][0]},27L${points[0][0]},27Z`, style: `fill:var(${color}-fill)`}),
                   s("path", {d: path, fill: "none", style: `stroke:var(${color})`, "stroke-width": 1.6}));
  }
  return drawing;
}

// --- Tables ---

// columns: [title, class, cell of a row]
function table(columns, rows, none) {
  if (!rows.length) return h("p", {class: "empty"}, none);
  return h("div", {class: "scroll"}, h("table", {},
    h("thead", {}, h("tr", {}, columns.map(([title, kind]) => h("th", {class: kind, scope: "col"}, title)))),
    h("tbody", {}, rows.map((row) => h("tr", {}, columns.map(([title, kind, cell]) =>
      h("td", {class: kind, "data-name": title}, cell(row))))))));
}
function bar(part, good) {
  const width = Math.max(0, Math.min(1, part || 0));
  const kind = good ? "" : width > 0.95 ? "bad" : width > 0.8 ? "warn" : "";
  return h("div", {class: "bar"}, h("i", {class: kind, style: `width:${(width * 100).toFixed(1)}%`}));
}
const named = (kind, name, below) => h("div", {class: "with-dot"}, h("span", {class: "dot " + kind}),
  h("div", {}, h("div", {class: "name"}, name), below ? h("div", {class: "sub"}, below) : null));
