"use strict";
// The status page. Names and messages come from requests: they are set as text, never as HTML.

const byId = id => document.getElementById(id);
const MAX_TILES = 400, SECONDS = 2, LINES = 200;
const MODEL_FAULTS = { slow_load: "Slow load (10 s)", failed_load: "Failed load", s3_denied: "S3 denied", throttle: "Throttle", error: "Error 500" };
let shown = null, keys = null, opened = null;

const bytes = n => n >= 1e9 ? (n / 1e9).toFixed(1) + " GB" : n >= 1e6 ? (n / 1e6).toFixed(1) + " MB" : Math.round(n / 1e3) + " kB";
const percent = x => x === null || x === undefined ? "–" : (100 * x).toFixed(1) + " %";
const clock = at => new Date(at).toLocaleTimeString([], { hour12: false });
const sum = row => row.reduce((total, one) => total + one, 0);
const plural = (n, what) => `${n.toLocaleString()} ${what}${n === 1 ? "" : "s"}`;

// Make the children of a node those of a list. A child that stays is updated in place, so that it keeps the focus.
function sync(parent, items, key, create, update) {
  const old = new Map();
  for (const node of [...parent.children]) old.has(node.dataset.key) ? node.remove() : old.set(node.dataset.key, node);
  items.forEach((item, place) => {
    const name = String(key(item));
    let node = old.get(name);
    if (!node) { node = create(item); node.dataset.key = name; }
    old.delete(name);
    update(node, item);
    if (parent.children[place] !== node) parent.insertBefore(node, parent.children[place] || null);
  });
  for (const node of old.values()) node.remove();
}

function rows(id, items, key, cells) {
  const create = item => make("tr", "", ...cells(item).map(([cls]) => make("td", cls)));
  sync(byId(id), items, key, create, (node, item) => cells(item).forEach(([cls, text], place) => {
    const cell = node.children[place];
    if (cell.className !== cls) cell.className = cls;
    setText(cell, text);
    if (cls.includes("model")) cell.title = text;
  }));
}

// Filters

const wanted = () => ({ endpoint: byId("which").value, text: byId("text").value.toLowerCase(), state: byId("state").value });
const fits = (filter, endpoint, model) => (!filter.endpoint || endpoint === filter.endpoint) && (!filter.text || (model || "").toLowerCase().includes(filter.text));
const group = state => state === "loaded" || state === "unloading" ? "loaded" : state === "on_disk" ? "on_disk" : "coming";

function options(select, names) {
  const before = select.value;
  sync(select, [{ value: "", text: select.options[0].text }, ...names.map(value => ({ value, text: value }))], one => one.value,
    () => make("option"), (node, one) => { node.value = one.value; setText(node, one.text); });
  select.value = names.includes(before) ? before : "";
}

// Endpoints, variants, instances, models

function endpointCard() {
  return make("article", "card", make("div", "row", make("h3", "name"), make("span", "status"), make("span", "faint"), make("button", "", "Log")),
    make("div", "reason"), make("div", ""));
}

function updateEndpoint(node, one) {
  const [name, status, config, log] = node.children[0].children;
  setText(name, one.name); setText(status, one.status); setText(config, "config " + one.config);
  status.className = "status " + (/^[A-Za-z]+$/.test(one.status) ? one.status : "");
  log.type = "button"; log.onclick = () => openModel(one.name, null);
  setText(node.children[1], one.reason || "");
  sync(node.children[2], one.variants, variant => variant.name, variantPart, (part, variant) => updateVariant(part, variant, one));
}

function variantPart() {
  const charts = make("div", "charts", chart("", ["first", "second"], ["hits", "misses"]), chart("Hit ratio", ["stroke"]), chart("Loads", ["first"]),
    chart("Evictions", ["second"]), chart("Mean cold wait", ["second"]), chart("", ["first", "second"], ["4xx", "5xx"]));
  const table = make("details", "", make("summary", "", "Minutes as a table"), make("div", "wide"));
  return make("div", "variant", make("div", "row", make("span", "", "variant ", make("b", "")), make("span", "faint"), make("span", "")), charts, table, make("div", ""));
}

