// The text on the page: tiles, errors, current curves, feeds.

import { MEDIAN, age, clockTime, dayAndTime, horizon, intervalName, longDay, percent, quantity, resolutionMs, shownLevels, timeOfDay, titled } from "./format.js";

export const byId = (id) => document.getElementById(id);

export function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

export function showHeader(status, entity) {
  setText(byId("title"), status.use_case.title);
  byId("simulated").hidden = !entity.simulated;
  const pace = byId("pace");
  const speed = status.clock.speed;
  const rate = `Replay ×${speed.toLocaleString("en-GB", { maximumFractionDigits: speed < 10 ? 1 : 0 })}`;
  setText(pace, !status.clock.replay ? "Live" : status.clock.running ? rate : `${rate}, paused`);
  pace.classList.toggle("running", status.clock.running);
  const reference = status.use_case.reference;
  for (const element of document.querySelectorAll(".with-reference")) element.hidden = reference === null;
  for (const element of document.querySelectorAll(".reference-name")) setText(element, reference === null ? "" : titled(reference));
  for (const element of document.querySelectorAll(".interval-name")) setText(element, intervalName(status.use_case.interval[element.dataset.path]));
}

export function showClock(ms, zone) {
  setText(byId("now"), clockTime(ms, zone));
  byId("now").dateTime = new Date(ms).toISOString();
  setText(byId("zone"), `${zone.replace("_", " ")} · ${timeOfDay(ms, "UTC")} UTC`);
}

function tile(name, value, unit, note) {
  const element = byId(`tile-${name}`);
  const text = `${value} ${unit}`.trim();
  if (element.dataset.text !== text) {
    element.dataset.text = text;
    element.replaceChildren(value, ...(unit ? [" ", small(unit)] : []));
  }
  setText(byId(`tile-${name}-note`), note || "\u00a0");
}

function small(text) {
  const element = document.createElement("small");
  element.textContent = text;
  return element;
}

export function showTiles(model, entity) {
  const { unit, zone } = model;
  const label = titled(model.target);
  setText(byId("tile-actual-label"), `Latest ${label.toLowerCase()}`);
  const measured = model.history?.points.filter((p) => p.actual !== null) ?? [];
  const newest = measured.at(-1);
  tile("actual", quantity(newest?.actual), newest ? unit : "", newest ? `${dayAndTime(Date.parse(newest.valid_time), zone)}, known for ${age(entity.actual_age_seconds)}` : "nothing measured yet");
  showNextHour(model, entity.intraday?.stale);
  showPeak(model);
  const errors = entity.errors.day_ahead;
  const against = errors?.reference_mape ?? null;
  tile("error", errors ? percent(errors.mape) : "–", "", against === null ? "" : `${titled(model.reference)} ${percent(against)}`);
}

function showNextHour({ intraday, interval, now, unit, zone }, stale) {
  if (stale) return tile("intraday", "–", "", `no curve since ${dayAndTime(Date.parse(intraday.issued_at), zone)}`);
  const wanted = now + 3600e3;
  const point = intraday?.points.findLast((p) => Date.parse(p.valid_time) + resolutionMs(intraday.resolution) <= wanted + 60e3) ?? intraday?.points[0];
  if (!point) return tile("intraday", "–", "", "no curve yet");
  const [low, median, high] = shownLevels(intraday, interval).map((level) => quantity(point.quantiles[level]));
  return tile("intraday", median, unit, `${low} – ${high} at ${timeOfDay(Date.parse(point.valid_time), zone)}`);
}

function showPeak({ dayAhead, interval, unit, zone }) {
  const curve = dayAhead.at(-1);
  if (!curve) return tile("peak", "–", "", "no curve yet");
  setText(byId("tile-peak-label"), `Day-ahead peak, ${longDay(curve.delivery_date)}`);
  const peak = curve.points.reduce((best, p) => (p.quantiles[MEDIAN] > best.quantiles[MEDIAN] ? p : best));
  const [low, median, high] = shownLevels(curve, interval).map((level) => quantity(peak.quantiles[level]));
  return tile("peak", median, unit, `${low} – ${high} at ${timeOfDay(Date.parse(peak.valid_time), zone)}`);
}

export function showErrors(entity, reference) {
  const rows = [];
  if (entity.errors.day_ahead) rows.push(["day-ahead", "Day-ahead", entity.errors.day_ahead]);
  for (const errors of entity.errors.intraday) rows.push(["intraday", `Intraday, ${horizon(errors.horizon)}`, errors]);
  byId("errors").replaceChildren(...(rows.length ? rows.map((row) => errorRow(...row, reference)) : [emptyRow()]));
}

