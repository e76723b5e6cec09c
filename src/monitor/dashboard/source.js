// Gets the status from the stream of the topic fanwheel.status. While the stream is silent, as when the
// server starts, drains or is out of memory, it requests /status instead. Knows nothing of the page.

import { describeFailure } from "./format.js";

/** Name of the topic and of its events. */
const STATUS_TOPIC = "fanwheel.status";
/** Silence of the stream, which sends once a second, after which /status is requested. */
const SILENCE_MS = 2500;
const REQUEST_EACH_MS = 2000;
/** Time between requests of a hidden page, which only keeps its title true. */
const REQUEST_HIDDEN_EACH_MS = 10_000;
const ANSWER_TIMEOUT_MS = 5000;
const CHECK_EACH_MS = 500;
/** Gap between statuses that is filled from the server's own series. */
const HOLE_MS = 3500;

/**
 * Follows the server for good. `onStatus(status)` gets each new status. `onSeries(series)` gets the last
 * five minutes: at the start, after gaps and after a restart. `onAge(ms, error)` gets the age of the newest
 * status twice a second.
 */
export class StatusSource {
  constructor({ onStatus, onSeries, onAge }) {
    this.handlers = { onStatus, onSeries, onAge };
    this.newest = null;
    this.heardAt = null;
    this.streamedAt = -Infinity;
    this.requestedAt = -Infinity;
    this.requesting = false;
    this.wantsSeries = true;
    this.error = "";
  }

  start() {
    this.openStream();
    this.checkFreshness();
    setInterval(() => this.checkFreshness(), CHECK_EACH_MS);
    document.addEventListener("visibilitychange", () => this.reopenStream());
    addEventListener("pageshow", (event) => event.persisted && this.reopenStream());
    addEventListener("pagehide", () => this.stream.close());
  }

  /** Closes the stream of a hidden page: a browser allows six connections to a host, over all of its tabs. */
  reopenStream() {
    this.stream.close();
    if (document.hidden) return;
    this.wantsSeries = true;
    this.requestedAt = -Infinity;
    this.openStream();
    this.checkFreshness();
  }

  openStream() {
    this.stream = new EventSource(`events?topic=${STATUS_TOPIC}`);
    this.stream.addEventListener(STATUS_TOPIC, (event) => {
      this.streamedAt = performance.now();
      this.error = "";
      this.acceptStatus(JSON.parse(event.data));
    });
  }

  checkFreshness() {
    const now = performance.now();
    const pause = document.hidden ? REQUEST_HIDDEN_EACH_MS : REQUEST_EACH_MS;
    const silent = now - this.streamedAt > SILENCE_MS || this.wantsSeries;
    if (silent && !this.requesting && now - this.requestedAt > pause) this.requestStatus();
    if (document.hidden) return;
    // Any answer but a stream ends an EventSource for good, so a new one is opened.
    if (this.stream.readyState === EventSource.CLOSED) this.openStream();
    this.handlers.onAge(this.heardAt === null ? null : now - this.heardAt, this.error);
  }

  async requestStatus() {
    this.requesting = true;
    this.requestedAt = performance.now();
    try {
      const query = this.wantsSeries && !document.hidden ? "?series=1" : "";
      const answer = await fetch(`status${query}`, { signal: AbortSignal.timeout(ANSWER_TIMEOUT_MS) });
      if (!answer.ok) throw new Error(`it answers ${answer.status}`);
      const status = await answer.json();
      this.error = "";
      if (status.series) {
        this.wantsSeries = false;
        this.newest = status;
        this.handlers.onSeries(status.series);
      }
      this.acceptStatus(status);
    } catch (error) {
      this.error = describeFailure(error);
    } finally {
      this.requesting = false;
    }
  }

  /** Takes a status if it is new by the server's own clock: a stuck main thread repeats its last one. */
  acceptStatus(status) {
    const before = this.newest;
    const restarted = before !== null && status.started_ms !== before.started_ms;
    const step = before === null ? 0 : status.now_ms - before.now_ms;
    if (restarted || step > HOLE_MS || step < -HOLE_MS) this.wantsSeries = true;
    if (this.heardAt === null || step !== 0) this.heardAt = performance.now();
    if (step < 0 && !restarted) return;
    this.newest = status;
    this.handlers.onStatus(status);
  }
}
