// The choice of the curves' range. Asks the server for those of an hour or a day, while they are shown only.

import { byId } from "./dom.js";
import { fetchJson } from "./fetch_json.js";

/** Time between two requests: the points of an hour are 15 s apart. */
const REFRESH_MS = 15_000;
const MINUTES = "minutes";

/** Shows the curves of the chosen range. */
export class RangeChoice {
  constructor(plots) {
    this.plots = plots;
    this.buttons = [...byId("ranges").querySelectorAll("button")];
    for (const button of this.buttons) button.addEventListener("click", () => this.choose(button.value));
    setInterval(() => this.refresh(), REFRESH_MS);
    document.addEventListener("visibilitychange", () => this.refresh());
  }

  choose(name) {
    for (const button of this.buttons) button.setAttribute("aria-pressed", String(button.value === name));
    this.plots.showRange(name);
    this.refresh();
  }

  /** Asks for a long range if one is shown; what is not answered is asked again later. */
  async refresh() {
    const name = this.plots.shown;
    if (name === MINUTES || document.hidden) return;
    const status = await fetchJson(`status?series=${name}`).catch(() => null);
    if (status) this.plots.takeRecord(name, status.series);
  }
}
