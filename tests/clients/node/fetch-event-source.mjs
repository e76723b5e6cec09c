// `@microsoft/fetch-event-source`: made for pages, so it gets the two names of a page that it looks for. It
// delivers a message for every blank line, which is what makes it worth having here.

globalThis.window = globalThis;
globalThis.document = { hidden: false, addEventListener() {}, removeEventListener() {} };

const { fetchEventSource } = await import("@microsoft/fetch-event-source");
const { record, url } = await import("./records.mjs");

await fetchEventSource(url, {
  async onopen(response) {
    if (response.status !== 200) throw new Error(`status ${response.status}`);
    record("open");
  },
  onmessage(message) {
    record("event", { event: message.event || "message", data: message.data, id: message.id });
  },
  onclose() {
    // Without this the package takes an ended stream for the end of all.
    throw new Error("ended");
  },
  onerror(error) {
    record("error", { text: String(error) });
  },
});
