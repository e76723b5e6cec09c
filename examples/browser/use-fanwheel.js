// A React hook: the newest event of some topics, and the state of the connection.

import { useEffect, useState } from "react";

export function useFanwheel(connect, url, options) {
  const [seen, setSeen] = useState({ state: "connecting", event: undefined });
  useEffect(() => {
    const client = connect(url, options);
    client.on("*", (event) => setSeen((before) => ({ ...before, event })));
    client.on("fanwheel.state", ({ state }) => setSeen((before) => ({ ...before, state })));
    return () => client.close();
    // Options are compared by their content, so that a page may write them in place.
  }, [connect, String(url), JSON.stringify(options)]);
  return seen;
}
