// Runs a k6 script without k6: its modules are stood in for by this file, over curl, and as blocking as there.
// Usage: node k6.mjs SCRIPT FUNCTION TIMES STREAM_SECONDS; the environment is the script's.
// Prints what the script measured, checked and saw, as one line of JSON.

import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";

export const seen = { metrics: {}, checks: [], data: [] };

/** Runs curl. Returns status and body, and whether the answer was cut. */
function ask(url, headers = {}, ...more) {
  const fields = Object.entries(headers).flatMap(([name, value]) => ["-H", `${name}: ${value}`]);
  const run = (...all) => execFileSync("curl", all, { encoding: "utf8", stdio: ["ignore", "pipe", "ignore"] });
  let text, cut = false;
  try {
    text = run("-sNi", ...fields, ...more, url);
  } catch (error) {
    text = error.stdout;
    cut = true;
  }
  const [head, ...body] = text.split("\r\n\r\n");
  return { status: Number(head.split(" ")[1] ?? 0), body: body.join("\r\n\r\n"), cut };
}

export default {
  /** A stream, as the extension reads it: an event for each blank line, comments included. */
  open(url, { headers }, setUp) {
    const handlers = {};
    let closed = false;
    setUp({ on: (name, handler) => (handlers[name] = handler), close: () => (closed = true) });
    const { status, body, cut } = ask(url, headers, "--max-time", process.argv[5]);
    for (const block of body.split("\n\n").slice(0, -1)) {
      const field = (name) => new RegExp(`^${name}: ?(.*)$`, "m").exec(block)?.[1] ?? "";
      const event = { id: field("id"), name: field("event"), data: field("data") };
      if (event.id) seen.data.push(event.data);
      handlers.event(event);
    }
    if (cut) handlers.error({});
    if (cut && !closed) throw new Error("the script leaves the extension waiting");
    return { status };
  },
  get: (url, { timeout }) => {
    const answer = ask(url, {}, "--max-time", String(timeout / 1000));
    seen.data.push(...[...answer.body.matchAll(/^data: (.*)$/gm)].map(([, data]) => data));
    return answer;
  },
  post: (url, body) => ask(url, {}, "--data-binary", body),
};

class Metric {
  constructor(name) {
    seen.metrics[this.name = name] = [];
  }
  add(value) {
    seen.metrics[this.name].push(value);
  }
}
export { Metric as Counter, Metric as Trend };
export const sleep = (seconds) => Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, seconds * 1000);
export const check = (value, checks) => Object.values(checks).every((holds) => {
  seen.checks.push(holds(value));
  return holds(value);
});

// The script has an instance of this module of its own, whose address has a query.
if (!new URL(import.meta.url).search) {
  const [, , path, name, times] = process.argv;
  globalThis.__ENV = process.env;
  const source = readFileSync(path, "utf8").replace(/from "k6[^"]*"/g, `from "${import.meta.url}?of=script"`);
  const script = await import(`data:text/javascript,${encodeURIComponent(source)}`);
  const { seen: told } = await import(`${import.meta.url}?of=script`);
  for (let time = 0; time < Number(times); time++) script[name]();
  console.log(JSON.stringify({ ...told, options: script.options, functions: Object.keys(script) }));
}
