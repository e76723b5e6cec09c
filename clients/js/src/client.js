// The client of a page: listeners, what was seen, the server's time, figures, and when to pause. It gets
// records from a connection of its own or from one that all tabs share.

import { createClock, feedClock, monotonic } from "./clock.js";
import { createConnection } from "./connection.js";
import { createSeen, isBefore, timeOf } from "./ids.js";
import { createMetrics } from "./metrics.js";
import { canShare, createShared } from "./shared.js";

/** A snapshot has begun to arrive within this time, or the server knows none. */
const SNAPSHOT_MS = 10_000;
const CHANGE_MS = 1_000;
const SAVE_MS = 100;

const DEFAULTS = {
  topics: [], patterns: [], events: [], clock: true, transport: "auto", retryMs: 2_000, retryMaxMs: 30_000,
  silenceMs: 40_000, connectMs: 10_000, beaconMs: 60_000,
};
const WARNINGS = {
  held_back: "the network holds streams back, so the client polls",
  no_polling: "the server knows no wait_ms, so the client cannot poll",
  no_patterns: "the server knows no patterns, so only named topics come",
  no_snapshot: "the server knows no snapshots",
  not_shared: "tabs cannot share a connection here",
};

/** Options as the parts of the library want them. */
function settle(url, options) {
  const all = { ...DEFAULTS, ...options };
  if (!all.topics.length && !all.patterns.length) {
    throw new TypeError("fanwheel: name at least one topic or pattern");
  }
  if (all.share && (typeof all.headers == "function" || all.last || all.transport == "eventsource")) {
    throw new TypeError("fanwheel: share excludes last, headers by a function, and eventsource");
  }
  const address = new URL(url, globalThis.location?.href);
  const add = (name, values) =>
    [values].flat().forEach((value) => value && address.searchParams.append(name, value));
  add("topic", all.topics);
  add("pattern", all.patterns);
  add("event", all.events);
  add("last", all.last);
  add("snapshot", all.snapshot && 1);
  add("clock", all.clock && 1);
  add("prime", 1);
  return { ...all, url: address.href };
}

/** What a connection needs: plain values, so that equal ones can be told by their text. */
const settingsOf = ({ url, headers, credentials, retryMs, retryMaxMs, silenceMs, connectMs, transport }) =>
  ({ url, headers, credentials, retryMs, retryMaxMs, silenceMs, connectMs, transport });

/** This module, if it stands alone and can be run as a worker: a bundle would run the whole page there. */
const ownFile = /\/(client|fanwheel(\.min)?)\.js(\?|$)/.test(import.meta.url) ? import.meta.url : undefined;

