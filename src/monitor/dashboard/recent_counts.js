// Counts by name that only grow, and how much of each is new: over the last statuses, about a minute.

/** Statuses over which a count is recent. */
const RECENT_STATUSES = 60;

export class RecentCounts {
  constructor() {
    this.kept = [];
  }

  /** Takes the counts of a new status, `{ name: total }`; returns `{ name: recent }`. */
  take(counts) {
    const newest = this.kept.at(-1);
    // A server that has started anew counts from zero.
    if (newest && Object.keys(counts).some((name) => counts[name] < newest[name])) this.kept = [];
    this.kept.push(counts);
    if (this.kept.length > RECENT_STATUSES + 1) this.kept.shift();
    const [oldest] = this.kept;
    const recent = ([name, total]) => [name, total - (oldest[name] ?? 0)];
    return Object.fromEntries(Object.entries(counts).map(recent));
  }
}
