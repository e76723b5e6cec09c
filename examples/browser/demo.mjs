// The application behind the example pages: serves them, and publishes what they send. In your project this is
// your own server. Run it with `node demo.mjs [PORT] [PUBLIC ADDRESS] [CONTROL ADDRESS] [--simulate]`.

import { createReadStream } from "node:fs";
import { createServer } from "node:http";
import { basename, extname } from "node:path";
import { fileURLToPath } from "node:url";

const SERVER = "http://127.0.0.1:8080";
const [port = "3000", server = SERVER, control = "http://127.0.0.1:8081"] = process.argv.slice(2);
const here = (path) => fileURLToPath(new URL(path, import.meta.url));
const wait = (ms) => new Promise((done) => setTimeout(done, ms));

const BODY_BYTES_MAX = 65_536;
const TYPES = { ".html": "text/html", ".css": "text/css", ".js": "text/javascript" };
/** Libraries that some pages use, as npm installs them. */
const MODULES = {
  "htmx.js": "htmx.org/dist/htmx.js",
  "htmx-sse.js": "htmx-ext-sse/sse.js",
  "react.js": "react/umd/react.production.min.js",
  "react-dom.js": "react-dom/umd/react-dom.production.min.js",
  "vue.js": "vue/dist/vue.esm-browser.prod.js",
};
/** React has no module for browsers, so this one gives its names to those who import them. */
const REACT_NAMES = "export const { createElement, useEffect, useState } = globalThis.React;";

/** Publishes an event. Only this program can: the control listener is not for browsers. */
async function publish(topic, data, event) {
  const query = new URLSearchParams(event ? { topic, event } : { topic });
  const answer = await fetch(`${control}/publish?${query}`, { method: "POST", body: data });
  if (!answer.ok) throw new Error(`publish: ${answer.status} ${await answer.text()}`);
}

async function readBody(request) {
  let body = "";
  request.setEncoding("utf8");
  for await (const chunk of request) {
    body += chunk;
    if (body.length > BODY_BYTES_MAX) throw new Error("the body is too large");
  }
  return body;
}

/** A line of a topic's name: nothing but letters, digits and dashes. */
const nameOf = (text) => String(text ?? "").toLowerCase().replace(/[^a-z0-9-]/g, "").slice(0, 60) || "nobody";
const escapeHtml = (text) => text.replace(/[&<>"']/g, (char) => `&#${char.charCodeAt(0)};`);

/** Counts the bytes as they come, then does as if it worked on them. At most ten events a second. */
async function upload(request, query) {
  const topic = `upload.${nameOf(query.get("job"))}`;
  const total = Number(request.headers["content-length"] ?? 0);
  let received = 0, told = 0;
  const tell = (step, share) => publish(topic, JSON.stringify({ step, share }), "progress");
  for await (const chunk of request) {
    received += chunk.length;
    if (Date.now() - told < 100) continue;
    told = Date.now();
    await tell("received", total ? received / total : 0);
  }
  for (let step = 1; step <= 10; step++) {
    await tell("processed", step / 10);
    await wait(100);
  }
  await publish(topic, `${received} bytes are processed.`, "done");
}

/** Writes an answer as a language model does: word by word, at its own pace, whoever listens. */
async function write(answer, question) {
  const text = `You asked: ${question} A model would write its answer here, and publish each word as soon as it
    has it.`.replace(/\s+/g, " ");
  for (const word of text.split(/(?<= )/)) {
    await publish(`answer.${answer}`, word, "word");
    await wait(60);
  }
  await publish(`answer.${answer}`, "", "end");
}

const ACTIONS = {
  "/chat": async (request) => {
    const { name, text } = JSON.parse(await readBody(request));
    const line = { name: String(name).slice(0, 40), text: String(text).slice(0, 500) };
    await publish("chat", JSON.stringify(line));
  },
  "/notify": async (request) => {
    const { user, text } = JSON.parse(await readBody(request));
    await publish(user == "everyone" ? user : `user.${nameOf(user)}`, String(text).slice(0, 200));
  },
  "/ask": async (request) => {
    const { answer, question } = JSON.parse(await readBody(request));
    write(nameOf(answer), String(question)).catch((error) => console.error(error.message));
  },
  "/headline": async (request) => {
    const text = new URLSearchParams(await readBody(request)).get("text") ?? "";
    await publish("htmx", `<li>${escapeHtml(text)}</li>`, "headline");
  },
  "/upload": upload,
};

function sendFile(response, path, type) {
  response.setHeader("Content-Type", `${type}; charset=utf-8`);
  createReadStream(path).on("error", () => response.writeHead(404).end()).pipe(response);
}

async function serve(request, response) {
  const { pathname, searchParams } = new URL(request.url, "http://localhost");
  if (request.method == "POST" && ACTIONS[pathname]) {
    await ACTIONS[pathname](request, searchParams);
    return response.writeHead(204).end();
  }
  if (pathname == "/favicon.ico") return response.writeHead(204).end();
  const name = basename(pathname) || "index.html";
  if (pathname == "/modules/react-names.js") {
    return response.setHeader("Content-Type", TYPES[".js"]).end(REACT_NAMES);
  }
  if (pathname.startsWith("/modules/")) {
    return sendFile(response, here(`node_modules/${MODULES[name]}`), TYPES[".js"]);
  }
  const type = TYPES[extname(name)];
  return type ? sendFile(response, here(name), type) : response.writeHead(404).end();
}

/** Something to see: prices, the state of services, visitors. */
async function simulate() {
  const prices = { ABC: 12.5, KLM: 80, XYZ: 240 };
  for (let tick = 0; ; tick++) {
    const shares = Object.keys(prices), share = shares[tick % shares.length];
    prices[share] *= 1 + (Math.random() - 0.5) / 50;
    await publish("prices", JSON.stringify({ share, price: prices[share] }));
    if (tick % 20 == 0) await publish("counter", "");
    const service = ["database", "mail", "payments", "search"][tick % 4];
    const state = Math.random() < 0.9 ? "up" : ["slow", "down"][tick % 2];
    await publish("board", JSON.stringify({ service, state }));
    await publish("htmx", String(100 + Math.round(50 * Math.sin(tick / 10))), "visitors");
    await wait(500);
  }
}

createServer((request, response) => {
  serve(request, response).catch((error) => {
    console.error(error.message);
    response.writeHead(502).end();
  });
}).listen(Number(port), "127.0.0.1", function () {
  const pages = `http://127.0.0.1:${this.address().port}/`;
  console.log(server == SERVER ? pages : `${pages}?server=${encodeURIComponent(server)}`);
});

while (process.argv.includes("--simulate")) {
  // The server may be away for a while; the demonstration goes on when it is back.
  await simulate().catch((error) => console.error(error.message));
  await wait(1000);
}