function updateVariant(node, one, endpoint) {
  const [title, type, totals] = node.children[0].children;
  setText(title.lastChild, one.name);
  setText(type, `${one.instances.length} × ${one.instance_type}`);
  const t = one.timeline, hits = sum(t.hits), misses = sum(t.misses);
  const ratio = hits + misses ? hits / (hits + misses) : null;
  setText(totals, one.counters ? `last hour: ${plural(sum(t.requests), "request")}, ${percent(ratio)} hits, ${plural(misses, "cold request")}` : `last hour: ${plural(sum(t.requests), "request")}`);
  const [requests, line, loads, evictions, waits, errors] = node.children[1].children;
  // A variant of one model has no hits and no misses.
  const plain = t.requests.map((n, place) => Math.max(0, n - t.misses[place]));
  drawBars(requests, [plain, t.misses], `max ${Math.max(...t.requests)}`, `Requests by minute: ${sum(t.requests)} in the last hour, ${misses} without their model in memory`);
  drawLines(line, [t.hits.map((n, place) => n + t.misses[place] ? n / (n + t.misses[place]) : null)], 1, percent(ratio), `Hit ratio of the last hour: ${percent(ratio)}`);
  drawBars(loads, [t.loads], String(sum(t.loads)), `Loads in the last hour: ${sum(t.loads)}`);
  drawBars(evictions, [t.evictions], String(sum(t.evictions)), `Evictions in the last hour: ${sum(t.evictions)}`);
  const mean = sum(t.cold) ? (sum(t.cold_seconds) / sum(t.cold)).toFixed(2) + " s" : "–";
  drawBars(waits, [t.cold_seconds.map((n, place) => t.cold[place] ? n / t.cold[place] : 0)], mean, `Mean wait of requests for their model in the last hour: ${mean}`);
  drawBars(errors, [t.errors_4xx, t.errors_5xx], String(sum(t.errors_4xx) + sum(t.errors_5xx)), `Errors in the last hour: ${sum(t.errors_4xx)} with status 4xx, ${sum(t.errors_5xx)} with status 5xx`);
  if (node.children[2].open) minutesTable(node.children[2].lastChild, t);
  sync(node.children[3], one.instances, each => each.id, instancePart, (part, each) => updateInstance(part, each, one, endpoint));
}

function minutesTable(node, t) {
  const names = ["requests", "hits", "misses", "loads", "evictions", "cold", "errors_4xx", "errors_5xx"];
  if (!node.firstChild) node.append(make("table", "", make("thead", "", make("tr", "", ...["minute", ...names].map(one => make("th", "", one.replace("_", " "))))), make("tbody", "")));
  const minutes = t.requests.map((_, place) => place).filter(place => names.some(name => t[name][place])).reverse();
  node.firstChild.lastChild.replaceChildren(...minutes.map(place => make("tr", "", make("td", "", clock(1000 * (t.start + t.seconds * place))), ...names.map(name => make("td", "", String(t[name][place]))))));
}

function instancePart() {
  const tiles = make("div", "tiles");
  tiles.setAttribute("role", "group");
  tiles.addEventListener("keydown", moveFocus);
  return make("div", "instance", make("div", "row", make("span", "name"), make("span", ""), make("span", "faint")), tiles, make("div", "faint"));
}

function updateInstance(node, one, variant, endpoint) {
  const [name, memory, rest] = node.children[0].children;
  setText(name, one.id + (one.draining ? " (draining)" : ""));
  if (!one.models) { setText(rest, "pid " + one.pids.join(", ")); return; }
  if (!memory.firstChild) memory.append("memory ", make("span", "bar", make("i")), make("span"));
  memory.children[0].firstChild.style.width = Math.min(100, 100 * one.memory_used / variant.memory_bytes) + "%";
  setText(memory.children[1], ` ${bytes(one.memory_used)} of ${bytes(variant.memory_bytes)}`);
  const count = one.counters.arrivals ? one.counters.hits / one.counters.arrivals : null;
  setText(rest, `${one.outstanding} in progress, ${one.loads_queued} to load, ${percent(count)} hits since the start, ${plural(one.counters.evictions, "eviction")}`);
  const filter = wanted(), rates = endpoint.requests_per_minute;
  let models = Object.entries(one.models).filter(([model, copy]) => fits(filter, endpoint.name, model) && (!filter.state || group(copy.state) === filter.state));
  const hidden = models.length - MAX_TILES;
  if (hidden > 0) models = models.sort((a, b) => (rates[b[0]] || 0) - (rates[a[0]] || 0)).slice(0, MAX_TILES).sort((a, b) => a[0] < b[0] ? -1 : 1);
  const largest = Math.max(1, ...Object.values(one.models).map(copy => copy.memory_bytes || copy.disk_bytes));
  const tiles = node.children[1];
  tiles.setAttribute("aria-label", `Models on ${one.id}: arrow keys move, Enter opens`);
  sync(tiles, models, ([model]) => model, ([model]) => {
    const tile = make("button");
    tile.type = "button"; tile.tabIndex = -1; tile.onclick = () => openModel(endpoint.name, model);
    return tile;
  }, (tile, [model, copy]) => updateTile(tile, model, copy, rates[model] || 0, largest));
  if (!tiles.querySelector("[tabindex='0']") && tiles.firstChild) tiles.firstChild.tabIndex = 0;
  setText(node.children[2], hidden > 0 ? `${plural(hidden, "more model")}: use the filter` : models.length || !Object.keys(one.models).length ? "" : "No model fits the filter.");
}

