// Marks on all curves: starts, drains and alerts. Owns their list; `plots.js` draws them.

import { byId, createElement, reconcile, setClass, setText } from "./dom.js";
import { moment, spaceWords } from "./format.js";

const MARKS_MAX = 200;
const LISTED = 8;
/** Sign of each kind, so that colour is not all that tells them apart. */
const SIGNS = { start: "\u25b2", drain: "\u25bc", alert: "\u25c6", resolved: "\u25c7" };

/** Lists the marks of a status: `{ ms, kind, text }`. */
function marksOf({ started_ms, draining_since_ms, alerts }) {
  const marks = [{ ms: started_ms, kind: "start", text: "server started" }];
  if (draining_since_ms) marks.push({ ms: draining_since_ms, kind: "drain", text: "drain began" });
  for (const { at_ms, name, state } of alerts.history) {
    const kind = state === "firing" ? "alert" : "resolved";
    marks.push({ ms: at_ms, kind, text: `alert ${name} ${spaceWords(state)}` });
  }
  return marks;
}

const isMark = (mark) =>
  Number.isFinite(mark?.ms) && Object.hasOwn(SIGNS, mark.kind) && typeof mark.text === "string";

/** Collects marks over restarts of the server, beginning with those of an earlier page. */
export class Marks {
  constructor(list, kept) {
    this.list = list;
    this.marks = new Map();
    for (const mark of Array.isArray(kept) ? kept.filter(isMark) : []) this.add(mark);
  }

  add(mark) {
    this.marks.set(`${mark.kind} ${mark.ms} ${mark.text}`, mark);
  }

  /** Takes the marks of a status; returns whether one of them is new. */
  addStatus(status) {
    const before = this.marks.size;
    marksOf(status).forEach((mark) => this.add(mark));
    if (this.marks.size === before) return false;
    this.marks = new Map([...this.marks].sort(([, a], [, b]) => a.ms - b.ms).slice(-MARKS_MAX));
    return true;
  }

  /** Returns the marks from a second on, oldest first, with the sign of each. */
  since(second) {
    const marks = [...this.marks.values()].filter(({ ms }) => ms >= second * 1000);
    return marks.map((mark) => ({ ...mark, second: mark.ms / 1000, sign: SIGNS[mark.kind] }));
  }

  /** Lists in words the marks that the curves show, newest first. */
  listSince(second) {
    const marks = this.since(second).reverse().slice(0, LISTED);
    const keyOf = ({ ms, kind, text }) => `${kind} ${ms} ${text}`;
    const create = () => createElement("li", "", createElement("b"), createElement("span"));
    reconcile(this.list, marks, keyOf, create, (item, { kind, sign, ms, text }) => {
      const [icon, words] = item.children;
      icon.setAttribute("aria-hidden", "true");
      setText(icon, sign);
      setClass(icon, `mark-${kind}`);
      setText(words, ` ${moment(ms)} ${text}`);
    });
  }

  /** Returns the colour of each kind in the present theme. */
  static colours() {
    const sample = byId("mark-sample");
    return Object.fromEntries(Object.keys(SIGNS).map((kind) => {
      sample.className = `mark-${kind}`;
      return [kind, getComputedStyle(sample).color];
    }));
  }

  /** Returns all marks, to be kept. */
  toKept() {
    return [...this.marks.values()];
  }
}
