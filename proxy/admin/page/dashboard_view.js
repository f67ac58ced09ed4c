// --- What is shown ---

const KIND_OF_STATE = {up: "good", accepting: "good", drain: "warn", draining: "warn", paused: "warn",
                       ejected: "bad", unhealthy: "bad", down: "off", gone: "off"};
const plots = {
  connections: new Plot($("connections"), [{name: "open", color: "--blue", fill: "--blue-fill"}], count),
  throughput: new Plot($("throughput"), [
    {name: "to clients", color: "--blue", fill: "--blue-fill"},
    {name: "from clients", color: "--teal", fill: "--teal-fill", down: true}], rate),
};
// Totals of the last answer, to make rates of: what is newer than the last step of the history.
let before = null;

function tile(title, value, unit, more, part) {
  return h("dl", {class: "card tile"}, h("dt", {}, title),
    h("dd", {class: "value"}, value, unit ? h("small", {}, unit) : null),
    h("dd", {class: "more", title: more}, more),
    part === undefined ? null : h("dd", {style: "margin-top:8px"}, bar(part)));
}
function showTiles(now) {
  const p = now.process;
  const seconds = before ? now.taken - before.taken : 0;
  const last = (values) => values.length ? values[values.length - 1] : 0;
  const live = (name, fallback) => seconds > 0.5 ? (p[name] - before.process[name]) / seconds : last(fallback);
  const series = now.history.process;
  const accepted = live("accepted", series.new);
  const [down, downUnit] = bytes(live("sent", series.sent));
  const [up, upUnit] = bytes(live("received", series.received));
  const servers = now.upstreams.reduce((sum, u) => sum + u.server_count, 0);
  const serversUp = now.upstreams.reduce((sum, u) => sum + u.servers_up, 0);
  const busiest = Math.max(0, ...now.workers.map((w) => w.busy));
  const [memory, memoryUnit] = bytes(p.memory);
  $("tiles").replaceChildren(
    tile("Connections", count(p.connections), "", `of ${count(p.connection_limit)} allowed`, p.connection_limit ? p.connections / p.connection_limit : 0),
    tile("New connections", count(accepted), "/s", `${count(p.accepted)} since the start`),
    tile("To clients", down, downUnit + "/s", `${size(p.sent)} in all`),
    tile("From clients", up, upUnit + "/s", `${size(p.received)} in all`),
    tile("Servers up", count(serversUp), `of ${count(servers)}`, plural(now.upstream_count, "upstream"), undefined),
    tile("Busiest thread", percent(busiest), "", `${memory} ${memoryUnit}, ${count(p.fds_open)} descriptors`, busiest));
  const key = (id, entries) => $(id).replaceChildren(...entries.map(([name, color, value]) =>
    h("li", {}, h("i", {style: `background:var(${color})`}), name, h("b", {}, value))));
  key("connections-key", [["open", "--blue", count(p.connections)]]);
  key("throughput-key", [["to clients", "--blue", `${down} ${downUnit}/s`], ["from clients", "--teal", `${up} ${upUnit}/s`]]);
  const history = now.history;
  if (history.step) {
    plots.connections.update([series.connections], history.step, history.last, `Open connections, now ${count(p.connections)}`);
    plots.throughput.update([series.sent, series.received], history.step, history.last, `Throughput, now ${down} ${downUnit}/s to clients`);
  }
}

