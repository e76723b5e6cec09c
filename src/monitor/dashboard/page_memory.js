// Keeps over a reload what the page has seen and a restarted server no longer knows.

const NAME = "seen";

/** Returns what was kept last, as one object; empty when nothing was, or storage is switched off. */
export function recallSeen() {
  try {
    const seen = JSON.parse(localStorage.getItem(NAME));
    return seen !== null && typeof seen === "object" ? seen : {};
  } catch {
    return {};
  }
}

/** Keeps what `collectSeen()` returns whenever the page is left or hidden. */
export function keepSeen(collectSeen) {
  const keep = () => {
    try {
      localStorage.setItem(NAME, JSON.stringify(collectSeen()));
    } catch {
      // Storage is full or switched off: what was seen lasts as long as the page.
    }
  };
  addEventListener("pagehide", keep);
  document.addEventListener("visibilitychange", () => document.hidden && keep());
}
