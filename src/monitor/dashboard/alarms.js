// Everything that needs attention: the pills in the head, the list of present troubles, the history of
// alerts, and the announcements of changes for screen readers.

import { Table, byId, createElement, reconcile, setClass, setText } from "./dom.js";
import { NONE, duration, moment, spaceWords } from "./format.js";

const RANK = { critical: 0, warning: 1, info: 2 };
const HISTORY_ROWS = 50;
const NO_ALERT =
  "No alert has fired since the start. The configuration file has the rules, and who is told of them.";
/** Age below which numbers are called live: they come once a second. */
const LIVE_MS = 3000;

/** Lists everything that is wrong or worth knowing, worst first: `{ severity, text, advice }`. */
export function listConcerns(status) {
  const found = [];
  const add = (severity, text, advice) => found.push({ severity, text, advice: advice ?? "" });
  for (const { name, severity, text, since_ms } of status.alerts.active) {
    add(severity, `Alert ${name}: ${text}.`, `Since ${moment(since_ms)}.`);
  }
  for (const { severity, text, advice } of status.insights) add(severity, text, advice);
  return found.sort((a, b) => (RANK[a.severity] ?? 3) - (RANK[b.severity] ?? 3));
}

const QUIET = { severity: "quiet", text: "Nothing needs attention.", advice: "" };

/** Shows a status in the pills, the attention list and the history. */
export class Alarms {
  constructor() {
    this.list = byId("attention-list");
    this.announced = new Map();
    this.history = new Table(document.querySelector("#history table"), [
      { title: "Time", text: (row) => moment(row.at_ms) },
      { title: "Alert", header: true, long: true, text: (row) => row.name },
      { title: "Severity", text: (row) => row.severity },
      { title: "State", text: (row) => row.state, classOf: (row) => `state-${spaceWords(row.state)}` },
      { title: "Value", number: true, text: (row) => row.value_text ?? NONE },
    ], (row) => `${row.at_ms} ${row.name} ${row.state}`, NO_ALERT);
  }

  show(status) {
    this.setPill("state", spaceWords(status.state), status.state === "serving" ? "good" : "warning");
    const ready = status.state === "draining" ? "not ready" : status.ready.ok ? "ready" : "not ready";
    this.setPill("ready", ready, status.ready.ok && status.state !== "draining" ? "good" : "critical");
    const found = listConcerns(status);
    const rows = (found.length > 0 ? found : [QUIET]).map((concern, index) => ({ ...concern, index }));
    reconcile(this.list, rows, (concern) => concern.index, createConcern, updateConcern);
    const history = [...status.alerts.history].sort((a, b) => b.at_ms - a.at_ms).slice(0, HISTORY_ROWS);
    this.history.fill(history);
    const firing = status.alerts.active.map((alert) => alert.name).join(", ");
    const reason = status.ready.reason ?? "";
    this.announce("ready", status.ready.ok ? "The server is ready." : `Not ready: ${reason}`);
    this.announce("alerts", firing ? `Alerts firing: ${firing}` : "No alert is firing.");
    const urgent = found.filter((concern) => concern.severity !== "info").length;
    const title = `${urgent > 0 ? `(${urgent}) ` : ""}fanwheel ${location.host}`;
    if (document.title !== title) document.title = title;
  }

  /** Shows the age of the newest numbers and whether they are `old`, too old to be trusted. */
  showAge(ms, error, old) {
    const contact = byId("contact");
    document.body.classList.toggle("old", old);
    contact.hidden = !old;
    const age = duration(Math.floor((ms ?? 0) / 1000) * 1000);
    const shown = ms === null ? (old ? "no contact" : "connecting") : ms < LIVE_MS ? "live" : `${age} old`;
    this.setPill("age", shown, old ? "critical" : ms === null ? "" : "good");
    if (old) {
      const since = ms === null ? "" : ` What you see is ${age} old.`;
      const why = error ? ` (${error})` : "";
      setText(contact, `No news from the server${why}.${since} Trying again all the time.`);
    }
    if (ms === null && !old) return;
    this.announce("contact", old ? "No contact with the server." : "Numbers are live.");
  }

  setPill(id, text, kind) {
    setText(byId(id), text);
    setClass(byId(id), `pill ${kind}`.trim());
  }

  /** Announces a change. The first text of a subject is announced only when it is bad news. */
  announce(subject, text) {
    const before = this.announced.get(subject);
    if (before === text) return;
    this.announced.set(subject, text);
    if (before !== undefined || text.startsWith("Not ") || text.startsWith("Alerts ")) {
      setText(byId("announcer"), text);
    }
  }
}

function createConcern() {
  const badge = createElement("b", "badge", NONE);
  return createElement("li", "", badge, createElement("span", "text"), createElement("span", "advice"));
}

function updateConcern(item, concern) {
  const [badge, text, advice] = item.children;
  setClass(item, concern.severity in RANK ? concern.severity : "quiet");
  setText(badge, concern.severity === "quiet" ? "ok" : concern.severity);
  setText(text, concern.text);
  setText(advice, concern.advice);
}
