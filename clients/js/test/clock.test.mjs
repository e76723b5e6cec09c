import assert from "node:assert/strict";
import test from "node:test";
import { createClock } from "../src/clock.js";

const SERVER = 1_795_000_000_000;

test("the true time lies within the bound whatever way delays fall", () => {
  for (const [there, back] of [[1, 1], [200, 3], [3, 200], [0, 0], [40, 40]]) {
    const clock = createClock();
    const asked = 1_000, stamped = asked + there, heard = stamped + back;
    clock.asked(SERVER + stamped, asked);
    clock.heard(SERVER + stamped, heard);
    const { now, error } = clock.read(heard);
    assert.ok(Math.abs(now - (SERVER + heard)) <= error, `${there} ${back}: ${now - SERVER - heard} ${error}`);
    assert.ok(error <= there + back + 1.1, `${error}`);
  }
});

test("later stamps narrow the bound, and time widens it again", () => {
  const clock = createClock();
  clock.asked(SERVER + 1_010, 1_000);
  clock.heard(SERVER + 1_010, 1_110);
  const wide = clock.read(1_110).error;
  clock.heard(SERVER + 2_000, 2_002);
  const narrow = clock.read(2_002).error;
  assert.ok(narrow < 12 && wide > 80, `${wide} ${narrow}`);
  assert.ok(clock.read(1_000_000).error > narrow + 50);
});

test("nothing is claimed before the first stamp, nor without an upper bound", () => {
  const clock = createClock();
  assert.equal(clock.read().error, Infinity);
  clock.heard(SERVER, 10, true);
  assert.deepEqual(clock.read(10), { now: SERVER, error: Infinity });
});

test("an id that runs ahead of the clock is not believed", () => {
  const clock = createClock();
  clock.asked(SERVER + 1_001, 1_000);
  clock.heard(SERVER + 1_001, 1_003);
  clock.heard(SERVER + 6_000, 1_004, true);
  assert.ok(Math.abs(clock.read(1_004).now - (SERVER + 1_004)) < 4);
});

test("a server whose clock is set forward or back is followed", () => {
  const clock = createClock();
  clock.asked(SERVER + 1_001, 1_000);
  clock.heard(SERVER + 1_001, 1_003);
  clock.heard(SERVER + 10_000 + 2_000, 2_001);
  assert.ok(Math.abs(clock.read(2_001).now - (SERVER + 12_001)) < 5);
  clock.asked(SERVER + 3_001, 3_000);
  clock.heard(SERVER + 3_001, 3_003);
  assert.ok(Math.abs(clock.read(3_003).now - (SERVER + 3_003)) < 5);
});
