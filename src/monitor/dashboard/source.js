// Where the numbers come from: the stream of the topic fanwheel.status, and /status by request whenever
// the stream is silent, as while the server starts, drains or is out of memory. Knows nothing of what is
// shown.

import { failure } from "./format.js";

/** The topic, and the name of its events. */
const STATUS_TOPIC = "fanwheel.status";
/** The stream tells once a second; after so long without it we ask. */
const SILENCE_MS = 2500;
const ASK_EACH_MS = 2000;
/** A hidden page only keeps its title true. */
const ASK_HIDDEN_EACH_MS = 10_000;
const ANSWER_MS = 5000;
const LOOK_EACH_MS = 500;
/** What is asked for tells the uptime of that moment, what is streamed that of the last look. */
const UPTIME_SLACK_MS = 1500;
/** A hole this long in what was told is filled from the server's own series. */
const HOLE_MS = 3500;

/**
 * Follows the server for good. `onStatus(status)` gets each new state, `onSeries(series)` the last five
 * minutes at the start, after holes and after a restart, `onAge(ms, error)` twice a second how old the
 * newest state is.
 */
export class Source {
  constructor({ onStatus, onSeries, onAge }) {
    this.handlers = { onStatus, onSeries, onAge };
    this.newest = null;
    this.heardAt = null;
    this.streamedAt = -Infinity;
    this.askedAt = -Infinity;
    this.asking = false;
    this.wantsSeries = true;
    this.error = "";
  }

  start() {
    this.listen();
    this.look();
    setInterval(() => this.look(), LOOK_EACH_MS);
    document.addEventListener("visibilitychange", () => this.turn());
    addEventListener("pageshow", (event) => event.persisted && this.turn());
    addEventListener("pagehide", () => this.stream.close());
  }

  /** A browser grants a host six connections for all of its tabs together, so a hidden one holds none. */
  turn() {
    this.stream.close();
    if (document.hidden) return;
    this.wantsSeries = true;
    this.askedAt = -Infinity;
    this.listen();
    this.look();
  }

  listen() {
    this.stream = new EventSource(`events?topic=${STATUS_TOPIC}`);
    this.stream.addEventListener(STATUS_TOPIC, (event) => {
      this.streamedAt = performance.now();
      this.error = "";
      this.accept(JSON.parse(event.data));
    });
  }

  look() {
    const now = performance.now();
    const pause = document.hidden ? ASK_HIDDEN_EACH_MS : ASK_EACH_MS;
    const silent = now - this.streamedAt > SILENCE_MS || this.wantsSeries;
    if (silent && !this.asking && now - this.askedAt > pause) this.ask();
    if (document.hidden) return;
    // Any answer but a stream ends an EventSource for good, so it is begun anew.
    if (this.stream.readyState === EventSource.CLOSED) this.listen();
    this.handlers.onAge(this.heardAt === null ? null : now - this.heardAt, this.error);
  }

  async ask() {
    this.asking = true;
    this.askedAt = performance.now();
    try {
      const query = this.wantsSeries && !document.hidden ? "?series=1" : "";
      const answer = await fetch(`status${query}`, { signal: AbortSignal.timeout(ANSWER_MS) });
      if (!answer.ok) throw new Error(`it answers ${answer.status}`);
      const status = await answer.json();
      this.error = "";
      if (status.series) {
        this.wantsSeries = false;
        this.newest = status;
        this.handlers.onSeries(status.series);
      }
      this.accept(status);
    } catch (error) {
      this.error = failure(error);
    } finally {
      this.asking = false;
    }
  }

  /** The server's own clock says whether a state is new: one whose main thread is stuck repeats itself. */
  accept(status) {
    const before = this.newest;
    const restarted = before !== null && status.uptime_ms < before.uptime_ms - UPTIME_SLACK_MS;
    const step = before === null ? 0 : status.now_ms - before.now_ms;
    if (restarted || step > HOLE_MS || step < -HOLE_MS) this.wantsSeries = true;
    if (this.heardAt === null || step !== 0) this.heardAt = performance.now();
    if (step < 0 && !restarted) return;
    this.newest = status;
    this.handlers.onStatus(status);
  }
}
