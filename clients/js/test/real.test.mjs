// The library against a real server: what the other tests ask of a made-up one. `SERVER_BIN` names its program.

import assert from "node:assert/strict";
import test from "node:test";
import { connect } from "../src/client.js";
import { startServer } from "./server.mjs";

const skip = process.env.SERVER_BIN ? false : "SERVER_BIN names no server";

/** Follows a topic of a server. Returns the payloads and the warnings that the client tells. */
function follow(test, server, options) {
  const client = connect(`${server.address}/events`, { topics: ["prices"], clock: false, ...options });
  test.after(() => client.close());
  const told = [], warnings = [];
  client.on("*", (event) => told.push(event.data));
  client.on("fanwheel.snapshot-end", () => told.push("end"));
  client.on("fanwheel.warning", (event) => warnings.push(event.code));
  return { client, told, warnings };
}

const publish = (server, key, body) =>
  fetch(`http://127.0.0.1:${server.control}/publish?topic=prices&key=${key}`, { method: "POST", body });

async function until(holds, what) {
  for (let attempt = 0; attempt < 200; attempt++) {
    if (holds()) return;
    await new Promise((resolve) => setTimeout(resolve, 25));
  }
  assert.fail(what());
}

for (const transport of ["fetch", "poll"]) {
  test(`state comes before changes over ${transport}, and no warning`, { skip }, async (test) => {
    const server = await startServer(test);
    for (const [key, body] of [["a", "a1"], ["b", "b1"], ["a", "a2"]]) await publish(server, key, body);
    const { told, warnings } = follow(test, server, { snapshot: true, transport });
    await until(() => told.includes("end"), () => `no end of the snapshot in ${told}`);
    for (const body of ["a3", "a4"]) await publish(server, "a", body);
    await until(() => told.includes("a4"), () => `no change in ${told}`);
    assert.deepEqual(told.filter((data) => data != "end"), ["b1", "a2", "a3", "a4"]);
    assert.equal(told.indexOf("end"), 2, `${told}`);
    assert.deepEqual(warnings.filter((code) => code != "held_back"), []);
  });
}

test("a client that polls misses nothing between two answers", { skip }, async (test) => {
  const server = await startServer(test);
  const { client, told } = follow(test, server, { transport: "poll" });
  await until(() => client.state == "open", () => client.state);
  const expected = Array.from({ length: 60 }, (_, n) => `${n}`);
  for (const body of expected) await publish(server, "x", body);
  await until(() => told.at(-1) == "59", () => `${told}`);
  assert.deepEqual(told, expected);
});

for (const transport of ["fetch", "poll"]) {
  test(`a pattern brings topics that appear later over ${transport}`, { skip }, async (test) => {
    const server = await startServer(test);
    const { client, told, warnings } = follow(test, server, { patterns: ["orders.*"], transport });
    await until(() => client.state == "open", () => client.state);
    const expected = [];
    for (const topic of ["orders.a", "prices", "orders.b", "other", "orders.a.deep", "orders.a"]) {
      const body = `${topic} ${expected.length}`;
      await server.publish(topic, "", body);
      if (!/other|deep/.test(topic)) expected.push(body);
    }
    await server.publish("prices", "", "last");
    await until(() => told.includes("last"), () => `${told}`);
    assert.deepEqual(told, [...expected, "last"]);
    assert.deepEqual(warnings.filter((code) => code != "held_back"), []);
  });
}

test("a snapshot of a pattern has the newest of each topic, then changes", { skip }, async (test) => {
  const server = await startServer(test);
  for (const [topic, body] of [["orders.a", "a1"], ["orders.b", "b1"], ["orders.a", "a2"]]) {
    await server.publish(topic, "", body);
  }
  const { told, warnings } = follow(test, server, { topics: [], patterns: ["orders.*"], snapshot: true });
  await until(() => told.includes("end"), () => `no end of the snapshot in ${told}`);
  await server.publish("orders.new", "", "n1");
  await until(() => told.includes("n1"), () => `no change in ${told}`);
  assert.deepEqual([told.filter((data) => data != "end"), told.indexOf("end")], [["b1", "a2", "n1"], 2]);
  assert.deepEqual(warnings, []);
});

test("a pattern goes on after a cut where it was", { skip }, async (test) => {
  const server = await startServer(test);
  const { client, told } = follow(test, server, { topics: [], patterns: ["orders.**"] });
  const gaps = [];
  client.on("fanwheel.gap", ({ gap }) => gaps.push(gap));
  await until(() => client.state == "open", () => client.state);
  await server.publish("orders.a", "", "before");
  await until(() => told.length == 1, () => `${told}`);
  client.pause();
  for (const topic of ["orders.a", "orders.new.deep"]) await server.publish(topic, "", topic);
  client.resume();
  await until(() => told.length == 3, () => `${told}`);
  assert.deepEqual([told, gaps], [["before", "orders.a", "orders.new.deep"], []]);
});

test("a server without patterns is named, and closes the stream", { skip }, async (test) => {
  const server = await startServer(test, "--patterns", "off");
  const { client, warnings } = follow(test, server, { topics: [], patterns: ["orders.*"] });
  await until(() => client.state == "closed" && warnings.length, () => `${client.state} ${warnings}`);
  assert.deepEqual([warnings, client.metrics().status], [["no_patterns"], 400]);
});
