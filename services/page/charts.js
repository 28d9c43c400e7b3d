// The two charts. Times are shown by the wall clock that the entity's zone has now, so that the axis is monotonic.

import { MEDIAN, offsetName, quantity, resolutionMs, shownLevels, zoneOffset } from "./format.js";

const HOUR = 3600e3;
const config = { displayModeBar: false, responsive: true, scrollZoom: false };

export function palette() {
  const style = getComputedStyle(document.documentElement);
  const names = ["card", "text", "muted", "grid", "actual", "day-ahead", "day-ahead-band", "intraday", "intraday-band", "reference"];
  return Object.fromEntries(names.map((name) => [name, style.getPropertyValue(`--${name}`).trim()]));
}

export function drawDayAhead(element, model, colors) {
  const { now, history, dayAhead } = model;
  const axis = axisOf(model, now - 40 * HOUR, now + 37 * HOUR);
  const traces = [];
  for (const curve of joined(dayAhead)) traces.push(...band(curve, model.interval, axis, colors["day-ahead"], colors["day-ahead-band"], "Day-ahead"));
  traces.push(referenceLine(history, axis, colors), actualLine(history, axis, colors));
  draw(element, traces, axis, model, colors, 12);
}

export function drawIntraday(element, model, colors) {
  const { now, history, intraday, before } = model;
  const axis = axisOf(model, now - 5 * HOUR, now + 6.5 * HOUR);
  const traces = [referenceLine(history, axis, colors)];
  if (intraday) traces.push(...band(intraday, model.interval, axis, colors.intraday, colors["intraday-band"], "Intraday"));
  if (before) traces.push(medianLine(before, axis, colors.intraday, "An hour before"));
  traces.push(actualLine(history, axis, colors));
  draw(element, traces, axis, model, colors, 2);
}

function axisOf(model, from, to) {
  const offset = zoneOffset(model.now, model.zone);
  return { from, to, offset, shown: (ms) => new Date(ms + offset).toISOString().slice(0, -1) };
}

// Curves of consecutive days are joined, so that the interval has no gap at midnight.
function joined(curves) {
  const runs = [];
  for (const curve of curves) {
    const run = runs.at(-1);
    const end = run && Date.parse(run.points.at(-1).valid_time) + resolutionMs(run.resolution);
    if (run && end === Date.parse(curve.points[0].valid_time)) run.points = [...run.points, ...curve.points];
    else runs.push({ ...curve });
  }
  return runs;
}

// Values are means of intervals and are drawn at their midpoints.
function points(items, stepMs, axis, value) {
  const x = [], y = [];
  for (const item of items) {
    const start = Date.parse(item.valid_time);
    if (start + stepMs < axis.from || start > axis.to) continue;
    x.push(axis.shown(start + stepMs / 2));
    y.push(value(item));
  }
  return { x, y };
}

function band(curve, interval, axis, color, fill, name) {
  const step = resolutionMs(curve.resolution);
  const at = (level) => points(curve.points, step, axis, (p) => p.quantiles[level]);
  const [low, median, high] = shownLevels(curve, interval).map(at);
  const edge = { mode: "lines", line: { width: 0, color }, hoverinfo: "skip" };
  const text = median.y.map((_, i) => `${quantity(median.y[i])}  (${quantity(low.y[i])} – ${quantity(high.y[i])})`);
  return [
    { ...low, ...edge },
    { ...high, ...edge, fill: "tonexty", fillcolor: fill },
    { ...median, mode: "lines", name, text, line: { color, width: 2.4 }, hovertemplate: `${name} %{text}<extra></extra>` },
  ];
}

// A curve that a newer one has replaced.
function medianLine(curve, axis, color, name) {
  const median = points(curve.points, resolutionMs(curve.resolution), axis, (p) => p.quantiles[MEDIAN]);
  return { ...median, mode: "lines", name, text: median.y.map(quantity), opacity: 0.6, line: { color, width: 1.4, dash: "dot" }, hovertemplate: `${name} %{text}<extra></extra>` };
}

function line(history, axis, key, style) {
  const series = points(history.points, resolutionMs(history.resolution), axis, (p) => p[key]);
  const text = series.y.map(quantity);
  return { ...series, text, mode: "lines", connectgaps: false, ...style, hovertemplate: `${style.name} %{text}<extra></extra>` };
}

const actualLine = (history, axis, colors) =>
  line(history, axis, "actual", { name: "Actual", line: { color: colors.actual, width: 2.6 } });

const referenceLine = (history, axis, colors) =>
  line(history, axis, "reference", { name: "Reference", line: { color: colors.reference, width: 1.6, dash: "dash" } });

// The axis range changes in coarse steps, so that the chart does not move with every new value.
function valueRange(traces, held) {
  let low = Infinity, high = -Infinity;
  for (const trace of traces) {
    for (const value of trace.y) {
      if (value === null || value === undefined) continue;
      low = Math.min(low, value);
      high = Math.max(high, value);
    }
  }
  if (!(high > -Infinity)) return held ?? [0, 1];
  const step = 10 ** Math.floor(Math.log10(Math.max(high - low, Math.abs(high) * 1e-3, 1e-9))) / 2;
  return [Math.floor((low - step / 4) / step) * step, Math.ceil((high + step / 4) / step) * step];
}

function draw(element, traces, axis, model, colors, tickHours) {
  element.valueRange = valueRange(traces, element.valueRange);
  const small = element.clientWidth < 520;
  const now = axis.shown(model.now);
  const layout = {
    uirevision: model.entityId,
    height: element.clientHeight,
    margin: { l: small ? 46 : 58, r: 8, t: 22, b: 36 },
    paper_bgcolor: "rgba(0,0,0,0)",
    plot_bgcolor: "rgba(0,0,0,0)",
    font: { family: getComputedStyle(document.body).fontFamily, size: 12, color: colors.muted },
    showlegend: false,
    hovermode: "x unified",
    hoverlabel: { bgcolor: colors.card, bordercolor: colors.grid, font: { color: colors.text } },
    xaxis: {
      type: "date", range: [axis.shown(axis.from), axis.shown(axis.to)], fixedrange: true, gridcolor: colors.grid, zeroline: false,
      dtick: tickHours * HOUR * (small && tickHours > 6 ? 2 : 1), tick0: "2000-01-01", tickformat: "%H:%M\n%a %-d %b", hoverformat: "%a %-d %b, %H:%M", tickangle: 0,
    },
    yaxis: { range: element.valueRange, fixedrange: true, gridcolor: colors.grid, zeroline: false, tickformat: small ? "~s" : ",~r", nticks: 7 },
    shapes: [{ type: "line", x0: now, x1: now, yref: "paper", y0: 0, y1: 1, line: { color: colors.muted, width: 1, dash: "dot" } }],
    annotations: [
      { x: now, yref: "paper", y: 1, yanchor: "bottom", text: "now", showarrow: false, font: { size: 11, color: colors.muted } },
      { xref: "paper", x: 0, yref: "paper", y: 1, xanchor: "left", yanchor: "bottom", text: model.unit, showarrow: false, font: { size: 11, color: colors.muted } },
      { xref: "paper", x: 1, yref: "paper", y: 1, xanchor: "right", yanchor: "bottom", text: offsetName(axis.offset), showarrow: false, font: { size: 11, color: colors.muted } },
    ],
  };
  window.Plotly.react(element, traces, layout, config);
}
