// Draws the curves of a range, with the marks on them. All plots share one time axis and one cursor.

import { createElement, setText } from "./dom.js";
import {
  NONE, bytes, compactNumber, count, decimal, duration, minute, moment, percent, perSecond,
} from "./format.js";
import { Marks } from "./marks.js";
import { TimeSeries } from "./time_series.js";

/** Each range: its length, the time between its points, and the possible distances of the axis's marks. */
const RANGES = {
  minutes: { spanSeconds: 300, stepSeconds: 1, ticks: [60, 120] },
  hour: { spanSeconds: 3600, stepSeconds: 15, ticks: [600, 1200] },
  day: { spanSeconds: 86_400, stepSeconds: 120, ticks: [10_800, 21_600] },
};
const HEIGHT = 162;
/** Room for the signs of marks above the curves, in pixels of the page. */
const SIGNS_HEIGHT = 14;
/** Distance from a mark within which the cursor names it. */
const NEAR_PX = 6;

const PLOTS = [
  { title: "Connections", axis: compactNumber, whole: true, series: [
    { name: "open", key: "connections", text: count, now: (status) => status.connections.open },
  ] },
  { title: "Deliveries a second", axis: (value) => `${compactNumber(value)}/s`, series: [
    { name: "to all subscribers", key: "deliveries", text: perSecond,
      now: ({ rates }) => rates["1s"].deliveries },
  ] },
  { title: "Delivery time, p99", axis: axisDuration, series: [
    { name: "each subscriber", key: "latency_p99_ms", text: duration,
      now: ({ latency_ms }) => latency_ms["1s"].each_p99 },
    { name: "the last one", key: "latency_last_p99_ms", text: duration,
      now: ({ latency_ms }) => latency_ms["1s"].last_p99 },
  ] },
  { title: "Processor", axis: (value) => `${compactNumber(value)} %`, series: [
    { name: "of one core", key: "cpu_percent", text: percent, now: (status) => status.cpu_percent },
  ] },
  { title: "Memory", axis: bytes, binary: true, series: [
    { name: "resident", key: "resident_bytes", text: bytes, now: (status) => status.memory.resident_bytes },
  ] },
  { title: "Subscribers behind", axis: compactNumber, whole: true, series: [
    { name: "have not caught up", key: "lagging", text: count, now: (status) => status.subscribers.lagging },
  ] },
];

/** Functions of a status by key: the newest value of each curve. */
const NOW = new Map(PLOTS.flatMap((spec) => spec.series.map(({ key, now }) => [key, now])));

function axisDuration(ms) {
  return ms >= 1000 ? `${decimal(ms / 1000)} s` : `${compactNumber(ms)} ms`;
}

/** Returns a colour of the style sheet in the present theme: a canvas knows no variables. */
function colourOf(element, property = "color") {
  return getComputedStyle(element)[property];
}

class Plot {
  constructor(parent, spec, marks) {
    this.spec = spec;
    this.marks = marks;
    this.values = spec.series.map(() => createElement("b", "value", NONE));
    this.markers = spec.series.map((_, index) => createElement("i", `marker series-${index + 1}`));
    const legend = spec.series.map((series, index) =>
      createElement("span", "legend", this.markers[index], ` ${series.name} `, this.values[index]));
    this.moment = createElement("span", "moment");
    this.canvas = createElement("div", "canvas");
    this.canvas.setAttribute("role", "img");
    this.canvas.setAttribute("aria-label", `${spec.title}: curve; the newest value is above`);
    const title = createElement("h3", "", spec.title);
    const caption = createElement("figcaption", "", title, this.moment, createElement("p", "", ...legend));
    parent.append(createElement("figure", "plot", caption, this.canvas));
  }

  /** Draws the plot at the start and after a change of theme or range. */
  build(data, range) {
    this.range = range;
    this.chart?.destroy();
    this.markColours = Marks.colours();
    this.chart = new uPlot(this.options(), data, this.canvas);
    this.show(null);
  }

  options() {
    const text = colourOf(this.canvas);
    const grid = { stroke: colourOf(this.canvas, "borderTopColor"), width: 1 };
    const axis = { stroke: text, grid, ticks: { show: false }, font: "12px system-ui, sans-serif" };
    return {
      width: Math.max(this.canvas.clientWidth, 120),
      height: HEIGHT,
      padding: [SIGNS_HEIGHT + 4, 8, 0, 0],
      legend: { show: false },
      cursor: { sync: { key: "all" }, y: false, drag: { x: false, y: false }, points: { size: 7 } },
      scales: { x: { time: true, range: (chart) => this.shownSpan(chart.data[0].at(-1)) },
        y: { range: (_, __, most) => [0, axisTop(most, this.spec)] } },
      axes: [
        { ...axis, space: 56, size: 28, incrs: this.range.ticks,
          values: (_, splits) => splits.map((second) => minute(second * 1000)) },
        { ...axis, space: 36, size: 68, values: (_, splits) => splits.map(this.spec.axis),
          splits: (_, __, ___, most) => [0, most / 4, most / 2, (most * 3) / 4, most] },
      ],
      series: [{}, ...this.spec.series.map((_, index) => ({
        stroke: colourOf(this.markers[index]),
        fill: this.spec.series.length === 1 ? colourOf(this.markers[index], "backgroundColor") : null,
        // The second curve often covers the first, which shows through its gaps.
        dash: index > 0 ? [4, 4] : undefined,
        width: 1.75,
        points: { show: false },
      }))],
      hooks: {
        draw: [(chart) => this.drawMarks(chart)],
        setCursor: [(chart) => this.show(chart.cursor.idx)],
      },
    };
  }

