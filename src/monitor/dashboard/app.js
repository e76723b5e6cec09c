// Puts the page together: each part gets every new state and shows its own share of it.

import { Alarms } from "./alarms.js";
import { Table, byId, setText } from "./dom.js";
import { Figures } from "./figures.js";
import { byHand } from "./operator_actions.js";
import { count, duration, percent, perSecond, words } from "./format.js";
import { clients, topics } from "./pages.js";
import { Plots } from "./plots.js";
import { Source } from "./source.js";

/** Numbers older than this are shown in grey. */
const OLD_MS = 5000;
/** Endings are also counted over the last so many states, about a minute. */
const RECENT_STATES = 60;

const THEMES = ["auto", "light", "dark"];

function themeButton(onChange) {
  const button = byId("theme");
  const show = () => setText(button, `Theme: ${document.documentElement.dataset.theme ?? "auto"}`);
  button.addEventListener("click", () => {
    const now = document.documentElement.dataset.theme ?? "auto";
    const next = THEMES[(THEMES.indexOf(now) + 1) % THEMES.length];
    if (next === "auto") delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = next;
    try {
      localStorage.setItem("theme", next);
    } catch {
      // Storage is switched off: the choice lasts as long as the page.
    }
    show();
    onChange();
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", onChange);
  show();
}

function workersTable() {
  const columns = [
    { title: "Worker", header: true, text: (row) => String(row.index) },
    { title: "Connections", number: true, text: (row) => count(row.connections) },
    { title: "Subscribers", number: true, text: (row) => count(row.subscribers) },
    { title: "Deliveries", number: true, text: (row) => perSecond(row.deliveries_per_second) },
    { title: "Processor", number: true, text: (row) => percent(row.cpu_percent) },
    { title: "Turn, mean", number: true, text: (row) => duration(row.turn_ms_mean) },
    { title: "Turn, longest", number: true, text: (row) => duration(row.turn_ms_max) },
    { title: "Mailbox", number: true, text: (row) => count(row.mailbox) },
    { title: "Files", number: true, minor: true, text: (row) => count(row.files) },
    { title: "Files, most", number: true, minor: true, text: (row) => count(row.files_max) },
    { title: "Out of budget", number: true, minor: true, text: (row) => count(row.budget_exhausted) },
  ];
  return new Table(document.querySelector("#workers table"), columns, (row) => row.index, "No worker yet.");
}

/** Reasons with their counts since the start and over about the last minute; the most frequent first. */
class Reasons {
  constructor(table, nothing) {
    this.states = [];
    this.table = new Table(table, [
      { title: "Reason", header: true, text: (row) => words(row.name) },
      { title: "Last minute", number: true, text: (row) => count(row.recent) },
      { title: "Since the start", number: true, text: (row) => count(row.total) },
    ], (row) => row.name, nothing);
  }

  show(counts) {
    const newest = this.states.at(-1);
    if (newest && Object.keys(counts).some((name) => counts[name] < newest[name])) this.states = [];
    this.states.push(counts);
    if (this.states.length > RECENT_STATES + 1) this.states.shift();
    const [oldest] = this.states;
    const rows = Object.entries(counts).filter(([, total]) => total > 0);
    this.table.fill(rows.map(([name, total]) => ({ name, total, recent: total - (oldest[name] ?? 0) }))
      .sort((a, b) => b.total - a.total));
  }
}

function addressesTable() {
  return new Table(byId("addresses"), [
    { title: "Address", header: true, text: (row) => row.address },
    { title: "Connections", number: true, text: (row) => count(row.connections) },
  ], (row) => row.address, "Counted a few seconds after somebody looks here, then each few seconds.");
}

function start() {
  const alarms = new Alarms();
  const figures = new Figures(byId("figures-list"));
  const plots = new Plots(byId("plots-grid"));
  const workers = workersTable();
  const closed = new Reasons(byId("closed"), "No connection has ended yet.");
  const refused = new Reasons(byId("refused"), "Nothing has been refused.");
  const addresses = addressesTable();
  setText(byId("place"), location.host);
  themeButton(() => plots.rebuild());
  let version;
  clients();
  topics();
  byHand();
  new Source({
    onSeries: (series) => plots.replace(series),
    onAge: (ms, error) => alarms.showAge(ms, error, OLD_MS),
    onStatus: (status) => {
      // A newer program has taken the server's place: its page knows its numbers.
      version ??= status.version;
      if (status.version !== version) return location.reload();
      alarms.show(status);
      figures.show(status);
      plots.add(status);
      workers.fill(status.workers);
      closed.show(status.closed);
      refused.show(status.refused);
      addresses.fill(status.connections.by_address);
      setText(byId("build"), `version ${status.version}, up ${duration(status.uptime_ms)}`);
    },
  }).start();
}

start();