function causes(all) {
  const normal = ["client_fin", "server_fin"];
  const odd = Object.entries(all).filter(([name]) => !normal.includes(name)).sort((a, b) => b[1] - a[1]);
  if (!odd.length) return h("span", {class: "sub"}, "none");
  return h("span", {class: "sub", title: odd.map(([name, n]) => `${name} ${n}`).join("\n")},
    odd.slice(0, 2).map(([name, n]) => `${count(n)} ${name}`).join(", ") + (odd.length > 2 ? ", …" : ""));
}
function showListeners(now) {
  const series = new Map(now.history.listeners.map((one) => [one.name, one]));
  const last = (l, what) => { const one = series.get(l.name); return one && one[what].length ? one[what][one[what].length - 1] : null; };
  $("listener-count").textContent = now.listener_count > now.listeners.length ? `${now.listeners.length} of ${count(now.listener_count)}` : "";
  $("listeners").replaceChildren(table([
    ["Listener", "whole", (l) => named(KIND_OF_STATE[l.state], l.name,
       [l.state === "accepting" ? null : l.state, l.addresses.length > 3 ? `${l.addresses.length} addresses` : l.addresses.filter((a) => a !== l.name).join(", "),
        l.upstream ? "→ " + l.upstream : "→ by route"].filter((word) => word).join(" · "))],
    ["", "wide", (l) => spark((series.get(l.name) || {}).connections, "--blue")],
    ["Open", "num", (l) => l.max_connections ? `${count(l.active)} of ${count(l.max_connections)}` : count(l.active)],
    ["Accepted", "num", (l) => count(l.total)],
    ["New/s", "num", (l) => count(last(l, "new"))],
    ["From clients", "num", (l) => rate(last(l, "received"))],
    ["To clients", "num", (l) => rate(last(l, "sent"))],
    ["Lived p50", "num", (l) => time(l.duration_p50)],
    ["RTT p50", "num", (l) => time(l.rtt_p50)],
    ["Ended otherwise", "", (l) => causes(l.causes)],
  ], now.listeners, "There is no listener."));
}

function check(server) {
  if (!server.check) return h("span", {class: "sub"}, "none");
  const good = server.check.word.endsWith("OK");
  const {word, took, passed, failed, transitions} = server.check;
  return h("div", {title: `${passed} passed, ${failed} failed, ${transitions} changes`},
    h("div", {class: "word " + (good ? "good" : word === "UNK" ? "" : "bad")}, word),
    word === "UNK" ? null : h("div", {class: "sub"}, time(took)));
}
function showUpstreams(now) {
  const series = new Map(now.history.upstreams.map((one) => [one.name, one]));
  $("upstreams").replaceChildren(...now.upstreams.map((u) => {
    const most = Math.max(1, ...u.servers.map((one) => one.active));
    const kind = u.servers_up === 0 ? "bad" : u.servers_up < u.server_count ? "warn" : "good";
    return h("section", {class: "card", "aria-label": "Upstream " + u.name},
      h("div", {class: "up-head"},
        h("h3", {class: "with-dot"}, h("span", {class: "dot " + kind}), u.name, h("small", {}, u.balance + (u.used ? "" : ", unused"))),
        spark((series.get(u.name) || {}).connections, "--teal")),
      h("div", {class: "facts"},
        h("span", {}, h("b", {}, `${count(u.servers_up)} of ${count(u.server_count)}`), " up"),
        h("span", {}, h("b", {}, count(u.active)), " open"),
        h("span", {}, "connect p50 ", h("b", {}, time(u.connect_p50)), ", p99 ", h("b", {}, time(u.connect_p99))),
        u.queue || u.queued ? h("span", {}, h("b", {}, count(u.queue)), " waiting, ", h("b", {}, count(u.queued)), " waited") : null,
        h("span", {}, h("b", {}, count(u.errors)), " failed connects")),
      table([
        ["Server", "whole", (v) => named(KIND_OF_STATE[v.state], v.name,
           [v.address === v.name ? null : v.address, v.priority ? "backup" : null, v.weight === 1 ? null : `weight ${v.weight}`].filter((word) => word).join(" · "))],
        ["State", "", (v) => h("div", {},
           h("div", {class: "word " + KIND_OF_STATE[v.state]}, v.state), v.since ? h("div", {class: "sub"}, time(v.since)) : null)],
        ["Open", "num", (v) => h("div", {class: "load"}, bar(v.max_conns ? v.active / v.max_conns : v.active / most, !v.max_conns),
           v.max_conns ? `${count(v.active)} of ${count(v.max_conns)}` : count(v.active))],
        ["Made", "num", (v) => h("div", {}, count(v.total),
           v.errors ? h("div", {class: "word bad"}, `${count(v.errors)} failed`) : null)],
        ["Connect p50, p99", "num", (v) => v.connect_p50 === null ? "–" : `${time(v.connect_p50)}, ${time(v.connect_p99)}`],
        ["Check", "", check],
      ], u.servers, "It has no server."),
      u.servers.length < u.server_count ? h("p", {class: "sub"}, `${u.servers.length} of ${count(u.server_count)} servers, those in trouble first`) : null);
  }));
}

