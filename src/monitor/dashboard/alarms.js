// What needs attention: the pills in the head, the list of what is wrong now, the history of alerts, and
// the words for a screen reader when any of that changes.

import { Table, byId, make, reconcile, setClass, setText } from "./dom.js";
import { NONE, duration, moment, words } from "./format.js";

const RANK = { critical: 0, warning: 1, info: 2 };
const HISTORY_ROWS = 50;
const NO_ALERT =
  "No alert has fired since the start. The configuration file has the rules, and who is told of them.";
/** Younger numbers are called live: they come once a second. */
const LIVE_MS = 3000;

/** Everything that is wrong or worth knowing, worst first: `{ severity, text, advice }`. */
function concerns(status) {
  const found = [];
  const add = (severity, text, advice) => found.push({ severity, text, advice: advice ?? "" });
  for (const { name, severity, text, since_ms } of status.alerts.active) {
    add(severity, `Alert ${name}: ${text}.`, `Since ${moment(since_ms)}.`);
  }
  for (const { severity, text, advice } of status.insights) add(severity, text, advice);
  return found.sort((a, b) => (RANK[a.severity] ?? 3) - (RANK[b.severity] ?? 3));
}

const QUIET = { severity: "quiet", text: "Nothing needs attention.", advice: "" };

/** See the file. */
export class Alarms {
  constructor() {
    this.list = byId("attention-list");
    this.said = new Map();
    this.history = new Table(document.querySelector("#history table"), [
      { title: "Time", text: (row) => moment(row.at_ms) },
      { title: "Alert", header: true, long: true, text: (row) => row.name },
      { title: "Severity", text: (row) => row.severity },
      { title: "State", text: (row) => row.state, classOf: (row) => `state-${words(row.state)}` },
      { title: "Value", number: true, text: (row) => row.value_text ?? NONE },
    ], (row) => `${row.at_ms} ${row.name} ${row.state}`, NO_ALERT);
  }

  show(status) {
    this.pill("state", words(status.state), status.state === "serving" ? "good" : "warning");
    const ready = status.state === "draining" ? "not ready" : status.ready.ok ? "ready" : "not ready";
    this.pill("ready", ready, status.ready.ok && status.state !== "draining" ? "good" : "critical");
    const found = concerns(status);
    const rows = (found.length > 0 ? found : [QUIET]).map((concern, index) => ({ ...concern, index }));
    reconcile(this.list, rows, (concern) => concern.index, createConcern, updateConcern);
    const history = [...status.alerts.history].sort((a, b) => b.at_ms - a.at_ms).slice(0, HISTORY_ROWS);
    this.history.fill(history);
    const firing = status.alerts.active.map((alert) => alert.name).join(", ");
    this.say("ready", status.ready.ok ? "The server is ready." : `Not ready: ${status.ready.reason ?? ""}`);
    this.say("alerts", firing ? `Alerts firing: ${firing}` : "No alert is firing.");
    const urgent = found.filter((concern) => concern.severity !== "info").length;
    const title = `${urgent > 0 ? `(${urgent}) ` : ""}fanwheel ${location.host}`;
    if (document.title !== title) document.title = title;
  }

  /** How old the newest numbers are, and what is shown when they are too old to be trusted. */
  showAge(ms, error, oldMs) {
    const contact = byId("contact");
    const old = ms === null ? error !== "" : ms > oldMs;
    document.body.classList.toggle("old", old);
    contact.hidden = !old;
    const age = duration(Math.floor((ms ?? 0) / 1000) * 1000);
    const shown = ms === null ? (old ? "no contact" : "connecting") : ms < LIVE_MS ? "live" : `${age} old`;
    this.pill("age", shown, old ? "critical" : ms === null ? "" : "good");
    if (old) {
      const since = ms === null ? "" : ` What you see is ${age} old.`;
      const why = error ? ` (${error})` : "";
      setText(contact, `No news from the server${why}.${since} Trying again all the time.`);
    }
    if (ms !== null || old) this.say("contact", old ? "No contact with the server." : "Numbers are live.");
  }

  pill(id, text, kind) {
    setText(byId(id), text);
    setClass(byId(id), `pill ${kind}`.trim());
  }

  /** Says what has changed; what is as expected at the start goes without saying. */
  say(subject, text) {
    const before = this.said.get(subject);
    if (before === text) return;
    this.said.set(subject, text);
    if (before !== undefined || text.startsWith("Not ") || text.startsWith("Alerts ")) {
      setText(byId("announcer"), text);
    }
  }
}

function createConcern() {
  return make("li", "", make("b", "badge", NONE), make("span", "text"), make("span", "advice"));
}

function updateConcern(item, concern) {
  const [badge, text, advice] = item.children;
  setClass(item, concern.severity in RANK ? concern.severity : "quiet");
  setText(badge, concern.severity === "quiet" ? "ok" : concern.severity);
  setText(text, concern.text);
  setText(advice, concern.advice);
}
