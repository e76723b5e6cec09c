// Parts of the page whose questions cost the server something: they ask only while somebody sees them.

/** Asks when its section comes into sight, and then again and again while it is seen; once at a time. */
export class SeenPanel {
  /** `ask()` returns a promise that never fails. `onLeave()` is called when the section goes out of sight. */
  constructor(section, everyMs, ask, onLeave = () => {}) {
    this.ask = ask;
    this.visible = false;
    this.asking = false;
    /** Whether somebody wants another answer than the one that is asked for now. */
    this.stale = false;
    new IntersectionObserver((entries) => {
      // Several entries may have queued up; only the newest is true.
      this.visible = entries.at(-1).isIntersecting;
      if (!this.visible) onLeave();
      this.refresh();
    }).observe(section);
    setInterval(() => this.refresh(), everyMs);
  }

  /** Asks for another answer, at once if the section is seen. */
  askAnew() {
    this.stale = true;
    this.refresh();
  }

  async refresh() {
    if (!this.visible || document.hidden || this.asking) return;
    this.asking = true;
    this.stale = false;
    await this.ask();
    this.asking = false;
    if (this.stale) this.refresh();
  }
}
