// The tables that the server makes on request only: clients and topics. Each is asked for while it can be
// seen, and no faster than it is answered. Owns their order, their pages and the end of a connection.

import { Table, byId, make, setText } from "./dom.js";
import { bytes, count, duration, failure, moment, words } from "./format.js";

const EACH_MS = 3000;
const ANSWER_MS = 10_000;
const ROWS = 25;

/** A table that is asked for page by page. */
class Paged {
  constructor({ section, path, rowsOf, query, columns, keyOf, nothing }) {
    Object.assign(this, { path, rowsOf, query });
    this.table = new Table(section.querySelector("table"), columns, keyOf, nothing);
    this.sort = section.querySelector("select");
    this.offset = 0;
    this.total = 0;
    this.visible = false;
    this.makePager(section.querySelector(".pager"));
    this.sort.addEventListener("change", () => this.goTo(0));
    new IntersectionObserver((entries) => {
      // Several may have been kept for us; only the newest is true.
      this.visible = entries.at(-1).isIntersecting;
      this.look();
    }).observe(section);
    setInterval(() => this.look(), EACH_MS);
  }

  makePager(pager) {
    this.where = make("span", "", "");
    this.previous = make("button", "", "Previous");
    this.next = make("button", "", "Next");
    for (const button of [this.previous, this.next]) {
      button.type = "button";
      button.disabled = true;
    }
    this.previous.addEventListener("click", () => this.goTo(this.offset - ROWS));
    this.next.addEventListener("click", () => this.goTo(this.offset + ROWS));
    pager.append(this.where, this.previous, this.next);
  }

  goTo(offset) {
    this.offset = Math.max(0, offset);
    this.stale = true;
    this.look();
  }

  look() {
    if (this.visible && !document.hidden && !this.asking) this.ask();
  }

  async ask() {
    this.asking = true;
    this.stale = false;
    try {
      const query = `sort=${this.sort.value}&limit=${ROWS}&offset=${this.offset}${this.query ?? ""}`;
      const answer = await fetch(`${this.path}?${query}`, { signal: AbortSignal.timeout(ANSWER_MS) });
      if (!answer.ok) throw new Error(`the server answers ${answer.status}`);
      this.show(await answer.json());
    } catch (error) {
      setText(this.where, `cannot be shown now: ${failure(error)}`);
    } finally {
      this.asking = false;
    }
    if (this.stale) this.look();
  }

  show(page) {
    if (this.stale) return;
    this.total = page.total;
    if (this.offset > 0 && this.offset >= page.total) return this.goTo(0);
    const rows = this.rowsOf(page);
    this.table.fill(rows);
    const from = page.offset + Math.min(rows.length, 1);
    setText(this.where, `${count(from)} to ${count(page.offset + rows.length)} of ${count(page.total)}`);
    this.previous.disabled = this.offset === 0;
    this.next.disabled = this.offset + ROWS >= page.total;
  }
}

/** An id is `<unix ms>-<n>`: it says when it was published. */
function published(id) {
  return id ? moment(Number(String(id).split("-")[0])) : moment(undefined);
}

export function topics() {
  return new Paged({
    section: byId("topics"),
    path: "topics",
    rowsOf: (page) => page.topics,
    keyOf: (row) => row.topic,
    nothing: "No topic yet: one begins with its first subscriber or event. Try it by hand, below.",
    columns: [
      { title: "Topic", header: true, long: true, text: (row) => row.topic },
      { title: "Subscribers", number: true, text: (row) => count(row.subscribers) },
      { title: "Events kept", number: true, text: (row) => count(row.events) },
      { title: "Bytes kept", number: true, text: (row) => bytes(row.bytes) },
      { title: "Oldest", number: true, minor: true, text: (row) => published(row.oldest) },
      { title: "Newest", number: true, text: (row) => published(row.newest) },
    ],
  });
}

const STATES = { live: "up to date", behind: "behind", full: "not reading", talking: "no stream" };

export function clients() {
  const paged = new Paged({
    section: byId("clients"),
    path: "connections",
    query: "&info=1",
    rowsOf: (page) => page.connections,
    keyOf: (row) => row.id,
    nothing: "Nobody is connected.",
    columns: [
      { title: "Address", header: true, text: (row) => row.address ?? "" },
      { title: "Client", long: true, minor: true, text: (row) => row.user_agent ?? "" },
      { title: "Topics", long: true, text: (row) => topicsOf(row) },
      { title: "State", text: (row) => STATES[row.state] ?? words(row.state),
        classOf: (row) => `state-${row.state}` },
      { title: "Behind", number: true, text: (row) => duration(row.lag_ms) },
      { title: "Open for", number: true, text: (row) => duration(row.age_ms) },
      { title: "Sent", number: true, text: (row) => bytes(row.bytes) },
      { title: "Round trip", number: true, minor: true, text: (row) => duration(row.rtt_us / 1000) },
      { title: "Unconfirmed", number: true, minor: true, text: (row) => count(row.unacked) },
      { title: "Id", minor: true, text: (row) => row.id },
      { title: "End", action: (row) => endButton(row, () => paged.look()) },
    ],
  });
  return paged;
}

function topicsOf(row) {
  const [first = "", ...more] = row.topics ?? [];
  return more.length > 0 ? `${first} and ${count(more.length)} more` : first;
}

function endButton(row, look) {
  const button = make("button", "danger small", "End");
  button.type = "button";
  button.setAttribute("aria-label", `End the connection of ${row.address ?? row.id}`);
  button.addEventListener("click", () => askToEnd(row, button, look));
  return button;
}

function askToEnd(row, button, look) {
  const dialog = byId("end");
  const who = row.user_agent ? ` (${row.user_agent})` : "";
  setText(byId("end-text"), `${row.id}, from ${row.address ?? "an unknown address"}${who}, ${topicsOf(row)}`);
  dialog.returnValue = "";
  // In the place of an earlier question's: that it was closed may be told only now, while this one is open.
  dialog.onclose = async () => {
    if (dialog.open) return;
    dialog.onclose = null;
    if (dialog.returnValue !== "end") return;
    button.disabled = true;
    const path = `connections/${encodeURIComponent(row.id)}`;
    const answer = await fetch(path, { method: "DELETE" }).catch(() => null);
    // Gone already is as good.
    setText(button, answer?.ok || answer?.status === 404 ? "Ended" : "Failed");
    look();
  };
  dialog.showModal();
}