const heat = rate => rate <= 0 ? "h0" : rate < 1 ? "h1" : rate < 10 ? "h2" : rate < 60 ? "h3" : "h4";

function updateTile(tile, model, copy, rate, largest) {
  const kind = group(copy.state), size = copy.memory_bytes || copy.disk_bytes;
  const cls = "tile " + (kind === "on_disk" ? "on_disk" : heat(rate) + (kind === "coming" ? " coming" : ""));
  if (tile.className !== cls) tile.className = cls;
  tile.style.setProperty("--share", (size / largest).toFixed(3));
  setText(tile, (kind === "on_disk" ? "○ " : kind === "coming" ? "◐ " : "") + model.replace(/\.tar\.gz$/, ""));
  const facts = `${model}: ${copy.state.replace("_", " ")}, ${bytes(size)}, ${rate.toFixed(1)} requests a minute` + (copy.waiting ? `, ${copy.waiting} wait` : "");
  setAttribute(tile, "aria-label", facts);
  setAttribute(tile, "title", facts);
}

function moveFocus(event) {
  const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
  if (!step && event.key !== "Home" && event.key !== "End") return;
  const tiles = [...event.currentTarget.children], now = tiles.indexOf(document.activeElement);
  const next = event.key === "Home" ? 0 : event.key === "End" ? tiles.length - 1 : Math.min(tiles.length - 1, Math.max(0, now + step));
  event.preventDefault();
  tiles.forEach((tile, place) => { tile.tabIndex = place === next ? 0 : -1; });
  tiles[next].focus();
}

// The dialog of a model or of an endpoint

function openModel(endpoint, model) {
  opened = { endpoint, model };
  say("");
  setText(byId("model-title"), model || endpoint);
  byId("model-inject").hidden = !model;
  byId("log").textContent = "";
  byId("model-faults").replaceChildren(...(model ? Object.entries(MODEL_FAULTS) : []).map(([kind, label]) => {
    const button = make("button", "", label);
    button.type = "button";
    button.onclick = () => inject({ kind, endpoint, model, times: 1, ...(kind === "slow_load" ? { seconds: 10 } : {}) });
    return button;
  }));
  updateFacts();
  byId("model").showModal();
  if (keys) readLog();
}

function updateFacts() {
  if (!opened || !shown) return;
  const endpoint = shown.endpoints.find(one => one.name === opened.endpoint), facts = [["endpoint", opened.endpoint]];
  if (endpoint && opened.model) {
    facts.push(["requests a minute", (endpoint.requests_per_minute[opened.model] || 0).toFixed(1)]);
    for (const variant of endpoint.variants) for (const one of variant.instances) {
      const copy = (one.models || {})[opened.model];
      if (copy) facts.push([`${variant.name}, ${one.id}`, `${copy.state.replace("_", " ")}, ${bytes(copy.memory_bytes)} of memory, ${bytes(copy.disk_bytes)} on disk, ${copy.waiting} waiting, ${copy.running} running`]);
    }
  }
  sync(byId("model-facts"), facts.flatMap(([name, text]) => [["dt", name, name], ["dd", name, text]]), one => one[0] + one[1], one => make(one[0]), (node, one) => setText(node, one[2]));
}

