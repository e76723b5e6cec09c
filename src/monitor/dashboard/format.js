// Writes numbers, sizes and times for people. Knows nothing of the page.

const whole = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
const oneDigit = new Intl.NumberFormat("en", { minimumFractionDigits: 1, maximumFractionDigits: 1 });
const twoDigits = new Intl.NumberFormat("en", { maximumSignificantDigits: 2 });
const compact = new Intl.NumberFormat("en", { notation: "compact", maximumFractionDigits: 1 });
const clock = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit", second: "2-digit" });
const shortClock = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit" });
const day = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short" });

/** Stands in the place of a number that is not known. */
export const NONE = "–";

const isNumber = (value) => typeof value === "number" && Number.isFinite(value);

/** 12,345 */
export function count(value) {
  return isNumber(value) ? whole.format(value) : NONE;
}

/** 12,345, but 123K and 1.2M: as short as can be read from afar. */
export function shortCount(value) {
  return isNumber(value) && value >= 100_000 ? compact.format(value) : count(value);
}

/** 1 topic, 12 topics */
export function plural(value, noun) {
  return `${count(value)} ${noun}${value === 1 ? "" : "s"}`;
}

/** 12K, 7.5, 0.25: for axes. */
export function compactNumber(value) {
  if (!isNumber(value)) return NONE;
  return Math.abs(value) < 1 ? twoDigits.format(value) : compact.format(value);
}

/** 0.042, 1.3, 12,345: digits after the point where they say something. */
export function decimal(value) {
  if (!isNumber(value)) return NONE;
  if (Math.abs(value) < 1) return twoDigits.format(value);
  return Math.abs(value) < 100 ? oneDigit.format(value) : whole.format(value);
}

/** 12,345/s */
export function perSecond(value) {
  return isNumber(value) ? `${decimal(value)}/s` : NONE;
}

/** 12.3 % */
export function percent(value) {
  return isNumber(value) ? `${oneDigit.format(value)} %` : NONE;
}

const SIZES = ["B", "KiB", "MiB", "GiB", "TiB"];

/** 1.5 MiB */
export function bytes(value) {
  if (!isNumber(value)) return NONE;
  let unit = 0;
  while (Math.abs(value) >= 1024 && unit < SIZES.length - 1) {
    value /= 1024;
    unit += 1;
  }
  const format = unit === 0 || Math.abs(value) >= 100 ? whole : oneDigit;
  return `${format.format(value)} ${SIZES[unit]}`;
}

/** 0.45 ms, 12.3 ms, 1.2 s, 5 min 3 s, 2 h 5 min, 3 d 4 h */
export function duration(ms) {
  if (!isNumber(ms)) return NONE;
  if (ms === 0) return "0 ms";
  if (ms < 1) return `${ms.toFixed(2)} ms`;
  if (ms < 1000) return `${ms < 100 ? oneDigit.format(ms) : whole.format(ms)} ms`;
  const seconds = ms / 1000;
  if (seconds < 60) return `${oneDigit.format(seconds)} s`;
  const units = [["d", 86400], ["h", 3600], ["min", 60], ["s", 1]];
  const first = units.findIndex(([, length]) => seconds >= length);
  const [name, length] = units[first];
  const [nextName, nextLength] = units[Math.min(first + 1, 3)];
  const rest = Math.floor((seconds % length) / nextLength);
  return `${whole.format(Math.floor(seconds / length))} ${name} ${rest} ${nextName}`;
}

/** 14:03, for axes. */
export function minute(ms) {
  return shortClock.format(ms);
}

/** 14:03:59, in the local time of the browser. */
export function time(ms) {
  return isNumber(ms) ? clock.format(ms) : NONE;
}

/** 14:03:59 today, 21 Nov 14:03:59 before. */
export function moment(ms) {
  if (!isNumber(ms)) return NONE;
  const today = new Date().toDateString() === new Date(ms).toDateString();
  return today ? clock.format(ms) : `${day.format(ms)} ${clock.format(ms)}`;
}

/** `slow_stalled` → `slow stalled`, for names of the server's own reasons. */
export function spaceWords(name) {
  return String(name).replaceAll("_", " ");
}

/** Messages of browsers for an address that does not answer; each browser has its own. */
const UNREACHED = /^(failed to fetch|load failed|networkerror|network error)/i;

/** Says why an answer did not come. */
export function describeFailure(error) {
  if (error.name === "TimeoutError") return "it does not answer in time";
  return UNREACHED.test(error.message) ? "it cannot be reached" : error.message;
}
