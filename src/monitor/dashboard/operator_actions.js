// Publishing and watching by hand. Owns both forms and the list of watched events.

import { byId, make, setText } from "./dom.js";
import { Refusal, readEvents, reasonOf } from "./events.js";
import { count, failure, time } from "./format.js";

const EVENTS_SHOWN = 200;
/** An event longer than this is cut where it is shown. */
const TEXT_SHOWN = 4000;
const RETRY_MS = 1500;

function publishForm() {
  const form = byId("publish");
  const output = byId("published");
  form.addEventListener("submit", async (submit) => {
    submit.preventDefault();
    const { topic, event, data } = form.elements;
    const query = new URLSearchParams({ topic: topic.value });
    if (event.value) query.set("event", event.value);
    setText(output, "Publishing…");
    try {
      const answer = await fetch(`publish?${query}`, { method: "POST", body: data.value });
      if (!answer.ok) return setText(output, `Not published. ${await reasonOf(answer)}`);
      const { id, subscribers } = await answer.json();
      const whom = subscribers === 1 ? "subscriber" : "subscribers";
      setText(output, `Published ${id} to ${count(subscribers)} ${whom}.`);
    } catch (error) {
      setText(output, `Not published: ${failure(error)}.`);
    }
  });
}

/** One watched topic; follows it through breaks until it is stopped. */
class Watch {
  constructor(topic, last) {
    this.query = new URLSearchParams({ topic });
    if (last > 0) this.query.set("last", last);
    this.topic = topic;
    this.abort = new AbortController();
    this.list = byId("events");
    this.list.replaceChildren();
    this.waiting = [];
    this.seen = 0;
    this.lastId = "";
    this.run();
  }

  async run() {
    const options = {
      signal: this.abort.signal,
      onOpen: () => this.say("waiting for events"),
      onEvent: (event) => this.take(event),
    };
    while (!this.abort.signal.aborted) {
      try {
        await readEvents(`events?${this.query}`, { ...options, lastId: this.lastId });
        this.say("the stream ended, coming back");
      } catch (error) {
        if (this.abort.signal.aborted) return;
        this.say(failure(error));
        if (error instanceof Refusal) return forget();
      }
      await new Promise((done) => { setTimeout(done, RETRY_MS); });
    }
  }

  take(event) {
    this.seen += 1;
    this.lastId = event.id || this.lastId;
    this.waiting.push({ ...event, at: Date.now() });
    if (this.waiting.length > EVENTS_SHOWN) this.waiting.shift();
    // However many come, they are drawn once in a frame.
    this.frame ??= requestAnimationFrame(() => this.draw());
  }

  draw() {
    this.frame = undefined;
    const rows = this.waiting.splice(0).reverse().map((event) => {
      const name = make("b", "", event.name || "message");
      const head = make("span", "note", `${time(event.at)} · ${event.id || "no id"} · `, name);
      const cut = event.data.length > TEXT_SHOWN;
      const text = cut ? `${event.data.slice(0, TEXT_SHOWN)}…` : event.data;
      return make("li", "", head, make("code", "", text));
    });
    this.list.prepend(...rows);
    while (this.list.children.length > EVENTS_SHOWN) this.list.lastElementChild.remove();
    this.say(`${count(this.seen)} seen, newest first`);
  }

  say(text) {
    setText(byId("watched"), `${this.topic}: ${text}`);
  }

  stop() {
    this.abort.abort();
    if (this.frame !== undefined) {
      cancelAnimationFrame(this.frame);
      this.draw();
    }
    this.say(`stopped, ${count(this.seen)} seen`);
  }
}

let watching = null;

function forget() {
  watching = null;
  setText(byId("watch").querySelector("button"), "Watch");
}

function stop() {
  watching?.stop();
  forget();
}

function watchForm() {
  const form = byId("watch");
  const button = form.querySelector("button");
  form.addEventListener("submit", (submit) => {
    submit.preventDefault();
    const { topic, last } = form.elements;
    const watched = watching?.topic;
    stop();
    if (watched === topic.value) return;
    watching = new Watch(topic.value, Number(last.value));
    setText(button, "Stop");
  });
}

/** Makes both forms work. */
export function byHand() {
  publishForm();
  watchForm();
  // A page that the browser keeps for going back must not keep its connection.
  addEventListener("pagehide", stop);
}
