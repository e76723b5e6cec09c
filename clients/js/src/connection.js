// One connection to the server, kept up: transports, back-off, resumption, and the watch over silence.
//
// | state        | leaves it                                             |
// | ------------ | ----------------------------------------------------- |
// | `idle`       | `start`                                               |
// | `connecting` | first line of the stream → `open`; a failure → below  |
// | `open`       | end, cut or silence → `waiting`                       |
// | `waiting`    | its delay is over → `connecting`                      |
// | `closed`     | never by itself: the server refused for good          |
//
// `stop` leads to `idle` from everywhere. The connection knows neither listeners nor tabs: it emits
// records, which can be cloned, so that they may cross from a worker to a page.

import { isBefore, timeOf } from "./ids.js";
import { monotonic } from "./clock.js";
import { createParser } from "./parse.js";

/** Back-off begins anew after a stream that lived for so long, or that the server ended in order. */
const STEADY_MS = 10_000;
/** How long a poll asks the server to wait. */
const POLL_MS = 25_000;
/** Time for bytes that came while this context slept to be read, before silence is taken for death. */
const GRACE_MS = 1_000;
/** After so many streams without a byte, one attempt is a poll, in case the network holds streams back. */
const HELD_MAX = 2;

const canStream = typeof fetch == "function" && typeof ReadableStream == "function";

/** Transport that a connection begins with. */
const chooseTransport = ({ transport }) =>
  transport != "auto" ? transport : canStream ? "fetch" : "eventsource";

/**
 * Delay before attempt number `attempt`: anywhere within a window that doubles, above what the server
 * wants.
 */
export const delayBefore = (attempt, base, most, floor) =>
  floor + Math.random() * Math.min(Math.max(most, base), base * 2 ** attempt);

/** Milliseconds of a `Retry-After`, in seconds or as a date; 0 without one. */
export function parseRetryAfter(text) {
  if (!text) return 0;
  const ms = /^\d+$/.test(text) ? text * 1000 : Date.parse(text) - Date.now();
  return ms > 0 ? ms : 0;
}

