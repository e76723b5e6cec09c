// The server's time, as bounds on its offset from this context's monotonic clock. A step of the page's own
// wall clock changes nothing here.

/** How far two clocks may drift apart: 100 parts in a million. */
const DRIFT = 1e-4;
/**
 * The lower bound forgets what is older than two of these, so that a server whose clock is set back is
 * followed.
 */
const WINDOW_MS = 60_000;

/**
 * Share of the way back in the time from a request to its first stamp: connecting and asking take the
 * rest.
 */
const WAY_BACK = 1 / 6;

/** Milliseconds of the monotonic clock. */
export const monotonic = () => performance.now();

/** Returns an estimator. All times are milliseconds. */
export function createClock() {
  let before = -Infinity, low = -Infinity, since = monotonic(), high = Infinity, highAt = 0;

  const bounds = (at) => [Math.max(before, low), high + (at - highAt) * DRIFT];

  return {
    /**
     * A stamp that the server gave at or before the moment `at`. The stamp of an id may run ahead of the
     * clock in a burst, so `isId` takes it only within the bounds.
     */
    heard(stamp, at, isId) {
      const offset = stamp - at;
      const [lowest, highest] = bounds(at);
      if (offset > highest) {
        if (isId) return;
        // A clock was set, or this machine slept. The width is the best guess until the next connection.
        high = offset + Math.min(highest - lowest, 1000);
        highAt = at;
      }
      if (at - since > WINDOW_MS) {
        before = low;
        low = -Infinity;
        since = at;
      }
      low = Math.max(low, offset);
    },
    /** A stamp that the server gave after the moment `at`. */
    asked(stamp, at) {
      // The stamp is cut to whole milliseconds.
      const offset = stamp + 1 - at;
      const [lowest, highest] = bounds(at);
      if (offset < lowest) before = low = -Infinity;
      if (offset < highest) {
        high = offset;
        highAt = at;
      }
    },
    /** The server's time at the moment `at`, and how far off it can be at most. */
    read(at = monotonic()) {
      const [lowest, highest] = bounds(at);
      if (lowest == -Infinity) return { now: Date.now(), error: Infinity };
      if (highest == Infinity) return { now: at + lowest, error: Infinity };
      const width = Math.max(0, highest - lowest), guess = lowest + width * WAY_BACK;
      return { now: at + guess, error: width * (1 - WAY_BACK) };
    },
  };
}

/** Takes what a record says of the server's time, at the moment it came. */
export function feedClock(clock, record, at = monotonic()) {
  if (record.k == "clock") {
    if (record.startedAt !== undefined) clock.asked(record.stamp, record.startedAt);
    clock.heard(record.stamp, at);
  }
}
