// Formats of numbers, times and names. Times are in the zone of the entity.

export const MEDIAN = "0.5";

// The quantile levels that are shown of a curve: the lower bound of its path's interval, the median, the upper bound.
export function shownLevels(curve, interval) {
  const [low, high] = interval[curve.path].map(String);
  return [low, MEDIAN, high];
}

// The name of an interval by its nominal coverage, such as "80% interval".
export function intervalName(levels) {
  return levels ? `${Math.round(100 * (levels[1] - levels[0]))}% interval` : "Interval";
}

export function titled(name) {
  const words = name.split("_").map((word) => (word.length <= 3 ? word.toUpperCase() : word));
  const text = words.join(" ");
  return text.charAt(0).toUpperCase() + text.slice(1);
}

export function quantity(value) {
  if (value === null || value === undefined || !Number.isFinite(value)) return "–";
  const size = Math.abs(value);
  const digits = size >= 1000 ? 0 : size >= 10 ? 1 : 3;
  return value.toLocaleString("en-GB", { minimumFractionDigits: digits, maximumFractionDigits: digits });
}

export function percent(value, digits = 2) {
  return value === null || value === undefined ? "–" : `${value.toFixed(digits)}%`;
}

export function age(seconds) {
  if (seconds === null || seconds === undefined) return "–";
  if (seconds < 90) return `${Math.round(seconds)} s`;
  const minutes = Math.round(seconds / 60);
  if (minutes < 90) return `${minutes} min`;
  if (minutes < 48 * 60) return `${Math.floor(minutes / 60)} h ${String(minutes % 60).padStart(2, "0")} min`;
  return `${Math.round(minutes / 1440)} days`;
}

export function horizon(iso) {
  return iso.replace(/^PT?/, "").replace("M", " min").replace("H", " h").replace("D", " d");
}

export function resolutionMs(iso) {
  const found = /^P(?:(\d+)D)?(?:T(?:(\d+)H)?(?:(\d+)M)?(?:(\d+)S)?)?$/.exec(iso);
  const [days, hours, minutes, seconds] = found.slice(1).map((part) => Number(part ?? 0));
  return (((days * 24 + hours) * 60 + minutes) * 60 + seconds) * 1000;
}

const formats = new Map();

function format(zone, options) {
  const key = zone + JSON.stringify(options);
  if (!formats.has(key)) formats.set(key, new Intl.DateTimeFormat("en-GB", { timeZone: zone, ...options }));
  return formats.get(key);
}

export const clockTime = (ms, zone) =>
  format(zone, { weekday: "short", day: "numeric", month: "short", year: "numeric", hour: "2-digit", minute: "2-digit" }).format(ms);

export const dayAndTime = (ms, zone) => format(zone, { weekday: "short", hour: "2-digit", minute: "2-digit" }).format(ms);

export const timeOfDay = (ms, zone) => format(zone, { hour: "2-digit", minute: "2-digit" }).format(ms);

export const longDay = (isoDay) => format("UTC", { weekday: "short", day: "numeric", month: "short" }).format(new Date(`${isoDay}T12:00Z`));

// How far a zone's wall clock is ahead of UTC at a moment, in ms.
export function zoneOffset(ms, zone) {
  const whole = Math.floor(ms / 1000) * 1000;
  const options = { year: "numeric", month: "2-digit", day: "2-digit", hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23" };
  const part = Object.fromEntries(format(zone, options).formatToParts(whole).map((p) => [p.type, p.value]));
  return Date.UTC(part.year, part.month - 1, part.day, part.hour, part.minute, part.second) - whole;
}

export function offsetName(offset) {
  const minutes = Math.abs(offset) / 60000;
  const text = `${Math.floor(minutes / 60)}${minutes % 60 ? `:${String(minutes % 60).padStart(2, "0")}` : ""}`;
  return offset ? `UTC${offset > 0 ? "+" : "−"}${text}` : "UTC";
}