async function readLog() {
  if (!await haveKeys()) return;
  const { endpoint, model } = opened, log = byId("log"), logGroupName = "/aws/sagemaker/Endpoints/" + endpoint;
  try {
    const streams = await logs("DescribeLogStreams", { logGroupName, orderBy: "LastEventTime", descending: true, limit: 20 });
    const pages = await Promise.all(streams.logStreams.map(one => logs("GetLogEvents", { logGroupName, logStreamName: one.logStreamName, limit: model ? 10000 : LINES, startFromHead: false })));
    if (!opened || opened.endpoint !== endpoint || opened.model !== model) return;
    const lines = pages.flatMap(page => page.events).filter(one => !model || one.message.includes(model)).sort((a, b) => a.timestamp - b.timestamp).slice(-LINES);
    log.textContent = lines.map(one => `${clock(one.timestamp)}  ${one.message}`).join("\n") || (model ? "No line of the log contains the name of the model." : "The log is empty.");
    log.scrollTop = log.scrollHeight;
  } catch (error) { log.textContent = error.message; }
}

const logs = (operation, params) => signed("POST", "/", params, "logs", { "content-type": "application/x-amz-json-1.1", "x-amz-target": "Logs_20140328." + operation });

// Faults

async function inject(fault) {
  await change("POST", "/_mme/faults", fault, answer => `${answer.id} is active`);
}

async function change(method, path, body, text) {
  if (!await haveKeys()) return;
  try { say(text(await signed(method, path, body, "sagemaker", body ? { "content-type": "application/json" } : {}))); } catch (error) { say(error.message, true); }
  refresh();
}

function updateFaults(faults) {
  byId("no-faults").hidden = Object.keys(faults).length > 0;
  sync(byId("faults"), Object.entries(faults), ([id]) => id, ([id]) => {
    const button = make("button", "", "Remove");
    button.type = "button";
    button.setAttribute("aria-label", "Remove " + id);
    button.onclick = () => change("DELETE", "/_mme/faults/" + encodeURIComponent(id), null, () => `${id} is removed`);
    return make("div", "row", make("b", ""), make("span", "faint"), make("span", ""), button);
  }, (node, [id, fault]) => {
    setText(node.children[0], fault.kind);
    setText(node.children[1], [id, fault.operation, fault.endpoint, fault.model].filter(Boolean).join(" · "));
    setText(node.children[2], `triggered ${fault.triggered} of ${plural(fault.matched, "match").replace("matchs", "matches")}`);
  });
}

// Keys and signatures (AWS Signature Version 4)

const encoded = text => new TextEncoder().encode(text);
const hex = buffer => [...new Uint8Array(buffer)].map(one => one.toString(16).padStart(2, "0")).join("");
const sha256 = async text => hex(await crypto.subtle.digest("SHA-256", encoded(text)));
const hmacKey = raw => crypto.subtle.importKey("raw", raw, { name: "HMAC", hash: "SHA-256" }, false, ["sign"]);
const hmac = (key, text) => crypto.subtle.sign("HMAC", key, encoded(text));

async function signed(method, path, params, service, headers, pair = keys) {
  const body = params ? JSON.stringify(params) : "", stamp = new Date().toISOString().replace(/[-:]|\.\d+/g, ""), day = stamp.slice(0, 8);
  const all = { ...headers, host: location.host, "x-amz-date": stamp }, names = Object.keys(all).sort();
  const canonical = [method, path, "", ...names.map(name => `${name}:${all[name]}`), "", names.join(";"), await sha256(body)].join("\n");
  const scope = [day, shown.region, service, "aws4_request"];
  let key = pair.key;
  for (const part of scope) key = await hmacKey(await hmac(key, part));
  const signature = hex(await hmac(key, ["AWS4-HMAC-SHA256", stamp, scope.join("/"), await sha256(canonical)].join("\n")));
  const Authorization = `AWS4-HMAC-SHA256 Credential=${pair.id}/${scope.join("/")}, SignedHeaders=${names.join(";")}, Signature=${signature}`;
  const response = await fetch(path, { method, cache: "no-store", headers: { ...headers, "x-amz-date": stamp, Authorization }, ...(body ? { body } : {}) });
  const answer = await response.json();
  if (!response.ok) throw new Error(answer.message || answer.Message || `The host answered with status ${response.status}.`);
  return answer;
}

let waiting = [];

async function haveKeys() {
  if (keys) return true;
  byId("keys-said").textContent = "";
  if (!byId("keys").open) byId("keys").showModal();
  return new Promise(done => waiting.push(done));
}

async function useKeys(event) {
  event.preventDefault();
  try {
    const pair = { id: byId("access").value.trim(), key: await hmacKey(encoded("AWS4" + byId("secret").value.trim())) };
    await signed("GET", "/_mme/status", null, "sagemaker", {}, pair);
    keys = pair;
    byId("keys-form").reset();
    byId("keys").close();
  } catch (error) { byId("keys-said").textContent = error.message; }
}

