import assert from "node:assert/strict";
import test from "node:test";
import { createParser } from "../src/parse.js";

/** What comes out of a stream that arrives in the given pieces. */
function parse(...pieces) {
  const seen = [];
  const take = createParser({
    onBlock: ({ id, type, data }) => seen.push([id, type, data]),
    onRetry: (ms) => seen.push(ms),
    onComment: () => seen.push(":"),
  });
  pieces.forEach(take);
  return seen;
}

const ROWS = [
  ["one event", "id: 1-1\nevent: a\ndata: x\n\n", [["1-1", "a", "x"]]],
  ["the default name", "data: x\n\n", [[undefined, "message", "x"]]],
  ["several lines of data", "data: a\ndata\ndata:  b\n\n", [[undefined, "message", "a\n\n b"]]],
  ["an empty event", "data:\n\n", [[undefined, "message", ""]]],
  ["all line ends", "data: a\r\ndata: b\rdata: c\n\r\n", [[undefined, "message", "a\nb\nc"]]],
  ["a position alone", "id: 1-1\n\n", [["1-1", "message", undefined]]],
  ["a name alone", "event: a\n\ndata: x\n\n", [[undefined, "message", "x"]]],
  ["greeting and heartbeat", ":ok\nretry: 2000\n:\n", [":", 2000, ":"]],
  ["a retry that is no number", "retry: -1\nretry: 1.5\nretry: 2e3\nretry:\n", []],
  ["an id with NUL", "id: a\0b\ndata: x\n\n", [[undefined, "message", "x"]]],
  ["unknown fields and no colon", "datax: y\nfoo\ndata: x\n\n", [[undefined, "message", "x"]]],
  ["an unfinished block", "data: x\n\ndata: lost\n", [[undefined, "message", "x"]]],
  ["a name does not last", "event: a\ndata: x\n\ndata: y\n\n",
    [[undefined, "a", "x"], [undefined, "message", "y"]]],
];

for (const [name, stream, expected] of ROWS) {
  test(`${name} is read, in one piece and in pieces of one character`, () => {
    assert.deepEqual(parse(stream), expected);
    assert.deepEqual(parse(...stream), expected);
  });
}
