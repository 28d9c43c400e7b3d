// Polls the status of da-svc every 1.5 seconds, fetches the curves that changed, and draws them.

import { drawDayAhead, drawIntraday, palette } from "./charts.js";
import { byId, describeCharts, showBanner, showClock, showErrors, showFeeds, showHeader, showPaths, showTiles } from "./view.js";

const POLL_MS = 1500;
const TIMEOUT_MS = 6000;
const HOUR = 3600e3;
const api = "/api/v1";
const query = new URLSearchParams(location.search);
const chosen = { useCase: query.get("use_case"), entity: query.get("entity") };
const fetched = new Map(); // name of a request -> {version, body}
let status = null;
let shown = null;
let receivedAt = 0;
let timer = 0;

class KeyNeeded extends Error {}

async function get(path) {
  const headers = { Accept: "application/json" };
  const key = sessionStorage.getItem("key");
  if (key) headers["X-API-Key"] = key;
  const answer = await fetch(path, { headers, cache: "no-cache", signal: AbortSignal.timeout(TIMEOUT_MS) });
  if (answer.status === 401) throw new KeyNeeded();
  if (!answer.ok) throw new Error((await answer.json()).detail ?? answer.statusText);
  return answer.json();
}

// An issued curve does not change: it is fetched again only if its version differs.
async function once(name, version, path) {
  if (fetched.get(name)?.version !== version) fetched.set(name, { version, body: await get(path) });
  return fetched.get(name).body;
}

function entityOf(found) {
  return found.entities.find((e) => e.entity_id === chosen.entity) ?? found.entities[0];
}

function address(kind, entity, parameters) {
  return `${api}/${kind}/${encodeURIComponent(entity.entity_id)}?${new URLSearchParams({ use_case: status.use_case.use_case, ...parameters })}`;
}

// A list request: it returns an empty list, not a problem, if there was no curve yet.
function hourBefore(entity) {
  const asOf = new Date(Date.parse(entity.intraday.issued_at) - HOUR).toISOString();
  const wanted = { use_case: status.use_case.use_case, entity_id: entity.entity_id, as_of: asOf, include_confidence: "false" };
  return `${api}/forecasts/intraday?${new URLSearchParams(wanted)}`;
}

async function load() {
  status = await get(`${api}/status${chosen.useCase ? `?use_case=${encodeURIComponent(chosen.useCase)}` : ""}`);
  receivedAt = performance.now();
  const entity = entityOf(status);
  const now = Date.parse(status.clock.now);
  const scope = `${status.use_case.use_case}/${entity.entity_id}`;
  const wanted = entity.day_ahead.filter((d) => Math.abs(Date.parse(d.delivery_date) - now) < 72 * HOUR).slice(-5);
  const dayAhead = wanted.map((d) =>
    once(`${scope}/${d.delivery_date}`, `${d.issued_at}${d.model.version}`, address("forecasts/day-ahead", entity, { delivery_date: d.delivery_date })));
  const intraday = entity.intraday
    ? once(`${scope}/intraday`, `${entity.intraday.issued_at}${entity.intraday.model.version}`, address("forecasts/intraday", entity, {}))
    : null;
  const before = entity.intraday
    ? once(`${scope}/before`, `${entity.intraday.issued_at}${entity.intraday.model.version}`, hourBefore(entity)).then((found) => found.forecasts[0])
    : null;
  const span = { from: new Date(now - 48 * HOUR).toISOString(), to: new Date(now + 40 * HOUR).toISOString() };
  const history = once(`${scope}/history`, `${entity.newest_actual_at}/${Math.floor(now / HOUR)}/${wanted.at(-1)?.issued_at}`, address("history", entity, span));
  const { unit, target, reference, interval } = status.use_case;
  return {
    entityId: scope, zone: entity.time_zone, now, unit, target, reference, interval,
    dayAhead: await Promise.all(dayAhead), intraday: await intraday, before: await before, history: await history,
  };
}

function show() {
  const entity = entityOf(status);
  showHeader(status, entity);
  showTiles(shown, entity);
  showErrors(entity, shown.reference);
  showPaths(shown, entity);
  showFeeds(status.feeds);
  describeCharts(shown);
  drawCharts();
  tick();
}

function drawCharts() {
  if (!shown) return;
  const colors = palette();
  drawDayAhead(byId("day-ahead-chart"), shown, colors);
  drawIntraday(byId("intraday-chart"), shown, colors);
}

function fill(select, names, current) {
  if ([...select.options].map((o) => o.value).join() !== names.map(([value]) => value).join()) {
    select.replaceChildren(...names.map(([value, text]) => new Option(text, value)));
  }
  if (select.value !== current) select.value = current;
}

function fillPickers() {
  fill(byId("use-case"), status.use_cases.map((name) => [name, name.replaceAll("_", " ")]), status.use_case.use_case);
  fill(byId("entity"), status.entities.map((e) => [e.entity_id, `${e.title} (${e.entity_id})`]), entityOf(status).entity_id);
}

// Between two polls the clock advances at the speed of the replay.
function tick() {
  if (!status) return;
  const clock = status.clock;
  const passed = clock.running ? (performance.now() - receivedAt) * (clock.replay ? clock.speed : 1) : 0;
  const now = Date.parse(clock.now) + Math.min(passed, 5000 * clock.speed);
  showClock(clock.until ? Math.min(now, Date.parse(clock.until)) : now, entityOf(status).time_zone);
}

async function poll() {
  clearTimeout(timer);
  try {
    shown = await load();
    fillPickers();
    show();
    showBanner("");
    byId("key-form").hidden = true;
    document.body.dataset.state = "shown";
  } catch (error) {
    if (error instanceof KeyNeeded) byId("key-form").hidden = false;
    else showBanner(status ? "The service does not respond; the values shown may be outdated." : `The service does not respond yet: ${error.message}`);
  }
  timer = setTimeout(poll, document.hidden ? 4 * POLL_MS : POLL_MS);
}

function choose(parameters) {
  Object.assign(chosen, parameters);
  const search = new URLSearchParams();
  if (chosen.useCase) search.set("use_case", chosen.useCase);
  if (chosen.entity) search.set("entity", chosen.entity);
  history.replaceState(null, "", `?${search}`);
  poll();
}

byId("use-case").addEventListener("change", (event) => choose({ useCase: event.target.value, entity: null }));
byId("entity").addEventListener("change", (event) => choose({ entity: event.target.value }));
byId("key-form").addEventListener("submit", (event) => {
  event.preventDefault();
  sessionStorage.setItem("key", byId("key").value);
  poll();
});
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", drawCharts);
addEventListener("resize", drawCharts);
setInterval(tick, 250);
poll();