  /** Returns the ends of the axis of time. uPlot itself would add years to a single point. */
  shownSpan(newest = Date.now() / 1000) {
    return [newest - this.range.spanSeconds, newest];
  }

  drawMarks({ ctx, bbox, scales, valToPos }) {
    const pixels = devicePixelRatio;
    ctx.save();
    ctx.font = `${11 * pixels}px system-ui, sans-serif`;
    ctx.textAlign = "center";
    ctx.lineWidth = pixels;
    ctx.setLineDash([3 * pixels, 3 * pixels]);
    for (const { second, kind, sign } of this.marks.since(scales.x.min ?? Infinity)) {
      const x = Math.round(valToPos(second, "x", true)) + 0.5;
      ctx.strokeStyle = ctx.fillStyle = this.markColours[kind];
      ctx.beginPath();
      ctx.moveTo(x, bbox.top);
      ctx.lineTo(x, bbox.top + bbox.height);
      ctx.stroke();
      ctx.fillText(sign, x, bbox.top - 3 * pixels);
    }
    ctx.restore();
  }

  /** Returns the newest mark near the cursor in words, or nothing. */
  markAt({ cursor, scales, valToPos }) {
    const near = ({ second }) => Math.abs(valToPos(second, "x") - cursor.left) <= NEAR_PX;
    const mark = this.marks.since(scales.x.min ?? Infinity).reverse().find(near);
    return mark ? `${moment(mark.ms)} ${mark.text}` : "";
  }

  /** Shows the values at the cursor, or the newest ones. */
  show(index) {
    if (!this.chart) return;
    const data = this.chart.data;
    const hovered = index !== null && index !== undefined && this.chart.cursor.left >= 0;
    const at = hovered ? index : data[0].length - 1;
    setText(this.moment, hovered ? this.markAt(this.chart) || moment(data[0][at] * 1000) : "");
    this.spec.series.forEach((series, nth) => {
      setText(this.values[nth], at < 0 ? NONE : series.text(data[nth + 1][at] ?? undefined));
    });
  }

  resize() {
    const width = this.canvas.clientWidth;
    if (this.chart && width > 0 && width !== this.chart.width) this.chart.setSize({ width, height: HEIGHT });
  }
}

/** Tops of an axis whose quarters are round, as multiples of a power of ten, or of two. */
const TOPS = [1, 1.2, 1.6, 2, 2.4, 2.8, 3.2, 3.6, 4, 6, 8, 10];
const BINARY_TOPS = [1, 1.25, 1.5, 1.75, 2];

/** Returns the top of an axis from 0, a little above `most`. An axis of whole numbers has whole quarters. */
function axisTop(most, { binary, whole }) {
  if (!(most > 0)) return binary ? 1024 * 1024 : 4;
  if (whole && most < 40) return 4 * Math.ceil((most * 1.02) / 4);
  const step = binary ? 2 ** Math.floor(Math.log2(most)) : 10 ** Math.floor(Math.log10(most));
  const tops = binary ? BINARY_TOPS : TOPS;
  return step * tops.find((top) => step * top >= most * 1.02 || top === tops.at(-1));
}

/** Owns all plots, their data of each range, and the marks on them. */
export class Plots {
  constructor(parent, marks, kept) {
    this.marks = marks;
    const keys = PLOTS.flatMap((spec) => spec.series.map((series) => series.key));
    this.ranges = new Map(Object.entries(RANGES).map(([name, range]) => [name, new TimeSeries(keys, range)]));
    for (const [name, series] of this.ranges) {
      if (Array.isArray(kept?.[name]?.at_ms)) series.takeRecord(kept[name]);
    }
    this.shown = "minutes";
    this.plots = PLOTS.map((spec) => new Plot(parent, spec, marks));
    const observer = new ResizeObserver(() => this.plots.forEach((plot) => plot.resize()));
    observer.observe(parent);
    this.rebuild();
  }

  rebuild() {
    this.plots.forEach((plot) => plot.build(this.dataOf(plot.spec), RANGES[this.shown]));
  }

  dataOf(spec) {
    return this.ranges.get(this.shown).dataOf(spec.series.map((series) => series.key));
  }

  /** Shows another range. */
  showRange(name) {
    this.shown = name;
    this.rebuild();
    this.draw();
  }

  /** Takes the server's record of a range. */
  takeRecord(name, record) {
    this.ranges.get(name).takeRecord(record);
    if (name === this.shown) this.draw();
  }

  /** Appends the values of one status to the curves that have one each second. */
  addStatus(status) {
    const marked = this.marks.addStatus(status);
    this.ranges.get("minutes").append(status.now_ms / 1000, (key) => NOW.get(key)(status));
    if (marked || this.shown === "minutes") this.draw();
  }

  draw() {
    for (const plot of this.plots) {
      plot.chart.setData(this.dataOf(plot.spec));
      plot.show(plot.chart.cursor.idx);
    }
    const newest = this.ranges.get(this.shown).times.at(-1) ?? 0;
    this.marks.listSince(newest - RANGES[this.shown].spanSeconds);
  }

  /** Returns the curves of all ranges, to be kept. */
  toKept() {
    return Object.fromEntries([...this.ranges].map(([name, series]) => [name, series.toRecord()]));
  }
}
