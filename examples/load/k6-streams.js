// Streams and a publisher, by k6 and its extension for server-sent events, which k6 fetches by itself:
//   k6 run -e STREAMS=500 -e RATE=20 examples/load/k6-streams.js
// Each virtual user holds one stream. README.md says what the figures leave out.

import sse from "k6/x/sse";
import http from "k6/http";
import { check, sleep } from "k6";
import { Counter, Trend } from "k6/metrics";

const SERVER = __ENV.SERVER || "http://127.0.0.1:8080";
const CONTROL = __ENV.CONTROL || "http://127.0.0.1:8081";
const TOPIC = encodeURIComponent(__ENV.TOPIC || "load");
const STREAMS = Number(__ENV.STREAMS || 100);
const RATE = Number(__ENV.RATE || 10);

const events = new Counter("fanwheel_events");
const gaps = new Counter("fanwheel_gaps");
const repeats = new Counter("fanwheel_repeats");
const delay = new Trend("fanwheel_delay", true);

export const options = {
  scenarios: {
    subscribers: {
      executor: "ramping-vus", exec: "follow", gracefulStop: "0s", gracefulRampDown: "0s",
      stages: [{ duration: "10s", target: STREAMS }, { duration: "50s", target: STREAMS }],
    },
    publisher: {
      executor: "constant-arrival-rate", exec: "publish", startTime: "10s", duration: "45s",
      rate: RATE, timeUnit: "1s", preAllocatedVUs: 10,
    },
  },
  thresholds: {
    checks: ["rate>0.99"],
    fanwheel_delay: ["p(99)<500"],
    fanwheel_gaps: ["count==0"],
    fanwheel_repeats: ["count==0"],
  },
};

// Each virtual user has variables of its own.
let lastId = "";

/** The server's time in an id. */
const timeOf = (id) => Number(id.split("-")[0]);

/** Holds a stream until it ends. The next iteration goes on at the last id, as a browser does. */
export function follow() {
  const openedAt = Date.now();
  const headers = lastId ? { "Last-Event-ID": lastId } : {};
  const answer = sse.open(`${SERVER}/events?topic=${TOPIC}`, { headers }, (client) => {
    client.on("event", ({ id, name }) => {
      if (name === "fanwheel.gap") gaps.add(1);
      if (!id) return;
      if (id === lastId || timeOf(id) < timeOf(lastId)) repeats.add(1);
      lastId = id;
      events.add(1);
      // An event from history has waited for this stream, not for the server.
      if (timeOf(id) >= openedAt) delay.add(Date.now() - timeOf(id));
    });
    // A cut is an error, after which the extension would wait for ever.
    client.on("error", () => client.close());
  });
  check(answer, { "is a stream": ({ status }) => status === 200 });
  // The extension does not tell the server's `retry:`.
  sleep(1 + Math.random());
}

/** Publishes one event. */
export function publish() {
  const answer = http.post(`${CONTROL}/publish?topic=${TOPIC}`, "x".repeat(100));
  check(answer, { "is accepted": ({ status }) => status === 202 });
}
