// One connection for all tabs of an origin that ask for the same stream.
//
// One context leads: it owns the connection and posts each record to a channel. A SharedWorker leads where
// there is one, since it outlives every tab. Else the tab that holds a Web Lock leads, and when it ends in
// any way, the browser gives the lock to the next one at once. Members tell their positions to each new
// leader, which goes back to the earliest; what they have seen already, they drop by its id.
//
// | message   | from   | means                                                          |
// | --------- | ------ | -------------------------------------------------------------- |
// | `join`    | member | I am here, and my position is `after`                          |
// | `sync`    | member | what is the state, and the server's time?                      |
// | `leave`   | member | I am gone                                                      |
// | `hello`   | leader | I lead now; join                                               |
// | `welcome` | leader | to one member: state, position, server's time                  |
// | `records` | leader | what the connection emitted                                    |

import { createClock, feedClock, monotonic } from "./clock.js";
import { createConnection } from "./connection.js";

/** A worker that has not spoken after this time never will. */
const WORKER_MS = 2_000;
/** A clock that may be off by more is synchronized again. */
const ERROR_MS = 50;
const PREFIX = "fanwheel:";
const { BroadcastChannel, SharedWorker } = globalThis;
const locks = globalThis.navigator?.locks;

/** Whether tabs can share here. */
export const canShare = !!BroadcastChannel && !!(locks || SharedWorker);

/** Leads on a channel. A tab that leads takes the records for itself by `take`. */
function lead(settings, channel, position, take, read) {
  let queue = [], last;
  const members = new Set();
  const connection = createConnection(settings, (record) => {
    if (record.k == "state") last = record;
    position = record.id ?? record.position ?? position;
    take(record);
    if (queue.push(record) > 1) return;
    // Records of one piece of the stream go together.
    queueMicrotask(() => {
      channel.postMessage({ t: "records", records: queue });
      queue = [];
    });
  });
  connection.start(position);
  channel.postMessage({ t: "hello" });
  return {
    ...connection,
    /** Hears a message of a member; true when the last one has left. */
    hear({ t, from, after }) {
      if (t == "leave") return members.delete(from) && !members.size;
      if (t != "join" && t != "sync") return;
      members.add(from);
      // Somebody new may be let in, so a server that refused is asked again.
      if (t == "join" && last.state == "closed") connection.start(after);
      else if (after) connection.rewind(after);
      channel.postMessage({ t: "welcome", to: from, state: last, position, time: read() });
    },
  };
}

/** Leads from a SharedWorker of this name, while there are members. */
function leadFromWorker(name) {
  const channel = new BroadcastChannel(name), clock = createClock();
  let leader, release;
  const begin = () => {
    const settings = JSON.parse(name.slice(PREFIX.length));
    leader = lead(settings, channel, "", (record) => feedClock(clock, record), clock.read);
    return new Promise((resolve) => (release = resolve));
  };
  const request = () => (locks ? locks.request(name, begin) : begin());
  channel.onmessage = ({ data }) => {
    if (leader?.hear(data)) {
      leader.stop();
      leader = undefined;
      release();
    } else if (!leader && release && data.t == "join") {
      release = undefined;
      request();
    }
  };
  request();
}

/** The same shape as a connection; `read` gives the server's time as this tab knows it. */
export function createShared(settings, emit, read) {
  const me = Math.random().toString(36);
  // Equal for equal streams alone, so it names channel, lock and worker.
  const name = PREFIX + JSON.stringify({ ...settings, worker: undefined });
  let channel, leader, request, position, joined, timer, watcher, syncedAt, heardAt, known;

  const post = (t, after) => {
    syncedAt = monotonic();
    channel.postMessage({ t, from: me, after });
  };

  const join = () => {
    joined = false;
    post("join", position);
  };

  const take = (record) => {
    position = record.id ?? record.position ?? position;
    known = record.k == "state" ? record.state : known;
    emit(record);
    if (!leader && record.k == "clock" && read().error > ERROR_MS) post("sync");
  };

  /** Leads once nobody else does. */
  const queueForLead = (steal) => {
    clearTimeout(timer);
    const begin = () => {
      leader = lead(settings, channel, position, take, read);
      return new Promise((resolve) => request?.signal.addEventListener("abort", resolve));
    };
    if (request || leader) return;
    if (!locks) {
      emit({ k: "warning", code: "not_shared" });
      return begin();
    }
    request = new AbortController();
    locks.request(name, steal ? { steal } : { signal: request.signal }, begin).catch(() => {
      // Another tab took the lock away, since this one was silent.
      if (leader) restart();
    });
  };

  const receive = ({ data }) => {
    heardAt = monotonic();
    if (leader) return leader.hear(data);
    const { t, to, records, state, time } = data;
    // Until the leader knows this tab's position, its records may be past it.
    if (t == "records" && joined) records.forEach(take);
    if (t == "hello") join();
    if (t != "welcome" || to != me) return;
    joined = true;
    if (locks) queueForLead();
    else clearTimeout(timer);
    if (state.state != known) take({ ...state, connectMs: undefined });
    if (!position && data.position) take({ k: "position", id: data.position });
    emit({ k: "bounds", ...time, askedAt: syncedAt });
  };

  const start = (after, steal) => {
    position = after || position || "";
    heardAt = monotonic();
    channel = new BroadcastChannel(name);
    channel.onmessage = receive;
    watcher = setInterval(() => {
      const quietMs = monotonic() - heardAt;
      // A leader that says nothing may hang, or be a worker that was killed.
      if (leader || quietMs < settings.silenceMs) return;
      if (quietMs > 2 * settings.silenceMs) restart(true);
      else post("sync");
    }, settings.silenceMs / 4);
    try {
      if (!settings.worker) throw 0;
      new SharedWorker(settings.worker, { type: "module", name }).onerror = () => queueForLead();
      timer = setTimeout(queueForLead, WORKER_MS);
    } catch {
      // No module is known for a worker, or it is of another origin, or there are no workers.
      queueForLead(steal);
    }
    join();
  };

  const stop = () => {
    known = undefined;
    clearTimeout(timer);
    clearInterval(watcher);
    const led = leader;
    leader = undefined;
    led?.stop();
    request?.abort();
    request = undefined;
    post("leave");
    channel.close();
  };

  function restart(steal) {
    stop();
    start(position, steal);
  }

  return {
    start,
    stop() {
      if (channel) stop();
      emit({ k: "state", state: "idle" });
    },
    hurry: () => leader?.hurry(),
    listen() {},
  };
}

if (globalThis.SharedWorkerGlobalScope && globalThis.name.startsWith(PREFIX)) leadFromWorker(globalThis.name);
