import assert from "node:assert/strict";
import test from "node:test";
import { connect } from "../src/client.js";
import { clockFrame, frame, takeOver } from "./fake.mjs";

const ADDRESS = "http://server.test/events";

/** A client under fake time, with everything that it told. */
async function follow(test, options = {}, world = takeOver(test)) {
  const client = connect(ADDRESS, { topics: ["news"], ...options });
  const told = { states: [], events: [], gaps: [], warnings: [] };
  client.on("fanwheel.state", (state) => told.states.push(state));
  client.on("*", (event) => told.events.push(event.data));
  client.on("fanwheel.gap", (event) => told.gaps.push(event.gap));
  client.on("fanwheel.warning", (warning) => told.warnings.push(warning.code));
  test.after(() => client.close());
  await world.advance(0);
  return { client, world, told };
}

test("the request asks for topics, filters, position and time", async (test) => {
  const { world } = await follow(test, {
    topics: ["a b", "c&d"], events: ["likes"], last: 3, after: "5-0", headers: { Authorization: "Bearer x" },
  });
  const { url, init } = world.last();
  assert.deepEqual(url.searchParams.getAll("topic"), ["a b", "c&d"]);
  const rest = Object.fromEntries(url.searchParams);
  assert.deepEqual(rest, { topic: "c&d", event: "likes", last: "3", clock: "1", prime: "1", last_event_id: "5-0" });
  assert.equal(init.headers.Authorization, "Bearer x");
  assert.equal(init.headers.Accept, "text/event-stream");
});

test("listeners hear their names, and can leave", async (test) => {
  const { client, world } = await follow(test);
  const heard = [];
  const off = client.on("likes", (event) => heard.push(event));
  client.on("message", (event) => heard.push(event));
  await world.last().stream();
  await world.last().send(frame("1000-1", "one", "likes") + frame("1000-1025", "two"));
  off();
  await world.last().send(frame("1001-1", "three", "likes"));
  assert.deepEqual(heard.map(({ type, data, id, time }) => [type, data, id, time]),
    [["likes", "one", "1000-1", 1000], ["message", "two", "1000-1025", 1000]]);
  assert.equal(client.lastId, "1001-1");
});

test("a listener that throws disturbs nobody else", async (test) => {
  const { client, world, told } = await follow(test);
  const reported = [];
  globalThis.reportError = (error) => reported.push(error.message);
  test.after(() => delete globalThis.reportError);
  client.on("message", () => {
    throw new Error("mine");
  });
  await world.last().stream();
  await world.last().send(frame("1-1", "a") + frame("2-1", "b"));
  assert.deepEqual(told.events, ["a", "b"]);
  assert.deepEqual(reported, ["mine", "mine"]);
});

test("a stream that ends is taken up where it was left, and nothing comes twice", async (test) => {
  const { client, world, told } = await follow(test);
  await world.last().stream();
  await world.last().send(frame("1-1", "a") + frame("2-1", "b"));
  await world.last().end();
  assert.deepEqual(told.states.at(-1), { state: "waiting", cause: "ended", status: undefined, waitMs: 1000,
    transport: "fetch" });
  await world.advance(1_000);
  assert.equal(world.last().url.searchParams.get("last_event_id"), "2-1");
  await world.last().stream();
  await world.last().send(frame("1-1", "a") + frame("2-1", "b") + frame("3-1", "c"));
  assert.deepEqual(told.events, ["a", "b", "c"]);
  const { duplicates, events, reconnects, connects } = client.metrics();
  assert.deepEqual({ duplicates, events, reconnects, connects },
    { duplicates: 2, events: 3, reconnects: { ended: 1 }, connects: 2 });
});

test("half an event at a cut is not delivered", async (test) => {
  const { world, told } = await follow(test);
  await world.last().stream();
  await world.last().send(frame("1-1", "a") + "id: 2-1\ndata: ha");
  await world.last().cut();
  await world.advance(1_000);
  assert.equal(world.last().url.searchParams.get("last_event_id"), "1-1");
  await world.last().stream();
  await world.last().send(frame("2-1", "half"));
  assert.deepEqual(told.events, ["a", "half"]);
});

test("characters that are torn between two reads arrive whole", async (test) => {
  const { world, told } = await follow(test);
  await world.last().stream();
  for (const byte of new TextEncoder().encode(frame("1-1", "zażółć 世界 🎡"))) {
    await world.last().send(Uint8Array.of(byte));
  }
  assert.deepEqual(told.events, ["zażółć 世界 🎡"]);
});

