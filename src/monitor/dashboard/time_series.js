// Figures over one span of time, on one axis. Owns their columns; knows no plot and no page.

/** Time between two points below which they count as one. */
const LEAST_SECONDS = 0.5;

/** Columns of values, one for each key, over common times in seconds. */
export class TimeSeries {
  constructor(keys, { spanSeconds, stepSeconds }) {
    Object.assign(this, { keys, spanSeconds, stepSeconds });
    this.times = [];
    this.columns = new Map(keys.map((key) => [key, []]));
  }

  /** Returns the times and the columns of some keys, as a chart takes them. */
  dataOf(keys) {
    return [this.times, ...keys.map((key) => this.columns.get(key))];
  }

  /** Takes the server's record. What is older stays: the server forgets it with a restart. */
  takeRecord({ at_ms, ...record }) {
    const first = (at_ms[0] ?? Infinity) / 1000;
    const kept = this.times.findIndex((second) => second > first - LEAST_SECONDS);
    if (kept >= 0) this.allColumns().forEach((column) => column.splice(kept));
    at_ms.forEach((ms, index) => this.append(ms / 1000, (key) => record[key]?.[index]));
  }

  /** Appends one value for each key. Missing steps stay a gap in the curve. */
  append(second, valueOf) {
    const last = this.times.at(-1);
    if (last !== undefined && second - last < LEAST_SECONDS) return;
    if (last !== undefined && second - last > 3 * this.stepSeconds) {
      this.push(last + this.stepSeconds, () => null);
    }
    this.push(second, valueOf);
  }

  push(second, valueOf) {
    this.times.push(second);
    for (const key of this.keys) this.columns.get(key).push(valueOf(key) ?? null);
    const from = this.times.findIndex((at) => at > second - this.spanSeconds);
    if (from > 0) this.allColumns().forEach((column) => column.splice(0, from));
  }

  allColumns() {
    return [this.times, ...this.columns.values()];
  }

  /** Returns the record in the server's form. */
  toRecord() {
    const at_ms = this.times.map((second) => Math.round(second * 1000));
    return { ...Object.fromEntries(this.columns), at_ms };
  }
}
