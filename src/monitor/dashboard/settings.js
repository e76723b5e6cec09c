// The settings in force with their sources, and the alert rules. Asked for while they are seen.

import { Table, byId, setText } from "./dom.js";
import { fetchJson } from "./fetch_json.js";
import { bytes, count, describeFailure, duration } from "./format.js";
import { SeenPanel } from "./seen_panel.js";

const REFRESH_MS = 10_000;
const DEFAULT = "default";

/** What the server made of settings that leave the choice to it, from a status. */
const IN_EFFECT = {
  workers: ({ workers }) => count(workers.length),
  connections_max: ({ connections }) => count(connections.max),
  memory_bytes_max: ({ memory }) => bytes(memory.limit_bytes),
};

function valueText(value) {
  const text = Array.isArray(value) ? value.join(", ") : String(value);
  return text === "" ? "not set" : text;
}

function ruleText({ metric, above, below, for_ms, severity, enabled }) {
  if (!enabled) return "off";
  const bound = above === null ? `below ${below}` : `above ${above}`;
  return `${metric} ${bound} for ${duration(for_ms)}: ${severity}`;
}

/** Lists all rows, those that somebody has set first. */
function rowsOf({ alerts = [], class: classes = [], ...settings }) {
  const rows = Object.entries(settings).map(([name, { value, source }]) =>
    ({ name, value: valueText(value), source }));
  rows.push(...alerts.map((rule) =>
    ({ name: `alert ${rule.name}`, value: ruleText(rule), source: rule.source })));
  rows.push(...classes.map(({ name, topics, source }) =>
    ({ name: `class ${name}`, value: topics.join(", "), source })));
  return rows.sort((a, b) => (a.source === DEFAULT) - (b.source === DEFAULT));
}

/** The table of settings. */
export class Settings {
  constructor() {
    this.status = null;
    this.note = byId("settings-note");
    this.table = new Table(document.querySelector("#settings table"), [
      { title: "Setting", header: true, text: (row) => row.name },
      { title: "Value", long: true, text: (row) => row.value },
      { title: "In effect", minor: true, text: (row) => this.inEffect(row.name) },
      { title: "Source", long: true, text: (row) => row.source },
    ], (row) => row.name, "Asked for when it is seen.");
    new SeenPanel(byId("settings"), REFRESH_MS, () => this.request());
  }

  inEffect(name) {
    return this.status && Object.hasOwn(IN_EFFECT, name) ? IN_EFFECT[name](this.status) : "";
  }

  async request() {
    try {
      const rows = rowsOf(await fetchJson("settings"));
      this.table.fill(rows);
      const set = rows.filter((row) => row.source !== DEFAULT).length;
      setText(this.note, `${count(set)} of ${count(rows.length)} are not defaults; those come first.`);
    } catch (error) {
      setText(this.note, `Cannot be shown now: ${describeFailure(error)}.`);
    }
  }
}