test("a position without an event is where the stream is taken up", async (test) => {
  const { client, world } = await follow(test);
  await world.last().stream(":ok\nretry: 2000\nid: 7-1\n\n");
  assert.equal(client.lastId, "7-1");
  await world.last().end();
  await world.advance(1_000);
  assert.equal(world.last().url.searchParams.get("last_event_id"), "7-1");
});

test("delays grow and stay within their window, above what the server wants", async (test) => {
  const draws = [0, 0.999, 0.5, 0.5, 0.5, 0.5, 0.5];
  const world = takeOver(test, { random: () => draws.shift() ?? 0.5 });
  const { told } = await follow(test, { retryMs: 1_000, retryMaxMs: 8_000 }, world);
  const waits = () => told.states.filter(({ state }) => state == "waiting").map(({ waitMs }) => Math.round(waitMs));
  for (let attempt = 0; attempt < 6; attempt++) {
    await world.last().fail();
    await world.advance(9_000);
  }
  assert.deepEqual(waits(), [0, 1998, 2000, 4000, 4000, 4000]);
  await world.last().answer(503, { "Retry-After": "20" });
  assert.equal(waits().at(-1), 24_000);
});

test("the server's retry is the first window, and a long stream begins anew", async (test) => {
  const { world, told } = await follow(test, { retryMs: 1_000 });
  await world.last().fail();
  await world.advance(500);
  await world.last().fail();
  await world.advance(1_000);
  await world.last().stream(":ok\nretry: 6000\n");
  await world.advance(10_001);
  await world.last().end();
  assert.equal(told.states.at(-1).waitMs, 3_000);
});

test("a stream that only says when to come back is a refusal", async (test) => {
  const { world, told } = await follow(test);
  await world.last().stream("retry: 9000\n");
  await world.last().end();
  const { state, cause, waitMs } = told.states.at(-1);
  assert.deepEqual({ state, cause, waitMs }, { state: "waiting", cause: "refused", waitMs: 13_500 });
  assert.ok(!told.states.some(({ state }) => state == "open"));
});

test("each status does what the documents say", async (test) => {
  const rows = [
    [204, "closed"], [400, "closed"], [401, "closed"], [403, "closed"], [404, "closed"], [406, "closed"],
    [408, "waiting"], [429, "waiting"], [500, "waiting"], [502, "waiting"], [503, "waiting"], [504, "waiting"],
  ];
  const world = takeOver(test);
  for (const [status, expected] of rows) {
    const { client, told } = await follow(test, {}, world);
    await world.last().answer(status);
    const { state, status: reported, cause } = told.states.at(-1);
    assert.deepEqual([state, reported, cause], [expected, status, "refused"]);
    client.close();
  }
});

test("a page that is no stream is tried again", async (test) => {
  const { world, told } = await follow(test);
  await world.last().answer(200, { "content-type": "text/html" }, "<h1>Sign in to this network</h1>");
  assert.equal(told.states.at(-1).state, "waiting");
});

test("headers are made for each attempt, and a 401 is tried once more with new ones", async (test) => {
  let made = 0;
  const { client, world, told } = await follow(test, { headers: async () => ({ Authorization: `Bearer ${++made}` }) });
  assert.equal(world.last().init.headers.Authorization, "Bearer 1");
  await world.last().answer(401);
  await world.advance(0);
  assert.equal(world.last().init.headers.Authorization, "Bearer 2");
  await world.last().answer(401);
  assert.equal(told.states.at(-1).state, "closed");
  client.resume();
  await world.advance(0);
  assert.equal(world.last().init.headers.Authorization, "Bearer 3");
  await world.last().stream();
  assert.equal(client.state, "open");
});

test("a gap is told, and what follows it is delivered", async (test) => {
  const { client, world, told } = await follow(test, { after: "9000-1" });
  await world.last().stream();
  const gap = { topic: "news", after: "9000-1", oldest: "500-2", reason: "restart" };
  await world.last().send(`event: fanwheel.gap\ndata: ${JSON.stringify(gap)}\n\n` + frame("500-2", "kept"));
  assert.deepEqual(told.gaps, [gap]);
  assert.deepEqual(told.events, ["kept"]);
  assert.equal(client.metrics().gaps, 1);
});

