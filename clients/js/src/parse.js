// Bytes of an event stream, decoded, into blocks (WHATWG HTML §9.2.6). Knows no connection and no event's
// meaning.

/**
 * Returns a function that takes the stream's text piece by piece. It calls `onBlock` for each block that
 * has an id or data, `onRetry` for each reconnection time, and `onComment` for each comment line.
 */
export function createParser({ onBlock, onRetry, onComment }) {
  let rest = "", id, type = "", data;

  const takeLine = (line) => {
    if (!line) {
      if (id !== undefined || data !== undefined) onBlock({ id, type: type || "message", data });
      id = data = undefined;
      type = "";
      return;
    }
    const colon = line.indexOf(":");
    if (!colon) return onComment();
    const name = colon < 0 ? line : line.slice(0, colon);
    const value = colon < 0 ? "" : line.slice(colon + 1).replace(/^ /, "");
    if (name == "data") data = data === undefined ? value : data + "\n" + value;
    else if (name == "event") type = value;
    else if (name == "id" && !value.includes("\0")) id = value;
    else if (name == "retry" && /^\d+$/.test(value)) onRetry(+value);
  };

  return (text) => {
    // A CR at the end may be half of a CRLF, so it waits for what follows.
    const lines = (rest + text).split(/\r\n|\n|\r(?!$)/);
    rest = lines.pop();
    lines.forEach(takeLine);
  };
}