function errorRow(path, name, errors, reference) {
  const row = document.createElement("tr");
  const head = document.createElement("th");
  head.scope = "row";
  const dot = document.createElement("span");
  dot.className = `dot ${path}`;
  head.append(dot, name);
  const theirs = errors.reference_mape;
  const gain = theirs ? 1 - errors.mape / theirs : null;
  const cells = [cell(percent(errors.mape), "num", true)];
  if (reference !== null) {
    cells.push(cell(percent(theirs), "num"));
    cells.push(cell(gain === null ? "–" : percent(100 * gain, 0).replace("-", "−"), gain === null ? "num" : `num ${gain > 0 ? "better" : "worse"}`));
  }
  cells.push(cell(percent(errors.coverage, 1), "num"), cell(errors.points.toLocaleString("en-GB"), "num"));
  row.append(head, ...cells);
  return row;
}

function cell(text, className, strong = false) {
  const element = document.createElement("td");
  element.className = className;
  const inner = strong ? document.createElement("strong") : element;
  inner.textContent = text;
  if (strong) element.append(inner);
  return element;
}

function emptyRow() {
  const row = document.createElement("tr");
  const only = cell("No actuals for the forecasts yet", "muted");
  only.colSpan = 6;
  row.append(only);
  return row;
}

export function showPaths(model, entity) {
  const zone = model.zone;
  const day = entity.day_ahead.at(-1);
  showPath("day-ahead", day, day && [["Delivery day", longDay(day.delivery_date)], ...common(day, zone)]);
  const intraday = entity.intraday;
  const points = model.intraday?.points.length;
  showPath("intraday", intraday, intraday && [["Reaches", points ? `${points} × ${horizon(model.intraday.resolution)}` : "–"], ...common(intraday, zone)]);
}

function common(state, zone) {
  return [
    ["Issued", dayAndTime(Date.parse(state.issued_at), zone)],
    ["Model", `${state.model.name} v${state.model.version}`],
    ["Newest input", `${dayAndTime(Date.parse(state.newest_input_at), zone)}`],
    ["Input age", age(state.input_age_seconds)],
    ["Fallback", state.fallback ? state.fallback.replaceAll("_", " ") : "none"],
  ];
}

function showPath(name, state, facts) {
  const element = byId(`path-${name}`);
  const chip = element.querySelector(".chip");
  const [text, kind] = !state ? ["Waiting", ""] : state.stale ? ["Stale", "bad"] : state.fallback ? ["Fallback", "warn"] : state.degraded ? ["Degraded", "warn"] : ["OK", "good"];
  setText(chip, text);
  chip.className = `chip ${kind}`;
  const wanted = (facts || []).flatMap(([term, value]) => [term, value]);
  const list = element.querySelector("dl");
  if (list.children.length !== wanted.length) {
    list.replaceChildren(...wanted.map((_, i) => document.createElement(i % 2 ? "dd" : "dt")));
  }
  wanted.forEach((value, i) => setText(list.children[i], value));
  setText(element.querySelector(".reasons"), (state?.degraded_reasons ?? []).join("; ").replaceAll("_", " "));
}

export function showFeeds(feeds) {
  byId("feeds").replaceChildren(...feeds.map((feed) => {
    const item = document.createElement("li");
    const dot = document.createElement("span");
    dot.className = `dot ${{ following: "good", unreachable: "bad", stuck: "bad" }[feed.state] ?? "warn"}`;
    const refused = feed.undecodable + feed.refused;
    item.append(dot, `${feed.topic} ${feed.state}${refused ? `, ${refused} refused` : ""}`);
    return item;
  }));
}

export function showBanner(text) {
  const banner = byId("banner");
  setText(banner, text);
  banner.hidden = !text;
}

export function describeCharts(model) {
  const day = model.dayAhead.at(-1);
  const measured = model.history?.points.filter((p) => p.actual !== null).at(-1);
  const latest = measured ? `Latest actual ${quantity(measured.actual)} ${model.unit}. ` : "";
  const label = (curve, name) => (curve ? `${latest}${name}: ${curve.points.length} intervals, median from ${quantity(curve.points[0].quantiles[MEDIAN])} to ${quantity(curve.points.at(-1).quantiles[MEDIAN])} ${model.unit}` : `${name} forecast, waiting for data`);
  byId("day-ahead-chart").setAttribute("aria-label", label(day, `Day-ahead curve${day ? ` for ${longDay(day.delivery_date)}` : ""}`));
  byId("intraday-chart").setAttribute("aria-label", label(model.intraday, "Intraday curve"));
}
