import assert from "node:assert/strict";
import test from "node:test";
import { createSeen, isBefore, tagOf, timeOf } from "../src/ids.js";

test("ids compare by number, and foreign ones not at all", () => {
  const rows = [
    ["999-5", "1000-1", true], ["1000-9", "1000-10", true], ["1000-10", "1000-9", false],
    ["1000-9", "1000-9", false], ["", "1000-9", false], ["x", "1000-9", false], ["1000-9", "x", false],
  ];
  for (const [one, other, expected] of rows) assert.equal(isBefore(one, other), expected, `${one} ${other}`);
});

test("an id tells its time and the run it is from", () => {
  assert.equal(timeOf("1795219200000-3749"), 1795219200000);
  assert.equal(tagOf("1795219200000-3749"), 677);
  for (const id of ["", "x-1", "1-", "1-2-3", undefined]) {
    assert.ok(Number.isNaN(timeOf(id)));
    assert.equal(tagOf(id), undefined);
  }
});

test("an event is new once, also after a way over another server and back", () => {
  const seen = createSeen();
  const first = ["100-1", "101-1", "102-1025"], second = ["50-2", "51-2"];
  for (const id of [...first, ...second]) assert.equal(seen.add(id), true, id);
  for (const id of [...first, ...second]) assert.equal(seen.add(id), false, id);
  assert.equal(seen.add("103-1"), true);
  assert.equal(seen.add("no id of ours"), true);
  seen.forget("999-1");
  assert.equal(seen.add("90-1"), true);
});
