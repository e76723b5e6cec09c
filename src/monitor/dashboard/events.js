// Reads an event stream with fetch (WHATWG HTML §9.2.6). EventSource delivers only events whose names are
// registered beforehand, and a watched topic may have any.

/** Reads until the stream ends or `signal` aborts, and calls `onEvent({ id, name, data })` for each event. */
export async function readEvents(url, { signal, lastId, onOpen, onEvent }) {
  const headers = { Accept: "text/event-stream" };
  if (lastId) headers["Last-Event-ID"] = lastId;
  const answer = await fetch(url, { headers, signal, cache: "no-store" });
  if (!answer.ok) throw new RefusedError(await readErrorMessage(answer));
  onOpen();
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  const parser = new EventParser(onEvent);
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    parser.feed(value);
  }
}

/** A refusal by the server, which a retry would meet again. */
export class RefusedError extends Error {}

/** Returns the message of an answer that is not a success. */
export async function readErrorMessage(answer) {
  const problem = await answer.json().catch(() => null);
  return problem?.message ?? `The server answers ${answer.status}.`;
}

class EventParser {
  constructor(onEvent) {
    this.onEvent = onEvent;
    this.rest = "";
    this.id = "";
    this.clearEvent();
  }

  clearEvent() {
    this.name = "";
    this.data = [];
  }

  feed(text) {
    this.rest += text;
    // A CR at the very end may be the first half of a CRLF.
    const whole = this.rest.endsWith("\r") ? this.rest.slice(0, -1) : this.rest;
    const lines = whole.split(/\r\n|\n|\r/);
    this.rest = lines.pop() + this.rest.slice(whole.length);
    lines.forEach((line) => this.takeLine(line));
  }

  takeLine(line) {
    if (line === "") {
      if (this.data.length > 0) this.onEvent({ id: this.id, name: this.name, data: this.data.join("\n") });
      return this.clearEvent();
    }
    const colon = line.indexOf(":");
    const field = colon < 0 ? line : line.slice(0, colon);
    const value = colon < 0 ? "" : line.slice(colon + 1).replace(/^ /, "");
    if (field === "data") this.data.push(value);
    else if (field === "event") this.name = value;
    else if (field === "id" && !value.includes("\0")) this.id = value;
  }
}
