// Figures that pages send of themselves by beacons. Anybody can send such figures, so none of them warns.

import { byId } from "./dom.js";
import { Figures } from "./figures.js";
import { bytes, count, duration, percent, plural, spaceWords } from "./format.js";
import { RecentCounts } from "./recent_counts.js";

/** Causes of ends that are named. */
const CAUSES = 3;

const FIGURES = [
  { name: "Beacons, 1 min",
    value: ({ recent }) => count(recent.beacons),
    note: ({ beacons, beacons_dropped: dropped }) =>
      `${count(beacons)} in all${dropped > 0 ? `; ${count(dropped)} beyond the rate` : ""}` },
  { name: "Delay p99, 1 min",
    value: ({ delay_ms }) => atMost(delay_ms.p99),
    note: ({ delay_ms }) => `half of them ${atMost(delay_ms.p50)}` },
  { name: "Connected",
    value: ({ connected_share }) => percent(connected_share === null ? null : 100 * connected_share),
    note: () => "of the time of their pages" },
  { name: "Streams opened",
    value: ({ connects }) => count(connects),
    note: ({ connect_ms_mean }) => `in ${duration(connect_ms_mean)} on average` },
  { name: "Streams ended, 1 min",
    value: ({ recent, reconnects }) => count(sum(Object.keys(reconnects).map((cause) => recent[cause]))),
    note: ({ reconnects }) => causesText(reconnects) },
  { name: "Events heard",
    value: ({ events }) => count(events),
    note: ({ bytes: size, gaps, duplicates }) =>
      `${bytes(size)}; ${plural(gaps, "gap")}, ${plural(duplicates, "repeat")}` },
];

const sum = (numbers) => numbers.reduce((all, number) => all + number, 0);

/** Beacons tell delays by their class alone. */
function atMost(ms) {
  return typeof ms === "number" ? `≤ ${duration(ms)}` : duration(null);
}

function causesText(reconnects) {
  const causes = Object.entries(reconnects).filter(([, times]) => times > 0).sort((a, b) => b[1] - a[1]);
  const named = causes.slice(0, CAUSES).map(([cause, times]) => `${count(times)} ${spaceWords(cause)}`);
  return named.length > 0 ? `in all ${named.join(", ")}` : "none in all";
}

/** The section of these figures, which is there once a page has sent some. */
export class PageFigures {
  constructor() {
    this.section = byId("pages");
    this.link = document.querySelector("nav [href='#pages']");
    this.figures = new Figures(byId("pages-list"), FIGURES);
  }

  show(pages) {
    this.section.hidden = this.link.hidden = pages === null;
    if (pages === null) {
      // All of what will be counted is new.
      this.recent = new RecentCounts();
      this.recent.take({});
      return;
    }
    this.recent ??= new RecentCounts();
    const recent = this.recent.take({ beacons: pages.beacons, ...pages.reconnects });
    this.figures.show({ ...pages, recent });
  }
}
