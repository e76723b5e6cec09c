// The newest lines of the log, newest first. Asked for while they are seen.

import { byId, createElement, reconcile, setClass, setText } from "./dom.js";
import { fetchJson } from "./fetch_json.js";
import { count, describeFailure, moment } from "./format.js";
import { SeenPanel } from "./seen_panel.js";

const REFRESH_MS = 3000;
const LEVELS = ["error", "warn", "info", "debug", "trace"];

/** The list of lines. */
export class LogLines {
  constructor() {
    this.list = byId("log-lines");
    this.note = byId("log-note");
    new SeenPanel(byId("log"), REFRESH_MS, () => this.request());
  }

  async request() {
    try {
      this.show(await fetchJson("log"));
    } catch (error) {
      setText(this.note, `Cannot be shown now: ${describeFailure(error)}.`);
    }
  }

  show({ lines, dropped }) {
    // Lines of one moment may be alike; the nth of them stays the nth.
    const seen = new Map();
    const rows = lines.map((line) => {
      const name = `${line.at_ms} ${line.text}`;
      seen.set(name, (seen.get(name) ?? 0) + 1);
      return { ...line, key: `${name} ${seen.get(name)}` };
    });
    const create = () => createElement("li", "", createElement("span", "note"), createElement("b"),
      createElement("code"));
    reconcile(this.list, rows.reverse(), (row) => row.key, create, (item, { at_ms, level, text }) => {
      const [time, badge, code] = item.children;
      setText(time, moment(at_ms));
      setText(badge, level);
      setClass(badge, LEVELS.includes(level) ? `level-${level}` : "");
      setText(code, text);
    });
    const lost = dropped > 0 ? ` ${count(dropped)} never reached the output.` : "";
    setText(this.note, `The newest ${count(lines.length)}, newest first.${lost}`);
  }
}
