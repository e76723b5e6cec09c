// Node's `http` with an agent that keeps connections, as pools of backends do: between two streams it asks for
// something else through the same agent. A connection that the server has closed without saying so makes that
// request fail.

import http from "node:http";
import { record, url } from "./records.mjs";

const agent = new http.Agent({ keepAlive: true, maxSockets: 1 });
let [lastId, retryMs] = ["", 1_000];

/** Reads a stream by the rules of the standard (WHATWG HTML §9.2.6) until it ends. */
async function read(answer) {
  let [data, name, id, rest] = [[], "", lastId, ""];
  answer.setEncoding("utf8");
  for await (const text of answer) {
    const lines = (rest + text).split("\n");
    rest = lines.pop();
    for (const line of lines) {
      const colon = line.indexOf(":");
      const field = colon < 0 ? line : line.slice(0, colon);
      const value = colon < 0 ? "" : line.slice(colon + 1).replace(/^ /, "");
      if (line === "") {
        lastId = id;
        if (data.length) record("event", { event: name || "message", data: data.join("\n"), id });
        [data, name] = [[], ""];
      } else if (field === "data") data.push(value);
      else if (field === "event") name = value;
      else if (field === "id") id = value;
      else if (field === "retry") retryMs = Number(value);
    }
  }
}

/** One request; the answer, once its head has come. */
function get(target, headers = {}) {
  return new Promise((resolve, reject) => {
    http.get(target, { agent, headers }, resolve).on("error", reject);
  });
}

for (;;) {
  let ended = false;
  try {
    const headers = { Accept: "text/event-stream", ...(lastId && { "Last-Event-ID": lastId }) };
    const answer = await get(url, headers);
    if (answer.statusCode !== 200) {
      answer.resume();
      throw new Error(`status ${answer.statusCode}`);
    }
    record("open");
    await read(answer);
    ended = true;
    record("error", { text: "ended" });
  } catch (error) {
    record("error", { text: String(error) });
  }
  try {
    const answer = await get(new URL("/healthz", url));
    answer.resume();
    await new Promise((resolve) => answer.on("close", resolve));
  } catch (error) {
    // After an orderly end a server that closes has said so; nobody answers after a cut.
    if (ended) record("broken", { text: String(error), code: undefined });
  }
  await new Promise((resolve) => setTimeout(resolve, Math.min(retryMs, 200)));
}