function closedKeys() {
  byId("keys-form").reset();
  setText(byId("key"), keys ? "Forget the key" : "Enter the key");
  waiting.splice(0).forEach(done => done(Boolean(keys)));
}

// Updates

function say(text, bad = false) {
  for (const node of [byId("said"), byId("model-said")]) {
    setText(node, text);
    node.className = bad ? "bad" : "";
  }
}

function show(s) {
  shown = s;
  const filter = wanted(), names = s.endpoints.map(one => one.name);
  setText(byId("clock"), clock(s.now));
  options(byId("which"), names); options(byId("fault-endpoint"), names);
  if (!byId("fault-kind").firstChild) byId("fault-kind").append(...s.fault_kinds.map(one => make("option", "", one)));
  sync(byId("endpoints"), s.endpoints.filter(one => !filter.endpoint || one.name === filter.endpoint), one => one.name, endpointCard, updateEndpoint);
  byId("no-endpoints").hidden = names.length > 0;
  const hidden = "The key shows the container's message.";
  rows("errors", s.errors.filter(one => fits(filter, one.endpoint, one.model)), one => [one.operation, one.endpoint, one.model, one.status, one.code, one.message].join("\n"),
    one => [["", clock(one.at)], ["", one.count], ["bad", `${one.status || "closed"} ${one.code || ""}`], ["", one.endpoint || ""], ["mono model", one.model || ""], ["text", one.message || (one.code === "ModelError" && !keys ? hidden : one.code === "ModelNotReadyException" ? "Requests that came while their model was being loaded." : "")]]);
  updateFaults(s.faults);
  rows("events", s.events.slice(0, 12).filter(one => !filter.endpoint || one.endpoint === filter.endpoint), one => one.at + one.endpoint + one.status, one => [["", clock(one.at)], ["", one.endpoint], ["", one.status], ["text bad", one.reason || ""]]);
  setText(byId("duplicates"), s.duplicates ? `· ${plural(s.duplicates, "call")} with more than one attempt` : "");
  rows("requests", s.requests.filter(one => fits(filter, one.endpoint, one.model)), one => one.request_id, one => [["", clock(one.at)], ["", one.operation || "?"], ["", one.endpoint || ""], ["mono model", one.model || ""],
    [one.status < 400 && one.status ? "" : "bad", one.status + (one.code ? " " + one.code : "")], ["", (1000 * one.seconds).toFixed(1)], [one.attempts > 1 ? "bad" : "", one.attempts], ["mono", one.invocation_id || ""]]);
  updateFacts();
}

let timer = 0, lost = false;

async function refresh() {
  clearTimeout(timer);
  try {
    const unsigned = async () => (await fetch("/_mme/status", { cache: "no-store" })).json();
    show(keys && shown ? await signed("GET", "/_mme/status", null, "sagemaker", {}) : await unsigned());
    if (lost) say("The host answers again.");
    lost = false;
  } catch (error) { lost = true; say("The host does not answer: " + error.message, true); }
  clearTimeout(timer);
  timer = setTimeout(refresh, 1000 * SECONDS);
}

byId("filters").addEventListener("input", () => shown && show(shown));
byId("filters").addEventListener("submit", event => event.preventDefault());
byId("key").addEventListener("click", () => { if (keys) { keys = null; closedKeys(); refresh(); } else haveKeys(); });
byId("keys-form").addEventListener("submit", useKeys);
byId("keys").addEventListener("close", closedKeys);
byId("model").addEventListener("close", () => { opened = null; });
byId("read-log").addEventListener("click", readLog);
byId("clear").addEventListener("click", () => change("DELETE", "/_mme/faults", null, () => "All faults are removed"));
byId("inject").addEventListener("submit", event => {
  event.preventDefault();
  const fault = { kind: byId("fault-kind").value };
  for (const name of ["endpoint", "model", "operation"]) if (byId("fault-" + name).value) fault[name] = byId("fault-" + name).value;
  for (const name of ["times", "probability", "seconds"]) if (byId("fault-" + name).value) fault[name] = Number(byId("fault-" + name).value);
  inject(fault);
});
for (const button of document.querySelectorAll("[data-close]")) button.addEventListener("click", () => button.closest("dialog").close());
refresh();
