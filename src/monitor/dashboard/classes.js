// The classes of topics and their shares, for operators who have set some.

import { Table, byId } from "./dom.js";
import { bytes, count } from "./format.js";
import { RecentCounts } from "./recent_counts.js";

export class ClassesTable {
  constructor() {
    this.section = byId("classes");
    this.link = document.querySelector("nav [href='#classes']");
    this.published = new RecentCounts();
    this.table = new Table(this.section.querySelector("table"), [
      { title: "Class", header: true, text: (row) => row.name },
      { title: "Topics", number: true, text: (row) => count(row.topics) },
      { title: "Subscriptions", number: true, text: (row) => count(row.subscriptions) },
      { title: "Events, last minute", number: true, text: (row) => count(row.recent) },
      { title: "Events, since the start", number: true, minor: true, text: (row) => count(row.published) },
      { title: "Events kept", number: true, text: (row) => count(row.history.events) },
      { title: "Bytes kept", number: true, text: (row) => bytes(row.history.bytes) },
    ], (row) => row.name, "No class yet.");
  }

  show(classes) {
    const recent = this.published.take(Object.fromEntries(classes.map((row) => [row.name, row.published])));
    // The class of all other topics is always there; alone it says nothing that the figures do not.
    this.section.hidden = this.link.hidden = classes.length < 2;
    this.table.fill(classes.map((row) => ({ ...row, recent: recent[row.name] })));
  }
}
