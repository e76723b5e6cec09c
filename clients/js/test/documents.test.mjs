// Each `js` block of the documents, run as it stands against a real server. `SERVER_BIN` names its program.

import assert from "node:assert/strict";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import test from "node:test";
import { pathToFileURL } from "node:url";
import { startServer } from "./server.mjs";

const LIBRARY = new URL("../fanwheel.min.js", import.meta.url);
const DOCUMENTS = ["../README.md", "../../../docs/client.md"];
const skip = process.env.SERVER_BIN ? false : "SERVER_BIN names no server";

for (const path of DOCUMENTS) {
  const text = await readFile(new URL(path, import.meta.url), "utf8");
  const blocks = [...text.matchAll(/```js\n(.*?)```/gs)].map((match) => match[1]);
  assert.ok(blocks.length, `${path} has examples`);
  blocks.forEach((block, number) => {
    test(`example ${number + 1} of ${path}`, { skip }, (test) => run(test, block));
  });
}

/** Runs a block with the functions that a page has of its own, and publishes until it has shown something. */
async function run(test, block) {
  const server = await startServer(test);
  const folder = await mkdtemp(join(tmpdir(), "fanwheel-example-"));
  test.after(() => rm(folder, { recursive: true }));
  const shown = [];
  let loads = 0;
  Object.assign(globalThis, {
    show: (...values) => shown.push(values),
    load: () => loads++,
    fetchToken: async () => "token",
  });
  // A page's intervals end with the page.
  const started = test.mock.method(globalThis, "setInterval").mock;
  test.after(() => started.calls.forEach(({ result }) => clearInterval(result)));
  const module = block.replace('"/client.js"', JSON.stringify(LIBRARY.href))
    .replace('"/events"', JSON.stringify(`${server.address}/events`));
  const file = join(folder, "example.mjs");
  await writeFile(file, `${module}\nexport { client };\n`);
  const { client } = await import(pathToFileURL(file).href);
  test.after(() => client.close());
  for (let attempt = 0; attempt < 100 && !(client.state == "open" && shown.length); attempt++) {
    await server.publish("news", "likes");
    await server.publish("news");
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  assert.equal(client.state, "open");
  assert.ok(shown.length, "nothing was shown");
  if (block.includes("after:")) assert.ok(loads, "the moment is long gone, so there is a gap");
}
