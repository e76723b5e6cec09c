// Time and a server that a test moves by hand. Timers, clocks, chance and `fetch` of this process are
// replaced while a test runs, so the library is tested as it is.

/** Lets promises settle. Real, whatever the test does to time. */
const settle = ((immediate) => () => new Promise((resolve) => immediate(resolve)))(setImmediate);

/** Takes over time, chance and `fetch` until the test ends. */
export function takeOver(test, { random = () => 0.5 } = {}) {
  let now = 0, wall = 1_795_000_000_000, last = 0;
  const timers = new Map();
  const requests = [];
  const replaced = {
    setTimeout: (call, ms = 0, ...rest) => (timers.set(++last, { at: now + ms, call, rest }), last),
    setInterval: (call, ms, ...rest) => (timers.set(++last, { at: now + ms, call, rest, every: ms }), last),
    clearTimeout: (id) => timers.delete(id),
    clearInterval: (id) => timers.delete(id),
    fetch: (url, init) => new Promise((resolve, reject) => {
      const request = new FakeRequest(new URL(url), init, resolve, reject);
      requests.push(request);
    }),
  };
  const kept = Object.fromEntries(Object.keys(replaced).map((name) => [name, globalThis[name]]));
  Object.assign(globalThis, replaced);
  test.mock.method(performance, "now", () => now);
  test.mock.method(Date, "now", () => wall + now);
  test.mock.method(Math, "random", random);
  test.after(() => Object.assign(globalThis, kept));

  return {
    requests,
    get now() {
      return now;
    },
    /** Sets the wall clock, as an operator or NTP does. */
    stepWallClock: (ms) => (wall += ms),
    /** Lets time pass, timer by timer. */
    async advance(ms) {
      const until = now + ms;
      await settle();
      for (;;) {
        const due = [...timers].filter(([, timer]) => timer.at <= until).sort((a, b) => a[1].at - b[1].at)[0];
        if (!due) break;
        const [id, timer] = due;
        now = Math.max(now, timer.at);
        if (timer.every) timer.at += timer.every;
        else timers.delete(id);
        timer.call(...timer.rest);
        await settle();
      }
      now = until;
      await settle();
    },
    /** Time passes, and no timer runs: the page was frozen or the machine slept. */
    freeze: (ms) => (now += ms),
    /** The newest request. */
    last: () => requests.at(-1),
  };
}

/** A request that the test answers. */
class FakeRequest {
  constructor(url, init, resolve, reject) {
    Object.assign(this, { url, init, resolve, reject });
    init.signal?.addEventListener("abort", () => {
      this.aborted = true;
      reject(new DOMException("aborted", "AbortError"));
      try {
        this.controller?.error(new DOMException("aborted", "AbortError"));
      } catch {
        // It has ended already.
      }
    });
  }

  /** Answers with a stream that stays open, and its first text. */
  async stream(text = ":ok\nretry: 2000\n", headers = {}) {
    const body = new ReadableStream({ start: (controller) => (this.controller = controller) });
    this.resolve(new Response(body, { headers: { "content-type": "text/event-stream; charset=utf-8", ...headers } }));
    if (text) await this.send(text);
    await settle();
  }

  /** Sends text down the stream. */
  async send(text) {
    this.controller.enqueue(typeof text == "string" ? new TextEncoder().encode(text) : text);
    await settle();
  }

  /** Ends the stream in order. */
  async end() {
    this.controller.close();
    await settle();
  }

  /** Cuts it. */
  async cut() {
    this.controller.error(new TypeError("network error"));
    await settle();
  }

  /** Answers with a status. */
  async answer(status, headers = {}, body = null) {
    this.resolve(new Response(body, { status, headers }));
    await settle();
  }

  /** The network is away. */
  async fail() {
    this.reject(new TypeError("Failed to fetch"));
    await settle();
  }
}

/** An event as the server writes it. */
export const frame = (id, data, event) => `id: ${id}\n${event ? `event: ${event}\n` : ""}data: ${data}\n\n`;
/** The server's time. */
export const clockFrame = (ms) => `event: fanwheel.clock\ndata: {"now_ms":${ms}}\n\n`;
