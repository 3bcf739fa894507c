"use strict";
// Text goes in as text alone: nothing that the run says is ever read as markup.

const SVG = "http://www.w3.org/2000/svg";
const at = (id) => document.getElementById(id);
const put = (id, text, look = "") => { at(id).textContent = text; at(id).className = look; };
const number = (value, digits = 2) => value === null || value === undefined ? "–"
  : value.toLocaleString("en", { minimumFractionDigits: digits, maximumFractionDigits: digits });
const size = (value) => value === null || value === undefined ? "–" : String(Number(value.toPrecision(6)));
const percent = (value) => (value >= 0 ? "+" : "") + number(value * 100, 3) + " %";
const bps = (value) => value === null || value === undefined ? "–" : number(value * 1e4, 2) + " bps";
const day = (ms) => ms ? new Date(ms).toISOString().slice(0, 19).replace("T", " ") : "–";
const moment = (us) => day(us / 1000);

function rows(id, table) {
  const made = table.map((cells) => {
    const row = document.createElement("tr");
    for (const [text, look] of cells) {
      const cell = document.createElement("td");
      cell.textContent = text;
      if (look) cell.className = look;
      row.append(cell);
    }
    return row;
  });
  at(id).replaceChildren(...made);
}

function shape(name, attributes) {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  return made;
}

/* Draw points [ms, value]; `level` is a line across that is always in sight. */
function draw(id, points, level, bend = (value) => value) {
  const svg = at(id);
  if (points.length < 2) { svg.replaceChildren(); return null; }
  const [, , width, height] = svg.getAttribute("viewBox").split(" ").map(Number);
  const values = points.map((point) => bend(point[1]));
  const low = Math.min(bend(level), ...values), high = Math.max(bend(level), ...values);
  const begin = points[0][0], span = points[points.length - 1][0] - begin || 1;
  const y = (value) => high === low ? height / 2
    : (height - 16) * (1 - (value - low) / (high - low)) + 8;
  const path = points.map((point, n) =>
    ((point[0] - begin) / span * width).toFixed(1) + "," + y(values[n]).toFixed(1)).join(" ");
  const line = y(bend(level)).toFixed(1);
  svg.replaceChildren(
    shape("line", { x1: 0, x2: width, y1: line, y2: line }), shape("polyline", { points: path }));
  return { low, high };
}

function notice(run) {
  const lines = run.problems.slice();
  let look = run.well ? "" : "bad";
  if (!run.running) {
    lines.unshift("not running since " + day(run.since * 1000) + " UTC" + (run.why ? ": " + run.why : ""));
    look = run.well ? "so" : "bad";
  } else {
    lines.unshift(run.condition === "running" ? "running" : run.condition + "…");
  }
  put("notice", [...new Set(lines)].join("\n"), "notice " + look);
}

function challenger(run) {
  const other = run.challenger;
  if (!other) {
    put("challenger", "none", "soft");
    at("evidence").replaceChildren();
    return;
  }
  const parts = [other.model];
  if (other.e_value !== undefined) {
    parts.push("e-value " + size(other.e_value) + " of " + size(other.needed) + " needed",
      other.bets + " bets", "error " + size(other.rmse) + " against " + size(other.rmse_champion));
    if (other.stuck) parts.push("it says the same again and again");
  }
  put("challenger", parts.join(" · "));
  draw("evidence", run.evidence, other.needed || 1, (value) => Math.log10(Math.max(value, 1e-6)));
}

function drift(seen) {
  if (!seen) { put("drift", "none seen", "soft"); return; }
  const worst = seen.psi === undefined ? "" : "PSI " + size(seen.psi) + ", limit " + size(seen.limit);
  put("drift", [seen.feature, worst, seen.time ? moment(seen.time) : ""].filter(Boolean).join(" · "));
}

function show(run) {
  notice(run);
  put("state", run.state, run.state === "active" ? "good" : run.state === "halted" ? "bad-text" : "so-text");
  at("kill").disabled = run.state === "halted";
  put("equity", number(run.equity));
  put("change", percent(run.change), run.change < 0 ? "bad-text" : "good");
  put("last", run.time ? moment(run.time) : "–");
  put("age", run.age === null ? "" : number(run.age, 0) + " s of market time ago");
  put("bars", number(run.bars, 0) + " bars");
  put("trades", number(run.trades, 0) + " trades");
  put("model", run.model || "none yet", "name");
  put("since", run.model_since ? "since " + moment(run.model_since) : "");
  const seen = draw("curve", run.curve, run.capital);
  const curve = run.curve;
  put("from", curve.length ? day(curve[0][0]) : "");
  put("to", curve.length ? day(curve[curve.length - 1][0]) + " UTC" : "");
  put("range", seen ? number(seen.low) + " to " + number(seen.high) + ", line at " + number(run.capital) : "");
  rows("positions", run.positions.map((p) => [[p.symbol], [size(p.size)], [size(p.price)],
    [p.price === null ? "–" : number(p.size * p.price)]]));
  rows("feed", run.feed.map((s) => [[s.name], run.running
    ? [s.state, "text " + (s.state === "live" ? "good" : "bad-text")] : ["was " + s.state, "text soft"],
    [moment(s.last_us)], [number(s.messages, 0)], [number(s.reconnects, 0)], [number(s.rejected, 0)]]));
  rows("alarms", run.alarms.length
    ? run.alarms.map((a) => [[moment(a.time)], [a.kind, "text so-text"], [a.text, "wrap"]])
    : [[["none", "soft"]]]);
  rows("decisions", run.decisions.map((d) => [[moment(d.time)], [d.symbol, "text"],
    [d.reason + (d.late ? " (late)" : ""), "text"], [bps(d.forecast)], [size(d.close)], [size(d.position)]]));
  challenger(run);
  drift(run.drift);
  document.body.dataset.seq = run.seq;
}

async function kill() {
  const token = at("token").value || location.hash.slice(1);
  put("told", "…");
  try {
    const answer = await fetch("/kill", { method: "POST", headers: { "X-Token": token } });
    put("told", answer.ok ? "told to halt" : await answer.text());
  } catch (error) {
    put("told", "the page's server does not answer: use ./run kill");
  }
}

at("token").hidden = location.hash.length > 1;
at("kill").addEventListener("click", kill);
const news = new EventSource("/events");
news.onmessage = (message) => show(JSON.parse(message.data));
news.onerror = () => put("notice", "the page's server does not answer; trading goes on without it", "notice bad");
