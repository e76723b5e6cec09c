// The first screen, to be read from across a room: is it well, how many, how fast, and who hurts. Owns the
// verdict and its words; the parts below it have the details.

import { listConcerns } from "./alarms.js";
import { byId, setClass, setText } from "./dom.js";
import { TROUBLE_WARNS_PER_SECOND } from "./figures.js";
import { duration, perSecond, plural, shortCount } from "./format.js";

/** Characters beyond which a value is set smaller. */
const LONG_CHARS = 8;

const SIGNS = { good: "\u2713", warning: "!", critical: "\u2715", unknown: "\u2026" };

/** Returns the verdict on a status, `{ kind, word, why }`. */
function judge(status) {
  const [worst] = listConcerns(status).filter((concern) => concern.severity !== "info");
  const verdict = (kind, word, why) => ({ kind, word, why });
  if (status.state === "draining") return verdict("warning", "Draining", "It takes no newcomers.");
  if (!status.ready.ok) return verdict("critical", "Not ready", status.ready.reason ?? "");
  if (!worst) return verdict("good", "All well", `up ${duration(status.uptime_ms)}`);
  return verdict(worst.severity, worst.severity === "critical" ? "Critical" : "Warning", worst.text);
}

/** Returns the worst trouble of subscribers and publishers, `{ value, note }`; nothing when there is none. */
function findTrouble({ subscribers, rates }, stalled) {
  if (stalled.length > 0) {
    const [{ address, id, topics }] = stalled;
    const such = stalled.length > 1 ? ", such as" : ":";
    const note = `not reading${such} ${address ?? id} on ${topics[0]}`;
    return { value: shortCount(stalled.length), note };
  }
  if (subscribers.lagging > 0) {
    return { value: shortCount(subscribers.lagging), note: "behind, of all subscribers" };
  }
  const { refused, errors } = rates["1m"];
  if (refused > TROUBLE_WARNS_PER_SECOND) {
    return { value: shortCount(Math.round(refused * 60)), note: "refused in the last minute" };
  }
  if (errors > TROUBLE_WARNS_PER_SECOND) {
    return { value: shortCount(Math.round(errors * 60)), note: "errors in the last minute" };
  }
  return null;
}

/** Shows the four answers. */
export class Glance {
  constructor() {
    this.verdict = { kind: "unknown", word: "Waiting", why: "for the first numbers" };
    this.old = false;
    this.draw();
  }

  /** Shows a status, and the readers that are known to have stopped. */
  show(status, stalled) {
    const { subscribers, connections, rates, latency_ms } = status;
    this.verdict = judge(status);
    this.draw();
    this.fill("many", shortCount(subscribers.open), `of ${plural(connections.open, "connection")}`);
    const p99 = latency_ms?.each?.p99;
    const busy = typeof p99 === "number";
    this.fill("fast", busy ? duration(p99) : "Idle", `${perSecond(rates["1s"].deliveries)} delivered`);
    const trouble = findTrouble(status, stalled);
    this.fill("hurts", trouble?.value ?? "Nobody", trouble?.note ?? "all are up to date");
    setClass(byId("hurts"), trouble ? "tile warns" : "tile");
  }

  /** Shows that the numbers are too old to be trusted, or no longer. */
  showContact(old) {
    if (old === this.old) return;
    this.old = old;
    this.draw();
  }

  draw() {
    const lost = { kind: "critical", word: "No contact", why: "What you see is old." };
    const { kind, word, why } = this.old ? lost : this.verdict;
    setClass(byId("verdict"), `tile ${kind}`);
    setText(byId("verdict-sign"), SIGNS[kind] ?? SIGNS.unknown);
    setText(byId("verdict-word"), word);
    setText(byId("verdict-why"), why);
  }

  fill(id, value, note) {
    const [, valueElement, noteElement] = byId(id).children;
    setText(valueElement, value);
    setClass(valueElement, value.length > LONG_CHARS ? "long-value" : "");
    setText(noteElement, note);
  }
}