/** Opens nothing yet. `emit` takes each record. */
export function createConnection(settings, emit) {
  const { silenceMs, connectMs } = settings;
  let transport = chooseTransport(settings);
  let state = "idle", position = "", attempt = 0, held = 0, retryMs = settings.retryMs;
  // The attempt that runs: whatever comes from another one is late.
  let run = {}, timer, heardAt, openedAt, startStamp, renewed, onlyRetry;

  const setState = (next, more) => {
    state = next;
    emit({ k: "state", state, transport, ...more });
  };

  const later = (call, ms) => {
    clearTimeout(timer);
    timer = setTimeout(call, ms);
  };

  const leave = () => {
    clearTimeout(timer);
    run.stop?.();
    run = {};
  };

  /** Ends the attempt. A `floor` is what the server wants at least; one that is `final` is the last. */
  const fail = (cause, { floor = 0, final, status, at } = {}) => {
    if (state == "open" && (cause == "ended" || monotonic() - openedAt > STEADY_MS)) attempt = 0;
    leave();
    if (final) return setState("closed", { cause, status });
    if (transport == "poll") transport = chooseTransport(settings);
    else if (cause == "held" || cause == "timeout") held++;
    if (held == HELD_MAX && settings.transport == "auto") {
      held = 0;
      transport = "poll";
    }
    const waitMs = at ?? delayBefore(attempt++, retryMs, settings.retryMaxMs, floor);
    setState("waiting", { cause, status, waitMs });
    later(connect, waitMs);
  };

  const watch = (suspected) => {
    const quietMs = monotonic() - heardAt;
    if (quietMs < silenceMs) later(watch, Math.min(silenceMs - quietMs, silenceMs / 4));
    else if (suspected) fail("silent");
    else later(() => watch(true), GRACE_MS);
  };

  const open = () => {
    onlyRetry = false;
    if (state == "open") return;
    openedAt = monotonic();
    held = 0;
    renewed = false;
    setState("open", { connectMs: openedAt - run.startedAt });
    watch();
  };

  const takeBlock = ({ id, type, data }) => {
    open();
    if (id) position = id;
    if (data === undefined) return id && emit({ k: "position", id });
    if (type == "fanwheel.clock") {
      const stamp = +/\d+/.exec(data);
      emit({ k: "clock", stamp, position, startedAt: startStamp ? undefined : run.startedAt });
      startStamp ||= stamp;
      return;
    }
    emit({ k: "event", id, type, data, replayed: timeOf(id) < startStamp });
  };

  const parserOfRun = () => createParser({
    onBlock: takeBlock,
    onComment: open,
    onRetry: (ms) => (retryMs = ms),
  });

  const address = () => {
    const url = new URL(settings.url);
    const add = (name, value) => url.searchParams.append(name, value);
    if (position) add("last_event_id", position);
    if (transport == "poll") add("wait_ms", POLL_MS);
    return url.href;
  };

  /** Asks, and returns the answer if it is a stream; else ends the attempt. */
  const ask = async (current, abort) => {
    const { headers } = settings;
    const response = await fetch(address(), {
      headers: { Accept: "text/event-stream", ...(typeof headers == "function" ? await headers() : headers) },
      // Not from a cache, and no waiting for another tab that fills it.
      cache: "no-store",
      credentials: settings.credentials ? "include" : "same-origin",
      signal: abort.signal,
    });
    if (run != current) return;
    const { status } = response;
    if (status == 200 && /^text\/event-stream\b/.test(response.headers.get("content-type"))) return response;
    abort.abort();
    if (status == 401 && typeof headers == "function" && !renewed) {
      renewed = true;
      return fail("refused", { status, at: 0 });
    }
    const passing = status == 200 || status == 408 || status == 425 || status == 429 || status >= 500;
    const floor = parseRetryAfter(response.headers.get("retry-after"));
    fail("refused", { status, floor, final: !passing });
  };

  const heard = (bytes) => {
    heardAt = monotonic();
    emit({ k: "bytes", bytes });
  };

  const stream = async (current, abort) => {
    const response = await ask(current, abort);
    if (!response) return;
    current.answered = true;
    const reader = response.body.getReader();
    const decoder = new TextDecoder();
    const parse = parserOfRun();
    for (;;) {
      const { done, value } = await reader.read();
      if (run != current) return;
      if (done) return fail(onlyRetry ? "refused" : "ended", { floor: onlyRetry ? retryMs : 0 });
      heard(value.length);
      parse(decoder.decode(value, { stream: true }));
    }
  };

  const poll = async (current, abort) => {
    for (;;) {
      const response = await ask(current, abort);
      if (!response) return;
      // An answer without a length is a stream: the server knows no `wait_ms`.
      if (!response.headers.has("content-length")) {
        emit({ k: "warning", code: "no_polling" });
        return fail("held", { final: settings.transport == "poll" });
      }
      const text = await response.text();
      if (run != current) return;
      if (state != "open") emit({ k: "warning", code: "held_back" });
      heard(text.length);
      open();
      parserOfRun()(text);
      later(() => fail("silent"), POLL_MS + connectMs);
    }
  };

  const listen = (current) => {
    const source = new EventSource(address(), { withCredentials: settings.credentials });
    current.stop = () => source.close();
    current.listen = (name) => source.addEventListener(name, (event) => {
      // An event of the publisher's may be named `error` or `open`; the browser's own have no data.
      if (run != current || event.data === undefined) return;
      heardAt = monotonic();
      const isOwn = name.startsWith("fanwheel.");
      if (event.lastEventId) position = event.lastEventId;
      takeBlock({ id: isOwn ? undefined : event.lastEventId, type: name, data: event.data });
    });
    settings.names.forEach(current.listen);
    source.onopen = () => run == current && ((heardAt = monotonic()), open());
    source.onerror = (event) => {
      if (run != current || event.data !== undefined) return;
      const refused = source.readyState == 2;
      // An EventSource does not tell the status, so the next attempt looks.
      if (refused && canStream) transport = "fetch";
      fail(refused ? "refused" : "ended");
    };
  };

  function connect() {
    leave();
    const abort = new AbortController();
    const current = (run = { startedAt: monotonic(), stop: () => abort.abort() });
    startStamp = undefined;
    onlyRetry = true;
    setState("connecting");
    later(() => fail(current.answered ? "held" : "timeout"), connectMs + (transport == "poll" ? POLL_MS : 0));
    if (transport == "eventsource") return listen(current);
    (transport == "poll" ? poll : stream)(current, abort).catch(() => {
      if (run == current) fail(state == "open" ? "cut" : "failed");
    });
  }

  return {
    /** Connects and begins after an id. */
    start(after) {
      if (after) position = after;
      attempt = 0;
      transport = chooseTransport(settings);
      connect();
    },
    /** Begins again after an earlier id, for somebody who missed what came since. */
    rewind(after) {
      if (state == "closed" || (position && !isBefore(after, position))) return;
      position = after;
      connect();
    },
    /** Tries soon: the network is back. */
    hurry() {
      if (state == "waiting") later(connect, Math.random() * retryMs);
    },
    /** Listens to another name, which an EventSource must be told. */
    listen: (name) => run.listen?.(name),
    stop() {
      leave();
      setState("idle");
    },
  };
}