function showRest(now) {
  $("slowest").replaceChildren(table([
    ["Client", "whole", (c) => h("div", {}, h("div", {class: "name"}, c.client || "connection " + c.id),
       h("div", {class: "sub"}, [c.listener, c.server ? `${c.upstream}/${c.server}` : c.upstream].filter((word) => word).join(" → ")))],
    ["RTT client", "num", (c) => time(c.rtt_client || null)],
    ["RTT server", "num", (c) => time(c.rtt_server || null)],
    ["Waiting", "num", (c) => c.waiting ? h("span", {class: "word warn"}, `${size(c.waiting)}, ${time(c.idle)}`) : "–"],
    ["Open for", "num", (c) => time(c.age)],
    ["From client", "num", (c) => size(c.received)],
    ["To client", "num", (c) => size(c.sent)],
  ], now.slowest, "There is no open connection."));
  const fullest = Math.max(1, ...now.workers.map((w) => w.connections));
  $("workers").replaceChildren(...now.workers.map((w) => h("div", {class: "thread"},
    h("span", {class: "name"}, w.index), bar(w.busy), h("span", {class: "num"}, percent(w.busy) + " busy"),
    h("span", {class: "sub"}, `${plural(w.connections, "connection")}` +
      (fullest > 1 ? ` · ${percent(w.connections / fullest)} of the fullest` : "") + ` · lag p99 ${time(w.lag_p99)}` +
      (w.answered ? "" : " · does not answer")))));
  $("names").hidden = !now.dns.length;
  $("dns").replaceChildren(table([
    ["Name", "whole", (d) => named(d.error ? "warn" : "good", d.name, d.error)],
    ["Age", "num", (d) => time(d.age)],
    ["Answered", "num", (d) => count(d.ok)],
    ["Failed", "num", (d) => count(d.failed)],
    ["Addresses", "", (d) => h("span", {class: "sub"}, d.answers.join(", "))],
  ], now.dns, ""));
}

function showState(now) {
  const p = now.process, reload = p.reload;
  $("about").textContent = `${p.version} · pid ${p.pid} · up ${time(p.uptime)} · generation ${p.generation}` +
    ` · ${reload.running ? "reloading" : reload.ok ? "configuration of " + clock(reload.at) : "last reload refused"}`;
  const lines = now.not_ready.slice(0, 6);
  if (!reload.ok) lines.push("The last reload was refused, the configuration before it is in force: " + reload.error);
  if (p.drain.draining) {
    lines.push(`Draining (${p.drain.what}): ${plural(p.drain.left, "connection")} left` +
      (p.drain.time_left === null ? ", no deadline" : `, ${time(Math.max(0, p.drain.time_left))} left`));
  }
  const state = p.drain.draining ? ["warn", "draining"] : now.not_ready.length ? ["bad", "not ready"] : ["good", "ready"];
  $("state").className = "pill " + state[0];
  $("state").textContent = state[1];
  $("notice").className = "";
  $("notice").hidden = !lines.length;
  $("notice").textContent = lines.join("\n");
  document.title = (state[0] === "good" ? "" : state[1] + " · ") + count(p.connections) + " open · Parkway";
  $("foot").textContent = `as of ${clock(now.taken)}, every ${EVERY_MS / 1000} s`;
}

let misses = 0;
async function ask() {
  const patience = new AbortController();
  const timer = setTimeout(() => patience.abort(), 2 * EVERY_MS);
  try {
    const response = await fetch("/api/status", {signal: patience.signal, cache: "no-store"});
    if (!response.ok) throw new Error(`status ${response.status}`);
    const now = await response.json();
    if (before && before.process.pid !== now.process.pid) before = null;
    showState(now);
    showTiles(now);
    showListeners(now);
    showUpstreams(now);
    showRest(now);
    before = now;
    misses = 0;
    document.body.classList.remove("gone");
    document.body.dataset.taken = now.taken;
  } catch (error) {
    if (++misses >= MISSES_UNTIL_GONE || !before) {
      document.body.classList.add("gone");
      $("state").className = "pill bad";
      $("state").textContent = "no answer";
      $("notice").className = "bad";
      $("notice").hidden = false;
      $("notice").textContent = "The daemon does not answer." +
        (before ? ` What is shown is as of ${clock(before.taken)}.` : "") + " This page asks again by itself.";
      document.title = "no answer · Parkway";
    }
  } finally {
    clearTimeout(timer);
    setTimeout(ask, EVERY_MS);
  }
}
ask();
})();
