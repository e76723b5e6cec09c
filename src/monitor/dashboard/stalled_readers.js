// Names the subscribers that have stopped reading, while they do. Asks the server only while some are behind
// and the page is in front, since the answer costs a walk over all connections.

import { byId, setText } from "./dom.js";
import { fetchJson } from "./fetch_json.js";
import { count, duration } from "./format.js";

const ASK_EACH_MS = 5000;
/** Connections that one question brings; of those only the first few are named. */
const ROWS = 100;
const NAMED = 5;
/** Time without a byte taken after which a reader is said to have stopped. */
const STALLED_MS = 5000;

/** Shows the readers that stopped, above everything else that needs attention. */
export class StalledReaders {
  constructor() {
    this.line = byId("stalled");
    this.askedAt = -Infinity;
    /** Rows of those that have stopped, as far as is known. */
    this.stalled = [];
  }

  async show({ subscribers }) {
    if (subscribers.lagging === 0) this.name([]);
    const now = performance.now();
    if (subscribers.lagging === 0 || document.hidden || now - this.askedAt < ASK_EACH_MS) return;
    this.askedAt = now;
    const query = `sort=slow&listener=public&limit=${ROWS}`;
    const page = await fetchJson(`connections?${query}`).catch(() => null);
    if (page) this.name(page.connections.filter((row) => row.stalled_ms >= STALLED_MS));
  }

  name(stalled) {
    this.stalled = stalled;
    this.line.hidden = stalled.length === 0;
    if (stalled.length === 0) return;
    const names = stalled.slice(0, NAMED).map((row) => {
      const agent = row.user_agent ? ` (${row.user_agent})` : "";
      return `${row.address ?? row.id}${agent} on ${row.topics[0]} for ${duration(row.stalled_ms)}`;
    });
    const more = stalled.length - names.length;
    const rest = more > 0 ? `; and ${count(more)}${stalled.length === ROWS ? " or more" : ""} others` : "";
    const who = stalled.length === 1 ? "1 subscriber has" : `${count(stalled.length)} subscribers have`;
    setText(this.line, `${who} stopped reading: ${names.join("; ")}${rest}.`);
  }
}
