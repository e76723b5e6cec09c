// Long polls, by k6 without an extension:
//   k6 run -e POLLERS=500 examples/load/k6-polls.js
// Each virtual user asks for one answer after another, from its last id on. Publish meanwhile.

import http from "k6/http";
import { check, sleep } from "k6";
import { Counter, Trend } from "k6/metrics";

const SERVER = __ENV.SERVER || "http://127.0.0.1:8080";
const TOPIC = encodeURIComponent(__ENV.TOPIC || "load");
const WAIT_MS = Number(__ENV.WAIT_MS || 20000);

const events = new Counter("fanwheel_events");
const gaps = new Counter("fanwheel_gaps");
const delay = new Trend("fanwheel_delay", true);

export const options = {
  vus: Number(__ENV.POLLERS || 100),
  duration: "1m",
  thresholds: {
    checks: ["rate>0.99"],
    fanwheel_delay: ["p(99)<500"],
    fanwheel_gaps: ["count==0"],
  },
};

// Each virtual user has variables of its own.
let lastId = "";

/** Takes one answer. The first tells the position, so nothing is lost between two answers. */
export default function () {
  const askedAt = Date.now();
  const place = lastId ? `last_event_id=${lastId}` : "prime=1";
  const answer = http.get(`${SERVER}/events?topic=${TOPIC}&wait_ms=${WAIT_MS}&${place}`, {
    timeout: WAIT_MS + 10000,
    // One name for all polls, or each id would begin a series of its own.
    tags: { name: "poll" },
  });
  if (!check(answer, { "is an answer": ({ status }) => status === 200 })) return sleep(1 + Math.random());
  for (const block of answer.body.split("\n\n")) {
    if (/^event: fanwheel\.gap$/m.test(block)) gaps.add(1);
    const id = /^id: (.+)$/m.exec(block);
    if (!id) continue;
    lastId = id[1];
    if (!/^data:/m.test(block)) continue;
    events.add(1);
    const publishedAt = Number(lastId.split("-")[0]);
    if (publishedAt >= askedAt) delay.add(Date.now() - publishedAt);
  }
}
