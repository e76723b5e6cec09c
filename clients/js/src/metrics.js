// Figures of a client's own view: how long connections take, why they end, what came, and how late.

import { monotonic } from "./clock.js";

/** Upper bounds of the classes of delays, in milliseconds; one more class holds the rest. */
export const DELAY_BOUNDS_MS = [5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10000];

/** Counts that rise, under the names of the beacon, which sends their differences. */
const createCounts = () => ({
  connects: 0, connect_ms: 0, connected_ms: 0, total_ms: 0, events: 0, bytes: 0, gaps: 0, duplicates: 0,
  delays: Array(DELAY_BOUNDS_MS.length + 1).fill(0), reconnects: {},
});

/** Returns the figures of one client from now on. */
export function createMetrics() {
  const startedAt = monotonic();
  const minute = [];
  let total = createCounts(), sent = createCounts();
  let connectMs, openedAt, delaySum = 0, delayCount = 0, delayLast, delayMax = 0;

  const settle = () => {
    const at = monotonic();
    if (openedAt !== undefined) {
      total.connected_ms += at - openedAt;
      openedAt = at;
    }
    total.total_ms = at - startedAt;
  };

  return {
    total,
    opened(ms) {
      openedAt = monotonic();
      if (ms === undefined) return;
      total.connects++;
      total.connect_ms += connectMs = ms;
    },
    left(cause) {
      settle();
      openedAt = undefined;
      if (cause) total.reconnects[cause] = (total.reconnects[cause] ?? 0) + 1;
    },
    event() {
      const at = monotonic();
      total.events++;
      // Seconds of the last minute and their counts.
      if (!(at - minute.at(-1)?.[0] < 1000)) minute.push([at, 0]);
      minute.at(-1)[1]++;
      while (minute[0][0] < at - 60_000) minute.shift();
    },
    delay(ms) {
      delayLast = ms = Math.max(0, ms);
      delaySum += ms;
      delayCount++;
      delayMax = Math.max(delayMax, ms);
      const at = DELAY_BOUNDS_MS.findIndex((bound) => ms <= bound);
      total.delays[at < 0 ? DELAY_BOUNDS_MS.length : at]++;
    },
    /** Figures for a page. */
    read() {
      settle();
      const { connects, events, bytes, gaps, duplicates, reconnects, connected_ms, total_ms } = total;
      const since = monotonic() - 60_000;
      return {
        connects, events, bytes, gaps, duplicates, reconnects: { ...reconnects },
        connectMs,
        delayMs: { last: delayLast, mean: delayCount ? delaySum / delayCount : undefined, max: delayMax },
        connectedShare: total_ms ? connected_ms / total_ms : 0,
        eventsPerMinute: minute.reduce((sum, [at, count]) => (at < since ? sum : sum + count), 0),
      };
    },
    /** What has come since the last call, as whole numbers, for the server's beacon. */
    takeDifference() {
      settle();
      const subtract = (now, then = 0) => {
        if (Array.isArray(now)) return now.map((count, at) => subtract(count, then[at]));
        if (typeof now != "object") return Math.round(now) - Math.round(then);
        return Object.fromEntries(Object.keys(now).map((key) => [key, subtract(now[key], then[key])]));
      };
      const difference = subtract(total, sent);
      sent = structuredClone(total);
      return difference;
    },
  };
}
