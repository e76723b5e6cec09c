// What is handed out: the built module, its size, its types, and the package as npm would install it.

import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import test from "node:test";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { gzipSync } from "node:zlib";

const run = promisify(execFile);
const HERE = fileURLToPath(new URL("..", import.meta.url));
const BUILT = join(HERE, "fanwheel.min.js");
const SIZE_MAX = 6_000;

/** An empty folder that is gone after the test. */
async function folder(test) {
  const path = await mkdtemp(join(tmpdir(), "fanwheel-client-"));
  test.after(() => rm(path, { recursive: true }));
  return path;
}

test("the built module is that of the sources", async (test) => {
  const fresh = join(await folder(test), "fresh.js");
  await run("node", ["build.mjs", fresh], { cwd: HERE });
  assert.equal(await readFile(fresh, "utf8"), await readFile(BUILT, "utf8"), "run `npm run build` in clients/js");
});

test(`the built module has at most ${SIZE_MAX} bytes when it is gzipped`, async (test) => {
  const bytes = gzipSync(await readFile(BUILT), { level: 9 }).length;
  test.diagnostic(`${bytes} bytes`);
  assert.ok(bytes <= SIZE_MAX, `${bytes} bytes`);
});

test("the package installs into an empty project, and its types compile", async (test) => {
  const project = await folder(test);
  const packed = await run("npm", ["pack", "--json", "--pack-destination", project], { cwd: HERE });
  const { filename, files } = JSON.parse(packed.stdout)[0];
  assert.deepEqual(files.map(({ path }) => path).sort(),
    ["README.md", "client.d.ts", "fanwheel.min.js", "package.json"]);
  await writeFile(join(project, "package.json"), '{"type":"module"}');
  await run("npm", ["install", "--offline", "--no-audit", "--no-fund", join(project, filename)], { cwd: project });
  await writeFile(join(project, "use.ts"), `
    import { connect, type Client, type Metrics } from "fanwheel-client";
    const client: Client = connect("/events", { topics: ["news"], share: true, headers: { Authorization: "x" } });
    const off: () => void = client.on("likes", ({ data, id, time }) => console.log(data.length, id, time ?? 0));
    client.on("fanwheel.gap", ({ gap }) => console.log(gap.reason, gap.oldest));
    client.on("fanwheel.state", ({ state, waitMs }) => console.log(state, waitMs));
    const metrics: Metrics = client.metrics();
    console.log(metrics.delayMs.max, client.serverNow().error, off);
    // @ts-expect-error: there is no such option.
    connect("/events", { topic: "news" });
    // @ts-expect-error: nor such a transport.
    connect("/events", { topics: ["news"], transport: "pigeon" });
  `);
  const compiler = join(HERE, "node_modules", "typescript", "bin", "tsc");
  const options = ["--noEmit", "--strict", "--module", "nodenext", "--target", "es2022", "--lib", "es2022,dom"];
  await run("node", [compiler, ...options, "use.ts"], { cwd: project }).catch((error) => assert.fail(error.stdout));
  const { stdout } = await run("node", ["--input-type=module", "-e",
    'import * as all from "fanwheel-client"; console.log(Object.keys(all))'], { cwd: project });
  assert.equal(stdout.trim(), "[ 'connect' ]");
});
