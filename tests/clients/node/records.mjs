// The line protocol of every client here: one JSON record a line on standard output, which the harness reads.

export const [url, ...names] = process.argv.slice(2);

/** Writes one record. */
export function record(kind, rest = {}) {
  process.stdout.write(JSON.stringify({ kind, ...rest }) + "\n");
}

/** Records what an EventSource of any make tells. */
export function watch(source) {
  source.onopen = () => record("open");
  source.onerror = () => record("error", { state: source.readyState });
  for (const name of ["message", ...names]) {
    source.addEventListener(name, (event) =>
      record("event", { event: event.type, data: event.data, id: event.lastEventId }),
    );
  }
}