test("silence is death, but not while heartbeats come or the page slept", async (test) => {
  const { world, told } = await follow(test);
  await world.last().stream();
  for (let beat = 0; beat < 20; beat++) {
    await world.advance(15_000);
    await world.last().send(":\n");
  }
  assert.equal(told.states.at(-1).state, "open");
  // A frozen page: no timer ran, and what came meanwhile is read right after.
  world.freeze(300_000);
  await world.advance(0);
  await world.last().send(":\n");
  await world.advance(2_000);
  assert.equal(told.states.at(-1).state, "open");
  const opened = world.requests.length;
  await world.advance(41_500);
  const { state, cause } = told.states.find(({ cause }) => cause == "silent");
  assert.deepEqual([state, cause], ["waiting", "silent"]);
  assert.ok(world.requests[opened - 1].aborted);
});

test("a step of the wall clock changes nothing", async (test) => {
  const { client, world, told } = await follow(test);
  await world.last().stream(":ok\nretry: 2000\n" + clockFrame(5_000_000));
  const before = client.serverNow().now;
  world.stepWallClock(-86_400_000);
  await world.advance(1_000);
  assert.ok(Math.abs(client.serverNow().now - before - 1_000) < 1);
  world.stepWallClock(172_800_000);
  await world.advance(39_000);
  assert.equal(told.states.at(-1).state, "open");
});

test("an answer that never comes is given up", async (test) => {
  const { world, told } = await follow(test);
  await world.advance(10_000);
  assert.equal(told.states.at(-1).cause, "timeout");
  assert.ok(world.requests[0].aborted);
});

test("where streams are held back the client polls, and says so", async (test) => {
  const { client, world, told } = await follow(test);
  for (let attempt = 0; attempt < 2; attempt++) {
    await world.last().stream("");
    await world.advance(15_000);
  }
  assert.deepEqual(told.states.flatMap(({ cause }) => cause ?? []), ["held", "held"]);
  const poll = world.last();
  assert.equal(poll.url.searchParams.get("wait_ms"), "25000");
  const answer = (text) => world.last().answer(200,
    { "content-type": "text/event-stream", "content-length": String(text.length) }, text);
  await answer("retry: 2000\n" + frame("1-1", "a"));
  assert.deepEqual(told.warnings, ["held_back"]);
  assert.deepEqual([client.state, told.states.at(-1).transport], ["open", "poll"]);
  assert.equal(world.last().url.searchParams.get("last_event_id"), "1-1");
  await answer("retry: 2000\n");
  await answer(frame("2-1", "b"));
  assert.deepEqual(told.events, ["a", "b"]);
});

test("a server that cannot be polled is named", async (test) => {
  const { world, told } = await follow(test);
  for (let attempt = 0; attempt < 2; attempt++) {
    await world.last().stream("");
    await world.advance(15_000);
  }
  await world.last().stream(":ok\nretry: 2000\n");
  assert.deepEqual(told.warnings, ["no_polling"]);
  await world.advance(10_000);
  assert.equal(world.last().url.searchParams.get("wait_ms"), null);
});

test("patterns and snapshots that the server lacks are named", async (test) => {
  const { world, told } = await follow(test, { patterns: ["orders.*"], snapshot: true });
  const [check, stream] = world.requests;
  assert.equal(check.init.method, "HEAD");
  assert.deepEqual([...check.url.searchParams.keys()].sort(), ["clock", "pattern", "prime", "snapshot"]);
  await check.answer(400);
  await stream.stream();
  await world.advance(10_000);
  assert.deepEqual(told.warnings, ["no_patterns", "no_snapshot"]);
});

test("a server that knows patterns and snapshots is not named", async (test) => {
  const { world, told } = await follow(test, { patterns: ["orders.*"], snapshot: true });
  const [check, stream] = world.requests;
  await check.answer(200);
  await stream.stream();
  await stream.send('event: fanwheel.snapshot-end\ndata: {"topics":0,"events":0}\n\n');
  await world.advance(11_000);
  assert.deepEqual(told.warnings, []);
});

test("a paused client is silent, and comes back where it was", async (test) => {
  const { client, world, told } = await follow(test);
  await world.last().stream();
  await world.last().send(frame("1-1", "a"));
  client.pause();
  assert.deepEqual([client.state, told.states.at(-1).cause], ["paused", "asked"]);
  await world.advance(60_000);
  assert.equal(world.requests.length, 1);
  client.resume();
  await world.advance(0);
  assert.equal(world.last().url.searchParams.get("last_event_id"), "1-1");
  client.close();
  assert.equal(client.state, "closed");
  client.resume();
  await world.advance(60_000);
  assert.equal(world.requests.length, 2);
});

