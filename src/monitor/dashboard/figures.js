// The numbers of this moment, each with its limit or average beside it. Owns their order and words.

import { createElement, setClass, setText } from "./dom.js";
import { NONE, bytes, count, decimal, duration, percent, perSecond, plural } from "./format.js";

/** Values from which a figure is shown as a warning: subscribers behind, refusals, errors, use of a limit. */
const BEHIND_WARNS_PERCENT = 5;
export const TROUBLE_WARNS_PER_SECOND = 0.1;
const FULL_WARNS_PERCENT = 80;

const share = (part, whole) => (whole > 0 && typeof part === "number" ? (100 * part) / whole : null);

/** Functions of a status: the `value`, the `note` below it, the `share` of a limit, whether it `warns`. */
const FIGURES = [
  { name: "Connections",
    value: ({ connections }) => count(connections.open),
    note: ({ connections: { max, accepted_per_minute: accepted } }) =>
      `of ${count(max)}; ${count(accepted)} new/min`,
    share: ({ connections }) => share(connections.open, connections.max) },
  { name: "Subscribers",
    value: ({ subscribers }) => count(subscribers.open),
    note: ({ subscribers }) =>
      `${count(subscribers.lagging)} behind (${percent(behindPercent(subscribers))})`,
    warns: ({ subscribers }) => behindPercent(subscribers) > BEHIND_WARNS_PERCENT },
  { name: "Deliveries",
    value: ({ rates }) => perSecond(rates["1s"].deliveries),
    note: ({ rates }) => `${perSecond(rates["1m"].deliveries)} over 1 min; ${bytes(rates["1s"].bytes)}/s` },
  { name: "Published",
    value: ({ rates }) => perSecond(rates["1s"].published),
    note: ({ rates, counts }) =>
      `${perSecond(rates["1m"].published)} over 1 min; ${count(counts.published)} in all` },
  { name: "Delivery p99, 1 min",
    value: ({ latency_ms }) => duration(latency_ms?.each?.p99),
    note: ({ latency_ms }) => `last subscriber ${duration(latency_ms?.last?.p99)}` },
  { name: "Memory",
    value: ({ memory }) => bytes(memory.resident_bytes),
    note: ({ memory }) => `${limitText(memory.limit_bytes)}${growthText(memory)}`,
    share: ({ memory }) => share(memory.resident_bytes, memory.limit_bytes),
    warns: ({ memory }) => memory.leak?.judgement === "suspected" },
  { name: "Processor",
    value: ({ cpu_percent }) => percent(cpu_percent),
    note: ({ workers, turn_ms }) =>
      `of one core; ${plural(workers.length, "worker")}, turn ${duration(turn_ms?.mean)}` },
  // Of a minute, as is the warning: a warning beside the 0 of this second would puzzle.
  { name: "Refused, 1 min",
    value: ({ rates }) => perSecond(rates["1m"].refused),
    note: ({ rates }) => `${perSecond(rates["1s"].refused)} now`,
    warns: ({ rates }) => rates["1m"].refused > TROUBLE_WARNS_PER_SECOND },
  { name: "Errors, 1 min",
    value: ({ rates }) => perSecond(rates["1m"].errors),
    note: ({ rates }) => `${perSecond(rates["1s"].errors)} now`,
    warns: ({ rates }) => rates["1m"].errors > TROUBLE_WARNS_PER_SECOND },
  { name: "Kept for returning clients",
    value: ({ history }) => plural(history.events, "event"),
    note: ({ history, topics }) => `${bytes(history.bytes)} in ${plural(topics, "topic")}` },
  { name: "Kernel's TCP memory",
    value: ({ memory }) => bytes(memory.kernel_tcp_bytes || undefined),
    note: () => "of all sockets of this host" },
  { name: "Ended connections lived",
    value: ({ connections }) => duration(connections.duration_ms_mean),
    note: ({ subscribers: { messages_per_connection_mean: messages } }) =>
      `on average; ${decimal(messages)} messages a stream` },
];

function behindPercent(subscribers) {
  return share(subscribers.lagging, subscribers.open) ?? 0;
}

function limitText(limit_bytes) {
  return limit_bytes ? `of ${bytes(limit_bytes)}; ` : "";
}

function growthText({ leak, bytes_per_connection, history_bytes }) {
  if (leak?.judgement === "suspected") return `leak? +${bytes(leak.bytes_per_minute)}/min`;
  const known = typeof bytes_per_connection === "number";
  return known ? `${bytes(bytes_per_connection)} per connection` : `${bytes(history_bytes)} history`;
}

/** Shows figures in one list of terms. */
export class Figures {
  constructor(list, figures = FIGURES) {
    this.rows = figures.map((figure) => {
      const value = createElement("dd", "value", NONE);
      const bar = createElement("div", "bar");
      const note = createElement("dd", "note", "\u00a0");
      const group = createElement("div", "figure", createElement("dt", "", figure.name), value, note);
      if (figure.share) note.append(bar);
      list.append(group);
      const text = document.createTextNode("");
      note.prepend(text);
      return { figure, group, value, text, bar };
    });
  }

  show(status) {
    for (const { figure, group, value, text, bar } of this.rows) {
      setText(value, figure.value(status));
      setText(text, figure.note(status));
      const filled = figure.share?.(status) ?? 0;
      bar.style.setProperty("--filled", `${Math.min(filled, 100)}%`);
      setClass(group, filled >= FULL_WARNS_PERCENT || figure.warns?.(status) ? "figure warns" : "figure");
    }
  }
}
