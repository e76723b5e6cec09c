// Puts the page together: each part gets every new status and shows its own share of it.

import { Alarms } from "./alarms.js";
import { ClassesTable } from "./classes.js";
import { Table, byId, setText } from "./dom.js";
import { Figures } from "./figures.js";
import { count, duration, percent, perSecond, spaceWords } from "./format.js";
import { Glance } from "./glance.js";
import { LogLines } from "./log.js";
import { Marks } from "./marks.js";
import { startForms } from "./operator_actions.js";
import { PageFigures } from "./page_figures.js";
import { keepSeen, recallSeen } from "./page_memory.js";
import { createClientsTable, createTopicsTable } from "./pages.js";
import { Plots } from "./plots.js";
import { RangeChoice } from "./ranges.js";
import { RecentCounts } from "./recent_counts.js";
import { Settings } from "./settings.js";
import { StatusSource } from "./source.js";
import { StalledReaders } from "./stalled_readers.js";

/** Age beyond which numbers are shown in grey. */
const OLD_MS = 5000;

const THEMES = ["auto", "light", "dark"];

function startThemeButton(onChange) {
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

function createWorkersTable() {
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

/** A table of reasons with their counts since the start and over the last minute, most frequent first. */
class ReasonTable {
  constructor(table, emptyText) {
    this.recent = new RecentCounts();
    this.table = new Table(table, [
      { title: "Reason", header: true, text: (row) => spaceWords(row.name) },
      { title: "Last minute", number: true, text: (row) => count(row.recent) },
      { title: "Since the start", number: true, text: (row) => count(row.total) },
    ], (row) => row.name, emptyText);
  }

  show(counts) {
    const recent = this.recent.take(counts);
    const rows = Object.entries(counts).filter(([, total]) => total > 0);
    this.table.fill(rows.map(([name, total]) => ({ name, total, recent: recent[name] }))
      .sort((a, b) => b.total - a.total));
  }
}

function createAddressesTable() {
  return new Table(byId("addresses"), [
    { title: "Address", header: true, text: (row) => row.address },
    { title: "Connections", number: true, text: (row) => count(row.connections) },
  ], (row) => row.address, "Counted a few seconds after somebody looks here, then each few seconds.");
}

function start() {
  const alarms = new Alarms();
  const stalled = new StalledReaders();
  const glance = new Glance();
  const figures = new Figures(byId("figures-list"));
  const seen = recallSeen();
  const marks = new Marks(byId("marks"), seen.marks);
  const plots = new Plots(byId("plots-grid"), marks, seen.curves);
  new RangeChoice(plots);
  keepSeen(() => ({ marks: marks.toKept(), curves: plots.toKept() }));
  const workers = createWorkersTable();
  const closed = new ReasonTable(byId("closed"), "No connection has ended yet.");
  const refused = new ReasonTable(byId("refused"), "Nothing has been refused.");
  const addresses = createAddressesTable();
  const classes = new ClassesTable();
  const pages = new PageFigures();
  setText(byId("place"), location.host);
  startThemeButton(() => plots.rebuild());
  const settings = new Settings();
  new LogLines();
  let version;
  createClientsTable();
  createTopicsTable();
  startForms();
  new StatusSource({
    onSeries: (series) => plots.takeRecord("minutes", series),
    onAge: (ms, error) => {
      const old = ms === null ? error !== "" : ms > OLD_MS;
      alarms.showAge(ms, error, old);
      glance.showContact(old);
    },
    onStatus: (status) => {
      // A newer server has taken the place of the old one: its own page knows its numbers.
      version ??= status.version;
      if (status.version !== version) return location.reload();
      alarms.show(status);
      stalled.show(status);
      glance.show(status, stalled.stalled);
      figures.show(status);
      settings.status = status;
      plots.addStatus(status);
      workers.fill(status.workers);
      closed.show(status.closed);
      refused.show(status.refused);
      addresses.fill(status.connections.by_address);
      classes.show(status.classes);
      pages.show(status.pages);
      setText(byId("build"), `version ${status.version}, up ${duration(status.uptime_ms)}`);
    },
  }).start();
}

start();