test("figures tell delay, stability and bytes", async (test) => {
  const { client, world } = await follow(test);
  const server = 1_795_000_000_000;
  await world.advance(10);
  await world.last().stream(":ok\nretry: 2000\n" + clockFrame(server + 5));
  const replayed = [];
  client.on("message", (event) => replayed.push(event.replayed));
  await world.last().send(frame(`${server - 5_000}-1`, "old"));
  await world.advance(100);
  await world.last().send(frame(`${server + 65}-1`, "new"));
  assert.deepEqual(replayed, [true, false]);
  await world.advance(890);
  await world.last().end();
  await world.advance(1_000);
  const figures = client.metrics();
  // Sent at 60 by the server's clock as seen here, heard at 110.
  assert.ok(Math.abs(figures.delayMs.last - 45) <= client.serverNow().error + 5, JSON.stringify(figures.delayMs));
  assert.ok(Math.abs(figures.connectedShare - 0.495) < 0.01, `${figures.connectedShare}`);
  assert.equal(figures.connectMs, 10);
  assert.equal(figures.eventsPerMinute, 2);
  assert.equal(figures.bytes, (":ok\nretry: 2000\n" + clockFrame(server + 5)
    + frame(`${server - 5_000}-1`, "old") + frame(`${server + 65}-1`, "new")).length);
});

test("changes of figures are told at most once a second", async (test) => {
  const { client, world } = await follow(test);
  const told = [];
  client.on("fanwheel.metrics", ({ events }) => told.push(events));
  await world.last().stream();
  for (let id = 1; id <= 40; id++) {
    await world.last().send(frame(`${id}-1`, "x"));
    await world.advance(50);
  }
  assert.ok(told.length <= 2 && told.at(-1) >= 38, `${told}`);
});

test("a beacon sends differences", async (test) => {
  const { world } = await follow(test, { beacon: true, beaconMs: 1_000 });
  const stream = world.last();
  await stream.stream(":ok\nretry: 2000\n" + clockFrame(10_000));
  await stream.send(frame("20000-1", "a"));
  await world.advance(1_000);
  const first = world.last();
  assert.equal(first.url.href, "http://server.test/client-metrics");
  assert.equal(first.init.method, "POST");
  const { events, connects, delays, total_ms, reconnects } = JSON.parse(first.init.body);
  assert.deepEqual([events, connects, total_ms, reconnects], [1, 1, 1_000, {}]);
  assert.equal(delays.length, 12);
  await stream.end();
  await world.advance(1_000);
  const second = JSON.parse(world.last().init.body ?? world.requests.at(-2).init.body);
  assert.deepEqual([second.events, second.connects, second.reconnects], [0, 0, { ended: 1 }]);
});

test("mistakes are told at once", () => {
  const rows = [
    [{}, /at least one topic/], [{ topics: ["a"], share: true, last: 3 }, /share excludes last/],
    [{ topics: ["a"], share: true, headers: () => ({}) }, /headers by a function/],
  ];
  for (const [options, expected] of rows) assert.throws(() => connect(ADDRESS, options), expected);
});

test("two hundred clients that were cut together come back evenly over the window", async (test) => {
  const { random } = Math;
  const world = takeOver(test, { random });
  const classes = Array(10).fill(0), clients = 200;
  for (let client = 0; client < clients; client++) await follow(test, {}, world);
  for (const request of [...world.requests]) await request.stream(":ok\nretry: 5000\n");
  for (const request of [...world.requests]) await request.cut();
  const begun = world.now;
  for (let at = 0; at < 10; at++) {
    const before = world.requests.length;
    await world.advance(500);
    classes[at] = world.requests.length - before;
  }
  assert.equal(world.now - begun, 5_000);
  assert.equal(classes.reduce((sum, count) => sum + count), clients);
  const square = classes.reduce((sum, count) => sum + (count - clients / 10) ** 2 / (clients / 10), 0);
  test.diagnostic(`chi-square ${square.toFixed(1)} with nine degrees of freedom`);
  // Of uniform draws, one in a million exceeds this.
  assert.ok(square < 46, `${square}: ${classes}`);
});
