// Publishes and watches events by hand. Owns both forms and the list of watched events.

import { byId, createElement, setText } from "./dom.js";
import { RefusedError, readEvents, readErrorMessage } from "./events.js";
import { count, describeFailure, time } from "./format.js";

const EVENTS_SHOWN = 200;
/** Characters of an event that are shown. */
const TEXT_SHOWN = 4000;
const RETRY_MS = 1500;

function startPublishForm() {
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
      if (!answer.ok) return setText(output, `Not published. ${await readErrorMessage(answer)}`);
      const { id, subscribers } = await answer.json();
      const noun = subscribers === 1 ? "subscriber" : "subscribers";
      setText(output, `Published ${id} to ${count(subscribers)} ${noun}.`);
    } catch (error) {
      setText(output, `Not published: ${describeFailure(error)}.`);
    }
  });
}

/** Follows one topic through breaks until it is stopped. */
class TopicWatch {
  constructor(topic, last) {
    this.query = new URLSearchParams({ topic });
    if (last > 0) this.query.set("last", last);
    this.topic = topic;
    this.abort = new AbortController();
    this.list = byId("events");
    this.list.replaceChildren();
    this.undrawn = [];
    this.eventCount = 0;
    this.lastId = "";
    this.follow();
  }

  async follow() {
    const options = {
      signal: this.abort.signal,
      onOpen: () => this.showState("waiting for events"),
      onEvent: (event) => this.takeEvent(event),
    };
    while (!this.abort.signal.aborted) {
      try {
        await readEvents(`events?${this.query}`, { ...options, lastId: this.lastId });
        this.showState("the stream ended, coming back");
      } catch (error) {
        if (this.abort.signal.aborted) return;
        this.showState(describeFailure(error));
        if (error instanceof RefusedError) return clearActiveWatch();
      }
      await new Promise((done) => { setTimeout(done, RETRY_MS); });
    }
  }

  takeEvent(event) {
    this.eventCount += 1;
    this.lastId = event.id || this.lastId;
    this.undrawn.push({ ...event, at: Date.now() });
    if (this.undrawn.length > EVENTS_SHOWN) this.undrawn.shift();
    // All events of an animation frame are drawn together.
    this.frame ??= requestAnimationFrame(() => this.draw());
  }

  draw() {
    this.frame = undefined;
    const rows = this.undrawn.splice(0).reverse().map((event) => {
      const name = createElement("b", "", event.name || "message");
      const head = createElement("span", "note", `${time(event.at)} · ${event.id || "no id"} · `, name);
      const cut = event.data.length > TEXT_SHOWN;
      const text = cut ? `${event.data.slice(0, TEXT_SHOWN)}…` : event.data;
      return createElement("li", "", head, createElement("code", "", text));
    });
    this.list.prepend(...rows);
    while (this.list.children.length > EVENTS_SHOWN) this.list.lastElementChild.remove();
    this.showState(`${count(this.eventCount)} seen, newest first`);
  }

  showState(text) {
    setText(byId("watched"), `${this.topic}: ${text}`);
  }

  stop() {
    this.abort.abort();
    if (this.frame !== undefined) {
      cancelAnimationFrame(this.frame);
      this.draw();
    }
    this.showState(`stopped, ${count(this.eventCount)} seen`);
  }
}

let activeWatch = null;

function clearActiveWatch() {
  activeWatch = null;
  setText(byId("watch").querySelector("button"), "Watch");
}

function stopActiveWatch() {
  activeWatch?.stop();
  clearActiveWatch();
}

function startWatchForm() {
  const form = byId("watch");
  const button = form.querySelector("button");
  form.addEventListener("submit", (submit) => {
    submit.preventDefault();
    const { topic, last } = form.elements;
    const watched = activeWatch?.topic;
    stopActiveWatch();
    if (watched === topic.value) return;
    activeWatch = new TopicWatch(topic.value, Number(last.value));
    setText(button, "Stop");
  });
}

/** Starts both forms. */
export function startForms() {
  startPublishForm();
  startWatchForm();
  // A page that the browser keeps for going back must not keep its connection.
  addEventListener("pagehide", stopActiveWatch);
}
