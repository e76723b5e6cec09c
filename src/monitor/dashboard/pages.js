// The tables of clients and topics, which the server makes on request only. Each is requested while it is
// visible, one request at a time. Owns their order, their pages and the button that ends a connection.

import { Table, byId, createElement, setText } from "./dom.js";
import { fetchJson } from "./fetch_json.js";
import { bytes, count, describeFailure, duration, moment, perSecond, spaceWords } from "./format.js";
import { SeenPanel } from "./seen_panel.js";

const REFRESH_MS = 3000;
const ROWS = 25;
/** Stands in an empty table that nobody sees, of which nothing is known. */
const UNSEEN_TEXT = "Asked for when it is seen.";

/** A table that is requested page by page. */
class PagedTable {
  constructor({ section, path, rowsOf, query, columns, keyOf, emptyText }) {
    Object.assign(this, { path, rowsOf, query });
    this.emptyText = emptyText;
    this.table = new Table(section.querySelector("table"), columns, keyOf, UNSEEN_TEXT);
    this.sort = section.querySelector("select");
    this.search = section.querySelector("input");
    this.search.addEventListener("input", () => this.goTo(0));
    this.offset = 0;
    this.total = 0;
    this.makePager(section.querySelector(".pager"));
    this.sort.addEventListener("change", () => this.goTo(0));
    const forget = () => setText(this.table.empty, UNSEEN_TEXT);
    this.panel = new SeenPanel(section, REFRESH_MS, () => this.requestPage(), forget);
  }

  makePager(pager) {
    this.rangeText = createElement("span", "", "");
    this.previous = createElement("button", "", "Previous");
    this.next = createElement("button", "", "Next");
    for (const button of [this.previous, this.next]) {
      button.type = "button";
      button.disabled = true;
    }
    this.previous.addEventListener("click", () => this.goTo(this.offset - ROWS));
    this.next.addEventListener("click", () => this.goTo(this.offset + ROWS));
    pager.append(this.rangeText, this.previous, this.next);
  }

  goTo(offset) {
    this.offset = Math.max(0, offset);
    this.panel.askAnew();
  }

  async requestPage() {
    try {
      const search = encodeURIComponent(this.search.value.trim());
      const range = `limit=${ROWS}&offset=${this.offset}`;
      const query = `sort=${this.sort.value}&${range}&q=${search}${this.query ?? ""}`;
      this.show(await fetchJson(`${this.path}?${query}`));
    } catch (error) {
      setText(this.rangeText, `cannot be shown now: ${describeFailure(error)}`);
    }
  }

  show(page) {
    if (this.panel.stale) return;
    this.total = page.total;
    if (this.offset > 0 && this.offset >= page.total) return this.goTo(0);
    const rows = this.rowsOf(page);
    const emptyText = this.search.value.trim() ? "Nothing found." : this.emptyText;
    setText(this.table.empty, this.panel.visible ? emptyText : UNSEEN_TEXT);
    this.table.fill(rows);
    const from = page.offset + Math.min(rows.length, 1);
    setText(this.rangeText, `${count(from)} to ${count(page.offset + rows.length)} of ${count(page.total)}`);
    this.previous.disabled = this.offset === 0;
    this.next.disabled = this.offset + ROWS >= page.total;
  }
}

/** Returns the time of publishing from an id, `<unix ms>-<n>`. */
function publishTime(id) {
  return id ? moment(Number(String(id).split("-")[0])) : moment(undefined);
}

export function createTopicsTable() {
  return new PagedTable({
    section: byId("topics"),
    path: "topics",
    rowsOf: (page) => page.topics,
    keyOf: (row) => row.topic,
    emptyText: "No topic yet: one begins with its first subscriber or event. Try it by hand, below.",
    columns: [
      { title: "Topic", header: true, long: true, text: (row) => row.topic },
      { title: "Subscribers", number: true, text: (row) => count(row.subscribers + row.pattern_subscribers) },
      { title: "Rate", number: true, text: (row) => perSecond(row.events_per_second) },
      { title: "Events kept", number: true, text: (row) => count(row.events) },
      { title: "Bytes kept", number: true, text: (row) => bytes(row.bytes) },
      { title: "Oldest", number: true, minor: true, text: (row) => publishTime(row.oldest) },
      { title: "Newest", number: true, text: (row) => publishTime(row.newest) },
      { title: "Class", minor: true, text: (row) => row.class },
    ],
  });
}

const STATES = { live: "up to date", behind: "behind", full: "not reading", talking: "no stream" };

export function createClientsTable() {
  const paged = new PagedTable({
    section: byId("clients"),
    path: "connections",
    // Those of the control listener are the operator's own, this page among them.
    query: "&info=1&listener=public",
    rowsOf: (page) => page.connections,
    keyOf: (row) => row.id,
    emptyText: "Nobody is connected.",
    columns: [
      { title: "Address", header: true, text: (row) => row.address ?? "" },
      { title: "Client", long: true, minor: true, text: (row) => row.user_agent ?? "" },
      { title: "Topics", long: true, text: (row) => topicsText(row) },
      { title: "State", text: (row) => (STATES[row.state] ?? spaceWords(row.state))
        + (row.events === "newest" ? ", newest of each key" : ""),
        classOf: (row) => `state-${row.state}` },
      { title: "Behind", number: true, text: (row) => duration(row.lag_ms) },
      { title: "Open for", number: true, text: (row) => duration(row.age_ms) },
      { title: "Sent", number: true, text: (row) => bytes(row.bytes) },
      { title: "Round trip", number: true, minor: true, text: (row) => duration(row.rtt_us / 1000) },
      { title: "Unconfirmed", number: true, minor: true, text: (row) => count(row.unacked) },
      { title: "Id", minor: true, text: (row) => row.id },
      { title: "End", action: (row) => createEndButton(row, () => paged.panel.refresh()) },
    ],
  });
  return paged;
}

function topicsText(row) {
  const [first = "", ...more] = row.topics ?? [];
  return more.length > 0 ? `${first} and ${count(more.length)} more` : first;
}

function createEndButton(row, refresh) {
  const button = createElement("button", "danger small", "End");
  button.type = "button";
  button.setAttribute("aria-label", `End the connection of ${row.address ?? row.id}`);
  button.addEventListener("click", () => confirmEnd(row, button, refresh));
  return button;
}

function confirmEnd(row, button, refresh) {
  const dialog = byId("end");
  const userAgent = row.user_agent ? ` (${row.user_agent})` : "";
  const address = row.address ?? "an unknown address";
  const parts = [row.id, `from ${address}${userAgent}`, topicsText(row)];
  setText(byId("end-text"), parts.filter(Boolean).join(", "));
  dialog.returnValue = "";
  // Replaces the handler of an earlier dialog, whose close event may arrive while this one is open.
  dialog.onclose = async () => {
    if (dialog.open) return;
    dialog.onclose = null;
    if (dialog.returnValue !== "end") return;
    button.disabled = true;
    const path = `connections/${encodeURIComponent(row.id)}`;
    const answer = await fetch(path, { method: "DELETE" }).catch(() => null);
    // A connection that has ended already is as good.
    setText(button, answer?.ok || answer?.status === 404 ? "Ended" : "Failed");
    refresh();
  };
  dialog.showModal();
}