/** Connects to a fanwheel server; see client.d.ts. */
export function connect(url, options = {}) {
  const all = settle(url, options);
  const { document, sessionStorage } = globalThis;
  const listeners = new Map(), seen = createSeen(), clock = createClock(), metrics = createMetrics();
  const warned = new Set();
  // Names that an EventSource is asked for.
  const asked = new Set(["message", "fanwheel.gap", "fanwheel.clock", "fanwheel.snapshot-end"]);
  const storeName = "fanwheel:" + all.url;
  let lastId = all.after ?? (all.resume && sessionStorage?.getItem(storeName)) ?? "";
  if (lastId) seen.add(lastId);
  let state = { state: "idle" }, changeTimer, saveTimer, hiddenTimer, snapshotTimer, beaconTimer;

  const call = (name, event) => listeners.get(name)?.forEach((listener) => {
    try {
      listener(event);
    } catch (error) {
      // One listener's fault is told as such, and the others still hear.
      (globalThis.reportError ?? ((error) => setTimeout(() => { throw error; })))(error);
    }
  });

  const warn = (code) => {
    if (warned.has(code)) return;
    warned.add(code);
    const message = WARNINGS[code];
    if (!listeners.has("fanwheel.warning")) console.warn("fanwheel: " + message);
    call("fanwheel.warning", { code, message });
  };

  const changed = () => {
    if (changeTimer || !listeners.has("fanwheel.metrics")) return;
    changeTimer = setTimeout(() => {
      changeTimer = undefined;
      call("fanwheel.metrics", client.metrics());
    }, CHANGE_MS);
  };

  const save = () => {
    clearTimeout(saveTimer);
    saveTimer = undefined;
    if (all.resume && lastId) sessionStorage?.setItem(storeName, lastId);
  };

  const move = (id) => {
    lastId = id;
    if (all.resume) saveTimer ??= setTimeout(save, SAVE_MS);
  };

  /** Whether a gap is this client's: a shared connection may have gone back for another tab alone. */
  const concerns = ({ after, oldest, reason }) =>
    !lastId || lastId == after || (reason == "evicted" && (!oldest || isBefore(lastId, oldest)));

  const takeEvent = ({ id, type, data, replayed }) => {
    const isControl = type.startsWith("fanwheel.");
    const event = { type, data, id: id ?? lastId, replayed, time: timeOf(id) || undefined };
    if (type == "fanwheel.gap") {
      const gap = JSON.parse(data);
      if (gap.reason == "unknown_id") seen.forget(gap.after);
      if (!concerns(gap)) return;
      metrics.total.gaps++;
      event.gap = gap;
    } else if (type == "fanwheel.snapshot-end") {
      clearTimeout(snapshotTimer);
    } else if (!isControl) {
      if (id && !seen.add(id)) return metrics.total.duplicates++;
      if (id) move(id);
      metrics.event();
      const { now, error } = clock.read();
      if (event.time) {
        if (!replayed && error < Infinity) metrics.delay(now - event.time);
        clock.heard(event.time, monotonic(), true);
      }
      call("*", event);
    }
    call(type, event);
  };

  const takeState = ({ state: name, cause, status, waitMs, transport, connectMs }) => {
    if (name == "idle") [name, cause] = away.has("closed") ? ["closed"] : ["paused", [...away][0]];
    if (name == "open") {
      metrics.opened(connectMs);
      if (all.snapshot) snapshotTimer ??= setTimeout(warn, SNAPSHOT_MS, "no_snapshot");
    } else if (state.state == "open" || name == "waiting") metrics.left(cause);
    state = { state: name, cause, status, waitMs, transport };
    client.state = name;
    call("fanwheel.state", state);
  };

  const take = (record) => {
    const { k, id } = record;
    feedClock(clock, record);
    if (k == "event") takeEvent(record);
    else if (k == "state") takeState(record);
    else if (k == "bytes") metrics.total.bytes += record.bytes;
    else if (k == "warning") warn(record.code);
    else if (k == "bounds") {
      clock.asked(record.now + record.error, record.askedAt);
      clock.heard(record.now - record.error, monotonic());
    }
    const position = k == "position" ? id : k == "clock" ? record.position : "";
    if (position) {
      // All up to here counts as seen, though it may never have come: a filter kept it back.
      seen.add(position);
      move(position);
    }
    changed();
  };

  const connection = settingsOf(all);
  const source = all.share && canShare
    ? createShared({ ...connection, worker: all.worker ?? ownFile }, take, clock.read)
    : createConnection({ ...connection, names: asked }, take);

  /** Reasons to be away. The client is connected while there is none. */
  const away = new Set();
  const setAway = (reason, is) => {
    const was = away.size;
    is ? away.add(reason) : away.delete(reason);
    if (!was == !away.size) return;
    if (!away.size) return source.start(lastId);
    save();
    source.stop();
  };
  const sendBeacon = () => {
    const target = all.beacon === true ? new URL("client-metrics", all.url) : all.beacon;
    const body = JSON.stringify(metrics.takeDifference());
    // A text needs no preflight.
    globalThis.navigator?.sendBeacon?.(target, body)
      ?? fetch(target, { method: "POST", body }).catch(() => {});
  };

  const handlers = {
    visibilitychange() {
      clearTimeout(hiddenTimer);
      if (!document.hidden) setAway("hidden", false);
      else if (all.pauseHiddenMs !== undefined) {
        hiddenTimer = setTimeout(setAway, all.pauseHiddenMs, "hidden", true);
      }
    },
    // A page that is frozen, or kept for the back button, reads nothing.
    freeze: () => setAway("frozen", true),
    resume: () => setAway("frozen", false),
    pagehide() {
      if (all.beacon) sendBeacon();
      setAway("frozen", true);
    },
    pageshow: () => setAway("frozen", false),
    online: () => source.hurry(),
  };
  const target = (name) => (document && /^(vis|freeze|resume)/.test(name) ? document : globalThis);
  const listen = (method) => {
    for (const name in handlers) target(name)[method]?.(name, handlers[name]);
  };

  const client = {
    state: "idle",
    get lastId() {
      return lastId;
    },
    on(name, listener) {
      if (!listeners.has(name)) listeners.set(name, new Set());
      listeners.get(name).add(listener);
      if (!asked.has(name)) {
        asked.add(name);
        source.listen(name);
      }
      return () => listeners.get(name).delete(listener);
    },
    pause: () => setAway("asked", true),
    resume() {
      // After a refusal, too.
      if (client.state == "closed") setAway("asked", true);
      setAway("asked", false);
    },
    close() {
      listen("removeEventListener");
      for (const timer of [changeTimer, saveTimer, hiddenTimer, snapshotTimer]) clearTimeout(timer);
      clearInterval(beaconTimer);
      setAway("closed", true);
    },
    serverNow: () => clock.read(),
    metrics: () => ({ ...state, ...metrics.read() }),
  };

  listen("addEventListener");
  if (all.beacon) beaconTimer = setInterval(sendBeacon, all.beaconMs);
  if (all.share && !canShare) queueMicrotask(() => warn("not_shared"));
  if (all.patterns.length) {
    checkPatterns(all).then((known) => known || warn("no_patterns"), () => {});
  }
  // Listeners are set before the first record.
  queueMicrotask(() => away.size || source.start(lastId));
  return client;
}

/**
 * Whether the server knows patterns: one that does not misses a topic in a request that has patterns
 * alone.
 */
async function checkPatterns({ url, credentials }) {
  const address = new URL(url);
  address.searchParams.delete("topic");
  const init = { method: "HEAD", credentials: credentials ? "include" : "same-origin" };
  return (await fetch(address, init)).status != 400;
}
